/* NCCL without a GPU, over MPI: built as build/tests/nccl/libnccl.so.2, so that cuda_link.cu sends something. Every process takes part as the rank that it is
 * in MPI. At the end each writes what it moved to the file named by VITAE_EMULATED_NCCL_LOG; sends from the VITAE_EMULATED_NCCL_FAILS-th on fail. What it
 * cannot show: streams (everything is done when a call returns), devices, and time.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct CUstream_st *cudaStream_t;
#include "kernel/cuda/cuda_nccl.h"

struct ncclComm {
  MPI_Comm mpi;
  int rank;
  long long sent, received, broadcast;
};

static ncclResult_t result(int mpi) { return mpi == MPI_SUCCESS ? ncclSuccess : ncclSystemError; }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  for (size_t i = 0; i < sizeof id->internal; i++) id->internal[i] = (char)(i * 37 + 11);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank) {
  ncclUniqueId right;
  struct ncclComm *c = calloc(1, sizeof *c);
  int is_rank, are_ranks;
  ncclGetUniqueId(&right);
  if (!c || MPI_Comm_dup(MPI_COMM_WORLD, &c->mpi) || MPI_Comm_rank(c->mpi, &is_rank) || MPI_Comm_size(c->mpi, &are_ranks))
    return ncclSystemError;
  if (rank != is_rank || ranks != are_ranks || memcmp(&id, &right, sizeof id) != 0) return ncclInvalidArgument;
  c->rank = rank;
  *comm = c;
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t c) {
  const char *path = getenv("VITAE_EMULATED_NCCL_LOG");
  FILE *f = path ? fopen(path, "a") : NULL;
  if (f) fprintf(f, "rank %d sent %lld received %lld broadcast %lld\n", c->rank, c->sent, c->received, c->broadcast), fclose(f);
  MPI_Comm_free(&c->mpi);
  free(c);
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t c) { return free(c), ncclSuccess; }
ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *error) { return (void)c, *error = ncclSuccess; }
const char *ncclGetErrorString(ncclResult_t rc) { return rc == ncclSystemError ? "unhandled system error" : "emulated error"; }

ncclResult_t ncclSend(const void *p, size_t n, ncclDataType_t type, int to, ncclComm_t c, cudaStream_t s) {
  const char *fails = getenv("VITAE_EMULATED_NCCL_FAILS");
  static long sends;
  (void)type, (void)s;
  if (fails && ++sends >= atol(fails)) return ncclSystemError;
  c->sent += (long long)n;
  return result(MPI_Send(p, (int)n, MPI_BYTE, to, 0, c->mpi));
}
ncclResult_t ncclRecv(void *p, size_t n, ncclDataType_t type, int from, ncclComm_t c, cudaStream_t s) {
  (void)type, (void)s;
  c->received += (long long)n;
  return result(MPI_Recv(p, (int)n, MPI_BYTE, from, 0, c->mpi, MPI_STATUS_IGNORE));
}
ncclResult_t ncclBroadcast(const void *from, void *to, size_t n, ncclDataType_t type, int root, ncclComm_t c, cudaStream_t s) {
  (void)from, (void)type, (void)s; /* in place here */
  c->broadcast += (long long)n;
  return result(MPI_Bcast(to, (int)n, MPI_BYTE, root, c->mpi));
}
