// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Read plan: a package's plan as the arena loader wants it.
#ifndef HEADRACE_RUNTIME_SRC_TIER_READ_PLAN_H
#define HEADRACE_RUNTIME_SRC_TIER_READ_PLAN_H

#include "runtime/src/manifest.h"
#include "runtime/src/tier/tier_plan.h"

namespace headrace::runtime {

/// Resolves the plan of `manifest`, which has one, was checked, and outlives
/// `out`, for code section `code`. Throws std::bad_alloc.
void ReadTierPlan(const abi::Manifest &manifest, uint32_t code, TierPlan *out);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_READ_PLAN_H
