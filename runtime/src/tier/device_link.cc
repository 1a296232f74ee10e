// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device link: copies, stages, waits.
#include "runtime/src/tier/device_link.h"

#include "runtime/src/thread.h"

#include <algorithm>
#include <cinttypes>
#include <ctime>
#include <immintrin.h>

namespace headrace::runtime {
namespace {

using Failure = TransferJob::Failure;
using State = TransferJob::State;

/// How long a wait looks without a pause: a copy of a few MB takes less.
constexpr uint64_t kSpinNs = 300000;
constexpr int kPausesPerLook = 32;
constexpr timespec kSleep = {0, 20000};

/// Bytes that are read before they are copied, of what a session loads.
constexpr uint64_t kLoadBytes = 8u << 20;

/// Bytes from a job's base to the end of its last piece.
uint64_t Extent(const TransferJob &job) {
  uint64_t end = 0;
  for (uint32_t i = 0; i < job.piece_count; ++i)
    end = std::max(end, job.pieces[i].target + job.pieces[i].bytes);
  return end;
}

} // namespace

DeviceLink::DeviceLink(const Allocator &allocator)
    : allocator(allocator), stages(StdAllocator<Stage>(allocator)),
      ranges(StdAllocator<DeviceCopy>(allocator)) {}

DeviceLink::~DeviceLink() = default;

void DeviceLink::Create(Options &&wanted) {
  options = std::move(wanted);
  ranges.reserve(options.most_pieces);
  if (options.stage_bytes)
    stages.resize(options.staging_bytes / options.stage_bytes);
  for (size_t i = 0; i < stages.size(); ++i)
    stages[i].memory = options.staging + options.stage_bytes * i;
}

void DeviceLink::Stop() { options.stream.reset(); }

//===----------------------------------------------------------------------===//
// Jobs
//===----------------------------------------------------------------------===//

void DeviceLink::Submit(TransferJob *job) {
  job->state = State::kQueued;
  job->failure = Failure::kNone;
  job->error = 0;
  job->number = 0;
  job->failed_piece = 0;
  job->failed_offset = 0;
  job->next = nullptr;
  job->begin_ns = job->end_ns = MonotonicNs();
  if (job->home)
    Begin(job, job->home);
  else
    InsertJob(&pending, job);
  Advance();
}

DeviceLink::Stage *DeviceLink::StageOf(const TransferJob &job) {
  for (Stage &stage : stages)
    if (stage.owner == &job)
      return &stage;
  return nullptr;
}

void DeviceLink::Promote(TransferJob *job) {
  if (job->state != State::kQueued || job->urgent)
    return;
  job->urgent = true;
  if (job->number)
    return; // it is on its way, and so is all before it
  if (Stage *stage = StageOf(*job)) {
    options.package->Promote(&stage->read);
    return;
  }
  UnlinkJob(&pending, job);
  InsertJob(&pending, job);
}

void DeviceLink::Cancel(TransferJob *job) {
  if (job->state != State::kQueued)
    return;
  job->failure = Failure::kCancelled;
  if (job->number)
    return; // ends with its copy
  if (Stage *stage = StageOf(*job)) {
    options.package->Cancel(&stage->read);
    return;
  }
  UnlinkJob(&pending, job);
  End(job);
}

/// Lists what a job whose bytes lie at `from` copies. Gaps between pieces that
/// lie as they are to lie cost less than a copy for each.
void DeviceLink::ListRanges(const TransferJob &job, uint8_t *from) {
  ranges.clear();
  if (!job.is_scattered)
    ranges.push_back({job.base, from, Extent(job), job.is_store});
  for (uint32_t i = 0; job.is_scattered && i < job.piece_count; ++i) {
    const TransferPiece &piece = job.pieces[i];
    ranges.push_back({job.base + piece.target,
                      piece.source == kZeros ? nullptr : from + piece.source,
                      piece.bytes, job.is_store});
  }
}

/// Begins the copy of a job whose bytes lie at `from`.
void DeviceLink::Begin(TransferJob *job, uint8_t *from) {
  job->next = nullptr;
  ListRanges(*job, from);
  if (broken.IsOk())
    broken = options.stream->Copy(ranges.data(), ranges.size(), job->after,
                                  &job->number);
  if (!broken.IsOk()) {
    job->failure = Failure::kError;
    End(job);
    // What could not be begun may be tried again, but for a lost device.
    if (broken.Code() != HEADRACE_STATUS_DEVICE_LOST) {
      last_error = std::move(broken);
      broken = Status();
    }
    return;
  }
  (first_copy ? last_copy->next : first_copy) = job;
  last_copy = job;
}

/// Takes note of a job that has ended.
void DeviceLink::End(TransferJob *job) {
  job->end_ns = MonotonicNs();
  const bool done = job->failure == Failure::kNone;
  job->state = done ? State::kDone : State::kFailed;
  if (done)
    ++counters.transfers;
  else if (job->failure == Failure::kCancelled)
    ++counters.cancelled;
  else
    ++counters.failed;
  uint64_t &bytes = job->is_store ? counters.stored_bytes : counters.bytes;
  for (uint32_t i = 0; done && i < job->piece_count; ++i)
    if (job->pieces[i].source != kZeros)
      bytes += job->pieces[i].bytes;
}

/// Whether a copy has ended; a lost device is told by the waits.
bool DeviceLink::HasEnded(uint64_t number) {
  bool ended = false;
  if (Status status = options.stream->HasEnded(number, &ended); !status.IsOk())
    broken = std::move(status);
  return ended;
}

void DeviceLink::EndCopies() {
  while (first_copy && HasEnded(first_copy->number)) {
    TransferJob *job = first_copy;
    first_copy = job->next;
    job->next = nullptr;
    End(job);
    counters.busy_ns = options.stream->BusyNs();
  }
}

/// Copies what was read, and reads what is next.
void DeviceLink::AdvanceStage(Stage *stage) {
  if (TransferJob *job = stage->owner) {
    if (options.package->StateOf(stage->read) == State::kQueued)
      return;
    stage->owner = nullptr;
    stage->number = 0;
    if (job->failure == Failure::kNone)
      job->failure = stage->read.failure;
    if (job->failure != Failure::kNone) {
      job->error = stage->read.error;
      job->failed_piece = stage->read.failed_piece;
      job->failed_offset = stage->read.failed_offset;
      End(job);
    } else {
      Begin(job, stage->memory);
      stage->number = job->number;
    }
  }
  if (!pending || (stage->number && !HasEnded(stage->number)))
    return;
  TransferJob *job = pending;
  pending = job->next;
  stage->owner = job;
  stage->number = 0;
  stage->read.pieces = job->pieces;
  stage->read.piece_count = job->piece_count;
  stage->read.base = stage->memory;
  stage->read.urgent = job->urgent;
  options.package->Submit(&stage->read);
}

/// Does what can be done without waiting.
void DeviceLink::Advance() {
  EndCopies();
  for (Stage &stage : stages)
    AdvanceStage(&stage);
}

TransferJob::State DeviceLink::StateOf(const TransferJob &job) {
  if (job.state == State::kQueued)
    Advance();
  return job.state;
}

//===----------------------------------------------------------------------===//
// Waits
//===----------------------------------------------------------------------===//

Status DeviceLink::Stopped(const TransferJob &job, bool cancelled) const {
  return MakeStatus(
      allocator,
      cancelled ? HEADRACE_STATUS_CANCELLED : HEADRACE_STATUS_DEADLINE_EXCEEDED,
      "link '%s': %s while '%.200s' was on its way %s level '%s'", options.link,
      cancelled ? "cancelled" : "the deadline passed", job.pieces[0].name,
      job.is_store ? "from" : "to", options.level);
}

Status DeviceLink::AwaitCopy(uint64_t number, const TransferJob &job,
                             const headrace_cancel_t *cancel,
                             uint64_t deadline_ns) {
  const uint64_t begin = MonotonicNs();
  while (!HasEnded(number)) {
    if (!broken.IsOk())
      return MakeStatus(allocator, broken.Code(), "%s", broken.Message());
    const uint64_t now = MonotonicNs();
    if (IsCancelled(cancel) || (deadline_ns && now >= deadline_ns))
      return Stopped(job, IsCancelled(cancel));
    if (now - begin > kSpinNs)
      nanosleep(&kSleep, nullptr);
    for (int i = 0; i < kPausesPerLook; ++i)
      _mm_pause();
  }
  return Status();
}

/// Waits for a job whose copy has not begun: for the read into its stage, or
/// for what is in the way of a stage.
Status DeviceLink::AwaitRoom(TransferJob *job, const headrace_cancel_t *cancel,
                             uint64_t deadline_ns) {
  Stage *stage = StageOf(*job);
  if (!stage)
    stage = stages.data();
  if (!stage->owner)
    return AwaitCopy(stage->number, *job, cancel, deadline_ns);
  const bool own = stage->owner == job;
  Status read = options.package->Wait(&stage->read, cancel, deadline_ns);
  if (options.package->StateOf(stage->read) != State::kQueued)
    return Status();
  return own ? std::move(read) : Stopped(*job, IsCancelled(cancel));
}

/// Waits until the copy of a job has been begun, or the job has ended.
Status DeviceLink::AwaitBegin(TransferJob *job, const headrace_cancel_t *cancel,
                              uint64_t deadline_ns) {
  while (StateOf(*job) == State::kQueued && !job->number) {
    if (IsCancelled(cancel) || (deadline_ns && MonotonicNs() >= deadline_ns))
      return Stopped(*job, IsCancelled(cancel));
    HEADRACE_RETURN_IF_ERROR(AwaitRoom(job, cancel, deadline_ns));
  }
  return Status();
}

Status DeviceLink::Wait(TransferJob *job, const headrace_cancel_t *cancel,
                        uint64_t deadline_ns) {
  HEADRACE_RETURN_IF_ERROR(AwaitBegin(job, cancel, deadline_ns));
  while (StateOf(*job) == State::kQueued)
    HEADRACE_RETURN_IF_ERROR(AwaitCopy(job->number, *job, cancel, deadline_ns));
  return ResultOf(*job);
}

Status DeviceLink::Hold(TransferJob *job, const headrace_cancel_t *cancel,
                        uint64_t deadline_ns) {
  HEADRACE_RETURN_IF_ERROR(AwaitBegin(job, cancel, deadline_ns));
  if (StateOf(*job) != State::kQueued)
    return ResultOf(*job);
  HEADRACE_RETURN_IF_ERROR(options.stream->HoldLaunches(job->number));
  held = std::max(held, job->number);
  return Status();
}

Status DeviceLink::Follow(TransferJob *job, const headrace_cancel_t *cancel,
                          uint64_t deadline_ns) {
  HEADRACE_RETURN_IF_ERROR(AwaitBegin(job, cancel, deadline_ns));
  return StateOf(*job) == State::kQueued ? Status() : ResultOf(*job);
}

Status DeviceLink::AwaitHeld(uint64_t number, const headrace_cancel_t *cancel,
                             uint64_t deadline_ns) {
  for (EndCopies(); first_copy && first_copy->number <= number; EndCopies())
    HEADRACE_RETURN_IF_ERROR(
        AwaitCopy(first_copy->number, *first_copy, cancel, deadline_ns));
  return Status();
}

Status DeviceLink::ResultOf(const TransferJob &job) {
  switch (job.failure) {
  case Failure::kNone:
    return Status();
  case Failure::kCancelled:
    return MakeStatus(allocator, HEADRACE_STATUS_CANCELLED,
                      "link '%s': the transfer was cancelled", options.link);
  case Failure::kEnded:
  case Failure::kDigest:
    return options.package->ResultOf(job);
  case Failure::kError:
    break;
  }
  if (job.error)
    return options.package->ResultOf(job);
  const Status &why = broken.IsOk() ? last_error : broken;
  return MakeStatus(allocator, why.Code(),
                    "link '%s': copying '%.200s' %s level '%s': %s",
                    options.link, job.pieces[0].name,
                    job.is_store ? "from" : "to", options.level, why.Message());
}

//===----------------------------------------------------------------------===//
// Loading
//===----------------------------------------------------------------------===//

Status DeviceLink::Load(headrace_device_t *device, const TransferPiece *pieces,
                        uint32_t count, uint8_t *base, uint64_t chunk_bytes,
                        uint64_t deadline_ns) {
  // While one half is copied the other is read.
  const uint64_t half =
      std::max<uint64_t>(kLoadBytes / chunk_bytes, 1) * chunk_bytes;
  HEADRACE_RETURN_IF_ERROR(
      device->AllocateHost(half * 2, "loading weights", &pinned));
  uint64_t numbers[2] = {0, 0}; // of the copies out of the halves
  uint32_t turn = 0;
  for (uint32_t i = 0; i < count; ++i)
    for (uint64_t at = 0; at < pieces[i].bytes; at += half, turn = 1 - turn) {
      if (numbers[turn])
        HEADRACE_RETURN_IF_ERROR(
            AwaitCopy(numbers[turn], load, nullptr, deadline_ns));
      part = pieces[i];
      part.source += at;
      part.target = 0;
      part.bytes = std::min(half, pieces[i].bytes - at);
      part.room = half;
      part.digests = part.digests ? part.digests + at / chunk_bytes : nullptr;
      load.pieces = &part;
      load.piece_count = 1;
      load.base = pinned.Data() + half * turn;
      options.package->Submit(&load);
      HEADRACE_RETURN_IF_ERROR(
          options.package->Wait(&load, nullptr, deadline_ns));
      const DeviceCopy copy = {base + pieces[i].target + at, load.base,
                               part.bytes};
      HEADRACE_RETURN_IF_ERROR(
          options.stream->Copy(&copy, 1, /*after=*/0, &numbers[turn]));
      counters.bytes += part.bytes;
    }
  for (uint64_t number : numbers)
    if (number)
      HEADRACE_RETURN_IF_ERROR(AwaitCopy(number, load, nullptr, deadline_ns));
  ++counters.transfers;
  pinned = DeviceMemory();
  return Status();
}

} // namespace headrace::runtime
