/* Carrying a hash along the folded bytes. */
#include "deid/audit_days.h"
#include "deid/audit_private.h"
#include "deid/deid_date.h"
#include "record/record.h"

enum { BATCH = 4096, AHEAD = AUDIT_LENGTH + 8 };

struct scanner {
  const struct audit_search *s;
  const struct audit_place *at;
  struct str bytes;
  audit_found *found;
  void *ctx;
  uint32_t subject;      /* whose place it is */
  struct audit_hit weak; /* held back until it is known that no strong one covers it */
  uint64_t strong_end;
};

/* A letter run or digit run begins at c[i] (c[i-1] may be looked at). */
static bool begins(const struct audit_char *c, size_t i) {
  return i == 0 || c[i].gap != GAP_NONE || audit_digit(c[i].c) != audit_digit(c[i - 1].c);
}

/* Figures with a point are decimal numbers, and an identifier is no part of them: 0.12345678, 12345678.5. */
static bool decimal(const struct audit_char *c, size_t n, size_t from, size_t to) {
  size_t points = 0, others = 0;
  if (from > 0 && c[from].before == '.' && c[from].gap == GAP_NUMBER && c[from].at == c[from - 1].end + 1 && audit_digit(c[from - 1].c))
    return true;
  if (to < n && c[to].before == '.' && c[to].gap == GAP_NUMBER && c[to].at == c[to - 1].end + 1 && audit_digit(c[to].c)) return true;
  for (size_t i = from + 1; i < to; i++) {
    points += c[i].gap != GAP_NONE && c[i].before == '.';
    others += c[i].gap != GAP_NONE && c[i].before != '.';
  }
  return points == 1 && others == 0;
}

/* 2019-03-04 is a date, whoever's number 20190304 may be. */
static bool dated(const struct audit_char *c, size_t from, size_t to) {
  return to - from == 8 && c[from + 4].gap != GAP_NONE && c[from + 6].gap != GAP_NONE && c[from + 5].gap == GAP_NONE &&
         c[from + 7].gap == GAP_NONE && c[from + 1].gap == GAP_NONE && c[from + 2].gap == GAP_NONE && c[from + 3].gap == GAP_NONE;
}

static bool joined(const struct audit_char *c, size_t i) {
  return c[i].gap == GAP_NUMBER && c[i].before == '-' && audit_digit(c[i].c) && audit_digit(c[i - 1].c);
}

/* A figure in JSON or CSV: after : , [ or a line's start, before , ] } or a line's end, without quotes. */
static bool bare(struct str b, size_t from, size_t to) {
  while (from > 0 && b.p[from - 1] == ' ') from--;
  while (to < b.n && b.p[to] == ' ') to++;
  bool left = from == 0 || (b.p[from - 1] && strchr(":,[\n", b.p[from - 1])), right = to == b.n || (b.p[to] && strchr(",]}\n\r", b.p[to]));
  return left && right;
}

static bool capital(struct str b, size_t at) {
  uint8_t c = (uint8_t)b.p[at];
  return (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* After its capital letter in small ones, and what is before it ends no sentence; or it stands alone as a whole quoted value. */
static bool proper(struct str b, size_t at, size_t end) {
  if (at + 1 < b.n && b.p[at + 1] >= 'A' && b.p[at + 1] <= 'Z') return false; /* HEADINGS */
  if (at > 0 && b.p[at - 1] == '"') return end < b.n && b.p[end] == '"';
  while (at > 0 && (b.p[at - 1] == ' ' || b.p[at - 1] == '\t')) at--;
  return at > 0 && b.p[at - 1] && !strchr(".!?:\n\r\"", b.p[at - 1]);
}

static int emit(struct scanner *x, const struct audit_hit *h, struct error *e) { return x->found(x->ctx, h, e); }

static int flush_weak(struct scanner *x, struct error *e) {
  if (x->weak.weight == AUDIT_NONE) return OK;
  struct audit_hit h = x->weak;
  x->weak.weight = AUDIT_NONE;
  return emit(x, &h, e);
}

/* A strong hit covers weak ones that overlap it; of overlapping weak ones the first stays. */
static int take(struct scanner *x, const struct audit_hit *h, struct error *e) {
  bool overlaps = x->weak.weight != AUDIT_NONE && h->offset < x->weak.offset + x->weak.length;
  if (h->weight == AUDIT_STRONG) {
    if (overlaps)
      x->weak.weight = AUDIT_NONE;
    else
      TRY(flush_weak(x, e));
    x->strong_end = h->offset + h->length;
    return emit(x, h, e);
  }
  if (overlaps || h->offset < x->strong_end) return OK;
  TRY(flush_weak(x, e));
  x->weak = *h;
  return OK;
}

static void weigh(struct scanner *x, struct audit_match m, const struct audit_char *c, size_t n, size_t from, size_t to,
                  struct audit_hit *best) {
  const struct audit_needle *own = x->subject == UINT32_MAX ? NULL : audit_match_of(m, x->subject), *needle = own ? own : m.first;
  struct audit_context context = {.at = x->at, .own = own != NULL, .persons = m.n};
  if (needle->flags & NEEDLE_DIGITS) {
    if (decimal(c, n, from, to) || dated(c, from, to)) return;
    context.grouped = (from > 0 && joined(c, from)) || (to < n && joined(c, to));
    context.bare = x->at->where == AUDIT_FILE && bare(x->bytes, c[from].at, c[to - 1].end);
  } else {
    context.capital = capital(x->bytes, c[from].at);
    context.proper = context.capital && proper(x->bytes, c[from].at, c[to - 1].end);
    context.words = 1;
    for (size_t i = from + 1; i < to; i++) {
      if (c[i].gap == GAP_NONE) continue;
      context.words++;
      context.loose = context.loose || c[i].at != c[i - 1].end + 1 || !strchr(" ^,.-_'/=", c[i].before);
    }
  }
  enum audit_weight w = audit_weigh(needle, &context);
  if (w <= best->weight && !(w == best->weight && w == AUDIT_STRONG)) return;
  *best = (struct audit_hit){.kind = needle->kind,
                             .form = (enum audit_form)needle->form,
                             .weight = w,
                             .own = own != NULL,
                             .person = x->s->person[needle->person],
                             .persons = m.n,
                             .offset = c[from].at,
                             .length = c[to - 1].end - c[from].at};
}

/* All rows that begin at c[i]: the best of them. */
static void try_at(struct scanner *x, const struct audit_char *c, size_t n, size_t i, struct audit_hit *best) {
  uint64_t h = x->s->seed;
  for (size_t k = i; k < n && k - i < AUDIT_LENGTH; k++) {
    if (k > i && c[k].gap != GAP_NONE) {
      bool digits = audit_digit(c[k].c) && audit_digit(c[k - 1].c);
      if (c[k].gap == GAP_HARD || (digits && c[k].gap != GAP_NUMBER)) return;
    }
    h = audit_hash_next(h, c[k].c);
    if (audit_prefix(k - i + 1) >= 0) {
      uint32_t bit = audit_prefix_bit(h);
      if (!(x->s->prefix[bit >> 6] >> (bit & 63) & 1)) return;
    }
    bool ends = k + 1 == n || k - i + 1 == AUDIT_LENGTH || begins(c, k + 1);
    if (!ends || k == i) continue;
    struct audit_match m = audit_lookup(x->s, h);
    if (m.n) weigh(x, m, c, n, i, k + 1, best);
  }
}

static const struct audit_needle *own_needle(const struct scanner *x, uint64_t hash) {
  struct audit_match m = audit_lookup(x->s, hash);
  return m.n ? audit_match_of(m, x->subject) : NULL;
}

/* The person's own name at the beginning or the end of the letters c[from..to): its needle, and its place. */
static const struct audit_needle *glued(const struct scanner *x, const struct audit_char *c, size_t *from, size_t *to) {
  size_t a = *from, b = *to;
  for (size_t start = a; start + NEAR_LEAST <= b; start++) {
    uint64_t h = x->s->seed;
    for (size_t k = start; k < b; k++) {
      h = audit_hash_next(h, c[k].c);
      if (k - start + 1 < NEAR_LEAST || (start > a && k + 1 < b)) continue;
      const struct audit_needle *own = own_needle(x, h);
      if (own && own->form == AUDIT_NAME_PART) return *from = start, *to = k + 1, own;
    }
  }
  return NULL;
}

/* A word of the person's own text that is nearly one of the names, or has one glued to it. No word of the lists is held against them. */
static void try_near(struct scanner *x, const struct audit_char *c, size_t n, size_t i, struct audit_hit *best) {
  size_t from = i, to = i;
  uint64_t plain = 0, word;
  while (to < n && to - i < AUDIT_LENGTH && (to == i || c[to].gap == GAP_NONE) && !audit_digit(c[to].c))
    plain = audit_hash_next(plain, c[to++].c);
  size_t letters = to - from;
  if (letters < NEAR_LEAST || map64_get(&x->s->words, (int64_t)plain, &word)) return;
  const struct audit_needle *own = glued(x, c, &from, &to);
  for (size_t skip = 0; skip <= letters && !own; skip++) {
    uint64_t h = x->s->seed ^ AUDIT_NEAR;
    for (size_t k = 0; k < letters; k++)
      if (k != skip) h = audit_hash_next(h, c[i + k].c);
    own = own_needle(x, h);
  }
  if (!own) return;
  bool sure = capital(x->bytes, c[i].at) && letters > NEAR_LEAST && !(own->flags & NEEDLE_WORD) && !x->at->surrogates;
  *best = (struct audit_hit){.kind = IDENTIFIER_NAME,
                             .form = AUDIT_NAME_NEAR,
                             .weight = sure ? AUDIT_STRONG : AUDIT_WEAK,
                             .own = true,
                             .person = x->at->subject,
                             .persons = 1,
                             .offset = c[from].at,
                             .length = c[to - 1].end - c[from].at};
}

static int batch(struct scanner *x, const struct audit_char *c, size_t n, size_t upto, size_t from, size_t to, struct error *e) {
  for (size_t i = 0; i < upto; i++) {
    if (!begins(c, i) || c[i].at < from || c[i].at >= to || c[i].at < x->strong_end) continue;
    struct audit_hit best = {0};
    try_at(x, c, n, i, &best);
    if (best.weight == AUDIT_NONE && x->subject != UINT32_MAX && x->at->where == AUDIT_TEXT) try_near(x, c, n, i, &best);
    if (best.weight != AUDIT_NONE) TRY(take(x, &best, e));
  }
  return OK;
}

int audit_search_range(const struct audit_search *s, struct str bytes, size_t from, size_t to, const struct audit_place *at,
                       audit_found *found, void *ctx, struct error *e) {
  BUG_IF(!s->sealed);
  if (bytes.n > UINT32_MAX) return error_set(e, E_LIMIT, "more than 4 GiB at once");
  struct scanner x = {.s = s, .at = at, .bytes = bytes, .found = found, .ctx = ctx, .subject = audit_person(s, at->subject)};
  struct audit_char c[BATCH + 8];
  struct audit_fold f = {.bytes = bytes};
  size_t n = 0;
  do {
    size_t more = audit_fold(&f, c + n, BATCH - n);
    bool last = f.pos >= bytes.n;
    n += more;
    /* one character before the next batch's first is kept: it says whether a run begins there */
    size_t upto = last ? n : n - AHEAD;
    TRY(batch(&x, c, n, upto, from, to, e));
    if (last) break;
    memmove(c, c + upto - 1, (n - upto + 1) * sizeof *c);
    n = n - upto + 1;
    c[0].gap = GAP_NONE; /* was looked at already: see `from` of the next round */
    from = from > c[1].at ? from : c[1].at;
  } while (true);
  TRY(flush_weak(&x, e));
  if (x.subject == UINT32_MAX || at->dates_kept || (at->where != AUDIT_TEXT && at->where != AUDIT_BLOB)) return OK;
  return audit_days_scan(s, x.subject, bytes, from, to, found, ctx, e);
}

bool audit_search_number(const struct audit_search *s, int64_t subject, double value, struct audit_hit *hit) {
  char text[24];
  uint32_t person = audit_person(s, subject);
  if (person == UINT32_MAX || !(value >= 10000 && value < 1e15) || value != (double)(int64_t)value) return false;
  int n = snprintf(text, sizeof text, "%.0f", value);
  uint64_t h = s->seed;
  for (int i = 0; i < n; i++) h = audit_hash_next(h, (uint8_t)text[i]);
  struct audit_match m = audit_lookup(s, h);
  const struct audit_needle *own = m.n ? audit_match_of(m, person) : NULL;
  if (!own) return false;
  *hit = (struct audit_hit){
      .kind = own->kind, .form = (enum audit_form)own->form, .weight = AUDIT_STRONG, .own = true, .person = subject, .persons = m.n};
  return true;
}

bool audit_search_owner(const struct audit_search *s, struct str bytes, const struct audit_hit *hit, int64_t subject) {
  uint8_t row[AUDIT_LENGTH];
  uint32_t person = audit_person(s, subject);
  if (person == UINT32_MAX || hit->offset + hit->length > bytes.n) return false;
  size_t n = audit_fold_value((struct str){bytes.p + hit->offset, hit->length}, row);
  uint64_t h = s->seed;
  for (size_t i = 0; i < n; i++) h = audit_hash_next(h, row[i]);
  struct audit_match m = audit_lookup(s, h);
  return m.n && audit_match_of(m, person);
}
