/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* Allocator: where the library gets the memory of its own objects. */
#ifndef HEADRACE_ALLOCATOR_H
#define HEADRACE_ALLOCATOR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The host's allocator, given once at instance creation and copied there. All
 * objects, tables and messages come from it. Memory that kernels work on
 * (arenas, key-value pages, worker scratch, the mapped package) comes from the
 * operating system and is released with its owner.
 *
 * Both functions are called from any thread that is inside the library and
 * must not call back into it. All zero means the C library's allocator. */
typedef struct headrace_allocator_t {
  /* Passed to both functions as it is. */
  void *self;
  /* Returns `bytes` bytes (never 0) aligned to `alignment`, a power of two, or
   * NULL, which becomes HEADRACE_STATUS_RESOURCE_EXHAUSTED. */
  void *(*allocate)(void *self, size_t bytes, size_t alignment);
  /* Takes back what allocate() returned for the same `bytes`, `alignment`. */
  void (*deallocate)(void *self, void *pointer, size_t bytes, size_t alignment);
} headrace_allocator_t;

#ifdef __cplusplus
}
#endif

#endif /* HEADRACE_ALLOCATOR_H */
