/* API keys: vitae_<id>_<secret>. The id finds the row, Argon2id (Biryukov et al. 2016; RFC 9106) tells whether the secret is right.
 * A verified key is remembered for a minute under a keyed hash (BLAKE2b with a key of this process), so that only the first call pays for
 * Argon2; a revoked key is therefore refused after a minute at the latest. A wrong key is remembered too: the same wrong key again costs
 * nothing and is no new guess. Whoever guesses (many different wrong keys from one address) has to wait, longer each time. */
#include <sodium.h>
#include <string.h>

#include "base/random.h"
#include "base/time.h"
#include "serve/serve_private.h"

#define ARGON_PASSES 2
#define ARGON_MEMORY (19u << 20) /* the OWASP password storage sheet's least setting for two passes */
enum { ARGON_AT_ONCE = 2, ARGON_WAITING = 1, SLOTS = 1024, WAYS = 8, ADDRESSES = 1024, GUESSES = 20 };
#define REMEMBER_SECONDS 60.0
#define GUESS_MINUTE 60.0

const char *const role_name[ROLES] = {"none", "viewer", "ehr", "clinician", "admin", "developer"};
const unsigned role_scopes[ROLES] = {
    0, SCOPE_READ, SCOPE_CDS, SCOPE_READ | SCOPE_PATIENT | SCOPE_CDS, SCOPE_READ | SCOPE_PATIENT | SCOPE_CDS | SCOPE_ADMIN, SCOPE_INFER};
const enum plane role_plane[ROLES] = {PLANE_BOTH, PLANE_HOSPITAL, PLANE_HOSPITAL, PLANE_HOSPITAL, PLANE_HOSPITAL, PLANE_DEVELOPER};

struct remembered {
  uint8_t digest[32];
  struct identity who;
  bool wrong;
  double until;
};
struct guesser { /* one address's wrong keys */
  uint64_t address;
  int wrong, times;
  double since, until;
};
struct keys {
  pthread_mutex_t asking; /* of the database, which may take its time: never taken with the other one held */
  struct db *db;
  pthread_mutex_t mutex; /* of everything below; the threads that accept requests take it too */
  pthread_cond_t freed;
  int checking, guesses;
  const uint8_t *checked[ARGON_AT_ONCE + ARGON_WAITING]; /* digests of keys that are being checked or wait for it; NULL: free */
  uint8_t secret[32];
  struct remembered list[SLOTS];
  struct guesser guesser[ADDRESSES];
};

static int sodium_ready(struct error *e) { return sodium_init() < 0 ? error_set(e, E_IO, "libsodium could not be started") : OK; }

static int make_key(char out[64], char id[KEY_ID + 1], struct error *e) {
  static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* 32 of them: no bias */
  uint8_t random[KEY_ID], secret[24];
  TRY(random_secret(random, sizeof random, e));
  TRY(random_secret(secret, sizeof secret, e));
  for (int i = 0; i < KEY_ID; i++) id[i] = letters[random[i] & 31];
  id[KEY_ID] = 0;
  int n = snprintf(out, 64, "vitae_%s_", id);
  sodium_bin2base64(out + n, (size_t)(64 - n), secret, sizeof secret, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
  sodium_memzero(secret, sizeof secret);
  return OK;
}

bool name_plain(struct str s, size_t most) {
  if (s.n == 0 || s.n > most || s.p[0] == '.') return false;
  for (size_t i = 0; i < s.n; i++) {
    char c = s.p[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')) return false;
  }
  return true;
}

static int check_options(const struct key_options *o, struct error *e) {
  struct str rest = str_c(o->models ? o->models : "");
  if (o->role <= ROLE_NONE || o->role >= ROLES) return error_set(e, E_USAGE, "a key's role is viewer, ehr, clinician, admin or developer");
  if (o->label && strlen(o->label) > 200) return error_set(e, E_USAGE, "a key's label has at most 200 bytes");
  if (o->tenant && !name_plain(str_c(o->tenant), TENANT_MOST))
    return error_set(e, E_USAGE, "a tenant's name has at most %d letters, digits, '-', '_' and '.'", TENANT_MOST);
  if (rest.n > MODELS_MOST) return error_set(e, E_USAGE, "a key's list of models has at most %d bytes", MODELS_MOST);
  while (rest.n)
    if (!name_plain(str_cut(&rest, ','), NAME_MOST)) return error_set(e, E_USAGE, "the models of a key are names, separated by commas");
  if (o->requests_per_minute < 0 || o->tokens_per_minute < 0 || o->days < 0) return error_set(e, E_USAGE, "a quota is no negative number");
  return OK;
}

int key_create(const char *site, const struct key_options *o, char out[64], struct error *e) {
  char id[KEY_ID + 1], hash[crypto_pwhash_STRBYTES];
  struct db *db;
  int64_t now = time_now();
  TRY(check_options(o, e));
  TRY(sodium_ready(e));
  TRY(make_key(out, id, e));
  if (crypto_pwhash_str(hash, out, strlen(out), ARGON_PASSES, ARGON_MEMORY) != 0) return error_set(e, E_NOMEM, "no memory to hash the key");
  TRY(db_open(site, o->database, &db, e));
  struct db_value v[] = {DB_T(id),
                         DB_T(role_name[o->role]),
                         DB_T(o->label ? o->label : ""),
                         DB_T(hash),
                         DB_I(now),
                         DB_T(o->tenant),
                         DB_T(o->models),
                         DB_I(o->requests_per_minute),
                         DB_I(o->tokens_per_minute),
                         o->days ? DB_I(now + o->days * TIME_DAY) : DB_NONE};
  int rc = db_run(db, "INSERT INTO keys(id, role, label, hash, created, tenant, models, rpm, tpm, expires) VALUES(?,?,?,?,?,?,?,?,?,?)", v,
                  10, NULL, e);
  db_close(db);
  return rc;
}

int key_revoke(const char *site, const char *database, const char *id, struct error *e) {
  struct db *db;
  int64_t changed = 0;
  TRY(db_open(site, database, &db, e));
  int rc = db_run(db, "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (struct db_value[]){DB_I(time_now()), DB_T(id)}, 2,
                  &changed, e);
  if (rc == OK && changed == 0) rc = error_set(e, E_NOTFOUND, "there is no key of that id that could be revoked");
  db_close(db);
  return rc;
}

static void list_time(struct json_out *o, const char *name, const struct db_value *v) {
  char text[32];
  json_out_key(o, name);
  if (v->kind != DB_INT) {
    json_out_null(o);
    return;
  }
  time_format(v->i, text);
  json_out_c(o, text);
}

static int list_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  static const char *const name[5] = {"id", "role", "label", "tenant", "models"};
  struct json_out *o = ctx;
  (void)n, (void)e;
  json_out_object(o);
  for (int i = 0; i < 5; i++) json_kv_str(o, name[i], v[i].kind == DB_TEXT ? (struct str){v[i].p, v[i].n} : STR(""));
  list_time(o, "created", &v[5]);
  list_time(o, "revoked", &v[6]);
  list_time(o, "expires", &v[7]);
  json_kv_i64(o, "requests_per_minute", v[8].i);
  json_kv_i64(o, "tokens_per_minute", v[9].i);
  json_out_end(o);
  return OK;
}

int key_rows(struct db *db, struct json_out *o, struct error *e) {
  json_out_array(o);
  int rc = db_each(db, "SELECT id, role, label, tenant, models, created, revoked, expires, rpm, tpm FROM keys ORDER BY created, id", NULL,
                   0, list_row, o, e);
  json_out_end(o);
  return rc;
}

int key_list(const char *site, const char *database, struct json_out *o, struct error *e) {
  struct db *db;
  TRY(db_open(site, database, &db, e));
  int rc = key_rows(db, o, e);
  db_close(db);
  return rc;
}

int keys_open(const char *site, const char *database, int guesses, struct keys **out, struct error *e) {
  TRY(sodium_ready(e));
  struct keys *k = mem_alloc(sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "out of memory");
  memset(k, 0, sizeof *k);
  k->guesses = guesses > 0 ? guesses : GUESSES;
  pthread_mutex_init(&k->mutex, NULL);
  pthread_mutex_init(&k->asking, NULL);
  pthread_cond_init(&k->freed, NULL);
  int rc = random_secret(k->secret, sizeof k->secret, e);
  if (rc == OK) rc = db_open(site, database, &k->db, e);
  if (rc < 0) {
    keys_close(k);
    return rc;
  }
  *out = k;
  return OK;
}

void keys_close(struct keys *k) {
  if (!k) return;
  db_close(k->db);
  pthread_mutex_destroy(&k->mutex);
  pthread_mutex_destroy(&k->asking);
  pthread_cond_destroy(&k->freed);
  mem_wipe(k, sizeof *k);
  mem_free(k);
}

static bool key_shape(struct str key) {
  if (key.n != KEY_LENGTH || !str_starts(key, STR("vitae_")) || key.p[6 + KEY_ID] != '_') return false;
  for (size_t i = 6; i < key.n; i++) {
    char c = key.p[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return false;
  }
  return true;
}

static void digest_of(const struct keys *k, struct str key, uint8_t digest[32]) {
  (void)crypto_generichash(digest, 32, (const uint8_t *)key.p, key.n, k->secret, sizeof k->secret);
}

static struct remembered *slots_of(struct keys *k, const uint8_t digest[32]) {
  return &k->list[(size_t)(digest[0] | digest[1] << 8) % (SLOTS / WAYS) * WAYS];
}

static struct remembered *recall(struct keys *k, const uint8_t digest[32]) {
  struct remembered *r = slots_of(k, digest);
  double now = time_monotonic();
  for (int i = 0; i < WAYS; i++)
    if (r[i].until > now && sodium_memcmp(r[i].digest, digest, 32) == 0) return &r[i];
  return NULL;
}

static void remember(struct keys *k, const uint8_t digest[32], const struct identity *who, bool wrong) {
  struct remembered *r = slots_of(k, digest), *oldest = r;
  for (int i = 1; i < WAYS; i++)
    if (r[i].until < oldest->until) oldest = &r[i];
  *oldest = (struct remembered){.wrong = wrong, .until = time_monotonic() + REMEMBER_SECONDS};
  memcpy(oldest->digest, digest, 32);
  if (who) oldest->who = *who;
}

/* ---- who guesses waits ---- */

static struct guesser *guesser_of(struct keys *k, uint64_t address) {
  struct guesser *g = &k->guesser[hash64_u64(address) % ADDRESSES];
  if (g->address != address) *g = (struct guesser){.address = address};
  return g;
}

static int guessing(struct keys *k, uint64_t address, int *wait_s, struct error *e) {
  struct guesser *g = guesser_of(k, address);
  double now = time_monotonic();
  if (g->until <= now) return OK;
  *wait_s = (int)(g->until - now) + 1;
  return error_set(e, E_BUSY, "too many wrong keys came from this address; wait %d s", *wait_s);
}

static void wrong_guess(struct keys *k, uint64_t address) {
  struct guesser *g = guesser_of(k, address);
  double now = time_monotonic();
  if (now - g->since > GUESS_MINUTE) g->since = now, g->wrong = 0;
  if (++g->wrong < k->guesses) return;
  g->wrong = 0;
  g->until = now + (double)(1 << (g->times < 6 ? g->times++ : 6)); /* 1, 2, 4 … 64 s */
}

/* ---- the check ---- */

struct found {
  struct identity *who;
  char hash[crypto_pwhash_STRBYTES];
  bool any, damaged;
};

static void copy_text(char *out, size_t size, const struct db_value *v) {
  snprintf(out, size, "%.*s", v->kind == DB_TEXT ? (int)v->n : 0, v->kind == DB_TEXT ? v->p : "");
}

static int take_row(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct found *f = ctx;
  (void)n, (void)e;
  char role[16];
  f->any = true;
  copy_text(role, sizeof role, &v[0]);
  copy_text(f->hash, sizeof f->hash, &v[1]);
  copy_text(f->who->tenant, sizeof f->who->tenant, &v[2]);
  copy_text(f->who->models, sizeof f->who->models, &v[3]);
  f->who->requests_per_minute = v[4].kind == DB_INT ? v[4].i : 0;
  f->who->tokens_per_minute = v[5].kind == DB_INT ? v[5].i : 0;
  f->who->role = ROLE_VIEWER;
  while (f->who->role < ROLES && strcmp(role_name[f->who->role], role) != 0) f->who->role++;
  f->damaged = f->who->role == ROLES || v[1].kind != DB_TEXT || v[1].n >= sizeof f->hash;
  return OK;
}

static int look_up(struct keys *k, struct identity *who, char hash[crypto_pwhash_STRBYTES], struct error *e) {
  struct found f = {.who = who};
  struct db_value v[] = {DB_T(who->key), DB_I(time_now())};
  pthread_mutex_lock(&k->asking);
  int rc = db_each(
      k->db, "SELECT role, hash, tenant, models, rpm, tpm FROM keys WHERE id = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)",
      v, 2, take_row, &f, e);
  pthread_mutex_unlock(&k->asking);
  TRY(rc);
  if (!f.any) return error_set(e, E_DENIED, "the key is not valid");
  if (f.damaged) return error_set(e, E_CORRUPT, "the keys: a row is damaged");
  if (!who->tenant[0]) snprintf(who->tenant, sizeof who->tenant, "%s", role_plane[who->role] == PLANE_DEVELOPER ? who->key : "hospital");
  who->scopes = role_scopes[who->role];
  who->planes = role_plane[who->role];
  memcpy(hash, f.hash, sizeof f.hash);
  return OK;
}

/* Argon2 costs memory and time by design: few at once, hardly any waiting, the rest is told to come back. Holds the mutex outside. */
static int enter(struct keys *k, const uint8_t digest[32], struct error *e) {
  int i = 0;
  while (i < ARGON_AT_ONCE + ARGON_WAITING && k->checked[i]) i++;
  if (i == ARGON_AT_ONCE + ARGON_WAITING) return error_set(e, E_BUSY, "too many keys are being checked; try again in a second");
  k->checked[i] = digest;
  while (k->checking >= ARGON_AT_ONCE) pthread_cond_wait(&k->freed, &k->mutex);
  k->checking++;
  return OK;
}
static void leave(struct keys *k, const uint8_t digest[32]) {
  for (int i = 0; i < ARGON_AT_ONCE + ARGON_WAITING; i++)
    if (k->checked[i] == digest) k->checked[i] = NULL;
  k->checking--;
  pthread_cond_broadcast(&k->freed);
}

/* From memory; a key that somebody else is checking at the moment is waited for: its clients all forget it at the same time. */
static const struct remembered *recall_soon(struct keys *k, const uint8_t digest[32]) {
  for (;;) {
    const struct remembered *r = recall(k, digest);
    bool soon = false;
    for (int i = 0; !r && i < ARGON_AT_ONCE + ARGON_WAITING; i++) soon |= k->checked[i] && memcmp(k->checked[i], digest, 32) == 0;
    if (!soon) return r;
    pthread_cond_wait(&k->freed, &k->mutex);
  }
}

static int from_memory(const struct remembered *r, struct identity *who, struct error *e) {
  if (r->wrong) return error_set(e, E_DENIED, "the key is not valid");
  *who = r->who;
  return OK;
}

int keys_recall(struct keys *k, struct str key, struct identity *who) {
  uint8_t digest[32];
  if (!key_shape(key)) return E_DENIED;
  digest_of(k, key, digest);
  pthread_mutex_lock(&k->mutex);
  const struct remembered *r = recall(k, digest);
  int rc = r ? from_memory(r, who, NULL) : E_MORE;
  pthread_mutex_unlock(&k->mutex);
  return rc;
}

int keys_check(struct keys *k, struct str key, uint64_t address, struct identity *who, int *wait_s, struct histogram *h, struct error *e) {
  uint8_t digest[32];
  char hash[crypto_pwhash_STRBYTES];
  *who = (struct identity){0};
  if (!key_shape(key)) return error_set(e, E_DENIED, "the key is not valid");
  digest_of(k, key, digest);
  pthread_mutex_lock(&k->mutex);
  const struct remembered *r = recall_soon(k, digest);
  int rc = r ? from_memory(r, who, e) : guessing(k, address, wait_s, e);
  if (!r && rc == OK) {
    pthread_mutex_unlock(&k->mutex);
    memcpy(who->key, key.p + 6, KEY_ID);
    rc = look_up(k, who, hash, e);
    pthread_mutex_lock(&k->mutex);
    if (rc == OK || rc == E_DENIED) r = recall_soon(k, digest); /* somebody else may have found out meanwhile */
    if (r) rc = from_memory(r, who, e);
    if (!r && rc == E_DENIED) wrong_guess(k, address), remember(k, digest, NULL, true);
    if (!r && rc == OK) rc = enter(k, digest, e);
  }
  bool known = r != NULL;
  pthread_mutex_unlock(&k->mutex);
  if (known || rc < 0) return rc;
  double began = time_monotonic();
  bool right = crypto_pwhash_str_verify(hash, key.p, key.n) == 0;
  if (h) histogram_add(h, time_monotonic() - began);
  pthread_mutex_lock(&k->mutex);
  leave(k, digest);
  remember(k, digest, right ? who : NULL, !right);
  if (!right) wrong_guess(k, address);
  pthread_mutex_unlock(&k->mutex);
  if (right) return OK;
  *who = (struct identity){0};
  return error_set(e, E_DENIED, "the key is not valid");
}
