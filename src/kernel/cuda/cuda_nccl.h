/* The part of NCCL (2.7 and later) that is used. Where NVIDIA's own header is found the plug-in is compiled against that one, so that the
 * calls are checked against both. */
#ifndef KERNEL_CUDA_NCCL_H
#define KERNEL_CUDA_NCCL_H
#if !defined(CUDA_EMULATED) && __has_include(<nccl.h>)
#include <nccl.h>
#else
#ifdef __cplusplus
extern "C" {
#endif
typedef struct ncclComm *ncclComm_t;
typedef struct {
  char internal[128];
} ncclUniqueId;
typedef enum { ncclSuccess, ncclUnhandledCudaError, ncclSystemError, ncclInternalError, ncclInvalidArgument } ncclResult_t;
typedef enum { ncclChar } ncclDataType_t;
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclCommAbort(ncclComm_t comm);
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error);
const char *ncclGetErrorString(ncclResult_t rc);
ncclResult_t ncclSend(const void *p, size_t n, ncclDataType_t type, int to, ncclComm_t comm, cudaStream_t stream);
ncclResult_t ncclRecv(void *p, size_t n, ncclDataType_t type, int from, ncclComm_t comm, cudaStream_t stream);
ncclResult_t ncclBroadcast(const void *from, void *to, size_t n, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream);
#ifdef __cplusplus
}
#endif
#endif
#endif
