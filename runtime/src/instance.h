// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Instance: allocator and logger of everything made under it.
#ifndef HEADRACE_RUNTIME_SRC_INSTANCE_H
#define HEADRACE_RUNTIME_SRC_INSTANCE_H

#include "headrace/instance.h"
#include "runtime/src/memory.h"
#include "runtime/src/ref_counted.h"

struct headrace_instance_t final : headrace::runtime::RefCounted {
  headrace_instance_t(const headrace_allocator_t &allocator,
                      const headrace_logger_t &logger)
      : allocator(allocator), logger(logger) {}

  /// Writes one printf-style line to the host's logger, if there is one.
  void Log(headrace_log_level_t level, const char *format, ...) const noexcept
      __attribute__((format(printf, 3, 4)));

  const headrace_allocator_t allocator;
  const headrace_logger_t logger;
};

namespace headrace::runtime {

using InstanceRef = Ref<headrace_instance_t, headrace_instance_release>;

/// True once headrace_cancel_request was called; null never is.
inline bool IsCancelled(const headrace_cancel_t *cancel) {
  return cancel && __atomic_load_n(&cancel->word, __ATOMIC_RELAXED) != 0;
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_INSTANCE_H
