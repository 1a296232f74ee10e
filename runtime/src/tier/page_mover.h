// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Page mover: key-value pages of layers that live at a slower level, fetched
// into slots of the fast one for a layer's launches and stored back.
#ifndef HEADRACE_RUNTIME_SRC_TIER_PAGE_MOVER_H
#define HEADRACE_RUNTIME_SRC_TIER_PAGE_MOVER_H

#include "runtime/src/tier/device_link.h"
#include "runtime/src/tier/slot_pool.h"

namespace headrace::runtime {

/// A sequence of the run at hand: its page numbers, and the positions that the
/// run writes, [begin, end). Those before are read.
struct SequencePages {
  const uint32_t *pages = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;
};

/// Moves the pages that a run's sequences use and no others. All functions are
/// the session's thread's. Between runs nothing is under way, unless a run
/// failed, or what a device stores has not ended; then the next use of the
/// mover waits for the end of that first.
///
/// A device orders launches and transfers itself: those of a slot follow each
/// other, a store waits for the part of the run that wrote, and launches for
/// what they read.
class PageMover {
public:
  /// A layer whose pages move.
  struct Layer {
    uint32_t layer = 0;
    uint64_t home = 0; // offset of page 0 in the source
    uint32_t slot = 0; // that its pages are fetched to
  };
  struct Options {
    const Layer *layers = nullptr;
    uint32_t layer_count = 0;
    /// Whose memory the slots are in, where the host cannot reach that, and
    /// what runs there; null: the host can.
    headrace_device_t *device = nullptr;
    Executor *executor = nullptr;
    uint8_t *home = nullptr;  // of a device: in memory of its AllocateHost()
    uint8_t *slots = nullptr; // the first; the others follow
    uint64_t slot_bytes = 0;
    uint32_t slot_count = 0;
    uint64_t page_bytes = 0;      // of one layer
    uint32_t page_count = 0;      // that a session has, of each layer
    ByteSource *source = nullptr; // unless of a device
    TransferQueue::Options queue;
    Tracer tracer;
  };

  explicit PageMover(const Allocator &allocator);
  PageMover(const PageMover &) = delete;
  PageMover &operator=(const PageMover &) = delete;

  /// Starts the link. What `options` points to outlives the mover, but for
  /// `layers`. Throws std::bad_alloc.
  /// Codes: resource exhausted, unavailable, device lost.
  Status Create(const Options &options);
  bool IsOn() const { return !layers.empty(); }

  /// Where kernels find page 0 of `layer`, or null: it does not move.
  uint8_t *SlotOf(uint32_t layer) const;

  /// Says which pages the next run uses; `sequences` outlive it.
  void SetRun(const SequencePages *sequences, size_t count);

  /// Waits for what the last run has left under way.
  /// Codes: cancelled, deadline exceeded, device lost.
  Status Settle(const WaitLimits &limits);
  /// Starts to fetch the pages of the mover's layer `index` that hold positions
  /// from before the run; the ones that begin with it are zeroed.
  void Fetch(uint32_t index);
  bool HasArrived(uint32_t index);
  /// Sees to it that launches from now on find the pages.
  /// Codes: those of Link::Wait, like all that follow.
  Status Wait(uint32_t index, const WaitLimits &limits);
  /// Starts to store the pages that the run has written, once `part` of the
  /// executor has ended (0: now), which is the last that uses the slot.
  void Store(uint32_t index, uint64_t part);
  /// Sees to it that the slot is not written before they are stored.
  Status Release(uint32_t index, const WaitLimits &limits);
  /// Gives up what is under way, without waiting for its end.
  void Abandon();

  /// Copies the homes of page `from` to those of page `to`.
  Status CopyPage(uint32_t from, uint32_t to, const WaitLimits &limits);

  /// The last copy that launches on a device wait for there, and waiting for it
  /// here; see DeviceLink.
  uint64_t Held() const { return to_device.Held(); }
  Status AwaitHeld(uint64_t number, const WaitLimits &limits) {
    return to_device.AwaitHeld(number, limits.cancel, limits.deadline_ns);
  }

  /// Ends the transfers. False where one hangs; see TransferQueue.
  bool Stop(uint64_t grace_ns) {
    to_device.Stop();
    return queue.Stop(grace_ns);
  }

  LinkCounters Counters() { return link->Counters(); }
  const char *LinkName() const { return link->Name(); }
  const WaitCounters &Waits() const { return waits; }
  /// Bytes of slots that have held anything.
  uint64_t OccupiedBytes() const;
  uint32_t LayerCount() const { return static_cast<uint32_t>(layers.size()); }

private:
  /// What moves to or from a slot, and the room to list it in.
  struct Flight {
    explicit Flight(const Allocator &allocator)
        : pieces(StdAllocator<TransferPiece>(allocator)) {}
    Vector<TransferPiece> pieces;
    TransferJob job;
    bool in_flight = false;
  };
  /// Of a layer. A device may still have one layer's under way when the next
  /// one has the slot.
  struct Flights {
    explicit Flights(const Allocator &allocator)
        : fetch(allocator), store(allocator) {}
    Flight fetch, store;
    char name[24]; // for reports and traces
  };
  struct Slot {
    bool occupied = false;
    uint64_t reader = 0; // the executor's part that used it last
  };
  /// Wait, Hold or Follow.
  using Waiting = Status (Link::*)(TransferJob *job,
                                   const headrace_cancel_t *cancel,
                                   uint64_t deadline_ns);

  uint8_t *Address(uint32_t slot) const { return slots_at + slot_bytes * slot; }
  bool IsOnDevice() const { return link == &to_device; }
  void AddPage(uint32_t index, Flight *flight, uint32_t page);
  void AddRange(uint32_t index, Flight *flight, uint64_t source,
                uint64_t target);
  void Submit(Flight *flight, uint32_t slot, bool is_store);
  Status Await(uint32_t index, Flight *flight, Waiting wait,
               const WaitLimits &limits);
  void NoteEnd(uint32_t index, Flight *flight);

  const Allocator allocator;
  Tracer tracer;
  WaitCounters waits;
  TransferQueue queue;  // where the host reaches
  DeviceLink to_device; // elsewhere
  Link *link = &queue;  // one of them
  Vector<Layer> layers;
  Vector<Flights> flights; // by layer
  Vector<Slot> slots;
  Vector<uint64_t> seen; // by page: the last list that it was in
  uint64_t list = 0;
  uint8_t *slots_at = nullptr, *home = nullptr;
  uint64_t slot_bytes = 0, page_bytes = 0;
  const SequencePages *sequences = nullptr; // of the run at hand
  size_t sequence_count = 0;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_PAGE_MOVER_H
