/* GGUF version 2 and 3: one file with typed key/value pairs and named, possibly quantised, tensors (the format of llama.cpp's models).
 *
 *     struct gguf *g;  TRY(gguf_open("model.gguf", &g, e));                    // mapped, nothing copied
 *     struct str arch = gguf_str(g, "general.architecture");
 *     const struct gguf_tensor *t = gguf_find(g, "token_embd.weight");         // t->data points into the map
 *     gguf_close(g);                                                          // names, strings and data die with it
 *
 * The reader believes nothing: every count, length, type, offset and dimension is checked against the bytes that are left before it is used;
 * tensors must be aligned, lie inside the file and not overlap; no key and no tensor name may come twice; arrays of arrays (the only way in
 * which the format can nest) are refused. gguf_parse is pure (bytes in, tables out) and is what the fuzz target calls.
 * Little-endian files only. Shapes: shape[0] is the fastest dimension (columns of a matrix), as the file says it.
 */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H
#include <stdbool.h>

#include "base/str.h"

#define GGUF_DIMS 4
enum gguf_kind {
  GGUF_U8,
  GGUF_I8,
  GGUF_U16,
  GGUF_I16,
  GGUF_U32,
  GGUF_I32,
  GGUF_F32,
  GGUF_BOOL,
  GGUF_STRING,
  GGUF_ARRAY,
  GGUF_U64,
  GGUF_I64,
  GGUF_F64,
  GGUF_KINDS
};
struct gguf_pair {
  struct str key;
  enum gguf_kind kind, item; /* item: kind of an array's elements */
  union {
    uint64_t u; /* U*, BOOL */
    int64_t i;  /* I* */
    double f;   /* F* */
  } v;
  struct str text;         /* STRING */
  uint64_t n;              /* elements of an ARRAY */
  const uint8_t *raw;      /* elements that are no strings, unaligned, little-endian */
  const struct str *texts; /* elements that are strings */
};
struct gguf_tensor {
  struct str name;
  uint32_t type; /* number of the block type as in the file; enum quant_type where kernel/quant.h knows it */
  int dims;
  uint64_t shape[GGUF_DIMS], count;
  const uint8_t *data;
  uint64_t offset, bytes; /* in the tensor data; bytes = 0 for a type whose block size is not known (data may not be used) */
};
struct gguf {
  uint32_t version;
  uint64_t alignment;
  struct gguf_pair *pair; /* sorted by key */
  size_t pairs;
  struct gguf_tensor *tensor; /* sorted by name */
  size_t tensors;
  uint64_t file_bytes;
};
int gguf_parse(const uint8_t *bytes, size_t n, struct arena *a, struct gguf *out, struct error *e) MUST_CHECK;
int gguf_open(const char *path, struct gguf **out, struct error *e) MUST_CHECK;
void gguf_close(struct gguf *g);
bool gguf_magic(const uint8_t *bytes, size_t n);

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name);
const struct gguf_pair *gguf_get(const struct gguf *g, const char *key); /* NULL if absent */
struct str gguf_str(const struct gguf *g, const char *key);              /* STR_NONE if absent or no string */
/* numbers of any kind; `otherwise` if absent, of another kind or negative where no sign fits */
uint64_t gguf_u64(const struct gguf *g, const char *key, uint64_t otherwise);
double gguf_f64(const struct gguf *g, const char *key, double otherwise);
bool gguf_bool(const struct gguf *g, const char *key, bool otherwise);
double gguf_item(const struct gguf_pair *p, uint64_t i); /* i-th number of an array (i < n, no strings) */
/* bytes of a tensor of `count` values in rows of `columns`; 0 if the type is unknown or the row is no whole number of blocks */
uint64_t gguf_type_bytes(uint32_t type, uint64_t columns, uint64_t count);
const char *gguf_type_name(uint32_t type); /* "Q4_K"; "type 99" style numbers are the caller's: NULL if unknown */
#endif
