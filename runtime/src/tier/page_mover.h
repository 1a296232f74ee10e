// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Page mover: key-value pages of layers that live at a slower level, fetched
// into slots of the fast one for a layer's launches and stored back.
#ifndef HEADRACE_RUNTIME_SRC_TIER_PAGE_MOVER_H
#define HEADRACE_RUNTIME_SRC_TIER_PAGE_MOVER_H

#include "runtime/src/tier/slot_pool.h"
#include "runtime/src/tier/transfer_queue.h"

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
/// failed; then the next use of the mover waits for the end of that first.
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
    uint8_t *slots = nullptr; // the first; the others follow
    uint64_t slot_bytes = 0;
    uint32_t slot_count = 0;
    uint64_t page_bytes = 0; // of one layer
    uint32_t page_count = 0; // that a session has, of each layer
    ByteSource *source = nullptr;
    TransferQueue::Options queue;
    Tracer tracer;
  };

  explicit PageMover(const Allocator &allocator);
  PageMover(const PageMover &) = delete;
  PageMover &operator=(const PageMover &) = delete;

  /// Starts the queue. What `options` points to outlives the mover, but for
  /// `layers`. Throws std::bad_alloc.
  /// Codes: resource exhausted, unavailable.
  Status Create(const Options &options);
  bool IsOn() const { return !layers.empty(); }

  /// Where kernels find page 0 of `layer`, or null: it does not move.
  uint8_t *SlotOf(uint32_t layer) const;

  /// Says which pages the next run uses; `sequences` outlive it.
  void SetRun(const SequencePages *sequences, size_t count);

  /// Waits for what a failed run has left under way.
  /// Codes: cancelled, deadline exceeded.
  Status Settle(const WaitLimits &limits);
  /// Starts to fetch the pages of the mover's layer `index` that hold positions
  /// from before the run; the ones that begin with it are zeroed.
  void Fetch(uint32_t index);
  bool HasArrived(uint32_t index);
  /// Codes: those of TransferQueue::Wait, like all that follow.
  Status Wait(uint32_t index, const WaitLimits &limits);
  /// Starts to store the pages that the run has written.
  void Store(uint32_t index);
  /// Waits until they are stored.
  Status Release(uint32_t index, const WaitLimits &limits);
  /// Gives up what is under way, without waiting for its end.
  void Abandon();

  /// Copies the homes of page `from` to those of page `to`, by way of a slot.
  Status CopyPage(uint32_t from, uint32_t to, const WaitLimits &limits);

  /// Ends the transfers. False where one hangs; see TransferQueue.
  bool Stop(uint64_t grace_ns) { return queue.Stop(grace_ns); }

  LinkCounters Counters() { return queue.Counters(); }
  const char *LinkName() const { return queue.Name(); }
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
  struct Slot {
    explicit Slot(const Allocator &allocator)
        : fetch(allocator), store(allocator) {}
    Flight fetch, store;
    bool occupied = false;
  };
  struct Name {
    char text[24];
  };

  uint8_t *Address(uint32_t slot) const { return slots_at + slot_bytes * slot; }
  void AddPage(Flight *flight, uint32_t index, uint32_t page);
  void Submit(Flight *flight, uint32_t slot, bool is_store);
  Status Await(Flight *flight, uint32_t index, const WaitLimits &limits);

  const Allocator allocator;
  Tracer tracer;
  WaitCounters waits;
  TransferQueue queue;
  Vector<Layer> layers;
  Vector<Name> names; // by layer, for reports and traces
  Vector<Slot> slots;
  Vector<uint64_t> seen; // by page: the last list that it was in
  uint64_t list = 0;
  uint8_t *slots_at = nullptr;
  uint64_t slot_bytes = 0, page_bytes = 0;
  const SequencePages *sequences = nullptr; // of the run at hand
  size_t sequence_count = 0;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_PAGE_MOVER_H
