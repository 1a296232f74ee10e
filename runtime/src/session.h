// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session: resolved entry points, memory and key-value pages of one host.
#ifndef HEADRACE_RUNTIME_SRC_SESSION_H
#define HEADRACE_RUNTIME_SRC_SESSION_H

#include "headrace/sequence.h"
#include "headrace/session.h"
#include "headrace/usage.h"
#include "runtime/src/device.h"
#include "runtime/src/kv_pool.h"
#include "runtime/src/sampler.h"
#include "runtime/src/tier/tiered_weights.h"
#include "runtime/src/weight_loader.h"

namespace headrace::runtime {

/// An operand that points to a buffer the host or the step gives.
struct Patch {
  uint32_t operand; // in EntryPlan::operands
  uint32_t buffer;
  uint64_t offset; // from the buffer's address
};

/// The launches of an entry point for steps up to a size, resolved.
struct ClassPlan {
  explicit ClassPlan(const Allocator &allocator)
      : launches(StdAllocator<Launch>(allocator)),
        operands(StdAllocator<void *>(allocator)),
        patches(StdAllocator<Patch>(allocator)) {}

  Vector<Launch> launches;
  Vector<void *> operands; // of all launches, one after the other
  Vector<Patch> patches;
  int64_t most[HEADRACE_COUNT_COUNT] = {0, 0, 0, 0,
                                        HEADRACE_ALL_ACTIVE}; // largest step
};

/// One entry point: its classes, the smallest first.
struct EntryPlan {
  explicit EntryPlan(const Allocator &allocator)
      : classes(StdAllocator<ClassPlan>(allocator)) {}

  Vector<ClassPlan> classes;
};

} // namespace headrace::runtime

struct headrace_session_t final : headrace::runtime::RefCounted {
  using Status = headrace::runtime::Status;
  template <typename T> using Vector = headrace::runtime::Vector<T>;

  headrace_session_t(headrace_device_t *device, headrace_package_t *package);

  /// With the loader `arena` weights are read from `source`, and key-value
  /// pages that move live in `homes`; both outlive the session. Null: the
  /// package, and a file of the session's own.
  Status Create(const headrace_session_options_t &options,
                headrace::runtime::ByteSource *source,
                headrace::runtime::ByteSource *homes);
  /// Ends transfers. False where one hangs: the session then goes when it ends.
  bool Stop();
  Status Invoke(const headrace_invoke_options_t &options);
  Status Step(const headrace_step_options_t &options,
              headrace_step_result_t *result);

  const headrace::runtime::Allocator &HostAllocator() const {
    return device->instance->allocator;
  }
  const headrace::runtime::LanguageModel &Model() const {
    return package->summary.model;
  }
  bool HasKv() const { return Model().kv_pool != headrace::runtime::kNoIndex; }

  Status DescribeLevel(uint32_t level, headrace_level_usage_t *out) const;
  Status DescribeLink(uint32_t link, headrace_link_usage_t *out);
  Status DescribePool(uint32_t pool, headrace_pool_usage_t *out) const;

  /// Pages that `sequence` must take before it can hold `count` more.
  uint32_t PagesNeeded(const headrace_sequence_t &sequence,
                       uint64_t count) const;

  const headrace::runtime::DeviceRef device;
  const headrace::runtime::PackageRef package;
  headrace::runtime::WeightLoaderOwner loader;
  Vector<const void *> weights; // the binding table
  headrace::runtime::KvPool kv;
  uint32_t max_sequences = 0;
  uint32_t live_sequences = 0;
  uint64_t timeout_ns = 0;
  uint64_t arena_bytes = 0;
  uint64_t kernel_ns = 0; // of the last run, where runs are timed
  Vector<headrace::runtime::Candidate> candidates; // of the sampler
  headrace::runtime::DeviceMemory io;              // step inputs and logits

private:
  struct Pass;
  class WaveRunner;
  using Launches =
      flatbuffers::Vector<flatbuffers::Offset<headrace::abi::Launch>>;
  using Steps = flatbuffers::Vector<flatbuffers::Offset<headrace::abi::Step>>;

  bool IsTiered() const { return tiers != nullptr; }
  /// Whether a level's arena is in the host's memory, for what moves.
  bool IsHome(uint32_t level) const;
  Status SettleTiers(const headrace_cancel_t *cancel, uint64_t deadline_ns);
  Status ReadRoutingBuffer(const headrace::runtime::TierRouting &routing,
                           uint64_t bytes, const headrace::runtime::Run &run);
  Status CheckTiers(const headrace_session_options_t &options) const;
  Status CreateTiers(const headrace_session_options_t &options,
                     headrace::runtime::ByteSource *source,
                     headrace::runtime::ByteSource *homes);
  Status DescribePages(headrace_link_usage_t *out);
  Status CreatePages(const headrace_session_options_t &options,
                     headrace::runtime::ByteSource *homes);
  bool IsHomeFile(uint32_t level) const;
  headrace::runtime::TransferQueue::Options CopyQueue(const char *link,
                                                      const char *file);
  uint64_t WeightHomeBytes() const;
  static void Orphaned(void *self);
  uint64_t BufferBytes(uint32_t level) const;
  uint64_t LiveBytes(const headrace::abi::Entry &entry,
                     const Launches &launches, const Steps *steps) const;
  void CountLiveBytes();
  uint64_t OccupiedBytes(uint32_t level) const;
  void NotePeak(uint32_t schedule);
  Status RunTiered(uint32_t entry, uint32_t step_class,
                   const headrace::runtime::Run &run);
  void AwaitRest(const headrace::runtime::Run &run);
  Status Execute(const headrace::runtime::Run &run, uint32_t first_launch);
  void KeepIfLost(const Status &status);
  Status PlanKv(const headrace_session_options_t &options);
  Status PlanMemory(const headrace_session_options_t &options);
  Status CreateArenas(bool tiered);
  Status CreateKv();
  Status CreateIo();
  Status CreateEntries();
  Status CreateEntry(const headrace::abi::Entry &entry);
  Status ResolveClass(const Launches &launches,
                      headrace::runtime::ClassPlan *plan);
  uint64_t ArgumentBytes(const headrace::abi::Entry &entry) const;
  void PlaceArguments(const headrace::abi::Entry &entry);
  void BindArguments(uint32_t entry);
  Status RunEntry(uint32_t entry, const int64_t *counts, size_t uploads,
                  bool pinned, const headrace_cancel_t *cancel,
                  uint64_t deadline_ns);
  Status CheckStep(const headrace_step_options_t &options, uint64_t *out_rows);
  Status ReservePages(const headrace_step_options_t &options,
                      uint64_t deadline_ns);
  void ReturnPages(const headrace_step_options_t &options);
  Status RunPasses(const headrace_step_options_t &options, uint64_t deadline_ns,
                   float *out, size_t *out_passes);
  void FillPass(const headrace_step_options_t &options, Pass *pass);
  size_t PlanTransfers(const Pass &pass);
  const headrace_step_item_t &Item(const headrace_step_options_t &options,
                                   size_t index) const;

  uint64_t kv_pages = 0;      // planned for the pool
  uint64_t io_bytes = 0;      // on the device
  uint64_t staging_bytes = 0; // of a step, on the device and on the host
  Vector<headrace::runtime::DeviceMemory> arenas; // by level
  Vector<void *> addresses; // of buffers, by index, as kernels see them
  // The same of what a step reads and writes, as this thread sees it.
  Vector<void *> host_addresses;
  // The host's side of `io`; empty where the device shares the host's memory.
  headrace::runtime::DeviceMemory staging;
  Vector<headrace::runtime::Transfer> transfers; // of one run
  Vector<headrace::runtime::EntryPlan> entries;
  headrace::runtime::Mapping results; // logits of steps of several passes
  headrace::runtime::Tracer tracer;
  Vector<uint64_t> launch_times; // of one run; empty where nobody asks
  // `loader`, where it is the one called `arena`; else null.
  headrace::runtime::TieredWeights *tiers = nullptr;
  Vector<uint64_t> live_bytes; // tiered: of buffers, most at once, by schedule
  // What the host reads of a routing on a device with memory of its own.
  headrace::runtime::DeviceMemory routing_copy;
  // Counts on their way to such a device, of each part under way.
  headrace::runtime::DeviceMemory part_counts;
  uint64_t last_part = 0;       // of the executor, that was begun
  uint64_t scratch_in_plan = 0; // tiered: of all workers
  uint64_t budget_bytes = 0;
  uint64_t peak_bytes = 0;      // of the fast level
  uint64_t home_peak_bytes = 0; // of the home level
  uint64_t step_number = 0;
  // Of the pass at hand, where pages move.
  Vector<headrace::runtime::SequencePages> pass_pages;
  // Queues that are still to end, and one for whoever ends them.
  std::atomic<uint32_t> ending{0};
  bool timing = false;
  bool poison_outputs = false;
  bool kept_for_ever = false; // the device was lost in a run of this session

public:
  // The last member: ended first, so nothing is in flight when memory goes.
  headrace::runtime::ExecutorOwner executor;
};

struct headrace_sequence_t final : headrace::runtime::RefCounted {
  explicit headrace_sequence_t(headrace_session_t *session);
  ~headrace_sequence_t();

  /// Gives back the pages behind `new_length` positions.
  void Truncate(uint32_t new_length);

  headrace_session_t *const session; // retained
  uint32_t length = 0;
  headrace::runtime::Vector<uint32_t> pages;
  uint64_t in_step = 0; // number of the last step it was in
};

namespace headrace::runtime {

using SessionRef = Ref<headrace_session_t, headrace_session_release>;
using SequenceRef = Ref<headrace_sequence_t, headrace_sequence_release>;

/// Ends the session and its memory, when nothing writes to it any more.
void EndSession(headrace_session_t *session);

/// headrace_session_create() with sources of the caller's for the loader
/// `arena`; for tests.
Status CreateSession(headrace_device_t *device, headrace_package_t *package,
                     const headrace_session_options_t *options,
                     ByteSource *source, headrace_session_t **out_session,
                     ByteSource *homes = nullptr);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_SESSION_H
