// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Trace: what happened when, told to the host.
#ifndef HEADRACE_RUNTIME_SRC_TIER_TRACE_H
#define HEADRACE_RUNTIME_SRC_TIER_TRACE_H

#include "headrace/trace.h"
#include "runtime/src/thread.h"

namespace headrace::runtime {

/// Calls the host's function, if there is one, on the session's thread.
class Tracer {
public:
  Tracer() = default;
  Tracer(headrace_trace_fn_t function, void *user_data)
      : function(function), user_data(user_data) {}

  bool IsOn() const { return function != nullptr; }

  void Launch(const char *kernel, uint32_t index, uint64_t begin_ns,
              uint64_t end_ns) const {
    headrace_trace_event_t event = Event(HEADRACE_TRACE_LAUNCH, kernel);
    event.index = index;
    event.begin_ns = begin_ns;
    event.end_ns = end_ns;
    Tell(event);
  }
  void Transfer(const char *link, const char *name, uint64_t bytes,
                uint64_t begin_ns, uint64_t end_ns) const {
    headrace_trace_event_t event = Event(HEADRACE_TRACE_TRANSFER, name);
    event.link = link;
    event.bytes = bytes;
    event.begin_ns = begin_ns;
    event.end_ns = end_ns;
    Tell(event);
  }
  void Wait(const char *name, uint64_t begin_ns, uint64_t end_ns) const {
    headrace_trace_event_t event = Event(HEADRACE_TRACE_WAIT, name);
    event.begin_ns = begin_ns;
    event.end_ns = end_ns;
    Tell(event);
  }
  void Routed(const char *pool, uint32_t group, const int32_t *active,
              size_t count) const {
    headrace_trace_event_t event = Event(HEADRACE_TRACE_ROUTED, pool);
    event.index = group;
    event.begin_ns = event.end_ns = MonotonicNs();
    event.active = active;
    event.active_count = count;
    Tell(event);
  }
  void Predicted(const char *pool, uint32_t group, const int32_t *experts,
                 size_t count) const {
    headrace_trace_event_t event = Event(HEADRACE_TRACE_PREDICTED, pool);
    event.index = group;
    event.begin_ns = event.end_ns = MonotonicNs();
    event.active = experts;
    event.active_count = count;
    Tell(event);
  }
  void Pass(const char *entry, uint64_t begin_ns, uint64_t end_ns) const {
    headrace_trace_event_t event = Event(HEADRACE_TRACE_PASS, entry);
    event.begin_ns = begin_ns;
    event.end_ns = end_ns;
    Tell(event);
  }

private:
  static headrace_trace_event_t Event(headrace_trace_kind_t kind,
                                      const char *name) {
    headrace_trace_event_t event = {};
    event.struct_size = sizeof(event);
    event.kind = kind;
    event.name = name;
    event.link = "";
    return event;
  }
  void Tell(const headrace_trace_event_t &event) const {
    if (function)
      function(user_data, &event);
  }

  headrace_trace_fn_t function = nullptr;
  void *user_data = nullptr;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_TIER_TRACE_H
