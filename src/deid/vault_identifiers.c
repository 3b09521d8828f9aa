/* A person's identifiers: learned once each, listed for the scrubber and for the audit. */
#include "deid/deid_date.h"
#include "deid/vault_rows.h"
#include "record/record.h"

static const struct vault_entry *find(const struct vault *v, uint32_t row, struct str value,
                                      bool (*fits)(const struct vault_text *t, const void *ctx), const void *ctx) {
  const struct vault_index *x = &v->index[BY_VALUE];
  if (!x->cap) return NULL;
  for (uint32_t i = index_first(x, vault_value_hash(v, row, value)); x->slot[i]; i = index_next(x, i)) {
    const struct vault_entry *id = vault_entry(&v->identifiers, x->slot[i] - 1);
    if (id->person != row) continue;
    struct vault_text t = vault_text(v, id);
    if (str_eq(t.value, value) && fits(&t, ctx)) return id;
  }
  return NULL;
}

static bool same(const struct vault_text *t, const void *ctx) {
  const struct vault_text *want = ctx;
  return t->kind == want->kind && t->space == want->space;
}
bool vault_identifier_known(const struct vault *v, uint32_t row, int kind, uint16_t space, struct str value) {
  struct vault_text want = {.space = space, .kind = kind};
  return find(v, row, value, same, &want) != NULL;
}

static bool no_place(const struct vault_text *t, const void *ctx UNUSED) { return t->kind != IDENTIFIER_GEOGRAPHY; }
bool vault_has_value(const struct vault *v, uint32_t row, struct str value) {
  if (find(v, row, value, no_place, NULL)) return true;
  for (uint32_t i = vault_identity(v, row)->keys; i; i = vault_entry(&v->keys, i - 1)->next) {
    struct str key = vault_text(v, vault_entry(&v->keys, i - 1)).value; /* the key, or what follows its last slash ("Patient/123") */
    if (key.n < value.n || memcmp(key.p + key.n - value.n, value.p, value.n) != 0) continue;
    if (key.n == value.n || key.p[key.n - value.n - 1] == '/') return true;
  }
  return false;
}

/* ---- learning ---- */

int vault_learn_identifier(struct vault *v, uint32_t *row, const struct record *r, struct error *e) {
  struct str value = str_trim(r->text);
  uint16_t space;
  bool kept = (unsigned)r->identifier < IDENTIFIER_FREE_TEXT && r->identifier != IDENTIFIER_DATE && r->identifier != IDENTIFIER_PHOTO;
  if (!kept || value.n == 0) return OK;
  if (value.n > VAULT_KEY_LIMIT || vault_identity(v, *row)->identifier_n >= VAULT_IDENTIFIERS) {
    v->unkept++;
    return OK;
  }
  TRY(vault_space(v, str_trim(r->ns), &space, e));
  if (vault_identifier_known(v, *row, r->identifier, space, value)) return OK;
  struct vault_text t = {.space = space, .kind = r->identifier, .value = value};
  uint16_t link = vault_link_space(v, false, &t);
  if (link) TRY(vault_return(v, row, link, value, e));
  if (*row == VAULT_NOBODY) return OK;
  if (link) TRY(vault_join(v, row, link, value, e));
  if (vault_identifier_known(v, *row, r->identifier, space, value)) return OK; /* whom it was joined with had it */
  return vault_entry_add(v, false, *row, space, r->identifier, value, e);
}

/* A linked source that gives the year alone does not undo the day that another gave. */
void vault_learn_birth(struct identity *id, int32_t day, uint8_t precision) {
  if (id->birth != DEID_DAY_NONE && precision < id->birth_precision && deid_age_years(id->birth, day) == 0) return;
  id->birth = day;
  id->birth_precision = precision;
}

int vault_learn(struct vault *v, const char *source, const struct record *r, struct error *e) {
  uint16_t id;
  uint32_t row;
  int32_t day;
  if (r->kind != RECORD_IDENTIFIER && r->kind != RECORD_BIRTH) return OK;
  if (r->person.n == 0 || r->person.n > VAULT_KEY_LIMIT) return OK;
  TRY(vault_source(v, str_c(source), &id, e));
  if (!vault_known(v, id, r->person, &row) && vault_gone(v, id, r->person)) return OK;
  TRY(vault_person(v, id, r->person, &row, e));
  if (r->kind == RECORD_IDENTIFIER) return vault_learn_identifier(v, &row, r, e);
  if (r->time.us != TIME_STATIC && deid_day(r->time.us, &day)) vault_learn_birth(vault_identity(v, row), day, (uint8_t)r->time.precision);
  return OK;
}

/* ---- listing ---- */

typedef int one_f(void *ctx, int64_t pseudonym, const struct vault_identifier *id, struct error *e);

static int list(const struct vault *v, uint32_t row, one_f *each, void *ctx, struct error *e) {
  const struct identity *p = vault_identity(v, row);
  for (uint32_t i = p->keys; i; i = vault_entry(&v->keys, i - 1)->next) {
    struct vault_text t = vault_text(v, vault_entry(&v->keys, i - 1));
    struct vault_identifier id = {IDENTIFIER_OTHER, v->source[t.space], t.value};
    TRY(each(ctx, p->pseudonym, &id, e));
  }
  for (uint32_t i = p->identifiers; i; i = vault_entry(&v->identifiers, i - 1)->next) {
    struct vault_text t = vault_text(v, vault_entry(&v->identifiers, i - 1));
    struct vault_identifier id = {(int)t.kind, v->space[t.space], t.value};
    TRY(each(ctx, p->pseudonym, &id, e));
  }
  return OK;
}

struct without_pseudonym {
  int (*each)(void *ctx, const struct vault_identifier *id, struct error *e);
  void *ctx;
};
static int call_without(void *ctx, int64_t pseudonym UNUSED, const struct vault_identifier *id, struct error *e) {
  struct without_pseudonym *w = ctx;
  return w->each(w->ctx, id, e);
}

int vault_identifiers(const struct vault *v, int64_t pseudonym, int (*each)(void *ctx, const struct vault_identifier *id, struct error *e),
                      void *ctx, struct error *e) {
  uint32_t row;
  struct without_pseudonym w = {each, ctx};
  if (!vault_row_of(v, pseudonym, &row)) return error_set(e, E_NOTFOUND, "the vault knows no such pseudonym");
  return list(v, row, call_without, &w, e);
}

int vault_all_identifiers(const struct vault *v, one_f *each, void *ctx, struct error *e) {
  for (uint32_t i = 0; i < v->row_n; i++)
    if (!(vault_identity(v, i)->flags & IDENTITY_ERASED)) TRY(list(v, i, each, ctx, e));
  return OK;
}
