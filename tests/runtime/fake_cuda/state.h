// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fake CUDA, inside: the objects behind its handles and the state of all.
#ifndef HEADRACE_TESTS_RUNTIME_FAKE_CUDA_STATE_H
#define HEADRACE_TESTS_RUNTIME_FAKE_CUDA_STATE_H

#include "runtime/drivers/cuda/cuda_api.h"
#include "tests/runtime/fake_cuda/fake_cuda.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace headrace::tests::fake_cuda {

using runtime::cuda::CuEventOpaque;

/// What a stream does, one after the other.
struct Operation {
  /// Does a piece; true when it is done. `progress` starts at 0.
  std::function<bool(uint64_t *progress)> run;
  uint64_t cost_ns = 0;
  /// Of a copy, by a device whose order is what events make it: what happens as
  /// soon as it may begin.
  std::function<void()> begin = nullptr;
  bool is_kernel = false; // or a fill: what is behind it begins when it is done
  /// Of a wait: what it waits for.
  CuEventOpaque *event = nullptr;
  uint64_t record = 0; // of the event; 1: the first
};

struct Work {
  Operation operation;
  uint64_t progress = 0;
  uint64_t issued_ns = 0; // by the host's clock
  bool begun = false;
};

} // namespace headrace::tests::fake_cuda

namespace headrace::runtime::cuda {

struct CuGraphOpaque {
  std::vector<headrace::tests::fake_cuda::Operation> operations;
};
struct CuGraphExecOpaque {
  std::vector<headrace::tests::fake_cuda::Operation> operations;
};
struct CuStreamOpaque {
  std::deque<headrace::tests::fake_cuda::Work> work;
  std::unique_ptr<CuGraphOpaque> capture;
  uint64_t clock_ns = 0; // the end of its last operation
  bool asked = false;    // by a look that is under way
};
struct CuEventOpaque {
  bool recorded = false;
  CuStreamOpaque *stream = nullptr; // where it was recorded last
  uint64_t records = 0;             // that were asked for
  uint64_t happened = 0;            // of these
  uint64_t time_ns = 0;             // when it happened
};
struct CuFunctionOpaque {
  std::string name;
  const std::string *image = nullptr; // the module's
  uint32_t shared_bytes = 0;
};
struct CuModuleOpaque {
  std::string image;
  std::map<std::string, std::unique_ptr<CuFunctionOpaque>> functions;
};

} // namespace headrace::runtime::cuda

namespace headrace::tests::fake_cuda {

using namespace headrace::runtime::cuda;

/// What the device says that it is, 10 * major + minor, until a test says
/// otherwise: that of an H100, or HEADRACE_FAKE_CAPABILITY.
int DefaultCapability();

struct State {
  /// Counts a call, and says what it must return before it does anything.
  CuResult Enter(const char *function, bool needs_context);

  std::mutex mutex; // of all that follows, and of what handles point to
  int devices = 1;
  int capability = DefaultCapability();
  int lag = 1;
  int looks = 0;
  bool hang = false;
  bool strict = false;
  // To the device and to the host: bytes of the smallest; 0: none.
  size_t hanging_copies = 0, hanging_stores = 0;
  int sticky = 0; // what every call returns
  int fault = 0;  // what the next kernel makes of it
  int live = 0;
  int blocking_copies = 0;
  uint64_t host_ns = 0; // the latest that the host has seen happen
  std::map<std::string, std::pair<int, int>> failures;
  std::map<std::string, int> calls;
  std::map<std::string, KernelFunction> kernels;
  Machine machine;
  std::vector<Launched> launches;
  std::vector<CuStreamOpaque *> streams;
  /// Behind handles. Those of a lost device stay: nobody may free them.
  std::set<const void *> objects;
  std::vector<std::unique_ptr<CuEventOpaque>> ended_events;
  std::map<uint64_t, uint64_t> device_memory; // address -> bytes
  std::map<uint64_t, uint64_t> pinned_memory;
};

State &TheState();

/// Adds an operation to a stream, or to what it captures.
void Enqueue(CuStreamOpaque *stream, Operation operation);

} // namespace headrace::tests::fake_cuda

#endif // HEADRACE_TESTS_RUNTIME_FAKE_CUDA_STATE_H
