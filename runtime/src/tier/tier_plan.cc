// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tier plan: how many slots a budget is enough for.
#include "runtime/src/tier/tier_plan.h"

#include <algorithm>
#include <cinttypes>

namespace headrace::runtime {

Status ChooseSlots(const Allocator &allocator, const TierPlan &plan,
                   uint64_t bytes, uint32_t *slots) {
  const auto pools = static_cast<uint32_t>(plan.pools.size());
  if (bytes == 0) {
    for (uint32_t i = 0; i < pools; ++i)
      slots[i] = plan.pools[i].slots;
    return Status();
  }
  if (bytes < plan.min_bytes)
    return MakeStatus(
        allocator, HEADRACE_STATUS_RESOURCE_EXHAUSTED,
        "session: level '%s' needs at least %" PRIu64
        " bytes, but the budget is %" PRIu64 ": %" PRIu64 " are missing",
        plan.level, plan.min_bytes, bytes, plan.min_bytes - bytes);
  uint64_t left = bytes - plan.min_bytes;
  for (uint32_t i = 0; i < pools; ++i)
    slots[i] = plan.pools[i].min_slots;
  // Beyond one slot for each bundle there is nothing to hold.
  auto wants = [&](uint32_t i) {
    return !plan.pools[i].has_pages &&
           slots[i] <
               std::max(plan.pools[i].bundle_count, plan.pools[i].min_slots) &&
           plan.pools[i].slot_bytes <= left;
  };
  auto give = [&](uint32_t i) {
    ++slots[i];
    left -= plan.pools[i].slot_bytes;
  };
  for (uint32_t i = 0; i < pools; ++i)
    while (plan.pools[i].kind == PoolKind::kRing && wants(i))
      give(i);
  for (;;) {
    uint32_t poorest = pools;
    auto share = [&](uint32_t i) {
      return double(slots[i]) / plan.pools[i].bundle_count;
    };
    for (uint32_t i = 0; i < pools; ++i)
      if (plan.pools[i].kind == PoolKind::kCache && wants(i) &&
          (poorest == pools || share(i) < share(poorest)))
        poorest = i;
    if (poorest == pools)
      return Status();
    give(poorest);
  }
}

} // namespace headrace::runtime
