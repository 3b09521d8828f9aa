/* The next token from logits: greedy, or temperature, top-k and nucleus (Holtzman et al. 2020) with a seed. */
#include <math.h>
#include <stdlib.h>

#include "model/lm_internal.h"

int lm_chooser_init(struct lm_chooser *c, uint32_t vocabulary, struct error *e) {
  c->n = vocabulary;
  c->item = mem_alloc((size_t)vocabulary * sizeof *c->item);
  return c->item ? OK : error_set(e, E_NOMEM, "no memory for choosing tokens");
}

void lm_chooser_release(struct lm_chooser *c) { mem_free(c->item); }

static int falling(const void *x, const void *y) {
  const struct lm_alternative *a = x, *b = y;
  if (a->logprob != b->logprob) return a->logprob < b->logprob ? 1 : -1;
  return a->token < b->token ? -1 : a->token > b->token;
}

static uint32_t largest(const float *x, uint32_t n) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return best;
}

static double log_total(const float *x, uint32_t n, float top) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += exp((double)(x[i] - top));
  return sum > 0 ? (double)top + log(sum) : (double)top;
}

/* The k largest, best first. */
static int best_of(struct lm_chooser *c, const float *x, int k) {
  int n = 0;
  for (uint32_t i = 0; i < c->n; i++) {
    if (n == k && !(x[i] > c->item[n - 1].logprob)) continue;
    int at = n < k ? n++ : n - 1;
    for (; at > 0 && x[i] > c->item[at - 1].logprob; at--) c->item[at] = c->item[at - 1];
    c->item[at] = (struct lm_alternative){i, x[i]};
  }
  return n;
}

static uint32_t sample(struct lm_chooser *c, const struct lm_request *r, struct rng *rng, const float *x) {
  uint32_t n;
  float top = x[largest(x, c->n)];
  if (r->top_k > 0 && r->top_k <= 256) {
    n = (uint32_t)best_of(c, x, r->top_k < (int)c->n ? r->top_k : (int)c->n);
  } else {
    n = 0;
    for (uint32_t i = 0; i < c->n; i++) /* what is e^-25 below the best has no part in what follows */
      if ((x[i] - top) / r->temperature > -25) c->item[n++] = (struct lm_alternative){i, x[i]};
    if (!n) return largest(x, c->n); /* the best is no number, or infinite */
    qsort(c->item, n, sizeof *c->item, falling);
    if (r->top_k > 0 && (uint32_t)r->top_k < n) n = (uint32_t)r->top_k;
  }
  double total = 0, kept = 0, at = 0;
  for (uint32_t i = 0; i < n; i++) total += exp((double)(c->item[i].logprob - top) / r->temperature);
  if (r->top_p > 0 && r->top_p < 1) {
    uint32_t m = 0;
    while (m < n && kept < r->top_p * total) kept += exp((double)(c->item[m++].logprob - top) / r->temperature);
    n = m, total = kept;
  }
  double u = rng_uniform(rng) * total;
  for (uint32_t i = 0; i < n; i++) {
    at += exp((double)(c->item[i].logprob - top) / r->temperature);
    if (u < at) return c->item[i].token;
  }
  return c->item[n - 1].token;
}

static bool may_come(const struct lm *m, const struct lm_schema *s, uint32_t token) {
  if (lm_is_end(m, token)) return lm_schema_complete(s);
  return token < subword_count(m->vocabulary) && lm_schema_accepts(s, subword_piece(m->vocabulary, token));
}

/* Greedy: the best tokens are asked first, and one of the first few nearly always may come. Otherwise all that may not are taken away. */
static uint32_t choose_in_form(struct lm_chooser *c, const struct lm_request *r, struct rng *rng, const struct lm *m, float *logits) {
  if (r->temperature <= 0) {
    int n = best_of(c, logits, c->n < 32 ? (int)c->n : 32);
    for (int i = 0; i < n; i++)
      if (may_come(m, r->schema, c->item[i].token)) return c->item[i].token;
  }
  uint32_t left = 0;
  for (uint32_t i = 0; i < c->n; i++) {
    if (may_come(m, r->schema, i))
      left++;
    else
      logits[i] = -INFINITY;
  }
  if (!left) return subword_eos(m->vocabulary); /* a vocabulary that cannot spell the form */
  return r->temperature > 0 ? sample(c, r, rng, logits) : largest(logits, c->n);
}

uint32_t lm_choose(struct lm_chooser *c, const struct lm_request *r, struct rng *rng, const struct lm *m, float *logits, struct lm_piece *p,
                   struct lm_alternative top[LM_TOPS]) {
  double total = 0;
  if (r->logprobs >= 0) { /* the model's own distribution, before any constraint */
    total = log_total(logits, c->n, logits[largest(logits, c->n)]);
    p->tops = r->logprobs ? best_of(c, logits, r->logprobs) : 0;
    for (int i = 0; i < p->tops; i++) top[i] = (struct lm_alternative){c->item[i].token, (float)((double)c->item[i].logprob - total)};
  }
  uint32_t token = r->schema            ? choose_in_form(c, r, rng, m, logits)
                   : r->temperature > 0 ? sample(c, r, rng, logits)
                                        : largest(logits, c->n);
  if (r->logprobs >= 0) p->logprob = (float)((double)logits[token] - total);
  return token;
}
