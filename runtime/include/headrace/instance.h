/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Instance: the root object, holding allocator and logger; also the version of
 * the library and the cancel word. */
#ifndef HEADRACE_INSTANCE_H
#define HEADRACE_INSTANCE_H

#include <stddef.h>
#include <stdint.h>

#include "headrace/allocator.h"
#include "headrace/log.h"
#include "headrace/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version of these headers. */
#define HEADRACE_VERSION_MAJOR 0
#define HEADRACE_VERSION_MINOR 1
#define HEADRACE_VERSION_PATCH 0

/* Returns major * 1000000 + minor * 1000 + patch of the loaded library, which
 * may be newer than the headers. Any thread. */
HEADRACE_API uint32_t headrace_version(void);

/* Asks running calls to stop. Belongs to the host, who starts it as all zero
 * and keeps it alive during the calls that were given it. One word may serve
 * any number of calls. */
typedef struct headrace_cancel_t {
  int32_t word; /* use the functions below */
} headrace_cancel_t;

/* Requests that calls given `cancel` return HEADRACE_STATUS_CANCELLED soon:
 * they look between kernel tasks and in every wait. `cancel` may be NULL. Any
 * thread, also from a signal handler. */
HEADRACE_API void headrace_cancel_request(headrace_cancel_t *cancel);

/* Takes the request back, so that `cancel` can be used again. `cancel` may be
 * NULL. Any thread, while no call uses it. */
HEADRACE_API void headrace_cancel_reset(headrace_cancel_t *cancel);

/* Reference counted; every device and package keeps its instance alive. */
typedef struct headrace_instance_t headrace_instance_t;

/* Every option struct starts with its own size, so that a host compiled against
 * older headers works with a newer library: set `struct_size` to sizeof the
 * struct, leave what you do not need at zero. A size below that of the struct's
 * first version is refused; bytes the library does not know must be zero. */
typedef struct headrace_instance_options_t {
  size_t struct_size;
  headrace_allocator_t allocator; /* all zero: the C library's */
  headrace_logger_t logger;       /* all zero: silence */
} headrace_instance_options_t;

/* Creates an instance in `*out_instance`, which belongs to the caller.
 * `options` may be NULL. Any thread.
 * Codes: invalid argument, unimplemented, resource exhausted. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_instance_create(const headrace_instance_options_t *options,
                         headrace_instance_t **out_instance);

/* Adds a reference; NULL is allowed. Any thread. */
HEADRACE_API void headrace_instance_retain(headrace_instance_t *instance);

/* Drops a reference, the last one ends the instance; NULL is allowed. Any
 * thread. */
HEADRACE_API void headrace_instance_release(headrace_instance_t *instance);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_INSTANCE_H */
