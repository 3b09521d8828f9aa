/* One pass through the layers. All threads run pass_run from top to bottom; within a stage they take pieces from a common counter, and a stage is
 * over when its pieces are done, not when all threads have been there: a thread that the system has put aside holds up nobody unless it holds a
 * piece, and walks through what is over when it comes back. Results do not depend on who took which piece. */
#include <math.h>
#include <sched.h>

#include "model/lm_internal.h"

#define KINDS 3
#define WORDS (1u << KINDS) /* beside the bits of enum quant_activation */
struct stage;
struct lm_buffers {
  float *x, *h, *q, *k, *v, *att, *gate, *up, *angle, *angle_local, *logit_in;
  struct quant_activations in[KINDS]; /* the same rows, quantised as the consumers want them */
  int16_t *words;                     /* the same as words of 13 bits, where an encoder's floats are packed so */
  float *word_scale;
  struct stage *stages;
  int stages_n;
  float *scratch; /* per worker */
  size_t scratch_each;
  void *memory;
  size_t bytes;
};

struct stage {
  _Alignas(64) atomic_int taken;
  atomic_int done;
};
struct pass { /* each thread has its own copy */
  const struct lm *m;
  struct lm_buffers *b;
  const struct lm_rows *r;
  struct stage *stage; /* the one that this thread is in */
  int worker, workers;
  int held, pieces; /* pieces taken and not yet reported; pieces of the stage */
};

static void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void report(struct pass *p) {
  if (p->held) atomic_fetch_add_explicit(&p->stage->done, p->held, memory_order_acq_rel);
  p->held = 0;
}

/* The next pieces [first, end) of n; false when none is left. Reports those taken before. */
static bool take(struct pass *p, int n, int chunk, int *first, int *end) {
  report(p);
  p->pieces = n;
  if (atomic_load_explicit(&p->stage->taken, memory_order_relaxed) >= n) return false;
  *first = atomic_fetch_add_explicit(&p->stage->taken, chunk, memory_order_relaxed);
  if (*first >= n) return false;
  *end = *first + chunk < n ? *first + chunk : n;
  p->held = *end - *first;
  return true;
}

static void gate(struct pass *p) {
  report(p);
  for (int i = 0; atomic_load_explicit(&p->stage->done, memory_order_acquire) < p->pieces; i++) {
    if (i < 2000)
      pause_cpu();
    else
      sched_yield();
  }
  p->stage++;
  p->pieces = 0;
}

/* ---- products ---- */

/* Rows [first, end) of W in units of 16, times all m rows of `in` (quantised) or `x` (floats). */
static void product(struct pass *p, const struct lm_weight *w, const float *x, int ldx, int m, int first, int end, float *y, int ldy,
                    int worker) {
  if (w->words.packed) {
    p->m->quant->word_product(&w->words, first, end, m, p->b->words, p->b->word_scale, w->bias, y, (size_t)ldy);
    return;
  }
  if (w->packed.packed) {
    p->m->quant->product(&w->packed, first, end, &p->b->in[w->packed.activation], m, y, (size_t)ldy);
  } else {
    int row = 16 * first, rows = 16 * end < w->rows ? 16 * end - row : w->rows - row;
    size_t row_bytes = quant_bytes(w->plain.type, (size_t)w->columns);
    const uint8_t *file = w->plain.data + (size_t)row * row_bytes;
    float *scratch = p->b->scratch + (size_t)worker * p->b->scratch_each, *unpacked = scratch + p->m->kernel->gemm_scratch;
    const float *b = (const float *)(const void *)file;
    if (w->plain.type != QUANT_F32 || (uintptr_t)file % 4)
      quant_dequantise(w->plain.type, file, (size_t)rows * (size_t)w->columns, unpacked), b = unpacked;
    p->m->kernel->gemm(&(struct gemm){.m = m,
                                      .n = rows,
                                      .k = w->columns,
                                      .tb = true,
                                      .a = x,
                                      .lda = ldx,
                                      .b = b,
                                      .ldb = w->columns,
                                      .c = y + row,
                                      .ldc = ldy,
                                      .scratch = scratch});
  }
  if (!w->bias) return;
  int row = 16 * first, rows = 16 * end < w->rows ? 16 * end - row : w->rows - row;
  for (int t = 0; t < m; t++) p->m->kernel->add((size_t)rows, w->bias + row, y + (size_t)t * (size_t)ldy + row);
}

/* Several matrices with the same input as one list of pieces. */
struct target {
  const struct lm_weight *w;
  float *y;
  int ldy;
};
static void products(struct pass *p, const struct target *t, int n, const float *x, int ldx, int m, int worker) {
  int groups = 0, first, end;
  for (int i = 0; i < n; i++) groups += (t[i].w->rows + 15) / 16;
  bool words = t->w->words.packed != NULL, direct = !words && !t->w->packed.packed && t->w->plain.type == QUANT_F32;
  int chunk = direct  ? (groups + 2 * p->workers - 1) / (2 * p->workers) /* float products want wide pieces */
              : m > 8 ? (words ? 6 : 4)
                      : (groups + 4 * p->workers - 1) / (4 * p->workers);
  if (chunk > 64) chunk = 64;
  while (take(p, groups, chunk, &first, &end)) {
    int base = 0;
    for (int i = 0; i < n; i++) {
      int own = (t[i].w->rows + 15) / 16, from = first > base ? first - base : 0, to = end - base < own ? end - base : own;
      int step = words || (direct && (uintptr_t)t[i].w->plain.data % 4 == 0 && !t[i].w->packed.packed && t[i].w->plain.type == QUANT_F32)
                     ? 64
                     : 4; /* others are unpacked 64 rows at a time */
      for (; from < to; from += step) product(p, t[i].w, x, ldx, m, from, from + step < to ? from + step : to, t[i].y, t[i].ldy, worker);
      base += own;
    }
  }
}

static unsigned kinds(const struct lm_weight *w) { return w->words.packed ? WORDS : w->packed.packed ? 1u << w->packed.activation : 0; }

static void quantise(struct pass *p, unsigned which, const float *x, int columns, int row) {
  if (which & WORDS) {
    size_t block = (size_t)row * word_blocks(columns);
    p->m->quant->to_words(1, columns, x + (size_t)row * (size_t)columns, p->b->words + block * WORD_BLOCK, p->b->word_scale + block);
  }
  for (int k = 0; k < KINDS; k++) {
    if (!(which >> k & 1)) continue;
    struct quant_activations a = p->b->in[k];
    size_t first = (size_t)row * (size_t)columns;
    a.q += first, a.scale += first / 32, a.sum += first / 32, a.minus += first / 16, a.minus_whole += first / 32;
    p->m->quant->activations((enum quant_activation)k, 1, columns, x + first, (size_t)columns, &a);
    p->b->in[k].columns = (size_t)columns; /* every thread writes the same */
  }
}

/* ---- stages ---- */

static void norm(struct pass *p, const float *x, const float *gain, const float *shift, float *y, int c) {
  float mean, rstd;
  p->m->kernel->norm_forward(&(struct norm){.kind = shift ? NORM_LAYER : NORM_RMS,
                                            .rows = 1,
                                            .c = c,
                                            .eps = p->m->shape.eps,
                                            .x = x,
                                            .gain = gain,
                                            .shift = shift,
                                            .y = y,
                                            .mean = &mean,
                                            .rstd = &rstd});
}

static void embed(struct pass *p) {
  const struct lm_shape *s = &p->m->shape;
  int first, end, c = s->width;
  while (take(p, p->r->rows, 1, &first, &end)) {
    float *x = p->b->x + (size_t)first * (size_t)c;
    int position = p->r->position[first];
    size_t row_bytes = quant_bytes(p->m->embedding.type, (size_t)c);
    quant_dequantise(p->m->embedding.type, p->m->embedding.data + p->r->token[first] * row_bytes, (size_t)c, x);
    if (s->embed_scale != 1) p->m->kernel->scale((size_t)c, s->embed_scale, x);
    if (s->family == LM_BERT) {
      p->m->kernel->add((size_t)c, p->m->position + (size_t)position * (size_t)c, x);
      if (p->m->segment) p->m->kernel->add((size_t)c, p->m->segment, x);
      continue;
    }
    for (int i = 0; i < s->head / 2; i++) {
      float *a = p->b->angle + (size_t)first * (size_t)s->head + 2 * i, *l = p->b->angle_local + (size_t)first * (size_t)s->head + 2 * i;
      double w = (double)position * (double)p->m->frequency[i], v = (double)position * (double)p->m->frequency_local[i];
      a[0] = (float)cos(w), a[1] = (float)sin(w);
      if (s->family == LM_GEMMA3) l[0] = (float)cos(v), l[1] = (float)sin(v);
    }
  }
}

static void turn_head(const struct lm_shape *s, const float *angle, float *x) {
  int n = s->head / 2;
  for (int i = 0; i < n; i++) {
    float *a = s->rope_pairs ? x + 2 * i : x + i, *b = s->rope_pairs ? x + 2 * i + 1 : x + i + n;
    float u = *a, w = *b, c = angle[2 * i], d = angle[2 * i + 1];
    *a = u * c - w * d;
    *b = u * d + w * c;
  }
}

static bool is_local(const struct lm_shape *s, int l) { return s->window > 0 && (s->period == 1 || (l + 1) % s->period != 0); }

static void store(const struct lm *m, struct lm_cache *cache, int layer, int head, int position, const float *k, const float *v) {
  int d = m->shape.head;
  size_t at = ((size_t)layer * (size_t)m->shape.kv_heads + (size_t)head) * (size_t)cache->capacity * (size_t)d;
  size_t key = at + (size_t)(position / 16) * 16 * (size_t)d + (size_t)(position % 16), value = at + (size_t)position * (size_t)d;
  if (m->wide) {
    float *to = (float *)(void *)cache->k + key;
    for (int i = 0; i < d; i++) to[16 * i] = k[i];
    memcpy((float *)(void *)cache->v + value, v, (size_t)d * sizeof *v);
    return;
  }
  uint16_t *to = (uint16_t *)(void *)cache->k + key, half[1024];
  m->quant->to_half((size_t)d, k, half);
  for (int i = 0; i < d; i++) to[16 * i] = half[i];
  m->quant->to_half((size_t)d, v, (uint16_t *)(void *)cache->v + value);
}

/* q and k norms, rotation, and the new keys and values into the caches */
static void heads(struct pass *p, int layer) {
  const struct lm_shape *s = &p->m->shape;
  const struct lm_layer *y = &p->m->layer[layer];
  int n = s->heads + s->kv_heads, first, end, d = s->head;
  float normed[1024];
  const float *angles = s->family == LM_GEMMA3 && is_local(s, layer) ? p->b->angle_local : p->b->angle;
  while (take(p, p->r->rows * n, n > 8 ? n / 2 : n, &first, &end))
    for (int i = first; i < end; i++) {
      int row = i / n, h = i % n, kh = h - s->heads;
      const float *angle = angles + (size_t)row * (size_t)d, *gain = kh < 0 ? y->q_norm : y->k_norm;
      float *x = kh < 0 ? p->b->q + ((size_t)row * (size_t)s->heads + (size_t)h) * (size_t)d
                        : p->b->k + ((size_t)row * (size_t)s->kv_heads + (size_t)kh) * (size_t)d;
      if (gain) norm(p, x, gain, NULL, normed, d), memcpy(x, normed, (size_t)d * 4);
      if (s->family != LM_BERT) turn_head(s, angle, x);
      if (kh >= 0)
        store(p->m, p->r->cache[row], layer, kh, p->r->position[row], x,
              p->b->v + ((size_t)row * (size_t)s->kv_heads + (size_t)kh) * (size_t)d);
    }
}

/* One tile: up to 8 query rows of one sequence and one key head. */
static void attend_tile(struct pass *p, int layer, int row0, int rows_n, int head, int flat, int worker) {
  const struct lm_shape *s = &p->m->shape;
  int group = s->heads / s->kv_heads, d = s->head, n = rows_n * group - flat < 8 ? rows_n * group - flat : 8;
  struct lm_cache *cache = p->r->cache[row0];
  size_t at = ((size_t)layer * (size_t)s->kv_heads + (size_t)head) * (size_t)cache->capacity * (size_t)d * (p->m->wide ? 4 : 2);
  const float *q[8];
  float *out[8];
  for (int r = 0; r < n; r++) {
    size_t place = ((size_t)(row0 + (flat + r) / group) * (size_t)s->heads + (size_t)(head * group + (flat + r) % group)) * (size_t)d;
    q[r] = p->b->q + place;
    out[r] = p->b->att + place;
  }
  struct quant_attention a = {.rows = n,
                              .group = group,
                              .phase = flat % group,
                              .head = d,
                              .position = p->r->position[row0] + flat / group,
                              .keys = p->r->position[row0] + rows_n,
                              .window = is_local(s, layer) ? s->window : 0,
                              .full = s->family == LM_BERT,
                              .wide = p->m->wide,
                              .scale = s->query_scale,
                              .cap = s->attention_cap,
                              .q = q,
                              .out = out,
                              .k = cache->k + at,
                              .v = cache->v + at,
                              .scratch = p->b->scratch + (size_t)worker * p->b->scratch_each};
  p->m->quant->attention(&a);
}

/* rows of one sequence from `row` on */
static int run_of(const struct lm_rows *r, int row) {
  int n = 1;
  while (row + n < r->rows && r->cache[row + n] == r->cache[row]) n++;
  return n;
}

static void attend(struct pass *p, int layer, int worker) {
  const struct lm_shape *s = &p->m->shape;
  int group = s->heads / s->kv_heads, piece = 0, first, end, pieces = 0;
  for (int row = 0, n; row < p->r->rows; row += n) {
    n = run_of(p->r, row);
    pieces += (n * group + 7) / 8 * s->kv_heads;
  }
  bool have = take(p, pieces, 1, &first, &end);
  for (int row = 0, n; row < p->r->rows && have; row += n) {
    for (n = 1; row + n < p->r->rows && p->r->cache[row + n] == p->r->cache[row]; n++) {}
    for (int flat = 0; flat < n * group; flat += 8)
      for (int head = 0; head < s->kv_heads; head++, piece++) {
        if (piece != first) continue;
        attend_tile(p, layer, row, n, head, flat, worker);
        have = take(p, pieces, 1, &first, &end);
      }
  }
}

static void normed_input(struct pass *p, const float *gain, unsigned which) {
  int first, end, c = p->m->shape.width;
  while (take(p, p->r->rows, 1, &first, &end)) {
    norm(p, p->b->x + (size_t)first * (size_t)c, gain, NULL, p->b->h + (size_t)first * (size_t)c, c);
    quantise(p, which, p->b->h, c, first);
  }
}

static void quantised(struct pass *p, const float *x, int columns, unsigned which) {
  int first, end;
  while (take(p, p->r->rows, 1, &first, &end)) quantise(p, which, x, columns, first);
}

/* x += post(h), then the next norm */
static void residual(struct pass *p, const float *post, const float *gain, unsigned which) {
  int first, end, c = p->m->shape.width;
  float *t = NULL;
  while (take(p, p->r->rows, 1, &first, &end)) {
    float *x = p->b->x + (size_t)first * (size_t)c, *h = p->b->h + (size_t)first * (size_t)c;
    t = p->b->logit_in + (size_t)first * (size_t)c; /* free until the end */
    if (post) norm(p, h, post, NULL, t, c);
    p->m->kernel->add((size_t)c, post ? t : h, x);
    if (!gain) continue;
    norm(p, x, gain, NULL, h, c);
    quantise(p, which, p->b->h, c, first);
  }
}

/* BERT: x = norm(x + h) */
static void after_norm(struct pass *p, const float *add, const float *gain, const float *shift, unsigned which) {
  int first, end, c = p->m->shape.width;
  while (take(p, p->r->rows, 1, &first, &end)) {
    float *x = p->b->x + (size_t)first * (size_t)c, *y = p->b->att + (size_t)first * (size_t)c;
    if (add) p->m->kernel->add((size_t)c, add + (size_t)first * (size_t)c, x);
    norm(p, x, gain, shift, y, c);
    memcpy(x, y, (size_t)c * 4);
    quantise(p, which, p->b->x, c, first);
  }
}

static void activate(struct pass *p, const struct lm_layer *y) {
  const struct lm_shape *s = &p->m->shape;
  int first, end, f = s->ff;
  while (take(p, p->r->rows, 1, &first, &end)) {
    float *g = p->b->gate + (size_t)first * (size_t)f, *u = p->b->up + (size_t)first * (size_t)f,
          *t = p->b->gate + (size_t)first * (size_t)f;
    if (s->family == LM_BERT) {
      p->m->quant->gelu_erf((size_t)f, u); /* which BERT was trained with */
      memcpy(t, u, (size_t)f * 4);
    } else if (s->family == LM_GEMMA2 || s->family == LM_GEMMA3) {
      p->m->kernel->gelu_forward((size_t)f, g, g);
      p->m->kernel->mul((size_t)f, u, g);
    } else {
      float sig[256];
      for (int i = 0; i < f; i += 256) {
        size_t n = (size_t)(f - i < 256 ? f - i : 256);
        p->m->kernel->sigmoid(n, g + i, sig);
        p->m->kernel->mul(n, sig, g + i);
        p->m->kernel->mul(n, u + i, g + i);
      }
    }
    quantise(p, kinds(&y->down), p->b->gate, f, first);
  }
}

static void decoder_layer(struct pass *p, int l, const float *next_gain, unsigned next_kinds, int worker) {
  const struct lm_shape *s = &p->m->shape;
  const struct lm_layer *y = &p->m->layer[l];
  struct lm_buffers *b = p->b;
  int m = p->r->rows, qn = s->heads * s->head, kn = s->kv_heads * s->head, c = s->width;
  products(p, (struct target[]){{&y->q, b->q, qn}, {&y->k, b->k, kn}, {&y->v, b->v, kn}}, 3, b->h, c, m, worker);
  gate(p);
  heads(p, l);
  gate(p);
  attend(p, l, worker);
  gate(p);
  if (kinds(&y->o)) quantised(p, b->att, qn, kinds(&y->o)), gate(p);
  products(p, (struct target[]){{&y->o, b->h, c}}, 1, b->att, qn, m, worker);
  gate(p);
  residual(p, y->attention_post, y->ff_norm, kinds(&y->gate) | kinds(&y->up));
  gate(p);
  products(p, (struct target[]){{&y->gate, b->gate, s->ff}, {&y->up, b->up, s->ff}}, 2, b->h, c, m, worker);
  gate(p);
  activate(p, y);
  gate(p);
  products(p, (struct target[]){{&y->down, b->h, c}}, 1, b->gate, s->ff, m, worker);
  gate(p);
  residual(p, y->ff_post, next_gain, next_kinds);
  gate(p);
}

static void encoder_layer(struct pass *p, int l, unsigned next_kinds, int worker) {
  const struct lm_shape *s = &p->m->shape;
  const struct lm_layer *y = &p->m->layer[l];
  struct lm_buffers *b = p->b;
  int m = p->r->rows, c = s->width;
  products(p, (struct target[]){{&y->q, b->q, c}, {&y->k, b->k, c}, {&y->v, b->v, c}}, 3, b->x, c, m, worker);
  gate(p);
  heads(p, l);
  gate(p);
  attend(p, l, worker);
  gate(p);
  if (kinds(&y->o)) quantised(p, b->att, c, kinds(&y->o)), gate(p);
  products(p, (struct target[]){{&y->o, b->h, c}}, 1, b->att, c, m, worker);
  gate(p);
  after_norm(p, b->h, y->attention_norm, y->attention_shift, kinds(&y->up));
  gate(p);
  products(p, (struct target[]){{&y->up, b->up, s->ff}}, 1, b->x, c, m, worker);
  gate(p);
  activate(p, y);
  gate(p);
  products(p, (struct target[]){{&y->down, b->h, c}}, 1, b->gate, s->ff, m, worker);
  gate(p);
  after_norm(p, b->h, y->ff_norm, y->ff_shift, next_kinds);
  gate(p);
}

static unsigned input_kinds(const struct lm *m, int l) {
  return l < m->shape.layers ? kinds(&m->layer[l].q) | kinds(&m->layer[l].k) | kinds(&m->layer[l].v) : 0;
}

static void logits(struct pass *p, int worker) {
  const struct lm *m = p->m;
  int c = m->shape.width, n = p->r->logits, first, end, row = -1, at = -1;
  while (take(p, n, 1, &first, &end)) {
    while (at < first)
      if (p->r->wanted[++row]) at++;
    norm(p, p->b->x + (size_t)row * (size_t)c, m->output_norm, NULL, p->b->logit_in + (size_t)at * (size_t)c, c);
    quantise(p, kinds(&m->output), p->b->logit_in, c, at);
  }
  gate(p);
  products(p, (struct target[]){{&m->output, p->r->out, (int)m->shape.vocabulary}}, 1, p->b->logit_in, c, n, worker);
  gate(p);
  if (m->shape.logit_cap <= 0) return;
  while (take(p, n, 1, &first, &end))
    for (uint32_t i = 0; i < m->shape.vocabulary; i++) {
      float *y = p->r->out + (size_t)first * m->shape.vocabulary + i;
      *y = m->shape.logit_cap * tanhf(*y / m->shape.logit_cap);
    }
  gate(p);
}

static void last_states(struct pass *p) {
  int c = p->m->shape.width, first, end;
  while (take(p, p->r->rows, 1, &first, &end))
    norm(p, p->b->x + (size_t)first * (size_t)c, p->m->output_norm, NULL, p->r->states + (size_t)first * (size_t)c, c);
  gate(p);
}

static void pass_run(void *ctx, int worker, int workers) {
  struct pass own = *(const struct pass *)ctx, *p = &own;
  const struct lm *m = p->m;
  own.worker = worker;
  own.workers = workers;
  embed(p);
  gate(p);
  if (m->shape.family == LM_BERT) {
    after_norm(p, NULL, m->output_norm, m->output_shift, input_kinds(m, 0));
    gate(p);
    for (int l = 0; l < m->shape.layers; l++) encoder_layer(p, l, input_kinds(m, l + 1), worker);
    return;
  }
  normed_input(p, m->layer[0].attention_norm, input_kinds(m, 0));
  gate(p);
  for (int l = 0; l < m->shape.layers; l++)
    decoder_layer(p, l, l + 1 < m->shape.layers ? m->layer[l + 1].attention_norm : NULL, input_kinds(m, l + 1), worker);
  if (p->r->states) last_states(p);
  if (p->r->logits) logits(p, worker);
}

void lm_pass(const struct lm *m, struct lm_buffers *b, const struct lm_rows *rows) {
  struct pass p = {.m = m, .b = b, .r = rows, .stage = b->stages};
  BUG_IF(rows->rows < 1 || rows->rows > LM_ROWS);
  memset(b->stages, 0, (size_t)b->stages_n * sizeof *b->stages);
  pool_run(m->pool, pass_run, &p);
  if (m->shape.family == LM_BERT) memcpy(rows->out, b->x, (size_t)rows->rows * (size_t)m->shape.width * 4);
}

/* ---- memory ---- */

size_t lm_cache_bytes(const struct lm *m, int capacity) {
  return (size_t)m->shape.layers * (size_t)m->shape.kv_heads * (size_t)capacity * (size_t)m->shape.head * (m->wide ? 4 : 2);
}

struct laid { /* memory NULL: only counting */
  uint8_t *memory;
  size_t bytes;
};
static float *carve(struct laid *l, size_t floats) {
  float *p = l->memory ? (float *)(void *)(l->memory + l->bytes) : NULL;
  l->bytes += (floats * 4 + 63) / 64 * 64;
  return p;
}

static size_t lay_out(const struct lm *m, struct lm_buffers *b, uint8_t *memory) {
  const struct lm_shape *s = &m->shape;
  struct laid at = {memory, 0};
  size_t r = LM_ROWS, q = (size_t)(s->heads * s->head), kv = (size_t)(s->kv_heads * s->head), c = (size_t)s->width, f = (size_t)s->ff;
  size_t widest = q > c ? q : c;
  if (f > widest) widest = f;
  b->x = carve(&at, r * c), b->h = carve(&at, r * c), b->q = carve(&at, r * q), b->k = carve(&at, r * kv), b->v = carve(&at, r * kv);
  b->att = carve(&at, r * (q > c ? q : c)), b->gate = carve(&at, r * f), b->up = carve(&at, r * (f > c ? f : c)),
  b->logit_in = carve(&at, r * c);
  b->angle = carve(&at, r * (size_t)s->head), b->angle_local = carve(&at, r * (size_t)s->head);
  for (int k = 0; k < KINDS; k++) {
    void *p = carve(&at, quant_activations_bytes(LM_ROWS, widest) / 4 + 16);
    if (p) quant_activations_place(&b->in[k], LM_ROWS, widest, p);
  }
  if (s->family == LM_BERT && m->quant->word_product) {
    size_t blocks = r * word_blocks((int)widest);
    b->words = (int16_t *)(void *)carve(&at, blocks * WORD_BLOCK / 2);
    b->word_scale = carve(&at, blocks);
  }
  size_t attention = quant_attention_scratch(m->context), unpacked = m->kernel->gemm_scratch + 64 * widest;
  b->scratch_each = ((attention > unpacked ? attention : unpacked) + 15) / 16 * 16;
  b->scratch = carve(&at, b->scratch_each * (size_t)pool_size(m->pool));
  b->stages_n = 12 * s->layers + 8; /* more than a pass has */
  b->stages = (struct stage *)(void *)carve(&at, (size_t)b->stages_n * sizeof(struct stage) / 4);
  return at.bytes;
}

int lm_buffers_new(const struct lm *m, struct lm_buffers **out, struct error *e) {
  struct lm_buffers *b = mem_alloc(sizeof *b);
  *out = NULL;
  if (!b) return error_set(e, E_NOMEM, "no memory for a model's buffers");
  *b = (struct lm_buffers){0};
  b->bytes = lay_out(m, b, NULL);
  b->memory = mem_alloc_aligned(b->bytes);
  if (!b->memory) {
    mem_free(b);
    return error_set(e, E_NOMEM, "no memory for a model's buffers");
  }
  lay_out(m, b, b->memory);
  *out = b;
  return OK;
}

void lm_buffers_free(struct lm_buffers *b) {
  if (!b) return;
  mem_free_aligned(b->memory, b->bytes);
  mem_free(b);
}
