#include "deid/deid_text.h"

#include "base/json.h"
#include "deid/deid_known.h"

struct deid_texts {
  struct deid_known *known;
  uint64_t passed, residual, over_limit, masked, bytes, labels[TEXT_LABELS], finders[5];
};

static int texts_open(struct deid *w, struct error *e) {
  if (w->texts) return OK;
  struct deid_texts *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for texts");
  memset(t, 0, sizeof *t);
  w->texts = t;
  int rc = deid_known_new(&w->policy, &t->known, e);
  if (rc < 0) deid_text_close(w);
  return rc;
}

void deid_text_close(struct deid *w) {
  struct deid_texts *t = w->texts;
  if (!t) return;
  deid_known_free(t->known);
  mem_free(t);
  w->texts = NULL;
}

static void count(struct deid *w, const struct text_result *res, size_t bytes) {
  struct deid_texts *t = w->texts;
  t->passed++;
  t->bytes += bytes;
  t->masked += res->masked;
  for (int i = 0; i < 5; i++) t->finders[i] += res->finder_n[i];
  for (int i = 0; i < TEXT_LABELS; i++) {
    t->labels[i] += res->label_n[i];
    if (!(i == TEXT_DATE && w->policy.dates == DEID_DATES_KEEP)) w->counts.removed[text_label_kind(i)] += res->label_n[i];
  }
}

int deid_text_scrub(struct deid *w, const struct record *r, struct str *out, struct error *e) {
  struct text_result res;
  *out = STR_NONE;
  if (w->policy.text == DEID_TEXT_DROP) return OK;
  TRY(texts_open(w, e));
  struct deid_texts *t = w->texts;
  int why;
  TRY(deid_known_scrub(t->known, w->vault, w->current, r->text, &res, &why, e));
  t->residual += why == 1;
  t->over_limit += why == 2;
  if (why) return OK;
  count(w, &res, r->text.n);
  *out = res.text;
  return OK;
}

static void number(struct json_out *o, const char *key, uint64_t n) {
  json_out_key(o, key);
  json_out_u64(o, n);
}

void deid_text_manifest(const struct deid *w, struct json_out *o) {
  static const char *const finders[] = {"own_identifiers", "rules", "lists", "tagger", "repeats"};
  const struct deid_texts *t = w->texts;
  if (!t) return;
  json_out_key(o, "texts");
  json_out_object(o);
  json_kv_c(o, "treatment", w->policy.text == DEID_TEXT_TAG ? "tag" : "surrogate");
  json_kv_c(o, "text_hash", deid_known_hash(t->known));
  number(o, "passed", t->passed);
  number(o, "bytes", t->bytes);
  number(o, "dropped_by_second_look", t->residual);
  number(o, "dropped_over_limit", t->over_limit);
  number(o, "dates_masked", t->masked);
  json_out_key(o, "found");
  json_out_object(o);
  for (int i = 0; i < TEXT_LABELS; i++)
    if (t->labels[i]) number(o, text_label_name(i), t->labels[i]);
  json_out_end(o);
  json_out_key(o, "found_by");
  json_out_object(o);
  for (int i = 0; i < 5; i++) number(o, finders[i], t->finders[i]);
  json_out_end(o);
  json_out_end(o);
}
