// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fake CUDA: streams of late work on memory that only they can touch.
#include "tests/runtime/fake_cuda/fake_cuda.h"

#include "tests/runtime/fake_cuda/state.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace headrace::tests::fake_cuda {

State &TheState() {
  // Never destroyed: what a lost device leaves behind stays in its hands.
  static State &state = *new State;
  return state;
}

namespace {

constexpr uint64_t kPage = 4096;
/// Of an allocation, with what no test expects; more would take long.
constexpr uint64_t kFilledBytes = 1u << 20;
/// NaN in every float type.
constexpr int kGarbage = 0xff;
/// Blocks that one look runs, so that a large kernel takes many.
constexpr uint32_t kBlocksAtOnce = 4096;
/// Small operations that one look does, so that a thousand take few looks.
constexpr int kOperationsAtOnce = 8;
constexpr uint32_t kDefaultSharedBytes = 48u << 10;
constexpr uint32_t kMaxSharedBytes = 232448;

thread_local std::vector<CuContext> contexts;

uint64_t RoundUp(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

/// Opens device memory to this process while it lives.
class Unlocked {
public:
  Unlocked() { Protect(PROT_READ | PROT_WRITE); }
  ~Unlocked() { Protect(PROT_NONE); }

private:
  static void Protect(int protection) {
    for (const auto &[address, bytes] : TheState().device_memory)
      mprotect(reinterpret_cast<void *>(address), RoundUp(bytes), protection);
  }
};

bool Contains(const std::map<uint64_t, uint64_t> &ranges, uint64_t address,
              uint64_t bytes) {
  auto after = ranges.upper_bound(address);
  if (after == ranges.begin())
    return false;
  const auto &[start, size] = *std::prev(after);
  return address - start <= size && bytes <= size - (address - start);
}

/// Begins what a stream may: everything up to the first kernel, or up to the
/// first event that has not happened.
void BeginCopies(CuStreamOpaque *stream) {
  for (Work &work : stream->work) {
    const Operation &operation = work.operation;
    if (operation.event && operation.event->happened < operation.record)
      return;
    if (operation.begin && !work.begun)
      operation.begin();
    work.begun = true;
    if (operation.is_kernel)
      return;
  }
}

/// A few operations of a stream, or a piece of one. One that waits asks for
/// what it waits for.
void Progress(CuStreamOpaque *stream) {
  State &state = TheState();
  if (std::exchange(stream->asked, true))
    return; // streams that wait for each other get nowhere
  for (int i = 0; i < kOperationsAtOnce && !stream->work.empty(); ++i) {
    Work &work = stream->work.front();
    if (CuEventOpaque *event = work.operation.event) {
      if (event->happened < work.operation.record) {
        if (state.strict)
          Progress(event->stream);
        break;
      }
      stream->clock_ns = std::max(stream->clock_ns, event->time_ns);
    }
    stream->clock_ns = std::max(stream->clock_ns, work.issued_ns);
    if (!work.operation.run(&work.progress))
      break;
    stream->clock_ns += work.operation.cost_ns;
    stream->work.pop_front();
    if (state.sticky)
      break;
    for (CuStreamOpaque *other : state.streams)
      if (state.strict)
        BeginCopies(other);
  }
  stream->asked = false;
}

/// One look: every stream does something; only the stream that was asked about,
/// and what that waits for, where nothing else orders them.
void Look(CuStreamOpaque *asked = nullptr) {
  State &state = TheState();
  if (state.hang || state.sticky)
    return;
  if (++state.looks <= state.lag)
    return;
  state.looks = 0;
  Unlocked unlocked;
  for (CuStreamOpaque *stream : state.streams) {
    if (state.strict && asked && stream != asked)
      continue;
    Progress(stream);
    if (state.sticky)
      return;
  }
}

/// Makes the host wait for a stream, or for all.
void Drain(CuStreamOpaque *only) {
  State &state = TheState();
  auto busy = [&] {
    for (CuStreamOpaque *stream : state.streams)
      if ((!only || stream == only) && !stream->work.empty())
        return true;
    return false;
  };
  while (!state.sticky && busy()) {
    if (state.hang || state.hanging_copies || state.hanging_stores) {
      std::fprintf(stderr, "fake cuda: the host waits for work that hangs\n");
      std::abort();
    }
    Look(only);
  }
}

CuResult CheckContext() {
  return contexts.empty() ? kCuInvalidContext : kCuSuccess;
}

template <typename T> T *Add(T *object) {
  ++TheState().live;
  TheState().objects.insert(object);
  return object;
}
template <typename T> void Remove(T *object) {
  --TheState().live;
  TheState().objects.erase(object);
  delete object;
}

} // namespace

CuResult State::Enter(const char *function, bool needs_context) {
  ++calls[function];
  auto script = failures.find(function);
  if (script != failures.end() && --script->second.first == 0) {
    auto result = static_cast<CuResult>(script->second.second);
    failures.erase(script);
    return result;
  }
  if (sticky)
    return static_cast<CuResult>(sticky);
  return needs_context ? CheckContext() : kCuSuccess;
}

void Enqueue(CuStreamOpaque *stream, Operation operation) {
  if (stream->capture)
    stream->capture->operations.push_back(std::move(operation));
  else
    stream->work.push_back({std::move(operation), 0, TheState().host_ns});
  if (!TheState().strict)
    return;
  Unlocked unlocked;
  BeginCopies(stream);
}

/// How long so many bytes take, with what it takes to begin.
static uint64_t Cost(uint64_t begin_ns, size_t bytes, uint64_t bytes_per_ns) {
  return begin_ns + bytes / bytes_per_ns;
}

/// A copy of pinned memory, in either direction. In strict order its target
/// holds garbage from when it may begin, and in the end, too, where somebody
/// wrote to its source meanwhile.
static void EnqueueCopy(CuStreamOpaque *stream, void *to, const void *from,
                        size_t bytes, uint64_t cost_ns,
                        size_t State::*smallest_that_hangs) {
  auto source = std::make_shared<std::vector<uint8_t>>();
  Operation copy;
  copy.run = [=](uint64_t *) {
    const size_t hanging = TheState().*smallest_that_hangs;
    if (hanging && bytes >= hanging)
      return false;
    if (source->empty() || std::memcmp(source->data(), from, bytes) == 0)
      std::memcpy(to, from, bytes);
    return true;
  };
  copy.cost_ns = cost_ns;
  if (TheState().strict && !stream->capture)
    copy.begin = [=] {
      const auto *first = static_cast<const uint8_t *>(from);
      source->assign(first, first + bytes);
      std::memset(to, kGarbage, bytes);
    };
  Enqueue(stream, std::move(copy));
}

//===----------------------------------------------------------------------===//
// Script
//===----------------------------------------------------------------------===//

int DefaultCapability() {
  const char *text = std::getenv("HEADRACE_FAKE_CAPABILITY");
  return text ? std::atoi(text) : 90;
}

void Reset() {
  State &state = TheState();
  std::lock_guard<std::mutex> lock(state.mutex);
  state.devices = 1;
  state.capability = DefaultCapability();
  state.lag = 1;
  state.looks = 0;
  state.hang = false;
  state.strict = false;
  state.hanging_copies = state.hanging_stores = 0;
  state.sticky = 0;
  state.fault = 0;
  state.blocking_copies = 0;
  state.host_ns = 0;
  state.failures.clear();
  state.calls.clear();
  state.launches.clear();
  // What a lost device held is given up on purpose.
  for (const auto &[address, bytes] : state.device_memory)
    munmap(reinterpret_cast<void *>(address), RoundUp(bytes));
  state.device_memory.clear();
  for (const auto &[address, bytes] : state.pinned_memory)
    std::free(reinterpret_cast<void *>(address));
  state.pinned_memory.clear();
  state.streams.clear();
  state.ended_events.clear();
  state.live = 0;
  contexts.clear();
}

void SetDevices(int count) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().devices = count;
}
void SetCapability(int capability) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().capability = capability;
}
void Register(const char *name, KernelFunction function) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().kernels[name] = function;
}
void SetMachine(Machine machine) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().machine = std::move(machine);
}
void FailAt(const char *function, int nth, int result) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().failures[function] = {nth, result};
}
void FaultAtNextKernel(int result) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().fault = result;
}
void SetHang(bool hang) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().hang = hang;
}
void HangCopies(size_t bytes) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().hanging_copies = bytes;
}
void HangStores(size_t bytes) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().hanging_stores = bytes;
}
void SetStrict(bool strict) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().strict = strict;
}
void SetLag(int lag) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  TheState().lag = lag;
}
int Calls(const char *function) {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  auto found = TheState().calls.find(function);
  return found == TheState().calls.end() ? 0 : found->second;
}
std::vector<std::string> CalledFunctions() {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  std::vector<std::string> names;
  for (const auto &[name, count] : TheState().calls)
    names.push_back(name);
  return names;
}
std::vector<Launched> Launches() {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  return TheState().launches;
}
int LiveObjects() {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  return TheState().live;
}
int BlockingCopies() {
  std::lock_guard<std::mutex> lock(TheState().mutex);
  return TheState().blocking_copies;
}
int ContextDepth() { return static_cast<int>(contexts.size()); }

} // namespace headrace::tests::fake_cuda

using namespace headrace::tests::fake_cuda;

//===----------------------------------------------------------------------===//
// libcuda
//===----------------------------------------------------------------------===//

#define FAKE extern "C" FAKE_CUDA_API CuResult

/// Starts every function: takes the lock, counts the call, and returns what was
/// scripted.
#define ENTER(needs_context)                                                   \
  State &state = TheState();                                                   \
  std::lock_guard<std::mutex> lock(state.mutex);                               \
  if (CuResult scripted = state.Enter(__func__, needs_context);                \
      scripted != kCuSuccess)                                                  \
  return scripted

FAKE cuInit(unsigned) {
  ENTER(false);
  return state.devices > 0 ? kCuSuccess : kCuNoDevice;
}

FAKE cuDriverGetVersion(int *version) {
  ENTER(false);
  *version = 13000;
  return kCuSuccess;
}

// These two are called where something has failed already.
FAKE cuGetErrorName(CuResult result, const char **name) {
  *name = result == kCuOutOfMemory      ? "CUDA_ERROR_OUT_OF_MEMORY"
          : result == kCuNoDevice       ? "CUDA_ERROR_NO_DEVICE"
          : result == kCuIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                        : "CUDA_ERROR_FAKE";
  return kCuSuccess;
}
FAKE cuGetErrorString(CuResult result, const char **text) {
  *text = result == kCuOutOfMemory      ? "out of memory"
          : result == kCuNoDevice       ? "no CUDA-capable device is detected"
          : result == kCuIllegalAddress ? "an illegal memory access"
                                        : "a scripted result";
  return kCuSuccess;
}

FAKE cuDeviceGetCount(int *count) {
  ENTER(false);
  *count = state.devices;
  return kCuSuccess;
}

FAKE cuDeviceGet(CuDevice *device, int ordinal) {
  ENTER(false);
  if (ordinal < 0 || ordinal >= state.devices)
    return kCuInvalidDevice;
  *device = ordinal;
  return kCuSuccess;
}

FAKE cuDeviceGetName(char *name, int capacity, CuDevice device) {
  ENTER(false);
  // For those who know the limits of a device by its name.
  const char *given = std::getenv("HEADRACE_FAKE_NAME");
  std::snprintf(name, static_cast<size_t>(capacity), "%s %d",
                given ? given : "Fake GPU", device);
  return kCuSuccess;
}

FAKE cuDeviceGetAttribute(int *value, int attribute, CuDevice) {
  ENTER(false);
  switch (attribute) {
  case kCuAttributeComputeCapabilityMajor:
    *value = state.capability / 10;
    return kCuSuccess;
  case kCuAttributeComputeCapabilityMinor:
    *value = state.capability % 10;
    return kCuSuccess;
  case kCuAttributeMaxSharedMemoryPerBlockOptin:
    *value = kMaxSharedBytes;
    return kCuSuccess;
  case kCuAttributeMultiprocessorCount:
    *value = kMultiprocessors;
    return kCuSuccess;
  case kCuAttributeClockRate:
    *value = kClockKhz;
    return kCuSuccess;
  case kCuAttributeL2CacheSize:
    *value = kL2Bytes;
    return kCuSuccess;
  default:
    return kCuInvalidValue;
  }
}

FAKE cuDeviceTotalMem_v2(size_t *bytes, CuDevice) {
  ENTER(false);
  *bytes = size_t(1) << 30;
  return kCuSuccess;
}

FAKE cuDevicePrimaryCtxRetain(CuContext *context, CuDevice device) {
  ENTER(false);
  ++state.live;
  *context = reinterpret_cast<CuContext>(static_cast<uintptr_t>(device) + 1);
  return kCuSuccess;
}

FAKE cuDevicePrimaryCtxRelease_v2(CuDevice) {
  ENTER(false);
  --state.live;
  return kCuSuccess;
}

FAKE cuCtxPushCurrent_v2(CuContext context) {
  ENTER(false);
  contexts.push_back(context);
  return kCuSuccess;
}

FAKE cuCtxPopCurrent_v2(CuContext *context) {
  ENTER(true);
  *context = contexts.back();
  contexts.pop_back();
  return kCuSuccess;
}

FAKE cuMemAlloc_v2(CuAddress *address, size_t bytes) {
  ENTER(true);
  if (bytes == 0)
    return kCuInvalidValue;
  if (bytes > size_t(1) << 30)
    return kCuOutOfMemory;
  // A page behind it stays out of reach for ever.
  void *memory = mmap(nullptr, RoundUp(bytes) + kPage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return kCuOutOfMemory;
  // Whatever was there before, as on a device.
  std::memset(memory, 0xa5, std::min(RoundUp(bytes), kFilledBytes));
  mprotect(memory, RoundUp(bytes) + kPage, PROT_NONE);
  *address = reinterpret_cast<CuAddress>(memory);
  state.device_memory[*address] = bytes;
  ++state.live;
  return kCuSuccess;
}

FAKE cuMemFree_v2(CuAddress address) {
  ENTER(true);
  auto found = state.device_memory.find(address);
  if (found == state.device_memory.end())
    return kCuInvalidValue;
  Drain(nullptr);
  munmap(reinterpret_cast<void *>(address), RoundUp(found->second) + kPage);
  state.device_memory.erase(found);
  --state.live;
  return kCuSuccess;
}

FAKE cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  ENTER(true);
  *address = std::aligned_alloc(kPage, RoundUp(bytes));
  if (!*address)
    return kCuOutOfMemory;
  std::memset(*address, 0xa5, bytes);
  state.pinned_memory[reinterpret_cast<uint64_t>(*address)] = bytes;
  ++state.live;
  return kCuSuccess;
}

FAKE cuMemFreeHost(void *address) {
  ENTER(true);
  if (!state.pinned_memory.erase(reinterpret_cast<uint64_t>(address)))
    return kCuInvalidValue;
  Drain(nullptr);
  std::free(address);
  --state.live;
  return kCuSuccess;
}

FAKE cuMemcpyHtoDAsync_v2(CuAddress to, const void *from, size_t bytes,
                          CuStream stream) {
  ENTER(true);
  if (!Contains(state.device_memory, to, bytes))
    return kCuInvalidValue;
  if (Contains(state.pinned_memory, reinterpret_cast<uint64_t>(from), bytes)) {
    EnqueueCopy(stream, reinterpret_cast<void *>(to), from, bytes,
                Cost(kCopyNs, bytes, kToDeviceBytesPerNs),
                &State::hanging_copies);
    return kCuSuccess;
  }
  // Other memory is read before the call returns.
  const auto *first = static_cast<const uint8_t *>(from);
  Enqueue(stream,
          {[to, read = std::vector<uint8_t>(first, first + bytes)](uint64_t *) {
             std::memcpy(reinterpret_cast<void *>(to), read.data(),
                         read.size());
             return true;
           },
           Cost(kCopyNs, bytes, kToDeviceBytesPerNs), nullptr,
           /*is_kernel=*/true});
  return kCuSuccess;
}

FAKE cuMemcpyDtoHAsync_v2(void *to, CuAddress from, size_t bytes,
                          CuStream stream) {
  ENTER(true);
  if (!Contains(state.device_memory, from, bytes))
    return kCuInvalidValue;
  const bool pinned =
      Contains(state.pinned_memory, reinterpret_cast<uint64_t>(to), bytes);
  if (!pinned && !stream->work.empty())
    ++state.blocking_copies;
  EnqueueCopy(stream, to, reinterpret_cast<const void *>(from), bytes,
              Cost(kCopyNs, bytes, kToHostBytesPerNs), &State::hanging_stores);
  if (!pinned)
    Drain(stream);
  return static_cast<CuResult>(state.sticky);
}

FAKE cuMemcpyDtoDAsync_v2(CuAddress to, CuAddress from, size_t bytes,
                          CuStream stream) {
  ENTER(true);
  if (!Contains(state.device_memory, to, bytes) ||
      !Contains(state.device_memory, from, bytes))
    return kCuInvalidValue;
  Enqueue(stream, {[=](uint64_t *) {
                     std::memmove(reinterpret_cast<void *>(to),
                                  reinterpret_cast<const void *>(from), bytes);
                     return true;
                   },
                   Cost(kKernelNs, 2 * bytes, kMemoryBytesPerNs), nullptr,
                   /*is_kernel=*/true});
  return kCuSuccess;
}

FAKE cuMemsetD8Async(CuAddress to, unsigned char value, size_t bytes,
                     CuStream stream) {
  ENTER(true);
  if (!Contains(state.device_memory, to, bytes))
    return kCuInvalidValue;
  Enqueue(stream, {[=](uint64_t *) {
                     std::memset(reinterpret_cast<void *>(to), value, bytes);
                     return true;
                   },
                   Cost(kKernelNs, bytes, kMemoryBytesPerNs), nullptr,
                   /*is_kernel=*/true});
  return kCuSuccess;
}

FAKE cuStreamCreate(CuStream *stream, unsigned) {
  ENTER(true);
  *stream = Add(new CuStreamOpaque);
  state.streams.push_back(*stream);
  return kCuSuccess;
}

FAKE cuStreamDestroy_v2(CuStream stream) {
  ENTER(true);
  Drain(stream);
  state.streams.erase(
      std::find(state.streams.begin(), state.streams.end(), stream));
  Remove(stream);
  return kCuSuccess;
}

FAKE cuStreamBeginCapture_v2(CuStream stream, int) {
  ENTER(true);
  if (stream->capture)
    return kCuInvalidValue;
  stream->capture = std::make_unique<CuGraphOpaque>();
  return kCuSuccess;
}

FAKE cuStreamEndCapture(CuStream stream, CuGraph *graph) {
  State &state = TheState();
  std::lock_guard<std::mutex> lock(state.mutex);
  // A capture ends here even if nothing comes of it.
  std::unique_ptr<CuGraphOpaque> made = std::move(stream->capture);
  if (CuResult scripted = state.Enter(__func__, true); scripted != kCuSuccess)
    return scripted;
  if (!made)
    return kCuInvalidValue;
  *graph = Add(made.release());
  return kCuSuccess;
}

FAKE cuEventCreate(CuEvent *event, unsigned) {
  ENTER(true);
  *event = Add(new CuEventOpaque);
  return kCuSuccess;
}

FAKE cuEventDestroy_v2(CuEvent event) {
  ENTER(true);
  // Work under way goes on with it, as on a device.
  --state.live;
  state.objects.erase(event);
  state.ended_events.emplace_back(event);
  return kCuSuccess;
}

static CuResult Record(CuEvent event, CuStream stream) {
  event->stream = stream;
  const bool captured = stream->capture != nullptr;
  if (!captured) {
    event->recorded = true;
    ++event->records;
  }
  Enqueue(stream, {[=](uint64_t *) {
            if (captured)
              event->recorded = true;
            else
              ++event->happened;
            event->time_ns = stream->clock_ns;
            return true;
          }});
  return kCuSuccess;
}

FAKE cuEventRecord(CuEvent event, CuStream stream) {
  ENTER(true);
  return Record(event, stream);
}

FAKE cuEventRecordWithFlags(CuEvent event, CuStream stream, unsigned) {
  ENTER(true);
  return Record(event, stream);
}

FAKE cuStreamWaitEvent(CuStream stream, CuEvent event, unsigned) {
  ENTER(true);
  if (stream->capture)
    return kCuInvalidValue; // would make the event's stream part of the capture
  Operation wait;
  wait.run = [](uint64_t *) { return true; };
  wait.event = event;
  wait.record = event->records;
  Enqueue(stream, std::move(wait));
  return kCuSuccess;
}

FAKE cuEventQuery(CuEvent event) {
  ENTER(true);
  if (event->happened < event->records)
    Look(event->stream);
  if (state.sticky)
    return static_cast<CuResult>(state.sticky);
  if (event->happened < event->records)
    return kCuNotReady;
  state.host_ns = std::max(state.host_ns, event->time_ns);
  return kCuSuccess;
}

FAKE cuEventElapsedTime(float *milliseconds, CuEvent start, CuEvent end) {
  ENTER(true);
  if (!start->recorded || !end->recorded)
    return kCuInvalidValue;
  if (start->happened < start->records || end->happened < end->records)
    return kCuNotReady;
  *milliseconds = static_cast<float>(
      (double(end->time_ns) - double(start->time_ns)) * 1e-6);
  return kCuSuccess;
}

FAKE cuModuleLoadDataEx(CuModule *module, const void *image,
                        unsigned option_count, int *options, void **values) {
  ENTER(true);
  const auto *bytes = static_cast<const char *>(image);
  std::string copy;
  if (std::memcmp(bytes, ELFMAG, SELFMAG) == 0) {
    Elf64_Ehdr header;
    std::memcpy(&header, bytes, sizeof(header));
    copy.assign(bytes,
                header.e_shoff + uint64_t(header.e_shnum) * header.e_shentsize);
  } else {
    copy = bytes;
    if (copy.find(".version") == std::string::npos) {
      for (unsigned i = 0; i < option_count; ++i)
        if (options[i] == kCuJitErrorLogBuffer)
          std::strcpy(static_cast<char *>(values[i]), "ptxas: no .version");
      return kCuInvalidPtx;
    }
  }
  *module = Add(new CuModuleOpaque);
  (*module)->image = std::move(copy);
  return kCuSuccess;
}

FAKE cuModuleUnload(CuModule module) {
  ENTER(true);
  Drain(nullptr);
  Remove(module);
  return kCuSuccess;
}

FAKE cuModuleGetFunction(CuFunction *function, CuModule module,
                         const char *name) {
  ENTER(true);
  if (module->image.find(name) == std::string::npos)
    return kCuNotFound;
  auto &slot = module->functions[name];
  if (!slot) {
    slot = std::make_unique<CuFunctionOpaque>();
    slot->name = name;
    slot->image = &module->image;
  }
  *function = slot.get();
  return kCuSuccess;
}

FAKE cuFuncSetAttribute(CuFunction function, int attribute, int value) {
  ENTER(true);
  if (attribute != kCuFunctionMaxDynamicSharedSizeBytes || value < 0 ||
      value > static_cast<int>(kMaxSharedBytes))
    return kCuInvalidValue;
  function->shared_bytes = static_cast<uint32_t>(value);
  return kCuSuccess;
}

FAKE cuLaunchKernel(CuFunction function, unsigned grid_x, unsigned grid_y,
                    unsigned grid_z, unsigned block_x, unsigned block_y,
                    unsigned block_z, unsigned shared_bytes, CuStream stream,
                    void **parameters, void **extra) {
  ENTER(true);
  if (grid_x == 0 || grid_x > 2147483647u || grid_y != 1 || grid_z != 1 ||
      block_x == 0 || block_x > 1024 || block_y != 1 || block_z != 1 ||
      parameters || !extra ||
      shared_bytes > std::max(function->shared_bytes, kDefaultSharedBytes))
    return kCuInvalidValue;
  const uint8_t *buffer = nullptr;
  size_t bytes = 0;
  for (void **next = extra; *next != LaunchParamEnd(); next += 2) {
    if (*next == LaunchParamBufferPointer())
      buffer = static_cast<const uint8_t *>(next[1]);
    else if (*next == LaunchParamBufferSize())
      bytes = *static_cast<const size_t *>(next[1]);
  }
  auto known = state.kernels.find(function->name);
  Launched launched = {function->name, grid_x, block_x, shared_bytes,
                       stream->capture != nullptr};
  KernelFunction code = known == state.kernels.end() ? nullptr : known->second;
  auto run = [=, image = function->image,
              copy = std::vector<uint8_t>(buffer, buffer + bytes)](
                 uint64_t *progress) {
    State &now = TheState();
    if (now.fault) {
      now.sticky = std::exchange(now.fault, 0);
      return true;
    }
    const auto first = static_cast<uint32_t>(*progress);
    const uint32_t last = code
                              ? std::min(launched.blocks, first + kBlocksAtOnce)
                              : launched.blocks;
    for (uint32_t block = first; code && block < last; ++block)
      code({copy.data(), copy.size(), block, launched.threads});
    if (!code && now.machine)
      now.sticky = now.machine({launched.kernel.c_str(), image, copy.data(),
                                copy.size(), launched.blocks, launched.threads,
                                launched.shared_bytes, &now.device_memory});
    *progress = last;
    if (last < launched.blocks)
      return false;
    now.launches.push_back(launched);
    return true;
  };
  Enqueue(stream, {std::move(run), kKernelNs, nullptr, /*is_kernel=*/true});
  return kCuSuccess;
}

FAKE cuGraphInstantiateWithFlags(CuGraphExec *executable, CuGraph graph,
                                 unsigned long long) {
  ENTER(true);
  *executable = Add(new CuGraphExecOpaque);
  (*executable)->operations = graph->operations;
  return kCuSuccess;
}

FAKE cuGraphLaunch(CuGraphExec executable, CuStream stream) {
  ENTER(true);
  for (const Operation &operation : executable->operations)
    Enqueue(stream, operation);
  return kCuSuccess;
}

FAKE cuGraphExecDestroy(CuGraphExec executable) {
  ENTER(true);
  Remove(executable);
  return kCuSuccess;
}

FAKE cuGraphDestroy(CuGraph graph) {
  ENTER(true);
  Remove(graph);
  return kCuSuccess;
}
