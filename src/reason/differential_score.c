/* What is known of each candidate and a set of findings, and the small network that makes odds of it. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "reason/differential_private.h"

#define LOOKED_AT 50 /* candidates by each of seven orders that are looked at closely */
#define TYPICAL 2.0F /* times the background */

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for a differential"); }

/* ---- a set of findings ---- */

struct query {
  int *closure;
  int n;
  float *weight; /* (n): 1 - how many of the closure are counted under this term */
  int *absent;
  int n_absent;
  float information;
};

static int find_int(const int *v, int n, int x) {
  int lo = 0, hi = n;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (v[mid] < x)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo < n && v[lo] == x ? lo : -1;
}

static int query_of(const struct differential *d, const struct view *w, const struct finding_case *c, struct arena *a, struct query *q,
                    struct error *e) {
  *q = (struct query){0};
  TRY(differential_closure(d, c->observed, c->n_observed, a, &q->closure, e));
  while (q->closure[q->n] >= 0) q->n++;
  q->weight = arena_array(a, float, (size_t)q->n + 1);
  q->absent = arena_array(a, int, (size_t)c->n_excluded + 1);
  if (!q->weight || !q->absent) return no_memory(e);
  for (int i = 0; i < q->n; i++) {
    q->weight[i] += 1;
    q->information += w->information[q->closure[i]];
    int p = d->tree[q->closure[i]] >= 0 ? find_int(q->closure, q->n, d->tree[q->closure[i]]) : -1;
    if (p >= 0) q->weight[p] -= 1;
  }
  for (int i = 0; i < c->n_excluded; i++) { /* each once; not what is also observed */
    int t = c->excluded[i];
    bool had = find_int(q->closure, q->n, t) >= 0;
    for (int k = 0; k < q->n_absent; k++) had |= q->absent[k] == t;
    if (!had) q->absent[q->n_absent++] = t;
  }
  return OK;
}

/* ---- all candidates, cheaply ---- */

struct glance { /* (diseases) */
  float *evidence, *absent, *best, *hits, (*nearest)[3], *cubes, *contained, *count;
  uint64_t *met; /* findings that share something with the disease, as bits */
};
#define BITS 64 /* findings beyond are not matched one by one here */

struct ordered {
  float information; /* first: compared */
  int at;            /* in the closure */
  uint64_t findings; /* that this term is broader than, or is */
};
static int by_information(const void *a, const void *b) {
  float x = ((const struct ordered *)a)->information, y = ((const struct ordered *)b)->information;
  return (x < y) - (x > y);
}
static int order_closure(const struct differential *d, const struct view *w, const struct finding_case *c, const struct query *q,
                         struct arena *a, struct ordered **out, struct error *e) {
  struct ordered *o = arena_array(a, struct ordered, (size_t)q->n + 1);
  if (!o) return no_memory(e);
  for (int i = 0; i < q->n; i++) o[i] = (struct ordered){w->information[q->closure[i]], i, 0};
  for (int f = 0; f < c->n_observed && f < BITS; f++) {
    const int *up;
    int n = ontology_ancestors(d->o, c->observed[f], &up);
    for (int k = 0; k < n; k++) o[find_int(q->closure, q->n, up[k])].findings |= 1ULL << f;
  }
  qsort(o, (size_t)q->n, sizeof *o, by_information);
  *out = o;
  return OK;
}
static int new_glance(const struct differential *d, struct arena *a, struct glance *g, struct error *e) {
  size_t n = (size_t)d->diseases + 1;
  g->evidence = arena_array(a, float, n);
  g->absent = arena_array(a, float, n);
  g->best = arena_array(a, float, n);
  g->hits = arena_array(a, float, n);
  g->nearest = arena_alloc_array(a, sizeof *g->nearest, n, _Alignof(float));
  g->cubes = arena_array(a, float, n);
  g->contained = arena_array(a, float, n);
  g->count = arena_array(a, float, n);
  g->met = arena_array(a, uint64_t, n);
  bool all = g->evidence && g->absent && g->best && g->hits && g->nearest && g->cubes && g->contained && g->count && g->met;
  return all ? OK : no_memory(e);
}
/* From the postings: all that needs no more than the terms of the findings */
static void glance_terms(const struct differential *d, const struct view *w, const struct finding_case *c, const struct query *q,
                         const struct ordered *o, struct glance *g) {
  for (int i = 0; i < q->n; i++) {
    int t = q->closure[o[i].at];
    float weight = q->weight[o[i].at], more = d->background[t] / w->background[t];
    for (int k = d->posting_start[t]; k < d->posting_start[t + 1]; k++) {
      const struct posting *p = &d->posting[k];
      uint64_t fresh = o[i].findings & ~g->met[p->disease];
      g->evidence[p->disease] += weight * (more == 1 ? p->u : log1pf((expf(p->u) - 1) * more)); /* p over the other background */
      if (!fresh) continue;
      g->best[p->disease] += (float)__builtin_popcountll(fresh) * o[i].information;
      g->met[p->disease] |= fresh;
    }
  }
  for (int i = 0; i < c->n_observed; i++) {
    int t = c->observed[i];
    for (int k = d->posting_start[t]; k < d->posting_start[t + 1]; k++) g->hits[d->posting[k].disease] += d->posting[k].typical;
  }
  for (int i = 0; i < q->n_absent; i++)
    for (int k = d->posting_start[q->absent[i]]; k < d->posting_start[q->absent[i] + 1]; k++)
      g->absent[d->posting[k].disease] += d->posting[k].absent;
}
static int glance_cases(const struct differential *d, const struct view *w, const struct query *q, struct arena *a, struct glance *g,
                        struct error *e) {
  float *shared = arena_array(a, float, (size_t)d->cases + 1), *all = arena_array(a, float, (size_t)d->cases + 1);
  if (!shared || !all) return no_memory(e);
  for (int i = 0; i < q->n; i++) {
    int t = q->closure[i];
    for (int k = d->case_start[t]; k < d->case_start[t + 1]; k++) shared[d->case_at[k]] += w->information[t];
  }
  for (int i = 0; i < d->cases; i++) all[i] = d->known[i].information;
  for (int i = 0; i < w->n_changed; i++) {
    int t = w->changed[i];
    for (int k = d->case_start[t]; k < d->case_start[t + 1]; k++) all[d->case_at[k]] += w->information[t] - d->information[t];
  }
  for (int i = 0; i < d->cases; i++) {
    const struct known_case *k = &d->known[i];
    if (k->publication == w->without) continue;
    float alike = shared[i] / (q->information + all[i] - shared[i] + 1e-6F), *n = g->nearest[k->disease];
    if (alike > n[0])
      n[2] = n[1], n[1] = n[0], n[0] = alike;
    else if (alike > n[1])
      n[2] = n[1], n[1] = alike;
    else if (alike > n[2])
      n[2] = alike;
    g->cubes[k->disease] += alike * alike * alike;
    g->count[k->disease] += 1;
    g->contained[k->disease] = fmaxf(g->contained[k->disease], shared[i] / (q->information + 1e-6F));
  }
  return OK;
}

/* ---- the ones looked at closely ---- */

struct marks {       /* (terms) */
  float *weight, *p; /* of the findings' closure, 0 outside; frequency in the disease at hand */
  uint8_t *in;
};
/* The findings one by one: what of them, or of what is broader, the disease has */
static void match_findings(const struct differential *d, const struct view *w, const struct finding_case *c, const struct vector *v,
                           const struct marks *m, float x[FEATURES]) {
  float best = 0, share = 0, weighted = 0, hits = 0, n = (float)c->n_observed;
  for (int i = 0; i < c->n_observed; i++) {
    const int *up;
    int t = c->observed[i], k = ontology_ancestors(d->o, t, &up);
    float most = 0, heavy = 0;
    for (int j = 0; j < k; j++) {
      float p = m->p[up[j]];
      if (p <= 0) continue;
      most = fmaxf(most, w->information[up[j]]);
      heavy = fmaxf(heavy, w->information[up[j]] * sqrtf(p));
    }
    best += most;
    share += most / (w->information[t] + 1e-6F);
    weighted += heavy;
    hits += m->p[t] > TYPICAL * w->background[t];
    x[F_FLAT] += m->p[t] > 0 ? logf(m->p[t] / w->background[t]) : v->floor;
  }
  x[F_BEST] = best / n;
  x[F_BEST_SHARE] = share / n;
  x[F_HITS] = hits / n;
  x[F_BEST_WEIGHTED] = weighted / n;
}
static void look(const struct differential *d, const struct view *w, const struct finding_case *c, const struct query *q,
                 const struct vector *v, int disease, struct marks *m, float x[FEATURES]) {
  float covered = 0, profile = 0, had = 0;
  int annotated = 0;
  for (int i = 0; i < v->n; i++) {
    struct entry again;
    const struct entry *t = &v->entry[i];
    if (w->background[t->term] != d->background[t->term])
      again = differential_entry(v, t->term, t->annotated, t->linked, t->cases, w->background[t->term]), t = &again;
    int broader = d->tree[t->term];
    bool in = m->in[t->term], told = broader >= 0 && m->in[broader];
    m->p[t->term] = t->p;
    annotated += t->annotated > 0;
    if (in) {
      x[F_ANNOTATED_EVIDENCE] += m->weight[t->term] * t->from_annotation;
      x[F_LINKED_EVIDENCE] += m->weight[t->term] * t->from_linked;
      x[F_CASE_EVIDENCE] += m->weight[t->term] * t->from_cases;
      covered += w->information[t->term];
    }
    if (t->p <= TYPICAL * w->background[t->term]) continue;
    float more = fmaxf(0, w->information[t->term] - (broader >= 0 ? w->information[broader] : 0));
    profile += t->p * more;
    if (in) {
      had += t->p * more;
    } else {
      x[F_UNMENTIONED] += t->absent * (broader < 0 || told ? 1 : 0.3F);
      if (told) x[F_MISMATCH] += t->p * more;
    }
  }
  x[F_LINKED] = v->linked;
  x[F_GENES] = logf((float)d->disease[disease].genes + 1);
  x[F_COVERED] = covered / (q->information + 1e-6F);
  x[F_PROFILE_SHARE] = had / (profile + 1e-3F);
  x[F_PROFILE] = logf(profile + 1);
  x[F_TERMS] = logf((float)annotated + 1);
  x[F_LOG_CASES] = logf(v->cases + 0.03F);
  x[F_LOG_PUBLICATIONS] = logf(v->publications + 0.1F);
  x[F_ANNOTATED] = v->annotated;
  match_findings(d, w, c, v, m, x);
  for (int i = 0; i < v->n; i++) m->p[v->entry[i].term] = 0;
}
/* What the terms say of a disease seen without a publication: the first glance was with it */
static void glance_again(const struct query *q, const struct marks *m, const struct vector *v, struct glance *g, int disease) {
  float evidence = 0, absent = 0;
  for (int i = 0; i < v->n; i++) {
    if (m->in[v->entry[i].term]) evidence += m->weight[v->entry[i].term] * v->entry[i].u;
    for (int j = 0; j < q->n_absent; j++)
      if (q->absent[j] == v->entry[i].term) absent += v->entry[i].absent;
  }
  g->evidence[disease] = evidence;
  g->absent[disease] = absent;
}
/* The same for the matches of single findings, so that the shortlist knows nothing of the publication either */
static void match_again(const struct differential *d, const struct view *w, const struct finding_case *c, const struct vector *v,
                        struct marks *m, struct glance *g, int disease) {
  float x[FEATURES] = {0};
  for (int i = 0; i < v->n; i++) m->p[v->entry[i].term] = v->entry[i].p;
  match_findings(d, w, c, v, m, x);
  for (int i = 0; i < v->n; i++) m->p[v->entry[i].term] = 0;
  g->best[disease] = x[F_BEST] * (float)c->n_observed;
  g->hits[disease] = x[F_HITS] * (float)c->n_observed;
}

static void take_best(const struct differential *d, const struct glance *g, int order, const uint8_t *candidate, const float *log_cases,
                      uint8_t *taken, struct shortlist *out) {
  int best[LOOKED_AT], m = 0;
  float key[LOOKED_AT];
  for (int i = 0; i < d->diseases; i++) {
    if (!candidate[i]) continue;
    if (order >= 5 && g->count[i] > 0) continue; /* of whom no case is known: their places of their own */
    float v = order == 0   ? g->evidence[i]
              : order == 1 ? g->nearest[i][0]
              : order == 2 ? g->best[i]
              : order == 3 ? g->hits[i] + 1e-3F * g->best[i]
              : order == 4 ? g->evidence[i] + log_cases[i]
              : order == 5 ? g->evidence[i]
                           : g->best[i];
    if (m == LOOKED_AT && v <= key[m - 1]) continue;
    int k = m < LOOKED_AT ? m++ : m - 1;
    while (k > 0 && key[k - 1] < v) best[k] = best[k - 1], key[k] = key[k - 1], k--;
    best[k] = i;
    key[k] = v;
  }
  for (int i = 0; i < m; i++)
    if (!taken[best[i]]) taken[best[i]] = 1, out->disease[out->n++] = best[i];
}
/* Less the best candidate's */
static void margin(struct shortlist *s, int from, int to) {
  float top = -INFINITY;
  for (int i = 0; i < s->n; i++) top = fmaxf(top, s->x[i][from]);
  for (int i = 0; i < s->n; i++) s->x[i][to] = s->x[i][from] - top;
}

static void describe(const struct differential *d, const struct view *w, const struct finding_case *c, const struct query *q,
                     const struct vector *again, const struct glance *g, struct marks *m, struct shortlist *out) {
  for (int i = 0; i < out->n; i++) {
    int at = out->disease[i];
    float *x = out->x[i];
    x[F_EVIDENCE] = g->evidence[at];
    x[F_ABSENT] = g->absent[at];
    for (int k = 0; k < 3; k++) x[F_NEAREST + k] = g->nearest[at][k];
    x[F_CUBES] = g->cubes[at] / (g->count[at] + 1);
    x[F_CONTAINED] = g->contained[at];
    const struct vector *v = again[at].entry ? &again[at] : &d->vector[at];
    int age = differential_age_band(c->age);
    look(d, w, c, q, v, at, m, x);
    x[F_SEX] = c->sex ? v->sex[c->sex - 1] : 0;
    x[F_AGE] = age >= 0 ? v->age[age] : 0;
    x[F_LITERATURE] = logf(v->literature + 1);
    x[F_FINDINGS] = logf((float)c->n_observed + 1);
    x[F_INFORMATION] = logf(q->information + 1e-3F);
  }
  margin(out, F_EVIDENCE, F_EVIDENCE_MARGIN);
  margin(out, F_NEAREST, F_NEAREST_MARGIN);
  margin(out, F_BEST, F_BEST_MARGIN);
}

int differential_shortlist(const struct differential *d, const struct finding_case *c, int without, struct arena *a, struct shortlist *out,
                           struct error *e) {
  enum { ORDERS = 7 };
  size_t terms = (size_t)ontology_terms(d->o) + 1, n = (size_t)d->diseases + 1;
  struct view w;
  struct query q;
  struct ordered *o = NULL;
  struct glance g;
  TRY(differential_view(d, without, a, &w, e));
  TRY(query_of(d, &w, c, a, &q, e));
  TRY(order_closure(d, &w, c, &q, a, &o, e));
  TRY(new_glance(d, a, &g, e));
  struct marks m = {arena_array(a, float, terms), arena_array(a, float, terms), arena_array(a, uint8_t, terms)};
  uint8_t *taken = arena_array(a, uint8_t, n);
  float *log_cases = arena_array(a, float, n);
  struct vector *again = arena_array(a, struct vector, n); /* of the diseases that the publication left out has touched */
  out->n = 0;
  out->disease = arena_array(a, int, ORDERS *LOOKED_AT + 1);
  out->x = arena_alloc_array(a, sizeof *out->x, ORDERS * LOOKED_AT + 1, _Alignof(float));
  out->candidate = arena_array(a, uint8_t, n);
  out->best = g.best;
  if (!m.weight || !m.p || !m.in || !taken || !log_cases || !again || !out->disease || !out->x || !out->candidate) return no_memory(e);
  for (int i = 0; i < q.n; i++) m.in[q.closure[i]] = 1, m.weight[q.closure[i]] = q.weight[i];
  glance_terms(d, &w, c, &q, o, &g);
  TRY(glance_cases(d, &w, &q, a, &g, e));
  for (int i = 0; i < d->diseases; i++) {
    out->candidate[i] = d->disease[i].annotated || d->disease[i].cases > 0;
    log_cases[i] = logf(d->disease[i].cases + 0.03F);
  }
  for (int k = without < 0 ? 0 : d->touched_start[without]; without >= 0 && k < d->touched_start[without + 1]; k++) {
    int i = d->touched[k];
    TRY(differential_vector(d, i, &w, a, &again[i], e));
    out->candidate[i] = again[i].told;
    log_cases[i] = logf(again[i].cases + 0.03F);
    glance_again(&q, &m, &again[i], &g, i);
    match_again(d, &w, c, &again[i], &m, &g, i);
  }
  for (int order = 0; order < ORDERS; order++) take_best(d, &g, order, out->candidate, log_cases, taken, out);
  describe(d, &w, c, &q, again, &g, &m, out);
  return OK;
}

/* ---- the network ---- */

/* hidden: (HIDDEN) left as it was used, for learning */
float network_score(const struct network *net, const float x[FEATURES], float hidden[HIDDEN]) {
  float s = 0;
  for (int j = 0; j < HIDDEN; j++) hidden[j] = net->bias[j];
  for (int i = 0; i < FEATURES; i++) {
    float z = (x[i] - net->mean[i]) * net->inverse[i];
    s += net->direct[i] * z;
    if (i == F_ABSENT) continue;
    for (int j = 0; j < HIDDEN; j++) hidden[j] += net->first[i][j] * z;
  }
  for (int j = 0; j < HIDDEN; j++) hidden[j] = fmaxf(hidden[j], 0), s += net->second[j] * hidden[j];
  return s;
}
float network_none(const struct network *net, const float x[FEATURES]) {
  return net->none[0] + net->none[1] * (x[F_FINDINGS] - net->mean[F_FINDINGS]) * net->inverse[F_FINDINGS] +
         net->none[2] * (x[F_INFORMATION] - net->mean[F_INFORMATION]) * net->inverse[F_INFORMATION];
}

float differential_score(const struct differential *d, const float x[FEATURES]) {
  float sum = 0, hidden[HIDDEN];
  for (int i = 0; i < d->nets; i++) sum += network_score(&d->net[i], x, hidden) - network_none(&d->net[i], x);
  return sum / (float)d->nets;
}

static const struct part {
  const char *name;
  size_t at;
  int n;
} parts[] = {{"mean", offsetof(struct network, mean), FEATURES},     {"scale", offsetof(struct network, scale), FEATURES},
             {"direct", offsetof(struct network, direct), FEATURES}, {"first", offsetof(struct network, first), FEATURES *HIDDEN},
             {"bias", offsetof(struct network, bias), HIDDEN},       {"second", offsetof(struct network, second), HIDDEN},
             {"none", offsetof(struct network, none), NONE}};
int network_read(struct json j, struct network *net, struct error *e) {
  *net = (struct network){0};
  for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
    struct json list = json_get(j, parts[k].name), v;
    struct json_iter it = json_items(list);
    float *to = (float *)(void *)((char *)net + parts[k].at);
    double x;
    if (json_count(list) != (size_t)parts[k].n)
      return error_set(e, E_INPUT, "weights: expected %d numbers in %s", parts[k].n, parts[k].name);
    while (json_next(&it, &v)) {
      if (!json_f64(v, &x)) return error_set(e, E_INPUT, "weights: expected numbers in %s", parts[k].name);
      *to++ = (float)x;
    }
  }
  for (int i = 0; i < FEATURES; i++) {
    if (!(net->scale[i] > 0)) return error_set(e, E_INPUT, "weights: expected numbers above 0 in scale");
    net->inverse[i] = 1 / net->scale[i];
  }
  return OK;
}
void network_write(const struct network *net, struct json_out *o) {
  for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
    const float *from = (const float *)(const void *)((const char *)net + parts[k].at);
    json_out_key(o, parts[k].name);
    json_out_array(o);
    for (int i = 0; i < parts[k].n; i++) json_out_f32(o, from[i]);
    json_out_end(o);
  }
}
