/* Canaries: made-up lives trained on like anybody's, and how well the trained model remembers each ("exposure", Carlini et al. 2019,
 * The Secret Sharer). A canary is twelve instants of one random code each, with a random value where the code has values, random
 * waits, a random age and one random static fact. Its log-perplexity (of the codes, given the past) is ranked among that of 1,023
 * alternatives drawn in the same way and never trained on: exposure = log2(1024 / rank), 0 to 10 bits. A model that remembers
 * nothing gives every rank the same chance: 1.44 bits on average, and the sum of n exposures times ln 2 follows a Gamma(n, 1)
 * law, from which the tail probability is written. */
#include <math.h>

#include "base/json.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/time.h"
#include "model/train_internal.h"

enum { CANARY_INSTANTS = 12, ALTERNATIVES = 1023, KINDS = 3 };
static const int repeats_of_kind[KINDS] = {1, 4, 16};
#define CANARY_STREAM 0x63616e61u
#define ALTERNATIVE_STREAM 0x616c7465u

/* ---- making ---- */

struct palette { /* codes of the store that a canary may hold */
  uint32_t *timed, *fixed, n, statics, birth;
  bool has_birth;
};

static int palette_of(const struct train_data *d, struct arena *a, struct palette *p, struct error *e) {
  uint32_t n = timeline_codes(d->store);
  *p = (struct palette){.timed = arena_array(a, uint32_t, n + 1), .fixed = arena_array(a, uint32_t, n + 1)};
  if (!p->timed || !p->fixed) return error_set(e, E_NOMEM, "no memory for the canaries");
  for (uint32_t c = 0; c < n; c++) {
    uint32_t id = token_map_id(d->map, c);
    if (token_map_birth(d->map, c)) {
      p->has_birth = true, p->birth = c;
    } else if (id != TOKEN_UNKNOWN && id != vocabulary_death(d->vocabulary)) {
      const struct vocabulary_entry *x = vocabulary_at(d->vocabulary, id);
      if (!str_eq(x->code, timeline_code_name(d->store, c))) continue; /* stands for a family: several codes would look alike */
      if (x->is_static)
        p->fixed[p->statics++] = c;
      else
        p->timed[p->n++] = c;
    }
  }
  return p->n >= 8 ? OK : error_set(e, E_INPUT, "the vocabulary has %u codes with a time: too few to make canaries of", p->n);
}

static float random_value(const struct vocabulary_entry *x, struct rng *r) {
  float at = rng_uniformf(r);
  return x->knots < 2 ? NAN : token_knot_value(x, at * (float)(x->knots - 1));
}

static int make_one(const struct train_data *d, const struct palette *p, struct rng *r, struct arena *a, struct timeline_view *out,
                    struct error *e) {
  uint32_t most = CANARY_INSTANTS + 2, n = 0;
  int64_t *time = arena_array(a, int64_t, most);
  uint32_t *code = arena_array(a, uint32_t, most), *zero = arena_array(a, uint32_t, most);
  float *value = arena_array(a, float, most);
  uint16_t *unit = arena_array(a, uint16_t, most);
  if (!time || !code || !zero || !value || !unit) return error_set(e, E_NOMEM, "no memory for the canaries");
  uint32_t fixed = rng_u32(r), hours = rng_below(r, 24 * 365);
  int64_t age = (int64_t)((20 + 60 * rng_uniform(r)) * (double)TIME_YEAR), t = (int64_t)hours * TIME_HOUR;
  if (p->statics) time[n] = TIME_STATIC, value[n] = NAN, code[n++] = p->fixed[fixed % p->statics];
  uint32_t statics = n;
  if (p->has_birth) time[n] = t - age, value[n] = NAN, code[n++] = p->birth;
  for (int i = 0; i < CANARY_INSTANTS; i++) {
    code[n] = p->timed[rng_below(r, p->n)];
    value[n] = random_value(vocabulary_at(d->vocabulary, token_map_id(d->map, code[n])), r);
    time[n++] = t;
    t += (int64_t)(exp(rng_uniform(r) * log(30.0 * 24)) * (double)TIME_HOUR); /* an hour to thirty days */
  }
  *out = (struct timeline_view){.n = n,
                                .statics = statics,
                                .split = SPLIT_TRAIN,
                                .time = time,
                                .code = code,
                                .value = value,
                                .unit = unit,
                                .origin_file = zero,
                                .origin_row = zero};
  return OK;
}

static int make_many(const struct train_data *d, uint32_t stream, int count, struct arena *a, struct timeline_view *out, struct error *e) {
  struct palette p;
  TRY(palette_of(d, a, &p, e));
  for (int i = 0; i < count; i++) {
    struct rng r;
    rng_init(&r, d->seed ^ ((uint64_t)stream << 32), (uint64_t)i);
    TRY(make_one(d, &p, &r, a, &out[i], e));
  }
  return OK;
}

int train_canaries_make(struct train_data *d, int count, struct error *e) {
  struct train_canaries *c = &d->canaries;
  arena_init(&c->arena, 0, 0);
  c->view = arena_array(&c->arena, struct timeline_view, (size_t)count);
  c->repeats = arena_array(&c->arena, int, (size_t)count);
  if (!c->view || !c->repeats) return error_set(e, E_NOMEM, "no memory for the canaries");
  TRY(make_many(d, CANARY_STREAM, count, &c->arena, c->view, e));
  for (int i = 0; i < count; i++) c->repeats[i] = repeats_of_kind[i % KINDS];
  c->n = count;
  return OK;
}

void train_canaries_free(struct train_canaries *c) {
  if (c->view) arena_free(&c->arena);
  *c = (struct train_canaries){0};
}

/* ---- measuring ---- */

struct perplexity_job {
  struct train_run *r;
  const struct timeline_view *view;
  int n;
  double *out; /* log-perplexity of the codes, nats */
};

static int perplexity_chunk(struct perplexity_job *j, struct train_worker *w, int from, int to, struct error *e) {
  const struct train_data *d = &j->r->data;
  struct model_likelihood found[32];
  token_batch_clear(&w->batch);
  for (int i = from; i < to; i++) TRY(token_pack(d->vocabulary, d->map, &j->view[i], 0, j->view[i].n, INT64_MIN, &d->pack, &w->batch, e));
  TRY(model_likelihood(j->r->m, w->w, &w->batch, found, e));
  for (int i = from; i < to; i++) j->out[i] = -found[i - from].code;
  return OK;
}

static void perplexity_run(void *ctx, int worker, int workers) {
  struct perplexity_job *j = ctx;
  struct train_worker *w = &j->r->worker[worker];
  w->rc = OK;
  for (int from = worker * 32; from < j->n && w->rc >= 0; from += workers * 32)
    w->rc = perplexity_chunk(j, w, from, from + 32 < j->n ? from + 32 : j->n, &w->e);
}

static int perplexities(struct train_run *r, const struct timeline_view *view, int n, double *out, struct error *e) {
  struct perplexity_job j = {r, view, n, out};
  pool_run(r->pool, perplexity_run, &j);
  for (int k = 0; k < r->workers; k++)
    if (r->worker[k].rc < 0) {
      if (e) *e = r->worker[k].e;
      return r->worker[k].rc;
    }
  return OK;
}

/* P(Gamma(n, 1) >= s): the chance that canaries nobody remembers look so well known. */
static double gamma_tail(int n, double s) {
  double term = exp(-s), sum = 0;
  for (int k = 0; k < n; k++) {
    sum += term;
    term *= s / (k + 1);
  }
  return fmin(1, sum);
}

static void write_summary(struct json_out *o, const struct train_canaries *c, const double *exposure) {
  json_out_key(o, "by_repeats");
  json_out_array(o);
  for (int kind = 0; kind < KINDS; kind++) {
    double sum = 0;
    int n = 0;
    for (int i = 0; i < c->n; i++)
      if (c->repeats[i] == repeats_of_kind[kind]) sum += exposure[i], n++;
    if (!n) continue;
    json_out_object(o);
    json_kv_i64(o, "repeats", repeats_of_kind[kind]);
    json_kv_i64(o, "canaries", n);
    json_kv_f64(o, "mean_exposure", sum / n);
    json_kv_f64(o, "chance", gamma_tail(n, sum * log(2)));
    json_out_end(o);
  }
  json_out_end(o);
}

static void write_canary(struct json_out *o, const struct train_data *d, int i, double perplexity, int rank, double exposure) {
  const struct timeline_view *v = &d->canaries.view[i];
  json_out_object(o);
  json_kv_i64(o, "repeats", d->canaries.repeats[i]);
  json_kv_f64(o, "log_perplexity", perplexity);
  json_kv_i64(o, "rank", rank);
  json_kv_f64(o, "exposure", exposure);
  json_out_key(o, "codes");
  json_out_array(o);
  for (uint32_t k = v->statics; k < v->n; k++)
    if (!token_map_birth(d->map, v->code[k])) json_out_str(o, timeline_code_name(d->store, v->code[k]));
  json_out_end(o);
  json_out_end(o);
}

static int write_all(struct train_run *r, const double *canary, const double *other, struct error *e) {
  const struct train_canaries *c = &r->data.canaries;
  double exposure[240];
  int rank[240];
  struct json_out o;
  buf_clear(&r->canaries_json);
  for (int i = 0; i < c->n; i++) {
    rank[i] = 1;
    for (int k = 0; k < ALTERNATIVES; k++) rank[i] += other[k] <= canary[i];
    exposure[i] = log2((ALTERNATIVES + 1.0) / rank[i]);
  }
  json_out_init(&o, &r->canaries_json, true);
  json_out_object(&o);
  json_kv_i64(&o, "format", 1);
  json_kv_i64(&o, "instants", CANARY_INSTANTS);
  json_kv_i64(&o, "alternatives", ALTERNATIVES);
  json_kv_f64(&o, "most_exposure", log2(ALTERNATIVES + 1.0));
  json_kv_f64(&o, "epochs", r->o.epochs);
  write_summary(&o, c, exposure);
  json_out_key(&o, "canaries");
  json_out_array(&o);
  for (int i = 0; i < c->n; i++) write_canary(&o, &r->data, i, canary[i], rank[i], exposure[i]);
  json_out_end(&o);
  json_out_end(&o);
  buf_putc(&r->canaries_json, '\n');
  return buf_check(&r->canaries_json, e);
}

int train_canaries_measure(struct train_run *r, struct error *e) {
  const struct train_canaries *c = &r->data.canaries;
  struct arena a;
  int rc = OK;
  arena_init(&a, 0, 0);
  struct timeline_view *other = arena_array(&a, struct timeline_view, ALTERNATIVES);
  double *found = arena_array(&a, double, ALTERNATIVES + (size_t)c->n);
  if (!other || !found) rc = error_set(e, E_NOMEM, "no memory for the canaries");
  if (rc >= 0) rc = make_many(&r->data, ALTERNATIVE_STREAM, ALTERNATIVES, &a, other, e);
  if (rc >= 0) rc = perplexities(r, other, ALTERNATIVES, found, e);
  if (rc >= 0) rc = perplexities(r, c->view, c->n, found + ALTERNATIVES, e);
  if (rc >= 0) rc = write_all(r, found + ALTERNATIVES, found, e);
  arena_free(&a);
  return rc;
}
