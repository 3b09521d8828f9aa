#include "deid/deid_known.h"

#include "base/time.h"
#include "deid/deid_date.h"
#include "record/record.h"

enum { KNOWN_MOST = 512, KNOWN_MEMORY = 1 << 20 };

struct deid_known {
  struct deid_policy policy;
  struct text_scrubber *scrubber;
  struct text_work *work;
  struct arena arena; /* the current person's identifiers; wiped */
  struct text_known known[KNOWN_MOST];
  struct text_person who;
  int64_t pseudonym; /* of `who`; 0 = nobody yet */
  uint64_t changes;  /* of the vault, when they were fetched */
  int32_t birth;
};

int deid_known_new(const struct deid_policy *policy, struct deid_known **out, struct error *e) {
  struct deid_known *k = mem_alloc(sizeof *k);
  *out = NULL;
  if (!k) return error_set(e, E_NOMEM, "no memory for texts");
  memset(k, 0, sizeof *k);
  k->policy = *policy;
  arena_init(&k->arena, KNOWN_MEMORY, ARENA_WIPE);
  int rc = text_scrubber_open(policy->text_path, &k->scrubber, e);
  if (rc == OK && policy->text_hash[0] && strcmp(policy->text_hash, text_scrubber_hash(k->scrubber)) != 0)
    rc = error_set(e, E_MISMATCH, "the text configuration changed after the policy was read");
  if (rc == OK) rc = text_work_new(k->scrubber, &k->work, e);
  if (rc < 0)
    deid_known_free(k);
  else
    *out = k;
  return rc;
}

void deid_known_free(struct deid_known *k) {
  if (!k) return;
  text_work_free(k->work);
  text_scrubber_close(k->scrubber);
  arena_free(&k->arena);
  mem_wipe(k, sizeof *k);
  mem_free(k);
}

const char *deid_known_hash(const struct deid_known *k) { return text_scrubber_hash(k->scrubber); }

struct gathering {
  struct arena *a;
  struct text_known *known;
  uint32_t n, most;
};

static int add(struct gathering *g, int kind, struct str value, struct error *e) {
  if (g->n == g->most || !value.n) return OK;
  struct str copy = str_copy(g->a, value);
  if (!copy.p) return error_set(e, E_LIMIT, "a person has too many identifiers");
  g->known[g->n++] = (struct text_known){kind, copy};
  return OK;
}

static int keep(void *ctx, const struct vault_identifier *id, struct error *e) {
  struct gathering *g = ctx;
  struct str value = id->value;
  TRY(add(g, id->kind, value, e));
  for (size_t i = value.n; id->kind == IDENTIFIER_OTHER && i-- > 0;) /* "Patient/123": the key by itself */
    if (value.p[i] == '/') return add(g, id->kind, (struct str){value.p + i + 1, value.n - i - 1}, e);
  return OK;
}

int text_person_of(struct vault *v, int64_t pseudonym, int max, struct arena *a, struct text_known *known, uint32_t most,
                   struct text_person *who, bool *drawn, struct error *e) {
  struct gathering g = {.a = a, .known = known, .most = most};
  uint32_t row;
  *drawn = false;
  if (!vault_row_of(v, pseudonym, &row)) return error_set(e, E_NOTFOUND, "the vault knows no such person");
  const struct identity *id = vault_identity(v, row);
  TRY(vault_identifiers(v, pseudonym, keep, &g, e));
  if (id->birth != DEID_DAY_NONE) {
    char day[16];
    time_format_date(id->birth * TIME_DAY, day);
    TRY(add(&g, IDENTIFIER_DATE, str_c(day), e));
  }
  TRY(vault_secret(v, pseudonym, "surrogates", who->seed, e));
  if (who->dates == DEID_DATES_SHIFT) TRY(vault_person_shift(v, pseudonym, max, &who->shift_days, drawn, e));
  who->known = known, who->known_n = g.n;
  return OK;
}

static int person(struct deid_known *k, struct vault *v, const struct identity *id, struct error *e) {
  bool drawn;
  if (k->pseudonym == id->pseudonym && k->changes == v->changes && k->birth == id->birth) return OK;
  k->pseudonym = 0;
  arena_reset(&k->arena);
  k->who = (struct text_person){.dates = k->policy.dates, .keep_ages = k->policy.age_cap == 0};
  TRY(text_person_of(v, id->pseudonym, k->policy.shift_days_max, &k->arena, k->known, KNOWN_MOST, &k->who, &drawn, e));
  k->pseudonym = id->pseudonym;
  k->changes = v->changes;
  k->birth = id->birth;
  return OK;
}

int deid_known_scrub(struct deid_known *k, struct vault *v, struct identity *id, struct str text, struct text_result *result, int *why,
                     struct error *e) {
  struct error inner = {0};
  TRY(person(k, v, id, e));
  int rc = text_scrub(k->work, text, &k->who, k->policy.text == DEID_TEXT_TAG ? TEXT_TAG : TEXT_SURROGATE, result, &inner);
  *why = rc == E_LIMIT ? 2 : rc == OK && result->residual ? 1 : 0;
  if (rc < 0 && rc != E_LIMIT && e) *e = inner;
  return rc == E_LIMIT ? OK : rc;
}
