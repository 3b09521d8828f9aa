/* Streams: which tokens go into the next pass, what comes out of it, and what of a stream's past can be used again. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "model/lm_internal.h"

#define MOST_STREAMS 256
#define MOST_STOPS 8
#define STOP_BYTES 256

struct stream_ {
  bool busy, cancelled;
  int id;
  uint64_t tenant, used; /* used: the step in which it last ran */
  struct lm_cache cache;
  size_t cache_bytes;
  uint32_t *token;             /* (context): prompt, then what was generated */
  int n, done, prompt, cached; /* tokens; of them, those whose keys are in the cache */
  int generated;
  struct lm_request r;
  char stop[MOST_STOPS][STOP_BYTES];
  size_t stop_n[MOST_STOPS];
  struct buf text; /* not yet given out */
  struct rng rng;
};
struct lm_engine {
  struct lm *m;
  struct lm_buffers *buffers;
  struct stream_ *stream;
  int streams, next_id;
  uint64_t step;
  struct lm_rows rows;
  struct stream_ *wants[LM_ROWS]; /* whose logits a pass gives, in their order */
  float *logits;
  size_t logits_bytes;
  struct lm_chooser chooser;
};

int lm_engine_new(struct lm *m, int streams, struct error *e) {
  if (streams > MOST_STREAMS) return error_set(e, E_USAGE, "at most %d streams", MOST_STREAMS);
  struct lm_engine *g = mem_alloc(sizeof *g);
  if (!g) return error_set(e, E_NOMEM, "no memory for an engine");
  *g = (struct lm_engine){.m = m, .streams = streams};
  m->engine = g;
  TRY(lm_buffers_new(m, &g->buffers, e));
  g->stream = arena_array(&m->arena, struct stream_, (size_t)streams);
  if (!g->stream) return error_set(e, E_NOMEM, "no memory for an engine");
  size_t most = m->shape.family == LM_BERT ? (size_t)LM_ROWS * (size_t)m->shape.width : (size_t)streams * m->shape.vocabulary;
  g->logits_bytes = most * sizeof(float);
  g->logits = mem_alloc_aligned(g->logits_bytes);
  if (!g->logits) return error_set(e, E_NOMEM, "no memory for an engine's logits");
  return lm_chooser_init(&g->chooser, m->shape.vocabulary, e);
}

void lm_engine_free(struct lm_engine *g) {
  if (!g) return;
  for (int i = 0; i < g->streams && g->stream; i++) {
    struct stream_ *s = &g->stream[i];
    if (s->cache.k) munmap(s->cache.k, s->cache_bytes);
    buf_release(&s->text);
    mem_free(s->token);
  }
  lm_buffers_free(g->buffers);
  if (g->logits) mem_free_aligned(g->logits, g->logits_bytes);
  lm_chooser_release(&g->chooser);
  mem_free(g);
}

int lm_cache_new(const struct lm *m, int positions, struct lm_cache *c, size_t *bytes, struct error *e) {
  c->capacity = (positions + 15) / 16 * 16;
  size_t half = lm_cache_bytes(m, c->capacity);
  *bytes = 2 * half;
  /* straight from the system: a long context costs memory only as far as it is filled */
  void *p = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  c->k = p == MAP_FAILED ? NULL : p;
  if (!c->k) return error_set(e, E_NOMEM, "no memory for a stream's cache (%zu MB)", *bytes >> 20);
  c->v = c->k + half;
  return OK;
}

static int common(const uint32_t *a, int n, const uint32_t *b, int m) {
  int i = 0;
  while (i < n && i < m && a[i] == b[i]) i++;
  return i;
}

/* The first `n` positions of another stream's cache; whole blocks of 16 keys at once. */
static void copy_prefix(const struct lm *m, const struct stream_ *from, struct stream_ *to, int n) {
  size_t d = (size_t)m->shape.head * (m->wide ? 4 : 2), each = (size_t)from->cache.capacity * d, block = (size_t)((n + 15) / 16 * 16) * d;
  for (size_t h = 0; h < (size_t)m->shape.layers * (size_t)m->shape.kv_heads; h++) {
    memcpy(to->cache.k + h * each, from->cache.k + h * each, block);
    memcpy(to->cache.v + h * each, from->cache.v + h * each, (size_t)n * d);
  }
}

/* A free stream: the one whose past helps most, else the one that was idle longest. */
static struct stream_ *choose_stream(struct lm_engine *g, const struct lm_request *r, struct stream_ **from) {
  struct stream_ *best = NULL, *donor = NULL;
  int shared = 0, most = 0;
  for (int i = 0; i < g->streams; i++) {
    struct stream_ *s = &g->stream[i];
    int n = s->tenant == r->tenant ? common(s->token, s->done, r->token, (int)r->n) : 0;
    if (n > most) donor = s, most = n;
    if (s->busy) continue;
    if (!best || n > shared || (n == shared && s->used < best->used)) best = s, shared = n;
  }
  if (!best) return NULL;
  *from = donor;
  return best;
}

/* Memory for the stream, and what of the prompt is in its cache or can be copied there. */
static int begin_stream(struct lm *m, struct stream_ *s, const struct stream_ *from, const struct lm_request *r, struct error *e) {
  if (!s->token && !(s->token = mem_alloc((size_t)m->context * sizeof *s->token))) return error_set(e, E_NOMEM, "no memory for a stream");
  if (!s->cache.k) {
    TRY(lm_cache_new(m, m->context, &s->cache, &s->cache_bytes, e));
    s->done = 0;
  }
  int own = s->tenant == r->tenant ? common(s->token, s->done, r->token, (int)r->n) : 0;
  int most = from && from != s ? common(from->token, from->done, r->token, (int)r->n) : 0;
  if (most > own + 16) {
    copy_prefix(m, from, s, most);
    own = most;
  }
  s->done = own < (int)r->n ? own : (int)r->n - 1; /* the last token is computed anew: its logits are wanted */
  memcpy(s->token, r->token, r->n * sizeof *s->token);
  return OK;
}

static int check_request(const struct lm *m, const struct lm_request *r, struct error *e) {
  if (m->shape.family == LM_BERT) return error_set(e, E_USAGE, "an encoder does not generate");
  if (r->n < 1 || r->n >= (size_t)m->context)
    return error_set(e, E_INPUT, "the prompt has %zu tokens; between 1 and %d fit", r->n, m->context - 1);
  for (size_t i = 0; i < r->n; i++)
    if (r->token[i] >= m->shape.vocabulary) return error_set(e, E_INPUT, "a token outside the vocabulary");
  if (r->stops > MOST_STOPS) return error_set(e, E_INPUT, "at most %d stop strings", MOST_STOPS);
  for (int i = 0; i < r->stops; i++)
    if (!r->stop[i].n || r->stop[i].n > STOP_BYTES) return error_set(e, E_INPUT, "a stop string has 1 to %d bytes", STOP_BYTES);
  if (!(r->temperature >= 0 && r->temperature <= 100) || !(r->top_p >= 0 && r->top_p <= 1) || r->top_k < 0 || r->logprobs > LM_TOPS)
    return error_set(e, E_INPUT, "temperature, top_p, top_k or logprobs out of range");
  return OK;
}

int lm_submit(struct lm *m, const struct lm_request *r, int *id, struct error *e) {
  struct lm_engine *g = m->engine;
  TRY(check_request(m, r, e));
  struct stream_ *from = NULL, *s = choose_stream(g, r, &from);
  if (!s) return error_set(e, E_BUSY, "all %d streams are running", g->streams);
  TRY(begin_stream(m, s, from, r, e));
  s->busy = true;
  s->cancelled = false;
  s->id = *id = ++g->next_id;
  s->tenant = r->tenant;
  s->n = s->prompt = (int)r->n;
  s->cached = s->done;
  s->generated = 0;
  s->r = *r;
  for (int i = 0; i < r->stops; i++) memcpy(s->stop[i], r->stop[i].p, s->stop_n[i] = r->stop[i].n);
  buf_clear(&s->text);
  if (r->schema) lm_schema_reset(r->schema);
  rng_init(&s->rng, r->seed, 0);
  return OK;
}

void lm_cancel(struct lm *m, int id) {
  for (int i = 0; i < m->engine->streams; i++)
    if (m->engine->stream[i].busy && m->engine->stream[i].id == id) m->engine->stream[i].cancelled = true;
}

/* ---- text that may go out ---- */

/* How many bytes at the end may still be the beginning of a stop string, or are a part of a character. */
static size_t held_back(const struct stream_ *s) {
  size_t held = 0, n = s->text.n;
  for (int i = 0; i < s->r.stops; i++)
    for (size_t k = s->stop_n[i] - 1 < n ? s->stop_n[i] - 1 : n; k > held; k--)
      if (memcmp(s->text.p + n - k, s->stop[i], k) == 0) held = k;
  for (size_t k = 1; k <= 3 && k <= n; k++) { /* a leading byte whose character is not whole yet */
    unsigned char c = (unsigned char)s->text.p[n - k];
    if ((c & 0xC0) == 0x80) continue;
    size_t whole = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
    if (whole > k && k > held) held = k;
    break;
  }
  return held;
}

static bool find_stop(const struct stream_ *s, size_t *at) {
  bool found = false;
  for (int i = 0; i < s->r.stops; i++) {
    const char *p = s->text.n >= s->stop_n[i] ? memmem(s->text.p, s->text.n, s->stop[i], s->stop_n[i]) : NULL;
    if (p && (!found || (size_t)(p - s->text.p) < *at)) *at = (size_t)(p - s->text.p), found = true;
  }
  return found;
}

static void finish(struct lm_engine *g, struct stream_ *s) {
  s->busy = false;
  s->used = g->step;
}

/* Gives the caller what this step brought. */
static void give(struct lm_engine *g, struct stream_ *s, struct lm_piece *p) {
  size_t out = s->text.n, at = 0;
  if (find_stop(s, &at))
    out = at, p->end = LM_END_STOP;
  else if (p->end == LM_GOES_ON)
    out -= held_back(s);
  p->text = (struct str){s->text.p, out};
  p->prompt = s->prompt, p->cached = s->cached, p->generated = s->generated;
  bool more = !s->r.piece || s->r.piece(s->r.ctx, p) == 0;
  if (out) memmove(s->text.p, s->text.p + out, s->text.n - out), s->text.n -= out;
  if (p->end != LM_GOES_ON || !more) finish(g, s);
}

static void take_token(struct lm_engine *g, struct stream_ *s, float *logits) {
  const struct lm *m = g->m;
  struct lm_piece p = {0};
  struct lm_alternative top[LM_TOPS];
  p.top = top;
  p.token = lm_choose(&g->chooser, &s->r, &s->rng, m, logits, &p, top);
  s->generated++;
  bool end = (!s->r.ignore_end || s->r.schema) && lm_is_end(m, p.token);
  if (!end) buf_str(&s->text, subword_piece(m->vocabulary, p.token));
  if (s->r.schema && !end) end = !lm_schema_take(s->r.schema, subword_piece(m->vocabulary, p.token)) || lm_schema_closed(s->r.schema);
  s->token[s->n++] = p.token;
  int most = s->r.most > 0 ? s->r.most : m->context;
  if (end)
    p.end = LM_END_TOKEN;
  else if (s->generated >= most || s->n >= m->context)
    p.end = LM_END_LENGTH;
  give(g, s, &p);
}

static void put_row(struct lm_engine *g, struct stream_ *s) {
  struct lm_rows *r = &g->rows;
  int i = r->rows++, at = s->done++;
  r->token[i] = s->token[at];
  r->position[i] = at;
  r->cache[i] = &s->cache;
  r->wanted[i] = s->done == s->n;
  if (r->wanted[i]) g->wants[r->logits++] = s;
}

/* Every stream that generates gets its row first; prompts share what is left, oldest first. */
static void fill_rows(struct lm_engine *g) {
  g->rows.rows = g->rows.logits = 0;
  for (int i = 0; i < g->streams; i++)
    if (g->stream[i].busy && g->stream[i].done == g->stream[i].n - 1) put_row(g, &g->stream[i]);
  for (int i = 0; i < g->streams; i++) {
    struct stream_ *s = &g->stream[i];
    if (!s->busy || s->done >= s->n || (g->rows.rows && g->rows.cache[g->rows.rows - 1] == &s->cache)) continue;
    bool has_row = false;
    for (int k = 0; k < g->rows.logits; k++) has_row = has_row || g->wants[k] == s;
    while (!has_row && s->done < s->n && g->rows.rows < LM_ROWS) put_row(g, s);
  }
}

int lm_step(struct lm *m, struct error *e) {
  struct lm_engine *g = m->engine;
  int busy = 0;
  g->step++;
  for (int i = 0; i < g->streams; i++) {
    struct stream_ *s = &g->stream[i];
    if (!s->busy || (!s->cancelled && (m->own_cancel || !cancel_requested()))) continue;
    struct lm_piece p = {.end = LM_END_CANCELLED};
    give(g, s, &p);
    finish(g, s);
  }
  fill_rows(g);
  if (!g->rows.rows) return 0;
  g->rows.out = g->logits;
  lm_pass(m, g->buffers, &g->rows);
  for (int i = 0; i < g->rows.logits; i++) {
    take_token(g, g->wants[i], g->logits + (size_t)i * m->shape.vocabulary);
    TRY(buf_check(&g->wants[i]->text, e));
  }
  for (int i = 0; i < g->streams; i++) busy += g->stream[i].busy;
  return busy;
}

/* ---- measuring ---- */

int lm_logits(struct lm *m, const uint32_t *token, int n, float *out, struct error *e) {
  struct lm_engine *g = m->engine;
  struct lm_cache cache = {0};
  size_t bytes;
  if (m->shape.family == LM_BERT) return error_set(e, E_USAGE, "an encoder has no logits");
  if (n < 1 || n > m->context) return error_set(e, E_INPUT, "the text has %d tokens; between 1 and %d fit", n, m->context);
  for (int i = 0; i < n; i++)
    if (token[i] >= m->shape.vocabulary) return error_set(e, E_INPUT, "a token outside the vocabulary");
  TRY(lm_cache_new(m, n, &cache, &bytes, e));
  for (int at = 0; at < n; at += LM_ROWS) {
    struct lm_rows *r = &g->rows;
    r->rows = r->logits = n - at < LM_ROWS ? n - at : LM_ROWS;
    r->out = out + (size_t)at * m->shape.vocabulary;
    for (int i = 0; i < r->rows; i++) r->token[i] = token[at + i], r->position[i] = at + i, r->cache[i] = &cache, r->wanted[i] = true;
    lm_pass(m, g->buffers, r);
  }
  munmap(cache.k, bytes);
  return OK;
}

/* ---- a text as a vector ---- */

static void pool_rows(const struct lm *m, const float *rows, int n, float *out) {
  int c = m->shape.width;
  double sum = 0;
  memset(out, 0, (size_t)c * 4);
  for (int i = 0; i < n; i++) m->kernel->add((size_t)c, rows + (size_t)i * (size_t)c, out);
  for (int i = 0; i < c; i++) sum += (double)out[i] * out[i];
  float f = sum > 0 ? (float)(1.0 / sqrt(sum)) : 0;
  m->kernel->scale((size_t)c, f, out);
}

int lm_states(struct lm *m, const struct str *texts, size_t n, bool last, float *out, struct error *e) {
  struct lm_engine *g = m->engine;
  struct lm_rows *r = &g->rows;
  struct lm_cache cache = {0};
  struct subword_ids ids = {0};
  size_t bytes, c = (size_t)m->shape.width;
  int limit = m->context < LM_ROWS ? m->context : LM_ROWS;
  if (m->shape.family == LM_BERT) return error_set(e, E_USAGE, "an encoder has no states of a decoder");
  TRY(lm_cache_new(m, limit, &cache, &bytes, e));
  r->states = mem_alloc(LM_ROWS * c * sizeof(float));
  int rc = r->states ? OK : error_set(e, E_NOMEM, "no memory for states");
  for (size_t t = 0; t < n && rc == OK; t++) {
    ids.n = 0;
    rc = subword_encode(m->vocabulary, texts[t], SUBWORD_EDGES, &ids, e);
    if (rc == OK && !ids.n) rc = error_set(e, E_INPUT, "text %zu is empty", t);
    if (rc < 0) break;
    r->rows = ids.n < (size_t)limit ? (int)ids.n : limit;
    r->logits = 0;
    for (int i = 0; i < r->rows; i++) r->token[i] = ids.id[i], r->position[i] = i, r->cache[i] = &cache, r->wanted[i] = false;
    lm_pass(m, g->buffers, r);
    int from = last ? r->rows - 1 : 0;
    pool_rows(m, r->states + (size_t)from * c, r->rows - from, out + t * c);
  }
  mem_free(r->states);
  r->states = NULL;
  munmap(cache.k, bytes);
  subword_ids_release(&ids);
  return rc;
}

/* ---- encoders ---- */

#define MOST_TEXTS 64
struct waiting { /* texts in a pass */
  size_t text;
  int first, n;
};
struct batch {
  struct waiting text[MOST_TEXTS];
  struct lm_cache cache[MOST_TEXTS]; /* parts of one block */
  struct lm_cache all;
  size_t bytes;
  int n, positions;
  struct subword_ids ids;
};

static void embed_pass(struct lm_engine *g, struct batch *b, float *out) {
  const struct lm *m = g->m;
  size_t c = (size_t)m->shape.width;
  if (!b->n) return;
  lm_pass(m, g->buffers, &g->rows);
  for (int i = 0; i < b->n; i++) pool_rows(m, g->logits + (size_t)b->text[i].first * c, b->text[i].n, out + b->text[i].text * c);
  g->rows.rows = b->n = b->positions = 0;
}

static int embed_text(struct lm_engine *g, struct batch *b, struct str text, size_t number, float *out, struct error *e) {
  const struct lm *m = g->m;
  int limit = m->shape.context < LM_ROWS ? m->shape.context : LM_ROWS;
  b->ids.n = 0;
  TRY(subword_encode(m->vocabulary, text, SUBWORD_EDGES, &b->ids, e));
  if (!b->ids.n) return error_set(e, E_INPUT, "text %zu is empty", number);
  if (b->ids.n > (size_t)limit) b->ids.id[limit - 1] = b->ids.id[b->ids.n - 1], b->ids.n = (size_t)limit; /* the end mark stays */
  int n = (int)b->ids.n;
  if (g->rows.rows + n > LM_ROWS || b->n == MOST_TEXTS) embed_pass(g, b, out);
  struct lm_cache *cache = &b->cache[b->n];
  size_t at = lm_cache_bytes(m, b->positions);
  *cache = (struct lm_cache){b->all.k + at, b->all.v + at, (n + 15) / 16 * 16};
  b->positions += cache->capacity;
  b->text[b->n++] = (struct waiting){number, g->rows.rows, n};
  for (int i = 0; i < n; i++) {
    int row = g->rows.rows++;
    g->rows.token[row] = b->ids.id[i], g->rows.position[row] = i, g->rows.cache[row] = cache, g->rows.wanted[row] = false;
  }
  return OK;
}

int lm_embed(struct lm *m, const struct str *texts, size_t n, float *out, struct error *e) {
  struct lm_engine *g = m->engine;
  if (m->shape.family != LM_BERT) return error_set(e, E_USAGE, "this model is no encoder");
  struct batch *b = mem_alloc(sizeof *b);
  if (!b) return error_set(e, E_NOMEM, "no memory for a batch of texts");
  *b = (struct batch){.n = 0};
  g->rows.rows = g->rows.logits = 0;
  g->rows.out = g->logits;
  int rc = lm_cache_new(m, LM_ROWS + 16 * MOST_TEXTS, &b->all, &b->bytes, e);
  for (size_t t = 0; t < n && rc == OK; t++) rc = embed_text(g, b, texts[t], t, out, e);
  if (rc == OK) embed_pass(g, b, out);
  if (b->all.k) munmap(b->all.k, b->bytes);
  subword_ids_release(&b->ids);
  mem_free(b);
  return rc;
}
