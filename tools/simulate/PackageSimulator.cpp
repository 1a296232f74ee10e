// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the schedule of a package on a described machine.
#include "tools/simulate/PackageSimulator.h"

#include "runtime/abi/kernel_abi.h"
#include "runtime/src/tier/expert_cache.h"
#include "tools/simulate/OccupancyLog.h"
#include <algorithm>
#include <map>
#include <numeric>

using namespace headrace;
using namespace headrace::simulate;
using runtime::ExpertCache;

Routing simulate::randomRouting(uint64_t experts, uint64_t seed) {
  return [=](uint64_t step, uint32_t layer, uint64_t count) {
    // SplitMix64 of where we are, so that no draw depends on the ones before.
    uint64_t state =
        seed + step * 0x9e3779b97f4a7c15 + layer * 0xd1b54a32d192ed03;
    auto next = [&] {
      uint64_t z = state += 0x9e3779b97f4a7c15;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      return z ^ (z >> 31);
    };
    std::vector<uint32_t> all(experts);
    std::iota(all.begin(), all.end(), 0);
    count = std::min(count, experts);
    for (uint64_t i = 0; i < count; ++i)
      std::swap(all[i], all[i + next() % (experts - i)]);
    all.resize(count);
    std::sort(all.begin(), all.end());
    return all;
  };
}

namespace {

/// No transfer: the bytes are there.
constexpr size_t kThere = SIZE_MAX;

/// One slot and what is in it or on its way there.
struct Slot {
  uint32_t bundle = UINT32_MAX;
  size_t transfer = kThere;
  /// Rings: the bundle whose release frees the slot, and the one that was
  /// fetched for the next step.
  uint32_t reader = UINT32_MAX, ahead = UINT32_MAX;
  /// Of pages on a device: the store that the next fetch follows.
  size_t after = kThere;
};

struct Pool {
  std::vector<Slot> slots;
  /// Caches: what the runtime decides with, and the first bundle of each of its
  /// groups, one a routed step in the order of the schedule.
  std::unique_ptr<ExpertCache> cache;
  std::vector<uint32_t> groups;
  /// Caches: experts predicted for the group `guessed`, at most so many to be
  /// fetched; acted upon by the next routed step.
  std::vector<int32_t> guess;
  uint32_t guessed = 0, most = 0;
};

} // namespace

struct PackageSimulator::State {
  State(const abi::Manifest &manifest, const Machine &machine,
        uint32_t entryIndex, std::string source, Routing routing,
        Prediction prediction)
      : manifest(manifest), plan(manifest.plan()), machine(machine),
        entry(*manifest.entries()->Get(entryIndex)), work(manifest),
        engine(machine), log(manifest), source(std::move(source)),
        routing(std::move(routing)), prediction(std::move(prediction)) {
    if (!plan) {
      // Mapped weights are where kernels read from: a processor's memory, or
      // that of an accelerator.
      const std::string &fastest = machine.levels.front().name;
      level = "dram";
      for (const Machine::Level &one : machine.levels)
        if (!machine.link(level, fastest) && machine.link(one.name, fastest))
          level = one.name;
      return;
    }
    level = manifest.levels()->Get(plan->fast_level())->name()->str();
    for (const abi::Pool *pool : *plan->pools()) {
      pools.emplace_back();
      pools.back().slots.resize(pool->slots());
    }
  }

  /// Takes the launches for a step of that shape: those of a processor, or of
  /// the smallest class of a GPU's that has room for it.
  void select(const StepShape &shape) {
    launches = entry.launches();
    schedule = entry.steps();
    if (launches->size() == 0 && entry.classes())
      for (const abi::StepClass *one : *entry.classes()) {
        launches = one->launches();
        schedule = one->steps();
        if (shape.tokens <= one->max_tokens() &&
            shape.sequences <= one->max_sequences())
          break;
      }
    if (schedule && !haveCaches)
      makeCaches();
  }

  void makeCaches() {
    haveCaches = true;
    std::vector<std::vector<uint32_t>> experts(pools.size());
    for (const abi::Step *step : *schedule)
      if (step->kind() == abi::StepKind::routed) {
        const uint32_t pool = plan->bundles()->Get(step->bundle())->pool();
        pools[pool].groups.push_back(step->bundle());
        experts[pool].push_back(
            plan->routings()->Get(step->routing())->experts());
      }
    for (uint32_t i = 0; i < pools.size(); ++i) {
      if (experts[i].empty())
        continue;
      const abi::Pool &pool = *plan->pools()->Get(i);
      ExpertCache::Options options;
      options.group_experts = experts[i].data();
      options.group_count = uint32_t(experts[i].size());
      options.slots = pool.slots();
      options.min_slots = pool.min_slots();
      options.policy = runtime::CachePolicy(pool.policy());
      pools[i].cache = std::make_unique<ExpertCache>(allocator);
      pools[i].cache->Create(options);
    }
  }

  std::string nameOf(uint32_t bundle) const {
    const abi::Bundle &one = *plan->bundles()->Get(bundle);
    if (isOfPages(bundle))
      return "kv." + std::to_string(one.layer());
    return one.weights()->size()
               ? manifest.weights()->Get(one.weights()->Get(0))->name()->str()
               : "bundle " + std::to_string(bundle);
  }

  /// Where the package is: the level behind that of its weights' home.
  std::string packageLevel(const std::string &home) const {
    bool slower = false; // Levels come from fast to slow.
    for (const Machine::Level &one : machine.levels) {
      if (slower)
        return one.name;
      slower = one.name == home;
    }
    return "disk";
  }

  bool isOfPages(uint32_t bundle) const {
    return plan->bundles()->Get(bundle)->layer() != UINT32_MAX;
  }

  /// Bytes of a layer's pages that hold so many positions of each sequence.
  double pageBytes(const StepShape &shape, uint64_t begin, uint64_t end) const {
    constexpr uint64_t kPositions = HEADRACE_KV_PAGE_POSITIONS;
    const abi::KvCache &cache = *manifest.kv();
    const uint64_t pages =
        (end + kPositions - 1) / kPositions - begin / kPositions;
    return double(shape.sequences) * double(pages) *
           double(cache.page_bytes() / cache.layers());
  }

  /// Starts to fetch the pages that hold something, into the slot of a layer.
  void fetchPages(const abi::Step &step, const StepShape &shape) {
    Slot &slot = slotsOf(step)[step.slot()];
    const double bytes = pageBytes(shape, 0, shape.context);
    const bool wasFull = slot.transfer != kThere;
    slot.bundle = step.bundle();
    if (bytes == 0)
      return;
    slot.transfer =
        engine.transfer(homeLevel(), level, bytes, nameOf(step.bundle()),
                        "to slot " + std::to_string(step.slot()), slot.after);
    log.fetch(slot.transfer, plan->bundles()->Get(step.bundle())->pool(),
              wasFull);
  }

  /// Starts to store the pages that the step wrote.
  void storePages(const abi::Step &step, const StepShape &shape) {
    const uint64_t rows =
        (shape.tokens + shape.sequences - 1) / shape.sequences;
    stores[step.bundle()] = engine.transfer(
        level, homeLevel(),
        pageBytes(shape, shape.context, shape.context + rows),
        nameOf(step.bundle()), "from slot " + std::to_string(step.slot()));
  }

  /// A processor waits until they are stored; a device's next fetch to the slot
  /// does.
  void releasePages(const abi::Step &step) {
    const size_t store = stores[step.bundle()];
    if (entry.classes() && entry.classes()->size())
      slotsOf(step)[step.slot()].after = store;
    else
      engine.waitFor(store, nameOf(step.bundle()));
  }

  /// A CPU's home is more of the memory that its fast level is in: machines
  /// have no level for it.
  std::string homeLevel() const {
    std::string name =
        manifest.levels()->Get(plan->home_level())->name()->str();
    return machine.level(name) ? name : level;
  }

  /// Sees to it that the bundle is in the slot or on its way there.
  void fetch(uint32_t bundle, uint32_t slot) {
    const uint32_t pool = plan->bundles()->Get(bundle)->pool();
    Slot &home = pools[pool].slots[slot];
    if (home.bundle == bundle)
      return;
    double bytes = 0;
    for (uint32_t weight : *plan->bundles()->Get(bundle)->weights())
      bytes += double(work.weight(weight).bytes);
    const bool wasFull = home.bundle != UINT32_MAX;
    home.bundle = bundle;
    const std::string detail = "to slot " + std::to_string(slot) + " of " +
                               plan->pools()->Get(pool)->name()->str();
    size_t read = kThere; // Into staging, of a device's bundle without a home.
    std::string from = source;
    if (plan->bundles()->Get(bundle)->home() != UINT64_MAX) {
      from = homeLevel();
    } else if (plan->staging_bytes()) {
      from = homeLevel();
      read = engine.transfer(packageLevel(from), from, bytes, nameOf(bundle),
                             detail);
    }
    home.transfer =
        engine.transfer(from, level, bytes, nameOf(bundle), detail, read);
    log.fetch(home.transfer, pool, wasFull);
  }

  bool arrived(const Slot &slot) const {
    return slot.transfer == kThere || engine.done(slot.transfer);
  }
  void wait(const Slot &slot, const std::string &who) {
    if (slot.transfer != kThere)
      engine.waitFor(slot.transfer, who);
  }

  void run(uint32_t launch, const StepShape &shape, double active,
           double share) {
    KernelWork kernel = work.of(*launches->Get(launch), shape, active, share);
    kernel.level = level;
    log.launch(engine.now(), launch);
    engine.run(kernel);
  }

  /// The slot of a ring that a bundle was fetched to last.
  const Slot &ringSlot(uint32_t bundle) const {
    for (const Slot &slot : pools[plan->bundles()->Get(bundle)->pool()].slots)
      if (slot.bundle == bundle)
        return slot;
    static const Slot kNone;
    return kNone; // Plan-check has seen a fetch before each wait.
  }

  /// The active experts of a routed step.
  std::vector<int32_t> activeOf(const abi::Step &step, const StepShape &shape,
                                uint32_t layer) const {
    const uint32_t experts = plan->routings()->Get(step.routing())->experts();
    std::vector<int32_t> active;
    for (uint32_t expert :
         routing(steps, layer,
                 expectedDistinct(shape.tokens, work.picks(), experts)))
      if (expert < experts)
        active.push_back(int32_t(expert));
    return active;
  }

  uint32_t groupOf(const Pool &pool, uint32_t bundle) const {
    return uint32_t(std::find(pool.groups.begin(), pool.groups.end(), bundle) -
                    pool.groups.begin());
  }

  /// A router that runs ahead, from step `at` of the schedule on; `layer` is
  /// the routed layer that comes next.
  void predict(uint32_t at, const StepShape &shape, uint32_t layer) {
    const abi::Step &step = *schedule->Get(at);
    Pool &pool = pools[plan->bundles()->Get(step.bundle())->pool()];
    pool.guessed = groupOf(pool, step.bundle());
    if (!pool.cache->WantsPrediction(pool.guessed))
      return;
    run(step.launch(), shape, 0, 1);
    const abi::Step *target = nullptr;
    for (; !target; ++at) { // Plan-check has seen that there is one.
      const abi::Step &one = *schedule->Get(at);
      if (one.kind() != abi::StepKind::routed)
        continue;
      if (one.bundle() == step.bundle())
        target = &one;
      else
        ++layer;
    }
    const uint32_t experts = plan->routings()->Get(step.routing())->experts();
    pool.most = step.most();
    pool.guess.clear();
    if (prediction) {
      for (uint32_t expert : prediction(steps, layer))
        if (expert < experts)
          pool.guess.push_back(int32_t(expert));
      return;
    }
    pool.guess = activeOf(*target, shape, layer);
    for (size_t i = 2; i < pool.guess.size(); i += 3) { // Wrong ones.
      int32_t other = 0;
      while (std::count(pool.guess.begin(), pool.guess.end(), other))
        ++other;
      if (uint32_t(other) < experts)
        pool.guess[i] = other;
    }
  }

  /// Waves as the runtime makes them: each takes the experts that have arrived,
  /// in ascending order, while the next ones arrive.
  void routed(const abi::Step &step, const StepShape &shape, uint32_t layer) {
    Pool &pool = pools[plan->bundles()->Get(step.bundle())->pool()];
    const abi::Routing &list = *plan->routings()->Get(step.routing());
    const std::vector<int32_t> active = activeOf(step, shape, layer);
    const auto count = uint32_t(active.size());
    const uint32_t group = groupOf(pool, step.bundle());
    std::vector<ExpertCache::Decision> decisions(count + list.experts());
    pool.cache->Plan(group, active.data(), count, decisions.data());
    const uint32_t next = pool.guessed;
    const uint32_t ahead =
        pool.guess.empty()
            ? 0
            : pool.cache->PlanPrefetch(next, pool.guess.data(),
                                       uint32_t(pool.guess.size()), pool.most,
                                       decisions.data() + count);
    pool.guess.clear();
    auto bundleOf = [&](const ExpertCache::Decision &one, uint32_t of) {
      return pool.groups[of] + one.bundle - pool.cache->FirstBundle(of);
    };
    uint32_t issued = 0, computed = 0;
    do {
      for (; issued < count; ++issued) {
        const ExpertCache::Decision &one = decisions[issued];
        if (one.after != ExpertCache::kNone && one.after >= computed)
          break;
        fetch(bundleOf(one, group), one.slot);
      }
      for (; issued >= count && issued < count + ahead; ++issued)
        fetch(bundleOf(decisions[issued], next), decisions[issued].slot);
      uint32_t end = computed;
      if (computed < count) {
        wait(pool.slots[decisions[computed].slot],
             work.nameOf(*launches->Get(step.launch())));
        for (end = computed + 1; end < std::min(issued, count) &&
                                 arrived(pool.slots[decisions[end].slot]);)
          ++end;
      }
      const double experts = double(end - computed);
      for (uint32_t i = 0; i < step.launch_count(); ++i)
        run(step.launch() + i, shape, experts,
            count ? experts / double(count) : 1);
      computed = end;
    } while (computed < count);
  }

  std::vector<Slot> &slotsOf(const abi::Step &step) {
    return pools[plan->bundles()->Get(step.bundle())->pool()].slots;
  }
  void takeSlot(const abi::Step &step) {
    slotsOf(step)[step.slot()].reader = step.bundle();
  }
  void releaseSlot(const abi::Step &step) {
    for (Slot &slot : slotsOf(step))
      if (slot.reader == step.bundle())
        slot.reader = UINT32_MAX;
  }

  /// Notes the bytes of each lane that are moved for the next step.
  void fetchForNext(uint32_t &next) {
    std::vector<double> before;
    for (size_t i = 0; i < engine.lanes().size(); ++i)
      before.push_back(engine.bytesOf(i));
    fetchAhead(next);
    ahead.resize(engine.lanes().size());
    for (size_t i = 0; i < ahead.size(); ++i)
      ahead[i] += engine.bytesOf(i) - (i < before.size() ? before[i] : 0);
  }

  /// As the runtime does: what the next step fetches first, from step `next` of
  /// the schedule on, in slots that nobody reads any more.
  void fetchAhead(uint32_t &next) {
    for (; next < schedule->size(); ++next) {
      const abi::Step &step = *schedule->Get(next);
      if (step.kind() != abi::StepKind::fetch || isOfPages(step.bundle()))
        continue;
      Slot &slot = slotsOf(step)[step.slot()];
      if (slot.reader != UINT32_MAX || slot.ahead != UINT32_MAX)
        return;
      slot.ahead = step.bundle();
      fetch(step.bundle(), step.slot());
    }
  }

  void runSchedule(const StepShape &shape) {
    if (!schedule) {
      const uint64_t active =
          expectedDistinct(shape.tokens, work.picks(), work.experts());
      for (uint32_t i = 0; i < launches->size(); ++i)
        run(i, shape, double(active), 1);
      return;
    }
    uint32_t layer = 0, next = 0;
    uint64_t fetches = 0;
    for (const abi::Step *step : *schedule)
      fetches +=
          step->kind() == abi::StepKind::fetch && !isOfPages(step->bundle());
    for (Pool &pool : pools)
      for (Slot &slot : pool.slots)
        slot.reader = slot.ahead = UINT32_MAX;
    for (uint32_t i = 0; i < schedule->size(); ++i) {
      const abi::Step *step = schedule->Get(i);
      switch (step->kind()) {
      case abi::StepKind::launch:
        run(step->launch(), shape, double(work.experts()), 1);
        break;
      case abi::StepKind::store:
        storePages(*step, shape);
        break;
      case abi::StepKind::fetch:
        if (isOfPages(step->bundle())) {
          fetchPages(*step, shape);
          break;
        }
        fetch(step->bundle(), step->slot());
        takeSlot(*step);
        --fetches;
        break;
      case abi::StepKind::wait:
        wait(ringSlot(step->bundle()), nameOf(step->bundle()));
        break;
      case abi::StepKind::release:
        if (isOfPages(step->bundle())) {
          releasePages(*step);
          break;
        }
        // The plan fetches nothing into a slot before its release.
        releaseSlot(*step);
        if (fetches == 0)
          fetchForNext(next);
        break;
      case abi::StepKind::routed:
        routed(*step, shape, layer++);
        break;
      case abi::StepKind::predict:
        predict(i, shape, layer);
        break;
      }
    }
  }

  const abi::Manifest &manifest;
  const abi::Plan *const plan;
  const Machine &machine;
  const abi::Entry &entry;
  /// Of the step that runs.
  const OccupancyLog::Launches *launches = nullptr;
  const flatbuffers::Vector<flatbuffers::Offset<abi::Step>> *schedule = nullptr;
  bool haveCaches = false;
  LaunchWork work;
  Engine engine;
  OccupancyLog log;
  const runtime::Allocator &allocator = runtime::DefaultAllocator();
  std::string level, source;
  Routing routing;
  Prediction prediction; ///< Null: drawn.
  std::vector<Pool> pools;
  std::map<uint32_t, size_t> stores; ///< By bundle of pages: its transfer.
  std::vector<double> ahead; ///< By lane: bytes moved for the next step.
  uint64_t steps = 0;
};

PackageSimulator::PackageSimulator(const abi::Manifest &manifest,
                                   const Machine &machine, uint32_t entry,
                                   std::string source, Routing routing,
                                   Prediction prediction)
    : state(std::make_unique<State>(manifest, machine, entry, std::move(source),
                                    std::move(routing),
                                    std::move(prediction))) {}

PackageSimulator::~PackageSimulator() = default;

Simulation PackageSimulator::step(const StepShape &shape) {
  State &s = *state;
  const double begin = s.engine.now(), stalled = s.engine.stalled();
  const size_t bars = s.engine.bars().size();
  std::vector<double> moved;
  for (size_t i = 0; i < s.engine.lanes().size(); ++i)
    moved.push_back(s.engine.bytesOf(i));
  uint64_t hits = 0, misses = 0;
  for (const Pool &pool : s.pools)
    if (pool.cache) {
      hits += pool.cache->Count().hits;
      misses += pool.cache->Count().misses;
    }
  s.select(shape);
  s.log.begin(begin, shape, *s.launches);
  const std::vector<double> fetched = std::move(s.ahead);
  s.ahead.clear();
  s.runSchedule(shape);
  ++s.steps;

  Simulation out;
  out.model = s.manifest.model()->str();
  out.machine = s.machine.name;
  out.tokens = shape.tokens;
  out.seconds = s.engine.now() - begin;
  out.stalled = s.engine.stalled() - stalled;
  // What was fetched ahead for the next step goes on; it is part of that one.
  out.occupancy = s.log.end(s.engine);
  out.lanes = s.engine.lanes();
  out.missing = s.engine.missing();
  for (size_t i = 0; i < out.lanes.size(); ++i)
    out.laneBytes.push_back(s.engine.bytesOf(i) -
                            (i < moved.size() ? moved[i] : 0) +
                            (i < fetched.size() ? fetched[i] : 0) -
                            (i < s.ahead.size() ? s.ahead[i] : 0));
  for (size_t i = bars; i < s.engine.bars().size(); ++i) {
    out.bars.push_back(s.engine.bars()[i]);
    out.bars.back().begin = std::max(0.0, out.bars.back().begin - begin);
    out.bars.back().end -= begin;
  }
  for (const Pool &pool : s.pools)
    if (pool.cache) {
      out.hits += pool.cache->Count().hits;
      out.misses += pool.cache->Count().misses;
    }
  out.hits -= hits;
  out.misses -= misses;
  return out;
}
