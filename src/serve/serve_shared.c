#include "serve/serve_shared.h"

#include <pthread.h>
#include <sodium.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/time.h"
#include "serve/serve_db.h"

enum { NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES, NAME_HEX = 33 };
enum { SWEEP_EVERY = 64, COUNT_EVERY = 4096, LEEWAY_S = 60 };
#define HOLD_SECONDS 720.0 /* a token's ten minutes and the leeway on both sides */
_Static_assert(SEAL_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "the key of the cipher");

struct shared {
  pthread_mutex_t mutex; /* of everything below */
  struct db *db;
  int64_t tokens; /* about how many there are: counted now and then, own ones added */
  uint64_t asked;
  struct settled settled;
};

int shared_open(const char *site, const char *database, struct shared **out, struct error *e) {
  struct shared *s = mem_alloc(sizeof *s);
  if (!s) return error_set(e, E_NOMEM, "out of memory");
  memset(s, 0, sizeof *s);
  pthread_mutex_init(&s->mutex, NULL);
  int rc = sodium_init() < 0 ? error_set(e, E_IO, "libsodium could not be started") : db_open(site, database, &s->db, e);
  if (rc == OK) rc = db_relax(s->db, e); /* the audit row of the same request follows before its answer leaves */
  if (rc < 0)
    shared_close(s);
  else
    *out = s;
  return rc;
}

void shared_close(struct shared *s) {
  if (!s) return;
  db_close(s->db);
  pthread_mutex_destroy(&s->mutex);
  mem_free(s);
}

int64_t settled_time(struct settled *s, double hold) {
  int64_t now = time_now();
  double steady = time_monotonic();
  if (!s->begun) {
    *s = (struct settled){.look = now, .over = INT64_MIN, .at = steady, .begun = true};
  } else if (steady - s->at >= hold) {
    s->over = s->look;
    s->look = now, s->at = steady;
  }
  return s->over < now ? s->over : now;
}

/* ---- sealing ---- */

int seal(const uint8_t key[SEAL_KEY], struct str about, struct str text, struct buf *out, struct error *e) {
  unsigned char nonce[NONCE];
  unsigned long long n = 0;
  TRY(random_secret(nonce, sizeof nonce, e));
  buf_put(out, nonce, NONCE);
  if (!buf_reserve(out, text.n + TAG)) return error_set(e, E_NOMEM, "out of memory");
  (void)crypto_aead_xchacha20poly1305_ietf_encrypt((unsigned char *)out->p + out->n, &n, (const unsigned char *)text.p, text.n,
                                                   (const unsigned char *)about.p, about.n, NULL, nonce, key);
  out->n += n;
  return OK;
}

int unseal(const uint8_t key[SEAL_KEY], struct str about, struct str sealed, struct buf *out, struct error *e) {
  unsigned long long n = 0;
  if (sealed.n < NONCE + TAG) return error_set(e, E_DENIED, "what was sealed cannot be opened");
  if (!buf_reserve(out, sealed.n)) return error_set(e, E_NOMEM, "out of memory");
  if (crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)out->p + out->n, &n, NULL, (const unsigned char *)sealed.p + NONCE,
                                                 sealed.n - NONCE, (const unsigned char *)about.p, about.n, (const unsigned char *)sealed.p,
                                                 key) != 0)
    return error_set(e, E_DENIED, "what was sealed cannot be opened");
  out->n += n;
  return OK;
}

/* ---- tokens ---- */

static int take_count(void *ctx, const struct db_value *v, int n, struct error *e) {
  (void)n, (void)e;
  *(int64_t *)ctx = v[0].i;
  return OK;
}

/* A few at a time, more than come: nobody waits for a long deletion. */
static int sweep_tokens(struct shared *s, struct error *e) {
  uint64_t asked = s->asked++;
  if (asked % COUNT_EVERY == 0) TRY(db_each(s->db, "SELECT COUNT(*) FROM tokens_seen", NULL, 0, take_count, &s->tokens, e));
  if (asked % SWEEP_EVERY) return OK;
  int64_t gone = 0;
  struct db_value v[] = {DB_I(settled_time(&s->settled, HOLD_SECONDS))};
  TRY(db_run(s->db, "DELETE FROM tokens_seen WHERE id IN (SELECT id FROM tokens_seen WHERE until < ? LIMIT 512)", v, 1, &gone, e));
  s->tokens -= gone < s->tokens ? gone : s->tokens;
  return OK;
}

int shared_once(struct shared *s, struct str issuer, struct str id, int64_t until, struct error *e) {
  char name[NAME_HEX];
  uint8_t digest[32];
  int64_t fresh = 0;
  struct buf b = {0};
  buf_str(&b, issuer), buf_putc(&b, 0), buf_str(&b, id);
  TRY(buf_check(&b, e));
  sha256_of(b.p, b.n, digest);
  buf_release(&b);
  hash_hex(digest, 16, name);
  pthread_mutex_lock(&s->mutex);
  int rc = sweep_tokens(s, e);
  if (rc == OK && s->tokens >= SHARED_TOKENS) rc = error_set(e, E_BUSY, "too many tokens in a short time");
  struct db_value v[] = {DB_T(name), DB_I(until)};
  if (rc == OK) rc = db_run(s->db, "INSERT INTO tokens_seen(id, until) VALUES(?,?) ON CONFLICT(id) DO NOTHING", v, 2, &fresh, e);
  if (rc == OK) s->tokens += fresh;
  pthread_mutex_unlock(&s->mutex);
  return rc < 0 || fresh ? rc : error_set(e, E_DENIED, "the token is not valid");
}

/* ---- logins and sessions ---- */

static void name_of(enum shared_kind kind, struct str name, char out[NAME_HEX]) {
  struct sha256 h;
  uint8_t digest[32] = {0};
  if (sha256_init(&h, NULL) == OK) {
    sha256_add(&h, kind == SHARED_LOGIN ? "L" : "S", 1);
    sha256_add(&h, name.p ? name.p : "", name.n);
    sha256_end(&h, digest);
  }
  hash_hex(digest, 16, out);
}

static void key_of(struct str name, struct str lock, uint8_t key[SEAL_KEY]) {
  static const char label[] = "vitae shared 1";
  crypto_generichash_state h;
  (void)crypto_generichash_init(&h, (const unsigned char *)label, sizeof label - 1, SEAL_KEY);
  (void)crypto_generichash_update(&h, (const unsigned char *)name.p, name.n);
  (void)crypto_generichash_update(&h, (const unsigned char *)"", 1);
  (void)crypto_generichash_update(&h, (const unsigned char *)lock.p, lock.n);
  (void)crypto_generichash_final(&h, key, SEAL_KEY);
  mem_wipe(&h, sizeof h);
}

/* Whose it is and how long it is good for cannot be changed in the database. */
static struct str about_of(char out[96], const char *id, int64_t began, int64_t until) {
  int n = snprintf(out, 96, "%s %lld %lld", id, (long long)began, (long long)until);
  return (struct str){out, (size_t)n};
}

static int put(struct shared *s, enum shared_kind kind, const char *id, int64_t now, int64_t until, struct str sealed, struct error *e) {
  struct db_value over[] = {DB_I(now)}, row[] = {DB_T(id), DB_I(kind), DB_I(now), DB_I(until), DB_B(sealed.p, sealed.n)};
  TRY(db_run(s->db, "DELETE FROM logins WHERE until < ?", over, 1, NULL, e));
  TRY(db_run(s->db, "INSERT INTO logins(id, kind, began, until, sealed) VALUES(?,?,?,?,?)", row, 5, NULL, e));
  _Static_assert(SHARED_KEPT == 4096, "the number in the statement");
  return db_run(
      s->db, "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE kind = ? ORDER BY began DESC, id DESC LIMIT 1000000 OFFSET 4096)",
      &row[1], 1, NULL, e);
}

int shared_put(struct shared *s, enum shared_kind kind, struct str name, struct str lock, struct str text, int64_t until, struct error *e) {
  char id[NAME_HEX], about[96];
  uint8_t key[SEAL_KEY];
  struct buf sealed = {0};
  int64_t now = time_now();
  name_of(kind, name, id);
  key_of(name, lock, key);
  int rc = seal(key, about_of(about, id, now, until), text, &sealed, e);
  mem_wipe(key, sizeof key);
  pthread_mutex_lock(&s->mutex);
  if (rc == OK) rc = put(s, kind, id, now, until, (struct str){sealed.p, sealed.n}, e);
  pthread_mutex_unlock(&s->mutex);
  buf_release(&sealed);
  return rc;
}

struct found {
  struct buf sealed;
  int64_t began, until;
  bool any;
};
static int take_found(void *ctx, const struct db_value *v, int n, struct error *e) {
  struct found *f = ctx;
  (void)n;
  f->began = v[0].i, f->until = v[1].i, f->any = true;
  buf_put(&f->sealed, v[2].p, v[2].n);
  return buf_check(&f->sealed, e);
}

int shared_get(struct shared *s, enum shared_kind kind, struct str name, struct str lock, bool take, struct buf *text, int64_t *until,
               struct error *e) {
  char id[NAME_HEX], about[96];
  uint8_t key[SEAL_KEY];
  struct found f = {0};
  int64_t now = time_now();
  name_of(kind, name, id);
  key_of(name, lock, key);
  struct db_value v[] = {DB_T(id)};
  pthread_mutex_lock(&s->mutex);
  int rc = take ? db_each(s->db, "DELETE FROM logins WHERE id = ? RETURNING began, until, sealed", v, 1, take_found, &f, e)
                : db_each(s->db, "SELECT began, until, sealed FROM logins WHERE id = ?", v, 1, take_found, &f, e);
  pthread_mutex_unlock(&s->mutex);
  if (rc == OK && (!f.any || now > f.until || now < f.began - LEEWAY_S * TIME_SECOND))
    rc = error_set(e, E_NOTFOUND, "there is none, or it is over");
  if (rc == OK && unseal(key, about_of(about, id, f.began, f.until), (struct str){f.sealed.p, f.sealed.n}, text, e) < 0)
    rc = error_set(e, E_NOTFOUND, "there is none, or it is over");
  mem_wipe(key, sizeof key);
  buf_release(&f.sealed);
  *until = f.until;
  return rc;
}
