// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The inner loops that find out what one core can do.
//
// Loads and products stand in inline assembly: a compiler may drop loads whose
// values nobody needs and may spill accumulators, and either one would be
// measured as a property of the machine.
#include "tools/headrace/bench/ProbeLoops.h"

using namespace headrace::tools::bench;

namespace {

/// Bytes of one step of a read loop; each kind of load covers them exactly.
constexpr size_t kStep = 512;

/// Reads `Streams` equal parts of the buffer side by side, with a prefetch
/// `Ahead` bytes before each load (0: the hardware's own only).
template <int Streams, int Ahead>
uint64_t read512(const uint8_t *data, size_t bytes) {
  const size_t part = bytes / Streams;
  for (size_t at = 0; at < part; at += kStep)
    for (int s = 0; s < Streams; ++s) {
      const uint8_t *p = data + size_t(s) * part + at;
      if (Ahead)
        for (size_t line = 0; line < kStep; line += 64)
          __builtin_prefetch(p + line + Ahead, 0, 3);
      asm volatile("vmovdqa64   0(%0), %%zmm0\n\t"
                   "vmovdqa64  64(%0), %%zmm1\n\t"
                   "vmovdqa64 128(%0), %%zmm2\n\t"
                   "vmovdqa64 192(%0), %%zmm3\n\t"
                   "vmovdqa64 256(%0), %%zmm4\n\t"
                   "vmovdqa64 320(%0), %%zmm5\n\t"
                   "vmovdqa64 384(%0), %%zmm6\n\t"
                   "vmovdqa64 448(%0), %%zmm7"
                   :
                   : "r"(p)
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                     "xmm7");
    }
  asm volatile("vzeroupper" ::: "xmm0");
  return bytes;
}

template <int Streams, int Ahead>
uint64_t read256(const uint8_t *data, size_t bytes) {
  const size_t part = bytes / Streams;
  for (size_t at = 0; at < part; at += kStep / 2)
    for (int s = 0; s < Streams; ++s) {
      const uint8_t *p = data + size_t(s) * part + at;
      if (Ahead)
        for (size_t line = 0; line < kStep / 2; line += 64)
          __builtin_prefetch(p + line + Ahead, 0, 3);
      asm volatile("vmovdqa   0(%0), %%ymm0\n\t"
                   "vmovdqa  32(%0), %%ymm1\n\t"
                   "vmovdqa  64(%0), %%ymm2\n\t"
                   "vmovdqa  96(%0), %%ymm3\n\t"
                   "vmovdqa 128(%0), %%ymm4\n\t"
                   "vmovdqa 160(%0), %%ymm5\n\t"
                   "vmovdqa 192(%0), %%ymm6\n\t"
                   "vmovdqa 224(%0), %%ymm7"
                   :
                   : "r"(p)
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                     "xmm7");
    }
  asm volatile("vzeroupper" ::: "xmm0");
  return bytes;
}

// Sixteen accumulators cover the latency of two such instructions a cycle; the
// operands are ones, since products of zeros draw less power and so show a
// clock that no real product has.
#define HEADRACE_ROUND(INSTRUCTION, R)                                         \
  INSTRUCTION                                                                  \
  " %%" R "17, %%" R "16, %%" R "0\n\t" INSTRUCTION " %%" R "17, %%" R         \
  "16, %%" R "1\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R                 \
  "2\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R "3\n\t" INSTRUCTION        \
  " %%" R "17, %%" R "16, %%" R "4\n\t" INSTRUCTION " %%" R "17, %%" R         \
  "16, %%" R "5\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R                 \
  "6\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R "7\n\t" INSTRUCTION        \
  " %%" R "17, %%" R "16, %%" R "8\n\t" INSTRUCTION " %%" R "17, %%" R         \
  "16, %%" R "9\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R                 \
  "10\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R "11\n\t" INSTRUCTION      \
  " %%" R "17, %%" R "16, %%" R "12\n\t" INSTRUCTION " %%" R "17, %%" R        \
  "16, %%" R "13\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R                \
  "14\n\t" INSTRUCTION " %%" R "17, %%" R "16, %%" R "15\n\t"
#define HEADRACE_CLEAR(R)                                                      \
  "vpxor %%xmm0, %%xmm0, %%xmm0\n\t"                                           \
  "vpxor %%xmm1, %%xmm1, %%xmm1\n\t"                                           \
  "vpxor %%xmm2, %%xmm2, %%xmm2\n\t"                                           \
  "vpxor %%xmm3, %%xmm3, %%xmm3\n\t"                                           \
  "vpxor %%xmm4, %%xmm4, %%xmm4\n\t"                                           \
  "vpxor %%xmm5, %%xmm5, %%xmm5\n\t"                                           \
  "vpxor %%xmm6, %%xmm6, %%xmm6\n\t"                                           \
  "vpxor %%xmm7, %%xmm7, %%xmm7\n\t"                                           \
  "vpxor %%xmm8, %%xmm8, %%xmm8\n\t"                                           \
  "vpxor %%xmm9, %%xmm9, %%xmm9\n\t"                                           \
  "vpxor %%xmm10, %%xmm10, %%xmm10\n\t"                                        \
  "vpxor %%xmm11, %%xmm11, %%xmm11\n\t"                                        \
  "vpxor %%xmm12, %%xmm12, %%xmm12\n\t"                                        \
  "vpxor %%xmm13, %%xmm13, %%xmm13\n\t"
#define HEADRACE_CLOBBERS                                                      \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",        \
      "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

void multiplyBf16(uint64_t rounds) {
  asm volatile(HEADRACE_CLEAR("zmm") "vpxor %%xmm14, %%xmm14, %%xmm14\n\t"
                                     "vpxor %%xmm15, %%xmm15, %%xmm15\n\t"
                                     "movl $0x3f803f80, %%eax\n\t"
                                     "vpbroadcastd %%eax, %%zmm16\n\t"
                                     "vpbroadcastd %%eax, %%zmm17\n\t"
                                     ".p2align 5\n"
                                     "1:\n\t" HEADRACE_ROUND(
                                         "vdpbf16ps", "zmm") "decq %0\n\t"
                                                             "jnz 1b\n\t"
                                                             "vzeroupper"
               : "+r"(rounds)
               :
               : HEADRACE_CLOBBERS, "rax", "xmm16", "xmm17");
}

void multiply512(uint64_t rounds) {
  asm volatile(HEADRACE_CLEAR("zmm") "vpxor %%xmm14, %%xmm14, %%xmm14\n\t"
                                     "vpxor %%xmm15, %%xmm15, %%xmm15\n\t"
                                     "movl $0x3f800000, %%eax\n\t"
                                     "vpbroadcastd %%eax, %%zmm16\n\t"
                                     "vpbroadcastd %%eax, %%zmm17\n\t"
                                     ".p2align 5\n"
                                     "1:\n\t" HEADRACE_ROUND(
                                         "vfmadd231ps", "zmm") "decq %0\n\t"
                                                               "jnz 1b\n\t"
                                                               "vzeroupper"
               : "+r"(rounds)
               :
               : HEADRACE_CLOBBERS, "rax", "xmm16", "xmm17");
}

// AVX2 has sixteen registers: fourteen accumulators and the operands.
void multiply256(uint64_t rounds) {
  asm volatile(HEADRACE_CLEAR("ymm") "movl $0x3f800000, %%eax\n\t"
                                     "vmovd %%eax, %%xmm14\n\t"
                                     "vpbroadcastd %%xmm14, %%ymm14\n\t"
                                     "vmovdqa %%ymm14, %%ymm15\n\t"
                                     ".p2align 5\n"
                                     "1:\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm0\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm1\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm2\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm3\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm4\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm5\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm6\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm7\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm8\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm9\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm10\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm11\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm12\n\t"
                                     "vfmadd231ps %%ymm15, %%ymm14, %%ymm13\n\t"
                                     "decq %0\n\t"
                                     "jnz 1b\n\t"
                                     "vzeroupper"
               : "+r"(rounds)
               :
               : HEADRACE_CLOBBERS, "rax");
}

} // namespace

std::vector<ReadLoop> headrace::tools::bench::readLoops() {
  if (__builtin_cpu_supports("avx512f"))
    return {
        {"512-bit loads", read512<1, 0>},
        {"512-bit loads, two streams", read512<2, 0>},
        {"512-bit loads, four streams", read512<4, 0>},
        {"512-bit loads, prefetch 2 KB ahead", read512<1, 2048>},
        {"512-bit loads, prefetch 8 KB ahead", read512<1, 8192>},
        {"512-bit loads, two streams, prefetch 4 KB ahead", read512<2, 4096>}};
  return {{"256-bit loads", read256<1, 0>},
          {"256-bit loads, two streams", read256<2, 0>},
          {"256-bit loads, four streams", read256<4, 0>},
          {"256-bit loads, prefetch 2 KB ahead", read256<1, 2048>},
          {"256-bit loads, prefetch 8 KB ahead", read256<1, 8192>}};
}

std::vector<MultiplyLoop> headrace::tools::bench::multiplyLoops() {
  std::vector<MultiplyLoop> loops;
  if (__builtin_cpu_supports("avx512bf16"))
    loops.push_back({"VDPBF16PS", "bf16", 16.0 * 64, multiplyBf16});
  if (__builtin_cpu_supports("avx512f"))
    loops.push_back({"VFMADD231PS, 512-bit", "f32", 16.0 * 32, multiply512});
  else
    loops.push_back({"VFMADD231PS, 256-bit", "f32", 14.0 * 16, multiply256});
  return loops;
}
