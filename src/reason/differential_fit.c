/* Learns the network: P(disease | findings) = exp(score) / (exp(none) + Σ exp(score)) over the shortlist, each case seen without its own publication. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "reason/differential_private.h"

#define STEPS 600 /* of BATCH cases each */
#define BATCH 64
#define RATE 5e-3F
#define RIDGE 1e-4F
/* An absent finding counts for at least this share of its log ratio. Left to themselves the published cases would have it speak for the disease: their
 * absent findings are what a whole cohort was looked at for. */
#define ABSENT_LEAST 0.1F
#define SAME_PUBLICATION 0.5F /* a publication's n cases teach like n^(1 - this): one of a hundred relatives is no hundred teachers */
#define KEPT_BACK 6 /* one of so many publications of the learned ones tells how sharp the odds may be, another one for each network */
#define NETWORKS 4

struct lesson_case {
  int n, truth; /* truth: row of the true disease, -1 = not on the shortlist */
  float weight; /* less for each of many cases of one publication */
  float (*x)[FEATURES];
};
struct differential_lesson {
  struct arena arena;
  struct lesson_case *c; /* (cases) */
};
struct moments { /* of Adam (Kingma & Ba 2015) */
  struct network g, m, v;
  int steps;
};

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for learning a differential"); }

int differential_fold(const struct finding_case *c, int folds) {
  uint64_t h = 1469598103934665603u;
  struct str s = finding_case_source(c);
  for (size_t i = 0; i < s.n; i++) h = (h ^ (uint8_t)s.p[i]) * 1099511628211u;
  return (int)((h >> 20) % (uint64_t)folds);
}
static bool kept_back(const struct finding_case *c, int network) {
  struct str s = finding_case_source(c);
  return hash64(s.p, s.n, 7) % KEPT_BACK == (uint64_t)network % KEPT_BACK;
}

int differential_lesson_new(const struct differential *d, struct differential_lesson **out, struct error *e) {
  struct differential_lesson *l = mem_alloc(sizeof *l);
  struct arena a;
  int rc = OK;
  if (!l) return no_memory(e);
  arena_init(&l->arena, 0, 0);
  arena_init(&a, 0, 0);
  l->c = arena_array(&l->arena, struct lesson_case, (size_t)d->cases + 1);
  int *of = arena_array(&l->arena, int, (size_t)d->references.count + 1); /* cases of each publication */
  if (!l->c || !of) rc = no_memory(e);
  for (int i = 0; i < d->cases && rc == OK; i++) of[d->known[i].publication]++;
  for (int i = 0; i < d->cases && rc == OK; i++) {
    struct shortlist s;
    struct lesson_case *c = &l->c[i];
    rc = differential_shortlist(d, &d->known[i].c, d->known[i].publication, &a, &s, e);
    if (rc < 0) break;
    c->n = s.n;
    c->truth = -1;
    c->weight = powf((float)of[d->known[i].publication], -SAME_PUBLICATION);
    c->x = arena_alloc_array(&l->arena, sizeof *c->x, (size_t)s.n + 1, _Alignof(float));
    if (!c->x) rc = no_memory(e);
    if (rc == OK) memcpy(c->x, s.x, (size_t)s.n * sizeof *c->x);
    for (int k = 0; k < s.n; k++)
      if (s.disease[k] == d->known[i].disease) c->truth = k;
    arena_reset(&a);
  }
  arena_free(&a);
  if (rc < 0)
    differential_lesson_free(l);
  else
    *out = l;
  return rc;
}
void differential_lesson_free(struct differential_lesson *l) {
  if (!l) return;
  arena_free(&l->arena);
  mem_free(l);
}

static void standardise(const struct differential_lesson *l, const int *at, int n, struct network *net) {
  double sum[FEATURES] = {0}, square[FEATURES] = {0}, rows = 0;
  for (int i = 0; i < n; i++)
    for (int r = 0; r < l->c[at[i]].n; r++, rows++)
      for (int k = 0; k < FEATURES; k++) {
        double x = (double)l->c[at[i]].x[r][k];
        sum[k] += x;
        square[k] += x * x;
      }
  for (int k = 0; k < FEATURES; k++) {
    double mean = sum[k] / rows;
    net->mean[k] = (float)mean;
    net->scale[k] = (float)(sqrt(fmax(square[k] / rows - mean * mean, 1e-12)) + 1e-5);
    net->inverse[k] = 1 / net->scale[k];
  }
}
/* Numbers in [-1, 1), the same on every machine */
static float draw(uint64_t *state) { return (float)((int64_t)(hash64_u64(++*state) >> 11)) / (float)(1LL << 52) - 1; }

/* Adds the gradient of -log P(truth) to g. p, hidden: scratch of the shortlist. */
static void gradient(const struct network *net, const struct lesson_case *c, float *p, float (*hidden)[HIDDEN], struct network *g) {
  if (c->n == 0) return;
  float none = network_none(net, c->x[0]), top = none, total;
  for (int r = 0; r < c->n; r++) top = fmaxf(top, p[r] = network_score(net, c->x[r], hidden[r]));
  total = expf(none - top);
  for (int r = 0; r < c->n; r++) total += p[r] = expf(p[r] - top);
  for (int r = 0; r < c->n; r++) {
    float s = c->weight * (p[r] / total - (r == c->truth)), back[HIDDEN];
    if (fabsf(s) < 1e-5F) continue;
    for (int j = 0; j < HIDDEN; j++) {
      g->second[j] += s * hidden[r][j];
      back[j] = hidden[r][j] > 0 ? s * net->second[j] : 0;
      g->bias[j] += back[j];
    }
    for (int k = 0; k < FEATURES; k++) {
      float z = (c->x[r][k] - net->mean[k]) * net->inverse[k];
      g->direct[k] += s * z;
      for (int j = 0; j < HIDDEN; j++) g->first[k][j] += back[j] * z;
    }
  }
  float s = c->weight * (expf(none - top) / total - (c->truth < 0));
  g->none[0] += s;
  g->none[1] += s * (c->x[0][F_FINDINGS] - net->mean[F_FINDINGS]) * net->inverse[F_FINDINGS];
  g->none[2] += s * (c->x[0][F_INFORMATION] - net->mean[F_INFORMATION]) * net->inverse[F_INFORMATION];
}
static void step(struct network *net, struct moments *a, int batch, float rate) {
  enum { FIRST = offsetof(struct network, direct) / sizeof(float), ALL = sizeof(struct network) / sizeof(float) };
  float *w = (float *)(void *)net, *g = (float *)(void *)&a->g, *m = (float *)(void *)&a->m, *v = (float *)(void *)&a->v;
  a->steps++;
  float m_part = 1 - powf(0.9F, (float)a->steps), v_part = 1 - powf(0.999F, (float)a->steps);
  for (int i = FIRST; i < ALL; i++) {
    float x = g[i] / (float)batch + RIDGE * w[i];
    m[i] = 0.9F * m[i] + 0.1F * x;
    v[i] = 0.999F * v[i] + 0.001F * x * x;
    w[i] -= rate * (m[i] / m_part) / (sqrtf(v[i] / v_part) + 1e-8F);
    g[i] = 0;
  }
  net->direct[F_ABSENT] = fmaxf(net->direct[F_ABSENT], ABSENT_LEAST * net->scale[F_ABSENT]);
  memset(net->first[F_ABSENT], 0, sizeof net->first[F_ABSENT]);
}
static int descend(const struct differential_lesson *l, int *at, int n, int seed, struct network *net, struct error *e) {
  struct moments *a = mem_alloc(sizeof *a);
  int most = 0;
  uint64_t state = hash64_u64((uint64_t)seed);
  for (int i = 0; i < n; i++) most = l->c[at[i]].n > most ? l->c[at[i]].n : most;
  float *p = mem_alloc(((size_t)most + 1) * sizeof *p), (*hidden)[HIDDEN] = mem_alloc(((size_t)most + 1) * sizeof *hidden);
  int rc = a && p && hidden ? OK : no_memory(e);
  if (rc == OK) {
    *a = (struct moments){0};
    for (int k = 0; k < FEATURES; k++)
      for (int j = 0; j < HIDDEN; j++) net->first[k][j] = k == F_ABSENT ? 0 : draw(&state) / sqrtf(FEATURES);
    for (int j = 0; j < HIDDEN; j++) net->second[j] = draw(&state) / sqrtf(HIDDEN);
  }
  int rounds = STEPS * BATCH / (n ? n : 1) + 1;
  for (int round = 0; round < rounds && rc == OK; round++) {
    float rate = RATE * (1 - (float)round / (float)rounds);
    for (int i = n - 1; i > 0; i--) { /* in another order each time */
      int k = (int)(hash64_u64(++state) % (uint64_t)(i + 1)), t = at[i];
      at[i] = at[k];
      at[k] = t;
    }
    for (int i = 0, in = 0; i < n; i++) {
      gradient(net, &l->c[at[i]], p, hidden, &a->g);
      if (++in == BATCH || i == n - 1) step(net, a, in, rate), in = 0;
    }
  }
  mem_free(a);
  mem_free(p);
  mem_free(hidden);
  return rc;
}

/* ---- how sharp ---- */

struct held { /* scores of a case that was kept back */
  int n, truth;
  float none, *score;
};
static double surprise(const struct held *h, int n, double sharp, double shift) {
  double sum = 0;
  for (int i = 0; i < n; i++) {
    double none = sharp * (double)h[i].none + shift, top = none, total;
    for (int r = 0; r < h[i].n; r++) top = fmax(top, sharp * (double)h[i].score[r]);
    total = exp(none - top);
    for (int r = 0; r < h[i].n; r++) total += exp(sharp * (double)h[i].score[r] - top);
    sum += top + log(total) - (h[i].truth < 0 ? none : sharp * (double)h[i].score[h[i].truth]);
  }
  return sum;
}
/* All scores times `sharp`, "none" shifted: likeliest on what was kept back, by ever finer steps */
static int sharpen(const struct differential_lesson *l, const int *at, int n, struct network *net, struct error *e) {
  struct arena a;
  arena_init(&a, 0, 0);
  struct held *h = arena_array(&a, struct held, (size_t)n + 1);
  float hidden[HIDDEN];
  int rc = h ? OK : no_memory(e), used = 0;
  for (int i = 0; i < n && rc == OK; i++) {
    const struct lesson_case *c = &l->c[at[i]];
    if (c->n == 0) continue;
    h[used] = (struct held){c->n, c->truth, network_none(net, c->x[0]), arena_array(&a, float, (size_t)c->n)};
    if (!h[used].score) rc = no_memory(e);
    for (int r = 0; r < c->n && rc == OK; r++) h[used].score[r] = network_score(net, c->x[r], hidden);
    used++;
  }
  double sharp = 1, shift = 0, best = rc == OK && used ? surprise(h, used, 1, 0) : 0;
  for (double by = 0.4; rc == OK && used && by > 0.01; by /= 2)
    for (bool moved = true; moved;) {
      const double to[4][2] = {{sharp * (1 + by), shift}, {sharp / (1 + by), shift}, {sharp, shift + by}, {sharp, shift - by}};
      moved = false;
      for (int k = 0; k < 4; k++) {
        double now = surprise(h, used, to[k][0], to[k][1]);
        if (now < best - 1e-6) best = now, sharp = to[k][0], shift = to[k][1], moved = true;
      }
    }
  for (int k = 0; k < FEATURES; k++) net->direct[k] *= (float)sharp;
  for (int j = 0; j < HIDDEN; j++) net->second[j] *= (float)sharp;
  for (int k = 0; k < NONE; k++) net->none[k] *= (float)sharp;
  net->none[0] += (float)shift;
  arena_free(&a);
  return rc;
}

static int fit_network(struct differential *d, const struct differential_lesson *l, int folds, int out_fold, int network, int *at,
                       int *used, struct error *e) {
  struct network *net = &d->net[network];
  int n = 0, back = d->cases;
  for (int i = 0; i < d->cases; i++) {
    if (out_fold >= 0 && differential_fold(&d->known[i].c, folds) == out_fold) continue;
    at[kept_back(&d->known[i].c, network) ? --back : n++] = i;
  }
  if (n < 20) return error_set(e, E_INPUT, "too few cases to learn from");
  *used = n + d->cases - back;
  *net = (struct network){0};
  standardise(l, at, n, net);
  TRY(descend(l, at, n, network + 1, net, e));
  return sharpen(l, at + back, d->cases - back, net, e);
}
int differential_fit(struct differential *d, const struct differential_lesson *l, int folds, int out_fold, struct buf *json,
                     struct error *e) {
  struct json_out o;
  int *at = mem_alloc(((size_t)d->cases + 1) * sizeof *at), rc = at ? OK : no_memory(e), used = 0;
  for (int i = 0; i < NETWORKS && rc == OK; i++) rc = fit_network(d, l, folds, out_fold, i, at, &used, e);
  mem_free(at);
  if (rc < 0) return rc;
  d->nets = NETWORKS;
  json_out_init(&o, json, false);
  json_out_object(&o);
  json_kv_i64(&o, "cases", used);
  json_out_key(&o, "networks");
  json_out_array(&o);
  for (int i = 0; i < NETWORKS; i++) {
    json_out_object(&o);
    network_write(&d->net[i], &o);
    json_out_end(&o);
  }
  json_out_end(&o);
  json_kv_f64(&o, "gene_log_ratio", d->gene_log_ratio);
  json_out_end(&o);
  return buf_check(json, e);
}
