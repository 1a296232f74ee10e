// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Link bench: on the driver's interface itself, below the runtime.
#include "tools/gpu-suite/link_bench.h"

#include "runtime/drivers/cuda/cuda_api.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
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

class LinkBench {
public:
  ~LinkBench() {
    if (!context)
      return;
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
    api.cuCtxPopCurrent_v2(&context);
    api.cuDevicePrimaryCtxRelease_v2(number);
  }

  Failure Open(uint32_t ordinal) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NODELETE);
    if (!library)
      return "libcuda.so.1 cannot be loaded";
#define LOAD(Name, Parameters)                                                 \
  api.Name = reinterpret_cast<decltype(api.Name)>(dlsym(library, #Name));      \
  if (!api.Name)                                                               \
    return "libcuda.so.1 has no " #Name;
    HEADRACE_CUDA_FUNCTIONS(LOAD)
#undef LOAD
    dlclose(library);
    if (!Try(api.cuInit(0)) ||
        !Try(api.cuDeviceGet(&number, static_cast<int>(ordinal))) ||
        !Try(api.cuDevicePrimaryCtxRetain(&context, number)) ||
        !Try(api.cuCtxPushCurrent_v2(context)) ||
        !Try(api.cuStreamCreate(&copies, kCuStreamNonBlocking)) ||
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

  /// Prints the best of some runs of `upload`, with the device busy or not.
  Failure Time(const char *what, bool busy, const std::function<bool()> &upload,
               double *out_rate) {
    *out_rate = 0;
    for (int i = 0; i < kRepeats; ++i) {
      for (int fill = 0; busy && fill < kFills; ++fill)
        if (!Try(api.cuMemsetD8Async(filled, static_cast<unsigned char>(fill),
                                     kFilledBytes, work)))
          return Wrong();
      const auto start = std::chrono::steady_clock::now();
      if (!upload())
        return Wrong();
      const std::chrono::duration<double> taken =
          std::chrono::steady_clock::now() - start;
      if (!Try(api.cuEventRecord(events[0], work)) || !Await(events[0]))
        return Wrong();
      *out_rate = std::max(*out_rate, kBytes / taken.count());
    }
    std::printf("{\"name\": \"link\", \"what\": \"%s\", \"bytes\": %zu, "
                "\"bytes_per_second\": %.6g}\n",
                what, kBytes, *out_rate);
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

private:
  bool Try(CuResult result) {
    if (result != kCuSuccess)
      failed = result;
    return result == kCuSuccess;
  }
  bool Await(CuEvent event) {
    CuResult result;
    do
      result = api.cuEventQuery(event);
    while (result == kCuNotReady);
    return Try(result);
  }
  Failure Wrong() const {
    return "the driver's interface gave " + std::to_string(failed);
  }

  CudaApi api;
  CuResult failed = kCuSuccess;
  CuDevice number = 0;
  CuContext context = nullptr;
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
  Failure failure = bench.Open(machine.info.ordinal);
  double rate;
  if (failure.empty())
    failure =
        bench.Time("plain copy", false, [&] { return bench.Plain(); }, &rate);
  if (failure.empty())
    failure =
        bench.Time("pieces", false, [&] { return bench.Pieces(); }, &rate);
  if (failure.empty())
    failure = bench.Time(
        "pieces beside work", true, [&] { return bench.Pieces(); }, &rate);
  return failure;
}

} // namespace headrace::suite
