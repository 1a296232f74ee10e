// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Library: libcuda and cuBLASLt, looked for when a device is asked for, so that
// one binary runs with and without them.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_LIBRARY_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_LIBRARY_H

#include "runtime/drivers/cuda/cuda_api.h"
#include "runtime/src/status.h"

namespace headrace::runtime::cuda {

/// Owns one handle of the dynamic linker; empty by default.
class SharedObject {
public:
  SharedObject() = default;
  SharedObject(const SharedObject &) = delete;
  SharedObject &operator=(const SharedObject &) = delete;
  ~SharedObject();

  /// Opens the library called `name`, the one that is loaded already if the
  /// process has it. False where there is none.
  bool Open(const char *name);
  void *Symbol(const char *name) const;

private:
  void *handle = nullptr;
};

class CudaLibrary {
public:
  /// Loads and initialises libcuda; `path` may be null.
  /// Codes: unavailable (no library, no driver, or one that is too old).
  Status Open(const Allocator &allocator, const char *path);

  /// "out of memory (CUDA_ERROR_OUT_OF_MEMORY)", for messages.
  struct Reason {
    char text[160];
  };
  Reason Describe(CuResult result) const;

  CudaApi api;

private:
  SharedObject object;
};

class CublasLtLibrary {
public:
  /// Loads cuBLASLt; `path` may be null.
  /// Codes: unavailable.
  Status Open(const Allocator &allocator, const char *path);

  CublasLtApi api;

private:
  SharedObject object;
};

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_LIBRARY_H
