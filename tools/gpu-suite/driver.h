// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Driver: the driver's interface itself, below the runtime, for what is timed
// or done beside it.
#ifndef HEADRACE_TOOLS_GPU_SUITE_DRIVER_H
#define HEADRACE_TOOLS_GPU_SUITE_DRIVER_H

#include "runtime/drivers/cuda/cuda_api.h"
#include "tools/gpu-suite/suite_file.h"

namespace headrace::suite {

/// The functions of libcuda in the primary context of a device, which is the
/// runtime's, too. The context is current in the thread that opened it.
class Driver {
public:
  Driver() = default;
  Driver(const Driver &) = delete;
  Driver &operator=(const Driver &) = delete;
  ~Driver();

  Failure Open(uint32_t ordinal);
  /// False for a result that is no success, which Wrong() then tells.
  bool Try(runtime::cuda::CuResult result);
  /// Looks until `event` has passed.
  bool Await(runtime::cuda::CuEvent event);
  Failure Wrong() const;

  runtime::cuda::CudaApi api;

private:
  runtime::cuda::CuResult failed = runtime::cuda::kCuSuccess;
  runtime::cuda::CuDevice number = 0;
  runtime::cuda::CuContext context = nullptr;
};

/// Fills a piece of device memory that is far larger than any cache, so that
/// what runs next finds none of its weights there.
class CacheFlush {
public:
  CacheFlush() = default;
  CacheFlush(const CacheFlush &) = delete;
  CacheFlush &operator=(const CacheFlush &) = delete;
  ~CacheFlush();

  Failure Open(uint32_t ordinal);
  /// Returns when the memory is filled.
  Failure Run();

private:
  static constexpr size_t kBytes = size_t(256) << 20;

  Driver driver;
  runtime::cuda::CuStream stream = nullptr;
  runtime::cuda::CuEvent done = nullptr;
  runtime::cuda::CuAddress memory = 0;
  unsigned char value = 0;
};

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_DRIVER_H
