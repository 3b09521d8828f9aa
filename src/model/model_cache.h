/* Private to src/model (and its tests): decoding. Prefixes, caches and the layouts of the weights that it takes (model_cache.c, model_quant.c). */
#ifndef MODEL_MODEL_CACHE_H
#define MODEL_MODEL_CACHE_H
#include "model/model_internal.h"

struct model_decoder {
  struct model model;        /* the model again, everything but the layout of its matrices borrowed */
  struct model_quant *quant; /* NULL: none asked for, or the column has better */
};
struct model_prefix { /* keys and values of one life so far, in blocks as in kernel.h */
  int cap, n;
  size_t bytes;
  int8_t *memory, **block;
  struct decode_place *to;
  int64_t *time;
  float *scratch;
};
struct model_cache {
  int streams, own_cap, row_blocks; /* row_blocks: most blocks of a stream */
  size_t block_bytes;
  int8_t **block; /* (streams, row_blocks) a stream's own, NULL from its first unused one on */
  int8_t **spare; /* unused ones of all slabs */
  int spares, slabs, slab_blocks;
  int8_t **slab;                      /* many blocks each, for large pages: a step touches every page of a stream's own positions once */
  int64_t *time;                      /* (streams, own_cap) */
  int32_t *n;                         /* (streams) own positions */
  uint64_t *seen, round;              /* which streams the current call has named */
  const struct model_prefix **prefix; /* (streams) */
  struct decode_rows *past, *own;     /* (rows of a batch) */
  struct decode_place *to;            /* (rows of a batch) where the new keys and values go */
  float *scratch, *quant_scratch;
  size_t scratch_bytes, quant_bytes;
};

/* model_cache.c: layer l's keys and values of every sequence into its prefix */
void prefix_keep(const struct model *m, const struct token_batch *b, int l, const struct layer_state *s,
                 struct model_prefix *const *prefix);

/* model_quant.c: the trunk's matrices in eight bits (AVX2: 13); *out NULL where that is not faster, or the weights are no numbers. decodes: heads may lie in the
 * cache's order */
int model_quant_new(const struct model *m, bool decodes, struct model_quant **out, struct error *e) MUST_CHECK;
void model_quant_free(struct model_quant *q);
size_t model_quant_row(int widest);                                /* bytes that a row of so many numbers takes at most */
size_t model_quant_scratch(const struct model_quant *q, int rows); /* bytes, 64-byte aligned */
bool model_quant_lanes(const struct model_quant *q);               /* queries, keys, values and attention's output are (head size, heads) */
/* y = x W^T + b by way of it; false: the matrix is none of the trunk's */
bool model_quant_linear(const struct model *m, const struct model_quant *q, void *scratch, int rows, int in, int out, const float *x,
                        ptrdiff_t weight, ptrdiff_t bias, float *y);
/* y = GELU(up) of block l's last matrix; up is overwritten */
void model_quant_down(const struct model *m, const struct model_quant *q, void *scratch, int rows, int l, float *up, float *y);
/* The codes' log rates from rows of d, by whole numbers of 13 bits; scratch: the kernel's gemm_scratch. false: it has none, f32 is asked for */
bool model_quant_rates(const struct model *m, const struct model_quant *q, float *scratch, int rows, const float *hidden, float *log_rate);
#endif
