// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Driver: loading libcuda, and waiting.
#include "tools/gpu-probe/driver.h"

#include <dlfcn.h>

namespace headrace::probe {

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
    return "libcuda.so.1 cannot be loaded; it comes with the NVIDIA driver";
#define LOAD(Name, Parameters)                                                 \
  api.Name = reinterpret_cast<decltype(api.Name)>(dlsym(library, #Name));      \
  if (!api.Name)                                                               \
    return "libcuda.so.1 has no " #Name                                        \
           "; a driver for CUDA 11.4 or newer is needed";
  HEADRACE_CUDA_FUNCTIONS(LOAD)
#undef LOAD
  dlclose(library);
  int count = 0;
  if (!Try(api.cuInit(0)) || !Try(api.cuDeviceGetCount(&count)))
    return Wrong();
  if (count <= 0 || ordinal >= static_cast<uint32_t>(count))
    return "no such device: 'cuda:" + std::to_string(ordinal) + "' of " +
           std::to_string(count);
  CuContext retained = nullptr;
  if (!Try(api.cuDeviceGet(&number, static_cast<int>(ordinal))) ||
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
  const char *text = nullptr;
  if (api.cuGetErrorString(failed, &text) != kCuSuccess || !text)
    text = "unknown result";
  return "the driver's interface: " + std::string(text) + " (" +
         std::to_string(failed) + ")";
}

} // namespace headrace::probe
