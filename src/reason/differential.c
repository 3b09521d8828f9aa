#include "reason/differential.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "reason/differential_private.h"

/* Chosen by leaving out publications of the shared training cases (docs/differential.md) */
#define PRIOR_WEIGHT 3.0F      /* annotations count like so many cases */
#define BACKGROUND_WEIGHT 1.0F /* the background, for diseases without annotations */
#define BACKGROUND_SHARE 0.2F  /* of the prior, for diseases with annotations */
#define SAME_PUBLICATION 0.3   /* a publication's n cases count like n^(1 - this) */
#define RARE 1e-4F             /* least background of a term */
#define HARDLY 0.97F           /* a background that a publication changes by less is left as it is */

static int no_memory(struct error *e) { return error_set(e, E_NOMEM, "no memory for a differential"); }

const struct ontology *differential_ontology(const struct differential *d) { return d->o; }
int differential_diseases(const struct differential *d) { return d->diseases; }
int differential_cases(const struct differential *d) { return d->cases; }
int differential_skipped(const struct differential *d) { return d->skipped; }
const struct finding_case *differential_case(const struct differential *d, int i) { return &d->known[i].c; }

/* ---- one disease ---- */

bool differential_cites(const struct differential *d, const struct annotation *a, int reference) {
  if (d->rows_stay) return false;
  for (int i = 0; i < a->cited; i++)
    if (d->cited[a->reference + i] == reference) return true;
  return false;
}

float differential_case_weight(int same) { return (float)pow(same, -SAME_PUBLICATION); }

struct slot { /* dense scratch: one per term */
  float annotated, linked, cases;
  bool used;
};

static void add_annotations(const struct differential *d, const struct disease *x, int without, struct slot *slot, int *used, int *n,
                            bool *any, float *linked) {
  for (int i = 0; i < x->annotations; i++) {
    const struct annotation *a = &x->annotation[i];
    if (a->aspect != 'P' || differential_cites(d, a, without)) continue;
    if (a->linked > 0) { /* beside the disease's own */
      const int *up;
      int m = ontology_ancestors(d->o, a->term, &up);
      for (int k = 0; k < m; k++) {
        struct slot *s = &slot[up[k]];
        if (!s->used) s->used = true, used[(*n)++] = up[k];
        s->linked = fmaxf(s->linked, a->linked * a->share);
      }
      *linked = fmaxf(*linked, a->linked);
      continue;
    }
    *any = true;
    if (a->negated) continue;
    /* the same term from several sources: their counts together */
    float share = 0, weight = 0;
    for (int k = 0; k < x->annotations; k++) {
      const struct annotation *b = &x->annotation[k];
      if (b->term != a->term || b->negated || b->linked > 0 || b->aspect != 'P' || differential_cites(d, b, without)) continue;
      share += b->share * b->weight;
      weight += b->weight;
    }
    share /= weight;
    const int *up;
    int m = ontology_ancestors(d->o, a->term, &up);
    for (int k = 0; k < m; k++) {
      struct slot *s = &slot[up[k]];
      if (!s->used) s->used = true, used[(*n)++] = up[k];
      if (share > s->annotated) s->annotated = share;
    }
  }
}
static void add_cases(const struct differential *d, const struct disease *x, int without, struct slot *slot, int *used, int *n,
                      struct vector *v) {
  for (int i = 0; i < x->n_at; i++) {
    const struct known_case *k = &d->known[x->at[i]];
    int same = 0, before = 0;
    if (k->publication == without) continue;
    for (int j = 0; j < x->n_at; j++) {
      same += d->known[x->at[j]].publication == k->publication;
      before += j < i && d->known[x->at[j]].publication == k->publication;
    }
    float w = differential_case_weight(same);
    v->publications += before == 0;
    v->cases += w;
    for (int j = 0; j < k->n_closure; j++) {
      struct slot *s = &slot[k->closure[j]];
      if (!s->used) s->used = true, used[(*n)++] = k->closure[j];
      s->cases += w;
    }
  }
}

int differential_view(const struct differential *d, int without, struct arena *a, struct view *out, struct error *e) {
  size_t terms = (size_t)ontology_terms(d->o) + 1, most = 0;
  *out = (struct view){without, d->background, d->information, NULL, 0};
  for (int i = 0; i < d->cases && without >= 0; i++)
    if (d->known[i].publication == without) most += (size_t)d->known[i].n_closure;
  if (most == 0) return OK;
  float *background = arena_array(a, float, terms), *information = arena_array(a, float, terms);
  int *changed = arena_array(a, int, most), *cases = arena_array(a, int, terms);
  if (!background || !information || !changed || !cases) return no_memory(e);
  memcpy(background, d->background, terms * sizeof *background);
  memcpy(information, d->information, terms * sizeof *information);
  for (int i = 0; i < d->cases; i++)
    for (int k = 0; k < d->known[i].n_closure && d->known[i].publication == without; k++)
      if (cases[d->known[i].closure[k]]++ == 0) changed[out->n_changed++] = d->known[i].closure[k];
  int n = out->n_changed;
  out->n_changed = 0;
  for (int i = 0; i < n; i++) {
    int t = changed[i];
    float b = fmaxf(RARE, background[t] - d->share_of_cases * (float)cases[t] / (float)d->cases);
    if (b > HARDLY * background[t]) continue;
    background[t] = b;
    information[t] = -logf(b);
    changed[out->n_changed++] = t;
  }
  out->background = background;
  out->information = information;
  out->changed = changed;
  return OK;
}

struct entry differential_entry(const struct vector *v, int term, float annotated, float linked, float cases, float background) {
  bool any = v->annotated || v->linked > 0;
  float weight = any ? PRIOR_WEIGHT : BACKGROUND_WEIGHT, share = any ? BACKGROUND_SHARE : 1.0F, b = background;
  float p = fminf(1, (cases + weight * ((1 - share) * fmaxf(annotated, linked) + share * b)) / (v->cases + weight));
  return (struct entry){.term = term,
                        .annotated = annotated,
                        .linked = linked,
                        .cases = cases,
                        .u = logf(p / b) - v->floor,
                        .absent = log1pf(-fminf(p, 0.97F)) - log1pf(-fminf(b, 0.97F)),
                        .p = p,
                        .from_annotation = v->annotated ? logf((0.8F * annotated + 0.2F * b) / (0.2F * b)) : 0,
                        .from_linked = v->linked > 0 ? logf((0.8F * linked + 0.2F * b) / (0.2F * b)) : 0,
                        .from_cases = v->cases > 0 ? logf((cases + b) / b) : 0};
}

int differential_vector(const struct differential *d, int disease, const struct view *w, struct arena *a, struct vector *out,
                        struct error *e) {
  const struct disease *x = &d->disease[disease];
  int terms = ontology_terms(d->o), n = 0;
  *out = (struct vector){0};
  struct slot *slot = arena_array(a, struct slot, (size_t)terms + 1);
  int *used = arena_array(a, int, (size_t)terms + 1);
  if (!slot || !used) return no_memory(e);
  add_annotations(d, x, w->without, slot, used, &n, &out->annotated, &out->linked);
  add_cases(d, x, w->without, slot, used, &n, out);
  out->told = out->annotated || out->cases > 0;
  differential_person(d, x, w->without, out);
  out->entry = arena_array(a, struct entry, (size_t)n + 1);
  if (!out->entry) return no_memory(e);
  bool any = out->annotated || out->linked > 0;
  float weight = any ? PRIOR_WEIGHT : BACKGROUND_WEIGHT, share = any ? BACKGROUND_SHARE : 1.0F;
  out->floor = logf(weight * share / (out->cases + weight));
  for (int i = 0; i < n; i++)
    out->entry[i] =
        differential_entry(out, used[i], slot[used[i]].annotated, slot[used[i]].linked, slot[used[i]].cases, w->background[used[i]]);
  out->n = n;
  return OK;
}

/* ---- building ---- */

static int background(struct differential *d, struct arena *a, struct error *e) {
  int terms = ontology_terms(d->o), annotated = 0;
  d->background = arena_array(&d->arena, float, (size_t)terms + 1);
  d->information = arena_array(&d->arena, float, (size_t)terms + 1);
  d->tree = arena_array(&d->arena, int, (size_t)terms + 1);
  float *of_diseases = arena_array(a, float, (size_t)terms + 1);
  struct slot *slot = arena_array(a, struct slot, (size_t)terms + 1);
  int *used = arena_array(a, int, (size_t)terms + 1);
  if (!d->background || !d->information || !d->tree || !of_diseases || !slot || !used) return no_memory(e);
  for (int i = 0; i < d->diseases; i++) {
    int n = 0;
    bool any = false;
    float linked = 0;
    add_annotations(d, &d->disease[i], -1, slot, used, &n, &any, &linked);
    d->disease[i].annotated = any;
    annotated += any;
    for (int k = 0; k < n; k++) {
      of_diseases[used[k]] += fmaxf(slot[used[k]].annotated, slot[used[k]].linked);
      slot[used[k]] = (struct slot){0};
    }
  }
  for (int i = 0; i < d->cases; i++)
    for (int k = 0; k < d->known[i].n_closure; k++) d->background[d->known[i].closure[k]] += 1.0F / (float)d->cases;
  float half = annotated && d->cases ? 0.5F : annotated ? 1.0F : 0.0F;
  d->share_of_cases = 1 - half;
  for (int t = 0; t < terms; t++) {
    d->background[t] = fminf(1, (1 - half) * d->background[t] + (annotated ? half * of_diseases[t] / (float)annotated : 0) + RARE);
    d->information[t] = -logf(d->background[t]);
  }
  for (int t = 0; t < terms; t++) {
    const int *up;
    int n = ontology_parents(d->o, t, &up);
    d->tree[t] = -1;
    for (int k = 0; k < n; k++)
      if (d->tree[t] < 0 || d->background[up[k]] < d->background[d->tree[t]]) d->tree[t] = up[k];
  }
  for (int i = 0; i < d->cases; i++)
    for (int k = 0; k < d->known[i].n_closure; k++) d->known[i].information += d->information[d->known[i].closure[k]];
  return OK;
}

static int postings(struct differential *d, struct arena *a, struct error *e) {
  int terms = ontology_terms(d->o);
  size_t all = 0, case_all = 0;
  d->vector = arena_array(&d->arena, struct vector, (size_t)d->diseases + 1);
  d->posting_start = arena_array(&d->arena, int, (size_t)terms + 2);
  d->case_start = arena_array(&d->arena, int, (size_t)terms + 2);
  if (!d->vector || !d->posting_start || !d->case_start) return no_memory(e);
  for (int i = 0; i < d->diseases; i++) {
    struct arena_mark m = arena_mark(a);
    struct vector *v = &d->vector[i];
    TRY(differential_vector(d, i, &(struct view){-1, d->background, d->information, NULL, 0}, a, v, e));
    struct entry *kept = arena_array(&d->arena, struct entry, (size_t)v->n + 1);
    if (!kept) return no_memory(e);
    memcpy(kept, v->entry, (size_t)v->n * sizeof *kept);
    v->entry = kept;
    arena_rewind(a, m);
    d->disease[i].cases = v->cases;
    d->disease[i].publications = v->publications;
    all += (size_t)v->n;
    for (int k = 0; k < v->n; k++) d->posting_start[kept[k].term + 1]++;
  }
  for (int t = 0; t < terms; t++) d->posting_start[t + 1] += d->posting_start[t];
  d->posting = arena_array(&d->arena, struct posting, all + 1);
  int *at = arena_array(a, int, (size_t)terms + 1);
  if (!d->posting || !at) return no_memory(e);
  memcpy(at, d->posting_start, ((size_t)terms + 1) * sizeof(int));
  for (int i = 0; i < d->diseases; i++)
    for (int k = 0; k < d->vector[i].n; k++) {
      const struct entry *x = &d->vector[i].entry[k];
      d->posting[at[x->term]++] = (struct posting){i, x->u, x->absent, x->p > 2 * d->background[x->term]};
    }
  for (int i = 0; i < d->cases; i++) {
    case_all += (size_t)d->known[i].n_closure;
    for (int k = 0; k < d->known[i].n_closure; k++) d->case_start[d->known[i].closure[k] + 1]++;
  }
  for (int t = 0; t < terms; t++) d->case_start[t + 1] += d->case_start[t];
  d->case_at = arena_array(&d->arena, int, case_all + 1);
  int *fill = arena_array(a, int, (size_t)terms + 1);
  if (!d->case_at || !fill) return no_memory(e);
  memcpy(fill, d->case_start, ((size_t)terms + 1) * sizeof(int));
  for (int i = 0; i < d->cases; i++)
    for (int k = 0; k < d->known[i].n_closure; k++) d->case_at[fill[d->known[i].closure[k]]++] = i;
  return OK;
}

int differential_use(struct differential *d, const char *json, size_t n, struct error *e) {
  struct json_parser *jp;
  struct json root;
  TRY(json_parser_new(&jp, e));
  int rc = json_parse(jp, json, n, n, &root, e);
  struct json list = json_get(root, "networks"), one;
  struct json_iter it = json_items(list);
  if (rc == OK && (json_count(list) < 1 || json_count(list) > NETWORKS_MOST))
    rc = error_set(e, E_INPUT, "weights: expected 1 to %d networks", NETWORKS_MOST);
  for (d->nets = 0; rc == OK && json_next(&it, &one); d->nets++) rc = network_read(one, &d->net[d->nets], e);
  if (rc == OK && !json_f64(json_get(root, "gene_log_ratio"), &d->gene_log_ratio))
    rc = error_set(e, E_INPUT, "weights: expected gene_log_ratio");
  json_parser_free(jp);
  return rc;
}

/* Each disease once for every reference that speaks of it; `last`: scratch. With `fill` NULL they are counted into touched_start. */
static void touch(struct differential *d, int *last, int *fill) {
  for (uint32_t r = 0; r < d->references.count; r++) last[r] = -1;
  for (int i = 0; i < d->diseases; i++) {
    const struct disease *x = &d->disease[i];
    int cited = 0;
    for (int k = 0; k < x->annotations; k++) cited += x->annotation[k].cited;
    for (int k = 0, row = 0, of = 0; k < cited + x->n_at; k++) {
      if (k < cited && of == x->annotation[row].cited) row++, of = 0;
      int r = k < cited ? d->cited[x->annotation[row].reference + of++] : d->known[x->at[k - cited]].publication;
      if (last[r] == i) continue;
      last[r] = i;
      if (fill)
        d->touched[fill[r]++] = i;
      else
        d->touched_start[r + 1]++;
    }
  }
}
static int touched(struct differential *d, struct arena *a, struct error *e) {
  size_t n = d->references.count;
  int *last = arena_array(a, int, n + 1), *fill = arena_array(a, int, n + 1);
  d->touched_start = arena_array(&d->arena, int, n + 2);
  if (!last || !fill || !d->touched_start) return no_memory(e);
  touch(d, last, NULL);
  for (size_t r = 0; r < n; r++) d->touched_start[r + 1] += d->touched_start[r];
  d->touched = arena_array(&d->arena, int, (size_t)d->touched_start[n] + 1);
  if (!d->touched) return no_memory(e);
  memcpy(fill, d->touched_start, n * sizeof *fill);
  touch(d, last, fill);
  return OK;
}

int differential_open(const struct differential_files *f, struct differential **out, struct error *e) {
  struct differential *d = mem_alloc(sizeof *d);
  struct arena a;
  struct str text;
  char shipped[4096];
  if (!d) return no_memory(e);
  *d = (struct differential){0};
  arena_init(&d->arena, 0, 0);
  arena_init(&a, 0, 0);
  intern_init(&d->ids, 0);
  intern_init(&d->references, 0);
  intern_init(&d->gene_ids, 0);
  intern_init(&d->entry_ids, 0);
  const char *weights = f->weights;
  int rc = differential_read(d, f, e);
  if (rc == OK) rc = differential_link(d, e);
  if (rc == OK) differential_people(d);
  if (rc == OK) rc = background(d, &a, e);
  if (rc == OK) rc = postings(d, &a, e);
  if (rc == OK) rc = touched(d, &a, e);
  if (rc == OK && !weights) {
    rc = file_join(shipped, sizeof shipped, file_data_dir(), "knowledge/differential.json", e);
    weights = shipped;
  }
  if (rc == OK) rc = file_read(&a, weights, 1 << 20, &text, e);
  if (rc == OK) {
    rc = differential_use(d, text.p, text.n, e);
    if (rc < 0) error_where(e, weights, 0, NULL);
  }
  arena_free(&a);
  if (rc < 0) {
    differential_free(d);
    return rc;
  }
  *out = d;
  return OK;
}
void differential_free(struct differential *d) {
  if (!d) return;
  for (int i = 0; i < d->diseases; i++) {
    mem_free(d->disease[i].annotation);
    mem_free(d->disease[i].at);
  }
  mem_free(d->disease);
  mem_free(d->known);
  mem_free(d->gene_edge);
  mem_free(d->cited);
  intern_release(&d->ids);
  intern_release(&d->references);
  for (int i = 0; i < d->entries; i++) mem_free(d->orphanet[i].row);
  mem_free(d->orphanet);
  mem_free(d->entry_edge);
  intern_release(&d->entry_ids);
  intern_release(&d->gene_ids);
  ontology_free(d->o);
  arena_free(&d->arena);
  mem_free(d);
}

/* ---- odds ---- */

#define BEYOND -300.0 /* what is not looked at closely has next to no probability */

/* Scores against "none of these"; -INFINITY for what is no candidate */
static int score_all(const struct differential *d, const struct finding_case *c, const struct str *without, struct arena *a, double **out,
                     struct error *e) {
  struct shortlist s = {0};
  uint32_t at;
  int skip = -1;
  if (without && intern_find(&d->references, *without, &at)) skip = (int)at;
  TRY(differential_shortlist(d, c, skip, a, &s, e));
  double *score = arena_array(a, double, (size_t)d->diseases + 1);
  bool *told = arena_array(a, bool, (size_t)d->diseases + 1); /* by a gene: a second one of the same disease tells nothing new */
  if (!score || !told) return no_memory(e);
  for (int i = 0; i < d->diseases; i++) score[i] = s.candidate[i] ? BEYOND + (double)s.best[i] : -INFINITY;
  for (int i = 0; i < s.n; i++) score[s.disease[i]] = (double)differential_score(d, s.x[i]);
  for (int g = 0; g < c->genes; g++)
    if (intern_find(&d->gene_ids, c->gene[g], &at))
      for (int k = 0; k < d->gene_edges; k++)
        if (d->gene_edge[k].gene == (int)at && !told[d->gene_edge[k].disease]) {
          told[d->gene_edge[k].disease] = true;
          score[d->gene_edge[k].disease] += d->gene_log_ratio;
        }
  *out = score;
  return OK;
}
/* log of 1 + the sum of exp(score): the ones stand for "none of these" */
static double log_total(const double *score, int n) {
  double top = 0, sum = 0;
  for (int i = 0; i < n; i++) top = fmax(top, score[i]);
  for (int i = 0; i < n; i++) sum += exp(score[i] - top);
  return top + log(sum + exp(-top));
}

int differential_place(const struct differential *d, const struct finding_case *c, struct str disease, const struct str *without,
                       struct arena *a, struct differential_place *out, struct error *e) {
  uint32_t at;
  double *score, best = -INFINITY;
  *out = (struct differential_place){0};
  TRY(score_all(d, c, without, a, &score, e));
  double total = log_total(score, d->diseases);
  bool known = intern_find(&d->ids, disease, &at) && isfinite(score[at]);
  int above = 0;
  for (int i = 0; i < d->diseases; i++) {
    best = fmax(best, score[i]);
    above += known && (score[i] > score[at] || (i < (int)at && score[i] == score[at]));
  }
  out->first = exp(best - total);
  if (!known) return OK;
  out->rank = above + 1;
  out->probability = exp(score[at] - total);
  return OK;
}

/* ---- the answer, for people ---- */

static int by_strength(const void *a, const void *b) {
  float x = fabsf(((const struct differential_evidence *)a)->log_ratio), y = fabsf(((const struct differential_evidence *)b)->log_ratio);
  return x != y ? (x < y ? 1 : -1) : 0;
}
static int evidence_of(const struct finding_case *c, const struct vector *v, struct arena *a, struct differential_disease *out,
                       struct error *e) {
  struct differential_evidence *list = arena_array(a, struct differential_evidence, (size_t)(c->n_observed + c->n_excluded) + 1);
  int n = 0;
  if (!list) return no_memory(e);
  for (int side = 0; side < 2; side++) {
    const int *term = side ? c->excluded : c->observed;
    for (int i = 0; i < (side ? c->n_excluded : c->n_observed); i++) {
      float r = side ? 0 : v->floor; /* a term that the disease is not known for */
      for (int k = 0; k < v->n; k++)
        if (v->entry[k].term == term[i]) r = side ? v->entry[k].absent : v->entry[k].u + v->floor;
      list[n++] = (struct differential_evidence){term[i], side == 1, r};
    }
  }
  qsort(list, (size_t)n, sizeof *list, by_strength);
  out->evidence = list;
  out->evidences = n;
  return OK;
}

#define ASKED_AMONG 20
/* Which unspoken finding would tell the most about the first diseases: expected drop of their entropy. */
static int questions(const struct differential *d, const struct finding_case *c, const double *p, const struct vector *v, int n,
                     struct arena *a, struct differential_answer *out, struct error *e) {
  int terms = ontology_terms(d->o);
  uint8_t *spoken = arena_array(a, uint8_t, (size_t)terms + 1);
  float(*share)[ASKED_AMONG] = arena_alloc_array(a, sizeof *share, (size_t)terms + 1, _Alignof(float));
  double before = 0, all = 0;
  if (!spoken || !share) return no_memory(e);
  for (int i = 0; i < c->n_observed; i++) {
    const int *up;
    int m = ontology_ancestors(d->o, c->observed[i], &up);
    for (int k = 0; k < m; k++) spoken[up[k]] = 1;
  }
  for (int i = 0; i < c->n_excluded; i++) spoken[c->excluded[i]] = 1;
  for (int i = 0; i < n; i++) all += p[i];
  for (int i = 0; i < n; i++) {
    before -= p[i] / all * log2(fmax(p[i] / all, 1e-12));
    for (int k = 0; k < v[i].n; k++) {
      const struct entry *x = &v[i].entry[k];
      share[x->term][i] = x->p;
    }
  }
  for (int t = 0; t < terms; t++) {
    double yes = 0, h_yes = 0, h_no = 0;
    if (spoken[t] || ontology_obsolete(d->o, t) || d->information[t] < 2) continue; /* information: too broad to ask about */
    for (int i = 0; i < n; i++) yes += p[i] / all * (double)share[t][i];
    if (yes < 0.02 || yes > 0.98) continue;
    for (int i = 0; i < n; i++) {
      double y = p[i] / all * (double)share[t][i] / yes, no = p[i] / all * (1 - (double)share[t][i]) / (1 - yes);
      if (y > 1e-12) h_yes -= y * log2(y);
      if (no > 1e-12) h_no -= no * log2(no);
    }
    double bits = before - yes * h_yes - (1 - yes) * h_no;
    int k = out->asks < 5 ? out->asks++ : 5;
    while (k > 0 && out->ask[k - 1].bits < bits) {
      if (k < 5) out->ask[k] = out->ask[k - 1];
      k--;
    }
    if (k < 5) out->ask[k] = (struct differential_question){t, bits};
  }
  return OK;
}

static int unknown_genes(const struct differential *d, const struct finding_case *c) {
  int n = 0;
  for (int g = 0; g < c->genes; g++) {
    uint32_t gene;
    int k = intern_find(&d->gene_ids, c->gene[g], &gene) ? 0 : d->gene_edges;
    while (k < d->gene_edges && d->gene_edge[k].gene != (int)gene) k++;
    n += k == d->gene_edges;
  }
  return n;
}

int differential_rank(const struct differential *d, const struct finding_case *c, int most, const struct str *without, struct arena *a,
                      struct differential_answer *out, struct error *e) {
  double *score;
  uint32_t gene;
  *out = (struct differential_answer){0};
  if (c->n_observed == 0) return error_set(e, E_INPUT, "at least one observed finding that the ontology knows is needed");
  if (most < 1 || most > 1000) return error_set(e, E_INPUT, "expected 1 to 1,000 diseases");
  TRY(score_all(d, c, without, a, &score, e));
  double total = log_total(score, d->diseases);
  out->none = exp(-total);
  out->genes_unknown = unknown_genes(d, c);
  int keep = most > ASKED_AMONG ? most : ASKED_AMONG, n = 0;
  int *at = arena_array(a, int, (size_t)keep + 1);
  out->disease = arena_array(a, struct differential_disease, (size_t)keep + 1);
  struct vector *v = arena_array(a, struct vector, (size_t)keep + 1);
  double *p = arena_array(a, double, (size_t)keep + 1);
  if (!at || !out->disease || !v || !p) return no_memory(e);
  for (int i = 0; i < d->diseases; i++) {
    if (!isfinite(score[i]) || (n == keep && score[i] <= score[at[n - 1]])) continue;
    int k = n < keep ? n++ : n - 1;
    while (k > 0 && score[at[k - 1]] < score[i]) at[k] = at[k - 1], k--;
    at[k] = i;
  }
  uint32_t skip;
  struct view w;
  TRY(differential_view(d, without && intern_find(&d->references, *without, &skip) ? (int)skip : -1, a, &w, e));
  for (int i = 0; i < n; i++) {
    const struct disease *x = &d->disease[at[i]];
    TRY(differential_vector(d, at[i], &w, a, &v[i], e));
    p[i] = exp(score[at[i]] - total);
    if (i >= most) continue;
    struct differential_disease *o = &out->disease[out->diseases++];
    *o = (struct differential_disease){.id = x->id,
                                       .name = x->name,
                                       .probability = p[i],
                                       .log_odds = score[at[i]],
                                       .cases = v[i].cases,
                                       .annotated = v[i].annotated,
                                       .orphanet = v[i].linked};
    for (int g = 0; g < c->genes; g++)
      if (intern_find(&d->gene_ids, c->gene[g], &gene))
        for (int k = 0; k < d->gene_edges; k++) o->gene |= d->gene_edge[k].gene == (int)gene && d->gene_edge[k].disease == at[i];
    TRY(evidence_of(c, &v[i], a, o, e));
  }
  return questions(d, c, p, v, n < ASKED_AMONG ? n : ASKED_AMONG, a, out, e);
}
