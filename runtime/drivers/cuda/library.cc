// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Library: dlopen, dlsym, and what is said when they fail.
#include "runtime/drivers/cuda/library.h"

#include <cstdio>
#include <dlfcn.h>

namespace headrace::runtime::cuda {

SharedObject::~SharedObject() {
  if (handle)
    dlclose(handle);
}

bool SharedObject::Open(const char *name) {
  // Never unmapped: a driver leaves threads and exit handlers behind.
  handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  return handle != nullptr;
}

void *SharedObject::Symbol(const char *name) const {
  return dlsym(handle, name);
}

namespace {

/// Sets one function; false with its name where the library lacks it.
template <typename Function>
bool Load(const SharedObject &object, const char *name, Function *out) {
  *out = reinterpret_cast<Function>(object.Symbol(name));
  return *out != nullptr;
}

} // namespace

Status CudaLibrary::Open(const Allocator &allocator, const char *path) {
  const char *name = path ? path : "libcuda.so.1";
  if (!object.Open(name))
    return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,
                      "cuda: no such device: '%.500s' cannot be loaded; it "
                      "comes with the NVIDIA driver",
                      name);
#define HEADRACE_CUDA_LOAD(Name, Parameters)                                   \
  if (!Load(object, #Name, &api.Name))                                         \
    return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,                  \
                      "cuda: '%.500s' has no " #Name                           \
                      "; a driver for CUDA 11.4 or newer is needed",           \
                      name);
  HEADRACE_CUDA_FUNCTIONS(HEADRACE_CUDA_LOAD)
#undef HEADRACE_CUDA_LOAD
  if (CuResult result = api.cuInit(0); result != kCuSuccess)
    return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,
                      "cuda: no such device: cuInit: %s",
                      Describe(result).text);
  return Status();
}

CudaLibrary::Reason CudaLibrary::Describe(CuResult result) const {
  const char *name = nullptr;
  const char *text = nullptr;
  if (api.cuGetErrorName(result, &name) != kCuSuccess || !name)
    name = "no name";
  if (api.cuGetErrorString(result, &text) != kCuSuccess || !text)
    text = "unknown result";
  Reason reason;
  std::snprintf(reason.text, sizeof(reason.text), "%s (%s, %d)", text, name,
                static_cast<int>(result));
  return reason;
}

Status CublasLtLibrary::Open(const Allocator &allocator, const char *path) {
  if (path) {
    if (!object.Open(path))
      return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,
                        "cuda: '%.500s' cannot be loaded", path);
  } else if (!object.Open("libcublasLt.so.13") &&
             !object.Open("libcublasLt.so.12") &&
             !object.Open("/usr/local/cuda/lib64/libcublasLt.so")) {
    return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,
                      "cuda: the package needs cuBLASLt, but neither "
                      "libcublasLt.so.13 nor libcublasLt.so.12 can be loaded; "
                      "it comes with the CUDA toolkit");
  }
#define HEADRACE_CUBLASLT_LOAD(Name, Parameters)                               \
  if (!Load(object, #Name, &api.Name))                                         \
    return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,                  \
                      "cuda: libcublasLt has no " #Name);
  HEADRACE_CUBLASLT_FUNCTIONS(HEADRACE_CUBLASLT_LOAD)
#undef HEADRACE_CUBLASLT_LOAD
  return Status();
}

} // namespace headrace::runtime::cuda
