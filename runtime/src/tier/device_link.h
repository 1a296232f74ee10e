// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device link: from the host's memory to a device, and back.
#ifndef HEADRACE_RUNTIME_SRC_TIER_DEVICE_LINK_H
#define HEADRACE_RUNTIME_SRC_TIER_DEVICE_LINK_H

#include "runtime/src/device.h"
#include "runtime/src/tier/transfer_queue.h"

namespace headrace::runtime {

/// Jobs with a home in the host's memory are one copy each, begun at once, and
/// end in the order in which they were submitted.
/// Others are read from the package into a stage of the host's memory first, by
/// another link, and wait for a stage where none is free.
///
/// Launches wait for copies on the device, and copies for the launches that
/// read what they write over; the host waits for what it is to reuse itself.
///
/// Everything happens on the thread that calls, which is the session's: a stage
/// that was read is copied when the link is used next.
class DeviceLink final : public Link {
public:
  struct Options {
    const char *link = "";  // for reports: "pcie"
    const char *level = ""; // that the bytes go to, for reports
    CopyStreamOwner stream;
    Link *package = nullptr; // that reads into stages
    /// Memory of AllocateHost(), cut into stages.
    uint8_t *staging = nullptr;
    uint64_t staging_bytes = 0;
    uint64_t stage_bytes = 0; // of one; 0: no job needs any
    uint32_t most_pieces = 1; // of a scattered job
  };

  explicit DeviceLink(const Allocator &allocator);
  ~DeviceLink() override;

  /// Throws std::bad_alloc.
  void Create(Options &&options);

  /// Reads what lies in the package to `base` of the device, through memory of
  /// the host that it takes for that, and waits for the end. After a deadline
  /// it may still be read to. `chunk_bytes` of the package have a digest.
  /// Codes: those of Link::Wait, resource exhausted.
  Status Load(headrace_device_t *device, const TransferPiece *pieces,
              uint32_t count, uint8_t *base, uint64_t chunk_bytes,
              uint64_t deadline_ns);

  /// Waits for the copies under way, and begins no more.
  void Stop();

  void Submit(TransferJob *job) override;
  void Promote(TransferJob *job) override;
  void Cancel(TransferJob *job) override;
  TransferJob::State StateOf(const TransferJob &job) override;
  Status Wait(TransferJob *job, const headrace_cancel_t *cancel,
              uint64_t deadline_ns) override;
  /// Returns when the copy has been begun, which the launches then wait for.
  Status Hold(TransferJob *job, const headrace_cancel_t *cancel,
              uint64_t deadline_ns) override;
  /// Returns when the copy has been begun.
  Status Follow(TransferJob *job, const headrace_cancel_t *cancel,
                uint64_t deadline_ns) override;
  Status ResultOf(const TransferJob &job) override;

  /// The last copy that launches were made to wait for, so far; 0: none.
  uint64_t Held() const { return held; }
  /// Waits until a copy and all before it have ended, whatever became of them.
  /// A failure names what was on its way.
  /// Codes: cancelled, deadline exceeded, device lost.
  Status AwaitHeld(uint64_t number, const headrace_cancel_t *cancel,
                   uint64_t deadline_ns);
  LinkCounters Counters() override { return counters; }
  const char *Name() const override { return options.link; }

private:
  /// A part of the staging memory and the job that goes through it.
  struct Stage {
    uint8_t *memory = nullptr;
    TransferJob *owner = nullptr; // null: free, once copy `number` has ended
    TransferJob read;
    uint64_t number = 0;
  };

  void Advance();
  void EndCopies();
  void AdvanceStage(Stage *stage);
  void Begin(TransferJob *job, uint8_t *from);
  void ListRanges(const TransferJob &job, uint8_t *from);
  Status AwaitBegin(TransferJob *job, const headrace_cancel_t *cancel,
                    uint64_t deadline_ns);
  void End(TransferJob *job);
  Stage *StageOf(const TransferJob &job);
  Status AwaitRoom(TransferJob *job, const headrace_cancel_t *cancel,
                   uint64_t deadline_ns);
  bool HasEnded(uint64_t number);
  Status AwaitCopy(uint64_t number, const TransferJob &job,
                   const headrace_cancel_t *cancel, uint64_t deadline_ns);
  Status Stopped(const TransferJob &job, bool cancelled) const;

  const Allocator allocator;
  Options options;
  Vector<Stage> stages;
  Vector<DeviceCopy> ranges;      // of the job that is begun
  TransferJob *pending = nullptr; // that wait for a stage, urgent ones first
  // Under way, in order.
  TransferJob *first_copy = nullptr;
  TransferJob *last_copy = nullptr;
  uint64_t held = 0;
  Status broken;     // why the link will never work again
  Status last_error; // of a copy that could not be begun
  LinkCounters counters;
  // Of Load().
  DeviceMemory pinned;
  TransferJob load;
  TransferPiece part;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_DEVICE_LINK_H
