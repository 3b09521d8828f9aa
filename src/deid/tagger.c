/* The tagger's file and its decoder.
 *
 * File, little endian: "vitaeTAG" | u32 version 2 | u32 bytes of the payload unpacked | zstd frame | u64 hash64 of all before.
 * Payload: u32 labels, scheme, rows, lists | 2 x u64 templates | f32 scale | labels x (u8 kind, u8 n, name) | lists x (u8 n, name, u32 blocks,
 * 32 * blocks bytes) | i16 transitions [3][tags][tags] | keys as varint differences, ascending | rows x ceil(tags / 8) bytes: which
 * weights are not zero | those weights, i8. Tags: 0 outside, then B I (scheme 2) or B I E S (scheme 4) of each label. The model is a
 * linear-chain CRF (Lafferty et al. 2001) with hashed features (Weinberger et al. 2009); decoding is Viterbi over whole tokens, and a tag
 * that cannot stand after its neighbour is never considered. All sums are of integers: the same spans on every machine.
 */
#include "deid/tagger.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/hash.h"
#include "deid/tagger_private.h"

#define MAGIC "vitaeTAG"
#define VERSION 2
#define HEAD 16
#define PAYLOAD_MOST (64u << 20)
#define BUCKET 4u
#define HUGE (4u << 20)
#define CROWD 1024          /* honest keys are spread; these would only make the table slow */
#define REACH 3             /* how far an entity may go from what is loud in it, where only that is asked for */
#define SEGMENT (32u << 10) /* longer texts are cut here at white space: tables stay in the cache, memory stays bounded */

bool tagger_starts(uint32_t scheme, uint32_t tag) { return tag && ((tag - 1) % scheme == 0 || (tag - 1) % scheme == 3); }
bool tagger_ends(uint32_t scheme, uint32_t tag) { return tag && scheme == 4 && (tag - 1) % 4 >= 2; }
bool tagger_follows(uint32_t scheme, uint32_t from, uint32_t to) {
  bool open = from && !(scheme == 4 && tagger_ends(scheme, from)); /* an entity that goes on (BIOES) or may go on (BIO) */
  if (!to || tagger_starts(scheme, to)) return scheme == 2 || !open;
  return open && (from - 1) / scheme == (to - 1) / scheme;
}

/* ---- reading */
struct cursor {
  const uint8_t *p;
  size_t n;
  bool bad;
};
static const uint8_t *take(struct cursor *c, uint64_t n) {
  static const uint8_t nothing[8];
  if (c->bad || n > c->n) {
    c->bad = true;
    return n <= sizeof nothing ? nothing : NULL;
  }
  const uint8_t *at = c->p;
  c->p += n, c->n -= n;
  return at;
}
static uint32_t take_u32(struct cursor *c) {
  const uint8_t *p = take(c, 4);
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static uint64_t take_u64(struct cursor *c) {
  uint64_t low = take_u32(c);
  return low | (uint64_t)take_u32(c) << 32;
}
static uint32_t take_varint(struct cursor *c) {
  uint32_t v = 0;
  for (int shift = 0; shift < 35; shift += 7) {
    uint32_t b = *take(c, 1);
    v |= (b & 127) << shift;
    if (!(b & 128)) return v;
  }
  c->bad = true;
  return 0;
}
static int broken(struct error *e, const char *what) { return error_set(e, E_CORRUPT, "the tagger's file is damaged: %s", what); }
static void *reserve(struct tagger *t, size_t size, size_t n) { return arena_alloc_array(&t->memory, size, n, 64); }

static int read_name(struct cursor *c, char *out, size_t size, struct error *e) {
  uint32_t n = *take(c, 1);
  const uint8_t *p = take(c, n);
  if (c->bad || !n || n >= size || !p) return broken(e, "a name");
  if (!str_utf8_valid((struct str){(const char *)p, n}) || memchr(p, 0, n)) return broken(e, "a name");
  memcpy(out, p, n);
  out[n] = 0;
  return OK;
}

static int read_shape(struct tagger *t, struct cursor *c, struct error *e) {
  t->labels = take_u32(c), t->scheme = take_u32(c), t->rows = take_u32(c), t->lists = take_u32(c);
  t->templates[0] = take_u64(c), t->templates[1] = take_u64(c);
  uint32_t scale = take_u32(c);
  memcpy(&t->scale, &scale, sizeof scale);
  if (c->bad || !t->labels || t->labels > TAGGER_LABELS || (t->scheme != 2 && t->scheme != 4) || t->rows >= (1u << TAGGER_ROW_BITS) - 1 ||
      t->lists > TAGGER_LISTS || !(t->scale > 0 && t->scale < 1e6f))
    return broken(e, "sizes");
  t->tags = 1 + t->scheme * t->labels;
  t->padded = tagger_padded(t->tags);
  for (uint32_t i = 0; i < t->labels; i++) {
    t->label[i].kind = *take(c, 1);
    if (t->label[i].kind >= TEXT_LABELS) return broken(e, "a label");
    TRY(read_name(c, t->label[i].name, sizeof t->label[i].name, e));
  }
  for (uint32_t i = 0; i < t->lists; i++) {
    TRY(read_name(c, t->list[i].name, sizeof t->list[i].name, e));
    uint32_t blocks = take_u32(c);
    const uint8_t *bits = take(c, (uint64_t)blocks * 32);
    if (c->bad || !blocks) return broken(e, "a word list");
    t->list[i].blocks = blocks;
    if (!(t->list[i].bits = reserve(t, 32, blocks))) return error_set(e, E_NOMEM, "no memory for the tagger");
    memcpy(t->list[i].bits, bits, (size_t)blocks * 32);
    if (strcmp(t->list[i].name, "words") == 0) t->words |= (uint16_t)(1u << i);
  }
  return OK;
}

/* margin[s][p]: a tag p that trails "outside" by this much before the step is never the best way to any tag that outside may precede. */
static int read_transitions(struct tagger *t, struct cursor *c, struct error *e) {
  t->transition = reserve(t, (size_t)SPACES * t->padded * sizeof(int32_t), t->tags);
  t->margin = reserve(t, SPACES * sizeof(int32_t), t->tags);
  if (!t->transition || !t->margin) return error_set(e, E_NOMEM, "no memory for the tagger");
  for (uint32_t s = 0; s < SPACES; s++)
    for (uint32_t from = 0; from < t->tags; from++) {
      int32_t *row = t->transition + ((size_t)s * t->tags + from) * t->padded;
      for (uint32_t to = 0; to < t->tags; to++) {
        const uint8_t *p = take(c, 2);
        row[to] = tagger_follows(t->scheme, from, to) ? (int16_t)(p[0] | p[1] << 8) : TAGGER_NEVER;
      }
      int32_t least = 1 << 28;
      const int32_t *outside = t->transition + (size_t)s * t->tags * t->padded;
      for (uint32_t to = 0; to < t->tags; to++)
        if (row[to] > TAGGER_NEVER && outside[to] > TAGGER_NEVER && outside[to] - row[to] < least) least = outside[to] - row[to];
      t->margin[(size_t)s * t->tags + from] = least;
    }
  return c->bad ? broken(e, "transitions") : OK;
}

/* Keys come in ascending order. Two that a bucket could not tell apart: the first stays. */
static bool place(struct tagger *t, uint32_t key, uint32_t row) {
  uint32_t at = (key >> (32 - t->bits)) * BUCKET, low = key & ((1u << (32 - TAGGER_ROW_BITS)) - 1);
  for (uint32_t moved = 0; t->table[at]; moved++) {
    if (moved > CROWD) return false;
    if (t->table[at] >> TAGGER_ROW_BITS == low) return true;
    at = (at + 1) & ((BUCKET << t->bits) - 1);
  }
  t->table[at] = row | low << TAGGER_ROW_BITS;
  return true;
}

static int read_rows(struct tagger *t, struct cursor *c, struct error *e) {
  uint32_t mask_n = (t->tags + 7) / 8, key = 0;
  if ((uint64_t)t->rows * (1 + mask_n) > c->n) return broken(e, "rows");
  for (t->bits = 8; (1u << t->bits) < t->rows / 2; t->bits++) {}
  size_t table = BUCKET * sizeof *t->table << t->bits;
  t->block_n = table + (size_t)t->padded * (t->rows + 1);
  if (t->block_n < HUGE) t->block_n = HUGE; /* reads are all over it: large pages spare most of their cost */
  if (!(t->block = mem_alloc_aligned(t->block_n))) return error_set(e, E_NOMEM, "no memory for the tagger");
  t->table = t->block;
  t->weights = (int8_t *)t->block + table;
  for (uint32_t i = 0; i < t->rows; i++) {
    uint32_t step = take_varint(c);
    if (c->bad || (i && !step) || step > UINT32_MAX - key) return broken(e, "keys");
    key += step;
    if (!place(t, key, i + 1)) return broken(e, "keys");
  }
  const uint8_t *mask = take(c, (uint64_t)t->rows * mask_n);
  if (c->bad) return broken(e, "rows");
  for (uint32_t i = 0; i < t->rows; i++)
    for (uint32_t tag = 0; tag < t->tags; tag++)
      if (mask[(size_t)i * mask_n + tag / 8] >> tag % 8 & 1) t->weights[(size_t)i * t->padded + tag] = (int8_t)*take(c, 1);
  return c->bad || c->n ? broken(e, "weights") : OK;
}

static int read_payload(struct tagger *t, const uint8_t *p, size_t n, struct error *e) {
  struct cursor c = {p, n, false};
  TRY(read_shape(t, &c, e));
  TRY(read_transitions(t, &c, e));
  return read_rows(t, &c, e);
}

int tagger_load_bytes(const uint8_t *p, size_t n, struct tagger **out, struct error *e) {
  *out = NULL;
  if (n < HEAD + 8 || memcmp(p, MAGIC, 8) != 0) return error_set(e, E_INPUT, "not a tagger's file");
  struct cursor head = {p + 8, n - 8, false}, tail = {p + n - 8, 8, false};
  uint32_t version = take_u32(&head), size = take_u32(&head);
  if (version != VERSION)
    return error_set(e, E_VERSION, "the tagger's file has version %u, this program reads %d: learn it anew", version, VERSION);
  if (take_u64(&tail) != hash64(p, n - 8, 0)) return broken(e, "checksum");
  if (size > PAYLOAD_MOST) return error_set(e, E_LIMIT, "the tagger's file is too large");
  uint8_t *payload = mem_alloc(size + 1);
  struct tagger *t = mem_alloc(sizeof *t);
  if (!payload || !t) {
    mem_free(payload), mem_free(t);
    return error_set(e, E_NOMEM, "no memory for the tagger");
  }
  memset(t, 0, sizeof *t);
  arena_init(&t->memory, 2048u << 20, 0);
  size_t got = ZSTD_decompress(payload, size, p + HEAD, n - HEAD - 8);
  int rc = ZSTD_isError(got) || got != size ? broken(e, "payload") : read_payload(t, payload, size, e);
  mem_free(payload);
  if (rc < 0)
    tagger_free(t);
  else
    *out = t;
  return rc;
}

int tagger_load(const char *path, struct tagger **out, struct error *e) {
  struct file_map m;
  *out = NULL;
  TRY(file_map_open(path, &m, e));
  int rc = tagger_load_bytes(m.p, m.n, out, e);
  if (rc < 0) error_where(e, path, 0, NULL);
  file_map_close(&m);
  return rc;
}

void tagger_free(struct tagger *t) {
  if (!t) return;
  if (t->block) mem_free_aligned(t->block, t->block_n);
  arena_free(&t->memory);
  mem_free(t);
}

const char *tagger_label(const struct tagger *t, int label) {
  return label >= 0 && (uint32_t)label < t->labels ? t->label[label].name : NULL;
}
int tagger_label_kind(const struct tagger *t, int label) {
  return label >= 0 && (uint32_t)label < t->labels ? t->label[label].kind : TEXT_OTHER;
}

/* ---- writing */
static void put_u32(struct buf *b, uint32_t v) {
  uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
  buf_put(b, p, 4);
}
static void put_u64(struct buf *b, uint64_t v) { put_u32(b, (uint32_t)v), put_u32(b, (uint32_t)(v >> 32)); }
static void put_name(struct buf *b, const char *name) {
  buf_putc(b, (char)strlen(name));
  buf_puts(b, name);
}
static int rounded(float v, int most) {
  int q = (int)(v < 0 ? v - 0.5f : v + 0.5f);
  return q > most ? most : q < -most ? -most : q;
}

static void put_shape(const struct tagger *t, uint32_t rows, float scale, struct buf *b) {
  uint32_t bits;
  put_u32(b, t->labels), put_u32(b, t->scheme), put_u32(b, rows), put_u32(b, t->lists);
  put_u64(b, t->templates[0]), put_u64(b, t->templates[1]);
  memcpy(&bits, &scale, sizeof bits);
  put_u32(b, bits);
  for (uint32_t i = 0; i < t->labels; i++) {
    buf_putc(b, (char)t->label[i].kind);
    put_name(b, t->label[i].name);
  }
  for (uint32_t i = 0; i < t->lists; i++) {
    put_name(b, t->list[i].name);
    put_u32(b, t->list[i].blocks);
    buf_put(b, t->list[i].bits, (size_t)t->list[i].blocks * 32);
  }
}

/* A weight nearer to zero than `least` is left out, a row without weights too. */
static int quantised(float w, float scale, float least) { return w < least && w > -least ? 0 : rounded(w * scale, 127); }
static void put_rows(const struct tagger *t, const struct tagger_weights *w, const uint32_t *kept, uint32_t rows, float scale, float least,
                     struct buf *b) {
  uint32_t key = 0;
  for (uint32_t i = 0; i < rows; i++) {
    uint32_t step = w->key[kept[i]] - key;
    key += step;
    for (; step >= 128; step >>= 7) buf_putc(b, (char)(step | 128));
    buf_putc(b, (char)step);
  }
  for (uint32_t i = 0; i < rows; i++)
    for (uint32_t tag = 0; tag < t->tags; tag += 8) {
      uint32_t m = 0;
      for (uint32_t k = 0; k < 8 && tag + k < t->tags; k++)
        m |= (uint32_t)(quantised(w->row[(size_t)kept[i] * t->padded + tag + k], scale, least) != 0) << k;
      buf_putc(b, (char)m);
    }
  for (uint32_t i = 0; i < rows; i++)
    for (uint32_t tag = 0; tag < t->tags; tag++) {
      int q = quantised(w->row[(size_t)kept[i] * t->padded + tag], scale, least);
      if (q) buf_putc(b, (char)q);
    }
}

static int put_file(struct buf *payload, const char *path, struct error *e) {
  struct buf file = {0};
  int rc = buf_check(payload, e);
  size_t room = ZSTD_compressBound(payload->n), got = 0;
  buf_put(&file, MAGIC, 8);
  put_u32(&file, VERSION);
  put_u32(&file, (uint32_t)payload->n);
  if (rc == OK && buf_reserve(&file, room + 8)) {
    got = ZSTD_compress(file.p + file.n, room, payload->p, payload->n, 19);
    if (ZSTD_isError(got)) rc = error_set(e, E_NOMEM, "the tagger cannot be packed");
  }
  if (rc == OK) rc = buf_check(&file, e);
  if (rc == OK) {
    file.n += got;
    put_u64(&file, hash64(file.p, file.n, 0));
    rc = file_write_atomic(path, file.p, file.n, 0644, e);
  }
  buf_release(&file);
  return rc;
}

int tagger_write(const struct tagger *t, const struct tagger_weights *w, float least, const char *path, struct error *e) {
  struct buf b = {0};
  uint32_t rows = 0, *kept = mem_alloc((w->n + 1) * sizeof *kept);
  float most = 1e-3f;
  if (!kept) return error_set(e, E_NOMEM, "no memory for the tagger");
  for (size_t i = 0; i < (size_t)w->n * t->padded; i++) {
    float v = w->row[i] < 0 ? -w->row[i] : w->row[i];
    if (v > most) most = v;
  }
  if (most > 5) most = 5; /* larger ones are few and as good as certain */
  float scale = 127 / most;
  for (uint32_t i = 0; i < w->n; i++) {
    bool some = false;
    for (uint32_t tag = 0; tag < t->tags; tag++) some |= quantised(w->row[(size_t)i * t->padded + tag], scale, least) != 0;
    if (some) kept[rows++] = i;
  }
  int rc = rows >= (1u << TAGGER_ROW_BITS) - 1 ? error_set(e, E_LIMIT, "more than a million features: raise the least weight") : OK;
  if (rc == OK) {
    put_shape(t, rows, scale, &b);
    for (uint32_t s = 0; s < SPACES * t->tags; s++)
      for (uint32_t to = 0; to < t->tags; to++) {
        int q = rounded(w->transition[(size_t)s * t->padded + to] * scale, 32767);
        buf_putc(&b, (char)(q & 255)), buf_putc(&b, (char)(q >> 8));
      }
    put_rows(t, w, kept, rows, scale, least, &b);
    rc = put_file(&b, path, e);
  }
  buf_release(&b);
  mem_free(kept);
  return rc;
}

/* ---- decoding */
struct tagger_work {
  const struct tagger *t;      /* whose lists `seen` speaks of */
  struct tagger_token *tokens; /* with edges; room for a token a byte */
  size_t token_room, other_room;
  uint8_t *other; /* what depends on how many tokens there are: the next three */
  uint32_t *scratch;
  uint8_t *back; /* [n][padded]: the tag before */
  uint8_t *best; /* [n] */
  struct tagger_seen seen[TAGGER_SEEN];
};

int tagger_work_new(const struct tagger *t, struct tagger_work **out, struct error *e) {
  *out = mem_alloc(sizeof **out);
  if (!*out) return error_set(e, E_NOMEM, "no memory to tag texts");
  memset(*out, 0, sizeof **out);
  (*out)->t = t;
  return OK;
}

static void discard(void *p, size_t n) {
  if (p) mem_wipe(p, n);
  mem_free(p);
}

void tagger_work_free(struct tagger_work *w) {
  if (!w) return;
  discard(w->tokens, w->token_room);
  discard(w->other, w->other_room);
  discard(w, sizeof *w);
}

static void *room(void *p, size_t *have, size_t want) {
  if (want <= *have) return p;
  discard(p, *have);
  p = mem_alloc(want + want / 2);
  *have = p ? want + want / 2 : 0;
  return p;
}

typedef int8_t bytes8 __attribute__((vector_size(8)));
typedef int16_t shorts8 __attribute__((vector_size(16)));

static void add_rows(const struct tagger *t, const uint32_t *row, uint32_t n, int16_t *sum) {
  for (uint32_t at = 0; at < t->padded; at += 16) {
    shorts8 low = {0}, high = {0};
    for (uint32_t i = 0; i < n; i++) {
      bytes8 a, b;
      const int8_t *p = t->weights + (size_t)row[i] * t->padded + at;
      memcpy(&a, p, 8);
      memcpy(&b, p + 8, 8);
      low += __builtin_convertvector(a, shorts8);
      high += __builtin_convertvector(b, shorts8);
    }
    memcpy(sum + at, &low, 16);
    memcpy(sum + at + 8, &high, 16);
  }
}

/* Three tokens are under way at a time, so that memory is asked for before it is needed: slots of one, rows of the next, sums of the last. */
struct stage {
  uint32_t key[TAGGER_FEATURES], keys;
  uint32_t row[TAGGER_FEATURES], rows;
};

static void ask_slots(const struct tagger *t, const struct tagger_token *k, struct stage *s) {
  s->keys = tagger_features(k, t->templates, s->key);
  for (uint32_t i = 0; i < s->keys; i++) __builtin_prefetch(t->table + (s->key[i] >> (32 - t->bits)) * BUCKET);
}

/* Row + 1 of a key, 0 if it has none. Slots of a bucket fill from the first; a full one goes on in the next. No branch but that one:
 * whether a feature is known cannot be foretold. A bucket has no guard twice, so "or" picks the one that matches. */
typedef uint32_t quad __attribute__((vector_size(16)));
static inline uint32_t row_of(const struct tagger *t, uint32_t key) {
  uint32_t low = key & ((1u << (32 - TAGGER_ROW_BITS)) - 1), at = (key >> (32 - t->bits)) * BUCKET, mask = (1u << TAGGER_ROW_BITS) - 1;
  for (;;) {
    quad slot, guard = {low, low, low, low}, rows = {mask, mask, mask, mask};
    memcpy(&slot, t->table + at, sizeof slot);
    uint64_t half[2];
    quad hit = (quad)((slot >> TAGGER_ROW_BITS) == guard) & slot & rows;
    memcpy(half, &hit, sizeof half);
    half[0] |= half[1];
    uint32_t row = (uint32_t)(half[0] | half[0] >> 32);
    if (__builtin_expect(row || !t->table[at + BUCKET - 1], 1)) return row;
    at = (at + BUCKET) & ((BUCKET << t->bits) - 1);
  }
}

static void ask_rows(const struct tagger *t, struct stage *s) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < s->keys; i++) {
    uint32_t row = row_of(t, s->key[i]);
    s->row[found] = row - (row != 0);
    __builtin_prefetch(t->weights + (size_t)s->row[found] * t->padded);
    found += row != 0;
  }
  s->rows = found;
}

/* Inside an entity there are only two ways to go on: from its begin, from an inside. */
static inline void go_on(const struct tagger *t, const int32_t *T, const int32_t *v, uint32_t begin, uint32_t to, int32_t *next,
                         uint8_t *back) {
  int32_t first = v[begin] + T[(size_t)begin * t->padded + to], inside = v[begin + 1] + T[(size_t)(begin + 1) * t->padded + to];
  next[to] = inside > first ? inside : first;
  back[to] = (uint8_t)(inside > first ? begin + 1 : begin);
}

/* The best way to every tag of this token, given that to every tag of the one before; v[0] is kept at zero. */
static void step(const struct tagger *t, uint32_t space, const int32_t *v, const int16_t *sum, int32_t *next, uint8_t *back) {
  const int32_t *T = t->transition + (size_t)space * t->tags * t->padded;
  const int32_t *margin = t->margin + (size_t)space * t->tags;
  memcpy(next, T, t->padded * sizeof *next);
  memset(back, 0, t->padded);
  for (uint32_t p = 1; p < t->tags; p++) {
    if (v[p] <= margin[p]) continue;
    const int32_t *row = T + (size_t)p * t->padded;
    for (uint32_t to = 0; to < t->tags; to++) {
      int32_t s = v[p] + row[to];
      if (s > next[to]) next[to] = s, back[to] = (uint8_t)p;
    }
  }
  for (uint32_t begin = 1; begin < t->tags; begin += t->scheme) {
    go_on(t, T, v, begin, begin + 1, next, back);
    if (t->scheme == 4) go_on(t, T, v, begin, begin + 2, next, back);
  }
  int32_t zero = next[0] + sum[0];
  for (uint32_t at = 0; at < t->padded; at += 16)
    for (uint32_t to = at; to < at + 16; to++) {
      int32_t s = next[to] + sum[to] - zero;
      next[to] = s < TAGGER_NEVER ? TAGGER_NEVER : s;
    }
}

/* The tokens from `from` on, up to `to`; what is before and behind them is outside of every entity. */
static void decode_run(const struct tagger *t, struct tagger_work *w, uint32_t from, uint32_t to, uint32_t n) {
  int32_t a[TAGGER_TAGS], b[TAGGER_TAGS], *v = a, *next = b;
  int16_t sum[TAGGER_TAGS];
  struct stage stage[3];
  for (uint32_t k = 0; k < TAGGER_TAGS; k++) v[k] = k ? TAGGER_NEVER : 0;
  const struct tagger_token *token = w->tokens + TAGGER_EDGE;
  ask_slots(t, token + from, &stage[from % 3]);
  if (from + 1 < to) ask_slots(t, token + from + 1, &stage[(from + 1) % 3]);
  ask_rows(t, &stage[from % 3]);
  for (uint32_t i = from; i < to; i++) {
    if (i + 2 < to) ask_slots(t, token + i + 2, &stage[(i + 2) % 3]);
    if (i + 1 < to) ask_rows(t, &stage[(i + 1) % 3]);
    add_rows(t, stage[i % 3].row, stage[i % 3].rows, sum);
    step(t, token[i].space, v, sum, next, w->back + (size_t)i * t->padded);
    int32_t *old = v;
    v = next, next = old;
  }
  const int32_t *out = to < n ? t->transition + (size_t)token[to].space * t->tags * t->padded : NULL; /* to "outside" */
  uint32_t best = 0;
  for (uint32_t k = 1; k < t->tags; k++) {
    if (t->scheme == 4 && !tagger_ends(4, k)) continue;
    if (v[k] + (out ? out[(size_t)k * t->padded] : 0) > v[best] + (out ? out[(size_t)best * t->padded] : 0)) best = k;
  }
  for (uint32_t i = to; i-- > from;) {
    w->best[i] = (uint8_t)best;
    best = w->back[(size_t)i * t->padded + best];
  }
}

/* What has to be in a name or a number that the text part believes: a capital on no ordinary word, three digits, an at sign. */
static bool loud(const struct tagger *t, const struct tagger_token *k) {
  if (k->shape >= SHAPE_OTHER) return k->shape == SHAPE_OTHER + '@';
  if (k->shape >= SHAPE_DIGIT) return k->shape >= SHAPE_DIGIT + 3;
  return k->shape != SHAPE_LOWER && !(k->lists & t->words);
}

static void decode(const struct tagger *t, struct tagger_work *w, uint32_t n, bool all) {
  if (all) {
    decode_run(t, w, 0, n, n);
    return;
  }
  const struct tagger_token *token = w->tokens + TAGGER_EDGE;
  memset(w->best, 0, n);
  for (uint32_t i = 0, from, to; i < n; i = to) {
    for (to = i + 1; i < n && !loud(t, &token[i]); i++) to = i + 2;
    if (i >= n) break;
    uint32_t last = i;
    for (uint32_t k = i + 1; k < n && k <= last + 2 * REACH + 1; k++)
      if (loud(t, &token[k])) last = k;
    from = i > REACH ? i - REACH : 0;
    to = last + REACH + 1 < n ? last + REACH + 1 : n;
    decode_run(t, w, from, to, n);
  }
}

static int spans_of(const struct tagger *t, const struct tagger_work *w, uint32_t n, uint32_t offset, bool own, struct text_spans *out,
                    struct error *e) {
  for (uint32_t i = 0, to; i < n; i = to) {
    uint32_t tag = w->best[i];
    to = i + 1;
    if (!tag) continue;
    while (to < n && w->best[to] && !tagger_starts(t->scheme, w->best[to])) to++;
    uint32_t label = (tag - 1) / t->scheme;
    TRY(text_spans_add(out, offset + w->tokens[TAGGER_EDGE + i].start, offset + w->tokens[TAGGER_EDGE + to - 1].end,
                       own ? (int)label : t->label[label].kind, TEXT_BY_TAGGER, e));
  }
  return OK;
}

static int segment(const struct tagger *t, struct tagger_work *w, struct str text, uint32_t offset, bool own, bool all,
                   struct text_spans *out, struct error *e) {
  w->tokens = room(w->tokens, &w->token_room, (text.n + 2 * TAGGER_EDGE) * sizeof *w->tokens);
  if (!w->tokens) return error_set(e, E_NOMEM, "no memory to tag a text");
  uint32_t n = tagger_tokens(text, w->tokens);
  if (!n) return OK;
  size_t scratch = tagger_scratch(n) * sizeof *w->scratch, back = (size_t)n * t->padded;
  w->other = room(w->other, &w->other_room, scratch + back + n);
  if (!w->other) return error_set(e, E_NOMEM, "no memory to tag a text");
  w->scratch = (uint32_t *)(void *)w->other;
  w->back = w->other + scratch;
  w->best = w->back + back;
  tagger_context(w->tokens, n, t->list, t->lists, w->seen, w->scratch);
  if (tagger_asks_kinds(t->templates)) tagger_kinds(w->tokens, n);
  decode(t, w, n, all);
  return spans_of(t, w, n, offset, own, out, e);
}

/* Where a long text may be cut: behind the last line end, else the last blank, else before a character. */
static size_t cut(struct str text) {
  if (text.n <= SEGMENT) return text.n;
  for (size_t i = SEGMENT; i > SEGMENT / 2; i--)
    if (text.p[i - 1] == '\n') return i;
  for (size_t i = SEGMENT; i > SEGMENT / 2; i--)
    if (text.p[i - 1] == ' ') return i;
  size_t i = SEGMENT;
  while (i > SEGMENT - 4 && ((uint8_t)text.p[i] & 0xC0) == 0x80) i--;
  return i;
}

static int find(const struct tagger *t, struct tagger_work *w, struct str text, bool own, bool all, struct text_spans *out,
                struct error *e) {
  if (text.n > UINT32_MAX - SEGMENT) return error_set(e, E_LIMIT, "a text of more than 4 GB");
  struct tagger_work *mine = NULL;
  int rc = OK;
  if (!w) {
    TRY(tagger_work_new(t, &mine, e));
    w = mine;
  }
  BUG_IF(w->t != t);
  for (size_t at = 0; rc == OK && at < text.n;) {
    size_t n = cut((struct str){text.p + at, text.n - at});
    rc = segment(t, w, (struct str){text.p + at, n}, (uint32_t)at, own, all, out, e);
    at += n;
  }
  tagger_work_free(mine);
  return rc;
}

int tagger_find(const struct tagger *t, struct tagger_work *w, struct str text, struct text_spans *out, struct error *e) {
  return find(t, w, text, false, true, out, e);
}
int tagger_find_loud(const struct tagger *t, struct tagger_work *w, struct str text, struct text_spans *out, struct error *e) {
  return find(t, w, text, false, false, out, e);
}
int tagger_find_own(const struct tagger *t, struct tagger_work *w, struct str text, struct text_spans *out, struct error *e) {
  return find(t, w, text, true, true, out, e);
}
