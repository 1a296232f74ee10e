// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transfer queue: moves bytes over one link, checked, in the background.
#ifndef HEADRACE_RUNTIME_SRC_TIER_TRANSFER_QUEUE_H
#define HEADRACE_RUNTIME_SRC_TIER_TRANSFER_QUEUE_H

#include "runtime/src/instance.h"
#include "runtime/src/tier/byte_source.h"
#include "runtime/src/tier/io_ring.h"
#include "runtime/src/tier/link.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <pthread.h>

namespace headrace::runtime {

/// A link with its threads. Jobs are cut into chunks, small pieces that lie
/// side by side are joined; each is read, compared with its digest and counted.
/// All functions may be called by any thread, but each job has one caller at a
/// time.
///
/// Whoever submits starts the reads of a ring, and whoever waits or asks takes
/// what has arrived, or reads what can be read without blocking: waking a
/// thread takes longer than moving a small bundle, and takes a processor from
/// the kernels. The queue's own threads do what nobody else does: they sleep
/// while all that is under way is small and urgent, so that its end is about to
/// be awaited.
///
/// A source may hang for ever. Stop() then gives up and returns false: the
/// threads go on by themselves, and the last one to leave calls `orphaned`, so
/// that whoever owns the memory they write to can free it then.
class TransferQueue final : public Link {
public:
  struct Options {
    const char *link = "";            // for reports: "disk", "dram"
    const char *level = "";           // that the bytes go to, for reports
    const char *file = "the package"; // what the source is, for reports
    uint64_t chunk_bytes = 0;
    uint32_t depth = 8;   // reads under way at once
    uint32_t threads = 1; // where no ring is used
    bool use_ring = true; // where the system has it and the source allows it
    void (*orphaned)(void *self) = nullptr;
    void *orphaned_self = nullptr;
  };

  explicit TransferQueue(const Allocator &allocator);
  ~TransferQueue() override;
  TransferQueue(const TransferQueue &) = delete;
  TransferQueue &operator=(const TransferQueue &) = delete;

  /// Starts the threads. `source` outlives the queue.
  /// Codes: resource exhausted, unavailable.
  Status Start(ByteSource *source, const Options &options);

  /// Drops what is queued and ends the threads. False when one of them is
  /// still reading after `grace_ns`; see above.
  bool Stop(uint64_t grace_ns);

  void Submit(TransferJob *job) override;
  void Promote(TransferJob *job) override;
  /// As soon as its reads under way have ended.
  void Cancel(TransferJob *job) override;
  TransferJob::State StateOf(const TransferJob &job) override;
  Status Wait(TransferJob *job, const headrace_cancel_t *cancel,
              uint64_t deadline_ns) override;
  Status ResultOf(const TransferJob &job) override;
  LinkCounters Counters() override;
  const char *Name() const override { return options.link; }
  bool UsesRing() const { return use_ring; }

private:
  /// What is read or written by one request: a chunk of a piece, and the whole
  /// pieces that follow it without a gap, up to as much as a chunk.
  struct Slice {
    TransferJob *job = nullptr;
    const TransferPiece *piece = nullptr; // the first
    uint32_t piece_count = 0;
    uint64_t offset = 0; // in the first piece
    uint64_t bytes = 0;  // of all
    uint64_t got = 0;
    bool in_ring = false; // the system has it, or is about to
  };

  static void *ThreadMain(void *argument);
  void ReadLoop();
  void RingLoop();
  void Leave();
  bool TakeSlice(Slice *out);
  void FillRing();
  void SubmitRing();
  void ReadInRing(uint32_t tag);
  bool Reap(std::unique_lock<std::mutex> *lock);
  bool Help(std::unique_lock<std::mutex> *lock);
  void LeaveToThread(TransferJob *job);
  TransferJob::Failure ReadSlice(Slice *slice, int *error);
  TransferJob::Failure WriteSlice(Slice *slice, int *error);
  bool RoundedRead(const Slice &slice, uint64_t *out_bytes) const;
  static void FindFailure(Slice *slice);
  TransferJob::Failure Check(Slice *slice) const;
  void EndSlice(const Slice &slice, TransferJob::Failure failure, int error);
  void AwaitProgress(uint64_t seen, uint64_t until_ns) const;
  void EndJob(TransferJob *job);
  void Fail(TransferJob *job, TransferJob::Failure failure);

  const Allocator allocator;
  ByteSource *source = nullptr;
  Options options;
  bool use_ring = false;
  IoRing ring;
  Vector<pthread_t> threads;
  std::atomic<uint64_t> ended_jobs{0};

  std::mutex mutex;
  std::condition_variable work;  // a slice to take, or the end
  std::condition_variable ended; // a job, or a thread
  // All below are under `mutex`, and so is the ring.
  Vector<Slice> ring_slices; // by tag
  Vector<uint32_t> free_tags;
  Vector<Slice> returned; // could not be read without blocking
  bool helping = false;
  uint32_t reading = 0; // slices in the ring
  TransferJob *first = nullptr;
  uint32_t running = 0;
  uint32_t unattended = 0; // of a ring: jobs that its thread sees to
  uint32_t in_flight = 0;
  uint64_t busy_since = 0;
  bool stopping = false;
  bool is_orphan = false;
  LinkCounters counters;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_TRANSFER_QUEUE_H
