/* API keys: vitae_<id>_<secret>. The id finds the row, Argon2id (Biryukov et al. 2016; RFC 9106) tells whether the secret is right.
 * A verified key is remembered for a minute as SHA-256 under a salt of this process, so that only the first call pays for Argon2;
 * a revoked key is therefore refused after a minute at the latest. */
#include <sodium.h>
#include <sqlite3.h>
#include <string.h>

#include "base/random.h"
#include "base/time.h"
#include "serve/serve_private.h"

#define ARGON_PASSES 2
#define ARGON_MEMORY (19u << 20) /* the OWASP password storage sheet's least setting for two passes */
enum { ARGON_AT_ONCE = 2, ARGON_WAITING = 1, REMEMBERED = 256 };
#define REMEMBER_SECONDS 60.0

const char *const role_name[ROLES] = {"none", "viewer", "clinician", "admin"};

struct remembered {
  uint8_t digest[32];
  char id[KEY_ID + 1];
  enum role role;
  double until;
};
struct keys {
  pthread_mutex_t mutex; /* of everything below */
  pthread_cond_t freed;
  sqlite3 *db;
  sqlite3_stmt *find;
  int checking, waiting, next;
  uint8_t salt[32];
  struct remembered list[REMEMBERED];
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

static int store_key(sqlite3 *db, const char *id, enum role role, const char *label, const char *hash, struct error *e) {
  sqlite3_stmt *put;
  TRY(db_prepare(db, "INSERT INTO keys(id, role, label, hash, created) VALUES(?,?,?,?,?)", &put, e));
  sqlite3_bind_text(put, 1, id, -1, SQLITE_STATIC);
  sqlite3_bind_text(put, 2, role_name[role], -1, SQLITE_STATIC);
  sqlite3_bind_text(put, 3, label, -1, SQLITE_STATIC);
  sqlite3_bind_text(put, 4, hash, -1, SQLITE_STATIC);
  sqlite3_bind_int64(put, 5, time_now());
  int rc = sqlite3_step(put) == SQLITE_DONE ? OK : db_error(db, e, "storing a key");
  sqlite3_finalize(put);
  return rc;
}

int key_create(const char *site, enum role role, const char *label, char out[64], struct error *e) {
  char id[KEY_ID + 1], hash[crypto_pwhash_STRBYTES];
  sqlite3 *db;
  if (role <= ROLE_NONE || role >= ROLES) return error_set(e, E_USAGE, "a key's role is viewer, clinician or admin");
  if (strlen(label) > 200) return error_set(e, E_USAGE, "a key's label has at most 200 bytes");
  TRY(sodium_ready(e));
  TRY(make_key(out, id, e));
  if (crypto_pwhash_str(hash, out, strlen(out), ARGON_PASSES, ARGON_MEMORY) != 0) return error_set(e, E_NOMEM, "no memory to hash the key");
  TRY(db_open(site, &db, e));
  int rc = store_key(db, id, role, label, hash, e);
  sqlite3_close(db);
  return rc;
}

int key_revoke(const char *site, const char *id, struct error *e) {
  sqlite3 *db;
  sqlite3_stmt *put;
  TRY(db_open(site, &db, e));
  int rc = db_prepare(db, "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", &put, e);
  if (rc == OK) {
    sqlite3_bind_int64(put, 1, time_now());
    sqlite3_bind_text(put, 2, id, -1, SQLITE_STATIC);
    rc = sqlite3_step(put) == SQLITE_DONE ? OK : db_error(db, e, "revoking a key");
    if (rc == OK && sqlite3_changes(db) == 0) rc = error_set(e, E_NOTFOUND, "there is no key of that id that could be revoked");
    sqlite3_finalize(put);
  }
  sqlite3_close(db);
  return rc;
}

static void list_time(struct json_out *o, const char *name, sqlite3_stmt *row, int column) {
  char text[32];
  json_out_key(o, name);
  if (sqlite3_column_type(row, column) == SQLITE_NULL) {
    json_out_null(o);
    return;
  }
  time_format(sqlite3_column_int64(row, column), text);
  json_out_c(o, text);
}

int key_list(const char *site, struct json_out *o, struct error *e) {
  static const char *const name[3] = {"id", "role", "label"};
  sqlite3 *db;
  sqlite3_stmt *rows;
  int step = SQLITE_DONE;
  TRY(db_open(site, &db, e));
  int rc = db_prepare(db, "SELECT id, role, label, created, revoked FROM keys ORDER BY created, id", &rows, e);
  json_out_array(o);
  while (rc == OK && (step = sqlite3_step(rows)) == SQLITE_ROW) {
    json_out_object(o);
    for (int i = 0; i < 3; i++) {
      const char *text = (const char *)sqlite3_column_text(rows, i);
      json_kv_c(o, name[i], text ? text : "");
    }
    list_time(o, "created", rows, 3);
    list_time(o, "revoked", rows, 4);
    json_out_end(o);
  }
  json_out_end(o);
  if (rc == OK && step != SQLITE_DONE) rc = db_error(db, e, "listing the keys");
  if (rc == OK || step != SQLITE_DONE) sqlite3_finalize(rows);
  sqlite3_close(db);
  return rc;
}

int keys_open(const char *site, struct keys **out, struct error *e) {
  TRY(sodium_ready(e));
  struct keys *k = mem_alloc(sizeof *k);
  if (!k) return error_set(e, E_NOMEM, "out of memory");
  memset(k, 0, sizeof *k);
  pthread_mutex_init(&k->mutex, NULL);
  pthread_cond_init(&k->freed, NULL);
  int rc = random_secret(k->salt, sizeof k->salt, e);
  if (rc == OK) rc = db_open(site, &k->db, e);
  if (rc == OK) rc = db_prepare(k->db, "SELECT role, hash FROM keys WHERE id = ? AND revoked IS NULL", &k->find, e);
  if (rc < 0) {
    keys_close(k);
    return rc;
  }
  *out = k;
  return OK;
}

void keys_close(struct keys *k) {
  if (!k) return;
  sqlite3_finalize(k->find);
  sqlite3_close(k->db);
  pthread_mutex_destroy(&k->mutex);
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
  uint8_t text[32 + KEY_LENGTH];
  memcpy(text, k->salt, 32);
  memcpy(text + 32, key.p, KEY_LENGTH);
  sha256_of(text, sizeof text, digest);
  sodium_memzero(text, sizeof text);
}

static bool recall(struct keys *k, const uint8_t digest[32], char id[KEY_ID + 1], enum role *role) {
  double now = time_monotonic();
  for (int i = 0; i < REMEMBERED; i++) {
    const struct remembered *r = &k->list[i];
    if (r->until <= now || sodium_memcmp(r->digest, digest, 32) != 0) continue;
    memcpy(id, r->id, KEY_ID + 1);
    *role = r->role;
    return true;
  }
  return false;
}

/* The row's role and hash; E_DENIED if there is none. */
static int look_up(struct keys *k, const char *id, enum role *role, char hash[crypto_pwhash_STRBYTES], struct error *e) {
  sqlite3_bind_text(k->find, 1, id, KEY_ID, SQLITE_STATIC);
  int step = sqlite3_step(k->find), rc = OK;
  if (step == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(k->find, 0), *stored = (const char *)sqlite3_column_text(k->find, 1);
    *role = ROLE_VIEWER;
    while (*role < ROLES && name && strcmp(role_name[*role], name) != 0) (*role)++;
    if (!name || *role == ROLES || !stored || strlen(stored) >= crypto_pwhash_STRBYTES)
      rc = error_set(e, E_CORRUPT, "vitae.db: a key's row is damaged");
    else
      strcpy(hash, stored);
  } else {
    rc = step == SQLITE_DONE ? error_set(e, E_DENIED, "the key is not valid") : db_error(k->db, e, "looking up a key");
  }
  sqlite3_reset(k->find);
  return rc;
}

/* Argon2 costs memory and time by design: few at once, hardly any waiting, the rest is told to come back. Holds the mutex outside. */
static int enter(struct keys *k, struct error *e) {
  if (k->checking >= ARGON_AT_ONCE && k->waiting >= ARGON_WAITING)
    return error_set(e, E_BUSY, "too many keys are being checked; try again in a second");
  k->waiting++;
  while (k->checking >= ARGON_AT_ONCE) pthread_cond_wait(&k->freed, &k->mutex);
  k->waiting--;
  k->checking++;
  return OK;
}

static void remember(struct keys *k, const uint8_t digest[32], const char *id, enum role role) {
  struct remembered *r = &k->list[k->next++ % REMEMBERED];
  memcpy(r->digest, digest, 32);
  memcpy(r->id, id, KEY_ID + 1);
  r->role = role;
  r->until = time_monotonic() + REMEMBER_SECONDS;
}

int keys_check(struct keys *k, struct str key, char id[KEY_ID + 1], enum role *role, struct histogram *h, struct error *e) {
  uint8_t digest[32];
  char hash[crypto_pwhash_STRBYTES], wanted[KEY_ID + 1] = {0};
  enum role stored = ROLE_NONE;
  if (!key_shape(key)) return error_set(e, E_DENIED, "the key is not valid");
  digest_of(k, key, digest);
  memcpy(wanted, key.p + 6, KEY_ID);
  pthread_mutex_lock(&k->mutex);
  bool known = recall(k, digest, id, role);
  int rc = known ? OK : look_up(k, wanted, &stored, hash, e);
  if (!known && rc == OK) rc = enter(k, e);
  pthread_mutex_unlock(&k->mutex);
  if (known || rc < 0) return rc;
  double began = time_monotonic();
  bool right = crypto_pwhash_str_verify(hash, key.p, key.n) == 0;
  if (h) histogram_add(h, time_monotonic() - began);
  pthread_mutex_lock(&k->mutex);
  k->checking--;
  pthread_cond_signal(&k->freed);
  if (right) remember(k, digest, wanted, stored);
  pthread_mutex_unlock(&k->mutex);
  if (!right) return error_set(e, E_DENIED, "the key is not valid");
  memcpy(id, wanted, KEY_ID + 1);
  *role = stored;
  return OK;
}
