#include "deid/vault_file.h"

#include <sodium.h>

#include "deid/deid_date.h"
#include "record/record.h"

#define STREAM(x) crypto_secretstream_xchacha20poly1305_##x
static const uint8_t magic[8] = "VITAEVLT";
enum {
  AT_VERSION = 8,
  AT_LENGTH = 12,
  AT_KDF = 16,
  AT_OPS = 24,
  AT_MEMORY = 32,
  AT_SALT = 40,
  AT_CHECK = 56,
  AT_SUM = 72,
  ROW = 30,
  ROW_2 = 26,
  HEAD = 64
};
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
  bool sound = version >= 1 && length == VAULT_HEADER && get(p + AT_KDF, 4) <= VAULT_ARGON2ID && get(p + 20, 4) == 0 &&
               get(p + AT_OPS, 8) <= OPS_LIMIT && get(p + AT_MEMORY, 8) <= MEMORY_LIMIT;
  if (!sound) return error_set(e, E_CORRUPT, "the identity map's header is out of range");
  memcpy(v->header, p, VAULT_HEADER);
  v->header_n = VAULT_HEADER;
  return OK;
}

void vault_header_upgrade(struct vault *v) {
  put(v->header + AT_VERSION, VAULT_VERSION, 4);
  crypto_generichash(v->header + AT_SUM, 16, v->header, AT_SUM, NULL, 0);
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

/* The next `n` bytes of a message; NULL if they are not there. */
static const uint8_t *part(const uint8_t **p, size_t *left, size_t n) {
  const uint8_t *at = *p;
  if (n > *left) return NULL;
  *p += n;
  *left -= n;
  return at;
}

static int person(struct vault *v, struct vault_reading *s, const uint8_t *r, uint8_t flags, uint8_t precision, struct error *e) {
  struct identity id = {.pseudonym = (int64_t)get(r, 8),
                        .shift_days = (int32_t)get(r + 8, 4),
                        .birth = (int32_t)get(r + 12, 4),
                        .first = (int32_t)get(r + 16, 4),
                        .last = (int32_t)get(r + 20, 4),
                        .flags = flags,
                        .birth_precision = precision};
  TRY(vault_row_add(v, &id, e));
  s->row = v->row_n - 1;
  return OK;
}

/* ---- version 1: one key a person, in the person's row ---- */

static int sources_1(struct vault *v, struct vault_reading *s, const uint8_t *p, size_t n, struct error *e) {
  uint16_t id;
  if (n < 12) return cut(e);
  s->persons = s->keys = get(p, 8);
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

/* It did not say whether events had passed: nearly always they had, so these persons are never merged. */
static int rows_1(struct vault *v, struct vault_reading *s, const uint8_t *p, size_t n, struct error *e) {
  while (n) {
    const uint8_t *r = part(&p, &n, ROW);
    const uint8_t *key = r ? part(&p, &n, get(r + 26, 2)) : NULL;
    if (!key || r[28] & ~IDENTITY_CAPPED) return cut(e);
    TRY(person(v, s, r, r[28] | IDENTITY_EMITTED, r[29], e));
    TRY(vault_key_add(v, s->row, (uint16_t)get(r + 24, 2), (struct str){(const char *)key, get(r + 26, 2)}, e));
    s->keys_seen++;
  }
  return OK;
}

/* ---- version 2 ---- */

static int head_2(struct vault *v, struct vault_reading *s, const uint8_t *p, size_t n, struct error *e) {
  if (n != HEAD) return cut(e);
  s->persons = get(p, 8);
  s->keys = get(p + 8, 8);
  s->identifiers = get(p + 16, 8);
  s->gone = get(p + 24, 8);
  memcpy(v->secret, p + 32, 32);
  return OK;
}

static int name_2(struct vault *v, char what, struct str name, struct error *e) {
  uint16_t id, expected = what == 'S' ? v->source_n : v->space_n;
  if (name.n == 0 || name.n > (what == 'S' ? (size_t)VAULT_SOURCE_LIMIT : (size_t)VAULT_NAMESPACE_LIMIT) || expected == VAULT_NAMESPACES)
    return cut(e);
  TRY(what == 'S' ? vault_source(v, name, &id, e) : vault_space(v, name, &id, e));
  return id == expected ? OK : cut(e);
}

static int identifier_2(struct vault *v, struct vault_reading *s, uint8_t kind, uint16_t space, struct str value, struct error *e) {
  if (!s->row_known || space >= v->space_n || kind >= IDENTIFIER_KINDS || value.n == 0 || value.n > VAULT_KEY_LIMIT ||
      vault_identity(v, s->row)->identifier_n == UINT16_MAX || vault_identifier_known(v, s->row, kind, space, value))
    return cut(e);
  s->identifiers_seen++;
  return vault_entry_add(v, false, s->row, space, kind, value, e);
}

static int record_2(struct vault *v, struct vault_reading *s, const uint8_t **p, size_t *n, struct error *e) {
  char what = (char)*part(p, n, 1);
  size_t head = what == 'P' ? ROW_2 : what == 'X' ? 16 : what == 'I' ? 5 : what == 'K' ? 4 : 2;
  const uint8_t *r = part(p, n, head);
  if (!r) return cut(e);
  if (what == 'P') {
    s->row_known = true;
    return person(v, s, r, r[24], r[25], e);
  }
  if (what == 'X') return vault_gone_add(v, r, e);
  size_t length = get(r + head - 2, 2);
  const uint8_t *text = part(p, n, length);
  if (!text) return cut(e);
  struct str value = {(const char *)text, length};
  if (what == 'S' || what == 'N') return s->row_known ? cut(e) : name_2(v, what, value, e);
  if (what == 'I') return identifier_2(v, s, r[0], (uint16_t)get(r + 1, 2), value, e);
  if (what != 'K' || !s->row_known) return cut(e);
  s->keys_seen++;
  return vault_key_add(v, s->row, (uint16_t)get(r, 2), value, e);
}

int vault_message(struct vault *v, struct vault_reading *s, const uint8_t *p, size_t n, struct error *e) {
  bool first = !s->began;
  s->began = true;
  if (s->version == 1) return first ? sources_1(v, s, p, n, e) : rows_1(v, s, p, n, e);
  if (first) return head_2(v, s, p, n, e);
  while (n) TRY(record_2(v, s, &p, &n, e));
  return OK;
}

static bool complete(const struct vault *v, const struct vault_reading *s, const uint8_t *last, size_t n) {
  return s->began && n == 8 && get(last, 8) == v->row_n && s->persons == v->row_n && s->keys == s->keys_seen &&
         s->identifiers == s->identifiers_seen && s->gone == v->gone.count;
}

static int decode(STREAM(state) * st, const uint8_t *p, size_t n, struct vault *v, uint8_t *plain, struct error *e) {
  size_t at = VAULT_HEADER + STREAM(HEADERBYTES);
  struct vault_reading s = {.version = (uint32_t)get(v->header + AT_VERSION, 4)};
  for (;;) {
    unsigned long long got;
    unsigned char tag;
    if (n - at < 4) return cut(e);
    size_t length = get(p + at, 4);
    at += 4;
    if (length < STREAM(ABYTES) || length > VAULT_MESSAGE + STREAM(ABYTES) || length > n - at) return cut(e);
    if (STREAM(pull)(st, plain, &got, &tag, p + at, length, v->header, VAULT_HEADER) < 0) return cut(e);
    at += length;
    if (tag == STREAM(TAG_FINAL)) return at == n && complete(v, &s, plain, got) ? OK : cut(e);
    TRY(vault_message(v, &s, plain, got, e));
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

/* A record of `n` bytes, which the caller fills: whole ones only stand in a message. */
static uint8_t *record(struct encoder *x, char what, size_t n) {
  if (x->n + 1 + n > VAULT_MESSAGE) flush(x, 0);
  uint8_t *at = x->plain + x->n;
  x->n += 1 + n;
  *at = (uint8_t)what;
  return at + 1;
}

static void encode_name(struct encoder *x, char what, struct str name) {
  uint8_t *r = record(x, what, 2 + name.n);
  put(r, name.n, 2);
  memcpy(r + 2, name.p, name.n);
}

static void encode_person(struct encoder *x, const struct identity *id) {
  uint8_t *r = record(x, 'P', ROW_2);
  put(r, (uint64_t)id->pseudonym, 8);
  put(r + 8, (uint32_t)id->shift_days, 4);
  put(r + 12, (uint32_t)id->birth, 4);
  put(r + 16, (uint32_t)id->first, 4);
  put(r + 20, (uint32_t)id->last, 4);
  r[24] = id->flags & IDENTITY_STORED;
  r[25] = id->birth_precision;
  for (uint32_t i = id->keys; i; i = vault_entry(&x->v->keys, i - 1)->next) {
    struct vault_text t = vault_text(x->v, vault_entry(&x->v->keys, i - 1));
    r = record(x, 'K', 4 + t.value.n);
    put(r, t.space, 2);
    put(r + 2, t.value.n, 2);
    memcpy(r + 4, t.value.p, t.value.n);
  }
  for (uint32_t i = id->identifiers; i; i = vault_entry(&x->v->identifiers, i - 1)->next) {
    struct vault_text t = vault_text(x->v, vault_entry(&x->v->identifiers, i - 1));
    r = record(x, 'I', 5 + t.value.n);
    r[0] = (uint8_t)t.kind;
    put(r + 1, t.space, 2);
    put(r + 3, t.value.n, 2);
    memcpy(r + 5, t.value.p, t.value.n);
  }
}

static void encode_head(struct encoder *x) {
  const struct vault *v = x->v;
  uint64_t keys = 0, identifiers = 0;
  for (uint32_t i = 0; i < v->row_n; i++) {
    keys += vault_identity(v, i)->key_n;
    identifiers += vault_identity(v, i)->identifier_n;
  }
  put(x->plain, vault_persons(v), 8);
  put(x->plain + 8, keys, 8);
  put(x->plain + 16, identifiers, 8);
  put(x->plain + 24, v->gone.count, 8);
  memcpy(x->plain + 32, v->secret, 32);
  x->n = HEAD;
  flush(x, 0);
}

void vault_encode(const struct vault *v, uint8_t *plain, uint8_t *cipher, struct file_writer *w) {
  struct encoder x = {.v = v, .plain = plain, .cipher = cipher, .w = w};
  uint8_t stream[STREAM(HEADERBYTES)];
  struct str hash;
  uint64_t ignored;
  STREAM(init_push)(&x.st, stream, v->key);
  file_writer_put(w, v->header, VAULT_HEADER);
  file_writer_put(w, stream, sizeof stream);
  encode_head(&x);
  for (uint16_t i = 0; i < v->source_n; i++) encode_name(&x, 'S', v->source[i]);
  for (uint16_t i = 1; i < v->space_n; i++) encode_name(&x, 'N', v->space[i]);
  for (uint32_t i = 0; i < v->row_n; i++)
    if (!(vault_identity(v, i)->flags & IDENTITY_ERASED)) encode_person(&x, vault_identity(v, i));
  for (size_t at = 0; map_next(&v->gone, &at, &hash, &ignored);) memcpy(record(&x, 'X', 16), hash.p, 16);
  if (x.n) flush(&x, 0);
  put(plain, vault_persons(v), 8);
  x.n = 8;
  flush(&x, STREAM(TAG_FINAL));
  mem_wipe(&x.st, sizeof x.st);
}

/* ---- one text for somebody else ---- */

static const uint8_t sealed[8] = "VITAESLD";

int vault_seal(struct vault *v, struct str text, uint8_t *cipher, struct file_writer *w) {
  struct encoder x = {.v = v, .cipher = cipher, .w = w};
  uint8_t stream[STREAM(HEADERBYTES)];
  memcpy(v->header, sealed, sizeof sealed);
  crypto_generichash(v->header + AT_SUM, 16, v->header, AT_SUM, NULL, 0);
  STREAM(init_push)(&x.st, stream, v->key);
  file_writer_put(w, v->header, VAULT_HEADER);
  file_writer_put(w, stream, sizeof stream);
  do {
    x.plain = (uint8_t *)text.p;
    x.n = text.n < VAULT_MESSAGE ? text.n : VAULT_MESSAGE;
    text = (struct str){text.p + x.n, text.n - x.n};
    flush(&x, text.n ? 0 : STREAM(TAG_FINAL));
  } while (text.n);
  mem_wipe(&x.st, sizeof x.st);
  return OK;
}

int vault_sealed_header(const uint8_t *p, size_t n, struct vault *v, struct error *e) {
  if (n < VAULT_HEADER || memcmp(p, sealed, sizeof sealed) != 0) return error_set(e, E_INPUT, "not a list that vitae vault export wrote");
  uint8_t sum[16], header[VAULT_HEADER];
  memcpy(header, p, VAULT_HEADER);
  crypto_generichash(sum, 16, header, AT_SUM, NULL, 0);
  if (sodium_memcmp(sum, header + AT_SUM, 16) != 0) return cut(e);
  memcpy(header, magic, sizeof magic);
  crypto_generichash(header + AT_SUM, 16, header, AT_SUM, NULL, 0);
  TRY(vault_header_read(header, VAULT_HEADER, v, e));
  memcpy(v->header, p, VAULT_HEADER);
  return OK;
}

int vault_unseal(const uint8_t *p, size_t n, struct vault *v, char *out, size_t *out_n, struct error *e) {
  STREAM(state) st;
  size_t at = VAULT_HEADER + STREAM(HEADERBYTES);
  *out_n = 0;
  if (n < at || STREAM(init_pull)(&st, p + VAULT_HEADER, v->key) < 0) return cut(e);
  unsigned char tag = 0;
  while (tag != STREAM(TAG_FINAL)) {
    unsigned long long got;
    if (n - at < 4) return cut(e);
    size_t length = get(p + at, 4);
    at += 4;
    if (length < STREAM(ABYTES) || length > n - at) return cut(e);
    if (STREAM(pull)(&st, (uint8_t *)out + *out_n, &got, &tag, p + at, length, v->header, VAULT_HEADER) < 0) return cut(e);
    at += length;
    *out_n += got;
  }
  mem_wipe(&st, sizeof st);
  return at == n ? OK : cut(e);
}
