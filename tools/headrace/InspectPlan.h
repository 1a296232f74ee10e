// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The memory plan of a package, for people.
#ifndef HEADRACE_TOOLS_HEADRACE_INSPECTPLAN_H
#define HEADRACE_TOOLS_HEADRACE_INSPECTPLAN_H

#include <string>

namespace headrace::tools {

/// Prints the levels, what lives where, and why. Returns the exit code.
int inspectPlan(const std::string &package);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_INSPECTPLAN_H
