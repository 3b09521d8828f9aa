/* Answers that are JSON of a given form: at each step only tokens may be chosen that keep the text a beginning of a fitting document.
 *
 *     struct lm_schema *s;  TRY(lm_schema_new(json, n, &s, e));         // a JSON Schema; `{}` = any JSON value
 *     TRY(lm_submit(m, &(struct lm_request){..., .schema = s}, &id, e)); // one request at a time uses it; free it after the request's end
 *     lm_schema_free(s);
 *
 * The subset: type (object, array, string, number, integer, boolean, null), properties, items, minItems, maxItems, minLength, maxLength, enum, const, required,
 * additionalProperties; title, description, default, examples, $schema, $id, $comment and the like hold nothing. All properties are written, in the
 * schema's order, and no others, whether or not `required` names them: such a document always fits. Everything else (bounds on numbers, patterns,
 * formats, $ref, anyOf, uniqueItems …) is refused with E_INPUT rather than ignored, and so is a `required` name without a property, a list of types,
 * and a bound without its type or beside an enum. Text is bounded: depth 32,
 * 4,096 bytes a string where maxLength says nothing, 18 digits a whole number, 256 elements where maxItems says nothing. A request that ends by length
 * (LM_END_LENGTH) leaves the document unfinished.
 */
#ifndef MODEL_LM_SCHEMA_H
#define MODEL_LM_SCHEMA_H
#include "base/str.h"

struct lm_schema;
int lm_schema_new(const char *json, size_t n, struct lm_schema **out, struct error *e) MUST_CHECK;
void lm_schema_free(struct lm_schema *s);
void lm_schema_reset(struct lm_schema *s);                       /* to the beginning of a document; lm_submit does it */
bool lm_schema_accepts(const struct lm_schema *s, struct str t); /* may these bytes come next? */
bool lm_schema_take(struct lm_schema *s, struct str t);          /* they come; false (and nothing happened) if they may not */
bool lm_schema_complete(const struct lm_schema *s);              /* the text so far is a whole document */
bool lm_schema_closed(const struct lm_schema *s);                /* and nothing can follow */

/* Calls of tools in an answer: <tool_call>{"name":…,"arguments":{…}}</tool_call> (Hermes, Qwen), or an answer that is one such object (Llama 3.1; also
 * "parameters"; also between ``` marks). What is no well-formed call stays text. Memory from the arena. */
struct lm_tool_call {
  struct str name, arguments; /* arguments: a JSON object as text */
};
#define LM_TOOL_CALLS 16
int lm_tool_calls(struct str answer, struct arena *a, struct lm_tool_call out[LM_TOOL_CALLS], int *n, struct str *text,
                  struct error *e) MUST_CHECK;
#endif
