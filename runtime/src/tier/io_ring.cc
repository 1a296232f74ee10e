// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// I/O ring: setting up, queueing, reaping.
#include "runtime/src/tier/io_ring.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace headrace::runtime {

IoRing::~IoRing() {
  if (ring >= 0)
    close(ring);
  if (event >= 0)
    close(event);
}

bool IoRing::Create(const Allocator &allocator, uint32_t depth) {
  io_uring_params params = {};
  // One more for the read of the event; the kernel rounds up.
  ring = static_cast<int>(syscall(SYS_io_uring_setup, depth + 1, &params));
  // Plain reads came together with this feature, after the single mapping.
  if (ring < 0 || !(params.features & IORING_FEAT_RW_CUR_POS))
    return false;
  event = eventfd(0, EFD_CLOEXEC);
  if (event < 0)
    return false;
  const uint64_t submit_bytes =
      params.sq_off.array + uint64_t(params.sq_entries) * sizeof(uint32_t);
  const uint64_t complete_bytes =
      params.cq_off.cqes + uint64_t(params.cq_entries) * sizeof(io_uring_cqe);
  const int flags = MAP_SHARED | MAP_POPULATE;
  if (!Mapping::File(allocator, ring, IORING_OFF_SQ_RING,
                     std::max(submit_bytes, complete_bytes),
                     PROT_READ | PROT_WRITE, flags, "ring", &rings)
           .IsOk() ||
      !Mapping::File(allocator, ring, IORING_OFF_SQES,
                     uint64_t(params.sq_entries) * sizeof(io_uring_sqe),
                     PROT_READ | PROT_WRITE, flags, "ring", &entries_memory)
           .IsOk())
    return false;
  auto word = [&](uint32_t offset) {
    return reinterpret_cast<uint32_t *>(rings.Data() + offset);
  };
  entries = reinterpret_cast<io_uring_sqe *>(entries_memory.Data());
  submit_tail = word(params.sq_off.tail);
  submit_array = word(params.sq_off.array);
  submit_mask = *word(params.sq_off.ring_mask);
  complete_head = word(params.cq_off.head);
  complete_tail = word(params.cq_off.tail);
  complete_mask = *word(params.cq_off.ring_mask);
  completions =
      reinterpret_cast<io_uring_cqe *>(rings.Data() + params.cq_off.cqes);
  QueueWakeRead();
  return true;
}

void IoRing::Queue(uint8_t operation, int file, void *address, uint32_t bytes,
                   uint64_t offset, uint64_t tag) {
  // There are no more entries than reads and the one of the event.
  uint32_t tail = *submit_tail; // written under the lock only
  uint32_t index = tail & submit_mask;
  io_uring_sqe &entry = entries[index];
  std::memset(&entry, 0, sizeof(entry));
  entry.opcode = operation;
  entry.fd = file;
  entry.addr = reinterpret_cast<uintptr_t>(address);
  entry.len = bytes;
  entry.off = offset;
  entry.user_data = tag;
  submit_array[index] = index;
  __atomic_store_n(submit_tail, tail + 1, __ATOMIC_RELEASE);
  ++queued;
}

void IoRing::QueueWakeRead() {
  Queue(IORING_OP_READ, event, &event_count, sizeof(event_count), 0, kWakeTag);
}

void IoRing::Read(int file, void *out, uint32_t bytes, uint64_t offset,
                  uint64_t tag) {
  Queue(IORING_OP_READ, file, out, bytes, offset, tag);
}

int IoRing::Submit() {
  while (queued) {
    long taken =
        syscall(SYS_io_uring_enter, ring, queued, 0u, 0u, nullptr, size_t(0));
    if (taken > 0)
      queued -= static_cast<uint32_t>(taken);
    else if (taken == 0 || errno == EAGAIN || errno == EBUSY)
      return 0;
    else if (errno != EINTR)
      return errno;
  }
  return 0;
}

int IoRing::Wait() {
  while (syscall(SYS_io_uring_enter, ring, 0u, 1u, IORING_ENTER_GETEVENTS,
                 nullptr, size_t(0)) < 0)
    if (errno != EINTR)
      return errno == EAGAIN || errno == EBUSY ? 0 : errno;
  return 0;
}

bool IoRing::HasCompletion() const {
  return __atomic_load_n(complete_head, __ATOMIC_RELAXED) !=
         __atomic_load_n(complete_tail, __ATOMIC_ACQUIRE);
}

bool IoRing::Pop(Completion *out) {
  for (;;) {
    uint32_t head = *complete_head; // written under the lock only
    if (head == __atomic_load_n(complete_tail, __ATOMIC_ACQUIRE))
      return false;
    const io_uring_cqe &entry = completions[head & complete_mask];
    *out = {entry.user_data, entry.res};
    __atomic_store_n(complete_head, head + 1, __ATOMIC_RELEASE);
    if (out->tag != kWakeTag)
      return true;
    QueueWakeRead();
  }
}

void IoRing::Wake() {
  uint64_t one = 1;
  // Fails only when the count would overflow: then it wakes anyhow.
  ssize_t written = write(event, &one, sizeof(one));
  static_cast<void>(written);
}

} // namespace headrace::runtime
