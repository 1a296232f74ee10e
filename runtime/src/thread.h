// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Thread: how the library starts the threads it owns.
#ifndef HEADRACE_RUNTIME_SRC_THREAD_H
#define HEADRACE_RUNTIME_SRC_THREAD_H

#include <cstdint>
#include <pthread.h>

namespace headrace::runtime {

/// Starts a thread with every signal blocked: signals are the host's business
/// and go to the host's threads. `name` is cut to 15 bytes; `attributes` may be
/// null. Returns 0 or an errno.
int StartThread(pthread_t *out, const pthread_attr_t *attributes,
                void *(*main)(void *), void *argument, const char *name);

/// Nanoseconds of the clock that deadlines are told in.
uint64_t MonotonicNs();

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_THREAD_H
