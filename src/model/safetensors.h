/* safetensors: named arrays in one file: 8 bytes little-endian header length, a JSON header, then the bytes of all tensors without holes.
 *
 *     struct safetensors *s;  TRY(safetensors_open("model.safetensors", &s, e));
 *     const struct safetensors_tensor *t = safetensors_find(s, "norm.gain");
 *     TRY(safetensors_floats(t, w, n, e));          // F32, F16 and BF16 become f32
 *     safetensors_close(s);                          // names and data die with it
 *
 * The reader believes nothing: header length, JSON, types, shapes and offsets are checked against the file's size, tensors must not overlap and
 * must cover the data exactly, names must differ. safetensors_parse is pure (bytes in, table out) and is what the fuzz target calls.
 */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H
#include "base/str.h"

#define SAFETENSORS_DIMS 8
#define SAFETENSORS_HEADER_LIMIT ((uint64_t)64 << 20)
enum safetensors_type {
  SAFETENSORS_F64,
  SAFETENSORS_F32,
  SAFETENSORS_F16,
  SAFETENSORS_BF16,
  SAFETENSORS_I64,
  SAFETENSORS_I32,
  SAFETENSORS_I16,
  SAFETENSORS_I8,
  SAFETENSORS_U8,
  SAFETENSORS_BOOL
};
struct safetensors_tensor {
  struct str name;
  enum safetensors_type type;
  int dims;
  uint64_t shape[SAFETENSORS_DIMS], count; /* count: product of the shape */
  const uint8_t *data;
  uint64_t begin, bytes; /* in the data part */
};
struct safetensors_pair {
  struct str key, value;
};
struct safetensors { /* sorted by name */
  struct safetensors_tensor *tensor;
  size_t n;
  struct safetensors_pair *metadata;
  size_t n_metadata;
};
int safetensors_parse(const uint8_t *bytes, size_t n, struct arena *a, struct safetensors *out, struct error *e) MUST_CHECK;
int safetensors_open(const char *path, struct safetensors **out, struct error *e) MUST_CHECK;
void safetensors_close(struct safetensors *s);
const struct safetensors_tensor *safetensors_find(const struct safetensors *s, const char *name);
struct str safetensors_metadata(const struct safetensors *s, const char *key); /* STR_NONE if absent */
/* n must equal the tensor's count; E_MISMATCH otherwise or for a type that is no float */
int safetensors_floats(const struct safetensors_tensor *t, float *out, size_t n, struct error *e) MUST_CHECK;

struct safetensors_out {
  const char *name;
  int dims;
  uint64_t shape[SAFETENSORS_DIMS];
  const float *data;
};
/* Writes F32 tensors in the given order; atomic (temporary name, fsync, rename). */
int safetensors_write(const char *path, const struct safetensors_out *tensor, size_t n, const struct safetensors_pair *metadata,
                      size_t n_metadata, struct error *e) MUST_CHECK;
#endif
