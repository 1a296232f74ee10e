// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the host allocator: all of it is given back, and a failure at any
// allocation is a status that loses nothing.
#include "tests/runtime/faulty_allocator.h"
#include "tests/runtime/harness.h"

namespace headrace::tests {
namespace {

/// Everything a host does; stops at the first failure. Returns its code.
headrace_status_code_t RunHost(FaultyAllocator &allocator, const char *path) {
  auto options = sized<headrace_instance_options_t>();
  options.allocator = allocator.Interface();
  headrace_instance_t *raw_instance = nullptr;
  Outcome outcome(headrace_instance_create(&options, &raw_instance));
  Instance instance(raw_instance);
  if (outcome.code)
    return outcome.code;

  auto cpu = sized<headrace_cpu_device_options_t>();
  cpu.thread_count = 2;
  headrace_device_t *raw_device = nullptr;
  outcome = headrace_device_create_cpu(instance.get(), &cpu, &raw_device);
  Device device(raw_device);
  if (outcome.code)
    return outcome.code;

  headrace_package_t *raw_package = nullptr;
  outcome = headrace_package_open(instance.get(), path, nullptr, &raw_package);
  Package package(raw_package);
  if (outcome.code)
    return outcome.code;
  outcome = headrace_package_verify(package.get(), nullptr);
  if (outcome.code)
    return outcome.code;

  headrace_session_t *raw_session = nullptr;
  outcome = headrace_session_create(device.get(), package.get(), nullptr,
                                    &raw_session);
  Session session(raw_session);
  if (outcome.code)
    return outcome.code;
  headrace_sequence_t *raw_sequence = nullptr;
  outcome = headrace_sequence_create(session.get(), &raw_sequence);
  Sequence sequence(raw_sequence);
  if (outcome.code)
    return outcome.code;

  const std::vector<int32_t> prompt(40, 3);
  auto generate = sized<headrace_generate_options_t>();
  generate.max_new_tokens = 4;
  generate.temperature = 1;
  generate.top_p = 0.9f;
  outcome =
      headrace_sequence_generate(sequence.get(), prompt.data(), prompt.size(),
                                 &generate, nullptr, 0, nullptr);
  if (outcome.code) {
    EXPECT_EQ(headrace_sequence_length(sequence.get()), 0u);
    return outcome.code;
  }
  headrace_sequence_t *raw_fork = nullptr;
  outcome = headrace_sequence_fork(sequence.get(), &raw_fork);
  Sequence fork(raw_fork);
  if (outcome.code)
    return outcome.code;
  Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
  outcome = InvokeToy(session.get(), kScale, 1, x, y);
  return outcome.code;
}

TEST(Allocator, GetsEverythingBack) {
  TemporaryFile file(ToyFile());
  FaultyAllocator allocator;
  EXPECT_EQ(RunHost(allocator, file.Path()), HEADRACE_STATUS_OK);
  EXPECT_GT(allocator.calls, 10);
  EXPECT_EQ(allocator.live_bytes, 0);
}

TEST(Allocator, EveryFailureIsAStatus) {
  TemporaryFile file(ToyFile());
  FaultyAllocator counting;
  ASSERT_EQ(RunHost(counting, file.Path()), HEADRACE_STATUS_OK);
  for (bool onwards : {false, true})
    for (int64_t i = 0; i < counting.calls; ++i) {
      FaultyAllocator allocator;
      allocator.fail_at = i;
      allocator.fail_onwards = onwards;
      EXPECT_EQ(RunHost(allocator, file.Path()),
                HEADRACE_STATUS_RESOURCE_EXHAUSTED)
          << "allocation " << i;
      EXPECT_EQ(allocator.live_bytes, 0) << "allocation " << i;
    }
}

TEST(Allocator, NeedsBothFunctions) {
  FaultyAllocator allocator;
  auto options = sized<headrace_instance_options_t>();
  options.allocator = allocator.Interface();
  options.allocator.deallocate = nullptr;
  headrace_instance_t *instance;
  EXPECT_TRUE(FailsWith(headrace_instance_create(&options, &instance),
                        HEADRACE_STATUS_INVALID_ARGUMENT));
  EXPECT_EQ(instance, nullptr);
}

TEST(Allocator, ReleaseOrderDoesNotMatter) {
  TemporaryFile file(ToyFile());
  FaultyAllocator allocator;
  {
    auto options = sized<headrace_instance_options_t>();
    options.allocator = allocator.Interface();
    Instance instance = MakeInstance(&options);
    Device device = MakeCpu(instance.get());
    Package package = OpenFile(instance.get(), file.Path());
    Session session = MakeSession(device.get(), package.get());
    Sequence sequence = MakeSequence(session.get());
    instance.reset();
    device.reset();
    package.reset();
    session.reset();
    const int32_t prompt[] = {1, 2, 3};
    auto generate = sized<headrace_generate_options_t>();
    generate.max_new_tokens = 2;
    EXPECT_TRUE(IsOk(headrace_sequence_generate(
        sequence.get(), prompt, 3, &generate, nullptr, 0, nullptr)));
  }
  EXPECT_EQ(allocator.live_bytes, 0);
}

} // namespace
} // namespace headrace::tests
