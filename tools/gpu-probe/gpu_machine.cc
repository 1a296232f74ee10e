// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU machine: levels, links and rates, and where each number is from.
#include "tools/gpu-probe/gpu_machine.h"

#include <algorithm>
#include <cmath>

namespace headrace::probe {
namespace {

/// Operations of one multiprocessor in a clock, a multiply-add being two.
struct ClockRates {
  uint32_t capability;
  uint64_t bf16, f16, tf32, f8, i8, f32; // 0: it has no such instruction
};

/// Tensor cores from NVIDIA's A100 and H100 whitepapers, dense and with float32
/// sums; f32 from the CUDA programming guide's table of arithmetic throughput.
/// Chips of other capabilities differ among each other, or are not described.
constexpr ClockRates kClockRates[] = {
    {80, 2048, 2048, 1024, 0, 4096, 128},
    {90, 4096, 4096, 2048, 8192, 8192, 256},
};

std::string Number(uint64_t value) { return std::to_string(value); }

/// As text between quotes.
std::string Plain(std::string text) {
  for (char &c : text)
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ')
      c = ' ';
  return text;
}

std::string Version(uint32_t version) { // 13020: 13.2
  return Number(version / 1000) + "." + Number(version % 1000 / 10);
}

std::string Levels(const GpuReading &gpu, const HostFigures &host) {
  std::string text =
      "  levels = [\n"
      "    // The driver's: shared memory of a block; blocks "
      "run on so many multiprocessors.\n"
      "    <\"sram\", bytes = " +
      Number(std::max<uint64_t>(gpu.shared_bytes, 1)) +
      ", count = " + Number(std::max<uint32_t>(gpu.multiprocessors, 1)) +
      ", alignment = 16>,\n";
  if (gpu.l2_bytes)
    text += "    <\"l2\", bytes = " + Number(gpu.l2_bytes) +
            ", alignment = 128>,\n";
  text += "    <\"hbm\", bytes = " + Number(gpu.memory_bytes) +
          ", alignment = 256>,\n    // The host's.\n    <\"dram\", bytes = " +
          Number(host.dram_bytes) + ", alignment = 4096>";
  if (host.disk)
    text += ",\n    <\"disk\", bytes = " + Number(host.disk->capacity) +
            ", alignment = 4096>";
  return text + "],\n";
}

std::string Links(const GpuReading &gpu, const HostFigures &host) {
  auto copied = [](const char *from, const char *to, double rate,
                   double latency) {
    return std::string("    <\"") + from + "\" to \"" + to +
           "\", bandwidth = " + Number(Rounded(rate)) +
           ", latency = " + Number(Rounded(latency)) + ">";
  };
  std::string text =
      "  links = [\n"
      "    // A copy within the memory, read and written together; a kernel "
      "that only reads\n    // may get more.\n"
      "    <\"hbm\" to \"sram\", bandwidth = " +
      Number(Rounded(gpu.memory_bytes_per_second)) +
      ">,\n    // One copy of pinned memory at a time; one page from its "
      "request "
      "to its end.\n" +
      copied("dram", "hbm", gpu.to_device_bytes_per_second,
             gpu.to_device_latency_ns) +
      ",\n" +
      copied("hbm", "dram", gpu.to_host_bytes_per_second,
             gpu.to_host_latency_ns);
  if (const auto &disk = host.disk) {
    const uint64_t read = Rounded(disk->read_bytes_per_second);
    text += ",\n    // Past the page cache; one request at a time.\n"
            "    <\"disk\" to \"dram\", bandwidth = " +
            Number(read) + ", latency = " + Number(Rounded(disk->latency_ns)) +
            ", request = " +
            Number(std::min(Rounded(disk->request_bytes_per_second), read)) +
            ">,\n    <\"dram\" to \"disk\", bandwidth = " +
            Number(Rounded(disk->write_bytes_per_second)) + ">";
  }
  return text + "],\n";
}

std::string Compute(const GpuReading &gpu) {
  const ClockRates *rates = nullptr;
  for (const ClockRates &one : kClockRates)
    if (one.capability == gpu.capability)
      rates = &one;
  if (!rates || !gpu.clock_hz || !gpu.multiprocessors)
    return "  // No rates of compute: NVIDIA prints none that holds for every "
           "chip of this\n  // capability.\n";
  std::string text =
      "  // " + Number(gpu.multiprocessors) + " multiprocessors at " +
      Number(gpu.clock_hz / 1000000) +
      " MHz, the highest clock, under load lower; what\n  // one "
      "does in a clock is in NVIDIA's whitepaper of the chip and "
      "in the CUDA\n  // programming guide.\n  compute = [";
  const char *between = "";
  const std::pair<const char *, uint64_t> types[] = {
      {"bf16", rates->bf16}, {"f16", rates->f16}, {"tf32", rates->tf32},
      {"f8", rates->f8},     {"i8", rates->i8},   {"f32", rates->f32}};
  for (auto [type, in_a_clock] : types) {
    if (!in_a_clock)
      continue;
    text += std::string(between) + "\n    <\"" + type + "\", operations = " +
            Number(Rounded(double(in_a_clock) * double(gpu.clock_hz) *
                           gpu.multiprocessors)) +
            ">";
    between = ",";
  }
  return text + "],\n";
}

} // namespace

uint64_t Rounded(double value) {
  if (!(value >= 1))
    return 1;
  double unit = std::pow(10, std::floor(std::log10(value)) - 2);
  return uint64_t(std::max(1.0, std::round(value / unit) * unit));
}

std::string WriteMachine(const GpuReading &gpu, const HostFigures &host) {
  return "// Recorded by " + host.recorder + " on " + host.date + ": " +
         Plain(gpu.name) + ", compute capability " +
         Number(gpu.capability / 10) + "." + Number(gpu.capability % 10) +
         ", a driver for CUDA " + Version(gpu.driver_version) +
         ".\n// Sizes are the driver's; rates were measured through it, "
         "without "
         "kernels.\n#tier.machine<\"" +
         Plain(gpu.name) + "\",\n" + Levels(gpu, host) + Links(gpu, host) +
         Compute(gpu) +
         "  // One of many tiny fills that wait for each other in a captured "
         "graph.\n  launch = " +
         Number(Rounded(gpu.launch_ns)) + ">\n";
}

} // namespace headrace::probe
