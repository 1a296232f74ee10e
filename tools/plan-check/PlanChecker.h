// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks the memory plan of a package against the rules of docs/spec/plan.md.
#ifndef HEADRACE_TOOLS_PLANCHECK_PLANCHECKER_H
#define HEADRACE_TOOLS_PLANCHECK_PLANCHECKER_H

#include "runtime/abi/package_generated.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::plancheck {

/// The rules, by their numbers in docs/spec/plan.md.
enum class Rule : uint8_t {
  references = 1, ///< Indices name what is there.
  sizes,          ///< Numbers can be added, and are large enough.
  bounds,         ///< Placed bytes lie in their level, arena and budget.
  alignment,      ///< Offsets are what kernels and direct reads need.
  overlap,        ///< Bytes in use at one time do not meet.
  bundles,        ///< Weights that move lie apart in one slot of one pool.
  order,          ///< Each launch runs once, in order.
  slots,          ///< A slot is filled only while it is free.
  arrival,        ///< A weight is used only after its bundle was fetched,
  waits,          ///< and after the bundle was waited for,
  releases,       ///< and before the bundle is released, once.
  ends,           ///< Nothing is under way or held when an entry ends.
  waves,          ///< A routed step has a cache and its experts' bundles.
  parts,          ///< The certificate lists exactly what takes bytes, and when.
  peak,           ///< The peak is the most that its parts take at one step.
  witness,        ///< The witness is admitted and reaches the peak.
  digest,         ///< The certificate is of this schedule.
  predictions,    ///< A guess is for a later step, and no launch reads it.
  stores          ///< Pages that were written are stored before their release.
};
constexpr unsigned kRuleCount = unsigned(Rule::stores);

/// The rule's word in reports and in docs/spec/plan.md.
const char *ruleName(Rule rule);

struct Violation {
  Rule rule;
  std::string text; ///< What, where, what was expected.
};

/// At most so many violations are reported.
constexpr size_t kMostViolations = 64;

/// What is wrong, in the order it was found; nothing: the plan holds to every
/// rule. Needs a structurally sound manifest, as PackageReader gives; believes
/// nothing else about it.
std::vector<Violation> checkPlan(const abi::Manifest &manifest);

/// What the digest of the manifest's schedule must be.
uint64_t scheduleDigest(const abi::Manifest &manifest);

} // namespace headrace::plancheck

#endif // HEADRACE_TOOLS_PLANCHECK_PLANCHECKER_H
