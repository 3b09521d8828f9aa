/* The cleaner of DICOM headers: canaries in every element, the graph of UIDs, dates, private elements, lies about representations. */
#include "../record/dicom_fixture.h"

#include "deid/dicom_clean.h"
#include "deid/dicom_text.h"
#include "deid/text.h"
#include "record/record.h"

#define EXPLICIT "1.2.840.10008.1.2.1"
#define IMPLICIT "1.2.840.10008.1.2"
static const char *const policies[] = {"policy/expert.json", "policy/safe-harbor.json", "policy/limited.json"};

static struct dicom_profile *profile_of(const char *path) {
  struct dicom_profile *p;
  struct error e = {0};
  int rc = dicom_profile_load(path, &p, &e);
  if (rc < 0) fail_msg("%s", e.message);
  return p;
}

static struct dicom_person someone(enum deid_dates dates) {
  struct dicom_person who = {
      .pseudonym = "1234567890123456789", .dates = dates, .shift_days = dates == DEID_DATES_SHIFT ? -12 : 0, .age_cap = 89};
  memset(who.uid_key, 7, sizeof who.uid_key);
  return who;
}

/* Parses, cleans, writes; the output is the caller's. */
static int clean(const struct dicom_profile *p, const struct dicom_person *who, const struct buf *in, struct buf *out, struct error *e) {
  struct arena a;
  struct dicom_file f;
  struct dicom_counts n = {0};
  arena_init(&a, 256 << 20, ARENA_WIPE);
  int rc = dicom_of(&a, in, &f, e);
  if (rc == OK) rc = dicom_clean(p, &f, who, &n, e);
  if (rc == OK) rc = dicom_mark(p, &f, who, false, e);
  if (rc == OK) rc = dicom_write(&f, out, e);
  arena_free(&a);
  return rc;
}

/* ---- canaries ---- */

static const char *const canaries[] = {"quackenbush", "zebulon", "8844119032", "aac20130912"};

static bool holds(const struct buf *b, const char *word) {
  size_t n = strlen(word);
  for (size_t i = 0; i + n <= b->n; i++) {
    size_t k = 0;
    while (k < n && (b->p[i + k] | (b->p[i + k] >= 'A' && b->p[i + k] <= 'Z' ? 32 : 0)) == word[k]) k++;
    if (k == n) return true;
  }
  return false;
}

static const char *planted(uint16_t vr) {
  switch (vr) {
    case DICOM_VR('A', 'E'): return "QUACKENBUSH";
    case DICOM_VR('A', 'S'): return "8844119032";
    case DICOM_VR('C', 'S'): return "ZEBULON";
    case DICOM_VR('D', 'A'):
    case DICOM_VR('T', 'M'):
    case DICOM_VR('D', 'S'):
    case DICOM_VR('I', 'S'): return "8844119032";
    case DICOM_VR('D', 'T'): return "Zebulon8844119032";
    case DICOM_VR('U', 'I'): return "1.2.8844119032.1";
    case DICOM_VR('U', 'R'): return "http://x/8844119032?Quackenbush";
    case DICOM_VR('P', 'N'): return "Quackenbush^Zebulon^^Dr=\xC3\xA9";
    default: return "seen MR ZEBULON  QUACKENBUSH, id 8844119032 (AAC-2013-0912)";
  }
}

static void plant(struct wire *w, uint32_t tag, uint16_t vr) {
  char name[3] = {(char)(vr >> 8), (char)vr, 0};
  if (tag == 0x00080005 || tag >> 16 == 4) return;
  wire_text(w, tag, name, planted(vr));
}

/* Every text element that the standard has, and those of the overlay and curve groups. */
static void plant_all(struct wire *w, uint32_t from, uint32_t to) {
  for (uint32_t tag = from;; tag++) {
    uint16_t vr = dicom_dictionary_vr(tag);
    if (vr && dicom_is_text(vr) && tag != DICOM_SOP_CLASS) plant(w, tag, vr);
    if (vr == DICOM_VR('O', 'B') && tag >> 16 != 0x7FE0) wire_text(w, tag, "OB", "raw Quackenbush raw");
    if (tag == to) break;
  }
}

static void patient(struct wire *w) {
  wire_text(w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.7");
  wire_text(w, 0x00080050, "SH", "AAC-2013-0912");
  wire_text(w, DICOM_PATIENT_NAME, "PN", "Quackenbush^Zebulon");
  wire_text(w, DICOM_PATIENT_ID, "LO", "8844119032");
}

static void privates(struct wire *w) {
  wire_text(w, 0x00090010, "LO", "SIEMENS CT Quackenbush");
  wire_text(w, 0x00091001, "UN", "Zebulon");
  wire_text(w, 0x00190010, "LO", "SIEMENS MR HEADER");
  wire_text(w, 0x0019100C, "IS", "8844119032");
  wire_text(w, 0x0019100D, "CS", "QUACKENBUSH");
  wire_text(w, 0x00191063, "LO", "Quackenbush");
  wire_text(w, 0x00191234, "LO", "Quackenbush"); /* a block that nobody has reserved */
}

static void everything(struct wire *w, const char *syntax) {
  wire_begin(w, syntax, "Quackenbush8844119032");
  patient(w);
  plant_all(w, 0x00080000, 0x0008FFFF);
  privates(w);
  for (uint32_t group = 0x0010; group <= 0x0088; group += 2) plant_all(w, group << 16, group << 16 | 0xFFFF);
  plant_all(w, 0x30060000, 0x3010FFFF);
  plant_all(w, 0x40080000, 0x4010FFFF);
  plant_all(w, 0x50000000, 0x5000FFFF);
  plant_all(w, 0x60020000, 0x6002FFFF);
  for (int depth = 0; depth < 6; depth++) { /* nested: ordinary, UN, private */
    wire_head(w, depth % 2 ? 0x00081140 : 0x0040A730, "SQ", UINT32_MAX);
    wire_item(w, UINT32_MAX);
  }
  privates(w);
  plant_all(w, 0x00080000, 0x0008FFFF);
  plant_all(w, 0x00400000, 0x0040FFFF);
  for (int depth = 0; depth < 6; depth++) {
    wire_item_end(w);
    wire_end(w);
  }
}

static void everywhere(void **state UNUSED) {
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 2; k++) {
      struct dicom_profile *p = profile_of(policies[i]);
      struct dicom_person who = someone(i == 0 ? DEID_DATES_SHIFT : i == 1 ? DEID_DATES_YEAR : DEID_DATES_KEEP);
      struct wire w;
      struct buf out = {0};
      struct error e = {0};
      everything(&w, k ? IMPLICIT : EXPLICIT);
      for (size_t c = 0; c < 3; c++) assert_true(holds(&w.b, canaries[c]));
      int rc = clean(p, &who, &w.b, &out, &e);
      if (rc < 0) fail_msg("%s", e.message);
      assert_true(out.n > 10000);
      for (size_t c = 0; c < sizeof canaries / sizeof *canaries; c++)
        if (holds(&out, canaries[c])) {
          FILE *f = fopen("/tmp/dicom-canary.dcm", "wb");
          if (f) fwrite(out.p, 1, out.n, f), fclose(f);
          fail_msg("%s came out of policy %d, kept in /tmp/dicom-canary.dcm", canaries[c], i);
        }
      assert_false(holds(&out, "station7"));
      buf_release(&out);
      buf_release(&w.b);
      dicom_profile_free(p);
    }
}

/* What the vault knows of the person, though this file does not. */
static void from_the_vault(void **state UNUSED) {
  struct dicom_profile *p = profile_of(policies[0]);
  struct dicom_person who = someone(DEID_DATES_SHIFT);
  const struct text_known known[] = {{IDENTIFIER_NAME, STR("Ottoline Featherstonehaugh")}, {IDENTIFIER_PHONE, STR("(555) 010-4477")}};
  struct wire w;
  struct buf out = {0};
  struct error e = {0};
  who.known = known;
  who.known_n = 2;
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.7");
  wire_text(&w, DICOM_SOP_INSTANCE, "UI", "1.2.3.4");
  wire_text(&w, 0x00081030, "LO", "CHEST OTTOLINE 2V");
  wire_text(&w, 0x00081090, "LO", "FEATHERSTONEHAUGHS scanner");
  wire_text(&w, 0x00104000, "LT", "call 555 010 4477");
  wire_text(&w, 0x00400400, "LT", "call 555 010 4477 chest");
  assert_int_equal(clean(p, &who, &w.b, &out, &e), OK);
  assert_false(holds(&out, "ottoline"));
  assert_false(holds(&out, "featherstone"));
  assert_false(holds(&out, "4477"));
  assert_true(holds(&out, "chest 2v"));
  assert_true(holds(&out, "scanner"));
  buf_release(&out);
  buf_release(&w.b);
  dicom_profile_free(p);
}

/* ---- single rules ---- */

struct row {
  uint32_t tag;
  const char *vr, *before, *after; /* after NULL: gone */
};

static void rows_check(const char *policy, enum deid_dates dates, const struct row *rows, size_t n) {
  struct dicom_profile *p = profile_of(policy);
  struct dicom_person who = someone(dates);
  struct wire w;
  struct buf out = {0};
  struct error e = {0};
  struct arena a;
  struct dicom_file f;
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.7");
  for (size_t i = 0; i < n; i++) wire_text(&w, rows[i].tag, rows[i].vr, rows[i].before);
  assert_int_equal(clean(p, &who, &w.b, &out, &e), OK);
  arena_init(&a, 1 << 20, 0);
  assert_int_equal(dicom_of(&a, &out, &f, &e), OK);
  for (size_t i = 0; i < n; i++) {
    const struct dicom_element *el = dicom_find(&f.data, rows[i].tag);
    if (!rows[i].after != !el) fail_msg("%08x: %s", rows[i].tag, el ? "is still there" : "is gone");
    struct str v = dicom_value(el);
    if (el && !str_eqc(v, rows[i].after)) fail_msg("%08x: \"%.*s\", not \"%s\"", rows[i].tag, STR_ARG(v), rows[i].after);
  }
  arena_free(&a);
  buf_release(&out);
  buf_release(&w.b);
  dicom_profile_free(p);
}

static void rules_expert(void **state UNUSED) {
  static const struct row rows[] = {
      {0x00080018, "UI", "1.2.3", "2.25.153836008634119161765048990633640834943"},
      {0x00080020, "DA", "20200301", "20200218"},
      {0x00080021, "DA", "2020.03.01", "2020.02.18"},
      {0x00080022, "DA", "not a date", ""},
      {0x0008002A, "DT", "20200301120000.5-0500", "20200218120000.5-0500"},
      {0x00080030, "TM", "121314.567", "121314.567"},
      {0x00080050, "SH", "A1", ""},
      {0x00080060, "CS", "CT", "CT"},
      {0x00080070, "LO", "ACME Imaging", "ACME Imaging"},
      {0x00080080, "LO", "Sunny Hospital", "REMOVED"},
      {0x00080090, "PN", "Doc^A", ""},
      {0x00081030, "LO", "XR CHEST AP for Scott Kaufman", "XR CHEST AP for"},
      {0x00081090, "LO", "Model built Thu Apr 19 11:14:42 EDT 2018", "Model built EDT"},
      {0x00100010, "PN", "Kaufman^Scott", "1234567890123456789"},
      {0x00100020, "LO", "77", "1234567890123456789"},
      {0x00100030, "DA", "19430722", ""},
      {0x00100040, "CS", "M", "M"},
      {0x00101000, "LO", "88", NULL},
      {0x00101010, "AS", "094Y", "090Y"},
      {0x00181000, "LO", "SN-1", "D2623572374"},
      {0x00181012, "DA", "20200301", "20200218"},
      {0x00181200, "DA", "20200301\\20200302", "20200218\\20200219"},
      {0x0020000D, "UI", "1.2.3", "2.25.153836008634119161765048990633640834943"},
      {0x00200011, "IS", "5", "5"},
      {0x00280030, "DS", "0.5\\0.5", "0.5\\0.5"},
      {0x00281050, "DS", "4O", ""},
      {0x00720001, "LO", "no such element", NULL},
  };
  rows_check(policies[0], DEID_DATES_SHIFT, rows, sizeof rows / sizeof *rows);
}

static void rules_safe_harbor(void **state UNUSED) {
  static const struct row rows[] = {
      {0x00080020, "DA", "20200301", ""},
      {0x00080021, "DA", "20200301", "20200101"},
      {0x00080022, "DA", "20200301", ""},
      {0x00080023, "DA", "20200301", "20200101"},
      {0x00080030, "TM", "121314", ""},
      {0x00080033, "TM", "121314", "000000"},
      {0x0008002A, "DT", "20200301120000", "20200101000000"},
      {0x00100030, "DA", "19430722", ""},
      {0x00181000, "LO", "SN-1", "REMOVED"},
  };
  rows_check(policies[1], DEID_DATES_YEAR, rows, sizeof rows / sizeof *rows);
}

static void rules_limited(void **state UNUSED) {
  static const struct row rows[] = {{0x00080020, "DA", "20200301", "20200301"},
                                    {0x00080030, "TM", "121314", "121314"},
                                    {0x00181000, "LO", "SN-1", "REMOVED"},
                                    {0x00100020, "LO", "77", "1234567890123456789"}};
  rows_check(policies[2], DEID_DATES_KEEP, rows, sizeof rows / sizeof *rows);
}

static void dates(void **state UNUSED) {
  static const struct {
    const char *vr, *in, *out;
    int days;
  } rows[] = {{"DA", "20200229", "20200301", 1},
              {"DA", "20191231-20200101", "20200101-20200102", 1},
              {"DA", "-20200101", "-20200102", 1},
              {"DT", "2020", "2020", 1},
              {"DT", "202006", "202006", 1},
              {"DT", "20200101+0100", "20200102+0100", 1},
              {"DT", "2020010112", "2020010212", 1},
              {"DT", "20200101-20200103", "20200102-20200104", 1},
              {"TM", "10:11:12", "10:11:12", 1},
              {"DA", "20200230", NULL, 1},
              {"DA", "2020", NULL, 1},
              {"TM", "99", NULL, 1},
              {"DT", "20200101T00", NULL, 1},
              {"DA", "00010101", NULL, -1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char out[DICOM_DATE_ROOM];
    size_t n = 0;
    bool ok = dicom_date(DICOM_VR(rows[i].vr[0], rows[i].vr[1]), str_c(rows[i].in), DEID_DATES_SHIFT, rows[i].days, out, &n);
    if (ok != (rows[i].out != NULL)) fail_msg("%s: %d", rows[i].in, ok);
    if (ok && !str_eqc((struct str){out, n}, rows[i].out)) fail_msg("%s -> %.*s", rows[i].in, (int)n, out);
  }
}

/* The same UID is the same everywhere: top level, sequences, other files; class UIDs stay; the key decides. */
static void uids(void **state UNUSED) {
  char a[48], b[48], c[48];
  uint8_t key[32] = {1}, other[32] = {2};
  dicom_uid_map(key, STR("1.2.3"), a);
  dicom_uid_map(key, STR("1.2.3"), b);
  dicom_uid_map(other, STR("1.2.3"), c);
  assert_string_equal(a, b);
  assert_string_not_equal(a, c);
  assert_true(strncmp(a, "2.25.", 5) == 0 && strlen(a) <= 44 && a[5] != '0');
  struct dicom_profile *p = profile_of(policies[0]);
  struct dicom_person who = someone(DEID_DATES_SHIFT);
  struct wire w;
  struct buf out = {0}, again = {0};
  struct error e = {0};
  struct arena arena;
  struct dicom_file f;
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.2");
  wire_text(&w, DICOM_SOP_INSTANCE, "UI", "1.2.3");
  wire_head(&w, 0x00081140, "SQ", UINT32_MAX);
  wire_item(&w, UINT32_MAX);
  wire_text(&w, 0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2");
  wire_text(&w, 0x00081155, "UI", "1.2.3");
  wire_item_end(&w);
  wire_end(&w);
  assert_int_equal(clean(p, &who, &w.b, &out, &e), OK);
  assert_int_equal(clean(p, &who, &w.b, &again, &e), OK);
  assert_true(out.n == again.n && memcmp(out.p, again.p, out.n) == 0); /* byte for byte */
  arena_init(&arena, 1 << 20, 0);
  assert_int_equal(dicom_of(&arena, &out, &f, &e), OK);
  const struct dicom_item *item = dicom_find(&f.data, 0x00081140)->items;
  assert_true(str_eq(dicom_text(&item->set, 0x00081155), dicom_text(&f.data, DICOM_SOP_INSTANCE)));
  assert_true(str_eq(dicom_text(&f.meta, 0x00020003), dicom_text(&f.data, DICOM_SOP_INSTANCE)));
  assert_true(str_eqc(dicom_text(&item->set, 0x00081150), "1.2.840.10008.5.1.4.1.1.2"));
  assert_true(str_eqc(dicom_text(&f.data, 0x00120062), "YES"));
  assert_null(dicom_find(&f.meta, 0x00020016));
  assert_null(dicom_find(&f.data, DICOM_BURNED_IN)); /* nobody looked at pixels */
  arena_free(&arena);
  buf_release(&out);
  buf_release(&again);
  buf_release(&w.b);
  dicom_profile_free(p);
}

/* A name that says it is a number or bytes; safe private elements by creator, not by number. */
static void lies(void **state UNUSED) {
  struct dicom_profile *p = profile_of(policies[0]);
  struct dicom_person who = someone(DEID_DATES_SHIFT);
  struct wire w;
  struct buf out = {0};
  struct error e = {0};
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.2");
  wire_text(&w, 0x00081030, "OB", "Hildegard in bytes");
  wire_text(&w, 0x00081070, "UL", "Hildegard as a number");
  wire_text(&w, 0x0008103E, "CS", "lower Hildegard");
  wire_text(&w, 0x00190010, "LO", "SIEMENS MR HEADER");
  wire_text(&w, 0x00190011, "LO", "SOMEBODY ELSE");
  wire_text(&w, 0x0019100C, "IS", "1000");
  wire_text(&w, 0x0019110C, "IS", "2000");
  wire_text(&w, 0x0019100D, "OB", "Hildegard");
  wire_text(&w, 0x00280106, "LO", "Hildegard as a text");
  assert_int_equal(clean(p, &who, &w.b, &out, &e), OK);
  assert_false(holds(&out, "hildegard"));
  assert_true(holds(&out, "1000") && holds(&out, "siemens mr header"));
  assert_false(holds(&out, "2000"));
  assert_false(holds(&out, "somebody else"));
  buf_release(&out);
  buf_release(&w.b);
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, 0x00041500, "CS", "KAUFMAN");
  assert_int_equal(clean(p, &who, &w.b, &out, &e), E_INPUT); /* a DICOMDIR */
  buf_release(&out);
  buf_release(&w.b);
  dicom_profile_free(p);
}

/* A plane in bit 15 of 12-bit pixels, and one of its own: gone, and the image is as it was. */
static void overlays(void **state UNUSED) {
  struct dicom_profile *p = profile_of(policies[0]);
  struct dicom_person who = someone(DEID_DATES_SHIFT);
  for (int big = 0; big < 2; big++) {
    struct wire w;
    struct buf out = {0};
    struct error e = {0};
    struct arena a;
    struct dicom_file f;
    char pixels[64];
    for (int i = 0; i < 64; i += 2) pixels[i + big] = (char)i, pixels[i + 1 - big] = (char)((i & 15) | (i % 3 ? 0x80 : 0));
    wire_begin(&w, big ? "1.2.840.10008.1.2.2" : EXPLICIT, "x");
    wire_text(&w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.2");
    wire_u16(&w, 0x00280100, 16);
    wire_u16(&w, 0x00280101, 12);
    wire_u16(&w, 0x00280102, 11);
    wire_u16(&w, 0x60000100, 16);
    wire_u16(&w, 0x60000102, 15);
    wire_bytes(&w, 0x60023000, "OW", "drawn", 5);
    wire_u16(&w, 0x60040010, 4);
    wire_bytes(&w, 0x60043000, "OW", "\0\0\0\0", 4); /* empty: stays */
    wire_bytes(&w, DICOM_PIXELS, "OW", pixels, sizeof pixels);
    assert_int_equal(clean(p, &who, &w.b, &out, &e), OK);
    arena_init(&a, 1 << 20, 0);
    assert_int_equal(dicom_of(&a, &out, &f, &e), OK);
    assert_null(dicom_find(&f.data, 0x60000102));
    assert_null(dicom_find(&f.data, 0x60023000));
    assert_non_null(dicom_find(&f.data, 0x60043000));
    const char *now = dicom_find(&f.data, DICOM_PIXELS)->value.p;
    for (int i = 0; i < 64; i += 2) assert_true(now[i + big] == (char)i && now[i + 1 - big] == (char)(i & 15));
    arena_free(&a);
    buf_release(&out);
    buf_release(&w.b);
  }
  dicom_profile_free(p);
}

static void memory(void **state UNUSED) {
  struct dicom_profile *p = profile_of(policies[0]);
  struct dicom_person who = someone(DEID_DATES_SHIFT);
  struct wire w;
  wire_begin(&w, EXPLICIT, "x");
  patient(&w);
  wire_text(&w, 0x00081030, "LO", "XR CHEST for Zebulon");
  privates(&w);
  for (long n = 1; n < 100000; n++) {
    struct error e = {0};
    struct buf out = {0};
    arena_fail_at(n);
    int rc = clean(p, &who, &w.b, &out, &e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    if (rc == OK) assert_false(holds(&out, "zebulon"));
    buf_release(&out);
    if (pending) break;
    assert_true(rc == OK || rc == E_NOMEM || rc == E_LIMIT);
  }
  buf_release(&w.b);
  dicom_profile_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(everywhere),    cmocka_unit_test(from_the_vault),
                                     cmocka_unit_test(rules_expert),  cmocka_unit_test(rules_safe_harbor),
                                     cmocka_unit_test(rules_limited), cmocka_unit_test(dates),
                                     cmocka_unit_test(uids),          cmocka_unit_test(lies),
                                     cmocka_unit_test(overlays),      cmocka_unit_test(memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
