/* Opening and closing. */
#include "base/file.h"
#include "model/lm_internal.h"

#define CONTEXT_LIMIT 8192

static int open_parts(struct lm *m, const char *path, const struct lm_options *o, struct error *e) {
  TRY(lm_source_open(path, &m->source, e));
  TRY(lm_shape_read(&m->source, &m->shape, e));
  m->kernel = kernel_pick(KERNEL_AUTO, KERNEL_F32);
  m->quant = quant_pick(o->column);
  if (!m->quant) return error_set(e, E_UNAVAILABLE, "the kernel column %s is not here", o->column);
  if (o->column)
    m->kernel = kernel_pick(strcmp(o->column, "ref") == 0    ? KERNEL_REF
                            : strcmp(o->column, "avx2") == 0 ? KERNEL_AVX2
                                                             : KERNEL_AVX512,
                            KERNEL_F32);
  m->context = o->context > 0 && o->context < m->shape.context ? o->context
               : m->shape.context < CONTEXT_LIMIT              ? m->shape.context
                                                               : CONTEXT_LIMIT;
  if (o->context > CONTEXT_LIMIT && o->context <= m->shape.context) m->context = o->context;
  m->own_cancel = o->own_cancel;
  TRY(lm_tensors_check(&m->source, &m->shape, e));
  TRY(pool_new(&m->pool, o->threads, e));
  TRY(lm_weights_load(m, e));
  TRY(lm_vocabulary_open(&m->source, &m->vocabulary, e));
  TRY(lm_vocabulary_fits(m->vocabulary, &m->shape, e));
  TRY(lm_template_read(&m->source, &m->arena, &m->template_text, e));
  lm_chat_recognise(m->template_text, m->chat);
  return lm_engine_new(m, o->streams > 0 ? o->streams : 1, e);
}

int lm_open(const char *path, const struct lm_options *o, struct lm **out, struct error *e) {
  *out = NULL;
  struct lm *m = mem_alloc(sizeof *m);
  if (!m) return error_set(e, E_NOMEM, "no memory for a model");
  *m = (struct lm){0};
  arena_init(&m->arena, 0, 0);
  int rc = open_parts(m, path, o, e);
  if (rc < 0) {
    lm_close(m);
    return error_where(e, path, 0, NULL), rc;
  }
  *out = m;
  return OK;
}

void lm_close(struct lm *m) {
  if (!m) return;
  lm_engine_free(m->engine);
  subword_free(m->vocabulary);
  if (m->memory) mem_free_aligned(m->memory, m->memory_bytes);
  pool_free(m->pool);
  lm_source_close(&m->source);
  arena_free(&m->arena);
  mem_free(m);
}

const struct subword *lm_vocabulary(const struct lm *m) { return m->vocabulary; }
const char *lm_chat(const struct lm *m) { return strcmp(m->chat, "unknown") == 0 ? "" : m->chat; }
int lm_width(const struct lm *m) { return m->shape.width; }
int lm_context(const struct lm *m) { return m->context; }
const char *lm_column(const struct lm *m) { return m->quant->name; }
