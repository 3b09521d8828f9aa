/* Inside the tokenizers: subword.c owns, one file a kind encodes a piece between special tokens. */
#ifndef TOKEN_SUBWORD_INTERNAL_H
#define TOKEN_SUBWORD_INTERNAL_H
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/map.h"
#include "token/subword.h"

struct subword {
  enum subword_kind kind;
  struct arena arena;
  uint32_t n;
  struct str *name, *piece;
  float *score;
  uint8_t *type;
  struct map by_name;
  struct map64 merges;   /* left id << 32 | right id -> rank << 32 | merged id */
  uint32_t byte_id[256]; /* token of a single byte; SUBWORD_NONE */
  pcre2_code *pattern[SUBWORD_PATTERNS];
  int n_patterns;
  bool byte_level, whole_first, nfc, space_mark, space_prefix, phantom, lower, add_bos, add_eos;
  uint32_t bos, eos, unknown;
  struct map specials;           /* control and user tokens by spelling */
  uint64_t special_lengths[256]; /* by first byte: bit n = one of n bytes; bit 0 = one of 64 bytes or more */
};
int subword_bpe_encode(const struct subword *w, struct str text, struct subword_ids *out, struct error *e) MUST_CHECK;
int subword_spm_encode(const struct subword *w, struct str text, bool first, struct subword_ids *out, struct error *e) MUST_CHECK;
int subword_wordpiece_encode(const struct subword *w, struct str text, struct subword_ids *out, struct error *e) MUST_CHECK;
int subword_bpe_prepare(struct subword *w, const struct subword_spec *spec, struct error *e) MUST_CHECK;
/* Cuts `text` by the vocabulary's patterns; calls f for each piece in order. */
int subword_split(const struct subword *w, struct str text, int (*f)(void *ctx, struct str piece, struct error *e), void *ctx,
                  struct error *e) MUST_CHECK;
int subword_patterns_compile(struct subword *w, const struct subword_spec *spec, struct error *e) MUST_CHECK;
size_t subword_utf8_put(uint32_t c, char out[4]);
/* the character of GPT-2's byte alphabet for a byte */
uint32_t subword_byte_char(unsigned byte);

/* Merging of neighbours: a linked list of symbols and a heap of candidate pairs, best first, leftmost on ties. */
struct subword_symbol {
  int32_t before, after; /* -1: none; after = -2: gone */
  uint32_t id, at, n;    /* bytes [at, at + n) of the piece */
};
struct subword_pair {
  uint64_t key; /* smaller is better */
  uint32_t left, right, left_id, right_id, merged;
};
struct subword_merge {
  struct subword_symbol *symbol;
  size_t symbols, cap;
  struct subword_pair *heap;
  size_t pairs, heap_cap;
};
int subword_merge_symbol(struct subword_merge *m, uint32_t id, uint32_t at, uint32_t n, struct error *e) MUST_CHECK;
/* offers a pair: sets *key and *merged and returns true if the two symbols merge */
typedef bool subword_offer(const void *ctx, const struct subword_symbol *left, const struct subword_symbol *right, uint64_t *key,
                           uint32_t *merged);
int subword_merge_run(struct subword_merge *m, subword_offer *offer, const void *ctx, struct error *e) MUST_CHECK;
void subword_merge_release(struct subword_merge *m);
#endif
