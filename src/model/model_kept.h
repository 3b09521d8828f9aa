/* One life kept, and others that begin as it does: an event taken out or changed leaves all before it as it was.
 *
 *     TRY(model_kept_new(m, context, &k, e));                         // NULL: not worth it, or not for this model
 *     TRY(model_forward_keep(m, w, base, k, e));                      // base: a batch of one sequence; fills model_hidden as ever
 *     int same = model_kept_same(base, batch, i);                     // leading positions of sequence i with the same inputs, bit by bit
 *     TRY(model_forward_after(m, w, batch, i, same, k, &h, e));       // h (positions of sequence i, d): until the next call
 *
 * The answers have the same bits as those of model_forward. Lives may come in any order; those that differ late first cost least. Belongs to
 * one thread, as its workspace does.
 */
#ifndef MODEL_MODEL_KEPT_H
#define MODEL_MODEL_KEPT_H
#include "model/model.h"

struct model_kept;
/* *out NULL and OK: a model whose mask is not causal, or one so large that the copies would take more than 96 MiB. */
int model_kept_new(const struct model *m, int positions, struct model_kept **out, struct error *e) MUST_CHECK;
void model_kept_free(struct model_kept *k);
int model_forward_keep(const struct model *m, struct model_workspace *w, const struct token_batch *b, struct model_kept *k,
                       struct error *e) MUST_CHECK;
int model_kept_same(const struct token_batch *kept, const struct token_batch *b, int sequence);
int model_forward_after(const struct model *m, struct model_workspace *w, const struct token_batch *b, int sequence, int same,
                        struct model_kept *k, const float **hidden, struct error *e) MUST_CHECK;
#endif
