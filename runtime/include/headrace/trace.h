/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Trace: what a session did when, as events for the host. */
#ifndef HEADRACE_TRACE_H
#define HEADRACE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum headrace_trace_kind_e {
  /* A pass of an entry, from its beginning to its end. `name`: the entry. */
  HEADRACE_TRACE_PASS = 0,
  /* A launch. `name`: the kernel; `index`: the launch's number in its entry. A
   * routed launch that runs in waves has one event for each. */
  HEADRACE_TRACE_LAUNCH = 1,
  /* Weights came over a link. `name`: the bundle; `link`, `bytes`. Told when
   * the session's thread learns of it, in no order of time. Pages of the
   * key-value cache come over `pages` and go back over `pages-store`. */
  HEADRACE_TRACE_TRANSFER = 2,
  /* The session's thread waited for a transfer. `name`: the bundle. */
  HEADRACE_TRACE_WAIT = 3,
  /* A router has picked. `name`: the pool; `index`: the number of the routed
   * part among those of the pool, in the order of a pass; `active`. */
  HEADRACE_TRACE_ROUTED = 4,
  /* A router was run ahead. `name` and `index`: of the routed part that it is
   * for; `active`: the experts that it is likely to use, likeliest first. */
  HEADRACE_TRACE_PREDICTED = 5
} headrace_trace_kind_t;

/* One event. Grows at its end only; `struct_size` says how far it reaches.
 * Everything pointed to is borrowed for the time of the call. */
typedef struct headrace_trace_event_t {
  size_t struct_size;
  uint32_t kind; /* headrace_trace_kind_t */
  uint32_t index;
  const char *name;
  const char *link;
  uint64_t begin_ns; /* of CLOCK_MONOTONIC */
  uint64_t end_ns;
  uint64_t bytes;
  const int32_t *active; /* experts, picked ones ascending */
  size_t active_count;
} headrace_trace_event_t;

/* Takes an event. Called by the thread that is inside the session; must not
 * call back into it. */
typedef void (*headrace_trace_fn_t)(void *user_data,
                                    const headrace_trace_event_t *event);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_TRACE_H */
