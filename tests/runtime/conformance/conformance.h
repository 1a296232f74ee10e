// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conformance: what every driver must do, in terms of the C API alone. A driver
// adds one line of registration; "no such device" is a skip, all else a
// failure.
#ifndef HEADRACE_TESTS_RUNTIME_CONFORMANCE_CONFORMANCE_H
#define HEADRACE_TESTS_RUNTIME_CONFORMANCE_CONFORMANCE_H

#include "tests/runtime/host.h"

namespace headrace::tests {

/// Makes a device, or fails with HEADRACE_STATUS_UNAVAILABLE where there is
/// none.
struct Driver {
  const char *name;
  headrace_status_t (*create)(headrace_instance_t *instance,
                              headrace_device_t **out_device);
  /// The toy package for it.
  std::vector<uint8_t> (*file)();
};

class Conformance : public ::testing::TestWithParam<Driver> {
protected:
  void SetUp() override;

  /// The toy's logits after `tokens`, fed in parts of `part` tokens.
  std::vector<float> Feed(const Sequence &sequence,
                          const std::vector<int32_t> &tokens, size_t part);

  TemporaryFile file{GetParam().file()};
  Instance instance;
  Device device;
  Package package;
  Session session;
};

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_CONFORMANCE_CONFORMANCE_H
