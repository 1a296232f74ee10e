// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// plan-memory: gives every byte of a placed program its address in fast memory
// of a given size, and every other byte its time to come.
//
// What stays is the business of compiler/tiering; this states the problem
// (bundles of weights, routed layers, what is there in any case), and settles
// with its answer what else is to be decided. The ops of it are made elsewhere.
#include "compiler/transforms/PlanMemory.h"
#include "compiler/codegen/BufferLayout.h"
#include "compiler/tiering/Placement.h"
#include "compiler/transforms/MemoryPlan.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/nn/IR/Nn.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/Support/MathExtras.h"
#include <climits>

using namespace mlir;
using namespace headrace;
using tiering::alignToPage;
using tiering::kPage;

namespace {

/// A CPU's memory beside that of the fast level, as a level of its own: the
/// home of what moves. Without it pages are on the disk.
constexpr StringLiteral kHome = "home", kDisk = "disk";
/// How often the first choice of a router that runs ahead is right: what was
/// measured, see docs/rationale/memory.md.
constexpr double kRight = 0.9;
/// Where the machine does not say: bytes a second that kernels read, and what a
/// solid-state disk gives, with seconds of latency.
constexpr double kMemoryRate = 25e9, kLinkRate = 2.5e9, kLinkLatency = 1e-4;

class Planner {
public:
  Planner(ModuleOp module, const MemoryPlanOptions &options)
      : module(module), options(options), limits(StepLimits::of(module)),
        b(module.getContext()), program(module) {}

  FailureOr<MemoryPlanSummary> run() {
    machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
    gpu = module->hasAttr("headrace.target");
    plan.level = gpu ? "hbm" : "dram";
    tier::LevelAttr level =
        machine ? machine.lookupLevel(plan.level) : tier::LevelAttr();
    if (!level)
      return module.emitError("expected a machine with a level '")
             << plan.level << "'";
    hasMemoryHome = gpu || options.hostMemory;
    if (!gpu && hasMemoryHome)
      addHomeLevel(level);
    plan.workers =
        gpu ? 1 : std::max<uint64_t>(machine.getLevels()[0].getCount(), 1);
    plan.homeLevel = gpu ? "dram" : kHome;
    plan.homeOfPages = hasMemoryHome ? plan.homeLevel : StringRef(kDisk);
    if (failed(program.read()))
      return failure();
    for (const Group &group : program.groups)
      problem.groups.push_back({uint32_t(group.experts), group.bytes,
                                double(MemoryUse::picksOf(group))});
    for (const Bundle &bundle : program.bundles)
      problem.bundles.push_back({bundle.bytes, bundle.fetches});
    measureFixed();
    if (failed(formCacheLayers()))
      return failure();
    uint64_t have = level.getBytes() * level.getCount();
    problem.capacity =
        options.fastMemory ? std::min(options.fastMemory, have) : have;
    plan.minimum = tiering::smallestPlacement(problem).bytes(problem);
    auto found = tiering::choosePlacement(problem, options.strategy);
    if (plan.pageSlots > 1) // All pages move, if need be through one slot.
      plan.minimum -= plan.layerBytes;
    if (!found && plan.pageSlots > 1) {
      plan.pageSlots = 1;
      problem.fixedBytes -= plan.layerBytes;
      found = tiering::choosePlacement(problem, options.strategy);
    }
    if (!found) {
      InFlightDiagnostic refusal =
          module.emitError("expected at least ")
          << plan.minimum << " bytes of fast memory for a plan, but "
          << "got " << problem.capacity << ": "
          << plan.minimum - problem.capacity << " too few";
      if (homeOfAllPages)
        refusal << "; with " << homeOfAllPages << " bytes of the host's "
                << "memory more key-value pages could leave";
      return refusal;
    }
    plan.placement = *found;
    plan.isCached = plan.placement.cacheSlots < problem.expertCount();
    plan.slotBytes = problem.slotBytes();
    settleCacheLayers();
    if (failed(settleHomes()))
      return failure();
    const StepTimes times = timeSteps();
    plan.mostAhead =
        std::max<int64_t>(1, int64_t(times.kernels / times.transfer));
    emitPlaces(program, options, plan);
    emitTransfers(program, plan);
    MemoryPlanSummary summary;
    summary.minimum = plan.minimum;
    summary.cacheSlots = plan.isCached ? plan.placement.cacheSlots : 0;
    for (const Group &group : program.groups)
      summary.picks = std::max(summary.picks, MemoryUse::picksOf(group));
    // What right guesses move while kernels run against what wrong ones move in
    // vain.
    summary.guessesPay = kRight * times.kernels > (1 - kRight) * times.transfer;
    return summary;
  }

private:
  /// Gives a CPU the level behind its memory, a part of which it is.
  void addHomeLevel(tier::LevelAttr memory) {
    if (machine.lookupLevel(kHome))
      return;
    SmallVector<tier::LevelAttr> levels;
    for (tier::LevelAttr one : machine.getLevels()) {
      levels.push_back(one);
      if (one == memory)
        levels.push_back(
            tier::LevelAttr::get(b.getContext(), kHome, memory.getBytes(),
                                 memory.getCount(), memory.getAlignment()));
    }
    machine = tier::MachineAttr::get(b.getContext(), machine.getName(), levels,
                                     machine.getLinks(), machine.getCompute(),
                                     machine.getLaunch());
    module->setAttr("tier.machine", machine);
  }

  /// Bytes of the host's memory for homes.
  uint64_t homeBytes(tier::LevelAttr level) const {
    uint64_t have = level.getBytes() * level.getCount();
    return options.hostMemory ? std::min(have, options.hostMemory) : have;
  }

  /// Of the host's memory, for what comes out of the package by way of it: two
  /// of the largest. Kernels of a CPU reach what comes straight from there.
  uint64_t stagingBytes(uint64_t largest) const {
    return gpu ? 2 * largest : 0;
  }

  /// Whether the session keeps the buffer: an argument of the entry that steps
  /// run, other than the pages of the cache. Other entries get the host's own.
  bool isOfSession(StringAttr name) {
    flow::ScheduleOp entry = program.entries[program.main];
    if (entry.getSymName() != "forward" ||
        name.getValue() == HEADRACE_ROLE_KV_POOL)
      return false;
    auto symbol = FlatSymbolRefAttr::get(name);
    return llvm::is_contained(entry.getInputs(), symbol) ||
           llvm::is_contained(entry.getOutputs(), symbol);
  }

  /// What is in fast memory in any case, from address 0 on: activations, the
  /// host's buffers, scratch, the key-value pool, weights that never leave.
  void measureFixed() {
    for (auto buffer : module.getOps<tier::BufferOp>())
      if (!buffer.getRole())
        plan.end = std::max<uint64_t>(plan.end,
                                      *buffer.getOffset() + buffer.getBytes());
    plan.end = llvm::alignTo(plan.end, 64);
    for (auto buffer : module.getOps<tier::BufferOp>())
      if (buffer.getRole() && !buffer.getOffset() &&
          isOfSession(buffer.getSymNameAttr())) {
        plan.hostBuffers.push_back({buffer, plan.end});
        plan.end += llvm::alignTo(buffer.getBytes(), 64);
      }
    for (const KernelBuffer &buffer : options.buffers) {
      constexpr uint64_t kAlignment = 256; // Of any access of a kernel.
      plan.end = llvm::alignTo(plan.end, kAlignment);
      plan.kernelBuffers.push_back({&buffer, plan.end});
      plan.end += llvm::alignTo(buffer.bytes, 64);
    }
    plan.end = alignToPage(plan.end);
    // As a session does it: a worker's part starts on a page of its own, and
    // equal offsets fall into different sets of a cache. A GPU's kernels have
    // theirs inside.
    plan.workerBytes = gpu ? 0 : alignToPage(options.scratchBytes) + kPage;
    plan.scratchOffset = plan.end;
    plan.end += plan.workers * plan.workerBytes;
    if (auto type = module->getAttrOfType<TypeAttr>("headrace.kv_cache")) {
      auto cache = cast<nn::KvCacheType>(type.getValue());
      uint64_t pageBytes = uint64_t(KvLayout(cache, gpu).pageElements) *
                           (cache.getElement().getIntOrFloatBitWidth() / 8);
      plan.kvPages = uint64_t(limits.maxSequences) *
                     llvm::divideCeil(uint64_t(limits.maxContext),
                                      HEADRACE_KV_PAGE_POSITIONS);
      plan.kvLayers = uint64_t(cache.getLayers());
      plan.layerPageBytes = pageBytes / plan.kvLayers;
      plan.layerBytes = alignToPage(plan.kvPages * plan.layerPageBytes);
    }
    problem.fixedBytes = plan.end;
    for (WeightUse *use : program.fixed)
      problem.fixedBytes += use->bytes;
  }

  /// Layers whose pages a launch reads or writes.
  SmallVector<uint64_t> cacheLayersOf(flow::LaunchOp launch) {
    SmallVector<uint64_t> out;
    for (ArrayAttr list : {launch.getInputs(), launch.getResults()})
      for (auto symbol : list.getAsRange<FlatSymbolRefAttr>()) {
        auto buffer = module.lookupSymbol<tier::BufferOp>(symbol.getValue());
        if (buffer && buffer.getRole() &&
            *buffer.getRole() == HEADRACE_ROLE_KV_POOL)
          out.push_back(buffer.getOffset().value_or(0) / plan.layerPageBytes);
      }
    return out;
  }

  /// States which layers' pages may leave: those of one run of units each, none
  /// of which another one meets.
  LogicalResult formCacheLayers() {
    const bool wanted = options.keyValues == KeyValues::streamed;
    tier::LevelAttr home = machine.lookupLevel(plan.homeOfPages);
    bool possible = plan.kvLayers > 1 && home;
    if (wanted && !possible)
      return module.emitError("expected a machine with a level '")
             << plan.homeOfPages << "' and a cache of several layers, to keep "
             << "key-value pages there";
    // In memory weights have the room that pages leave.
    const uint64_t staging = stagingBytes(program.largestMover());
    const uint64_t needed = plan.kvLayers * plan.layerBytes + staging;
    uint64_t most = plan.kvLayers; // layers that have room
    if (possible && hasMemoryHome && needed > homeBytes(home)) {
      if (wanted)
        return module.emitError("expected at least ")
               << needed << " bytes of the host's memory for key-value pages, "
               << "but got " << homeBytes(home) << ": "
               << needed - homeBytes(home) << " too few";
      if (options.keyValues == KeyValues::automatic)
        homeOfAllPages = needed;
      most = (std::max(homeBytes(home), staging) - staging) / plan.layerBytes;
    }
    std::vector<std::optional<Span>> spans(plan.kvLayers);
    if (possible && options.keyValues != KeyValues::resident)
      for (auto [u, unit] : llvm::enumerate(program.units[program.main]))
        for (flow::LaunchOp launch : unit.launches)
          for (uint64_t layer : cacheLayersOf(launch)) {
            if (!spans[layer])
              spans[layer] = Span{int(u), int(u)};
            spans[layer]->last = int(u);
          }
    for (uint64_t layer = 0; layer < plan.kvLayers; ++layer)
      if (spans[layer])
        plan.cacheLayers.push_back({layer, *spans[layer], Value()});
    llvm::stable_sort(plan.cacheLayers,
                      [](const CacheLayer &x, const CacheLayer &y) {
                        return x.span.first < y.span.first;
                      });
    for (size_t i = 1; i < plan.cacheLayers.size(); ++i)
      if (plan.cacheLayers[i].span.first <= plan.cacheLayers[i - 1].span.last) {
        plan.cacheLayers.clear();
        if (wanted)
          return module.emitError("expected launches on one layer's key-value "
                                  "pages to end before those on the next");
      }
    // Layers are alike, so any will do; spread, their pages have time to come.
    for (size_t i = 0, all = plan.cacheLayers.size(); i < most && most < all;
         ++i)
      plan.cacheLayers[i] = plan.cacheLayers[i * all / most];
    if (most < plan.cacheLayers.size())
      plan.cacheLayers.resize(most);
    // Those that stay lie together, in whole pages of memory only at the end.
    problem.fixedBytes += alignToPage(plan.residentPageBytes());
    if (wanted) {
      plan.pageSlots = uint32_t(std::min<size_t>(2, plan.cacheLayers.size()));
      problem.fixedBytes += plan.pageSlots * plan.layerBytes;
      return success();
    }
    // A decode step of one sequence in the middle of its context reads what it
    // has, and writes the last page.
    uint64_t pages = llvm::divideCeil(uint64_t(limits.maxContext) / 2,
                                      HEADRACE_KV_PAGE_POSITIONS) +
                     1;
    problem.cacheLayers.assign(plan.cacheLayers.size(),
                               {plan.layerBytes, pages * plan.layerPageBytes});
    return success();
  }

  /// Leaves in the plan those layers whose pages move.
  void settleCacheLayers() {
    if (options.keyValues == KeyValues::streamed)
      return;
    std::vector<CacheLayer> moved;
    for (size_t i = 0; i < plan.cacheLayers.size(); ++i)
      if (!plan.placement.cached[i])
        moved.push_back(plan.cacheLayers[i]);
    plan.cacheLayers = std::move(moved);
    plan.pageSlots = uint32_t(
        std::min<size_t>(plan.placement.ringSlots, plan.cacheLayers.size()));
  }

  /// Says where what moves is when it is not in fast memory: in the host's
  /// memory as far as that goes, pages first, then what comes in each run, the
  /// rest in the package. That comes straight from there on a CPU, and else
  /// through as much of the host's memory as two of the largest take.
  LogicalResult settleHomes() {
    if (!hasMemoryHome)
      return success();
    plan.homeEnd = plan.cacheLayers.size() * plan.layerBytes;
    struct Mover {
      uint64_t *home; ///< Of the first bundle.
      uint64_t bytes, count;
    };
    SmallVector<Mover> movers;
    for (auto [i, bundle] : llvm::enumerate(program.bundles))
      if (!plan.stays(i))
        movers.push_back({&bundle.home, bundle.bytes, 1});
    for (Group &group : program.groups)
      if (plan.isCached)
        movers.push_back({&group.home, group.bytes, uint64_t(group.experts)});
    if (movers.empty())
      return success();
    tier::LevelAttr level = machine.lookupLevel(plan.homeLevel);
    if (!level)
      return module.emitError("expected machine '")
             << machine.getName() << "' to have a level '" << plan.homeLevel
             << "' for weights that move";
    uint64_t have = homeBytes(level), all = plan.homeEnd, largest = 0;
    for (const Mover &one : movers) {
      all += one.bytes * one.count;
      largest = std::max(largest, one.bytes);
    }
    if (all > have)
      plan.homeStaging = stagingBytes(largest);
    if (plan.homeEnd + plan.homeStaging > have)
      return module.emitError("expected at least ")
             << plan.homeEnd + plan.homeStaging
             << " bytes of the host's memory for what "
             << "leaves fast memory, but got " << have << ": "
             << plan.homeEnd + plan.homeStaging - have << " too few";
    for (Mover &one : movers)
      if (one.bytes * one.count <= have - plan.homeStaging - plan.homeEnd) {
        *one.home = plan.homeEnd;
        plan.homeEnd += one.bytes * one.count;
      }
    plan.homeEnd += plan.homeStaging;
    return success();
  }

  /// What a step of one token does between two routings: seconds in which
  /// kernels read the last expert of one layer and the dense weights of the
  /// next, and that an expert takes to come.
  struct StepTimes {
    double kernels = 0, transfer = 0;
  };
  StepTimes timeSteps() {
    uint64_t expert = 0, dense = 0;
    int first = INT_MAX, last = -1, layers = 0;
    for (const Group &group : program.groups)
      if (group.entry == int(program.main)) {
        expert = std::max(expert, group.bytes);
        first = std::min(first, group.unit);
        last = std::max(last, group.unit);
        ++layers;
      }
    for (auto &use : program.weights)
      if (!use->routed && llvm::any_of(use->units[program.main], [&](int unit) {
            return first < unit && unit < last;
          }))
        dense += use->bytes;
    double memory = kMemoryRate, link = kLinkRate, latency = kLinkLatency;
    // Levels come from fast to slow: the next one with a link is the home.
    bool slower = false, found = false;
    for (tier::LevelAttr level : machine.getLevels()) {
      for (tier::LinkAttr one : machine.getLinks()) {
        double rate = double(one.getBandwidth()) * double(one.getCount());
        if (one.getSource() == plan.level &&
            one.getTarget() == machine.getLevels()[0].getName())
          memory = rate;
        // Beside the fast level of a CPU is more of the same memory.
        const bool isHome = !gpu && hasMemoryHome &&
                            one.getSource() == plan.level &&
                            level.getName() == kHome;
        if (slower && !found && one.getTarget() == plan.level &&
            (isHome || one.getSource() == level.getName())) {
          found = true;
          link = rate;
          latency = double(one.getLatency()) * 1e-9;
        }
      }
      slower |= level.getName() == plan.level;
    }
    StepTimes out;
    out.kernels =
        (double(expert) + double(dense) / std::max(layers - 1, 1)) / memory;
    out.transfer = latency + double(expert) / link;
    return out;
  }

  ModuleOp module;
  const MemoryPlanOptions &options;
  StepLimits limits;
  tier::MachineAttr machine;
  bool gpu = false;
  bool hasMemoryHome = false; ///< What moves may be in the host's memory.
  OpBuilder b;
  MemoryUse program;
  tiering::Problem problem;
  MemoryPlan plan;
  uint64_t homeOfAllPages = 0; ///< Where there is less; 0: there is not.
};

} // namespace

FailureOr<MemoryPlanSummary>
headrace::planMemory(ModuleOp module, const MemoryPlanOptions &options) {
  return Planner(module, options).run();
}
