// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the size rule of option and result structs.
#include "tests/runtime/harness.h"

#include "runtime/src/structs.h"

#include <cstring>

namespace headrace::tests {
namespace {

using runtime::DefaultAllocator;
using runtime::FirstVersion;
using runtime::ReadOptions;
using runtime::WriteStruct;

template <typename T> class Structs : public ::testing::Test {};
using AllStructs = ::testing::Types<
    headrace_instance_options_t, headrace_cpu_device_options_t,
    headrace_package_options_t, headrace_verify_options_t,
    headrace_package_info_t, headrace_level_info_t, headrace_blob_info_t,
    headrace_weight_info_t, headrace_buffer_info_t, headrace_kernel_info_t,
    headrace_entry_info_t, headrace_launch_info_t, headrace_session_options_t,
    headrace_session_info_t, headrace_step_options_t, headrace_step_result_t,
    headrace_invoke_options_t, headrace_generate_options_t,
    headrace_generate_result_t>;
TYPED_TEST_SUITE(Structs, AllStructs);

/// The struct with room behind it, as a newer host would pass it.
template <typename T> struct Larger {
  union {
    T value;
    char bytes[sizeof(T) + 64];
  };
  Larger() { std::memset(bytes, 0, sizeof(bytes)); }
};

TYPED_TEST(Structs, FirstVersionIsRead) {
  Larger<TypeParam> given;
  TypeParam read;
  given.value.struct_size = FirstVersion<TypeParam>::kSize;
  EXPECT_TRUE(
      IsOk(ReadOptions(DefaultAllocator(), &given.value, &read).Release()));
}

TYPED_TEST(Structs, SmallerThanTheFirstVersionIsRefused) {
  for (size_t size :
       {size_t(0), size_t(8), FirstVersion<TypeParam>::kSize - 1}) {
    Larger<TypeParam> given;
    TypeParam read;
    given.value.struct_size = size;
    EXPECT_TRUE(FailsWith(
        ReadOptions(DefaultAllocator(), &given.value, &read).Release(),
        HEADRACE_STATUS_INVALID_ARGUMENT, "struct_size"));
    EXPECT_TRUE(
        FailsWith(WriteStruct(DefaultAllocator(), read, &given.value).Release(),
                  HEADRACE_STATUS_INVALID_ARGUMENT, "struct_size"));
  }
}

TYPED_TEST(Structs, LargerIsReadWhenTheRestIsZero) {
  Larger<TypeParam> given;
  TypeParam read;
  given.value.struct_size = sizeof(given);
  EXPECT_TRUE(
      IsOk(ReadOptions(DefaultAllocator(), &given.value, &read).Release()));
  given.bytes[sizeof(given) - 1] = 1;
  EXPECT_TRUE(
      FailsWith(ReadOptions(DefaultAllocator(), &given.value, &read).Release(),
                HEADRACE_STATUS_UNIMPLEMENTED, FirstVersion<TypeParam>::kName));
}

TYPED_TEST(Structs, NothingIsWrittenBehindTheSize) {
  Larger<TypeParam> given;
  TypeParam value;
  std::memset(static_cast<void *>(&value), 0x11, sizeof(value));
  given.value.struct_size = FirstVersion<TypeParam>::kSize;
  ASSERT_TRUE(
      IsOk(WriteStruct(DefaultAllocator(), value, &given.value).Release()));
  EXPECT_EQ(given.value.struct_size, FirstVersion<TypeParam>::kSize);
  for (size_t i = FirstVersion<TypeParam>::kSize; i < sizeof(given); ++i)
    EXPECT_EQ(given.bytes[i], 0) << "byte " << i;
}

TYPED_TEST(Structs, NullMeansDefaults) {
  TypeParam read;
  std::memset(static_cast<void *>(&read), 0x11, sizeof(read));
  ASSERT_TRUE(IsOk(
      ReadOptions<TypeParam>(DefaultAllocator(), nullptr, &read).Release()));
  const char zero[sizeof(TypeParam)] = {};
  EXPECT_EQ(std::memcmp(&read, zero, sizeof(read)), 0);
}

/// What was published stays as it is: change these numbers never, add new
/// fields behind them.
TEST(StructTable, HoldsTheSizesOfVersionOne) {
  EXPECT_EQ(FirstVersion<headrace_instance_options_t>::kSize, 48u);
  EXPECT_EQ(FirstVersion<headrace_cpu_device_options_t>::kSize, 24u);
  EXPECT_EQ(FirstVersion<headrace_package_options_t>::kSize, 24u);
  EXPECT_EQ(FirstVersion<headrace_verify_options_t>::kSize, 32u);
  EXPECT_EQ(FirstVersion<headrace_package_info_t>::kSize, 160u);
  EXPECT_EQ(FirstVersion<headrace_level_info_t>::kSize, 40u);
  EXPECT_EQ(FirstVersion<headrace_blob_info_t>::kSize, 32u);
  EXPECT_EQ(FirstVersion<headrace_weight_info_t>::kSize, 32u);
  EXPECT_EQ(FirstVersion<headrace_buffer_info_t>::kSize, 64u);
  EXPECT_EQ(FirstVersion<headrace_kernel_info_t>::kSize, 40u);
  EXPECT_EQ(FirstVersion<headrace_entry_info_t>::kSize, 48u);
  EXPECT_EQ(FirstVersion<headrace_launch_info_t>::kSize, 64u);
  EXPECT_EQ(FirstVersion<headrace_session_options_t>::kSize, 40u);
  EXPECT_EQ(FirstVersion<headrace_session_info_t>::kSize, 56u);
  EXPECT_EQ(FirstVersion<headrace_step_options_t>::kSize, 64u);
  EXPECT_EQ(FirstVersion<headrace_step_result_t>::kSize, 32u);
  EXPECT_EQ(FirstVersion<headrace_invoke_options_t>::kSize, 88u);
  EXPECT_EQ(FirstVersion<headrace_generate_options_t>::kSize, 80u);
  EXPECT_EQ(FirstVersion<headrace_generate_result_t>::kSize, 24u);
}

} // namespace
} // namespace headrace::tests
