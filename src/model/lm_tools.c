/* Calls of tools in a model's answer. */
#include "base/json.h"
#include "model/lm_schema.h"

/* E_END: no call; not a failure. */
static int one_call(struct json_parser *parser, struct str text, struct arena *a, struct lm_tool_call *out, struct error *e) {
  struct json root;
  text = str_trim(text);
  if (!text.n || *text.p != '{' || json_parse(parser, text.p, text.n, text.n, &root, NULL) < 0) return E_END;
  struct json arguments = json_get(root, "arguments");
  if (json_kind(arguments) == JSON_NONE) arguments = json_get(root, "parameters");
  if (json_kind(json_get(root, "name")) != JSON_STRING || json_kind(arguments) != JSON_OBJECT) return E_END;
  struct buf b = {0};
  struct json_out o;
  json_out_init(&o, &b, false);
  if (json_out_copy(&o, arguments, NULL) < 0) return buf_release(&b), E_END; /* nested too deep for a call */
  out->name = str_copy(a, json_str(json_get(root, "name")));
  out->arguments = str_copy(a, (struct str){b.p, b.n});
  bool good = out->arguments.p && (out->name.p || !json_str(json_get(root, "name")).n);
  buf_release(&b);
  return good ? OK : error_set(e, E_NOMEM, "no memory for a tool call");
}

static struct str without_fence(struct str s) {
  s = str_trim(s);
  if (!str_starts(s, STR("```")) || !str_ends(s, STR("```")) || s.n < 6) return s;
  s = (struct str){s.p + 3, s.n - 6};
  if (str_starts(s, STR("json"))) s.p += 4, s.n -= 4;
  return s;
}

static int find_calls(struct json_parser *parser, struct str answer, struct arena *a, struct lm_tool_call *out, int *n, struct buf *text,
                      struct error *e) {
  static const char begin[] = "<tool_call>", end[] = "</tool_call>";
  while (answer.n) {
    const char *p = memmem(answer.p, answer.n, begin, sizeof begin - 1);
    const char *q = p ? memmem(p, answer.n - (size_t)(p - answer.p), end, sizeof end - 1) : NULL;
    if (!q || *n == LM_TOOL_CALLS) break;
    int rc = one_call(parser, (struct str){p + sizeof begin - 1, (size_t)(q - p) - (sizeof begin - 1)}, a, &out[*n], e);
    if (rc < 0 && rc != E_END) return rc;
    size_t used = (size_t)(q - answer.p) + sizeof end - 1;
    buf_put(text, answer.p, rc == OK ? (size_t)(p - answer.p) : used);
    *n += rc == OK;
    answer = (struct str){answer.p + used, answer.n - used};
  }
  buf_str(text, answer);
  return OK;
}

int lm_tool_calls(struct str answer, struct arena *a, struct lm_tool_call out[LM_TOOL_CALLS], int *n, struct str *text, struct error *e) {
  struct json_parser *parser;
  struct buf rest = {0};
  *n = 0;
  *text = STR_NONE;
  TRY(json_parser_new(&parser, e));
  int rc = one_call(parser, without_fence(answer), a, &out[0], e);
  if (rc == OK)
    *n = 1;
  else if (rc == E_END)
    rc = find_calls(parser, answer, a, out, n, &rest, e);
  if (rc == OK) rc = buf_check(&rest, e);
  if (rc == OK) *text = str_copy(a, str_trim((struct str){rest.p ? rest.p : "", rest.n}));
  buf_release(&rest);
  json_parser_free(parser);
  return rc;
}
