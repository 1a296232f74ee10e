// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// plan-memory: gives every byte of a placed program its address in fast memory
// of a given size, and every other byte its time to come.
//
// What stays is the business of compiler/tiering; this pass states the problem
// (bundles of weights, routed layers, what is there in any case), and turns the
// answer into pins, pools, bundles and transfers between launches.
#include "compiler/transforms/PlanMemory.h"
#include "compiler/codegen/BufferLayout.h"
#include "compiler/tiering/Placement.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MathExtras.h"
#include <climits>

using namespace mlir;
using namespace headrace;
using tiering::alignToPage;
using tiering::kPage;

namespace {

/// Of what lies in the package alone.
constexpr uint64_t kNowhere = UINT64_MAX;

/// Launches that a transfer may stand between: one, or those of a routed layer,
/// which run together wave by wave.
struct Unit {
  SmallVector<flow::LaunchOp> launches;
  std::string routing; ///< Buffer of the routing, for a routed layer.
};

/// A weight and the units that read it, ascending, by entry.
struct WeightUse {
  tier::WeightOp op;
  uint64_t bytes = 0; ///< Of one slot of the binding table, in whole pages.
  int64_t slots = 1;
  bool routed = false;
  bool predicts = false; ///< Read by a router that runs ahead.
  SmallVector<SmallVector<int>> units;
};

/// A run of units of one entry during which a bundle must be there.
struct Span {
  int first, last;
};

struct Bundle {
  SmallVector<WeightUse *> weights;
  uint64_t bytes = 0;
  SmallVector<SmallVector<Span>> spans; ///< By entry.
  uint32_t fetches = 0;                 ///< In the main entry.
  uint64_t home = kNowhere;             ///< In the home level's arena.
};

/// A routed layer: unit `unit` of entry `entry` and what it reads.
struct Group {
  int entry, unit;
  SmallVector<WeightUse *> weights;
  int64_t experts = 0, slots = 1;
  uint64_t bytes = 0;       ///< Of one expert.
  uint64_t home = kNowhere; ///< Of the first one.
};

/// What a router that runs ahead writes, and the routed layer that it is for.
struct Prediction {
  FlatSymbolRefAttr routing;
  size_t group = 0;
};

/// The pages of a layer of the key-value cache.
struct CacheLayer {
  uint64_t layer;
  Span span; ///< Units that read and write them.
  Value token;
};

/// Uses no further apart than this many units are one span.
constexpr int kNear = 4;
/// A weight that is read in more spans of a run than this one stays.
constexpr uint32_t kMostFetches = 2;
/// A CPU's memory beside that of the fast level, as a level of its own: the
/// home of what moves. Without it pages are on the disk.
constexpr StringLiteral kHome = "home", kDisk = "disk";
/// The pool of pages' slots.
constexpr StringLiteral kPagePool = "pages";
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
        b(module.getContext()) {}

  FailureOr<MemoryPlanSummary> run() {
    machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
    gpu = module->hasAttr("headrace.target");
    fast = gpu ? "hbm" : "dram";
    tier::LevelAttr level =
        machine ? machine.lookupLevel(fast) : tier::LevelAttr();
    if (!level)
      return module.emitError("expected a machine with a level '")
             << fast << "'";
    hasMemoryHome = gpu || options.hostMemory;
    if (!gpu && hasMemoryHome)
      addHomeLevel(level);
    workers =
        gpu ? 1 : std::max<uint64_t>(machine.getLevels()[0].getCount(), 1);
    readProgram();
    if (failed(formGroups()) || failed(formPredictions()))
      return failure();
    formBundles();
    measureFixed();
    if (failed(formCacheLayers()))
      return failure();
    uint64_t have = level.getBytes() * level.getCount();
    problem.capacity =
        options.fastMemory ? std::min(options.fastMemory, have) : have;
    minimum = tiering::smallestPlacement(problem).bytes(problem);
    auto found = tiering::choosePlacement(problem, options.strategy);
    if (pageSlots > 1) // All pages move, if need be through one slot.
      minimum -= layerBytes();
    if (!found && pageSlots > 1) {
      pageSlots = 1;
      problem.fixedBytes -= layerBytes();
      found = tiering::choosePlacement(problem, options.strategy);
    }
    if (!found) {
      InFlightDiagnostic refusal = module.emitError("expected at least ")
                                   << minimum
                                   << " bytes of fast memory for a plan, but "
                                   << "got " << problem.capacity << ": "
                                   << minimum - problem.capacity << " too few";
      if (homeOfAllPages)
        refusal << "; with " << homeOfAllPages << " bytes of the host's "
                << "memory more key-value pages could leave";
      return refusal;
    }
    placement = *found;
    settleCacheLayers();
    if (failed(settleHomes()))
      return failure();
    place();
    schedule();
    MemoryPlanSummary summary;
    summary.minimum = minimum;
    summary.cacheSlots = isCached() ? placement.cacheSlots : 0;
    for (const Group &group : groups)
      summary.picks = std::max(summary.picks, picksOf(group));
    summary.guessesPay = guessesPay();
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

  /// The memory where bundles are that are in no slot.
  StringRef homeLevel() const {
    return gpu ? StringRef("dram") : StringRef(kHome);
  }
  /// Where pages are that are in no slot.
  StringRef homeOfPages() const {
    return hasMemoryHome ? homeLevel() : StringRef(kDisk);
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

  void readProgram() {
    for (auto weight : module.getOps<tier::WeightOp>()) {
      auto use = std::make_unique<WeightUse>();
      auto type = cast<RankedTensorType>(weight.getType());
      MemRefType memory = memoryType(type, limits);
      use->op = weight;
      use->slots = weightSlots(type);
      use->routed = type.getRank() >= 3;
      use->bytes = alignToPage(uint64_t(memory.getNumElements() / use->slots) *
                               (memory.getElementTypeBitWidth() / 8));
      byName[weight.getSymName()] = use.get();
      uses.push_back(std::move(use));
    }
    for (auto entry : module.getOps<flow::ScheduleOp>())
      entries.push_back(entry);
    units.resize(entries.size());
    for (auto &use : uses)
      use->units.resize(entries.size());
    main = 0;
    for (auto [e, entry] : llvm::enumerate(entries)) {
      if (entry.getSymName() == "forward")
        main = e;
      for (auto launch : entry.getBody().getOps<flow::LaunchOp>()) {
        std::string routing = routingOf(launch);
        auto &list = units[e];
        if (routing.empty() || list.empty() || list.back().routing != routing)
          list.push_back({{}, routing});
        list.back().launches.push_back(launch);
        int unit = int(list.size()) - 1;
        for (WeightUse *use : weightsOf(launch)) {
          use->predicts |= launch->hasAttr(kPredicts);
          if (use->units[e].empty() || use->units[e].back() != unit)
            use->units[e].push_back(unit);
        }
      }
    }
  }

  SmallVector<WeightUse *> weightsOf(flow::LaunchOp launch) {
    SmallVector<WeightUse *> out;
    for (auto symbol : launch.getInputs().getAsRange<FlatSymbolRefAttr>())
      if (WeightUse *use = byName.lookup(symbol.getValue()))
        out.push_back(use);
    return out;
  }

  /// The routing by which `launch` reads stacked weights; empty if it reads
  /// none.
  std::string routingOf(flow::LaunchOp launch) {
    if (llvm::none_of(weightsOf(launch),
                      [](WeightUse *use) { return use->routed; }))
      return "";
    for (auto symbol : launch.getInputs().getAsRange<FlatSymbolRefAttr>()) {
      auto buffer = module.lookupSymbol<tier::BufferOp>(symbol.getValue());
      if (buffer && isa<moe::RoutingType>(buffer.getType()))
        return symbol.getValue().str();
    }
    return "";
  }

  LogicalResult formGroups() {
    llvm::DenseSet<WeightUse *> taken;
    for (auto [e, list] : llvm::enumerate(units))
      for (auto [u, unit] : llvm::enumerate(list)) {
        Group group{int(e), int(u), {}};
        for (flow::LaunchOp launch : unit.launches)
          for (WeightUse *use : weightsOf(launch)) {
            if (!use->routed || llvm::is_contained(group.weights, use))
              continue;
            if (unit.routing.empty())
              return launch.emitOpError("reads routed weights without a "
                                        "routing");
            if (!taken.insert(use).second)
              return use->op.emitOpError(
                  "is read by two routed layers, which a plan does not know");
            group.weights.push_back(use);
            group.experts = use->slots;
            group.bytes += use->bytes;
          }
        if (group.weights.empty())
          continue;
        for (WeightUse *use : group.weights)
          if (use->slots != group.experts)
            return use->op.emitOpError("has ")
                   << use->slots << " experts in a layer of " << group.experts;
        auto buffer = module.lookupSymbol<tier::BufferOp>(unit.routing);
        group.slots = cast<moe::RoutingType>(buffer.getType()).getSlots();
        groups.push_back(group);
        problem.groups.push_back(
            {uint32_t(group.experts), group.bytes, double(picksOf(group))});
      }
    return success();
  }

  /// Finds out what each launch of a router that runs ahead is a guess of: the
  /// next launch on the same weights has the same kernel and makes the routing
  /// of a routed layer.
  LogicalResult formPredictions() {
    for (size_t e = 0; e < units.size(); ++e) {
      const std::vector<Unit> &list = units[e];
      for (size_t u = 0; u < list.size(); ++u)
        for (flow::LaunchOp launch : list[u].launches) {
          if (!launch->hasAttr(kPredicts))
            continue;
          FlatSymbolRefAttr guess = routingMadeBy(launch), made;
          for (size_t r = u + 1; r < list.size() && !made; ++r)
            for (flow::LaunchOp other : list[r].launches)
              if (!other->hasAttr(kPredicts) &&
                  other.getKernel() == launch.getKernel() &&
                  weightsOf(other) == weightsOf(launch))
                made = routingMadeBy(other);
          auto group = llvm::find_if(groups, [&](const Group &group) {
            return made && group.entry == int(e) &&
                   list[size_t(group.unit)].routing == made.getValue();
          });
          if (!guess || group == groups.end())
            return launch.emitOpError("predicts no routing of a routed layer");
          predictions[launch] = {guess, size_t(group - groups.begin())};
        }
    }
    return success();
  }

  FlatSymbolRefAttr routingMadeBy(flow::LaunchOp launch) {
    for (auto symbol : launch.getResults().getAsRange<FlatSymbolRefAttr>()) {
      auto buffer = module.lookupSymbol<tier::BufferOp>(symbol.getValue());
      if (buffer && isa<moe::RoutingType>(buffer.getType()))
        return symbol;
    }
    return {};
  }

  /// Experts that a step of one token uses.
  static int64_t picksOf(const Group &group) {
    return std::min(group.slots, group.experts);
  }
  bool isCached() const { return placement.cacheSlots < problem.expertCount(); }

  static SmallVector<Span> spansOf(ArrayRef<int> list) {
    SmallVector<Span> spans;
    for (int unit : list) {
      if (!spans.empty() && unit - spans.back().last <= kNear)
        spans.back().last = unit;
      else
        spans.push_back({unit, unit});
    }
    return spans;
  }

  /// Cuts the dense matrices, in the order in which the main entry reads them,
  /// into bundles of about a sixty-fourth of all. Vectors stay, and so does
  /// what is read all over a run or by no entry but others, and routers that
  /// run ahead.
  void formBundles() {
    constexpr uint64_t kParts = 64, kLeast = 64 << 10, kMost = 32 << 20;
    SmallVector<WeightUse *> movable;
    uint64_t total = 0;
    for (auto &use : uses) {
      if (use->routed)
        continue;
      bool mainOnly = !use->units[main].empty() && !use->predicts;
      for (auto [e, list] : llvm::enumerate(use->units))
        mainOnly &= e == main || list.empty();
      if (!mainOnly ||
          cast<RankedTensorType>(use->op.getType()).getRank() < 2 ||
          spansOf(use->units[main]).size() > kMostFetches) {
        fixed.push_back(use.get());
        continue;
      }
      movable.push_back(use.get());
      total += use->bytes;
    }
    llvm::stable_sort(movable, [&](WeightUse *x, WeightUse *y) {
      return x->units[main].front() < y->units[main].front();
    });
    uint64_t target = std::clamp<uint64_t>(total / kParts, kLeast, kMost);
    auto add = [&](Bundle &bundle, WeightUse *use) {
      bundle.weights.push_back(use);
      bundle.bytes += use->bytes;
    };
    Bundle open;
    int last = -1; // unit that something in `open` is read by
    auto close = [&] {
      if (!open.weights.empty())
        bundles.push_back(open);
      open = Bundle();
    };
    for (WeightUse *use : movable) {
      ArrayRef<int> list = use->units[main];
      if (spansOf(list).size() > 1) { // Comes more than once a run: alone.
        Bundle alone;
        add(alone, use);
        bundles.push_back(alone);
        continue;
      }
      // A unit finds all it reads in one bundle.
      if (open.bytes >= target && list.front() > last)
        close();
      add(open, use);
      last = std::max(last, list.back());
    }
    close();
    settleBundles();
  }

  /// Says when each bundle is there. One slot of a ring must do at the minimum,
  /// so bundles that would have to be there together stay instead, the one that
  /// comes more than once first.
  void settleBundles() {
    for (Bundle &bundle : bundles) {
      bundle.spans.resize(entries.size());
      SmallVector<int> list;
      for (WeightUse *use : bundle.weights)
        llvm::append_range(list, use->units[main]);
      llvm::sort(list);
      bundle.spans[main] = spansOf(list);
      bundle.fetches = uint32_t(bundle.spans[main].size());
    }
    llvm::stable_sort(bundles, [](const Bundle &x, const Bundle &y) {
      return x.fetches < y.fetches;
    });
    std::vector<Bundle> kept;
    std::vector<bool> taken(units[main].size(), false);
    for (Bundle &bundle : bundles) {
      bool free = true;
      for (Span span : bundle.spans[main])
        for (int unit = span.first; unit <= span.last; ++unit)
          free &= !taken[size_t(unit)];
      if (!free) {
        llvm::append_range(fixed, bundle.weights);
        continue;
      }
      for (Span span : bundle.spans[main])
        for (int unit = span.first; unit <= span.last; ++unit)
          taken[size_t(unit)] = true;
      kept.push_back(bundle);
    }
    llvm::stable_sort(kept, [&](const Bundle &x, const Bundle &y) {
      return x.spans[main].front().first < y.spans[main].front().first;
    });
    bundles = std::move(kept);
    for (const Bundle &bundle : bundles)
      problem.bundles.push_back({bundle.bytes, bundle.fetches});
  }

  /// Whether the session keeps the buffer: an argument of the entry that steps
  /// run, other than the pages of the cache. Other entries get the host's own.
  bool isOfSession(StringAttr name) {
    if (entries[main].getSymName() != "forward" ||
        name.getValue() == HEADRACE_ROLE_KV_POOL)
      return false;
    auto symbol = FlatSymbolRefAttr::get(name);
    return llvm::is_contained(entries[main].getInputs(), symbol) ||
           llvm::is_contained(entries[main].getOutputs(), symbol);
  }

  /// What is in fast memory in any case, from address 0 on: activations, the
  /// host's buffers, scratch, the key-value pool, weights that never leave.
  void measureFixed() {
    for (auto buffer : module.getOps<tier::BufferOp>())
      if (!buffer.getRole())
        end = std::max<uint64_t>(end, *buffer.getOffset() + buffer.getBytes());
    end = llvm::alignTo(end, 64);
    for (auto buffer : module.getOps<tier::BufferOp>())
      if (buffer.getRole() && !buffer.getOffset() &&
          isOfSession(buffer.getSymNameAttr())) {
        hostBuffers.push_back({buffer, end});
        end += llvm::alignTo(buffer.getBytes(), 64);
      }
    for (const KernelBuffer &buffer : options.buffers) {
      constexpr uint64_t kAlignment = 256; // Of any access of a kernel.
      end = llvm::alignTo(end, kAlignment);
      kernelBuffers.push_back({&buffer, end});
      end += llvm::alignTo(buffer.bytes, 64);
    }
    end = alignToPage(end);
    // As a session does it: a worker's part starts on a page of its own, and
    // equal offsets fall into different sets of a cache. A GPU's kernels have
    // theirs inside.
    workerBytes = gpu ? 0 : alignToPage(options.scratchBytes) + kPage;
    scratchOffset = end;
    end += workers * workerBytes;
    if (auto type = module->getAttrOfType<TypeAttr>("headrace.kv_cache")) {
      auto cache = cast<nn::KvCacheType>(type.getValue());
      uint64_t pageBytes = uint64_t(KvLayout(cache, gpu).pageElements) *
                           (cache.getElement().getIntOrFloatBitWidth() / 8);
      kvPages = uint64_t(limits.maxSequences) *
                llvm::divideCeil(uint64_t(limits.maxContext),
                                 HEADRACE_KV_PAGE_POSITIONS);
      kvLayers = uint64_t(cache.getLayers());
      layerPageBytes = pageBytes / kvLayers;
    }
    problem.fixedBytes = end;
    for (WeightUse *use : fixed)
      problem.fixedBytes += use->bytes;
  }

  /// Bytes of all pages of a layer.
  uint64_t layerBytes() const { return alignToPage(kvPages * layerPageBytes); }

  /// Layers whose pages a launch reads or writes.
  SmallVector<uint64_t> cacheLayersOf(flow::LaunchOp launch) {
    SmallVector<uint64_t> out;
    for (ArrayAttr list : {launch.getInputs(), launch.getResults()})
      for (auto symbol : list.getAsRange<FlatSymbolRefAttr>()) {
        auto buffer = module.lookupSymbol<tier::BufferOp>(symbol.getValue());
        if (buffer && buffer.getRole() &&
            *buffer.getRole() == HEADRACE_ROLE_KV_POOL)
          out.push_back(buffer.getOffset().value_or(0) / layerPageBytes);
      }
    return out;
  }

  /// Bytes of the largest bundle of weights that may move.
  uint64_t largestMover() const {
    uint64_t largest = 0;
    for (const Bundle &bundle : bundles)
      largest = std::max(largest, bundle.bytes);
    for (const Group &group : groups)
      largest = std::max(largest, group.bytes);
    return largest;
  }

  /// States which layers' pages may leave: those of one run of units each, none
  /// of which another one meets.
  LogicalResult formCacheLayers() {
    const bool wanted = options.keyValues == KeyValues::streamed;
    tier::LevelAttr home = machine.lookupLevel(homeOfPages());
    bool possible = kvLayers > 1 && home;
    if (wanted && !possible)
      return module.emitError("expected a machine with a level '")
             << homeOfPages() << "' and a cache of several layers, to keep "
             << "key-value pages there";
    // In memory weights have the room that pages leave.
    const uint64_t staging = stagingBytes(largestMover());
    const uint64_t needed = kvLayers * layerBytes() + staging;
    uint64_t most = kvLayers; // layers that have room
    if (possible && hasMemoryHome && needed > homeBytes(home)) {
      if (wanted)
        return module.emitError("expected at least ")
               << needed << " bytes of the host's memory for key-value pages, "
               << "but got " << homeBytes(home) << ": "
               << needed - homeBytes(home) << " too few";
      if (options.keyValues == KeyValues::automatic)
        homeOfAllPages = needed;
      most = (std::max(homeBytes(home), staging) - staging) / layerBytes();
    }
    std::vector<std::optional<Span>> spans(kvLayers);
    if (possible && options.keyValues != KeyValues::resident)
      for (auto [u, unit] : llvm::enumerate(units[main]))
        for (flow::LaunchOp launch : unit.launches)
          for (uint64_t layer : cacheLayersOf(launch)) {
            if (!spans[layer])
              spans[layer] = Span{int(u), int(u)};
            spans[layer]->last = int(u);
          }
    for (uint64_t layer = 0; layer < kvLayers; ++layer)
      if (spans[layer])
        cacheLayers.push_back({layer, *spans[layer], Value()});
    llvm::stable_sort(cacheLayers,
                      [](const CacheLayer &x, const CacheLayer &y) {
                        return x.span.first < y.span.first;
                      });
    for (size_t i = 1; i < cacheLayers.size(); ++i)
      if (cacheLayers[i].span.first <= cacheLayers[i - 1].span.last) {
        cacheLayers.clear();
        if (wanted)
          return module.emitError("expected launches on one layer's key-value "
                                  "pages to end before those on the next");
      }
    // Layers are alike, so any will do; spread, their pages have time to come.
    for (size_t i = 0, all = cacheLayers.size(); i < most && most < all; ++i)
      cacheLayers[i] = cacheLayers[i * all / most];
    if (most < cacheLayers.size())
      cacheLayers.resize(most);
    // Those that stay lie together, in whole pages of memory only at the end.
    problem.fixedBytes +=
        alignToPage((kvLayers - cacheLayers.size()) * kvPages * layerPageBytes);
    if (wanted) {
      pageSlots = uint32_t(std::min<size_t>(2, cacheLayers.size()));
      problem.fixedBytes += pageSlots * layerBytes();
      return success();
    }
    // A decode step of one sequence in the middle of its context reads what it
    // has, and writes the last page.
    uint64_t pages = llvm::divideCeil(uint64_t(limits.maxContext) / 2,
                                      HEADRACE_KV_PAGE_POSITIONS) +
                     1;
    problem.cacheLayers.assign(cacheLayers.size(),
                               {layerBytes(), pages * layerPageBytes});
    return success();
  }

  /// Leaves in `cacheLayers` those whose pages move.
  void settleCacheLayers() {
    if (options.keyValues == KeyValues::streamed)
      return;
    std::vector<CacheLayer> moved;
    for (size_t i = 0; i < cacheLayers.size(); ++i)
      if (!placement.cached[i])
        moved.push_back(cacheLayers[i]);
    cacheLayers = std::move(moved);
    pageSlots =
        uint32_t(std::min<size_t>(placement.ringSlots, cacheLayers.size()));
  }

  //===--------------------------------------------------------------------===//
  // The answer as ops
  //===--------------------------------------------------------------------===//

  IntegerAttr i64(uint64_t value) {
    return b.getI64IntegerAttr(int64_t(value));
  }

  void pin(StringRef name, ArrayRef<int64_t> offsets) {
    tier::PinOp::create(b, module.getLoc(), name, fast, offsets);
  }
  void pin(WeightUse *use) {
    SmallVector<int64_t> offsets;
    for (int64_t i = 0; i < use->slots; ++i) {
      offsets.push_back(int64_t(end));
      end += use->bytes;
    }
    pin(use->op.getSymName(), offsets);
  }

  /// Says where what moves is when it is not in fast memory: in the host's
  /// memory as far as that goes, pages first, then what comes in each run, the
  /// rest in the package. That comes straight from there on a CPU, and else
  /// through as much of the host's memory as two of the largest take.
  LogicalResult settleHomes() {
    if (!hasMemoryHome)
      return success();
    homeEnd = cacheLayers.size() * layerBytes();
    struct Mover {
      uint64_t *home; ///< Of the first bundle.
      uint64_t bytes, count;
    };
    SmallVector<Mover> movers;
    for (auto [i, bundle] : llvm::enumerate(bundles))
      if (!placement.resident[i])
        movers.push_back({&bundle.home, bundle.bytes, 1});
    for (Group &group : groups)
      if (isCached())
        movers.push_back({&group.home, group.bytes, uint64_t(group.experts)});
    if (movers.empty())
      return success();
    tier::LevelAttr level = machine.lookupLevel(homeLevel());
    if (!level)
      return module.emitError("expected machine '")
             << machine.getName() << "' to have a level '" << homeLevel()
             << "' for weights that move";
    uint64_t have = homeBytes(level), all = homeEnd, largest = 0;
    for (const Mover &one : movers) {
      all += one.bytes * one.count;
      largest = std::max(largest, one.bytes);
    }
    if (all > have)
      homeStaging = stagingBytes(largest);
    if (homeEnd + homeStaging > have)
      return module.emitError("expected at least ")
             << homeEnd + homeStaging << " bytes of the host's memory for what "
             << "leaves fast memory, but got " << have << ": "
             << homeEnd + homeStaging - have << " too few";
    for (Mover &one : movers)
      if (one.bytes * one.count <= have - homeStaging - homeEnd) {
        *one.home = homeEnd;
        homeEnd += one.bytes * one.count;
      }
    homeEnd += homeStaging;
    return success();
  }

  void place() {
    b.setInsertionPoint(entries.front());
    for (auto [buffer, offset] : kernelBuffers) {
      auto op = tier::BufferOp::create(
          b, module.getLoc(), b.getStringAttr(buffer->name),
          TypeAttr::get(buffer->type), b.getStringAttr(fast),
          i64(buffer->bytes), i64(offset), StringAttr(), UnitAttr());
      if (buffer->kept)
        op->setAttr(kKept, b.getUnitAttr());
    }
    kvOffset = end;
    end = alignToPage(end + (kvLayers - cacheLayers.size()) * kvPages *
                                layerPageBytes);
    for (auto [buffer, offset] : hostBuffers)
      pin(buffer.getSymName(), {int64_t(offset)});
    for (WeightUse *use : fixed)
      pin(use);
    for (auto [i, bundle] : llvm::enumerate(bundles))
      if (placement.resident[i])
        for (WeightUse *use : bundle.weights)
          pin(use);
    const bool cached = isCached();
    if (!cached)
      for (Group &group : groups)
        for (WeightUse *use : group.weights)
          pin(use);
    for (int ring : {0, 1}) {
      uint64_t bytes = placement.ringBytes[ring];
      if (!bytes)
        continue;
      ringNames[ring] = "ring" + std::to_string(ring);
      tier::PoolOp::create(b, module.getLoc(), ringNames[ring],
                           tier::PoolKind::ring, nullptr, fast, end,
                           placement.ringSlots, bytes, placement.ringSlots);
      end += bytes * placement.ringSlots;
    }
    for (auto [i, bundle] : llvm::enumerate(bundles))
      if (!placement.resident[i])
        emitBundle("bundle" + std::to_string(i), ringNames[ringOf(bundle)],
                   bundle.weights, bundle.bytes, IntegerAttr(), bundle.home);
    if (pageSlots) {
      tier::PoolOp::create(b, module.getLoc(), kPagePool, tier::PoolKind::ring,
                           nullptr, fast, end, pageSlots, layerBytes(),
                           pageSlots);
      end += pageSlots * layerBytes();
    }
    for (auto [i, one] : llvm::enumerate(cacheLayers))
      tier::PagesOp::create(b, module.getLoc(), pagesName(one), kPagePool,
                            one.layer, layerBytes(), homeOfPages(),
                            i * layerBytes());
    // The cache comes last: with more memory it may grow.
    if (cached && !groups.empty()) {
      // Layers follow each other in a cycle, which age alone would go round
      // without a hit.
      bool predicts =
          llvm::any_of(uses, [](const auto &use) { return use->predicts; });
      auto policy = tier::CachePolicyAttr::get(
          b.getContext(),
          predicts ? tier::CachePolicy::predict : tier::CachePolicy::lfu);
      tier::PoolOp::create(b, module.getLoc(), "experts", tier::PoolKind::cache,
                           policy, fast, end, placement.cacheSlots,
                           problem.slotBytes(), 1);
      end += placement.cacheSlots * problem.slotBytes();
      for (auto [i, group] : llvm::enumerate(groups))
        emitBundle("experts" + std::to_string(i), "experts", group.weights,
                   group.bytes, i64(uint64_t(group.experts)), group.home);
    }
    b.setInsertionPoint(entries.front());
    tier::PlanOp::create(
        b, module.getLoc(), b.getStringAttr(strategyName(options.strategy)),
        b.getStringAttr(fast), i64(end), i64(options.fastMemory), i64(minimum),
        i64(workers), i64(workerBytes), i64(scratchOffset), i64(kvPages),
        i64(kvOffset), homeEnd ? b.getStringAttr(homeLevel()) : StringAttr(),
        homeEnd ? i64(homeEnd) : IntegerAttr(),
        homeEnd ? i64(options.hostMemory) : IntegerAttr(),
        homeEnd ? i64(homeStaging) : IntegerAttr());
  }

  static std::string pagesName(const CacheLayer &one) {
    return "pages" + std::to_string(one.layer);
  }

  int ringOf(const Bundle &bundle) {
    return bundle.bytes <= placement.ringBytes[1] ? 1 : 0;
  }

  void emitBundle(const std::string &name, StringRef pool,
                  ArrayRef<WeightUse *> weights, uint64_t bytes,
                  IntegerAttr experts, uint64_t home) {
    SmallVector<Attribute> symbols;
    SmallVector<int64_t> offsets;
    uint64_t at = 0;
    for (WeightUse *use : weights) {
      symbols.push_back(
          FlatSymbolRefAttr::get(b.getContext(), use->op.getSymName()));
      offsets.push_back(int64_t(at));
      at += use->bytes;
    }
    tier::BundleOp::create(b, module.getLoc(), b.getStringAttr(name),
                           FlatSymbolRefAttr::get(b.getContext(), pool),
                           b.getArrayAttr(symbols),
                           b.getDenseI64ArrayAttr(offsets), i64(bytes), experts,
                           home == kNowhere ? IntegerAttr() : i64(home));
  }

  /// Puts the transfers between the launches. The bundles of a ring take its
  /// slots in turn: a transfer begins when the bundle that had its slot before
  /// has left, so that as many are on their way as the ring has slots.
  void schedule() {
    struct Transfer {
      size_t bundle;
      Span span;
      Value token;
    };
    for (auto [e, entry] : llvm::enumerate(entries)) {
      std::vector<Transfer> queues[2];
      for (auto [i, bundle] : llvm::enumerate(bundles))
        if (!placement.resident[i])
          for (Span span : bundle.spans[e])
            queues[ringOf(bundle)].push_back({i, span, Value()});
      for (auto &queue : queues)
        llvm::stable_sort(queue, [](const Transfer &x, const Transfer &y) {
          return x.span.first < y.span.first;
        });
      auto fetch = [&, loc = entry.getLoc()](std::vector<Transfer> &queue,
                                             size_t number) {
        if (number >= queue.size())
          return;
        Transfer &transfer = queue[number];
        std::string name = "bundle" + std::to_string(transfer.bundle);
        transfer.token = tier::PrefetchOp::create(
            b, loc, tier::TokenType::get(b.getContext()),
            FlatSymbolRefAttr::get(b.getContext(), name),
            i64(number % placement.ringSlots));
      };
      b.setInsertionPointToStart(&entry.getBody().front());
      for (auto &queue : queues)
        for (size_t i = 0; i < placement.ringSlots; ++i)
          fetch(queue, i);
      if (e == main)
        for (size_t i = 0; i < pageSlots; ++i)
          fetchPages(i);
      for (auto [u, unit] : llvm::enumerate(units[e])) {
        b.setInsertionPoint(unit.launches.front());
        for (auto &queue : queues)
          for (Transfer &transfer : queue)
            if (transfer.span.first == int(u))
              tier::WaitOp::create(b, entry.getLoc(), transfer.token);
        if (e == main)
          pagesBefore(int(u));
        Operation *last = wrap(int(e), int(u), unit);
        b.setInsertionPointAfter(last);
        if (e == main)
          for (CacheLayer &one : cacheLayers)
            if (one.span.last == int(u))
              tier::StoreOp::create(b, entry.getLoc(), one.token);
        for (auto &queue : queues)
          for (size_t i = 0; i < queue.size(); ++i)
            if (queue[i].span.last == int(u)) {
              tier::EvictOp::create(b, entry.getLoc(), queue[i].token);
              fetch(queue, i + placement.ringSlots);
            }
      }
      b.setInsertionPointToEnd(&entry.getBody().front());
      if (e == main)
        pagesBefore(int(units[e].size()));
    }
  }

  void fetchPages(size_t number) {
    if (number >= cacheLayers.size())
      return;
    CacheLayer &one = cacheLayers[number];
    one.token = tier::PrefetchOp::create(
        b, entries[main].getLoc(), tier::TokenType::get(b.getContext()),
        FlatSymbolRefAttr::get(b.getContext(), pagesName(one)),
        i64(number % pageSlots));
  }

  /// The unit before which a layer's slot is free. It has been stored out of by
  /// then: with two slots while the rest of the layer ran, with one during the
  /// unit behind its own, so that the next layer's pages come while others run.
  int releaseOf(size_t number) {
    if (number + 1 == cacheLayers.size())
      return int(units[main].size());
    int next = cacheLayers[number + 1].span.first;
    return pageSlots > 1 ? next
                         : std::min(cacheLayers[number].span.last + 2, next);
  }

  /// What is due before unit `unit`: slots become free and are filled, and what
  /// the unit's launches use has arrived.
  void pagesBefore(int unit) {
    for (size_t i = 0; i < cacheLayers.size(); ++i)
      if (releaseOf(i) == unit) {
        tier::EvictOp::create(b, entries[main].getLoc(), cacheLayers[i].token);
        fetchPages(i + pageSlots);
      }
    for (CacheLayer &one : cacheLayers)
      if (one.span.first == unit)
        tier::WaitOp::create(b, entries[main].getLoc(), one.token);
  }

  /// Makes a routed layer whose experts are cached, or a router that runs ahead
  /// for one, one op; returns the last op of the unit.
  Operation *wrap(int entry, int number, Unit &unit) {
    flow::LaunchOp last = unit.launches.back();
    if (!isCached())
      return last;
    if (last->hasAttr(kPredicts))
      return wrapPrediction(last);
    if (unit.routing.empty())
      return last;
    size_t group = 0;
    while (groups[group].entry != entry || groups[group].unit != number)
      ++group;
    auto routed = flow::RoutedOp::create(
        b, unit.launches.front().getLoc(),
        FlatSymbolRefAttr::get(b.getContext(), unit.routing), expertsOf(group));
    Block &block = routed.getBody().emplaceBlock();
    for (flow::LaunchOp launch : unit.launches)
      launch->moveBefore(&block, block.end());
    return routed;
  }

  FlatSymbolRefAttr expertsOf(size_t group) {
    return FlatSymbolRefAttr::get(b.getContext(),
                                  "experts" + std::to_string(group));
  }

  Operation *wrapPrediction(flow::LaunchOp launch) {
    const Prediction &prediction = predictions[launch];
    launch->removeAttr(kPredicts);
    auto predict =
        flow::PredictOp::create(b, launch.getLoc(), prediction.routing,
                                expertsOf(prediction.group), i64(mostAhead()));
    Block &block = predict.getBody().emplaceBlock();
    launch->moveBefore(&block, block.end());
    return predict;
  }

  /// What a step of one token does between two routings: seconds in which
  /// kernels read the last expert of one layer and the dense weights of the
  /// next, and that an expert takes to come.
  struct Beside {
    double kernels = 0, transfer = 0;
  };
  Beside beside() {
    uint64_t expert = 0, dense = 0;
    int first = INT_MAX, last = -1, layers = 0;
    for (const Group &group : groups)
      if (group.entry == int(main)) {
        expert = std::max(expert, group.bytes);
        first = std::min(first, group.unit);
        last = std::max(last, group.unit);
        ++layers;
      }
    for (auto &use : uses)
      if (!use->routed && llvm::any_of(use->units[main], [&](int unit) {
            return first < unit && unit < last;
          }))
        dense += use->bytes;
    double memory = kMemoryRate, link = kLinkRate, latency = kLinkLatency;
    // Levels come from fast to slow: the next one with a link is the home.
    bool slower = false, found = false;
    for (tier::LevelAttr level : machine.getLevels()) {
      for (tier::LinkAttr one : machine.getLinks()) {
        double rate = double(one.getBandwidth()) * double(one.getCount());
        if (one.getSource() == fast &&
            one.getTarget() == machine.getLevels()[0].getName())
          memory = rate;
        // Beside the fast level of a CPU is more of the same memory.
        const bool isHome = !gpu && hasMemoryHome && one.getSource() == fast &&
                            level.getName() == kHome;
        if (slower && !found && one.getTarget() == fast &&
            (isHome || one.getSource() == level.getName())) {
          found = true;
          link = rate;
          latency = double(one.getLatency()) * 1e-9;
        }
      }
      slower |= level.getName() == fast;
    }
    Beside out;
    out.kernels =
        (double(expert) + double(dense) / std::max(layers - 1, 1)) / memory;
    out.transfer = latency + double(expert) / link;
    return out;
  }

  /// Whether what right guesses move while kernels run outweighs what wrong
  /// ones move in vain.
  bool guessesPay() {
    const Beside time = beside();
    return kRight * time.kernels > (1 - kRight) * time.transfer;
  }

  /// Experts that are fetched ahead for a layer: as many as come while kernels
  /// run, but one at least.
  int64_t mostAhead() {
    const Beside time = beside();
    return std::max<int64_t>(1, int64_t(time.kernels / time.transfer));
  }

  ModuleOp module;
  const MemoryPlanOptions &options;
  StepLimits limits;
  tier::MachineAttr machine;
  bool gpu = false;
  StringRef fast;             ///< The level that is planned.
  bool hasMemoryHome = false; ///< What moves may be in the host's memory.
  OpBuilder b;
  std::vector<std::unique_ptr<WeightUse>> uses;
  llvm::StringMap<WeightUse *> byName;
  SmallVector<flow::ScheduleOp> entries;
  size_t main = 0;                      ///< The entry whose traffic counts.
  std::vector<std::vector<Unit>> units; ///< By entry.
  SmallVector<WeightUse *> fixed;
  std::vector<Bundle> bundles;
  std::vector<Group> groups;
  std::vector<CacheLayer> cacheLayers; ///< Whose pages may move; then: do.
  llvm::DenseMap<Operation *, Prediction> predictions; ///< By launch.
  SmallVector<std::pair<tier::BufferOp, uint64_t>> hostBuffers;
  SmallVector<std::pair<const KernelBuffer *, uint64_t>> kernelBuffers;
  tiering::Problem problem;
  tiering::Placement placement;
  std::string ringNames[2];
  uint64_t end = 0, minimum = 0, workers = 1, workerBytes = 0,
           scratchOffset = 0, kvOffset = 0, kvPages = 0, kvLayers = 0,
           layerPageBytes = 0, homeEnd = 0, homeStaging = 0;
  uint64_t homeOfAllPages = 0; ///< Where there is less; 0: there is not.
  uint32_t pageSlots = 0;      ///< For pages that move.
};

} // namespace

FailureOr<MemoryPlanSummary>
headrace::planMemory(ModuleOp module, const MemoryPlanOptions &options) {
  return Planner(module, options).run();
}
