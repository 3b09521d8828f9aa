/* Words of a text, with their shape, what stands before them, and what the lists say. One pass; ASCII takes the short way. */
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "deid/text_internal.h"

enum { WORD_MOST = 64 };
enum kind { OTHER, LETTER, UPPER, DIGIT, MARK };

/* U+00C0..U+017F without accents; '*' = two letters, see pair() */
static const char base_letters[] =
    "aaaaaa*ceeeeiiiidnooooo.ouuuuy**aaaaaa*ceeeeiiiidnooooo.ouuuuy*y"
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii**jjkkklllllll"
    "lllnnnnnnnnnoooooo**rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
/* U+0180..U+024F and U+1E00..U+1EFF likewise, as capitals and small letters; '.' = stays */
static const char base_beyond[] =
    "bBBb...CcDDDd..A.FfG...IKkl..NnOOo..Pp.....tTtTUu.VYyZz........."
    ".............AaIiOoUuUuUuUuUu.AaAa**GgGgKkOoOo..j...Gg..NnAa**Oo"
    "AaAaEeEeIiIiOoOoRrRrUuUuSsTt..HhNd..ZzAaEeOoOoOoOoYylnt...ACcLTs"
    "z..B..EeJj.qRrYy";
static const char base_additional[] =
    "AaBbBbBbCcDdDdDdDdDdEeEeEeEeEeFfGgHhHhHhHhHhIiIiKkKkKkLlLlLlLlMm"
    "MmMmNnNnNnNnOoOoOoOoPpPpRrRrRrRrSsSsSsSsSsTtTtTtTtUuUuUuUuUuVvVv"
    "WwWwWwWwWwXxXxYyZzZzZzhtwya...*.AaAaAaAaAaAaAaAaAaAaAaAaEeEeEeEe"
    "EeEeEeEeIiIiOoOoOoOoOoOoOoOoOoOoOoOoUuUuUuUuUuUuUuYyYyYyYy....Yy";
/* U+0386..U+03CE: 'a' = alpha and so on */
static const char base_greek[] = "a.egi.o.uyiabcdefghijklmnopq.stuvwxyiuaegiuabcdefghijklmnopqsstuvwxyiuouy";
_Static_assert(sizeof base_beyond == 0x250 - 0x180 + 1 && sizeof base_additional == 0x1F00 - 0x1E00 + 1, "one character each");
_Static_assert(sizeof base_greek == 0x3CF - 0x386 + 1, "one character each");

/* The letter of a Latin letter beyond U+017F, a capital for a capital; 0: none, or it stays. */
static char beyond(uint32_t c) {
  char b = c >= 0x180 && c <= 0x24F ? base_beyond[c - 0x180] : c >= 0x1E00 && c <= 0x1EFF ? base_additional[c - 0x1E00] : '.';
  return b == '.' ? 0 : b;
}

static uint32_t decode(const char *p, const char *end, unsigned *n) {
  const uint8_t *b = (const uint8_t *)p;
  size_t left = (size_t)(end - p);
  if (b[0] < 0x80) return *n = 1, b[0];
  if (b[0] < 0xE0 && left >= 2) return *n = 2, (uint32_t)(b[0] & 31) << 6 | (b[1] & 63);
  if (b[0] < 0xF0 && left >= 3) return *n = 3, (uint32_t)(b[0] & 15) << 12 | (uint32_t)(b[1] & 63) << 6 | (b[2] & 63);
  if (left >= 4) return *n = 4, (uint32_t)(b[0] & 7) << 18 | (uint32_t)(b[1] & 63) << 12 | (uint32_t)(b[2] & 63) << 6 | (b[3] & 63);
  return *n = 1, 0xFFFD;
}

static enum kind wide_kind(uint32_t c) {
  if (c < 0xC0 || c == 0xD7 || c == 0xF7) return c == 0xAA || c == 0xB5 || c == 0xBA ? LETTER : OTHER;
  if (c <= 0xDE) return UPPER;
  if (c <= 0xFF) return LETTER;
  if (c <= 0x17F) {
    bool odd = (c >= 0x139 && c <= 0x148) || c >= 0x179;
    return c == 0x178 || ((c & 1) != 0) == odd ? UPPER : LETTER;
  }
  if (c >= 0x300 && c <= 0x36F) return MARK;
  if (beyond(c)) return beyond(c) == '*' ? c & 1 ? LETTER : UPPER : beyond(c) >= 'a' ? LETTER : UPPER;
  if ((c >= 0x386 && c <= 0x3AB) || (c >= 0x400 && c <= 0x42F)) return c == 0x387 || c == 0x390 ? LETTER : UPPER;
  if (c >= 0x2000 && c <= 0x2BFF) return OTHER;
  if ((c >= 0x3000 && c <= 0x303F) || (c >= 0xE000 && c <= 0xF8FF) || (c >= 0xFE00 && c <= 0xFE6F) || (c >= 0xFFF0 && c <= 0xFFFF))
    return OTHER;
  if (c >= 0xFF00 && c <= 0xFF0F) return OTHER;
  return c >= 0x1F000 && c <= 0x1FFFF ? OTHER : LETTER;
}

static enum kind kind_of(uint32_t c) {
  if (c >= 0x80) return wide_kind(c);
  if (c >= 'a' && c <= 'z') return LETTER;
  if (c >= 'A' && c <= 'Z') return UPPER;
  return c >= '0' && c <= '9' ? DIGIT : OTHER;
}

static const char *pair(uint32_t c) {
  switch (c) {
    case 0xC6:
    case 0xE6:
    case 0x1E2:
    case 0x1E3:
    case 0x1FC:
    case 0x1FD: return "ae";
    case 0xDE:
    case 0xFE: return "th";
    case 0xDF:
    case 0x1E9E: return "ss";
    case 0x132:
    case 0x133: return "ij";
    default: return "oe";
  }
}

static size_t fold_wide(uint32_t c, char *out) {
  char b = c >= 0xC0 && c <= 0x17F ? base_letters[c - 0xC0] : c == 0x259 ? 'a' : beyond(c);
  if (b == '*') return memcpy(out, pair(c), 2), 2;
  if (b) return out[0] = (char)(b >= 'A' && b <= 'Z' ? b + 32 : b), 1;
  if (c >= 0x300 && c <= 0x36F) return 0;
  if (c == 0x2019 || c == 0x2BC || c == 0xB4) return out[0] = '\'', 1;
  if (c >= 0x386 && c <= 0x3CE && base_greek[c - 0x386] != '.') c = 0x3B1 + (uint32_t)(base_greek[c - 0x386] - 'a');
  if (c >= 0x410 && c <= 0x42F) c += 0x20;
  if (c >= 0x400 && c <= 0x40F) c += 0x50;
  if (c == 0x451) c = 0x435;
  if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
  if (c < 0x10000) return out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)), out[2] = (char)(0x80 | (c & 63)), 3;
  out[0] = (char)(0xF0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63)), out[2] = (char)(0x80 | (c >> 6 & 63));
  return out[3] = (char)(0x80 | (c & 63)), 4;
}

/* Han, Kana, Hangul: no space between words. */
size_t text_unspaced(struct str s) {
  unsigned n = 1;
  uint32_t c = s.n && (uint8_t)s.p[0] >= 0xE1 ? decode(s.p, s.p + s.n, &n) : 0;
  bool kana = (c >= 0x3041 && c <= 0x309F) || (c >= 0x30A1 && c <= 0x30FF && c != 0x30FB) || (c >= 0xFF66 && c <= 0xFF9F);
  bool han = c == 0x3005 || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
  return kana || han || (c >= 0xAC00 && c <= 0xD7A3) ? n : 0;
}

size_t text_fold(struct str s, char *out, size_t size) {
  size_t n = 0;
  for (const char *p = s.p, *end = s.p + s.n; p < end && n + 4 <= size;) {
    unsigned step = 1;
    if ((uint8_t)*p < 0x80)
      out[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    else
      n += fold_wide(decode(p, end, &step), out + n);
    p += step;
  }
  return n;
}

static inline uint64_t hash_start(size_t n) { return 0x9E3779B97F4A7C15u ^ n; }
static inline uint64_t hash_eight(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0xBF58476D1CE4E5B9u;
  return h ^ h >> 29;
}
static inline uint64_t hash_end(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0x94D049BB133111EBu;
  h ^= h >> 32;
  h *= 0xBF58476D1CE4E5B9u;
  return h ^ h >> 29;
}

/* By sixteen bytes, then what is left of them, zeros behind: few words are longer, so their length decides no branch. */
uint64_t text_hash(struct str s) {
  uint64_t h = hash_start(s.n), v[2];
  size_t i = 0;
  for (; i + 16 <= s.n; i += 16) {
    memcpy(v, s.p + i, 16);
    h = hash_eight(hash_eight(h, v[0]), v[1]);
  }
  v[0] = v[1] = 0;
  if (i < s.n) memcpy(v, s.p + i, s.n - i);
  return hash_end(hash_eight(h, v[0]), v[1]);
}

/* text_hash of the folded word, where it is of ASCII letters and digits alone; the bytes behind it can be read. */
static uint64_t plain_hash(const char *p, size_t n) {
  static const uint8_t ones[32] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  const uint64_t small = 0x2020202020202020u; /* digits have that bit already */
  uint64_t h = hash_start(n), v[2], mask[2];
  for (; n >= 16; p += 16, n -= 16) {
    memcpy(v, p, 16);
    h = hash_eight(hash_eight(h, v[0] | small), v[1] | small);
  }
  memcpy(v, p, 16);
  memcpy(mask, ones + 16 - n, 16);
  return hash_end(hash_eight(h, (v[0] | small) & mask[0]), (v[1] | small) & mask[1]);
}

uint64_t text_hash_join(uint64_t phrase, uint64_t word) {
  uint64_t h = (phrase * 31 + 7) ^ word;
  h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u;
  return h ^ h >> 27;
}

/* ---- one word ---- */

struct word {
  const char *start, *end; /* end: behind the last byte */
  unsigned letters, upper, digits;
  bool first_upper;
};

static bool apostrophe(const char *p, const char *end, unsigned *n) {
  if (*p == '\'') return *n = 1, true;
  if (end - p >= 3 && (uint8_t)p[0] == 0xE2 && (uint8_t)p[1] == 0x80 && (uint8_t)p[2] == 0x99) return *n = 3, true;
  return false;
}

static enum kind kind_at(const char *p, const char *end) {
  unsigned n;
  return p < end ? kind_of(decode(p, end, &n)) : OTHER;
}

/* An apostrophe belongs to the word in O'Brien and D'Angelo; the s of a possessive does not. */
static bool joins(const char *p, const char *end, unsigned n) {
  enum kind next = kind_at(p + n, end);
  if (next != LETTER && next != UPPER) return false;
  bool single = kind_at(p + n + 1, end) == OTHER || p + n + 1 >= end;
  return !(single && (p[n] == 's' || p[n] == 'S'));
}

static void read_word(struct word *w, const char *end) {
  const char *p = w->start;
  while (p < end) {
    unsigned n = 1;
    enum kind k = kind_of((uint8_t)*p < 0x80 ? (uint8_t)*p : decode(p, end, &n));
    if (k == OTHER) {
      if (!w->letters || w->digits || !apostrophe(p, end, &n) || !joins(p, end, n)) break;
      p += n;
      continue;
    }
    if (k == UPPER && w->letters + w->digits == 0) w->first_upper = true;
    w->letters += k == LETTER || k == UPPER;
    w->upper += k == UPPER;
    w->digits += k == DIGIT;
    p += n;
  }
  w->end = p;
}

static enum shape shape_of(const struct word *w) {
  if (w->digits) return w->letters ? SHAPE_ALNUM : SHAPE_DIGITS;
  if (!w->letters) return SHAPE_OTHER;
  if (w->upper == 0) return SHAPE_LOWER;
  if (w->letters == 1) return SHAPE_INITIAL;
  if (w->upper == w->letters) return SHAPE_UPPER;
  return w->first_upper && w->upper == 1 ? SHAPE_CAP : SHAPE_MIXED;
}

static unsigned gap_of(uint32_t c) {
  switch (c) {
    case ' ':
    case '\t':
    case 0xA0: return GAP_SPACE;
    case '\n':
    case '\r': return GAP_LINE;
    case '.': return GAP_STOP;
    case ',': return GAP_COMMA;
    case '-':
    case 0x2010:
    case 0x2011: return GAP_HYPHEN;
    case '&': return GAP_AND;
    case ':': return GAP_COLON;
    case '(':
    case ')':
    case '[':
    case ']': return GAP_BRACKET;
    case '!':
    case '?':
    case ';': return GAP_END;
    default: return GAP_OTHER;
  }
}

/* ---- words of ASCII ---- */

/* What the 64 bytes at `at` are, a bit each, the first byte's lowest. */
struct window {
  const char *at;
  uint64_t letter, upper, digit;
};

static void look(struct window *v, const char *p) {
  *v = (struct window){.at = p};
#ifdef __SSE2__
  for (int i = 0; i < 4; i++) {
    /* "c - first < n, unsigned" is "c + (128 - first) < n - 128, signed" */
    __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), low = _mm_or_si128(c, _mm_set1_epi8(32));
    __m128i letter = _mm_cmplt_epi8(_mm_add_epi8(low, _mm_set1_epi8((char)(128 - 'a'))), _mm_set1_epi8(26 - 128));
    __m128i upper = _mm_cmplt_epi8(_mm_add_epi8(c, _mm_set1_epi8((char)(128 - 'A'))), _mm_set1_epi8(26 - 128));
    __m128i digit = _mm_cmplt_epi8(_mm_add_epi8(c, _mm_set1_epi8((char)(128 - '0'))), _mm_set1_epi8(10 - 128));
    v->letter |= (uint64_t)(uint32_t)_mm_movemask_epi8(letter) << 16 * i;
    v->upper |= (uint64_t)(uint32_t)_mm_movemask_epi8(upper) << 16 * i;
    v->digit |= (uint64_t)(uint32_t)_mm_movemask_epi8(digit) << 16 * i;
  }
#else
  for (int i = 0; i < 64; i++) {
    enum kind k = (uint8_t)p[i] < 0x80 ? kind_of((uint8_t)p[i]) : OTHER;
    v->letter |= (uint64_t)(k == LETTER || k == UPPER) << i;
    v->upper |= (uint64_t)(k == UPPER) << i;
    v->digit |= (uint64_t)(k == DIGIT) << i;
  }
#endif
}

static enum shape plain_shape(uint64_t letter, uint64_t upper, uint64_t digit) {
  if (digit) return letter ? SHAPE_ALNUM : SHAPE_DIGITS;
  if (upper == 0) return SHAPE_LOWER;
  if (letter == 1) return SHAPE_INITIAL;
  if (upper == letter) return SHAPE_UPPER;
  return upper == 1 ? SHAPE_CAP : SHAPE_MIXED;
}

/* A word that is of ASCII letters and digits, shorter than the window, and not followed by what could belong to it: nearly all are. */
static bool plain_word(struct text_work *w, struct window *v, const char *p, struct token *t) {
  if (!v->at || p - v->at >= 64) look(v, p);
  unsigned off = (unsigned)(p - v->at);
  uint64_t run = ~((v->letter | v->digit) >> off);
  if (off && (run == 0 || (unsigned)__builtin_ctzll(run) + off >= 64)) { /* it may go on behind the window */
    look(v, p);
    off = 0;
    run = ~(v->letter | v->digit);
  }
  if (run == 0) return false;
  unsigned n = (unsigned)__builtin_ctzll(run);
  if ((uint8_t)p[n] >= 0x80 || p[n] == '\'') return false;
  uint64_t word = (UINT64_C(1) << n) - 1, letter = v->letter >> off & word;
  uint32_t start = (uint32_t)(p - w->copy);
  *t = (struct token){.start = start, .end = start + n, .hash = plain_hash(p, n)};
  t->shape = (uint8_t)plain_shape(letter, v->upper >> off & word, v->digit >> off & word);
  return true;
}

/* ---- all words ---- */

static struct token *token_new(struct text_work *w) {
  if (w->token_n == w->token_cap) {
    uint32_t cap = w->token_cap ? w->token_cap * 2 : 1024;
    struct token *more = mem_realloc(w->tokens, cap * sizeof *more);
    if (!more) return NULL;
    w->tokens = more;
    w->token_cap = cap;
  }
  return &w->tokens[w->token_n++];
}

static void token_fill(struct text_work *w, struct token *t, const struct word *x, const char *end) {
  char folded[WORD_MOST + 8];
  unsigned n = 0;
  *t = (struct token){.start = (uint32_t)(x->start - w->copy), .end = (uint32_t)(x->end - w->copy), .shape = (uint8_t)shape_of(x)};
  if (x->end < end && x->letters && apostrophe(x->end, end, &n) && x->end + n < end && (x->end[n] == 's' || x->end[n] == 'S') &&
      (x->end + n + 1 == end || kind_at(x->end + n + 1, end) == OTHER))
    t->tail = (uint8_t)(n + 1);
  size_t length = (size_t)(x->end - x->start);
  if (length > WORD_MOST) return;
  struct str f = {folded, text_fold((struct str){x->start, length}, folded, sizeof folded)};
  t->hash = text_hash(f);
}

/* ---- phrases ---- */

/* Whether a phrase may go on with this word; of numbers the lists were not asked. */
static bool phrase_goes_on(const struct token *t) { return t->in & IN_PHRASE_ON || t->shape == SHAPE_DIGITS || t->shape == SHAPE_OTHER; }

static void find_phrase(struct text_work *w, uint32_t i) {
  if (i + 1 == w->token_n || !phrase_goes_on(&w->tokens[i + 1])) return;
  uint64_t h = w->tokens[i].hash;
  uint32_t in = 0, best = 0;
  for (uint32_t k = i + 1; k < w->token_n && k < i + 6; k++) {
    if (w->tokens[k].gap & ~(unsigned)(GAP_SPACE | GAP_HYPHEN | GAP_STOP | GAP_POSSESSIVE | GAP_LINE | GAP_AND | GAP_COMMA)) break;
    h = text_hash_join(h, w->tokens[k].hash);
    uint32_t bits = text_lists_phrase(&w->s->lists, h);
    if (!bits) break;
    if (bits & ~(uint32_t)IN_PHRASE) in = bits & ~(uint32_t)IN_PHRASE, best = k - i + 1;
  }
  if (!best) return;
  w->tokens[i].phrase = (uint8_t)best;
  w->tokens[i].in |= in;
  for (uint32_t k = 1; k < best; k++) w->tokens[i + k].inside = 1;
}

static struct text_word *word_place(struct text_work *w, const struct token *t) { return &w->words[t->hash % WORD_CACHE]; }

static void ask_late(struct text_work *w, const uint32_t *late, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    struct token *t = &w->tokens[late[i]];
    struct text_word *seen = word_place(w, t);
    if (seen->hash != t->hash) *seen = (struct text_word){t->hash, text_lists_word(&w->s->lists, t->hash)};
    t->in = seen->in;
  }
}

/* What the lists say of each word. In a loop of its own, and words not met lately behind the others: many answers are under way at a time. */
static void ask_lists(struct text_work *w) {
  enum { LATE = 64 };
  uint32_t late[LATE], n = 0;
  for (uint32_t i = 0; i < w->token_n; i++) {
    struct token *t = &w->tokens[i];
    if (t->shape == SHAPE_DIGITS || t->shape == SHAPE_OTHER || !t->hash) continue;
    const struct text_word *seen = word_place(w, t);
    t->in = seen->in;
    if (seen->hash == t->hash) continue;
    text_lists_ahead(&w->s->lists, t->hash);
    late[n++] = i;
    if (n == LATE) ask_late(w, late, n), n = 0;
  }
  ask_late(w, late, n);
}

/* Without branches: what stands between words cannot be foretold. */
static bool begins_sentence(const struct text_work *w, uint32_t i) {
  const struct token *t = &w->tokens[i], *before = t - (i > 0);
  bool abbreviated = (before->shape == SHAPE_INITIAL) | ((before->in & (IN_TITLE | IN_SAINT)) != 0);
  return (i == 0) | ((t->gap & (GAP_END | GAP_LINE | GAP_COLON)) != 0) | (((t->gap & GAP_STOP) != 0) & !abbreviated);
}

int text_tokens(struct text_work *w, struct error *e) {
  const char *end = w->copy + w->copy_n;
  unsigned gap = GAP_END;
  struct window v = {0};
  w->token_n = 0;
  for (const char *p = w->copy; p < end;) {
    unsigned n = 1;
    if (*p == ' ') {
      gap |= GAP_SPACE;
      p++;
      continue;
    }
    uint32_t c = (uint8_t)*p < 0x80 ? (uint8_t)*p : decode(p, end, &n);
    enum kind k = kind_of(c);
    if (k == OTHER) {
      gap |= gap_of(c);
      p += n;
      continue;
    }
    struct token *t = token_new(w);
    if (!t) return error_set(e, E_NOMEM, "no memory for a text's words");
    if (c >= 0x80 || !plain_word(w, &v, p, t)) {
      struct word x = {.start = p};
      read_word(&x, end);
      token_fill(w, t, &x, end);
    }
    t->gap = (uint16_t)gap;
    p = w->copy + t->end + t->tail;
    gap = t->tail ? GAP_POSSESSIVE : 0;
  }
  ask_lists(w);
  for (uint32_t i = 0; i < w->token_n; i++) w->tokens[i].sentence = begins_sentence(w, i);
  for (uint32_t i = 0; i < w->token_n; i++)
    if (w->tokens[i].in & IN_PHRASE && !w->tokens[i].inside) find_phrase(w, i);
  return OK;
}
