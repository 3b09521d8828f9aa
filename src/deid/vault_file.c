#include "deid/vault_file.h"

#include <sodium.h>

#include "deid/deid_date.h"

#define STREAM(x) crypto_secretstream_xchacha20poly1305_##x
static const uint8_t magic[8] = "VITAEVLT";
enum { AT_VERSION = 8, AT_LENGTH = 12, AT_KDF = 16, AT_OPS = 24, AT_MEMORY = 32, AT_SALT = 40, AT_CHECK = 56, AT_SUM = 72, ROW = 30 };
/* A header can be written by anyone who can write the file: what it may ask of the machine is bounded. */
enum { OPS_LIMIT = 16 };
#define MEMORY_LIMIT (UINT64_C(1) << 30)

static void put(uint8_t *p, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> 8 * i);
}
static uint64_t get(const uint8_t *p, int bytes) {
  uint64_t v = 0;
  for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << 8 * i;
  return v;
}

static void key_mark(const struct vault *v, uint8_t out[16]) {
  static const uint8_t what[] = "vitae vault key check";
  crypto_generichash(out, 16, what, sizeof what, v->key, VAULT_KEY);
}

void vault_header_make(struct vault *v, enum vault_kdf kdf, const uint8_t *salt, uint64_t opslimit, uint64_t memlimit) {
  uint8_t *h = v->header;
  memset(h, 0, VAULT_HEADER);
  memcpy(h, magic, sizeof magic);
  put(h + AT_VERSION, VAULT_VERSION, 4);
  put(h + AT_LENGTH, VAULT_HEADER, 4);
  put(h + AT_KDF, kdf, 4);
  put(h + AT_OPS, opslimit, 8);
  put(h + AT_MEMORY, memlimit, 8);
  if (salt) memcpy(h + AT_SALT, salt, VAULT_SALT);
  v->header_n = VAULT_HEADER;
  if (v->key) key_mark(v, h + AT_CHECK);
  crypto_generichash(h + AT_SUM, 16, h, AT_SUM, NULL, 0);
}

int vault_header_read(const uint8_t *p, size_t n, struct vault *v, struct error *e) {
  uint8_t sum[16];
  if (n < AT_KDF || memcmp(p, magic, sizeof magic) != 0)
    return error_set(e, E_CORRUPT, "not an identity map, or its first bytes are damaged");
  uint64_t version = get(p + AT_VERSION, 4), length = get(p + AT_LENGTH, 4);
  if (length < AT_KDF + 16 || length > 4096 || length > n)
    return error_set(e, E_CORRUPT, "the identity map's header is damaged or cut off");
  crypto_generichash(sum, 16, p, length - 16, NULL, 0);
  if (sodium_memcmp(sum, p + length - 16, 16) != 0) return error_set(e, E_CORRUPT, "the identity map's header does not fit its checksum");
  if (version > VAULT_VERSION)
    return error_set(e, E_VERSION, "identity map of format version %llu; this program reads up to %d", (unsigned long long)version,
                     VAULT_VERSION);
  bool sound = version == VAULT_VERSION && length == VAULT_HEADER && get(p + AT_KDF, 4) <= VAULT_ARGON2ID && get(p + 20, 4) == 0 &&
               get(p + AT_OPS, 8) <= OPS_LIMIT && get(p + AT_MEMORY, 8) <= MEMORY_LIMIT;
  if (!sound) return error_set(e, E_CORRUPT, "the identity map's header is out of range");
  memcpy(v->header, p, VAULT_HEADER);
  v->header_n = VAULT_HEADER;
  return OK;
}

enum vault_kdf vault_header_kdf(const struct vault *v) { return (enum vault_kdf)get(v->header + AT_KDF, 4); }

int vault_key_derive(struct vault *v, const char *passphrase, struct error *e) {
  unsigned long long ops = get(v->header + AT_OPS, 8);
  size_t memory = get(v->header + AT_MEMORY, 8);
  if (ops < crypto_pwhash_OPSLIMIT_MIN || memory < crypto_pwhash_MEMLIMIT_MIN)
    return error_set(e, E_CORRUPT, "key derivation parameters out of range");
  if (crypto_pwhash(v->key, VAULT_KEY, passphrase, strlen(passphrase), v->header + AT_SALT, ops, memory, crypto_pwhash_ALG_ARGON2ID13) < 0)
    return error_set(e, E_NOMEM, "not enough memory to derive the key (%zu MiB)", memory >> 20);
  return OK;
}

int vault_key_check(const struct vault *v, struct error *e) {
  uint8_t mark[16];
  key_mark(v, mark);
  return sodium_memcmp(mark, v->header + AT_CHECK, 16) == 0 ? OK : error_set(e, E_DENIED, "the key does not open this identity map");
}

/* ---- reading ---- */

static int cut(struct error *e) { return error_set(e, E_CORRUPT, "the identity map is damaged or cut off"); }

static int sources(struct vault *v, const uint8_t *p, size_t n, uint64_t *rows, struct error *e) {
  uint16_t id;
  if (n < 12) return cut(e);
  *rows = get(p, 8);
  uint64_t count = get(p + 8, 4);
  size_t at = 12;
  if (count > VAULT_SOURCES) return cut(e);
  for (uint64_t i = 0; i < count; i++) {
    if (n - at < 2) return cut(e);
    size_t length = get(p + at, 2);
    at += 2;
    if (length == 0 || length > VAULT_SOURCE_LIMIT || length > n - at) return cut(e);
    TRY(vault_source(v, (struct str){(const char *)p + at, length}, &id, e));
    if (id != i) return cut(e);
    at += length;
  }
  return at == n ? OK : cut(e);
}

int vault_message(struct vault *v, bool first, const uint8_t *p, size_t n, uint64_t *rows, struct error *e) {
  if (first) return sources(v, p, n, rows, e);
  for (size_t at = 0; at < n;) {
    if (n - at < ROW) return cut(e);
    const uint8_t *r = p + at;
    struct identity id = {.pseudonym = (int64_t)get(r, 8),
                          .shift_days = (int32_t)get(r + 8, 4),
                          .birth = (int32_t)get(r + 12, 4),
                          .first = (int32_t)get(r + 16, 4),
                          .last = (int32_t)get(r + 20, 4),
                          .source = (uint16_t)get(r + 24, 2),
                          .flags = r[28],
                          .birth_precision = r[29]};
    size_t key_n = get(r + 26, 2);
    at += ROW;
    if (key_n > n - at) return cut(e);
    TRY(vault_row_add(v, &id, (struct str){(const char *)p + at, key_n}, e));
    at += key_n;
  }
  return OK;
}

static int decode(STREAM(state) * st, const uint8_t *p, size_t n, struct vault *v, uint8_t *plain, struct error *e) {
  size_t at = VAULT_HEADER + STREAM(HEADERBYTES);
  uint64_t rows = 0;
  for (bool first = true;; first = false) {
    unsigned long long got;
    unsigned char tag;
    if (n - at < 4) return cut(e);
    size_t length = get(p + at, 4);
    at += 4;
    if (length < STREAM(ABYTES) || length > VAULT_MESSAGE + STREAM(ABYTES) || length > n - at) return cut(e);
    if (STREAM(pull)(st, plain, &got, &tag, p + at, length, v->header, VAULT_HEADER) < 0) return cut(e);
    at += length;
    if (tag == STREAM(TAG_FINAL)) return !first && at == n && got == 8 && get(plain, 8) == v->row_n && rows == v->row_n ? OK : cut(e);
    TRY(vault_message(v, first, plain, got, &rows, e));
  }
}

int vault_decode(const uint8_t *p, size_t n, struct vault *v, struct error *e) {
  STREAM(state) st;
  if (n < VAULT_HEADER + STREAM(HEADERBYTES)) return cut(e);
  if (STREAM(init_pull)(&st, p + VAULT_HEADER, v->key) < 0) return cut(e);
  uint8_t *plain = mem_alloc(VAULT_MESSAGE);
  int rc = plain ? decode(&st, p, n, v, plain, e) : error_set(e, E_NOMEM, "no memory to read the identity map");
  if (plain) mem_wipe(plain, VAULT_MESSAGE);
  mem_free(plain);
  mem_wipe(&st, sizeof st);
  return rc;
}

/* ---- writing ---- */

struct encoder {
  STREAM(state) st;
  const struct vault *v;
  uint8_t *plain, *cipher;
  size_t n;
  struct file_writer *w;
};

static void flush(struct encoder *x, unsigned char tag) {
  uint8_t length[4];
  STREAM(push)(&x->st, x->cipher, NULL, x->plain, x->n, x->v->header, VAULT_HEADER, tag);
  put(length, x->n + STREAM(ABYTES), 4);
  file_writer_put(x->w, length, 4);
  file_writer_put(x->w, x->cipher, x->n + STREAM(ABYTES));
  x->n = 0;
}

static void encode_row(struct encoder *x, const struct identity *id) {
  if (x->n + ROW + id->key_n > VAULT_MESSAGE) flush(x, 0);
  uint8_t *r = x->plain + x->n;
  put(r, (uint64_t)id->pseudonym, 8);
  put(r + 8, (uint32_t)id->shift_days, 4);
  put(r + 12, (uint32_t)id->birth, 4);
  put(r + 16, (uint32_t)id->first, 4);
  put(r + 20, (uint32_t)id->last, 4);
  put(r + 24, id->source, 2);
  put(r + 26, id->key_n, 2);
  r[28] = id->flags & IDENTITY_STORED;
  r[29] = id->birth_precision;
  memcpy(r + ROW, id->key, id->key_n);
  x->n += ROW + id->key_n;
}

void vault_encode(const struct vault *v, uint8_t *plain, uint8_t *cipher, struct file_writer *w) {
  struct encoder x = {.v = v, .plain = plain, .cipher = cipher, .w = w};
  uint8_t stream[STREAM(HEADERBYTES)];
  STREAM(init_push)(&x.st, stream, v->key);
  file_writer_put(w, v->header, VAULT_HEADER);
  file_writer_put(w, stream, sizeof stream);
  uint64_t rows = vault_persons(v);
  put(plain, rows, 8);
  put(plain + 8, v->source_n, 4);
  x.n = 12;
  _Static_assert(12 + VAULT_SOURCES * (2 + VAULT_SOURCE_LIMIT) <= VAULT_MESSAGE, "the sources fit one message");
  for (uint16_t i = 0; i < v->source_n; i++) {
    put(plain + x.n, v->source[i].n, 2);
    memcpy(plain + x.n + 2, v->source[i].p, v->source[i].n);
    x.n += 2 + v->source[i].n;
  }
  flush(&x, 0);
  for (uint32_t i = 0; i < v->row_n; i++) {
    const struct identity *id = vault_identity(v, i);
    if (!(id->flags & IDENTITY_ERASED)) encode_row(&x, id);
  }
  if (x.n) flush(&x, 0);
  put(plain, rows, 8);
  x.n = 8;
  flush(&x, STREAM(TAG_FINAL));
  mem_wipe(&x.st, sizeof x.st);
}
