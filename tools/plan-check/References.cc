// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the other checks rely on: indices name what is there, numbers can be
// added.
#include "tools/plan-check/Checker.h"

using namespace headrace;
using namespace headrace::plancheck;

void Checker::refers(uint32_t index, uint32_t count, const char *what,
                     uint32_t at, const char *to) {
  if (index >= count)
    fail(Rule::references, what, " #", at, " names ", to, " #", index, " of ",
         count);
}

bool Checker::checkReferences() {
  const uint32_t levels = manifest.levels()->size();
  const uint32_t buffers = manifest.buffers()->size();
  const size_t before = found.size();
  for (uint32_t i = 0; i < manifest.weights()->size(); ++i) {
    refers(weight(i).blob(), manifest.blobs()->size(), "weight", i, "blob");
    refers(weight(i).level(), levels, "weight", i, "level");
    if (weight(i).residency() > abi::Residency::MAX)
      fail(Rule::references, "weight #", i, " has no residency that is known");
    if (!plan && weight(i).residency() != abi::Residency::mapped)
      fail(Rule::references, "weight #", i, " is placed, but there is no plan");
  }
  for (uint32_t i = 0; i < buffers; ++i) {
    refers(buffer(i).level(), levels, "buffer", i, "level");
    if (buffer(i).kind() == abi::BufferKind::view)
      refers(buffer(i).base(), buffers, "buffer", i, "buffer");
  }
  bundleOf.assign(manifest.weights()->size(), kNone);
  if (plan)
    checkPlanReferences();
  for (const Schedule &schedule : schedules())
    checkScheduleReferences(schedule);
  // An entry, and one of its classes or its own steps.
  auto refersToSteps = [&](const auto &one, const char *what) {
    const uint32_t entries = manifest.entries()->size();
    refers(one.entry(), entries, what, 0, "entry");
    if (one.entry() < entries && one.step_class() != kNone)
      refers(one.step_class(),
             listOf(manifest.entries()->Get(one.entry())->classes()).size(),
             what, 0, "class");
  };
  for (const abi::Peak *peak : *manifest.certificate()) {
    refers(peak->level(), levels, "peak", 0, "level");
    for (const abi::Part *part : listOf(peak->parts()))
      refersToSteps(*part, "part of peak");
    if (peak->witness())
      refersToSteps(*peak->witness(), "witness");
  }
  return found.size() == before;
}

void Checker::checkPlanReferences() {
  const uint32_t levels = manifest.levels()->size();
  const uint32_t weights = manifest.weights()->size();
  refers(plan->fast_level(), levels, "plan", 0, "level");
  refers(plan->kv_level(), levels, "plan", 0, "level");
  if (plan->home_level() != kNone)
    refers(plan->home_level(), levels, "plan", 0, "level");
  if (const abi::KvCache *kv = manifest.kv(); // So that one may divide by both.
      kv && (kv->layers() == 0 || kv->page_bytes() < kv->layers()))
    fail(Rule::references, "a page of ", kv->page_bytes(), " bytes for ",
         kv->layers(), " layers");
  for (uint32_t i = 0; i < poolCount(); ++i) {
    refers(pool(i).level(), levels, "pool", i, "level");
    if (pool(i).kind() > abi::PoolKind::MAX ||
        pool(i).policy() > abi::CachePolicy::MAX)
      fail(Rule::references, "pool #", i, " has no kind that is known");
  }
  for (uint32_t i = 0; i < plan->routings()->size(); ++i)
    refers(plan->routings()->Get(i)->buffer(), manifest.buffers()->size(),
           "routing", i, "buffer");
  // Vectors of a FlatBuffer may share bytes, so that a small file describes
  // endless work. Nothing that a compiler writes has a weight in two bundles.
  uint64_t bundled = 0;
  for (uint32_t i = 0; i < bundleCount(); ++i) {
    const abi::Bundle &one = bundle(i);
    refers(one.pool(), poolCount(), "bundle", i, "pool");
    if (one.home() != kNowhere && plan->home_level() == kNone)
      fail(Rule::references, "bundle #", i, " has a home on no level");
    if (one.layer() != kNone) {
      refers(one.layer(), manifest.kv() ? manifest.kv()->layers() : 0, "bundle",
             i, "layer");
      pagesOf[one.layer()] = i;
    }
    if (one.offsets()->size() != one.weights()->size()) {
      fail(Rule::references, "bundle #", i, " has ", one.offsets()->size(),
           " offsets for ", one.weights()->size(), " weights");
      continue;
    }
    bundled += one.weights()->size();
    if (bundled > weights) {
      fail(Rule::references, "bundles hold more than the ", weights,
           " weights there are");
      return;
    }
    for (uint32_t which : *one.weights()) {
      refers(which, weights, "bundle", i, "weight");
      if (which < weights)
        bundleOf[which] = i;
    }
  }
}

void Checker::checkScheduleReferences(const Schedule &schedule) {
  const uint32_t weights = manifest.weights()->size();
  const uint32_t launches = schedule.launches.size();
  uint64_t named = 0;
  for (uint32_t i = 0; i < launches; ++i) {
    const abi::Launch &launch = *schedule.launches.Get(i);
    for (uint32_t which : *launch.buffers())
      refers(which, manifest.buffers()->size(), "launch", i, "buffer");
    if (launch.kind() == abi::LaunchKind::kernel)
      refers(launch.kernel(), manifest.kernels()->size(), "launch", i,
             "kernel");
    for (uint32_t j = 0; j < launch.weights()->size(); ++j) {
      const uint32_t first = launch.weights()->Get(j);
      const uint32_t slots = slotsOf(launch, j);
      if (slots == 0 || first > weights || slots > weights - first)
        fail(Rule::references, "launch #", i, " names ", slots,
             " weights from #", first, " on of ", weights);
      named += slots;
    }
    named += launch.buffers()->size();
    if (named > uint64_t(1) << 26) { // Shared vectors again.
      fail(Rule::references, schedule.name, " names too many weights");
      return;
    }
  }
  for (uint32_t i = 0; schedule.steps && i < schedule.steps->size(); ++i) {
    const abi::Step &step = *schedule.steps->Get(i);
    if (step.kind() > abi::StepKind::MAX)
      fail(Rule::references, "step #", i, " has no kind that is known");
    if (step.kind() == abi::StepKind::launch)
      refers(step.launch(), launches, "step", i, "launch");
    if (step.kind() != abi::StepKind::launch)
      refers(step.bundle(), bundleCount(), "step", i, "bundle");
    if (!runsSeveral(step.kind()))
      continue;
    refers(step.routing(), plan ? plan->routings()->size() : 0, "step", i,
           "routing");
    if (step.launch_count() == 0 ||
        !Range{step.launch(), step.launch_count()}.isIn(launches))
      fail(Rule::references, "step #", i, " runs ", step.launch_count(),
           " launches from #", step.launch(), " on of ", launches);
  }
}

bool Checker::checkSizes() {
  const size_t before = found.size();
  auto add = [&](const char *kind, uint32_t index, uint64_t offset,
                 uint64_t bytes, uint64_t count = 1) {
    uint64_t all = 0;
    if (__builtin_mul_overflow(bytes, count, &all) ||
        __builtin_add_overflow(offset, all, &all))
      fail(Rule::sizes, kind, " #", index, ": ", count, " times ", bytes,
           " bytes from ", offset, " on end beyond 2^64");
  };
  for (uint32_t i = 0; i < manifest.weights()->size(); ++i)
    add("weight", i, weight(i).offset(), weightBytes(i));
  for (uint32_t i = 0; i < manifest.buffers()->size(); ++i)
    add("buffer", i, buffer(i).offset(), buffer(i).bytes());
  for (uint32_t i = 0; i < poolCount(); ++i) {
    if (pool(i).min_slots() == 0 || pool(i).slots() < pool(i).min_slots())
      fail(Rule::sizes, "pool #", i, ": ", pool(i).slots(),
           " slots, expected at least one and its ", pool(i).min_slots());
    add("pool", i, pool(i).offset(), pool(i).slot_bytes(), pool(i).slots());
  }
  bool staged = false; // What has no home, on a GPU.
  for (const Schedule &one : schedules())
    staged |= plan && plan->home_level() != kNone && one.number.second != kNone;
  for (uint32_t i = 0; i < bundleCount(); ++i) {
    for (uint32_t j = 0; j < bundle(i).weights()->size(); ++j)
      add("bundle", i, bundle(i).offsets()->Get(j),
          weightBytes(bundle(i).weights()->Get(j)));
    if (bundle(i).home() != kNowhere)
      add("home of bundle", i, bundle(i).home(), bundle(i).bytes());
    else if (staged && bundle(i).layer() == kNone &&
             bundle(i).bytes() > plan->staging_bytes())
      fail(Rule::sizes, "bundle #", i, ": ", bundle(i).bytes(),
           " bytes come through staging of ", plan->staging_bytes());
  }
  if (plan) {
    add("staging", 0, plan->staging_offset(), plan->staging_bytes());
    add("scratch", 0, plan->scratch_offset(), plan->worker_bytes(),
        plan->workers());
    for (uint32_t i = 0; i < manifest.kernels()->size(); ++i)
      if (manifest.kernels()->Get(i)->scratch_bytes() > plan->worker_bytes())
        fail(Rule::sizes, "kernel #", i, ": a worker has ",
             plan->worker_bytes(), " bytes, expected at least ",
             manifest.kernels()->Get(i)->scratch_bytes());
    if (const abi::KvCache *kv = manifest.kv()) {
      add("key-value cache", 0, plan->kv_offset(), kv->page_bytes(),
          plan->kv_pages());
      if (plan->kv_pages() < kv->max_pages())
        fail(Rule::sizes, "the key-value cache has ", plan->kv_pages(),
             " pages, expected the ", kv->max_pages(), " of a sequence");
    }
  }
  for (const abi::Peak *peak : *manifest.certificate()) {
    uint64_t sum = 0; // So that parts can be added up.
    for (const abi::Part *part : listOf(peak->parts())) {
      add("part of peak", 0, part->offset(), part->bytes());
      if (__builtin_add_overflow(sum, part->bytes(), &sum))
        fail(Rule::sizes, "the parts of a peak are more than 2^64 bytes");
    }
  }
  return found.size() == before;
}
