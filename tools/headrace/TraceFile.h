// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A session's events as a file that Perfetto and chrome://tracing open.
#ifndef HEADRACE_TOOLS_HEADRACE_TRACEFILE_H
#define HEADRACE_TOOLS_HEADRACE_TRACEFILE_H

#include "headrace/trace.h"
#include "tools/simulate/Simulation.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>
#include <vector>

namespace headrace::tools {

/// Keeps what it is told and writes it at the end.
class TraceFile {
public:
  /// One event, with copies of what it points to.
  struct Event {
    uint32_t kind = 0, index = 0;
    std::string name, link;
    uint64_t beginNs = 0, endNs = 0, bytes = 0;
    std::vector<int32_t> active;
  };

  /// For headrace_session_options_t; `self` is the TraceFile.
  static void take(void *self, const headrace_trace_event_t *event);

  const std::vector<Event> &events() const { return all; }

  /// Writes the file, whole or not at all. A `predicted` step is drawn as a
  /// process of its own, from the beginning of the last pass on.
  llvm::Error write(const std::string &path,
                    const simulate::Simulation *predicted) const;

private:
  std::vector<Event> all;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_TRACEFILE_H
