// NVIDIA's runtime library for one device, whose memory is the host's and which runs no kernels.
//
// A stream's work is done when it is given, after what others gave to that stream. What is not here,
// cuda_runtime_on_host.py adds as functions that print their name and fail.

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DO(signature, ...) cudaError_t signature { __VA_ARGS__; return cudaSuccess; }
#define TOTAL ((size_t)1 << 32)

static __thread cudaError_t last;
static size_t used;
static void (*before)(cudaStream_t);

void cudaHostBefore(void (*function)(cudaStream_t)) { before = function; }
static void wait_for(cudaStream_t s) { if (before) before(s); }

cudaError_t missing(const char *name) {
    fprintf(stderr, "no %s on the host\n", name);
    return last = cudaErrorNotSupported;
}

DO(cudaPeekAtLastError(void), return last)
DO(cudaGetLastError(void), cudaError_t e = last; last = cudaSuccess; return e)
const char *cudaGetErrorName(cudaError_t e) { return e ? "cudaErrorNotSupported" : "cudaSuccess"; }
const char *cudaGetErrorString(cudaError_t e) { return e ? "not done on the host" : "no error"; }

// the device

DO(cudaRuntimeGetVersion(int *version), *version = CUDART_VERSION)
DO(cudaGetDeviceCount(int *count), *count = 1)
DO(cudaGetDevice(int *device), *device = 0)
DO(cudaSetDevice(int device))
DO(cudaDeviceSynchronize(void))
DO(cudaDeviceGetStreamPriorityRange(int *least, int *most), *least = 0; *most = -5)
DO(cudaGetDeviceProperties(struct cudaDeviceProp *p, int device),
   memset(p, 0, sizeof *p); strcpy(p->name, "the host"); p->major = 9; p->warpSize = 32;
   p->totalGlobalMem = TOTAL; p->multiProcessorCount = 1; p->maxThreadsPerBlock = 1024;
   p->maxThreadsPerMultiProcessor = 2048)

// memory: any address is one of the device

DO(cudaMalloc(void **p, size_t n), *p = aligned_alloc(512, (n + 511) / 512 * 512);
   __atomic_add_fetch(&used, malloc_usable_size(*p), __ATOMIC_SEQ_CST))
DO(cudaFree(void *p), __atomic_sub_fetch(&used, malloc_usable_size(p), __ATOMIC_SEQ_CST); free(p))
DO(cudaHostAlloc(void **p, size_t n, unsigned flags), return cudaMalloc(p, n))
DO(cudaFreeHost(void *p), return cudaFree(p))
DO(cudaMemGetInfo(size_t *left, size_t *all), *all = TOTAL; *left = TOTAL - used)
DO(cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p),
   memset(a, 0, sizeof *a); a->type = cudaMemoryTypeDevice;
   a->devicePointer = a->hostPointer = (void *)p)
DO(cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind),
   wait_for(NULL); memmove(to, from, n))
DO(cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s),
   wait_for(s); memmove(to, from, n))
DO(cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t s), wait_for(s); memset(p, value, n))

// streams and events

DO(cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags), *s = malloc(1))
DO(cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority), *s = malloc(1))
DO(cudaStreamDestroy(cudaStream_t s), free(s))
DO(cudaStreamSynchronize(cudaStream_t s), wait_for(s))
DO(cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags))
DO(cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status), *status = 0)
DO(cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *status,
                            unsigned long long *id, cudaGraph_t *graph, const cudaGraphNode_t **nodes,
                            const cudaGraphEdgeData **edges, size_t *count), *status = 0)
DO(cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags), *e = malloc(1))
DO(cudaEventDestroy(cudaEvent_t e), free(e))
DO(cudaEventRecord(cudaEvent_t e, cudaStream_t s))
DO(cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags))
DO(cudaEventQuery(cudaEvent_t e))

// kernels, known and never run

void **__cudaRegisterFatBinary(void *binary) { return malloc(sizeof(void *)); }
void __cudaRegisterFatBinaryEnd(void **binary) {}
void __cudaUnregisterFatBinary(void **binary) { free(binary); }
void __cudaRegisterFunction(void) {}
void __cudaRegisterVar(void) {}

// what PyTorch asks of the driver

DO(cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                    unsigned long long flags,
                                    enum cudaDriverEntryPointQueryResult *status),
   *function = NULL; *status = cudaDriverEntryPointSymbolNotFound)
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return CUDA_SUCCESS;
}
