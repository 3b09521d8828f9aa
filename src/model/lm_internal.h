/* Inside the language-model engine: shapes and weights as the file has them (lm_open.c), as they are used (lm_forward.c). */
#ifndef MODEL_LM_INTERNAL_H
#define MODEL_LM_INTERNAL_H
#include <stdio.h>

#include "model/gguf.h"
#include "model/lm.h"
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
int lm_tensor_find(const struct lm_source *s, const struct lm_shape *shape, const char *name, int layer, struct lm_tensor *out,
                   struct error *e) MUST_CHECK;
int lm_vocabulary_gguf(const struct gguf *g, struct subword **out, struct error *e) MUST_CHECK;
int lm_vocabulary_open(const struct lm_source *s, struct subword **out, struct error *e) MUST_CHECK;
/* the text of the chat template; STR_NONE if there is none. Memory from the arena for a directory. */
int lm_template_read(const struct lm_source *s, struct arena *a, struct str *out, struct error *e) MUST_CHECK;
const char *lm_family_name(enum lm_family f);
#endif
