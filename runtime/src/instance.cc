// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Instance: creation, version and the cancel word.
#include "runtime/src/instance.h"

#include "runtime/src/guard.h"
#include "runtime/src/structs.h"

#include <cstdarg>
#include <cstdio>

using namespace headrace::runtime;

void headrace_instance_t::Log(headrace_log_level_t level, const char *format,
                              ...) const noexcept {
  if (!logger.log)
    return;
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  logger.log(logger.self, level, message);
}

uint32_t headrace_version(void) {
  return HEADRACE_VERSION_MAJOR * 1000000u + HEADRACE_VERSION_MINOR * 1000u +
         HEADRACE_VERSION_PATCH;
}

void headrace_cancel_request(headrace_cancel_t *cancel) {
  if (cancel)
    __atomic_store_n(&cancel->word, 1, __ATOMIC_RELAXED);
}

void headrace_cancel_reset(headrace_cancel_t *cancel) {
  if (cancel)
    __atomic_store_n(&cancel->word, 0, __ATOMIC_RELAXED);
}

headrace_status_t
headrace_instance_create(const headrace_instance_options_t *options,
                         headrace_instance_t **out_instance) {
  if (!out_instance)
    return InvalidArgument("instance: 'out_instance' is null");
  *out_instance = nullptr;
  return Guard(DefaultAllocator(), [&]() -> Status {
    headrace_instance_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(DefaultAllocator(), options, &read));
    if (!read.allocator.allocate != !read.allocator.deallocate)
      return MakeStatus(DefaultAllocator(), HEADRACE_STATUS_INVALID_ARGUMENT,
                        "instance: an allocator needs both functions");
    const Allocator &allocator =
        read.allocator.allocate ? read.allocator : DefaultAllocator();
    *out_instance = New<headrace_instance_t>(allocator, allocator, read.logger);
    return Status();
  });
}

void headrace_instance_retain(headrace_instance_t *instance) {
  if (instance)
    instance->Retain();
}

void headrace_instance_release(headrace_instance_t *instance) {
  if (instance && instance->Drop())
    Delete(instance->allocator, instance);
}
