// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Valid plans by the hundred, written down without a planner: for tests of the
// checker.
#ifndef HEADRACE_TESTS_TOOLS_PLANCHECK_VALID_PLAN_H
#define HEADRACE_TESTS_TOOLS_PLANCHECK_VALID_PLAN_H

#include "runtime/abi/package_generated.h"
#include <cstdint>
#include <random>

namespace headrace::plancheck {

using Random = std::mt19937_64;

/// A number in [least, most].
inline uint64_t draw(Random &random, uint64_t least, uint64_t most) {
  return least + random() % (most - least + 1);
}

/// A model of a few layers: one dense launch, one router, and two routed
/// launches each, with weights that stay, that stream through a ring, and that
/// a cache brings. Sizes, numbers of slots and layers are drawn.
abi::ManifestT validPlan(Random &random);

/// The same for a device whose weights come out of a host's memory: the
/// schedule is that of two classes of steps, bundles have a home on a third
/// level, and some come through staging there.
abi::ManifestT devicePlan(Random &random);

/// The same for a CPU whose weights have homes in memory, on a third level:
/// some come straight from the package.
abi::ManifestT housedPlan(Random &random);

/// The same with the key-value pages of all layers but the first moving through
/// a pool of their own, number 2, from homes on level 1.
abi::ManifestT validPlanOfPages(Random &random);

/// The same for a device: homes of weights are on level 1, too.
abi::ManifestT devicePlanOfPages(Random &random);

/// Writes the digests of the schedule as it is now.
void seal(abi::ManifestT &manifest);

/// The bytes of a manifest, for `abi::GetManifest`.
std::vector<uint8_t> bytesOf(const abi::ManifestT &manifest);

} // namespace headrace::plancheck

#endif // HEADRACE_TESTS_TOOLS_PLANCHECK_VALID_PLAN_H
