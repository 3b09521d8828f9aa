/* Pixels: geometry and blanking in every layout, device rules, the helper process and its children, burned-in text of the shared images. */
#include "../record/dicom_fixture.h"

#include "base/json.h"
#include "deid/dicom_pixels.h"

#define EXPLICIT "1.2.840.10008.1.2.1"
#define BIG "1.2.840.10008.1.2.2"

struct layout {
  const char *syntax, *photometric, *vr;
  int samples, allocated, planar, is_signed;
};

static void image_wire(struct wire *w, const struct layout *l, int rows, int columns, const void *pixels, size_t n) {
  wire_begin(w, l->syntax, "x");
  wire_text(w, DICOM_SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.2");
  wire_text(w, DICOM_SOP_INSTANCE, "UI", "1.2.3");
  wire_u16(w, 0x00280002, (uint16_t)l->samples);
  wire_text(w, 0x00280004, "CS", l->photometric);
  if (l->samples > 1) wire_u16(w, 0x00280006, (uint16_t)l->planar);
  wire_u16(w, 0x00280010, (uint16_t)rows);
  wire_u16(w, 0x00280011, (uint16_t)columns);
  wire_u16(w, 0x00280100, (uint16_t)l->allocated);
  wire_u16(w, 0x00280101, (uint16_t)l->allocated);
  wire_u16(w, 0x00280102, (uint16_t)(l->allocated - 1));
  wire_u16(w, 0x00280103, (uint16_t)l->is_signed);
  wire_bytes(w, DICOM_PIXELS, l->vr, pixels, n);
}

/* Exactly the box changes, in every layout; outside of it every byte stays. */
static void blanking(void **state UNUSED) {
  static const struct layout layouts[] = {{EXPLICIT, "MONOCHROME2", "OB", 1, 8, 0, 0},  {EXPLICIT, "MONOCHROME1", "OB", 1, 8, 0, 0},
                                          {EXPLICIT, "MONOCHROME2", "OW", 1, 16, 0, 1}, {BIG, "MONOCHROME2", "OW", 1, 16, 0, 0},
                                          {BIG, "MONOCHROME2", "OW", 1, 8, 0, 0},       {EXPLICIT, "RGB", "OB", 3, 8, 0, 0},
                                          {EXPLICIT, "RGB", "OB", 3, 8, 1, 0},          {EXPLICIT, "RGB", "OW", 3, 16, 1, 0},
                                          {EXPLICIT, "YBR_FULL", "OB", 3, 8, 0, 0},     {EXPLICIT, "MONOCHROME2", "OW", 1, 32, 0, 0}};
  enum { ROWS = 20, COLUMNS = 30 };
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
    const struct layout *l = &layouts[i];
    size_t n = (size_t)ROWS * COLUMNS * l->samples * (l->allocated / 8), changed = 0;
    uint8_t *pixels = malloc(n), *after = malloc(n);
    for (size_t k = 0; k < n; k++) pixels[k] = (uint8_t)(k * 37 + k / 251 + 1);
    struct wire w;
    struct arena a;
    struct dicom_file f;
    struct dicom_image m;
    struct error e = {0};
    bool readable;
    image_wire(&w, l, ROWS, COLUMNS, pixels, n);
    arena_init(&a, 1 << 20, 0);
    assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
    assert_int_equal(dicom_image_of(&f, &m, &readable, &e), OK);
    assert_true(readable);
    assert_int_equal(dicom_image_bytes(&m), n);
    const struct dicom_box box = {5, 3, 4, 2}, beyond = {-3, 18, 5, 90};
    memcpy(after, pixels, n);
    dicom_image_blank(&m, after, &box, 1);
    for (size_t k = 0; k < (size_t)ROWS * COLUMNS; k++) {
      int y = (int)(k / COLUMNS), x = (int)(k % COLUMNS);
      bool inside = x >= 5 && x < 9 && y >= 3 && y < 5;
      int64_t was = dicom_image_value(&m, pixels, k, false), is = dicom_image_value(&m, after, k, false);
      if (!inside) assert_true(was == is);
      if (inside) assert_true(is == dicom_image_value(&m, after, 3 * COLUMNS + 5, false));
    }
    for (size_t k = 0; k < n; k++) changed += pixels[k] != after[k];
    assert_true(changed > 0 && changed <= 8u * l->samples * (l->allocated / 8));
    dicom_image_blank(&m, after, &beyond, 1); /* cut to the image */
    free(pixels);
    free(after);
    buf_release(&w.b);
    arena_free(&a);
  }
}

/* One bit a pixel: the first is the lowest bit of the first byte, frames follow one another inside a byte, big-endian words are turned. */
static void single_bits(void **state UNUSED) {
  enum { ROWS = 3, COLUMNS = 5, BYTES = 6 }; /* 15 pixels, three frames: 45 bits */
  static const struct layout layouts[] = {{EXPLICIT, "MONOCHROME2", "OB", 1, 1, 0, 0}, {BIG, "MONOCHROME2", "OW", 1, 1, 0, 0}};
  for (size_t i = 0; i < 2; i++) {
    const uint8_t plain[BYTES] = {0x21, 0x43, 0x65, 0x87, 0xA9, 0xEB};
    uint8_t bits[BYTES], pixels[3 * ROWS * COLUMNS], again[BYTES];
    for (int k = 0; k < BYTES; k++) bits[k] = plain[i ? k ^ 1 : k];
    struct wire w;
    struct arena a;
    struct dicom_file f;
    struct dicom_image m;
    struct error e = {0};
    bool readable;
    image_wire(&w, &layouts[i], ROWS, COLUMNS, bits, sizeof bits);
    arena_init(&a, 1 << 20, 0);
    assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
    assert_int_equal(dicom_set_text(&f, &f.data, 0x00280008, DICOM_VR('I', 'S'), STR("3"), &e), OK);
    assert_int_equal(dicom_image_of(&f, &m, &readable, &e), OK);
    assert_true(readable && m.bits == i + 1);
    assert_int_equal(dicom_bits_bytes(&m), BYTES);
    assert_int_equal(dicom_image_bytes(&m), sizeof pixels);
    dicom_bits_unpack(&m, bits, pixels);
    for (int k = 0; k < (int)sizeof pixels; k++) assert_int_equal(pixels[k], plain[k / 8] >> k % 8 & 1);
    memcpy(again, bits, sizeof again);
    pixels[17] ^= 1; /* the third of the second frame: bit 1 of byte 2 */
    dicom_bits_pack(&m, pixels, again);
    for (int k = 0; k < BYTES; k++) assert_int_equal(again[k], bits[k] ^ (k == (i ? 3 : 2) ? 2 : 0));
    assert_int_equal(dicom_set_text(&f, &f.data, 0x00280008, DICOM_VR('I', 'S'), STR("4"), &e), OK);
    assert_int_equal(dicom_image_of(&f, &m, &readable, &e), E_INPUT); /* 60 bits are more than there are */
    arena_free(&a);
    buf_release(&w.b);
  }
}

/* Text of a real image, drawn as a segment of one bit a pixel: found, blanked; all other bits as they were. */
static void text_in_a_segment(const struct dicom_profile *p, struct dicom_eye *eye, const struct dicom_file *from) {
  struct dicom_image m;
  struct error e = {0};
  struct wire w;
  struct arena a;
  struct dicom_file f;
  struct dicom_counts counts = {0};
  bool readable, cleaned;
  assert_int_equal(dicom_image_of(from, &m, &readable, &e), OK);
  const uint8_t *pixels = (const uint8_t *)dicom_find(&from->data, DICOM_PIXELS)->value.p;
  size_t n = (size_t)m.rows * m.columns, bytes = (n + 15) / 16 * 2, lost = 0, gained = 0;
  uint8_t *grey = malloc(n), *bits = calloc(1, bytes);
  dicom_image_grey(&m, pixels, false, false, grey);
  for (size_t i = 0; i < n; i++) bits[i / 8] |= (uint8_t)((grey[i] > 200) << i % 8);
  const struct layout l = {EXPLICIT, "MONOCHROME2", "OB", 1, 1, 0, 0};
  image_wire(&w, &l, (int)m.rows, (int)m.columns, bits, bytes);
  arena_init(&a, 64 << 20, 0);
  assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
  assert_int_equal(dicom_pixels_clean(p, &f, eye, &counts, &cleaned, &e), OK);
  assert_true(cleaned && counts.images_read == 1 && counts.boxes > 0);
  struct str now = dicom_find(&f.data, DICOM_PIXELS)->value;
  assert_int_equal(now.n, bytes);
  for (size_t i = 0; i < bytes; i++)
    for (int b = 0; b < 8; b++) {
      int was = bits[i] >> b & 1, is = (uint8_t)now.p[i] >> b & 1;
      lost += was && !is, gained += is && !was;
    }
  assert_int_equal(gained, 0);
  assert_true(lost > 100 && lost < n / 30);
  free(grey), free(bits);
  arena_free(&a);
  buf_release(&w.b);
}

static void contradictions(void **state UNUSED) {
  static const struct layout layouts[] = {{EXPLICIT, "MONOCHROME2", "OW", 1, 12, 0, 0},
                                          {EXPLICIT, "MONOCHROME2", "OW", 7, 8, 0, 0},
                                          {EXPLICIT, "MONOCHROME2", "OW", 1, 16, 0, 0}};
  for (size_t i = 0; i < 3; i++) {
    uint8_t few[100] = {0};
    struct wire w;
    struct arena a;
    struct dicom_file f;
    struct dicom_image m;
    struct error e = {0};
    bool readable;
    image_wire(&w, &layouts[i], 100, 100, few, sizeof few);
    arena_init(&a, 1 << 20, 0);
    assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
    assert_int_equal(dicom_image_of(&f, &m, &readable, &e), E_INPUT);
    buf_release(&w.b);
    arena_free(&a);
  }
}

static void devices(void **state UNUSED) {
  struct dicom_profile *p;
  struct error e = {0};
  struct wire w;
  struct arena a;
  struct dicom_file f;
  struct dicom_box box[DICOM_BOXES];
  assert_int_equal(dicom_profile_load("policy/expert.json", &p, &e), OK);
  wire_begin(&w, EXPLICIT, "x");
  wire_text(&w, DICOM_MODALITY, "CS", "US");
  wire_text(&w, 0x00080070, "LO", "Philips Medical Systems");
  wire_text(&w, 0x00081090, "LO", "iU22");
  wire_u16(&w, DICOM_ROWS, 480);
  arena_init(&a, 1 << 20, 0);
  assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
  assert_int_equal(dicom_device_boxes(p, &f, box, DICOM_BOXES), 1);
  assert_true(box[0].left == 0 && box[0].top == 0 && box[0].width == 640 && box[0].height == 47);
  assert_true(dicom_text_likely(&f));
  assert_int_equal(dicom_set_text(&f, &f.data, 0x00081090, DICOM_VR('L', 'O'), STR("other"), &e), OK);
  assert_int_equal(dicom_device_boxes(p, &f, box, DICOM_BOXES), 0);
  arena_free(&a);
  buf_release(&w.b);
  dicom_profile_free(p);
}

/* ---- the helper process ---- */

struct whole { /* one file through parser, pixels, writer */
  struct arena a;
  struct dicom_file f;
  struct file_map m;
  struct dicom_counts counts;
  bool cleaned;
};

static int look(struct whole *x, const struct dicom_profile *p, struct dicom_eye *eye, const char *path) {
  struct error e = {0};
  *x = (struct whole){0};
  assert_int_equal(file_map_open(path, &x->m, &e), OK);
  arena_init(&x->a, 1 << 30, 0);
  int rc = dicom_parse(&x->a, x->m.p, x->m.n, NULL, &x->f, &e);
  return rc < 0 ? rc : dicom_pixels_clean(p, &x->f, eye, &x->counts, &x->cleaned, &e);
}
static void look_end(struct whole *x) {
  arena_free(&x->a);
  file_map_close(&x->m);
}

/* The boxes of ground_truth.json have one value each, everything outside the lines of text is as it was. */
static void boxes_hidden(const char *dir, const char *name, const struct whole *x, const struct dicom_file *before) {
  char path[512];
  struct arena a;
  struct json root, g;
  struct error e = {0};
  struct dicom_image m;
  bool readable;
  int words = 0;
  arena_init(&a, 1 << 20, 0);
  snprintf(path, sizeof path, "%s/ground_truth.json", dir);
  assert_int_equal(json_load(&a, path, &root, &e), OK);
  assert_int_equal(dicom_image_of(&x->f, &m, &readable, &e), OK);
  const uint8_t *now = (const uint8_t *)dicom_find(&x->f.data, DICOM_PIXELS)->value.p;
  const uint8_t *was = (const uint8_t *)dicom_find(&before->data, DICOM_PIXELS)->value.p;
  for (struct json_iter it = json_items(json_get(root, name)); json_next(&it, &g); words++) {
    int64_t left, top, width, height;
    assert_true(json_i64(json_get(g, "left"), &left) && json_i64(json_get(g, "top"), &top) && json_i64(json_get(g, "width"), &width) &&
                json_i64(json_get(g, "height"), &height));
    left -= 25, top -= 25; /* the boxes were taken on an image with a border */
    size_t first = (size_t)(top > 0 ? top : 0) * m.columns + (size_t)(left > 0 ? left : 0);
    for (int64_t y = top > 0 ? top : 0; y < top + height; y++)
      for (int64_t i = left > 0 ? left : 0; i < left + width; i++)
        assert_true(dicom_image_value(&m, now, (size_t)(y * m.columns + i), false) == dicom_image_value(&m, now, first, false));
  }
  assert_true(words > 0);
  size_t changed = 0, n = (size_t)m.rows * m.columns;
  for (size_t i = 0; i < n; i++) changed += dicom_image_value(&m, now, i, false) != dicom_image_value(&m, was, i, false);
  assert_true(changed > 500 && changed < n / 30);
  arena_free(&a);
}

static bool ends(struct str s, const char *with) { return str_ends(s, str_c(with)); }

static void burned_in(void **state UNUSED) {
  char dir[256];
  struct str *list;
  size_t n, found = 0;
  struct arena a;
  struct error e = {0};
  struct dicom_profile *p;
  struct dicom_eye *eye;
  if (!data_unpack("deid-presidio-dicom", dir)) skip();
  assert_int_equal(dicom_profile_load("policy/expert.json", &p, &e), OK);
  assert_int_equal(dicom_eye_open(&eye, &e), OK);
  arena_init(&a, 1 << 20, 0);
  assert_int_equal(file_list(&a, dir, &list, &n, &e), OK);
  for (size_t i = 0; i < n; i++) {
    if (!ends(list[i], ".dcm")) continue;
    struct whole x;
    struct arena b;
    struct dicom_file before;
    assert_int_equal(look(&x, p, eye, list[i].p), OK);
    assert_true(x.cleaned);
    arena_init(&b, 1 << 30, 0);
    assert_int_equal(dicom_parse(&b, x.m.p, x.m.n, NULL, &before, &e), OK);
    if (x.counts.boxes) {
      found++;
      boxes_hidden(dir, strrchr(list[i].p, '/') + 1, &x, &before);
      if (found == 1) text_in_a_segment(p, eye, &before);
    } else {
      struct str now = dicom_find(&x.f.data, DICOM_PIXELS)->value, was = dicom_find(&before.data, DICOM_PIXELS)->value;
      assert_true(str_eq(now, was));
    }
    arena_free(&b);
    look_end(&x);
  }
  assert_true(found >= 1);
  dicom_eye_close(eye);
  dicom_profile_free(p);
  arena_free(&a);
  assert_int_equal(file_remove_tree(dir, &e), OK);
}

static uint16_t most(const struct dicom_file *f) {
  uint16_t v = 0;
  dicom_u16(f, &f->data, DICOM_ROWS, &v);
  return v;
}

/* Compressed images of every kind decode or are refused; a damaged one is refused and the next is read; what is not blanked stays as it came. */
static void compressed(void **state UNUSED) {
  char dir[256];
  struct str *list;
  size_t n, decoded = 0, refused = 0, segments = 0;
  struct arena a;
  struct error e = {0};
  struct dicom_profile *p;
  struct dicom_eye *eye;
  if (!data_unpack("imaging-dicom", dir)) skip();
  assert_int_equal(dicom_profile_load("policy/expert.json", &p, &e), OK);
  assert_int_equal(dicom_eye_open(&eye, &e), OK);
  arena_init(&a, 1 << 20, 0);
  assert_int_equal(file_list(&a, dir, &list, &n, &e), OK);
  for (size_t i = 0; i < n; i++) {
    struct whole x;
    int64_t size = file_size(list[i].p);
    bool sample = strstr(list[i].p, "/MR4_") || strstr(list[i].p, "pydicom/liver_") || strstr(list[i].p, "_small_") ||
                  strstr(list[i].p, "HTJ2K") || strstr(list[i].p, "dcmtk_");
    if (!sample || size > 300000) continue;
    int rc = look(&x, p, eye, list[i].p);
    assert_true(rc == OK || rc == E_INPUT);
    if (strstr(list[i].p, "pydicom/liver")) { /* segmentations of one bit a pixel, without text: read, and as they were */
      assert_int_equal(rc, x.f.encapsulated ? E_INPUT : OK);
      assert_true(x.f.encapsulated || (x.counts.images_read == 1 && x.counts.boxes == 0));
      segments += !x.f.encapsulated;
    }
    if (rc == OK && x.f.encapsulated && x.counts.boxes == 0) {
      struct dicom_file before;
      struct arena b;
      arena_init(&b, 1 << 30, 0);
      assert_int_equal(dicom_parse(&b, x.m.p, x.m.n, NULL, &before, &e), OK);
      assert_true(str_eq(dicom_find(&x.f.data, DICOM_PIXELS)->value, dicom_find(&before.data, DICOM_PIXELS)->value));
      assert_true(most(&x.f) > 0);
      decoded += x.counts.images_read > 0;
      arena_free(&b);
    }
    refused += rc < 0;
    look_end(&x);
  }
  assert_true(decoded >= 8);
  assert_true(segments >= 2);
  assert_true(refused >= 2); /* HTJ2K */
  dicom_eye_close(eye);
  dicom_profile_free(p);
  arena_free(&a);
  assert_int_equal(file_remove_tree(dir, &e), OK);
}

/* Garbage in the place of a codestream, and headers that promise too much. */
static void damaged(void **state UNUSED) {
  static const char *const syntaxes[] = {
      "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70",  "1.2.840.10008.1.2.4.80",  "1.2.840.10008.1.2.4.90",
      "1.2.840.10008.1.2.5",    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.100", "1.2.3"};
  struct dicom_profile *p;
  struct dicom_eye *eye;
  struct error e = {0};
  assert_int_equal(dicom_profile_load("policy/expert.json", &p, &e), OK);
  assert_int_equal(dicom_eye_open(&eye, &e), OK);
  for (size_t i = 0; i < sizeof syntaxes / sizeof *syntaxes; i++) {
    const struct layout l = {syntaxes[i], "MONOCHROME2", "OW", 1, 16, 0, 0};
    struct wire w, frag = {0};
    struct arena a;
    struct dicom_file f;
    struct dicom_counts counts = {0};
    bool cleaned;
    e = (struct error){0};
    uint8_t garbage[512];
    for (size_t k = 0; k < sizeof garbage; k++) garbage[k] = (uint8_t)(k * 89 + 7);
    image_wire(&w, &l, 4000, 4000, "", 0);
    w.b.n -= 12; /* the empty pixel data */
    wire_head(&w, DICOM_PIXELS, "OB", UINT32_MAX);
    wire_item(&w, 0);
    wire_item(&w, sizeof garbage);
    buf_put(&w.b, garbage, sizeof garbage);
    wire_end(&w);
    arena_init(&a, 64 << 20, 0);
    assert_int_equal(dicom_of(&a, &w.b, &f, &e), OK);
    int rc = dicom_pixels_clean(p, &f, eye, &counts, &cleaned, &e);
    if (rc == OK) fail_msg("garbage was an image of syntax %s", syntaxes[i]);
    assert_true(rc == E_INPUT);
    assert_false(cleaned);
    arena_free(&a);
    buf_release(&w.b);
    buf_release(&frag.b);
  }
  dicom_eye_close(eye);
  dicom_profile_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(blanking), cmocka_unit_test(single_bits), cmocka_unit_test(contradictions),
                                     cmocka_unit_test(devices),  cmocka_unit_test(burned_in),   cmocka_unit_test(compressed),
                                     cmocka_unit_test(damaged)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
