/* From an identifier to the rows of letters and digits that it may be written as. */
#include "base/hash.h"
#include "base/time.h"
#include "deid/audit_private.h"
#include "deid/deid_date.h"
#include "record/record.h"

struct row {
  uint8_t c[AUDIT_LENGTH];
  size_t n;
};

static int person_index(struct audit_search *s, int64_t pseudonym, uint32_t *out, struct error *e) {
  bool is_new;
  uint64_t *slot = map64_put(&s->index, pseudonym, &is_new);
  if (!slot) return error_set(e, E_NOMEM, "no memory for the audit's persons");
  if (!is_new) return *out = (uint32_t)*slot, OK;
  if (s->persons == s->persons_cap) {
    uint32_t cap = s->persons_cap ? s->persons_cap * 2 : 256;
    int64_t *person = mem_realloc(s->person, cap * sizeof *person);
    if (person) s->person = person;
    struct audit_days *days = person ? mem_realloc(s->days, cap * sizeof *days) : NULL;
    if (!days) return error_set(e, E_NOMEM, "no memory for the audit's persons");
    s->days = days;
    s->persons_cap = cap;
  }
  s->person[s->persons] = pseudonym;
  s->days[s->persons] = (struct audit_days){DEID_DAY_NONE, DEID_DAY_NONE, DEID_DAY_NONE, false};
  *slot = s->persons;
  *out = s->persons++;
  return OK;
}

static int put_hash(struct audit_search *s, uint32_t person, int kind, enum audit_form form, uint64_t hash, size_t n, unsigned flags,
                    struct error *e) {
  if (s->n == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 4096;
    struct audit_needle *grown = mem_realloc(s->needle, cap * sizeof *grown);
    if (!grown) return error_set(e, E_NOMEM, "no memory for the audit's identifiers");
    s->needle = grown;
    s->cap = cap;
  }
  s->needle[s->n++] = (struct audit_needle){hash, person, (uint8_t)kind, (uint8_t)form, (uint8_t)n, (uint8_t)flags};
  return OK;
}

static int put(struct audit_search *s, uint32_t person, int kind, enum audit_form form, const uint8_t *c, size_t n, unsigned more,
               struct error *e) {
  if (n < 2 || n > AUDIT_LENGTH) return OK;
  uint64_t h = s->seed, plain = 0, word;
  size_t digits = 0;
  for (size_t i = 0; i < n; i++) {
    h = audit_hash_next(h, c[i]);
    if (audit_prefix(i + 1) >= 0) s->prefix[audit_prefix_bit(h) >> 6] |= UINT64_C(1) << (audit_prefix_bit(h) & 63);
    plain = audit_hash_next(plain, c[i]);
    digits += audit_digit(c[i]);
  }
  unsigned flags = more | (digits == n ? NEEDLE_DIGITS : 0) | (digits == 0 ? NEEDLE_LETTERS : 0);
  if (map64_get(&s->words, (int64_t)plain, &word)) flags |= (unsigned)word;
  return put_hash(s, person, kind, form, h, n, flags, e);
}

static int put_text(struct audit_search *s, uint32_t person, int kind, enum audit_form form, struct str text, struct error *e) {
  uint8_t row[AUDIT_LENGTH];
  size_t n = audit_fold_value(text, row);
  return put(s, person, kind, form, row, n, 0, e);
}

static size_t digits_of(const uint8_t *c, size_t n, uint8_t out[AUDIT_LENGTH]) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++)
    if (audit_digit(c[i])) out[k++] = c[i];
  return k;
}

/* ---- names ---- */

static bool title(const uint8_t *c, size_t n) {
  static const char *const titles[] = {"mr", "mrs", "ms", "miss", "dr",   "md",  "jr",   "sr",
                                       "ii", "iii", "iv", "phd",  "prof", "rev", "frau", "herr"};
  for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
    if (strlen(titles[i]) == n && memcmp(titles[i], c, n) == 0) return true;
  return false;
}

static int put_pair(struct audit_search *s, int a, int b, enum audit_form form, struct error *e) {
  uint8_t row[AUDIT_LENGTH];
  size_t n = form == AUDIT_INITIAL ? 1 : s->word_n[a];
  uint64_t plain[2] = {0, 0}, word[2] = {0, 0};
  if (n + s->word_n[b] > AUDIT_LENGTH) return OK;
  memcpy(row, s->word[a], n);
  memcpy(row + n, s->word[b], s->word_n[b]);
  for (int i = 0; i < s->word_n[a]; i++) plain[0] = audit_hash_next(plain[0], s->word[a][i]);
  for (int i = 0; i < s->word_n[b]; i++) plain[1] = audit_hash_next(plain[1], s->word[b][i]);
  for (int i = 0; i < 2; i++)
    if (!map64_get(&s->words, (int64_t)plain[i], &word[i])) word[i] = 0;
  unsigned flags = (unsigned)(word[0] & word[1]);
  /* "de toro", "la vida": a particle and a word */
  if ((word[0] && s->word_n[a] <= 3) || (word[1] && s->word_n[b] <= 3)) flags |= NEEDLE_WORD;
  return put(s, s->naming, IDENTIFIER_NAME, form, row, n + s->word_n[b], flags, e);
}

/* The word, and the word without each of its letters in turn (Damerau's one edit leaves one of these in common). */
static int put_near(struct audit_search *s, const uint8_t *c, size_t n, struct error *e) {
  uint64_t plain = 0, word = 0;
  for (size_t i = 0; i < n; i++) plain = audit_hash_next(plain, c[i]);
  unsigned flags = map64_get(&s->words, (int64_t)plain, &word) ? (unsigned)word : 0;
  if (n < NEAR_LEAST) return OK;
  for (size_t skip = 0; skip <= n; skip++) {
    uint64_t h = s->seed ^ AUDIT_NEAR;
    for (size_t i = 0; i < n; i++)
      if (i != skip) h = audit_hash_next(h, c[i]);
    TRY(put_hash(s, s->naming, IDENTIFIER_NAME, AUDIT_NAME_NEAR, h, n, flags, e));
  }
  return OK;
}

int audit_names_done(struct audit_search *s, struct error *e) {
  if (s->naming == UINT32_MAX) return OK;
  for (int a = 0; a < s->words_n; a++) {
    TRY(put_near(s, s->word[a], s->word_n[a], e));
    TRY(put(s, s->naming, IDENTIFIER_NAME, AUDIT_NAME_PART, s->word[a], s->word_n[a], 0, e));
    for (int b = 0; b < s->words_n; b++) {
      if (a == b) continue;
      if (s->word_n[a] > 1 && s->word_n[b] > 1) TRY(put_pair(s, a, b, AUDIT_NAME_PAIR, e));
      if (s->word_n[b] >= 3) TRY(put_pair(s, a, b, AUDIT_INITIAL, e));
    }
  }
  mem_wipe(s->word, sizeof s->word);
  s->words_n = 0;
  s->naming = UINT32_MAX;
  return OK;
}

static bool separates(char c) { return c == ' ' || c == ',' || c == '-' || c == '.' || c == '\t' || c == '^' || c == '/' || c == '\n'; }

static int take_name(struct audit_search *s, uint32_t person, struct str name, struct error *e) {
  if (s->naming != person) TRY(audit_names_done(s, e));
  s->naming = person;
  int words = 0;
  for (size_t i = 0; i < name.n;) {
    size_t from = i;
    while (i < name.n && !separates(name.p[i])) i++;
    uint8_t row[AUDIT_LENGTH];
    size_t n = audit_fold_value((struct str){name.p + from, i - from}, row);
    i++;
    bool known = n == 0 || title(row, n);
    for (int k = 0; k < s->words_n && !known; k++) known = s->word_n[k] == n && memcmp(s->word[k], row, n) == 0;
    words += n > 0;
    if (known || s->words_n == NAME_WORDS) continue;
    memcpy(s->word[s->words_n], row, n);
    s->word_n[s->words_n++] = (uint8_t)n;
  }
  return words > 2 ? put_text(s, person, IDENTIFIER_NAME, AUDIT_NAME_PAIR, name, e) : OK; /* two are a pair already */
}

/* ---- the other kinds ---- */

static int take_number(struct audit_search *s, uint32_t person, int kind, enum audit_form form, struct str value, struct error *e) {
  uint8_t row[AUDIT_LENGTH], digits[AUDIT_LENGTH];
  size_t n = audit_fold_value(value, row), k = digits_of(row, n, digits);
  TRY(put(s, person, kind, form, row, n, 0, e));
  if (k != n && k >= 6) TRY(put(s, person, kind, AUDIT_DIGITS, digits, k, 0, e));
  if (k >= 8 && k <= 15) { /* a float32 keeps 24 bits */
    double exact = 0;
    char text[24];
    for (size_t i = 0; i < k; i++) exact = exact * 10 + (digits[i] - '0');
    int m = snprintf(text, sizeof text, "%.0f", (double)(float)exact);
    if ((double)(float)exact != exact) TRY(put(s, person, kind, AUDIT_FLOAT, (const uint8_t *)text, (size_t)m, 0, e));
  }
  return OK;
}

static int take_phone(struct audit_search *s, uint32_t person, int kind, struct str value, struct error *e) {
  uint8_t row[AUDIT_LENGTH], digits[AUDIT_LENGTH];
  size_t n = audit_fold_value(value, row), k = digits_of(row, n, digits);
  TRY(put(s, person, kind, AUDIT_WHOLE, row, n, 0, e));
  if (k >= 7) TRY(put(s, person, kind, AUDIT_DIGITS, digits, k, 0, e));
  if (k > 10) TRY(put(s, person, kind, AUDIT_DIGITS, digits + k - 10, 10, 0, e));
  return k > 7 ? put(s, person, kind, AUDIT_PHONE_LOCAL, digits + k - 7, 7, 0, e) : OK;
}

static int take_mail(struct audit_search *s, uint32_t person, struct str value, struct error *e) {
  TRY(put_text(s, person, IDENTIFIER_EMAIL, AUDIT_WHOLE, value, e));
  struct str rest = value, user = str_cut(&rest, '@');
  return rest.p ? put_text(s, person, IDENTIFIER_EMAIL, AUDIT_MAIL_USER, user, e) : OK;
}

static bool postcode(const uint8_t *c, size_t n) { /* few characters with a digit: 02139, 021391234, SW1A1AA */
  size_t digits = 0;
  for (size_t i = 0; i < n; i++) digits += audit_digit(c[i]);
  return digits > 0 && (digits == n ? n == 5 || n == 9 || n == 4 || n == 6 : n <= 8 && digits >= 2);
}

static int take_place(struct audit_search *s, uint32_t person, struct str value, struct error *e) {
  uint8_t row[AUDIT_LENGTH], digits[AUDIT_LENGTH];
  size_t n = audit_fold_value(value, row), k = digits_of(row, n, digits);
  if (postcode(row, n)) {
    TRY(put(s, person, IDENTIFIER_GEOGRAPHY, AUDIT_POSTCODE, row, n, 0, e));
    return k == 9 && n == 9 ? put(s, person, IDENTIFIER_GEOGRAPHY, AUDIT_POSTCODE, row, 5, 0, e) : OK;
  }
  return put(s, person, IDENTIFIER_GEOGRAPHY, k ? AUDIT_ADDRESS : AUDIT_PLACE_NAME, row, n, 0, e);
}

static int take_date(struct audit_search *s, uint32_t person, struct str value, struct error *e) {
  struct time_parts p;
  int64_t us;
  int32_t day;
  if (time_parse(str_trim(value), &p, &us, NULL) < 0 || p.precision < TIME_PRECISION_DAY || !deid_day(us, &day))
    return put_text(s, person, IDENTIFIER_DATE, AUDIT_WHOLE, value, e);
  if (s->days[person].birth == DEID_DAY_NONE) s->days[person].birth = day;
  return OK;
}

int audit_search_add(struct audit_search *s, int64_t pseudonym, const struct vault_identifier *id, struct error *e) {
  uint32_t person;
  BUG_IF(s->sealed);
  TRY(person_index(s, pseudonym, &person, e));
  switch (id->kind) {
    case IDENTIFIER_NAME: return take_name(s, person, id->value, e);
    case IDENTIFIER_GEOGRAPHY: return take_place(s, person, id->value, e);
    case IDENTIFIER_DATE: return take_date(s, person, id->value, e);
    case IDENTIFIER_PHONE:
    case IDENTIFIER_FAX: return take_phone(s, person, id->kind, id->value, e);
    case IDENTIFIER_EMAIL: return take_mail(s, person, id->value, e);
    case IDENTIFIER_FREE_TEXT:
    case IDENTIFIER_PHOTO:
    case IDENTIFIER_BIOMETRIC: return OK; /* documents, not identifiers that are written somewhere */
    default: return take_number(s, person, id->kind, AUDIT_WHOLE, id->value, e);
  }
}

/* "Patient/123": the part after the last slash or colon is looked for as well. */
int audit_search_key(struct audit_search *s, int64_t pseudonym, struct str key, struct error *e) {
  uint32_t person;
  size_t at = key.n;
  BUG_IF(s->sealed);
  TRY(person_index(s, pseudonym, &person, e));
  while (at > 0 && key.p[at - 1] != '/' && key.p[at - 1] != ':') at--;
  if (at == key.n) at = 0;
  if (at) TRY(put_text(s, person, IDENTIFIER_OTHER, AUDIT_KEY, key, e));
  return take_number(s, person, IDENTIFIER_OTHER, AUDIT_KEY, (struct str){key.p + at, key.n - at}, e);
}

int audit_search_days(struct audit_search *s, int64_t pseudonym, int32_t birth, int32_t first, int32_t last, struct error *e) {
  uint32_t person;
  BUG_IF(s->sealed);
  TRY(person_index(s, pseudonym, &person, e));
  struct audit_days *d = &s->days[person];
  if (birth != DEID_DAY_NONE) d->birth = birth;
  if (first != DEID_DAY_NONE) d->first = first;
  if (last != DEID_DAY_NONE) d->last = last;
  return OK;
}
