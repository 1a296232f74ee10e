// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Manifest, plan part: checks of where bytes live and when they move.
#ifndef HEADRACE_RUNTIME_SRC_MANIFEST_PLAN_H
#define HEADRACE_RUNTIME_SRC_MANIFEST_PLAN_H

#include "runtime/src/manifest.h"

namespace headrace::runtime {

/// Checks the plan of `manifest`, if it has one, after all other parts: every
/// index, range and sum; that what lives always overlaps nothing; that a launch
/// reads only weights that are resident or have arrived, in a slot that nothing
/// else was fetched into; that plan and certificate are of this schedule. Sizes
/// of arenas go into `summary`. Whether the certificate's peaks are right is
/// the business of the plan's checker.
/// Codes: data loss, unimplemented.
Status CheckPlan(const Allocator &allocator, const abi::Manifest &manifest,
                 uint64_t manifest_bytes, ManifestSummary *summary);

/// The digest of the schedule of a manifest that has a plan; see
/// schedule_digest.h.
uint64_t ScheduleDigest(const Allocator &allocator,
                        const abi::Manifest &manifest);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_MANIFEST_PLAN_H
