// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Thread: starting one, and its clock.
#include "runtime/src/thread.h"

#include <csignal>
#include <cstdio>
#include <ctime>

namespace headrace::runtime {

int StartThread(pthread_t *out, const pthread_attr_t *attributes,
                void *(*main)(void *), void *argument, const char *name) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(out, attributes, main, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error)
    return error;
  char cut[16];
  std::snprintf(cut, sizeof(cut), "%s", name);
  pthread_setname_np(*out, cut);
  return 0;
}

uint64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
}

} // namespace headrace::runtime
