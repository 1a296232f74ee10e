// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// Owners for C++17 hosts: a handle releases its object when it goes. Nothing
/// here is compiled into the library; it is the C interface with fewer words.
#ifndef HEADRACE_HANDLES_HPP
#define HEADRACE_HANDLES_HPP

#include <headrace/headrace.h>

#include <memory>

namespace headrace {

template <auto release> struct Releaser {
  template <typename Object> void operator()(Object *object) const noexcept {
    release(object);
  }
};

/// The only owner of one reference to an object of the C interface.
template <typename Object, auto release>
using Handle = std::unique_ptr<Object, Releaser<release>>;

using Instance = Handle<headrace_instance_t, headrace_instance_release>;
using Device = Handle<headrace_device_t, headrace_device_release>;
using Package = Handle<headrace_package_t, headrace_package_release>;
using Session = Handle<headrace_session_t, headrace_session_release>;
using Sequence = Handle<headrace_sequence_t, headrace_sequence_release>;
/// NULL is success.
using Status =
    std::unique_ptr<headrace_status_s, Releaser<headrace_status_free>>;

/// Fills `handle` with what `create` puts into its out parameter:
///
///   Package package;
///   Status status(make(package, [&](headrace_package_t **out) {
///     return headrace_package_open(instance.get(), path, nullptr, out);
///   }));
template <typename Handle, typename Create>
headrace_status_t make(Handle &handle, Create create) {
  typename Handle::pointer object = nullptr;
  headrace_status_t status = create(&object);
  handle.reset(object);
  return status;
}

/// An option or result struct with its size filled in and the rest zero.
template <typename Struct> Struct sized() {
  Struct value = {};
  value.struct_size = sizeof(value);
  return value;
}

} // namespace headrace

#endif // HEADRACE_HANDLES_HPP
