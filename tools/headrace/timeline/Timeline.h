// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A simulated step as a page to look at.
#ifndef HEADRACE_TOOLS_HEADRACE_TIMELINE_TIMELINE_H
#define HEADRACE_TOOLS_HEADRACE_TIMELINE_TIMELINE_H

#include "tools/simulate/Simulation.h"
#include "llvm/Support/Error.h"

namespace headrace::tools {

/// Writes one HTML file that needs nothing else: no network, no library. The
/// file is there whole or not at all; "-" is stdout.
llvm::Error writeTimeline(const simulate::Simulation &simulation,
                          const std::string &path);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_TIMELINE_TIMELINE_H
