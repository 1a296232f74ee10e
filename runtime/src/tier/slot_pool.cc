// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Slot pool: fetching, waiting, forgetting what failed.
#include "runtime/src/tier/slot_pool.h"

#include "runtime/src/thread.h"

namespace headrace::runtime {

bool SlotPool::Has(uint32_t index, const Bundle &bundle) const {
  return slots[index].bundle == &bundle;
}

/// Takes note of a job that has ended.
void SlotPool::Settle(Slot &slot) {
  slot.in_flight = false;
  if (slot.job.failure != TransferJob::Failure::kNone)
    slot.bundle = nullptr;
  else if (slot.bundle)
    tracer->Transfer(link->NameOf(slot.job), slot.bundle->name,
                     slot.bundle->bytes, slot.job.begin_ns, slot.job.end_ns);
}

bool SlotPool::HasArrived(uint32_t index) {
  Slot &slot = slots[index];
  if (slot.in_flight && link->StateOf(slot.job) != TransferJob::State::kQueued)
    Settle(slot);
  return slot.bundle && !slot.in_flight;
}

Status SlotPool::Fetch(uint32_t index, const Bundle &bundle, bool urgent,
                       const WaitLimits &limits) {
  Slot &slot = slots[index];
  if (slot.in_flight) {
    // Fetched ahead and no longer wanted, or left behind by a step that failed.
    // Its bytes may still be written, so the slot is not free before it ends.
    // It is not given up: bytes that move would depend on time.
    HEADRACE_RETURN_IF_ERROR(AwaitEnd(index, limits));
  }
  if (!slot.occupied) {
    slot.occupied = true;
    ++occupied;
  }
  slot.bundle = &bundle;
  Submit(slot, urgent);
  return Status();
}

Status SlotPool::AwaitEnd(uint32_t index, const WaitLimits &limits) {
  Slot &slot = slots[index];
  if (!slot.in_flight)
    return Status();
  link->Promote(&slot.job);
  Status ended = link->Wait(&slot.job, limits.cancel, limits.deadline_ns);
  if (link->StateOf(slot.job) == TransferJob::State::kQueued)
    return ended;
  Settle(slot);
  return Status();
}

void SlotPool::Submit(Slot &slot, bool urgent) {
  slot.job.pieces = slot.bundle->pieces;
  slot.job.piece_count = slot.bundle->piece_count;
  slot.job.home = slot.bundle->home;
  slot.job.urgent = urgent;
  slot.ahead = !urgent;
  slot.in_flight = true;
  link->Submit(&slot.job);
}

void SlotPool::Abandon() {
  for (Slot &slot : slots)
    if (slot.in_flight) {
      slot.bundle = nullptr;
      link->Cancel(&slot.job);
    }
}

/// Waits for a job under way and takes note of its end, if it has come.
Status SlotPool::Await(Slot &slot, Waiting wait, const WaitLimits &limits) {
  const uint64_t begin = MonotonicNs();
  Status status = (link->*wait)(&slot.job, limits.cancel, limits.deadline_ns);
  const uint64_t end = MonotonicNs();
  ++counters->stalls;
  counters->wait_ns += end - begin;
  tracer->Wait(slot.bundle->name, begin, end);
  if (link->StateOf(slot.job) != TransferJob::State::kQueued)
    Settle(slot);
  return status;
}

Status SlotPool::Wait(uint32_t index, const WaitLimits &limits) {
  return WaitFor(index, &Link::Wait, limits);
}

Status SlotPool::Hold(uint32_t index, const WaitLimits &limits) {
  return WaitFor(index, &Link::Hold, limits);
}

Status SlotPool::WaitFor(uint32_t index, Waiting wait,
                         const WaitLimits &limits) {
  Slot &slot = slots[index];
  const Bundle *bundle = slot.bundle;
  if (HasArrived(index))
    return Status();
  Status status;
  if (slot.in_flight) {
    link->Promote(&slot.job);
    status = Await(slot, wait, limits);
  } else {
    status = link->ResultOf(slot.job);
  }
  if (status.IsOk() || slot.in_flight || !slot.ahead || !bundle)
    return status;
  slot.bundle = bundle;
  Submit(slot, /*urgent=*/true);
  return Await(slot, wait, limits);
}

} // namespace headrace::runtime
