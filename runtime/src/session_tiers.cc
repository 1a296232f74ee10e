// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session, tiered part: an arena under a budget, and what is in use of it.
#include "runtime/src/session.h"
#include "runtime/src/session_layout.h"
#include "runtime/src/structs.h"
#include "runtime/src/thread.h"
#include "runtime/src/tier/read_plan.h"

#include <cinttypes>
#include <cmath>

using namespace headrace::runtime;
namespace abi = headrace::abi;

namespace {

/// How long the end of a session waits for a read that is under way.
constexpr uint64_t kStopGraceNs = 2000000000;
/// Reads under way at once: what it takes to keep a disk busy.
constexpr uint32_t kQueueDepth = 16;
/// Threads that copy out of the page cache, at most: what it takes to keep the
/// memory busy.
constexpr uint32_t kMostCopyThreads = 4;
/// Queues with threads: out of the package, out of homes, and of pages.
constexpr uint32_t kQueues = 3;
/// Where key-value pages go if the host does not say: on a disk, usually.
constexpr const char *kPageDirectory = "/var/tmp";

} // namespace

//===----------------------------------------------------------------------===//
// Creation and end
//===----------------------------------------------------------------------===//

Status headrace_session_t::CheckTiers(
    const headrace_session_options_t &options) const {
  const Allocator &allocator = HostAllocator();
  if (options.weights != HEADRACE_WEIGHTS_ARENA) {
    if (options.fast_memory_bytes || options.weight_source)
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "session: a budget of fast memory and a source of "
                        "weights need the weight loader 'arena'");
    return Status();
  }
  if (options.weight_source > HEADRACE_SOURCE_PAGE_CACHE)
    return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                      "session: weight source %u is unknown to this version",
                      options.weight_source);
  if (!package->manifest->plan())
    return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                      "session: the weight loader 'arena' needs a package with "
                      "a plan; compile it with --fast-memory");
  const abi::Plan &plan = *package->manifest->plan();
  if (!device->SharesHostMemory() && plan.home_level() == kNoIndex &&
      plan.bundles()->size())
    return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                      "session: by the package's plan weights move straight "
                      "from the package, which this device cannot read; "
                      "compile it for this device");
  return Status();
}

bool headrace_session_t::IsHome(uint32_t level) const {
  const abi::Plan *plan = package->manifest->plan();
  return plan && level == plan->home_level() && !IsHomeFile(level);
}

/// On a CPU pages may have a home in a file: what free memory there is keeps
/// it.
bool headrace_session_t::IsHomeFile(uint32_t level) const {
  const abi::Plan *plan = package->manifest->plan();
  return plan && level == plan->home_level() && device->SharesHostMemory() &&
         plan->home_budget() == 0;
}

Status
headrace_session_t::CreateTiers(const headrace_session_options_t &options,
                                ByteSource *source, ByteSource *homes) {
  const Allocator &allocator = HostAllocator();
  const abi::Manifest &manifest = *package->manifest;
  const abi::Plan &plan = *manifest.plan();
  uint8_t *arena = arenas[plan.fast_level()].Data();
  HEADRACE_RETURN_IF_ERROR(executor->PlaceScratch(
      arena + plan.scratch_offset(), plan.worker_bytes(), plan.workers()));
  scratch_in_plan = plan.worker_bytes() * device->ThreadCount();

  tiers = New<TieredWeights>(allocator, allocator, package->source);
  loader.reset(tiers);
  ReadTierPlan(manifest, executor->CodeIndex(), &tiers->plan);
  const bool in_file = package->source.memory == nullptr;
  if (in_file)
    tiers->file.Open(package->source.file,
                     options.weight_source == HEADRACE_SOURCE_DISK);
  ArenaLoader::Options wanted;
  wanted.budget_bytes = budget_bytes = options.fast_memory_bytes;
  wanted.arena = arena;
  wanted.source = source;
  if (!source && in_file)
    wanted.source = &tiers->file;
  else if (!source)
    wanted.source = &tiers->memory;
  wanted.queue.link =
      options.weight_source == HEADRACE_SOURCE_DISK ? "disk" : "page-cache";
  wanted.queue.level = tiers->plan.level;
  const uint32_t home = tiers->plan.home_level;
  if (home != kNoIndex && IsHome(home)) {
    tiers->homes.Place(arenas[home].Data(), package->summary.arena_bytes[home]);
    wanted.home = arenas[home].Data();
    wanted.home_source = homes ? homes : &tiers->homes;
    wanted.home_level = manifest.levels()->Get(home)->name()->c_str();
  }
  if (!device->SharesHostMemory()) {
    wanted.device = device.Get();
    wanted.executor = executor.get();
    if (home != kNoIndex)
      wanted.queue.level = wanted.home_level;
    uint64_t most = 0;
    for (const TierRouting &routing : tiers->plan.routings)
      most = std::max(most, manifest.buffers()->Get(routing.buffer)->bytes());
    HEADRACE_RETURN_IF_ERROR(device->AllocateHost(
        most, "routings that the host reads", &routing_copy));
    HEADRACE_RETURN_IF_ERROR(
        device->AllocateHost(Executor::kMostAhead * kCountsBytes,
                             "counts of a step's parts", &part_counts));
  }
  wanted.queue.chunk_bytes = manifest.chunk_bytes();
  wanted.queue.depth = kQueueDepth;
  // Reads out of the page cache are copies by a processor, which a ring would
  // do one after the other while somebody submits them.
  wanted.queue.use_ring = tiers->file.IsDirect();
  wanted.queue.threads = std::min(device->ThreadCount(), kMostCopyThreads);
  wanted.queue.orphaned = Orphaned;
  wanted.queue.orphaned_self = this;
  wanted.home_queue = CopyQueue("memory", "the home");
  if (!tiers->plan.page_layers.empty()) {
    wanted.pages = &tiers->pages;
    HEADRACE_RETURN_IF_ERROR(CreatePages(options, homes));
  }
  wanted.timeout_ns = timeout_ns;
  wanted.tracer = tracer;
  HEADRACE_RETURN_IF_ERROR(tiers->loader.Create(wanted));

  CountLiveBytes();
  return loader->Bind(&weights);
}

/// A queue whose threads copy: out of memory, or the page cache.
TransferQueue::Options headrace_session_t::CopyQueue(const char *link,
                                                     const char *file) {
  TransferQueue::Options options;
  options.link = link;
  options.level = tiers->plan.level;
  options.file = file;
  options.chunk_bytes = package->manifest->chunk_bytes();
  options.use_ring = false;
  options.threads = std::min(device->ThreadCount(), kMostCopyThreads);
  options.orphaned = Orphaned;
  options.orphaned_self = this;
  return options;
}

Status
headrace_session_t::CreatePages(const headrace_session_options_t &options,
                                ByteSource *homes) {
  const abi::Manifest &manifest = *package->manifest;
  const abi::Plan &plan = *manifest.plan();
  const abi::KvCache &cache = *manifest.kv();
  const TierPool &pool = tiers->plan.pools[tiers->plan.page_pool];
  PageMover::Options wanted;
  if (!device->SharesHostMemory()) {
    wanted.device = device.Get();
    wanted.executor = executor.get();
    wanted.home = arenas[plan.home_level()].Data();
  } else if (!homes && IsHome(plan.home_level())) {
    homes = &tiers->homes;
  } else if (!homes) {
    HEADRACE_RETURN_IF_ERROR(tiers->page_homes.Create(
        HostAllocator(),
        options.page_directory ? options.page_directory : kPageDirectory,
        manifest.levels()->Get(plan.home_level())->arena_bytes()));
    homes = &tiers->page_homes;
  }
  wanted.layers = tiers->plan.page_layers.data();
  wanted.layer_count = static_cast<uint32_t>(tiers->plan.page_layers.size());
  wanted.slots = arenas[plan.fast_level()].Data() + pool.offset;
  wanted.slot_bytes = pool.slot_bytes;
  wanted.slot_count = pool.slots;
  wanted.page_bytes = cache.page_bytes() / cache.layers();
  wanted.page_count = static_cast<uint32_t>(kv_pages);
  wanted.source = homes;
  wanted.queue = CopyQueue("pages", IsHome(plan.home_level())
                                        ? "the home"
                                        : "the file of key-value pages");
  wanted.tracer = tracer;
  pass_pages.reserve(manifest.limits()->max_sequences());
  return tiers->pages.Create(wanted);
}

/// A queue that hung has ended. Whoever is last ends the session.
void headrace_session_t::Orphaned(void *self) {
  auto *session = static_cast<headrace_session_t *>(self);
  if (session->ending.fetch_sub(1) == 1)
    EndSession(session);
}

bool headrace_session_t::Stop() {
  if (!tiers)
    return true;
  ending = kQueues + 1; // and this
  const uint32_t hanging = tiers->loader.Stop(kStopGraceNs) +
                           (tiers->pages.Stop(kStopGraceNs) ? 0 : 1);
  ending -= kQueues - hanging;
  return ending.fetch_sub(1) == 1;
}

void headrace::runtime::EndSession(headrace_session_t *session) {
  // The instance must outlive the memory that the session itself lies in.
  auto instance = InstanceRef::Share(session->device->instance.Get());
  Delete(instance->allocator, session);
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

/// How waits of a run may end early.
static WaitLimits LimitsOf(const Run &run) {
  WaitLimits limits;
  limits.cancel = run.cancel;
  limits.deadline_ns = run.deadline_ns;
  return limits;
}

/// Runs parts of one entry for the arena loader: what the run sends goes before
/// the first of them, what it fetches behind the last.
///
/// A device that can is given them ahead, some at a time, and keeps the order
/// of launches and transfers itself. Whoever waits for it here waits for its
/// transfers first, so that what does not come is named.
class headrace_session_t::WaveRunner final : public LaunchRunner {
public:
  WaveRunner(headrace_session_t *session, const Run &run)
      : session(session), run(run) {}

  Status RunLaunches(uint32_t begin, uint32_t end, int64_t first_active,
                     int64_t end_active) override {
    Run part = run;
    part.launches += begin;
    part.launch_count = end - begin;
    part.counts[HEADRACE_COUNT_FIRST_ACTIVE] = first_active;
    part.counts[HEADRACE_COUNT_END_ACTIVE] = end_active;
    part.download_count = 0;
    const bool ahead = session->executor->CanStart(part);
    HEADRACE_RETURN_IF_ERROR(ahead ? AwaitRoom() : AwaitTransfers());
    const Transfer counts = CountsOf(part);
    if (std::exchange(sent, true)) {
      // Kernels of a device with memory of its own find the counts there.
      part.uploads = &counts;
      part.upload_count =
          run.upload_count && (first != first_active || last != end_active);
    }
    first = first_active;
    last = end_active;
    ArenaLoader &loader = session->tiers->loader;
    if (const auto [from, to] = loader.Bound(); from < to) {
      HEADRACE_RETURN_IF_ERROR(
          session->executor->BindWeights(session->weights, from, to - from));
      loader.ClearBound();
    }
    if (!ahead) {
      Status status = session->Execute(part, begin);
      spent_ns += session->kernel_ns;
      return status;
    }
    Status status = session->executor->Start(part, &session->last_part);
    held[session->last_part % Executor::kMostAhead] = loader.Held();
    session->KeepIfLost(status);
    return status;
  }

  uint64_t LastPart() const override { return session->last_part; }

  /// Waits for what was begun, and fetches what the run gives.
  Status Finish() {
    if (run.download_count == 0 && session->last_part == 0) {
      session->kernel_ns = spent_ns;
      return Status();
    }
    HEADRACE_RETURN_IF_ERROR(AwaitTransfers());
    Run part = run;
    part.launch_count = part.upload_count = 0;
    session->kernel_ns = 0; // of what was begun and not yet told
    Status status = session->Execute(part, 0);
    session->kernel_ns += spent_ns;
    return status;
  }

  Status ReadRouting(const TierRouting &routing, const int32_t **active,
                     uint32_t *count) override {
    HEADRACE_RETURN_IF_ERROR(AwaitTransfers());
    HEADRACE_RETURN_IF_ERROR(session->ReadRoutingBuffer(
        routing, routing.active_offset + routing.experts * sizeof(int32_t),
        run));
    const uint8_t *base = Bytes(routing);
    int32_t number;
    std::memcpy(&number, base + routing.count_offset, sizeof(number));
    const auto *list =
        reinterpret_cast<const int32_t *>(base + routing.active_offset);
    // A router that is wrong must not lead to addresses that are.
    bool ascending = number >= 0 && uint32_t(number) <= routing.experts;
    int32_t before = -1;
    for (int32_t i = 0; ascending && i < number; ++i) {
      ascending = list[i] > before && uint32_t(list[i]) < routing.experts;
      before = list[i];
    }
    if (!ascending)
      return Wrong(routing);
    *active = list;
    *count = static_cast<uint32_t>(number);
    return Status();
  }

  Status ReadPrediction(const TierRouting &routing, float *scores, int32_t *out,
                        uint32_t *count) override {
    const int32_t *active;
    HEADRACE_RETURN_IF_ERROR(ReadRouting(routing, &active, count));
    std::copy(active, active + *count, out);
    HEADRACE_RETURN_IF_ERROR(session->ReadRoutingBuffer(
        routing,
        std::max(routing.picks_offset +
                     (routing.experts + uint64_t(1)) * sizeof(int32_t),
                 routing.weights_offset + routing.most_picks * sizeof(float)),
        run));
    const uint8_t *base = Bytes(routing);
    const auto *picks =
        reinterpret_cast<const int32_t *>(base + routing.picks_offset);
    const auto *weights =
        reinterpret_cast<const float *>(base + routing.weights_offset);
    const auto most = static_cast<int32_t>(routing.most_picks);
    for (uint32_t i = 0; i < *count; ++i)
      if (picks[out[i]] < 0 || picks[out[i]] > picks[out[i] + 1] ||
          picks[out[i] + 1] > most)
        return Wrong(routing);
    std::fill_n(scores, routing.experts, 0.0f);
    for (uint32_t i = 0; i < *count; ++i) {
      float &score = scores[out[i]];
      for (int32_t j = picks[out[i]]; j < picks[out[i] + 1]; ++j)
        score += weights[j];
      if (std::isnan(score)) // compares like nothing else
        score = 0;
    }
    std::sort(out, out + *count, [&](int32_t a, int32_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    return Status();
  }

private:
  /// Waits until what the next part uses has room: counts, addresses, an event.
  Status AwaitRoom() {
    const uint64_t next = session->last_part + 1;
    if (next <= Executor::kMostAhead)
      return Status();
    HEADRACE_RETURN_IF_ERROR(session->tiers->loader.AwaitHeld(
        held[next % Executor::kMostAhead], LimitsOf(run)));
    Status status =
        session->executor->AwaitPart(next - Executor::kMostAhead, run);
    session->KeepIfLost(status);
    return status;
  }

  /// Waits for the transfers that launches on the device wait for.
  Status AwaitTransfers() {
    ArenaLoader &loader = session->tiers->loader;
    return loader.AwaitHeld(loader.Held(), LimitsOf(run));
  }

  /// The counts on their way to the device, with what changes in a wave. Those
  /// of the first part are sent with the run's inputs.
  Transfer CountsOf(const Run &part) const {
    if (!session->part_counts.Bytes())
      return {nullptr, nullptr, 0};
    uint8_t *place = session->staging.Data();
    if (sent)
      place = session->part_counts.Data() +
              (session->last_part + 1) % Executor::kMostAhead * kCountsBytes;
    std::memcpy(place, part.counts, sizeof(part.counts));
    return {session->io.Data(), place, kCountsBytes};
  }

  const uint8_t *Bytes(const TierRouting &routing) const {
    if (session->routing_copy.Bytes())
      return session->routing_copy.Data();
    uint32_t index = routing.buffer;
    uint64_t offset = 0;
    const abi::Buffer *buffer =
        session->package->manifest->buffers()->Get(index);
    if (buffer->kind() == abi::BufferKind::view) {
      offset = buffer->offset();
      index = buffer->base();
    }
    return static_cast<const uint8_t *>(session->addresses[index]) + offset;
  }

  Status Wrong(const TierRouting &routing) const {
    const abi::Buffer &buffer =
        *session->package->manifest->buffers()->Get(routing.buffer);
    return MakeStatus(session->HostAllocator(), HEADRACE_STATUS_INTERNAL,
                      "'%.64s': buffer '%.200s' holds no routing of %u "
                      "experts",
                      run.entry_name, buffer.name()->c_str(), routing.experts);
  }

  headrace_session_t *const session;
  const Run &run;
  bool sent = false;           // what the run sends
  int64_t first = 0, last = 0; // active experts, as the device knows them
  uint64_t spent_ns = 0;       // by the launches
  /// The transfers that parts under way wait for, and all before them.
  HeldCopies held[Executor::kMostAhead] = {};
};

/// Brings the first bytes of a routing to where the host reads them, on a
/// device with memory of its own.
Status headrace_session_t::ReadRoutingBuffer(const TierRouting &routing,
                                             uint64_t bytes, const Run &run) {
  if (!routing_copy.Bytes())
    return Status();
  const Transfer transfer = {addresses[routing.buffer], routing_copy.Data(),
                             bytes};
  Run part = run;
  part.launch_count = part.upload_count = 0;
  part.downloads = &transfer;
  part.download_count = 1;
  part.pinned = true;
  part.out_kernel_ns = nullptr;
  return Execute(part, 0);
}

/// Waits for what a run that failed has left to the device, which is before
/// anything is written that it may still read.
Status headrace_session_t::SettleTiers(const headrace_cancel_t *cancel,
                                       uint64_t deadline_ns) {
  if (!IsTiered() || last_part == 0)
    return Status();
  WaitLimits limits;
  limits.cancel = cancel;
  limits.deadline_ns = deadline_ns;
  Run run;
  run.entry_name = "the run before";
  run.cancel = cancel;
  run.deadline_ns = deadline_ns;
  Status status = tiers->loader.AwaitHeld(tiers->loader.Held(), limits);
  if (status.IsOk())
    status = executor->AwaitPart(last_part, run);
  KeepIfLost(status);
  return status;
}

Status headrace_session_t::RunTiered(uint32_t entry, uint32_t step_class,
                                     const Run &run) {
  WaveRunner runner(this, run);
  Status status =
      tiers->loader.RunEntry(entry, step_class, &runner, LimitsOf(run));
  if (status.IsOk())
    status = runner.Finish();
  KeepIfLost(status);
  NotePeak(tiers->plan.entry_schedules[entry] + step_class);
  return status;
}

/// Of a traced session, so that events of a pass hold all that it moved.
void headrace_session_t::AwaitRest(const Run &run) {
  tiers->loader.AwaitRest(LimitsOf(run));
}

//===----------------------------------------------------------------------===//
// Usage
//===----------------------------------------------------------------------===//

/// The most bytes of the fast level that buffers of an entry take at once. From
/// the launches alone, not from the certificate, which is to be compared with
/// it: a buffer lives from the first launch that names it to the last one, what
/// the host gives from the beginning, what it reads to the end. Launches over
/// experts run again for each wave, so their buffers live through all of them.
uint64_t headrace_session_t::LiveBytes(const abi::Entry &entry,
                                       const Launches &listed,
                                       const Steps *steps) const {
  const abi::Manifest &manifest = *package->manifest;
  const uint32_t level = manifest.plan()->fast_level();
  struct Range {
    uint64_t offset, bytes;
    uint32_t first, last;
  };
  const uint32_t count = manifest.buffers()->size();
  Vector<Range> ranges(count, {0, 0, kNoIndex, 0},
                       StdAllocator<Range>(HostAllocator()));
  const uint32_t launches = listed.size();
  for (uint32_t i = 0; i < launches; ++i)
    for (uint32_t buffer : *listed.Get(i)->buffers()) {
      if (manifest.buffers()->Get(buffer)->kind() == abi::BufferKind::view)
        buffer = manifest.buffers()->Get(buffer)->base();
      ranges[buffer].first = std::min(ranges[buffer].first, i);
      ranges[buffer].last = i;
    }
  for (uint32_t i = 0; i < count; ++i) {
    const abi::Buffer &buffer = *manifest.buffers()->Get(i);
    // The pool is counted by pages.
    if (buffer.level() != level || i == Model().kv_pool ||
        ranges[i].first == kNoIndex)
      continue;
    ranges[i].offset = buffer.offset();
    ranges[i].bytes = buffer.bytes();
    if (buffer.kind() == abi::BufferKind::scratch)
      continue;
    // Arguments of other entries than the model's are the host's.
    const bool own = Model().entry != kNoIndex &&
                     manifest.entries()->Get(Model().entry) == &entry;
    ranges[i].bytes = own ? buffer.bytes() : 0;
  }
  for (uint32_t buffer : *entry.inputs())
    ranges[buffer].first = 0;
  for (uint32_t buffer : *entry.outputs())
    ranges[buffer].last = launches;
  if (steps)
    for (const abi::Step *step : *steps) {
      if (step->kind() != abi::StepKind::routed)
        continue;
      const uint32_t begin = step->launch();
      const uint32_t last = begin + step->launch_count() - 1;
      for (Range &range : ranges)
        if (range.first <= last && range.last >= begin) {
          range.first = std::min(range.first, begin);
          range.last = std::max(range.last, last);
        }
    }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range &a, const Range &b) { return a.offset < b.offset; });
  uint64_t most = 0;
  for (uint32_t launch = 0; launch < launches; ++launch) {
    uint64_t bytes = 0, end = 0;
    for (const Range &range : ranges) {
      if (launch < range.first || launch > range.last)
        continue;
      const uint64_t from = std::max(range.offset, end);
      const uint64_t to = range.offset + range.bytes;
      bytes += to > from ? to - from : 0;
      end = std::max(end, to);
    }
    most = std::max(most, bytes);
  }
  return most;
}

/// In the order of the schedules in the tier plan.
void headrace_session_t::CountLiveBytes() {
  for (const abi::Entry *entry : *package->manifest->entries()) {
    const size_t before = live_bytes.size();
    for (uint32_t i = 0; entry->classes() && i < entry->classes()->size(); ++i)
      if (const abi::StepClass &one = *entry->classes()->Get(i);
          one.code() == executor->CodeIndex())
        live_bytes.push_back(LiveBytes(*entry, *one.launches(), one.steps()));
    if (live_bytes.size() == before)
      live_bytes.push_back(
          LiveBytes(*entry, *entry->launches(), entry->steps()));
  }
}

/// Bytes of a level that are in use between steps.
uint64_t headrace_session_t::OccupiedBytes(uint32_t level) const {
  uint64_t bytes = 0;
  const abi::Plan *plan = package->manifest->plan();
  if (IsTiered() && level == plan->fast_level())
    bytes += tiers->loader.OccupiedBytes() + tiers->pages.OccupiedBytes();
  if (IsTiered() && IsHome(level))
    bytes += WeightHomeBytes();
  if (!HasKv())
    return bytes;
  const uint64_t used = (kv.PageCount() - kv.FreeCount()) * kv.LayerPageBytes();
  if (level == (IsTiered() ? plan->kv_level() : 0))
    bytes += used * kv.ResidentLayers();
  if (IsTiered() && level == plan->home_level())
    bytes += used * tiers->pages.LayerCount();
  return bytes;
}

/// Of the home level's arena, what is not pages': homes and staging.
uint64_t headrace_session_t::WeightHomeBytes() const {
  const abi::Plan &plan = *package->manifest->plan();
  uint64_t bytes = package->summary.arena_bytes[plan.home_level()];
  for (const abi::Bundle *bundle : *plan.bundles())
    if (bundle->layer() != kNoIndex)
      bytes -= bundle->bytes();
  return bytes;
}

void headrace_session_t::NotePeak(uint32_t schedule) {
  const uint32_t level = package->manifest->plan()->fast_level();
  peak_bytes = std::max(peak_bytes, OccupiedBytes(level) + scratch_in_plan +
                                        live_bytes[schedule]);
  const uint32_t home = package->manifest->plan()->home_level();
  if (home != kNoIndex)
    home_peak_bytes = std::max(home_peak_bytes, OccupiedBytes(home));
}

Status headrace_session_t::DescribeLevel(uint32_t level,
                                         headrace_level_usage_t *out) const {
  const abi::Manifest &manifest = *package->manifest;
  if (level >= manifest.levels()->size())
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_OUT_OF_RANGE,
                      "session: level %u of %u", level,
                      manifest.levels()->size());
  headrace_level_usage_t value = {};
  value.name = manifest.levels()->Get(level)->name()->c_str();
  value.occupied_bytes = OccupiedBytes(level);
  value.certified_bytes = package->summary.peak_bytes[level];
  if (IsTiered() && level == manifest.plan()->home_level())
    value.peak_bytes = std::max(home_peak_bytes, value.occupied_bytes);
  if (IsTiered() && level == manifest.plan()->fast_level()) {
    value.peak_bytes = peak_bytes;
    value.budget_bytes = budget_bytes;
    for (uint32_t i = 0; i < tiers->plan.pools.size(); ++i) {
      const TierPool &pool = tiers->plan.pools[i];
      // Wraps where there are fewer slots than planned, and comes out right.
      value.certified_bytes +=
          (uint64_t(tiers->loader.SlotCount(i)) - pool.slots) * pool.slot_bytes;
    }
  }
  return WriteStruct(HostAllocator(), value, out);
}

Status headrace_session_t::DescribeLink(uint32_t link,
                                        headrace_link_usage_t *out) {
  const uint32_t of_weights = IsTiered() ? tiers->loader.LinkCount() : 0;
  const uint32_t links = of_weights + (IsTiered() && tiers->pages.IsOn());
  if (link >= links)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_OUT_OF_RANGE,
                      "session: link %u of %u", link, links);
  if (link == of_weights)
    return DescribePages(out);
  ArenaLoader &loader = tiers->loader;
  Link &described = loader.LinkAt(link);
  const LinkCounters counters = described.Counters();
  const bool reads = link + 1 == of_weights; // the package
  headrace_link_usage_t value = {};
  value.name = described.Name();
  value.bytes = counters.bytes;
  value.transfers = counters.transfers;
  value.failed = counters.failed;
  value.cancelled = counters.cancelled;
  value.busy_ns = counters.busy_ns;
  if (link == 0) { // Launches wait for what it brings.
    value.stalls = loader.Waits().stalls;
    value.wait_ns = loader.Waits().wait_ns;
  }
  value.is_direct = reads && tiers->file.IsDirect();
  value.uses_ring = reads && loader.UsesRing();
  return WriteStruct(HostAllocator(), value, out);
}

Status headrace_session_t::DescribePages(headrace_link_usage_t *out) {
  PageMover &pages = tiers->pages;
  const LinkCounters counters = pages.Counters();
  headrace_link_usage_t value = {};
  value.name = pages.LinkName();
  value.bytes = counters.bytes;
  value.stored_bytes = counters.stored_bytes;
  value.transfers = counters.transfers;
  value.failed = counters.failed;
  value.cancelled = counters.cancelled;
  value.busy_ns = counters.busy_ns;
  value.stalls = pages.Waits().stalls;
  value.wait_ns = pages.Waits().wait_ns;
  return WriteStruct(HostAllocator(), value, out);
}

Status headrace_session_t::DescribePool(uint32_t index,
                                        headrace_pool_usage_t *out) const {
  const auto pools =
      IsTiered() ? static_cast<uint32_t>(tiers->plan.pools.size()) : 0;
  if (index >= pools)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_OUT_OF_RANGE,
                      "session: pool %u of %u", index, pools);
  const TierPool &pool = tiers->plan.pools[index];
  const ExpertCache::Counters counters = tiers->loader.CacheCounters(index);
  headrace_pool_usage_t value = {};
  value.name = pool.name;
  value.slot_bytes = pool.slot_bytes;
  value.slots = tiers->loader.SlotCount(index);
  value.min_slots = pool.min_slots;
  value.bundles = pool.bundle_count;
  value.is_cache = pool.kind == PoolKind::kCache;
  value.has_pages = pool.has_pages;
  value.hits = counters.hits;
  value.misses = counters.misses;
  value.evictions = counters.evictions;
  value.prefetches = counters.prefetches;
  value.prefetches_used = counters.prefetches_used;
  return WriteStruct(HostAllocator(), value, out);
}
