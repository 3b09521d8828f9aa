/* The record of a session, and running it again. */
#include <math.h>

#include "base/hash.h"
#include "base/json.h"
#include "reason/sequential_private.h"

#define FORMAT 1
#define LEAST 1e-3 /* probabilities below are not written */

static double rounded(double x) { return round(x * 1e6) / 1e6; }
static const char *const policies[] = {"informed", "fixed", "everything"};

static void write_odds(const struct sequential_session *s, const struct heard *h, struct json_out *o) {
  double entropy = 0;
  json_out_key(o, "odds");
  json_out_object(o);
  for (int i = 0; i < s->k->diseases; i++) {
    double p = (double)h->probability[i];
    if (p > 1e-12) entropy -= p * log2(p);
    if (p < LEAST) continue;
    json_out_key_str(o, s->k->disease[i].name);
    json_out_f64(o, rounded(p));
  }
  json_out_end(o);
  json_kv_f64(o, "entropy_bits", rounded(entropy));
}
/* One step as JSON; `hash` becomes the hash of the hash before and of the step's text */
static int write_step(const struct sequential_session *s, const struct heard *h, char hash[65], struct buf *to, struct error *e) {
  struct buf b = {0};
  struct json_out o;
  struct sha256 sum;
  uint8_t bytes[32];
  json_out_init(&o, &b, false);
  json_out_object(&o);
  json_kv_str(&o, "action", h->action < 0 ? STR("opening") : s->k->action[h->action].id);
  json_out_key(&o, "answer");
  if (h->answer.n)
    json_out_str(&o, h->answer);
  else
    json_out_null(&o);
  json_kv_f64(&o, "cost", h->action < 0 ? 0 : s->k->action[h->action].cost);
  json_kv_f64(&o, "spent", h->spent);
  json_kv_f64(&o, "expected_gain", rounded(h->gain));
  write_odds(s, h, &o);
  json_out_end(&o);
  int rc = buf_check(&b, e);
  if (rc == OK) rc = sha256_init(&sum, e);
  if (rc == OK) {
    sha256_add(&sum, hash, strlen(hash));
    sha256_add(&sum, b.p, b.n);
    sha256_end(&sum, bytes);
    hash_hex(bytes, 32, hash);
    buf_put(to, b.p, b.n - 1);
    buf_printf(to, ",\"hash\":\"%s\"}", hash);
  }
  buf_release(&b);
  return rc;
}

static void write_options(const struct sequential_session *s, struct json_out *o) {
  json_out_key(o, "options");
  json_out_object(o);
  json_kv_c(o, "policy", policies[s->o.policy]);
  if (isfinite(s->o.budget)) json_kv_f64(o, "budget", s->o.budget);
  json_kv_f64(o, "worth", s->o.worth);
  json_kv_bool(o, "proposer", s->o.proposer.propose != NULL);
  for (int side = 0; side < 2; side++) {
    json_out_key(o, side ? "other" : "shown");
    json_out_array(o);
    for (int i = 0; i < 3; i++) json_out_f64(o, (side ? s->o.other : s->o.shown)[i]);
    json_out_end(o);
  }
  json_out_end(o);
}

int sequential_transcript(const struct sequential_session *s, struct buf *json, struct error *e) {
  struct json_out o;
  char hash[65];
  int first = sequential_first(s);
  json_out_init(&o, json, false);
  json_out_object(&o);
  json_kv_i64(&o, "format", FORMAT);
  json_kv_c(&o, "diagnoses_sha256", s->k->hash[0]);
  json_kv_c(&o, "actions_sha256", s->k->hash[1]);
  json_kv_c(&o, "words_sha256", s->k->hash[2]);
  json_kv_str(&o, "currency", s->k->currency);
  write_options(s, &o);
  snprintf(hash, sizeof hash, "%s", s->k->hash[0]);
  json_out_key(&o, "steps");
  json_out_array(&o);
  for (int i = 0; i < s->steps; i++) {
    struct buf step = {0};
    int rc = write_step(s, &s->step[i], hash, &step, e);
    if (rc == OK) json_out_raw(&o, (struct str){step.p, step.n});
    buf_release(&step);
    if (rc < 0) return rc;
  }
  json_out_end(&o);
  json_kv_c(&o, "stopped", s->why);
  json_kv_str(&o, "diagnosis", s->k->disease[first].name);
  json_kv_f64(&o, "probability", rounded(s->p[first]));
  json_kv_f64(&o, "spent", s->spent);
  json_kv_c(&o, "hash", hash);
  json_out_end(&o);
  return buf_check(json, e);
}

/* ---- again ---- */

static int read_options(struct json root, struct sequential_options *o, struct error *e) {
  struct json j = json_get(root, "options");
  struct str text;
  bool proposer = false;
  *o = (struct sequential_options){0};
  TRY(json_want_str(j, "policy", &text, e));
  int at = 0;
  while (at < 3 && !str_eqc(text, policies[at])) at++;
  if (at == 3) return error_set(e, E_INPUT, "field policy: unknown");
  o->policy = (enum sequential_policy)at;
  if (json_kind(json_get(j, "budget")) != JSON_NONE) TRY(json_want_f64(j, "budget", &o->budget, e));
  TRY(json_want_f64(j, "worth", &o->worth, e));
  json_bool(json_get(j, "proposer"), &proposer);
  if (proposer) return error_set(e, E_UNAVAILABLE, "a proposer took part: only its steps can be read, not its choices run again");
  for (int i = 0; i < 6; i++)
    if (!json_f64(json_at(json_get(j, i < 3 ? "shown" : "other"), (size_t)(i % 3)), i < 3 ? &o->shown[i] : &o->other[i - 3]))
      return error_set(e, E_INPUT, "fields shown and other: expected three numbers each");
  return OK;
}
static int again_step(struct sequential_session *s, struct json step, struct error *e) {
  struct sequential_choice c;
  struct str id;
  TRY(json_want_str(step, "action", &id, e));
  TRY(sequential_choose(s, &c, e));
  if (c.action < 0 || !str_eq(s->k->action[c.action].id, id)) return error_set(e, E_MISMATCH, "another action would have been next");
  return sequential_hear(s, c.action, json_str(json_get(step, "answer")), e);
}
int sequential_replay(const struct sequential *k, struct json root, struct buf *again, struct error *e) {
  struct sequential_options o;
  struct sequential_session *s = NULL;
  struct sequential_choice c;
  struct arena a;
  static const char *const files[] = {"diagnoses", "actions", "words"};
  for (int i = 0; i < 3; i++) {
    char field[32];
    struct str hash;
    snprintf(field, sizeof field, "%s_sha256", files[i]);
    TRY(json_want_str(root, field, &hash, e));
    if (!str_eqc(hash, k->hash[i])) return error_set(e, E_MISMATCH, "the transcript was made with another file of %s", files[i]);
  }
  TRY(read_options(root, &o, e));
  struct json steps = json_get(root, "steps"), step;
  struct json_iter it = json_items(steps);
  if (json_count(steps) == 0) return error_set(e, E_INPUT, "field steps: expected the opening");
  arena_init(&a, 256 << 20, 0);
  int rc = OK, row = 0;
  for (; rc == OK && json_next(&it, &step); row++) {
    rc = row == 0 ? sequential_begin(k, &o, json_str(json_get(step, "answer")), &a, &s, e) : again_step(s, step, e);
    if (rc < 0) error_where(e, NULL, row, "steps");
  }
  if (rc == OK) rc = sequential_choose(s, &c, e);
  bool left = str_eqc(json_str(json_get(root, "stopped")), "left");
  if (rc == OK && c.action >= 0 && left) sequential_leave(s);
  if (rc == OK && c.action >= 0 && !left) rc = error_set(e, E_MISMATCH, "the session would have gone on");
  if (rc == OK) rc = sequential_transcript(s, again, e);
  arena_free(&a);
  return rc;
}
