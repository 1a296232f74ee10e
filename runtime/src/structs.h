// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Structs: reading and filling the size-prefixed structs of the C API.
#ifndef HEADRACE_RUNTIME_SRC_STRUCTS_H
#define HEADRACE_RUNTIME_SRC_STRUCTS_H

#include "headrace/headrace.h"
#include "runtime/src/status.h"

#include <algorithm>
#include <cstring>

namespace headrace::runtime {

/// Size of T in the first version that published it. Fields are only ever added
/// at the end, so everything at least this large is understood.
template <typename T> struct FirstVersion;

#define HEADRACE_FIRST_VERSION(Type, Size)                                     \
  template <> struct FirstVersion<Type> {                                      \
    static constexpr size_t kSize = Size;                                      \
    static constexpr const char *kName = #Type;                                \
    static_assert(sizeof(Type) >= Size, "a published struct cannot shrink");   \
    static_assert(offsetof(Type, struct_size) == 0, "size comes first");       \
  }

HEADRACE_FIRST_VERSION(headrace_instance_options_t, 48);
HEADRACE_FIRST_VERSION(headrace_cpu_device_options_t, 24);
HEADRACE_FIRST_VERSION(headrace_cuda_device_options_t, 40);
HEADRACE_FIRST_VERSION(headrace_device_info_t, 48);
HEADRACE_FIRST_VERSION(headrace_package_options_t, 24);
HEADRACE_FIRST_VERSION(headrace_verify_options_t, 32);
HEADRACE_FIRST_VERSION(headrace_package_info_t, 160);
HEADRACE_FIRST_VERSION(headrace_level_info_t, 40);
HEADRACE_FIRST_VERSION(headrace_blob_info_t, 32);
HEADRACE_FIRST_VERSION(headrace_weight_info_t, 32);
HEADRACE_FIRST_VERSION(headrace_buffer_info_t, 64);
HEADRACE_FIRST_VERSION(headrace_kernel_info_t, 40);
HEADRACE_FIRST_VERSION(headrace_entry_info_t, 48);
HEADRACE_FIRST_VERSION(headrace_launch_info_t, 64);
HEADRACE_FIRST_VERSION(headrace_session_options_t, 40);
HEADRACE_FIRST_VERSION(headrace_session_info_t, 56);
HEADRACE_FIRST_VERSION(headrace_step_options_t, 64);
HEADRACE_FIRST_VERSION(headrace_step_result_t, 32);
HEADRACE_FIRST_VERSION(headrace_invoke_options_t, 88);
HEADRACE_FIRST_VERSION(headrace_generate_options_t, 80);
HEADRACE_FIRST_VERSION(headrace_level_usage_t, 48);
HEADRACE_FIRST_VERSION(headrace_link_usage_t, 80);
HEADRACE_FIRST_VERSION(headrace_pool_usage_t, 80);
HEADRACE_FIRST_VERSION(headrace_generate_result_t, 24);

/// Elements of arrays carry their size in the struct that names the array.
constexpr size_t kStepItemFirstSize = 32;
static_assert(sizeof(headrace_step_item_t) >= kStepItemFirstSize);

/// A struct size beyond this is a mistake, not a newer version.
constexpr size_t kMaxStructSize = 4096;

template <typename T>
Status CheckStructSize(const Allocator &allocator, size_t size) {
  if (size < FirstVersion<T>::kSize || size > kMaxStructSize)
    return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                      "%s: struct_size is %zu, expected at least %zu",
                      FirstVersion<T>::kName, size, FirstVersion<T>::kSize);
  return Status();
}

/// Copies the caller's options into `*out`; null means all defaults.
template <typename T>
Status ReadOptions(const Allocator &allocator, const T *options, T *out) {
  std::memset(static_cast<void *>(out), 0, sizeof(T));
  if (!options)
    return Status();
  size_t size = options->struct_size;
  HEADRACE_RETURN_IF_ERROR(CheckStructSize<T>(allocator, size));
  // A request this version does not know must not be ignored in silence.
  const auto *bytes = reinterpret_cast<const unsigned char *>(options);
  for (size_t i = sizeof(T); i < size; ++i)
    if (bytes[i])
      return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                        "%s: byte %zu is set, but this version knows %zu bytes",
                        FirstVersion<T>::kName, i, sizeof(T));
  std::memcpy(static_cast<void *>(out), bytes, std::min(size, sizeof(T)));
  return Status();
}

/// Copies what was found out to the caller's struct, no further than it
/// reaches. The caller's struct_size stays.
template <typename T>
Status WriteStruct(const Allocator &allocator, const T &value, T *out) {
  if (!out)
    return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                      "%s: expected a pointer, but got null",
                      FirstVersion<T>::kName);
  size_t size = out->struct_size;
  HEADRACE_RETURN_IF_ERROR(CheckStructSize<T>(allocator, size));
  std::memcpy(static_cast<void *>(out), &value, std::min(size, sizeof(T)));
  out->struct_size = size;
  return Status();
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_STRUCTS_H
