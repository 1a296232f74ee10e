// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device: what a driver implements: memory, and running resolved launches on
// threads or on a stream.
#ifndef HEADRACE_RUNTIME_SRC_DEVICE_H
#define HEADRACE_RUNTIME_SRC_DEVICE_H

#include "headrace/device.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/src/instance.h"
#include "runtime/src/package.h"
#include "runtime/src/thread.h"
#include "runtime/src/weight_loader.h"

namespace headrace::runtime {

/// One launch with everything resolved but the counts of a step.
struct Launch {
  headrace_kernel_fn_t function = nullptr; // on the processor
  const void *kernel = nullptr;            // elsewhere, the executor's own
  const abi::Matmul *matmul = nullptr;     // or a product of a library
  void *const *buffers = nullptr;
  const uint32_t *weight_ids = nullptr;
  uint32_t buffer_count = 0;
  uint32_t weight_count = 0;
  abi::GridKind grid_kind = abi::GridKind::fixed;
  uint64_t grid_base = 0;
  uint64_t grid_block = 0;
  uint64_t grid_limit = 0;
  const char *kernel_name = nullptr; // for reports
};

/// Bytes that go to the device before a run or come from it after one.
struct Transfer {
  void *device;
  void *host;
  uint64_t bytes;
};

/// One run of an entry point. Everything pointed to outlives the run, but for
/// `cancel`, which is not read once the run was told to stop.
struct Run {
  const char *entry_name = nullptr;
  const Launch *launches = nullptr;
  size_t launch_count = 0;
  const Transfer *uploads = nullptr;
  size_t upload_count = 0;
  const Transfer *downloads = nullptr;
  size_t download_count = 0;
  const void *const *weights = nullptr;
  /// Where `counts` are on a device with memory of its own, once the uploads
  /// are done.
  const void *device_counts = nullptr;
  void *const *worker_scratch = nullptr; // one for each thread of a processor
  int64_t counts[HEADRACE_COUNT_COUNT] = {0, 0, 0, 0, HEADRACE_ALL_ACTIVE};
  /// The counts of the largest step that these launches are for.
  int64_t class_counts[HEADRACE_COUNT_COUNT] = {0, 0, 0, 0,
                                                HEADRACE_ALL_ACTIVE};
  /// Whether the host's side of all transfers is from AllocateHost().
  bool pinned = false;
  const headrace_cancel_t *cancel = nullptr;
  uint64_t deadline_ns = 0; // of MonotonicNs(); 0: none
  /// Where the time of the launches goes; null for nowhere.
  uint64_t *out_kernel_ns = nullptr;
  /// When each launch began, of MonotonicNs(), or null. A device that does not
  /// know leaves them as they are.
  uint64_t *launch_begin_ns = nullptr;
};

/// Owns bytes that kernels of a device can reach; empty by default. The owner
/// keeps the device alive.
class DeviceMemory {
public:
  DeviceMemory() = default;
  DeviceMemory(headrace_device_t *device, void *address, uint64_t bytes,
               bool for_host)
      : device(device), address(address), bytes(bytes), for_host(for_host) {}
  DeviceMemory(DeviceMemory &&other) noexcept { Swap(other); }
  DeviceMemory &operator=(DeviceMemory &&other) noexcept {
    Swap(other);
    return *this;
  }
  ~DeviceMemory();

  uint8_t *Data() const { return static_cast<uint8_t *>(address); }
  uint64_t Bytes() const { return bytes; }

private:
  void Swap(DeviceMemory &other) {
    std::swap(device, other.device);
    std::swap(address, other.address);
    std::swap(bytes, other.bytes);
    std::swap(for_host, other.for_host);
  }

  headrace_device_t *device = nullptr;
  void *address = nullptr;
  uint64_t bytes = 0;
  bool for_host = false;
};

struct ExecutorOptions {
  bool timing = false; // runs are asked for the time of their launches
  bool ahead = false;  // parts of runs are started, see Executor::Start()
};

/// The work of one session on a device, done in the order it is given. Used by
/// the session's thread.
class Executor {
public:
  virtual ~Executor() = default;

  /// Index in the manifest of the code it runs.
  virtual uint32_t CodeIndex() const = 0;

  /// Fills in how `launch` is started, for a launch of the package.
  /// Codes: failed precondition, unavailable (a library), data loss, resource
  /// exhausted, device lost.
  virtual Status Resolve(const abi::Launch &described, Launch *launch) = 0;

  /// Says that `count` addresses of the binding table from `first` on are new
  /// or have changed. Not during a run. Codes: device lost.
  virtual Status BindWeights(const Vector<const void *> &table, size_t first,
                             size_t count) = 0;

  /// Bytes of memory it took for itself.
  virtual uint64_t ScratchBytes() const = 0;

  /// Uses planned memory instead: `worker_bytes` from `base` on for each of
  /// `workers`, and gives back its own. Nothing to do where kernels have none.
  /// Codes: failed precondition (the plan has too few workers).
  virtual Status PlaceScratch(uint8_t * /*base*/, uint64_t /*worker_bytes*/,
                              uint32_t /*workers*/) {
    return Status();
  }

  /// Fills or copies memory of the device. May return before it is done, but is
  /// done before what follows here.
  virtual Status Fill(void *address, uint8_t value, uint64_t bytes) = 0;
  virtual Status Copy(void *to, const void *from, uint64_t bytes) = 0;

  /// Runs uploads, launches and downloads in order, and waits for their end.
  /// Codes: cancelled, deadline exceeded, device lost. After the last one the
  /// device may still be using what `run` points to, for ever.
  virtual Status Execute(const Run &run) = 0;

  /// Parts that may be under way at once.
  static constexpr uint64_t kMostAhead = 8;

  /// Whether Start() is for `run`: its launches never change, and what it sends
  /// is the session's.
  virtual bool CanStart(const Run & /*run*/) const { return false; }

  /// Begins a part of a run: uploads and launches, behind what was begun
  /// before. `out_part` gets its number: 1, 2, ... The part kMostAhead before
  /// it must have ended, and what `run` points to must stay until this one has.
  /// Its kernels' time counts with the next run that is executed. A part that
  /// could not be begun whole has a number all the same.
  ///
  /// Codes: device lost, internal, resource exhausted.
  virtual Status Start(const Run &run, uint64_t *out_part) {
    *out_part = 0;
    return Execute(run);
  }

  /// Waits until a part and all before it have ended, as long as `run` allows.
  /// Codes: as Execute().
  virtual Status AwaitPart(uint64_t /*part*/, const Run & /*run*/) {
    return Status();
  }

  /// Ends the object and its memory.
  virtual void Destroy() = 0;
};

/// A range that is copied between a device and memory of AllocateHost(), or
/// zeroed on the device.
struct DeviceCopy {
  uint8_t *device = nullptr;
  uint8_t *host = nullptr; // null: zeros
  uint64_t bytes = 0;
  bool to_host = false;
};

/// Copies to and from a device on a stream of its own, in order, beside what an
/// executor runs there. Used by one thread at a time, the executor's.
class CopyStream {
public:
  virtual ~CopyStream() = default;

  /// Begins to copy ranges, at least one, when part `after` of the executor has
  /// ended (0: at once). Together they are one copy, and `out_number` gets its
  /// number: 1, 2, ... Memory stays as it is until it has ended; the list is
  /// the caller's again at once. After a failure nothing is under way.
  /// Codes: device lost, internal.
  virtual Status Copy(const DeviceCopy *ranges, size_t count, uint64_t after,
                      uint64_t *out_number) = 0;

  /// Makes all that the executor is given from now on wait for a copy.
  /// Codes: device lost, internal.
  virtual Status HoldLaunches(uint64_t number) = 0;

  /// Nanoseconds that copies took, of those that are known to have ended.
  virtual uint64_t BusyNs() const = 0;

  /// Whether a copy and all before it have ended.
  /// Codes: device lost.
  virtual Status HasEnded(uint64_t number, bool *out_ended) = 0;

  /// Waits for what is under way, and ends the object and its memory. A copy
  /// that does not end loses the device.
  virtual void Destroy() = 0;
};

struct CopyStreamDeleter {
  void operator()(CopyStream *stream) const { stream->Destroy(); }
};
using CopyStreamOwner = std::unique_ptr<CopyStream, CopyStreamDeleter>;

struct ExecutorDeleter {
  void operator()(Executor *executor) const { executor->Destroy(); }
};
using ExecutorOwner = std::unique_ptr<Executor, ExecutorDeleter>;

} // namespace headrace::runtime

struct headrace_device_t : headrace::runtime::RefCounted {
  using Status = headrace::runtime::Status;

  explicit headrace_device_t(headrace_instance_t *instance)
      : instance(headrace::runtime::InstanceRef::Share(instance)) {}
  virtual ~headrace_device_t() = default;

  virtual uint32_t ThreadCount() const = 0;

  /// Fills in what the device knows of itself.
  virtual void Describe(headrace_device_info_t *out) const = 0;

  /// Whether kernels and host read and write the same memory. If not, what the
  /// host gives and takes is transferred.
  virtual bool SharesHostMemory() const = 0;

  /// Bytes of memory of this device, used or not.
  virtual uint64_t MemoryBytes() const = 0;

  /// Bytes an executor takes for kernels that need `kernel_bytes` of scratch.
  virtual uint64_t ScratchBytes(uint64_t kernel_bytes) const = 0;

  /// Zeroed memory for kernels, aligned to 256 bytes at least, or none for no
  /// bytes. `what` names it in a failure.
  /// Codes: resource exhausted, device lost.
  virtual Status Allocate(uint64_t bytes, const char *what,
                          headrace::runtime::DeviceMemory *out) = 0;

  /// Zeroed memory of the host that transfers are quickest with.
  /// Codes: resource exhausted, device lost.
  virtual Status AllocateHost(uint64_t bytes, const char *what,
                              headrace::runtime::DeviceMemory *out) = 0;

  /// Takes back what the two above gave.
  virtual void Free(void *address, uint64_t bytes, bool for_host) = 0;

  /// Makes the loader of kind `kind`, a headrace_weight_loader_t, for
  /// `package`, which outlives it.
  /// Codes: unimplemented (the kind), resource exhausted, device lost.
  virtual Status CreateLoader(uint32_t kind, headrace_package_t *package,
                              headrace::runtime::WeightLoaderOwner *out) = 0;

  /// Makes what runs `package` for one session; both outlive it.
  /// Codes: failed precondition (no code for this device), resource exhausted,
  /// device lost.
  virtual Status
  CreateExecutor(headrace_package_t *package,
                 const headrace::runtime::ExecutorOptions &options,
                 headrace::runtime::ExecutorOwner *out) = 0;

  /// Makes a stream of copies beside `executor`, of this device; both outlive
  /// it. Only where the device does not share the host's memory.
  /// Codes: unimplemented, resource exhausted, device lost.
  virtual Status CreateCopyStream(headrace::runtime::Executor *executor,
                                  headrace::runtime::CopyStreamOwner *out) = 0;

  /// Ends the object and its memory.
  virtual void Destroy() = 0;

  const headrace::runtime::InstanceRef instance;
};

namespace headrace::runtime {

using DeviceRef = Ref<headrace_device_t, headrace_device_release>;

inline DeviceMemory::~DeviceMemory() {
  if (address)
    device->Free(address, bytes, for_host);
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_DEVICE_H
