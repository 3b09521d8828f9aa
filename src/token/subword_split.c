/* Pre-tokenizers: patterns that cut a text into pieces within which BPE may merge. Each pattern cuts the pieces of the one before into matches and
 * what lies between them. PCRE2 with Unicode classes, compiled at load time; a match limit bounds what a hostile vocabulary can cost. */
#include "token/subword_internal.h"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define MATCH_LIMIT 50000000u

/* The rules that language models publish in their tokenizer files, by the names that GGUF files give them. */
static const struct {
  const char *names; /* separated and surrounded by blanks */
  const char *pattern[4];
  bool whole_first;
} named[] = {
    {" gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de mpt olmo jais trillion granite-docling exaone4 ", {GPT2}, false},
    {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 ",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     true},
    {" dbrx smaug-bpe chatglm-bpe glm4 ",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     false},
    {" qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan ",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     false},
    {" starcoder refact command-r smollm codeshell exaone minerva-7b ", {"\\p{N}", GPT2}, false},
    {" falcon ", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, false},
    {" deepseek-coder ",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+|\\p{N}"},
     false},
    /* cased letters and letterlike signs, CJK, full-width punctuation, as that vocabulary's own rules list them */
    {" deepseek-llm ",
     {"[\\r\\n]", "\\s?(?:(?![\\x{10a0}-\\x{10ff}\\x{1c90}-\\x{1cbf}])[\\p{Lu}\\p{Ll}\\p{Lt}]|[\\x{10a0}-\\x{10c5}])++",
      "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+|(?<!\\s)\\s++$",
      "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+|\\p{N}+"},
     false},
    {" default ", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false},
};

bool subword_named_patterns(const char *name, struct subword_spec *spec) {
  char want[80];
  int n = snprintf(want, sizeof want, " %s ", name);
  spec->n_patterns = 0;
  for (size_t i = 0; n > 2 && (size_t)n < sizeof want && i < sizeof named / sizeof *named; i++) {
    if (!strstr(named[i].names, want)) continue;
    for (int k = 0; k < 4 && named[i].pattern[k]; k++) spec->patterns[spec->n_patterns++] = named[i].pattern[k];
    spec->whole_first = named[i].whole_first;
    return true;
  }
  spec->patterns[spec->n_patterns++] = GPT2;
  return false;
}

int subword_patterns_compile(struct subword *w, const struct subword_spec *spec, struct error *e) {
  for (int i = 0; i < spec->n_patterns; i++) {
    int code;
    size_t at;
    pcre2_code *p = pcre2_compile((PCRE2_SPTR)spec->patterns[i], PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
    if (!p) return error_set(e, E_INPUT, "pre-tokenizer pattern %d cannot be used (offset %zu)", i, at);
    w->pattern[w->n_patterns++] = p;
    (void)pcre2_jit_compile(p, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
  }
  return OK;
}

struct splitting {
  const struct subword *w;
  pcre2_match_data *data;
  pcre2_match_context *context;
  int (*f)(void *ctx, struct str piece, struct error *e);
  void *ctx;
};

static int split_level(struct splitting *s, int level, struct str text, struct error *e) {
  if (!text.n) return OK;
  if (level == s->w->n_patterns) return s->f(s->ctx, text, e);
  size_t from = 0, at = 0;
  while (at < text.n) {
    int rc = pcre2_match(s->w->pattern[level], (PCRE2_SPTR)text.p, text.n, at, PCRE2_NO_UTF_CHECK, s->data, s->context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) return error_set(e, E_LIMIT, "the vocabulary's pattern takes too long on this text");
    const size_t *span = pcre2_get_ovector_pointer(s->data);
    size_t begin = span[0], end = span[1];
    if (end <= begin) { /* an empty match cuts nothing */
      at = begin + 1;
      while (at < text.n && ((unsigned char)text.p[at] & 0xC0u) == 0x80) at++;
      continue;
    }
    TRY(split_level(s, level + 1, (struct str){text.p + from, begin - from}, e));
    TRY(split_level(s, level + 1, (struct str){text.p + begin, end - begin}, e));
    from = at = end;
  }
  return split_level(s, level + 1, (struct str){text.p + from, text.n - from}, e);
}

int subword_split(const struct subword *w, struct str text, int (*f)(void *ctx, struct str piece, struct error *e), void *ctx,
                  struct error *e) {
  struct splitting s = {w, pcre2_match_data_create(1, NULL), pcre2_match_context_create(NULL), f, ctx};
  int rc = s.data && s.context ? OK : error_set(e, E_NOMEM, "no memory for matching");
  pcre2_jit_stack *stack = pcre2_jit_stack_create(32 << 10, 16 << 20, NULL); /* without it: the library's own 32 KiB */
  if (s.context) pcre2_set_match_limit(s.context, MATCH_LIMIT), pcre2_jit_stack_assign(s.context, NULL, stack);
  if (rc == OK) rc = split_level(&s, 0, text, e);
  pcre2_match_data_free(s.data);
  pcre2_match_context_free(s.context);
  pcre2_jit_stack_free(stack);
  return rc;
}
