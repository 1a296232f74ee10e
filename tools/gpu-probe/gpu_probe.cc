// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU probe: copies, fills and events through the driver's interface. There are
// no kernels: they would need a compiler here or one at the driver's.
#include "tools/gpu-probe/gpu_probe.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace headrace::probe {
namespace {

using namespace headrace::runtime::cuda;

constexpr int kRepeats = 5;
/// Of one run, so that what an event takes does not show.
constexpr int kCopies = 4;
/// What is copied is this many times what the L2 cache holds, and no less than
/// what keeps a link busy for milliseconds.
constexpr uint64_t kCaches = 8;
constexpr uint64_t kLeastBytes = 16u << 20;
constexpr uint64_t kMostBytes = 512u << 20;
constexpr uint64_t kPage = 4096;
constexpr int kFills = 512;
constexpr int kRequests = 32;

class Probe {
public:
  Probe() = default;
  Probe(const Probe &) = delete;
  Probe &operator=(const Probe &) = delete;
  ~Probe() {
    if (graph)
      api.cuGraphExecDestroy(graph);
    for (CuEvent event : {start, end})
      if (event)
        api.cuEventDestroy_v2(event);
    if (stream)
      api.cuStreamDestroy_v2(stream);
    for (CuAddress address : {from, to})
      if (address)
        api.cuMemFree_v2(address);
    if (host)
      api.cuMemFreeHost(host);
  }

  Failure Run(uint32_t ordinal, GpuReading *out) {
    if (Failure failure = driver.Open(ordinal); !failure.empty())
      return failure;
    if (!Describe(out))
      return driver.Wrong();
    bytes = std::clamp(out->l2_bytes * kCaches, kLeastBytes, kMostBytes);
    if (bytes > out->memory_bytes / 4)
      return "the device has only " + std::to_string(out->memory_bytes) +
             " bytes of memory";
    if (!Create() || !Measure(out))
      return driver.Wrong();
    return Failure();
  }

private:
  bool Try(CuResult result) { return driver.Try(result); }

  bool Describe(GpuReading *out) {
    auto attribute = [&](int which, auto *value) {
      int read = 0;
      if (!Try(api.cuDeviceGetAttribute(&read, which, driver.Device())))
        return false;
      *value = static_cast<std::remove_pointer_t<decltype(value)>>(
          std::max(read, 0));
      return true;
    };
    char name[256] = {};
    int version = 0;
    size_t memory = 0;
    uint32_t major = 0, minor = 0;
    uint64_t clock_khz = 0;
    if (!Try(api.cuDeviceGetName(name, sizeof(name), driver.Device())) ||
        !Try(api.cuDriverGetVersion(&version)) ||
        !Try(api.cuDeviceTotalMem_v2(&memory, driver.Device())) ||
        !attribute(kCuAttributeComputeCapabilityMajor, &major) ||
        !attribute(kCuAttributeComputeCapabilityMinor, &minor) ||
        !attribute(kCuAttributeMultiprocessorCount, &out->multiprocessors) ||
        !attribute(kCuAttributeClockRate, &clock_khz) ||
        !attribute(kCuAttributeL2CacheSize, &out->l2_bytes) ||
        !attribute(kCuAttributeMaxSharedMemoryPerBlockOptin,
                   &out->shared_bytes))
      return false;
    out->name = name;
    out->driver_version = static_cast<uint32_t>(version);
    out->memory_bytes = memory;
    out->capability = major * 10 + minor;
    out->clock_hz = clock_khz * 1000;
    return true;
  }

  bool Create() {
    if (!Try(api.cuStreamCreate(&stream, kCuStreamNonBlocking)) ||
        !Try(api.cuEventCreate(&start, kCuEventDefault)) ||
        !Try(api.cuEventCreate(&end, kCuEventDefault)) ||
        !Try(api.cuMemAlloc_v2(&from, bytes)) ||
        !Try(api.cuMemAlloc_v2(&to, bytes)) ||
        !Try(api.cuMemHostAlloc(&host, bytes, kCuHostPortable)) ||
        !Try(api.cuMemsetD8Async(from, 1, bytes, stream)))
      return false;
    std::memset(host, 1, bytes);
    return Capture();
  }

  /// A chain of fills, each of which waits for the one before.
  bool Capture() {
    if (!Try(api.cuStreamBeginCapture_v2(stream, kCuCaptureThreadLocal)))
      return false;
    bool right = true;
    for (int i = 0; right && i < kFills; ++i)
      right = Try(
          api.cuMemsetD8Async(to, static_cast<unsigned char>(i), 4, stream));
    CuGraph captured = nullptr;
    // Ends the capture in any case.
    right = Try(api.cuStreamEndCapture(stream, &captured)) && right;
    right = right && Try(api.cuGraphInstantiateWithFlags(&graph, captured, 0));
    if (captured)
      api.cuGraphDestroy(captured);
    return right;
  }

  /// Nanoseconds of the quickest of `repeats` runs of `work`; 0 for a failure.
  double Time(int repeats, const std::function<bool()> &work) {
    double best = 0;
    for (int i = 0; i < repeats; ++i) {
      float milliseconds = 0;
      if (!Try(api.cuEventRecord(start, stream)) || !work() ||
          !Try(api.cuEventRecord(end, stream)) || !driver.Await(end) ||
          !Try(api.cuEventElapsedTime(&milliseconds, start, end)))
        return 0;
      // An event's clock ticks twice a microsecond.
      const double taken = std::max(double(milliseconds) * 1e6, 1.0);
      best = i ? std::min(best, taken) : taken;
    }
    return best;
  }

  bool Measure(GpuReading *out) {
    auto rate = [&](double moved, const std::function<bool()> &copy) {
      const double taken = Time(kRepeats, [&] {
        for (int i = 0; i < kCopies; ++i)
          if (!copy())
            return false;
        return true;
      });
      return taken ? moved * double(bytes) * kCopies / taken * 1e9 : 0;
    };
    out->memory_bytes_per_second = rate(2, [&] {
      return Try(api.cuMemcpyDtoDAsync_v2(to, from, bytes, stream));
    });
    out->to_device_bytes_per_second = rate(1, [&] {
      return Try(api.cuMemcpyHtoDAsync_v2(to, host, bytes, stream));
    });
    out->to_host_bytes_per_second = rate(1, [&] {
      return Try(api.cuMemcpyDtoHAsync_v2(host, from, bytes, stream));
    });
    out->to_device_latency_ns = Time(kRequests, [&] {
      return Try(api.cuMemcpyHtoDAsync_v2(to, host, kPage, stream));
    });
    out->to_host_latency_ns = Time(kRequests, [&] {
      return Try(api.cuMemcpyDtoHAsync_v2(host, from, kPage, stream));
    });
    out->launch_ns =
        Time(kRepeats, [&] { return Try(api.cuGraphLaunch(graph, stream)); }) /
        kFills;
    return out->memory_bytes_per_second && out->to_device_bytes_per_second &&
           out->to_host_bytes_per_second && out->to_device_latency_ns &&
           out->to_host_latency_ns && out->launch_ns;
  }

  Driver driver;
  const CudaApi &api = driver.api;
  CuStream stream = nullptr;
  CuEvent start = nullptr, end = nullptr;
  CuAddress from = 0, to = 0;
  void *host = nullptr;
  CuGraphExec graph = nullptr;
  uint64_t bytes = 0;
};

} // namespace

Failure ProbeGpu(uint32_t ordinal, GpuReading *out) {
  return Probe().Run(ordinal, out);
}

} // namespace headrace::probe
