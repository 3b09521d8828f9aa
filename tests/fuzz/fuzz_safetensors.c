/* The tensor file's parser: whatever it accepts must lie wholly inside the bytes, and every value must be readable. */
#include "base/arena.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena a;
  struct safetensors s;
  uint8_t *exact = mem_alloc(size); /* its own block: a read past the end is seen */
  if (!exact) return 0;
  memcpy(exact, data, size);
  arena_init(&a, 64 << 20, 0);
  if (safetensors_parse(exact, size, &a, &s, NULL) == OK)
    for (size_t i = 0; i < s.n; i++) {
      const struct safetensors_tensor *t = &s.tensor[i];
      if (t->bytes && (t->data < exact || t->data + t->bytes > exact + size)) BUG("tensor outside the file");
      if (t->count > 1 << 20) continue;
      float *v = mem_alloc((t->count + 1) * sizeof *v);
      int rc = v ? safetensors_floats(t, v, t->count, NULL) : OK;
      if (rc < 0 && rc != E_MISMATCH) BUG("a tensor that was accepted cannot be read");
      mem_free(v);
    }
  arena_free(&a);
  mem_free(exact);
  return 0;
}
