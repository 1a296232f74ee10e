// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is in use at the fast level over the time of a step.
#include "tools/simulate/OccupancyLog.h"

#include "runtime/abi/kernel_abi.h"
#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>

using namespace headrace;
using namespace headrace::simulate;

uint64_t Occupancy::peak() const {
  uint64_t most = 0;
  for (const Point &point : points)
    most = std::max(most, std::accumulate(point.bytes.begin(),
                                          point.bytes.end(), uint64_t(0)));
  return most;
}

OccupancyLog::OccupancyLog(const abi::Manifest &manifest) : manifest(manifest) {
  const abi::Plan *plan = manifest.plan();
  empty.parts = {"resident weights", "activations",  "key-value cache",
                 "scratch",          "slots in use", "slots arriving"};
  empty.level = "dram";
  for (const abi::Level *level : *manifest.levels())
    if (level->name()->string_view() == "dram")
      empty.capacity = level->bytes();
  if (plan) {
    const abi::Level &level = *manifest.levels()->Get(plan->fast_level());
    empty.level = level.name()->str();
    empty.capacity = plan->budget() ? plan->budget() : level.arena_bytes();
    scratchBytes = uint64_t(plan->workers()) * plan->worker_bytes();
  }
}

void OccupancyLog::findLives(const Launches &launches) {
  if (known == &launches)
    return;
  known = &launches;
  weightBytes = 0;
  // A buffer lives from the first launch that names it to the last.
  const size_t buffers = manifest.buffers()->size();
  first.assign(buffers, UINT32_MAX);
  last.assign(buffers, 0);
  std::set<uint32_t> blobs;
  for (uint32_t i = 0; i < launches.size(); ++i) {
    const abi::Launch &launch = *launches.Get(i);
    for (uint32_t buffer : *launch.buffers()) {
      first[buffer] = std::min(first[buffer], i);
      last[buffer] = std::max(last[buffer], i);
    }
    const auto *slots =
        launch.kind() == abi::LaunchKind::matmul
            ? nullptr
            : manifest.kernels()->Get(launch.kernel())->weight_slots();
    for (uint32_t j = 0; j < launch.weights()->size(); ++j)
      for (uint32_t k = 0; k < (slots && j < slots->size() ? slots->Get(j) : 1);
           ++k) {
        const abi::Weight &weight =
            *manifest.weights()->Get(launch.weights()->Get(j) + k);
        if (weight.residency() == abi::Residency::resident ||
            weight.residency() == abi::Residency::mapped)
          blobs.insert(weight.blob());
      }
  }
  for (uint32_t blob : blobs)
    weightBytes += manifest.blobs()->Get(blob)->bytes();
}

uint64_t OccupancyLog::liveBytes(uint32_t launch) const {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < first.size(); ++i)
    if (manifest.buffers()->Get(i)->kind() == abi::BufferKind::scratch &&
        first[i] <= launch && launch <= last[i])
      sum += manifest.buffers()->Get(i)->bytes();
  return sum;
}

void OccupancyLog::begin(double time, const StepShape &shape,
                         const Launches &launches) {
  findLives(launches);
  start = time;
  uses.clear();
  cacheBytes = 0;
  if (const abi::KvCache *kv = manifest.kv()) {
    const uint64_t positions = shape.context + shape.tokens / shape.sequences;
    uint64_t layers = kv->layers(); // Whose pages stay.
    for (uint32_t i = 0;
         manifest.plan() && i < manifest.plan()->bundles()->size(); ++i)
      layers -= manifest.plan()->bundles()->Get(i)->layer() != UINT32_MAX;
    cacheBytes = shape.sequences * (kv->page_bytes() / kv->layers()) * layers *
                 ((positions + HEADRACE_KV_PAGE_POSITIONS - 1) /
                  HEADRACE_KV_PAGE_POSITIONS);
  }
}

void OccupancyLog::launch(double time, uint32_t launch) {
  uses.push_back({time, liveBytes(launch)});
}

void OccupancyLog::fetch(size_t transfer, uint32_t pool, bool wasFull) {
  fetches.push_back(
      {transfer, manifest.plan()->pools()->Get(pool)->slot_bytes(), wasFull});
}

std::vector<Occupancy> OccupancyLog::end(const Engine &engine) {
  const double over = engine.now();
  // Changes by time; those of one time make one point.
  std::map<double, std::array<int64_t, kParts>> changes;
  auto change = [&](double time, Part part, int64_t delta) {
    changes[std::clamp(time, start, over)][part] += delta;
  };
  change(start, kWeights, int64_t(weightBytes));
  change(start, kCache, int64_t(cacheBytes));
  change(start, kScratch, int64_t(scratchBytes));
  change(start, kUsed, usedBytes);
  int64_t live = 0;
  for (const Use &one : uses) {
    change(one.time, kActivations, int64_t(one.bytes) - live);
    live = int64_t(one.bytes);
  }
  // A slot changes hands when the transfer's turn comes; until then it holds
  // what it held. Transfers that have ended become part of what the next step
  // begins with.
  std::vector<Fetch> goOn;
  for (const Fetch &one : fetches) {
    const auto bytes = int64_t(one.bytes), replaced = one.wasFull ? bytes : 0;
    if (engine.started(one.transfer)) {
      change(engine.startedAt(one.transfer), kArriving, bytes);
      change(engine.startedAt(one.transfer), kUsed, -replaced);
    }
    if (engine.done(one.transfer)) {
      change(engine.endedAt(one.transfer), kArriving, -bytes);
      change(engine.endedAt(one.transfer), kUsed, bytes);
      usedBytes += bytes - replaced;
    } else {
      goOn.push_back(one);
    }
  }
  fetches = std::move(goOn);

  Occupancy occupancy = empty;
  std::array<int64_t, kParts> now = {};
  for (const auto &[time, deltas] : changes) {
    for (int i = 0; i < kParts; ++i)
      now[i] += deltas[i];
    Occupancy::Point point;
    point.time = time - start;
    for (int64_t bytes : now)
      point.bytes.push_back(uint64_t(std::max<int64_t>(bytes, 0)));
    occupancy.points.push_back(std::move(point));
  }
  return {std::move(occupancy)};
}
