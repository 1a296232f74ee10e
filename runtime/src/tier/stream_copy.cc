// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stream copy: one loop for each width of store.
#include "runtime/src/tier/stream_copy.h"

#include <algorithm>
#include <cstring>
#include <immintrin.h>

namespace headrace::runtime {
namespace {

/// Of a cache line, which a loop writes as a whole, and of one round.
constexpr uint64_t kLine = 64, kRound = 4 * kLine;
/// How far ahead lines are asked for: as far as a load from memory takes.
constexpr uint64_t kAhead = 2048;

/// Copies whole rounds to a line's start.
using Loop = void (*)(uint8_t *to, const uint8_t *from, uint64_t rounds);

inline void PrefetchRound(const uint8_t *from) {
  for (uint64_t line = 0; line < kRound; line += kLine)
    _mm_prefetch(reinterpret_cast<const char *>(from + kAhead + line),
                 _MM_HINT_NTA);
}

__attribute__((target("avx512f"))) void
Copy512(uint8_t *to, const uint8_t *from, uint64_t rounds) {
  for (; rounds; --rounds, to += kRound, from += kRound) {
    PrefetchRound(from);
    __m512i line[4];
    for (int i = 0; i < 4; ++i)
      line[i] = _mm512_loadu_si512(from + kLine * i);
    for (int i = 0; i < 4; ++i)
      _mm512_stream_si512(reinterpret_cast<__m512i *>(to + kLine * i), line[i]);
  }
}

__attribute__((target("avx2"))) void Copy256(uint8_t *to, const uint8_t *from,
                                             uint64_t rounds) {
  for (; rounds; --rounds, to += kRound, from += kRound) {
    PrefetchRound(from);
    __m256i half[8];
    for (int i = 0; i < 8; ++i)
      half[i] = _mm256_loadu_si256(
          reinterpret_cast<const __m256i *>(from + kLine / 2 * i));
    for (int i = 0; i < 8; ++i)
      _mm256_stream_si256(reinterpret_cast<__m256i *>(to + kLine / 2 * i),
                          half[i]);
  }
}

void Copy128(uint8_t *to, const uint8_t *from, uint64_t rounds) {
  for (; rounds; --rounds, to += kRound, from += kRound) {
    PrefetchRound(from);
    __m128i part[16];
    for (int i = 0; i < 16; ++i)
      part[i] = _mm_loadu_si128(
          reinterpret_cast<const __m128i *>(from + kLine / 4 * i));
    for (int i = 0; i < 16; ++i)
      _mm_stream_si128(reinterpret_cast<__m128i *>(to + kLine / 4 * i),
                       part[i]);
  }
}

Loop WidestLoop() {
  if (__builtin_cpu_supports("avx512f"))
    return Copy512;
  return __builtin_cpu_supports("avx2") ? Copy256 : Copy128;
}

} // namespace

void StreamCopy(void *to, const void *from, uint64_t bytes) {
  static const Loop loop = WidestLoop();
  auto *target = static_cast<uint8_t *>(to);
  const auto *source = static_cast<const uint8_t *>(from);
  const uint64_t head = std::min(
      bytes, (kLine - reinterpret_cast<uintptr_t>(target) % kLine) % kLine);
  std::memcpy(target, source, head);
  const uint64_t rounds = (bytes - head) / kRound;
  loop(target + head, source + head, rounds);
  const uint64_t done = head + rounds * kRound;
  std::memcpy(target + done, source + done, bytes - done);
  _mm_sfence();
}

} // namespace headrace::runtime
