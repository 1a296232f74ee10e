// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU machine: a reading as the text of a #tier.machine.
#ifndef HEADRACE_TOOLS_GPU_PROBE_GPU_MACHINE_H
#define HEADRACE_TOOLS_GPU_PROBE_GPU_MACHINE_H

#include "tools/gpu-probe/gpu_probe.h"

#include <optional>

namespace headrace::probe {

/// Of the disk that the host reads packages from.
struct DiskFigures {
  uint64_t capacity = 0;
  double read_bytes_per_second = 0;    ///< Several requests at a time.
  double request_bytes_per_second = 0; ///< Of one request.
  double write_bytes_per_second = 0;
  double latency_ns = 0;
};

/// What is beside the GPU.
struct HostFigures {
  std::string recorder; ///< The program, for the first line.
  std::string date;     ///< UTC, ISO 8601.
  uint64_t dram_bytes = 0;
  std::optional<DiskFigures> disk;
};

/// Measured figures do not repeat beyond three digits; at least 1.
uint64_t Rounded(double value);

/// The levels and links of a machine whose fast memory is the GPU's, each
/// number with its source. Rates of compute are in it where NVIDIA prints what
/// a multiprocessor of that capability does in a clock.
std::string WriteMachine(const GpuReading &gpu, const HostFigures &host);

} // namespace headrace::probe

#endif // HEADRACE_TOOLS_GPU_PROBE_GPU_MACHINE_H
