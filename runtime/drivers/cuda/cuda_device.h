// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA device: one GPU through its primary context.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_DEVICE_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_DEVICE_H

#include "runtime/drivers/cuda/library.h"
#include "runtime/src/device.h"

#include <atomic>
#include <mutex>

namespace headrace::runtime::cuda {

class ResidentPackage;

/// What ends a wait early.
struct StopSource {
  const headrace_cancel_t *cancel = nullptr;
  uint64_t deadline_ns = 0; // of MonotonicNs(); 0: none
};

/// Uses the primary context, as the CUDA runtime does, so that it shares the
/// device with whatever else in the process uses CUDA. No call leaves another
/// context current than it found.
class CudaDevice final : public headrace_device_t {
public:
  CudaDevice(headrace_instance_t *instance, uint64_t stop_grace_ns);
  ~CudaDevice() override;

  /// Opens device `ordinal`; see headrace_device_create_cuda.
  Status Open(const headrace_cuda_device_options_t &options);

  uint32_t ThreadCount() const override { return 1; }
  void Describe(headrace_device_info_t *out) const override;
  bool SharesHostMemory() const override { return false; }
  uint64_t MemoryBytes() const override { return memory_bytes; }
  uint64_t ScratchBytes(uint64_t) const override { return 0; }
  Status Allocate(uint64_t bytes, const char *what, DeviceMemory *out) override;
  Status AllocateHost(uint64_t bytes, const char *what,
                      DeviceMemory *out) override;
  void Free(void *address, uint64_t bytes, bool for_host) override;
  Status CreateLoader(uint32_t kind, headrace_package_t *package,
                      WeightLoaderOwner *out) override;
  Status CreateExecutor(headrace_package_t *package,
                        const ExecutorOptions &options,
                        ExecutorOwner *out) override;
  Status CreateCopyStream(Executor *executor, CopyStreamOwner *out) override;
  void Destroy() override;

  const CudaApi &Api() const { return library.api; }
  const Allocator &HostAllocator() const { return instance->allocator; }
  uint32_t Capability() const { return capability; } // 90 for 9.0
  uint32_t SharedBytes() const { return shared_bytes; }
  /// The stream that fills memory outside of any session.
  CuStream CopyStream() const { return copy_stream; }

  /// OK for success, else a status that names `what` and the reason. A result
  /// that means the end of the context marks the device as lost.
  Status Check(CuResult result, const char *what);

  /// Marks the device as lost, by a result after which its state is unknown.
  Status Lose(CuResult result, const char *what);

  /// DEVICE_LOST once the device is.
  Status CheckAlive();
  void MarkLost() { lost.store(true); }
  bool IsLost() const { return lost.load(); }

  /// Waits until `event` has happened, or until told to stop and the work has
  /// ended all the same. Work that does not end within the grace loses the
  /// device.
  /// Codes: cancelled, deadline exceeded, device lost.
  Status Await(CuEvent event, const StopSource &stop, const char *what);

  /// Waits for all work so far on the copy stream.
  Status AwaitCopies();

  /// The package's code and weights on this device, shared by its sessions.
  Status Acquire(headrace_package_t *package, ResidentPackage **out);
  void Drop(ResidentPackage *resident);

  /// Null where the library is to be found by its usual names.
  const char *CublasLtPath() const {
    return cublaslt_path.empty() ? nullptr : cublaslt_path.c_str();
  }

private:
  using String =
      std::basic_string<char, std::char_traits<char>, StdAllocator<char>>;

  CudaLibrary library;
  const uint64_t stop_grace_ns;
  CuDevice device = 0;
  uint32_t ordinal = 0;
  uint32_t capability = 0;
  uint32_t shared_bytes = 0;
  uint32_t multiprocessors = 0;
  uint32_t driver_version = 0;
  uint64_t memory_bytes = 0;
  char name[256] = {};
  String cublaslt_path; // empty: the usual names
  CuContext context = nullptr;
  CuStream copy_stream = nullptr;
  CuEvent copied = nullptr;
  std::atomic<bool> lost{false};

  std::mutex copy_mutex; // of the copy stream and its event
  std::mutex mutex;      // of `residents`
  Vector<ResidentPackage *> residents;

  friend class ContextScope;
};

/// Makes the device's context current for the calling thread while it lives.
class ContextScope {
public:
  explicit ContextScope(CudaDevice *device);
  ~ContextScope();
  ContextScope(const ContextScope &) = delete;
  ContextScope &operator=(const ContextScope &) = delete;

  /// OK, or why the context could not be made current.
  Status TakeStatus() { return std::move(status); }

private:
  CudaDevice *const device;
  Status status;
  bool pushed = false;
};

inline CuAddress AddressOf(const void *pointer) {
  return reinterpret_cast<CuAddress>(pointer);
}

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_DEVICE_H
