// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversation: steps of the toy that share, cut and give back key-value pages,
// each compared with what the toy is to say.
#ifndef HEADRACE_TESTS_RUNTIME_CONVERSATION_H
#define HEADRACE_TESTS_RUNTIME_CONVERSATION_H

#include "tests/runtime/host.h"

namespace headrace::tests {

/// A prompt over several passes and pages, a fork in the middle of a page, a
/// cut across the end of one, steps of unequal shares, pages given back and
/// taken again.
inline void Converse(headrace_session_t *session) {
  for (int round = 0; round < 3; ++round) {
    Sequence a = MakeSequence(session);
    Sequence b = MakeSequence(session);
    std::vector<int32_t> as, bs;
    Extend(session, {&a, &b}, {&as, &bs},
           {std::vector<int32_t>(45, 3), std::vector<int32_t>(7, 9)});
    Sequence c = Fork(a);
    std::vector<int32_t> cs = as;
    Extend(session, {&c, &a}, {&cs, &as}, {{1, 2, 3}, {4}});
    Extend(session, {&a, &b, &c}, {&as, &bs, &cs},
           {{5}, std::vector<int32_t>(30, 8), {6, 7}});
    ASSERT_TRUE(IsOk(headrace_sequence_truncate(a.get(), 31)));
    as.resize(31);
    for (int i = 0; i < 4; ++i)
      Extend(session, {&c, &a}, {&cs, &as}, {{i}, {i + 20}});
  }
}

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_CONVERSATION_H
