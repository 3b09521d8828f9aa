#include "base/json_lines.h"

int json_lines_open(struct json_lines *l, const char *path, struct error *e) {
  TRY(stream_open(&l->s, path, e));
  int rc = json_parser_new(&l->parser, e);
  if (rc < 0) stream_close(&l->s);
  return rc;
}
int json_lines_next(struct json_lines *l, struct json *root, struct error *e) {
  struct str line;
  do TRY(stream_line(&l->s, &line, e));
  while (!l->s.overlong && str_trim(line).n == 0);
  if (l->s.overlong) return error_set(e, E_LIMIT, "the line is too long");
  return json_parse(l->parser, line.p, line.n, line.n + STREAM_PAD, root, e);
}
int json_lines_close(struct json_lines *l, int rc, struct error *e) {
  if (rc < 0 && rc != E_END) error_where(e, l->s.path, (int64_t)l->s.line, NULL);
  stream_close(&l->s);
  json_parser_free(l->parser);
  return rc == E_END ? OK : rc;
}
