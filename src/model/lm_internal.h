/* Inside the language-model engine: shapes and weights as the file has them (lm_open.c), as they are used (lm_forward.c). */
#ifndef MODEL_LM_INTERNAL_H
#define MODEL_LM_INTERNAL_H
#include <stdatomic.h>
#include <stdio.h>

#include "base/random.h"
#include "base/thread.h"
#include "kernel/kernel.h"
#include "kernel/quant.h"
#include "model/gguf.h"
#include "model/lm.h"
#include "model/lm_schema.h"
#include "model/safetensors.h"
#include "token/subword.h"

#define LM_LAYERS 512
#define LM_SHARDS 64
enum lm_family { LM_LLAMA, LM_QWEN2, LM_QWEN3, LM_GEMMA2, LM_GEMMA3, LM_BERT };
struct lm_shape {
  enum lm_family family;
  int layers, width, heads, kv_heads, head, ff, context;
  uint32_t vocabulary;
  float eps, rope_base, rope_base_local, rope_scale, query_scale, attention_cap, logit_cap, embed_scale;
  /* frequency-dependent scaling of Llama 3.1: 0 = none */
  float llama3_factor, llama3_low, llama3_high, llama3_context;
  int window, period; /* layers l with (l + 1) % period != 0 see `window` positions; period 1: all do; window 0: none */
  bool rope_pairs;    /* neighbouring pairs (GGUF of the Llama family); otherwise half-split */
  bool gain_plus_one; /* RMSNorm gains are stored less one (safetensors of Gemma) */
};
struct lm_source { /* the files behind a model */
  struct gguf *gguf;
  struct safetensors *shard[LM_SHARDS];
  int shards;
  char path[3072]; /* of the file, or of the directory */
};
struct lm_tensor { /* a matrix as the file has it: rows of `columns` values; data NULL: absent */
  const uint8_t *data;
  uint32_t type;
  uint64_t rows, columns, bytes;
};
int lm_source_open(const char *path, struct lm_source *out, struct error *e) MUST_CHECK;
void lm_source_close(struct lm_source *s);
int lm_shape_read(const struct lm_source *s, struct lm_shape *out, struct error *e) MUST_CHECK;
/* by GGUF name, with its counterpart in safetensors; `out->data` NULL if absent */
void lm_tensor_name(const char *pattern, int layer, char out[96]); /* "blk.%d.attn_q.weight" */
int lm_tensor_find(const struct lm_source *s, const struct lm_shape *shape, const char *name, int layer, struct lm_tensor *out,
                   struct error *e) MUST_CHECK;
int lm_vocabulary_gguf(const struct gguf *g, struct subword **out, struct error *e) MUST_CHECK;
int lm_vocabulary_open(const struct lm_source *s, struct subword **out, struct error *e) MUST_CHECK;
int lm_vocabulary_fits(const struct subword *w, const struct lm_shape *m, struct error *e) MUST_CHECK; /* an embedding for every token */
/* the text of the chat template; STR_NONE if there is none. Memory from the arena for a directory. */
int lm_template_read(const struct lm_source *s, struct arena *a, struct str *out, struct error *e) MUST_CHECK;
const char *lm_family_name(enum lm_family f);
/* Every tensor that the family needs is there, of its shape, in a type that is computed with; what is optional is so where it is there. */
int lm_tensors_check(const struct lm_source *s, const struct lm_shape *m, struct error *e) MUST_CHECK;
bool lm_keeps_floats(const struct lm_source *s, const struct lm_shape *m); /* a decoder none of whose matrices is quantised */

/* ---- loaded (lm_load.c) ---- */

struct lm_weight {            /* W (rows, columns): packed for the vector units, or floats as the file has them */
  struct quant_matrix packed; /* packed.packed NULL: use `words` */
  struct word_matrix words;   /* an encoder's floats; words.packed NULL: use `plain` */
  struct lm_tensor plain;
  const float *bias; /* (rows) or NULL */
  int rows, columns;
};
struct lm_layer {
  const float *attention_norm, *attention_post, *ff_norm, *ff_post, *q_norm, *k_norm; /* NULL: the family has none */
  const float *attention_shift, *ff_shift;                                            /* BERT's LayerNorm */
  struct lm_weight q, k, v, o, gate, up, down;
};
struct lm {
  struct lm_source source;
  struct lm_shape shape;
  struct subword *vocabulary;
  struct lm_layer *layer;
  struct lm_tensor embedding;
  const float *output_norm, *output_shift, *position, *segment; /* the last three: BERT */
  struct lm_weight output;
  float *frequency, *frequency_local; /* (head / 2): angle of a position */
  struct arena arena;
  void *memory; /* packed weights */
  size_t memory_bytes;
  int context; /* positions that a sequence may have */
  bool wide;   /* keys and values are kept as f32 (lm_keeps_floats), otherwise as f16 */
  bool own_cancel;
  struct pool *pool;
  const struct kernel *kernel;
  const struct quant_kernel *quant;
  char chat[32];
  struct str template_text;
  struct lm_engine *engine; /* lm_generate.c */
};
int lm_weights_load(struct lm *m, struct error *e) MUST_CHECK;

/* ---- one pass (lm_forward.c) ---- */

#define LM_ROWS 512 /* most rows of a pass */
struct lm_cache {   /* one sequence's keys and values, every layer, laid out as kernel/quant.h says */
  uint8_t *k, *v;
  int capacity; /* positions, a multiple of 16 */
};
struct lm_rows { /* what a pass computes: `rows` tokens, those of one sequence next to each other and in order */
  int rows;
  uint32_t token[LM_ROWS];
  int position[LM_ROWS];
  struct lm_cache *cache[LM_ROWS];
  bool wanted[LM_ROWS]; /* logits (decoder) are wanted */
  int logits;           /* how many are */
  float *out;           /* (logits, vocabulary), or for an encoder (rows, width) */
  float *states;        /* NULL, or (rows, width): a decoder's states after its last norm */
};
struct lm_buffers; /* activations of a pass */
int lm_buffers_new(const struct lm *m, struct lm_buffers **out, struct error *e) MUST_CHECK;
void lm_buffers_free(struct lm_buffers *b);
void lm_pass(const struct lm *m, struct lm_buffers *b, const struct lm_rows *rows);
size_t lm_cache_bytes(const struct lm *m, int capacity); /* of k; as many of v */

/* ---- streams, choosing, chat ---- */

int lm_cache_new(const struct lm *m, int positions, struct lm_cache *c, size_t *bytes, struct error *e) MUST_CHECK; /* one block: c->k */
int lm_engine_new(struct lm *m, int streams, struct error *e) MUST_CHECK;
void lm_engine_free(struct lm_engine *g);
struct lm_chooser {
  uint32_t n;
  struct lm_alternative *item; /* (n) */
};
int lm_chooser_init(struct lm_chooser *c, uint32_t vocabulary, struct error *e) MUST_CHECK;
void lm_chooser_release(struct lm_chooser *c);
uint32_t lm_choose(struct lm_chooser *c, const struct lm_request *r, struct rng *rng, const struct lm *m, float *logits, struct lm_piece *p,
                   struct lm_alternative top[LM_TOPS]);
void lm_chat_recognise(struct str template_text, char name[32]);
bool lm_is_end(const struct lm *m, uint32_t token);
#endif
