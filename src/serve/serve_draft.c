/* Drafts of documents about a subject, and what a clinician made of one. Shapes: docs/api.md, docs/drafting.md. */
#include <string.h>

#include "base/file.h"
#include "base/time.h"
#include "govern/site.h"
#include "predict/predict.h"
#include "reason/draft.h"
#include "reason/draft_review.h"
#include "serve/engine.h"
#include "serve/serve_private.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "vitae.h"

enum { RISKS_MOST = 12, EXPLAIN = 3 };

static int bad(struct error *e, int code, const char *field, const char *what) {
  (void)error_set(e, code, "%s", what);
  return error_where(e, NULL, 0, field);
}
static int subject_of(struct call *c, int64_t *subject, uint32_t *index, struct error *e) {
  if (!c->server->store) return error_set(e, E_NOTFOUND, "this site has no timelines");
  if (str_to_i64(str_c(c->arg), subject) < 0) return bad(e, E_INPUT, "id", "a subject's pseudonym is a whole number");
  if (timeline_find(c->server->store, *subject, index, NULL) < 0) return error_set(e, E_NOTFOUND, "there is no such subject");
  return OK;
}

/* ---- drafting: by a model worker ---- */

static bool wanted(struct json tasks, const char *name) {
  struct json item;
  if (json_kind(tasks) == JSON_NONE) return true;
  for (struct json_iter it = json_items(tasks); json_next(&it, &item);)
    if (str_eqc(json_str(item), name)) return true;
  return false;
}

static int ask_model(struct call *c, struct json tasks, uint32_t index, struct arena *a, struct draft_model *out, struct error *e) {
  const struct vitae_engine *en = call_engine(c);
  struct prediction *p = arena_array(a, struct prediction, RISKS_MOST);
  struct draft_risk *risk = arena_array(a, struct draft_risk, RISKS_MOST);
  struct predictor *model = engine_tasks(en) > 0 ? worker_predictor(c, e) : NULL;
  *out = (struct draft_model){.version = model ? str_c(vitae_engine_id(en)) : STR_NONE, .risk = risk};
  if (!p || !risk) return error_set(e, E_NOMEM, "no memory for a draft");
  if (engine_tasks(en) > 0 && !model) return e->code;
  for (int i = 0; i < engine_tasks(en) && out->risks < RISKS_MOST; i++) {
    const struct task *t = engine_task_at(en, i);
    struct predict_options o = {
        .task = t, .time = INT64_MAX, .explain = EXPLAIN, .outcomes = 1, .seed = 1, .cancelled = call_left, .cancel_ctx = c};
    if (!wanted(tasks, task_name(t))) continue;
    TRY(predict(model, index, &o, a, &p[out->risks], e));
    risk[out->risks] = (struct draft_risk){str_c(task_title(t)), &p[out->risks]};
    out->risks++;
  }
  return OK;
}

static int draft_body(struct call *c, struct json root, struct arena *a, struct error *e) {
  int64_t subject;
  uint32_t index;
  struct asker *k;
  const struct drafter *d;
  struct draft_model m;
  struct draft r;
  struct json_out o;
  struct str key, kind = json_str(json_get(root, "kind"));
  struct json v;
  for (struct json_iter it = json_members(root); json_next_member(&it, &key, &v);)
    if (!str_eqc(key, "kind") && !str_eqc(key, "tasks")) return bad(e, E_INPUT, "body", "an unknown member; known are kind and tasks");
  if (!kind.n) return bad(e, E_INPUT, "kind", "expected what is to be drafted: visit, referral, discharge");
  TRY(subject_of(c, &subject, &index, e));
  TRY(server_asker(c->server, &k, e));
  TRY(knowledge_drafter(c->server->knowledge, k, &d, e));
  TRY(ask_model(c, json_get(root, "tasks"), index, a, &m, e));
  TRY(draft_write(d, index, kind, &m, a, &r, e));
  json_out_init(&o, &c->out, false);
  draft_json(d, index, &r, &o);
  return OK;
}

/* ---- what became of it: a file in the inbox, behind the wall ---- */

static int keep(struct call *c, const struct draft_review *r, char name[128], struct error *e) {
  char dir[4096], path[4096], now[32];
  struct buf b = {0};
  struct json_out o;
  char below[64];
  snprintf(name, 128, "%lld-%.8s-%s.json", (long long)time_now(), r->draft.p, c->request);
  snprintf(below, sizeof below, "inbox/drafts/%lld", (long long)r->subject); /* a folder each: `vitae forget` removes it */
  TRY(file_join(dir, sizeof dir, fleet_site(c->server->fleet)->path, below, e));
  TRY(file_mkdirs(dir, 0700, e));
  TRY(file_join(path, sizeof path, dir, name, e));
  time_format(time_now(), now);
  json_out_init(&o, &b, true);
  json_out_object(&o);
  json_kv_c(&o, "format", "vitae-draft-feedback-1");
  json_kv_c(&o, "time", now);
  json_kv_c(&o, "by", c->who.key);
  draft_review_json(r, true, &o);
  json_out_end(&o);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = file_write_atomic(path, b.p, b.n, 0600, e);
  if (b.p) mem_wipe(b.p, b.cap);
  buf_release(&b);
  return rc;
}

static int feedback_body(struct call *c, struct json root, struct arena *a, struct error *e) {
  int64_t subject;
  uint32_t index;
  struct draft_review r;
  struct json_out o;
  char name[128];
  TRY(subject_of(c, &subject, &index, e));
  TRY(draft_review_read(root, subject, a, &r, e));
  TRY(keep(c, &r, name, e));
  json_out_init(&o, &c->out, false);
  json_out_object(&o);
  draft_review_json(&r, false, &o);
  json_kv_c(&o, "file", name);
  json_out_end(&o);
  return OK;
}

void answer_draft(struct call *c) { answer_json_body(c, draft_body); }
void answer_draft_feedback(struct call *c) { answer_json_body(c, feedback_body); }
