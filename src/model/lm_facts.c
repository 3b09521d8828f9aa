/* What is in a model file, for people and for `vitae verify`. */
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/lm_internal.h"

struct tally {
  uint32_t type;
  int n;
};

static void add_type(struct tally t[32], uint32_t type) {
  for (int i = 0; i < 32; i++)
    if (!t[i].n || t[i].type == type) {
      t[i].type = type;
      t[i].n++;
      return;
    }
}

static void write_types(struct tally t[32], char *out, size_t size) {
  size_t at = 0;
  *out = 0;
  for (int i = 0; i < 32 && t[i].n && at < size; i++) {
    const char *name = gguf_type_name(t[i].type);
    char number[24];
    snprintf(number, sizeof number, "type %u", t[i].type);
    at += (size_t)snprintf(out + at, size - at, "%s%s %d", i ? ", " : "", name ? name : number, t[i].n);
  }
}

static void count_tensors(const struct lm_source *s, struct lm_facts *f) {
  struct tally tally[32] = {{0, 0}};
  for (size_t i = 0; s->gguf && i < s->gguf->tensors; i++) {
    add_type(tally, s->gguf->tensor[i].type);
    f->parameters += s->gguf->tensor[i].count;
    f->bytes += s->gguf->tensor[i].bytes;
  }
  for (int k = 0; k < s->shards; k++)
    for (size_t i = 0; i < s->shard[k]->n; i++) {
      const struct safetensors_tensor *t = &s->shard[k]->tensor[i];
      add_type(tally, t->type == SAFETENSORS_F32 ? 0 : t->type == SAFETENSORS_F16 ? 1 : t->type == SAFETENSORS_BF16 ? 30 : 27);
      f->parameters += t->count;
      f->bytes += t->bytes;
    }
  write_types(tally, f->types, sizeof f->types);
}

static void copy_text(char *out, size_t size, struct str s) {
  size_t n = 0;
  for (size_t i = 0; i < s.n && n + 1 < size; i++)
    if ((unsigned char)s.p[i] >= 32 && (unsigned char)s.p[i] < 127) out[n++] = s.p[i];
  out[n] = 0;
}

int lm_inspect(const char *path, struct lm_facts *out, struct error *e) {
  struct lm_source s;
  struct lm_shape shape;
  *out = (struct lm_facts){0};
  int rc = lm_source_open(path, &s, e);
  if (rc == OK) rc = lm_shape_read(&s, &shape, e);
  if (rc == OK) {
    snprintf(out->format, sizeof out->format, "%s", s.gguf ? "GGUF" : "safetensors");
    snprintf(out->family, sizeof out->family, "%s", lm_family_name(shape.family));
    if (s.gguf) copy_text(out->name, sizeof out->name, gguf_str(s.gguf, "general.name"));
    if (s.gguf) copy_text(out->licence, sizeof out->licence, gguf_str(s.gguf, "general.license"));
    out->layers = shape.layers, out->width = shape.width, out->heads = shape.heads, out->kv_heads = shape.kv_heads, out->head = shape.head;
    out->ff = shape.ff, out->context = shape.context, out->vocabulary = shape.vocabulary, out->encoder = shape.family == LM_BERT;
    out->floats = lm_keeps_floats(&s, &shape);
    out->position_bytes =
        shape.family == LM_BERT ? 0 : 2u * (uint64_t)shape.layers * (uint64_t)(shape.kv_heads * shape.head) * (out->floats ? 4 : 2);
    count_tensors(&s, out);
    struct arena a;
    struct str text;
    arena_init(&a, 0, 0);
    rc = lm_template_read(&s, &a, &text, e);
    if (rc == OK) lm_chat_recognise(text, out->chat);
    arena_free(&a);
  }
  lm_source_close(&s);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}

void lm_facts_format(const struct lm_facts *f, char *out, size_t size) {
  char memory[128] = "";
  if (f->position_bytes)
    snprintf(memory, sizeof memory, "memory      %.1f KB a token of each stream: keys and values in %d bits\n",
             (double)f->position_bytes / 1e3, f->floats ? 32 : 16);
  snprintf(out, size,
           "format      %s, %.1f MB of tensors (%s)\nfamily      %s%s%s%s\nshape       %d layers, width %d, %d heads of %d (%d for keys), "
           "MLP %d\n"
           "parameters  %.1f M\ncontext     %d tokens\n%svocabulary  %u tokens\nchat        %s\nlicence     %s\n",
           f->format, (double)f->bytes / 1e6, f->types, f->family, f->name[0] ? ", \"" : "", f->name, f->name[0] ? "\"" : "", f->layers,
           f->width, f->heads, f->head, f->kv_heads, f->ff, (double)f->parameters / 1e6, f->context, memory, f->vocabulary,
           f->chat[0] ? f->chat : "no template", f->licence[0] ? f->licence : "the file does not say");
}

/* ---- verifying ---- */

static bool computes(uint32_t type) {
  static const uint32_t known[] = {0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i] == type) return true;
  return false;
}

static int check(const struct lm_source *s, const struct lm_shape *m, const char *name, int layer, int rows, int columns, bool needed,
                 struct error *e) {
  struct lm_tensor t;
  char full[96];
  lm_tensor_name(name, layer, full);
  TRY(lm_tensor_find(s, m, name, layer, &t, e));
  if (!t.data && !needed) return OK;
  if (!t.data) return error_set(e, E_CORRUPT, "tensor %s is missing", full);
  if (t.rows != (uint64_t)rows || t.columns != (uint64_t)columns)
    return error_set(e, E_CORRUPT, "tensor %s is %llu x %llu instead of %d x %d", full, (unsigned long long)t.rows,
                     (unsigned long long)t.columns, rows, columns);
  if (!computes(t.type))
    return error_set(e, E_INPUT, "tensor %s is of block type %s, which is not supported", full, gguf_type_name(t.type));
  return OK;
}
static int want(const struct lm_source *s, const struct lm_shape *m, const char *name, int layer, int rows, int columns, struct error *e) {
  return check(s, m, name, layer, rows, columns, true, e);
}

/* The matrices of a layer, W (rows, columns), and the bias that may be there */
static const struct {
  const char *weight, *bias;
  enum { TO_Q, TO_KV, FROM_Q, TO_FF, FROM_FF } form;
} matrices[] = {{"blk.%d.attn_q.weight", "blk.%d.attn_q.bias", TO_Q},     {"blk.%d.attn_k.weight", "blk.%d.attn_k.bias", TO_KV},
                {"blk.%d.attn_v.weight", "blk.%d.attn_v.bias", TO_KV},    {"blk.%d.attn_output.weight", "blk.%d.attn_output.bias", FROM_Q},
                {"blk.%d.ffn_up.weight", "blk.%d.ffn_up.bias", TO_FF},    {"blk.%d.ffn_down.weight", "blk.%d.ffn_down.bias", FROM_FF},
                {"blk.%d.ffn_gate.weight", "blk.%d.ffn_gate.bias", TO_FF}}; /* the last: not an encoder's */
static int matrices_of(const struct lm_shape *m) { return m->family == LM_BERT ? 6 : 7; }

static int check_layer(const struct lm_source *s, const struct lm_shape *m, int l, struct error *e) {
  static const char *const encoder[] = {"blk.%d.attn_output_norm.weight", "blk.%d.attn_output_norm.bias", "blk.%d.layer_output_norm.weight",
                                        "blk.%d.layer_output_norm.bias"};
  int q = m->heads * m->head, kv = m->kv_heads * m->head, c = m->width;
  for (int i = 0; i < matrices_of(m); i++) {
    int rows = (int[]){q, kv, c, m->ff, c}[matrices[i].form], columns = (int[]){c, c, q, c, m->ff}[matrices[i].form];
    TRY(want(s, m, matrices[i].weight, l, rows, columns, e));
    TRY(check(s, m, matrices[i].bias, l, 1, rows, false, e));
  }
  for (int i = 0; i < 4 && m->family == LM_BERT; i++) TRY(want(s, m, encoder[i], l, 1, c, e));
  if (m->family == LM_BERT) return OK;
  TRY(want(s, m, "blk.%d.attn_norm.weight", l, 1, c, e));
  TRY(want(s, m, "blk.%d.ffn_norm.weight", l, 1, c, e));
  if (m->family == LM_GEMMA2 || m->family == LM_GEMMA3) {
    TRY(want(s, m, "blk.%d.post_attention_norm.weight", l, 1, c, e));
    TRY(want(s, m, "blk.%d.post_ffw_norm.weight", l, 1, c, e));
  }
  if (m->family != LM_QWEN3 && m->family != LM_GEMMA3) return OK;
  TRY(want(s, m, "blk.%d.attn_q_norm.weight", l, 1, m->head, e));
  return want(s, m, "blk.%d.attn_k_norm.weight", l, 1, m->head, e);
}

int lm_tensors_check(const struct lm_source *s, const struct lm_shape *m, struct error *e) {
  struct lm_tensor t;
  TRY(want(s, m, "token_embd.weight", 0, (int)m->vocabulary, m->width, e));
  for (int l = 0; l < m->layers; l++) TRY(check_layer(s, m, l, e));
  if (m->family == LM_BERT) {
    TRY(want(s, m, "token_embd_norm.weight", 0, 1, m->width, e));
    TRY(want(s, m, "token_embd_norm.bias", 0, 1, m->width, e));
    TRY(lm_tensor_find(s, m, "position_embd.weight", 0, &t, e));
    if (!t.data || t.rows < (uint64_t)m->context || t.rows > INT32_MAX)
      return error_set(e, E_CORRUPT, "fewer position embeddings than the context is long");
    TRY(want(s, m, "position_embd.weight", 0, (int)t.rows, m->width, e));
    TRY(lm_tensor_find(s, m, "token_types.weight", 0, &t, e));
    return t.data ? want(s, m, "token_types.weight", 0, t.rows < INT32_MAX ? (int)t.rows : 0, m->width, e) : OK;
  }
  TRY(check(s, m, "output.weight", 0, (int)m->vocabulary, m->width, false, e));
  TRY(lm_tensor_find(s, m, "rope_freqs.weight", 0, &t, e));
  if (t.data && (t.rows != 1 || t.columns != (uint64_t)(m->head / 2) || t.type != QUANT_F32))
    return error_set(e, E_CORRUPT, "tensor rope_freqs.weight is not %d floats", m->head / 2);
  return want(s, m, "output_norm.weight", 0, 1, m->width, e);
}

int lm_vocabulary_fits(const struct subword *w, const struct lm_shape *m, struct error *e) {
  return subword_count(w) <= m->vocabulary ? OK : error_set(e, E_MISMATCH, "the vocabulary has more tokens than the model has embeddings");
}

static bool is_float(const struct lm_source *s, const struct lm_shape *m, const char *name, int layer, bool otherwise) {
  struct lm_tensor t;
  if (lm_tensor_find(s, m, name, layer, &t, NULL) < 0) return false;
  return t.data ? t.type == QUANT_F32 || t.type == QUANT_F16 || t.type == QUANT_BF16 : otherwise;
}

bool lm_keeps_floats(const struct lm_source *s, const struct lm_shape *m) {
  bool all = m->family != LM_BERT && is_float(s, m, "output.weight", 0, is_float(s, m, "token_embd.weight", 0, false));
  for (int l = 0; l < m->layers && all; l++)
    for (int i = 0; i < matrices_of(m); i++) all = all && is_float(s, m, matrices[i].weight, l, false);
  return all;
}

/* Hashes that `vitae import` wrote beside the files. */
static int verify_files(const char *directory, struct json root, struct error *e) {
  struct json_iter it = json_items(json_get(root, "files"));
  struct json item;
  while (json_next(&it, &item)) {
    char path[4096], hex[65], name[256];
    uint8_t hash[32];
    struct str file = json_str(json_get(item, "file"));
    snprintf(name, sizeof name, "%.*s", STR_ARG(file));
    if (strstr(name, "..") || name[0] == '/') return error_set(e, E_CORRUPT, "description.json names a file outside its directory");
    TRY(file_join(path, sizeof path, directory, name, e));
    TRY(sha256_file(path, hash, e));
    hash_hex(hash, 32, hex);
    if (!str_eqc(json_str(json_get(item, "sha256")), hex))
      return error_set(e, E_CORRUPT, "%s is not what was imported (its SHA-256 differs)", name);
  }
  return OK;
}

int lm_verify(const char *path, struct error *e) {
  struct lm_source s;
  struct subword *w = NULL;
  struct arena a;
  struct json root;
  char description[4096];
  arena_init(&a, 0, 0);
  int rc = file_join(description, sizeof description, path, "description.json", e);
  if (rc == OK && file_exists(description)) {
    rc = json_load(&a, description, &root, e);
    if (rc == OK) rc = verify_files(path, root, e);
  }
  arena_free(&a);
  if (rc < 0) return error_where(e, path, 0, NULL), rc;
  struct lm_shape shape;
  rc = lm_source_open(path, &s, e);
  if (rc == OK) rc = lm_shape_read(&s, &shape, e);
  if (rc == OK) rc = lm_tensors_check(&s, &shape, e);
  if (rc == OK) rc = lm_vocabulary_open(&s, &w, e);
  if (rc == OK) rc = lm_vocabulary_fits(w, &shape, e);
  subword_free(w);
  lm_source_close(&s);
  if (rc < 0) error_where(e, path, 0, NULL);
  return rc;
}
