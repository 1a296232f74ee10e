// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transfer queue: cutting jobs into chunks, reading, checking, waiting.
#include "runtime/src/tier/transfer_queue.h"

#include "runtime/src/digest.h"
#include "runtime/src/thread.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <immintrin.h>

namespace headrace::runtime {
namespace {

using Failure = TransferJob::Failure;
using State = TransferJob::State;

/// How often a wait looks at cancel word and deadline.
constexpr auto kPollPeriod = std::chrono::milliseconds(1);
/// How long a wait looks at the ring itself before it sleeps: a small read
/// takes about as long as being woken after it.
constexpr uint64_t kSpinNs = 300000;
/// Pauses between two looks at the clock: about a microsecond.
constexpr int kPausesPerLook = 32;

/// Moved by whoever waits, if that cannot block: waking a thread takes longer.
constexpr uint64_t kLeastWoken = uint64_t(256) << 10;

bool IsSmall(const TransferJob &job) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < job.piece_count && bytes < kLeastWoken; ++i)
    bytes += job.pieces[i].bytes;
  return bytes < kLeastWoken;
}

/// Where a job's base is.
const char *LevelOf(const TransferJob &job, const char *of_link) {
  return job.level ? job.level : of_link;
}

/// The next piece of the job, past those without bytes.
void SkipEmpty(TransferJob *job) {
  while (job->next_piece < job->piece_count &&
         job->pieces[job->next_piece].bytes == 0)
    ++job->next_piece;
}

/// Does `next` begin where `piece` ends, in the source and in its place?
bool Follows(const TransferPiece &piece, const TransferPiece &next) {
  return next.source == piece.source + piece.bytes &&
         next.target == piece.target + piece.bytes;
}

uint64_t RoundUp(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

} // namespace

TransferQueue::TransferQueue(const Allocator &allocator)
    : allocator(allocator), threads(StdAllocator<pthread_t>(allocator)),
      ring_slices(StdAllocator<Slice>(allocator)),
      free_tags(StdAllocator<uint32_t>(allocator)),
      returned(StdAllocator<Slice>(allocator)) {}

TransferQueue::~TransferQueue() = default;

Status TransferQueue::Start(ByteSource *from, const Options &wanted) {
  source = from;
  options = wanted;
  use_ring = options.use_ring && source->Descriptor(0, nullptr, 0) >= 0 &&
             ring.Create(allocator, options.depth);
  const uint32_t count = use_ring ? 1 : std::max(1u, options.threads);
  threads.reserve(count);
  returned.reserve(1); // of the one that waits
  if (use_ring) {
    // While some are checked, as many others are read.
    const uint32_t tags = options.depth * 2;
    ring_slices.resize(tags);
    free_tags.reserve(tags);
    for (uint32_t tag = tags; tag-- > 0;)
      free_tags.push_back(tag);
  }
  for (uint32_t i = 0; i < count; ++i) {
    char name[16];
    std::snprintf(name, sizeof(name), "headrace-%s", options.link);
    {
      std::lock_guard<std::mutex> lock(mutex);
      ++running;
    }
    pthread_t thread;
    if (StartThread(&thread, nullptr, ThreadMain, this, name) != 0) {
      std::lock_guard<std::mutex> lock(mutex);
      --running;
      return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,
                        "link '%s': cannot start a thread", options.link);
    }
    threads.push_back(thread);
  }
  return Status();
}

bool TransferQueue::Stop(uint64_t grace_ns) {
  std::unique_lock<std::mutex> lock(mutex);
  stopping = true;
  while (first)
    Fail(first, Failure::kCancelled);
  work.notify_all();
  if (use_ring)
    ring.Wake();
  const uint64_t until = MonotonicNs() + grace_ns;
  while (running && MonotonicNs() < until)
    ended.wait_for(lock, kPollPeriod);
  is_orphan = running != 0;
  const bool joined = !is_orphan;
  // The last thread may free this object as soon as the lock is gone.
  if (is_orphan)
    for (pthread_t thread : threads)
      pthread_detach(thread);
  lock.unlock();
  if (joined) {
    for (pthread_t thread : threads)
      pthread_join(thread, nullptr);
    threads.clear();
  }
  return joined;
}

void *TransferQueue::ThreadMain(void *argument) {
  auto &queue = *static_cast<TransferQueue *>(argument);
  if (queue.use_ring)
    queue.RingLoop();
  else
    queue.ReadLoop();
  queue.Leave();
  return nullptr;
}

/// The last thing a thread does with the queue.
void TransferQueue::Leave() {
  void (*orphaned)(void *) = nullptr;
  void *self = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (--running == 0 && is_orphan) {
      orphaned = options.orphaned;
      self = options.orphaned_self;
    }
    ended.notify_all();
  }
  if (orphaned)
    orphaned(self);
}

//===----------------------------------------------------------------------===//
// Jobs
//===----------------------------------------------------------------------===//

/// Starts no more of the job. Under the lock.
void TransferQueue::Fail(TransferJob *job, Failure failure) {
  UnlinkJob(&first, job);
  if (job->failure == Failure::kNone)
    job->failure = failure;
  job->next_piece = job->piece_count;
  if (job->in_flight == 0)
    EndJob(job);
}

/// Under the lock.
void TransferQueue::EndJob(TransferJob *job) {
  const bool done = job->failure == Failure::kNone;
  job->state = done ? State::kDone : State::kFailed;
  job->end_ns = MonotonicNs();
  if (job->unattended)
    --unattended;
  job->unattended = false;
  ended_jobs.fetch_add(1, std::memory_order_relaxed);
  if (done)
    ++counters.transfers;
  else if (job->failure == Failure::kCancelled)
    ++counters.cancelled;
  else
    ++counters.failed;
  ended.notify_all();
}

void TransferQueue::Submit(TransferJob *job) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    job->state = State::kQueued;
    job->failure = Failure::kNone;
    job->error = 0;
    job->next_piece = 0;
    job->next_byte = 0;
    SkipEmpty(job);
    job->in_flight = 0;
    job->started = false;
    job->unattended = false;
    job->number = 0;
    job->begin_ns = job->end_ns = MonotonicNs();
    if (stopping)
      job->failure = Failure::kCancelled;
    if (stopping || job->next_piece == job->piece_count) {
      EndJob(job);
      return;
    }
    InsertJob(&first, job);
    // Somebody waits for an urgent one, or is about to.
    const bool is_awaited = job->urgent && IsSmall(*job);
    if (use_ring) {
      FillRing();
      // What is in no read yet is for whoever fills the ring next.
      if (!is_awaited || job->next_piece < job->piece_count || ring.HasQueued())
        LeaveToThread(job);
      return;
    }
    if (is_awaited && !job->is_store && source->CanTry())
      return;
  }
  work.notify_all();
}

void TransferQueue::Promote(TransferJob *job) {
  std::lock_guard<std::mutex> lock(mutex);
  if (job->state != State::kQueued || job->urgent)
    return;
  job->urgent = true;
  if (job->next_piece < job->piece_count) {
    UnlinkJob(&first, job);
    InsertJob(&first, job);
  }
}

void TransferQueue::Cancel(TransferJob *job) {
  std::lock_guard<std::mutex> lock(mutex);
  if (job->state == State::kQueued)
    Fail(job, Failure::kCancelled);
}

/// Has the ring's thread see to a job that nobody is about to wait for. Under
/// the lock.
void TransferQueue::LeaveToThread(TransferJob *job) {
  if (!use_ring || job->state != State::kQueued || job->unattended)
    return;
  job->unattended = true;
  ++unattended;
  work.notify_all();
}

State TransferQueue::StateOf(const TransferJob &job) {
  std::unique_lock<std::mutex> lock(mutex);
  while (use_ring && job.state == State::kQueued && !job.unattended &&
         Reap(&lock)) {
  }
  return job.state;
}

LinkCounters TransferQueue::Counters() {
  std::lock_guard<std::mutex> lock(mutex);
  LinkCounters now = counters;
  if (in_flight)
    now.busy_ns += MonotonicNs() - busy_since;
  return now;
}

Status TransferQueue::Wait(TransferJob *job, const headrace_cancel_t *cancel,
                           uint64_t deadline_ns) {
  std::unique_lock<std::mutex> lock(mutex);
  const uint64_t spin_end = use_ring ? MonotonicNs() + kSpinNs : 0;
  while (job->state == State::kQueued) {
    const bool cancelled = IsCancelled(cancel);
    if (cancelled || (deadline_ns && MonotonicNs() >= deadline_ns)) {
      LeaveToThread(job);
      const uint32_t piece = std::min(job->next_piece, job->piece_count - 1);
      return MakeStatus(
          allocator,
          cancelled ? HEADRACE_STATUS_CANCELLED
                    : HEADRACE_STATUS_DEADLINE_EXCEEDED,
          "link '%s': %s while '%.200s' was on its way %s level '%s'",
          options.link, cancelled ? "cancelled" : "the deadline passed",
          job->pieces[piece].name, job->is_store ? "from" : "to",
          LevelOf(*job, options.level));
    }
    if (use_ring ? Reap(&lock) : Help(&lock))
      continue;
    if (MonotonicNs() < spin_end) {
      const uint64_t seen = ended_jobs.load(std::memory_order_relaxed);
      lock.unlock();
      AwaitProgress(seen, spin_end);
      lock.lock();
      continue;
    }
    LeaveToThread(job);
    ended.wait_for(lock, kPollPeriod);
  }
  lock.unlock();
  return ResultOf(*job);
}

Status TransferQueue::ResultOf(const TransferJob &job) {
  const TransferPiece *piece =
      job.piece_count ? &job.pieces[job.failed_piece] : nullptr;
  const uint64_t at = piece ? piece->source + job.failed_offset : 0;
  switch (job.failure) {
  case Failure::kNone:
    return Status();
  case Failure::kCancelled:
    return MakeStatus(allocator, HEADRACE_STATUS_CANCELLED,
                      "link '%s': the transfer was cancelled", options.link);
  case Failure::kEnded:
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "link '%s': %s ended at byte %" PRIu64
                      " while '%.200s' was read to level '%s'",
                      options.link, options.file, at, piece->name,
                      LevelOf(job, options.level));
  case Failure::kDigest:
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "link '%s': digest does not match at byte %" PRIu64
                      " of %s, read to level '%s' for '%.200s'",
                      options.link, at, options.file,
                      LevelOf(job, options.level), piece->name);
  case Failure::kError:
    break;
  }
  char reason[128], what[256];
  std::snprintf(what, sizeof(what),
                job.is_store ? "writing '%.200s' from" : "reading '%.200s' to",
                piece->name);
  return MakeStatus(
      allocator, HEADRACE_STATUS_IO,
      "link '%s': %s level '%s' failed at byte %" PRIu64 " of %s: %s",
      options.link, what, LevelOf(job, options.level), at, options.file,
      strerror_r(job.error, reason, sizeof(reason)));
}

//===----------------------------------------------------------------------===//
// Slices
//===----------------------------------------------------------------------===//

/// The next slice of the first job. Under the lock.
bool TransferQueue::TakeSlice(Slice *out) {
  if (!returned.empty()) {
    *out = returned.back();
    returned.pop_back();
    return true;
  }
  if (!first)
    return false;
  TransferJob *job = first;
  const TransferPiece &piece = job->pieces[job->next_piece];
  out->job = job;
  out->piece = &piece;
  out->piece_count = 1;
  out->offset = job->next_byte;
  out->bytes = std::min(options.chunk_bytes, piece.bytes - job->next_byte);
  out->got = 0;
  out->in_ring = false;
  job->next_byte += out->bytes;
  if (job->next_byte >= piece.bytes) {
    job->next_byte = 0;
    for (;;) {
      const TransferPiece &last = job->pieces[job->next_piece++];
      if (job->next_piece == job->piece_count)
        break;
      const TransferPiece &next = job->pieces[job->next_piece];
      if (!Follows(last, next) || next.bytes > options.chunk_bytes - out->bytes)
        break;
      out->bytes += next.bytes;
      ++out->piece_count;
    }
    SkipEmpty(job);
    if (job->next_piece == job->piece_count)
      first = job->next;
  }
  if (!job->started)
    job->begin_ns = MonotonicNs();
  job->started = true;
  ++job->in_flight;
  if (in_flight++ == 0)
    busy_since = MonotonicNs();
  return true;
}

/// How much to ask for: to the end of the sector where there is room.
bool TransferQueue::RoundedRead(const Slice &slice, uint64_t *out_bytes) const {
  const uint64_t left = slice.bytes - slice.got;
  const uint64_t rounded = RoundUp(left, kDirectAlignment);
  const TransferPiece &last = slice.piece[slice.piece_count - 1];
  const uint64_t end = slice.piece_count == 1 ? slice.offset + slice.bytes
                                              : last.bytes; // in the last piece
  const bool fits = rounded - left <= last.room - end;
  *out_bytes = fits ? rounded : left;
  return fits;
}

/// Makes `got` of a slice that failed one of the piece where it did.
void TransferQueue::FindFailure(Slice *slice) {
  while (slice->piece_count > 1 &&
         slice->got >= slice->piece->bytes - slice->offset) {
    slice->got -= slice->piece->bytes - slice->offset;
    slice->offset = 0;
    ++slice->piece;
    --slice->piece_count;
  }
}

/// Compares what has arrived with its digests. `got` of a slice that fails
/// becomes where the chunk begins that does not match.
Failure TransferQueue::Check(Slice *slice) const {
  uint64_t at = 0; // in the slice
  for (uint32_t i = 0; i < slice->piece_count; ++i) {
    const TransferPiece &piece = slice->piece[i];
    const uint64_t offset = i == 0 ? slice->offset : 0;
    const uint64_t bytes = std::min(piece.bytes - offset, slice->bytes - at);
    if (piece.digests &&
        Digest(slice->job->base + piece.target + offset, bytes) !=
            piece.digests[offset / options.chunk_bytes]) {
      slice->got = at;
      return Failure::kDigest;
    }
    at += bytes;
  }
  return Failure::kNone;
}

/// Under the lock.
void TransferQueue::EndSlice(const Slice &slice, Failure failure, int error) {
  TransferJob *job = slice.job;
  if (--in_flight == 0)
    counters.busy_ns += MonotonicNs() - busy_since;
  --job->in_flight;
  if (failure == Failure::kNone) {
    (job->is_store ? counters.stored_bytes : counters.bytes) += slice.bytes;
    if (job->in_flight == 0 && job->next_piece == job->piece_count)
      EndJob(job);
    return;
  }
  if (job->failure == Failure::kNone) {
    Slice failed = slice;
    FindFailure(&failed);
    job->error = error;
    job->failed_piece = static_cast<uint32_t>(failed.piece - job->pieces);
    job->failed_offset = failed.offset + failed.got;
  }
  Fail(job, failure);
}

//===----------------------------------------------------------------------===//
// Without a ring
//===----------------------------------------------------------------------===//

/// Reads the rest of the slice, and checks it.
Failure TransferQueue::ReadSlice(Slice *slice, int *error) {
  uint8_t *target = slice->job->base + slice->piece->target + slice->offset;
  while (slice->got < slice->bytes) {
    uint64_t wanted;
    RoundedRead(*slice, &wanted);
    int64_t got =
        source->Read(slice->piece->source + slice->offset + slice->got,
                     target + slice->got, wanted);
    if (got <= 0) {
      *error = static_cast<int>(-got);
      return got == 0 ? Failure::kEnded : Failure::kError;
    }
    slice->got += static_cast<uint64_t>(got);
  }
  return Check(slice);
}

/// Writes the rest of the slice.
Failure TransferQueue::WriteSlice(Slice *slice, int *error) {
  const uint8_t *from = slice->job->base + slice->piece->target + slice->offset;
  while (slice->got < slice->bytes) {
    const int64_t put =
        source->Write(slice->piece->source + slice->offset + slice->got,
                      from + slice->got, slice->bytes - slice->got);
    if (put <= 0) {
      *error = put == 0 ? EIO : static_cast<int>(-put);
      return Failure::kError;
    }
    slice->got += static_cast<uint64_t>(put);
  }
  return Failure::kNone;
}

void TransferQueue::ReadLoop() {
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    Slice slice;
    while (!stopping && !first && returned.empty())
      work.wait(lock);
    // What a waiter gave back is part of a job, which has to end.
    if (stopping && returned.empty())
      return;
    TakeSlice(&slice);
    lock.unlock();
    int error = 0;
    Failure failure = slice.job->is_store ? WriteSlice(&slice, &error)
                                          : ReadSlice(&slice, &error);
    lock.lock();
    EndSlice(slice, failure, error);
  }
}

/// Lets the waiting thread read a slice, if that cannot block. False if there
/// is none, or it could: then the queue's threads read it.
bool TransferQueue::Help(std::unique_lock<std::mutex> *lock) {
  Slice slice;
  if (stopping || helping || !first || first->is_store || !returned.empty() ||
      !source->CanTry())
    return false;
  helping = true;
  TakeSlice(&slice);
  lock->unlock();
  uint8_t *target = slice.job->base + slice.piece->target + slice.offset;
  const uint64_t from = slice.piece->source + slice.offset;
  while (slice.got < slice.bytes) {
    uint64_t wanted;
    RoundedRead(slice, &wanted);
    int64_t got = source->TryRead(from + slice.got, target + slice.got, wanted);
    if (got <= 0)
      break;
    slice.got += static_cast<uint64_t>(got);
  }
  const bool whole = slice.got >= slice.bytes;
  Failure failure = whole ? Check(&slice) : Failure::kNone;
  lock->lock();
  helping = false;
  if (whole) {
    EndSlice(slice, failure, 0);
  } else {
    returned.push_back(slice);
    work.notify_one();
  }
  return whole;
}

//===----------------------------------------------------------------------===//
// With a ring
//===----------------------------------------------------------------------===//

/// Under the lock, like all that follow but AwaitProgress().
void TransferQueue::ReadInRing(uint32_t tag) {
  Slice &slice = ring_slices[tag];
  uint64_t wanted;
  RoundedRead(slice, &wanted);
  const uint64_t from = slice.piece->source + slice.offset + slice.got;
  uint8_t *to =
      slice.job->base + slice.piece->target + slice.offset + slice.got;
  // The length of a read is 32 bits and its result 31; the rest is read when
  // this part has come.
  wanted = std::min<uint64_t>(wanted, uint64_t(1) << 30);
  slice.in_ring = true;
  ++reading;
  ring.Read(source->Descriptor(from, to, wanted), to,
            static_cast<uint32_t>(wanted), from, tag);
}

/// As many reads as may be under way at once.
void TransferQueue::FillRing() {
  while (reading < options.depth && !free_tags.empty() &&
         TakeSlice(&ring_slices[free_tags.back()])) {
    const uint32_t tag = free_tags.back();
    free_tags.pop_back();
    ReadInRing(tag);
  }
  SubmitRing();
}

void TransferQueue::SubmitRing() {
  const int error = ring.Submit();
  if (error == 0)
    return;
  // A ring that broke: nothing that is under way will be told of again.
  for (uint32_t tag = 0; tag < ring_slices.size(); ++tag)
    if (ring_slices[tag].in_ring) {
      ring_slices[tag].in_ring = false;
      --reading;
      EndSlice(ring_slices[tag], Failure::kError, error);
      free_tags.push_back(tag);
    }
}

/// Takes what has arrived, one slice at a time; the reads that follow are under
/// way before it is checked. False if nothing has.
bool TransferQueue::Reap(std::unique_lock<std::mutex> *lock) {
  IoRing::Completion completion;
  if (!ring.Pop(&completion))
    return false;
  const auto tag = static_cast<uint32_t>(completion.tag);
  Slice &slice = ring_slices[tag];
  if (!slice.in_ring) // of a ring that was thought to be broken
    return true;
  slice.in_ring = false;
  --reading;
  // The last one: the thread that submitted it has ended.
  const bool again = completion.result == -EINTR ||
                     completion.result == -EAGAIN ||
                     completion.result == -ECANCELED;
  Failure failure = Failure::kNone;
  if (completion.result > 0)
    slice.got += static_cast<uint64_t>(completion.result);
  else if (!again)
    failure = completion.result == 0 ? Failure::kEnded : Failure::kError;
  if (failure == Failure::kNone && slice.got < slice.bytes) {
    ReadInRing(tag); // the rest of a short read
    SubmitRing();
    return true;
  }
  FillRing();
  Slice arrived = slice; // the ring's slices are under the lock
  if (failure == Failure::kNone) {
    lock->unlock();
    failure = Check(&arrived);
    lock->lock();
  }
  EndSlice(arrived, failure, -completion.result);
  free_tags.push_back(tag);
  return true;
}

/// Looks for a while whether something arrives or another thread ends a job
/// after `seen` ones. Not under the lock.
void TransferQueue::AwaitProgress(uint64_t seen, uint64_t until_ns) const {
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (ring.HasCompletion() ||
          ended_jobs.load(std::memory_order_relaxed) != seen)
        return;
      _mm_pause();
    }
  } while (MonotonicNs() < until_ns);
}

void TransferQueue::RingLoop() {
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    if (stopping && in_flight == 0)
      return;
    if (unattended == 0 && !stopping) {
      work.wait(lock);
      continue;
    }
    FillRing();
    if (Reap(&lock))
      continue;
    if (ring.HasQueued()) { // the system lacks memory for now
      work.wait_for(lock, kPollPeriod);
      continue;
    }
    lock.unlock();
    const int error = ring.Wait();
    lock.lock();
    if (error)
      work.wait_for(lock, kPollPeriod); // the next submission says why
  }
}

} // namespace headrace::runtime
