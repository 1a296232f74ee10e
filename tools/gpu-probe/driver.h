// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Driver: the driver's interface itself, below the runtime, for what is timed
// or done beside it.
#ifndef HEADRACE_TOOLS_GPU_PROBE_DRIVER_H
#define HEADRACE_TOOLS_GPU_PROBE_DRIVER_H

#include "runtime/drivers/cuda/cuda_api.h"

#include <string>

namespace headrace::probe {

/// Why something did not work, as one line; empty for success.
using Failure = std::string;

/// The functions of libcuda in the primary context of a device, which is the
/// runtime's, too. The context is current in the thread that opened it.
class Driver {
public:
  Driver() = default;
  Driver(const Driver &) = delete;
  Driver &operator=(const Driver &) = delete;
  ~Driver();

  /// Opens device `ordinal` of those that the driver counts.
  Failure Open(uint32_t ordinal);
  /// False for a result that is no success, which Wrong() then tells.
  bool Try(runtime::cuda::CuResult result);
  /// Looks until `event` has passed.
  bool Await(runtime::cuda::CuEvent event);
  Failure Wrong() const;
  runtime::cuda::CuDevice Device() const { return number; }

  runtime::cuda::CudaApi api;

private:
  runtime::cuda::CuResult failed = runtime::cuda::kCuSuccess;
  runtime::cuda::CuDevice number = 0;
  runtime::cuda::CuContext context = nullptr;
};

} // namespace headrace::probe

#endif // HEADRACE_TOOLS_GPU_PROBE_DRIVER_H
