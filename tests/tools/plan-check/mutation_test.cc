// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every rule against plans that break it by construction: none is accepted, and
// the rule is named. Plans as they were made are all accepted.
#include "tests/tools/plan-check/valid_plan.h"
#include "tools/plan-check/PlanChecker.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>

namespace headrace::plancheck {
namespace {

/// Of each rule; each mutant of a plan of its own.
constexpr int kMutants = 120;
constexpr uint64_t kPage = 4096;

std::vector<Violation> check(const abi::ManifestT &manifest) {
  std::vector<uint8_t> bytes = bytesOf(manifest);
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  EXPECT_TRUE(abi::VerifyManifestBuffer(verifier));
  return checkPlan(*abi::GetManifest(bytes.data()));
}

std::string text(const std::vector<Violation> &found) {
  std::string all;
  for (const Violation &one : found)
    all += std::string(ruleName(one.rule)) + ": " + one.text + "\n";
  return all;
}

/// Breaks one rule; false where this plan has nothing to break it with.
using Break = std::function<bool(abi::ManifestT &, Random &)>;

abi::EntryT &entryOf(abi::ManifestT &m) { return *m.entries[0]; }
/// Of the entry, or of its last class.
std::vector<std::unique_ptr<abi::LaunchT>> &launchesOf(abi::ManifestT &m) {
  abi::EntryT &entry = entryOf(m);
  return entry.classes.empty() ? entry.launches
                               : entry.classes.back()->launches;
}
std::vector<std::unique_ptr<abi::StepT>> &stepsOf(abi::ManifestT &m) {
  abi::EntryT &entry = entryOf(m);
  return entry.classes.empty() ? entry.steps : entry.classes.back()->steps;
}
/// A bundle with a home, drawn; null where none has.
abi::BundleT *housed(abi::ManifestT &m, Random &random) {
  if (m.plan->home_level == UINT32_MAX)
    return nullptr;
  for (;;)
    if (auto &one =
            m.plan->bundles[draw(random, 0, m.plan->bundles.size() - 1)];
        one->home != UINT64_MAX)
      return one.get();
}
abi::PeakT &peakOf(abi::ManifestT &m) { return *m.certificate[0]; }
uint64_t bytesOfWeight(abi::ManifestT &m, uint32_t weight) {
  return m.blobs[m.weights[weight]->blob]->bytes;
}

/// The index of a step of that kind, drawn.
size_t stepOf(abi::ManifestT &m, Random &random, abi::StepKind kind) {
  std::vector<size_t> all;
  for (size_t i = 0; i < stepsOf(m).size(); ++i)
    if (stepsOf(m)[i]->kind == kind)
      all.push_back(i);
  return all[draw(random, 0, all.size() - 1)];
}
/// The step of that kind for a bundle.
size_t stepFor(abi::ManifestT &m, abi::StepKind kind, uint32_t bundle) {
  for (size_t i = 0; i < stepsOf(m).size(); ++i)
    if (stepsOf(m)[i]->kind == kind && stepsOf(m)[i]->bundle == bundle)
      return i;
  ADD_FAILURE() << "no such step";
  return 0;
}
/// The routing of a step of that kind, drawn.
abi::RoutingT &routingOf(abi::ManifestT &m, Random &random,
                         abi::StepKind kind) {
  return *m.plan->routings[stepsOf(m)[stepOf(m, random, kind)]->routing];
}
void erase(abi::ManifestT &m, size_t step) {
  stepsOf(m).erase(stepsOf(m).begin() + long(step));
}
void insert(abi::ManifestT &m, size_t at, const abi::StepT &step) {
  stepsOf(m).insert(stepsOf(m).begin() + long(at),
                    std::make_unique<abi::StepT>(step));
}
uint32_t weightOf(abi::ManifestT &m, Random &random, abi::Residency residency) {
  for (;;) {
    auto i = uint32_t(draw(random, 0, m.weights.size() - 1));
    if (m.weights[i]->residency == residency)
      return i;
  }
}
uint32_t bufferOf(abi::ManifestT &m, Random &random, abi::BufferKind kind) {
  for (;;) {
    auto i = uint32_t(draw(random, 0, m.buffers.size() - 1));
    if (m.buffers[i]->kind == kind)
      return i;
  }
}
uint32_t any(Random &random, size_t count) {
  return uint32_t(draw(random, 0, count - 1));
}
/// An index behind the last one, near or far.
uint32_t beyond(Random &random, size_t count) {
  return draw(random, 0, 1) ? uint32_t(count)
                            : uint32_t(draw(random, count, UINT32_MAX));
}

/// What lies somewhere for as long as a schedule runs.
struct Placed {
  uint64_t *offset;
  uint64_t bytes, alignment;
};
std::vector<Placed> alwaysPlaced(abi::ManifestT &m) {
  std::vector<Placed> all;
  for (auto &weight : m.weights)
    if (weight->residency == abi::Residency::resident)
      all.push_back({&weight->offset, m.blobs[weight->blob]->bytes, kPage});
  for (auto &pool : m.plan->pools)
    all.push_back({&pool->offset, pool->slot_bytes * pool->slots, kPage});
  all.push_back({&m.plan->kv_offset, m.kv->page_bytes * m.plan->kv_pages, 64});
  all.push_back(
      {&m.plan->scratch_offset, m.plan->workers * m.plan->worker_bytes, 64});
  return all;
}

std::vector<Break> breaks(Rule rule) {
  using M = abi::ManifestT;
  using R = Random;
  using K = abi::StepKind;
  switch (rule) {
  case Rule::references:
    return {
        [](M &m, R &r) {
          m.weights[any(r, m.weights.size())]->blob = beyond(r, m.blobs.size());
          return true;
        },
        [](M &m, R &r) {
          m.weights[any(r, m.weights.size())]->level =
              beyond(r, m.levels.size());
          return true;
        },
        [](M &m, R &r) {
          m.buffers[any(r, m.buffers.size())]->level =
              beyond(r, m.levels.size());
          return true;
        },
        [](M &m, R &r) {
          m.plan->bundles[any(r, m.plan->bundles.size())]->pool = beyond(r, 2);
          return true;
        },
        [](M &m, R &r) {
          auto &bundle = *m.plan->bundles[any(r, m.plan->bundles.size())];
          bundle.weights[any(r, bundle.weights.size())] =
              beyond(r, m.weights.size());
          return true;
        },
        [](M &m, R &r) {
          m.plan->bundles[any(r, m.plan->bundles.size())]->offsets.pop_back();
          return true;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::fetch)]->bundle =
              beyond(r, m.plan->bundles.size());
          return true;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::launch)]->launch =
              beyond(r, launchesOf(m).size());
          return true;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::routed)]->launch_count =
              beyond(r, launchesOf(m).size() + 1);
          return true;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::routed)]->routing =
              beyond(r, m.plan->routings.size());
          return true;
        },
        [](M &m, R &r) {
          m.plan->routings[any(r, m.plan->routings.size())]->buffer =
              beyond(r, m.buffers.size());
          return true;
        },
        [](M &m, R &r) {
          auto &launches = launchesOf(m);
          launches[any(r, launches.size())]->weights[0] =
              beyond(r, m.weights.size());
          return true;
        },
        [](M &m, R &r) {
          auto &launches = launchesOf(m);
          launches[any(r, launches.size())]->buffers[0] =
              beyond(r, m.buffers.size());
          return true;
        },
        [](M &m, R &r) {
          auto &launches = launchesOf(m);
          launches[any(r, launches.size())]->kernel =
              beyond(r, m.kernels.size());
          return true;
        },
        [](M &m, R &r) {
          m.plan->pools[any(r, 2)]->level = beyond(r, m.levels.size());
          return true;
        },
        [](M &m, R &r) {
          peakOf(m).parts[any(r, peakOf(m).parts.size())]->entry = beyond(r, 1);
          return true;
        },
        [](M &m, R &r) {
          const uint32_t classes = uint32_t(entryOf(m).classes.size());
          uint32_t wrong = uint32_t(draw(r, classes, UINT32_MAX - 1));
          if (draw(r, 0, 1))
            peakOf(m).parts[any(r, peakOf(m).parts.size())]->step_class = wrong;
          else
            peakOf(m).witness->step_class = wrong;
          return true;
        },
        [](M &m, R &r) {
          m.plan->home_level =
              uint32_t(draw(r, m.levels.size(), UINT32_MAX - 1));
          return true;
        },
        // A home on no level.
        [](M &m, R &r) {
          if (!housed(m, r))
            return false;
          m.plan->home_level = UINT32_MAX;
          return true;
        }};
  case Rule::sizes:
    return {[](M &m, R &r) {
              abi::BundleT *one = housed(m, r);
              if (one && m.plan->staging_bytes && draw(r, 0, 1))
                m.plan->staging_bytes = 0; // Too small.
              else if (one)
                one->home = UINT64_MAX - draw(r, 1, one->bytes);
              return one != nullptr;
            },
            [](M &m, R &r) {
              uint32_t i = weightOf(m, r, abi::Residency::resident);
              m.weights[i]->offset =
                  UINT64_MAX - draw(r, 0, bytesOfWeight(m, i) - 1);
              return true;
            },
            [](M &m, R &r) {
              auto &buffer =
                  *m.buffers[bufferOf(m, r, abi::BufferKind::scratch)];
              buffer.offset = UINT64_MAX - draw(r, 0, buffer.bytes - 1);
              return true;
            },
            [](M &m, R &r) {
              m.plan->pools[any(r, 2)]->min_slots = 0;
              return true;
            },
            [](M &m, R &r) {
              auto &pool = *m.plan->pools[any(r, 2)];
              pool.slots = uint32_t(draw(r, 0, pool.min_slots - 1));
              return true;
            },
            [](M &m, R &r) {
              auto &pool = *m.plan->pools[any(r, 2)];
              pool.slot_bytes = UINT64_MAX / pool.slots + draw(r, 1, 1 << 20);
              return true;
            },
            [](M &m, R &r) {
              m.plan->kv_pages = uint32_t(draw(r, 0, m.kv->max_pages - 1));
              return true;
            },
            [](M &m, R &r) {
              uint64_t most = 0;
              for (auto &kernel : m.kernels)
                most = std::max(most, kernel->scratch_bytes);
              m.plan->worker_bytes = draw(r, 0, most - 1);
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).parts[any(r, peakOf(m).parts.size())]->bytes =
                  UINT64_MAX;
              return true;
            }};
  case Rule::bounds:
    return {[](M &m, R &r) {
              abi::BundleT *one = housed(m, r);
              if (one)
                one->home = m.levels[m.plan->home_level]->arena_bytes;
              return one && one->bytes;
            },
            [](M &m, R &r) {
              if (m.plan->home_level == UINT32_MAX)
                return false;
              m.plan->home_budget =
                  m.levels[m.plan->home_level]->arena_bytes - draw(r, 1, 9);
              return true;
            },
            [](M &m, R &r) {
              m.levels[0]->bytes = m.levels[0]->arena_bytes - draw(r, 1, 4000);
              return true;
            },
            [](M &m, R &r) {
              m.levels[0]->arena_bytes -=
                  draw(r, 1, 4000); // The cache ends it.
              return true;
            },
            [](M &m, R &r) {
              m.plan->budget = m.levels[0]->arena_bytes - draw(r, 1, 4000);
              return true;
            },
            [](M &m, R &r) {
              auto all = alwaysPlaced(m);
              const Placed &one = all[any(r, all.size())];
              *one.offset = m.levels[0]->arena_bytes / kPage * kPage +
                            draw(r, 0, 100) * kPage;
              // At the arena's end, and large enough to reach beyond it.
              return *one.offset + one.bytes > m.levels[0]->arena_bytes;
            },
            [](M &m, R &r) {
              auto &buffer =
                  *m.buffers[bufferOf(m, r, abi::BufferKind::scratch)];
              buffer.offset = m.levels[0]->arena_bytes + draw(r, 1, 1000) * 64;
              buffer.offset = buffer.offset / 64 * 64;
              return buffer.offset + buffer.bytes > m.levels[0]->arena_bytes;
            }};
  case Rule::alignment:
    return {[](M &m, R &r) {
              abi::BundleT *one = housed(m, r);
              if (one)
                one->home += 64 * draw(r, 1, 63);
              return one != nullptr;
            },
            [](M &m, R &r) {
              auto all = alwaysPlaced(m);
              const Placed &one = all[any(r, all.size())];
              *one.offset -= draw(r, 1, one.alignment - 1);
              return *one.offset < m.levels[0]->arena_bytes;
            },
            [](M &m, R &r) {
              m.buffers[bufferOf(m, r, abi::BufferKind::scratch)]->offset +=
                  draw(r, 1, 63);
              return true;
            },
            [](M &m, R &r) {
              auto &bundle = *m.plan->bundles[any(r, m.plan->bundles.size())];
              bundle.offsets[any(r, bundle.offsets.size())] +=
                  draw(r, 1, kPage - 1);
              return true;
            },
            [](M &m, R &r) {
              m.plan->pools[any(r, 2)]->slot_bytes -= draw(r, 1, kPage - 1);
              return true;
            },
            [](M &m, R &r) {
              m.plan->worker_bytes -= draw(r, 1, 63);
              return true;
            }};
  case Rule::overlap:
    return {
        // A home onto another one.
        [](M &m, R &r) {
          abi::BundleT *a = housed(m, r), *b = a ? housed(m, r) : nullptr;
          if (a == b || a->bytes == 0 || b->bytes == 0)
            return false;
          a->home = b->home;
          return true;
        },
        // One thing that is always there onto another.
        [](M &m, R &r) {
          auto all = alwaysPlaced(m);
          const Placed &a = all[any(r, all.size())];
          const Placed &b = all[any(r, all.size())];
          *a.offset = *b.offset / a.alignment * a.alignment;
          return a.offset != b.offset && *a.offset + a.bytes > *b.offset;
        },
        // A buffer onto something that is always there.
        [](M &m, R &r) {
          auto all = alwaysPlaced(m);
          const Placed &b = all[any(r, all.size())];
          auto &buffer = *m.buffers[bufferOf(m, r, abi::BufferKind::scratch)];
          buffer.offset = (*b.offset + draw(r, 0, b.bytes - 1)) / 64 * 64;
          return buffer.offset + buffer.bytes > *b.offset;
        },
        // The rows of a layer onto its routing: both live in its routed step.
        [](M &m, R &r) {
          auto &routed = *stepsOf(m)[stepOf(m, r, K::routed)];
          auto &launch = *launchesOf(m)[routed.launch];
          auto &list = *m.buffers[launch.buffers[1]];
          m.buffers[launch.buffers[2]]->offset = list.offset;
          return true;
        },
        // An input that the host writes before the step, onto a later buffer.
        [](M &m, R &r) {
          (void)r;
          m.buffers[0]->offset = m.buffers[4]->offset; // tokens, hidden
          return true;
        }};
  case Rule::bundles:
    return {[](M &m, R &r) {
              auto &bundle = *m.plan->bundles[any(r, m.plan->bundles.size())];
              bundle.bytes = m.plan->pools[bundle.pool]->slot_bytes +
                             draw(r, 1, 3) * kPage;
              return true;
            },
            [](M &m, R &r) {
              m.plan->bundles[any(r, m.plan->bundles.size())]->bytes -=
                  draw(r, 1, kPage);
              return true;
            },
            [](M &m, R &r) {
              auto &bundle = *m.plan->bundles[any(r, m.plan->bundles.size())];
              bundle.offsets[1] = bundle.offsets[0];
              return true;
            },
            [](M &m, R &r) {
              auto &bundle = *m.plan->bundles[any(r, m.plan->bundles.size())];
              std::swap(bundle.offsets[0], bundle.offsets[1]);
              return true;
            },
            [](M &m, R &r) {
              m.weights[weightOf(m, r, abi::Residency::routed)]->residency =
                  abi::Residency::streamed;
              return true;
            },
            [](M &m, R &r) {
              m.weights[weightOf(m, r, abi::Residency::streamed)]->residency =
                  abi::Residency::routed;
              return true;
            },
            [](M &m, R &r) {
              auto &bundle = *m.plan->bundles[any(r, m.plan->bundles.size())];
              bundle.weights.pop_back();
              bundle.offsets.pop_back();
              return true;
            },
            [](M &m, R &r) {
              uint32_t a = any(r, m.plan->bundles.size());
              uint32_t b = any(r, m.plan->bundles.size());
              m.plan->bundles[a]->weights[0] = m.plan->bundles[b]->weights[0];
              return a != b;
            },
            [](M &m, R &r) {
              m.plan->pools[any(r, 2)]->slot_bytes -=
                  kPage; // Of the largest one.
              return true;
            }};
  case Rule::order:
    return {[](M &m, R &r) {
              size_t a = stepOf(m, r, K::launch), b = stepOf(m, r, K::launch);
              std::swap(stepsOf(m)[a]->launch, stepsOf(m)[b]->launch);
              return a != b;
            },
            [](M &m, R &r) {
              erase(m, stepOf(m, r, K::launch));
              return true;
            },
            [](M &m, R &r) {
              erase(m, stepOf(m, r, K::routed));
              return true;
            },
            [](M &m, R &r) {
              size_t at = stepOf(m, r, draw(r, 0, 1) ? K::launch : K::routed);
              insert(m, at, abi::StepT(*stepsOf(m)[at]));
              return true;
            },
            [](M &m, R &r) {
              stepsOf(m)[stepOf(m, r, K::routed)]->launch_count = 1;
              return true;
            },
            [](M &m, R &r) {
              stepsOf(m)[stepOf(m, r, K::routed)]->launch += 1;
              return true;
            }};
  case Rule::slots:
    return {// The slot of the bundle that was fetched before, while it is held.
            [](M &m, R &r) {
              (void)r;
              auto &steps = stepsOf(m);
              steps[1]->slot = steps[0]->slot; // Both before the first wait.
              return true;
            },
            [](M &m, R &r) {
              size_t at = stepOf(m, r, K::fetch);
              insert(m, at + 1, abi::StepT(*stepsOf(m)[at]));
              return true;
            },
            [](M &m, R &r) {
              stepsOf(m)[stepOf(m, r, K::fetch)]->slot =
                  beyond(r, m.plan->pools[0]->min_slots);
              return true;
            },
            // A later fetch before the release that frees its slot.
            [](M &m, R &r) {
              size_t release = stepOf(m, r, K::release);
              if (release + 1 >= stepsOf(m).size() ||
                  stepsOf(m)[release + 1]->kind != K::fetch)
                return false;
              std::swap(stepsOf(m)[release], stepsOf(m)[release + 1]);
              return true;
            },
            // The ring's fetch names an expert.
            [](M &m, R &r) {
              auto &fetch = *stepsOf(m)[stepOf(m, r, K::fetch)];
              fetch.bundle = stepsOf(m)[stepOf(m, r, K::routed)]->bundle;
              return true;
            }};
  case Rule::arrival:
    return {[](M &m, R &r) {
      uint32_t bundle = stepsOf(m)[stepOf(m, r, K::fetch)]->bundle;
      for (K kind : {K::fetch, K::wait, K::release})
        erase(m, stepFor(m, kind, bundle));
      return true;
    }};
  case Rule::waits:
    return {[](M &m, R &r) {
              erase(m, stepOf(m, r, K::wait));
              return true;
            },
            // Behind the launch that needs it.
            [](M &m, R &r) {
              size_t at = stepOf(m, r, K::wait);
              std::swap(stepsOf(m)[at], stepsOf(m)[at + 1]);
              return true;
            },
            [](M &m, R &r) {
              size_t at = stepOf(m, r, K::wait);
              insert(m, at, abi::StepT(*stepsOf(m)[at]));
              return true;
            },
            // Before the transfer begins.
            [](M &m, R &r) {
              uint32_t bundle = stepsOf(m)[stepOf(m, r, K::fetch)]->bundle;
              abi::StepT wait = *stepsOf(m)[stepFor(m, K::wait, bundle)];
              erase(m, stepFor(m, K::wait, bundle));
              insert(m, stepFor(m, K::fetch, bundle), wait);
              return true;
            }};
  case Rule::releases:
    return {// Before the launch that needs it.
            [](M &m, R &r) {
              size_t at = stepOf(m, r, K::release);
              std::swap(stepsOf(m)[at - 1], stepsOf(m)[at]);
              return true;
            },
            [](M &m, R &r) {
              size_t at = stepOf(m, r, K::release);
              insert(m, at, abi::StepT(*stepsOf(m)[at]));
              return true;
            },
            // While the transfer is under way.
            [](M &m, R &r) {
              uint32_t bundle = stepsOf(m)[stepOf(m, r, K::fetch)]->bundle;
              size_t wait = stepFor(m, K::wait, bundle);
              abi::StepT release = *stepsOf(m)[stepFor(m, K::release, bundle)];
              erase(m, stepFor(m, K::release, bundle));
              insert(m, wait, release);
              return true;
            }};
  case Rule::ends:
    return {[](M &m, R &r) {
              // One of the last bundles: nobody wants its slot.
              uint32_t last = 0;
              for (auto &step : stepsOf(m))
                if (step->kind == K::fetch)
                  last = std::max(last, step->bundle);
              (void)r;
              erase(m, stepFor(m, K::release, last));
              return true;
            },
            [](M &m, R &r) {
              abi::StepT fetch = *stepsOf(m)[stepOf(m, r, K::fetch)];
              insert(m, stepsOf(m).size(), fetch);
              return true;
            }};
  case Rule::waves:
    return {[](M &m, R &r) {
              stepsOf(m)[stepOf(m, r, K::routed)]->bundle += 1;
              return true;
            },
            [](M &m, R &r) {
              auto &step = *stepsOf(m)[stepOf(m, r, K::routed)];
              step.bundle = stepsOf(m)[stepOf(m, r, K::fetch)]->bundle;
              return true;
            },
            [](M &m, R &r) {
              auto &list = routingOf(m, r, K::routed);
              list.experts += draw(r, 0, 1) ? 1 : uint32_t(-1);
              return true;
            },
            [](M &m, R &r) {
              auto &list = routingOf(m, r, K::routed);
              list.active_offset =
                  m.buffers[list.buffer]->bytes - draw(r, 0, 8);
              return true;
            },
            [](M &m, R &r) {
              auto &list = routingOf(m, r, K::routed);
              list.active_count_offset =
                  m.buffers[list.buffer]->bytes - draw(r, 0, 3);
              return true;
            },
            // The list of another layer.
            [](M &m, R &r) {
              auto &step = *stepsOf(m)[stepOf(m, r, K::routed)];
              step.routing =
                  uint32_t((step.routing + 1) % m.plan->routings.size());
              return true;
            },
            // Experts without waves.
            [](M &m, R &r) {
              size_t at = stepOf(m, r, K::routed);
              abi::StepT launch;
              launch.kind = K::launch;
              launch.launch = stepsOf(m)[at]->launch + 1;
              stepsOf(m)[at]->launch_count = 1;
              insert(m, at + 1, launch);
              return true;
            },
            // The weights of another layer.
            [](M &m, R &r) {
              auto &a = *stepsOf(m)[stepOf(m, r, K::routed)];
              auto &b = *stepsOf(m)[stepOf(m, r, K::routed)];
              auto &launches = launchesOf(m);
              std::swap(launches[a.launch]->weights[0],
                        launches[b.launch]->weights[0]);
              return &a != &b;
            }};
  case Rule::parts:
    return {[](M &m, R &r) { // Of the home level.
              if (m.certificate.size() < 2)
                return false;
              auto &parts = m.certificate[1]->parts;
              if (draw(r, 0, 1))
                parts[any(r, parts.size())]->kind = abi::PartKind::kv;
              else
                parts.erase(parts.begin() + any(r, parts.size()));
              return true;
            },
            [](M &m, R &r) {
              auto &parts = peakOf(m).parts;
              parts.erase(parts.begin() + any(r, parts.size()));
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).parts[any(r, peakOf(m).parts.size())]->offset += 64;
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).parts[any(r, peakOf(m).parts.size())]->bytes +=
                  draw(r, 1, 1000);
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).parts[any(r, peakOf(m).parts.size())]->index +=
                  uint32_t(draw(r, 1, 50));
              return true;
            },
            // In use later than it is used, or no longer while it is.
            [](M &m, R &r) {
              auto &part = *peakOf(m).parts[any(r, peakOf(m).parts.size())];
              if (part.kind != abi::PartKind::buffer)
                return false;
              if (draw(r, 0, 1))
                part.first_step += 1;
              else if (part.last_step > part.first_step)
                part.last_step -= 1;
              else
                return false;
              return true;
            },
            [](M &m, R &r) {
              auto &part = *peakOf(m).parts[any(r, peakOf(m).parts.size())];
              if (part.last_step != UINT32_MAX)
                return false;
              part.last_step = uint32_t(draw(r, 0, stepsOf(m).size() - 2));
              return true;
            },
            [](M &m, R &r) {
              auto &part = *peakOf(m).parts[any(r, peakOf(m).parts.size())];
              part.kind =
                  abi::PartKind((unsigned(part.kind) + draw(r, 1, 4)) % 5);
              return true;
            },
            // Something that is not there.
            [](M &m, R &r) {
              auto part = std::make_unique<abi::PartT>(
                  *peakOf(m).parts[any(r, peakOf(m).parts.size())]);
              part->index += 1000;
              peakOf(m).parts.push_back(std::move(part));
              return true;
            },
            [](M &m, R &r) {
              (void)r;
              m.certificate.clear();
              return true;
            }};
  case Rule::peak:
    return {[](M &m, R &r) {
              if (m.certificate.size() < 2)
                return false;
              m.certificate[1]->bytes += draw(r, 1, 1 << 20);
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).bytes -= draw(r, 1, peakOf(m).bytes);
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).bytes += draw(r, 1, 1 << 20);
              return true;
            }};
  case Rule::witness:
    return {
        [](M &m, R &r) {
          (void)r;
          peakOf(m).witness.reset();
          return true;
        },
        [](M &m, R &r) {
          peakOf(m).witness->tokens =
              draw(r, 0, 1) ? 0
                            : m.limits->max_tokens + uint32_t(draw(r, 1, 9));
          return true;
        },
        [](M &m, R &r) {
          peakOf(m).witness->sequences =
              draw(r, 0, 1) ? 0
                            : m.limits->max_sequences + uint32_t(draw(r, 1, 9));
          return true;
        },
        [](M &m, R &r) {
          peakOf(m).witness->context =
              m.limits->max_context + uint32_t(draw(r, 1, 9));
          return true;
        },
        [](M &m, R &r) {
          peakOf(m).witness->outputs =
              peakOf(m).witness->tokens + uint32_t(draw(r, 1, 9));
          return true;
        },
        // More rows than the sequences have positions.
        [](M &m, R &r) {
          (void)r;
          peakOf(m).witness->context = 0;
          return true;
        },
        // More experts than there are.
        [](M &m, R &r) {
          peakOf(m).witness->experts += uint32_t(draw(r, 1, 100));
          return true;
        },
        // A step with fewer parts.
        [](M &m, R &r) {
          auto &run = *peakOf(m).witness;
          run.step = uint32_t(draw(r, 0, stepsOf(m).size() - 1));
          uint64_t sum = 0;
          for (auto &part : peakOf(m).parts)
            if (part->first_step <= run.step && run.step <= part->last_step &&
                (part->last_step == UINT32_MAX ||
                 part->step_class == run.step_class))
              sum += part->bytes;
          return sum != peakOf(m).bytes;
        },
        // A cache of keys and values that stays nearly empty.
        [](M &m, R &r) {
          (void)r;
          auto &run = *peakOf(m).witness;
          run.context = (run.tokens + run.sequences - 1) / run.sequences;
          return true;
        }};
  case Rule::digest:
    return {[](M &m, R &r) {
              m.plan->digest ^= uint64_t(1) << draw(r, 0, 63);
              return true;
            },
            [](M &m, R &r) {
              peakOf(m).digest ^= uint64_t(1) << draw(r, 0, 63);
              return true;
            },
            // The certificate of another program.
            [](M &m, R &r) {
              abi::ManifestT other = validPlan(r);
              m.certificate = std::move(other.certificate);
              return true;
            },
            // The certificate of an earlier schedule.
            [](M &m, R &r) {
              m.limits->max_context += uint32_t(draw(r, 1, 100));
              return true;
            },
            [](M &m, R &r) {
              std::swap(stepsOf(m)[0], stepsOf(m)[1]); // As good, but another.
              (void)r;
              return true;
            }};
  case Rule::stores: // In pageBreaks: weights are not stored.
    return {};
  case Rule::predictions:
    return {
        // Its own list, which the layer behind it reads.
        [](M &m, R &r) {
          auto &guess = routingOf(m, r, K::predict);
          guess.buffer = routingOf(m, r, K::routed).buffer;
          return true;
        },
        // A launch that reads a guess.
        [](M &m, R &r) {
          auto &launches = launchesOf(m);
          const auto &routed = *stepsOf(m)[stepOf(m, r, K::routed)];
          launches[routed.launch + draw(r, 0, 1)]->buffers.push_back(
              routingOf(m, r, K::predict).buffer);
          return true;
        },
        // One that nobody makes.
        [](M &m, R &r) {
          auto &step = *stepsOf(m)[stepOf(m, r, K::predict)];
          launchesOf(m)[step.launch]->buffers.pop_back();
          return true;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::predict)]->most = 0;
          return true;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::predict)]->launch_count = 2;
          return true;
        },
        // For a layer that is over, or for other experts than a layer's.
        [](M &m, R &r) {
          const size_t at = stepOf(m, r, K::predict);
          for (size_t i = 0; i < at; ++i)
            if (stepsOf(m)[i]->kind == K::routed) {
              stepsOf(m)[at]->bundle = stepsOf(m)[i]->bundle;
              return true;
            }
          return false;
        },
        [](M &m, R &r) {
          stepsOf(m)[stepOf(m, r, K::predict)]->bundle += 1;
          return true;
        },
        [](M &m, R &r) {
          routingOf(m, r, K::predict).experts +=
              draw(r, 0, 1) ? 1 : uint32_t(-1);
          return true;
        },
        // Lists that end beyond the buffer.
        [](M &m, R &r) {
          auto &guess = routingOf(m, r, K::predict);
          guess.picks_offset = m.buffers[guess.buffer]->bytes - draw(r, 0, 8);
          return true;
        },
        [](M &m, R &r) {
          auto &guess = routingOf(m, r, K::predict);
          guess.most_picks += uint32_t(draw(r, 1, 1 << 20));
          return true;
        },
        [](M &m, R &r) {
          auto &guess = routingOf(m, r, K::predict);
          guess.active_offset = m.buffers[guess.buffer]->bytes - draw(r, 0, 8);
          return true;
        },
        [](M &m, R &r) {
          auto &guess = routingOf(m, r, K::predict);
          guess.active_count_offset =
              m.buffers[guess.buffer]->bytes - draw(r, 0, 3);
          return true;
        }};
  }
  return {};
}

/// A step of that kind for pages, drawn.
size_t pageStepOf(abi::ManifestT &m, Random &random, abi::StepKind kind) {
  for (;;) {
    const size_t at = stepOf(m, random, kind);
    if (m.plan->bundles[stepsOf(m)[at]->bundle]->layer != UINT32_MAX)
      return at;
  }
}
abi::BundleT &pagesOf(abi::ManifestT &m, Random &random) {
  const size_t at = pageStepOf(m, random, abi::StepKind::fetch);
  return *m.plan->bundles[stepsOf(m)[at]->bundle];
}

/// What breaks a rule in a plan whose pages move.
std::vector<Break> pageBreaks(Rule rule) {
  using M = abi::ManifestT;
  using R = Random;
  using K = abi::StepKind;
  switch (rule) {
  case Rule::references:
    return {[](M &m, R &r) {
              pagesOf(m, r).layer = uint32_t(m.kv->layers + draw(r, 0, 9));
              return true;
            },
            [](M &m, R &r) {
              m.plan->home_level = beyond(r, 2);
              return true;
            }};
  case Rule::sizes:
    return {[](M &m, R &r) {
      pagesOf(m, r).home = UINT64_MAX - draw(r, 1, 2) * kPage;
      return true;
    }};
  case Rule::bounds:
    return {[](M &m, R &r) {
              m.levels[1]->arena_bytes -= draw(r, 1, 4000);
              return true;
            },
            [](M &m, R &r) {
              pagesOf(m, r).home =
                  m.levels[1]->arena_bytes - draw(r, 0, 1) * kPage;
              return true;
            }};
  case Rule::alignment:
    return {[](M &m, R &r) {
      pagesOf(m, r).home += draw(r, 1, kPage - 1);
      return true;
    }};
  case Rule::overlap:
    return {// The homes of two layers.
            [](M &m, R &r) {
              auto &a = pagesOf(m, r), &b = pagesOf(m, r);
              a.home = b.home + draw(r, 0, b.bytes / kPage - 1) * kPage;
              return &a != &b;
            },
            // The slots onto the pages that stay.
            [](M &m, R &r) {
              (void)r;
              m.plan->pools[2]->offset = m.plan->kv_offset / kPage * kPage;
              return true;
            }};
  case Rule::bundles:
    return {[](M &m, R &r) {
              pagesOf(m, r).bytes -= draw(r, 1, 3) * kPage;
              return true;
            },
            [](M &m, R &r) { // Two bundles of one layer.
              auto &a = pagesOf(m, r), &b = pagesOf(m, r);
              a.layer = b.layer;
              return &a != &b;
            },
            [](M &m, R &r) {
              pagesOf(m, r).home = UINT64_MAX;
              return true;
            },
            [](M &m, R &r) {
              pagesOf(m, r).pool = 1; // The cache.
              return true;
            },
            [](M &m, R &r) {
              auto &bundle = pagesOf(m, r);
              bundle.weights.push_back(any(r, m.weights.size()));
              bundle.offsets.push_back(0);
              return true;
            }};
  case Rule::slots:
    return {[](M &m, R &r) {
              stepsOf(m)[pageStepOf(m, r, K::fetch)]->slot =
                  beyond(r, m.plan->pools[2]->slots);
              return true;
            },
            [](M &m, R &r) {
              size_t at = pageStepOf(m, r, K::fetch);
              insert(m, at + 1, abi::StepT(*stepsOf(m)[at]));
              return true;
            }};
  case Rule::arrival:
    return {[](M &m, R &r) {
      uint32_t bundle = stepsOf(m)[pageStepOf(m, r, K::fetch)]->bundle;
      for (K kind : {K::fetch, K::wait, K::store, K::release})
        erase(m, stepFor(m, kind, bundle));
      return true;
    }};
  case Rule::waits:
    return {[](M &m, R &r) {
              erase(m, pageStepOf(m, r, K::wait));
              return true;
            },
            [](M &m, R &r) { // Behind the launch.
              uint32_t bundle = stepsOf(m)[pageStepOf(m, r, K::wait)]->bundle;
              abi::StepT wait = *stepsOf(m)[stepFor(m, K::wait, bundle)];
              erase(m, stepFor(m, K::wait, bundle));
              insert(m, stepFor(m, K::store, bundle), wait);
              return true;
            }};
  case Rule::releases:
    return {[](M &m, R &r) { // Before the launch.
              uint32_t bundle =
                  stepsOf(m)[pageStepOf(m, r, K::release)]->bundle;
              abi::StepT release = *stepsOf(m)[stepFor(m, K::release, bundle)];
              erase(m, stepFor(m, K::release, bundle));
              insert(m, stepFor(m, K::wait, bundle) + 1, release);
              return true;
            },
            [](M &m, R &r) {
              size_t at = pageStepOf(m, r, K::release);
              insert(m, at, abi::StepT(*stepsOf(m)[at]));
              return true;
            }};
  case Rule::ends:
    return {[](M &m, R &r) {
              (void)r;
              erase(m, stepFor(m, K::release,
                               uint32_t(m.plan->bundles.size() - 1)));
              return true;
            },
            [](M &m, R &r) {
              abi::StepT fetch = *stepsOf(m)[pageStepOf(m, r, K::fetch)];
              insert(m, stepsOf(m).size(), fetch);
              return true;
            }};
  case Rule::parts:
    return {[](M &m, R &r) {
              auto &parts = m.certificate[1]->parts;
              parts.erase(parts.begin() + any(r, parts.size()));
              return true;
            },
            [](M &m, R &r) {
              (void)r;
              m.certificate.pop_back();
              return true;
            }};
  case Rule::peak:
    return {[](M &m, R &r) {
      m.certificate[1]->bytes -= draw(r, 1, 4000);
      return true;
    }};
  case Rule::stores:
    return {[](M &m, R &r) {
              erase(m, stepOf(m, r, K::store));
              return true;
            },
            // Before the launch that writes.
            [](M &m, R &r) {
              uint32_t bundle = stepsOf(m)[stepOf(m, r, K::store)]->bundle;
              abi::StepT store = *stepsOf(m)[stepFor(m, K::store, bundle)];
              erase(m, stepFor(m, K::store, bundle));
              insert(m, stepFor(m, K::wait, bundle) + 1, store);
              return true;
            },
            // Before the pages have arrived.
            [](M &m, R &r) {
              uint32_t bundle = stepsOf(m)[stepOf(m, r, K::store)]->bundle;
              abi::StepT store = *stepsOf(m)[stepFor(m, K::store, bundle)];
              insert(m, stepFor(m, K::wait, bundle), store);
              return true;
            },
            // Behind the release.
            [](M &m, R &r) {
              uint32_t bundle = stepsOf(m)[stepOf(m, r, K::store)]->bundle;
              abi::StepT store = *stepsOf(m)[stepFor(m, K::store, bundle)];
              erase(m, stepFor(m, K::store, bundle));
              insert(m, stepFor(m, K::release, bundle) + 1, store);
              return true;
            },
            // Of weights, which nobody writes.
            [](M &m, R &r) {
              stepsOf(m)[stepOf(m, r, K::store)]->bundle = 0;
              return true;
            },
            // A second launch that writes, behind the store.
            [](M &m, R &r) {
              uint32_t bundle = stepsOf(m)[stepOf(m, r, K::store)]->bundle;
              const size_t at = stepFor(m, K::store, bundle);
              const auto &next = *stepsOf(m)[at + 1];
              if (next.kind != K::launch)
                return false;
              const uint32_t layer = m.plan->bundles[bundle]->layer;
              for (uint32_t i = 0; i < m.buffers.size(); ++i)
                if (m.buffers[i]->kind == abi::BufferKind::view &&
                    m.buffers[i]->offset == layer * kPage)
                  launchesOf(m)[next.launch]->buffers.push_back(i);
              return true;
            }};
  default:
    return {};
  }
}

/// Whether the numbers that the digest is over can be looked up.
bool mayBeSealed(Rule rule) {
  return rule != Rule::digest && rule != Rule::references;
}

using MakePlan = abi::ManifestT (*)(Random &);

/// Breaks a rule in plans that hold to all of them, in all ways in turn.
void expectRejected(Rule rule, const std::vector<Break> &ways, MakePlan plan) {
  ASSERT_FALSE(ways.empty());
  Random random{unsigned(rule)};
  int made = 0, ways0 = 0;
  for (; made < kMutants && ways0 < 100 * kMutants; ++ways0) {
    abi::ManifestT manifest = plan(random);
    if (!ways[size_t(ways0) % ways.size()](manifest, random))
      continue;
    if (mayBeSealed(rule))
      seal(manifest);
    std::vector<Violation> found = check(manifest);
    bool named = std::any_of(found.begin(), found.end(),
                             [&](auto &one) { return one.rule == rule; });
    ASSERT_TRUE(named) << "way " << size_t(ways0) % ways.size() << " mutant "
                       << made << ":\n"
                       << text(found);
    ++made;
  }
  EXPECT_EQ(made, kMutants);
  testing::Test::RecordProperty("mutants", made);
}

class Mutants : public testing::TestWithParam<unsigned> {};

TEST_P(Mutants, AreRejectedByTheirRule) {
  const Rule rule = Rule(GetParam());
  if (rule != Rule::stores) // Only pages are stored.
    expectRejected(rule, breaks(rule), [](Random &random) {
      const MakePlan plans[] = {validPlan, devicePlan, housedPlan};
      return plans[draw(random, 0, 2)](random);
    });
}

TEST_P(Mutants, WithPagesThatMoveAreRejectedByTheirRule) {
  const Rule rule = Rule(GetParam());
  if (const auto ways = pageBreaks(rule); !ways.empty())
    expectRejected(rule, ways, [](Random &random) {
      return draw(random, 0, 1) ? validPlanOfPages(random)
                                : devicePlanOfPages(random);
    });
  else
    EXPECT_NE(rule, Rule::stores);
}

INSTANTIATE_TEST_SUITE_P(EveryRule, Mutants, testing::Range(1u, kRuleCount + 1),
                         [](const auto &info) {
                           return ruleName(Rule(info.param));
                         });

TEST(ValidPlans, AreAccepted) {
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    const MakePlan plans[] = {validPlan, devicePlan, housedPlan,
                              validPlanOfPages, devicePlanOfPages};
    std::vector<Violation> found = check(plans[i % 5](random));
    ASSERT_TRUE(found.empty()) << "plan " << i << ":\n" << text(found);
  }
}

TEST(ValidPlans, OfAPackageWithoutOne) {
  Random random(8);
  abi::ManifestT manifest = validPlan(random);
  manifest.plan.reset();
  manifest.entries[0]->steps.clear();
  for (auto &weight : manifest.weights)
    weight->residency = abi::Residency::mapped;
  manifest.certificate[0] = std::make_unique<abi::PeakT>();
  manifest.certificate[0]->bytes = manifest.levels[0]->arena_bytes;
  EXPECT_EQ(text(check(manifest)), "");
  // Buffers alone make the arena, and one ends beyond this one.
  manifest.certificate[0]->bytes = 64;
  EXPECT_EQ(text(check(manifest)).substr(0, 6), "peak: ");
  manifest.certificate[0]->bytes = manifest.levels[0]->arena_bytes;
  manifest.weights[0]->residency = abi::Residency::streamed;
  EXPECT_EQ(text(check(manifest)).substr(0, 12), "references: ");
}

TEST(Report, IsBounded) {
  Random random(9);
  abi::ManifestT manifest = validPlan(random);
  for (auto &weight : manifest.weights)
    weight->blob = weight->level = UINT32_MAX;
  for (int i = 0; i < 100; ++i)
    manifest.entries[0]->launches[0]->buffers.push_back(UINT32_MAX);
  EXPECT_EQ(check(manifest).size(), kMostViolations);
}

TEST(Rules, AreThoseOfTheSpecification) {
  std::ifstream page("docs/spec/plan.md");
  ASSERT_TRUE(page) << "run from the root of the sources";
  std::string line;
  std::vector<std::string> names;
  while (std::getline(page, line))
    if (line.rfind("| P", 0) == 0) {
      size_t from = line.find('`') + 1;
      names.push_back(line.substr(from, line.find('`', from) - from));
    }
  ASSERT_EQ(names.size(), kRuleCount);
  for (unsigned i = 1; i <= kRuleCount; ++i)
    EXPECT_EQ(names[i - 1], ruleName(Rule(i)));
}

} // namespace
} // namespace headrace::plancheck
