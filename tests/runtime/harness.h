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

/// One item of a step.
inline headrace_step_item_t Item(const Sequence &sequence,
                                 const std::vector<int32_t> &tokens,
                                 uint32_t logits = HEADRACE_LOGITS_LAST) {
  return {sequence.get(), tokens.data(), tokens.size(), logits};
}

inline headrace_step_options_t
StepOf(const std::vector<headrace_step_item_t> &items) {
  auto options = sized<headrace_step_options_t>();
  options.item_size = sizeof(headrace_step_item_t);
  options.items = items.data();
  options.item_count = items.size();
  return options;
}

/// Instance, device, toy package and session.
struct Toy {
  explicit Toy(uint32_t threads = 2,
               const headrace_session_options_t *options = nullptr)
      : file(ToyFile()), instance(MakeInstance()),
        device(MakeCpu(instance.get(), threads)),
        package(OpenFile(instance.get(), file.Path())),
        session(MakeSession(device.get(), package.get(), options)) {}

  TemporaryFile file;
  Instance instance;
  Device device;
  Package package;
  Session session;
};

/// Memory aligned as invocations want it.
template <typename T> class Aligned {
public:
  explicit Aligned(size_t count)
      : storage(count * sizeof(T) + 64), count(count) {}
  T *Data() {
    auto address = reinterpret_cast<uintptr_t>(storage.data());
    return reinterpret_cast<T *>((address + 63) / 64 * 64);
  }
  uint64_t Bytes() const { return count * sizeof(T); }
  T &operator[](size_t i) { return Data()[i]; }

private:
  std::vector<char> storage;
  size_t count;
};

/// Runs an entry of the toy with buffers x and y.
template <typename X, typename Y>
headrace_status_t InvokeToy(headrace_session_t *session, uint32_t entry,
                            uint32_t tokens, Aligned<X> &x, Aligned<Y> &y,
                            const headrace_cancel_t *cancel = nullptr,
                            uint64_t timeout_ns = 0) {
  const void *inputs[] = {x.Data()};
  const uint64_t input_bytes[] = {x.Bytes()};
  void *outputs[] = {y.Data()};
  const uint64_t output_bytes[] = {y.Bytes()};
  auto options = sized<headrace_invoke_options_t>();
  options.entry = entry;
  options.tokens = tokens;
  options.inputs = inputs;
  options.input_bytes = input_bytes;
  options.input_count = 1;
  options.outputs_data = outputs;
  options.output_bytes = output_bytes;
  options.output_count = 1;
  options.cancel = cancel;
  options.timeout_ns = timeout_ns;
  return headrace_session_invoke(session, &options);
}

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_HARNESS_H
