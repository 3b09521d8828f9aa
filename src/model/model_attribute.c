/* Integrated gradients of a task's deep logit (Sundararajan, Taly & Yan 2017): the path goes from the life without entries (its instants and
 * time features stay) to the life itself, in a straight line; midpoint rule. */
#include "model/model_internal.h"
#include "token/token.h"

static int logit_at(const struct model *m, struct model_workspace *w, struct token_batch *b, const struct model_task *t,
                    const float *weight, double share, double *out, struct error *e) {
  for (int i = 0; i < b->entries; i++) b->entry_weight[i] = (float)(share * (double)weight[i]);
  TRY(model_forward(m, w, b, NULL, e));
  *out = task_logit(m, t, w->hidden, b->positions, w->pool);
  return OK;
}

static void gradient_of_logit(const struct model *m, struct model_workspace *w, const struct token_batch *b, const struct model_task *t,
                              float *gradient) {
  size_t d = (size_t)m->config.d, n = (size_t)b->positions;
  const float *head = m->weight + t->weight;
  memset(w->dhidden, 0, n * d * sizeof(float));
  m->kernel->axpy(d, 1, head, w->dhidden + (n - 1) * d);
  for (size_t r = 0; r < n; r++) m->kernel->axpy(d, 1.0f / (float)n, head + d, w->dhidden + r * d);
  model_backward(m, w, b, gradient); /* leaves the gradient at the sum of the table's rows in w->dx */
}

int model_attribute(const struct model *m, struct model_workspace *w, struct token_batch *b, const struct model_task *t, int steps,
                    double *out, double ends[2], struct error *e) {
  size_t d = (size_t)m->config.d, bytes = m->floats * sizeof(float);
  BUG_IF(!w->training || b->sequences != 1 || steps < 1);
  float *gradient = mem_alloc_aligned(bytes), *weight = mem_alloc(((size_t)b->entries + 1) * sizeof *weight);
  int rc = gradient && weight ? OK : error_set(e, E_NOMEM, "no memory for the contributions");
  if (rc == OK) memset(gradient, 0, bytes);
  if (rc == OK) memcpy(weight, b->entry_weight, (size_t)b->entries * sizeof *weight);
  for (int i = 0; rc == OK && i < b->entries; i++) out[i] = 0;
  if (rc == OK) rc = logit_at(m, w, b, t, weight, 0, &ends[0], e);
  for (int s = 0; s < steps && rc == OK; s++) {
    double unused;
    rc = logit_at(m, w, b, t, weight, (s + 0.5) / steps, &unused, e);
    if (rc < 0) break;
    gradient_of_logit(m, w, b, t, gradient);
    for (int p = 0; p < b->positions; p++)
      for (int i = b->entry_start[p]; i < b->entry_start[p + 1]; i++)
        out[i] +=
            (double)weight[i] * (double)m->kernel->dot(d, w->dx + (size_t)p * d, m->weight + m->table + (size_t)b->entry_id[i] * d) / steps;
  }
  if (rc == OK) rc = logit_at(m, w, b, t, weight, 1, &ends[1], e);
  if (weight && rc == OK) memcpy(b->entry_weight, weight, (size_t)b->entries * sizeof *weight);
  if (gradient) mem_free_aligned(gradient, bytes);
  mem_free(weight);
  return rc;
}
