/* What the server reads of an engine beside the public API (include/vitae.h). Borrowed; immutable; shared by threads. */
#ifndef SERVE_ENGINE_H
#define SERVE_ENGINE_H
#include <stdbool.h>

struct vitae_engine;
struct model;
struct site;
struct task;
struct json_out;
struct vitae_session;

/* Asked between steps of a prediction; true ends it with E_CANCELLED. */
void session_cancel(struct vitae_session *s, bool (*cancelled)(void *ctx), void *ctx);
const struct model *engine_model(const struct vitae_engine *e);
const struct site *engine_site(const struct vitae_engine *e);
/* Tasks that this version offers (in a registry: only those whose report passes its gate). */
const struct task *engine_task(const struct vitae_engine *e, const char *name); /* NULL if not offered */
int engine_tasks(const struct vitae_engine *e);
const struct task *engine_task_at(const struct vitae_engine *e, int i);
void engine_describe(const struct vitae_engine *e, struct json_out *o);
#endif
