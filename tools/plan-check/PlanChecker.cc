// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order of the checks.
#include "tools/plan-check/Checker.h"

#include "runtime/abi/kernel_abi.h"

using namespace headrace;
using namespace headrace::plancheck;

const char *plancheck::ruleName(Rule rule) {
  static const char *const kNames[kRuleCount] = {
      "references", "sizes",  "bounds",      "alignment", "overlap",
      "bundles",    "order",  "slots",       "arrival",   "waits",
      "releases",   "ends",   "waves",       "parts",     "peak",
      "witness",    "digest", "predictions", "stores"};
  return kNames[unsigned(rule) - 1];
}

std::vector<Violation> plancheck::checkPlan(const abi::Manifest &manifest) {
  return Checker(manifest).run();
}

std::vector<Violation> Checker::run() {
  // All others look things up by the indices, and add the numbers, that these
  // two check.
  if (!checkReferences() || !checkSizes())
    return std::move(found);
  checkPlaces();
  checkBundles();
  for (const Schedule &schedule : schedules()) {
    checkOverlap(schedule);
    checkSchedule(schedule);
  }
  checkCertificate();
  return std::move(found);
}

std::vector<Schedule> Checker::schedules() const {
  std::vector<Schedule> all;
  for (uint32_t i = 0; i < manifest.entries()->size(); ++i) {
    const abi::Entry &entry = *manifest.entries()->Get(i);
    const std::string name = "entry '" + entry.name()->str() + "'";
    if (entry.launches()->size())
      all.push_back({{i, kNone},
                     manifest.limits()->max_tokens(),
                     name,
                     *entry.launches(),
                     entry.steps()});
    uint32_t number = 0;
    for (const abi::StepClass *one : listOf(entry.classes()))
      all.push_back(
          {{i, number++},
           one->max_tokens(),
           name + ", up to " + std::to_string(one->max_tokens()) + " tokens",
           *one->launches(),
           one->steps()});
  }
  return all;
}

uint32_t Checker::pagesBehind(uint32_t which) const {
  const bool view = buffer(which).kind() == abi::BufferKind::view;
  const abi::Buffer &base = view ? buffer(buffer(which).base()) : buffer(which);
  if (pagesOf.empty() || !base.role() ||
      base.role()->str() != HEADRACE_ROLE_KV_POOL)
    return kNone;
  const abi::KvCache &cache = *manifest.kv();
  auto found = pagesOf.find(uint32_t(
      view ? buffer(which).offset() / (cache.page_bytes() / cache.layers())
           : 0));
  return found == pagesOf.end() ? kNone : found->second;
}

uint32_t Checker::slotsOf(const abi::Launch &launch, uint32_t operand) const {
  if (launch.kind() == abi::LaunchKind::matmul ||
      launch.kernel() >= manifest.kernels()->size())
    return 1; // No kernel.
  const auto *slots = manifest.kernels()->Get(launch.kernel())->weight_slots();
  return slots && operand < slots->size() ? slots->Get(operand) : 1;
}
