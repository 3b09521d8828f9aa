/* A model's files and what they say: shape, tensors by name, template. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "model/lm_internal.h"

static const char *const family_name[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "bert"};
const char *lm_family_name(enum lm_family f) { return family_name[f]; }

/* ---- opening ---- */

static int is_shard(const struct dirent *d) { return d->d_name[0] != '.' && str_ends(str_c(d->d_name), STR(".safetensors")); }
static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* The directory's own files and what is linked there from elsewhere (import --link), by name */
static int open_shards(struct lm_source *s, struct error *e) {
  struct dirent **file;
  char path[4096];
  int n = scandir(s->path, &file, is_shard, by_name), rc = OK;
  if (n < 0) return error_set(e, E_IO, "%s cannot be listed", s->path);
  if (n > LM_SHARDS) rc = error_set(e, E_LIMIT, "more than %d safetensors files", LM_SHARDS);
  for (int i = 0; i < n; i++) {
    if (rc == OK) rc = file_join(path, sizeof path, s->path, file[i]->d_name, e);
    if (rc == OK && (rc = safetensors_open(path, &s->shard[s->shards], e)) == OK) s->shards++;
    free(file[i]);
  }
  free(file);
  if (rc == OK && !s->shards) rc = file_join(path, sizeof path, s->path, "description.json", e);
  if (rc == OK && !s->shards)
    rc = file_exists(path) ? error_set(e, E_USAGE, "another server runs this model; it is asked through vitae serve")
                           : error_set(e, E_NOTFOUND, "neither model.gguf nor a .safetensors file in this directory");
  return rc;
}

int lm_source_open(const char *path, struct lm_source *out, struct error *e) {
  *out = (struct lm_source){0};
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  if (n >= sizeof out->path) return error_set(e, E_LIMIT, "path too long");
  memcpy(out->path, path, n);
  if (!file_exists(out->path)) return error_set(e, E_NOTFOUND, "there is no %s", out->path);
  bool directory = file_is_dir(out->path);
  if (!directory && str_ends(str_c(out->path), STR(".safetensors"))) {
    char *slash = strrchr(out->path, '/');
    if (slash && slash != out->path)
      *slash = 0;
    else
      memcpy(out->path, slash ? "/" : ".", 2);
    directory = true;
  }
  int rc = OK;
  if (directory) {
    char file[4096];
    TRY(file_join(file, sizeof file, out->path, "model.gguf", e));
    if (file_exists(file)) {
      memcpy(out->path, file, strlen(file) + 1);
      directory = false;
    }
  }
  rc = directory ? open_shards(out, e) : gguf_open(out->path, &out->gguf, e);
  if (rc < 0) lm_source_close(out);
  return rc;
}

void lm_source_close(struct lm_source *s) {
  gguf_close(s->gguf);
  for (int i = 0; i < s->shards; i++) safetensors_close(s->shard[i]);
  s->gguf = NULL;
  s->shards = 0;
}

/* ---- shape ---- */

struct number { /* one figure under its two names */
  const char *gguf, *json;
};

struct config {
  const struct gguf *g;
  char arch[32];
  struct json j;
};

static double figure(const struct config *c, const char *gguf, const char *json, double otherwise) {
  double v = otherwise;
  char key[128];
  if (!c->g) return json && json_f64(json_get(c->j, json), &v) ? v : otherwise;
  snprintf(key, sizeof key, "%s.%s", c->arch, gguf);
  return gguf_f64(c->g, key, otherwise);
}

static int count(const struct config *c, const char *gguf, const char *json, double otherwise, int most, int *out, struct error *e) {
  double v = figure(c, gguf, json, otherwise);
  if (!(v >= 1 && v <= most) || v != floor(v)) return error_set(e, E_CORRUPT, "%s is missing or not between 1 and %d", gguf, most);
  *out = (int)v;
  return OK;
}

static int family_of(const struct config *c, enum lm_family *out, struct error *e) {
  const char *a = c->arch;
  static const struct {
    const char *name;
    enum lm_family family;
  } known[] = {{"llama", LM_LLAMA},   {"mistral", LM_LLAMA}, {"qwen2", LM_QWEN2},        {"qwen3", LM_QWEN3},
               {"gemma2", LM_GEMMA2}, {"gemma3", LM_GEMMA3}, {"gemma3_text", LM_GEMMA3}, {"bert", LM_BERT}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i].name, a) == 0) return *out = known[i].family, OK;
  return error_set(e, E_INPUT,
                   "a model of the family \"%.*s\" is not supported (llama, mistral, qwen2, qwen3, gemma2, gemma3 and bert are)", 24, a);
}

/* Frequencies that long-context models scale; what is not known is refused, since it would be computed wrongly without a word. */
static int read_rope(const struct config *c, struct lm_shape *s, struct error *e) {
  s->rope_base = (float)figure(c, "rope.freq_base", "rope_theta", s->family == LM_GEMMA3 ? 1e6 : 1e4);
  s->rope_base_local = (float)figure(c, "rope.freq_base_swa", "rope_local_base_freq", 1e4);
  s->rope_scale = 1;
  if (c->g) {
    char key[128];
    snprintf(key, sizeof key, "%s.rope.scaling.type", c->arch);
    struct str type = gguf_str(c->g, key);
    if (str_eqc(type, "linear")) s->rope_scale = (float)figure(c, "rope.scaling.factor", NULL, 1);
    if (type.n && !str_eqc(type, "linear") && !str_eqc(type, "none"))
      return error_set(e, E_INPUT, "this way of scaling RoPE is not supported");
  } else {
    /* transformers 5 writes base and scaling together, where layers differ for each kind of them; before it they stood apart */
    struct json both = json_get(c->j, "rope_parameters"), full = json_get(both, "full_attention");
    double base;
    if (json_f64(json_get(json_get(both, "sliding_attention"), "rope_theta"), &base)) s->rope_base_local = (float)base;
    if (json_kind(full) == JSON_OBJECT) both = full;
    if (json_f64(json_get(both, "rope_theta"), &base)) s->rope_base = (float)base;
    struct json scaling = json_kind(both) == JSON_OBJECT ? both : json_get(c->j, "rope_scaling"), type = json_get(scaling, "rope_type");
    double v;
    if (json_kind(type) == JSON_NONE) type = json_get(scaling, "type");
    if (str_eqc(json_str(type), "linear") && json_f64(json_get(scaling, "factor"), &v))
      s->rope_scale = (float)v;
    else if (str_eqc(json_str(type), "llama3")) {
      s->llama3_factor = json_f64(json_get(scaling, "factor"), &v) ? (float)v : 8;
      s->llama3_low = json_f64(json_get(scaling, "low_freq_factor"), &v) ? (float)v : 1;
      s->llama3_high = json_f64(json_get(scaling, "high_freq_factor"), &v) ? (float)v : 4;
      s->llama3_context = json_f64(json_get(scaling, "original_max_position_embeddings"), &v) ? (float)v : 8192;
    } else if (json_kind(scaling) == JSON_OBJECT && !str_eqc(json_str(type), "default"))
      return error_set(e, E_INPUT, "this way of scaling RoPE is not supported");
  }
  if (!(s->rope_scale >= 1) || !(s->rope_base > 0) || !(s->rope_base_local > 0))
    return error_set(e, E_CORRUPT, "RoPE's base or scale is no positive number");
  return OK;
}

/* Every layer's kind by name, where the file says it: every so manyth sees all, the others a window. */
static int read_layer_kinds(const struct config *c, struct lm_shape *s, struct error *e) {
  struct json kinds = json_get(c->j, "layer_types");
  struct json_iter it = json_items(kinds);
  struct json kind;
  int n = 0, first = 0;
  while (json_next(&it, &kind)) {
    bool all = str_eqc(json_str(kind), "full_attention");
    n++;
    if (all && !first) first = n;
    if (!all && !str_eqc(json_str(kind), "sliding_attention"))
      return error_set(e, E_INPUT, "a layer of another kind than full_attention and sliding_attention");
    if (first && all != (n % first == 0)) return error_set(e, E_INPUT, "layers that see all do not come at equal distances");
  }
  if (n) s->period = first > 1 ? first : 1;
  if (first == 1) s->window = 0;
  return OK;
}

static int read_window(const struct config *c, struct lm_shape *s, struct error *e) {
  double w = figure(c, "attention.sliding_window", "sliding_window", 0);
  bool uses = true;
  if (!c->g && s->family == LM_QWEN2 && json_bool(json_get(c->j, "use_sliding_window"), &uses) && !uses) w = 0;
  if (!(w >= 0 && w <= 1 << 24)) return error_set(e, E_CORRUPT, "sliding window is no count");
  s->window = s->family == LM_QWEN2 || s->family == LM_QWEN3 ? 0 : (int)w;
  s->period = s->family == LM_GEMMA3 ? 6 : s->family == LM_GEMMA2 ? 2 : 1;
  double period = figure(c, "attention.sliding_window_pattern", "sliding_window_pattern", s->period);
  if (s->family == LM_GEMMA3 && period >= 1 && period <= 64) s->period = (int)period;
  return c->g || !s->window ? OK : read_layer_kinds(c, s, e);
}

/* What config.json says and the engine does not look at otherwise: another function would be computed wrongly without a word. */
static int read_functions(const struct config *c, const struct lm_shape *s, bool gemma, struct error *e) {
  struct str act = json_str(json_get(c->j, gemma ? "hidden_activation" : "hidden_act")),
             places = json_str(json_get(c->j, "position_embedding_type"));
  if (act.n && !str_eqc(act, gemma ? "gelu_pytorch_tanh" : s->family == LM_BERT ? "gelu" : "silu"))
    return error_set(e, E_INPUT, "an MLP with another activation than its family's is not supported");
  return !places.n || str_eqc(places, "absolute")
             ? OK
             : error_set(e, E_INPUT, "positions other than absolute ones are not supported in this family");
}

static int read_family(const struct config *c, struct lm_shape *s, struct error *e) {
  bool gemma = s->family == LM_GEMMA2 || s->family == LM_GEMMA3;
  if (!c->g) TRY(read_functions(c, s, gemma, e));
  s->eps = (float)figure(c, s->family == LM_BERT ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                         s->family == LM_BERT ? "layer_norm_eps" : "rms_norm_eps", gemma ? 1e-6 : 1e-5);
  if (!(s->eps > 0 && s->eps < 1)) return error_set(e, E_CORRUPT, "the norm's epsilon is not between 0 and 1");
  s->embed_scale = gemma ? sqrtf((float)s->width) : 1;
  s->query_scale = 1.0f / sqrtf((float)s->head);
  double scalar = c->g ? 0 : figure(c, "", "query_pre_attn_scalar", 0);
  if (scalar > 0 && gemma) s->query_scale = 1.0f / sqrtf((float)scalar);
  if (c->g && gemma && ((s->family == LM_GEMMA2 && s->layers == 46) || (s->family == LM_GEMMA3 && s->layers == 62)))
    s->query_scale = 1.0f / sqrtf((float)(s->width / s->heads)); /* the 27B sizes; the file does not say it */
  if (s->family == LM_GEMMA2) {
    s->attention_cap = (float)figure(c, "attn_logit_softcapping", "attn_logit_softcapping", 50);
    s->logit_cap = (float)figure(c, "final_logit_softcapping", "final_logit_softcapping", 30);
  }
  s->rope_pairs = c->g && s->family == LM_LLAMA;
  s->gain_plus_one = !c->g && gemma;
  TRY(read_rope(c, s, e));
  return read_window(c, s, e);
}

static int read_shape(const struct config *c, struct lm_shape *s, struct error *e) {
  TRY(family_of(c, &s->family, e));
  TRY(count(c, "block_count", "num_hidden_layers", 0, LM_LAYERS, &s->layers, e));
  TRY(count(c, "embedding_length", "hidden_size", 0, 1 << 16, &s->width, e));
  TRY(count(c, "attention.head_count", "num_attention_heads", 0, 1024, &s->heads, e));
  TRY(count(c, "attention.head_count_kv", "num_key_value_heads", s->heads, 1024, &s->kv_heads, e));
  TRY(count(c, "feed_forward_length", "intermediate_size", 0, 1 << 18, &s->ff, e));
  TRY(count(c, "context_length", "max_position_embeddings", 2048, 1 << 26, &s->context, e));
  TRY(count(c, "attention.key_length", "head_dim", (double)(s->width / s->heads), 1024, &s->head, e));
  if (s->heads % s->kv_heads) return error_set(e, E_CORRUPT, "heads are no multiple of the key heads");
  if (s->head % 2) return error_set(e, E_CORRUPT, "heads of an odd size");
  double value = figure(c, "attention.value_length", NULL, s->head);
  if (value != s->head) return error_set(e, E_INPUT, "values of another size than keys are not supported");
  double rope = figure(c, "rope.dimension_count", NULL, s->head);
  if (rope != s->head && s->family != LM_BERT) return error_set(e, E_INPUT, "RoPE over a part of the head is not supported");
  return read_family(c, s, e);
}

static int shape_json(const struct lm_source *s, struct lm_shape *out, struct error *e) {
  struct config c = {0};
  struct arena a;
  char path[4096];
  TRY(file_join(path, sizeof path, s->path, "config.json", e));
  if (!file_exists(path)) return error_set(e, E_NOTFOUND, "no config.json beside the weights");
  arena_init(&a, 0, 0);
  int rc = json_load(&a, path, &c.j, e);
  if (rc == OK) {
    struct str type = json_str(json_get(c.j, "model_type"));
    if (str_eqc(type, "gemma3") && json_kind(json_get(c.j, "text_config")) == JSON_OBJECT) c.j = json_get(c.j, "text_config");
    snprintf(c.arch, sizeof c.arch, "%.*s", STR_ARG(type));
    rc = read_shape(&c, out, e);
    if (rc < 0) error_where(e, path, 0, NULL);
  }
  arena_free(&a);
  return rc;
}

int lm_shape_read(const struct lm_source *s, struct lm_shape *out, struct error *e) {
  struct lm_tensor embedding;
  *out = (struct lm_shape){0};
  if (s->gguf) {
    struct config c = {.g = s->gguf};
    snprintf(c.arch, sizeof c.arch, "%.*s", STR_ARG(gguf_str(s->gguf, "general.architecture")));
    TRY(read_shape(&c, out, e));
  } else {
    TRY(shape_json(s, out, e));
  }
  TRY(lm_tensor_find(s, out, "token_embd.weight", 0, &embedding, e));
  if (!embedding.data || embedding.rows > 1 << 22 || embedding.columns != (uint64_t)out->width)
    return error_set(e, E_CORRUPT, "token embeddings are missing or of another width");
  out->vocabulary = (uint32_t)embedding.rows;
  return OK;
}

/* ---- tensors ---- */

static const struct {
  const char *gguf, *decoder, *gemma, *encoder; /* %d: layer; NULL: as `decoder`, or absent */
} names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", NULL, "embeddings.word_embeddings.weight"},
    {"output_norm.weight", "model.norm.weight", NULL, NULL},
    {"output.weight", "lm_head.weight", NULL, NULL},
    {"blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL, NULL},
    {"blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", "model.layers.%d.pre_feedforward_layernorm.weight", NULL},
    {"blk.%d.post_attention_norm.weight", NULL, "model.layers.%d.post_attention_layernorm.weight", NULL},
    {"blk.%d.post_ffw_norm.weight", NULL, "model.layers.%d.post_feedforward_layernorm.weight", NULL},
    {"blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", NULL, "encoder.layer.%d.attention.self.query.weight"},
    {"blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", NULL, "encoder.layer.%d.attention.self.key.weight"},
    {"blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", NULL, "encoder.layer.%d.attention.self.value.weight"},
    {"blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", NULL, "encoder.layer.%d.attention.self.query.bias"},
    {"blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", NULL, "encoder.layer.%d.attention.self.key.bias"},
    {"blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", NULL, "encoder.layer.%d.attention.self.value.bias"},
    {"blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", NULL, "encoder.layer.%d.attention.output.dense.weight"},
    {"blk.%d.attn_output.bias", "model.layers.%d.self_attn.o_proj.bias", NULL, "encoder.layer.%d.attention.output.dense.bias"},
    {"blk.%d.attn_q_norm.weight", "model.layers.%d.self_attn.q_norm.weight", NULL, NULL},
    {"blk.%d.attn_k_norm.weight", "model.layers.%d.self_attn.k_norm.weight", NULL, NULL},
    {"blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", NULL, NULL},
    {"blk.%d.ffn_gate.bias", "model.layers.%d.mlp.gate_proj.bias", NULL, NULL},
    {"blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", NULL, "encoder.layer.%d.intermediate.dense.weight"},
    {"blk.%d.ffn_up.bias", "model.layers.%d.mlp.up_proj.bias", NULL, "encoder.layer.%d.intermediate.dense.bias"},
    {"blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", NULL, "encoder.layer.%d.output.dense.weight"},
    {"blk.%d.ffn_down.bias", "model.layers.%d.mlp.down_proj.bias", NULL, "encoder.layer.%d.output.dense.bias"},
    {"blk.%d.attn_output_norm.weight", NULL, NULL, "encoder.layer.%d.attention.output.LayerNorm.weight"},
    {"blk.%d.attn_output_norm.bias", NULL, NULL, "encoder.layer.%d.attention.output.LayerNorm.bias"},
    {"blk.%d.layer_output_norm.weight", NULL, NULL, "encoder.layer.%d.output.LayerNorm.weight"},
    {"blk.%d.layer_output_norm.bias", NULL, NULL, "encoder.layer.%d.output.LayerNorm.bias"},
    {"position_embd.weight", NULL, NULL, "embeddings.position_embeddings.weight"},
    {"token_types.weight", NULL, NULL, "embeddings.token_type_embeddings.weight"},
    {"token_embd_norm.weight", NULL, NULL, "embeddings.LayerNorm.weight"},
    {"token_embd_norm.bias", NULL, NULL, "embeddings.LayerNorm.bias"},
    {"rope_freqs.weight", NULL, NULL, NULL},
};

static const char *foreign_name(const struct lm_shape *shape, const char *name) {
  bool gemma = shape->family == LM_GEMMA2 || shape->family == LM_GEMMA3;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcmp(names[i].gguf, name) != 0) continue;
    if (shape->family == LM_BERT) return names[i].encoder;
    return gemma && names[i].gemma ? names[i].gemma : names[i].decoder;
  }
  BUG("no such tensor in the table: %s", name);
}

static int find_foreign(const struct lm_source *s, const struct lm_shape *shape, const char *name, int layer, struct lm_tensor *out,
                        struct error *e) {
  static const char *const prefix[] = {"", "bert.", "model.", "language_model."};
  const char *format = foreign_name(shape, name);
  char plain[160], full[200];
  const struct safetensors_tensor *t = NULL;
  if (!format) return OK;
  snprintf(plain, sizeof plain, format, layer);
  for (int i = 0; i < s->shards && !t; i++)
    for (size_t p = 0; p < sizeof prefix / sizeof *prefix && !t; p++) {
      snprintf(full, sizeof full, "%s%s", prefix[p], plain);
      t = safetensors_find(s->shard[i], full);
    }
  for (int i = 0; i < s->shards && !t; i++) /* base models are saved without the outer name */
    if (strncmp(plain, "model.", 6) == 0) t = safetensors_find(s->shard[i], plain + 6);
  if (!t) return OK;
  if (t->type != SAFETENSORS_F32 && t->type != SAFETENSORS_F16 && t->type != SAFETENSORS_BF16)
    return error_set(e, E_INPUT, "tensor %s is not F32, F16 or BF16", plain);
  if (t->dims < 1 || t->dims > 2 || !t->count) return error_set(e, E_CORRUPT, "tensor %s is no matrix", plain);
  *out = (struct lm_tensor){t->data,
                            t->type == SAFETENSORS_F32   ? 0
                            : t->type == SAFETENSORS_F16 ? 1
                                                         : 30,
                            t->dims == 2 ? t->shape[0] : 1, t->shape[t->dims - 1], t->bytes};
  return OK;
}

void lm_tensor_name(const char *pattern, int layer, char out[96]) {
  const char *d = strstr(pattern, "%d");
  if (d)
    snprintf(out, 96, "%.*s%d%s", (int)(d - pattern), pattern, layer, d + 2);
  else
    snprintf(out, 96, "%s", pattern);
}

int lm_tensor_find(const struct lm_source *s, const struct lm_shape *shape, const char *name, int layer, struct lm_tensor *out,
                   struct error *e) {
  char full[96];
  *out = (struct lm_tensor){0};
  if (!s->gguf) return find_foreign(s, shape, name, layer, out, e);
  lm_tensor_name(name, layer, full);
  const struct gguf_tensor *t = gguf_find(s->gguf, full);
  if (!t) return OK;
  if (t->dims > 2) return error_set(e, E_CORRUPT, "tensor %s is no matrix", full);
  if (!t->bytes) return error_set(e, E_INPUT, "tensor %s is of block type %u, which is not supported", full, t->type);
  *out = (struct lm_tensor){t->data, t->type, t->shape[1], t->shape[0], t->bytes};
  return OK;
}

/* ---- vocabulary and template ---- */

static int read_beside(const struct lm_source *s, const char *name, struct arena *a, struct str *out, struct error *e) {
  char path[4096];
  *out = STR_NONE;
  TRY(file_join(path, sizeof path, s->path, name, e));
  return file_exists(path) ? file_read(a, path, 256 << 20, out, e) : OK;
}

int lm_vocabulary_open(const struct lm_source *s, struct subword **out, struct error *e) {
  struct arena a;
  struct str text;
  if (s->gguf) return lm_vocabulary_gguf(s->gguf, out, e);
  *out = NULL;
  arena_init(&a, 0, 0);
  int rc = read_beside(s, "tokenizer.json", &a, &text, e);
  if (rc == OK && !text.p) rc = error_set(e, E_NOTFOUND, "no tokenizer.json beside the weights");
  if (rc == OK) rc = subword_json(text.p, text.n, out, e);
  if (rc < 0) error_where(e, s->path, 0, NULL);
  arena_free(&a);
  return rc;
}

/* Python writes whole numbers of any length, as 10^30 for "no limit"; those past 18 digits become the power of ten of their first digit here. */
static void shorten_numbers(char *p, size_t n) {
  bool quoted = false;
  for (size_t i = 0, end; i < n; i++) {
    if (quoted && p[i] == '\\')
      i++;
    else if (p[i] == '"')
      quoted = !quoted;
    for (end = i; !quoted && end < n && p[end] >= '0' && p[end] <= '9'; end++) continue;
    if (end == i) continue;
    bool whole = (i == 0 || p[i - 1] != '.') && (end == n || (p[end] != '.' && p[end] != 'e' && p[end] != 'E'));
    if (whole && end - i > 18) {
      char power[24];
      int k = snprintf(power, sizeof power, "e%zu", end - i - 1);
      memset(p + i + 1, ' ', end - i - 1);
      memcpy(p + i + 1, power, (size_t)k);
    }
    i = end - 1;
  }
}

int lm_template_read(const struct lm_source *s, struct arena *a, struct str *out, struct error *e) {
  struct str text;
  *out = STR_NONE;
  if (s->gguf) return *out = gguf_str(s->gguf, "tokenizer.chat_template"), OK;
  TRY(read_beside(s, "chat_template.jinja", a, out, e));
  if (out->p) return OK;
  TRY(read_beside(s, "tokenizer_config.json", a, &text, e));
  if (!text.p) return OK;
  struct json_parser *parser;
  struct json root;
  TRY(json_parser_new(&parser, e));
  shorten_numbers((char *)(uintptr_t)text.p, text.n); /* the arena's bytes */
  int rc = json_parse(parser, text.p, text.n, text.n, &root, e);
  if (rc == OK) *out = str_copy(a, json_str(json_get(root, "chat_template")));
  json_parser_free(parser);
  return rc;
}
