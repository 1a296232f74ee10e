/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Usage: what a session holds at each level and what it has moved. */
#ifndef HEADRACE_USAGE_H
#define HEADRACE_USAGE_H

#include <stddef.h>
#include <stdint.h>

#include "headrace/session.h"
#include "headrace/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All counters begin with the session and only grow. The structs are filled as
 * those of package.h are; names are borrowed from the session. All functions:
 * the session's thread, between steps. */

/* One level of the plan. With the loader `mapped` weights are not counted: the
 * page cache has them. */
typedef struct headrace_level_usage_t {
  size_t struct_size;
  const char *name;
  uint64_t occupied_bytes;  /* between steps: weights, slots and key-value pages
                               in use */
  uint64_t peak_bytes;      /* in any step so far: these, the buffers that are
                               alive at once, and worker scratch */
  uint64_t certified_bytes; /* peak by the memory certificate, with the slots
                               of this session; 0 where it is silent */
  uint64_t budget_bytes;    /* as asked for; 0: the plan's */
} headrace_level_usage_t;

/* Fills `*out` for level `index` of the package.
 * Codes: invalid argument, out of range. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_session_level(const headrace_session_t *session, uint32_t index,
                       headrace_level_usage_t *out);

/* One link: the first is that over which weights come; the second, where a plan
 * has it, that of key-value pages. Sessions with the loader `mapped` have none.
 */
typedef struct headrace_link_usage_t {
  size_t struct_size;
  const char *name;   /* "disk" or "page-cache"; "pages" */
  uint64_t bytes;     /* arrived; of weights, compared with their digests */
  uint64_t transfers; /* bundles that arrived, layers' pages that moved */
  uint64_t failed;
  uint64_t cancelled;
  uint64_t busy_ns;      /* a transfer was under way */
  uint64_t stalls;       /* a step had to wait for a transfer */
  uint64_t wait_ns;      /* for so long in all, as far as the host did it */
  uint32_t is_direct;    /* 1: reads go around the page cache */
  uint32_t uses_ring;    /* 1: by io_uring, 0: by threads */
  uint64_t stored_bytes; /* pages that went back */
} headrace_link_usage_t;

/* Fills `*out` for link `index`.
 * Codes: invalid argument, out of range. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_session_link(
    headrace_session_t *session, uint32_t index, headrace_link_usage_t *out);

/* One pool of equal slots. Sessions with the loader `mapped` have none. */
typedef struct headrace_pool_usage_t {
  size_t struct_size;
  const char *name;
  uint64_t slot_bytes;
  uint32_t slots;     /* of this session */
  uint32_t min_slots; /* of the plan */
  uint32_t bundles;   /* that take turns in them */
  uint32_t is_cache;  /* 1: by the router's picks; 0: by the schedule, and the
                         counters below are 0 */
  uint64_t hits;      /* an active expert was in a slot or on its way */
  uint64_t misses;
  uint64_t evictions;
  uint64_t prefetches;      /* fetched on a prediction: slot_bytes each */
  uint64_t prefetches_used; /* and asked for by the routed part it was for; the
                               others were wasted */
  uint32_t has_pages; /* 1: of layers' key-value pages; has as many slots as
                         planned whatever the budget */
} headrace_pool_usage_t;

/* Fills `*out` for pool `index`.
 * Codes: invalid argument, out of range. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_session_pool(const headrace_session_t *session, uint32_t index,
                      headrace_pool_usage_t *out);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_USAGE_H */
