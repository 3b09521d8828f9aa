/* The DICOM parser: every syntax, nesting, UN, hostile lengths, and the same tree again after writing. */
#include "dicom_fixture.h"

#include "base/hash.h"
#include "record/record.h"

#define IMPLICIT "1.2.840.10008.1.2"
#define EXPLICIT "1.2.840.10008.1.2.1"
#define BIG "1.2.840.10008.1.2.2"
#define DEFLATED "1.2.840.10008.1.2.1.99"

static void small(struct wire *w, const char *syntax) {
  wire_begin(w, syntax, "x");
  wire_text(w, 0x00080005, "CS", "ISO_IR 100");
  wire_text(w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.7");
  wire_text(w, DICOM_SOP_INSTANCE, "UI", "1.2.3.4");
  wire_head(w, 0x00081032, "SQ", UINT32_MAX);
  wire_item(w, UINT32_MAX);
  wire_text(w, 0x00080100, "SH", "CODE");
  wire_head(w, 0x0040A170, "SQ", 0);
  wire_item_end(w);
  wire_end(w);
  wire_text(w, DICOM_PATIENT_NAME, "PN", "KAUFMAN^SCOTT");
  wire_u16(w, DICOM_ROWS, 552);
}

static void syntaxes(void **state UNUSED) {
  static const char *const all[] = {IMPLICIT, EXPLICIT, BIG};
  for (int i = 0; i < 3; i++) {
    struct wire w;
    struct dicom_file f;
    struct arena a;
    struct error e = {0};
    uint16_t rows;
    arena_init(&a, 1 << 20, 0);
    small(&w, all[i]);
    assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
    assert_true(str_eqc(dicom_text(&f.data, DICOM_PATIENT_NAME), "KAUFMAN^SCOTT"));
    assert_true(dicom_u16(&f, &f.data, DICOM_ROWS, &rows) && rows == 552);
    const struct dicom_element *sq = dicom_find(&f.data, 0x00081032);
    assert_true(sq && sq->vr == DICOM_SQ && sq->items && !sq->items->next);
    assert_true(str_eqc(dicom_text(&sq->items->set, 0x00080100), "CODE"));
    assert_int_equal(dicom_find(&sq->items->set, 0x0040A170)->vr, DICOM_SQ);
    struct buf out = {0}, again = {0};
    struct dicom_file g;
    assert_int_equal(dicom_write(&f, &out, &e), OK);
    for (int k = 0; k < 128; k++) assert_int_equal(out.p[k], 0);
    assert_int_equal(dicom_of(&a, &out, &g, &e), OK);
    assert_int_equal(g.elements, f.elements + 1); /* the length of the meta information */
    dicom_remove(&g.meta, 0x00020000);
    assert_int_equal(dicom_write(&g, &again, &e), OK);
    assert_true(again.n == out.n && memcmp(again.p, out.p, out.n) == 0);
    buf_release(&w.b);
    buf_release(&out);
    buf_release(&again);
    arena_free(&a);
  }
}

/* A sequence that calls itself UN, of defined and undefined length; a standard element that calls itself UN. */
static void unknown(void **state UNUSED) {
  struct wire w, in = {.implicit = true};
  struct dicom_file f;
  struct arena a;
  struct error e = {0};
  arena_init(&a, 1 << 20, 0);
  wire_item(&in, UINT32_MAX);
  wire_text(&in, DICOM_PATIENT_NAME, "PN", "INNER^NAME");
  wire_item_end(&in);
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, 0x00100010, "UN", "OUTER^NAME");
  wire_text(&w, 0x00110010, "LO", "MAKER");
  wire_bytes(&w, 0x00111001, "UN", in.b.p, in.b.n);
  wire_head(&w, 0x00111002, "UN", UINT32_MAX);
  buf_put(&w.b, in.b.p, in.b.n);
  wire_end(&w);
  wire_text(&w, 0x00111003, "UN", "just bytes");
  assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
  assert_true(str_eqc(dicom_text(&f.data, DICOM_PATIENT_NAME), "OUTER^NAME"));
  for (uint32_t tag = 0x00111001; tag <= 0x00111002; tag++) {
    const struct dicom_element *sq = dicom_find(&f.data, tag);
    assert_true(sq && sq->vr == DICOM_SQ && sq->items);
    assert_true(str_eqc(dicom_text(&sq->items->set, DICOM_PATIENT_NAME), "INNER^NAME"));
  }
  assert_int_equal(dicom_find(&f.data, 0x00111003)->vr, DICOM_UN);
  buf_release(&w.b);
  buf_release(&in.b);
  arena_free(&a);
}

static int parse_bytes(const void *p, size_t n, struct error *e) {
  struct arena a;
  struct dicom_file f;
  arena_init(&a, 64 << 20, 0);
  uint8_t *copy = malloc(n ? n : 1); /* exactly as long: a read beyond it is seen */
  memcpy(copy, p, n);
  int rc = dicom_parse(&a, copy, n, NULL, &f, e);
  struct buf out = {0};
  if (rc == OK) assert_int_equal(dicom_write(&f, &out, e), OK);
  buf_release(&out);
  free(copy);
  arena_free(&a);
  return rc;
}

static void hostile(void **state UNUSED) {
  static const char *const all[] = {IMPLICIT, EXPLICIT, BIG};
  struct error e = {0};
  for (int i = 0; i < 3; i++) {
    struct wire w;
    small(&w, all[i]);
    int good = 0, bad = 0;
    for (size_t n = 0; n < w.b.n; n++) { /* cut anywhere */
      e = (struct error){0};
      int rc = parse_bytes(w.b.p, n, &e);
      assert_true(rc == OK || rc == E_INPUT);
      *(rc == OK ? &good : &bad) += 1;
    }
    assert_true(bad > 10 * good);
    for (size_t at = 132; at < w.b.n; at++) /* a byte of all ones anywhere */
      for (int bit = 0; bit < 2; bit++) {
        char was = w.b.p[at];
        w.b.p[at] = (char)(bit ? 0xFF : was ^ 0x80);
        e = (struct error){0};
        int rc = parse_bytes(w.b.p, w.b.n, &e);
        assert_true(rc == OK || rc == E_INPUT || rc == E_LIMIT);
        w.b.p[at] = was;
      }
    buf_release(&w.b);
  }
}

static void deep(void **state UNUSED) {
  struct wire w;
  struct error e = {0};
  wire_begin(&w, EXPLICIT, "x");
  for (int i = 0; i < 20000; i++) {
    wire_head(&w, 0x00081140, "SQ", UINT32_MAX);
    wire_item(&w, UINT32_MAX);
  }
  assert_int_equal(parse_bytes(w.b.p, w.b.n, &e), E_LIMIT);
  buf_release(&w.b);
  /* a deflated file that would fill the memory */
  wire_begin(&w, EXPLICIT, "x");
  struct dicom_file f, g;
  struct arena a;
  struct buf out = {0};
  arena_init(&a, 0, 0);
  char *zeros = calloc(1, 8 << 20);
  wire_bytes(&w, 0x7FE00010, "OB", zeros, 8 << 20);
  assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
  f.deflated = true;
  strcpy(f.syntax, DEFLATED);
  assert_int_equal(dicom_set_text(&f, &f.meta, 0x00020010, DICOM_VR('U', 'I'), STR(DEFLATED), &e), OK);
  assert_int_equal(dicom_write(&f, &out, &e), OK);
  assert_true(out.n < 20000);
  assert_int_equal(dicom_of(&a, &out, &g, &e), OK);
  assert_int_equal(dicom_find(&g.data, DICOM_PIXELS)->value.n, 8 << 20);
  const struct dicom_limits limits = {.inflated = 1 << 20};
  assert_int_equal(dicom_parse(&a, (const uint8_t *)out.p, out.n, &limits, &g, &e), E_LIMIT);
  const struct dicom_limits few = {.elements = 3};
  assert_int_equal(dicom_parse(&a, (const uint8_t *)w.b.p, w.b.n, &few, &g, &e), E_LIMIT);
  free(zeros);
  buf_release(&out);
  buf_release(&w.b);
  arena_free(&a);
}

static void memory(void **state UNUSED) {
  struct wire w;
  small(&w, EXPLICIT);
  for (long n = 1;; n++) {
    struct error e = {0};
    struct arena a;
    struct dicom_file f;
    arena_init(&a, 1 << 20, 0);
    arena_fail_at(n);
    int rc = dicom_of(&a, &w.b, &f, &e);
    bool pending = arena_fail_pending();
    arena_fail_at(0);
    arena_free(&a);
    if (pending) {
      assert_int_equal(rc, OK);
      break;
    }
    assert_int_equal(rc, E_NOMEM);
  }
  buf_release(&w.b);
}

static void charsets(void **state UNUSED) {
  static const struct {
    const char *set, *bytes, *utf8;
  } rows[] = {{"ISO_IR 100", "Buc^J\xE9r\xF4me", "Buc^J\xC3\xA9r\xC3\xB4me"},
              {"ISO_IR 192", "\xD0\x9B\xD1\x8E", "\xD0\x9B\xD1\x8E"},
              {"ISO_IR 144", "\xBB\xEE", "\xD0\x9B\xD1\x8E"},
              {"", "caf\xE9", "caf\xC3\xA9"},
              {"\\ISO 2022 IR 87", "\x1B$B;3ED\x1B(B^X", "\xE5\xB1\xB1\xE7\x94\xB0^X"}};
  struct arena a;
  arena_init(&a, 1 << 16, 0);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct error e = {0};
    struct str out;
    assert_int_equal(dicom_text_decode(&a, str_c(rows[i].set), str_c(rows[i].bytes), &out, &e), OK);
    assert_true(str_eqc(out, rows[i].utf8));
  }
  struct error e = {0};
  struct str out;
  assert_int_equal(dicom_text_decode(&a, STR("ISO_IR 999"), STR("\xE9"), &out, &e), E_INPUT);
  assert_int_equal(dicom_text_decode(&a, STR("ISO_IR 192"), STR("\xE9 x"), &out, &e), E_INPUT);
  arena_free(&a);
}

/* ---- the shared files ---- */

struct counts {
  int events, identifiers, rejects;
};
static int take(void *ctx, const struct record *r, struct error *e UNUSED) {
  struct counts *n = ctx;
  n->events += r->object != NULL;
  n->identifiers += r->kind == RECORD_IDENTIFIER;
  if (r->object) {
    assert_true(str_starts(r->code, STR("DICOM//")));
    assert_true(r->person.n > 0 && r->object->n > 0 && r->object->bytes);
  }
  return OK;
}
static void refuse(void *ctx, const struct record_reject *r) {
  ((struct counts *)ctx)->rejects++;
  assert_true(r->reason && *r->reason);
}

static void files(void **state UNUSED) {
  char dir[256];
  if (!data_unpack("imaging-dicom", dir)) skip();
  struct counts n = {0};
  struct record_stats stats = {0};
  struct error e = {0};
  const struct record_sink sink = {.ctx = &n, .record = take, .reject = refuse};
  int rc = dicom_read(dir, &sink, &stats, &e);
  struct error ignored = {0};
  assert_int_equal(file_remove_tree(dir, &ignored), OK);
  assert_int_equal(rc, OK);
  assert_true(n.events >= 100 && n.identifiers > n.events && n.rejects > 0);
  assert_int_equal((int)stats.files, n.events + n.rejects);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(syntaxes), cmocka_unit_test(unknown), cmocka_unit_test(hostile),
                                     cmocka_unit_test(deep),     cmocka_unit_test(memory),  cmocka_unit_test(charsets),
                                     cmocka_unit_test(files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
