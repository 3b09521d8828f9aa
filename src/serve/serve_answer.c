/* Answers that need no model: the desk's threads and, for the open routes, the HTTP threads give them. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/time.h"
#include "govern/site.h"
#include "model/model.h"
#include "serve/engine.h"
#include "serve/serve_private.h"
#include "serve/serve_voice.h"
#include "timeline/task.h"
#include "timeline/timeline.h"
#include "vitae.h"

#define REPORT_LIMIT (32u << 20)
enum { PAGE_MOST = 500 };
static const char *const split_names[SPLITS] = {"train", "tuning", "held_out"};

static void begin(struct call *c, struct json_out *o) {
  c->status = 200;
  json_out_init(o, &c->out, false);
  json_out_object(o);
}

void answer_live(struct call *c) {
  buf_puts(&c->out, "alive\n");
  c->status = 200;
  c->type = "text/plain; charset=utf-8";
}

void answer_ready(struct call *c) {
  bool ready = atomic_load(&c->server->ready) && !atomic_load(&c->server->draining) && !atomic_load(&c->server->mute);
  struct served *live = fleet_live(c->server->fleet);
  ready = ready && live;
  served_release(live);
  buf_puts(&c->out, ready ? "ready\n" : "not ready\n");
  c->status = ready ? 200 : 503;
  c->retry_after = ready ? 0 : 1;
  c->type = "text/plain; charset=utf-8";
}

void answer_metrics(struct call *c) {
  metrics_text(c->server, &c->out);
  c->status = 200;
  c->type = "text/plain; version=0.0.4; charset=utf-8";
}

void answer_openapi(struct call *c) {
  const struct buf *text = &c->server->openapi[c->plane == PLANE_DEVELOPER];
  buf_str(&c->out, (struct str){text->p, text->n});
  c->status = 200;
}

static void voices_json(const struct voices *v, bool encoders, const char *key, struct json_out *o) {
  json_out_key(o, key);
  json_out_array(o);
  for (int i = 0; i < voices_count(v); i++)
    if (voice_encoder(voice_at(v, i)) == encoders) json_out_c(o, voice_name(voice_at(v, i)));
  json_out_end(o);
}

void answer_session(struct call *c) {
  struct json_out o;
  int n;
  const struct route *r = serve_routes(&n);
  begin(c, &o);
  json_kv_c(&o, "key", c->who.key);
  json_kv_c(&o, "role", role_name[c->who.role]);
  json_kv_c(&o, "site", fleet_site(c->server->fleet)->name);
  voices_json(c->server->voices, false, "language_models", &o); /* what POST /v1/ask takes as model and encoder */
  voices_json(c->server->voices, true, "encoders", &o);
  json_out_key(&o, "routes");
  json_out_array(&o);
  for (int i = 0; i < n; i++) {
    if ((c->who.scopes & r[i].scope) != r[i].scope || !(r[i].plane & c->plane)) continue;
    json_out_object(&o);
    json_kv_c(&o, "method", r[i].method);
    json_kv_c(&o, "path", r[i].path);
    json_kv_c(&o, "summary", r[i].summary);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
}

void answer_model(struct call *c) {
  struct json_out o;
  if (!call_versioned(c)) return;
  c->status = 200;
  json_out_init(&o, &c->out, false);
  engine_describe(call_engine(c), &o);
}

void tasks_json(struct call *c, struct json_out *o) {
  const struct vitae_engine *en = call_engine(c);
  json_out_key(o, "tasks");
  json_out_array(o);
  for (int i = 0; i < engine_tasks(en); i++) {
    const struct task *t = engine_task_at(en, i);
    int64_t horizon = task_horizon(t);
    json_out_object(o);
    json_kv_c(o, "name", task_name(t));
    json_kv_c(o, "title", task_title(t));
    json_kv_c(o, "hash", task_hash(t));
    json_out_key(o, "horizon_days");
    if (horizon == INT64_MAX)
      json_out_null(o);
    else
      json_out_f64(o, (double)horizon / (double)TIME_DAY);
    json_out_end(o);
  }
  json_out_end(o);
}

void answer_tasks(struct call *c) {
  struct json_out o;
  if (!call_versioned(c)) return;
  begin(c, &o);
  tasks_json(c, &o);
  json_out_end(&o);
}

/* ---- store ---- */

static int number_of(struct call *c, const char *name, int64_t least, int64_t most, int64_t *out) {
  struct str s = call_query(c, name);
  if (!s.p || (str_to_i64(s, out) == OK && *out >= least && *out <= most)) return OK;
  char text[96];
  snprintf(text, sizeof text, "expected a whole number from %lld to %lld", (long long)least, (long long)most);
  call_fail(c, 400, "input", name, text);
  return E_INPUT;
}

static void kv_when(struct json_out *o, const char *key, int64_t t) {
  json_out_key(o, key);
  if (t == TIME_STATIC)
    json_out_null(o);
  else
    json_out_i64(o, t);
}

static void subject_row(const struct timeline *t, const struct timeline_view *v, struct json_out *o) {
  struct str sex = STR_NONE;
  int64_t birth = TIME_STATIC, first = TIME_STATIC, last = TIME_STATIC;
  bool died = false;
  char id[32];
  for (uint32_t k = 0; k < v->n; k++) {
    struct str code = timeline_code_name(t, v->code[k]);
    if (!sex.p) sex = timeline_sex_of(code);
    if (v->time[k] == TIME_STATIC) continue;
    if (str_eqc(code, "MEDS_BIRTH")) {
      birth = v->time[k];
      continue;
    }
    died = died || str_eqc(code, "MEDS_DEATH");
    if (first == TIME_STATIC) first = v->time[k];
    last = v->time[k];
  }
  snprintf(id, sizeof id, "%lld", (long long)v->subject);
  json_out_object(o);
  json_kv_c(o, "subject", id);
  json_kv_c(o, "split", split_names[v->split]);
  json_kv_i64(o, "events", v->n);
  if (sex.n) json_kv_str(o, "sex", sex);
  json_kv_bool(o, "died", died);
  kv_when(o, "birth", birth);
  kv_when(o, "first", first);
  kv_when(o, "last", last);
  json_out_end(o);
}

struct filter {
  struct str find;
  int split; /* -1 = any */
};
static bool wanted(const struct filter *f, const struct timeline_view *v) {
  char id[32];
  if (f->split >= 0 && (int)v->split != f->split) return false;
  if (!f->find.n) return true;
  snprintf(id, sizeof id, "%lld", (long long)v->subject);
  return str_starts(str_c(id), f->find);
}

static int filter_of(struct call *c, struct filter *f) {
  struct str split = call_query(c, "split");
  *f = (struct filter){call_query(c, "find"), -1};
  for (size_t i = 0; i < f->find.n; i++)
    if (f->find.p[i] < '0' || f->find.p[i] > '9' || i >= 20)
      return call_fail(c, 400, "input", "find", "expected the first digits of a pseudonym"), E_INPUT;
  if (!split.n) return OK;
  for (int i = 0; i < SPLITS; i++)
    if (str_eqc(split, split_names[i])) return f->split = i, OK;
  return call_fail(c, 400, "input", "split", "expected train, tuning or held_out"), E_INPUT;
}

static void cohort_head(const struct server *s, struct json_out *o) {
  json_kv_i64(o, "subjects", s->store ? timeline_subjects(s->store) : 0);
  json_kv_i64(o, "events", s->store ? (int64_t)timeline_events(s->store) : 0);
  json_kv_c(o, "generation", s->store ? timeline_generation(s->store) : "");
  json_out_key(o, "splits");
  json_out_object(o);
  for (int i = 0; i < SPLITS; i++) json_kv_i64(o, split_names[i], (int64_t)s->splits[i]);
  json_out_end(o);
}

void answer_cohort(struct call *c) {
  const struct server *s = c->server;
  int64_t offset = 0, limit = 50, total = 0;
  struct filter f;
  struct json_out o;
  if (number_of(c, "offset", 0, INT32_MAX, &offset) < 0 || number_of(c, "limit", 1, PAGE_MOST, &limit) < 0 || filter_of(c, &f) < 0) return;
  begin(c, &o);
  cohort_head(s, &o);
  json_kv_i64(&o, "offset", offset);
  json_kv_i64(&o, "limit", limit);
  json_out_key(&o, "rows");
  json_out_array(&o);
  uint32_t n = s->store ? timeline_subjects(s->store) : 0;
  for (uint32_t i = 0; i < n; i++) {
    struct timeline_view v = timeline_view(s->store, i);
    if (!wanted(&f, &v)) continue;
    if (total >= offset && total < offset + limit) subject_row(s->store, &v, &o);
    total++;
  }
  json_out_end(&o);
  json_kv_i64(&o, "total", total);
  json_out_end(&o);
}

void answer_subject(struct call *c) {
  int64_t subject, limit = 0;
  uint32_t index;
  struct json_out o;
  if (number_of(c, "limit", 0, INT32_MAX, &limit) < 0) return;
  if (str_to_i64(str_c(c->arg), &subject) < 0) {
    call_fail(c, 400, "input", "id", "a subject's pseudonym is a whole number");
  } else if (!c->server->store || timeline_find(c->server->store, subject, &index, NULL) < 0) {
    call_fail(c, 404, "notfound", "id", "there is no such subject");
  } else {
    c->status = 200;
    json_out_init(&o, &c->out, false);
    timeline_json(c->server->store, index, (uint32_t)limit, &o);
  }
}

/* ---- reports ---- */

/* A name that cannot leave its directory. */
static bool plain_name(const char *s) {
  size_t n = strlen(s);
  if (n == 0 || n > 120 || s[0] == '.') return false;
  for (; *s; s++)
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '-' || *s == '_' || *s == '.'))
      return false;
  return true;
}

static void copy_number(struct json from, const char *key, struct json_out *o) {
  double d;
  if (json_f64(json_get(from, key), &d)) json_kv_f64(o, key, d);
}
static void copy_text(struct json from, const char *key, struct json_out *o) {
  struct str s = json_str(json_get(from, key));
  if (s.p) json_kv_str(o, key, s);
}

static void report_row(const char *name, struct json r, struct json_out *o) {
  bool passes = false;
  struct json model = json_get(json_get(json_get(r, "predictors"), "model"), "metrics"), auroc = json_get(model, "auroc");
  json_out_object(o);
  json_kv_c(o, "name", name);
  copy_text(r, "task", o);
  copy_text(r, "title", o);
  copy_text(r, "version", o);
  copy_number(r, "n", o);
  copy_number(r, "events", o);
  (void)json_bool(json_get(json_get(r, "gate"), "passes"), &passes);
  json_kv_bool(o, "passes", passes);
  json_out_key(o, "auroc");
  json_out_object(o);
  copy_number(auroc, "at", o);
  copy_number(auroc, "lo", o);
  copy_number(auroc, "hi", o);
  json_out_end(o);
  json_out_end(o);
}

/* Calls `f` for every file of reports/ that is called `leaf` in a directory of its own, or (leaf NULL) begins with "wall-". */
static int each_report(struct call *c, const char *leaf,
                       int (*f)(struct arena *, const char *name, const char *path, struct json_out *, struct error *), struct json_out *o,
                       struct error *e) {
  char dir[4096];
  struct str *files;
  size_t n;
  struct arena a;
  TRY(site_path(fleet_site(c->server->fleet), dir, "reports", NULL));
  if (!file_is_dir(dir)) return OK;
  arena_init(&a, 4 * REPORT_LIMIT, 0);
  int rc = file_list(&a, dir, &files, &n, e);
  for (size_t i = n; rc == OK && i-- > 0;) { /* newest generation first */
    const char *below = files[i].p + strlen(dir) + 1, *slash = strchr(below, '/');
    char name[128];
    bool mine =
        leaf ? slash && strcmp(slash + 1, leaf) == 0 : !slash && strncmp(below, "wall-", 5) == 0 && str_ends(files[i], STR(".json"));
    if (!mine) continue;
    snprintf(name, sizeof name, "%.*s", slash ? (int)(slash - below) : (int)strlen(below), below);
    struct arena_mark m = arena_mark(&a);
    if (plain_name(name)) rc = f(&a, name, files[i].p, o, e);
    arena_rewind(&a, m);
  }
  arena_free(&a);
  return rc;
}

static int add_report(struct arena *a, const char *name, const char *path, struct json_out *o, struct error *e) {
  struct json root;
  struct arena own; /* the parser is released with the arena that holds it */
  (void)a;
  arena_init(&own, 2 * REPORT_LIMIT, 0);
  int rc = json_load(&own, path, &root, e);
  if (rc == OK) report_row(name, root, o);
  arena_free(&own);
  return rc == E_INPUT ? OK : rc; /* a report that is no JSON is no report */
}

static int add_wall(struct arena *a, const char *name, const char *path, struct json_out *o, struct error *e) {
  struct str text;
  (void)name;
  TRY(file_read(a, path, REPORT_LIMIT, &text, e));
  json_out_raw(o, str_trim(text));
  return OK;
}

static void list(struct call *c, const char *key, const char *leaf,
                 int (*f)(struct arena *, const char *, const char *, struct json_out *, struct error *)) {
  struct error e = {0};
  struct json_out o;
  begin(c, &o);
  json_out_key(&o, key);
  json_out_array(&o);
  if (each_report(c, leaf, f, &o, &e) < 0) {
    call_error(c, &e);
    return;
  }
  json_out_end(&o);
  json_out_end(&o);
}
void answer_reports(struct call *c) { list(c, "reports", "report.json", add_report); }
void answer_wall(struct call *c) { list(c, "ingests", NULL, add_wall); }

void answer_report(struct call *c) {
  char path[4096];
  struct str format = call_query(c, "format"), text;
  bool html = str_eqc(format, "html");
  struct arena a;
  struct error e = {0};
  if (format.p && !html && !str_eqc(format, "json")) {
    call_fail(c, 400, "input", "format", "expected json or html");
    return;
  }
  if (!plain_name(c->arg) ||
      site_path(fleet_site(c->server->fleet), path, "reports", c->arg, html ? "report.html" : "report.json", NULL) < 0 ||
      !file_exists(path)) {
    call_fail(c, 404, "notfound", "name", "there is no such report");
    return;
  }
  arena_init(&a, REPORT_LIMIT + 4096, 0);
  if (file_read(&a, path, REPORT_LIMIT, &text, &e) < 0) {
    call_error(c, &e);
  } else {
    buf_str(&c->out, text);
    c->status = 200;
    if (html)
      c->type = "text/html; charset=utf-8",
      c->csp = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox";
  }
  arena_free(&a);
}
