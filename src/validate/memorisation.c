#include "validate/memorisation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "base/time.h"
#include "predict/predict.h"
#include "timeline/timeline.h"
#include "validate/memorisation_private.h"
#include "validate/metrics.h"

#define LEAST_EVENTS 5 /* a life with fewer says nothing */
#define RESAMPLES 300
#define FALSE_ALARMS 0.01

/* ---- limits ---- */

static int read_require(struct json list, unsigned *out, struct error *e) {
  static const char *const name[4] = {"membership", "rare", "exposure", "generation"};
  struct json item;
  if (json_kind(list) != JSON_ARRAY) return error_set(e, E_INPUT, "memorisation.require: expected a list");
  for (struct json_iter it = json_items(list); json_next(&it, &item);) {
    int k = 0;
    while (k < 4 && !str_eqc(json_str(item), name[k])) k++;
    if (k == 4) return error_set(e, E_INPUT, "memorisation.require: expected membership, rare, exposure or generation");
    *out |= 1u << k;
  }
  return OK;
}

static int read_limits(struct json root, struct memorisation_limits *l, struct error *e) {
  struct json j = json_get(root, "memorisation");
  int64_t format;
  TRY(json_want_i64(root, "format", &format, e));
  if (format != 1) return error_set(e, E_VERSION, "the gates have a format that this program does not know");
  TRY(json_want_i64(j, "least_persons", &l->least_persons, e));
  TRY(json_want_f64(j, "rare_share", &l->rare_share, e));
  TRY(json_want_f64(j, "membership_auc", &l->membership_auc, e));
  TRY(json_want_f64(j, "membership_tpr", &l->membership_tpr, e));
  TRY(json_want_f64(j, "rare_membership_auc", &l->rare_membership_auc, e));
  TRY(json_want_f64(j, "exposure_bits", &l->exposure_bits, e));
  TRY(json_want_i64(j, "exposure_repeats", &l->exposure_repeats, e));
  TRY(json_want_f64(j, "closer_to_training", &l->closer_to_training, e));
  TRY(json_want_f64(j, "completion_auc", &l->completion_auc, e));
  TRY(json_want_f64(j, "copied_run_excess", &l->copied_run_excess, e));
  return read_require(json_get(j, "require"), &l->require, e);
}

int memorisation_limits_load(const char *path, struct memorisation_limits *out, struct error *e) {
  struct arena a;
  struct json root;
  uint8_t digest[32];
  *out = (struct memorisation_limits){0};
  arena_init(&a, 1 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK) rc = read_limits(root, out, e);
  if (rc == OK) rc = sha256_file(path, digest, e);
  if (rc == OK) hash_hex(digest, 32, out->hash);
  if (rc < 0) error_where(e, path, 0, NULL);
  arena_free(&a);
  return rc;
}

/* ---- who is compared ---- */

static int by_choice(const void *x, const void *y) {
  const struct person *a = x, *b = y;
  if (a->source != b->source) return a->source < b->source ? -1 : 1;
  if (a->member != b->member) return a->member ? -1 : 1;
  return a->key < b->key ? -1 : a->key > b->key;
}

/* Sources by name; a person belongs to that of the last event. */
static uint32_t source_of(const struct timeline_source *s, int n, const struct timeline_view *v) {
  uint32_t file = v->n ? v->origin_file[v->n - 1] : 0;
  for (int i = 0; i < n; i++) {
    if (file < s[i].first || file - s[i].first >= s[i].files) continue;
    for (int k = 0; k < i; k++)
      if (str_eq(s[k].name, s[i].name)) return (uint32_t)k;
    return (uint32_t)i;
  }
  return (uint32_t)n;
}

static bool has_rare_code(const struct timeline_view *v, const struct predict_code *code, uint32_t most) {
  for (uint32_t k = 0; k < v->n; k++) {
    const struct predict_code *x = &code[v->code[k]];
    if (x->id != 0 && !x->birth && x->persons <= most) return true;
  }
  return false;
}

static int everybody(const struct memorisation_options *o, const struct predict_code *code, struct arena *a, struct person **out,
                     uint32_t *n, struct memorisation *m, struct error *e) {
  struct timeline_source *sources;
  int count;
  uint32_t subjects = timeline_subjects(o->store), trained = 0;
  TRY(timeline_sources(o->store, a, &sources, &count, e));
  for (uint32_t i = 0; i < subjects; i++) trained += timeline_view(o->store, i).split == SPLIT_TRAIN;
  m->rare_persons = (uint32_t)fmax(10, m->limits.rare_share * trained);
  *n = 0;
  *out = arena_array(a, struct person, (size_t)subjects + 1);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < subjects; i++) {
    struct timeline_view v = timeline_view(o->store, i);
    if (v.split == SPLIT_TUNING || v.n < v.statics + LEAST_EVENTS) continue;
    (*out)[(*n)++] = (struct person){.index = i,
                                     .source = source_of(sources, count, &v),
                                     .member = v.split == SPLIT_TRAIN,
                                     .rare = has_rare_code(&v, code, m->rare_persons),
                                     .key = hash64_u64(o->seed ^ hash64_u64((uint64_t)v.subject))};
  }
  qsort(*out, *n, sizeof **out, by_choice);
  return OK;
}

struct group {
  uint32_t from, members, others, take;
};

/* As many members as others from each source, so that what differs between sources cannot tell them apart. */
static int choose(const struct person *all, uint32_t n, uint32_t most, bool rare, struct arena *a, struct cohort *c, struct error *e) {
  struct group *g = arena_array(a, struct group, (size_t)n + 1);
  struct person *some = arena_array(a, struct person, (size_t)n + 1);
  uint32_t groups = 0, total = 0, count = 0;
  if (!g || !some) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++)
    if (!rare || all[i].rare) some[count++] = all[i];
  for (uint32_t i = 0; i < count; i++) {
    if (i == 0 || some[i].source != some[i - 1].source) g[groups++] = (struct group){.from = i};
    struct group *x = &g[groups - 1];
    if (some[i].member)
      x->members++;
    else
      x->others++;
  }
  for (uint32_t k = 0; k < groups; k++) total += g[k].take = g[k].members < g[k].others ? g[k].members : g[k].others;
  for (uint32_t k = 0; k < groups && total > most; k++) g[k].take = (uint32_t)((uint64_t)g[k].take * most / total);
  c->pairs = c->sources = 0;
  for (uint32_t k = 0; k < groups; k++) c->pairs += g[k].take, c->sources += g[k].take > 0;
  c->at = arena_array(a, struct person, 2 * (size_t)c->pairs + 1);
  if (!c->at) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t k = 0, to = 0; k < groups; k++)
    for (uint32_t i = 0; i < g[k].take; i++, to++) {
      c->at[to] = some[g[k].from + i];
      c->at[c->pairs + to] = some[g[k].from + g[k].members + i];
    }
  return OK;
}

/* ---- attacks ---- */

struct interval auc_interval(const double *score, const uint8_t *member, uint32_t n) {
  double se, at = metric_delong(score, member, n, &se);
  return (struct interval){at, at - 1.959964 * se, at + 1.959964 * se};
}

static int descending(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a > b ? -1 : a < b;
}

/* Share of members above the score that 1 % of the others exceed. */
static double tpr_of(const double *members, uint32_t n, double *others, uint32_t k) {
  qsort(others, k, sizeof *others, descending);
  double threshold = others[(uint32_t)(FALSE_ALARMS * k)];
  uint32_t found = 0;
  for (uint32_t i = 0; i < n; i++) found += members[i] > threshold;
  return (double)found / n;
}

static int measure_tpr(const double *score, const uint8_t *member, uint32_t n, uint64_t seed, struct arena *a, struct attack *out,
                       struct error *e) {
  double *side[2] = {arena_array(a, double, n + 1u), arena_array(a, double, n + 1u)},
         *drawn[2] = {arena_array(a, double, n + 1u), arena_array(a, double, n + 1u)}, *found = arena_array(a, double, RESAMPLES);
  uint32_t k[2] = {0, 0};
  if (!side[0] || !side[1] || !drawn[0] || !drawn[1] || !found) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++) side[member[i]][k[member[i]]++] = score[i];
  out->tpr = (struct interval){NAN, NAN, NAN};
  if (k[0] < 100 || !k[1]) return OK;
  out->tpr.at = tpr_of(side[1], k[1], side[0], k[0]);
  for (int b = 0; b < RESAMPLES; b++) {
    struct rng r;
    rng_init(&r, seed, (uint64_t)b);
    for (int s = 0; s < 2; s++)
      for (uint32_t i = 0; i < k[s]; i++) drawn[s][i] = side[s][rng_below(&r, k[s])];
    found[b] = tpr_of(drawn[1], k[1], drawn[0], k[0]);
  }
  qsort(found, RESAMPLES, sizeof *found, descending);
  out->tpr.hi = found[RESAMPLES / 40], out->tpr.lo = found[RESAMPLES - 1 - RESAMPLES / 40];
  return OK;
}

int attack_measure(const double *score, const uint8_t *member, uint32_t n, uint64_t seed, struct arena *a, struct attack *out,
                   struct error *e) {
  struct ranked r;
  struct scored curves = {0};
  *out = (struct attack){.auc = {NAN, NAN, NAN}, .tpr = {NAN, NAN, NAN}};
  for (uint32_t i = 0; i < n; i++) out->members += member[i], out->others += !member[i];
  if (!out->members || !out->others) return OK;
  TRY(ranked_init(&r, score, member, n, a, e));
  curves_fill(&r, &curves);
  out->roc = curves.roc;
  out->auc = auc_interval(score, member, n);
  return measure_tpr(score, member, n, seed, a, out, e);
}

/* In units of the source's own spread: what is usual in one source does not stand out beside another. */
static void standardise(struct cohort *c, size_t field) {
  for (uint32_t from = 0, to; from < c->pairs; from = to) {
    double sum = 0, square = 0, n = 0;
    for (to = from; to < c->pairs && c->at[to].source == c->at[from].source; to++)
      for (int s = 0; s < 2; s++) {
        double x = *(const double *)(const void *)((const char *)&c->at[to + (s ? c->pairs : 0)] + field);
        sum += x, square += x * x, n++;
      }
    double mean = sum / n, sd = sqrt(fmax(square / n - mean * mean, 1e-12));
    for (uint32_t i = from; i < to; i++)
      for (int s = 0; s < 2; s++) {
        double *x = (double *)(void *)((char *)&c->at[i + (s ? c->pairs : 0)] + field);
        *x = (*x - mean) / sd;
      }
  }
}

/* What a model without a memory would say: the mean log share of an event's code among all events of the store, whoever's. Trained and
 * held-out persons count alike in these shares, so that they cannot tell them apart. */
static double by_frequency(const struct cohort *c, const struct timeline_view *v) {
  double sum = 0;
  uint32_t n = 0;
  for (uint32_t k = v->statics; k < v->n; k++) {
    const struct predict_code *x = &c->code[v->code[k]];
    if (!x->id || x->birth) continue;
    sum += c->log_share[x->id];
    n++;
  }
  return n ? sum / n : 0;
}

static int log_shares(const struct timeline *t, const struct predict_code *code, struct arena *a, double **out, struct error *e) {
  uint32_t ids = 1;
  double total = 0;
  for (uint32_t i = 0; i < timeline_codes(t); i++) ids = code[i].id >= ids ? code[i].id + 1 : ids;
  *out = arena_array(a, double, ids);
  if (!*out) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < timeline_codes(t); i++) {
    (*out)[code[i].id] += (double)timeline_code_count(t, i);
    total += (double)timeline_code_count(t, i);
  }
  for (uint32_t i = 0; i < ids; i++) (*out)[i] = log(fmax((*out)[i], 1) / fmax(total, 1));
  return OK;
}

static int score_cohort(const struct memorisation_options *o, struct cohort *c, struct arena *a, struct error *e) {
  uint32_t n = 2 * c->pairs;
  uint32_t *who = arena_array(a, uint32_t, n + 1u);
  struct predict_likelihood *of_model = arena_array(a, struct predict_likelihood, n + 1u),
                            *of_reference = arena_array(a, struct predict_likelihood, n + 1u);
  if (!who || !of_model || !of_reference) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < n; i++) who[i] = c->at[i].index;
  TRY(predict_likelihoods(o->model, o->store, who, n, o->threads, of_model, e));
  if (o->reference) TRY(predict_likelihoods(o->reference, o->store, who, n, o->threads, of_reference, e));
  for (uint32_t i = 0; i < n; i++) {
    const struct predict_likelihood *l = &of_model[i];
    struct timeline_view v = timeline_view(o->store, who[i]);
    double events = fmax(1, l->events);
    c->at[i].plain = l->code / events;
    c->at[i].blind = by_frequency(c, &v);
    c->at[i].calibrated = c->at[i].plain - (o->reference ? of_reference[i].code / events : c->at[i].blind);
  }
  standardise(c, offsetof(struct person, plain));
  standardise(c, offsetof(struct person, calibrated));
  standardise(c, offsetof(struct person, blind));
  return OK;
}

static int one_attack(const struct cohort *c, size_t field, uint64_t seed, struct arena *a, struct attack *out, struct error *e) {
  double *score = arena_array(a, double, 2 * (size_t)c->pairs + 1);
  uint8_t *member = arena_array(a, uint8_t, 2 * (size_t)c->pairs + 1);
  uint32_t n = 0;
  if (!score || !member) return error_set(e, E_NOMEM, "out of memory");
  for (uint32_t i = 0; i < 2 * c->pairs; i++) {
    score[n] = *(const double *)(const void *)((const char *)&c->at[i] + field);
    member[n++] = c->at[i].member;
  }
  return attack_measure(score, member, n, seed, a, out, e);
}

static void histogram(const struct cohort *c, struct memorisation *m) {
  for (int s = 0; s < 2; s++) {
    struct curve *h = &m->likelihood[s];
    h->n = MEMORISATION_BINS;
    for (int b = 0; b < h->n; b++) h->x[b] = -4 + 8 * (b + 0.5) / h->n, h->y[b] = 0;
  }
  for (uint32_t i = 0; i < 2 * c->pairs; i++) {
    int b = (int)floor((c->at[i].plain + 4) / 8 * MEMORISATION_BINS);
    b = b < 0 ? 0 : b >= MEMORISATION_BINS ? MEMORISATION_BINS - 1 : b;
    m->likelihood[c->at[i].member].y[b] += 1.0 / c->pairs;
  }
}

static int attacks(const struct memorisation_options *o, struct cohort *c, struct arena *a, struct attack *plain, struct attack *calibrated,
                   struct error *e) {
  TRY(score_cohort(o, c, a, e));
  TRY(one_attack(c, offsetof(struct person, plain), o->seed, a, plain, e));
  return one_attack(c, offsetof(struct person, calibrated), o->seed, a, calibrated, e);
}

static int membership(const struct memorisation_options *o, struct cohort *c, struct cohort *rare, struct arena *a, struct memorisation *m,
                      struct error *e) {
  m->persons = c->pairs, m->sources = c->sources;
  m->by_checkpoint = o->reference != NULL;
  TRY(attacks(o, c, a, &m->plain, &m->calibrated, e));
  TRY(one_attack(c, offsetof(struct person, blind), o->seed, a, &m->blind, e));
  histogram(c, m);
  if (rare->pairs < m->limits.least_persons || rare->pairs < 2) {
    m->why[1] = "too few persons with a rare code";
    return OK;
  }
  return attacks(o, rare, a, &m->rare_plain, &m->rare_calibrated, e);
}

/* ---- canaries ---- */

static int read_exposure(struct json root, struct memorisation *m, struct error *e) {
  struct json item;
  TRY(json_want_f64(root, "most_exposure", &m->most_exposure, e));
  for (struct json_iter it = json_items(json_get(root, "by_repeats")); json_next(&it, &item) && m->exposures < 8;) {
    struct exposure_row *row = &m->exposure[m->exposures];
    int64_t repeats, n;
    TRY(json_want_i64(item, "repeats", &repeats, e));
    TRY(json_want_i64(item, "canaries", &n, e));
    TRY(json_want_f64(item, "mean_exposure", &row->mean, e));
    TRY(json_want_f64(item, "chance", &row->chance, e));
    if (repeats < 1 || repeats > 1000000 || n < 1 || n > 1000000) return error_set(e, E_CORRUPT, "canaries.json: a count is out of range");
    row->repeats = (int)repeats, row->canaries = (uint32_t)n;
    m->canaries += row->canaries;
    m->exposures++;
  }
  return m->exposures ? OK : error_set(e, E_CORRUPT, "canaries.json holds no exposures");
}

static int exposures(const struct memorisation_options *o, struct memorisation *m, struct error *e) {
  char path[4096];
  struct arena a;
  struct json root;
  m->why[2] = "no canaries were planted (vitae train --canaries N)";
  if (!o->model_dir) return OK;
  TRY(file_join(path, sizeof path, o->model_dir, "canaries.json", e));
  if (!file_exists(path)) return OK;
  arena_init(&a, 64 << 20, 0);
  int rc = json_load(&a, path, &root, e);
  if (rc == OK) rc = read_exposure(root, m, e);
  arena_free(&a);
  if (rc < 0) return error_where(e, path, 0, NULL), rc;
  m->why[2] = NULL;
  return OK;
}

int memorisation_run(const struct memorisation_options *o, struct arena *a, struct memorisation *out, struct error *e) {
  double began = time_monotonic();
  struct cohort c = {0}, rare = {0};
  struct person *all;
  uint32_t n, most = o->persons ? o->persons : 1000;
  *out = (struct memorisation){.limits = o->limits};
  if (o->reference && strcmp(predict_vocabulary_hash(o->reference), predict_vocabulary_hash(o->model)) != 0)
    return error_set(e, E_MISMATCH, "the reference was trained with another vocabulary: take an earlier checkpoint of the same run");
  TRY(exposures(o, out, e));
  struct predict_code *code = arena_array(a, struct predict_code, (size_t)timeline_codes(o->store) + 1);
  if (!code) return error_set(e, E_NOMEM, "out of memory");
  TRY(predict_codes(o->model, o->store, code, e));
  c.code = code;
  TRY(log_shares(o->store, code, a, &c.log_share, e));
  rare = c;
  TRY(everybody(o, code, a, &all, &n, out, e));
  TRY(choose(all, n, most, false, a, &c, e));
  TRY(choose(all, n, most, true, a, &rare, e));
  if (c.pairs < o->limits.least_persons || c.pairs < 2) {
    out->why[0] = out->why[1] = out->why[3] = "too few persons of one source, trained on and held out";
  } else {
    TRY(membership(o, &c, &rare, a, out, e));
    TRY(memorisation_nearest(o, &c, a, out, e));
  }
  out->seconds = time_monotonic() - began;
  return OK;
}

/* ---- the gate ---- */

struct verdict {
  struct buf *reasons;
  bool ok;
};

static void refuse(struct verdict *v, const char *fmt, ...) {
  va_list ap;
  if (v->reasons->n) buf_puts(v->reasons, "; ");
  va_start(ap, fmt);
  buf_vprintf(v->reasons, fmt, ap);
  va_end(ap);
  v->ok = false;
}

static void judge(struct verdict *v, const char *what, const struct interval *x, double limit, double chance) {
  if (beyond(x, limit, chance)) refuse(v, "memorisation: %s %.3f [%.3f, %.3f] is above %.3g", what, x->at, x->lo, x->hi, limit);
}

bool memorisation_gate(const struct memorisation *m, struct buf *reasons) {
  static const char *const part[4] = {"membership inference", "membership inference of persons with rare codes", "exposure of canaries",
                                      "nearest neighbours"};
  const struct memorisation_limits *l = &m->limits;
  struct verdict v = {reasons, true};
  for (int k = 0; k < 4; k++)
    if (m->why[k] && (l->require & (1u << k))) refuse(&v, "memorisation: %s was not measured: %s", part[k], m->why[k]);
  if (!m->why[0]) {
    judge(&v, "AUC of membership inference", &m->plain.auc, l->membership_auc, 0.5);
    judge(&v, "AUC of calibrated membership inference", &m->calibrated.auc, l->membership_auc, 0.5);
    judge(&v, "share of trained persons found at 1 % false alarms", &m->plain.tpr, l->membership_tpr, FALSE_ALARMS);
    judge(&v, "share of trained persons found at 1 % false alarms (calibrated)", &m->calibrated.tpr, l->membership_tpr, FALSE_ALARMS);
  }
  if (!m->why[1]) {
    judge(&v, "AUC of membership inference, persons with rare codes", &m->rare_plain.auc, l->rare_membership_auc,
          rare_chance(&m->rare_plain.auc, l->rare_membership_auc));
    judge(&v, "AUC of calibrated membership inference, persons with rare codes", &m->rare_calibrated.auc, l->rare_membership_auc,
          rare_chance(&m->rare_calibrated.auc, l->rare_membership_auc));
  }
  for (int i = 0; !m->why[2] && i < m->exposures; i++) {
    const struct exposure_row *x = &m->exposure[i];
    if (x->repeats <= l->exposure_repeats && x->mean > l->exposure_bits && x->chance < 0.01)
      refuse(&v, "memorisation: canaries seen %d time%s an epoch have a mean exposure of %.2f bits, above %.3g", x->repeats,
             x->repeats == 1 ? "" : "s", x->mean, l->exposure_bits);
  }
  if (!m->why[3]) {
    judge(&v, "share of generated lives nearer to trained than to held-out ones", &m->closer, l->closer_to_training, 0.5);
    judge(&v, "AUC of completing trained lives better", &m->completion, l->completion_auc, 0.5);
    for (int k = 0; k < 2; k++)
      if (m->longest[k][1] > m->longest[k][0] + l->copied_run_excess)
        refuse(&v, "memorisation: a generated life copies %u events in a row%s from a trained one, %u at most from held-out ones",
               m->longest[k][1], k ? ", with their waits," : "", m->longest[k][0]);
  }
  return v.ok;
}
