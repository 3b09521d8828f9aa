/* The CDS services' data file, and the discovery answer made of it. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "govern/site.h"
#include "serve/serve_cds.h"

static int bad(struct error *e, const char *field, const char *what) {
  (void)error_set(e, E_INPUT, "%s", what);
  return error_where(e, NULL, 0, field);
}

static int take_text(struct cds *d, struct json j, const char *key, const char **out, bool needed, struct error *e) {
  struct json v = json_get(j, key);
  struct str s = json_str(v);
  *out = NULL;
  if (json_kind(v) == JSON_NONE && !needed) return OK;
  if (!s.n || memchr(s.p, 0, s.n) || s.n > 4000) return bad(e, key, "expected a text");
  char *p = arena_alloc(&d->arena, s.n + 1, 1);
  if (!p) return error_set(e, E_NOMEM, "out of memory");
  memcpy(p, s.p, s.n);
  p[s.n] = 0;
  *out = p;
  return OK;
}

static int take_queries(struct cds *d, struct cds_service *s, struct json list, struct error *e) {
  struct json item;
  struct str key;
  s->queries = 0;
  for (struct json_iter it = json_members(list); json_next_member(&it, &key, &item);) {
    struct cds_query *q = &s->query[s->queries];
    if (s->queries == CDS_QUERIES || !name_plain(key, 63)) return bad(e, "queries", "expected a few queries by plain names");
    char *name = arena_alloc(&d->arena, key.n + 1, 1);
    if (!name) return error_set(e, E_NOMEM, "out of memory");
    memcpy(name, key.p, key.n);
    name[key.n] = 0;
    q->key = name;
    TRY(take_text(d, item, "query", &q->query, true, e));
    (void)json_bool(json_get(item, "required"), &q->required);
    s->queries++;
  }
  return OK;
}

static int take_rule(struct cds *d, struct json j, struct cds_rule *r, struct error *e) {
  static const char *const level[CDS_LEVELS] = {"info", "warning", "critical"}, *const within[6] = {"1d", "7d", "30d", "90d", "1y", "5y"};
  int64_t reasons = 0;
  int levels = 0;
  TRY(take_text(d, j, "task", &r->task, false, e));
  TRY(take_text(d, j, "outcome", &r->outcome, false, e));
  TRY(take_text(d, j, "title", &r->title, false, e));
  TRY(take_text(d, j, "summary", &r->summary, true, e));
  if (!r->task == !r->outcome) return bad(e, "cards", "a card is of a \"task\" or of an \"outcome\"");
  while (r->outcome && r->within < 6 && !str_eqc(json_str(json_get(j, "within")), within[r->within])) r->within++;
  if (r->within == 6) return bad(e, "within", "expected 1d, 7d, 30d, 90d, 1y or 5y");
  for (int i = 0; i < CDS_LEVELS; i++) {
    struct json v = json_get(j, level[i]);
    r->level[i] = NAN;
    if (json_kind(v) == JSON_NONE || json_kind(v) == JSON_NULL) continue;
    if (!json_f64(v, &r->level[i]) || r->level[i] < 0 || r->level[i] > 1) return bad(e, level[i], "expected a probability from 0 to 1");
    levels++;
  }
  if (!levels) return bad(e, "cards", "a card needs a level: info, warning or critical");
  if (json_kind(json_get(j, "reasons")) != JSON_NONE && (!json_i64(json_get(j, "reasons"), &reasons) || reasons < 0 || reasons > 20))
    return bad(e, "reasons", "expected 0 to 20");
  r->reasons = (int)reasons;
  (void)json_bool(json_get(j, "thorough"), &r->thorough);
  return OK;
}

static int take_service(struct cds *d, struct json root, struct json j, struct error *e) {
  static const char *const hooks[3] = {"patient-view", "order-select", "order-sign"};
  struct json item, own = json_get(j, "queries");
  int hook = 0;
  if (d->services == CDS_SERVICES) return error_set(e, E_LIMIT, "at most %d services", CDS_SERVICES);
  struct cds_service *s = &d->service[d->services++];
  TRY(take_text(d, j, "id", &s->id, true, e));
  TRY(take_text(d, j, "hook", &s->hook, true, e));
  TRY(take_text(d, j, "title", &s->title, false, e));
  TRY(take_text(d, j, "description", &s->description, true, e));
  TRY(take_text(d, j, "usageRequirements", &s->usage, false, e));
  if (!name_plain(str_c(s->id), 63)) return bad(e, "id", "expected letters, digits, '-', '_' and '.'");
  while (hook < 3 && strcmp(hooks[hook], s->hook) != 0) hook++;
  if (hook == 3) return bad(e, "hook", "expected patient-view, order-select or order-sign");
  TRY(take_queries(d, s, json_kind(own) == JSON_OBJECT ? own : json_get(root, "queries"), e));
  for (struct json_iter it = json_items(json_get(j, "cards")); json_next(&it, &item);) {
    if (s->rules == CDS_RULES) return error_set(e, E_LIMIT, "at most %d cards a service", CDS_RULES);
    TRY(take_rule(d, item, &s->rule[s->rules++], e));
  }
  for (struct json_iter it = json_items(json_get(j, "orders")); json_next(&it, &item); s->orders++) {
    struct str code = json_str(item);
    char *p = code.n && s->orders < CDS_CODES ? arena_alloc(&d->arena, code.n + 1, 1) : NULL;
    if (!p) return bad(e, "orders", "expected a list of \"system|code\"");
    memcpy(p, code.p, code.n);
    p[code.n] = 0;
    s->order[s->orders] = p;
  }
  return OK;
}

static int take(struct cds *d, struct json root, struct error *e) {
  struct json item, source = json_get(root, "source");
  int64_t budget = 500;
  if (json_kind(json_get(root, "budget_ms")) != JSON_NONE &&
      (!json_i64(json_get(root, "budget_ms"), &budget) || budget < 50 || budget > 60000))
    return bad(e, "budget_ms", "expected 50 to 60000");
  d->budget = (double)budget / 1e3;
  TRY(take_text(d, source, "label", &d->source_label, true, e));
  TRY(take_text(d, source, "url", &d->source_url, false, e));
  TRY(take_text(d, source, "icon", &d->source_icon, false, e));
  TRY(take_text(d, root, "link", &d->link, false, e));
  TRY(take_text(d, root, "footer", &d->footer, false, e));
  TRY(take_text(d, root, "override_system", &d->override_system, false, e));
  for (struct json_iter it = json_items(json_get(root, "override_reasons")); json_next(&it, &item); d->reasons++) {
    if (d->reasons == CDS_REASONS) return error_set(e, E_LIMIT, "at most %d override reasons", CDS_REASONS);
    TRY(take_text(d, item, "code", &d->reason[d->reasons].code, true, e));
    TRY(take_text(d, item, "display", &d->reason[d->reasons].display, true, e));
  }
  if (d->reasons && !d->override_system) return bad(e, "override_system", "the reasons need a code system");
  for (struct json_iter it = json_items(json_get(root, "services")); json_next(&it, &item);) TRY(take_service(d, root, item, e));
  return OK;
}

static void discover(struct cds *d) {
  struct json_out o;
  json_out_init(&o, &d->discovery, false);
  json_out_object(&o);
  json_out_key(&o, "services");
  json_out_array(&o);
  for (int i = 0; i < d->services; i++) {
    const struct cds_service *s = &d->service[i];
    json_out_object(&o);
    json_kv_c(&o, "hook", s->hook);
    if (s->title) json_kv_c(&o, "title", s->title);
    json_kv_c(&o, "description", s->description);
    json_kv_c(&o, "id", s->id);
    if (s->usage) json_kv_c(&o, "usageRequirements", s->usage);
    if (s->queries) {
      json_out_key(&o, "prefetch");
      json_out_object(&o);
      for (int k = 0; k < s->queries; k++) json_kv_c(&o, s->query[k].key, s->query[k].query);
      json_out_end(&o);
    }
    json_out_end(&o);
  }
  json_out_end(&o);
  json_out_end(&o);
}

int cds_open(const char *site, struct cds **out, struct error *e) {
  char file[4096];
  struct site s;
  struct arena a;
  struct json root;
  *out = NULL;
  TRY(site_open(site, &s, e));
  TRY(site_find(&s, "policy", "cds-services", file, e));
  struct cds *d = mem_alloc(sizeof *d);
  if (!d) return error_set(e, E_NOMEM, "out of memory");
  memset(d, 0, sizeof *d);
  arena_init(&d->arena, 4 << 20, 0);
  arena_init(&a, 4 << 20, 0);
  int rc = json_load(&a, file, &root, e);
  if (rc == OK) rc = take(d, root, e);
  if (rc == OK) discover(d);
  if (rc == OK) rc = buf_check(&d->discovery, e);
  arena_free(&a);
  if (rc < 0) {
    (void)error_where(e, file, 0, NULL);
    cds_close(d);
  } else {
    *out = d;
  }
  return rc;
}

void cds_close(struct cds *d) {
  if (!d) return;
  arena_free(&d->arena);
  buf_release(&d->discovery);
  mem_free(d);
}

const struct cds_service *cds_service(const struct cds *d, const char *id, const char *hook) {
  for (int i = 0; i < d->services; i++)
    if (strcmp(d->service[i].id, id) == 0 && (!hook || strcmp(d->service[i].hook, hook) == 0)) return &d->service[i];
  return NULL;
}
