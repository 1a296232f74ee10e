// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fake CUDA: a libcuda.so.1 (with the few functions of cuBLASLt) on host
// memory, for tests of the driver's code and of its error paths.
//
// What is asynchronous on a device is late here: work is done only while
// somebody asks whether it is done, a little each time. Device memory
// cannot be touched but by that work, so a host that reads it crashes. Calls
// without a current context fail, as they would. Time is what the operations of
// a stream add up to, at the rates below, and begins where the host asks for
// them: events tell it.
//
// These functions script it. All are safe from any thread.
#ifndef HEADRACE_TESTS_RUNTIME_FAKE_CUDA_FAKE_CUDA_H
#define HEADRACE_TESTS_RUNTIME_FAKE_CUDA_FAKE_CUDA_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace headrace::tests::fake_cuda {

#define FAKE_CUDA_API __attribute__((visibility("default")))

/// What the device says of itself, and its rates: what a kernel takes, and the
/// beginning of a fill or of a copy on the device; what it takes to begin a
/// copy from or to the host; and bytes in a nanosecond.
constexpr int kMultiprocessors = 4;
constexpr int kClockKhz = 1500000;
constexpr int kL2Bytes = 1 << 20;
constexpr uint64_t kKernelNs = 1000;
constexpr uint64_t kCopyNs = 5000;
constexpr uint64_t kToDeviceBytesPerNs = 16;
constexpr uint64_t kToHostBytesPerNs = 8;
constexpr uint64_t kMemoryBytesPerNs = 128;

/// One block of a kernel; `parameters` as they were passed to the launch.
struct Block {
  const uint8_t *parameters;
  size_t parameter_bytes;
  uint32_t index;
  uint32_t threads;
};
using KernelFunction = void (*)(const Block &block);

/// Takes back all that was scripted and recorded, but for the kernels and the
/// machine. Objects
/// that live are forgotten, and so are contexts of this thread.
FAKE_CUDA_API void Reset();

/// Number of devices; 0 makes cuInit fail with "no device". Default 1.
FAKE_CUDA_API void SetDevices(int count);

/// 90 for 9.0, the default.
FAKE_CUDA_API void SetCapability(int capability);

/// Runs `function` for each block of the kernels called `name`. Kernels that
/// are not registered are recorded only, unless a machine is set.
FAKE_CUDA_API void Register(const char *name, KernelFunction function);

/// A launch of a kernel that is not registered.
struct Launch {
  const char *kernel;
  const std::string *image; // of its module, the same string for all of them
  const uint8_t *parameters;
  size_t parameter_bytes;
  uint32_t blocks;
  uint32_t threads;
  uint32_t shared_bytes;
  /// Allocations of the device: address and bytes. The machine may touch them.
  const std::map<uint64_t, uint64_t> *memory;
};
/// Runs a launch as a whole and returns its result; other than success every
/// call returns it from then on.
using Machine = std::function<int(const Launch &launch)>;

/// Makes `machine` run the kernels that are not registered; empty: none does.
FAKE_CUDA_API void SetMachine(Machine machine);

/// The `nth` call of `function` from now on (1: the next) returns `result`.
FAKE_CUDA_API void FailAt(const char *function, int nth, int result);

/// The next kernel to run ends with `result`, and from then on every call
/// returns it, as after an illegal access.
FAKE_CUDA_API void FaultAtNextKernel(int result);

/// While set, no work is ever done.
FAKE_CUDA_API void SetHang(bool hang);

/// Copies to the device of at least so many bytes never end; 0: all do.
FAKE_CUDA_API void HangCopies(size_t bytes);
/// The same of copies to pinned memory.
FAKE_CUDA_API void HangStores(size_t bytes);

/// While set, order between streams is what events make it and no more. Only
/// the stream whose event is asked about does any work, and those that it waits
/// for. A copy between the device and pinned memory may begin, and end, as soon
/// as the kernels and the events before it on its stream have happened: from
/// then on its target holds garbage, and if anybody writes to its source before
/// it is done, garbage remains. So a kernel that reads what nobody waited for,
/// one that still reads what a copy may write, and a host that changes what is
/// still to be sent, work on garbage.
FAKE_CUDA_API void SetStrict(bool strict);

/// Looks that are in vain before each operation is done. Default 1.
FAKE_CUDA_API void SetLag(int lag);

/// Calls of `function` since the last reset.
FAKE_CUDA_API int Calls(const char *function);

/// Names of all functions called since the last reset.
FAKE_CUDA_API std::vector<std::string> CalledFunctions();

struct Launched {
  std::string kernel;
  uint32_t blocks;
  uint32_t threads;
  uint32_t shared_bytes;
  bool replayed; // from a graph
};
/// Kernels that ran, in order.
FAKE_CUDA_API std::vector<Launched> Launches();

/// Allocations, streams, events, modules, graphs and retained contexts alive.
FAKE_CUDA_API int LiveObjects();

/// Copies that made the host wait: from or to memory that is not pinned, with
/// work before them.
FAKE_CUDA_API int BlockingCopies();

/// Contexts on this thread's stack.
FAKE_CUDA_API int ContextDepth();

} // namespace headrace::tests::fake_cuda

#endif // HEADRACE_TESTS_RUNTIME_FAKE_CUDA_FAKE_CUDA_H
