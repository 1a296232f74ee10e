// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA copy stream: what moves between host and device beside kernels.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_COPY_STREAM_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_COPY_STREAM_H

#include "runtime/drivers/cuda/cuda_executor.h"

namespace headrace::runtime::cuda {

/// A stream of the copy engine, with events around each copy. They are used in
/// turn; that behind a copy says that all before it have ended, too. Order
/// between copies and launches is the device's: neither waits for the host.
class CudaCopyStream final : public CopyStream {
public:
  CudaCopyStream(CudaDevice *device, CudaExecutor *executor)
      : device(device), executor(executor) {}
  ~CudaCopyStream() override;

  Status Create();
  Status Copy(const DeviceCopy *ranges, size_t count, uint64_t after,
              uint64_t *out_number) override;
  Status HoldLaunches(uint64_t number) override;
  uint64_t BusyNs() const override { return busy_ns; }
  Status HasEnded(uint64_t number, bool *out_ended) override;
  void Destroy() override { Delete(device->HostAllocator(), this); }

private:
  /// Copies whose ends can be told apart; more are waited for.
  static constexpr uint64_t kEvents = 64;

  Status Begin(const DeviceCopy &range);
  /// Whether the event of copy `number` has happened.
  Status Look(uint64_t number, bool *out_happened);
  Status AwaitCopy(uint64_t number);
  void End(uint64_t number);
  CuEvent EventOf(uint64_t number) const { return events[number % kEvents]; }

  CudaDevice *const device;
  CudaExecutor *const executor;
  CuStream stream = nullptr;
  CuEvent begins[kEvents] = {};
  CuEvent events[kEvents] = {};
  uint64_t last = 0;  // copy that was begun
  uint64_t ended = 0; // copies that are known to have ended
  uint64_t busy_ns = 0;
};

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_COPY_STREAM_H
