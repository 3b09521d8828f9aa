/* The tokenizer that a GGUF file describes. */
#include "model/lm_internal.h"

static uint32_t token_id(const struct gguf *g, const char *key, uint32_t otherwise) {
  uint64_t v = gguf_u64(g, key, SUBWORD_NONE);
  return v < SUBWORD_NONE ? (uint32_t)v : otherwise;
}

static int take_types(const struct gguf *g, struct arena *a, struct subword_spec *s, struct error *e) {
  const struct gguf_pair *p = gguf_get(g, "tokenizer.ggml.token_type"), *q = gguf_get(g, "tokenizer.ggml.scores");
  uint8_t *type = arena_array(a, uint8_t, (size_t)s->n + 1);
  float *score = arena_array(a, float, (size_t)s->n + 1);
  if (!type || !score) return error_set(e, E_NOMEM, "no memory for a vocabulary");
  if (p && (p->kind != GGUF_ARRAY || p->item == GGUF_STRING || p->n != s->n))
    return error_set(e, E_CORRUPT, "token types do not fit the tokens");
  if (q && (q->kind != GGUF_ARRAY || q->item == GGUF_STRING || q->n != s->n))
    return error_set(e, E_CORRUPT, "token scores do not fit the tokens");
  for (uint32_t i = 0; i < s->n; i++) {
    double t = p ? gguf_item(p, i) : SUBWORD_NORMAL;
    type[i] = t >= SUBWORD_NORMAL && t <= SUBWORD_BYTE ? (uint8_t)t : SUBWORD_NORMAL;
    score[i] = q ? (float)gguf_item(q, i) : 0;
  }
  s->types = type;
  if (q) s->scores = score;
  return OK;
}

static void set_kind(const struct gguf *g, struct str model, struct subword_spec *s) {
  char pre[64];
  struct str name = gguf_str(g, "tokenizer.ggml.pre");
  snprintf(pre, sizeof pre, "%.*s", STR_ARG(name));
  s->bos = token_id(g, "tokenizer.ggml.bos_token_id", SUBWORD_NONE);
  s->eos = token_id(g, "tokenizer.ggml.eos_token_id", SUBWORD_NONE);
  s->unknown = token_id(g, "tokenizer.ggml.unknown_token_id", SUBWORD_NONE);
  if (str_eqc(model, "llama")) {
    s->kind = SUBWORD_SPM;
    s->space_mark = true;
    s->space_prefix = gguf_bool(g, "tokenizer.ggml.add_space_prefix", true);
    s->add_bos = gguf_bool(g, "tokenizer.ggml.add_bos_token", true);
  } else if (str_eqc(model, "bert")) {
    s->kind = SUBWORD_WORDPIECE;
    s->phantom = s->lower = s->add_bos = s->add_eos = true;
    s->bos = token_id(g, "tokenizer.ggml.cls_token_id", s->bos);
    s->eos = token_id(g, "tokenizer.ggml.seperator_token_id", token_id(g, "tokenizer.ggml.separator_token_id", s->eos));
  } else {
    s->kind = SUBWORD_BPE;
    s->byte_level = true;
    subword_named_patterns(pre, s);
    s->add_bos = gguf_bool(g, "tokenizer.ggml.add_bos_token", s->whole_first);
  }
  s->add_eos = gguf_bool(g, "tokenizer.ggml.add_eos_token", s->add_eos);
}

int lm_vocabulary_gguf(const struct gguf *g, struct subword **out, struct error *e) {
  const struct gguf_pair *tokens = gguf_get(g, "tokenizer.ggml.tokens"), *merges = gguf_get(g, "tokenizer.ggml.merges");
  struct str model = gguf_str(g, "tokenizer.ggml.model");
  struct subword_spec s = {0};
  struct arena a;
  *out = NULL;
  if (!tokens || tokens->kind != GGUF_ARRAY || tokens->item != GGUF_STRING || tokens->n > 1 << 22)
    return error_set(e, E_INPUT, "the file holds no vocabulary");
  if (!str_eqc(model, "llama") && !str_eqc(model, "gpt2") && !str_eqc(model, "bert"))
    return error_set(e, E_INPUT, "the file's kind of tokenizer is not supported (llama, gpt2 and bert are)");
  if (merges && (merges->kind != GGUF_ARRAY || merges->item != GGUF_STRING)) return error_set(e, E_CORRUPT, "merges that are no texts");
  s.tokens = tokens->texts;
  s.n = (uint32_t)tokens->n;
  arena_init(&a, 0, 0);
  set_kind(g, model, &s);
  if (merges && s.kind == SUBWORD_BPE) s.merges = merges->texts, s.n_merges = (size_t)merges->n;
  int rc = take_types(g, &a, &s, e);
  if (rc == OK) rc = subword_new(&s, out, e);
  arena_free(&a);
  return rc;
}
