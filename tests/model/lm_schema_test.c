/* Constrained JSON: what the machine accepts is what fits, whole documents parse, and tool calls are found where they are well formed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/random.h"
#include "model/lm_schema.h"

static struct lm_schema *make(const char *json) {
  struct lm_schema *s;
  struct error e = {0};
  if (lm_schema_new(json, strlen(json), &s, &e) < 0) fail_msg("%s: %s", json, e.message);
  return s;
}

/* every byte for byte: 0 refused, 1 a beginning, 2 whole */
static int reads(struct lm_schema *s, const char *text) {
  lm_schema_reset(s);
  for (const char *p = text; *p; p++)
    if (!lm_schema_take(s, (struct str){p, 1})) return 0;
  bool by_bytes = lm_schema_complete(s);
  lm_schema_reset(s);
  assert_true(lm_schema_accepts(s, str_c(text)));
  assert_true(lm_schema_take(s, str_c(text)) && lm_schema_complete(s) == by_bytes);
  return by_bytes ? 2 : 1;
}

static const char person[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":8},\"age\":{\"type\":\"integer\"},"
    "\"sex\":{\"enum\":[\"female\",\"male\",null]},"
    "\"labs\":{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"minItems\":1,\"maxItems\":3},\"dead\":{\"type\":\"boolean\"},\"more\":{"
    "}}}";

static void test_object(void **state) {
  (void)state;
  struct lm_schema *s = make(person);
  assert_int_equal(
      reads(s, "{\"name\":\"A\",\"age\":31,\"sex\":\"female\",\"labs\":[1.5,-2e3],\"dead\":false,\"more\":{\"a\":[1,null,\"x\"]}}"), 2);
  assert_int_equal(reads(s, "{\"name\": \"\\u00e4\\n\", \"age\": 0, \"sex\": null, \"labs\": [0.1], \"dead\": true, \"more\": 3}"), 2);
  assert_int_equal(reads(s, "{\"name\":\"A\""), 1);
  static const char *const bad[] = {"[",
                                    "{\"age\":1",
                                    "{\"name\":\"\"",
                                    "{\"name\":\"123456789",
                                    "{\"name\":1",
                                    "{\"name\":\"A\",\"age\":01",
                                    "{\"name\":\"A\",\"age\":1.5",
                                    "{\"name\":\"A\",\"age\":1}",
                                    "{\"name\":\"A\",\"age\":1,\"sex\":\"f\"",
                                    "{\"name\":\"A\",\"age\":1,\"sex\":\"male\",\"labs\":[]",
                                    "{\"name\":\"A\",\"age\":1,\"sex\":\"male\",\"labs\":[1,2,3,4",
                                    "{\"name\":\"A\",\"age\":1,\"sex\":\"male\",\"labs\":[1,]",
                                    "{\"name\":\"A\\x",
                                    "{\"name\":\"\xC3(",
                                    "{\"name\":\"\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (reads(s, bad[i])) fail_msg("accepted: %s", bad[i]);
  lm_schema_free(s);
  s = make("{\"type\":\"integer\"}");
  assert_true(reads(s, "12") == 2 && reads(s, "-") == 1 && !reads(s, "1.") && !reads(s, "1234567890123456789012345678"));
  lm_schema_free(s);
  s = make("{\"type\":\"object\"}");
  assert_true(reads(s, "{}") == 2 && reads(s, "{\"a\":{\"b\":[]}}") == 2 && !reads(s, "[") && !reads(s, "1"));
  lm_schema_free(s);
  s = make("{\"enum\":[\"a\",\"ab\",7,70]}");
  assert_true(reads(s, "\"a\"") == 2 && reads(s, "\"ab\"") == 2 && reads(s, "7") == 2 && reads(s, "70") == 2 && !reads(s, "\"b"));
  lm_schema_free(s);
}

/* Random bytes among those that may come: each finished text is a document that another parser reads. */
static void test_random_documents(void **state) {
  (void)state;
  static const char *const forms[] = {"{}", "{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"maxItems\":5}", person};
  struct rng r;
  struct json_parser *parser;
  int finished = 0;
  rng_init(&r, 12, 0);
  assert_int_equal(json_parser_new(&parser, NULL), OK);
  for (int round = 0; round < 300; round++) {
    struct lm_schema *s = make(forms[round % 3]);
    struct buf b = {0};
    while (!lm_schema_closed(s) && b.n < 2000) {
      static const char likely[] = "\"}],:{[0123eE.-atrufls \\nmgxd";
      char c = rng_below(&r, 3) ? likely[rng_below(&r, sizeof likely - 1)] : (char)rng_u32(&r);
      if (lm_schema_take(s, (struct str){&c, 1})) buf_putc(&b, c);
      if (lm_schema_complete(s) && rng_below(&r, 4) == 0) break;
    }
    if (lm_schema_complete(s)) {
      struct json root;
      finished++;
      if (json_parse(parser, b.p, b.n, b.n, &root, NULL) < 0) fail_msg("no JSON: %.*s", (int)b.n, b.p);
    }
    buf_release(&b);
    lm_schema_free(s);
  }
  assert_true(finished > 100);
  json_parser_free(parser);
}

static void test_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "[]",
                                    "{\"type\":\"thing\"}",
                                    "{\"type\":[\"string\",\"null\"]}",
                                    "{\"anyOf\":[{}]}",
                                    "{\"$ref\":\"#\"}",
                                    "{\"type\":\"string\",\"pattern\":\"a\"}",
                                    "{\"type\":\"integer\",\"minimum\":3}",
                                    "{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}",
                                    "{\"type\":\"string\",\"minLength\":-1}",
                                    "{\"enum\":[]}",
                                    "{\"enum\":[{}]}",
                                    "{\"enum\":\"x\"}",
                                    "{\"type\":\"string\",\"enum\":[\"a\",1]}",
                                    "{\"type\":\"string\",\"enum\":[\"abc\"],\"maxLength\":2}",
                                    "{\"const\":1,\"type\":\"string\"}",
                                    "{\"minLength\":2}",
                                    "{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"}]}",
                                    "{\"type\":\"array\",\"uniqueItems\":true}",
                                    "{\"type\":\"array\",\"contains\":{}}",
                                    "{\"type\":\"object\",\"minProperties\":1}",
                                    "{\"type\":\"object\",\"required\":[\"dose\"]}",
                                    "{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\",\"dose\"]}",
                                    "{\"type\":\"object\",\"properties\":[]}",
                                    "{\"type\":\"object\",\"secret\":1}"};
  struct lm_schema *s;
  struct error e = {0};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (lm_schema_new(bad[i], strlen(bad[i]), &s, NULL) == OK) fail_msg("accepted: %s", bad[i]);
  assert_int_equal(lm_schema_new(STR("{\"uniqueItems\":true}").p, 20, &s, &e), E_INPUT);
  assert_string_equal(e.message, "a schema's uniqueItems is not supported");
  struct buf deep = {0};
  for (int i = 0; i < 40; i++) buf_puts(&deep, "{\"type\":\"array\",\"items\":");
  buf_puts(&deep, "{}");
  for (int i = 0; i < 40; i++) buf_putc(&deep, '}');
  assert_int_equal(lm_schema_new(deep.p, deep.n, &s, NULL), E_LIMIT);
  buf_release(&deep);
}

/* What holds nothing is passed over; an object that is closed has no members but its properties */
static void test_described(void **state) {
  (void)state;
  struct lm_schema *s = make(
      "{\"$schema\":\"x\",\"$id\":\"y\",\"title\":\"T\",\"description\":\"d\",\"$defs\":{\"p\":{\"pattern\":\"q\"}},\"type\":\"object\","
      "\"properties\":{\"a\":{\"type\":\"string\",\"enum\":[\"x\"],\"default\":\"x\",\"examples\":[\"x\"]}},\"required\":[\"a\"],"
      "\"additionalProperties\":false}");
  assert_int_equal(reads(s, "{\"a\":\"x\"}"), 2);
  lm_schema_free(s);
  static const char *const closed[] = {"{\"type\":\"object\",\"additionalProperties\":false}",
                                       "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}"};
  for (size_t i = 0; i < 2; i++) {
    s = make(closed[i]);
    assert_int_equal(reads(s, "{}"), 2);
    assert_int_equal(reads(s, "{\"a\""), 0);
    lm_schema_free(s);
  }
  s = make("{\"enum\":[18446744073709551615]}");
  assert_int_equal(reads(s, "18446744073709551615"), 2);
  lm_schema_free(s);
}

static void test_tool_calls(void **state) {
  (void)state;
  struct arena a;
  struct lm_tool_call call[LM_TOOL_CALLS];
  struct str text;
  int n;
  arena_init(&a, 0, 0);
  assert_int_equal(lm_tool_calls(STR("Let me look.\n<tool_call>\n{\"name\": \"find\", \"arguments\": {\"code\": \"I50\", \"n\": [1, 2.5, "
                                     "null]}}\n</tool_call><tool_call>{\"name\":\"x\",\"arguments\":{}}</tool_call>"),
                                 &a, call, &n, &text, NULL),
                   OK);
  assert_int_equal(n, 2);
  assert_true(str_eqc(call[0].name, "find") && str_eqc(call[0].arguments, "{\"code\":\"I50\",\"n\":[1,2.5,null]}") &&
              str_eqc(call[1].arguments, "{}") && str_eqc(text, "Let me look."));
  assert_int_equal(lm_tool_calls(STR("```json\n{\"name\":\"f\",\"parameters\":{\"a\":true}}\n```"), &a, call, &n, &text, NULL), OK);
  assert_true(n == 1 && str_eqc(call[0].arguments, "{\"a\":true}") && !text.n);
  assert_int_equal(
      lm_tool_calls(STR("{\"name\":\"f\",\"arguments\":{\"n\":[9223372036854775808,18446744073709551615,-1]}}"), &a, call, &n, &text, NULL),
      OK);
  assert_true(n == 1 && str_eqc(call[0].arguments, "{\"n\":[9223372036854775808,18446744073709551615,-1]}"));
  static const char *const none[] = {"",
                                     "hello",
                                     "{\"name\":\"f\"}",
                                     "{\"name\":1,\"arguments\":{}}",
                                     "<tool_call>{\"name\":\"f\",\"arguments\":[]}</tool_call>",
                                     "<tool_call>{\"name\":\"f\",\"arguments\":{}}",
                                     "{\"name\":\"f\",\"arguments\":{}} and more"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    assert_int_equal(lm_tool_calls(str_c(none[i]), &a, call, &n, &text, NULL), OK);
    assert_true(n == 0 && str_eq(text, str_c(none[i])));
  }
  arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_object), cmocka_unit_test(test_random_documents), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_described), cmocka_unit_test(test_tool_calls)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
