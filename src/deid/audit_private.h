/* Private to the audit's search: folding, variants, the table of hashes, weighing. See audit_search.h. */
#ifndef DEID_AUDIT_PRIVATE_H
#define DEID_AUDIT_PRIVATE_H
#include "base/map.h"
#include "deid/audit_search.h"

/* ---- folding: bytes -> letters and digits ---- */
enum audit_gap { GAP_NONE, GAP_NUMBER, GAP_SOFT, GAP_HARD }; /* NUMBER: one or two of " -./()", which may stand inside a number */
struct audit_char {
  uint8_t c;        /* a-z, 0-9, or a byte of another script's letter (>= 0x80) */
  uint8_t gap;      /* enum audit_gap before it */
  char before;      /* the last byte of that gap, 0 if none */
  uint32_t at, end; /* its bytes in the input */
};
enum { AUDIT_LENGTH = 64, AUDIT_GAP_MAX = 4 }; /* longest row compared; longest soft gap */
static inline bool audit_digit(uint8_t c) { return c >= '0' && c <= '9'; }
/* Folds up to `cap` characters from bytes[*pos..n); moves *pos. Returns how many. The gap state is kept in *gap between calls. */
struct audit_fold {
  struct str bytes;
  size_t pos;
  uint32_t run; /* bytes of the present gap */
  bool hard, number;
  char last;
};
size_t audit_fold(struct audit_fold *f, struct audit_char *out, size_t cap);
/* An identifier: at most AUDIT_LENGTH characters; the rest is cut off. */
size_t audit_fold_value(struct str value, uint8_t out[AUDIT_LENGTH]);

/* ---- hashes ---- */
static inline uint64_t audit_hash_next(uint64_t h, uint8_t c) { return ((h << 7 | h >> 57) ^ c) * UINT64_C(0x9E3779B97F4A7C15); }

struct audit_needle {
  uint64_t hash;
  uint32_t person; /* index into persons */
  uint8_t kind, form, length, flags;
};
enum {
  NEEDLE_DIGITS = 1,
  NEEDLE_LETTERS = 2,
  NEEDLE_ORDINARY = 4, /* in the list of words that are weak even as proper nouns */
  NEEDLE_WORD = 8      /* in a list of words */
};
/* Rows that begin like no identifier are left after six, ten or sixteen characters: one bit a prefix, one filter for all. */
enum { AUDIT_PREFIXES = 3, PREFIX_BITS = 25 };
static inline int audit_prefix(size_t n) { return n == 6 ? 0 : n == 10 ? 1 : n == 16 ? 2 : -1; }
static inline uint32_t audit_prefix_bit(uint64_t hash) {
  return (uint32_t)((hash ^ hash >> 29) * UINT64_C(0xBF58476D1CE4E5B9) >> (64 - PREFIX_BITS));
}
struct audit_days {
  int32_t birth, first, last;
  bool remade; /* the wall made a birth of another kind (capped, or of a month or a year): it can fall on the real day by chance */
};
enum { NAME_WORDS = 12, NEAR_LEAST = 5 };
#define AUDIT_NEAR UINT64_C(0xA0761D6478BD642F) /* rows with a letter left out are hashed apart: they are nobody's names */
struct audit_search {
  struct audit_needle *needle;
  size_t n, cap;
  uint32_t *bucket; /* first needle of each range of the hash's top bits */
  unsigned bucket_bits;
  uint64_t *prefix; /* 1 << PREFIX_BITS bits */
  uint64_t *bloom;
  unsigned bloom_bits; /* log2 of its bits */
  int64_t *person;
  struct audit_days *days;
  uint32_t persons, persons_cap;
  struct map64 index; /* pseudonym -> person */
  struct map64 words; /* hash of a word of the lists -> NEEDLE_ORDINARY, NEEDLE_WORD */
  uint64_t seed;
  bool sealed;
  uint32_t naming; /* the person whose name words are being gathered; UINT32_MAX none */
  uint8_t word[NAME_WORDS][AUDIT_LENGTH];
  uint8_t word_n[NAME_WORDS];
  int words_n;
};
struct audit_match {
  const struct audit_needle *first; /* all with this hash */
  uint32_t n;
};
struct audit_match audit_lookup(const struct audit_search *s, uint64_t hash);
/* The needle of `person` among them, NULL if none. */
const struct audit_needle *audit_match_of(struct audit_match m, uint32_t person);
int audit_names_done(struct audit_search *s, struct error *e) MUST_CHECK; /* the pairs of the person whose words were gathered */
uint32_t audit_person(const struct audit_search *s, int64_t pseudonym);   /* UINT32_MAX if unknown */

/* ---- weighing ---- */
struct audit_context {
  const struct audit_place *at;
  bool own, bare; /* bare: a number by itself among JSON or CSV figures */
  bool loose;     /* more than one character, or an unusual one, between two of its words */
  uint32_t words; /* that it was found as */
  bool capital;   /* begins with one */
  bool proper;    /* with a capital letter, not at the beginning of a sentence */
  bool grouped;   /* a part of a longer number with hyphens or points */
  uint32_t persons;
};
enum audit_weight audit_weigh(const struct audit_needle *n, const struct audit_context *c);
#endif
