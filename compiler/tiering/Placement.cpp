// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Chooses what stays in fast memory.
#include "compiler/tiering/Placement.h"

#include <algorithm>

using namespace headrace::tiering;

uint64_t Problem::slotBytes() const {
  uint64_t most = 0;
  for (const ExpertGroup &group : groups)
    most = std::max(most, group.bytes);
  return most;
}

uint64_t Problem::expertCount() const {
  uint64_t count = 0;
  for (const ExpertGroup &group : groups)
    count += group.experts;
  return count;
}

double Problem::expertTraffic(uint64_t slots) const {
  double all = 0;
  for (const ExpertGroup &group : groups)
    all += group.active * double(group.bytes);
  uint64_t count = expertCount();
  return count ? all * (1.0 - double(std::min(slots, count)) / double(count))
               : 0.0;
}

uint64_t Placement::bytes(const Problem &problem) const {
  uint64_t always = problem.fixedBytes + cacheSlots * problem.slotBytes() +
                    ringSlots * (ringBytes[0] + ringBytes[1] + pageRingBytes);
  for (size_t i = 0; i < problem.bundles.size(); ++i)
    if (resident[i])
      always += problem.bundles[i].bytes;
  for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
    if (cached[i])
      always += problem.cacheLayers[i].bytes;
  std::vector<uint64_t> alive(problem.launches, 0);
  for (size_t i = 0; i < problem.objects.size(); ++i)
    if (fast[i])
      for (uint32_t t = problem.objects[i].first; t <= problem.objects[i].last;
           ++t)
        alive[t] += problem.objects[i].bytes;
  return always +
         (alive.empty() ? 0 : *std::max_element(alive.begin(), alive.end()));
}

std::string_view headrace::tiering::strategyName(Strategy strategy) {
  return strategy == Strategy::joint ? "joint" : "smallest-traffic";
}

std::optional<Strategy>
headrace::tiering::parseStrategy(std::string_view name) {
  for (Strategy one : {Strategy::joint, Strategy::smallestTraffic})
    if (strategyName(one) == name)
      return one;
  return std::nullopt;
}

namespace {

double trafficOf(const Problem &problem, const Placement &placement) {
  double traffic = problem.expertTraffic(placement.cacheSlots);
  for (size_t i = 0; i < problem.bundles.size(); ++i)
    if (!placement.resident[i])
      traffic += double(problem.bundles[i].bytes) * problem.bundles[i].fetches;
  for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
    if (!placement.cached[i])
      traffic += double(problem.cacheLayers[i].traffic);
  for (size_t i = 0; i < problem.objects.size(); ++i)
    if (!placement.fast[i])
      traffic += double(problem.objects[i].traffic);
  return traffic;
}

/// The best choice for given sizes of the rings' slots, by branch and bound:
/// items in order of bytes saved per byte kept, the bound being the knapsack
/// that may keep parts of items. Anytime: the first leaf is the greedy choice,
/// and a limit on nodes bounds planning time.
class Search {
public:
  Search(const Problem &problem, const uint64_t (&rings)[2], uint64_t pageRing,
         uint32_t ringSlots, uint64_t nodes)
      : problem(problem), nodesLeft(nodes) {
    now.resident.assign(problem.bundles.size(), false);
    now.cached.assign(problem.cacheLayers.size(), true);
    now.pageRingBytes = pageRing;
    now.fast.assign(problem.objects.size(), true);
    now.ringSlots = ringSlots;
    now.ringBytes[0] = rings[0];
    now.ringBytes[1] = rings[1];
    now.cacheSlots = problem.groups.empty() ? 0 : 1;
    for (size_t i = 0; i < problem.bundles.size(); ++i) {
      const StreamedBundle &bundle = problem.bundles[i];
      if (bundle.bytes > rings[0])
        now.resident[i] = true;
      else
        items.push_back({Item::bundle, i, bundle.bytes,
                         double(bundle.bytes) * bundle.fetches});
    }
    for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
      if (problem.cacheLayers[i].bytes <= pageRing) {
        now.cached[i] = false;
        items.push_back({Item::cacheLayer, i, problem.cacheLayers[i].bytes,
                         double(problem.cacheLayers[i].traffic)});
      }
    for (size_t i = 0; i < problem.objects.size(); ++i)
      if (problem.objects[i].maySpill) {
        now.fast[i] = false;
        items.push_back({Item::object, i, problem.objects[i].bytes,
                         double(problem.objects[i].traffic)});
      }
    std::sort(items.begin(), items.end(), [](const Item &a, const Item &b) {
      double x = a.saved * double(b.bytes), y = b.saved * double(a.bytes);
      if (x != y)
        return x > y;
      return a.bytes != b.bytes ? a.bytes > b.bytes
             : a.kind != b.kind ? a.kind < b.kind
                                : a.index < b.index;
    });
    slot = problem.slotBytes();
    if (slot)
      slotSaved = problem.expertTraffic(0) - problem.expertTraffic(1);
    always = problem.fixedBytes + now.cacheSlots * slot +
             ringSlots * (rings[0] + rings[1] + pageRing);
    for (size_t i = 0; i < problem.bundles.size(); ++i)
      if (now.resident[i])
        always += problem.bundles[i].bytes;
    for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
      if (now.cached[i])
        always += problem.cacheLayers[i].bytes;
    alive.assign(problem.launches, 0);
    for (size_t i = 0; i < problem.objects.size(); ++i)
      if (now.fast[i])
        addAlive(problem.objects[i], 1);
  }

  std::optional<Placement> run() {
    if (always + peak() > problem.capacity)
      return std::nullopt;
    descend(0, 0.0);
    Placement out = *best;
    out.traffic = trafficOf(problem, out);
    return out;
  }

private:
  struct Item {
    enum Kind { bundle, cacheLayer, object } kind;
    size_t index; ///< Among those of its kind.
    uint64_t bytes;
    double saved;
  };

  uint64_t peak() const {
    return *std::max_element(alive.begin(), alive.end());
  }
  void addAlive(const Object &object, int sign) {
    for (uint32_t t = object.first; t <= object.last; ++t)
      alive[t] += uint64_t(sign) * object.bytes;
  }
  uint64_t room() const { return problem.capacity - always - peak(); }

  /// The most that the items from `at` on can save in `left` bytes. An object
  /// may lie where the fullest launch leaves room, so it counts as free.
  double bound(size_t at, uint64_t left) const {
    double saved = 0;
    bool slotsDone = !slot;
    uint64_t slots = slot ? problem.expertCount() - now.cacheSlots : 0;
    auto take = [&](uint64_t bytes, double value) {
      if (bytes <= left) {
        left -= bytes;
        saved += value;
        return true;
      }
      saved += value * double(left) / double(bytes);
      left = 0;
      return false;
    };
    for (size_t i = at; i < items.size() && left; ++i) {
      if (!slotsDone &&
          slotSaved * double(items[i].bytes) > items[i].saved * double(slot)) {
        slotsDone = true;
        take(slots * slot, slotSaved * double(slots));
      }
      if (items[i].kind == Item::object)
        saved += items[i].saved;
      else
        take(items[i].bytes, items[i].saved);
    }
    if (!slotsDone && left)
      take(slots * slot, slotSaved * double(slots));
    return saved;
  }

  void descend(size_t at, double saved) {
    if (best && saved + bound(at, room()) <= bestSaved * (1 + 1e-9))
      return;
    if (at == items.size()) {
      // Slots of the cache take what is left.
      uint64_t before = now.cacheSlots;
      if (slot)
        now.cacheSlots =
            std::min(problem.expertCount(), before + room() / slot);
      saved += slotSaved * double(now.cacheSlots - before);
      if (!best || saved > bestSaved) {
        best = now;
        bestSaved = saved;
      }
      now.cacheSlots = before;
      return;
    }
    if (best && nodesLeft == 0)
      return;
    nodesLeft -= nodesLeft > 0;
    const Item &item = items[at];
    // The likelier choice comes first: to leave, where slots of the cache can
    // take the place and save more with it.
    const bool leavesFirst =
        slot && item.kind != Item::object &&
        slotSaved * double(item.bytes) > item.saved * double(slot) &&
        room() < (problem.expertCount() - now.cacheSlots) * slot + item.bytes;
    if (leavesFirst)
      descend(at + 1, saved);
    if (item.kind != Item::object) {
      std::vector<bool> &stays =
          item.kind == Item::bundle ? now.resident : now.cached;
      if (item.bytes <= room()) {
        stays[item.index] = true;
        always += item.bytes;
        descend(at + 1, saved + item.saved);
        always -= item.bytes;
        stays[item.index] = false;
      }
    } else {
      const Object &object = problem.objects[item.index];
      addAlive(object, 1);
      if (always + peak() <= problem.capacity) {
        now.fast[item.index] = true;
        descend(at + 1, saved + item.saved);
        now.fast[item.index] = false;
      }
      addAlive(object, -1);
    }
    if (!leavesFirst)
      descend(at + 1, saved);
  }

  const Problem &problem;
  uint64_t nodesLeft;
  std::vector<Item> items;
  Placement now;
  std::optional<Placement> best;
  double bestSaved = 0, slotSaved = 0;
  uint64_t always = 0, slot = 0;
  std::vector<uint64_t> alive; ///< Bytes of fast objects at each launch.
};

/// Sizes that a ring's slot may have: those of bundles, thinned out where there
/// are very many.
std::vector<uint64_t> ringSizes(const Problem &problem) {
  constexpr size_t kMost = 12;
  std::vector<uint64_t> all;
  for (const StreamedBundle &bundle : problem.bundles)
    all.push_back(bundle.bytes);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<uint64_t> out{0};
  size_t count = std::min(all.size(), kMost);
  for (size_t i = 1; i <= count; ++i)
    out.push_back(all[i * all.size() / count - 1]);
  return out;
}

std::optional<Placement> chooseJoint(const Problem &problem,
                                     uint32_t ringSlots) {
  constexpr uint64_t kNodes = 200000;
  std::vector<uint64_t> sizes = ringSizes(problem);
  // Slots for pages are as large as the pages of some layer, or there are none.
  std::vector<uint64_t> pageSizes{0};
  for (const CacheLayer &layer : problem.cacheLayers)
    pageSizes.push_back(layer.bytes);
  std::sort(pageSizes.begin(), pageSizes.end());
  pageSizes.erase(std::unique(pageSizes.begin(), pageSizes.end()),
                  pageSizes.end());
  uint64_t each = kNodes / (sizes.size() * sizes.size() * pageSizes.size());
  std::optional<Placement> best;
  for (uint64_t large : sizes)
    for (uint64_t small : sizes) {
      if (small && small >= large)
        continue;
      for (uint64_t pages : pageSizes) {
        auto one =
            Search(problem, {large, small}, pages, ringSlots, each).run();
        if (one && (!best || one->traffic < best->traffic))
          best = one;
      }
    }
  return best;
}

/// Spills the smallest total traffic first, as the paper states the rule.
std::optional<Placement> chooseSmallestTraffic(const Problem &problem,
                                               uint32_t ringSlots) {
  struct Symbol {
    enum { bundle, cacheLayer, object, expert } kind;
    size_t index;
    double traffic;
  };
  std::vector<Symbol> symbols;
  Placement now;
  now.resident.assign(problem.bundles.size(), true);
  now.cached.assign(problem.cacheLayers.size(), true);
  now.fast.assign(problem.objects.size(), true);
  now.ringSlots = ringSlots;
  now.cacheSlots = problem.expertCount();
  for (size_t i = 0; i < problem.bundles.size(); ++i)
    symbols.push_back(
        {Symbol::bundle, i,
         double(problem.bundles[i].bytes) * problem.bundles[i].fetches});
  for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
    symbols.push_back(
        {Symbol::cacheLayer, i, double(problem.cacheLayers[i].traffic)});
  for (size_t i = 0; i < problem.objects.size(); ++i)
    if (problem.objects[i].maySpill)
      symbols.push_back(
          {Symbol::object, i, double(problem.objects[i].traffic)});
  // Which expert leaves is the cache's business; all but one slot may.
  double each = problem.expertTraffic(0) - problem.expertTraffic(1);
  for (uint64_t i = 1; i < problem.expertCount(); ++i)
    symbols.push_back({Symbol::expert, 0, each});
  std::sort(symbols.begin(), symbols.end(),
            [](const Symbol &a, const Symbol &b) {
              return a.traffic != b.traffic ? a.traffic < b.traffic
                     : a.kind != b.kind     ? a.kind < b.kind
                                            : a.index < b.index;
            });
  uint64_t bytes = now.bytes(problem);
  for (const Symbol &symbol : symbols) {
    if (bytes <= problem.capacity)
      break;
    switch (symbol.kind) {
    case Symbol::bundle: {
      uint64_t size = problem.bundles[symbol.index].bytes;
      uint64_t ring = std::max(now.ringBytes[0], size);
      now.resident[symbol.index] = false;
      bytes = bytes - size + ringSlots * (ring - now.ringBytes[0]);
      now.ringBytes[0] = ring;
      break;
    }
    case Symbol::cacheLayer: {
      uint64_t size = problem.cacheLayers[symbol.index].bytes;
      uint64_t ring = std::max(now.pageRingBytes, size);
      now.cached[symbol.index] = false;
      bytes = bytes - size + ringSlots * (ring - now.pageRingBytes);
      now.pageRingBytes = ring;
      break;
    }
    case Symbol::object:
      now.fast[symbol.index] = false;
      bytes = now.bytes(problem);
      break;
    case Symbol::expert:
      --now.cacheSlots;
      bytes -= problem.slotBytes();
      break;
    }
  }
  if (bytes > problem.capacity)
    return std::nullopt;
  now.traffic = trafficOf(problem, now);
  return now;
}

/// Rings are as large as what goes through them.
void trimRings(const Problem &problem, Placement &placement) {
  uint64_t largest[2] = {0, 0};
  for (size_t i = 0; i < problem.bundles.size(); ++i) {
    uint64_t bytes = problem.bundles[i].bytes;
    if (placement.resident[i])
      continue;
    uint64_t &ring = largest[bytes <= placement.ringBytes[1] ? 1 : 0];
    ring = std::max(ring, bytes);
  }
  placement.ringBytes[0] = std::max(largest[0], largest[1]);
  placement.ringBytes[1] = largest[0] ? largest[1] : 0;
  placement.pageRingBytes = 0;
  for (size_t i = 0; i < problem.cacheLayers.size(); ++i)
    if (!placement.cached[i])
      placement.pageRingBytes =
          std::max(placement.pageRingBytes, problem.cacheLayers[i].bytes);
}

/// Of those that are alike, moves the ones that lie evenly apart, the first one
/// last: then every transfer has the launches of resident ones to hide behind,
/// and a run does not begin with a wait.
template <typename Alike>
void spreadAlike(std::vector<bool> &stays, Alike alike) {
  std::vector<bool> done(stays.size(), false);
  for (size_t i = 0; i < stays.size(); ++i) {
    if (done[i])
      continue;
    std::vector<size_t> like;
    size_t moved = 0;
    for (size_t j = i; j < stays.size(); ++j)
      if (alike(i, j)) {
        done[j] = true;
        like.push_back(j);
        moved += !stays[j];
        stays[j] = true;
      }
    for (size_t k = 1; k <= moved; ++k)
      stays[like[k * like.size() / moved - 1]] = false;
  }
}

void spread(const Problem &problem, Placement &placement) {
  spreadAlike(placement.resident, [&](size_t i, size_t j) {
    const StreamedBundle &x = problem.bundles[i], &y = problem.bundles[j];
    return x.bytes == y.bytes && x.fetches == y.fetches;
  });
  spreadAlike(placement.cached, [&](size_t i, size_t j) {
    const CacheLayer &x = problem.cacheLayers[i], &y = problem.cacheLayers[j];
    return x.bytes == y.bytes && x.traffic == y.traffic;
  });
}

} // namespace

std::optional<Placement>
headrace::tiering::choosePlacement(const Problem &problem, Strategy strategy) {
  // Two slots hide a transfer behind the launches before it; one slot is what
  // is left where memory is short.
  for (uint32_t ringSlots : {2u, 1u}) {
    auto found = strategy == Strategy::joint
                     ? chooseJoint(problem, ringSlots)
                     : chooseSmallestTraffic(problem, ringSlots);
    if (found) {
      spread(problem, *found);
      trimRings(problem, *found);
      return found;
    }
  }
  // Near the minimum no rule but the minimum itself may be left.
  Placement smallest = smallestPlacement(problem);
  if (smallest.bytes(problem) <= problem.capacity)
    return smallest;
  return std::nullopt;
}

Placement headrace::tiering::smallestPlacement(const Problem &problem) {
  Placement out;
  out.ringSlots = 1;
  out.resident.assign(problem.bundles.size(), false);
  out.cacheSlots = problem.groups.empty() ? 0 : 1;
  // Through a ring that is smaller than what it takes the place of.
  uint64_t all = 0;
  for (const CacheLayer &layer : problem.cacheLayers) {
    all += layer.bytes;
    out.pageRingBytes = std::max(out.pageRingBytes, layer.bytes);
  }
  out.cached.assign(problem.cacheLayers.size(), out.pageRingBytes == all);
  if (out.pageRingBytes == all)
    out.pageRingBytes = 0;
  for (const StreamedBundle &bundle : problem.bundles)
    out.ringBytes[0] = std::max(out.ringBytes[0], bundle.bytes);
  for (const Object &object : problem.objects)
    out.fast.push_back(!object.maySpill);
  out.traffic = trafficOf(problem, out);
  return out;
}
