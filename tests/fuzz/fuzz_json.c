/* The JSON reader and writer: a document that parses is walked whole, written again, and must parse to the same text. */
#include "base/file.h"
#include "base/json.h"

static void copy(struct json_out *o, struct json j, int depth) {
  struct json v;
  struct str key;
  int64_t i;
  double d;
  bool b;
  if (depth > 60) {
    json_out_null(o);
    return;
  }
  switch (json_kind(j)) {
    case JSON_OBJECT:
      json_out_object(o);
      for (struct json_iter it = json_members(j); json_next_member(&it, &key, &v);) {
        json_out_key_str(o, key);
        copy(o, v, depth + 1);
      }
      json_out_end(o);
      break;
    case JSON_ARRAY:
      json_out_array(o);
      for (struct json_iter it = json_items(j); json_next(&it, &v);) copy(o, v, depth + 1);
      json_out_end(o);
      break;
    case JSON_STRING: json_out_str(o, json_str(j)); break;
    case JSON_BOOL:
      if (!json_bool(j, &b)) BUG("bool");
      json_out_bool(o, b);
      break;
    case JSON_INT:
    case JSON_REAL:
      if (json_i64(j, &i))
        json_out_i64(o, i);
      else if (json_f64(j, &d))
        json_out_f64(o, d);
      else
        BUG("a number of no kind");
      break;
    default: json_out_null(o);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct json_parser *jp;
  if (!jp && json_parser_new(&jp, NULL) < 0) return 0;
  struct json root;
  struct buf once = {0}, twice = {0};
  struct json_out o;
  char *exact = mem_alloc(size); /* its own block: a read past the end is seen */
  if (exact) memcpy(exact, data, size);
  if (exact && json_parse(jp, exact, size, size, &root, NULL) == OK) {
    json_out_init(&o, &once, false);
    copy(&o, root, 0);
    if (json_parse(jp, once.p, once.n, once.n, &root, NULL) < 0) BUG("what was written does not parse");
    json_out_init(&o, &twice, false);
    copy(&o, root, 0);
    BUG_IF(once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0);
  }
  mem_free(exact);
  buf_release(&once);
  buf_release(&twice);
  return 0;
}
