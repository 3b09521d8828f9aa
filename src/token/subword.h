/* Tokenizers of foreign language models: text <-> subword ids, exactly as the model was trained with.
 *
 *     struct subword *w;  TRY(subword_new(&spec, &w, e));                       // spec: what a GGUF or tokenizer.json says; copied
 *     struct subword_ids ids = {0};
 *     TRY(subword_encode(w, text, SUBWORD_EDGES, &ids, e));                     // appended to ids; free with subword_ids_release
 *     struct str piece = subword_piece(w, id);                                  // bytes of one id; may be part of a character
 *
 * Four kinds: byte-level BPE (Sennrich et al. 2016; Radford et al. 2019: merges by rank inside pieces that the vocabulary's own patterns cut;
 * PCRE2, Unicode classes), character BPE with byte fallback (tokenizer.json of Llama 2 and Gemma), SentencePiece merges by score with byte
 * fallback (Kudo & Richardson 2018), WordPiece (Devlin et al. 2019: NFD, accents off, longest match first). Merging uses a heap: time is
 * n log n in the longest piece. Text that is no UTF-8 is encoded with U+FFFD for each bad byte. A struct subword is immutable: threads share it.
 */
#ifndef TOKEN_SUBWORD_H
#define TOKEN_SUBWORD_H
#include <stdbool.h>

#include "base/str.h"

#define SUBWORD_NONE UINT32_MAX
#define SUBWORD_PATTERNS 8
enum subword_kind { SUBWORD_BPE, SUBWORD_SPM, SUBWORD_WORDPIECE };
enum subword_type { SUBWORD_NORMAL = 1, SUBWORD_UNKNOWN, SUBWORD_CONTROL, SUBWORD_USER, SUBWORD_UNUSED, SUBWORD_BYTE };
struct subword_spec { /* everything is copied by subword_new */
  enum subword_kind kind;
  const struct str *tokens;
  uint32_t n;
  const float *scores;      /* SPM: (n) */
  const uint8_t *types;     /* (n) enum subword_type, NULL: all normal */
  const struct str *merges; /* BPE: "left right", best first */
  size_t n_merges;
  const char *patterns[SUBWORD_PATTERNS]; /* BPE: each cuts the pieces of the one before; PCRE2 syntax */
  int n_patterns;
  bool byte_level;   /* BPE: GPT-2's byte alphabet; otherwise characters with byte fallback */
  bool whole_first;  /* BPE: a piece that is a token as it stands is not merged from its bytes */
  bool nfc;          /* BPE: normalise to NFC first */
  bool space_mark;   /* blanks become U+2581 */
  bool space_prefix; /* one blank before the text */
  bool phantom;      /* WordPiece: words begin with U+2581 (GGUF); otherwise continuations begin with "##" */
  bool lower;        /* WordPiece: lower case, accents off */
  bool add_bos, add_eos;
  uint32_t bos, eos, unknown; /* SUBWORD_NONE: there is none; WordPiece: [CLS], [SEP], [UNK] */
};
struct subword;
struct subword_ids {
  uint32_t *id;
  size_t n, cap;
};
int subword_new(const struct subword_spec *spec, struct subword **out, struct error *e) MUST_CHECK;
void subword_free(struct subword *w);

/* EDGES: bos and eos where the vocabulary adds them. SPECIAL: control tokens spelled in the text become themselves; without it
 * (anything that a user wrote) they are plain text. Tokens of type USER are always recognised. */
enum { SUBWORD_EDGES = 1, SUBWORD_SPECIAL = 2 };
int subword_encode(const struct subword *w, struct str text, unsigned flags, struct subword_ids *out, struct error *e) MUST_CHECK;
int subword_ids_put(struct subword_ids *ids, uint32_t id, struct error *e) MUST_CHECK;
void subword_ids_release(struct subword_ids *ids);

uint32_t subword_count(const struct subword *w);
struct str subword_piece(const struct subword *w, uint32_t id);  /* control tokens: empty; lives as long as w */
struct str subword_name(const struct subword *w, uint32_t id);   /* as the vocabulary spells it, control tokens too */
uint32_t subword_find(const struct subword *w, struct str name); /* by that spelling; SUBWORD_NONE */
uint32_t subword_bos(const struct subword *w);
uint32_t subword_eos(const struct subword *w);
bool subword_is_control(const struct subword *w, uint32_t id);

/* The patterns of the pre-tokenizers that GGUF files name in tokenizer.ggml.pre; false if the name is not known (then GPT-2's are set). */
bool subword_named_patterns(const char *name, struct subword_spec *spec);
/* Reads a tokenizer.json (the format of the Hugging Face tokenizers library) into a new tokenizer. Pure: bytes in. */
int subword_json(const char *bytes, size_t n, struct subword **out, struct error *e) MUST_CHECK;
#endif
