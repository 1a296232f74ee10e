// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session, tiered part: an arena under a budget, what fills it, and their end.
#include "runtime/src/session.h"
#include "runtime/src/session_layout.h"
#include "runtime/src/tier/read_plan.h"

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
