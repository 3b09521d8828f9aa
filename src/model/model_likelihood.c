/* How likely a model finds lives that it is shown whole: by code, by wait and by value. The memorisation gates compare these between
 * people it was trained on and people it was not. */
#include <math.h>

#include "model/model_internal.h"
#include "token/token.h"

static void add_codes(const struct token_batch *b, int p, const float *logits, double lse, struct model_likelihood *out) {
  for (int k = b->target_start[p]; k < b->target_start[p + 1]; k++) {
    out->code += (double)logits[b->target_id[k]] - lse;
    out->events++;
  }
}

/* Density of an exponential wait with the summed rate, per day; waits under the least gap count as that. */
static void add_wait(const struct model *m, const struct token_batch *b, int p, double total, struct model_likelihood *out) {
  if (b->target_start[p + 1] == b->target_start[p] || !(b->gap_days[p] > 0)) return;
  double gap = fmax((double)b->gap_days[p], (double)m->config.min_gap_days);
  out->wait += total - exp(fmin(total + log(gap), 50));
  out->instants++;
}

static void add_values(const struct model *m, struct model_workspace *w, const struct token_batch *b, int p, const float *hidden,
                       struct model_likelihood *out) {
  float prob[TOKEN_KNOTS];
  for (int k = b->target_start[p]; k < b->target_start[p + 1]; k++) {
    uint32_t code = (uint32_t)b->target_id[k];
    float knot = b->target_knot[k];
    if (isnan(knot) || m->knots[code] < 2) continue;
    model_value(m, w, hidden, code, prob);
    int low = (int)fminf(fmaxf(floorf(knot), 0), (float)(m->knots[code] - 2));
    double f = fmin(fmax((double)knot - low, 0), 1);
    out->value += (1 - f) * log(fmax((double)prob[low], 1e-30)) + f * log(fmax((double)prob[low + 1], 1e-30));
    out->values++;
  }
}

int model_likelihood(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_likelihood *out,
                     struct error *e) {
  size_t v = m->config.codes, d = (size_t)m->config.d;
  int sequence = 0;
  w->dropout = 0;
  memset(out, 0, (size_t)b->sequences * sizeof *out);
  TRY(model_forward(m, w, b, NULL, e));
  for (int from = 0; from < b->positions; from += w->rates_rows) {
    int rows = b->positions - from < w->rates_rows ? b->positions - from : w->rates_rows;
    model_rates_rows(m, w, rows, w->hidden + (size_t)from * d, w->logits);
    for (int r = 0; r < rows; r++) {
      int p = from + r;
      while (p >= b->seq_start[sequence + 1]) sequence++;
      if (b->target_start[p + 1] == b->target_start[p]) continue;
      const float *logits = w->logits + (size_t)r * v;
      double total = m->kernel->logsumexp(v, logits);
      add_codes(b, p, logits, total, &out[sequence]);
      add_wait(m, b, p, total, &out[sequence]);
      add_values(m, w, b, p, w->hidden + (size_t)p * d, &out[sequence]);
    }
  }
  return OK;
}
