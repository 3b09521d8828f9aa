/* The tagger's trainer: a linear-chain CRF by stochastic gradient with AdaGrad's steps (Duchi et al. 2011) and L2.
 *
 * Everything is sequential and every sum has one order; exp is our own. So equal examples, options and seed give equal bytes.
 */
#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/thread.h"
#include "deid/tagger_private.h"

#define SEQUENCE 48 /* a line end after this many tokens ends a sequence: many small steps learn faster than few large */
#define NONE UINT32_MAX

/* Rows of weights are multiples of sixteen floats. Element by element, so the sums do not depend on the machine. */
typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
static inline floats *at16(float *p, uint32_t i) { return (floats *)(void *)(p + i); }
static inline const floats *of16(const float *p, uint32_t i) { return (const floats *)(const void *)(p + i); }

struct sequence {
  uint32_t first, n; /* tokens */
};
struct trainer {
  struct tagger model; /* labels, scheme, lists, templates; no weights */
  struct arena memory;
  struct intern words;      /* data set's word -> label */
  uint8_t word_label[4096]; /* 255 = dropped */
  uint32_t tokens_n, tokens_cap;
  uint8_t *gold, *space; /* per token */
  uint64_t *from;        /* per token + 1: its features in `features` */
  uint32_t *features;    /* ids */
  uint64_t features_n, features_cap;
  struct sequence *sequences;
  uint32_t sequences_n, sequences_cap;
  uint32_t *key, *count; /* table of features while reading; then ascending keys */
  uint32_t table_cap, table_used;
  uint64_t crossing;
  float *w, *g, *sum; /* [features][padded]: weights, AdaGrad's sums of squares, sum of the weights over late steps */
  float *transition, *transition_g, *transition_sum;
  uint32_t *touched;            /* per feature: step of the last update */
  uint32_t step, late, dropout; /* late: the step from which weights are averaged; dropout: of 2^32 */
  uint64_t run_key;             /* other features are hidden in every run; 0 in the first */
  float rate, decay, boost;
};

/* ---- exp without the C library, whose last bit differs between machines */
static inline float exp_of(float x) {
  if (x < -60) return 0;
  if (x > 60) x = 60;
  double d = x, k = (double)(int)(d * 1.4426950408889634 + (d < 0 ? -0.5 : 0.5));
  double r = d - k * 0.6931471805599453;
  double p = 1 + r * (1 + r * (0.5 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720))))));
  uint64_t bits = (uint64_t)(1023 + (int)k) << 52;
  double scale;
  memcpy(&scale, &bits, 8);
  return (float)(p * scale);
}

/* ---- labels */
static int text_label_of(struct str name) {
  for (int i = 0; i < TEXT_LABELS; i++)
    if (str_eqc(name, text_label_name(i))) return i;
  return -1;
}

static int label_add(struct trainer *r, struct str name, int kind, uint8_t *id, struct error *e) {
  for (uint32_t i = 0; i < r->model.labels; i++)
    if (str_eqc(name, r->model.label[i].name)) return *id = (uint8_t)i, OK;
  if (r->model.labels == TAGGER_LABELS) return error_set(e, E_LIMIT, "more than %d labels", TAGGER_LABELS);
  struct tagger_label *l = &r->model.label[r->model.labels];
  if (!name.n || name.n >= sizeof l->name) return error_set(e, E_INPUT, "a label's name is empty or too long");
  memcpy(l->name, name.p, name.n);
  l->name[name.n] = 0;
  l->kind = (uint8_t)kind;
  *id = (uint8_t)r->model.labels++;
  return OK;
}

static int label_map(struct trainer *r, struct json map, bool merge, struct str word, uint8_t *id, struct error *e) {
  char key[64];
  struct str to = STR_NONE;
  snprintf(key, sizeof key, "%.*s", STR_ARG(word));
  to = json_str(json_get(map, key));
  struct str own = to, ours = str_cut(&own, ':');
  if (!own.n) own = to;
  int kind = to.p && to.n ? text_label_of(ours) : TEXT_OTHER;
  if (kind < 0) return error_where(e, NULL, 0, "labels"), error_set(e, E_INPUT, "the map of labels names no label of ours");
  if (merge && (!to.p || !to.n)) return *id = 255, OK;
  return label_add(r, merge ? own : word, kind, id, e);
}

static int compare_words(const void *a, const void *b) { return str_cmp(*(const struct str *)a, *(const struct str *)b); }

/* All words of the examples in bytewise order, so that labels do not depend on the order of files. */
static int labels_make(struct trainer *r, const struct tagger_example *x, uint32_t n, const struct tagger_options *o, struct error *e) {
  struct json_parser *jp = NULL;
  struct json map = {0};
  uint32_t id;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < x[i].n; k++) TRY(intern_put(&r->words, x[i].spans[k].label, &id, e));
  if (r->words.count > sizeof r->word_label) return error_set(e, E_LIMIT, "too many words for labels");
  struct str *sorted = arena_array(&r->memory, struct str, r->words.count + 1);
  if (!sorted) return error_set(e, E_NOMEM, "no memory for labels");
  for (uint32_t i = 0; i < r->words.count; i++) sorted[i] = intern_str(&r->words, i);
  qsort(sorted, r->words.count, sizeof *sorted, compare_words);
  int rc = OK;
  if (o->labels_map.n) {
    rc = json_parser_new(&jp, e);
    if (rc == OK) rc = json_parse(jp, o->labels_map.p, o->labels_map.n, o->labels_map.n, &map, e);
  }
  for (uint32_t i = 0; rc == OK && i < r->words.count; i++) {
    uint8_t to = 0;
    rc = label_map(r, map, o->merge, sorted[i], &to, e);
    if (rc == OK && intern_find(&r->words, sorted[i], &id)) r->word_label[id] = to;
  }
  if (jp) json_parser_free(jp);
  if (rc == OK && !r->model.labels) rc = error_set(e, E_INPUT, "the examples have no labelled span");
  return rc;
}

/* ---- examples into tokens, tags and features */
static int grow(struct trainer *r, void **p, size_t size, uint64_t n, uint64_t *cap, uint64_t more, struct error *e) {
  (void)r;
  if (n + more <= *cap) return OK;
  uint64_t want = *cap ? *cap * 2 : 4096;
  while (want < n + more) want *= 2;
  void *q = mem_realloc(*p, size * want);
  if (!q) return error_set(e, E_NOMEM, "no memory for the examples");
  *p = q, *cap = want;
  return OK;
}

static uint32_t *table_at(struct trainer *r, uint32_t key) {
  uint32_t at = (uint32_t)(hash64_u64(key) & (r->table_cap - 1));
  while (r->count[at] && r->key[at] != key) at = (at + 1) & (r->table_cap - 1);
  return &r->count[at];
}

static int table_grow(struct trainer *r, struct error *e) {
  uint32_t cap = r->table_cap ? r->table_cap * 2 : 1 << 16, *key = r->key, *count = r->count, old = r->table_cap;
  if (cap > 1u << 28) return error_set(e, E_LIMIT, "too many features");
  r->key = mem_alloc(cap * sizeof *key), r->count = mem_alloc(cap * sizeof *count);
  r->table_cap = cap;
  if (r->key && r->count) memset(r->count, 0, cap * sizeof *count);
  for (uint32_t i = 0; r->key && r->count && i < old; i++)
    if (count[i]) {
      uint32_t *at = table_at(r, key[i]);
      *at = count[i], r->key[at - r->count] = key[i];
    }
  mem_free(key), mem_free(count);
  return r->key && r->count ? OK : error_set(e, E_NOMEM, "no memory for features");
}

static int feature_count_up(struct trainer *r, uint32_t key, struct error *e) {
  if (2 * r->table_used >= r->table_cap) TRY(table_grow(r, e));
  uint32_t *at = table_at(r, key);
  if (!*at) r->key[at - r->count] = key, r->table_used++;
  ++*at;
  return OK;
}

/* Tags of a segment's tokens from the spans; a token belongs to the span that covers any part of it. */
static void tag(struct trainer *r, const struct tagger_example *x, uint32_t offset, const struct tagger_token *t, uint32_t n,
                uint8_t *gold) {
  uint32_t i = 0, scheme = r->model.scheme;
  memset(gold, 0, n);
  for (uint32_t k = 0; k < x->n; k++) {
    const struct tagger_span *s = &x->spans[k];
    uint32_t id = 0, first;
    if (s->end <= offset) continue;
    while (i < n && offset + t[i].end <= s->start) i++;
    for (first = i; i < n && offset + t[i].start < s->end; i++) {}
    if (i == first || !intern_find(&r->words, s->label, &id) || r->word_label[id] == 255) continue;
    r->crossing += offset + t[first].start != s->start || offset + t[i - 1].end != s->end;
    uint32_t base = 1 + scheme * r->word_label[id];
    for (uint32_t j = first; j < i; j++)
      gold[j] = (uint8_t)(scheme == 2      ? base + (j > first)
                          : i - first == 1 ? base + 3
                          : j == first     ? base
                          : j + 1 == i     ? base + 2
                                           : base + 1);
  }
}

static int add_tokens(struct trainer *r, const struct tagger_token *t, const uint8_t *gold, uint32_t n, struct error *e) {
  uint32_t key[TAGGER_FEATURES], first = r->tokens_n;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t found = tagger_features(&t[i], r->model.templates, key);
    TRY(grow(r, (void **)&r->features, sizeof *r->features, r->features_n, &r->features_cap, found, e));
    for (uint32_t k = 0; k < found; k++) {
      TRY(feature_count_up(r, key[k], e));
      r->features[r->features_n++] = key[k];
    }
    r->gold[r->tokens_n] = gold[i], r->space[r->tokens_n] = t[i].space;
    r->from[++r->tokens_n] = r->features_n;
    bool inside = i + 1 < n && gold[i + 1] && !tagger_starts(r->model.scheme, gold[i + 1]);
    if (i + 1 < n && (inside || t[i + 1].space != SPACE_LINE || r->tokens_n - first < SEQUENCE)) continue;
    r->sequences[r->sequences_n++] = (struct sequence){first, r->tokens_n - first};
    first = r->tokens_n;
  }
  return OK;
}

static int add_example(struct trainer *r, const struct tagger_example *x, struct error *e) {
  uint32_t n = tagger_token_count(x->text);
  struct tagger_token *tokens = mem_alloc((n + 2 * TAGGER_EDGE) * sizeof *tokens);
  uint32_t *scratch = mem_alloc(tagger_scratch(n) * sizeof *scratch);
  uint8_t *gold = mem_alloc(n + 1);
  int rc = tokens && scratch && gold ? OK : error_set(e, E_NOMEM, "no memory for an example");
  if (rc == OK) {
    BUG_IF(tagger_tokens(x->text, tokens) != n);
    tagger_context(tokens, n, r->model.list, r->model.lists, NULL, scratch);
    if (tagger_asks_kinds(r->model.templates)) tagger_kinds(tokens, n);
    tag(r, x, 0, tokens + TAGGER_EDGE, n, gold);
    rc = add_tokens(r, tokens + TAGGER_EDGE, gold, n, e);
  }
  mem_free(tokens), mem_free(scratch), mem_free(gold);
  return rc;
}

static int compare_u32(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

/* Features seen often enough, in ascending order; the tokens' keys become places in that order. */
static int features_settle(struct trainer *r, uint32_t min_count, uint32_t *n, struct error *e) {
  uint32_t kept = 0, *keys = mem_alloc((r->table_used + 1) * sizeof *keys);
  if (!keys) return error_set(e, E_NOMEM, "no memory for features");
  for (uint32_t i = 0; i < r->table_cap; i++)
    if (r->count[i] >= min_count) keys[kept++] = r->key[i];
  qsort(keys, kept, sizeof *keys, compare_u32);
  for (uint32_t i = 0; i < r->table_cap; i++)
    if (r->count[i] < min_count) r->count[i] = r->count[i] ? NONE : 0;
  for (uint32_t i = 0; i < kept; i++) *table_at(r, keys[i]) = i + 1;
  uint64_t to = 0;
  for (uint32_t t = 0; t < r->tokens_n; t++) {
    uint64_t from = r->from[t];
    r->from[t] = to;
    for (uint64_t k = from; k < r->from[t + 1]; k++) {
      uint32_t id = *table_at(r, r->features[k]);
      if (id != NONE) r->features[to++] = id - 1;
    }
  }
  r->from[r->tokens_n] = to;
  mem_free(r->key), mem_free(r->count);
  r->key = keys, r->count = NULL;
  *n = kept;
  return OK;
}

static int read_examples(struct trainer *r, const struct tagger_example *x, uint32_t n, struct error *e) {
  uint64_t tokens = 0;
  for (uint32_t i = 0; i < n; i++) tokens += tagger_token_count(x[i].text);
  if (tokens > 1u << 28) return error_set(e, E_LIMIT, "too many tokens to learn from");
  r->gold = mem_alloc(tokens + 1), r->space = mem_alloc(tokens + 1);
  r->from = mem_alloc((tokens + 1) * sizeof *r->from);
  r->sequences = mem_alloc((tokens + n + 1) * sizeof *r->sequences);
  if (!r->gold || !r->space || !r->from || !r->sequences) return error_set(e, E_NOMEM, "no memory for the examples");
  r->from[0] = 0;
  for (uint32_t i = 0; i < n; i++) TRY(add_example(r, &x[i], e));
  return OK;
}

/* ---- one sequence */
struct lattice {
  uint32_t cap;
  float *u, *alpha, *beta; /* [cap][padded]: exp of the scores; forward; backward */
  float *score;            /* [padded] */
  float *E;                /* [SPACES][tags][padded]: exp of transitions, 0 where not allowed */
  uint32_t *stale;         /* places of E whose transition has changed since, some more than once */
  size_t stale_n;
};

/* A share of the features is hidden from each step, others each time: the rest must do without them (Hinton et al. 2012). */
static inline bool hidden(const struct trainer *r, uint64_t k) {
  return r->dropout && (uint32_t)(hash64_u64(k ^ r->run_key ^ (uint64_t)r->step << 36) >> 32) < r->dropout;
}

static void scores(const struct trainer *r, uint32_t token, float *s) {
  uint32_t padded = r->model.padded;
  memset(s, 0, padded * sizeof *s);
  for (uint64_t k = r->from[token]; k < r->from[token + 1]; k++) {
    if (hidden(r, k)) continue;
    const float *w = r->w + (size_t)r->features[k] * padded;
    for (uint32_t at = 0; k + 4 < r->from[token + 1] && at < padded; at += 16)
      __builtin_prefetch(r->w + (size_t)r->features[k + 4] * padded + at);
    for (uint32_t at = 0; at < padded; at += 16) *at16(s, at) += *of16(w, at);
  }
  for (uint32_t j = 0; r->dropout && j < padded; j++) s[j] *= r->boost;
}

static void exp_transitions(const struct trainer *r, float *E) { /* all of them: at the start of a run */
  const struct tagger *m = &r->model;
  for (uint32_t s = 0; s < SPACES; s++)
    for (uint32_t from = 0; from < m->tags; from++)
      for (uint32_t to = 0; to < m->tags; to++) {
        size_t at = ((size_t)s * m->tags + from) * m->padded + to;
        E[at] = tagger_follows(m->scheme, from, to) ? exp_of(r->transition[at]) : 0;
      }
}

enum { STALE_MOST = 1 << 16 };
static void refresh(const struct trainer *r, struct lattice *l) {
  if (l->stale_n > STALE_MOST)
    exp_transitions(r, l->E);
  else
    for (size_t i = 0; i < l->stale_n; i++) l->E[l->stale[i]] = exp_of(r->transition[l->stale[i]]);
  l->stale_n = 0;
}

#define FAINT 1e-9f
static float normalise(float *v, uint32_t padded) {
  float sum = 0;
  for (uint32_t j = 0; j < padded; j++) sum += v[j];
  float by = sum > 0 ? 1 / sum : 0;
  for (uint32_t j = 0; j < padded; j++) v[j] *= by;
  return sum;
}

static void forward(const struct trainer *r, struct sequence q, struct lattice *l) {
  uint32_t padded = r->model.padded, tags = r->model.tags;
  for (uint32_t i = 0; i < q.n; i++) {
    float *u = l->u + (size_t)i * padded, *a = l->alpha + (size_t)i * padded, most = -1e30f;
    scores(r, q.first + i, u);
    for (uint32_t j = 0; j < tags; j++) most = u[j] > most ? u[j] : most;
    for (uint32_t j = 0; j < padded; j++) u[j] = j < tags ? exp_of(u[j] - most) : 0;
    const float *E = l->E + (size_t)r->space[q.first + i] * tags * padded;
    memset(a, 0, padded * sizeof *a);
    for (uint32_t p = 0; p < tags; p++) {
      float from = i ? a[p - (int64_t)padded] : p == 0;
      if (from < FAINT) continue;
      for (uint32_t at = 0; at < padded; at += 16) *at16(a, at) += from * *of16(E + (size_t)p * padded, at);
    }
    for (uint32_t j = 0; j < padded; j++) a[j] *= u[j];
    normalise(a, padded);
  }
}

static float dot(const float *a, const float *b, uint32_t n) {
  floats s = {0};
  float sum = 0;
  for (uint32_t at = 0; at < n; at += 16) s += *of16(a, at) * *of16(b, at);
  for (int j = 0; j < 16; j++) sum += s[j];
  return sum;
}

/* beta[i][j]: weight of all that may follow tag j of token i; what cannot be reached anyway is not asked for. */
static void backward(const struct trainer *r, struct sequence q, struct lattice *l) {
  uint32_t padded = r->model.padded, tags = r->model.tags;
  float *last = l->beta + (size_t)(q.n - 1) * padded;
  for (uint32_t j = 0; j < padded; j++) last[j] = j < tags && (r->model.scheme == 2 || !j || tagger_ends(4, j));
  for (uint32_t i = q.n - 1; i-- > 0;) {
    float *b = l->beta + (size_t)i * padded, *after = b + padded, out[TAGGER_TAGS];
    const float *u = l->u + (size_t)(i + 1) * padded, *a = l->alpha + (size_t)i * padded;
    const float *E = l->E + (size_t)r->space[q.first + i + 1] * tags * padded;
    for (uint32_t j = 0; j < padded; j++) out[j] = u[j] * after[j];
    for (uint32_t p = 0; p < padded; p++) b[p] = p < tags && a[p] >= FAINT ? dot(E + (size_t)p * padded, out, padded) : 0;
    normalise(b, padded);
  }
}

static void ada(float *w, float *g, float d, float rate) {
  *g += d * d;
  *w -= rate * d / sqrtf(*g);
}

static void update_transitions(struct trainer *r, struct sequence q, uint32_t i, struct lattice *l) {
  uint32_t padded = r->model.padded, tags = r->model.tags, space = r->space[q.first + i];
  const float *a = l->alpha + (size_t)(i - 1) * padded, *u = l->u + (size_t)i * padded, *b = l->beta + (size_t)i * padded;
  const float *E = l->E + (size_t)space * tags * padded;
  float out[TAGGER_TAGS], total = 0;
  for (uint32_t j = 0; j < padded; j++) out[j] = u[j] * b[j];
  for (uint32_t p = 0; p < tags; p++)
    if (a[p] >= FAINT) total += a[p] * dot(E + (size_t)p * padded, out, padded);
  if (!(total > 0)) return;
  uint32_t gold_from = r->gold[q.first + i - 1], gold_to = r->gold[q.first + i];
  for (uint32_t p = 0; p < tags; p++) {
    float from = a[p] / total;
    if (a[p] < 1e-5f && p != gold_from) continue;
    for (uint32_t j = 0; j < tags; j++) {
      size_t at = ((size_t)space * tags + p) * padded + j;
      float d = from * E[(size_t)p * padded + j] * out[j] - (p == gold_from && j == gold_to);
      if (!(d > 1e-4f || d < -1e-4f)) continue;
      ada(&r->transition[at], &r->transition_g[at], d, r->rate);
      if (l->stale_n < STALE_MOST && tagger_follows(r->model.scheme, p, j)) l->stale[l->stale_n++] = (uint32_t)at;
      if (l->stale_n == STALE_MOST) l->stale_n = SIZE_MAX; /* too many: all of them */
    }
  }
}

/* The mean of the weights over the second half of the steps is better than the last of them (Polyak and Juditsky 1992). */
static void sum_row(struct trainer *r, uint32_t f) {
  uint32_t from = r->touched[f] > r->late ? r->touched[f] : r->late, padded = r->model.padded;
  float times = r->step > from ? (float)(r->step - from) : 0;
  const float *w = r->w + (size_t)f * padded;
  float *sum = r->sum + (size_t)f * padded;
  r->touched[f] = r->step;
  for (uint32_t at = 0; times > 0 && at < padded; at += 16) *at16(sum, at) += times * *of16(w, at);
}

static void average(struct trainer *r, uint32_t features, uint32_t runs) {
  size_t nt = (size_t)SPACES * r->model.tags * r->model.padded;
  float by = 1 / ((float)(r->step > r->late ? r->step - r->late : 1) * (float)runs);
  for (size_t i = 0; i < (size_t)features * r->model.padded; i++) r->w[i] = r->sum[i] * by;
  for (size_t i = 0; i < nt; i++) r->transition[i] = r->transition_sum[i] * by;
}

/* Gradient of one token for every feature it has. L2 is applied to a row when it is met, for all the steps since. */
static void update_rows(struct trainer *r, uint32_t token, const float *d) {
  uint32_t padded = r->model.padded;
  for (uint64_t k = r->from[token]; k < r->from[token + 1]; k++) {
    if (hidden(r, k)) continue;
    uint32_t f = r->features[k];
    float *w = r->w + (size_t)f * padded, *g = r->g + (size_t)f * padded;
    if (k + 2 < r->from[token + 1]) {
      __builtin_prefetch(r->w + (size_t)r->features[k + 2] * padded, 1);
      __builtin_prefetch(r->g + (size_t)r->features[k + 2] * padded, 1);
    }
    float pull = r->decay * (float)(r->step - r->touched[f]);
    sum_row(r, f);
    if (pull > 0.3f) pull = 0.3f;
    for (uint32_t at = 0; at < padded; at += 16) {
      floats root, *gain = at16(g, at), *weight = at16(w, at), slope = *of16(d, at);
      *gain += slope * slope;
      for (int j = 0; j < 16; j++) root[j] = sqrtf((*gain)[j]);
      *weight -= (r->rate * slope + pull * *weight) / root;
    }
  }
}

static double learn(struct trainer *r, struct sequence q, struct lattice *l) {
  uint32_t padded = r->model.padded, tags = r->model.tags;
  float d[TAGGER_TAGS];
  double right = 0;
  refresh(r, l);
  forward(r, q, l);
  backward(r, q, l);
  for (uint32_t i = 0; i < q.n; i++) {
    float *p = l->alpha + (size_t)i * padded, *b = l->beta + (size_t)i * padded, worst = 0;
    uint32_t gold = r->gold[q.first + i];
    if (i) update_transitions(r, q, i, l);
    for (uint32_t j = 0; j < padded; j++) d[j] = p[j] * b[j];
    normalise(d, padded);
    right += d[gold];
    d[gold] -= 1;
    for (uint32_t j = 0; j < tags; j++) {
      float size = d[j] < 0 ? -d[j] : d[j];
      if (size > worst) worst = size;
    }
    if (worst > 1e-3f) update_rows(r, q.first + i, d);
  }
  r->step++;
  size_t nt = (size_t)SPACES * tags * padded;
  for (size_t i = 0; r->step > r->late && i < nt; i++) r->transition_sum[i] += r->transition[i];
  return right;
}

static int lattice_make(const struct trainer *r, struct lattice *l, struct error *e) {
  uint32_t padded = r->model.padded;
  *l = (struct lattice){0};
  for (uint32_t i = 0; i < r->sequences_n; i++)
    if (r->sequences[i].n > l->cap) l->cap = r->sequences[i].n;
  size_t bytes = (size_t)l->cap * padded * sizeof(float);
  l->u = mem_alloc(bytes), l->alpha = mem_alloc(bytes), l->beta = mem_alloc(bytes);
  l->E = mem_alloc((size_t)SPACES * r->model.tags * padded * sizeof(float));
  l->stale = mem_alloc(STALE_MOST * sizeof *l->stale);
  if (!l->u || !l->alpha || !l->beta || !l->E || !l->stale) return error_set(e, E_NOMEM, "no memory to learn");
  memset(l->E, 0, (size_t)SPACES * r->model.tags * padded * sizeof(float));
  return OK;
}
static void lattice_free(struct lattice *l) { mem_free(l->u), mem_free(l->alpha), mem_free(l->beta), mem_free(l->E), mem_free(l->stale); }

static int weights_make(struct trainer *r, uint32_t features, struct error *e) {
  size_t n = (size_t)features * r->model.padded, nt = (size_t)SPACES * r->model.tags * r->model.padded;
  r->w = mem_alloc_aligned(n * sizeof(float) + 64), r->g = mem_alloc((n + 1) * sizeof(float));
  r->transition = mem_alloc(nt * sizeof(float)), r->transition_g = mem_alloc(nt * sizeof(float));
  r->touched = mem_alloc((features + 1) * sizeof *r->touched);
  r->sum = mem_alloc((n + 1) * sizeof(float)), r->transition_sum = mem_alloc(nt * sizeof(float));
  if (!r->w || !r->g || !r->sum || !r->transition_sum || !r->transition || !r->transition_g || !r->touched)
    return error_set(e, E_NOMEM, "no memory for weights");
  for (size_t i = 0; i < n; i++) r->sum[i] = 0;
  for (size_t i = 0; i < nt; i++) r->transition_sum[i] = 0;
  return OK;
}

/* Every run begins at zero; the sums go on over all of them. */
static void start_anew(struct trainer *r, uint32_t features) {
  size_t n = (size_t)features * r->model.padded, nt = (size_t)SPACES * r->model.tags * r->model.padded;
  for (size_t i = 0; i < n; i++) r->w[i] = 0, r->g[i] = 1;
  for (size_t i = 0; i < nt; i++) r->transition[i] = 0, r->transition_g[i] = 1;
  memset(r->touched, 0, (features + 1) * sizeof *r->touched);
  r->step = 0;
}

static int run_epochs(struct trainer *r, const struct tagger_options *o, uint32_t run, struct tagger_report *report, struct error *e) {
  struct lattice l = {0};
  struct rng rng;
  uint32_t *order = mem_alloc((r->sequences_n + 1) * sizeof *order);
  int rc = order ? lattice_make(r, &l, e) : error_set(e, E_NOMEM, "no memory to learn");
  if (rc == OK) exp_transitions(r, l.E);
  rng_init(&rng, o->seed, 0x746167 + run);
  for (int epoch = 0; rc == OK && epoch < o->epochs; epoch++) {
    double right = 0;
    for (uint32_t i = 0; i < r->sequences_n; i++) order[i] = i;
    rng_shuffle(&rng, order, r->sequences_n);
    for (uint32_t i = 0; i < r->sequences_n && rc == OK; i++) {
      right += learn(r, r->sequences[order[i]], &l);
      if ((i & 255) == 0 && cancel_requested()) rc = error_set(e, E_CANCELLED, "interrupted");
    }
    report->accuracy = right / (double)r->tokens_n;
  }
  lattice_free(&l);
  mem_free(order);
  return rc;
}

static void trainer_release(struct trainer *r, uint32_t features) {
  if (r->w) mem_free_aligned(r->w, (size_t)features * r->model.padded * sizeof(float) + 64);
  mem_free(r->g), mem_free(r->transition), mem_free(r->transition_g), mem_free(r->touched);
  mem_free(r->sum), mem_free(r->transition_sum);
  mem_free(r->gold), mem_free(r->space), mem_free(r->from), mem_free(r->features), mem_free(r->sequences);
  mem_free(r->key), mem_free(r->count);
  intern_release(&r->words);
  arena_free(&r->memory);
  mem_free(r);
}

static int train(struct trainer *r, const struct tagger_example *x, uint32_t n, const struct tagger_options *o, const char *path,
                 uint32_t *features, struct tagger_report *report, struct error *e) {
  r->model.scheme = o->scheme ? o->scheme : 4;
  bool some = o->templates[0] || o->templates[1];
  r->model.templates[0] = some ? o->templates[0] : TAGGER_TEMPLATES_DEFAULT, r->model.templates[1] = some ? o->templates[1] : 0;
  if (r->model.scheme != 2 && r->model.scheme != 4) return error_set(e, E_USAGE, "the scheme is 2 (BIO) or 4 (BIOES)");
  if (o->lists) TRY(tagger_lists_read(&r->memory, o->lists, r->model.list, &r->model.lists, e));
  for (int i = 0; o->list_files && o->list_files[i]; i++)
    TRY(tagger_lists_read(&r->memory, o->list_files[i], r->model.list, &r->model.lists, e));
  TRY(labels_make(r, x, n, o, e));
  r->model.tags = 1 + r->model.scheme * r->model.labels;
  r->model.padded = tagger_padded(r->model.tags);
  TRY(read_examples(r, x, n, e));
  TRY(features_settle(r, o->min_count ? o->min_count : 2, features, e));
  TRY(weights_make(r, *features, e));
  r->rate = o->rate > 0 ? (float)o->rate : 0.2f;
  r->decay = (float)(o->decay > 0 ? o->decay : 0.1) * r->rate / (float)(r->sequences_n ? r->sequences_n : 1);
  double dropout = o->dropout > 0 && o->dropout < 0.95 ? o->dropout : 0;
  r->dropout = (uint32_t)(dropout * 4294967296.0), r->boost = (float)(1 / (1 - dropout));
  report->tokens = r->tokens_n, report->features = *features, report->crossing = r->crossing;
  uint32_t runs = o->runs ? o->runs : 1;
  for (uint32_t i = 0; i < runs; i++) {
    start_anew(r, *features);
    r->run_key = i ? hash64_u64(i) : 0;
    r->late = (uint32_t)o->epochs * r->sequences_n / 2;
    TRY(run_epochs(r, o, i, report, e));
    for (uint32_t f = 0; f < *features; f++) sum_row(r, f);
  }
  average(r, *features, runs);
  for (uint32_t i = 0; i < SPACES * r->model.tags; i++) r->transition[(size_t)i * r->model.padded] -= (float)o->lean;
  struct tagger_weights w = {.key = r->key, .row = r->w, .n = *features, .transition = r->transition};
  return tagger_write(&r->model, &w, o->least > 0 ? (float)o->least : 0.01f, path, e);
}

int tagger_train(const struct tagger_example *x, uint32_t n, const struct tagger_options *o, const char *path, struct tagger_report *report,
                 struct error *e) {
  struct tagger_report own;
  struct trainer *r = mem_alloc(sizeof *r);
  uint32_t features = 0;
  if (!r) return error_set(e, E_NOMEM, "no memory to train a tagger");
  memset(r, 0, sizeof *r);
  arena_init(&r->memory, 0, 0);
  intern_init(&r->words, 0);
  if (!report) report = &own;
  *report = (struct tagger_report){0};
  int rc = train(r, x, n, o, path, &features, report, e);
  trainer_release(r, features);
  return rc;
}
