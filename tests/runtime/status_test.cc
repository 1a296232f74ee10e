// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of statuses: codes, messages, lack of memory.
#include "tests/runtime/harness.h"

#include "runtime/src/status.h"

extern "C" headrace_status_t headrace_c_header_test(void);

namespace headrace::tests {
namespace {

using runtime::DefaultAllocator;
using runtime::MakeStatus;

TEST(Status, SuccessIsNull) {
  EXPECT_EQ(headrace_status_code(HEADRACE_OK), HEADRACE_STATUS_OK);
  EXPECT_STREQ(headrace_status_message(HEADRACE_OK), "ok");
  headrace_status_free(HEADRACE_OK);
}

TEST(Status, CarriesCodeAndMessage) {
  headrace_status_t status =
      MakeStatus(DefaultAllocator(), HEADRACE_STATUS_DATA_LOSS, "blob #%d", 3)
          .Release();
  EXPECT_EQ(headrace_status_code(status), HEADRACE_STATUS_DATA_LOSS);
  EXPECT_STREQ(headrace_status_message(status), "blob #3");
  headrace_status_free(status);
}

TEST(Status, MessageIsOneLine) {
  EXPECT_TRUE(FailsWith(
      MakeStatus(DefaultAllocator(), HEADRACE_STATUS_IO, "a\nb\tc").Release(),
      HEADRACE_STATUS_IO, "a b c"));
}

TEST(Status, LongMessageIsCut) {
  std::string text(5000, 'x');
  Outcome outcome(
      MakeStatus(DefaultAllocator(), HEADRACE_STATUS_IO, "%s", text.c_str())
          .Release());
  EXPECT_EQ(outcome.message, text.substr(0, 1023));
}

TEST(Status, WithoutMemoryTheCodeStays) {
  const headrace_allocator_t none = {
      nullptr, [](void *, size_t, size_t) -> void * { return nullptr; },
      [](void *, void *, size_t, size_t) {}};
  EXPECT_TRUE(
      FailsWith(MakeStatus(none, HEADRACE_STATUS_DEVICE_LOST, "text").Release(),
                HEADRACE_STATUS_DEVICE_LOST, "device lost"));
}

TEST(Status, EveryCodeHasAName) {
  for (int code : {0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15, 17, 18})
    EXPECT_STRNE(
        headrace_status_code_name(static_cast<headrace_status_code_t>(code)),
        "unknown");
  EXPECT_STREQ(
      headrace_status_code_name(static_cast<headrace_status_code_t>(2)),
      "unknown");
}

TEST(CHeaders, WorkFromC) { EXPECT_TRUE(IsOk(headrace_c_header_test())); }

TEST(Version, IsThatOfTheHeaders) {
  EXPECT_EQ(headrace_version(), HEADRACE_VERSION_MAJOR * 1000000u +
                                    HEADRACE_VERSION_MINOR * 1000u +
                                    HEADRACE_VERSION_PATCH);
}

} // namespace
} // namespace headrace::tests
