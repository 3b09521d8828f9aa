/* Bytes to letters and digits: the one way in which both identifiers and what is searched are read. */
#include <string.h>

#include <utf8proc.h>

#include "deid/audit_private.h"

/* U+00C0..U+017F without their accents. '\1': "ae", '\2': "oe", '\3': "ss", '\4': "th", '\5': "ij"; ' ' is no letter. */
static const char latin[] =
    "aaaaaa\1ceeeeiiiidnooooo ouuuuy\4\3"
    "aaaaaa\1ceeeeiiiidnooooo ouuuuy\4y"
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii\5\5jjkkklllllllllln"
    "nnnnnnnnoooooo\2\2rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
_Static_assert(sizeof latin == 0x180 - 0xC0 + 1, "one character each");
static const char *const pairs[] = {"", "ae", "oe", "ss", "th", "ij"};

struct point { /* one character of the input */
  uint32_t code;
  uint32_t bytes;
};

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint32_t hex_of(const char *p, int n) { /* UINT32_MAX if it is none */
  uint32_t v = 0;
  for (int i = 0; i < n; i++) {
    int d = hex(p[i]);
    if (d < 0) return UINT32_MAX;
    v = v << 4 | (uint32_t)d;
  }
  return v;
}

/* &eacute; is its letter, &szlig; its own; any other name is a gap. name: what stands between & and ; */
static uint32_t named(struct str name) {
  static const char *const accents[] = {"uml", "acute", "grave", "circ", "tilde", "cedil", "ring", "slash", "caron"};
  static const struct {
    const char *name;
    uint32_t code;
  } letters[] = {{"szlig", 0xDF}, {"aelig", 0xE6}, {"oelig", 0x153}, {"thorn", 0xFE}, {"eth", 0xF0}};
  struct str accent = {name.p + 1, name.n - 1};
  for (size_t i = 0; i < sizeof accents / sizeof *accents; i++)
    if (str_eqc(accent, accents[i])) return (uint8_t)name.p[0];
  for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
    if (str_eq_nocase(name, str_c(letters[i].name))) return letters[i].code;
  return ' ';
}

/* &#233; &#xE9; &eacute; &amp; … */
static struct point entity(const char *p, size_t n) {
  struct point plain = {'&', 1};
  size_t at = 1;
  uint32_t v = 0;
  if (n > 3 && p[1] == '#') {
    bool x = p[2] == 'x' || p[2] == 'X';
    for (at = x ? 3 : 2; at < n && at < 10 && hex(p[at]) >= 0 && (x || hex(p[at]) < 10); at++) v = v * (x ? 16 : 10) + (uint32_t)hex(p[at]);
    return at < n && p[at] == ';' ? (struct point){v, (uint32_t)at + 1} : plain;
  }
  while (at < n && at < 9 && ((p[at] | 0x20) >= 'a' && (p[at] | 0x20) <= 'z')) at++;
  return at > 2 && at < n && p[at] == ';' ? (struct point){named((struct str){p + 1, at - 1}), (uint32_t)at + 1} : plain;
}

static struct point escape(const char *p, size_t n) {
  if (*p == '&') return entity(p, n);
  if (*p == '\\' && n > 5 && p[1] == 'u') {
    uint32_t v = hex_of(p + 2, 4);
    if (v != UINT32_MAX) return (struct point){v, 6};
  }
  if (*p == '\\' && n > 1 && strchr("nrtbf\"/\\", p[1])) return (struct point){p[1] == '"' ? '"' : ' ', 2};
  if (*p == '%' && n > 2) {
    uint32_t v = hex_of(p + 1, 2);
    if (v != UINT32_MAX && v < 0x80) return (struct point){v, 3};
  }
  return (struct point){(uint8_t)*p, 1};
}

static struct point next(const char *p, size_t n) {
  uint8_t c = (uint8_t)*p;
  if (c < 0x80) return c == '\\' || c == '&' || c == '%' ? escape(p, n) : (struct point){c, 1};
  size_t k = str_utf8_next((struct str){p, n});
  const uint8_t *u = (const uint8_t *)p;
  if (k == 2) return (struct point){(uint32_t)(u[0] & 0x1F) << 6 | (u[1] & 0x3F), 2};
  if (k == 3) return (struct point){(uint32_t)(u[0] & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (u[2] & 0x3F), 3};
  if (k == 4)
    return (struct point){(uint32_t)(u[0] & 7) << 18 | (uint32_t)(u[1] & 0x3F) << 12 | (uint32_t)(u[2] & 0x3F) << 6 | (u[3] & 0x3F), 4};
  return (struct point){c >= 0xC0 ? c : ' ', 1}; /* not UTF-8: as Latin-1 */
}

/* Lower case of the scripts that have two, for letters beyond Latin. */
static uint32_t lower(uint32_t c) {
  if (c >= 0x391 && c <= 0x3A9) return c + 0x20;
  if (c >= 0x410 && c <= 0x42F) return c + 0x20;
  if (c >= 0x400 && c <= 0x40F) return c + 0x50;
  if (c >= 0xFF21 && c <= 0xFF3A) return c - 0xFF21 + 'a';
  if (c >= 0xFF41 && c <= 0xFF5A) return c - 0xFF41 + 'a';
  if (c >= 0xFF10 && c <= 0xFF19) return c - 0xFF10 + '0';
  return c;
}

static bool letter_beyond(uint32_t c) {
  return c >= 0x370 && !(c >= 0x2000 && c <= 0x2BFF) && !(c >= 0x3000 && c <= 0x3004) && !(c >= 0x3008 && c <= 0x3020) &&
         !(c >= 0xFE00 && c <= 0xFE6F) && !(c >= 0xFF00 && c <= 0xFF0F) && !(c >= 0xFFF0 && c <= 0xFFFF) && c < 0x1F000;
}

/* Latin letters beyond U+017F (Romanian, Vietnamese, Pinyin ...) without their accents; one that is no letter with an accent stays. */
static uint32_t latin_beyond(uint32_t c) {
  utf8proc_int32_t part[8];
  int boundary = 0;
  if (c == 0x259) return 'a'; /* Azerbaijani */
  if (!(c >= 0x180 && c < 0x250) && !(c >= 0x1E00 && c < 0x1F00)) return c;
  utf8proc_ssize_t n =
      utf8proc_decompose_char((utf8proc_int32_t)c, part, 8, UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK, &boundary);
  return n == 1 ? (uint32_t)part[0] : c;
}

/* Folded form, 1..4 bytes; 0: no letter or digit; -1: a mark that counts for nothing. */
static int fold(uint32_t c, uint8_t out[4]) {
  if (c < 0x80) {
    if (c >= 'A' && c <= 'Z') c |= 0x20;
    out[0] = (uint8_t)c;
    return (c >= 'a' && c <= 'z') || audit_digit((uint8_t)c);
  }
  if (c >= 0xC0 && c < 0x180) {
    char l = latin[c - 0xC0];
    if (l == ' ') return 0;
    if (l < 6) return memcpy(out, pairs[(int)l], 2), 2;
    return out[0] = (uint8_t)l, 1;
  }
  if (c >= 0x300 && c < 0x370) return -1;
  if (c == 0xAD || c == 0x200B || c == 0x200C || c == 0x200D || c == 0xFEFF) return -1; /* soft hyphen, joiners */
  bool letter = letter_beyond(c) || (c >= 0x180 && c < 0x2B0);
  if (!letter) return 0;
  c = lower(latin_beyond(c));
  if (c < 0x80) return out[0] = (uint8_t)c, 1;
  if (c < 0x800) return out[0] = (uint8_t)(0xC0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 0x3F)), 2;
  out[0] = (uint8_t)(0xE0 | (c >> 12 & 0x0F)), out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F)), out[2] = (uint8_t)(0x80 | (c & 0x3F));
  return 3;
}

static uint8_t gap_of(const struct audit_fold *f) {
  if (f->run == 0) return GAP_NONE;
  if (f->hard || f->run > AUDIT_GAP_MAX) return GAP_HARD;
  return f->number && f->run <= 2 ? GAP_NUMBER : GAP_SOFT;
}

static void gap_add(struct audit_fold *f, struct point p) {
  char c = p.code < 0x80 ? (char)p.code : ' ';
  if (f->run == 0) f->number = true, f->hard = false;
  f->run += 1;
  f->last = c ? c : ' ';
  if (!strchr(" -./()", c) || !c) f->number = false;
  if (c == 0 || strchr("\"{}[]<>|=;", c)) f->hard = true;
}

size_t audit_fold(struct audit_fold *f, struct audit_char *out, size_t cap) {
  size_t n = 0;
  while (f->pos < f->bytes.n && n + 4 <= cap) {
    uint8_t folded[4];
    struct point p = next(f->bytes.p + f->pos, f->bytes.n - f->pos);
    int k = fold(p.code, folded);
    if (k == 0) gap_add(f, p);
    for (int i = 0; i < k; i++) {
      out[n++] = (struct audit_char){folded[i], i ? GAP_NONE : gap_of(f), i == 0 && f->run ? f->last : 0, (uint32_t)f->pos,
                                     (uint32_t)(f->pos + p.bytes)};
      f->run = 0;
    }
    f->pos += p.bytes;
  }
  return n;
}

size_t audit_fold_value(struct str value, uint8_t out[AUDIT_LENGTH]) {
  struct audit_char c[AUDIT_LENGTH + 4];
  struct audit_fold f = {.bytes = value};
  size_t n = audit_fold(&f, c, AUDIT_LENGTH + 4);
  if (n > AUDIT_LENGTH) n = AUDIT_LENGTH;
  for (size_t i = 0; i < n; i++) out[i] = c[i].c;
  return n;
}
