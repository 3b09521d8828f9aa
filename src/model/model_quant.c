/* The trunk's matrices in eight bits, for decoding: as blocks of 32 weights with one scale (the layout that GGUF calls Q8_0), times rows quantised
 * in the same way, in whole numbers (kernel/quant.h). Embedder, norms, attention, residual sums and heads stay as they are. */
#include <math.h>

#include "kernel/quant.h"
#include "model/model_cache.h"

struct quant_linear {
  ptrdiff_t at;
  int in, out;
  struct quant_matrix matrix;
};
struct model_quant {
  const struct quant_kernel *kernel;
  struct quant_linear *linear;
  int linears, widest; /* widest: columns in whole blocks */
  uint8_t *memory;
  size_t bytes;
};

static int whole_blocks(int n) { return (n + QUANT_BLOCK - 1) / QUANT_BLOCK * QUANT_BLOCK; }

/* Where it is faster: columns with VNNI and no matrix unit. AVX2 takes as many instructions for a sum of bytes as for one of floats. The reference
 * has it for the tests. */
static const struct quant_kernel *units_of(const struct kernel *k) {
  static const char *const pair[][2] = {{"ref", "ref"}, {"avx512", "avx512"}, {"avx512bf16", "avx512"}};
  for (size_t i = 0; i < sizeof pair / sizeof *pair && !k->device; i++)
    if (str_eqc(str_c(k->name), pair[i][0])) return quant_pick(pair[i][1]);
  return NULL;
}

/* One block as the file would hold it. The quants are taken by the scale as it is kept. false: not numbers, or beyond the scale */
static bool block_write(const float *x, int n, uint8_t *to) {
  float most = 0;
  for (int i = 0; i < n; i++) {
    if (!isfinite(x[i])) return false;
    most = fmaxf(most, fabsf(x[i]));
  }
  uint16_t half = quant_to_half(most / 127.0f);
  float scale = quant_half(half), inverse = scale > 0 ? 1 / scale : 0;
  memcpy(to, &half, sizeof half);
  for (int i = 0; i < QUANT_BLOCK; i++) {
    float q = i < n ? rintf(x[i] * inverse) : 0;
    to[2 + i] = (uint8_t)(int8_t)fmaxf(-127, fminf(127, q));
  }
  return isfinite(scale);
}

static bool linear_write(const struct model *m, const struct quant_linear *l, uint8_t *to) {
  size_t block = quant_bytes(QUANT_Q8_0, QUANT_BLOCK);
  for (int row = 0; row < l->out; row++)
    for (int i = 0; i < l->in; i += QUANT_BLOCK, to += block) {
      int n = l->in - i < QUANT_BLOCK ? l->in - i : QUANT_BLOCK;
      if (!block_write(m->weight + l->at + (ptrdiff_t)row * l->in + i, n, to)) return false;
    }
  return true;
}

/* Which matrices, and the bytes that they take; *file: of the largest as a file holds it */
static size_t quant_table(const struct model *m, struct model_quant *q, size_t *file) {
  const struct model_config *c = &m->config;
  size_t bytes = 0;
  *file = 0;
  for (int l = 0; l < c->layers; l++) {
    const struct model_block *b = &m->block[l];
    const struct quant_linear one[4] = {
        {b->qkv, c->d, qkv_width(c), {0}}, {b->out, c->d, c->d, {0}}, {b->up, c->d, up_width(c), {0}}, {b->down, c->ff, c->d, {0}}};
    for (int i = 0; i < 4; i++) {
      struct quant_linear *x = &q->linear[q->linears++];
      int columns = whole_blocks(one[i].in);
      size_t raw = (size_t)one[i].out * quant_bytes(QUANT_Q8_0, (size_t)columns);
      *x = one[i];
      bytes += (quant_plan(QUANT_Q8_0, x->out, columns, &x->matrix) + 63) / 64 * 64;
      if (columns > q->widest) q->widest = columns;
      if (raw > *file) *file = raw;
    }
  }
  return bytes;
}

int model_quant_new(const struct model *m, struct model_quant **out, struct error *e) {
  *out = NULL;
  const struct quant_kernel *kernel = units_of(m->kernel);
  if (!kernel) return OK;
  struct model_quant *q = mem_alloc(sizeof *q);
  if (!q) return error_set(e, E_NOMEM, "no memory for a decoder");
  *q = (struct model_quant){.kernel = kernel, .linear = mem_alloc((size_t)m->config.layers * 4 * sizeof *q->linear)};
  size_t most = 0, at = 0;
  if (q->linear) q->bytes = quant_table(m, q, &most);
  q->memory = q->linear ? mem_alloc_aligned(q->bytes) : NULL;
  uint8_t *file = mem_alloc(most + 1);
  int rc = q->memory && file ? OK : error_set(e, E_NOMEM, "no memory for a decoder");
  bool numbers = true;
  for (int i = 0; rc == OK && numbers && i < q->linears; i++) {
    struct quant_matrix *w = &q->linear[i].matrix;
    numbers = linear_write(m, &q->linear[i], file);
    quant_pack(w, file, q->memory + at, 0, quant_groups(w));
    at += (quant_plan(QUANT_Q8_0, w->rows, w->columns, &(struct quant_matrix){0}) + 63) / 64 * 64;
  }
  mem_free(file);
  if (rc == OK && numbers)
    *out = q;
  else
    model_quant_free(q);
  return rc;
}

void model_quant_free(struct model_quant *q) {
  if (!q) return;
  mem_free(q->linear);
  if (q->memory) mem_free_aligned(q->memory, q->bytes);
  mem_free(q);
}

size_t model_quant_scratch(const struct model_quant *q, int rows) {
  return q ? (size_t)rows * (size_t)q->widest * sizeof(float) + quant_activations_bytes(rows, (size_t)q->widest) + 64 : 0;
}

bool model_quant_linear(const struct model *m, const struct model_quant *q, void *scratch, int rows, int in, int out, const float *x,
                        ptrdiff_t weight, ptrdiff_t bias, float *y) {
  const struct quant_linear *l = q->linear, *end = l + q->linears;
  while (l < end && l->at != weight) l++;
  if (l == end) return false;
  int columns = l->matrix.columns;
  struct quant_activations a;
  if (columns != in) { /* whole blocks: what follows a row must not decide its scales */
    float *padded = scratch;
    scratch = padded + (size_t)rows * (size_t)columns;
    for (int r = 0; r < rows; r++) {
      memcpy(padded + (size_t)r * (size_t)columns, x + (size_t)r * (size_t)in, (size_t)in * sizeof *x);
      memset(padded + (size_t)r * (size_t)columns + in, 0, (size_t)(columns - in) * sizeof *x);
    }
    x = padded;
  }
  quant_activations_place(&a, rows, (size_t)columns, scratch);
  q->kernel->activations(l->matrix.activation, rows, columns, x, (size_t)columns, &a);
  q->kernel->product(&l->matrix, 0, quant_groups(&l->matrix), &a, rows, y, (size_t)out);
  for (int r = 0; bias >= 0 && r < rows; r++) m->kernel->add((size_t)out, m->weight + bias, y + (size_t)r * (size_t)out);
  return true;
}
