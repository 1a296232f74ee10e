// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Slot pool: equal places of an arena, each with the job that fills it.
#ifndef HEADRACE_RUNTIME_SRC_TIER_SLOT_POOL_H
#define HEADRACE_RUNTIME_SRC_TIER_SLOT_POOL_H

#include "runtime/src/tier/link.h"
#include "runtime/src/tier/trace.h"

namespace headrace::runtime {

/// What moves together, with a place for each weight in any slot of its pool.
struct Bundle {
  const TransferPiece *pieces = nullptr;
  uint32_t piece_count = 0;
  uint64_t bytes = 0;      // of all pieces
  uint8_t *home = nullptr; // as in a job
  const char *name = nullptr;
};

/// How a wait may end early.
struct WaitLimits {
  const headrace_cancel_t *cancel = nullptr;
  uint64_t deadline_ns = 0; // of MonotonicNs(); 0: none
};

/// Counters of the waits of a session.
struct WaitCounters {
  uint64_t stalls = 0; // waits that had to wait
  uint64_t wait_ns = 0;
};

/// Knows what is in each slot or on its way there, and survives every failure:
/// what did not arrive is simply not there. Used by the session's thread.
class SlotPool {
public:
  SlotPool(const Allocator &allocator, Link *link, Tracer *tracer,
           WaitCounters *counters)
      : link(link), tracer(tracer), counters(counters),
        slots(StdAllocator<Slot>(allocator)) {}

  /// Slot i lies at `address(i)`. Throws std::bad_alloc.
  template <typename Address> void Create(uint32_t count, Address &&address) {
    slots.resize(count);
    for (uint32_t i = 0; i < count; ++i)
      slots[i].job.base = address(i);
  }

  /// Whether the bundle is in the slot or on its way.
  bool Has(uint32_t slot, const Bundle &bundle) const;
  /// Whether it has arrived.
  bool HasArrived(uint32_t slot);

  /// Starts moving `bundle` to the slot, whose last bundle nobody reads any
  /// more. Waits only where a transfer to the slot is still under way.
  /// Codes: cancelled, deadline exceeded.
  Status Fetch(uint32_t slot, const Bundle &bundle, bool urgent,
               const WaitLimits &limits);

  /// Waits until the slot's bundle has arrived. What was fetched ahead and
  /// failed is tried once more, now that it is needed. If it does not come, the
  /// slot is empty.
  /// Codes: those of Link::Wait.
  Status Wait(uint32_t slot, const WaitLimits &limits);

  /// The same, but what is on its way to a device is waited for there, by what
  /// runs from now on.
  Status Hold(uint32_t slot, const WaitLimits &limits);

  /// Says that launches up to `part` of the executor read the slot: what comes
  /// to it next waits for them.
  void SetReader(uint32_t slot, uint64_t part) { slots[slot].job.after = part; }

  /// Waits until nothing is under way to the slot, whatever became of it.
  /// Codes: cancelled, deadline exceeded.
  Status AwaitEnd(uint32_t slot, const WaitLimits &limits);

  /// Gives up what is under way, without waiting for its end.
  void Abandon();

  uint8_t *Address(uint32_t slot) const { return slots[slot].job.base; }
  uint32_t Count() const { return static_cast<uint32_t>(slots.size()); }
  /// Slots that have held anything: bytes of the level that are in use.
  uint32_t Occupied() const { return occupied; }

private:
  struct Slot {
    const Bundle *bundle = nullptr; // null: nothing, or no longer valid
    TransferJob job;
    bool in_flight = false; // submitted and not yet seen to have ended
    bool ahead = false;     // submitted before it was needed
    bool occupied = false;
  };

  using Waiting = Status (Link::*)(TransferJob *, const headrace_cancel_t *,
                                   uint64_t);

  void Submit(Slot &slot, bool urgent);
  void Settle(Slot &slot);
  Status Await(Slot &slot, Waiting wait, const WaitLimits &limits);
  Status WaitFor(uint32_t slot, Waiting wait, const WaitLimits &limits);

  Link *const link;
  Tracer *const tracer;
  WaitCounters *const counters;
  Vector<Slot> slots;
  uint32_t occupied = 0;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_SLOT_POOL_H
