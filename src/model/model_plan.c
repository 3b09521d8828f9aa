/* What a model and its workspaces weigh, before anything is allocated: the same function counts and lays out. */
#include "base/progress.h"
#include "model/model_cache.h"
#include "model/model_hazard.h"
#include "token/token.h"

struct carve {
  char *base; /* NULL: only count */
  size_t at;
};

static float *floats(struct carve *c, size_t n) {
  float *p = c->base ? (float *)(void *)(c->base + c->at) : NULL;
  c->at += (n * sizeof(float) + 63) & ~(size_t)63;
  return p;
}

/* all but the block's input */
static void carve_layer(struct carve *c, const struct model_config *g, size_t t, bool training, struct layer_state *s) {
  size_t d = (size_t)g->d, hd = (size_t)head_size(g), heads = (size_t)g->heads, kv = (size_t)g->kv_heads;
  s->n1 = floats(c, t * d);
  s->mean1 = floats(c, t);
  s->rstd1 = floats(c, t);
  s->qkv = floats(c, t * (size_t)qkv_width(g));
  s->qk_raw = g->qk_norm ? floats(c, t * (heads + kv) * hd) : NULL;
  s->qk_rstd = g->qk_norm ? floats(c, t * (heads + kv)) : NULL;
  s->att = floats(c, t * heads * hd);
  s->lse = floats(c, t * heads);
  s->mid = training ? floats(c, t * d) : s->x; /* the caller has set x */
  s->n2 = floats(c, t * d);
  s->mean2 = floats(c, t);
  s->rstd2 = floats(c, t);
  s->up = floats(c, t * (size_t)up_width(g));
  s->act = floats(c, t * (size_t)g->ff);
}

static void carve_heads(struct carve *c, const struct model_config *g, struct model_workspace *w) {
  size_t d = (size_t)g->d, v = g->codes, o = g->outcomes, zr = (size_t)HAZARD_BINS * (size_t)g->hazard_rank;
  size_t rows = v ? ((size_t)1 << 18) / v : 1;
  w->rates_rows = rows < 16 ? 16 : rows > 256 ? 256 : (int)rows;
  w->logits = floats(c, (size_t)w->rates_rows * v);
  w->dlogits = floats(c, (size_t)w->rates_rows * v);
  w->sample = floats(c, HAZARD_ROWS * d);
  w->dsample = floats(c, HAZARD_ROWS * d);
  w->z = floats(c, HAZARD_ROWS * zr);
  w->dz = floats(c, HAZARD_ROWS * zr);
  w->hz = floats(c, (size_t)HAZARD_ROWS * HAZARD_BINS * o);
  w->dhz = floats(c, (size_t)HAZARD_ROWS * HAZARD_BINS * o);
  w->outcome_loss = (double *)(void *)floats(c, 2 * o);
  w->pool = floats(c, 2 * d);
  w->dpool = floats(c, 2 * d);
}

static void carve_backward(struct carve *c, const struct model_config *g, size_t t, struct model_workspace *w) {
  size_t d = (size_t)g->d;
  w->u = floats(c, t * d);
  w->du = floats(c, t * d);
  w->dhidden = floats(c, t * d);
  w->dx = floats(c, t * d);
  w->dn = floats(c, t * d);
  w->dqkv = floats(c, t * (size_t)qkv_width(g));
  w->datt = floats(c, t * d);
  w->dup = floats(c, t * (size_t)up_width(g));
  w->dact = floats(c, t * (size_t)g->ff);
}

static size_t largest_gemm_scratch(void) { /* a workspace outlives model_set_kernel: room for every column */
  const struct kernel *all[8];
  size_t most = 0;
  int n = kernel_all(all);
  for (int i = 0; i < n; i++)
    if (all[i]->gemm_scratch > most) most = all[i]->gemm_scratch;
  return most;
}

size_t model_workspace_bytes(const struct model *m, struct model_workspace *w, void *base) {
  const struct model_config *g = &m->config;
  struct carve c = {base, 0};
  size_t t = (size_t)w->positions, d = (size_t)g->d;
  int longest = w->positions < g->context ? w->positions : g->context;
  struct layer_state *layer = (struct layer_state *)(void *)floats(&c, (size_t)g->layers * sizeof(struct layer_state) / sizeof(float));
  struct layer_state one = {0};
  w->layer = layer;
  for (int l = 0; l < g->layers; l++) {
    if (l == 0 || w->training) one.x = floats(&c, t * d);
    if (l == 0 || (w->training && !w->recompute)) carve_layer(&c, g, t, w->training, &one);
    if (layer) layer[l] = one;
  }
  w->last = w->training ? floats(&c, t * d) : one.x;
  w->mean = floats(&c, t);
  w->rstd = floats(&c, t);
  w->hidden = floats(&c, t * d);
  w->branch = floats(&c, t * d);
  w->qk_tmp = floats(&c, g->qk_norm ? 2 * t * d : 0);
  w->turns = w->training ? NULL : floats(&c, t * (size_t)head_size(g));
  w->turned = w->training ? NULL : floats(&c, t);
  w->eight_scratch = w->training ? NULL : floats(&c, t * model_quant_row(g->ff > g->d ? g->ff : g->d) / sizeof(float));
  w->gemm_scratch = floats(&c, largest_gemm_scratch());
  w->attention_floats = kernel_attention_scratch(longest, head_size(g));
  w->attention_scratch = floats(&c, w->attention_floats);
  carve_heads(&c, g, w);
  if (w->training) carve_backward(&c, g, t, w);
  return c.at;
}

static int workspace_new(const struct model *m, struct model_workspace shape, struct model_workspace **out, struct error *e) {
  *out = NULL;
  if (shape.positions < 1 || shape.positions > 1 << 22) return error_set(e, E_USAGE, "positions of a workspace out of range");
  struct model_workspace *w = mem_alloc(sizeof *w);
  if (!w) return error_set(e, E_NOMEM, "no memory for a workspace");
  *w = shape;
  w->model = m;
  w->bytes = model_workspace_bytes(m, w, NULL);
  w->memory = mem_alloc_aligned(w->bytes);
  if (!w->memory) {
    mem_free(w);
    return error_set(e, E_NOMEM, "no memory for a workspace of %d positions", shape.positions);
  }
  model_workspace_bytes(m, w, w->memory);
  *out = w;
  return OK;
}

int model_workspace_new(const struct model *m, int positions, bool training, struct model_workspace **out, struct error *e) {
  return workspace_new(m, (struct model_workspace){.positions = positions, .training = training}, out, e);
}

int model_workspace_recompute(const struct model *m, int positions, struct model_workspace **out, struct error *e) {
  return workspace_new(m, (struct model_workspace){.positions = positions, .training = true, .recompute = true}, out, e);
}

void model_workspace_free(struct model_workspace *w) {
  if (!w) return;
  mem_free_aligned(w->memory, w->bytes);
  mem_free(w);
}

const float *model_hidden(const struct model_workspace *w) { return w->hidden; }

void model_plan(const struct model_config *c, const struct plan_shape *s, struct model_plan *out) {
  struct model m = {.config = *c};
  struct model_workspace w = {.positions = s->positions, .training = s->training, .recompute = s->recompute};
  *out = (struct model_plan){0};
  if (model_table(&m, NULL, 0, NULL) >= 0) {
    uint64_t bytes = m.floats * sizeof(float);
    out->parameters = bytes;
    out->packed = s->kernel ? model_pack_floats(&m, s->kernel, s->training) * sizeof(float) : 0;
    out->gradients = s->training ? (uint64_t)s->lanes * bytes : 0;
    out->optimizer = s->training ? 2 * bytes : 0;
    out->activations = (uint64_t)s->threads * model_workspace_bytes(&m, &w, NULL);
    out->last_fit = s->training ? train_hazard_bytes(c, s->threads, s->lives, s->lives + s->events) : 0;
    out->total = out->parameters + out->packed + out->gradients + out->optimizer + out->activations + out->last_fit;
  }
  mem_free(m.tensor);
  mem_free(m.block);
}

void model_plan_text(const struct model_plan *p, char out[256]) {
  char b[6][32];
  human_bytes(p->parameters + p->packed, b[0]);
  human_bytes(p->gradients, b[1]);
  human_bytes(p->optimizer, b[2]);
  human_bytes(p->activations, b[3]);
  human_bytes(p->last_fit, b[4]);
  human_bytes(p->total, b[5]);
  snprintf(out, 256, "memory: parameters %s, gradients %s, optimizer %s, activations %s, last fit %s, together %s", b[0], b[1], b[2], b[3],
           b[4], b[5]);
}
