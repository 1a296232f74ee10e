// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where the buffers of a session's runs lie, and until when a run may take.
#ifndef HEADRACE_RUNTIME_SRC_SESSION_LAYOUT_H
#define HEADRACE_RUNTIME_SRC_SESSION_LAYOUT_H

#include "runtime/src/session.h"
#include "runtime/src/sizes.h"
#include "runtime/src/thread.h"

#include <array>

namespace headrace::runtime {

/// Where the counts of a run lie among the step buffers of a device with memory
/// of its own: first, so that one transfer takes them along.
inline constexpr uint64_t kCountsBytes = kCacheLine;

/// Of outputs before a run, where asked for: NaN in every float type.
inline constexpr uint8_t kPoison = 0xff;
static_assert(sizeof(int64_t) * HEADRACE_COUNT_COUNT <= kCountsBytes);

/// The buffers of a language model that are the session's own: what a step
/// reads, the longest last, then what it writes.
inline std::array<uint32_t, 6> IoBuffers(const LanguageModel &model) {
  return {model.tokens,      model.positions, model.sequences,
          model.output_rows, model.kv_table,  model.logits};
}

/// Bytes that a buffer takes among others.
inline uint64_t SlotBytes(const abi::Buffer &buffer) {
  return Sum(buffer.bytes(), kCacheLine - 1) / kCacheLine * kCacheLine;
}

/// `offset` bytes behind `address`, which may still be unknown.
inline void *At(void *address, uint64_t offset) {
  return address ? static_cast<uint8_t *>(address) + offset : nullptr;
}

/// When a call with this timeout must be over.
inline uint64_t DeadlineOf(uint64_t call_timeout_ns, uint64_t timeout_ns) {
  uint64_t timeout = call_timeout_ns ? call_timeout_ns : timeout_ns;
  uint64_t deadline;
  if (timeout == 0 || __builtin_add_overflow(MonotonicNs(), timeout, &deadline))
    return 0;
  return deadline;
}

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_SESSION_LAYOUT_H
