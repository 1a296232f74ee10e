// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arena loader: weights at planned addresses of a bounded arena, moved there
// when the schedule says so.
#ifndef HEADRACE_RUNTIME_SRC_TIER_ARENA_LOADER_H
#define HEADRACE_RUNTIME_SRC_TIER_ARENA_LOADER_H

#include "runtime/src/mapping.h"
#include "runtime/src/tier/device_link.h"
#include "runtime/src/tier/home_link.h"
#include "runtime/src/tier/tier_plan.h"

namespace headrace::runtime {

/// Runs launches of the entry that the steps belong to.
class LaunchRunner {
public:
  virtual ~LaunchRunner() = default;
  /// Runs launches [begin, end) in order, for the active experts
  /// [first_active, end_active), or begins to, on a device that keeps the
  /// order.
  virtual Status RunLaunches(uint32_t begin, uint32_t end, int64_t first_active,
                             int64_t end_active) = 0;
  /// The part of the executor that the last launches are; 0: they have ended.
  virtual uint64_t LastPart() const { return 0; }
  /// The list a router left: how many and which experts, ascending.
  virtual Status ReadRouting(const TierRouting &routing, const int32_t **active,
                             uint32_t *count) = 0;
  /// The same, largest sum of the weights of its picks first. `scores`, which
  /// gets the sums, and `out` have a place for each expert.
  virtual Status ReadPrediction(const TierRouting &routing, float *scores,
                                int32_t *out, uint32_t *count) = 0;
};

/// Copies that launches on a device wait for there, the last of each kind; 0:
/// none.
struct HeldCopies {
  uint64_t weights = 0;
  uint64_t pages = 0;
};

/// Used by the session's thread, but for what the transfer queue's threads do.
class ArenaLoader {
public:
  struct Options {
    uint64_t budget_bytes = 0; // of the level; 0: the plan's
    uint8_t *arena = nullptr;  // as planned, without the slots that are added
    /// Whose memory the arena is in, where the host cannot reach that; null:
    /// the host can.
    headrace_device_t *device = nullptr;
    Executor *executor = nullptr; // of the launches
    /// The home level's arena, for a device in memory of its AllocateHost();
    /// null: all comes from the package. And what reads it for a host's arena.
    uint8_t *home = nullptr;
    ByteSource *home_source = nullptr;
    TransferQueue::Options home_queue;
    const char *home_level = ""; // for reports
    ByteSource *source = nullptr;
    TransferQueue::Options queue;
    PageMover *pages = nullptr; // of layers whose key-value pages move
    uint64_t timeout_ns = 0;    // of loading the resident weights; 0: none
    Tracer tracer;
  };

  ArenaLoader(const Allocator &allocator, const TierPlan *plan);
  ~ArenaLoader();
  ArenaLoader(const ArenaLoader &) = delete;
  ArenaLoader &operator=(const ArenaLoader &) = delete;

  /// Takes memory for slots beyond the plan and starts the queue. `plan` and
  /// what `options` points to outlive the loader.
  /// Codes: resource exhausted, unavailable.
  Status Create(const Options &options);

  /// Fills the homes and loads what is resident; the other addresses are set
  /// as weights come.
  /// Codes: io, data loss, deadline exceeded.
  Status Bind(Vector<const void *> *table);

  /// Runs the schedule of an entry, or of one of its classes of steps. After
  /// any failure the loader can be used again: what has not arrived is fetched
  /// again.
  /// Codes: those of LaunchRunner and of transfers.
  Status RunEntry(uint32_t entry, uint32_t step_class, LaunchRunner *runner,
                  const WaitLimits &limits);

  /// The addresses of the binding table that were set since ClearBound(): from,
  /// to.
  std::pair<size_t, size_t> Bound() const { return bound; }
  void ClearBound() { bound = {SIZE_MAX, 0}; }

  /// Waits until what was fetched ahead for nothing has arrived, and what is
  /// stored, so that all that the last run moved has been told to the tracer.
  void AwaitRest(const WaitLimits &limits);

  /// The copies that launches on a device wait for there, so far, and waiting
  /// for them here; see DeviceLink.
  HeldCopies Held() const {
    return {to_device.Held(), pages ? pages->Held() : 0};
  }
  Status AwaitHeld(const HeldCopies &copies, const WaitLimits &limits);

  /// Ends the transfers. Returns how many of the queues hang, each of which
  /// will call `orphaned`; see TransferQueue.
  uint32_t Stop(uint64_t grace_ns);

  /// The links: out of the homes first, where there are any, then out of the
  /// package.
  uint32_t LinkCount() const { return device || home ? 2 : 1; }
  Link &LinkAt(uint32_t index) {
    if (index + 1 == LinkCount())
      return queue;
    return device ? static_cast<Link &>(to_device) : copies;
  }
  bool UsesRing() const { return queue.UsesRing(); }
  const WaitCounters &Waits() const { return waits; }
  uint32_t SlotCount(uint32_t pool) const { return pools[pool].slots.Count(); }
  ExpertCache::Counters CacheCounters(uint32_t pool) const {
    return pools[pool].cache.Count();
  }
  /// Bytes of the level that weights take now: resident ones and slots in use.
  uint64_t OccupiedBytes() const;

private:
  struct Pool {
    Pool(const Allocator &allocator, Link *link, Tracer *tracer,
         WaitCounters *waits)
        : slots(allocator, link, tracer, waits), cache(allocator),
          decisions(StdAllocator<ExpertCache::Decision>(allocator)),
          predicted(StdAllocator<int32_t>(allocator)),
          scores(StdAllocator<float>(allocator)),
          readers(StdAllocator<uint32_t>(allocator)),
          ahead(StdAllocator<uint8_t>(allocator)) {}
    Mapping extension; // slots beyond the plan
    DeviceMemory device_extension;
    SlotPool slots;
    ExpertCache cache;
    Vector<ExpertCache::Decision> decisions; // of one routed step
    Vector<int32_t> predicted;               // experts, the most likely first
    Vector<float> scores;                    // of the prediction, by expert
    const TierStep *prediction = nullptr;    // that `predicted` is of
    uint32_t predicted_count = 0;
    Vector<uint32_t> readers; // rings: the bundle whose release frees the slot
    Vector<uint8_t> ahead;    // rings: slots that have what the next run needs
    uint32_t kept = 0;        // rings: first bundles that stay for good
    uint32_t next_slot = 0;   // rings with fewer slots than planned
    uint32_t next_ahead = 0;  // the same, of the next run
  };

  Status RunSteps(uint32_t schedule, LaunchRunner *runner,
                  const WaitLimits &limits);
  Status CreateDeviceLink(const Options &options);
  Link *FastLink();
  Status LoadHomes(uint64_t deadline_ns);
  void SetAddress(uint32_t weight, const uint8_t *address);
  Status CreatePool(uint32_t index, uint32_t slots);
  void BindBundle(uint32_t bundle, uint32_t slot);
  Status FetchInto(uint32_t bundle, uint32_t slot, bool urgent,
                   const WaitLimits &limits);
  uint32_t RingSlot(const TierStep &step, uint32_t *next_slot) const;
  Status FetchStep(const TierStep &step, const WaitLimits &limits);
  Status FetchAhead(uint32_t schedule, const WaitLimits &limits);
  Status FetchDeferred(const WaitLimits &limits);
  bool HasArrived(uint32_t bundle);
  Status WaitStep(const TierStep &step, const WaitLimits &limits);
  void ReleaseStep(const TierStep &step, uint64_t part);
  Status PredictStep(const TierStep &step, LaunchRunner *runner);
  Status RoutedStep(const TierStep &step, LaunchRunner *runner,
                    const WaitLimits &limits);

  Status PageStep(const TierStep &step, uint64_t part,
                  const WaitLimits &limits);

  const Allocator allocator;
  const TierPlan *const plan;
  PageMover *pages = nullptr; // null: none moves
  uint8_t *arena = nullptr;
  uint64_t timeout_ns = 0;
  Tracer tracer;
  WaitCounters waits;
  TransferQueue queue;  // out of the package
  TransferQueue copies; // out of homes, to where the host reaches
  HomeLink either;      // of these two
  DeviceLink to_device;
  headrace_device_t *device = nullptr;
  uint8_t *home = nullptr;
  const char *home_level = "";
  uint64_t chunk_bytes = 0;
  Vector<Bundle> bundles; // the plan's, with their homes
  TransferJob resident_job;
  /// Of bundles with a home: into that first, and then out of it.
  Vector<TransferPiece> home_pieces;
  Vector<Pool> pools;
  Vector<const void *> *weights = nullptr; // the session's binding table
  std::pair<size_t, size_t> bound = {SIZE_MAX, 0}; // from, to: not yet taken
  Vector<uint32_t> slot_of;  // rings: by bundle, where its last fetch went
  Vector<uint32_t> deferred; // rings: bundles that wait for a slot, in order
  uint32_t ahead_step = 0;   // of the next run: what is fetched ahead next
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_ARENA_LOADER_H
