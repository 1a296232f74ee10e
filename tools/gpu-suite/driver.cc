// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Driver: loading libcuda, and filling the caches with something else.
#include "tools/gpu-suite/driver.h"

#include <dlfcn.h>

namespace headrace::suite {

using namespace headrace::runtime::cuda;

Driver::~Driver() {
  if (!context)
    return;
  api.cuCtxPopCurrent_v2(&context);
  api.cuDevicePrimaryCtxRelease_v2(number);
}

Failure Driver::Open(uint32_t ordinal) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NODELETE);
  if (!library)
    return "libcuda.so.1 cannot be loaded";
#define LOAD(Name, Parameters)                                                 \
  api.Name = reinterpret_cast<decltype(api.Name)>(dlsym(library, #Name));      \
  if (!api.Name)                                                               \
    return "libcuda.so.1 has no " #Name;
  HEADRACE_CUDA_FUNCTIONS(LOAD)
#undef LOAD
  dlclose(library);
  CuContext retained = nullptr;
  if (!Try(api.cuInit(0)) ||
      !Try(api.cuDeviceGet(&number, static_cast<int>(ordinal))) ||
      !Try(api.cuDevicePrimaryCtxRetain(&retained, number)))
    return Wrong();
  if (!Try(api.cuCtxPushCurrent_v2(retained))) {
    api.cuDevicePrimaryCtxRelease_v2(number);
    return Wrong();
  }
  context = retained;
  return Failure();
}

bool Driver::Try(CuResult result) {
  if (result != kCuSuccess)
    failed = result;
  return result == kCuSuccess;
}

bool Driver::Await(CuEvent event) {
  CuResult result;
  do
    result = api.cuEventQuery(event);
  while (result == kCuNotReady);
  return Try(result);
}

Failure Driver::Wrong() const {
  return "the driver's interface gave " + std::to_string(failed);
}

CacheFlush::~CacheFlush() {
  if (done)
    driver.api.cuEventDestroy_v2(done);
  if (stream)
    driver.api.cuStreamDestroy_v2(stream);
  if (memory)
    driver.api.cuMemFree_v2(memory);
}

Failure CacheFlush::Open(uint32_t ordinal) {
  if (Failure failure = driver.Open(ordinal); !failure.empty())
    return failure;
  const CudaApi &api = driver.api;
  if (!driver.Try(api.cuStreamCreate(&stream, kCuStreamNonBlocking)) ||
      !driver.Try(api.cuEventCreate(&done, kCuEventDisableTiming)) ||
      !driver.Try(api.cuMemAlloc_v2(&memory, kBytes)))
    return driver.Wrong();
  return Failure();
}

Failure CacheFlush::Run() {
  const CudaApi &api = driver.api;
  if (!driver.Try(api.cuMemsetD8Async(memory, ++value, kBytes, stream)) ||
      !driver.Try(api.cuEventRecord(done, stream)) || !driver.Await(done))
    return driver.Wrong();
  return Failure();
}

} // namespace headrace::suite
