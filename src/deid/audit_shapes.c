/* What looks like an identifier, whoever's it is. Written by hand and apart from the scrubber's rules, so that one mistake is not made twice. */
#include "deid/audit_days.h"
#include "deid/audit_private.h"
#include "record/record.h"

struct shape {
  int kind;
  size_t length; /* 0: none here */
};
#define NOTHING ((struct shape){0, 0})

static bool digit_at(struct str t, size_t i) { return i < t.n && audit_digit((uint8_t)t.p[i]); }
static bool word_at(struct str t, size_t i) { return i < t.n && (digit_at(t, i) || ((t.p[i] | 0x20) >= 'a' && (t.p[i] | 0x20) <= 'z')); }
static size_t digits(struct str t, size_t at) {
  size_t n = 0;
  while (digit_at(t, at + n)) n++;
  return n;
}
static int figure(struct str t, size_t at, size_t n) {
  int v = 0;
  for (size_t i = 0; i < n; i++) v = v * 10 + (t.p[at + i] - '0');
  return v;
}
/* Not inside a longer number or word on either side. */
static bool alone(struct str t, size_t from, size_t to) {
  if (from > 0 && (word_at(t, from - 1) || ((t.p[from - 1] == '.' || t.p[from - 1] == '-') && from > 1 && digit_at(t, from - 2))))
    return false;
  return !word_at(t, to) && !(to < t.n && (t.p[to] == '-' || t.p[to] == '.') && digit_at(t, to + 1));
}

/* 123-45-6789: areas 000, 666 and 9xx, group 00 and serial 0000 were never given */
static struct shape social(struct str t, size_t at) {
  if (digits(t, at) != 3 || at + 11 > t.n) return NOTHING;
  char mark = t.p[at + 3];
  if ((mark != '-' && mark != ' ') || digits(t, at + 4) != 2 || t.p[at + 6] != mark || digits(t, at + 7) != 4) return NOTHING;
  int area = figure(t, at, 3);
  if (area == 0 || area == 666 || area >= 900 || figure(t, at + 4, 2) == 0 || figure(t, at + 7, 4) == 0) return NOTHING;
  return alone(t, at, at + 11) ? (struct shape){IDENTIFIER_SSN, 11} : NOTHING;
}

/* (617) 555-0123, 617-555-0123, 617.555.0123, +1 617 555 0123: area and exchange begin with 2 to 9 */
static struct shape phone(struct str t, size_t at) {
  size_t i = at;
  bool plus = i < t.n && t.p[i] == '+', bracket = false;
  if (plus) i++;
  if (plus && digits(t, i) >= 1 && digits(t, i) <= 3 && i + digits(t, i) < t.n && strchr(" -.", t.p[i + digits(t, i)]))
    i += digits(t, i) + 1;
  else if (!plus && i + 1 < t.n && t.p[i] == '1' && (t.p[i + 1] == '-' || t.p[i + 1] == ' '))
    i += 2;
  if (i < t.n && t.p[i] == '(') bracket = true, i++;
  if (digits(t, i) != 3 || t.p[i] < '2') return NOTHING;
  i += 3;
  if (bracket) {
    if (i >= t.n || t.p[i] != ')') return NOTHING;
    i++;
    if (i < t.n && t.p[i] == ' ') i++;
  } else {
    if (i >= t.n || !strchr(plus ? "-. " : "-.", t.p[i])) return NOTHING;
    i++;
  }
  if (digits(t, i) != 3 || t.p[i] < '2') return NOTHING;
  i += 3;
  if (i >= t.n || !t.p[i] || !strchr("-. ", t.p[i]) || digits(t, i + 1) != 4) return NOTHING;
  i += 5;
  return alone(t, at, i) ? (struct shape){IDENTIFIER_PHONE, i - at} : NOTHING;
}

static bool mail_char(char c) { return c && (strchr("._%+-", c) || word_at((struct str){&c, 1}, 0)); }

/* Asked at the @. */
static struct shape mail(struct str t, size_t at, size_t *start) {
  size_t i = at, k = at + 1, dot = 0;
  while (i > 0 && at - i < 64 && mail_char(t.p[i - 1])) i--;
  while (k < t.n && k - at < 128 && (word_at(t, k) || ((t.p[k] == '.' || t.p[k] == '-') && word_at(t, k + 1)))) {
    if (t.p[k] == '.') dot = k;
    k++;
  }
  if (i == at || !dot || k - dot < 3 || digit_at(t, dot + 1)) return NOTHING;
  *start = i;
  return (struct shape){IDENTIFIER_EMAIL, k - i};
}

/* 13 to 19 digits in groups of four or in one, with the check digit of ISO/IEC 7812 and a first digit 3 to 6 */
static struct shape card(struct str t, size_t at, bool in_one_piece) {
  int row[19], n = 0, sum = 0;
  size_t i = at;
  if (t.p[at] < '3' || t.p[at] > '6') return NOTHING;
  while (n < 19 && (digit_at(t, i) || (n % 4 == 0 && n && i < t.n && (t.p[i] == ' ' || t.p[i] == '-') && digit_at(t, i + 1)))) {
    if (digit_at(t, i)) row[n++] = t.p[i] - '0';
    i++;
  }
  if (n < 13 || digit_at(t, i) || !alone(t, at, i) || (i - at == (size_t)n && !in_one_piece)) return NOTHING;
  for (int k = 0; k < n; k++) {
    int v = row[n - 1 - k] * (k % 2 ? 2 : 1);
    sum += v > 9 ? v - 9 : v;
  }
  return sum % 10 == 0 ? (struct shape){IDENTIFIER_ACCOUNT, i - at} : NOTHING;
}

/* "MRN: 123456", "Medical record number 12-34-56" */
static struct shape labelled(struct str t, size_t at) {
  static const struct {
    const char *word;
    int kind;
  } labels[] = {{"mrn", IDENTIFIER_MRN},
                {"medical record number", IDENTIFIER_MRN},
                {"medical record no", IDENTIFIER_MRN},
                {"ssn", IDENTIFIER_SSN},
                {"account number", IDENTIFIER_ACCOUNT},
                {"accession number", IDENTIFIER_OTHER},
                {"member id", IDENTIFIER_HEALTH_PLAN}};
  for (size_t l = 0; l < sizeof labels / sizeof *labels; l++) {
    size_t n = strlen(labels[l].word), i = at + n, figures = 0, from;
    if (at + n > t.n || !str_eq_nocase((struct str){t.p + at, n}, str_c(labels[l].word)) || word_at(t, i)) continue;
    for (size_t most = i + 4; i < t.n && i < most && t.p[i] && strchr(" .:#=-", t.p[i]);) i++;
    for (from = i; i < t.n && i - from < 24 && (word_at(t, i) || (t.p[i] == '-' && word_at(t, i + 1))); i++) figures += digit_at(t, i);
    if (i > from && figures >= 5) return (struct shape){labels[l].kind, i - at};
  }
  return NOTHING;
}

static struct shape web(struct str t, size_t at) {
  static const char *const heads[] = {"http://", "https://", "www.", "ftp://"};
  for (int h = 0; h < 4; h++) {
    size_t n = strlen(heads[h]), i = at + n;
    if (at + n > t.n || !str_eq_nocase((struct str){t.p + at, n}, str_c(heads[h]))) continue;
    while (i < t.n && (uint8_t)t.p[i] > ' ' && !strchr("\"'<>)", t.p[i])) i++;
    return i > at + n + 3 ? (struct shape){IDENTIFIER_URL, i - at} : NOTHING;
  }
  size_t i = at;
  for (int part = 0; part < 4; part++) {
    size_t n = digits(t, i);
    if (n < 1 || n > 3 || figure(t, i, n) > 255) return NOTHING;
    i += n;
    if (part < 3 && (i >= t.n || t.p[i++] != '.')) return NOTHING;
  }
  return alone(t, at, i) ? (struct shape){IDENTIFIER_IP, i - at} : NOTHING;
}

static struct shape date(struct str t, size_t at) {
  int32_t day[4];
  size_t n;
  if (digits(t, at) == 8) return NOTHING; /* any number of eight digits: too many are none */
  return audit_date_at(t, at, day, &n) ? (struct shape){IDENTIFIER_DATE, n} : NOTHING;
}

static struct shape at_word(struct str t, size_t i, const struct audit_shapes *which) {
  struct shape s = NOTHING;
  if (digit_at(t, i)) {
    s = social(t, i);
    if (!s.length) s = phone(t, i);
    if (!s.length) s = card(t, i, which->prose);
  } else {
    s = labelled(t, i);
  }
  if (!s.length && which->prose) s = web(t, i);
  if (!s.length && which->dates) s = date(t, i);
  return s;
}

int audit_shapes_scan(struct str t, size_t from, size_t to, const struct audit_shapes *which, audit_found *found, void *ctx,
                      struct error *e) {
  for (size_t i = from; i < to && i < t.n; i++) {
    size_t start = i;
    struct shape s = NOTHING;
    if (t.p[i] == '@')
      s = mail(t, i, &start);
    else if (t.p[i] == '+' || t.p[i] == '(')
      s = phone(t, i);
    else if (word_at(t, i) && (i == 0 || !word_at(t, i - 1)))
      s = at_word(t, i, which);
    if (!s.length) continue;
    struct audit_hit h = {.kind = s.kind, .form = AUDIT_SHAPE, .weight = AUDIT_STRONG, .offset = start, .length = (uint32_t)s.length};
    TRY(found(ctx, &h, e));
    if (start + s.length > i) i = start + s.length - 1;
  }
  return OK;
}
