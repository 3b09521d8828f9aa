/* Versions that are loaded, and the names that clients call them by. A version is counted by the calls that run on it: a swap puts
 * another in its place, and the old one goes when its last call has been answered. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "govern/govern.h"
#include "govern/site.h"
#include "serve/serve_private.h"
#include "vitae.h"

enum { VERSIONS_MOST = 8, DEPLOYMENTS_MOST = 64, ARMS_MOST = 4, ARMS_TEXT = 400 };
static const char own_name[] = "vitae"; /* always there: the live version, unless a row says otherwise */

struct served {
  struct vitae_engine *engine;
  atomic_int refs;
};
struct deployment {
  char name[NAME_MOST + 1];
  struct served *arm[ARMS_MOST], *shadow;
  int weight[ARMS_MOST], arms;
  int64_t changed;
  uint64_t turn;
};
struct fleet {
  const char *version, *database;
  struct site site;
  pthread_mutex_t mutex; /* of what follows */
  struct served *live;   /* NULL: no version is live, and nothing here answers */
  struct deployment d[DEPLOYMENTS_MOST];
  int n;
  struct db *db;                   /* of fleet_refresh's thread, as the next */
  uint64_t told[DEPLOYMENTS_MOST]; /* what the log has been told of a row, not to be told every two seconds */
};

/* ---- counted versions ---- */

struct served *served_keep(struct served *s) {
  if (s) atomic_fetch_add(&s->refs, 1);
  return s;
}
void served_release(struct served *s) {
  if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
  vitae_engine_close(s->engine);
  mem_free(s);
}
const struct vitae_engine *served_engine(const struct served *s) { return s ? s->engine : NULL; }
const char *served_id(const struct served *s) { return s ? vitae_engine_id(s->engine) : ""; }

static int served_open(const char *site, const char *version, struct served **out, struct error *e) {
  struct vitae_error ve = {0};
  struct served *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  memset(s, 0, sizeof *s);
  atomic_store(&s->refs, 1);
  if (vitae_engine_open(site, version, &s->engine, &ve) < 0) {
    char *code = strrchr(ve.message, '('); /* the name of the code, which the caller's error says again */
    if (code && code > ve.message) code[-1] = 0;
    mem_free(s);
    return error_set(e, ve.code, "%s", ve.message);
  }
  *out = s;
  return OK;
}

/* ---- what a deployment's row says ---- */

struct arm_text {
  char version[80];
  int weight;
};

static int parse_arms(struct str text, struct arm_text out[ARMS_MOST], int *n, struct error *e) {
  *n = 0;
  while (text.n) {
    struct str one = str_cut(&text, ','), version = str_cut(&one, ':');
    int64_t weight = 1;
    if (*n == ARMS_MOST) return error_set(e, E_USAGE, "a deployment has at most %d versions", ARMS_MOST);
    if (!name_plain(version, sizeof out->version - 1) || (one.p && (str_to_i64(one, &weight) < 0 || weight < 0 || weight > 1000000)))
      return error_set(e, E_USAGE, "a deployment's versions are VERSION or VERSION:WEIGHT, separated by commas");
    snprintf(out[*n].version, sizeof out->version, "%.*s", STR_ARG(version));
    out[(*n)++].weight = (int)weight;
  }
  return OK;
}

/* The whole id of a version and its state. *versions: how many there are, 0 where the list is not there. */
static int find_version(const char *site, const char *name, char id[65], enum version_state *state, int *versions, struct error *e) {
  struct registry *r;
  struct arena a;
  struct version *v;
  char dir[4096];
  *versions = 0;
  *state = STATE_DRAFT;
  TRY(registry_read(site, &r, e));
  arena_init(&a, 16 << 20, 0);
  int rc = registry_list(r, &a, &v, versions, e);
  if (rc == OK) rc = registry_resolve(r, name, dir, sizeof dir, id, e);
  for (int i = 0; rc == OK && i < *versions; i++)
    if (strcmp(v[i].id, id) == 0) *state = v[i].state;
  arena_free(&a);
  registry_close(r);
  return rc;
}

/* The whole id of a version that may answer (live, or in shadow as its candidate); for mirroring `validated` does. */
static int allowed(const char *site, const char *name, bool unseen, char id[65], struct error *e) {
  enum version_state state;
  int versions;
  TRY(find_version(site, name, id, &state, &versions, e));
  if (state == STATE_LIVE || state == STATE_SHADOW || (unseen && state == STATE_VALIDATED)) return OK;
  return error_set(e, E_DENIED, "only a promoted version answers: live, or shadow as its candidate (unseen: validated as well)");
}

int deployment_set(const char *site, const char *name, const struct deployment_options *o, struct error *e) {
  struct arm_text arm[ARMS_MOST];
  struct db *db;
  char id[65];
  int n = 0;
  if (!name_plain(str_c(name), NAME_MOST)) return error_set(e, E_USAGE, "a deployment's name has letters, digits, '-', '_' and '.'");
  TRY(parse_arms(str_c(o->to ? o->to : ""), arm, &n, e));
  for (int i = 0; i < n; i++) TRY(allowed(site, arm[i].version, false, id, e));
  if (o->shadow) TRY(allowed(site, o->shadow, true, id, e));
  TRY(db_open(site, o->database, &db, e));
  int64_t changed = 1;
  int rc = n || o->shadow
               ? db_run(db,
                        "INSERT INTO deployments(name, arms, shadow, changed) VALUES(?,?,?,?) ON CONFLICT(name) DO UPDATE SET arms = "
                        "excluded.arms, shadow = excluded.shadow, changed = excluded.changed",
                        (struct db_value[]){DB_T(name), DB_T(n ? o->to : "live"), DB_T(o->shadow ? o->shadow : ""), DB_I(time_now())}, 4,
                        NULL, e)
               : db_run(db, "DELETE FROM deployments WHERE name = ?", (struct db_value[]){DB_T(name)}, 1, &changed, e);
  db_close(db);
  return rc == OK && !changed ? error_set(e, E_NOTFOUND, "there is no deployment of that name") : rc;
}

static int list_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct json_out *o = ctx;
  char time[32];
  (void)n, (void)e;
  time_format(v[3].i, time);
  json_out_object(o);
  json_kv_str(o, "name", (struct str){v[0].p, v[0].n});
  json_kv_str(o, "versions", (struct str){v[1].p, v[1].n});
  json_kv_str(o, "shadow", (struct str){v[2].p, v[2].n});
  json_kv_c(o, "changed", time);
  json_out_end(o);
  return OK;
}
int deployment_list(const char *site, const char *database, struct json_out *o, struct error *e) {
  struct db *db;
  TRY(db_open(site, database, &db, e));
  json_out_array(o);
  int rc = db_each(db, "SELECT name, arms, shadow, changed FROM deployments ORDER BY name", NULL, 0, list_row, o, e);
  json_out_end(o);
  db_close(db);
  return rc;
}

/* ---- looking again ---- */

struct rows {
  struct {
    char name[NAME_MOST + 1], arms[ARMS_TEXT], shadow[80];
    int64_t changed;
  } row[DEPLOYMENTS_MOST];
  int n;
};
static void text_of(char *out, size_t size, const struct db_value *v) {
  snprintf(out, size, "%.*s", v->kind == DB_TEXT ? (int)v->n : 0, v->kind == DB_TEXT ? v->p : "");
}
static int take_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct rows *r = ctx;
  (void)n, (void)e;
  if (r->n == DEPLOYMENTS_MOST) return OK;
  text_of(r->row[r->n].name, sizeof r->row->name, &v[0]);
  text_of(r->row[r->n].arms, sizeof r->row->arms, &v[1]);
  text_of(r->row[r->n].shadow, sizeof r->row->shadow, &v[2]);
  r->row[r->n++].changed = v[3].i;
  return OK;
}

/* A loaded version by its id: from the old table or the new one, else from disk. */
static int obtain(struct fleet *f, const struct deployment *fresh, int n, struct served *live, const char *name, bool unseen,
                  struct served **out, struct error *e) {
  char id[65];
  if (strcmp(name, "live") == 0) return *out = served_keep(live), OK;
  TRY(allowed(f->site.path, name, unseen, id, e));
  if (strcmp(served_id(live), id) == 0) return *out = served_keep(live), OK;
  for (int pass = 0; pass < 2; pass++) {
    const struct deployment *d = pass ? f->d : fresh;
    for (int i = 0; i < (pass ? f->n : n); i++)
      for (int k = 0; k <= d[i].arms; k++) {
        struct served *s = k < d[i].arms ? d[i].arm[k] : d[i].shadow;
        if (s && strcmp(served_id(s), id) == 0) return *out = served_keep(s), OK;
      }
  }
  return served_open(f->site.path, id, out, e);
}

static void release_deployment(struct deployment *d) {
  for (int i = 0; i < d->arms; i++) served_release(d->arm[i]);
  served_release(d->shadow);
}

/* A version that may answer no more is left out, and the others share its part: only where none is left the name answers no more. */
static bool is_gone(int rc) { return rc == E_DENIED || rc == E_NOTFOUND; }

static int build(struct fleet *f, const char *name, const char *arms, const char *shadow, struct served *live, struct deployment *fresh,
                 int n, struct error *e) {
  struct deployment *d = &fresh[n];
  struct arm_text arm[ARMS_MOST];
  int count;
  *d = (struct deployment){0};
  snprintf(d->name, sizeof d->name, "%s", name);
  TRY(parse_arms(str_c(arms), arm, &count, e));
  int gone = OK;
  for (int i = 0; i < count; i++) {
    int rc = obtain(f, fresh, n, live, arm[i].version, false, &d->arm[d->arms], e);
    if (rc == OK)
      d->weight[d->arms++] = arm[i].weight;
    else if (is_gone(rc))
      gone = rc;
    else
      return rc;
  }
  if (gone < 0 && !d->arms) return gone;
  int rc = shadow[0] ? obtain(f, fresh, n, live, shadow, true, &d->shadow, e) : OK;
  return is_gone(rc) ? OK : rc;
}

static bool same(const struct deployment *a, const struct deployment *b) {
  if (strcmp(a->name, b->name) != 0 || a->arms != b->arms || a->shadow != b->shadow) return false;
  for (int i = 0; i < a->arms; i++)
    if (a->arm[i] != b->arm[i] || a->weight[i] != b->weight[i]) return false;
  return true;
}

/* *out NULL: the list of versions says that none is live, or that the one asked for is retired. What cannot be read just now says nothing. */
static int live_now(struct fleet *f, struct served **out, struct error *e) {
  const char *name = f->version ? f->version : "live";
  enum version_state state;
  char id[65];
  int versions;
  *out = NULL;
  if (f->version && file_is_dir(f->version)) return *out = served_keep(f->live), OK;
  int rc = find_version(f->site.path, name, id, &state, &versions, e);
  if (rc == E_NOTFOUND && versions && strcmp(name, "live") == 0) return OK;
  TRY(rc);
  if (state == STATE_RETIRED) return OK;
  if (strcmp(served_id(f->live), id) == 0) return *out = served_keep(f->live), OK;
  return served_open(f->site.path, id, out, e);
}

int fleet_refresh(struct fleet *f, bool *changed, struct error *e) {
  struct served *live = NULL;
  struct rows rows = {0};
  struct deployment *fresh = mem_alloc(sizeof *fresh * (DEPLOYMENTS_MOST + 1));
  int n = 0;
  bool own = false;
  *changed = false;
  if (!fresh) return error_set(e, E_NOMEM, "out of memory");
  int rc = live_now(f, &live, e);
  if (rc == OK) rc = db_each(f->db, "SELECT name, arms, shadow, changed FROM deployments ORDER BY name", NULL, 0, take_row, &rows, e);
  for (int i = 0; rc == OK && i < rows.n && n < DEPLOYMENTS_MOST; i++) {
    struct error why = {0}; /* one bad row does not take the others away */
    uint64_t told = 0;
    int built = build(f, rows.row[i].name, rows.row[i].arms, rows.row[i].shadow, live, fresh, n, &why);
    if (why.message[0]) told = hash64(why.message, strlen(why.message), hash64(rows.row[i].name, strlen(rows.row[i].name), 1));
    if (why.message[0] && told != f->told[i]) log_line(LOG_WARN, "deployment %s: %s", rows.row[i].name, why.message);
    f->told[i] = why.message[0] ? told : 0;
    if (built < 0) {
      release_deployment(&fresh[n]);
      continue;
    }
    fresh[n].changed = rows.row[i].changed;
    own |= strcmp(fresh[n].name, own_name) == 0;
    n++;
  }
  if (rc == OK && !own && n < DEPLOYMENTS_MOST) {
    rc = build(f, own_name, "live", "", live, fresh, n, e);
    if (rc == OK) n++;
  }
  pthread_mutex_lock(&f->mutex);
  *changed = rc == OK && (live != f->live || n != f->n);
  for (int i = 0; rc == OK && !*changed && i < n; i++) *changed = !same(&fresh[i], &f->d[i]);
  struct served *old = live;
  int old_n = n;
  if (*changed) {
    old = f->live, old_n = f->n;
    f->live = live, f->n = n;
    for (int i = 0; i < DEPLOYMENTS_MOST; i++) {
      struct deployment swap = f->d[i];
      f->d[i] = fresh[i], fresh[i] = swap;
    }
  }
  pthread_mutex_unlock(&f->mutex);
  for (int i = 0; i < old_n; i++) release_deployment(&fresh[i]);
  served_release(old);
  mem_free(fresh);
  return rc;
}

/* ---- the fleet ---- */

int fleet_open(const struct serve_options *o, struct fleet **out, struct error *e) {
  struct fleet *f = mem_alloc(sizeof *f);
  bool changed;
  if (!f) return error_set(e, E_NOMEM, "out of memory");
  memset(f, 0, sizeof *f);
  f->version = o->version, f->database = o->database;
  pthread_mutex_init(&f->mutex, NULL);
  int rc = site_open(o->site, &f->site, e);
  if (rc == OK) rc = db_open(o->site, o->database, &f->db, e);
  if (rc == OK) rc = served_open(o->site, o->version, &f->live, e);
  if (rc == OK) rc = fleet_refresh(f, &changed, e);
  if (rc == OK && !f->live) rc = error_set(e, E_DENIED, "a retired version is not served");
  if (rc < 0)
    fleet_close(f);
  else
    *out = f;
  return rc;
}

void fleet_close(struct fleet *f) {
  if (!f) return;
  for (int i = 0; i < f->n; i++) release_deployment(&f->d[i]);
  served_release(f->live);
  db_close(f->db);
  pthread_mutex_destroy(&f->mutex);
  mem_free(f);
}

const struct site *fleet_site(const struct fleet *f) { return &f->site; }

struct served *fleet_live(struct fleet *f) {
  pthread_mutex_lock(&f->mutex);
  struct served *s = served_keep(f->live);
  pthread_mutex_unlock(&f->mutex);
  return s;
}

/* Turns by weight, evenly spread: the share of turn t is found by a stride that has no common divisor with the sum. */
static struct served *choose(struct deployment *d) {
  uint64_t sum = 0;
  for (int i = 0; i < d->arms; i++) sum += (uint64_t)d->weight[i];
  if (!sum) return d->arms ? d->arm[0] : NULL;
  uint64_t at = d->turn++ * 0x9E3779B97F4A7C15u; /* Weyl sequence: low discrepancy */
  double x = (double)(at >> 11) * 0x1p-53 * (double)sum;
  for (int i = 0; i < d->arms; i++) {
    if (x < (double)d->weight[i]) return d->arm[i];
    x -= (double)d->weight[i];
  }
  return d->arm[d->arms - 1];
}

int fleet_route(struct fleet *f, struct str deployment, struct served **out, struct served **mirror, struct error *e) {
  struct deployment *d = NULL;
  *out = *mirror = NULL;
  pthread_mutex_lock(&f->mutex);
  for (int i = 0; i < f->n && !d; i++)
    if (str_eqc(deployment, f->d[i].name)) d = &f->d[i];
  if (d && f->live) {
    *out = served_keep(choose(d));
    *mirror = served_keep(d->shadow);
  }
  pthread_mutex_unlock(&f->mutex);
  if (*out) return OK;
  return d ? error_set(e, E_UNAVAILABLE, NO_VERSION) : error_set(e, E_NOTFOUND, "the deployment does not exist");
}

void fleet_each(struct fleet *f, void (*each)(void *ctx, const char *name, const char *version, int64_t created), void *ctx) {
  pthread_mutex_lock(&f->mutex);
  for (int i = 0; i < f->n; i++) each(ctx, f->d[i].name, f->d[i].arms ? served_id(f->d[i].arm[0]) : "", f->d[i].changed);
  pthread_mutex_unlock(&f->mutex);
}

void fleet_json(struct fleet *f, struct json_out *o) {
  pthread_mutex_lock(&f->mutex);
  json_out_array(o);
  for (int i = 0; i < f->n; i++) {
    const struct deployment *d = &f->d[i];
    json_out_object(o);
    json_kv_c(o, "name", d->name);
    json_out_key(o, "versions");
    json_out_array(o);
    for (int k = 0; k < d->arms; k++) {
      json_out_object(o);
      json_kv_c(o, "version", served_id(d->arm[k]));
      json_kv_i64(o, "weight", d->weight[k]);
      json_out_end(o);
    }
    json_out_end(o);
    json_out_key(o, "shadow");
    if (d->shadow)
      json_out_c(o, vitae_engine_id(d->shadow->engine));
    else
      json_out_null(o);
    json_out_end(o);
  }
  json_out_end(o);
  pthread_mutex_unlock(&f->mutex);
}
