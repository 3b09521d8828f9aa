#include "helpers.h"

#include <float.h>
#include <math.h>

#include "base/json.h"
#include "base/random.h"

static struct json_parser *jp;
static int group_start(void **state) {
  if (temp_make(state) < 0) return -1;
  return json_parser_new(&jp, NULL);
}
static int group_end(void **state) {
  json_parser_free(jp);
  return temp_remove(state);
}

/* Parses from memory of exactly n bytes (so that a sanitizer sees every read too far) or with the padding promised. */
static int parse(const char *bytes, size_t n, bool padded, struct json *root) {
  size_t cap = n + (padded ? STREAM_PAD : 0);
  char *copy = calloc(1, cap ? cap : 1);
  memcpy(copy, bytes, n);
  struct error e = {0};
  int rc = json_parse(jp, copy, n, cap, root, &e);
  assert_int_equal(rc, e.code);
  free(copy); /* the document does not need it any more */
  return rc;
}
static struct json good(const char *text) {
  struct json root;
  assert_int_equal(parse(text, strlen(text), true, &root), OK);
  struct json again;
  assert_int_equal(parse(text, strlen(text), false, &again), OK);
  return again;
}

TEST(kinds_and_values) {
  struct json root = good(
      "{\"s\":\"a\\u00e9\\n\",\"i\":-5,\"u\":18446744073709551615,\"r\":1.5e3,\"t\":true,\"f\":false,\"n\":null,\"a\":[1,[2],{}],\"o\":{"
      "\"k\":\"v\"}}");
  static const struct {
    const char *key;
    enum json_kind kind;
  } KINDS[] = {{"s", JSON_STRING}, {"i", JSON_INT},  {"u", JSON_INT},   {"r", JSON_REAL},   {"t", JSON_BOOL},
               {"f", JSON_BOOL},   {"n", JSON_NULL}, {"a", JSON_ARRAY}, {"o", JSON_OBJECT}, {"absent", JSON_NONE}};
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) assert_int_equal(json_kind(json_get(root, KINDS[i].key)), KINDS[i].kind);
  assert_int_equal(json_kind(root), JSON_OBJECT);
  assert_text(json_str(json_get(root, "s")), "a\xC3\xA9\n");
  int64_t i;
  double d;
  bool b;
  assert_true(json_i64(json_get(root, "i"), &i) && i == -5);
  assert_true(json_f64(json_get(root, "i"), &d) && d == -5);
  assert_false(json_i64(json_get(root, "u"), &i));
  assert_true(json_f64(json_get(root, "u"), &d) && d == 18446744073709551615.0);
  assert_true(json_f64(json_get(root, "r"), &d) && d == 1500);
  assert_false(json_i64(json_get(root, "r"), &i));
  assert_true(json_bool(json_get(root, "t"), &b) && b);
  assert_true(json_bool(json_get(root, "f"), &b) && !b);
  assert_false(json_bool(json_get(root, "n"), &b));
  assert_text(json_str(json_get(json_get(root, "o"), "k")), "v");
  assert_int_equal(json_count(root), 9);
  assert_int_equal(json_count(json_get(root, "a")), 3);
  assert_int_equal(json_kind(json_at(json_get(root, "a"), 2)), JSON_OBJECT);
  assert_int_equal(json_kind(json_at(json_get(root, "a"), 3)), JSON_NONE);
  assert_int_equal(json_kind(json_at(root, 0)), JSON_NONE);
  assert_null(json_str(json_get(root, "i")).p);
  assert_int_equal(json_kind(json_get(json_get(root, "s"), "x")), JSON_NONE);
}

TEST(nothing_is_harmless) {
  struct json none = {0}, v;
  struct str key;
  double d;
  struct json_iter it = json_items(none);
  assert_false(json_next(&it, &v));
  it = json_members(none);
  assert_false(json_next_member(&it, &key, &v));
  assert_int_equal(json_count(none), 0);
  assert_int_equal(json_kind(json_get(json_get(none, "a"), "b")), JSON_NONE);
  assert_int_equal(json_kind(json_at(none, 5)), JSON_NONE);
  assert_false(json_f64(none, &d));
  assert_null(json_str(none).p);
}

TEST(iteration) {
  struct json root = good("{\"a\":[10,[1,2,{\"x\":[]}],\"s\",1.5,30],\"b\":{},\"c\":[]}"), v;
  struct json_iter it = json_items(json_get(root, "a"));
  int n = 0;
  int64_t sum = 0, i;
  while (json_next(&it, &v)) {
    n++;
    if (json_i64(v, &i)) sum += i;
  }
  assert_int_equal(n, 5);
  assert_int_equal(sum, 40);
  struct str key;
  struct buf keys = {0};
  it = json_members(root);
  while (json_next_member(&it, &key, &v)) {
    buf_str(&keys, key);
    buf_putc(&keys, (char)('0' + json_kind(v)));
  }
  assert_string_equal(buf_cstr(&keys), "a6b7c6");
  buf_release(&keys);
  it = json_items(json_get(root, "b"));
  assert_false(json_next(&it, &v));
  it = json_members(json_get(root, "b"));
  assert_false(json_next_member(&it, &key, &v));
}

TEST(duplicate_keys_first_wins) {
  struct json root = good("{\"a\":1,\"a\":2}");
  int64_t i;
  assert_true(json_i64(json_get(root, "a"), &i) && i == 1);
  assert_int_equal(json_count(root), 2);
}

TEST(scalars_as_documents) {
  int64_t i;
  assert_true(json_i64(good("42"), &i) && i == 42);
  assert_text(json_str(good("\"x\"")), "x");
  assert_int_equal(json_kind(good(" null ")), JSON_NULL);
  assert_int_equal(good("\"a\\u0000b\"").doc != NULL, 1);
  assert_int_equal(json_str(good("\"a\\u0000b\"")).n, 3);
}

TEST(hostile_input_is_refused) {
  static const char *const BAD[] = {"",
                                    " ",
                                    "{",
                                    "[",
                                    "[1,",
                                    "{\"a\"",
                                    "{\"a\":",
                                    "{\"a\":1,",
                                    "\"abc",
                                    "tru",
                                    "nul",
                                    "[1 2]",
                                    "{\"a\" 1}",
                                    "{a:1}",
                                    "[1,]",
                                    "{\"a\":1,}",
                                    "01",
                                    "-",
                                    "+1",
                                    ".5",
                                    "1.",
                                    "1e",
                                    "1e400",
                                    "-1e400",
                                    "0x10",
                                    "NaN",
                                    "Infinity",
                                    "18446744073709551616",
                                    "-9223372036854775809",
                                    "'a'",
                                    "\"\\x\"",
                                    "\"\\u12\"",
                                    "\"\\ud800\"",
                                    "\"\\ud800\\u0041\"",
                                    "\"\n\"",
                                    "\"\t\"",
                                    "[] []",
                                    "{}x",
                                    "\"\xFF\"",
                                    "\"\xC0\x80\"",
                                    "\"\xED\xA0\x80\"",
                                    "\"\xE2\x86\"",
                                    "]",
                                    "}",
                                    "[}",
                                    "{]",
                                    ",",
                                    ":",
                                    "// c\n1"};
  struct json root;
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
    for (int padded = 0; padded < 2; padded++)
      if (parse(BAD[i], strlen(BAD[i]), padded, &root) != E_INPUT || root.doc) fail_msg("accepted hostile text %zu", i);
  assert_int_equal(parse("[1]\0", 4, true, &root), E_INPUT);
  assert_int_equal(parse("\"a\0b\"", 5, true, &root), E_INPUT);
}

TEST(truncations_of_a_resource) {
  static const char TEXT[] =
      "{\"resourceType\":\"Observation\",\"code\":{\"coding\":[{\"system\":\"http://"
      "loinc.org\",\"code\":\"2160-0\"}]},\"valueQuantity\":{\"value\":1.25e0,\"unit\":\"\xC2\xB5mol\\u002fL\"},\"ok\":[true,false,null,-1]"
      "}";
  struct json root;
  assert_int_equal(parse(TEXT, sizeof TEXT - 1, false, &root), OK);
  for (size_t n = 0; n < sizeof TEXT - 1; n++)
    if (parse(TEXT, n, n % 2, &root) != E_INPUT) fail_msg("accepted the first %zu bytes", n);
  struct rng r;
  rng_init(&r, 5, 0);
  char copy[sizeof TEXT];
  for (int i = 0; i < 20000; i++) { /* damaged: whatever it says, walking it must be safe */
    memcpy(copy, TEXT, sizeof TEXT);
    for (uint32_t k = 0; k <= rng_below(&r, 3); k++) copy[rng_below(&r, sizeof TEXT - 1)] = (char)rng_u32(&r);
    if (parse(copy, sizeof TEXT - 1, i % 2, &root) == OK) {
      struct json coding = json_at(json_get(json_get(root, "code"), "coding"), 0);
      struct str s = json_str(json_get(coding, "code"));
      assert_true(str_utf8_valid(s));
    }
  }
}

TEST(depth) {
  struct json root;
  char text[3000];
  for (int deep = 1000; deep <= 1300; deep += 300) {
    memset(text, '[', (size_t)deep);
    memset(text + deep, ']', (size_t)deep);
    assert_int_equal(parse(text, 2 * (size_t)deep, true, &root), deep == 1000 ? OK : E_LIMIT);
  }
}

TEST(many_elements) {
  struct buf b = {0};
  buf_putc(&b, '[');
  for (int i = 0; i < 100000; i++) buf_printf(&b, "%s%d", i ? "," : "", i);
  buf_putc(&b, ']');
  struct json root;
  assert_int_equal(parse(b.p, b.n, true, &root), OK);
  assert_int_equal(json_count(root), 100000);
  int64_t i;
  assert_true(json_i64(json_at(root, 99999), &i) && i == 99999);
  buf_release(&b);
}

TEST(loading_configuration) {
  struct arena a;
  arena_init(&a, 0, 0);
  struct json root;
  struct error e = {0};
  assert_int_equal(json_load(&a, temp_file("c.json", "{\"name\":\"x\",\"n\":3,\"r\":0.5,\"bad\":[]}", 35), &root, &e), OK);
  struct str s;
  int64_t i;
  double d;
  assert_int_equal(json_want_str(root, "name", &s, &e), OK);
  assert_text(s, "x");
  assert_int_equal(json_want_i64(root, "n", &i, &e), OK);
  assert_int_equal(i, 3);
  assert_int_equal(json_want_f64(root, "r", &d, &e), OK);
  assert_int_equal(json_want_f64(root, "n", &d, &e), OK);
  assert_int_equal(json_want_i64(root, "r", &i, &e), E_INPUT);
  assert_string_equal(e.field, "r");
  assert_string_equal(e.message, "expected an integer");
  assert_int_equal(json_want_str(root, "gone", &s, &e), E_INPUT);
  assert_string_equal(e.message, "field missing: expected a string");
  assert_int_equal(json_want_f64(root, "bad", &d, &e), E_INPUT);
  struct json second;
  assert_int_equal(json_load(&a, temp_file("d.json", "{\"x\":1}", 7), &second, &e), OK);
  assert_text(json_str(json_get(root, "name")), "x"); /* both live until the arena ends */
  assert_int_equal(json_load(&a, temp_file("e.json", "{\"x\":1", 6), &second, &e), E_INPUT);
  assert_non_null(strstr(e.file, "e.json"));
  assert_int_equal(json_load(&a, temp("none.json"), &second, &e), E_NOTFOUND);
  arena_free(&a);
  for (long n = 1;; n++) {
    arena_init(&a, 0, 0);
    arena_fail_at(n);
    int rc = json_load(&a, temp("c.json"), &root, NULL);
    bool hit = !arena_fail_pending();
    arena_fail_at(0);
    assert_int_equal(rc, hit ? E_NOMEM : OK);
    arena_free(&a);
    if (!hit) break;
  }
}

TEST(writing) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_c(&o, "s", "q\"\\\n\r\t\x01\x7f/");
  json_kv_str(&o, "bad", STR("a\xFF\xC3\xA9\xE2\x86"));
  json_kv_i64(&o, "min", INT64_MIN);
  json_out_key(&o, "max");
  json_out_u64(&o, UINT64_MAX);
  json_kv_bool(&o, "t", true);
  json_kv_f64(&o, "nan", NAN);
  json_out_key_str(&o, STR("k\""));
  json_out_array(&o);
  json_out_null(&o);
  json_out_f32(&o, 0.1f);
  json_out_f32(&o, INFINITY);
  json_out_str(&o, STR_NONE);
  json_out_raw(&o, STR("{\"raw\":1}"));
  json_out_array(&o);
  json_out_end(&o);
  json_out_bool(&o, false);
  json_out_end(&o);
  json_out_end(&o);
  assert_string_equal(
      buf_cstr(&b),
      "{\"s\":\"q\\\"\\\\\\n\\r\\t\\u0001\\u007f/\",\"bad\":\"a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\",\"min\":-9223372036854775808,"
      "\"max\":18446744073709551615,\"t\":true,\"nan\":null,\"k\\\"\":[null,0.1,null,null,{\"raw\":1},[],false]}");
  struct json root = good(b.p);
  assert_int_equal(json_count(root), 7);
  buf_clear(&b);
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_i64(&o, "a", 1);
  json_out_key(&o, "b");
  json_out_array(&o);
  json_out_i64(&o, 2);
  json_out_object(&o);
  json_out_end(&o);
  json_out_end(&o);
  json_out_end(&o);
  assert_string_equal(buf_cstr(&b), "{\n  \"a\": 1,\n  \"b\": [\n    2,\n    {}\n  ]\n}");
  buf_release(&b);
}

TEST(numbers_read_back_equal) {
  struct rng r;
  rng_init(&r, 9, 0);
  struct buf b = {0};
  for (int i = 0; i < 20000; i++) {
    static const double ODD[] = {0,      -0.0, 1, 0.1, 1e21, 1e22, 1e-7, DBL_MAX, -DBL_MAX, DBL_MIN, 4.9e-324, 5e-324, 9007199254740993.0,
                                 1.0 / 3};
    uint64_t bits = rng_u64(&r);
    double v, back;
    memcpy(&v, &bits, 8);
    if ((size_t)i < sizeof ODD / sizeof *ODD) v = ODD[i];
    if (!isfinite(v)) continue;
    buf_clear(&b);
    struct json_out o;
    json_out_init(&o, &b, false);
    json_out_f64(&o, v);
    assert_true(json_f64(good(buf_cstr(&b)), &back));
    assert_memory_equal(&back, &v, 8);
    assert_int_equal(str_to_f64((struct str){b.p, b.n}, &back), OK);
    assert_memory_equal(&back, &v, 8);
    float f = (float)ldexp((double)(int32_t)bits, -20);
    buf_clear(&b);
    json_out_init(&o, &b, false);
    json_out_f32(&o, f);
    assert_true(json_f64(good(buf_cstr(&b)), &back) && (float)back == f);
    assert_true(b.n <= 16);
  }
  buf_release(&b);
}

/* Nested to a level around the writer's last, copied into a document that is open already; another value takes the place of what does not fit. */
TEST(copies_are_whole_or_not_there) {
  for (int levels = 58; levels < 70; levels++)
    for (int open = 0; open < 4; open++) {
      struct buf in = {0}, out = {0}, want = {0};
      struct json_out o;
      for (int i = 0; i < levels - 1; i++) buf_puts(&in, i % 2 ? "[7," : "{\"a\\n\":false,\"b\":");
      buf_puts(&in, "[true,null,-1.5,\"\\u0000\",9007199254740993]");
      for (int i = levels - 2; i >= 0; i--) buf_puts(&in, i % 2 ? "]" : "}");
      bool fits = levels + open <= 63;
      struct json root = good(buf_cstr(&in));
      json_out_init(&o, &out, false);
      for (int i = 0; i < open; i++) json_out_array(&o), json_out_i64(&o, 1), buf_puts(&want, "[1,");
      assert_int_equal(json_out_copy(&o, root, NULL), fits ? OK : E_LIMIT);
      if (!fits) json_out_c(&o, "else");
      buf_puts(&want, fits ? buf_cstr(&in) : "\"else\"");
      for (int i = 0; i < open; i++) json_out_end(&o), buf_puts(&want, "]");
      assert_string_equal(buf_cstr(&out), buf_cstr(&want));
      buf_release(&in), buf_release(&out), buf_release(&want);
    }
}

static void value_without_key(void) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_out_i64(&o, 1);
}
static void too_many_ends(void) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  json_out_end(&o);
}
static void too_deep(void) {
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  for (int i = 0; i < 70; i++) json_out_array(&o);
}
TEST(misuse_is_a_bug) {
  assert_true(WIFSIGNALED(child(value_without_key)));
  assert_true(WIFSIGNALED(child(too_many_ends)));
  assert_true(WIFSIGNALED(child(too_deep)));
}

/* Eight bytes are looked at together: what has to be escaped is, wherever it stands among them. */
static void escapes_anywhere(void **state UNUSED) {
  static const struct {
    const char *raw, *out;
  } bad[] = {
      {"\"", "\\\""},           {"\\", "\\\\"},           {"\n", "\\n"}, {"\x01", "\\u0001"}, {"\x1f", "\\u001f"}, {"\x7f", "\\u007f"},
      {"\xff", "\xEF\xBF\xBD"}, {"\xc3\xa9", "\xc3\xa9"}, {"!", "!"},    {"~", "~"}};
  struct buf b = {0};
  struct json_out o;
  char text[64], want[64];
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
    for (size_t at = 0; at < 20; at++) {
      snprintf(text, sizeof text, "%.*s%s%.*s", (int)at, "   #[]^~ !#[]^~!az09", bad[k].raw, (int)(19 - at), "#[]^~ !#[]^~ az09   ");
      snprintf(want, sizeof want, "\"%.*s%s%.*s\"", (int)at, "   #[]^~ !#[]^~!az09", bad[k].out, (int)(19 - at), "#[]^~ !#[]^~ az09   ");
      buf_clear(&b);
      json_out_init(&o, &b, false);
      json_out_str(&o, str_c(text));
      assert_string_equal(buf_cstr(&b), want);
    }
  buf_release(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kinds_and_values),
      cmocka_unit_test(nothing_is_harmless),
      cmocka_unit_test(iteration),
      cmocka_unit_test(duplicate_keys_first_wins),
      cmocka_unit_test(scalars_as_documents),
      cmocka_unit_test(hostile_input_is_refused),
      cmocka_unit_test(truncations_of_a_resource),
      cmocka_unit_test(depth),
      cmocka_unit_test(many_elements),
      cmocka_unit_test(loading_configuration),
      cmocka_unit_test(writing),
      cmocka_unit_test(escapes_anywhere),
      cmocka_unit_test(numbers_read_back_equal),
      cmocka_unit_test(copies_are_whole_or_not_there),
      cmocka_unit_test(misuse_is_a_bug),
  };
  return cmocka_run_group_tests(tests, group_start, group_end);
}
