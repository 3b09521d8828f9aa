/* JSON lines, plain or gzip: one document a line; lines of blanks are passed over.
 *
 *     struct json_lines l;
 *     struct json root;
 *     TRY(json_lines_open(&l, path, e));
 *     while ((rc = json_lines_next(&l, &root, e)) == OK)        // root valid until the next call
 *       if ((rc = use(root, e)) < 0) break;
 *     return json_lines_close(&l, rc, e);                       // OK after the last line; a failure gets the file and the line
 *
 * A line beyond the stream's limit is E_LIMIT, one that is no JSON is E_INPUT.
 */
#ifndef BASE_JSON_LINES_H
#define BASE_JSON_LINES_H
#include "base/file.h"
#include "base/json.h"

struct json_lines {
  struct stream s;
  struct json_parser *parser;
};
int json_lines_open(struct json_lines *l, const char *path, struct error *e) MUST_CHECK;
int json_lines_next(struct json_lines *l, struct json *root, struct error *e) MUST_CHECK; /* E_END after the last */
int json_lines_close(struct json_lines *l, int rc, struct error *e) MUST_CHECK;           /* rc: how the reading ended; E_END is well */
#endif
