// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// RefCounted: the count at the head of every object and the pointer to hold
// one.
#ifndef HEADRACE_RUNTIME_SRC_REF_COUNTED_H
#define HEADRACE_RUNTIME_SRC_REF_COUNTED_H

#include <atomic>
#include <cstdint>
#include <utility>

namespace headrace::runtime {

/// Starts with one reference, the creator's.
class RefCounted {
public:
  RefCounted() = default;
  RefCounted(const RefCounted &) = delete;
  RefCounted &operator=(const RefCounted &) = delete;

  void Retain() { references.fetch_add(1, std::memory_order_relaxed); }

  /// True for the caller that dropped the last reference and must destroy.
  bool Drop() {
    return references.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

private:
  std::atomic<uint32_t> references{1};
};

/// Holds one reference to a C object, by its release function.
template <typename T, void (*ReleaseFn)(T *)> class Ref {
public:
  Ref() = default;
  Ref(Ref &&other) noexcept : pointer(std::exchange(other.pointer, nullptr)) {}
  Ref &operator=(Ref &&other) noexcept {
    std::swap(pointer, other.pointer);
    return *this;
  }
  ~Ref() { ReleaseFn(pointer); }

  /// Takes over the caller's reference.
  static Ref Adopt(T *pointer) {
    Ref ref;
    ref.pointer = pointer;
    return ref;
  }
  /// Adds a reference.
  static Ref Share(T *pointer) {
    pointer->Retain();
    return Adopt(pointer);
  }

  T *Get() const { return pointer; }
  T *operator->() const { return pointer; }
  T &operator*() const { return *pointer; }
  T *Release() { return std::exchange(pointer, nullptr); }

private:
  T *pointer = nullptr;
};

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_REF_COUNTED_H
