// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the host allocator: all of it is given back, and a failure at any
// allocation is a status that loses nothing.
#include "tests/runtime/faulty_host.h"

namespace headrace::tests {
namespace {

TEST(Allocator, EveryFailureIsAStatus) {
  ExpectEveryFailureIsAStatus(
      ToyFile(), sized<headrace_session_options_t>(), [](FaultyHost &host) {
        headrace_status_t status =
            headrace_package_verify(host.package.get(), nullptr);
        if (status)
          return status;
        const std::vector<int32_t> prompt(40, 3);
        auto generate = sized<headrace_generate_options_t>();
        generate.max_new_tokens = 4;
        generate.temperature = 1;
        generate.top_p = 0.9f;
        status = headrace_sequence_generate(host.sequence.get(), prompt.data(),
                                            prompt.size(), &generate, nullptr,
                                            0, nullptr);
        if (status) {
          EXPECT_EQ(headrace_sequence_length(host.sequence.get()), 0u);
          return status;
        }
        Sequence fork;
        status = make(fork, [&](headrace_sequence_t **out) {
          return headrace_sequence_fork(host.sequence.get(), out);
        });
        if (status)
          return status;
        Aligned<float> x(TOY_WIDTH), y(TOY_WIDTH);
        return InvokeToy(host.session.get(), kScale, 1, x, y);
      });
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
    Instance instance = MakeInstance(allocator);
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
