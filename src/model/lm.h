/* Open-weight language models in our own engine: a file as it is (GGUF, or a directory with safetensors, config.json and tokenizer.json), no
 * conversion step.
 *
 *     struct lm *m;  TRY(lm_open("model.gguf", &(struct lm_options){.streams = 8}, &m, e));
 *     TRY(lm_submit(m, &(struct lm_request){.token = ids, .n = n, .most = 200, .piece = f, .ctx = x}, &id, e));   // any number of them
 *     while ((rc = lm_step(m, e)) > 0) {}                             // one pass for all that run; f is called with each one's text
 *     TRY(lm_embed(m, texts, n, out, e));                             // an encoder: (n, width), of length 1
 *     lm_close(m);
 *
 * Families: Llama (and Mistral), Qwen2, Qwen3, Gemma 2 and 3 as decoders; BERT and MiniLM as encoders. Block types: F32, F16, BF16, Q8_0, Q4_0,
 * Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K. A file of another family or block type is refused with its name said.
 *
 * One thread owns a struct lm; inside, lm_options.threads work on each pass. Requests are batched continuously: a pass takes the next token of
 * every stream that is generating, and fills what is left of LM_ROWS with prompt tokens of those that are beginning. A prompt that begins like one
 * that a stream of the same tenant has seen is not computed again; streams of other tenants are never looked at. A step costs the same for a
 * request alone or among others, but sums run in another order: greedy text may differ in ties of the last bit.
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
  uint64_t parameters, bytes, position_bytes; /* the last: of keys and values, for each token that a stream holds */
  bool encoder, floats;                       /* floats: no matrix is quantised, keys and values are kept in 32 bits */
};
int lm_inspect(const char *path, struct lm_facts *out, struct error *e) MUST_CHECK;
void lm_facts_format(const struct lm_facts *f, char *out, size_t size); /* several lines for people */
/* Everything that loading would check, and that every tensor that the family needs is there in a type that the engine computes with. */
int lm_verify(const char *path, struct error *e) MUST_CHECK;

/* ---- running ---- */

struct lm;
struct lm_options {
  int threads;        /* 0: the cores of this process */
  int streams;        /* sequences at a time; 0: 1 */
  int context;        /* most positions of a sequence; 0: what the model allows, at most 8192 */
  const char *column; /* of kernel/quant.h: "ref", "avx2", "avx512"; NULL: the best */
  bool own_cancel;    /* lm_step does not look at cancel_requested(): its owner calls lm_cancel */
};
int lm_open(const char *path, const struct lm_options *o, struct lm **out, struct error *e) MUST_CHECK;
void lm_close(struct lm *m);
struct subword; /* token/subword.h */
const struct subword *lm_vocabulary(const struct lm *m);
const char *lm_chat(const struct lm *m); /* form of its chat template, "" if it has none that is known */
int lm_width(const struct lm *m);
int lm_context(const struct lm *m);
const char *lm_column(const struct lm *m);

enum lm_end { LM_GOES_ON, LM_END_TOKEN, LM_END_STOP, LM_END_LENGTH, LM_END_CANCELLED };
struct lm_alternative {
  uint32_t token;
  float logprob;
};
#define LM_TOPS 20
struct lm_piece {  /* what one step gave one request */
  struct str text; /* whole characters that can no longer be part of a stop string; may be empty */
  uint32_t token;  /* the token taken in this step */
  float logprob;   /* natural, under the model's own distribution (before temperature); only if logprobs >= 0 */
  const struct lm_alternative *top;
  int tops;
  enum lm_end end;
  int prompt, cached, generated; /* tokens so far; cached: of the prompt, not computed again */
};
struct lm_request { /* copied by lm_submit, except for ctx */
  const uint32_t *token;
  size_t n;          /* 1 .. context - 1 */
  uint64_t tenant;   /* prefixes are shared under the same one only */
  int most;          /* tokens to generate; 0: up to the context */
  float temperature; /* 0: greedy */
  float top_p;       /* 0 or 1: off */
  int top_k;         /* 0: off */
  uint64_t seed;
  const struct str *stop;
  int stops;    /* at most 8 */
  int logprobs; /* alternatives reported, -1: none, not even the token's own */
  bool ignore_end;
  struct lm_schema *schema;                          /* NULL, or the form that the text must have (model/lm_schema.h); not copied */
  int (*piece)(void *ctx, const struct lm_piece *p); /* not 0: the request ends */
  void *ctx;
};
int lm_submit(struct lm *m, const struct lm_request *r, int *id,
              struct error *e) MUST_CHECK;             /* E_BUSY: all streams run; E_INPUT: too long */
void lm_cancel(struct lm *m, int id);                  /* its callback is called once more */
int lm_step(struct lm *m, struct error *e) MUST_CHECK; /* how many requests still run; 0: none */
/* Log-probabilities of every next token over a text, for measuring: out[i] (n, vocabulary) logits after token i. Uses no stream. */
int lm_logits(struct lm *m, const uint32_t *token, int n, float *out, struct error *e) MUST_CHECK;

/* Encoders: mean over tokens, length 1 (Reimers & Gurevych 2019). Texts beyond the model's length are cut. */
int lm_embed(struct lm *m, const struct str *texts, size_t n, float *out, struct error *e) MUST_CHECK;
/* Decoders: the states after the last norm, their mean over the tokens (the beginning's mark among them) or the last token's, length 1; out (n, width).
 * A text's first LM_ROWS (512) tokens count. No decoder here was trained to place texts by meaning: what they are good for is to be found out. Uses no
 * stream; others wait. */
int lm_states(struct lm *m, const struct str *texts, size_t n, bool last, float *out, struct error *e) MUST_CHECK;

/* ---- chat ---- */
struct lm_message {
  const char *role; /* "system", "user", "assistant", "tool" */
  struct str content;
};
/* The prompt's tokens by the model's own template: roles and turns are special tokens, contents are plain text in which no special token is
 * recognised. E_INPUT where the template is not known. ids: struct subword_ids, appended to. */
struct subword_ids;
int lm_chat_tokens(const struct lm *m, const struct lm_message *message, int n, struct subword_ids *ids, struct error *e) MUST_CHECK;
#endif
