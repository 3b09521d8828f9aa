#include "model/gguf.h"

#include <stdlib.h>

#include "base/file.h"

#define NAME_LIMIT 1024
#define KEY_LIMIT 65535

/* Block types of the format: elements and bytes of a block. */
static const struct {
  const char *name;
  uint32_t type, elements, bytes;
} types[] = {{"F32", 0, 1, 4},       {"F16", 1, 1, 2},       {"Q4_0", 2, 32, 18},    {"Q4_1", 3, 32, 20},      {"Q5_0", 6, 32, 22},
             {"Q5_1", 7, 32, 24},    {"Q8_0", 8, 32, 34},    {"Q2_K", 10, 256, 84},  {"Q3_K", 11, 256, 110},   {"Q4_K", 12, 256, 144},
             {"Q5_K", 13, 256, 176}, {"Q6_K", 14, 256, 210}, {"IQ4_NL", 20, 32, 18}, {"IQ4_XS", 23, 256, 136}, {"I8", 24, 1, 1},
             {"I16", 25, 1, 2},      {"I32", 26, 1, 4},      {"I64", 27, 1, 8},      {"F64", 28, 1, 8},        {"BF16", 30, 1, 2}};

static const uint8_t kind_size[GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct reader {
  const uint8_t *p;
  size_t n, at;
};

static size_t left(const struct reader *r) { return r->n - r->at; }

static int take(struct reader *r, size_t n, const uint8_t **out, struct error *e) {
  if (n > left(r)) return error_set(e, E_CORRUPT, "the file ends inside its header");
  *out = r->p + r->at;
  r->at += n;
  return OK;
}

static uint64_t little(const uint8_t *p, unsigned n) {
  uint64_t v = 0;
  for (unsigned i = n; i-- > 0;) v = v << 8 | p[i];
  return v;
}

static int take_u(struct reader *r, unsigned n, uint64_t *out, struct error *e) {
  const uint8_t *p = NULL;
  TRY(take(r, n, &p, e));
  *out = little(p, n);
  return OK;
}

static int take_str(struct reader *r, uint64_t limit, struct str *out, struct error *e) {
  uint64_t n;
  const uint8_t *p = NULL;
  TRY(take_u(r, 8, &n, e));
  if (n > limit || n > left(r)) return error_set(e, E_CORRUPT, "string length outside the file or over %llu", (unsigned long long)limit);
  TRY(take(r, (size_t)n, &p, e));
  *out = (struct str){(const char *)p, (size_t)n};
  return OK;
}

static void set_scalar(enum gguf_kind kind, const uint8_t *p, struct gguf_pair *out) {
  union {
    uint32_t u;
    float f;
  } f32;
  union {
    uint64_t u;
    double f;
  } f64;
  uint64_t u = little(p, kind_size[kind]);
  switch (kind) {
    case GGUF_I8: out->v.i = (int8_t)u; break;
    case GGUF_I16: out->v.i = (int16_t)u; break;
    case GGUF_I32: out->v.i = (int32_t)u; break;
    case GGUF_I64: out->v.i = (int64_t)u; break;
    case GGUF_F32: f32.u = (uint32_t)u, out->v.f = (double)f32.f; break;
    case GGUF_F64: f64.u = u, out->v.f = f64.f; break;
    default: out->v.u = u;
  }
}

static int take_array(struct reader *r, struct arena *a, struct gguf_pair *out, struct error *e) {
  uint64_t item;
  TRY(take_u(r, 4, &item, e));
  TRY(take_u(r, 8, &out->n, e));
  if (item >= GGUF_KINDS || item == GGUF_ARRAY) return error_set(e, E_CORRUPT, "array of an unknown kind, or of arrays");
  out->item = (enum gguf_kind)item;
  if (item != GGUF_STRING) {
    if (out->n > left(r) / kind_size[item]) return error_set(e, E_CORRUPT, "array longer than the file");
    return take(r, (size_t)out->n * kind_size[item], &out->raw, e);
  }
  if (out->n > left(r) / 8) return error_set(e, E_CORRUPT, "array longer than the file");
  struct str *texts = arena_array(a, struct str, (size_t)out->n + 1);
  if (!texts) return error_set(e, E_NOMEM, "no memory for an array of strings");
  for (uint64_t i = 0; i < out->n; i++) TRY(take_str(r, UINT32_MAX, &texts[i], e));
  out->texts = texts;
  return OK;
}

static int take_pair(struct reader *r, struct arena *a, struct gguf_pair *out, struct error *e) {
  uint64_t kind;
  TRY(take_str(r, KEY_LIMIT, &out->key, e));
  if (!out->key.n || !str_utf8_valid(out->key)) return error_set(e, E_CORRUPT, "key that is empty or no UTF-8");
  TRY(take_u(r, 4, &kind, e));
  if (kind >= GGUF_KINDS) return error_set(e, E_CORRUPT, "value of an unknown kind");
  out->kind = (enum gguf_kind)kind;
  if (kind == GGUF_STRING) return take_str(r, UINT32_MAX, &out->text, e);
  if (kind == GGUF_ARRAY) return take_array(r, a, out, e);
  const uint8_t *p = NULL;
  TRY(take(r, kind_size[kind], &p, e));
  if (kind == GGUF_BOOL && *p > 1) return error_set(e, E_CORRUPT, "truth value that is neither 0 nor 1");
  set_scalar(out->kind, p, out);
  return OK;
}

static int take_tensor(struct reader *r, struct gguf_tensor *t, struct error *e) {
  uint64_t v;
  TRY(take_str(r, NAME_LIMIT, &t->name, e));
  if (!t->name.n || !str_utf8_valid(t->name)) return error_set(e, E_CORRUPT, "tensor name that is empty or no UTF-8");
  TRY(take_u(r, 4, &v, e));
  if (v == 0 || v > GGUF_DIMS) return error_set(e, E_CORRUPT, "tensor with no or too many dimensions");
  t->dims = (int)v;
  t->count = 1;
  for (int i = 0; i < GGUF_DIMS; i++) t->shape[i] = 1;
  for (int i = 0; i < t->dims; i++) {
    TRY(take_u(r, 8, &t->shape[i], e));
    if (t->shape[i] == 0 || __builtin_mul_overflow(t->count, t->shape[i], &t->count) || t->count > (uint64_t)1 << 48)
      return error_set(e, E_CORRUPT, "tensor dimension that is zero or overflows");
  }
  TRY(take_u(r, 4, &v, e));
  t->type = (uint32_t)v;
  TRY(take_u(r, 8, &t->offset, e));
  t->bytes = gguf_type_bytes(t->type, t->shape[0], t->count);
  return gguf_type_name(t->type) && !t->bytes ? error_set(e, E_CORRUPT, "tensor row that is no whole number of blocks") : OK;
}

static int pair_order(const void *x, const void *y) {
  return str_cmp(((const struct gguf_pair *)x)->key, ((const struct gguf_pair *)y)->key);
}
static int name_order(const void *x, const void *y) {
  return str_cmp(((const struct gguf_tensor *)x)->name, ((const struct gguf_tensor *)y)->name);
}
static int place_order(const void *x, const void *y) {
  const struct gguf_tensor *a = x, *b = y;
  return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int place_tensors(struct gguf *g, struct reader *r, struct error *e) {
  uint64_t start = ((uint64_t)r->at + g->alignment - 1) / g->alignment * g->alignment, end = 0;
  if (g->tensors && start > r->n) return error_set(e, E_CORRUPT, "the file ends before its tensors");
  uint64_t data_n = start > r->n ? 0 : r->n - start;
  qsort(g->tensor, g->tensors, sizeof *g->tensor, place_order);
  for (size_t i = 0; i < g->tensors; i++) {
    struct gguf_tensor *t = &g->tensor[i];
    if (t->offset % g->alignment) return error_set(e, E_CORRUPT, "tensor that is not aligned");
    if (t->offset < end) return error_set(e, E_CORRUPT, "tensors overlap");
    if (t->offset > data_n || t->bytes > data_n - t->offset) return error_set(e, E_CORRUPT, "tensor outside the file");
    end = t->offset + t->bytes;
    t->data = r->p + start + t->offset;
  }
  qsort(g->tensor, g->tensors, sizeof *g->tensor, name_order);
  for (size_t i = 1; i < g->tensors; i++)
    if (str_eq(g->tensor[i - 1].name, g->tensor[i].name)) return error_set(e, E_CORRUPT, "tensor name given twice");
  return OK;
}

bool gguf_magic(const uint8_t *bytes, size_t n) { return n >= 4 && memcmp(bytes, "GGUF", 4) == 0; }

static int take_head(struct reader *r, struct gguf *g, struct error *e) {
  uint64_t v, tensors, pairs;
  if (!gguf_magic(r->p, r->n)) return error_set(e, E_CORRUPT, "not a GGUF file");
  r->at = 4;
  TRY(take_u(r, 4, &v, e));
  g->version = (uint32_t)v;
  if (v != 2 && v != 3) return error_set(e, v > 3 && v < 256 ? E_VERSION : E_CORRUPT, "GGUF version that is neither 2 nor 3");
  TRY(take_u(r, 8, &tensors, e));
  TRY(take_u(r, 8, &pairs, e));
  /* the shortest pair takes 14 bytes, the shortest tensor 33 */
  if (tensors > left(r) / 33 || pairs > left(r) / 14) return error_set(e, E_CORRUPT, "more entries than the file has room for");
  g->tensors = (size_t)tensors;
  g->pairs = (size_t)pairs;
  return OK;
}

int gguf_parse(const uint8_t *bytes, size_t n, struct arena *a, struct gguf *out, struct error *e) {
  struct reader r = {bytes, n, 0};
  struct gguf g = {.file_bytes = n};
  *out = (struct gguf){0};
  TRY(take_head(&r, &g, e));
  g.pair = arena_array(a, struct gguf_pair, g.pairs + 1);
  g.tensor = arena_array(a, struct gguf_tensor, g.tensors + 1);
  if (!g.pair || !g.tensor) return error_set(e, E_NOMEM, "no memory for the tables");
  for (size_t i = 0; i < g.pairs; i++) TRY(take_pair(&r, a, &g.pair[i], e));
  qsort(g.pair, g.pairs, sizeof *g.pair, pair_order);
  for (size_t i = 1; i < g.pairs; i++)
    if (str_eq(g.pair[i - 1].key, g.pair[i].key)) return error_set(e, E_CORRUPT, "key given twice");
  g.alignment = gguf_u64(&g, "general.alignment", 32);
  if (g.alignment < 8 || g.alignment > 1 << 20 || (g.alignment & (g.alignment - 1)))
    return error_set(e, E_CORRUPT, "alignment that is no power of two");
  for (size_t i = 0; i < g.tensors; i++) TRY(take_tensor(&r, &g.tensor[i], e));
  TRY(place_tensors(&g, &r, e));
  *out = g;
  return OK;
}

struct open_file {
  struct gguf g; /* first: the caller's pointer */
  struct file_map map;
  struct arena arena;
};

int gguf_open(const char *path, struct gguf **out, struct error *e) {
  *out = NULL;
  struct open_file *f = mem_alloc(sizeof *f);
  if (!f) return error_set(e, E_NOMEM, "no memory for a model file");
  *f = (struct open_file){0};
  arena_init(&f->arena, 0, 0);
  int rc = file_map_open(path, &f->map, e);
  if (rc >= 0) rc = gguf_parse(f->map.p, f->map.n, &f->arena, &f->g, e);
  if (rc < 0) {
    gguf_close(&f->g);
    return error_where(e, path, 0, NULL), rc;
  }
  *out = &f->g;
  return OK;
}

void gguf_close(struct gguf *g) {
  if (!g) return;
  struct open_file *f = (struct open_file *)(void *)g;
  file_map_close(&f->map);
  arena_free(&f->arena);
  mem_free(f);
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name) {
  struct gguf_tensor key = {.name = str_c(name)};
  return g->tensors ? bsearch(&key, g->tensor, g->tensors, sizeof *g->tensor, name_order) : NULL;
}

const struct gguf_pair *gguf_get(const struct gguf *g, const char *key) {
  struct gguf_pair want = {.key = str_c(key)};
  return g->pairs ? bsearch(&want, g->pair, g->pairs, sizeof *g->pair, pair_order) : NULL;
}

struct str gguf_str(const struct gguf *g, const char *key) {
  const struct gguf_pair *p = gguf_get(g, key);
  return p && p->kind == GGUF_STRING ? p->text : STR_NONE;
}

static bool is_signed(enum gguf_kind k) { return k == GGUF_I8 || k == GGUF_I16 || k == GGUF_I32 || k == GGUF_I64; }

uint64_t gguf_u64(const struct gguf *g, const char *key, uint64_t otherwise) {
  const struct gguf_pair *p = gguf_get(g, key);
  if (!p || p->kind == GGUF_STRING || p->kind == GGUF_ARRAY || p->kind == GGUF_F32 || p->kind == GGUF_F64) return otherwise;
  if (is_signed(p->kind)) return p->v.i >= 0 ? (uint64_t)p->v.i : otherwise;
  return p->v.u;
}

double gguf_f64(const struct gguf *g, const char *key, double otherwise) {
  const struct gguf_pair *p = gguf_get(g, key);
  if (!p || p->kind == GGUF_STRING || p->kind == GGUF_ARRAY) return otherwise;
  if (p->kind == GGUF_F32 || p->kind == GGUF_F64) return p->v.f;
  return is_signed(p->kind) ? (double)p->v.i : (double)p->v.u;
}

bool gguf_bool(const struct gguf *g, const char *key, bool otherwise) {
  const struct gguf_pair *p = gguf_get(g, key);
  return p && p->kind == GGUF_BOOL ? p->v.u != 0 : otherwise;
}

double gguf_item(const struct gguf_pair *p, uint64_t i) {
  struct gguf_pair one = {.kind = p->item};
  BUG_IF(p->kind != GGUF_ARRAY || p->item == GGUF_STRING || i >= p->n);
  set_scalar(p->item, p->raw + i * kind_size[p->item], &one);
  if (p->item == GGUF_F32 || p->item == GGUF_F64) return one.v.f;
  return is_signed(p->item) ? (double)one.v.i : (double)one.v.u;
}

uint64_t gguf_type_bytes(uint32_t type, uint64_t columns, uint64_t count) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].type == type) return columns % types[i].elements ? 0 : count / types[i].elements * types[i].bytes;
  return 0;
}

const char *gguf_type_name(uint32_t type) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].type == type) return types[i].name;
  return NULL;
}
