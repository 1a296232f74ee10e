/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Device: what runs kernels: the processor, as a pool of threads, or a GPU. */
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

/* Drops a reference; the last one ends the device's threads. NULL is allowed.
 * Any thread outside a step of this device. */
HEADRACE_API void headrace_device_release(headrace_device_t *device);

/* Options of a GPU as a device; see headrace_instance_options_t for the rule of
 * such structs. */
typedef struct headrace_cuda_device_options_t {
  size_t struct_size;
  /* Which device of those the NVIDIA driver shows this process, from 0. */
  uint32_t ordinal;
  /* Files to load instead of the usual names of libcuda and of cuBLASLt; NULL:
   * the usual ones. Read during the call only. */
  const char *cuda_library;
  const char *cublaslt_library;
  /* How long work may go on after a call was told to stop before the device is
   * given up, in nanoseconds. 0: ten seconds. */
  uint64_t stop_grace_ns;
} headrace_cuda_device_options_t;

/* Opens a GPU. `*out_device` belongs to the caller; it retains `instance`.
 * The device's primary context is used, so that the process may use CUDA
 * otherwise too; no call leaves another context current than it found.
 * `options` may be NULL. Any thread.
 * Codes: invalid argument, unimplemented, resource exhausted, unavailable (no
 * driver, or no such device), device lost. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t
headrace_device_create_cuda(headrace_instance_t *instance,
                            const headrace_cuda_device_options_t *options,
                            headrace_device_t **out_device);

/* Sets `*out_count` to the number of GPUs the NVIDIA driver shows this process.
 * `options` may be NULL; of it only `cuda_library` is read. Any thread.
 * Codes: invalid argument, unimplemented, unavailable (no driver). */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_cuda_device_count(
    headrace_instance_t *instance,
    const headrace_cuda_device_options_t *options, uint32_t *out_count);

/* What a device is. Filled as the structs of package.h are; strings are
 * borrowed from the device. */
typedef struct headrace_device_info_t {
  size_t struct_size;
  const char *target; /* "cpu" or "cuda" */
  const char *name;
  uint64_t memory_bytes;       /* of the device, used or not */
  uint32_t ordinal;            /* 0 for a processor, as the next two */
  uint32_t compute_capability; /* 90 for 9.0 */
  uint32_t driver_version;     /* CUDA version of the driver, 13000 for 13.0 */
  uint32_t processor_count;    /* threads, or multiprocessors */
} headrace_device_info_t;

/* Fills `*out`. Any thread.
 * Codes: invalid argument. */
HEADRACE_API HEADRACE_MUST_USE headrace_status_t headrace_device_info(
    const headrace_device_t *device, headrace_device_info_t *out);

/* Returns the number of the host's threads that take part in a step, the
 * calling one among them; 0 for NULL. Any thread. */
HEADRACE_API uint32_t
headrace_device_thread_count(const headrace_device_t *device);

/* Returns the headrace_cpu_feature_t bits of runtime/abi/kernel_abi.h that
 * processor and operating system both support. Any thread. */
HEADRACE_API uint64_t headrace_cpu_features(void);

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_DEVICE_H */
