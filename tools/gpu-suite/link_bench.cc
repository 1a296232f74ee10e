// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Link bench: on the driver's interface itself, below the runtime.
#include "tools/gpu-suite/link_bench.h"

#include "tools/gpu-probe/driver.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

namespace headrace::suite {
namespace {

using namespace headrace::runtime::cuda;

constexpr size_t kBytes = size_t(256) << 20;
/// As in runtime/drivers/cuda/resident_package.cc.
constexpr size_t kPieceBytes = size_t(8) << 20;
/// What the device fills meanwhile, over and over.
constexpr size_t kFilledBytes = size_t(256) << 20;
constexpr int kFills = 64;
constexpr int kRepeats = 5;
constexpr int kCopies = 8;

class LinkBench {
public:
  LinkBench() = default;
  LinkBench(const LinkBench &) = delete;
  LinkBench &operator=(const LinkBench &) = delete;
  ~LinkBench() {
    for (CuEvent event : events)
      if (event)
        api.cuEventDestroy_v2(event);
    for (CuStream stream : {copies, work})
      if (stream)
        api.cuStreamDestroy_v2(stream);
    for (CuAddress address : {device, filled})
      if (address)
        api.cuMemFree_v2(address);
    if (host)
      api.cuMemFreeHost(host);
  }

  Failure Open(uint32_t ordinal) {
    if (Failure failure = driver.Open(ordinal); !failure.empty())
      return failure;
    if (!Try(api.cuStreamCreate(&copies, kCuStreamNonBlocking)) ||
        !Try(api.cuStreamCreate(&work, kCuStreamNonBlocking)) ||
        !Try(api.cuEventCreate(&events[0], kCuEventDisableTiming)) ||
        !Try(api.cuEventCreate(&events[1], kCuEventDisableTiming)) ||
        !Try(api.cuMemAlloc_v2(&device, kBytes)) ||
        !Try(api.cuMemAlloc_v2(&filled, kFilledBytes)) ||
        !Try(api.cuMemHostAlloc(&host, kBytes, kCuHostPortable)))
      return Wrong();
    std::memset(host, 1, kBytes);
    return Failure();
  }

  /// Prints the best of some runs of `copy`, which moves `bytes`, with the
  /// device busy or not.
  Failure Time(const char *name, const char *what, size_t bytes, bool busy,
               const std::function<bool()> &copy) {
    double rate = 0;
    for (int i = 0; i < kRepeats; ++i) {
      for (int fill = 0; busy && fill < kFills; ++fill)
        if (!Try(api.cuMemsetD8Async(filled, static_cast<unsigned char>(fill),
                                     kFilledBytes, work)))
          return Wrong();
      const auto start = std::chrono::steady_clock::now();
      if (!copy())
        return Wrong();
      const std::chrono::duration<double> taken =
          std::chrono::steady_clock::now() - start;
      if (!Try(api.cuEventRecord(events[0], work)) || !Await(events[0]))
        return Wrong();
      rate = std::max(rate, static_cast<double>(bytes) / taken.count());
    }
    std::printf("{\"name\": \"%s\", \"what\": \"%s\", \"bytes\": %zu, "
                "\"bytes_per_second\": %.6g}\n",
                name, what, bytes, rate);
    return Failure();
  }

  bool Plain() {
    return Try(api.cuMemcpyHtoDAsync_v2(device, host, kBytes, copies)) &&
           Try(api.cuEventRecord(events[1], copies)) && Await(events[1]);
  }

  bool Pieces() {
    size_t piece = 0;
    for (size_t at = 0; at < kBytes; at += kPieceBytes, ++piece) {
      CuEvent event = events[piece % 2];
      if (piece >= 2 && !Await(event))
        return false;
      if (!Try(api.cuMemcpyHtoDAsync_v2(device + at,
                                        static_cast<char *>(host) + at,
                                        kPieceBytes, copies)) ||
          !Try(api.cuEventRecord(event, copies)))
        return false;
    }
    return Await(events[0]) && Await(events[1]);
  }

  /// Some copies within the device, so that starting one does not show.
  bool OnDevice() {
    for (int i = 0; i < kCopies; ++i)
      if (!Try(api.cuMemcpyDtoDAsync_v2(device, filled, kBytes, copies)))
        return false;
    return Try(api.cuEventRecord(events[1], copies)) && Await(events[1]);
  }

private:
  bool Try(CuResult result) { return driver.Try(result); }
  bool Await(CuEvent event) { return driver.Await(event); }
  Failure Wrong() const { return driver.Wrong(); }

  probe::Driver driver;
  const CudaApi &api = driver.api;
  CuStream copies = nullptr, work = nullptr;
  CuEvent events[2] = {};
  CuAddress device = 0, filled = 0;
  void *host = nullptr;
};

} // namespace

Failure BenchLink(const Machine &machine) {
  if (std::string(machine.info.target) != "cuda")
    return "the link of a GPU was asked for, but the device is the processor";
  LinkBench bench;
  if (Failure failure = bench.Open(machine.info.ordinal); !failure.empty())
    return failure;
  auto link = [&](const char *what, bool busy, auto &&copy) {
    return bench.Time("host link", what, kBytes, busy, copy);
  };
  Failure failure = link("plain copy", false, [&] { return bench.Plain(); });
  if (failure.empty())
    failure = link("pieces", false, [&] { return bench.Pieces(); });
  if (failure.empty())
    failure = link("pieces beside work", true, [&] { return bench.Pieces(); });
  // Read and written: what the device's own memory gives a copy.
  if (failure.empty())
    failure = bench.Time("device memory", "copy", 2 * kBytes * kCopies, false,
                         [&] { return bench.OnDevice(); });
  return failure;
}

} // namespace headrace::suite
