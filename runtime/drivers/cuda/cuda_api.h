// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA API: our own declarations of the few functions of libcuda and cuBLASLt
// that the driver loads, so that it builds where no toolkit is installed.
// tests/runtime/cuda_api_test.cc compares them with the toolkit's headers.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_API_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_API_H

#include <cstddef>
#include <cstdint>

namespace headrace::runtime::cuda {

//===----------------------------------------------------------------------===//
// libcuda
//===----------------------------------------------------------------------===//

using CuDevice = int;
using CuAddress = unsigned long long; // of device memory
using CuContext = struct CuContextOpaque *;
using CuModule = struct CuModuleOpaque *;
using CuFunction = struct CuFunctionOpaque *;
using CuStream = struct CuStreamOpaque *;
using CuEvent = struct CuEventOpaque *;
using CuGraph = struct CuGraphOpaque *;
using CuGraphNode = struct CuGraphNodeOpaque *;
using CuGraphExec = struct CuGraphExecOpaque *;

/// CUresult, as far as the driver tells results apart.
enum CuResult : int {
  kCuSuccess = 0,
  kCuInvalidValue = 1,
  kCuOutOfMemory = 2,
  kCuNotInitialized = 3,
  kCuDeinitialized = 4,
  kCuStubLibrary = 34,
  kCuDeviceUnavailable = 46,
  kCuNoDevice = 100,
  kCuInvalidDevice = 101,
  kCuInvalidImage = 200,
  kCuInvalidContext = 201,
  kCuNoBinaryForGpu = 209,
  kCuEccUncorrectable = 214,
  kCuInvalidPtx = 218,
  kCuNvlinkUncorrectable = 220,
  kCuJitCompilerNotFound = 221,
  kCuUnsupportedPtxVersion = 222,
  kCuJitCompilationDisabled = 223,
  kCuContained = 226,
  kCuNotFound = 500,
  kCuNotReady = 600,
  kCuIllegalAddress = 700,
  kCuLaunchOutOfResources = 701,
  kCuLaunchTimeout = 702,
  kCuContextIsDestroyed = 709,
  kCuAssert = 710,
  kCuHardwareStackError = 714,
  kCuIllegalInstruction = 715,
  kCuMisalignedAddress = 716,
  kCuInvalidAddressSpace = 717,
  kCuInvalidPc = 718,
  kCuLaunchFailed = 719,
  kCuSystemNotReady = 802,
  kCuSystemDriverMismatch = 803,
  kCuExternalDevice = 911,
  kCuUnknown = 999
};

/// CUdevice_attribute.
constexpr int kCuAttributeClockRate = 13; // kHz, the highest
constexpr int kCuAttributeMultiprocessorCount = 16;
constexpr int kCuAttributeL2CacheSize = 38;
constexpr int kCuAttributeComputeCapabilityMajor = 75;
constexpr int kCuAttributeComputeCapabilityMinor = 76;
constexpr int kCuAttributeMaxSharedMemoryPerBlockOptin = 97;

/// CUfunction_attribute.
constexpr int kCuFunctionMaxDynamicSharedSizeBytes = 8;

/// CUjit_option.
constexpr int kCuJitErrorLogBuffer = 5;
constexpr int kCuJitErrorLogBufferBytes = 6;

/// Flags of streams, events, captures and host memory.
constexpr unsigned kCuStreamNonBlocking = 1;
constexpr unsigned kCuEventDefault = 0;
constexpr unsigned kCuEventDisableTiming = 2;
constexpr unsigned kCuEventRecordExternal = 1;
constexpr int kCuCaptureThreadLocal = 1;
constexpr unsigned kCuHostPortable = 1;

/// The `extra` argument of a launch: parameters in one buffer.
inline void *LaunchParamEnd() { return nullptr; }
inline void *LaunchParamBufferPointer() { return reinterpret_cast<void *>(1); }
inline void *LaunchParamBufferSize() { return reinterpret_cast<void *>(2); }

/// Name of the exported symbol and parameters; all return a CuResult.
#define HEADRACE_CUDA_FUNCTIONS(X)                                             \
  X(cuInit, (unsigned flags))                                                  \
  X(cuDriverGetVersion, (int *version))                                        \
  X(cuGetErrorName, (CuResult result, const char **name))                      \
  X(cuGetErrorString, (CuResult result, const char **text))                    \
  X(cuDeviceGetCount, (int *count))                                            \
  X(cuDeviceGet, (CuDevice * device, int ordinal))                             \
  X(cuDeviceGetName, (char *name, int capacity, CuDevice device))              \
  X(cuDeviceGetAttribute, (int *value, int attribute, CuDevice device))        \
  X(cuDeviceTotalMem_v2, (size_t *bytes, CuDevice device))                     \
  X(cuDevicePrimaryCtxRetain, (CuContext * context, CuDevice device))          \
  X(cuDevicePrimaryCtxRelease_v2, (CuDevice device))                           \
  X(cuCtxPushCurrent_v2, (CuContext context))                                  \
  X(cuCtxPopCurrent_v2, (CuContext * context))                                 \
  X(cuMemAlloc_v2, (CuAddress * address, size_t bytes))                        \
  X(cuMemFree_v2, (CuAddress address))                                         \
  X(cuMemHostAlloc, (void **address, size_t bytes, unsigned flags))            \
  X(cuMemFreeHost, (void *address))                                            \
  X(cuMemcpyHtoDAsync_v2,                                                      \
    (CuAddress to, const void *from, size_t bytes, CuStream stream))           \
  X(cuMemcpyDtoHAsync_v2,                                                      \
    (void *to, CuAddress from, size_t bytes, CuStream stream))                 \
  X(cuMemcpyDtoDAsync_v2,                                                      \
    (CuAddress to, CuAddress from, size_t bytes, CuStream stream))             \
  X(cuMemsetD8Async,                                                           \
    (CuAddress to, unsigned char value, size_t bytes, CuStream stream))        \
  X(cuStreamCreate, (CuStream * stream, unsigned flags))                       \
  X(cuStreamDestroy_v2, (CuStream stream))                                     \
  X(cuStreamWaitEvent, (CuStream stream, CuEvent event, unsigned flags))       \
  X(cuStreamBeginCapture_v2, (CuStream stream, int mode))                      \
  X(cuStreamEndCapture, (CuStream stream, CuGraph * graph))                    \
  X(cuEventCreate, (CuEvent * event, unsigned flags))                          \
  X(cuEventDestroy_v2, (CuEvent event))                                        \
  X(cuEventRecord, (CuEvent event, CuStream stream))                           \
  X(cuEventRecordWithFlags, (CuEvent event, CuStream stream, unsigned flags))  \
  X(cuEventQuery, (CuEvent event))                                             \
  X(cuEventElapsedTime, (float *milliseconds, CuEvent start, CuEvent end))     \
  X(cuModuleLoadDataEx, (CuModule * module, const void *image,                 \
                         unsigned option_count, int *options, void **values))  \
  X(cuModuleUnload, (CuModule module))                                         \
  X(cuModuleGetFunction,                                                       \
    (CuFunction * function, CuModule module, const char *name))                \
  X(cuFuncSetAttribute, (CuFunction function, int attribute, int value))       \
  X(cuLaunchKernel,                                                            \
    (CuFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,   \
     unsigned block_x, unsigned block_y, unsigned block_z,                     \
     unsigned shared_bytes, CuStream stream, void **parameters, void **extra)) \
  X(cuGraphInstantiateWithFlags,                                               \
    (CuGraphExec * executable, CuGraph graph, unsigned long long flags))       \
  X(cuGraphLaunch, (CuGraphExec executable, CuStream stream))                  \
  X(cuGraphExecDestroy, (CuGraphExec executable))                              \
  X(cuGraphDestroy, (CuGraph graph))

/// The functions, once loaded.
struct CudaApi {
#define HEADRACE_CUDA_MEMBER(Name, Parameters)                                 \
  CuResult(*Name) Parameters = nullptr;
  HEADRACE_CUDA_FUNCTIONS(HEADRACE_CUDA_MEMBER)
#undef HEADRACE_CUDA_MEMBER
};

//===----------------------------------------------------------------------===//
// cuBLASLt
//===----------------------------------------------------------------------===//

using LtHandle = struct LtContext *;

struct LtLayout {
  uint64_t data[8];
};
struct LtDescription {
  uint64_t data[32];
};
struct LtPreference {
  uint64_t data[8];
};
struct LtAlgorithm {
  uint64_t data[8];
};
struct LtHeuristic {
  LtAlgorithm algorithm;
  size_t workspace_bytes;
  int state; // 0: usable
  float waves;
  int reserved[4];
};

constexpr int kLtOperationTranspose = 1;
constexpr int kLtComputeF32 = 68;
constexpr int kLtTypeF32 = 0;
constexpr int kLtTypeF16 = 2;
constexpr int kLtTypeBf16 = 14;
constexpr int kLtDescriptionTransposeA = 3;
constexpr int kLtDescriptionEpilogue = 7;
constexpr int kLtDescriptionBiasPointer = 8;
constexpr int kLtDescriptionBiasType = 26;
constexpr uint32_t kLtEpilogueBias = 4;
constexpr int kLtPreferenceWorkspaceBytes = 1;
constexpr int kLtPreferenceAlignmentA = 5;
constexpr int kLtPreferenceAlignmentB = 6;
constexpr int kLtPreferenceAlignmentC = 7;
constexpr int kLtPreferenceAlignmentD = 8;

/// All return a cublasStatus_t, 0 for success.
#define HEADRACE_CUBLASLT_FUNCTIONS(X)                                         \
  X(cublasLtCreate, (LtHandle * handle))                                       \
  X(cublasLtDestroy, (LtHandle handle))                                        \
  X(cublasLtMatmulDescCreate,                                                  \
    (LtDescription * *description, int compute, int scale))                    \
  X(cublasLtMatmulDescDestroy, (LtDescription * description))                  \
  X(cublasLtMatmulDescSetAttribute,                                            \
    (LtDescription * description, int attribute, const void *value,            \
     size_t bytes))                                                            \
  X(cublasLtMatrixLayoutCreate, (LtLayout * *layout, int type, uint64_t rows,  \
                                 uint64_t columns, int64_t stride))            \
  X(cublasLtMatrixLayoutDestroy, (LtLayout * layout))                          \
  X(cublasLtMatmulPreferenceCreate, (LtPreference * *preference))              \
  X(cublasLtMatmulPreferenceDestroy, (LtPreference * preference))              \
  X(cublasLtMatmulPreferenceSetAttribute,                                      \
    (LtPreference * preference, int attribute, const void *value,              \
     size_t bytes))                                                            \
  X(cublasLtMatmulAlgoGetHeuristic,                                            \
    (LtHandle handle, LtDescription * description, LtLayout * a, LtLayout * b, \
     LtLayout * c, LtLayout * d, LtPreference * preference, int wanted,        \
     LtHeuristic *found, int *count))                                          \
  X(cublasLtMatmul,                                                            \
    (LtHandle handle, LtDescription * description, const void *alpha,          \
     const void *a, LtLayout *a_layout, const void *b, LtLayout *b_layout,     \
     const void *beta, const void *c, LtLayout *c_layout, void *d,             \
     LtLayout *d_layout, const LtAlgorithm *algorithm, void *workspace,        \
     size_t workspace_bytes, CuStream stream))

struct CublasLtApi {
#define HEADRACE_CUBLASLT_MEMBER(Name, Parameters)                             \
  int(*Name) Parameters = nullptr;
  HEADRACE_CUBLASLT_FUNCTIONS(HEADRACE_CUBLASLT_MEMBER)
#undef HEADRACE_CUBLASLT_MEMBER
};

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_API_H
