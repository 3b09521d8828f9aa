#include "deid/deid_text.h"

#include "base/json.h"
#include "base/time.h"
#include "deid/deid_date.h"
#include "deid/text.h"

enum { KNOWN_MOST = 512, KNOWN_MEMORY = 1 << 20 };

struct deid_texts {
  struct text_scrubber *scrubber;
  struct text_work *work;
  struct arena arena; /* the current person's identifiers; wiped */
  struct text_known known[KNOWN_MOST];
  struct text_person who;
  int64_t pseudonym; /* of `who`; 0 = nobody yet */
  uint64_t changes;  /* of the vault, when they were fetched */
  int32_t birth;
  uint64_t passed, residual, over_limit, masked, bytes, labels[TEXT_LABELS], finders[5];
};

static int texts_open(struct deid *w, struct error *e) {
  if (w->texts) return OK;
  struct deid_texts *t = mem_alloc(sizeof *t);
  if (!t) return error_set(e, E_NOMEM, "no memory for texts");
  memset(t, 0, sizeof *t);
  arena_init(&t->arena, KNOWN_MEMORY, ARENA_WIPE);
  w->texts = t;
  int rc = text_scrubber_open(w->policy.text_path, &t->scrubber, e);
  if (rc == OK && w->policy.text_hash[0] && strcmp(w->policy.text_hash, text_scrubber_hash(t->scrubber)) != 0)
    rc = error_set(e, E_MISMATCH, "the text configuration changed after the policy was read");
  if (rc == OK) rc = text_work_new(t->scrubber, &t->work, e);
  if (rc < 0) deid_text_close(w);
  return rc;
}

void deid_text_close(struct deid *w) {
  struct deid_texts *t = w->texts;
  if (!t) return;
  text_work_free(t->work);
  text_scrubber_close(t->scrubber);
  arena_free(&t->arena);
  mem_wipe(t, sizeof *t);
  mem_free(t);
  w->texts = NULL;
}

static int add(struct deid_texts *t, int kind, struct str value, struct error *e) {
  if (t->who.known_n == KNOWN_MOST || !value.n) return OK;
  struct str copy = str_copy(&t->arena, value);
  if (!copy.p) return error_set(e, E_LIMIT, "a person has too many identifiers");
  t->known[t->who.known_n++] = (struct text_known){kind, copy};
  return OK;
}

static int keep(void *ctx, const struct vault_identifier *id, struct error *e) {
  struct deid_texts *t = ctx;
  struct str value = id->value;
  TRY(add(t, id->kind, value, e));
  for (size_t i = value.n; id->kind == IDENTIFIER_OTHER && i-- > 0;) /* "Patient/123": the key by itself */
    if (value.p[i] == '/') return add(t, id->kind, (struct str){value.p + i + 1, value.n - i - 1}, e);
  return OK;
}

static int person(struct deid *w, struct error *e) {
  struct deid_texts *t = w->texts;
  const struct identity *id = w->current;
  if (t->pseudonym == id->pseudonym && t->changes == w->vault->changes && t->birth == id->birth) return OK;
  t->pseudonym = 0;
  arena_reset(&t->arena);
  t->who = (struct text_person){.known = t->known, .dates = w->policy.dates, .keep_ages = w->policy.age_cap == 0};
  TRY(vault_identifiers(w->vault, id->pseudonym, keep, t, e));
  if (id->birth != DEID_DAY_NONE) {
    char day[16];
    time_format_date(id->birth * TIME_DAY, day);
    TRY(add(t, IDENTIFIER_DATE, str_c(day), e));
  }
  TRY(vault_secret(w->vault, id->pseudonym, "surrogates", t->who.seed, e));
  t->pseudonym = id->pseudonym;
  t->changes = w->vault->changes;
  t->birth = id->birth;
  return OK;
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
  if (w->policy.dates == DEID_DATES_SHIFT) TRY(vault_shift(w->vault, w->current, w->policy.shift_days_max, e));
  TRY(person(w, e));
  struct deid_texts *t = w->texts;
  t->who.shift_days = w->current->shift_days;
  struct error why = {0};
  int rc = text_scrub(t->work, r->text, &t->who, w->policy.text == DEID_TEXT_TAG ? TEXT_TAG : TEXT_SURROGATE, &res, &why);
  if (rc == E_LIMIT) {
    t->over_limit++;
    return OK;
  }
  if (rc < 0) {
    if (e) *e = why;
    return rc;
  }
  if (res.residual) {
    t->residual++;
    return OK;
  }
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
  json_kv_c(o, "text_hash", text_scrubber_hash(t->scrubber));
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
