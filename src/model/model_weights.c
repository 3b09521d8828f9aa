/* The parameter table (names in FORMAT.md), its initialisation, and a model's life. */
#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "model/model_cache.h"
#include "model/task_trees.h"
#include "token/token.h"

static int add(struct model *m, ptrdiff_t *at, const char *name, int rows, int cols, bool decay, enum tensor_init init, double sd,
               struct error *e) {
  if (m->tensors == m->tensor_cap) {
    int cap = m->tensor_cap ? 2 * m->tensor_cap : 64;
    struct tensor *p = mem_realloc(m->tensor, (size_t)cap * sizeof *p);
    if (!p) return error_set(e, E_NOMEM, "no memory for the parameter table");
    m->tensor = p;
    m->tensor_cap = cap;
  }
  struct tensor *t = &m->tensor[m->tensors++];
  *t = (struct tensor){
      .at = m->floats, .n = (size_t)rows * (size_t)cols, .rows = rows, .cols = cols, .decay = decay, .init = init, .sd = (float)sd};
  snprintf(t->name, sizeof t->name, "%s", name);
  *at = (ptrdiff_t)m->floats;
  m->floats += (t->n + 15) & ~(size_t)15; /* every tensor begins on a cache line */
  return OK;
}

static int add_block(struct model *m, int l, struct error *e) {
  const struct model_config *c = &m->config;
  struct model_block *b = &m->block[l];
  char name[96];
  double residual = 1 / sqrt(2.0 * c->layers);
  int hd = head_size(c);
  b->norm1_shift = b->norm2_shift = b->qkv_bias = b->out_bias = b->up_bias = b->down_bias = b->q_norm = b->k_norm = ABSENT;
  bool shift = c->norm == MODEL_NORM_LAYER && c->bias;
#define ADD(field, suffix, rows, cols, decay, init, sd)                     \
  do {                                                                      \
    snprintf(name, sizeof name, "block.%d." suffix, l);                     \
    TRY(add(m, &b->field, name, (rows), (cols), (decay), (init), (sd), e)); \
  } while (0)
  ADD(norm1_gain, "norm1.gain", 1, c->d, false, INIT_ONE, 0);
  if (shift) ADD(norm1_shift, "norm1.shift", 1, c->d, false, INIT_ZERO, 0);
  ADD(qkv, "qkv.weight", qkv_width(c), c->d, true, INIT_NORMAL, 0.6 / sqrt(c->d));
  if (c->bias) ADD(qkv_bias, "qkv.bias", 1, qkv_width(c), false, INIT_ZERO, 0);
  if (c->qk_norm) ADD(q_norm, "q_norm.gain", 1, hd, false, INIT_ONE, 0);
  if (c->qk_norm) ADD(k_norm, "k_norm.gain", 1, hd, false, INIT_ONE, 0);
  ADD(out, "out.weight", c->d, c->heads * hd, true, INIT_NORMAL, 0.6 * residual / sqrt(c->d));
  if (c->bias) ADD(out_bias, "out.bias", 1, c->d, false, INIT_ZERO, 0);
  ADD(norm2_gain, "norm2.gain", 1, c->d, false, INIT_ONE, 0);
  if (shift) ADD(norm2_shift, "norm2.shift", 1, c->d, false, INIT_ZERO, 0);
  ADD(up, "up.weight", up_width(c), c->d, true, INIT_NORMAL, 0.6 / sqrt(c->d));
  if (c->bias) ADD(up_bias, "up.bias", 1, up_width(c), false, INIT_ZERO, 0);
  ADD(down, "down.weight", c->d, c->ff, true, INIT_NORMAL, 0.6 * residual / sqrt(c->ff));
  if (c->bias) ADD(down_bias, "down.bias", 1, c->d, false, INIT_ZERO, 0);
#undef ADD
  return OK;
}

static int add_embedder(struct model *m, struct error *e) {
  const struct model_config *c = &m->config;
  m->position = ABSENT;
  TRY(add(m, &m->table, "embed.table", (int)c->rows, c->d, false, INIT_TABLE, c->tied ? 0.03 : 0.3, e));
  TRY(add(m, &m->time, "embed.time.weight", c->d, TOKEN_TIME_FEATURES, true, INIT_NORMAL, 0.1, e));
  TRY(add(m, &m->moment, "embed.moment", 1, c->d, false, INIT_NORMAL, 0.1, e));
  if (c->position == POSITION_LEARNED) TRY(add(m, &m->position, "embed.position", c->context, c->d, false, INIT_NORMAL, 0.02, e));
  return OK;
}

static int add_heads(struct model *m, struct error *e) {
  const struct model_config *c = &m->config;
  m->rates = m->table; /* tied: the code rows of the table */
  if (!c->tied) TRY(add(m, &m->rates, "rates.weight", (int)c->codes, c->d, true, INIT_NORMAL, 0.02, e));
  TRY(add(m, &m->rates_bias, "rates.bias", 1, (int)c->codes, false, INIT_RATE_BIAS, 0, e));
  TRY(add(m, &m->rates_shift, "rates.shift", 1, c->d, true, INIT_ZERO, 0, e));
  TRY(add(m, &m->value, "value.weight", c->d, c->d, true, INIT_NORMAL, 0.02, e));
  m->hazard = m->hazard_outcome = m->hazard_bias = ABSENT;
  if (c->outcomes == 0) return OK;
  bool corrects = c->hazard_rates; /* a correction of nothing, to begin with */
  TRY(add(m, &m->hazard, "hazard.weight", HAZARD_BINS * c->hazard_rank, c->d, true, corrects ? INIT_ZERO : INIT_NORMAL, 0.02, e));
  TRY(add(m, &m->hazard_outcome, "hazard.outcome", (int)c->outcomes, c->hazard_rank, true, INIT_NORMAL, 1 / sqrt(c->hazard_rank), e));
  return add(m, &m->hazard_bias, "hazard.bias", HAZARD_BINS, (int)c->outcomes, false, corrects ? INIT_TOGETHER : INIT_HAZARD_BIAS, 0, e);
}

int model_table(struct model *m, const char (*task_name)[MODEL_TASK_NAME], int tasks, struct error *e) {
  const struct model_config *c = &m->config;
  m->block = mem_alloc((size_t)c->layers * sizeof *m->block);
  if (!m->block) return error_set(e, E_NOMEM, "no memory for the parameter table");
  TRY(add_embedder(m, e));
  for (int l = 0; l < c->layers; l++) TRY(add_block(m, l, e));
  m->norm_shift = ABSENT;
  TRY(add(m, &m->norm_gain, "norm.gain", 1, c->d, false, INIT_ONE, 0, e));
  if (c->norm == MODEL_NORM_LAYER && c->bias) TRY(add(m, &m->norm_shift, "norm.shift", 1, c->d, false, INIT_ZERO, 0, e));
  TRY(add_heads(m, e));
  if (tasks == 0) return OK;
  m->task = mem_alloc((size_t)tasks * sizeof *m->task);
  if (!m->task) return error_set(e, E_NOMEM, "no memory for the task heads");
  memset(m->task, 0, (size_t)tasks * sizeof *m->task);
  for (m->tasks = 0; m->tasks < tasks; m->tasks++) {
    struct model_task *t = &m->task[m->tasks];
    char name[96];
    if (!task_name_ok(task_name[m->tasks]))
      return error_set(e, E_USAGE, "a task's name may hold letters, digits, dot, dash and underscore only");
    snprintf(t->name, sizeof t->name, "%s", task_name[m->tasks]);
    t->blend_deep = 1;
    snprintf(name, sizeof name, "task.%s.weight", t->name);
    TRY(add(m, &t->weight, name, 1, 2 * c->d, true, INIT_ZERO, 0, e));
    snprintf(name, sizeof name, "task.%s.bias", t->name);
    TRY(add(m, &t->bias, name, 1, 1, false, INIT_ZERO, 0, e));
  }
  return OK;
}

static void normal(struct rng *r, float *w, size_t n, float sd) {
  for (size_t i = 0; i < n; i++) w[i] = sd * (float)rng_normal(r);
}

/* Knot rows start on a line through the code's own random direction: a value means "more" or "less" before anything is learned. */
static void init_table(struct model *m, const struct tensor *t, struct rng *r, float *w) {
  size_t d = (size_t)t->cols;
  normal(r, w, t->n, t->sd);
  for (uint32_t c = 0; c < m->config.codes; c++) {
    int k = m->knots[c];
    if (k < 2) continue;
    float *row = w + m->knot_row[c] * d;
    for (size_t i = 0; i < d; i++) {
      float direction = row[i];
      for (int j = 0; j < k; j++)
        row[(size_t)j * d + i] = direction * (2.0f * (float)j / (float)(k - 1) - 1.0f) + 0.2f * row[(size_t)j * d + i];
    }
  }
}

static void init_bias(const struct model *m, const struct tensor *t, float *w) {
  for (int i = 0; i < t->cols; i++) {
    float rate = -8.0f;
    if (m->vocabulary) {
      uint32_t code = t->init == INIT_RATE_BIAS ? (uint32_t)i : vocabulary_outcome_code(m->vocabulary, (uint32_t)i);
      rate = vocabulary_at(m->vocabulary, code)->log_rate;
    }
    if (!isfinite(rate)) rate = -16.0f;
    rate = fminf(fmaxf(rate, -16.0f), 8.0f);
    for (int b = 0; b < t->rows; b++) w[(size_t)b * (size_t)t->cols + (size_t)i] = rate;
  }
}

/* An instant of m codes is one target, shared by them: a code in such instants comes m times as often as its rate says (predict_law.h). */
static void init_together(const struct model *m, const struct tensor *t, float *w) {
  for (int o = 0; o < t->cols && m->vocabulary; o++)
    for (int b = 0; b < t->rows; b++)
      w[(size_t)b * (size_t)t->cols + (size_t)o] = logf(fmaxf(vocabulary_at(m->vocabulary, m->outcome_code[o])->together, 1));
}

static void init_weights(struct model *m, uint64_t seed) {
  for (int i = 0; i < m->tensors; i++) {
    const struct tensor *t = &m->tensor[i];
    float *w = m->weight + t->at;
    struct rng r;
    rng_init(&r, seed, 0x100000 + (uint64_t)i);
    switch (t->init) {
      case INIT_ZERO: break;
      case INIT_ONE:
        for (size_t k = 0; k < t->n; k++) w[k] = 1.0f;
        break;
      case INIT_NORMAL: normal(&r, w, t->n, t->sd); break;
      case INIT_TABLE: init_table(m, t, &r, w); break;
      case INIT_RATE_BIAS:
      case INIT_HAZARD_BIAS: init_bias(m, t, w); break;
      case INIT_TOGETHER: init_together(m, t, w); break;
    }
  }
}

static int take_knots(struct model *m, struct error *e) {
  size_t n = m->config.codes;
  m->knot_row = mem_alloc(n * sizeof *m->knot_row);
  m->knots = mem_alloc(n);
  m->outcome_code = mem_alloc(((size_t)m->config.outcomes + 1) * sizeof *m->outcome_code);
  if (!m->knot_row || !m->knots || !m->outcome_code) return error_set(e, E_NOMEM, "no memory for the value head");
  for (uint32_t o = 0; o < m->config.outcomes; o++) m->outcome_code[o] = m->vocabulary ? vocabulary_outcome_code(m->vocabulary, o) : o;
  memset(m->knot_row, 0, n * sizeof *m->knot_row);
  memset(m->knots, 0, n);
  for (uint32_t c = 0; m->vocabulary && c < n; c++) {
    const struct vocabulary_entry *v = vocabulary_at(m->vocabulary, c);
    if (v->knots < 2) continue;
    if (v->knots > TOKEN_KNOTS || v->knot_row > m->config.rows || (uint32_t)v->knots > m->config.rows - v->knot_row)
      return error_set(e, E_CORRUPT, "vocabulary: knots outside the embedding table");
    m->knot_row[c] = v->knot_row;
    m->knots[c] = (uint8_t)v->knots;
  }
  return OK;
}

int model_build(const struct model_config *c, const struct vocabulary *v, const char (*task_name)[MODEL_TASK_NAME], int tasks,
                uint64_t seed, struct model **out, struct error *e) {
  *out = NULL;
  struct model *m = mem_alloc(sizeof *m);
  if (!m) return error_set(e, E_NOMEM, "no memory for a model");
  *m = (struct model){.config = *c};
  int rc = OK;
  if (v) {
    m->vocabulary = (struct vocabulary *)(uintptr_t)v; /* borrowed: never freed or changed unless owns_vocabulary */
    m->config.codes = vocabulary_codes(v);
    m->config.rows = vocabulary_rows(v);
    m->config.outcomes = vocabulary_outcomes(v);
    snprintf(m->config.vocabulary_hash, sizeof m->config.vocabulary_hash, "%s", vocabulary_hash(v));
  }
  TRY_OUT(model_config_check(&m->config, e));
  m->kernel = kernel_pick(KERNEL_AUTO, KERNEL_F32);
  TRY_OUT(take_knots(m, e));
  TRY_OUT(model_table(m, task_name, tasks, e));
  m->weight = mem_alloc_aligned(m->floats * sizeof(float));
  if (!m->weight) TRY_OUT(error_set(e, E_NOMEM, "no memory for %zu parameters", m->floats));
  init_weights(m, seed);
  *out = m;
  return OK;
out:
  model_free(m);
  return rc;
}

int model_new(const struct model_config *c, const struct vocabulary *v, uint64_t seed, struct model **out, struct error *e) {
  return model_build(c, v, NULL, 0, seed, out, e);
}

void model_task_release(struct model_task *t) {
  mem_free(t->text);
  mem_free(t->wide);
  if (t->features) feature_set_free(t->features);
  trees_free(t->trees);
  t->text = NULL, t->wide = NULL, t->features = NULL, t->trees = NULL;
}

void model_free(struct model *m) {
  if (!m) return;
  for (int i = 0; m->task && i < m->tasks; i++) model_task_release(&m->task[i]);
  model_pack_free(m);
  model_quant_free(m->quant);
  if (m->weight) mem_free_aligned(m->weight, m->floats * sizeof(float));
  if (m->owns_vocabulary) vocabulary_free(m->vocabulary);
  mem_free(m->task);
  mem_free(m->tensor);
  mem_free(m->block);
  mem_free(m->knot_row);
  mem_free(m->knots);
  mem_free(m->outcome_code);
  mem_free(m->uncertainty);
  mem_free(m);
}

const struct model_config *model_config(const struct model *m) { return &m->config; }
const struct vocabulary *model_vocabulary(const struct model *m) { return m->vocabulary; }
void model_set_kernel(struct model *m, const struct kernel *k) { m->kernel = k; }

uint64_t model_parameters(const struct model *m) {
  uint64_t n = 0;
  for (int i = 0; i < m->tensors; i++) n += m->tensor[i].n;
  return n;
}

const struct tensor *model_tensor(const struct model *m, const char *name) {
  for (int i = 0; i < m->tensors; i++)
    if (strcmp(m->tensor[i].name, name) == 0) return &m->tensor[i];
  return NULL;
}

int model_copy_weights(struct model *to, const struct model *from) {
  int n = 0;
  for (int i = 0; i < to->tensors; i++) {
    const struct tensor *t = &to->tensor[i], *f = model_tensor(from, t->name);
    if (!f || f->rows != t->rows || f->cols != t->cols) continue;
    memcpy(to->weight + t->at, from->weight + f->at, t->n * sizeof(float));
    n++;
  }
  return n;
}
