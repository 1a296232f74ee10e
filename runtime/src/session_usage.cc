// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session, tiered part: what is in use of each level, and what has moved.
#include "runtime/src/session.h"
#include "runtime/src/structs.h"

#include <algorithm>

using namespace headrace::runtime;
namespace abi = headrace::abi;

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

static headrace_link_usage_t UsageOf(const char *name,
                                     const LinkCounters &counters) {
  headrace_link_usage_t value = {};
  value.name = name;
  value.bytes = counters.bytes;
  value.stored_bytes = counters.stored_bytes;
  value.transfers = counters.transfers;
  value.failed = counters.failed;
  value.cancelled = counters.cancelled;
  value.busy_ns = counters.busy_ns;
  return value;
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
  const bool reads = link + 1 == of_weights; // the package
  headrace_link_usage_t value = UsageOf(described.Name(), described.Counters());
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
  headrace_link_usage_t value = UsageOf(pages.LinkName(), pages.Counters());
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
