// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fake CUDA: teaches the fake driver the toy's kernels before any test runs.
#include "tests/runtime/fake_cuda/fake_cuda.h"
#include "tests/runtime/toy_gpu_kernels.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

namespace headrace::tests {
namespace {

template <typename T> T Read(const fake_cuda::Block &block, size_t offset) {
  T value;
  std::memcpy(&value, block.parameters + offset, sizeof(value));
  return value;
}

/// Calls the host's version with the parameters as the convention lays them
/// out: 64-bit ones, then 32-bit ones.
template <typename Function, size_t... Wide, size_t... Narrow>
void Call(Function function, const fake_cuda::Block &block,
          std::index_sequence<Wide...>, std::index_sequence<Narrow...>) {
  constexpr size_t kWide = sizeof...(Wide) * 8;
  ASSERT_EQ(block.parameter_bytes, kWide + sizeof...(Narrow) * 4);
  toy_gpu_block = block.index;
  function(Read<uint64_t>(block, Wide * 8)...,
           Read<uint32_t>(block, kWide + Narrow * 4)...);
}

class FakeDriver final : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo &) override {
    fake_cuda::Reset();
#define REGISTER(Name, Buffers, Weights)                                       \
  fake_cuda::Register(#Name, [](const fake_cuda::Block &block) {               \
    Call(Name, block, std::make_index_sequence<2 + Buffers>(),                 \
         std::make_index_sequence<Weights>());                                 \
  });
    TOY_GPU_KERNELS(REGISTER)
#undef REGISTER
  }
};

} // namespace
} // namespace headrace::tests

int main(int argc, char **argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::UnitTest::GetInstance()->listeners().Append(
      new headrace::tests::FakeDriver);
  return RUN_ALL_TESTS();
}
