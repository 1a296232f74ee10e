// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Memory: the host's allocator for the library's own objects and containers.
#ifndef HEADRACE_RUNTIME_SRC_MEMORY_H
#define HEADRACE_RUNTIME_SRC_MEMORY_H

#include "headrace/allocator.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace headrace::runtime {

using Allocator = headrace_allocator_t;

/// Objects that share a cache line with nothing else ask for this alignment;
/// kernels may rely on it for every buffer.
constexpr size_t kCacheLine = 64;

/// The C library's allocator.
const Allocator &DefaultAllocator();

/// Returns null when the host's allocator does.
inline void *TryAllocate(const Allocator &allocator, size_t bytes,
                         size_t alignment) {
  return allocator.allocate(allocator.self, bytes ? bytes : 1, alignment);
}

inline void Deallocate(const Allocator &allocator, void *pointer, size_t bytes,
                       size_t alignment) {
  allocator.deallocate(allocator.self, pointer, bytes ? bytes : 1, alignment);
}

/// The standard library's view of an Allocator; failure is std::bad_alloc,
/// which the guard at the C entry turns into a status.
template <typename T> class StdAllocator {
public:
  using value_type = T;

  explicit StdAllocator(const Allocator &allocator) : allocator(allocator) {}
  template <typename U>
  StdAllocator(const StdAllocator<U> &other) : allocator(other.allocator) {}

  T *allocate(size_t count) {
    if (count > SIZE_MAX / sizeof(T))
      throw std::bad_alloc();
    void *pointer = TryAllocate(allocator, count * sizeof(T), alignof(T));
    if (!pointer)
      throw std::bad_alloc();
    return static_cast<T *>(pointer);
  }
  void deallocate(T *pointer, size_t count) {
    Deallocate(allocator, pointer, count * sizeof(T), alignof(T));
  }

  template <typename U> bool operator==(const StdAllocator<U> &other) const {
    return allocator.self == other.allocator.self &&
           allocator.allocate == other.allocator.allocate;
  }
  template <typename U> bool operator!=(const StdAllocator<U> &other) const {
    return !(*this == other);
  }

  Allocator allocator;
};

template <typename T> using Vector = std::vector<T, StdAllocator<T>>;

/// Makes an object in the allocator's memory; throws std::bad_alloc.
template <typename T, typename... Args>
T *New(const Allocator &allocator, Args &&...args) {
  StdAllocator<T> typed(allocator);
  T *object = typed.allocate(1);
  try {
    return new (object) T(std::forward<Args>(args)...);
  } catch (...) {
    typed.deallocate(object, 1);
    throw;
  }
}

/// Ends an object made by New. T must be the type it was made as.
template <typename T> void Delete(const Allocator &allocator, T *object) {
  // The allocator may live in the object.
  StdAllocator<T> typed(allocator);
  object->~T();
  typed.deallocate(object, 1);
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_MEMORY_H
