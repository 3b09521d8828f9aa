/* WordPiece (Devlin et al. 2019): clean, decompose, lower, split at blanks and punctuation, then longest match first within a word. */
#include <utf8proc.h>

#include "token/subword_internal.h"

#define WORD_LIMIT 100 /* characters; longer words are unknown, as the method says */

static bool is_cjk(utf8proc_int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool is_punctuation(utf8proc_int32_t c, utf8proc_category_t k) {
  if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126)) return true;
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static bool is_blank(utf8proc_int32_t c, utf8proc_category_t k) {
  return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0x2028 || c == 0x2029 || k == UTF8PROC_CATEGORY_ZS;
}

static bool is_control(utf8proc_int32_t c, utf8proc_category_t k) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c == 0 || c == 0xFFFD || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO ||
         k == UTF8PROC_CATEGORY_CS || k == UTF8PROC_CATEGORY_CN;
}

/* One word (after its mark) by longest match first; a word with a rest that no token begins is one unknown token. */
static int put_word(const struct subword *w, const char *p, size_t n, struct subword_ids *out, struct error *e) {
  size_t had = out->n, characters = 0, at = 0;
  char piece[3 + 4 * WORD_LIMIT];
  for (size_t i = 0; i < n; i++) characters += ((unsigned char)p[i] & 0xC0u) != 0x80;
  while (at < n && characters <= WORD_LIMIT) {
    const char *mark = at == 0 ? (w->phantom ? "\xE2\x96\x81" : "") : w->phantom ? "" : "##";
    size_t marked = strlen(mark), take = n - at;
    uint64_t id = 0;
    memcpy(piece, mark, marked);
    memcpy(piece + marked, p + at, take);
    while (take > 0 && !map_get(&w->by_name, (struct str){piece, marked + take}, &id)) {
      take--;
      while (take > 0 && ((unsigned char)p[at + take] & 0xC0u) == 0x80) take--;
    }
    if (!take) break;
    TRY(subword_ids_put(out, (uint32_t)id, e));
    at += take;
  }
  if (at == n) return OK;
  out->n = had;
  return w->unknown == SUBWORD_NONE ? OK : subword_ids_put(out, w->unknown, e);
}

struct words {
  const struct subword *w;
  struct buf word;
  struct subword_ids *out;
};

static int end_word(struct words *s, struct error *e) {
  TRY(buf_check(&s->word, e));
  int rc = s->word.n ? put_word(s->w, s->word.p, s->word.n, s->out, e) : OK;
  buf_clear(&s->word);
  return rc;
}

static int put_character(struct words *s, utf8proc_int32_t c, struct error *e) {
  utf8proc_category_t k = utf8proc_category(c);
  char text[4];
  if (is_blank(c, k)) return end_word(s, e);
  if (is_control(c, k) || (s->w->lower && k == UTF8PROC_CATEGORY_MN)) return OK;
  size_t n = (size_t)utf8proc_encode_char(s->w->lower ? utf8proc_tolower(c) : c, (utf8proc_uint8_t *)text);
  bool alone = is_punctuation(c, k) || is_cjk(c);
  if (alone) TRY(end_word(s, e));
  buf_put(&s->word, text, n);
  return alone ? end_word(s, e) : OK;
}

int subword_wordpiece_encode(const struct subword *w, struct str text, struct subword_ids *out, struct error *e) {
  struct words s = {.w = w, .out = out};
  utf8proc_int32_t part[32];
  int rc = OK;
  for (size_t i = 0; i < text.n && rc == OK;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text.p + i, (utf8proc_ssize_t)(text.n - i), &c);
    if (n <= 0) BUG("text was made valid before");
    i += (size_t)n;
    if (!w->lower || c < 128) {
      rc = put_character(&s, c, e);
      continue;
    }
    int last = 0;
    utf8proc_ssize_t parts = utf8proc_decompose_char(c, part, 32, UTF8PROC_DECOMPOSE, &last);
    for (utf8proc_ssize_t j = 0; j < parts && j < 32 && rc == OK; j++) rc = put_character(&s, part[j], e);
  }
  if (rc == OK) rc = end_word(&s, e);
  buf_release(&s.word);
  return rc;
}
