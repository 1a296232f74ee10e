// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Harness: short ways to make the C objects and to say what is expected.
#ifndef HEADRACE_TESTS_RUNTIME_HARNESS_H
#define HEADRACE_TESTS_RUNTIME_HARNESS_H

#include <headrace/handles.hpp>

#include "tests/runtime/toy_package.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace headrace::tests {

/// A step's limit where a transfer hangs: long enough that on a busy machine,
/// too, the transfer has begun.
constexpr uint64_t kHangLimitNs = 200000000;

/// Takes a status and keeps code and message.
struct Outcome {
  Outcome(headrace_status_t status)
      : code(headrace_status_code(status)),
        message(headrace_status_message(status)) {
    headrace_status_free(status);
  }
  headrace_status_code_t code;
  std::string message;
};

inline ::testing::AssertionResult IsOk(headrace_status_t status) {
  Outcome outcome(status);
  if (outcome.code == HEADRACE_STATUS_OK)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << headrace_status_code_name(outcome.code) << ": " << outcome.message;
}

/// Fails with `code` and a message that holds `part`.
inline ::testing::AssertionResult
FailsWith(headrace_status_t status, headrace_status_code_t code,
          const std::string &part = std::string()) {
  Outcome outcome(status);
  if (outcome.code == code && outcome.message.find(part) != std::string::npos)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "expected " << headrace_status_code_name(code) << " with '" << part
         << "', but got " << headrace_status_code_name(outcome.code) << ": "
         << outcome.message;
}

inline Instance
MakeInstance(const headrace_instance_options_t *options = nullptr) {
  headrace_instance_t *instance = nullptr;
  EXPECT_TRUE(IsOk(headrace_instance_create(options, &instance)));
  return Instance(instance);
}

inline Device MakeCpu(headrace_instance_t *instance, uint32_t threads = 2) {
  auto options = sized<headrace_cpu_device_options_t>();
  options.thread_count = threads;
  headrace_device_t *device = nullptr;
  EXPECT_TRUE(IsOk(headrace_device_create_cpu(instance, &options, &device)));
  return Device(device);
}

inline Package OpenFile(headrace_instance_t *instance, const char *path) {
  headrace_package_t *package = nullptr;
  EXPECT_TRUE(IsOk(headrace_package_open(instance, path, nullptr, &package)));
  return Package(package);
}

inline Session
MakeSession(headrace_device_t *device, headrace_package_t *package,
            const headrace_session_options_t *options = nullptr) {
  headrace_session_t *session = nullptr;
  EXPECT_TRUE(
      IsOk(headrace_session_create(device, package, options, &session)));
  return Session(session);
}

inline Sequence MakeSequence(headrace_session_t *session) {
  headrace_sequence_t *sequence = nullptr;
  EXPECT_TRUE(IsOk(headrace_sequence_create(session, &sequence)));
  return Sequence(sequence);
}

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_HARNESS_H
