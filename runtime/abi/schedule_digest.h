// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the digest of a schedule is taken over. A certificate holds for one
// schedule: the digest in it says for which. Included by both sides.
#ifndef HEADRACE_ABI_SCHEDULE_DIGEST_H
#define HEADRACE_ABI_SCHEDULE_DIGEST_H

#include "runtime/abi/package_generated.h"

namespace headrace::abi {

/// Calls `push` with each number that the schedule of `manifest` consists of, a
/// uint64_t, in a fixed order: what is placed where, what moves when, and what
/// runs when. The digest (Plan.digest, Peak.digest) is the XXH3-64 of these
/// numbers as little-endian bytes. Every vector is preceded by its length, so
/// no two schedules give the same numbers. `manifest` has a plan, is
/// well-formed, and the blobs that its weights name are there.
template <typename Push>
void ForEachScheduleWord(const Manifest &manifest, Push &&push) {
  auto word = [&](auto value) { push(static_cast<uint64_t>(value)); };
  auto size = [&](const auto *vector) { word(vector ? vector->size() : 0); };
  auto list = [&](const flatbuffers::Vector<uint32_t> *numbers) {
    size(numbers);
    for (uint32_t i = 0; numbers && i < numbers->size(); ++i)
      word(numbers->Get(i));
  };
  auto launches = [&](const auto *all) {
    size(all);
    for (uint32_t i = 0; i < all->size(); ++i) {
      const Launch &launch = *all->Get(i);
      word(launch.kernel());
      list(launch.buffers());
      list(launch.weights());
      word(launch.grid_kind());
      word(launch.grid_base());
      word(launch.grid_block());
      word(launch.grid_limit());
      word(launch.kind());
    }
  };
  auto steps = [&](const auto *all) {
    size(all);
    for (uint32_t i = 0; all && i < all->size(); ++i) {
      const Step &step = *all->Get(i);
      word(step.kind());
      word(step.launch());
      word(step.launch_count());
      word(step.bundle());
      word(step.slot());
      word(step.routing());
      word(step.most());
    }
  };

  size(manifest.levels());
  for (const Level *level : *manifest.levels()) {
    word(level->bytes());
    word(level->arena_bytes());
  }
  word(manifest.limits()->max_tokens());
  word(manifest.limits()->max_sequences());
  word(manifest.limits()->max_context());
  word(manifest.kv() ? manifest.kv()->page_bytes() : 0);

  const Plan &plan = *manifest.plan();
  word(plan.fast_level());
  word(plan.budget());
  word(plan.minimum_bytes());
  word(plan.workers());
  word(plan.worker_bytes());
  word(plan.scratch_offset());
  word(plan.kv_level());
  word(plan.kv_offset());
  word(plan.kv_pages());
  size(plan.pools());
  for (const Pool *pool : *plan.pools()) {
    word(pool->kind());
    word(pool->policy());
    word(pool->level());
    word(pool->offset());
    word(pool->slot_bytes());
    word(pool->min_slots());
    word(pool->slots());
  }
  size(plan.bundles());
  for (const Bundle *bundle : *plan.bundles()) {
    word(bundle->pool());
    word(bundle->bytes());
    list(bundle->weights());
    size(bundle->offsets());
    for (uint32_t i = 0; i < bundle->offsets()->size(); ++i)
      word(bundle->offsets()->Get(i));
  }
  size(plan.routings());
  for (const Routing *routing : *plan.routings()) {
    word(routing->buffer());
    word(routing->active_count_offset());
    word(routing->active_offset());
    word(routing->experts());
    word(routing->picks_offset());
    word(routing->weights_offset());
    word(routing->most_picks());
  }

  size(manifest.weights());
  for (const Weight *weight : *manifest.weights()) {
    word(manifest.blobs()->Get(weight->blob())->bytes());
    word(weight->residency());
    word(weight->level());
    word(weight->offset());
  }
  size(manifest.buffers());
  for (const Buffer *buffer : *manifest.buffers()) {
    word(buffer->kind());
    word(buffer->level());
    word(buffer->offset());
    word(buffer->bytes());
    word(buffer->base());
  }
  size(manifest.kernels());
  for (const Kernel *kernel : *manifest.kernels()) {
    word(kernel->scratch_bytes());
    list(kernel->weight_slots());
  }
  size(manifest.entries());
  for (const Entry *entry : *manifest.entries()) {
    list(entry->inputs());
    list(entry->outputs());
    launches(entry->launches());
    steps(entry->steps());
    size(entry->classes());
    for (uint32_t i = 0; entry->classes() && i < entry->classes()->size();
         ++i) {
      const StepClass &one = *entry->classes()->Get(i);
      word(one.code());
      word(one.max_tokens());
      word(one.max_sequences());
      word(one.max_outputs());
      launches(one.launches());
      steps(one.steps());
    }
  }
  // Last, so that the digests of plans without homes are what they were.
  if (plan.home_level() == UINT32_MAX)
    return;
  word(plan.home_level());
  word(plan.home_budget());
  word(plan.staging_offset());
  word(plan.staging_bytes());
  for (const Bundle *bundle : *plan.bundles()) {
    word(bundle->home());
    word(bundle->layer());
  }
}

} // namespace headrace::abi

#endif // HEADRACE_ABI_SCHEDULE_DIGEST_H
