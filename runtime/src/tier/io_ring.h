// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// I/O ring: the few calls of io_uring that reading needs.
#ifndef HEADRACE_RUNTIME_SRC_TIER_IO_RING_H
#define HEADRACE_RUNTIME_SRC_TIER_IO_RING_H

#include "runtime/src/mapping.h"

#include <linux/io_uring.h>

namespace headrace::runtime {

/// Spoken to by system calls: the library carries no other library, and reads
/// alone need little of liburing. Several threads may use a ring, under one
/// lock, but for Wait(), HasCompletion() and Wake(), which need none.
class IoRing {
public:
  struct Completion {
    uint64_t tag;
    int32_t result; // bytes, or a negative errno
  };
  /// The tag of the completion that Wake() leads to.
  static constexpr uint64_t kWakeTag = UINT64_MAX;

  IoRing() = default;
  ~IoRing();
  IoRing(const IoRing &) = delete;
  IoRing &operator=(const IoRing &) = delete;

  /// Sets up a ring for `depth` reads at once. False where the system refuses
  /// (an older kernel, a policy that forbids it): the caller then uses threads.
  bool Create(const Allocator &allocator, uint32_t depth);

  /// Queues a read; there are never more than `depth` that were not popped.
  void Read(int file, void *out, uint32_t bytes, uint64_t offset, uint64_t tag);

  /// Submits what was queued. Returns 0 or an errno. Where the system lacks
  /// memory for now, something stays queued.
  int Submit();
  bool HasQueued() const { return queued != 0; }

  /// Waits until there is a completion, which somebody else may pop at once.
  /// Returns 0 or an errno.
  int Wait();
  bool HasCompletion() const;

  /// Takes a completion; false when there is none.
  bool Pop(Completion *out);

  /// Makes Wait() return.
  void Wake();

private:
  void Queue(uint8_t operation, int file, void *address, uint32_t bytes,
             uint64_t offset, uint64_t tag);
  void QueueWakeRead();

  int ring = -1;
  int event = -1;
  Mapping rings, entries_memory;
  io_uring_sqe *entries = nullptr;
  uint32_t *submit_tail = nullptr, *submit_array = nullptr;
  uint32_t submit_mask = 0;
  uint32_t *complete_head = nullptr, *complete_tail = nullptr;
  const io_uring_cqe *completions = nullptr;
  uint32_t complete_mask = 0;
  uint32_t queued = 0; // and not yet submitted
  uint64_t event_count = 0;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_IO_RING_H
