// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The memory plan of a package, for people.
#include "tools/headrace/InspectPlan.h"

#include "tools/headrace/Flags.h"
#include "tools/headrace/Table.h"
#include "tools/package-reader/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"

#include <algorithm>
#include <cstdio>

using namespace headrace;
using namespace headrace::tools;

namespace {

/// Bytes and offsets of one kind of content, and how much of it there is.
struct Region {
  uint64_t first = UINT64_MAX, end = 0, bytes = 0, count = 0;

  void add(uint64_t offset, uint64_t size) {
    first = std::min(first, offset);
    end = std::max(end, offset + size);
    bytes += size;
    ++count;
  }
};

std::string number(uint64_t value) { return std::to_string(value); }

/// Launches and steps of an entry, or of one of its classes.
struct NamedSteps {
  std::string name;
  uint32_t launches;
  std::vector<const abi::Step *> steps;
};

NamedSteps
named(const std::string &name,
      const flatbuffers::Vector<flatbuffers::Offset<abi::Launch>> &launches,
      const flatbuffers::Vector<flatbuffers::Offset<abi::Step>> *steps) {
  NamedSteps out{name, launches.size(), {}};
  if (steps)
    out.steps.assign(steps->begin(), steps->end());
  return out;
}

class PlanPrinter {
public:
  explicit PlanPrinter(const abi::Manifest &manifest)
      : manifest(manifest), plan(*manifest.plan()) {
    for (const abi::Entry *entry : *manifest.entries()) {
      const std::string name = entry->name()->str();
      for (uint32_t i = 0; entry->classes() && i < entry->classes()->size();
           ++i) {
        const abi::StepClass &one = *entry->classes()->Get(i);
        schedules.push_back(
            named(name + ", " + manifest.code()->Get(one.code())->cpu()->str() +
                      ", to " + number(one.max_tokens()) + " tokens",
                  *one.launches(), one.steps()));
      }
      if (entry->launches()->size())
        schedules.push_back(named(name, *entry->launches(), entry->steps()));
    }
  }

  void print() const {
    summary();
    for (uint32_t i = 0; i < manifest.levels()->size(); ++i)
      if (manifest.levels()->Get(i)->arena_bytes())
        level(i);
    moved();
    steps();
  }

private:
  uint64_t blobBytes(uint32_t weight) const {
    return manifest.blobs()
        ->Get(manifest.weights()->Get(weight)->blob())
        ->bytes();
  }
  const abi::Peak *peakOf(uint32_t level) const {
    for (const abi::Peak *peak : *manifest.certificate())
      if (peak->level() == level)
        return peak;
    return nullptr;
  }

  void summary() const {
    auto line = [](const char *name, const std::string &value) {
      printf("%-18s%s\n", (name + std::string(":")).c_str(), value.c_str());
    };
    const abi::Level &fast = *manifest.levels()->Get(plan.fast_level());
    line("strategy", plan.strategy()->str());
    line("fast memory",
         fast.name()->str() + ", " + number(fast.arena_bytes()) + " bytes of " +
             (plan.budget() ? number(plan.budget()) : number(fast.bytes())) +
             ", at least " + number(plan.minimum_bytes()));
    if (const abi::Peak *peak = peakOf(plan.fast_level())) {
      std::string text = number(peak->bytes()) + " bytes";
      if (const abi::Witness *run = peak->witness())
        text += ", at step " + number(run->step()) + " of " +
                number(run->tokens()) + " tokens of " +
                number(run->sequences()) + " sequences that end at " +
                number(run->context()) + ", with " + number(run->experts()) +
                " experts a layer";
      line("peak", text);
    }
    if (plan.home_level() < manifest.levels()->size()) {
      const abi::Level &home = *manifest.levels()->Get(plan.home_level());
      line("what moves is in",
           home.name()->str() + ", " + number(home.arena_bytes()) +
               " bytes of " +
               (plan.home_budget() ? number(plan.home_budget())
                                   : number(home.bytes())));
    }
  }

  /// What of a level is taken by what.
  void level(uint32_t index) const {
    Table table("level " + manifest.levels()->Get(index)->name()->str(),
                {"what", "offset", "bytes", "count", "why"});
    auto row = [&](const char *what, const Region &region, const char *why) {
      if (region.count)
        table.add({what, number(region.first), number(region.bytes),
                   number(region.count), why});
    };
    Region activations, host, weights;
    for (const abi::Buffer *buffer : *manifest.buffers()) {
      if (buffer->level() != index)
        continue;
      if (buffer->kind() == abi::BufferKind::scratch)
        activations.add(buffer->offset(), buffer->bytes());
      else if (buffer->offset() && buffer->kind() != abi::BufferKind::view)
        host.add(buffer->offset(), buffer->bytes());
    }
    // Buffers share bytes, so their region is what counts.
    if (activations.count)
      activations.bytes = activations.end - activations.first;
    row("activations", activations, "written and read in every run");
    row("step buffers", host, "what the host gives and gets");
    if (index == plan.fast_level()) {
      Region scratch;
      scratch.add(plan.scratch_offset(), plan.workers() * plan.worker_bytes());
      scratch.count = plan.worker_bytes() ? plan.workers() : 0;
      row("scratch", scratch, "one piece a thread");
    }
    if (manifest.kv() && index == plan.kv_level()) {
      Region pages;
      uint64_t layers = manifest.kv()->layers();
      for (const abi::Bundle *bundle : *plan.bundles())
        layers -= isOfPages(*bundle);
      pages.add(plan.kv_offset(), plan.kv_pages() * layers * layerPageBytes());
      pages.count = plan.kv_pages() * layers;
      row("key-value pages", pages, "largest step: all sequences, full");
    }
    for (uint32_t i = 0; i < manifest.weights()->size(); ++i) {
      const abi::Weight &weight = *manifest.weights()->Get(i);
      if (weight.residency() == abi::Residency::resident &&
          weight.level() == index)
        weights.add(weight.offset(), blobBytes(i));
    }
    row("weights", weights, "read in every run, and there is room");
    for (const abi::Pool *pool : *plan.pools()) {
      if (pool->level() != index)
        continue;
      Region slots;
      slots.add(pool->offset(), pool->slots() * pool->slot_bytes());
      slots.count = pool->slots();
      const bool ring = pool->kind() == abi::PoolKind::ring;
      const bool ofPages =
          std::any_of(plan.bundles()->begin(), plan.bundles()->end(),
                      [&](const abi::Bundle *bundle) {
                        return isOfPages(*bundle) &&
                               plan.pools()->Get(bundle->pool()) == pool;
                      });
      const std::string why =
          ofPages ? "slots that layers' key-value pages take in turn"
          : ring  ? "slots that streamed weights take in turn"
                  : std::string("slots of experts that are used again, ") +
                        abi::EnumNameCachePolicy(pool->policy());
      row((pool->name()->str()).c_str(), slots, why.c_str());
    }
    if (index == plan.home_level()) {
      Region homes, staging, pages;
      for (const abi::Bundle *bundle : *plan.bundles())
        if (bundle->home() != UINT64_MAX)
          (isOfPages(*bundle) ? pages : homes)
              .add(bundle->home(), bundle->bytes());
      row("bundles", homes, "copied to slots when they are needed");
      row("key-value pages", pages,
          plan.home_budget() || isForGpu()
              ? "of layers that have no room"
              : "of layers that have no room: in a file");
      if (plan.staging_bytes())
        staging.add(plan.staging_offset(), plan.staging_bytes());
      row("staging", staging, "what is read from the package");
    }
    table.print();
  }

  bool isForGpu() const {
    return std::any_of(manifest.entries()->begin(), manifest.entries()->end(),
                       [](const abi::Entry *entry) {
                         return entry->classes() && entry->classes()->size();
                       });
  }
  static bool isOfPages(const abi::Bundle &bundle) {
    return bundle.layer() != UINT32_MAX;
  }
  uint64_t layerPageBytes() const {
    return manifest.kv()->page_bytes() / manifest.kv()->layers();
  }

  /// What does not stay, and how many bytes of it a run moves.
  void moved() const {
    Table table("elsewhere", {"what", "bytes", "count", "moved a run", "why"});
    Region streamed, routed, pages;
    uint64_t fetched = 0, experts = 0, ahead = 0;
    for (const abi::Bundle *bundle : *plan.bundles()) {
      const bool ring =
          plan.pools()->Get(bundle->pool())->kind() == abi::PoolKind::ring;
      (isOfPages(*bundle) ? pages
       : ring             ? streamed
                          : routed)
          .add(0, bundle->bytes());
    }
    for (const NamedSteps &schedule : schedules) {
      uint64_t bytes = 0, layers = 0;
      for (const abi::Step *step : schedule.steps) {
        if (step->kind() == abi::StepKind::fetch &&
            !isOfPages(*plan.bundles()->Get(step->bundle())))
          bytes += plan.bundles()->Get(step->bundle())->bytes();
        layers += step->kind() == abi::StepKind::routed;
        if (step->kind() == abi::StepKind::predict)
          ahead = std::max<uint64_t>(ahead, step->most());
      }
      fetched = std::max(fetched, bytes);
      experts = std::max(experts, layers);
    }
    if (streamed.count)
      table.add({"streamed bundles", number(streamed.bytes),
                 number(streamed.count), number(fetched),
                 "no room: read ahead, each when a slot is free"});
    if (pages.count)
      table.add({"key-value pages", number(pages.bytes), number(pages.count),
                 "what is used",
                 "no room: a layer's come before its attention, what is "
                 "written goes back"});
    if (routed.count)
      table.add({"experts", number(routed.bytes), number(routed.count),
                 "what misses",
                 "chosen by " + number(experts) + " routers when they run" +
                     (ahead ? ", " + number(ahead) +
                                  " a layer at most by the layer before"
                            : "")});
    table.print();
  }

  void steps() const {
    Table table("schedules", {"entry", "steps", "launches", "fetches",
                              "routed layers", "predicted"});
    for (const NamedSteps &schedule : schedules) {
      uint64_t kinds[uint32_t(abi::StepKind::MAX) + 1] = {};
      for (const abi::Step *step : schedule.steps)
        ++kinds[uint32_t(step->kind())];
      table.add({schedule.name, number(schedule.steps.size()),
                 number(schedule.launches),
                 number(kinds[uint32_t(abi::StepKind::fetch)]),
                 number(kinds[uint32_t(abi::StepKind::routed)]),
                 number(kinds[uint32_t(abi::StepKind::predict)])});
    }
    table.print();
  }

  const abi::Manifest &manifest;
  const abi::Plan &plan;
  std::vector<NamedSteps> schedules;
};

} // namespace

int tools::inspectPlan(const std::string &package) {
  plancheck::PackageReader reader;
  std::string error;
  if (!reader.open(package, &error))
    return fail(error);
  if (!reader.manifest().plan())
    return fail(package + ": has no plan; headrace compile --fast-memory "
                          "makes one");
  // The numbers below are believed, so they are checked first.
  if (!plancheck::checkPlan(reader.manifest()).empty())
    return fail(package + ": the plan is damaged; headrace verify --plan says "
                          "where");
  PlanPrinter(reader.manifest()).print();
  if (fflush(stdout) != 0 || ferror(stdout))
    return fail("standard output: cannot be written");
  return kSuccess;
}
