/* tokenizer.json (Hugging Face tokenizers): model, added tokens, normaliser, pre-tokenizer, template of the edges. What a file asks for beyond the
 * known parts is refused by name instead of being tokenised wrongly. */
#include "base/json.h"
#include "token/subword_internal.h"

struct reading {
  struct arena arena;
  struct subword_spec spec;
  struct str *token;
  uint8_t *type;
  float *score;
  struct json model;
  bool shifts; /* Metaspace or Prepend: one blank before the text */
};

static int refuse(struct error *e, const char *part) {
  return error_set(e, E_INPUT, "tokenizer.json asks for a %s that is not supported", part);
}

static int put_token(struct reading *r, uint64_t id, struct str text, uint8_t type, struct error *e) {
  if (id >= r->spec.n) return error_set(e, E_CORRUPT, "token id outside the vocabulary");
  if (r->token[id].p && !str_eq(r->token[id], text)) return error_set(e, E_CORRUPT, "token id given twice");
  r->token[id] = text;
  if (type != SUBWORD_NORMAL || !r->type[id]) r->type[id] = type;
  return OK;
}

static uint64_t highest_id(struct json vocabulary, struct json added) {
  uint64_t n = 0;
  int64_t v;
  struct str key;
  struct json item;
  struct json_iter it = json_members(vocabulary);
  while (json_next_member(&it, &key, &item))
    if (json_i64(item, &v) && v >= 0 && (uint64_t)v + 1 > n) n = (uint64_t)v + 1;
  it = json_items(added);
  while (json_next(&it, &item))
    if (json_i64(json_get(item, "id"), &v) && v >= 0 && (uint64_t)v + 1 > n) n = (uint64_t)v + 1;
  return n;
}

static int read_tokens(struct reading *r, struct json root, struct error *e) {
  struct json vocabulary = json_get(r->model, "vocab"), added = json_get(root, "added_tokens"), item;
  if (json_kind(vocabulary) != JSON_OBJECT) return refuse(e, "vocabulary");
  uint64_t n = highest_id(vocabulary, added);
  if (!n || n > 1 << 22) return error_set(e, E_CORRUPT, "vocabulary without tokens, or with too many");
  r->spec.n = (uint32_t)n;
  r->token = arena_array(&r->arena, struct str, n);
  r->type = arena_array(&r->arena, uint8_t, n);
  if (!r->token || !r->type) return error_set(e, E_NOMEM, "no memory for a vocabulary");
  struct json_iter it = json_members(vocabulary);
  struct str key;
  int64_t id;
  while (json_next_member(&it, &key, &item)) {
    if (!json_i64(item, &id) || id < 0) return error_set(e, E_CORRUPT, "token id is no count");
    TRY(put_token(r, (uint64_t)id, key, SUBWORD_NORMAL, e));
  }
  it = json_items(added);
  while (json_next(&it, &item)) {
    bool special = false;
    if (!json_i64(json_get(item, "id"), &id) || id < 0) return error_set(e, E_CORRUPT, "added token without an id");
    (void)json_bool(json_get(item, "special"), &special);
    TRY(put_token(r, (uint64_t)id, json_str(json_get(item, "content")), special ? SUBWORD_CONTROL : SUBWORD_USER, e));
  }
  for (uint64_t i = 0; i < n; i++)
    if (!r->type[i]) r->type[i] = SUBWORD_UNUSED, r->token[i] = STR("");
  return OK;
}

static int read_merges(struct reading *r, struct error *e) {
  struct json merges = json_get(r->model, "merges"), item;
  size_t n = json_count(merges);
  struct str *m = arena_array(&r->arena, struct str, n + 1);
  if (!m) return error_set(e, E_NOMEM, "no memory for the merges");
  struct json_iter it = json_items(merges);
  for (size_t i = 0; i < n && json_next(&it, &item); i++) {
    m[i] = json_str(item);
    if (json_kind(item) != JSON_ARRAY) continue;
    struct str a = json_str(json_at(item, 0)), b = json_str(json_at(item, 1));
    char *p = arena_alloc(&r->arena, a.n + b.n + 1, 1);
    if (!p) return error_set(e, E_NOMEM, "no memory for the merges");
    if (a.n) memcpy(p, a.p, a.n);
    p[a.n] = ' ';
    if (b.n) memcpy(p + a.n + 1, b.p, b.n);
    m[i] = (struct str){p, a.n + b.n + 1};
  }
  r->spec.merges = m;
  r->spec.n_merges = n;
  return OK;
}

static int put_pattern(struct reading *r, const char *pattern, struct error *e) {
  if (r->spec.n_patterns == SUBWORD_PATTERNS) return refuse(e, "number of patterns");
  r->spec.patterns[r->spec.n_patterns++] = pattern;
  return OK;
}

static int read_split(struct reading *r, struct json j, struct error *e) {
  struct str regex = json_str(json_get(json_get(j, "pattern"), "Regex")), plain = json_str(json_get(json_get(j, "pattern"), "String"));
  struct str how = json_str(json_get(j, "behavior"));
  if (str_eqc(plain, " ") && str_eqc(how, "MergedWithPrevious")) return OK; /* Gemma: after its normaliser no blank is left */
  if (!regex.n || !str_eqc(how, "Isolated")) return refuse(e, "way of splitting");
  const char *p = arena_strndup(&r->arena, regex.p, regex.n);
  return p ? put_pattern(r, p, e) : error_set(e, E_NOMEM, "no memory for a pattern");
}

static int read_pre(struct reading *r, struct json j, int depth, struct error *e) {
  struct str type = json_str(json_get(j, "type"));
  struct json item;
  bool yes = true;
  if (json_kind(j) != JSON_OBJECT) return OK;
  if (str_eqc(type, "Sequence") && depth < 4) {
    struct json_iter it = json_items(json_get(j, "pretokenizers"));
    while (json_next(&it, &item)) TRY(read_pre(r, item, depth + 1, e));
    return OK;
  }
  if (str_eqc(type, "ByteLevel")) {
    r->spec.byte_level = true;
    if (json_bool(json_get(j, "add_prefix_space"), &yes) && yes) return refuse(e, "blank before the text");
    yes = true;
    (void)json_bool(json_get(j, "use_regex"), &yes);
    struct subword_spec gpt2 = {0};
    return yes && subword_named_patterns("gpt-2", &gpt2) ? put_pattern(r, gpt2.patterns[0], e) : OK;
  }
  if (str_eqc(type, "Digits")) {
    (void)json_bool(json_get(j, "individual_digits"), &yes);
    return put_pattern(r, yes ? "\\p{N}" : "\\p{N}+", e);
  }
  if (str_eqc(type, "Split")) return read_split(r, j, e);
  if (str_eqc(type, "BertPreTokenizer")) return OK; /* WordPiece does it */
  if (str_eqc(type, "Metaspace")) {
    struct str scheme = json_str(json_get(j, "prepend_scheme"));
    r->spec.space_mark = true;
    r->spec.space_prefix = !str_eqc(scheme, "never");
    return OK;
  }
  return refuse(e, "pre-tokenizer");
}

static int read_normaliser(struct reading *r, struct json j, int depth, struct error *e) {
  struct str type = json_str(json_get(j, "type"));
  struct json item;
  if (json_kind(j) != JSON_OBJECT) return OK;
  if (str_eqc(type, "Sequence") && depth < 4) {
    struct json_iter it = json_items(json_get(j, "normalizers"));
    while (json_next(&it, &item)) TRY(read_normaliser(r, item, depth + 1, e));
    return OK;
  }
  if (str_eqc(type, "NFC")) return r->spec.nfc = true, OK;
  if (str_eqc(type, "BertNormalizer")) {
    r->spec.lower = true;
    (void)json_bool(json_get(j, "lowercase"), &r->spec.lower);
    return OK;
  }
  if (str_eqc(type, "Replace") && str_eqc(json_str(json_get(json_get(j, "pattern"), "String")), " ") &&
      str_eqc(json_str(json_get(j, "content")), "\xE2\x96\x81"))
    return r->spec.space_mark = true, OK;
  if (str_eqc(type, "Prepend") && str_eqc(json_str(json_get(j, "prepend")), "\xE2\x96\x81")) return r->spec.space_prefix = true, OK;
  return refuse(e, "normaliser");
}

static uint32_t id_of(const struct reading *r, struct str name) {
  for (uint32_t i = 0; name.n && i < r->spec.n; i++)
    if (str_eq(r->token[i], name)) return i;
  return SUBWORD_NONE;
}

/* TemplateProcessing says what stands before and after a single text. */
static void read_edges(struct reading *r, struct json j) {
  struct json item, part;
  bool after = false;
  if (str_eqc(json_str(json_get(j, "type")), "Sequence")) {
    struct json_iter it = json_items(json_get(j, "processors"));
    while (json_next(&it, &item))
      if (json_count(json_get(item, "single"))) j = item;
  }
  struct json_iter it = json_items(json_get(j, "single"));
  while (json_next(&it, &item)) {
    if (json_kind(json_get(item, "Sequence")) == JSON_OBJECT) after = true;
    part = json_get(item, "SpecialToken");
    if (json_kind(part) != JSON_OBJECT) continue;
    uint32_t id = id_of(r, json_str(json_get(part, "id")));
    if (after)
      r->spec.eos = id, r->spec.add_eos = true;
    else
      r->spec.bos = id, r->spec.add_bos = true;
  }
}

static int read_model(struct reading *r, struct json root, struct error *e) {
  struct str type = json_str(json_get(r->model, "type"));
  bool whole = false;
  r->spec.bos = r->spec.eos = r->spec.unknown = SUBWORD_NONE;
  TRY(read_tokens(r, root, e));
  TRY(read_normaliser(r, json_get(root, "normalizer"), 0, e));
  TRY(read_pre(r, json_get(root, "pre_tokenizer"), 0, e));
  read_edges(r, json_get(root, "post_processor"));
  r->spec.unknown = id_of(r, json_str(json_get(r->model, "unk_token")));
  r->spec.tokens = r->token;
  r->spec.types = r->type;
  if (str_eqc(type, "WordPiece")) {
    r->spec.kind = SUBWORD_WORDPIECE;
    return str_eqc(json_str(json_get(r->model, "continuing_subword_prefix")), "##") ? OK : refuse(e, "continuation mark");
  }
  bool bpe = str_eqc(type, "BPE") || (!type.n && json_kind(json_get(r->model, "merges")) == JSON_ARRAY);
  if (!bpe) return refuse(e, "model");
  r->spec.kind = SUBWORD_BPE;
  (void)json_bool(json_get(r->model, "ignore_merges"), &whole);
  r->spec.whole_first = whole;
  return read_merges(r, e);
}

int subword_json(const char *bytes, size_t n, struct subword **out, struct error *e) {
  struct reading r = {0};
  struct json_parser *parser = NULL;
  struct json root;
  *out = NULL;
  TRY(json_parser_new(&parser, e));
  arena_init(&r.arena, 0, 0);
  int rc = json_parse(parser, bytes, n, n, &root, e);
  if (rc < 0 && rc != E_NOMEM) rc = error_set(e, E_CORRUPT, "tokenizer.json is no JSON");
  if (rc >= 0) r.model = json_get(root, "model"), rc = read_model(&r, root, e);
  if (rc >= 0) rc = subword_new(&r.spec, out, e);
  arena_free(&r.arena);
  json_parser_free(parser);
  return rc;
}
