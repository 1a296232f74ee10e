// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What lies where: in its level, in its slot, and apart from what is in use at
// the same time.
#include "tools/plan-check/Checker.h"

#include "runtime/abi/kernel_abi.h"

#include <algorithm>

using namespace headrace;
using namespace headrace::plancheck;

namespace {
constexpr uint64_t kLine = 64;   ///< What kernels read and write as a whole.
constexpr uint64_t kPage = 4096; ///< What reads past the page cache do.
} // namespace

void Checker::checkPlaces() {
  for (uint32_t i = 0; i < manifest.levels()->size(); ++i) {
    const abi::Level &level = *manifest.levels()->Get(i);
    uint64_t most = level.bytes();
    if (plan && i == plan->fast_level() && plan->budget())
      most = std::min(most, plan->budget());
    if (plan && i == plan->home_level() && plan->home_budget())
      most = std::min(most, plan->home_budget());
    if (level.arena_bytes() > most)
      fail(Rule::bounds, on(i), "an arena of ", level.arena_bytes(),
           " bytes, expected at most ", most);
  }
  for (const Schedule &schedule : schedules())
    for (const Thing &thing : thingsOf(schedule)) {
      const abi::Level &home = *manifest.levels()->Get(thing.level);
      const uint64_t end = plan ? home.arena_bytes() : home.bytes();
      if (!thing.place.isIn(end))
        fail(Rule::bounds, on(thing.level), thing.name(), ": ",
             thing.place.bytes, " bytes from ", thing.place.offset, " on in ",
             end);
      aligned(thing.place.offset, thing.moves() ? kPage : kLine, thing.name());
    }
  for (uint32_t i = 0; i < poolCount(); ++i)
    aligned(pool(i).slot_bytes(), kPage, "slots of pool #", i);
  if (plan)
    aligned(plan->worker_bytes(), kLine, "bytes of a worker");
}

void Checker::checkBundles() {
  for (uint32_t i = 0; i < bundleCount(); ++i) {
    const abi::Bundle &one = bundle(i);
    const abi::Pool &home = pool(one.pool());
    if (one.bytes() > home.slot_bytes())
      fail(Rule::bundles, "bundle #", i, ": ", one.bytes(),
           " bytes in slots of ", home.slot_bytes());
    const bool rings = home.kind() == abi::PoolKind::ring;
    if (one.layer() != kNone &&
        (!rings || one.weights()->size() || one.home() == kNowhere ||
         one.bytes() < pageBytes(1) || pagesOf[one.layer()] != i))
      fail(Rule::bundles, "bundle #", i, ": pages of layer #", one.layer(),
           ", expected all of them in one bundle of a ring, with a home");
    uint64_t free = 0; // Behind the weights so far, which are ascending.
    for (uint32_t j = 0; j < one.weights()->size(); ++j) {
      const uint32_t which = one.weights()->Get(j);
      const Range range = {one.offsets()->Get(j), weightBytes(which)};
      // A read may write up to the end of its last page.
      uint64_t end = (range.end() + kPage - 1) / kPage * kPage;
      if (range.offset < free || end > one.bytes() || end < range.end())
        fail(Rule::bundles, "bundle #", i, ": weight #", which, " takes ",
             range.offset, " to ", end, ", expected it between ", free, " and ",
             one.bytes());
      free = std::max(free, end);
      aligned(range.offset, kPage, "bundle #", i, ": weight #", which);
      if (weight(which).residency() !=
          (rings ? abi::Residency::streamed : abi::Residency::routed))
        fail(Rule::bundles, "bundle #", i, ": weight #", which, " is not ",
             rings ? "streamed" : "routed", ", as its pool is");
      if (bundleOf[which] != i)
        fail(Rule::bundles, "weight #", which, " is in bundles #", i, " and #",
             bundleOf[which]);
    }
  }
  for (uint32_t i = 0; i < manifest.weights()->size(); ++i)
    if (bundleOf[i] == kNone &&
        (weight(i).residency() == abi::Residency::streamed ||
         weight(i).residency() == abi::Residency::routed))
      fail(Rule::bundles, "weight #", i, " moves, but no bundle has it");
}

std::vector<Thing> Checker::thingsOf(const Schedule &schedule) const {
  const uint32_t steps = schedule.stepCount();
  std::vector<Thing> things;
  if (steps == 0)
    return things;
  const uint32_t end = steps - 1;
  auto add = [&](abi::PartKind kind, uint32_t index, uint32_t level,
                 const Range &place, uint32_t from, uint32_t to) {
    if (place.bytes)
      things.push_back({kind, index, level, place, from, to});
  };
  auto always = [&](abi::PartKind kind, uint32_t index, uint32_t level,
                    const Range &place) {
    add(kind, index, level, place, 0, end);
  };
  // Equal weights may have one place.
  std::map<std::pair<uint32_t, uint64_t>, uint32_t> placed;
  for (uint32_t i = 0; i < manifest.weights()->size(); ++i) {
    if (weight(i).residency() != abi::Residency::resident)
      continue;
    auto [known, fresh] =
        placed.try_emplace({weight(i).level(), weight(i).offset()}, i);
    if (fresh || weight(known->second).blob() != weight(i).blob())
      always(abi::PartKind::weight, i, weight(i).level(),
             {weight(i).offset(), weightBytes(i)});
  }
  // A buffer lives from the first step that names it to the last; waves run
  // their launches again, so in a routed step all buffers live together.
  std::map<uint32_t, std::pair<uint32_t, uint32_t>> lives;
  for (uint32_t i = 0; i < steps; ++i) {
    uint32_t first = i, count = 1;
    if (schedule.steps) {
      const abi::Step &step = *schedule.steps->Get(i);
      first = step.launch();
      count = step.kind() == abi::StepKind::launch ? 1
              : runsSeveral(step.kind())           ? step.launch_count()
                                                   : 0;
    }
    for (uint32_t j = first; j < first + count; ++j)
      for (uint32_t which : *schedule.launches.Get(j)->buffers()) {
        if (buffer(which).kind() == abi::BufferKind::view)
          which = buffer(which).base();
        lives.try_emplace(which, i, i).first->second.second = i;
      }
  }
  auto hasRole = [&](uint32_t which, const char *role) {
    return buffer(which).role() && buffer(which).role()->str() == role;
  };
  for (uint32_t i = 0; i < manifest.buffers()->size(); ++i)
    if (plan && hasRole(i, HEADRACE_ROLE_KEPT)) { // Whoever names it.
      add(abi::PartKind::buffer, i, buffer(i).level(),
          {buffer(i).offset(), buffer(i).bytes()}, 0, end);
      lives.erase(i);
    }
  const abi::Entry &entry = *manifest.entries()->Get(schedule.number.first);
  const bool owns = plan && entry.name()->string_view() == "forward";
  for (const auto &[which, life] : lives) {
    const abi::BufferKind kind = buffer(which).kind();
    // The host writes inputs before the first step and reads outputs behind the
    // last one; of other entries they are the host's own.
    const uint32_t from = kind == abi::BufferKind::input ? 0 : life.first;
    const uint32_t to = kind == abi::BufferKind::output ? end : life.second;
    const bool isPages = hasRole(which, HEADRACE_ROLE_KV_POOL);
    if (kind == abi::BufferKind::scratch || (owns && !isPages))
      add(abi::PartKind::buffer, which, buffer(which).level(),
          {buffer(which).offset(), buffer(which).bytes()}, from, to);
  }
  for (uint32_t i = 0; i < poolCount(); ++i)
    always(abi::PartKind::slot, i, pool(i).level(),
           {pool(i).offset(), pool(i).slot_bytes() * pool(i).slots()});
  for (uint32_t i = 0; i < bundleCount(); ++i)
    if (bundle(i).home() != kNowhere)
      always(abi::PartKind::home, i, plan->home_level(),
             {bundle(i).home(), bundle(i).bytes()});
  if (plan)
    always(abi::PartKind::scratch, 0, plan->fast_level(),
           {plan->scratch_offset(), plan->worker_bytes() * plan->workers()});
  if (plan && plan->home_level() != kNone)
    always(abi::PartKind::staging, 0, plan->home_level(),
           {plan->staging_offset(), plan->staging_bytes()});
  if (plan && manifest.kv())
    always(abi::PartKind::kv, 0, plan->kv_level(),
           {plan->kv_offset(),
            pageBytes(manifest.kv()->layers() - pagesOf.size())});
  return things;
}

void Checker::checkOverlap(const Schedule &schedule) {
  std::vector<Thing> things = thingsOf(schedule);
  std::sort(things.begin(), things.end(), [](const Thing &a, const Thing &b) {
    return std::pair(a.level, a.place.offset) <
           std::pair(b.level, b.place.offset);
  });
  std::vector<size_t> open; // Those that may reach into the one at hand.
  for (size_t i = 0; i < things.size(); ++i) {
    const Thing &one = things[i];
    auto isPast = [&](size_t j) {
      return things[j].level != one.level ||
             things[j].place.end() <= one.place.offset;
    };
    open.erase(std::remove_if(open.begin(), open.end(), isPast), open.end());
    for (size_t j : open)
      if (one.meets(things[j])) {
        fail(Rule::overlap, on(one.level), things[j].name(), " and ",
             one.name(), " meet at offset ", one.place.offset, " in ",
             schedule.name);
        return; // One tells enough, and hostile plans have very many.
      }
    open.push_back(i);
  }
}
