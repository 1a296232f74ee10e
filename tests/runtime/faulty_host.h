// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Faulty host: one whose allocations fail where a test says.
#ifndef HEADRACE_TESTS_RUNTIME_FAULTY_HOST_H
#define HEADRACE_TESTS_RUNTIME_FAULTY_HOST_H

#include "tests/runtime/faulty_allocator.h"
#include "tests/runtime/host.h"

namespace headrace::tests {

/// An instance that takes all its memory from `allocator`.
inline Instance MakeInstance(FaultyAllocator &allocator) {
  auto options = sized<headrace_instance_options_t>();
  options.allocator = allocator.Interface();
  return MakeInstance(&options);
}

/// All up to a sequence; stops at the first failure. Members end in the reverse
/// order.
struct FaultyHost {
  headrace_status_t Open(FaultyAllocator &allocator, const char *path,
                         const headrace_session_options_t &options) {
    auto instance_options = sized<headrace_instance_options_t>();
    instance_options.allocator = allocator.Interface();
    auto cpu = sized<headrace_cpu_device_options_t>();
    cpu.thread_count = 2;
    headrace_status_t status = make(instance, [&](headrace_instance_t **out) {
      return headrace_instance_create(&instance_options, out);
    });
    if (!status)
      status = make(device, [&](headrace_device_t **out) {
        return headrace_device_create_cpu(instance.get(), &cpu, out);
      });
    if (!status)
      status = make(package, [&](headrace_package_t **out) {
        return headrace_package_open(instance.get(), path, nullptr, out);
      });
    if (!status)
      status = make(session, [&](headrace_session_t **out) {
        return headrace_session_create(device.get(), package.get(), &options,
                                       out);
      });
    if (!status)
      status = make(sequence, [&](headrace_sequence_t **out) {
        return headrace_sequence_create(session.get(), out);
      });
    return status;
  }

  Instance instance;
  Device device;
  Package package;
  Session session;
  Sequence sequence;
};

/// Opens a package and calls `work(host)`, which returns a status; then again
/// with each of the allocations failing, alone and with all that follow. Each
/// time that is a status, and nothing is kept.
template <typename Work>
void ExpectEveryFailureIsAStatus(const std::vector<uint8_t> &bytes,
                                 const headrace_session_options_t &options,
                                 Work &&work) {
  TemporaryFile file(bytes);
  auto run = [&](FaultyAllocator &allocator) {
    FaultyHost host;
    headrace_status_t status = host.Open(allocator, file.Path(), options);
    return Outcome(status ? status : work(host)).code;
  };
  FaultyAllocator counting;
  ASSERT_EQ(run(counting), HEADRACE_STATUS_OK);
  EXPECT_GT(counting.calls, 10);
  EXPECT_EQ(counting.live_bytes, 0);
  for (bool onwards : {false, true})
    for (int64_t i = 0; i < counting.calls; ++i) {
      FaultyAllocator allocator;
      allocator.fail_at = i;
      allocator.fail_onwards = onwards;
      EXPECT_EQ(run(allocator), HEADRACE_STATUS_RESOURCE_EXHAUSTED)
          << "allocation " << i;
      EXPECT_EQ(allocator.live_bytes, 0) << "allocation " << i;
    }
}

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_FAULTY_HOST_H
