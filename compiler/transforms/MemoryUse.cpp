// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reading the schedules of a placed program, and cutting its weights into
// bundles.
#include "compiler/transforms/MemoryUse.h"
#include "compiler/codegen/BufferLayout.h"
#include "compiler/tiering/Placement.h"
#include "compiler/transforms/PassesDetail.h"
#include "dialects/moe/IR/Moe.h"

using namespace mlir;
using namespace headrace;
using tiering::alignToPage;

namespace {

/// Uses no further apart than this many units are one span.
constexpr int kNear = 4;
/// A weight that is read in more spans of a run than this one stays.
constexpr uint32_t kMostFetches = 2;

SmallVector<Span> spansOf(ArrayRef<int> list) {
  SmallVector<Span> spans;
  for (int unit : list) {
    if (!spans.empty() && unit - spans.back().last <= kNear)
      spans.back().last = unit;
    else
      spans.push_back({unit, unit});
  }
  return spans;
}

} // namespace

LogicalResult MemoryUse::read() {
  readProgram();
  if (failed(formGroups()) || failed(formPredictions()))
    return failure();
  formBundles();
  return success();
}

void MemoryUse::readProgram() {
  const StepLimits limits = StepLimits::of(module);
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
    weights.push_back(std::move(use));
  }
  for (auto entry : module.getOps<flow::ScheduleOp>())
    entries.push_back(entry);
  units.resize(entries.size());
  for (auto &use : weights)
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

SmallVector<WeightUse *> MemoryUse::weightsOf(flow::LaunchOp launch) {
  SmallVector<WeightUse *> out;
  for (auto symbol : launch.getInputs().getAsRange<FlatSymbolRefAttr>())
    if (WeightUse *use = byName.lookup(symbol.getValue()))
      out.push_back(use);
  return out;
}

/// The routing by which `launch` reads stacked weights; empty if it reads
/// none.
std::string MemoryUse::routingOf(flow::LaunchOp launch) {
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

LogicalResult MemoryUse::formGroups() {
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
    }
  return success();
}

/// Finds out what each launch of a router that runs ahead is a guess of: the
/// next launch on the same weights has the same kernel and makes the routing
/// of a routed layer.
LogicalResult MemoryUse::formPredictions() {
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

FlatSymbolRefAttr MemoryUse::routingMadeBy(flow::LaunchOp launch) {
  for (auto symbol : launch.getResults().getAsRange<FlatSymbolRefAttr>()) {
    auto buffer = module.lookupSymbol<tier::BufferOp>(symbol.getValue());
    if (buffer && isa<moe::RoutingType>(buffer.getType()))
      return symbol;
  }
  return {};
}

/// Cuts the dense matrices, in the order in which the main entry reads them,
/// into bundles of about a sixty-fourth of all. Vectors stay, and so does
/// what is read all over a run or by no entry but others, and routers that
/// run ahead.
void MemoryUse::formBundles() {
  constexpr uint64_t kParts = 64, kLeast = 64 << 10, kMost = 32 << 20;
  SmallVector<WeightUse *> movable;
  uint64_t total = 0;
  for (auto &use : weights) {
    if (use->routed)
      continue;
    bool mainOnly = !use->units[main].empty() && !use->predicts;
    for (auto [e, list] : llvm::enumerate(use->units))
      mainOnly &= e == main || list.empty();
    if (!mainOnly || cast<RankedTensorType>(use->op.getType()).getRank() < 2 ||
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
void MemoryUse::settleBundles() {
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
}

uint64_t MemoryUse::largestMover() const {
  uint64_t largest = 0;
  for (const Bundle &bundle : bundles)
    largest = std::max(largest, bundle.bytes);
  for (const Group &group : groups)
    largest = std::max(largest, group.bytes);
  return largest;
}
