// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU features: cpuid, and the register state the system saves.
#include "runtime/drivers/cpu/cpu_features.h"

#include "headrace/device.h"
#include "runtime/abi/kernel_abi.h"

#include <cpuid.h>
#include <cstdio>
#include <initializer_list>

namespace headrace::runtime::cpu {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers Query(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool Has(uint32_t word, std::initializer_list<int> bits) {
  for (int bit : bits)
    if (!(word >> bit & 1))
      return false;
  return true;
}

uint64_t SavedState() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

} // namespace

uint64_t Features() {
  Registers base = Query(1, 0);
  // FMA, MOVBE, OSXSAVE, AVX, F16C; the system must save the ymm registers.
  if (!Has(base.ecx, {12, 22, 27, 28, 29}))
    return 0;
  uint64_t state = SavedState();
  if ((state & 0x06) != 0x06)
    return 0;
  Registers extended = Query(7, 0);
  // BMI1, AVX2, BMI2; LZCNT.
  if (!Has(extended.ebx, {3, 5, 8}) || !Has(Query(0x80000001, 0).ecx, {5}))
    return 0;
  uint64_t features = HEADRACE_CPU_AVX2;
  // F, DQ, CD, BW, VL; mask and zmm registers saved.
  if (Has(extended.ebx, {16, 17, 28, 30, 31}) && (state & 0xe0) == 0xe0) {
    features |= HEADRACE_CPU_AVX512;
    // BF16, and VBMI, which decodes weights for it.
    if (extended.eax >= 1 && Has(Query(7, 1).eax, {5}) &&
        Has(extended.ecx, {1}))
      features |= HEADRACE_CPU_AVX512_BF16;
  }
  return features;
}

void FeatureNames(uint64_t features, char *out, size_t capacity) {
  static constexpr struct {
    uint64_t bit;
    const char *name;
  } kNames[] = {{HEADRACE_CPU_AVX2, "avx2"},
                {HEADRACE_CPU_AVX512, "avx512"},
                {HEADRACE_CPU_AVX512_BF16, "avx512-bf16"}};
  if (capacity == 0)
    return;
  out[0] = 0;
  size_t used = 0;
  auto append = [&](const char *text) {
    if (used >= capacity)
      return;
    used += std::snprintf(out + used, capacity - used, "%s%s", used ? ", " : "",
                          text);
  };
  for (const auto &entry : kNames)
    if (features & entry.bit) {
      append(entry.name);
      features &= ~entry.bit;
    }
  if (features) {
    char rest[40];
    std::snprintf(rest, sizeof(rest), "unknown (0x%llx)",
                  static_cast<unsigned long long>(features));
    append(rest);
  }
}

} // namespace headrace::runtime::cpu

uint64_t headrace_cpu_features(void) {
  return headrace::runtime::cpu::Features();
}
