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

namespace headrace::runtime {
namespace {

using Failure = TransferJob::Failure;
using State = TransferJob::State;

/// How often a wait looks at cancel word and deadline.
constexpr auto kPollPeriod = std::chrono::milliseconds(1);

/// The next piece of the job, past those without bytes.
void SkipEmpty(TransferJob *job) {
  while (job->next_piece < job->piece_count &&
         job->pieces[job->next_piece].bytes == 0)
    ++job->next_piece;
}

uint64_t RoundUp(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

} // namespace

TransferQueue::TransferQueue(const Allocator &allocator)
    : allocator(allocator), ring_slices(StdAllocator<Slice>(allocator)),
      free_tags(StdAllocator<uint32_t>(allocator)),
      threads(StdAllocator<pthread_t>(allocator)) {}

TransferQueue::~TransferQueue() = default;

Status TransferQueue::Start(ByteSource *from, const Options &wanted) {
  source = from;
  options = wanted;
  use_ring = options.use_ring && source->Descriptor(0, nullptr, 0) >= 0 &&
             ring.Create(allocator, options.depth);
  const uint32_t count = use_ring ? 1 : std::max(1u, options.threads);
  threads.reserve(count);
  if (use_ring) {
    ring_slices.resize(options.depth);
    free_tags.reserve(options.depth);
    for (uint32_t tag = options.depth; tag-- > 0;)
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

/// Behind the jobs of its kind; urgent ones come first. Under the lock.
void TransferQueue::Insert(TransferJob *job) {
  TransferJob **place = &first;
  while (*place && ((*place)->urgent || !job->urgent))
    place = &(*place)->next;
  job->next = *place;
  *place = job;
}

/// Takes the job out of the list, if it is there. Under the lock.
void TransferQueue::Unlink(TransferJob *job) {
  for (TransferJob **place = &first; *place; place = &(*place)->next)
    if (*place == job) {
      *place = job->next;
      return;
    }
}

/// Starts no more of the job. Under the lock.
void TransferQueue::Fail(TransferJob *job, Failure failure) {
  Unlink(job);
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
  if (done)
    ++counters.transfers;
  else if (job->failure == Failure::kCancelled)
    ++counters.cancelled;
  else
    ++counters.failed;
  ended.notify_all();
}

void TransferQueue::Submit(TransferJob *job) {
  bool wake = false;
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
    job->begin_ns = job->end_ns = MonotonicNs();
    if (stopping)
      job->failure = Failure::kCancelled;
    if (stopping || job->next_piece == job->piece_count) {
      EndJob(job);
      return;
    }
    Insert(job);
    wake = use_ring;
  }
  if (wake)
    ring.Wake();
  else
    work.notify_all();
}

void TransferQueue::Promote(TransferJob *job) {
  std::lock_guard<std::mutex> lock(mutex);
  if (job->state != State::kQueued || job->urgent)
    return;
  job->urgent = true;
  if (job->next_piece < job->piece_count) {
    Unlink(job);
    Insert(job);
  }
}

void TransferQueue::Cancel(TransferJob *job) {
  std::lock_guard<std::mutex> lock(mutex);
  if (job->state == State::kQueued)
    Fail(job, Failure::kCancelled);
}

State TransferQueue::StateOf(const TransferJob &job) {
  std::lock_guard<std::mutex> lock(mutex);
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
  while (job->state == State::kQueued) {
    const bool cancelled = IsCancelled(cancel);
    if (cancelled || (deadline_ns && MonotonicNs() >= deadline_ns)) {
      const uint32_t piece = std::min(job->next_piece, job->piece_count - 1);
      return MakeStatus(
          allocator,
          cancelled ? HEADRACE_STATUS_CANCELLED
                    : HEADRACE_STATUS_DEADLINE_EXCEEDED,
          "link '%s': %s while '%.200s' was on its way to level '%s'",
          options.link, cancelled ? "cancelled" : "the deadline passed",
          job->pieces[piece].name, options.level);
    }
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
                      "link '%s': the package ended at byte %" PRIu64
                      " while '%.200s' was read to level '%s'",
                      options.link, at, piece->name, options.level);
  case Failure::kDigest:
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "link '%s': digest does not match at byte %" PRIu64
                      " of the package, read to level '%s' for '%.200s'",
                      options.link, at, options.level, piece->name);
  case Failure::kError:
    break;
  }
  char reason[128];
  return MakeStatus(allocator, HEADRACE_STATUS_IO,
                    "link '%s': reading '%.200s' to level '%s' failed at byte "
                    "%" PRIu64 " of the package: %s",
                    options.link, piece->name, options.level, at,
                    strerror_r(job.error, reason, sizeof(reason)));
}

//===----------------------------------------------------------------------===//
// Slices
//===----------------------------------------------------------------------===//

/// The next chunk of the first job. Under the lock.
bool TransferQueue::TakeSlice(Slice *out) {
  if (!first)
    return false;
  TransferJob *job = first;
  const TransferPiece &piece = job->pieces[job->next_piece];
  out->job = job;
  out->piece = &piece;
  out->offset = job->next_byte;
  out->bytes = std::min(options.chunk_bytes, piece.bytes - job->next_byte);
  out->got = 0;
  job->next_byte += out->bytes;
  if (job->next_byte >= piece.bytes) {
    job->next_byte = 0;
    ++job->next_piece;
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
  const bool fits = slice.offset + slice.got + rounded <= slice.piece->room;
  *out_bytes = fits ? rounded : left;
  return fits;
}

/// Compares an arrived chunk with its digest.
Failure TransferQueue::Check(const Slice &slice) const {
  if (!slice.piece->digests)
    return Failure::kNone;
  const uint8_t *data = slice.job->base + slice.piece->target + slice.offset;
  const uint64_t chunk = slice.offset / options.chunk_bytes;
  return Digest(data, slice.bytes) == slice.piece->digests[chunk]
             ? Failure::kNone
             : Failure::kDigest;
}

void TransferQueue::EndSlice(const Slice &slice, Failure failure, int error) {
  std::lock_guard<std::mutex> lock(mutex);
  TransferJob *job = slice.job;
  if (--in_flight == 0)
    counters.busy_ns += MonotonicNs() - busy_since;
  --job->in_flight;
  if (failure == Failure::kNone) {
    counters.bytes += slice.bytes;
    if (job->in_flight == 0 && job->next_piece == job->piece_count)
      EndJob(job);
    return;
  }
  if (job->failure == Failure::kNone) {
    job->error = error;
    job->failed_piece = static_cast<uint32_t>(slice.piece - job->pieces);
    job->failed_offset = slice.offset + slice.got;
  }
  Fail(job, failure);
}

void TransferQueue::ReadLoop() {
  for (;;) {
    Slice slice;
    {
      std::unique_lock<std::mutex> lock(mutex);
      while (!stopping && !first)
        work.wait(lock);
      if (stopping)
        return;
      TakeSlice(&slice);
    }
    uint8_t *target = slice.job->base + slice.piece->target + slice.offset;
    Failure failure = Failure::kNone;
    int error = 0;
    while (failure == Failure::kNone && slice.got < slice.bytes) {
      uint64_t wanted;
      RoundedRead(slice, &wanted);
      int64_t got = source->Read(slice.piece->source + slice.offset + slice.got,
                                 target + slice.got, wanted);
      if (got > 0) {
        slice.got += static_cast<uint64_t>(got);
      } else {
        failure = got == 0 ? Failure::kEnded : Failure::kError;
        error = static_cast<int>(-got);
      }
    }
    if (failure == Failure::kNone)
      failure = Check(slice);
    EndSlice(slice, failure, error);
  }
}

void TransferQueue::RingLoop() {
  auto submit = [&](uint32_t tag) {
    const Slice &slice = ring_slices[tag];
    uint64_t wanted;
    RoundedRead(slice, &wanted);
    const uint64_t from = slice.piece->source + slice.offset + slice.got;
    uint8_t *to =
        slice.job->base + slice.piece->target + slice.offset + slice.got;
    // The length of a read is 32 bits and its result 31; the rest is read when
    // this part has come.
    wanted = std::min<uint64_t>(wanted, uint64_t(1) << 30);
    ring.Read(source->Descriptor(from, to, wanted), to,
              static_cast<uint32_t>(wanted), from, tag);
  };
  for (;;) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (stopping && free_tags.size() == options.depth)
        return;
      while (!free_tags.empty() && TakeSlice(&ring_slices[free_tags.back()])) {
        submit(free_tags.back());
        free_tags.pop_back();
      }
    }
    if (int error = ring.SubmitAndWait()) {
      // A ring that broke: nothing that was under way will be told of again.
      for (uint32_t tag = 0; tag < options.depth; ++tag)
        if (std::find(free_tags.begin(), free_tags.end(), tag) ==
            free_tags.end()) {
          EndSlice(ring_slices[tag], Failure::kError, error);
          free_tags.push_back(tag);
        }
      continue;
    }
    IoRing::Completion completion;
    while (ring.Pop(&completion)) {
      const auto tag = static_cast<uint32_t>(completion.tag);
      Slice &slice = ring_slices[tag];
      if (completion.result == -EINTR || completion.result == -EAGAIN) {
        submit(tag);
        continue;
      }
      Failure failure = Failure::kNone;
      if (completion.result <= 0)
        failure = completion.result == 0 ? Failure::kEnded : Failure::kError;
      else
        slice.got += static_cast<uint64_t>(completion.result);
      if (failure == Failure::kNone && slice.got < slice.bytes) {
        submit(tag); // the rest of a short read
        continue;
      }
      if (failure == Failure::kNone)
        failure = Check(slice);
      EndSlice(slice, failure, -completion.result);
      free_tags.push_back(tag);
    }
  }
}

} // namespace headrace::runtime
