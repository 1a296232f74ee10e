/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Device: what runs kernels. Here: the processor, as a pool of threads. */
#ifndef HEADRACE_DEVICE_H
#define HEADRACE_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "headrace/instance.h"
#include "headrace/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reference counted; every session keeps its device alive. One device may serve
 * any number of sessions and threads; it runs one step at a time. */
typedef struct headrace_device_t headrace_device_t;

/* Options of the processor as a device; see headrace_instance_options_t for the
 * rule of such structs. */
typedef struct headrace_cpu_device_options_t {
  size_t struct_size;
  /* Threads that run kernels, the calling one among them. 0: one for each
   * processor this process may run on. Results do not depend on it. */
  uint32_t thread_count;
  /* Length of `affinity`: 0 for no pinning, else `thread_count`. */
  uint32_t affinity_count;
  /* Processor numbers: worker i is pinned to affinity[i]. Worker 0 is the
   * thread that calls a step; it is the host's and is never pinned here. Read
   * during the call only. */
  const uint32_t *affinity;
} headrace_cpu_device_options_t;

/* Creates a device on this processor and starts its threads. `*out_device`
 * belongs to the caller; it retains `instance`. `options` may be NULL. Any
 * thread.
 * Codes: invalid argument, unimplemented, resource exhausted, unavailable. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_device_create_cpu(
    headrace_instance_t *instance, const headrace_cpu_device_options_t *options,
    headrace_device_t **out_device);

/* Adds a reference; NULL is allowed. Any thread. */
HEADRACE_API void headrace_device_retain(headrace_device_t *device);

/* Drops a reference; the last one ends the threads. NULL is allowed. Any thread
 * outside a step of this device. */
HEADRACE_API void headrace_device_release(headrace_device_t *device);

/* Returns the number of threads, 0 for NULL. Any thread. */
HEADRACE_API uint32_t
headrace_device_thread_count(const headrace_device_t *device);

/* Returns the headrace_cpu_feature_t bits of runtime/abi/kernel_abi.h that
 * processor and operating system both support. Any thread. */
HEADRACE_API uint64_t headrace_cpu_features(void);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_DEVICE_H */
