/* The tensor file: round trip, half precision, and every way in which a header can lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/random.h"
#include "model/safetensors.h"

static char dir[64];

static int setup(void **state) {
  (void)state;
  strcpy(dir, "/tmp/vitae-safetensors-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/a.safetensors", dir);
  unlink(path);
  return rmdir(dir);
}

static size_t build(uint8_t *out, const char *header, size_t data) {
  size_t n = strlen(header);
  for (int i = 0; i < 8; i++) out[i] = (uint8_t)(n >> 8 * i);
  memcpy(out + 8, header, n);
  for (size_t i = 0; i < data; i++) out[8 + n + i] = (uint8_t)i;
  return 8 + n + data;
}

static int parse(const char *header, size_t data) {
  uint8_t *bytes = malloc(8 + strlen(header) + data + 1); /* exact, so that a sanitizer sees one byte too far */
  struct safetensors s;
  struct arena a;
  struct error e = {0};
  size_t n = build(bytes, header, data);
  uint8_t *exact = malloc(n);
  memcpy(exact, bytes, n);
  arena_init(&a, 0, 0);
  int rc = safetensors_parse(exact, n, &a, &s, &e);
  arena_free(&a);
  free(exact);
  free(bytes);
  return rc;
}

static void test_round_trip(void **state) {
  (void)state;
  char path[128];
  struct error e = {0};
  float a[6] = {1, -2.5f, 3e-30f, 0, -0.0f, 1e30f}, b[2] = {7, 8}, back[6];
  struct safetensors_out out[] = {{.name = "z \"quoted\"", .dims = 2, .shape = {2, 3}, .data = a},
                                  {.name = "empty", .dims = 1, .shape = {0}, .data = NULL},
                                  {.name = "b", .dims = 1, .shape = {2}, .data = b}};
  struct safetensors_pair meta[] = {{STR("format"), STR("pt")}};
  struct safetensors *s;
  snprintf(path, sizeof path, "%s/a.safetensors", dir);
  assert_int_equal(safetensors_write(path, out, 3, meta, 1, &e), OK);
  assert_int_equal(safetensors_open(path, &s, &e), OK);
  assert_int_equal(s->n, 3);
  const struct safetensors_tensor *t = safetensors_find(s, "z \"quoted\"");
  assert_non_null(t);
  assert_true(t->dims == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->count == 6);
  assert_int_equal(safetensors_floats(t, back, 6, &e), OK);
  assert_memory_equal(a, back, sizeof a);
  assert_int_equal(safetensors_floats(t, back, 5, &e), E_MISMATCH);
  assert_null(safetensors_find(s, "absent"));
  assert_true(str_eqc(safetensors_metadata(s, "format"), "pt"));
  assert_null(safetensors_metadata(s, "absent").p);
  safetensors_close(s);
}

static void test_half(void **state) {
  (void)state;
  static const struct {
    uint16_t half, bf16;
    float value;
  } at[] = {{0x3c00, 0x3f80, 1},     {0xc100, 0xc020, -2.5f},         {0x0000, 0x0000, 0},
            {0x7bff, 0x477f, 65504}, {0x0001, 0x3380, 5.9604645e-8f}, {0x7c00, 0x7f80, INFINITY}};
  struct error e = {0};
  for (size_t i = 0; i < 6; i++) {
    float v;
    struct safetensors_tensor t = {.type = SAFETENSORS_F16, .count = 1, .data = (const uint8_t *)&at[i].half, .bytes = 2};
    assert_int_equal(safetensors_floats(&t, &v, 1, &e), OK);
    assert_true(v == at[i].value);
    t.type = SAFETENSORS_BF16, t.data = (const uint8_t *)&at[i].bf16;
    assert_int_equal(safetensors_floats(&t, &v, 1, &e), OK);
    assert_true(v == at[i].value || at[i].value == 65504);
    t.type = SAFETENSORS_I16;
    assert_int_equal(safetensors_floats(&t, &v, 1, &e), E_MISMATCH);
  }
}

static void test_lying_headers(void **state) {
  (void)state;
  assert_int_equal(parse("{}", 0), OK);
  assert_int_equal(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ", 8), OK);
  assert_int_equal(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4), OK);
  static const struct {
    const char *header;
    size_t data;
  } bad[] = {
      {"", 0},
      {"[]", 0},
      {"{", 0},
      {"{}", 1}, /* bytes that belong to nobody */
      {"{\"a\":1}", 0},
      {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
      {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]}}", 12},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905,4],\"data_offsets\":[0,16]}}", 16},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4,0],\"data_offsets\":[0,0]}}", 0},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
       12},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}",
       20},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
       16},
      {"{\"__metadata__\":3}", 0},
      {"{\"__metadata__\":{\"a\":3}}", 0},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (parse(bad[i].header, bad[i].data) != E_CORRUPT) fail_msg("accepted: %s with %zu bytes", bad[i].header, bad[i].data);
}

static void test_header_length(void **state) {
  (void)state;
  uint8_t bytes[64] = {0};
  struct safetensors s;
  struct arena a;
  struct error e = {0};
  arena_init(&a, 0, 0);
  for (size_t n = 0; n < 8; n++) assert_int_equal(safetensors_parse(bytes, n, &a, &s, &e), E_CORRUPT);
  memset(bytes, 0xff, 8);
  assert_int_equal(safetensors_parse(bytes, 64, &a, &s, &e), E_CORRUPT);
  memset(bytes, 0, 8);
  bytes[0] = 57;
  assert_int_equal(safetensors_parse(bytes, 64, &a, &s, &e), E_CORRUPT);
  arena_free(&a);
}

/* Any single flipped bit of the header: refused, or the same tensors under another name or metadata; never a crash. */
static void test_flipped_bits(void **state) {
  (void)state;
  static const char header[] = "{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}";
  for (size_t bit = 0; bit < 8 * (8 + sizeof header - 1); bit++) {
    uint8_t *bytes = malloc(8 + sizeof header - 1 + 8);
    struct safetensors s;
    struct arena a;
    struct error e = {0};
    size_t n = build(bytes, header, 8);
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    arena_init(&a, 0, 0);
    int rc = safetensors_parse(bytes, n, &a, &s, &e);
    assert_true(rc == OK || rc == E_CORRUPT);
    if (rc == OK) assert_true(s.n <= 2 && (s.n == 0 || s.tensor[0].count * 4 == 8 || s.n == 2));
    arena_free(&a);
    free(bytes);
  }
}

static void test_out_of_memory(void **state) {
  (void)state;
  char path[128];
  struct error e = {0};
  float v[2] = {1, 2};
  struct safetensors_out out = {.name = "a", .dims = 1, .shape = {2}, .data = v};
  struct safetensors_pair meta = {STR("k"), STR("v")};
  snprintf(path, sizeof path, "%s/a.safetensors", dir);
  for (long n = 1; n < 200; n++) {
    struct safetensors *s = NULL;
    arena_fail_at(n);
    int rc = safetensors_write(path, &out, 1, &meta, 1, &e);
    if (rc >= 0) rc = safetensors_open(path, &s, &e);
    bool done = arena_fail_pending();
    arena_fail_at(0);
    assert_true(rc == OK || rc == E_NOMEM);
    safetensors_close(s);
    if (done) {
      assert_int_equal(rc, OK);
      return;
    }
  }
  fail_msg("never came through");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_half),
                                     cmocka_unit_test(test_lying_headers), cmocka_unit_test(test_header_length),
                                     cmocka_unit_test(test_flipped_bits),  cmocka_unit_test(test_out_of_memory)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
