/* What stands in the place of an identifier: a tag, or a surrogate drawn from the person's secret, so that the same name is the same
 * surrogate in all of that person's documents and another in anybody else's. Then the second look. */
#include <ctype.h>
#include <sodium.h>
#include <stdio.h>

#include "deid/text_check.h"
#include "deid/text_internal.h"
#include "record/record.h"

enum { TRIES = 8, DATE_SIZE = 96 };

struct replacing {
  struct text_work *w;
  const struct text_person *who;
  struct text_result *out;
  struct text_spans fresh, kept; /* in the new text: replacements, and what the policy leaves */
};

/* ---- draws ---- */

/* 64 bits from the person's secret, what is replaced, and a counter for another try. */
static uint64_t draw(const struct replacing *r, const char *what, struct str s, unsigned attempt) {
  char folded[256];
  uint64_t h;
  uint8_t out[16];
  crypto_generichash_state state;
  size_t n = text_fold((struct str){s.p, s.n < 120 ? s.n : 120}, folded, sizeof folded);
  crypto_generichash_init(&state, r->who->seed, sizeof r->who->seed, sizeof out);
  crypto_generichash_update(&state, (const uint8_t *)what, strlen(what) + 1);
  crypto_generichash_update(&state, (const uint8_t *)folded, n);
  crypto_generichash_update(&state, (const uint8_t *)&attempt, sizeof attempt);
  crypto_generichash_final(&state, out, sizeof out);
  memcpy(&h, out, sizeof h);
  return h;
}

static uint64_t fold_hash(struct str s) {
  char folded[256];
  size_t n = text_fold((struct str){s.p, s.n < 120 ? s.n : 120}, folded, sizeof folded);
  return text_hash((struct str){folded, n});
}

/* One of the pool that is neither the original nor a word of the person's own names. */
static struct str from_pool(const struct replacing *r, const char *what, const struct str *pool, uint32_t n, struct str original) {
  uint64_t was = fold_hash(original);
  for (unsigned i = 0; n && i < TRIES; i++) {
    struct str s = pool[draw(r, what, original, i) % n];
    uint64_t h = fold_hash(s);
    if (h != was && !text_known_word(r->w, h)) return s;
  }
  return STR("Doe");
}

/* ---- names ---- */

static void cased(struct buf *b, struct str word, int shape) {
  for (size_t i = 0; i < word.n; i++)
    buf_putc(b, shape == SHAPE_UPPER   ? (char)toupper((unsigned char)word.p[i])
                : shape == SHAPE_LOWER ? (char)tolower((unsigned char)word.p[i])
                                       : word.p[i]);
}

/* Whether a word of a name is a given name: the last of several is the family's; alone, by what the person's identifiers say, then by
 * the lists. */
static bool is_given(const struct replacing *r, const struct token *t, bool last, bool alone, bool titled) {
  int role = text_known_role(r->w, t->hash);
  if (role) return role == TEXT_ROLE_GIVEN;
  if (!alone) return !last;
  return !titled && (t->in & IN_FIRST) && !(t->in & IN_COMMON);
}

static void put_name(struct replacing *r, struct buf *b, const struct text_span *s) {
  const struct text_work *w = r->w;
  uint32_t first = 0, last = 0, words = 0, at = s->start;
  bool titled = false, comma = false;
  for (uint32_t lo = 0, hi = w->token_n; lo < hi;) { /* the first token of the span */
    uint32_t mid = (lo + hi) / 2;
    if (w->tokens[mid].end <= s->start)
      lo = mid + 1;
    else
      hi = mid;
    first = lo;
  }
  for (last = first; last < w->token_n && w->tokens[last].start < s->end; last++) {
    const struct token *t = &w->tokens[last];
    bool plain = !(t->in & (IN_TITLE | IN_SUFFIX | IN_CREDENTIAL | IN_PARTICLE)) && t->shape != SHAPE_INITIAL;
    words += plain;
    titled = titled || t->in & IN_TITLE;
    comma = comma || (last > first && t->gap & GAP_COMMA);
  }
  for (uint32_t i = first, k = 0; i < last; i++) {
    const struct token *t = &w->tokens[i];
    uint32_t from = t->start > s->start ? t->start : s->start, to = t->end < s->end ? t->end : s->end;
    struct str word = {w->copy + from, to - from};
    if (t->start > at) buf_put(b, w->copy + at, t->start - at);
    at = to;
    if (t->shape == SHAPE_INITIAL)
      buf_putc(b, (char)('A' + draw(r, "initial", word, 0) % 26));
    else if (t->in & (IN_TITLE | IN_SUFFIX | IN_CREDENTIAL | IN_PARTICLE) && words > 0 && !text_known_word(w, t->hash))
      buf_str(b, word);
    else {
      k++;
      bool end = comma ? k == 1 : k == words;
      word = text_known_spelling(w, word);
      bool given = is_given(r, t, end, words == 1, titled);
      cased(b,
            given ? from_pool(r, "first", w->s->lists.first, w->s->lists.first_n, word)
                  : from_pool(r, "last", w->s->lists.last, w->s->lists.last_n, word),
            t->shape);
    }
  }
  if (s->end > at) buf_put(b, w->copy + at, s->end - at);
}

/* ---- numbers and codes ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void same_shape(const struct replacing *r, struct str s, char *out, unsigned attempt) {
  for (size_t i = 0; i < s.n; i++) {
    char place[24];
    snprintf(place, sizeof place, "code %zu", i % 1000000);
    uint64_t h = draw(r, place, s, attempt);
    char c = s.p[i];
    out[i] = is_digit(c)                 ? (char)('0' + (c == '0' ? h % 10 : 1 + h % 9))
             : isupper((unsigned char)c) ? (char)('A' + h % 26)
             : islower((unsigned char)c) ? (char)('a' + h % 26)
                                         : c;
  }
}

static void digits_of(const char *p, size_t n, size_t *at, size_t most, size_t *found) {
  *found = 0;
  for (size_t i = 0; i < n; i++)
    if (is_digit(p[i])) {
      if (*found < most) at[*found] = i;
      ++*found;
    }
}

/* Numbers that nobody has: telephone 555-01xx, social security 9xx, cards whose check digit is wrong. */
static void make_impossible(char *p, size_t n, int label) {
  size_t at[24], d;
  digits_of(p, n, at, 24, &d);
  if ((label == TEXT_PHONE || label == TEXT_FAX) && (d == 10 || d == 11)) {
    size_t k = d - 10;
    p[at[k + 3]] = p[at[k + 4]] = p[at[k + 5]] = '5';
    p[at[k + 6]] = '0', p[at[k + 7]] = '1';
    if (p[at[k]] < '2') p[at[k]] = '2';
  }
  if (label == TEXT_SSN && d == 9) p[at[0]] = '9';
  if (d >= 12 && d <= 24) {
    char digits[24];
    for (size_t i = 0; i < d; i++) digits[i] = p[at[i]];
    if (text_check_luhn(digits, d)) p[at[d - 1]] = p[at[d - 1]] == '9' ? '1' : (char)(p[at[d - 1]] + 1);
  }
}

static void put_code(struct replacing *r, struct buf *b, struct str s, int label) {
  char small[256], *p = s.n <= sizeof small ? small : mem_alloc(s.n);
  if (!p) {
    b->failed = true;
    return;
  }
  for (unsigned i = 0; i < TRIES; i++) {
    same_shape(r, s, p, i);
    make_impossible(p, s.n, label);
    if (memcmp(p, s.p, s.n) != 0 && text_known_count(r->w, (struct str){p, s.n}, NULL) == 0) break;
  }
  buf_put(b, p, s.n);
  if (p != small) mem_free(p);
}

static void put_net(struct replacing *r, struct buf *b, struct str s, int label) {
  uint64_t h = draw(r, "net", s, 0);
  if (label == TEXT_EMAIL)
    buf_printf(b, "person%u@example.org", (unsigned)(h % 100000));
  else if (label == TEXT_URL)
    buf_printf(b, "https://www.example.org/%u", (unsigned)(h % 100000));
  else if (memchr(s.p, ':', s.n))
    buf_printf(b, "2001:db8::%x", (unsigned)(h % 65535) + 1);
  else
    buf_printf(b, "192.0.2.%u", (unsigned)(h % 254) + 1);
}

/* ---- places ---- */

static void put_place(struct replacing *r, struct buf *b, struct str s, int label) {
  static const char *const streets[] = {"Alder",   "Birch", "Chestnut", "Dogwood", "Fern",   "Hawthorn",
                                        "Juniper", "Larch", "Poplar",   "Rowan",   "Sorrel", "Willow"};
  const struct text_lists *l = &r->w->s->lists;
  bool digits = false;
  for (size_t i = 0; i < s.n; i++) digits = digits || is_digit(s.p[i]);
  if (label == TEXT_ORGANISATION) {
    buf_str(b, from_pool(r, "facility", l->facilities, l->facility_n, s));
    return;
  }
  if (digits && s.n > 7)
    buf_printf(b, "%u %s Street, ", (unsigned)(draw(r, "house", s, 0) % 899) + 100, streets[draw(r, "street", s, 0) % 12]);
  buf_str(b, from_pool(r, "town", l->towns, l->town_n, s));
}

/* ---- one span ---- */

static bool kept(const struct replacing *r, int label) {
  return (label == TEXT_DATE && r->who->dates == DEID_DATES_KEEP) || (label == TEXT_AGE && r->who->keep_ages);
}

static void put_tag(struct buf *b, int label) { buf_printf(b, "[%s]", text_label_name(label)); }

static void put_surrogate(struct replacing *r, struct buf *b, const struct text_span *s) {
  struct str was = {r->w->copy + s->start, s->end - s->start};
  char date[DATE_SIZE];
  switch (s->label) {
    case TEXT_NAME: put_name(r, b, s); break;
    case TEXT_LOCATION:
    case TEXT_ORGANISATION: put_place(r, b, was, s->label); break;
    case TEXT_DATE:
      if (text_date_move(was, r->who->day_first, r->who->dates, r->who->shift_days, date, sizeof date, NULL) == OK)
        buf_puts(b, date);
      else
        put_tag(b, TEXT_DATE), r->out->masked++;
      break;
    case TEXT_AGE: buf_puts(b, "90+"); break;
    case TEXT_EMAIL:
    case TEXT_URL:
    case TEXT_IP: put_net(r, b, was, s->label); break;
    case TEXT_PROFESSION:
    case TEXT_OTHER: put_tag(b, s->label); break;
    default: put_code(r, b, was, s->label);
  }
}

static int starts_room(struct text_work *w, uint32_t n, struct error *e) {
  if (n <= w->new_cap) return OK;
  uint32_t *more = mem_realloc(w->new_start, n * 2 * sizeof *more);
  if (!more) return error_set(e, E_NOMEM, "no memory for a text's offsets");
  w->new_start = more;
  w->new_cap = n * 2;
  return OK;
}

static int build(struct replacing *r, enum text_mode mode, struct error *e) {
  struct text_work *w = r->w;
  struct buf *b = &w->out;
  uint32_t at = 0;
  buf_clear(b);
  for (uint32_t i = 0; i < w->found.n; i++) {
    const struct text_span *s = &w->found.at[i];
    buf_put(b, w->copy + at, s->start - at);
    uint32_t from = (uint32_t)b->n;
    w->new_start[i] = from;
    if (kept(r, s->label))
      buf_put(b, w->copy + s->start, s->end - s->start);
    else if (mode == TEXT_TAG)
      put_tag(b, s->label);
    else
      put_surrogate(r, b, s);
    r->out->label_n[s->label]++;
    for (int f = 0; f < 5; f++) r->out->finder_n[f] += s->by >> f & 1;
    TRY(text_spans_add(kept(r, s->label) ? &r->kept : &r->fresh, from, (uint32_t)b->n, s->label, s->by, e));
    at = s->end;
  }
  buf_put(b, w->copy + at, w->copy_n - at);
  return buf_check(b, e);
}

/* Kept regions and replacements, in order: the shapes' scan leaves them out. */
static int all_regions(struct replacing *r, struct text_spans *all, struct error *e) {
  for (uint32_t i = 0, a = 0, b = 0; i < r->fresh.n + r->kept.n; i++) {
    bool fresh = b >= r->kept.n || (a < r->fresh.n && r->fresh.at[a].start < r->kept.at[b].start);
    const struct text_span *s = fresh ? &r->fresh.at[a++] : &r->kept.at[b++];
    TRY(text_spans_add(all, s->start, s->end, s->label, s->by, e));
  }
  return OK;
}

static int second_look(struct replacing *r, struct error *e) {
  struct text_spans all = {0};
  struct str text = {r->w->out.p, r->w->out.n};
  int rc = all_regions(r, &all, e);
  if (rc == OK) {
    bool dates = r->who->dates != DEID_DATES_KEEP && !(r->w->s->options.drop_labels >> TEXT_DATE & 1);
    r->out->residual = text_residual_shapes(text, &all, dates) + text_known_count(r->w, text, &r->kept);
  }
  text_spans_release(&all);
  return rc;
}

int text_replace(struct text_work *w, const struct text_person *who, enum text_mode mode, struct text_result *out, struct error *e) {
  struct replacing r = {.w = w, .who = who, .out = out};
  int rc = starts_room(w, w->found.n + 1, e);
  if (rc == OK) rc = build(&r, mode, e);
  if (rc == OK) rc = second_look(&r, e);
  text_spans_release(&r.fresh);
  text_spans_release(&r.kept);
  if (rc < 0) return rc;
  out->text = (struct str){w->out.p, w->out.n};
  out->spans = w->found;
  out->new_start = w->new_start;
  return OK;
}
