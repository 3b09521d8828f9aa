/* What a language model may use while it helps with a question about one subject. The scope is fixed by whoever asks before the model says a word:
 * one life, read only. No tool takes a subject, a path, an address or a query language, and whatever a model (or a note that it read) writes as
 * arguments can only choose words to look for in that life, in the names of codes, in the calculators and in the site's own documents.
 *
 *     struct ask_scope s = {.k = asker, .index = i, .knowledge = k};
 *     struct ask_found f;
 *     rc = ask_tool(&s, STR("values_over_time"), STR("{\"about\":\"creatinine\"}"), &arena, &f, e);
 *
 * Errors: E_DENIED: no such tool, or an argument that no tool takes (a subject, for instance); E_INPUT: not the form; E_UNAVAILABLE: this scope
 * has no timeline model or no documents. What is found is our own words about the record (f.said, with events) and quotations of what others wrote
 * (f.quote: notes, documents), which are marked as untrusted wherever they are shown.
 */
#ifndef REASON_ASK_TOOLS_H
#define REASON_ASK_TOOLS_H
#include "reason/ask.h"
#include "reason/library.h"

struct predictor;
struct task;
struct ask_scope {
  const struct asker *k;
  uint32_t index;
  struct library *knowledge;                              /* or NULL */
  const struct encoder *encoder;                          /* or NULL: found by words alone */
  struct predictor *(*predictor)(void *, struct error *); /* the timeline model on this store, or NULL */
  const struct task *task;                                /* that salience is about; or NULL */
  bool (*cancelled)(void *);                              /* or NULL */
  void *ctx;                                              /* of both */
};
struct ask_found {
  struct ask_answer said;
  struct ask_quote *quote;
  int quotes;
};
enum { ASK_TOOLS = 7 };
extern const char *const ask_tool_name[ASK_TOOLS];
extern const char *const ask_tool_summary[ASK_TOOLS];
int ask_tool(const struct ask_scope *s, struct str name, struct str arguments, struct arena *a, struct ask_found *out,
             struct error *e) MUST_CHECK;
#endif
