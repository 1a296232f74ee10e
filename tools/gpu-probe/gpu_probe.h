// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU probe: what a GPU says of itself, and what its memory and its link carry.
#ifndef HEADRACE_TOOLS_GPU_PROBE_GPU_PROBE_H
#define HEADRACE_TOOLS_GPU_PROBE_GPU_PROBE_H

#include "tools/gpu-probe/driver.h"

#include <cstdint>

namespace headrace::probe {

/// Rates are the best of some runs; times are by the device's own events.
struct GpuReading {
  std::string name;            ///< As the device calls itself.
  uint32_t capability = 0;     ///< 90 for 9.0.
  uint32_t driver_version = 0; ///< 13000 for 13.0.
  uint32_t multiprocessors = 0;
  uint64_t clock_hz = 0;     ///< The highest that it may run at.
  uint64_t memory_bytes = 0; ///< Of the device.
  uint64_t l2_bytes = 0;     ///< 0: it says nothing of one.
  uint64_t shared_bytes = 0; ///< That a block may have.
  /// Read and written together by a copy within the device's memory.
  double memory_bytes_per_second = 0;
  /// One copy of pinned memory at a time, in either direction.
  double to_device_bytes_per_second = 0;
  double to_host_bytes_per_second = 0;
  /// From the request of such a copy of one page to its end.
  double to_device_latency_ns = 0;
  double to_host_latency_ns = 0;
  /// One of many tiny fills that wait for each other in a captured graph.
  double launch_ns = 0;
};

/// Measures device `ordinal`; takes some hundred MB of its memory and of the
/// host's meanwhile. Fails where there is no libcuda or no such device.
Failure ProbeGpu(uint32_t ordinal, GpuReading *out);

} // namespace headrace::probe

#endif // HEADRACE_TOOLS_GPU_PROBE_GPU_PROBE_H
