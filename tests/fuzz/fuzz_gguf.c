/* The GGUF parser: whatever it accepts must lie wholly inside the bytes, and its tables must be readable. A vocabulary in it must encode; a model whose
 * tensors pass the check must load and read two tokens. */
#include "base/arena.h"
#include "model/gguf.h"
#include "model/lm_internal.h"

static void read_tokens(struct gguf *g) {
  static struct pool *pool;
  struct lm m = {.source = {.gguf = g}};
  if (!pool && pool_new(&pool, 1, NULL) < 0) return;
  if (lm_shape_read(&m.source, &m.shape, NULL) < 0 || lm_tensors_check(&m.source, &m.shape, NULL) < 0) return;
  m.kernel = kernel_pick(KERNEL_REF, KERNEL_F32), m.quant = quant_pick("ref"), m.pool = pool;
  m.context = m.shape.context < 64 ? m.shape.context : 64;
  arena_init(&m.arena, 64 << 20, 0);
  float *logits = mem_alloc(2 * (size_t)m.shape.vocabulary * sizeof *logits);
  if (logits && lm_weights_load(&m, NULL) == OK && lm_engine_new(&m, 1, NULL) == OK && m.context > 1)
    (void)!lm_logits(&m, (uint32_t[]){0, m.shape.vocabulary - 1}, 2, logits, NULL);
  lm_engine_free(m.engine);
  if (m.memory) mem_free_aligned(m.memory, m.memory_bytes);
  arena_free(&m.arena);
  mem_free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena a;
  struct gguf g;
  uint8_t *exact = mem_alloc(size); /* its own block: a read past the end is seen */
  if (!exact) return 0;
  memcpy(exact, data, size);
  arena_init(&a, 64 << 20, 0);
  if (gguf_parse(exact, size, &a, &g, NULL) == OK) {
    for (size_t i = 0; i < g.tensors; i++)
      if (g.tensor[i].bytes && (g.tensor[i].data < exact || g.tensor[i].data + g.tensor[i].bytes > exact + size))
        BUG("tensor outside the file");
    double sum = 0;
    for (size_t i = 0; i < g.pairs; i++) {
      const struct gguf_pair *p = &g.pair[i];
      for (uint64_t k = 0; p->kind == GGUF_ARRAY && k < p->n; k++) sum += p->item == GGUF_STRING ? (double)p->texts[k].n : gguf_item(p, k);
    }
    struct subword *w = NULL;
    struct subword_ids ids = {0};
    if (sum == sum && lm_vocabulary_gguf(&g, &w, NULL) == OK) {
      (void)!subword_encode(w, STR("Hello 12 world's \xF0\x9F\x98\xB7"), SUBWORD_EDGES | SUBWORD_SPECIAL, &ids, NULL);
      for (size_t i = 0; i < ids.n; i++)
        if (ids.id[i] >= subword_count(w)) BUG("a token outside the vocabulary");
      subword_ids_release(&ids);
    }
    subword_free(w);
    read_tokens(&g);
  }
  arena_free(&a);
  mem_free(exact);
  return 0;
}
