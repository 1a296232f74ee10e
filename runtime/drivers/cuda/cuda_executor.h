// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA executor: the stream of one session, and its captured steps.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_EXECUTOR_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_EXECUTOR_H

#include "runtime/drivers/cuda/matmul.h"
#include "runtime/drivers/cuda/resident_package.h"

#include <optional>

namespace headrace::runtime::cuda {

/// Everything of a session happens on one stream, in order; behind a part of a
/// run is an event that copies on other streams can wait for. The launches of a
/// step class are captured the first time and replayed from then on, and so are
/// those between two transfers: their arguments never change, and what does
/// lies in device memory that the uploads of a run fill. Classes with products
/// of the library are launched one by one.
class CudaExecutor final : public Executor {
public:
  /// Takes over the caller's reference to `resident`.
  CudaExecutor(CudaDevice *device, ResidentPackage *resident,
               const ExecutorOptions &options);
  ~CudaExecutor() override;

  Status Create();

  uint32_t CodeIndex() const override { return resident->CodeIndex(); }
  Status Resolve(const abi::Launch &described, Launch *launch) override;
  Status BindWeights(const Vector<const void *> &table, size_t first,
                     size_t count) override;
  uint64_t ScratchBytes() const override { return 0; }
  Status Fill(void *address, uint8_t value, uint64_t bytes) override;
  Status Copy(void *to, const void *from, uint64_t bytes) override;
  Status Execute(const Run &run) override;
  bool CanStart(const Run &run) const override;
  Status Start(const Run &run, uint64_t *out_part) override;
  Status AwaitPart(uint64_t part, const Run &run) override;
  void Destroy() override { Delete(device->HostAllocator(), this); }

  CuStream Stream() const { return stream; }
  /// Makes what follows on `other` wait for the end of a part (0: none).
  Status HoldFor(uint64_t part, CuStream other);

private:
  /// Events around launches, where they are timed.
  struct Timer {
    CuEvent start = nullptr;
    CuEvent end = nullptr;
    uint64_t part = 0;    // that it times
    bool pending = false; // recorded, and not yet read
  };

  /// Captured launches: those of one step class of one entry, or a run of them
  /// between transfers.
  struct Captured {
    const Launch *launches;
    size_t count;
    CuGraphExec graph;
    Timer timer;
  };

  Status Enqueue(const Run &run, const StopSource &stop);
  Status Upload(const Run &run);
  Status Download(const Run &run);
  Status Replay(const Run &run);
  Status Capture(const Run &run, Captured *out);
  Status LaunchAll(const Run &run, const int64_t *counts,
                   const StopSource *stop);
  Status LaunchKernel(const Run &run, const Launch &launch,
                      const int64_t *counts);
  Status LaunchMatmul(const Run &run, const Launch &launch);
  Status CreateTimer(Timer *timer);
  Status Mark(CuEvent event, bool captured);
  Status ReadTime(Timer *timer);
  Status ReadTimes();
  CuEvent EventOf(uint64_t part) const { return parts[part % kMostAhead]; }
  Status Explain(const Run &run, Status status);

  CudaDevice *const device;
  ResidentPackage *const resident; // one reference
  const ExecutorOptions options;
  CuStream stream = nullptr;
  CuEvent done = nullptr;
  CuEvent paced[2] = {};          // see LaunchAll
  CuEvent parts[kMostAhead] = {}; // behind parts that were started
  uint64_t started = 0;           // parts
  uint64_t ended = 0;             // of these, as far as is known
  Timer loose;                    // of launches that are not captured
  uint64_t spent_ns = 0;          // by launches whose timers were read
  DeviceMemory table;             // the binding table
  /// The host's side of it. What changes has a place of its own for each part
  /// under way, for the one at hand, and for what is bound before the first.
  DeviceMemory table_staging;
  uint64_t table_bytes = 0;
  uint64_t places = 1;
  uint64_t bindings = 0;  // so far
  Vector<Kernel> kernels; // by index; no function where not looked for yet
  Vector<Captured> captured;
  std::optional<MatmulRunner> matmul; // where the package has products
};

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_CUDA_EXECUTOR_H
