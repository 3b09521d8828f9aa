/* Many processes train one model: every rank works on its own lanes of each step (train_options.lanes), the lanes' gradients are added as the same tree
 * whatever the number of ranks, and every rank moves its own copy of the weights by the same bits.
 *
 *     TRY(train_mesh_open(&mesh, e));              // under an MPI launcher; loads the plug-in beside the program
 *     options.mesh = mesh;  TRY(model_train(&options, store, &result, e));      // rank 0 alone writes, logs and fits the heads
 *     train_mesh_close(mesh);                      // waits for all
 *
 * On GPUs (options.column, one GPU a rank) gradients travel by the plug-in's link, NCCL; everything else, and gradients where that cannot be, by MPI.
 *
 * lanes / ranks must be a power of two: then 1, 2, 4 ... ranks give the same bits for the same lanes. A rank that fails calls
 * train_mesh_give_up, which ends all; the run goes on from its last checkpoint with --resume, on any number of ranks that fits its lanes.
 */
#ifndef MODEL_TRAIN_MESH_H
#define MODEL_TRAIN_MESH_H
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct kernel_link;
struct train_mesh;
/* A rank sees one GPU, that of its number on its machine, out of CUDA_VISIBLE_DEVICES where that is given. By train_mesh_open, before CUDA starts. */
void train_mesh_own_device(void);
int train_mesh_open(struct train_mesh **out, struct error *e) MUST_CHECK;
/* How gradients travel from here on. link: the device's, NULL on processors. transport: "nccl" (an error where it cannot be), "mpi", or NULL: nccl where
 * all ranks can, else mpi with a note. train_mesh_unlink ends it, on all ranks, when the steps are over. */
int train_mesh_link(struct train_mesh *m, const struct kernel_link *link, const char *transport, struct error *e) MUST_CHECK;
void train_mesh_unlink(struct train_mesh *m);
void train_mesh_close(struct train_mesh *m);
void train_mesh_give_up(struct train_mesh *m, int status);
int train_mesh_rank(const struct train_mesh *m);                                                   /* 0 for NULL */
int train_mesh_ranks(const struct train_mesh *m);                                                  /* 1 for NULL */
int train_mesh_broadcast(struct train_mesh *m, void *p, size_t bytes, struct error *e) MUST_CHECK; /* from rank 0 */
/* x of all ranks added into x of every rank: rank k+1 to k, then k+2 to k, ... `add` is y += x. */
int train_mesh_sum(struct train_mesh *m, void (*add)(size_t n, const float *x, float *y), float *x, size_t n, struct error *e) MUST_CHECK;
/* Every rank's own stretch of an array (the same bytes each, in the ranks' order) to all. */
int train_mesh_gather(struct train_mesh *m, void *all, size_t bytes_each, struct error *e) MUST_CHECK;
#endif
