// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device: what a driver implements: running resolved launches on threads or on
// a stream.
#ifndef HEADRACE_RUNTIME_SRC_DEVICE_H
#define HEADRACE_RUNTIME_SRC_DEVICE_H

#include "headrace/device.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/src/instance.h"
#include "runtime/src/package.h"

namespace headrace::runtime {

/// One launch with everything resolved but the counts of a step.
struct Launch {
  headrace_kernel_fn_t function = nullptr;
  void *const *buffers = nullptr;
  const uint32_t *weight_ids = nullptr;
  abi::GridKind grid_kind = abi::GridKind::fixed;
  uint64_t grid_base = 0;
  uint64_t grid_block = 0;
  uint64_t grid_limit = 0;
  const char *kernel_name = nullptr; // for reports
};

/// One run of an entry point. Everything pointed to outlives the run, but for
/// `cancel`, which is not read once the run was told to stop.
struct Run {
  const char *entry_name = nullptr;
  const Launch *launches = nullptr;
  size_t launch_count = 0;
  const void *const *weights = nullptr;
  void *const *worker_scratch = nullptr; // one for each thread
  int64_t counts[HEADRACE_COUNT_COUNT] = {};
  const headrace_cancel_t *cancel = nullptr;
  uint64_t deadline_ns = 0; // of MonotonicNs(); 0: none
};

/// Nanoseconds of the clock that deadlines are told in.
uint64_t MonotonicNs();

} // namespace headrace::runtime

struct headrace_device_t : headrace::runtime::RefCounted {
  explicit headrace_device_t(headrace_instance_t *instance)
      : instance(headrace::runtime::InstanceRef::Share(instance)) {}
  virtual ~headrace_device_t() = default;

  virtual uint32_t ThreadCount() const = 0;

  /// Runs the launches in order on the calling thread and the device's own.
  /// Codes: cancelled, deadline exceeded, device lost. After the last one the
  /// device may still be using what `run` points to, for ever.
  virtual headrace::runtime::Status
  Execute(const headrace::runtime::Run &run) = 0;

  /// Ends the object and its memory.
  virtual void Destroy() = 0;

  const headrace::runtime::InstanceRef instance;
};

namespace headrace::runtime {

using DeviceRef = Ref<headrace_device_t, headrace_device_release>;

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_DEVICE_H
