#include "model/safetensors.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"

static const struct {
  const char *name;
  enum safetensors_type type;
  unsigned size;
} types[] = {{"F64", SAFETENSORS_F64, 8}, {"F32", SAFETENSORS_F32, 4},  {"F16", SAFETENSORS_F16, 2}, {"BF16", SAFETENSORS_BF16, 2},
             {"I64", SAFETENSORS_I64, 8}, {"I32", SAFETENSORS_I32, 4},  {"I16", SAFETENSORS_I16, 2}, {"I8", SAFETENSORS_I8, 1},
             {"U8", SAFETENSORS_U8, 1},   {"BOOL", SAFETENSORS_BOOL, 1}};

static int by_name(const void *x, const void *y) {
  return str_cmp(((const struct safetensors_tensor *)x)->name, ((const struct safetensors_tensor *)y)->name);
}

static int by_begin(const void *x, const void *y) {
  const struct safetensors_tensor *a = x, *b = y;
  if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
  return a->bytes < b->bytes ? -1 : a->bytes > b->bytes; /* empty tensors first: they may share an offset */
}

static int read_type(struct json j, struct safetensors_tensor *t, unsigned *size, struct error *e) {
  struct str name = json_str(json_get(j, "dtype"));
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (str_eqc(name, types[i].name)) {
      t->type = types[i].type;
      *size = types[i].size;
      return OK;
    }
  return error_set(e, E_CORRUPT, "tensor with an unknown data type");
}

static int read_shape(struct json j, struct safetensors_tensor *t, struct error *e) {
  struct json shape = json_get(j, "shape"), item;
  if (json_kind(shape) != JSON_ARRAY || json_count(shape) > SAFETENSORS_DIMS)
    return error_set(e, E_CORRUPT, "tensor without a usable shape");
  struct json_iter it = json_items(shape);
  t->count = 1;
  while (json_next(&it, &item)) {
    int64_t v;
    if (!json_i64(item, &v) || v < 0) return error_set(e, E_CORRUPT, "tensor dimension is no count");
    t->shape[t->dims++] = (uint64_t)v;
    if (__builtin_mul_overflow(t->count, (uint64_t)v, &t->count)) return error_set(e, E_CORRUPT, "tensor shape overflows");
  }
  return OK;
}

static int read_tensor(struct json j, const uint8_t *data, uint64_t data_n, struct safetensors_tensor *t, struct error *e) {
  unsigned size = 0;
  int64_t begin, end;
  if (json_kind(j) != JSON_OBJECT) return error_set(e, E_CORRUPT, "tensor entry is no object");
  TRY(read_type(j, t, &size, e));
  TRY(read_shape(j, t, e));
  struct json offsets = json_get(j, "data_offsets");
  if (json_kind(offsets) != JSON_ARRAY || json_count(offsets) != 2 || !json_i64(json_at(offsets, 0), &begin) ||
      !json_i64(json_at(offsets, 1), &end))
    return error_set(e, E_CORRUPT, "tensor without data offsets");
  if (begin < 0 || end < begin || (uint64_t)end > data_n) return error_set(e, E_CORRUPT, "tensor data outside the file");
  t->begin = (uint64_t)begin;
  t->bytes = (uint64_t)(end - begin);
  uint64_t want;
  if (__builtin_mul_overflow(t->count, (uint64_t)size, &want) || want != t->bytes)
    return error_set(e, E_CORRUPT, "tensor size does not fit its shape");
  t->data = data + begin;
  return OK;
}

static int read_metadata(struct json j, struct arena *a, struct safetensors *out, struct error *e) {
  if (json_kind(j) != JSON_OBJECT) return error_set(e, E_CORRUPT, "metadata is no object");
  if (out->metadata) return error_set(e, E_CORRUPT, "metadata given twice");
  size_t n = json_count(j);
  out->metadata = arena_array(a, struct safetensors_pair, n + 1);
  if (!out->metadata) return error_set(e, E_NOMEM, "no memory for the metadata");
  struct json_iter it = json_members(j);
  struct str key;
  struct json v;
  while (out->n_metadata < n && json_next_member(&it, &key, &v)) {
    struct safetensors_pair *p = &out->metadata[out->n_metadata++];
    if (json_kind(v) != JSON_STRING) return error_set(e, E_CORRUPT, "metadata value is no string");
    p->key = str_copy(a, key);
    p->value = str_copy(a, json_str(v));
    if ((key.n && !p->key.p) || (json_str(v).n && !p->value.p)) return error_set(e, E_NOMEM, "no memory for the metadata");
  }
  return OK;
}

/* Every byte of the data belongs to exactly one tensor; no name twice. Leaves the table sorted by name. */
static int check_layout(struct safetensors *s, uint64_t data_n, struct error *e) {
  uint64_t at = 0;
  qsort(s->tensor, s->n, sizeof *s->tensor, by_begin);
  for (size_t i = 0; i < s->n; i++) {
    if (s->tensor[i].begin != at) return error_set(e, E_CORRUPT, "tensors overlap or leave holes");
    at += s->tensor[i].bytes;
  }
  if (at != data_n) return error_set(e, E_CORRUPT, "bytes that belong to no tensor");
  qsort(s->tensor, s->n, sizeof *s->tensor, by_name);
  for (size_t i = 1; i < s->n; i++)
    if (str_eq(s->tensor[i - 1].name, s->tensor[i].name)) return error_set(e, E_CORRUPT, "tensor name given twice");
  return OK;
}

static int parse_header(struct json root, const uint8_t *data, uint64_t data_n, struct arena *a, struct safetensors *out, struct error *e) {
  if (json_kind(root) != JSON_OBJECT) return error_set(e, E_CORRUPT, "header is no object");
  size_t n = json_count(root);
  out->tensor = arena_array(a, struct safetensors_tensor, n + 1);
  if (!out->tensor) return error_set(e, E_NOMEM, "no memory for the tensor table");
  struct json_iter it = json_members(root);
  struct str key;
  struct json v;
  while (json_next_member(&it, &key, &v)) {
    if (str_eqc(key, "__metadata__")) {
      TRY(read_metadata(v, a, out, e));
      continue;
    }
    if (out->n >= n) return error_set(e, E_CORRUPT, "header changes its size");
    struct safetensors_tensor *t = &out->tensor[out->n++];
    t->name = str_copy(a, key);
    if (key.n && !t->name.p) return error_set(e, E_NOMEM, "no memory for the tensor table");
    TRY(read_tensor(v, data, data_n, t, e));
  }
  return check_layout(out, data_n, e);
}

int safetensors_parse(const uint8_t *bytes, size_t n, struct arena *a, struct safetensors *out, struct error *e) {
  *out = (struct safetensors){0};
  if (n < 8) return error_set(e, E_CORRUPT, "file shorter than its header");
  uint64_t length = 0;
  for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
  if (length > n - 8 || length > SAFETENSORS_HEADER_LIMIT) return error_set(e, E_CORRUPT, "header length outside the file");
  struct json_parser *parser = NULL;
  TRY(json_parser_new(&parser, e));
  struct json root;
  int rc = json_parse(parser, (const char *)bytes + 8, (size_t)length, n - 8, &root, e);
  if (rc < 0 && rc != E_NOMEM) rc = error_set(e, E_CORRUPT, "header is no JSON");
  if (rc >= 0) rc = parse_header(root, bytes + 8 + length, n - 8 - length, a, out, e);
  json_parser_free(parser);
  return rc;
}

struct open_file {
  struct safetensors s; /* first: the caller's pointer */
  struct file_map map;
  struct arena arena;
};

int safetensors_open(const char *path, struct safetensors **out, struct error *e) {
  *out = NULL;
  struct open_file *f = mem_alloc(sizeof *f);
  if (!f) return error_set(e, E_NOMEM, "no memory for a tensor file");
  *f = (struct open_file){0};
  arena_init(&f->arena, 0, 0);
  int rc = file_map_open(path, &f->map, e);
  if (rc >= 0) rc = safetensors_parse(f->map.p, f->map.n, &f->arena, &f->s, e);
  if (rc < 0) {
    safetensors_close(&f->s);
    return error_where(e, path, 0, NULL), rc;
  }
  *out = &f->s;
  return OK;
}

void safetensors_close(struct safetensors *s) {
  if (!s) return;
  struct open_file *f = (struct open_file *)(void *)s;
  file_map_close(&f->map);
  arena_free(&f->arena);
  mem_free(f);
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name) {
  struct safetensors_tensor key = {.name = str_c(name)};
  return s->n ? bsearch(&key, s->tensor, s->n, sizeof *s->tensor, by_name) : NULL;
}

struct str safetensors_metadata(const struct safetensors *s, const char *key) {
  for (size_t i = 0; i < s->n_metadata; i++)
    if (str_eqc(s->metadata[i].key, key)) return s->metadata[i].value;
  return STR_NONE;
}

static float from_half(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 1023u;
  if (exponent == 0) {
    float v = (float)mantissa * 0x1p-24f;
    return sign ? -v : v;
  }
  union {
    uint32_t u;
    float f;
  } v = {sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13};
  return v.f;
}

int safetensors_floats(const struct safetensors_tensor *t, float *out, size_t n, struct error *e) {
  if (t->count != n) return error_set(e, E_MISMATCH, "tensor has %llu values where %zu are expected", (unsigned long long)t->count, n);
  if (n == 0) return OK;
  if (t->type == SAFETENSORS_F32) {
    memcpy(out, t->data, n * sizeof *out);
    return OK;
  }
  if (t->type != SAFETENSORS_F16 && t->type != SAFETENSORS_BF16) return error_set(e, E_MISMATCH, "tensor is not F32, F16 or BF16");
  for (size_t i = 0; i < n; i++) {
    uint16_t h;
    memcpy(&h, t->data + 2 * i, 2);
    union {
      uint32_t u;
      float f;
    } v = {(uint32_t)h << 16};
    out[i] = t->type == SAFETENSORS_BF16 ? v.f : from_half(h);
  }
  return OK;
}

static void write_header(const struct safetensors_out *tensor, size_t n, const struct safetensors_pair *metadata, size_t n_metadata,
                         struct buf *b) {
  struct json_out o;
  uint64_t at = 0;
  json_out_init(&o, b, false);
  json_out_object(&o);
  if (n_metadata) {
    json_out_key(&o, "__metadata__");
    json_out_object(&o);
    for (size_t i = 0; i < n_metadata; i++) {
      json_out_key_str(&o, metadata[i].key);
      json_out_str(&o, metadata[i].value);
    }
    json_out_end(&o);
  }
  for (size_t i = 0; i < n; i++) {
    uint64_t bytes = 4;
    json_out_key(&o, tensor[i].name);
    json_out_object(&o);
    json_kv_c(&o, "dtype", "F32");
    json_out_key(&o, "shape");
    json_out_array(&o);
    for (int k = 0; k < tensor[i].dims; k++) json_out_u64(&o, tensor[i].shape[k]), bytes *= tensor[i].shape[k];
    json_out_end(&o);
    json_out_key(&o, "data_offsets");
    json_out_array(&o);
    json_out_u64(&o, at);
    json_out_u64(&o, at += bytes);
    json_out_end(&o);
    json_out_end(&o);
  }
  json_out_end(&o);
  while (b->n % 8 && !b->failed) buf_putc(b, ' '); /* the data begin aligned */
}

int safetensors_write(const char *path, const struct safetensors_out *tensor, size_t n, const struct safetensors_pair *metadata,
                      size_t n_metadata, struct error *e) {
  struct buf header = {0};
  struct file_writer w;
  write_header(tensor, n, metadata, n_metadata, &header);
  int rc = buf_check(&header, e);
  if (rc >= 0) rc = file_writer_open(&w, path, e);
  if (rc >= 0) {
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.n >> 8 * i);
    file_writer_put(&w, length, 8);
    file_writer_put(&w, header.p, header.n);
    for (size_t i = 0; i < n; i++) {
      size_t count = 1;
      for (int k = 0; k < tensor[i].dims; k++) count *= (size_t)tensor[i].shape[k];
      file_writer_put(&w, tensor[i].data, count * sizeof(float));
    }
    rc = file_writer_commit(&w, e);
  }
  buf_release(&header);
  return rc;
}
