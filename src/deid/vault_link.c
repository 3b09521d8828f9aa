/* One person of several keys: links by identifiers of trusted name spaces and by an identity table; what is forgotten; secrets.
 *
 * Two persons whose events have both passed stay two: the store would have to be rewritten under one pseudonym and one shift. So do two
 * keys of one source (its own index says that they are two; a filler such as 99999999 would otherwise make one person of thousands)
 * unless the site says otherwise, and a value that several persons carry already links nobody else. Each case is counted. */
#include <sodium.h>

#include "deid/deid_date.h"
#include "deid/vault_rows.h"

/* ---- what links ---- */

static bool never(const struct vault *v, struct str s) {
  for (int i = 0; i < v->never_n; i++)
    if (str_eq_nocase(v->never[i], s)) return true;
  return false;
}

static bool letter_or_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80); }

/* "0", "-", "000000", "XXX": fillers, not numbers of anybody. */
static bool worthy(const struct vault *v, struct str s) {
  char first = 0;
  bool varied = false;
  size_t n = 0;
  for (size_t i = 0; i < s.n; i++) {
    if (!letter_or_digit(s.p[i])) continue;
    if (n++ == 0) first = s.p[i];
    varied |= s.p[i] != first;
  }
  return n >= 2 && varied && !never(v, s);
}

uint16_t vault_link_space(const struct vault *v, bool key, const struct vault_text *t) {
  uint16_t space = key ? v->source_link[t->space] : v->space_link[t->space];
  return space && worthy(v, t->value) ? space : 0;
}

/* The next person after slot *at who carries the value; VAULT_NOBODY at the end. */
static uint32_t carrier(const struct vault *v, uint16_t space, struct str value, uint32_t *at) {
  const struct vault_index *x = &v->index[BY_LINK];
  for (; x->slot[*at]; *at = index_next(x, *at)) {
    uint32_t i = x->slot[*at] - 1;
    bool key = i & VAULT_LINK_KEY;
    const struct vault_entry *entry = vault_entry(key ? &v->keys : &v->identifiers, i & ~VAULT_LINK_KEY);
    if (entry->person == VAULT_NOBODY) continue;
    struct vault_text t = vault_text(v, entry);
    if (!str_eq(t.value, value) || vault_link_space(v, key, &t) != space) continue;
    *at = index_next(x, *at);
    return entry->person;
  }
  return VAULT_NOBODY;
}

/* Persons other than `row` who carry the value: none, one (*other), or several. */
static int carriers(const struct vault *v, uint16_t space, struct str value, uint32_t row, uint32_t *other) {
  const struct vault_index *x = &v->index[BY_LINK];
  int n = 0;
  if (!x->cap) return 0;
  uint32_t at = index_first(x, vault_link_hash(v, space, value));
  for (uint32_t p; n < 2 && (p = carrier(v, space, value, &at)) != VAULT_NOBODY;) {
    if (p == row || (n == 1 && p == *other)) continue;
    *other = p;
    n++;
  }
  return n;
}

static bool has_source(const struct vault *v, uint32_t row, uint16_t source) {
  for (uint32_t i = vault_identity(v, row)->keys; i; i = vault_entry(&v->keys, i - 1)->next)
    if (vault_text(v, vault_entry(&v->keys, i - 1)).space == source) return true;
  return false;
}
static bool share_source(const struct vault *v, uint32_t a, uint32_t b) {
  for (uint32_t i = vault_identity(v, a)->keys; i; i = vault_entry(&v->keys, i - 1)->next)
    if (has_source(v, b, vault_text(v, vault_entry(&v->keys, i - 1)).space)) return true;
  return false;
}

static uint16_t newest_source(const struct vault *v, uint32_t row) {
  uint32_t head = vault_identity(v, row)->keys;
  return head ? vault_text(v, vault_entry(&v->keys, head - 1)).space : 0;
}

static void conflict(struct vault *v, uint32_t a, uint32_t b, enum vault_conflict why) {
  uint16_t source = newest_source(v, a), other = newest_source(v, b);
  for (int i = 0; i < v->conflict_n; i++) {
    struct vault_conflict_row *c = &v->conflict[i];
    bool last = i == VAULT_CONFLICT_ROWS - 1; /* a full list counts the rest in its last row */
    if (!last && (c->source != source || c->other != other || c->why != why)) continue;
    c->n++;
    return;
  }
  v->conflict[v->conflict_n++] = (struct vault_conflict_row){source, other, why, 1};
}

bool vault_link_find(const struct vault *v, uint16_t space, struct str value, uint16_t source, uint32_t *row) {
  if (carriers(v, space, value, VAULT_NOBODY, row) != 1) return false;
  return vault_identity(v, *row)->key_n < UINT16_MAX && (v->within_source || !has_source(v, *row, source));
}

/* ---- two rows become one ---- */

static void move_identifiers(struct vault *v, uint32_t from, uint32_t to) {
  struct identity *gone = vault_identity(v, from), *stays = vault_identity(v, to);
  for (uint32_t i = gone->identifiers, next; i; i = next) {
    struct vault_entry *x = vault_entry(&v->identifiers, i - 1);
    struct vault_text t = vault_text(v, x);
    next = x->next;
    if (vault_identifier_known(v, to, t.kind, t.space, t.value)) {
      vault_entry_kill(v, x);
      continue;
    }
    *x = (struct vault_entry){x->place, to, stays->identifiers};
    stays->identifiers = i;
    stays->identifier_n++;
    vault_index_put(v, BY_VALUE, vault_value_hash(v, to, t.value), i - 1);
  }
}

/* `from` has no events. */
static int merge(struct vault *v, uint32_t from, uint32_t to, struct error *e) {
  struct identity *gone = vault_identity(v, from), *stays = vault_identity(v, to);
  BUG_IF(from == to || gone->flags & IDENTITY_EMITTED);
  if (gone->key_n + stays->key_n > UINT16_MAX || gone->identifier_n + stays->identifier_n > UINT16_MAX)
    return error_set(e, E_LIMIT, "one person with more keys than a vault can hold");
  TRY(vault_index_reserve(v, BY_VALUE, gone->identifier_n, e));
  move_identifiers(v, from, to);
  for (uint32_t i = gone->keys, next; i; i = next) {
    struct vault_entry *x = vault_entry(&v->keys, i - 1);
    next = x->next;
    *x = (struct vault_entry){x->place, to, stays->keys};
    stays->keys = i;
    stays->key_n++;
  }
  v->births_differ += gone->birth != DEID_DAY_NONE && stays->birth != DEID_DAY_NONE && deid_age_years(gone->birth, stays->birth) != 0;
  if (gone->birth != DEID_DAY_NONE && stays->birth == DEID_DAY_NONE) {
    stays->birth = gone->birth;
    stays->birth_precision = gone->birth_precision;
  }
  if (!stays->shift_days) stays->shift_days = gone->shift_days;
  *gone = (struct identity){
      .pseudonym = gone->pseudonym, .birth = DEID_DAY_NONE, .first = DEID_DAY_NONE, .last = DEID_DAY_NONE, .flags = IDENTITY_ERASED};
  v->erased++;
  v->changes++;
  return OK;
}

static bool emitted(const struct vault *v, uint32_t row) { return vault_identity(v, row)->flags & IDENTITY_EMITTED; }

/* The one with events stays; of two without, the older. */
static int merge_either(struct vault *v, uint32_t *a, uint32_t b, struct error *e) {
  bool b_stays = emitted(v, b) || (!emitted(v, *a) && b < *a);
  uint32_t from = b_stays ? *a : b, to = b_stays ? b : *a;
  TRY(merge(v, from, to, e));
  *a = to;
  return OK;
}

int vault_join(struct vault *v, uint32_t *row, uint16_t space, struct str value, struct error *e) {
  uint32_t other = 0;
  int n = carriers(v, space, value, *row, &other);
  if (n == 0) return OK;
  if (n > 1)
    conflict(v, *row, other, CONFLICT_SEVERAL);
  else if (!v->within_source && share_source(v, *row, other))
    conflict(v, *row, other, CONFLICT_SOURCE);
  else if (emitted(v, *row) && emitted(v, other))
    conflict(v, *row, other, CONFLICT_EVENTS);
  else {
    v->linked++;
    return merge_either(v, row, other, e);
  }
  return OK;
}

int vault_link(struct vault *v, const char *source_a, struct str person_a, const char *source_b, struct str person_b, struct error *e) {
  uint16_t sa, sb;
  uint32_t a, b;
  TRY(vault_source(v, str_c(source_a), &sa, e));
  TRY(vault_source(v, str_c(source_b), &sb, e));
  bool known_a = vault_known(v, sa, person_a, &a), known_b = vault_known(v, sb, person_b, &b);
  if ((!known_a && vault_gone(v, sa, person_a)) || (!known_b && vault_gone(v, sb, person_b)))
    return error_set(e, E_DENIED, "a person who was forgotten is not linked");
  bool attach_b = known_a && !known_b && person_b.n && person_b.n <= VAULT_KEY_LIMIT;
  bool attach_a = known_b && !known_a && person_a.n && person_a.n <= VAULT_KEY_LIMIT;
  v->linked += attach_a || attach_b;
  if (attach_b) return vault_entry_add(v, true, a, sb, 0, person_b, e);
  if (attach_a) return vault_entry_add(v, true, b, sa, 0, person_a, e);
  TRY(vault_person(v, sa, person_a, &a, e));
  TRY(vault_person(v, sb, person_b, &b, e));
  if (a == b) return OK;
  if (emitted(v, a) && emitted(v, b)) {
    conflict(v, a, b, CONFLICT_EVENTS);
    return error_set(e, E_MISMATCH, "both persons have events already, under two pseudonyms");
  }
  v->linked++;
  return merge_either(v, &a, b, e);
}

/* ---- what the site trusts ---- */

int vault_link_namespaces(struct vault *v, const struct str *ns, int n, struct error *e) {
  for (int i = 0; i < n; i++) {
    uint16_t space;
    TRY(vault_space(v, ns[i], &space, e));
    if (!space) return error_set(e, E_LIMIT, "a trusted name space is empty, longer than %d bytes, or one too many", VAULT_NAMESPACE_LIMIT);
    v->space_link[space] = space;
  }
  return vault_index_rebuild(v, BY_LINK, e);
}

int vault_link_alias(struct vault *v, struct str name, struct str ns, struct error *e) {
  uint16_t to, space, source;
  TRY(vault_space(v, ns, &to, e));
  if (!to || v->space_link[to] != to) return error_set(e, E_USAGE, "an alias must stand for one of the trusted name spaces");
  TRY(vault_space(v, name, &space, e));
  if (space && space != to) v->space_link[space] = to;
  if (name.n && name.n <= VAULT_SOURCE_LIMIT) {
    TRY(vault_source(v, name, &source, e));
    v->source_link[source] = to;
  }
  return vault_index_rebuild(v, BY_LINK, e);
}

int vault_link_never(struct vault *v, struct str value, struct error *e) {
  if (v->never_n == VAULT_NEVER || value.n == 0) return error_set(e, E_LIMIT, "at most %d values that never link", VAULT_NEVER);
  char *copy = mem_alloc(value.n);
  if (!copy) return error_set(e, E_NOMEM, "no memory for the identity map");
  memcpy(copy, value.p, value.n);
  v->never[v->never_n++] = (struct str){copy, value.n};
  return vault_index_rebuild(v, BY_LINK, e);
}

void vault_link_within_source(struct vault *v, bool yes) { v->within_source = yes; }

void vault_link_counts(const struct vault *v, struct vault_links *out) {
  static const char *const why[VAULT_CONFLICTS] = {"both-have-events", "one-source-says-two", "several-carry-it"};
  *out = (struct vault_links){.linked = v->linked, .unkept = v->unkept, .births_differ = v->births_differ, .conflict_n = v->conflict_n};
  for (int i = 0; i < v->conflict_n; i++) {
    const struct vault_conflict_row *c = &v->conflict[i];
    out->conflict[i].source = c->source < v->source_n ? v->source[c->source] : STR("");
    out->conflict[i].other = c->other < v->source_n ? v->source[c->other] : STR("");
    out->conflict[i].why = why[c->why];
    out->conflict[i].n = c->n;
    out->conflicts += c->n;
  }
}

/* ---- forgetting ---- */

void vault_row_erase(struct vault *v, uint32_t row) {
  struct identity *id = vault_identity(v, row);
  if (id->flags & IDENTITY_ERASED) return;
  for (uint32_t i = id->keys; i; i = vault_entry(&v->keys, i - 1)->next) vault_entry_kill(v, vault_entry(&v->keys, i - 1));
  for (uint32_t i = id->identifiers; i; i = vault_entry(&v->identifiers, i - 1)->next)
    vault_entry_kill(v, vault_entry(&v->identifiers, i - 1));
  *id = (struct identity){
      .pseudonym = id->pseudonym, .birth = DEID_DAY_NONE, .first = DEID_DAY_NONE, .last = DEID_DAY_NONE, .flags = IDENTITY_ERASED};
  v->erased++;
  v->changes++;
}

/* A keyed hash says nothing without the vault's secret, and with it only to whoever has the key already. */
static void gone_hash(const struct vault *v, bool key, struct str space, struct str value, uint8_t out[16]) {
  static const char of_key[] = "vitae forgotten", of_identifier[] = "vitae forgotten identifier";
  crypto_generichash_state st;
  uint64_t n = space.n;
  crypto_generichash_init(&st, v->secret, 32, 16);
  crypto_generichash_update(&st, (const uint8_t *)(key ? of_key : of_identifier), key ? sizeof of_key : sizeof of_identifier);
  crypto_generichash_update(&st, (const uint8_t *)&n, sizeof n);
  crypto_generichash_update(&st, (const uint8_t *)space.p, n);
  crypto_generichash_update(&st, (const uint8_t *)value.p, value.n);
  crypto_generichash_final(&st, out, 16);
  mem_wipe(&st, sizeof st);
}

static bool is_gone(const struct vault *v, bool key, struct str space, struct str value) {
  uint8_t hash[16];
  uint64_t at;
  if (!v->gone.count) return false;
  gone_hash(v, key, space, value, hash);
  return map_get(&v->gone, (struct str){(char *)hash, sizeof hash}, &at);
}

bool vault_gone(const struct vault *v, uint16_t source, struct str key) {
  struct vault_text t = {.space = source, .value = key};
  uint16_t space = v->gone.count ? vault_link_space(v, true, &t) : 0;
  return is_gone(v, true, v->source[source], key) || (space && is_gone(v, false, v->space[space], key));
}

int vault_gone_add(struct vault *v, const uint8_t hash[16], struct error *e) {
  bool is_new;
  return map_put(&v->gone, (struct str){(const char *)hash, 16}, &is_new) ? OK : error_set(e, E_NOMEM, "no memory for the identity map");
}

/* What links an entry to records of other sources; not a value that somebody else carries too, who may stay. */
static int gone_link(struct vault *v, bool key, uint32_t row, const struct vault_text *t, struct error *e) {
  uint16_t space = vault_link_space(v, key, t);
  uint32_t other;
  uint8_t hash[16];
  if (!space || carriers(v, space, t->value, row, &other)) return OK;
  gone_hash(v, false, v->space[space], t->value, hash);
  return vault_gone_add(v, hash, e);
}

static int stay_gone(struct vault *v, uint32_t row, struct error *e) {
  uint8_t hash[16];
  for (uint32_t i = vault_identity(v, row)->keys; i; i = vault_entry(&v->keys, i - 1)->next) {
    struct vault_text t = vault_text(v, vault_entry(&v->keys, i - 1));
    gone_hash(v, true, v->source[t.space], t.value, hash);
    TRY(vault_gone_add(v, hash, e));
    TRY(gone_link(v, true, row, &t, e));
  }
  for (uint32_t i = vault_identity(v, row)->identifiers; i; i = vault_entry(&v->identifiers, i - 1)->next) {
    struct vault_text t = vault_text(v, vault_entry(&v->identifiers, i - 1));
    TRY(gone_link(v, false, row, &t, e));
  }
  vault_row_erase(v, row);
  return OK;
}

int vault_return(struct vault *v, uint32_t *row, uint16_t space, struct str value, struct error *e) {
  if (vault_identity(v, *row)->flags & IDENTITY_EMITTED || !is_gone(v, false, v->space[space], value)) return OK;
  TRY(stay_gone(v, *row, e));
  *row = VAULT_NOBODY;
  return OK;
}

int vault_forget(struct vault *v, int64_t pseudonym, bool may_return, struct error *e) {
  uint32_t row;
  if (!vault_row_of(v, pseudonym, &row)) return error_set(e, E_NOTFOUND, "the vault knows no such person");
  if (!may_return) return stay_gone(v, row, e);
  vault_row_erase(v, row);
  return OK;
}

/* ---- secrets and counts ---- */

static void secret_of(const struct vault *v, int64_t pseudonym, const char *purpose, uint8_t out[32]) {
  static const char what[] = "vitae person secret";
  crypto_generichash_state st;
  crypto_generichash_init(&st, v->secret, 32, 32);
  crypto_generichash_update(&st, (const uint8_t *)what, sizeof what);
  crypto_generichash_update(&st, (const uint8_t *)&pseudonym, sizeof pseudonym);
  crypto_generichash_update(&st, (const uint8_t *)purpose, strlen(purpose));
  crypto_generichash_final(&st, out, 32);
  mem_wipe(&st, sizeof st);
}

int vault_secret(const struct vault *v, int64_t pseudonym, const char *purpose, uint8_t out[32], struct error *e) {
  uint32_t row;
  if (pseudonym != 0 && !vault_row_of(v, pseudonym, &row)) return error_set(e, E_NOTFOUND, "the vault knows no such pseudonym");
  secret_of(v, pseudonym, purpose, out);
  return OK;
}

bool vault_emitted(const struct vault *v, int64_t pseudonym) {
  uint32_t row;
  return vault_row_of(v, pseudonym, &row) && emitted(v, row);
}

int vault_person_shift(struct vault *v, int64_t pseudonym, int max, int32_t *days, bool *drawn, struct error *e) {
  uint32_t row;
  if (!vault_row_of(v, pseudonym, &row)) return error_set(e, E_NOTFOUND, "the vault knows no such pseudonym");
  struct identity *id = vault_identity(v, row);
  *drawn = id->shift_days == 0;
  TRY(vault_shift(v, id, max, e));
  *days = id->shift_days;
  return OK;
}

int vault_persons_each(const struct vault *v, int (*each)(void *ctx, const struct vault_person_key *k, struct error *e), void *ctx,
                       struct error *e) {
  for (uint32_t row = 0; row < v->row_n; row++) {
    const struct identity *id = vault_identity(v, row);
    if (id->flags & IDENTITY_ERASED) continue;
    for (uint32_t i = id->keys; i; i = vault_entry(&v->keys, i - 1)->next) {
      struct vault_text t = vault_text(v, vault_entry(&v->keys, i - 1));
      struct vault_person_key k = {v->source[t.space], t.value, id->pseudonym, id->shift_days, id->flags & IDENTITY_EMITTED};
      TRY(each(ctx, &k, e));
    }
  }
  return OK;
}

void vault_stats(const struct vault *v, struct vault_counts *out) {
  *out = (struct vault_counts){
      .persons = vault_persons(v), .sources = v->source_n, .forgotten_keys = v->gone.count, .memory = vault_memory(v)};
  for (uint32_t row = 0; row < v->row_n; row++) {
    const struct identity *id = vault_identity(v, row);
    if (id->flags & IDENTITY_ERASED) continue;
    out->keys += id->key_n;
    out->identifiers += id->identifier_n;
    out->linked += id->key_n > 1;
    out->with_events += (id->flags & IDENTITY_EMITTED) != 0;
    out->with_birth += id->birth != DEID_DAY_NONE;
  }
}
