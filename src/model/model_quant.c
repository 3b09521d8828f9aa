/* The trunk's matrices in eight bits, for decoding and for the passes of a model that answers: one scale for a row of weights and one for a row
 * of activations, in between whole numbers (kernel/quant.h); where bytes are not multiplied faster, 13 bits. Embedder, norms, attention, residual sums and heads
 * stay as they are, but for the codes' rates in decoding: 13 bits (model_quant_rates). */
#include <math.h>

#include "kernel/quant.h"
#include "model/model_cache.h"

struct quant_linear {
  ptrdiff_t at;
  int in, out;
  struct byte_matrix matrix;
  struct word_matrix words; /* instead, where `by_words` */
};
struct model_quant {
  const struct quant_kernel *kernel;
  const struct kernel *of; /* the model's column when it was made */
  struct quant_linear *linear;
  int linears, widest;
  bool lanes, by_words;
  struct word_matrix rates; /* of the codes, in 13 bits: only for decoding; packed NULL: not */
  uint8_t *memory;
  size_t bytes;
};

/* Where it is faster: columns without a matrix unit. AVX2 takes as many instructions for a sum of bytes as for one of floats, but not for one of words. The
 * reference has it for the tests. */
static const struct quant_kernel *units_of(const struct kernel *k) {
  static const char *const pair[][2] = {{"ref", "ref"},       {"avx2", "avx2"},         {"avx2words", "avx2"},
                                        {"avx512", "avx512"}, {"avx512vnni", "avx512"}, {"avx512bf16", "avx512"}};
  for (size_t i = 0; i < sizeof pair / sizeof *pair && !k->device; i++)
    if (str_eqc(str_c(k->name), pair[i][0])) return quant_pick(pair[i][1]);
  return NULL;
}

static size_t matrix_bytes(const struct model_quant *q, const struct quant_linear *l) {
  return ((q->by_words ? word_matrix_bytes(l->out, l->in) : byte_matrix_bytes(l->out, l->in)) + 63) / 64 * 64;
}

/* Which matrices, and the bytes that they take */
static size_t quant_table(const struct model *m, struct model_quant *q) {
  const struct model_config *c = &m->config;
  size_t bytes = 0;
  for (int l = 0; l < c->layers; l++) {
    const struct model_block *b = &m->block[l];
    const struct quant_linear one[4] = {{.at = b->qkv, .in = c->d, .out = qkv_width(c)},
                                        {.at = b->out, .in = c->d, .out = c->d},
                                        {.at = b->up, .in = c->d, .out = up_width(c)},
                                        {.at = b->down, .in = c->ff, .out = c->d}};
    for (int i = 0; i < 4; i++) {
      q->linear[q->linears++] = one[i];
      bytes += matrix_bytes(q, &one[i]);
      if (one[i].in > q->widest) q->widest = one[i].in;
    }
  }
  return bytes;
}

/* Queries, keys, values and attention's output in the order (head size, heads), as the cache has them, where nothing looks at heads but attention */
static bool in_lanes(const struct model_config *c) {
  return c->kv_heads > 8 && c->heads == c->kv_heads && !c->qk_norm && !c->bias && c->position != POSITION_ROPE_INDEX &&
         c->position != POSITION_ROPE_TIME;
}

/* to: qkv's rows, or out's columns (which = 1), in that order */
static void reorder(const struct model_config *c, const float *from, int which, float *to) {
  size_t d = (size_t)c->d, hd = (size_t)head_size(c), heads = (size_t)c->heads;
  for (size_t r = 0; r < (which ? d : 3 * d); r++)
    for (size_t i = 0; i < hd; i++)
      for (size_t h = 0; h < heads && which; h++) to[r * d + i * heads + h] = from[r * d + h * hd + i];
  for (size_t r = 0; r < 3 * d && !which; r++)
    memcpy(to + r * d, from + (r / d * d + r % d % heads * hd + r % d / heads) * d, d * sizeof *to);
}

static bool all_finite(const float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return false;
  return true;
}

/* false: the weights are not all finite numbers */
static bool matrix_pack(const struct model_quant *q, struct quant_linear *l, const float *weight, void *memory) {
  if (!q->by_words) return byte_matrix_pack(weight, l->out, l->in, memory, &l->matrix);
  l->words = (struct word_matrix){.rows = l->out, .columns = l->in, .packed = memory};
  word_matrix_pack(&l->words, QUANT_F32, (const uint8_t *)weight, memory, 0, (l->out + 15) / 16);
  return all_finite(weight, (size_t)l->out * (size_t)l->in);
}

int model_quant_new(const struct model *m, bool decodes, struct model_quant **out, struct error *e) {
  *out = NULL;
  const struct quant_kernel *kernel = units_of(m->kernel);
  if (!kernel) return OK;
  struct model_quant *q = mem_alloc(sizeof *q);
  if (!q) return error_set(e, E_NOMEM, "no memory for weights of eight bits");
  *q = (struct model_quant){.kernel = kernel,
                            .of = m->kernel,
                            .by_words = !kernel->byte_product,
                            .linear = mem_alloc((size_t)m->config.layers * 4 * sizeof *q->linear)};
  size_t trunk = q->linear ? quant_table(m, q) : 0, codes = m->config.codes;
  q->rates = (struct word_matrix){.rows = (int)codes, .columns = m->config.d};
  bool words = decodes && kernel->word_product && codes;
  q->bytes = trunk + (words ? word_matrix_bytes((int)codes, m->config.d) : 0);
  q->memory = q->linear ? mem_alloc_aligned(q->bytes) : NULL;
  if (!q->memory) {
    model_quant_free(q);
    return error_set(e, E_NOMEM, "no memory for weights of eight bits");
  }
  q->lanes = decodes && in_lanes(&m->config);
  float *other = q->lanes ? mem_alloc(3 * (size_t)m->config.d * (size_t)m->config.d * sizeof *other) : NULL;
  uint8_t *at = q->memory;
  bool numbers = !q->lanes || other;
  for (int i = 0; i < q->linears && numbers; at += matrix_bytes(q, &q->linear[i++])) {
    struct quant_linear *l = &q->linear[i];
    bool moved = q->lanes && i % 4 < 2; /* as quant_table has them */
    if (moved) reorder(&m->config, m->weight + l->at, i % 4, other);
    numbers = matrix_pack(q, l, moved ? other : m->weight + l->at, at);
  }
  if (words && numbers) {
    word_matrix_pack(&q->rates, QUANT_F32, (const uint8_t *)(m->weight + m->rates), q->memory + trunk, 0, ((int)codes + 15) / 16);
    q->rates.packed = q->memory + trunk;
  }
  int rc = q->lanes && !other ? error_set(e, E_NOMEM, "no memory for weights of eight bits") : OK;
  mem_free(other);
  if (numbers)
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

bool model_quant_lanes(const struct model_quant *q) { return q && q->lanes; }

size_t model_quant_row(int widest) {
  size_t words = word_blocks(widest) * (WORD_BLOCK * sizeof(int16_t) + sizeof(float)), bytes = byte_columns(widest) + sizeof(float);
  return words > bytes ? words : bytes;
}
size_t model_quant_scratch(const struct model_quant *q, int rows) { return q ? (size_t)rows * model_quant_row(q->widest) : 0; }

static void product_of(const struct model *m, const struct model_quant *q, const struct quant_linear *l, void *scratch, int rows,
                       const float *x, float *gelu, ptrdiff_t bias, float *y) {
  float *scale = scratch;
  if (q->by_words) {
    int16_t *words = (int16_t *)(void *)(scale + (size_t)rows * word_blocks(l->in));
    if (gelu) m->kernel->gelu_forward((size_t)rows * (size_t)l->in, gelu, gelu);
    q->kernel->to_words(rows, l->in, gelu ? gelu : x, words, scale);
    q->kernel->word_product(&l->words, 0, (l->out + 15) / 16, rows, words, scale, weight_at(m, bias), y, (size_t)l->out);
    return;
  }
  uint8_t *bytes = (uint8_t *)(scale + rows);
  if (gelu)
    q->kernel->gelu_to_bytes(rows, l->in, gelu, bytes, scale);
  else
    q->kernel->to_bytes(rows, l->in, x, bytes, scale);
  q->kernel->byte_product(&l->matrix, rows, bytes, scale, weight_at(m, bias), y);
}

bool model_quant_linear(const struct model *m, const struct model_quant *q, void *scratch, int rows, int in, int out, const float *x,
                        ptrdiff_t weight, ptrdiff_t bias, float *y) {
  const struct quant_linear *l = q->linear, *end = l + q->linears;
  while (l < end && l->at != weight) l++;
  if (l == end || l->in != in || l->out != out || q->of != m->kernel) return false;
  product_of(m, q, l, scratch, rows, x, NULL, bias, y);
  return true;
}

void model_quant_down(const struct model *m, const struct model_quant *q, void *scratch, int rows, int l, float *up, float *y) {
  product_of(m, q, &q->linear[4 * l + 3], scratch, rows, NULL, up, m->block[l].down_bias, y);
}

bool model_quant_rates(const struct model *m, const struct model_quant *q, float *scratch, int rows, const float *hidden, float *log_rate) {
  const struct word_matrix *r = &q->rates;
  size_t blocks = word_blocks(r->columns), each = blocks * (1 + WORD_BLOCK / 2);
  int most = (int)(m->kernel->gemm_scratch / each);
  if (!r->packed || q->of != m->kernel || !most) return false;
  for (int from = 0, some; from < rows; from += some) {
    some = rows - from < most ? rows - from : most;
    float *scale = scratch + (size_t)some * blocks * (WORD_BLOCK / 2);
    int16_t *words = (int16_t *)(void *)scratch;
    q->kernel->to_words(some, r->columns, hidden + (size_t)from * (size_t)r->columns, words, scale);
    q->kernel->word_product(r, 0, (r->rows + 15) / 16, some, words, scale, weight_at(m, m->rates_bias),
                            log_rate + (size_t)from * (size_t)r->rows, (size_t)r->rows);
  }
  return true;
}
