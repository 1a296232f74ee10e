// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is claimed: parts, peaks, witnesses, and the schedule they are of.
#include "tools/plan-check/Checker.h"

#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/schedule_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

using namespace headrace;
using namespace headrace::plancheck;

namespace {

/// A peak that no run reaches to this share is no peak.
constexpr double kReached = 1 / 1.05;

/// Whether the part is in use from one step to another of these steps.
bool covers(const abi::Part &part, std::pair<uint32_t, uint32_t> steps,
            uint32_t from, uint32_t to) {
  return part.first_step() <= from && to <= part.last_step() &&
         (part.last_step() == UINT32_MAX ||
          std::pair(part.entry(), part.step_class()) == steps);
}

} // namespace

uint64_t plancheck::scheduleDigest(const abi::Manifest &manifest) {
  std::vector<uint64_t> words;
  abi::ForEachScheduleWord(manifest,
                           [&](uint64_t word) { words.push_back(word); });
  return XXH3_64bits(words.data(), words.size() * sizeof(uint64_t));
}

void Checker::checkCertificate() {
  const uint64_t digest = plan ? scheduleDigest(manifest) : 0;
  if (plan && plan->digest() != digest)
    fail(Rule::digest, "the plan's digest is not that of its schedule");
  std::vector<bool> certified(manifest.levels()->size());
  for (const abi::Peak *peak : *manifest.certificate()) {
    if (certified[peak->level()])
      fail(Rule::parts, on(peak->level()), "it has two certificates");
    certified[peak->level()] = true;
    if (plan && peak->digest() != digest)
      fail(Rule::digest, on(peak->level()), "the peak is of other steps");
    if (!plan && !peak->parts()) { // Buffers alone make the arena.
      for (const Schedule &schedule : schedules())
        for (const Thing &thing : thingsOf(schedule))
          if (thing.level == peak->level() && thing.place.end() > peak->bytes())
            fail(Rule::peak, on(thing.level), thing.name(), " ends at ",
                 thing.place.end(), ", beyond the peak of ", peak->bytes());
      continue;
    }
    checkParts(*peak);
    checkPeak(*peak);
    checkWitness(*peak);
  }
  for (const Schedule &schedule : schedules())
    for (const Thing &thing : thingsOf(schedule))
      if (!certified[thing.level]) {
        fail(Rule::parts, on(thing.level), "it has no certificate, but holds ",
             thing.name());
        certified[thing.level] = true; // Once a level.
      }
}

void Checker::checkParts(const abi::Peak &peak) {
  // What takes bytes is listed,
  using Key = std::tuple<abi::PartKind, uint32_t, uint64_t, uint64_t>;
  std::multimap<Key, const abi::Part *> parts;
  std::map<const abi::Part *, bool> used;
  for (const abi::Part *part : listOf(peak.parts()))
    parts.emplace(
        Key(part->kind(), part->index(), part->offset(), part->bytes()), part);
  for (const Schedule &schedule : schedules())
    for (const Thing &thing : thingsOf(schedule)) {
      if (thing.level != peak.level())
        continue;
      bool listed = false;
      auto range = parts.equal_range(
          Key(thing.kind, thing.index, thing.place.offset, thing.place.bytes));
      for (auto it = range.first; it != range.second; ++it)
        if (covers(*it->second, schedule.number, thing.from, thing.to))
          listed = used[it->second] = true;
      if (!listed)
        fail(Rule::parts, on(peak.level()), "no part is ", thing.name(), ", ",
             thing.place.bytes, " bytes from ", thing.place.offset, " on, in ",
             schedule.name, " from step #", thing.from, " to #", thing.to);
    }
  // and nothing else.
  for (const auto &[key, part] : parts)
    if (part->bytes() && !used[part])
      fail(Rule::parts, on(peak.level()), "a part of ", part->bytes(),
           " bytes from ", part->offset(), " on is nothing of the plan");
}

void Checker::checkPeak(const abi::Peak &peak) {
  uint64_t most = 0;
  for (const Schedule &schedule : schedules()) {
    // Bytes that come into use with a step, less those that went before it:
    // sums wrap and come out right.
    std::map<uint64_t, uint64_t> changes;
    for (const abi::Part *part : listOf(peak.parts()))
      if (covers(*part, schedule.number, part->first_step(),
                 part->first_step())) {
        changes[part->first_step()] += part->bytes();
        changes[uint64_t(part->last_step()) + 1] -= part->bytes();
      }
    uint64_t now = 0;
    for (const auto &[step, bytes] : changes)
      most = std::max(most, now += bytes);
  }
  if (most != peak.bytes())
    fail(Rule::peak, on(peak.level()), "a peak of ", peak.bytes(),
         " bytes, but its parts take ", most);
  const uint64_t arena = manifest.levels()->Get(peak.level())->arena_bytes();
  if (peak.bytes() > arena)
    fail(Rule::peak, on(peak.level()), "a peak of ", peak.bytes(),
         " bytes in an arena of ", arena);
}

void Checker::checkWitness(const abi::Peak &peak) {
  if (!peak.witness()) {
    fail(Rule::witness, on(peak.level()), "the peak has no witness");
    return;
  }
  const abi::Witness &run = *peak.witness();
  const abi::Limits &limits = *manifest.limits();
  uint32_t experts = 0; // The most of a layer.
  for (uint32_t i = 0; plan && i < plan->routings()->size(); ++i)
    experts = std::max(experts, plan->routings()->Get(i)->experts());
  const std::pair steps(run.entry(), run.step_class());
  uint32_t most = 0; // Tokens of a step that they are for.
  for (const Schedule &schedule : schedules())
    if (schedule.number == steps)
      most = std::min(schedule.maxTokens, limits.max_tokens());
  if (run.tokens() == 0 || run.tokens() > most || run.sequences() == 0 ||
      run.sequences() > limits.max_sequences() ||
      run.sequences() > run.tokens() || run.outputs() > run.tokens() ||
      run.context() > limits.max_context() || run.experts() > experts ||
      uint64_t(run.context()) * run.sequences() < run.tokens()) {
    fail(Rule::witness, on(peak.level()),
         "no run has these sizes: ", run.tokens(), ", ", run.sequences(), ", ",
         run.outputs(), ", ", run.context(), " and ", run.experts());
    return;
  }
  // What the run has in use at the step, in the parts that grow with it.
  uint64_t claimed = 0;
  double reached = 0;
  for (const abi::Part *part : listOf(peak.parts())) {
    if (!covers(*part, steps, run.step(), run.step()))
      continue;
    claimed += part->bytes();
    double share = 1;
    if (part->kind() == abi::PartKind::buffer &&
        part->last_step() != UINT32_MAX)
      share = double(run.tokens()) / limits.max_tokens();
    if (part->kind() == abi::PartKind::kv && plan && plan->kv_pages()) {
      uint64_t pages =
          (uint64_t(run.context()) + HEADRACE_KV_PAGE_POSITIONS - 1) /
          HEADRACE_KV_PAGE_POSITIONS * run.sequences();
      share = double(pages) / plan->kv_pages();
    }
    if (part->kind() == abi::PartKind::slot && part->index() < poolCount() &&
        pool(part->index()).kind() == abi::PoolKind::cache) {
      // Each routed step leaves its active experts in slots.
      uint64_t brought = 0;
      for (const Schedule &schedule : schedules())
        for (const abi::Step *step : listOf(schedule.steps))
          if (schedule.number == steps &&
              step->kind() == abi::StepKind::routed &&
              bundle(step->bundle()).pool() == part->index())
            brought +=
                std::min(run.experts(),
                         plan->routings()->Get(step->routing())->experts());
      share = double(brought) / pool(part->index()).slots();
    }
    reached += std::min(share, 1.0) * double(part->bytes());
  }
  if (claimed != peak.bytes())
    fail(Rule::witness, on(peak.level()), "parts take ", claimed,
         " bytes at step #", run.step(), ", expected ", peak.bytes());
  else if (reached < kReached * double(peak.bytes()))
    fail(Rule::witness, on(peak.level()), "the run has ", uint64_t(reached),
         " bytes in use, expected about ", peak.bytes());
}
