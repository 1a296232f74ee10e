// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Faulty source: a byte source that fails, ends or hangs where a test says.
#ifndef HEADRACE_TESTS_RUNTIME_TIER_FAULTY_SOURCE_H
#define HEADRACE_TESTS_RUNTIME_TIER_FAULTY_SOURCE_H

#include "runtime/src/tier/byte_source.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

namespace headrace::tests {

class FaultySource final : public runtime::ByteSource {
public:
  explicit FaultySource(std::vector<uint8_t> bytes) : data(std::move(bytes)) {}

  int64_t Read(uint64_t offset, void *out, uint64_t bytes) override {
    std::unique_lock<std::mutex> lock(mutex);
    ++reads;
    if (fail_at >= 0 && offset <= uint64_t(fail_at) &&
        uint64_t(fail_at) < offset + bytes)
      return -fail_with;
    if (hang_at >= 0 && offset <= uint64_t(hang_at) &&
        uint64_t(hang_at) < offset + bytes) {
      ++hanging;
      changed.notify_all();
      changed.wait(lock, [&] { return hang_at < 0; });
      --hanging;
    }
    uint64_t end = std::min<uint64_t>(data.size(), end_at);
    if (offset >= end)
      return 0;
    uint64_t most = most_at_once ? most_at_once : bytes;
    bytes = std::min({bytes, end - offset, most});
    std::memcpy(out, data.data() + offset, bytes);
    return int64_t(bytes);
  }

  /// The read that touches this byte fails with this errno; -1: none.
  void FailAt(int64_t byte, int error) {
    std::lock_guard<std::mutex> lock(mutex);
    fail_at = byte;
    fail_with = error;
  }
  /// The read that touches this byte waits until HangAt(-1).
  void HangAt(int64_t byte) {
    std::lock_guard<std::mutex> lock(mutex);
    hang_at = byte;
    changed.notify_all();
  }
  void AwaitHang() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return hanging > 0; });
  }
  /// As if the file had been cut.
  void EndAt(uint64_t byte) {
    std::lock_guard<std::mutex> lock(mutex);
    end_at = byte;
  }
  void ReadAtMost(uint64_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    most_at_once = bytes;
  }
  uint64_t Reads() {
    std::lock_guard<std::mutex> lock(mutex);
    return reads;
  }

private:
  const std::vector<uint8_t> data;
  std::mutex mutex;
  std::condition_variable changed;
  int64_t fail_at = -1, hang_at = -1;
  int fail_with = 0, hanging = 0;
  uint64_t end_at = UINT64_MAX, most_at_once = 0, reads = 0;
};

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_TIER_FAULTY_SOURCE_H
