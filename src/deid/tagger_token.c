/* Text into tokens, and what each token is: case, length, ends, place in its line and in the document. */
#include "base/hash.h"
#include "deid/tagger_private.h"

enum { C_OTHER, C_LETTER, C_CAPITAL, C_DIGIT, C_SPACE, C_LINE };

static const uint8_t ascii_class[128] = {
    ['\t'] = C_SPACE,  ['\n'] = C_LINE,   ['\v'] = C_LINE,   ['\f'] = C_LINE,   ['\r'] = C_LINE,   [' '] = C_SPACE,   ['0'] = C_DIGIT,
    ['1'] = C_DIGIT,   ['2'] = C_DIGIT,   ['3'] = C_DIGIT,   ['4'] = C_DIGIT,   ['5'] = C_DIGIT,   ['6'] = C_DIGIT,   ['7'] = C_DIGIT,
    ['8'] = C_DIGIT,   ['9'] = C_DIGIT,   ['A'] = C_CAPITAL, ['B'] = C_CAPITAL, ['C'] = C_CAPITAL, ['D'] = C_CAPITAL, ['E'] = C_CAPITAL,
    ['F'] = C_CAPITAL, ['G'] = C_CAPITAL, ['H'] = C_CAPITAL, ['I'] = C_CAPITAL, ['J'] = C_CAPITAL, ['K'] = C_CAPITAL, ['L'] = C_CAPITAL,
    ['M'] = C_CAPITAL, ['N'] = C_CAPITAL, ['O'] = C_CAPITAL, ['P'] = C_CAPITAL, ['Q'] = C_CAPITAL, ['R'] = C_CAPITAL, ['S'] = C_CAPITAL,
    ['T'] = C_CAPITAL, ['U'] = C_CAPITAL, ['V'] = C_CAPITAL, ['W'] = C_CAPITAL, ['X'] = C_CAPITAL, ['Y'] = C_CAPITAL, ['Z'] = C_CAPITAL,
    ['a'] = C_LETTER,  ['b'] = C_LETTER,  ['c'] = C_LETTER,  ['d'] = C_LETTER,  ['e'] = C_LETTER,  ['f'] = C_LETTER,  ['g'] = C_LETTER,
    ['h'] = C_LETTER,  ['i'] = C_LETTER,  ['j'] = C_LETTER,  ['k'] = C_LETTER,  ['l'] = C_LETTER,  ['m'] = C_LETTER,  ['n'] = C_LETTER,
    ['o'] = C_LETTER,  ['p'] = C_LETTER,  ['q'] = C_LETTER,  ['r'] = C_LETTER,  ['s'] = C_LETTER,  ['t'] = C_LETTER,  ['u'] = C_LETTER,
    ['v'] = C_LETTER,  ['w'] = C_LETTER,  ['x'] = C_LETTER,  ['y'] = C_LETTER,  ['z'] = C_LETTER,
};

/* Code points of scripts with case, as far as names need them: Latin, Greek, Cyrillic. *lower receives the small letter. */
static int wide_class(uint32_t c, uint32_t *lower) {
  *lower = c;
  if (c == 0xA0 || c == 0x2007 || c == 0x202F || c == 0x3000 || (c >= 0x2000 && c <= 0x200B)) return C_SPACE;
  if (c == 0x85 || c == 0x2028 || c == 0x2029) return C_LINE;
  if (c < 0xC0 || c == 0xD7 || c == 0xF7 || (c >= 0x2000 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x303F) || c == 0xFEFF || c == 0xFFFD)
    return C_OTHER;
  if (c <= 0xDE) return *lower = c + 32, C_CAPITAL;
  if (c >= 0x100 && c <= 0x17F) {
    bool odd_is_capital = (c >= 0x139 && c <= 0x148) || c >= 0x179;
    if (c == 0x178) return *lower = 0xFF, C_CAPITAL;
    if (c == 0x138 || c == 0x149 || c == 0x17F || (c & 1) != odd_is_capital) return C_LETTER;
    return *lower = c + 1, C_CAPITAL;
  }
  if ((c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F)) return *lower = c + 32, C_CAPITAL;
  if (c >= 0x400 && c <= 0x40F) return *lower = c + 80, C_CAPITAL;
  return C_LETTER;
}

/* The character at p: its class, its bytes, its small form. Bytes that are no UTF-8 are characters of their own. */
static inline int classify(const uint8_t *p, const uint8_t *end, uint32_t *bytes, uint32_t *lower) {
  uint32_t c = *p;
  *bytes = 1;
  if (c < 0x80) {
    *lower = c + (ascii_class[c] == C_CAPITAL ? 32u : 0u);
    return ascii_class[c];
  }
  *lower = c;
  uint32_t more = c >= 0xF0 && c < 0xF5 ? 3 : c >= 0xE0 && c < 0xF0 ? 2 : c >= 0xC2 && c < 0xE0 ? 1 : 0;
  if (!more || (size_t)(end - p) <= more) return C_OTHER;
  c &= 0x3Fu >> more;
  for (uint32_t i = 1; i <= more; i++) {
    if ((p[i] & 0xC0) != 0x80) return C_OTHER;
    c = c << 6 | (p[i] & 0x3F);
  }
  *bytes = more + 1;
  return wide_class(c, lower);
}

/* The plain letter under a Latin accent, as word lists write it; 0 where there is none. */
static uint32_t plain_letter(uint32_t c) {
  static const char latin1[] = "aaaaaaaceeeeiiiidnooooo*ouuuuypsaaaaaaaceeeeiiiidnooooo*ouuuuypy";
  static const char extended[] =
      "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkkllllllllllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzz";
  if (c >= 0xC0 && c <= 0xFF) return (uint8_t)latin1[c - 0xC0];
  if (c >= 0x100 && c <= 0x17E) return (uint8_t)extended[c - 0x100];
  return 0;
}

static inline uint32_t word_step(uint32_t h, uint32_t c) { return (h ^ c) * 0x01000193u; }
static inline uint32_t word_end(uint32_t h) {
  h ^= h >> 15;
  h *= 0x2C1B3C6Du;
  return h ^ h >> 13;
}
#define WORD_START 0x811C9DC5u

uint32_t tagger_word_hash(struct str word) {
  const uint8_t *p = (const uint8_t *)word.p, *end = p + word.n;
  uint32_t h = WORD_START, bytes, lower;
  for (; p < end; p += bytes) {
    (void)classify(p, end, &bytes, &lower);
    uint32_t under = lower < 0x80 ? lower : plain_letter(lower);
    h = word_step(h, under ? under : lower);
  }
  return word_end(h);
}
uint32_t tagger_phrase_hash(uint32_t first, uint32_t next) { return word_end(first * 0x9E3779B1u + next); }

/* The beginnings and ends of a word, in its small letters folded to bytes. */
struct ends {
  uint32_t head, tail, n;
};
static inline void ends_add(struct ends *s, uint32_t c) {
  c = (c ^ c >> 8) & 0xFF;
  if (s->n < 4) s->head |= c << 8 * s->n;
  s->tail = s->tail << 8 | c;
  s->n++;
}
static void ends_set(struct tagger_token *t, const struct ends *s) {
  t->prefix2 = s->head & 0xFFFF, t->prefix3 = s->head & 0xFFFFFF, t->prefix4 = s->head;
  t->suffix2 = s->tail & 0xFFFF, t->suffix3 = s->tail & 0xFFFFFF, t->suffix4 = s->tail;
}

static void shape_set(struct tagger_token *t, uint32_t letters, uint32_t capitals, bool first_capital) {
  t->shape = !capitals                        ? SHAPE_LOWER
             : capitals == letters            ? (letters == 1 ? SHAPE_LETTER : SHAPE_CAPITALS)
             : capitals == 1 && first_capital ? SHAPE_TITLE
                                              : SHAPE_MIXED;
  t->form = t->shape | (letters < 12 ? letters : 12) << 8;
}

/* take_word of a word of ASCII letters that no other character follows; NULL: it is none. */
static const uint8_t *take_plain(struct tagger_token *t, const uint8_t *from, const uint8_t *end, bool first_capital) {
  const uint8_t *p = from;
  uint32_t h = WORD_START, capitals = 0;
  for (int c, last = C_OTHER; p < end && *p < 0x80 && ((c = ascii_class[*p]) == C_LETTER || (c == C_CAPITAL && last != C_LETTER)); p++) {
    last = c;
    capitals += c == C_CAPITAL;
    h = word_step(h, *p | 32u);
  }
  if (p < end && *p >= 0x80) return NULL;
  uint32_t n = (uint32_t)(p - from);
  struct ends s = {0};
  if (n >= 4) {
    memcpy(&s.head, from, 4);
    memcpy(&s.tail, p - 4, 4);
    s.head |= 0x20202020u, s.tail = __builtin_bswap32(s.tail) | 0x20202020u;
  } else
    for (uint32_t i = 0; i < n; i++) ends_add(&s, from[i] | 32u);
  t->word = t->plain = word_end(h);
  shape_set(t, n, capitals, first_capital);
  ends_set(t, &s);
  return p;
}

/* A capital behind a small letter begins another word: texts lose blanks where forms are glued together. */
static const uint8_t *take_word(struct tagger_token *t, const uint8_t *p, const uint8_t *end, bool first_capital) {
  uint32_t h = WORD_START, plain = WORD_START, bytes, lower, capitals = 0;
  struct ends s = {0};
  const uint8_t *plainly = take_plain(t, p, end, first_capital);
  if (plainly) return plainly;
  for (int last = C_OTHER; p < end; p += bytes) {
    int c = classify(p, end, &bytes, &lower);
    if ((c != C_LETTER && c != C_CAPITAL) || (c == C_CAPITAL && last == C_LETTER)) break;
    last = c;
    capitals += c == C_CAPITAL;
    h = word_step(h, lower);
    uint32_t under = lower < 0x80 ? lower : plain_letter(lower);
    plain = word_step(plain, under ? under : lower);
    ends_add(&s, lower);
  }
  t->word = word_end(h);
  t->plain = word_end(plain);
  shape_set(t, s.n, capitals, first_capital);
  ends_set(t, &s);
  return p;
}

static const uint8_t *take_number(struct tagger_token *t, const uint8_t *p, const uint8_t *end) {
  uint32_t h = WORD_START, n = 0;
  struct ends s = {0};
  for (; p < end && *p < 0x80 && ascii_class[*p] == C_DIGIT; p++, n++) {
    h = word_step(h, *p);
    ends_add(&s, *p);
  }
  t->word = word_end(h);
  uint32_t value = n == 2 ? (uint32_t)(10 * (p[-2] - '0') + p[-1] - '0') : 0;
  bool year = n == 4 && ((p[-4] == '1' && p[-3] == '9') || (p[-4] == '2' && p[-3] == '0'));
  t->shape = SHAPE_DIGIT + (n < 15 ? n : 15);
  t->form = t->shape | (uint32_t)(year ? 4 : value && value <= 12 ? 3 : value && value <= 31 ? 2 : 1) << 8;
  ends_set(t, &s);
  return p;
}

uint32_t tagger_token_count(struct str text) {
  const uint8_t *p = (const uint8_t *)text.p, *end = p + text.n;
  uint32_t n = 0, bytes, lower;
  for (int last = C_SPACE; p < end; p += bytes) {
    int c = classify(p, end, &bytes, &lower);
    bool letter = c == C_LETTER || c == C_CAPITAL, before = last == C_LETTER || last == C_CAPITAL;
    if (c == C_OTHER || (c == C_DIGIT && last != C_DIGIT) || (letter && (!before || (c == C_CAPITAL && last == C_LETTER)))) n++;
    last = c;
  }
  return n;
}

static void edge(struct tagger_token *t, uint32_t n, uint32_t which) {
  for (uint32_t i = 0; i < n; i++)
    t[i] = (struct tagger_token){.word = which, .shape = SHAPE_EDGE, .form = SHAPE_EDGE, .space = SPACE_LINE};
}

uint32_t tagger_tokens(struct str text, struct tagger_token *tokens) {
  const uint8_t *p = (const uint8_t *)text.p, *end = p + text.n;
  uint32_t n = 0, bytes, lower;
  uint8_t space = SPACE_LINE;
  edge(tokens, TAGGER_EDGE, 1);
  while (p < end) {
    int c = classify(p, end, &bytes, &lower);
    if (c == C_SPACE || c == C_LINE) {
      uint8_t kind = c == C_LINE ? SPACE_LINE : SPACE_BLANK;
      if (kind > space) space = kind;
      p += bytes;
      continue;
    }
    struct tagger_token *t = &tokens[TAGGER_EDGE + n++];
    *t = (struct tagger_token){.start = (uint32_t)(p - (const uint8_t *)text.p), .space = space};
    space = SPACE_NONE;
    if (c == C_LETTER || c == C_CAPITAL)
      p = take_word(t, p, end, c == C_CAPITAL);
    else if (c == C_DIGIT)
      p = take_number(t, p, end);
    else {
      t->word = word_end(word_step(WORD_START, lower));
      t->shape = t->form = SHAPE_OTHER + lower;
      t->prefix2 = t->prefix3 = t->prefix4 = t->suffix2 = t->suffix3 = t->suffix4 = lower;
      p += bytes;
    }
    t->end = (uint32_t)(p - (const uint8_t *)text.p);
  }
  edge(tokens + TAGGER_EDGE + n, TAGGER_EDGE, 2);
  return n;
}

/* ---- the whole document */
static bool is_word(const struct tagger_token *t) { return t->shape >= SHAPE_LOWER && t->shape <= SHAPE_SHOUTED; }
static bool is_number(const struct tagger_token *t) { return t->shape >= SHAPE_DIGIT && t->shape < SHAPE_OTHER; }

static void lines(struct tagger_token *t, uint32_t n) {
  uint32_t field = 0, line1 = 0, line2 = 0, above = 0, last = 0;
  uint8_t place = 0, since = 0;
  for (uint32_t i = 0; i < n; i++) {
    struct tagger_token *k = &t[i];
    if (k->space == SPACE_LINE) {
      above = last ? last : line2;
      line1 = k->word;
      line2 = i + 1 < n && k[1].space != SPACE_LINE ? tagger_phrase_hash(k->word, k[1].word) : k->word;
      field = 0, last = 0, place = since = 0;
    }
    k->field = field, k->since = since, k->place = place;
    k->line1 = line1, k->line2 = line2, k->above = above;
    if (place < 6) place++;
    if (since < 7) since++;
    if (k->shape == SHAPE_OTHER + ':' && i > 0 && is_word(&k[-1]) && k->space != SPACE_LINE) {
      bool two = i > 1 && k[-1].space != SPACE_LINE && is_word(&k[-2]);
      field = two ? tagger_phrase_hash(k[-2].word, k[-1].word) : k[-1].word;
      if (!last) last = field;
      since = 0;
    }
  }
}

static void clauses(struct tagger_token *t, uint32_t n) {
  uint32_t first = 0, number = 0, away = 0;
  uint8_t inside = 0;
  for (uint32_t i = 0; i < n; i++) {
    const struct tagger_token *before = &t[(int64_t)i - 1];
    uint32_t c = before->shape - SHAPE_OTHER;
    if (t[i].space == SPACE_LINE || c == '.' || c == ':' || c == ';' || c == '(' || c == ')') first = t[i].word, inside = 0;
    t[i].clause = first, t[i].inside = inside;
    if (inside < 7) inside++;
  }
  for (uint32_t i = n; i-- > 0;) {
    t[i].ahead = number && away < 6 ? number | ++away << 8 : 0;
    if (is_number(&t[i])) number = t[i].shape, away = 0;
  }
}

/* In a chunk numbers of one and two digits are alike: 2-3-07 is 12-11-2007's kin. */
static uint32_t rough(uint32_t shape) { return shape == SHAPE_DIGIT + 2 ? SHAPE_DIGIT + 1 : shape; }

/* ---- what a chunk may be */
enum pattern { PATTERN_NONE, PATTERN_DATE, PATTERN_WORD_NUMBER, PATTERN_MAIL };
static bool one_digit(const struct tagger_token *t) { return t->shape == SHAPE_DIGIT + 1; }
static bool up_to_31(const struct tagger_token *t) { return one_digit(t) || t->form >> 8 == 2 || t->form >> 8 == 3; }
static bool up_to_12(const struct tagger_token *t) { return one_digit(t) || t->form >> 8 == 3; }
static bool a_year(const struct tagger_token *t) { return t->shape == SHAPE_DIGIT + 2 || t->form >> 8 == 4; }
static bool a_date(const struct tagger_token *t) {
  uint32_t mark = t[1].shape;
  if (!is_number(&t[0]) || !is_number(&t[2]) || !is_number(&t[4]) || t[3].shape != mark) return false;
  if (mark != SHAPE_OTHER + '-' && mark != SHAPE_OTHER + '/' && mark != SHAPE_OTHER + '.') return false;
  if (t[0].form >> 8 == 4) return up_to_12(&t[2]) && up_to_31(&t[4]);
  return a_year(&t[4]) && up_to_31(&t[0]) && up_to_31(&t[2]) && (up_to_12(&t[0]) || up_to_12(&t[2]));
}
static enum pattern pattern_of(const struct tagger_token *t, uint32_t n) {
  if (n == 5 && a_date(t)) return PATTERN_DATE;
  if (n == 3 && is_word(&t[0]) && a_year(&t[2]) && (t[1].shape == SHAPE_OTHER + '-' || t[1].shape == SHAPE_OTHER + '/'))
    return PATTERN_WORD_NUMBER;
  for (uint32_t i = 1; i < n; i++)
    if (t[i].shape == SHAPE_OTHER + '@') return PATTERN_MAIL;
  return PATTERN_NONE;
}

static void chunk(struct tagger_token *t, uint32_t n) {
  uint32_t h = 0, from = 0, to = n;
  while (from < to && !is_word(&t[from]) && !is_number(&t[from])) from++;
  while (to > from && !is_word(&t[to - 1]) && !is_number(&t[to - 1])) to--;
  for (uint32_t k = from; k < to && k < from + 16; k++) h = tagger_phrase_hash(h, rough(t[k].shape));
  uint32_t pattern = to - from > 1 ? pattern_of(t + from, to - from) : PATTERN_NONE;
  if (pattern) pattern |= (uint32_t)t[from].lists << 8;
  for (uint32_t k = from; k < to && to - from > 1; k++) {
    t[k].chunk = h, t[k].pattern = pattern;
    t[k].at = (uint8_t)(k - from < 15 ? k - from : 15);
  }
}

/* A chunk is what stands between white space, without the brackets and stops around it. */
static void chunks(struct tagger_token *t, uint32_t n) {
  for (uint32_t i = 0, to; i < n; i = to) {
    for (to = i + 1; to < n && t[to].space == SPACE_NONE; to++) {}
    chunk(t + i, to - i);
  }
}

static uint16_t in_lists(const struct tagger_list *lists, uint32_t lists_n, uint32_t word) {
  uint64_t spread = hash64_u64(word);
  uint32_t in = 0;
  for (uint32_t l = 0; l < lists_n; l++) in |= (uint32_t)tagger_list_has(&lists[l], spread) << l;
  return (uint16_t)in;
}

static uint8_t sort_of(const struct tagger_list *lists, uint32_t from, uint32_t lists_n, uint32_t word) {
  uint64_t spread = hash64_u64(word);
  for (uint32_t l = from; l < lists_n; l++)
    if (tagger_list_has(&lists[l], spread)) return (uint8_t)(l - from + 1);
  return 0;
}

/* A word's answers are asked for once and kept: they depend on its hash alone. */
static struct tagger_seen ask(const struct tagger_list *lists, uint32_t plain, uint32_t all, uint32_t word, bool sort,
                              struct tagger_seen *seen) {
  struct tagger_seen *kept = seen ? &seen[word % TAGGER_SEEN] : NULL, x = {.word = word, .known = sort ? 3 : 1};
  if (kept && kept->word == word && (kept->known & x.known) == x.known) return *kept;
  x.lists = in_lists(lists, plain, word);
  if (sort) x.sort = sort_of(lists, plain, all, word);
  if (kept) *kept = x;
  return x;
}

static void lists_of(struct tagger_token *t, uint32_t n, const struct tagger_list *lists, uint32_t all, struct tagger_seen *seen) {
  uint32_t lists_n = tagger_lists_plain(lists, all);
  for (uint32_t i = 0; i < n && all; i++) {
    if (!is_word(&t[i]) || t[i].shape == SHAPE_LETTER) continue;
    struct tagger_seen x = ask(lists, lists_n, all, t[i].plain, lists_n < all, seen);
    t[i].lists |= x.lists, t[i].sort = x.sort;
    if (t[i].shape == SHAPE_LOWER || t[i + 1].shape == SHAPE_LOWER || !is_word(&t[i + 1])) continue;
    uint16_t both = ask(lists, lists_n, all, tagger_phrase_hash(t[i].plain, t[i + 1].plain), false, seen).lists;
    t[i].lists |= both, t[i + 1].lists |= both;
  }
}

/* "Hermana de 55 años": what the sentence has spoken of so far says whose age it is. */
static void trails(struct tagger_token *t, uint32_t n) {
  enum { FAR = 7 };
  uint32_t seen = 0, last = 0, away = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t before = t[(int64_t)i - 1].shape - SHAPE_OTHER;
    if (t[i].space == SPACE_LINE || before == ';' || (before == '.' && t[i].space != SPACE_NONE)) seen = last = away = 0;
    t[i].trail = seen | (last ? tagger_phrase_hash(last, away < FAR ? away : FAR) << 16 : 0);
    away++;
    if (t[i].lists) seen |= t[i].lists, last = t[i].lists, away = 0;
  }
}

#define PROBES 8 /* a hostile text cannot make the table slow; a word not found is only a feature less */
static uint32_t table_cap(uint32_t n) {
  uint32_t cap = 64;
  while (cap < 2 * n) cap *= 2;
  return cap;
}
uint32_t tagger_scratch(uint32_t n) { return table_cap(n) + n; }

static uint32_t *memory_slot(uint32_t *table, uint32_t cap, const struct tagger_token *t, uint32_t word) {
  for (uint32_t k = 0, at = word; k < PROBES; k++, at++) {
    uint32_t *s = &table[at & (cap - 1)];
    if (!*s || t[*s - 1].word == word) return s;
  }
  return NULL;
}

/* Each word or longer number remembers where the document named it first: under which field, or behind which word. */
static void memories(struct tagger_token *t, uint32_t n, uint32_t *table) {
  uint32_t cap = table_cap(n);
  memset(table, 0, cap * sizeof *table);
  uint32_t *small = table + cap; /* per token that owns a slot: bit 0 seen small, bit 1 seen with a capital, bit 2 seen twice */
  memset(small, 0, n * sizeof *small);
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < n; i++) {
      struct tagger_token *k = &t[i];
      if (!(is_word(k) && k->shape != SHAPE_LETTER) && !(is_number(k) && k->end - k->start >= 3)) continue;
      uint32_t *s = memory_slot(table, cap, t, k->word);
      if (!s) continue;
      if (pass == 0) {
        if (!*s)
          *s = i + 1;
        else
          small[*s - 1] |= 4;
        small[*s - 1] |= k->shape == SHAPE_LOWER || k->shape == SHAPE_CASELESS ? 1 : 2;
      } else if (*s) {
        const struct tagger_token *first = &t[*s - 1];
        k->again = (uint8_t)small[*s - 1];
        if (first != k) k->memory = first->field ? first->field : first[-1].word ^ 0x5555;
      }
    }
}

/* In a text that has one case only, case tells nothing of a word: such words get shapes of their own. */
static void cases(struct tagger_token *t, uint32_t n) {
  uint32_t small = 0, capitals = 0, others = 0, words_least = 3;
  for (uint32_t i = 0; i < n && !others && !(small && capitals); i++) {
    small += t[i].shape == SHAPE_LOWER;
    capitals += t[i].shape == SHAPE_CAPITALS || t[i].shape == SHAPE_LETTER;
    others += t[i].shape == SHAPE_TITLE || t[i].shape == SHAPE_MIXED;
  }
  if (others || (small && capitals) || small + capitals < words_least) return;
  uint32_t from = small ? SHAPE_LOWER : SHAPE_CAPITALS, to = small ? SHAPE_CASELESS : SHAPE_SHOUTED;
  for (uint32_t i = 0; i < n; i++)
    if (t[i].shape == from) t[i].shape = to, t[i].form = to | (t[i].form & ~255u);
}

void tagger_context(struct tagger_token *tokens, uint32_t n, const struct tagger_list *lists, uint32_t lists_n, struct tagger_seen *seen,
                    uint32_t *scratch) {
  struct tagger_token *t = tokens + TAGGER_EDGE;
  cases(t, n);
  lines(t, n);
  clauses(t, n);
  lists_of(t, n, lists, lists_n, seen);
  trails(t, n);
  chunks(t, n);
  memories(t, n, scratch);
}

/* ---- kinds */
static uint32_t kind_of(const struct tagger_token *t) {
  enum { SMALL = 1, CAPITAL, FIRST };
  if (is_number(t)) return t->form;
  if (!is_word(t)) return t->word;
  if (t->shape == SHAPE_LOWER || t->shape == SHAPE_CASELESS) return t->sort ? SMALL << 8 | t->sort : t->word;
  uint32_t kind = tagger_phrase_hash(CAPITAL << 8 | t->shape, t->lists);
  return t->inside == 0 ? tagger_phrase_hash(FIRST, tagger_phrase_hash(kind, t->sort)) : kind;
}

static bool capital(const struct tagger_token *t) { return t->shape > SHAPE_LOWER && t->shape < SHAPE_CASELESS; }

/* Where the run of capitals that begins at `from` ends: over the point of an initial, over hyphens and apostrophes that touch. */
static uint32_t run_end(const struct tagger_token *t, uint32_t from, uint32_t n) {
  uint32_t to = from + 1;
  while (to < n && t[to].space != SPACE_LINE) {
    uint32_t mark = t[to].shape - SHAPE_OTHER;
    bool joint = to + 1 < n && capital(&t[to + 1]) && t[to + 1].space != SPACE_LINE && t[to].space == SPACE_NONE &&
                 ((mark == '.' && t[to].start - t[to - 1].start <= 2) || ((mark == '-' || mark == '\'') && t[to + 1].space == SPACE_NONE));
    if (!capital(&t[to]) && !joint) break;
    to++;
  }
  return to;
}

void tagger_kinds(struct tagger_token *tokens, uint32_t n) {
  enum { MOST = 7 };
  struct tagger_token *t = tokens + TAGGER_EDGE;
  for (uint32_t i = 0; i < n + 2 * TAGGER_EDGE; i++) tokens[i].kind = kind_of(&tokens[i]);
  for (uint32_t i = 0, to; i < n; i = to) {
    to = capital(&t[i]) ? run_end(t, i, n) : i + 1;
    const struct tagger_token *before = &t[(int64_t)i - 1], *behind = &t[to];
    uint32_t length = to - i < MOST ? to - i : MOST;
    for (uint32_t k = i; k < to; k++) {
      t[k].left = before->kind, t[k].left2 = tagger_phrase_hash(before[-1].kind, before->kind);
      t[k].right = behind->kind, t[k].right2 = tagger_phrase_hash(behind->kind, behind[1].kind);
      t[k].run = (uint8_t)((k - i < 3 ? k - i : 3) | length << 2);
    }
  }
}
