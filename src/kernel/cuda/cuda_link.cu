/* Devices of many processes send to each other through NCCL, which is opened at run time: neither the build nor a run of one process needs it.
 * What is sent lies in managed memory, which NCCL reaches by no direct way (no peer access, no RDMA); so it passes through a piece of the device's own.
 * Never run on a GPU: the tests run it over tests/kernel/nccl_emulated.c.
 */
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "kernel/cuda/cuda.h"
#include "kernel/cuda/cuda_nccl.h"

enum { PIECE = 4 << 20 };
static struct {
  decltype(&ncclGetUniqueId) name;
  decltype(&ncclCommInitRank) open;
  decltype(&ncclCommDestroy) close;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommGetAsyncError) broken;
  decltype(&ncclGetErrorString) text;
  decltype(&ncclSend) send;
  decltype(&ncclRecv) receive;
  decltype(&ncclBroadcast) broadcast;
} nccl;
static ncclComm_t comm;
static cudaStream_t stream;
static void *piece;
static char failure[200];

static int fail(const char *what, const char *why) {
  snprintf(failure, sizeof failure, "NCCL, %s: %s", what, why);
  return 1;
}
static int check(ncclResult_t rc, const char *what) { return rc == ncclSuccess ? 0 : fail(what, nccl.text(rc)); }
static int check(cudaError_t rc, const char *what) { return rc == cudaSuccess ? 0 : fail(what, cudaGetErrorString(rc)); }

template <class F>
static bool symbol(void *library, const char *name, F *f) {
  return (*f = (F)dlsym(library, name)) != NULL;
}

static int link_find(unsigned char identity[KERNEL_LINK_DEVICE]) {
  cudaDeviceProp p;
  int device = 0;
  void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL); /* stays open, as CUDA does */
  if (!library) return fail("opening", "libnccl.so.2 cannot be opened");
  if (!symbol(library, "ncclGetUniqueId", &nccl.name) || !symbol(library, "ncclCommInitRank", &nccl.open) ||
      !symbol(library, "ncclCommDestroy", &nccl.close) || !symbol(library, "ncclCommAbort", &nccl.abort) ||
      !symbol(library, "ncclCommGetAsyncError", &nccl.broken) || !symbol(library, "ncclGetErrorString", &nccl.text) ||
      !symbol(library, "ncclSend", &nccl.send) || !symbol(library, "ncclRecv", &nccl.receive) ||
      !symbol(library, "ncclBroadcast", &nccl.broadcast))
    return fail("opening", "libnccl.so.2 is older than 2.7");
  if (check(cudaGetDevice(&device), "the device") || check(cudaGetDeviceProperties(&p, device), "the device")) return 1;
  static_assert(sizeof p.uuid == KERNEL_LINK_DEVICE, "a device's identity");
  memcpy(identity, &p.uuid, sizeof p.uuid);
  return 0;
}

static int link_name(char name[KERNEL_LINK_NAME]) {
  static_assert(sizeof(ncclUniqueId) == KERNEL_LINK_NAME, "a name");
  return check(nccl.name((ncclUniqueId *)(void *)name), "a name for the ranks");
}

static int link_open(const char name[KERNEL_LINK_NAME], int rank, int ranks) {
  ncclUniqueId id;
  memcpy(&id, name, sizeof id);
  return check(cudaMalloc(&piece, PIECE), "memory") || check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream") ||
         check(nccl.open(&comm, ranks, id, rank), "joining the ranks");
}

/* A rank that is gone lets the stream stand for ever: NCCL is asked as well, and what waits on the device is given up, or freeing memory would wait for it. */
static int finish(const char *what) {
  cudaError_t rc;
  while ((rc = cudaStreamQuery(stream)) == cudaErrorNotReady) {
    ncclResult_t broken = ncclSuccess, asked = nccl.broken(comm, &broken);
    if (check(asked, what) || check(broken, what)) {
      (void)nccl.abort(comm);
      comm = NULL;
      return 1;
    }
    sched_yield();
  }
  return check(rc, what);
}

template <class Transfer>
static int in_pieces(const void *from, void *to, size_t bytes, const char *what, Transfer transfer) {
  for (size_t at = 0; at < bytes; at += PIECE) {
    size_t n = bytes - at < PIECE ? bytes - at : (size_t)PIECE;
    if (!comm) return fail(what, "the ranks are not joined");
    if (from && check(cudaMemcpyAsync(piece, (const char *)from + at, n, cudaMemcpyDefault, stream), what)) return 1;
    if (check(transfer(n), what)) return 1;
    if (to && check(cudaMemcpyAsync((char *)to + at, piece, n, cudaMemcpyDefault, stream), what)) return 1;
    if (finish(what)) return 1;
  }
  return 0;
}
static int link_send(int to, const void *p, size_t bytes) {
  return in_pieces(p, NULL, bytes, "sending", [=](size_t n) { return nccl.send(piece, n, ncclChar, to, comm, stream); });
}
static int link_receive(int from, void *p, size_t bytes) {
  return in_pieces(NULL, p, bytes, "receiving", [=](size_t n) { return nccl.receive(piece, n, ncclChar, from, comm, stream); });
}
static int link_broadcast(void *p, size_t bytes) {
  return in_pieces(p, p, bytes, "sending to all", [](size_t n) { return nccl.broadcast(piece, piece, n, ncclChar, 0, comm, stream); });
}

static void link_close(void) {
  if (comm) (void)nccl.close(comm);
  (void)cudaStreamDestroy(stream);
  (void)cudaFree(piece);
  comm = NULL, piece = NULL;
}
static const char *link_failure(void) { return failure; }

const struct kernel_link cuda_link = {link_find, link_name, link_open, link_send, link_receive, link_broadcast, link_close, link_failure};
