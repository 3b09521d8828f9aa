/* Presets, and the configuration as JSON. */
#include <math.h>

#include "base/json.h"
#include "model/model_internal.h"
#include "token/token.h"

const double hazard_edge_days[HAZARD_BINS + 1] = {0, 1, 7, 30, 90, 365, 730, 1826, 3652.5};

#define LLAMA .position = POSITION_ROPE_INDEX, .mlp = MLP_SWIGLU, .norm = MODEL_NORM_RMS, .mask = MASK_CAUSAL
#define GPT2 .position = POSITION_NONE, .mlp = MLP_GELU, .norm = MODEL_NORM_LAYER, .mask = MASK_CAUSAL_NO_TIES
static const struct model_config presets[] = {
    {LLAMA, .preset = "tiny", .layers = 3, .d = 96, .heads = 3, .kv_heads = 3, .ff = 256, .context = 512, .hazard_rank = 16},
    {LLAMA, .preset = "small", .layers = 5, .d = 192, .heads = 6, .kv_heads = 6, .ff = 512, .context = 512, .hazard_rank = 32},
    {LLAMA, .preset = "base", .layers = 10, .d = 512, .heads = 8, .kv_heads = 8, .ff = 1408, .context = 1024, .hazard_rank = 64},
    {LLAMA, .preset = "large", .layers = 14, .d = 768, .heads = 12, .kv_heads = 12, .ff = 2048, .context = 2048, .hazard_rank = 64},
    {LLAMA, .preset = "1b", .layers = 16, .d = 2048, .heads = 32, .kv_heads = 8, .ff = 8192, .context = 4096, .hazard_rank = 64},
    {LLAMA, .preset = "7b", .layers = 32, .d = 4096, .heads = 32, .kv_heads = 32, .ff = 11008, .context = 4096, .hazard_rank = 64},
    /* the trunk of Delphi-2M (Shmatko et al. 2025): for comparisons of speed and accuracy at its size */
    {GPT2, .preset = "delphi", .layers = 12, .d = 120, .heads = 12, .kv_heads = 12, .ff = 480, .context = 48, .hazard_rank = 16,
     .tied = true},
};

int model_preset(const char *name, struct model_config *out, struct error *e) {
  for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
    if (str_eqc(str_c(name), presets[i].preset)) {
      *out = presets[i];
      out->pack = PACK_INSTANT;
      out->dropout = presets[i].layers > 5 ? 0.1f : 0.2f; /* small models are for small cohorts */
      out->norm_eps = 1e-5f;
      out->rope_base = 10000.0f;
      out->min_gap_days = 1.0f / 1440.0f;
      out->embed_root = out->tied;
      return OK;
    }
  return error_set(e, E_NOTFOUND, "no such model size; there are tiny, small, base, large, 1b, 7b and delphi");
}

static bool within(int v, int low, int high) { return v >= low && v <= high; }

int model_config_check(const struct model_config *c, struct error *e) {
  bool ok = within(c->layers, 1, 256) && within(c->d, 2, 16384) && within(c->heads, 1, 512) && within(c->kv_heads, 1, c->heads) &&
            c->heads % c->kv_heads == 0 && c->d % c->heads == 0 && within(c->ff, 1, 65536) && within(c->context, 2, 1 << 20) &&
            within(c->window, 0, 1 << 20);
  if (!ok) return error_set(e, E_USAGE, "model shape out of range (layers, d, heads, kv_heads, ff, context or window)");
  if ((c->position == POSITION_ROPE_INDEX || c->position == POSITION_ROPE_TIME) && head_size(c) % 2)
    return error_set(e, E_USAGE, "head size must be even for rotary positions");
  if (c->position > POSITION_LEARNED || c->mlp > MLP_GELU || c->norm > MODEL_NORM_LAYER || c->mask > MASK_FULL ||
      !within(c->pack, PACK_INSTANT, PACK_EVENT))
    return error_set(e, E_USAGE, "unknown position, mlp, norm, mask or pack");
  if (!(c->dropout >= 0 && c->dropout < 1) || !(c->norm_eps > 0 && c->norm_eps < 1) || !(c->rope_base > 1 && c->rope_base < 1e9f) ||
      !(c->min_gap_days > 0 && c->min_gap_days < 1e6f))
    return error_set(e, E_USAGE, "dropout, norm_eps, rope_base or min_gap_days out of range");
  if (!within(c->hazard_rank, 1, 4096) || c->codes < 1 || c->codes > 1u << 24 || c->rows < c->codes || c->rows > 1u << 26 ||
      c->outcomes > 1u << 20)
    return error_set(e, E_USAGE, "hazard_rank, codes, rows or outcomes out of range");
  return OK;
}

static const char *const position_names[] = {"none", "rope_index", "rope_time", "learned"};
static const char *const mlp_names[] = {"swiglu", "gelu"};
static const char *const norm_names[] = {"rms", "layer"};
static const char *const mask_names[] = {"causal", "causal_no_ties", "full"};
static const char *const pack_names[] = {"instant", "event"};

static void write_f32(struct json_out *o, const char *key, float v) {
  json_out_key(o, key);
  json_out_f32(o, v);
}

void model_config_write(const struct model_config *c, struct json_out *o) {
  json_out_object(o);
  json_kv_c(o, "preset", c->preset);
  json_kv_i64(o, "layers", c->layers);
  json_kv_i64(o, "d", c->d);
  json_kv_i64(o, "heads", c->heads);
  json_kv_i64(o, "kv_heads", c->kv_heads);
  json_kv_i64(o, "ff", c->ff);
  json_kv_i64(o, "context", c->context);
  json_kv_i64(o, "window", c->window);
  json_kv_c(o, "position", position_names[c->position]);
  json_kv_c(o, "mlp", mlp_names[c->mlp]);
  json_kv_c(o, "norm", norm_names[c->norm]);
  json_kv_c(o, "mask", mask_names[c->mask]);
  json_kv_c(o, "pack", pack_names[c->pack]);
  json_kv_bool(o, "bias", c->bias);
  json_kv_bool(o, "qk_norm", c->qk_norm);
  json_kv_bool(o, "tied", c->tied);
  json_kv_bool(o, "embed_root", c->embed_root);
  write_f32(o, "dropout", c->dropout);
  write_f32(o, "norm_eps", c->norm_eps);
  write_f32(o, "rope_base", c->rope_base);
  write_f32(o, "min_gap_days", c->min_gap_days);
  json_kv_i64(o, "hazard_rank", c->hazard_rank);
  json_kv_bool(o, "hazard_rates", c->hazard_rates);
  json_kv_i64(o, "codes", c->codes);
  json_kv_i64(o, "rows", c->rows);
  json_kv_i64(o, "outcomes", c->outcomes);
  json_kv_c(o, "vocabulary_hash", c->vocabulary_hash);
  json_out_end(o);
}

struct reading {
  struct json j;
  struct error *e;
  int rc; /* first failure; later reads do nothing */
};

static int64_t read_int(struct reading *r, const char *key, int64_t limit) {
  int64_t v = 0;
  if (r->rc < 0) return 0;
  r->rc = json_want_i64(r->j, key, &v, r->e);
  if (r->rc >= 0 && (v < 0 || v > limit))
    r->rc = error_set(r->e, E_CORRUPT, "model configuration: a number is out of range"), error_where(r->e, NULL, 0, key);
  return r->rc < 0 ? 0 : v;
}

static float read_float(struct reading *r, const char *key) {
  double v = 0;
  if (r->rc >= 0) r->rc = json_want_f64(r->j, key, &v, r->e);
  return (float)v;
}

static bool read_flag(struct reading *r, const char *key) {
  bool v = false;
  if (r->rc >= 0 && !json_bool(json_get(r->j, key), &v))
    r->rc = error_set(r->e, E_CORRUPT, "model configuration: a flag is missing"), error_where(r->e, NULL, 0, key);
  return v;
}

static int read_name(struct reading *r, const char *key, const char *const *names, int n) {
  struct str s;
  if (r->rc >= 0) r->rc = json_want_str(r->j, key, &s, r->e);
  if (r->rc < 0) return 0;
  for (int i = 0; i < n; i++)
    if (str_eqc(s, names[i])) return i;
  r->rc = error_set(r->e, E_CORRUPT, "model configuration: an unknown option");
  error_where(r->e, NULL, 0, key);
  return 0;
}

static void read_text(struct reading *r, const char *key, char *out, size_t size) {
  struct str s;
  if (r->rc >= 0) r->rc = json_want_str(r->j, key, &s, r->e);
  if (r->rc >= 0 && (s.n >= size || memchr(s.p, 0, s.n)))
    r->rc = error_set(r->e, E_CORRUPT, "model configuration: a text is too long"), error_where(r->e, NULL, 0, key);
  if (r->rc >= 0) memcpy(out, s.p, s.n), out[s.n] = 0;
}

int model_config_read(struct json j, struct model_config *c, struct error *e) {
  struct reading r = {j, e, OK};
  *c = (struct model_config){0};
  read_text(&r, "preset", c->preset, sizeof c->preset);
  c->layers = (int)read_int(&r, "layers", 256);
  c->d = (int)read_int(&r, "d", 16384);
  c->heads = (int)read_int(&r, "heads", 512);
  c->kv_heads = (int)read_int(&r, "kv_heads", 512);
  c->ff = (int)read_int(&r, "ff", 65536);
  c->context = (int)read_int(&r, "context", 1 << 20);
  c->window = (int)read_int(&r, "window", 1 << 20);
  c->position = (enum model_position)read_name(&r, "position", position_names, 4);
  c->mlp = (enum model_mlp)read_name(&r, "mlp", mlp_names, 2);
  c->norm = (enum model_norm)read_name(&r, "norm", norm_names, 2);
  c->mask = (enum model_mask)read_name(&r, "mask", mask_names, 3);
  c->pack = read_name(&r, "pack", pack_names, 2);
  c->bias = read_flag(&r, "bias");
  c->qk_norm = read_flag(&r, "qk_norm");
  c->tied = read_flag(&r, "tied");
  if (json_kind(json_get(j, "embed_root")) != JSON_NONE) c->embed_root = read_flag(&r, "embed_root"); /* absent in formats 1 and 2 */
  c->dropout = read_float(&r, "dropout");
  c->norm_eps = read_float(&r, "norm_eps");
  c->rope_base = read_float(&r, "rope_base");
  c->min_gap_days = read_float(&r, "min_gap_days");
  c->hazard_rank = (int)read_int(&r, "hazard_rank", 4096);
  if (json_kind(json_get(j, "hazard_rates")) != JSON_NONE) c->hazard_rates = read_flag(&r, "hazard_rates"); /* absent in format 1 */
  c->codes = (uint32_t)read_int(&r, "codes", 1 << 24);
  c->rows = (uint32_t)read_int(&r, "rows", 1 << 26);
  c->outcomes = (uint32_t)read_int(&r, "outcomes", 1 << 20);
  read_text(&r, "vocabulary_hash", c->vocabulary_hash, sizeof c->vocabulary_hash);
  TRY(r.rc);
  int rc = model_config_check(c, e);
  return rc == E_USAGE ? error_set(e, E_CORRUPT, "model configuration: values that no model can have") : rc;
}
