// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Status: code in the low bits, message in memory behind the rest.
#include "runtime/src/status.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace headrace::runtime {
namespace {

/// Codes fit below the alignment of the storage.
constexpr uintptr_t kCodeMask = kCacheLine - 1;
constexpr size_t kMaxMessage = 1024;

struct Storage {
  Allocator allocator;
  size_t bytes; // of the whole allocation
  char message[1];
};

Storage *StorageOf(headrace_status_t status) {
  return reinterpret_cast<Storage *>(reinterpret_cast<uintptr_t>(status) &
                                     ~kCodeMask);
}

} // namespace

Status MakeStatus(const Allocator &allocator, headrace_status_code_t code,
                  const char *format, ...) noexcept {
  char message[kMaxMessage];
  va_list arguments;
  va_start(arguments, format);
  int written = std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  size_t length = written < 0 ? 0 : std::strlen(message);
  // Names from files may hold anything; a message stays one line.
  for (size_t i = 0; i < length; ++i)
    if (static_cast<unsigned char>(message[i]) < ' ')
      message[i] = ' ';

  size_t bytes = offsetof(Storage, message) + length + 1;
  void *memory = TryAllocate(allocator, bytes, kCacheLine);
  if (memory) {
    auto *storage = new (memory) Storage{allocator, bytes, {0}};
    std::memcpy(storage->message, message, length);
    storage->message[length] = 0;
  }
  return Status(reinterpret_cast<headrace_status_t>(
      reinterpret_cast<uintptr_t>(memory) | static_cast<uintptr_t>(code)));
}

Status MakeErrnoStatus(const Allocator &allocator, int error,
                       const char *action) noexcept {
  headrace_status_code_t code = HEADRACE_STATUS_IO;
  if (error == ENOENT || error == ENOTDIR)
    code = HEADRACE_STATUS_NOT_FOUND;
  else if (error == EACCES || error == EPERM)
    code = HEADRACE_STATUS_PERMISSION_DENIED;
  else if (error == ENOMEM || error == EMFILE || error == ENFILE)
    code = HEADRACE_STATUS_RESOURCE_EXHAUSTED;
  // strerror_r has two signatures; the table of names has one and needs no
  // buffer.
  const char *reason = strerrordesc_np(error);
  return MakeStatus(allocator, code, "%s: %s", action,
                    reason ? reason : "unknown error");
}

} // namespace headrace::runtime

using namespace headrace::runtime;

headrace_status_code_t headrace_status_code(headrace_status_t status) {
  return static_cast<headrace_status_code_t>(
      reinterpret_cast<uintptr_t>(status) & kCodeMask);
}

const char *headrace_status_message(headrace_status_t status) {
  if (Storage *storage = StorageOf(status))
    return storage->message;
  return headrace_status_code_name(headrace_status_code(status));
}

void headrace_status_free(headrace_status_t status) {
  if (Storage *storage = StorageOf(status)) {
    Allocator allocator = storage->allocator;
    Deallocate(allocator, storage, storage->bytes, kCacheLine);
  }
}

const char *headrace_status_code_name(headrace_status_code_t code) {
  switch (code) {
  case HEADRACE_STATUS_OK:
    return "ok";
  case HEADRACE_STATUS_CANCELLED:
    return "cancelled";
  case HEADRACE_STATUS_INVALID_ARGUMENT:
    return "invalid argument";
  case HEADRACE_STATUS_DEADLINE_EXCEEDED:
    return "deadline exceeded";
  case HEADRACE_STATUS_NOT_FOUND:
    return "not found";
  case HEADRACE_STATUS_PERMISSION_DENIED:
    return "permission denied";
  case HEADRACE_STATUS_RESOURCE_EXHAUSTED:
    return "resource exhausted";
  case HEADRACE_STATUS_FAILED_PRECONDITION:
    return "failed precondition";
  case HEADRACE_STATUS_OUT_OF_RANGE:
    return "out of range";
  case HEADRACE_STATUS_UNIMPLEMENTED:
    return "unimplemented";
  case HEADRACE_STATUS_INTERNAL:
    return "internal";
  case HEADRACE_STATUS_UNAVAILABLE:
    return "unavailable";
  case HEADRACE_STATUS_DATA_LOSS:
    return "data loss";
  case HEADRACE_STATUS_IO:
    return "io";
  case HEADRACE_STATUS_DEVICE_LOST:
    return "device lost";
  }
  return "unknown";
}
