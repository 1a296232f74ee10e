// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the schedule of a package on a described machine.
#include "tools/simulate/PackageSimulator.h"

#include "runtime/abi/kernel_abi.h"
#include <algorithm>
#include <numeric>
#include <set>

using namespace headrace;
using namespace headrace::simulate;

Routing simulate::randomRouting(uint64_t experts, uint64_t seed) {
  return [=](uint64_t step, uint32_t layer, uint64_t count) {
    // SplitMix64 of where we are, so that no draw depends on the ones before.
    uint64_t state =
        seed + step * 0x9e3779b97f4a7c15 + layer * 0xd1b54a32d192ed03;
    auto next = [&] {
      uint64_t z = state += 0x9e3779b97f4a7c15;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      return z ^ (z >> 31);
    };
    std::vector<uint32_t> all(experts);
    std::iota(all.begin(), all.end(), 0);
    count = std::min(count, experts);
    for (uint64_t i = 0; i < count; ++i)
      std::swap(all[i], all[i + next() % (experts - i)]);
    all.resize(count);
    std::sort(all.begin(), all.end());
    return all;
  };
}

uint64_t Occupancy::peak() const {
  uint64_t most = 0;
  for (const Point &point : points)
    most = std::max(most, std::accumulate(point.bytes.begin(),
                                          point.bytes.end(), uint64_t(0)));
  return most;
}

namespace {

/// What the bytes of a level are for; the order of Occupancy::parts.
enum Part { kResident, kActivations, kCache, kPartCount };

} // namespace

struct PackageSimulator::State {
  State(const abi::Manifest &manifest, const Machine &machine, uint32_t entry,
        Routing routing)
      : manifest(manifest), machine(machine),
        entry(*manifest.entries()->Get(entry)), work(manifest), engine(machine),
        routing(std::move(routing)) {
    findLives();
  }

  /// A scratch buffer lives from the first launch that names it to the last.
  void findLives() {
    first.assign(manifest.buffers()->size(), UINT32_MAX);
    last.assign(manifest.buffers()->size(), 0);
    for (uint32_t i = 0; i < entry.launches()->size(); ++i)
      for (uint32_t buffer : *entry.launches()->Get(i)->buffers()) {
        first[buffer] = std::min(first[buffer], i);
        last[buffer] = std::max(last[buffer], i);
      }
    std::set<uint32_t> blobs;
    for (const abi::Launch *launch : *entry.launches())
      for (uint32_t i = 0; i < launch->weights()->size(); ++i)
        for (uint32_t j = 0; j < work.slotsOf(*launch, i); ++j)
          blobs.insert(
              manifest.weights()->Get(launch->weights()->Get(i) + j)->blob());
    for (uint32_t blob : blobs)
      residentBytes += manifest.blobs()->Get(blob)->bytes();
  }

  uint64_t liveBytes(uint32_t launch) const {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < first.size(); ++i)
      if (manifest.buffers()->Get(i)->kind() == abi::BufferKind::scratch &&
          first[i] <= launch && launch <= last[i])
        sum += manifest.buffers()->Get(i)->bytes();
    return sum;
  }

  const abi::Manifest &manifest;
  const Machine &machine;
  const abi::Entry &entry;
  LaunchWork work;
  Engine engine;
  Routing routing;
  std::vector<uint32_t> first, last; ///< By buffer: its launches.
  uint64_t residentBytes = 0;        ///< Of the weights that the entry reads.
  uint64_t steps = 0;
};

PackageSimulator::PackageSimulator(const abi::Manifest &manifest,
                                   const Machine &machine, uint32_t entry,
                                   Routing routing)
    : state(std::make_unique<State>(manifest, machine, entry,
                                    std::move(routing))) {}

PackageSimulator::~PackageSimulator() = default;

Simulation PackageSimulator::step(const StepShape &shape) {
  State &s = *state;
  const double begin = s.engine.now(), stalled = s.engine.stalled();
  const size_t bars = s.engine.bars().size();
  std::vector<double> moved;
  for (size_t i = 0; i < s.engine.lanes().size(); ++i)
    moved.push_back(s.engine.bytesOf(i));

  Simulation out;
  out.model = s.manifest.model()->str();
  out.machine = s.machine.name;
  out.tokens = shape.tokens;
  const uint64_t experts =
      expectedDistinct(shape.tokens, s.work.picks(), s.work.experts());
  Occupancy dram;
  dram.level = "dram";
  for (const abi::Level *level : *s.manifest.levels())
    if (level->name()->string_view() == "dram")
      dram.capacity = level->bytes();
  dram.parts = {"resident weights", "activations", "key-value cache"};
  uint64_t cache = 0;
  if (const abi::KvCache *kv = s.manifest.kv()) {
    uint64_t positions = shape.context + shape.tokens / shape.sequences;
    cache = shape.sequences * kv->page_bytes() *
            ((positions + HEADRACE_KV_PAGE_POSITIONS - 1) /
             HEADRACE_KV_PAGE_POSITIONS);
  }
  for (uint32_t i = 0; i < s.entry.launches()->size(); ++i) {
    std::vector<uint64_t> bytes(kPartCount);
    bytes[kResident] = s.residentBytes;
    bytes[kActivations] = s.liveBytes(i);
    bytes[kCache] = cache;
    dram.points.push_back({s.engine.now() - begin, bytes});
    s.engine.run(
        s.work.of(*s.entry.launches()->Get(i), shape, double(experts)));
  }
  s.engine.drain();
  ++s.steps;

  out.seconds = s.engine.now() - begin;
  out.stalled = s.engine.stalled() - stalled;
  out.lanes = s.engine.lanes();
  out.missing = s.engine.missing();
  for (size_t i = 0; i < out.lanes.size(); ++i)
    out.laneBytes.push_back(s.engine.bytesOf(i) -
                            (i < moved.size() ? moved[i] : 0));
  for (size_t i = bars; i < s.engine.bars().size(); ++i) {
    out.bars.push_back(s.engine.bars()[i]);
    out.bars.back().begin -= begin;
    out.bars.back().end -= begin;
  }
  if (!dram.points.empty())
    out.occupancy.push_back(std::move(dram));
  return out;
}
