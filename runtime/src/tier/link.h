// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Link: what moves weights from one level to another, job by job.
#ifndef HEADRACE_RUNTIME_SRC_TIER_LINK_H
#define HEADRACE_RUNTIME_SRC_TIER_LINK_H

#include "headrace/session.h"
#include "runtime/src/status.h"

namespace headrace::runtime {

/// The source of a piece that is zeros.
constexpr uint64_t kZeros = UINT64_MAX;

/// One range of the source and its place in the job's destination.
struct TransferPiece {
  uint64_t source = 0; // offset in the source, or, of a device link, kZeros
  uint64_t target = 0; // from the job's base address
  uint64_t bytes = 0;
  /// Bytes from `target` on that may be written, at least `bytes`: direct
  /// reads end at a sector.
  uint64_t room = 0;
  /// XXH3-64 of each chunk, or null: not checked.
  const uint64_t *digests = nullptr;
  const char *name = nullptr; // of the buffer or weight, for reports
};

/// What moves together. Made once and used again and again, so that steps do
/// not allocate. The fields are the caller's until Submit(), the link's until
/// the job has ended, and then the caller's again.
struct TransferJob {
  enum class State : uint8_t { kIdle, kQueued, kDone, kFailed };
  enum class Failure : uint8_t { kNone, kError, kEnded, kDigest, kCancelled };

  const TransferPiece *pieces = nullptr;
  uint32_t piece_count = 0;
  uint8_t *base = nullptr;
  /// Where all of it lies as it is to be at `base`, or null: in the package.
  uint8_t *home = nullptr;
  /// Of a device: `home` is the source of pieces that move one by one.
  bool is_scattered = false;
  /// That `base` is of, for reports; null: the link's.
  const char *level = nullptr;
  bool urgent = false;   // somebody waits: goes before jobs that are not
  bool is_store = false; // to the source, or home; not by a ring, nor checked
  /// Of a device: the part of its executor that still reads at `base`, or
  /// writes what is stored; 0: none.
  uint64_t after = 0;

  // Read through the link only.
  State state = State::kIdle;
  Failure failure = Failure::kNone;
  int error = 0;             // errno of kError, or the link's own
  uint32_t failed_piece = 0; // where
  uint64_t failed_offset = 0;
  uint32_t next_piece = 0; // not yet started
  uint64_t next_byte = 0;  // within it
  uint32_t in_flight = 0;
  bool started = false;
  bool unattended = false; // the link's own thread sees to it
  uint64_t number = 0;     // of the copy by a device; 0: none was begun
  uint64_t begin_ns = 0, end_ns = 0; // first slice started, last one ended
  TransferJob *next = nullptr;
};

/// Puts a job into a list of waiting ones, behind those of its kind; urgent
/// ones come first.
inline void InsertJob(TransferJob **first, TransferJob *job) {
  TransferJob **place = first;
  while (*place && ((*place)->urgent || !job->urgent))
    place = &(*place)->next;
  job->next = *place;
  *place = job;
}

/// Takes the job out of the list, if it is there.
inline void UnlinkJob(TransferJob **first, TransferJob *job) {
  for (TransferJob **place = first; *place; place = &(*place)->next)
    if (*place == job) {
      *place = job->next;
      return;
    }
}

/// Counters of a link since it was made.
struct LinkCounters {
  uint64_t bytes = 0; // arrived and checked
  uint64_t stored_bytes = 0;
  uint64_t transfers = 0;
  uint64_t failed = 0;
  uint64_t cancelled = 0;
  uint64_t busy_ns = 0; // at least one transfer under way
};

/// Each job has one caller at a time.
class Link {
public:
  virtual ~Link() = default;

  virtual void Submit(TransferJob *job) = 0;
  /// Puts a queued job before those that nobody waits for.
  virtual void Promote(TransferJob *job) = 0;
  /// Ends a job that is queued, as soon as nothing of it is under way.
  virtual void Cancel(TransferJob *job) = 0;

  virtual TransferJob::State StateOf(const TransferJob &job) = 0;
  /// Waits until the job has ended and returns how. Cancel word and deadline
  /// (of MonotonicNs(); 0: none) end the wait, not the job.
  /// Codes: io, data loss, cancelled, deadline exceeded, device lost.
  virtual Status Wait(TransferJob *job, const headrace_cancel_t *cancel,
                      uint64_t deadline_ns) = 0;
  /// Sees to it that what runs from now on finds the job's bytes: waits here,
  /// or makes a device wait. Limits and codes: as Wait().
  virtual Status Hold(TransferJob *job, const headrace_cancel_t *cancel,
                      uint64_t deadline_ns) {
    return Wait(job, cancel, deadline_ns);
  }
  /// Sees to it that what is submitted from now on comes behind the job: waits
  /// here, unless jobs keep their order. Limits and codes: as Wait().
  virtual Status Follow(TransferJob *job, const headrace_cancel_t *cancel,
                        uint64_t deadline_ns) {
    return Wait(job, cancel, deadline_ns);
  }
  /// How an ended job has ended.
  virtual Status ResultOf(const TransferJob &job) = 0;

  virtual LinkCounters Counters() = 0;
  virtual const char *Name() const = 0;
  /// Of the link that a job goes over, where there are several behind one.
  virtual const char *NameOf(const TransferJob &) const { return Name(); }
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_LINK_H
