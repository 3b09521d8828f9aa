/* The heads: what they answer, and the full training loss with its gradient.
 *
 * Rates: log rate of code v at a position = h W_v + b_v + s(h); s is a shift common to all codes, so that "when" can be learned
 * without disturbing "what". Cross-entropy over the set of codes of the next instant (mean over the set), and the waiting time to it:
 * -(L - exp(L) dt) with L = log of the summed rates. exp is continued linearly far above 1, which bounds the gradient: gaps range
 * from minutes to years, and a model just begun is off by factors of thousands. A life's last position only survives.
 */
#include <math.h>

#include "base/random.h"
#include "base/time.h"
#include "model/model_hazard.h"
#include "token/token.h"

#define LINEAR_FROM 3.0 /* exp(u) for u <= this, then its tangent */

static double soft_exp(double u, double *slope) {
  double top = 20.085536923187668; /* exp(LINEAR_FROM) */
  *slope = u <= LINEAR_FROM ? exp(u) : top;
  return u <= LINEAR_FROM ? *slope : top * (1 + u - LINEAR_FROM);
}

/* ---- rates ---- */

static void rates_rows(const struct model *m, float *scratch, int rows, const float *hidden, float *out) {
  const struct model_config *c = &m->config;
  m->kernel->gemm(&(struct gemm){.m = rows,
                                 .n = (int)c->codes,
                                 .k = c->d,
                                 .tb = true,
                                 .a = hidden,
                                 .lda = c->d,
                                 .b = m->weight + m->rates,
                                 .ldb = c->d,
                                 .packed = model_packed(m, m->rates, c->d, (int)c->codes),
                                 .bias = m->weight + m->rates_bias,
                                 .c = out,
                                 .ldc = (int)c->codes,
                                 .scratch = scratch});
}

void model_rates_rows(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *log_rate) {
  size_t v = m->config.codes, d = (size_t)m->config.d;
  rates_rows(m, w->gemm_scratch, rows, hidden, log_rate);
  for (size_t r = 0; r < (size_t)rows; r++) {
    float shift = (float)m->kernel->dot(d, hidden + r * d, m->weight + m->rates_shift);
    for (size_t i = 0; i < v; i++) log_rate[r * v + i] += shift;
  }
}

void model_rates(const struct model *m, struct model_workspace *w, const float *hidden, float *log_rate) {
  model_rates_rows(m, w, 1, hidden, log_rate);
}

struct rates_row { /* one position's part of the loss: weights of the two gradients */
  double ce, time, shift;
};

static struct rates_row rates_row_loss(const struct model *m, const struct token_batch *b, const struct loss_options *o, int p,
                                       bool survives, const float *logits, double lse, double shift, struct loss_sums *sum) {
  struct rates_row g = {0};
  int n = b->target_start[p + 1] - b->target_start[p];
  double gap = b->gap_days[p], slope, total = lse + shift;
  if (n > 0) {
    double mean = 0;
    for (int k = b->target_start[p]; k < b->target_start[p + 1]; k++) mean += logits[b->target_id[k]];
    sum->rates += lse - mean / n;
    sum->n_rates += 1;
    g.ce = o->w_rates * o->scale;
    sum->objective += g.ce * (lse - mean / n);
  }
  if (gap > 0 && n > 0) { /* NaN and 0 fail */
    double dt = log(fmax(gap, m->config.min_gap_days)), f = soft_exp(total + dt, &slope) - total;
    sum->time += f;
    sum->n_time += 1;
    g.time = o->w_time * o->scale * (slope - 1);
    sum->objective += o->w_time * o->scale * f;
  } else if (survives && b->tail_days[p] > m->config.min_gap_days) {
    double f = soft_exp(total + log(b->tail_days[p]), &slope);
    sum->time += f;
    sum->n_time += 1;
    g.time = o->w_time * o->scale * slope;
    sum->objective += o->w_time * o->scale * f;
  }
  return g;
}

/* Only a sequence's last position stands for the time that nothing followed (earlier ones of the same instant would count it twice). */
static bool survives(const struct token_batch *b, int sequence, int p) {
  return p == b->seq_start[sequence + 1] - 1 && isnan(b->gap_days[p]);
}

static void rates_loss(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct loss_options *o,
                       float *gradient, struct loss_sums *sum) {
  const struct kernel *k = m->kernel;
  size_t v = m->config.codes, d = (size_t)m->config.d;
  int sequence = 0;
  for (int from = 0; from < b->positions; from += w->rates_rows) {
    int rows = b->positions - from < w->rates_rows ? b->positions - from : w->rates_rows;
    const float *h = w->hidden + (size_t)from * d;
    rates_rows(m, w->gemm_scratch, rows, h, w->logits);
    for (int r = 0; r < rows; r++) {
      int p = from + r;
      const float *logits = w->logits + (size_t)r * v, *hp = h + (size_t)r * d;
      while (p >= b->seq_start[sequence + 1]) sequence++;
      double lse = k->logsumexp(v, logits), shift = k->dot(d, hp, m->weight + m->rates_shift);
      struct rates_row g = rates_row_loss(m, b, o, p, survives(b, sequence, p), logits, lse, shift, sum);
      if (!gradient) continue;
      float *dl = w->dlogits + (size_t)r * v;
      k->exp_scaled(v, (float)(g.ce + g.time), (float)lse, logits, dl);
      int n = b->target_start[p + 1] - b->target_start[p];
      for (int i = b->target_start[p]; i < b->target_start[p + 1]; i++) dl[b->target_id[i]] -= (float)(g.ce / n);
      k->axpy(d, (float)g.time, hp, gradient + m->rates_shift);
      k->axpy(d, (float)g.time, m->weight + m->rates_shift, w->dhidden + (size_t)p * d);
    }
    if (gradient)
      linear_backward(m, w, gradient, rows, (int)d, (int)v, h, m->rates, m->rates_bias, w->dlogits, 1, w->dhidden + (size_t)from * d);
  }
}

/* ---- value: softmax over the knots of a code, tied to their embedding rows ---- */

double softmax_knots(const struct model *m, const float *u, uint32_t code, float *p) {
  size_t d = (size_t)m->config.d;
  int n = m->knots[code];
  const float *rows = m->weight + m->table + (size_t)m->knot_row[code] * d;
  float most = -INFINITY;
  double total = 0;
  for (int i = 0; i < n; i++) p[i] = (float)m->kernel->dot(d, u, rows + (size_t)i * d), most = p[i] > most ? p[i] : most;
  for (int i = 0; i < n; i++) p[i] = expf(p[i] - most), total += p[i];
  for (int i = 0; i < n; i++) p[i] = (float)(p[i] / total);
  return total;
}

void model_value(const struct model *m, struct model_workspace *w, const float *hidden, uint32_t code, float *probability) {
  if (code >= m->config.codes || m->knots[code] < 2) return;
  linear_forward(m, w, 1, m->config.d, m->config.d, hidden, m->value, ABSENT, 0, w->pool);
  softmax_knots(m, w->pool, code, probability);
}

static double value_target(const struct model *m, struct model_workspace *w, size_t p, uint32_t code, float knot, double weight,
                           float *gradient) {
  const struct kernel *k = m->kernel;
  size_t d = (size_t)m->config.d, row = m->table >= 0 ? (size_t)m->knot_row[code] * d : 0;
  float prob[TOKEN_KNOTS];
  int n = m->knots[code], low = (int)fminf(fmaxf(floorf(knot), 0), (float)(n - 2));
  double f = fmin(fmax((double)knot - low, 0), 1);
  const float *u = w->u + p * d;
  softmax_knots(m, u, code, prob);
  double loss = -(1 - f) * log(fmax(prob[low], 1e-30)) - f * log(fmax(prob[low + 1], 1e-30));
  if (!gradient) return loss;
  for (int i = 0; i < n; i++) {
    float g = (float)(weight * (prob[i] - (i == low ? 1 - f : 0) - (i == low + 1 ? f : 0)));
    k->axpy(d, g, m->weight + m->table + row + (size_t)i * d, w->du + p * d);
    k->axpy(d, g, u, gradient + m->table + row + (size_t)i * d);
  }
  return loss;
}

static void value_loss(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct loss_options *o,
                       float *gradient, struct loss_sums *sum) {
  int d = m->config.d;
  if (o->w_value == 0) return;
  linear_forward(m, w, b->positions, d, d, w->hidden, m->value, ABSENT, 0, w->u);
  if (gradient) memset(w->du, 0, (size_t)b->positions * (size_t)d * sizeof(float));
  for (int p = 0; p < b->positions; p++) {
    int n = 0;
    double total = 0, scale = o->w_value * o->scale;
    for (int i = b->target_start[p]; i < b->target_start[p + 1]; i++) n += !isnan(b->target_knot[i]) && m->knots[b->target_id[i]] >= 2;
    if (n == 0) continue;
    for (int i = b->target_start[p]; i < b->target_start[p + 1]; i++)
      if (!isnan(b->target_knot[i]) && m->knots[b->target_id[i]] >= 2)
        total += value_target(m, w, (size_t)p, (uint32_t)b->target_id[i], b->target_knot[i], scale / n, gradient);
    sum->value += total / n;
    sum->n_value += 1;
    sum->objective += scale * total / n;
  }
  if (gradient) linear_backward(m, w, gradient, b->positions, d, d, w->hidden, m->value, ABSENT, w->du, 1, w->dhidden);
}

/* ---- hazard: all outcomes at once, low rank; hazard_rates: of what becomes of the code's rate in each stretch of the time to come ---- */

/* Adds the log rates of the outcomes' codes to every bin. */
static void add_rates(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *out) {
  size_t n = m->config.outcomes, v = m->config.codes, d = (size_t)m->config.d;
  for (int from = 0; from < rows; from += w->rates_rows) {
    int some = rows - from < w->rates_rows ? rows - from : w->rates_rows;
    model_rates_rows(m, w, some, hidden + (size_t)from * d, w->logits);
    for (int r = 0; r < some; r++) {
      const float *rate = w->logits + (size_t)r * v;
      float *row = out + (size_t)(from + r) * HAZARD_BINS * n;
      for (size_t b = 0; b < HAZARD_BINS; b++)
        for (size_t o = 0; o < n; o++) row[b * n + o] += rate[m->outcome_code[o]];
    }
  }
}

static void hazard_rows(const struct model *m, struct model_workspace *w, int rows, const float *hidden, float *z, float *out) {
  const struct model_config *c = &m->config;
  float *scratch = w->gemm_scratch;
  int rank = c->hazard_rank, outcomes = (int)c->outcomes;
  m->kernel->gemm(&(struct gemm){.m = rows,
                                 .n = HAZARD_BINS * rank,
                                 .k = c->d,
                                 .tb = true,
                                 .a = hidden,
                                 .lda = c->d,
                                 .b = m->weight + m->hazard,
                                 .ldb = c->d,
                                 .packed = model_packed(laid_out(m, w), m->hazard, c->d, HAZARD_BINS * rank),
                                 .c = z,
                                 .ldc = HAZARD_BINS * rank,
                                 .scratch = scratch});
  m->kernel->gemm(&(struct gemm){.m = rows * HAZARD_BINS,
                                 .n = outcomes,
                                 .k = rank,
                                 .tb = true,
                                 .a = z,
                                 .lda = rank,
                                 .b = m->weight + m->hazard_outcome,
                                 .ldb = rank,
                                 .packed = model_packed(laid_out(m, w), m->hazard_outcome, rank, outcomes),
                                 .c = out,
                                 .ldc = outcomes,
                                 .scratch = scratch});
  for (int r = 0; r < rows; r++)
    m->kernel->add((size_t)HAZARD_BINS * c->outcomes, m->weight + m->hazard_bias, out + (size_t)r * HAZARD_BINS * c->outcomes);
  if (c->hazard_rates) add_rates(m, w, rows, hidden, out);
}

/* The gradient of add_rates: the rates learn from all that is still to come, not from the next instant alone. Added to dsample. */
static void add_rates_undo(const struct model *m, struct model_workspace *w, int rows, float *gradient) {
  size_t n = m->config.outcomes, v = m->config.codes, d = (size_t)m->config.d;
  for (int from = 0; from < rows; from += w->rates_rows) {
    int some = rows - from < w->rates_rows ? rows - from : w->rates_rows;
    memset(w->dlogits, 0, (size_t)some * v * sizeof(float));
    for (int r = 0; r < some; r++) {
      const float *dz = w->dhz + (size_t)(from + r) * HAZARD_BINS * n, *h = w->sample + (size_t)(from + r) * d;
      float *dl = w->dlogits + (size_t)r * v, all = 0;
      for (size_t b = 0; b < HAZARD_BINS; b++)
        for (size_t o = 0; o < n; o++) dl[m->outcome_code[o]] += dz[b * n + o], all += dz[b * n + o];
      m->kernel->axpy(d, all, h, gradient + m->rates_shift);
      m->kernel->axpy(d, all, m->weight + m->rates_shift, w->dsample + (size_t)(from + r) * d);
    }
    linear_backward(m, w, gradient, some, (int)d, (int)v, w->sample + (size_t)from * d, m->rates, m->rates_bias, w->dlogits, 1,
                    w->dsample + (size_t)from * d);
  }
}

void model_hazard(const struct model *m, struct model_workspace *w, const float *hidden, float *log_hazard) {
  size_t n = m->config.outcomes;
  if (n == 0) return;
  hazard_rows(m, w, 1, hidden, w->z, w->hz);
  for (size_t o = 0; o < n; o++)
    for (size_t b = 0; b < HAZARD_BINS; b++) log_hazard[o * HAZARD_BINS + b] = w->hz[b * n + o];
}

void model_hazard_course(const struct model *m, struct model_workspace *w, const float *hidden, int bins, float *course) {
  if (m->config.outcomes == 0) return;
  hazard_rows(m, w, 1, hidden, w->z, w->hz);
  m->kernel->exp_scaled((size_t)bins * m->config.outcomes, 1, 0, w->hz, course);
}

void model_course_weigh(const struct model *m, struct model_workspace *w, int bins, const double *share, float *course) {
  const struct kernel *k = m->kernel;
  size_t n = m->config.outcomes;
  float *mean = w->hz;
  double all = 0;
  memset(mean, 0, n * sizeof *mean);
  for (int b = 0; b < bins; b++) k->axpy(n, (float)share[b], course + (size_t)b * n, mean), all += share[b];
  for (size_t o = 0; o < n; o++) {
    bool number = mean[o] > 0 && mean[o] < INFINITY;
    for (int b = 0; b < bins && !number; b++) course[(size_t)b * n + o] = 1;
    mean[o] = number ? (float)all / mean[o] : 1;
  }
  for (int b = 0; b < bins; b++) k->mul(n, mean, course + (size_t)b * n);
}

double hazard_probability(const float *log_hazard, double days) {
  double integral = 0;
  for (int b = 0; b < HAZARD_BINS; b++) {
    double to = b + 1 < HAZARD_BINS ? fmin(days, hazard_edge_days[b + 1]) : days; /* the last bin's rate goes on */
    if (to > hazard_edge_days[b]) integral += exp((double)log_hazard[b]) * (to - hazard_edge_days[b]);
  }
  return -expm1(-integral);
}

/* One position, one outcome that happens after `until` days. Adds to the bins' gradients. */
static double hazard_cell(double until, double weight, size_t stride, const float *log_hazard, float *d) {
  double loss = 0, slope;
  for (int b = 0; b < HAZARD_BINS; b++) {
    double from = hazard_edge_days[b], to = hazard_edge_days[b + 1], exposure = fmin(until, to) - from;
    if (exposure <= 0) break;
    double u = log_hazard[(size_t)b * stride], f = soft_exp(u + log(exposure), &slope);
    bool event = until <= to;
    loss += f - (event ? u : 0);
    d[(size_t)b * stride] = (float)(weight * (slope - (event ? 1 : 0)));
  }
  return loss;
}

/* Outcomes that do not happen before `end` share their exposures: one bin of all of them at once, as if nobody had one. Those that did
 * happen, or happened before, are put right by the caller. Adds to loss[o]; d is the gradient's row of this bin. */
static void hazard_censored(const struct kernel *k, size_t n, double exposure, double weight, const float *log_hazard, float *d,
                            double *loss) {
  float top = (float)exp(LINEAR_FROM), slope = (float)weight;
  double shift = log(exposure);
  k->exp_scaled(n, (float)exposure, 0, log_hazard, d);
  for (size_t o = 0; o < n; o++) {
    float f = d[o];
    bool steep = f > top;
    loss[o] += steep ? (double)top * (1 + (double)log_hazard[o] + shift - LINEAR_FROM) : (double)f;
    d[o] = slope * (steep ? top : f);
  }
}

static double hazard_position(const struct model *m, struct model_workspace *w, const struct hazard_pick *pick, int row, bool gradient,
                              int *at_risk) {
  size_t n = m->config.outcomes, cells = HAZARD_BINS * n;
  const int64_t *first = pick->first;
  int64_t now = pick->now, end = pick->end;
  const float *z = w->hz + (size_t)row * cells;
  float *d = w->dhz + (size_t)row * cells;
  double *each = w->outcome_loss, loss = 0, follow_up = ((double)end - (double)now) / (double)TIME_DAY;
  *at_risk = 0;
  for (size_t o = 0; o < n; o++) *at_risk += first[o] > now && end > now;
  if (gradient) memset(d, 0, cells * sizeof *d);
  if (*at_risk == 0) return 0;
  double share = pick->weight / *at_risk;
  memset(each, 0, n * sizeof *each);
  for (int bin = 0; bin < HAZARD_BINS && hazard_edge_days[bin] < follow_up; bin++)
    hazard_censored(m->kernel, n, fmin(follow_up, hazard_edge_days[bin + 1]) - hazard_edge_days[bin], share, z + (size_t)bin * n,
                    d + (size_t)bin * n, each);
  for (size_t o = 0; o < n; o++) {
    if (first[o] > end) {
      loss += each[o];
      continue;
    }
    for (int bin = 0; bin < HAZARD_BINS; bin++) d[(size_t)bin * n + o] = 0;
    if (first[o] > now) loss += hazard_cell(((double)first[o] - (double)now) / (double)TIME_DAY, share, n, z + o, d + o);
  }
  return loss / *at_risk;
}

int hazard_samples(const struct model_config *c) {
  int n = c->outcomes ? HAZARD_CELLS / (int)c->outcomes : HAZARD_LEAST;
  return n < HAZARD_LEAST ? HAZARD_LEAST : n > HAZARD_MOST ? HAZARD_MOST : n;
}

void hazard_chunk(const struct model *m, struct model_workspace *w, const struct hazard_pick *pick, int n, float *gradient,
                  struct loss_sums *sum) {
  const struct model_config *c = &m->config;
  int rank = c->hazard_rank, outcomes = (int)c->outcomes, wide = HAZARD_BINS * rank;
  size_t d = (size_t)c->d;
  bool trunk = n && pick[0].dhidden;
  for (int i = 0; i < n; i++) memcpy(w->sample + (size_t)i * d, pick[i].hidden, d * sizeof(float));
  hazard_rows(m, w, n, w->sample, w->z, w->hz);
  for (int i = 0; i < n; i++) {
    int at_risk;
    double loss = hazard_position(m, w, &pick[i], i, gradient != NULL, &at_risk);
    sum->hazard += loss;
    sum->n_hazard += at_risk > 0;
    sum->objective += pick[i].weight * loss;
  }
  if (!gradient) return;
  for (int i = 0; i < n; i++)
    m->kernel->add((size_t)HAZARD_BINS * c->outcomes, w->dhz + (size_t)i * HAZARD_BINS * c->outcomes, gradient + m->hazard_bias);
  linear_backward(m, w, gradient, n * HAZARD_BINS, rank, outcomes, w->z, m->hazard_outcome, ABSENT, w->dhz, 0, w->dz);
  linear_backward(m, w, gradient, n, c->d, wide, w->sample, m->hazard, ABSENT, w->dz, 0, trunk ? w->dsample : NULL);
  if (!trunk) return;
  if (c->hazard_rates) add_rates_undo(m, w, n, gradient);
  for (int i = 0; i < n; i++) m->kernel->add(d, w->dsample + (size_t)i * d, pick[i].dhidden);
}

/* Some positions of each sequence, one in each equal part of it, the same ones for the same seed and stream. */
static void hazard_loss(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct loss_options *o,
                        float *gradient, struct loss_sums *sum) {
  struct hazard_pick pick[HAZARD_ROWS];
  size_t d = (size_t)m->config.d;
  int n = 0, most = hazard_samples(&m->config);
  if (m->config.outcomes == 0 || o->w_hazard == 0) return;
  struct rng r;
  rng_init(&r, o->seed ^ 0x68617a617264u, o->stream);
  for (int s = 0; s < b->sequences; s++) {
    int length = b->seq_start[s + 1] - b->seq_start[s], samples = length < most ? length : most;
    for (int i = 0; i < samples; i++) {
      int at = (int)((i + rng_uniform(&r)) * length / samples), p = b->seq_start[s] + (at < length ? at : length - 1);
      pick[n++] = (struct hazard_pick){.hidden = w->hidden + (size_t)p * d,
                                       .dhidden = w->dhidden + (size_t)p * d,
                                       .first = b->outcome_first + (size_t)s * m->config.outcomes,
                                       .now = b->time[p],
                                       .end = b->end_time[s],
                                       .weight = o->w_hazard * o->scale * length / samples};
      if (n == HAZARD_ROWS) hazard_chunk(m, w, pick, n, gradient, sum), n = 0;
    }
  }
  if (n) hazard_chunk(m, w, pick, n, gradient, sum);
}

/* ---- task: linear on [last hidden | mean hidden] ---- */

double task_logit(const struct model *m, const struct model_task *t, const float *hidden, int n, float *pooled) {
  size_t d = (size_t)m->config.d;
  memset(pooled, 0, 2 * d * sizeof *pooled);
  memcpy(pooled, hidden + (size_t)(n - 1) * d, d * sizeof *pooled);
  for (int r = 0; r < n; r++) m->kernel->add(d, hidden + (size_t)r * d, pooled + d);
  m->kernel->scale(d, 1.0f / (float)n, pooled + d);
  return m->kernel->dot(2 * d, pooled, m->weight + t->weight) + (double)m->weight[t->bias];
}

static void task_loss(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct loss_options *o,
                      float *gradient, struct loss_sums *sum) {
  size_t d = (size_t)m->config.d;
  for (int i = 0; i < o->labels; i++) {
    const struct sequence_label *l = &o->label[i];
    const struct model_task *t = &m->task[l->task];
    int from = b->seq_start[l->sequence], n = l->positions;
    double weight = (double)l->weight, scale = weight * o->w_task * o->task_scale;
    double x = task_logit(m, t, w->hidden + (size_t)from * d, n, w->pool), y = l->yes ? 1 : 0;
    double loss = fmax(x, 0) - x * y + log1p(exp(-fabs(x)));
    sum->task += weight * loss;
    sum->n_task += weight;
    sum->objective += scale * loss;
    if (!gradient) continue;
    float g = (float)(scale * (1 / (1 + exp(-x)) - y));
    m->kernel->axpy(2 * d, g, w->pool, gradient + t->weight);
    gradient[t->bias] += g;
    m->kernel->axpy(d, g, m->weight + t->weight, w->dhidden + (size_t)(from + n - 1) * d);
    for (int r = 0; r < n; r++) m->kernel->axpy(d, g / (float)n, m->weight + t->weight + d, w->dhidden + (size_t)(from + r) * d);
  }
}

int model_loss(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct loss_options *o, float *gradient,
               struct loss_sums *out, struct error *e) {
  BUG_IF(!w->training);
  *out = (struct loss_sums){0};
  w->dropout = o->dropout;
  w->seed = o->seed;
  w->stream = o->stream;
  if (b->outcomes != (int)m->config.outcomes) return error_set(e, E_USAGE, "batch was packed without targets, or with another vocabulary");
  for (int i = 0; i < b->targets; i++)
    if ((uint32_t)b->target_id[i] >= m->config.codes) return error_set(e, E_MISMATCH, "batch was packed with another vocabulary");
  int rc = model_forward(m, w, b, NULL, e);
  w->dropout = rc < 0 ? 0 : w->dropout;
  TRY(rc);
  if (gradient) memset(w->dhidden, 0, (size_t)b->positions * (size_t)m->config.d * sizeof(float));
  rates_loss(m, w, b, o, gradient, out);
  value_loss(m, w, b, o, gradient, out);
  hazard_loss(m, w, b, o, gradient, out);
  task_loss(m, w, b, o, gradient, out);
  if (gradient) model_backward(m, w, b, gradient);
  w->dropout = 0;
  return OK;
}
