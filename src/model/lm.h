/* Open-weight language models in our own engine: a file as it is (GGUF, or a directory with safetensors, config.json and tokenizer.json), no
 * conversion step.
 *
 *     struct lm_facts f;  TRY(lm_inspect("model.gguf", &f, e));       // what is in a file, without loading its weights
 *     char text[2000];  lm_facts_format(&f, text, sizeof text);
 *
 * Families: Llama (and Mistral), Qwen2, Qwen3, Gemma 2 and 3 as decoders; BERT and MiniLM as encoders. Block types: F32, F16, BF16, Q8_0, Q4_0,
 * Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K. A file of another family or block type is refused with its name said.
 */
#ifndef MODEL_LM_H
#define MODEL_LM_H
#include <stdbool.h>

#include "base/str.h"

struct lm_facts {
  char format[16];  /* "GGUF", "safetensors" */
  char family[16];  /* "llama", "qwen3", "bert", … */
  char name[128];   /* as the file calls itself; "" */
  char licence[64]; /* as the file says; "" */
  char types[160];  /* "Q4_1 210, F32 61, Q8_0 1": tensors by block type */
  char chat[32];    /* recognised form of the chat template, "" = none, "unknown" = there is one that is not known */
  int layers, width, heads, kv_heads, head, ff, context;
  uint32_t vocabulary;
  uint64_t parameters, bytes;
  bool encoder;
};
int lm_inspect(const char *path, struct lm_facts *out, struct error *e) MUST_CHECK;
void lm_facts_format(const struct lm_facts *f, char *out, size_t size); /* several lines for people */
/* Everything that loading would check, and that every tensor that the family needs is there in a type that the engine computes with. */
int lm_verify(const char *path, struct error *e) MUST_CHECK;
#endif
