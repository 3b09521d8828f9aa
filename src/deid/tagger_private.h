/* What the tagger's files share: tokens with their attributes, features, the model in memory. See tagger.c for the file. */
#ifndef DEID_TAGGER_PRIVATE_H
#define DEID_TAGGER_PRIVATE_H
#include "base/map.h"
#include "deid/tagger.h"

/* ---- tokens: a run of letters, a run of digits, or one other character; white space only separates */
enum { SPACE_NONE, SPACE_BLANK, SPACE_LINE, SPACES }; /* what stands before the token */
enum {                                                /* shapes of letter tokens; digits follow, others SHAPE_OTHER + character */
       SHAPE_EDGE,
       SHAPE_LOWER,
       SHAPE_TITLE,
       SHAPE_CAPITALS,
       SHAPE_LETTER, /* one capital */
       SHAPE_MIXED,
       SHAPE_CASELESS,  /* small letters in a text without any capital: there they say nothing */
       SHAPE_SHOUTED,   /* capitals in a text without any small letter */
       SHAPE_DIGIT = 8, /* + digits, at most 15 */
       SHAPE_OTHER = 32
};
struct tagger_token {
  uint32_t start, end;  /* bytes of the text */
  uint32_t word, plain; /* hash of the lower-case word; the same without accents */
  uint32_t shape, form; /* form: shape with the length; of numbers, whether a month, a day, a year */
  uint32_t prefix2, prefix3, prefix4;
  uint32_t suffix2, suffix3, suffix4;
  uint32_t field;               /* the two words before the last colon to the left on this line */
  uint32_t line1, line2, above; /* first word and first two words of the line; field or first word of the line before */
  uint32_t clause;              /* first word since the last full stop, colon, semicolon, bracket or line end */
  uint32_t ahead;               /* the next number within six tokens: its shape and distance; 0 = none */
  uint32_t chunk;               /* shapes of all tokens up to the next white space on either side */
  uint32_t pattern;             /* what the chunk may be: enum pattern, and above it the lists of its first token */
  uint32_t trail;               /* lists that had a word of this sentence before it, and the last such word's: its lists, how far back */
  uint32_t memory;              /* where the word stood first in the document: field or word before it; 0 = nowhere else */
  uint32_t kind;                /* of a word in small letters: its list of kinds, else itself; of others: shape and lists */
  uint32_t left, left2;         /* kind of the token, of the two tokens, before the run of capitals that this one is in */
  uint32_t right, right2;       /* and behind it */
  uint16_t lists;               /* bit per word list, lists of kinds apart */
  uint8_t space, since, place;  /* place: index in the line, since: tokens since the field's colon; both capped */
  uint8_t at, again, inside;    /* place in the chunk; how the word comes again in the document; place in the clause */
  uint8_t sort, run;            /* which list of kinds + 1; place in its run of capitals, and above 2 bits, the run's length */
};
#define TAGGER_EDGE 4 /* sentinels before and after the tokens, so that windows need no test */

/* ---- word lists: one blocked Bloom filter a list. Lists called "kind-..." hold each word once: they sort the words of a language, so that
 * what was learned beside "said" holds beside "asked"; they come behind the others, of which there are at most 16. */
#define TAGGER_LISTS 28
#define TAGGER_LISTS_PLAIN 16
struct tagger_list {
  char name[24];
  uint32_t blocks; /* of 32 bytes; a power of two is not needed */
  uint8_t *bits;   /* blocks * 32, in an arena */
};
uint32_t tagger_lists_plain(const struct tagger_list *l, uint32_t n); /* how many stand before the first list of kinds */
bool tagger_list_has(const struct tagger_list *l, uint64_t spread);   /* spread: hash64_u64 of the word's hash */
/* Adds one list (a word or phrase a line, *.txt or *.txt.zst; or *.json, an object whose keys are the words); or each of a directory. */
int tagger_lists_read(struct arena *a, const char *path, struct tagger_list *out, uint32_t *n, struct error *e) MUST_CHECK;
int tagger_text_read(struct arena *a, const char *path, struct str *out, struct error *e) MUST_CHECK; /* *.zst is unpacked */
uint32_t tagger_word_hash(struct str word);                                                           /* a token's `plain`, of any word */
uint32_t tagger_phrase_hash(uint32_t first, uint32_t next);                                           /* two words of a list's phrase */

/* What the lists say of a word or of two, by their hash alone. */
struct tagger_seen {
  uint32_t word;
  uint16_t lists;
  uint8_t sort, known; /* known: bit 0 `lists`, bit 1 `sort` */
};
#define TAGGER_SEEN 8192

uint32_t tagger_token_count(struct str text); /* at most the text's bytes */
/* Fills tokens[TAGGER_EDGE ...], with sentinels on both sides: room for tagger_token_count + 2 * TAGGER_EDGE. */
uint32_t tagger_tokens(struct str text, struct tagger_token *tokens);
/* The attributes that need the whole document; `scratch` holds tagger_scratch(n) words; `seen`: TAGGER_SEEN places for what these lists say, or
 * NULL. */
uint32_t tagger_scratch(uint32_t n);
void tagger_context(struct tagger_token *tokens, uint32_t n, const struct tagger_list *lists, uint32_t lists_n, struct tagger_seen *seen,
                    uint32_t *scratch);
/* What the templates from TAGGER_KINDS on need beside that. */
void tagger_kinds(struct tagger_token *tokens, uint32_t n);
#define TAGGER_KINDS 72
static inline bool tagger_asks_kinds(const uint64_t templates[2]) { return templates[1] >> (TAGGER_KINDS - 64) != 0; }

/* ---- features */
#define TAGGER_FEATURES 128
uint32_t tagger_features(const struct tagger_token *t, const uint64_t templates[2], uint32_t out[TAGGER_FEATURES]);
#define TAGGER_TEMPLATES_DEFAULT (~0ull) /* of the first 64; the others help only with many examples */

/* ---- labels. Tags: 0 = outside; with scheme 2 (BIO) 1 + 2k = B, 2 + 2k = I; with scheme 4 (BIOES) 1 + 4k = B, I, E, S */
#define TAGGER_LABELS 48
#define TAGGER_TAGS 208 /* 1 + 4 * 48, padded to 16 */
static inline uint32_t tagger_padded(uint32_t tags) { return (tags + 15) & ~15u; }
bool tagger_follows(uint32_t scheme, uint32_t from, uint32_t to); /* may `to` stand after `from` */
bool tagger_starts(uint32_t scheme, uint32_t tag);
bool tagger_ends(uint32_t scheme, uint32_t tag);

struct tagger_label {
  char name[48];
  uint8_t kind; /* enum text_label */
};
struct tagger {
  uint32_t labels, scheme, tags, padded, rows, bits;
  uint64_t templates[2];
  float scale;
  struct tagger_label label[TAGGER_LABELS];
  struct tagger_list list[TAGGER_LISTS];
  uint32_t lists;
  uint16_t words;      /* the list of that name: ordinary words */
  int32_t *transition; /* [SPACES][tags][padded]; TAGGER_NEVER where not allowed */
  int32_t *margin;     /* [SPACES][tags]: by how much a tag must trail `outside` to matter no more */
  void *block;         /* table and weights */
  size_t block_n;
  uint32_t *table; /* 1 << bits buckets of four: a row + 1, and the key's low bits above it */
  int8_t *weights; /* [rows + 1][padded] */
  struct arena memory;
};
#define TAGGER_NEVER (-(1 << 28))
#define TAGGER_ROW_BITS 20

/* What the trainer hands over to be written: float weights by feature hash, ascending. */
struct tagger_weights {
  const uint32_t *key;
  const float *row; /* [n][padded] */
  uint32_t n;
  const float *transition; /* [SPACES][tags][padded] */
};
int tagger_write(const struct tagger *shape, const struct tagger_weights *w, float least, const char *path, struct error *e) MUST_CHECK;
#endif
