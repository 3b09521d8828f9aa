/* Weights as the kernels want them: every matrix that many products share is laid out once a step (or once, when served) instead of
 * once a product. Worth its memory for small models, whose products have few rows; a large model's have thousands. */
#include <stdlib.h>

#include "model/model_cache.h"

#define PACK_LIMIT ((size_t)256 << 20) /* bytes; beyond, products are long enough to lay out B themselves */

static int by_place(const void *x, const void *y) {
  const struct model_pack *a = x, *b = y;
  return a->at < b->at ? -1 : a->at > b->at;
}

static size_t in_lines(size_t floats) { return (floats + 15) & ~(size_t)15; }

/* The table of what is laid out where; returns the floats of all of it. `out` has room for 4 a block and 4 more, or is NULL: only count. The hazard head is
 * laid out for answers alone: training asks it for many rows at once. */
static size_t pack_table(const struct model *m, const struct kernel *k, bool backward, struct model_pack *out, int *n) {
  const struct model_config *c = &m->config;
  size_t at = 0;
  *n = 0;
  for (int l = -1; l < c->layers; l++) {
    const struct model_block *b = l < 0 ? NULL : &m->block[l];
    struct model_pack one[4] = {{m->rates, c->d, (int)c->codes, 0, 0},
                                {m->value, c->d, c->d, 0, 0},
                                {m->hazard, c->d, HAZARD_BINS * c->hazard_rank, 0, 0},
                                {m->hazard_outcome, c->hazard_rank, (int)c->outcomes, 0, 0}};
    if (b) {
      one[0] = (struct model_pack){b->qkv, c->d, qkv_width(c), 0, 0};
      one[1] = (struct model_pack){b->out, c->d, c->d, 0, 0};
      one[2] = (struct model_pack){b->up, c->d, up_width(c), 0, 0};
      one[3] = (struct model_pack){b->down, c->ff, c->d, 0, 0};
    }
    for (int i = 0; i < (b || (c->outcomes && !backward) ? 4 : 2); i++) {
      one[i].forward = at, at += in_lines(k->gemm_pack_size(one[i].in, one[i].out));
      one[i].back = at, at += backward ? in_lines(k->gemm_pack_size(one[i].out, one[i].in)) : 0;
      if (out) out[*n] = one[i];
      ++*n;
    }
  }
  return at;
}

size_t model_pack_floats(const struct model *m, const struct kernel *k, bool backward) {
  int n;
  size_t floats = pack_table(m, k, backward, NULL, &n);
  return floats * sizeof(float) <= PACK_LIMIT ? floats : 0;
}

int model_pack_new(struct model *m, bool backward, struct error *e) {
  model_pack_free(m);
  size_t floats = model_pack_floats(m, m->kernel, backward);
  if (floats == 0) return OK;
  m->pack = mem_alloc(((size_t)m->config.layers * 4 + 4) * sizeof *m->pack);
  m->packed = mem_alloc_aligned(floats * sizeof *m->packed);
  if (!m->pack || !m->packed) {
    mem_free(m->pack);
    if (m->packed) mem_free_aligned(m->packed, floats * sizeof *m->packed);
    m->pack = NULL, m->packed = NULL;
    return error_set(e, E_NOMEM, "no memory for the weights' second copy");
  }
  m->packed_floats = pack_table(m, m->kernel, backward, m->pack, &m->packs);
  m->packed_for = m->kernel;
  m->packed_back = backward;
  qsort(m->pack, (size_t)m->packs, sizeof *m->pack, by_place);
  for (int i = 0; i < m->packs; i++) model_pack_one(m, i);
  return OK;
}

void model_pack_one(struct model *m, int i) {
  const struct model_pack *p = &m->pack[i];
  struct gemm g = {.n = p->out, .k = p->in, .tb = true, .b = m->weight + p->at, .ldb = p->in};
  m->kernel->gemm_pack(&g, m->packed + p->forward);
  if (!m->packed_back) return;
  g = (struct gemm){.n = p->in, .k = p->out, .b = m->weight + p->at, .ldb = p->in};
  m->kernel->gemm_pack(&g, m->packed + p->back);
}

void model_pack_free(struct model *m) {
  mem_free(m->pack);
  if (m->packed) mem_free_aligned(m->packed, m->packed_floats * sizeof *m->packed);
  m->pack = NULL, m->packed = NULL, m->packs = 0;
}

static const struct model_pack *find(const struct model *m, ptrdiff_t weight, int in, int out) {
  int low = 0, high = m->packs;
  if (!m->packed || m->packed_for != m->kernel) return NULL;
  while (low < high) {
    int mid = (low + high) / 2;
    if (m->pack[mid].at < weight)
      low = mid + 1;
    else
      high = mid;
  }
  const struct model_pack *p = &m->pack[low];
  return low < m->packs && p->at == weight && p->in == in && p->out == out ? p : NULL;
}

const float *model_packed(const struct model *m, ptrdiff_t weight, int in, int out) {
  const struct model_pack *p = find(m, weight, in, out);
  return p ? m->packed + p->forward : NULL;
}

const float *model_packed_back(const struct model *m, ptrdiff_t weight, int in, int out) {
  const struct model_pack *p = m->packed_back ? find(m, weight, in, out) : NULL;
  return p ? m->packed + p->back : NULL;
}

int model_lay_out(struct model *m, struct error *e) {
  model_quant_free(m->quant);
  m->quant = NULL;
  TRY(model_pack_new(m, false, e));
  return model_quant_new(m, false, &m->quant, e);
}
