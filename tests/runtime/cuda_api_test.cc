// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compares our declarations of libcuda and cuBLASLt with the toolkit's headers:
// numbers, sizes, and each function's parameters. Built where there is one.
#include "runtime/drivers/cuda/cuda_api.h"

#include <cublasLt.h>
#define __CUDA_API_VERSION_INTERNAL // also the versions that newer ones
                                    // replaced
#include <cuda.h>
#include <gtest/gtest.h>

#include <dlfcn.h>
#include <type_traits>

namespace headrace::runtime::cuda {
namespace {

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

/// Whether an argument of one type can stand for one of the other.
template <typename Ours, typename Theirs>
constexpr bool kSameArgument =
    sizeof(Ours) == sizeof(Theirs) &&
    std::is_pointer_v<Ours> == std::is_pointer_v<Theirs> &&
    std::is_floating_point_v<Ours> == std::is_floating_point_v<Theirs>;

template <typename Ours, typename Theirs> struct SameFunction {
  static constexpr bool kValue = false;
};
template <typename R, typename S, typename... Ours, typename... Theirs>
struct SameFunction<R (*)(Ours...), S (*)(Theirs...)> {
  static constexpr bool Compare() {
    if constexpr (sizeof...(Ours) == sizeof...(Theirs))
      return sizeof(R) == sizeof(S) && (kSameArgument<Ours, Theirs> && ...);
    else
      return false;
  }
  static constexpr bool kValue = Compare();
};

#define SAME_CUDA(Name, Parameters)                                            \
  static_assert(                                                               \
      SameFunction<decltype(CudaApi::Name), decltype(&::Name)>::kValue,        \
      #Name " differs from cuda.h");
HEADRACE_CUDA_FUNCTIONS(SAME_CUDA)

#define SAME_CUBLASLT(Name, Parameters)                                        \
  static_assert(                                                               \
      SameFunction<decltype(CublasLtApi::Name), decltype(&::Name)>::kValue,    \
      #Name " differs from cublasLt.h");
HEADRACE_CUBLASLT_FUNCTIONS(SAME_CUBLASLT)

/// The symbols are there under these names: in the toolkit's stand-in for the
/// driver, and in cuBLASLt.
TEST(CudaApi, SymbolsExist) {
  void *library = dlopen(HEADRACE_CUDA_STUB, RTLD_LAZY | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
#define EXISTS(Name, Parameters)                                               \
  EXPECT_NE(dlsym(library, #Name), nullptr) << #Name;
  HEADRACE_CUDA_FUNCTIONS(EXISTS)
  dlclose(library);
  // It stays, or what its C++ runtime holds would be a leak.
  library = dlopen(HEADRACE_CUBLASLT, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  ASSERT_NE(library, nullptr) << dlerror();
  HEADRACE_CUBLASLT_FUNCTIONS(EXISTS)
  dlclose(library);
#undef EXISTS
}

//===----------------------------------------------------------------------===//
// Types and numbers
//===----------------------------------------------------------------------===//

static_assert(sizeof(CuResult) == sizeof(CUresult));
static_assert(sizeof(CuDevice) == sizeof(CUdevice));
static_assert(sizeof(CuAddress) == sizeof(CUdeviceptr));
static_assert(sizeof(LtLayout) == sizeof(cublasLtMatrixLayoutOpaque_t));
static_assert(sizeof(LtDescription) == sizeof(cublasLtMatmulDescOpaque_t));
static_assert(sizeof(LtPreference) == sizeof(cublasLtMatmulPreferenceOpaque_t));
static_assert(sizeof(LtAlgorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(LtHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(LtHeuristic, state) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));

TEST(CudaApi, NumbersAreThoseOfTheHeaders) {
  const struct {
    long long ours, theirs;
  } pairs[] = {
      {kCuSuccess, CUDA_SUCCESS},
      {kCuInvalidValue, CUDA_ERROR_INVALID_VALUE},
      {kCuOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY},
      {kCuNotInitialized, CUDA_ERROR_NOT_INITIALIZED},
      {kCuDeinitialized, CUDA_ERROR_DEINITIALIZED},
      {kCuStubLibrary, CUDA_ERROR_STUB_LIBRARY},
      {kCuDeviceUnavailable, CUDA_ERROR_DEVICE_UNAVAILABLE},
      {kCuNoDevice, CUDA_ERROR_NO_DEVICE},
      {kCuInvalidDevice, CUDA_ERROR_INVALID_DEVICE},
      {kCuInvalidImage, CUDA_ERROR_INVALID_IMAGE},
      {kCuInvalidContext, CUDA_ERROR_INVALID_CONTEXT},
      {kCuNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU},
      {kCuEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE},
      {kCuInvalidPtx, CUDA_ERROR_INVALID_PTX},
      {kCuNvlinkUncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE},
      {kCuJitCompilerNotFound, CUDA_ERROR_JIT_COMPILER_NOT_FOUND},
      {kCuUnsupportedPtxVersion, CUDA_ERROR_UNSUPPORTED_PTX_VERSION},
      {kCuJitCompilationDisabled, CUDA_ERROR_JIT_COMPILATION_DISABLED},
      {kCuNotFound, CUDA_ERROR_NOT_FOUND},
      {kCuNotReady, CUDA_ERROR_NOT_READY},
      {kCuIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS},
      {kCuLaunchOutOfResources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
      {kCuLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT},
      {kCuContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED},
      {kCuAssert, CUDA_ERROR_ASSERT},
      {kCuHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR},
      {kCuIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION},
      {kCuMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS},
      {kCuInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE},
      {kCuInvalidPc, CUDA_ERROR_INVALID_PC},
      {kCuLaunchFailed, CUDA_ERROR_LAUNCH_FAILED},
      {kCuSystemNotReady, CUDA_ERROR_SYSTEM_NOT_READY},
      {kCuSystemDriverMismatch, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH},
      {kCuExternalDevice, CUDA_ERROR_EXTERNAL_DEVICE},
      {kCuUnknown, CUDA_ERROR_UNKNOWN},
      {kCuAttributeClockRate, CU_DEVICE_ATTRIBUTE_CLOCK_RATE},
      {kCuAttributeL2CacheSize, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE},
      {kCuAttributeMultiprocessorCount,
       CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
      {kCuAttributeComputeCapabilityMajor,
       CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
      {kCuAttributeComputeCapabilityMinor,
       CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
      {kCuAttributeMaxSharedMemoryPerBlockOptin,
       CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN},
      {kCuFunctionMaxDynamicSharedSizeBytes,
       CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES},
      {kCuStreamNonBlocking, CU_STREAM_NON_BLOCKING},
      {kCuEventDefault, CU_EVENT_DEFAULT},
      {kCuEventDisableTiming, CU_EVENT_DISABLE_TIMING},
      {kCuEventRecordExternal, CU_EVENT_RECORD_EXTERNAL},
      {kCuCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
      {kCuHostPortable, CU_MEMHOSTALLOC_PORTABLE},
      {kCuJitErrorLogBuffer, CU_JIT_ERROR_LOG_BUFFER},
      {kCuJitErrorLogBufferBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES},
      {kLtOperationTranspose, CUBLAS_OP_T},
      {kLtComputeF32, CUBLAS_COMPUTE_32F},
      {kLtTypeF32, CUDA_R_32F},
      {kLtTypeF16, CUDA_R_16F},
      {kLtTypeBf16, CUDA_R_16BF},
      {kLtDescriptionTransposeA, CUBLASLT_MATMUL_DESC_TRANSA},
      {kLtDescriptionEpilogue, CUBLASLT_MATMUL_DESC_EPILOGUE},
      {kLtDescriptionBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER},
      {kLtDescriptionBiasType, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE},
      {kLtEpilogueBias, CUBLASLT_EPILOGUE_BIAS},
      {kLtPreferenceWorkspaceBytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES},
      {kLtPreferenceAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES},
      {kLtPreferenceAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES},
      {kLtPreferenceAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES},
      {kLtPreferenceAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES},
  };
  for (const auto &pair : pairs)
    EXPECT_EQ(pair.ours, pair.theirs);
  EXPECT_EQ(LaunchParamEnd(), CU_LAUNCH_PARAM_END);
  EXPECT_EQ(LaunchParamBufferPointer(), CU_LAUNCH_PARAM_BUFFER_POINTER);
  EXPECT_EQ(LaunchParamBufferSize(), CU_LAUNCH_PARAM_BUFFER_SIZE);
}

} // namespace
} // namespace headrace::runtime::cuda
