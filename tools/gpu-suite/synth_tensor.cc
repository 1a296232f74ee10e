// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Synthetic tensors: the numbers of compiler/import/Synth.cpp again; a test
// compares the two.
#include "tools/gpu-suite/synth_tensor.h"

#include "compiler/reference/ops/Element.h"

#include <algorithm>
#include <cmath>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace headrace::suite {

/// The sum of four uniform numbers: mean 0, variance 1, near enough to normal.
static float NormalOf(uint64_t key) {
  uint64_t z = key * 0x9e3779b97f4a7c15u; // SplitMix64
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  const int32_t sum = static_cast<int32_t>(z & 0xffff) +
                      static_cast<int32_t>(z >> 16 & 0xffff) +
                      static_cast<int32_t>(z >> 32 & 0xffff) +
                      static_cast<int32_t>(z >> 48);
  return static_cast<float>(sum - 131070) * (1.7320508f / 65536.0f);
}

void FillSynth(const SynthTensor &tensor, uint64_t begin, uint64_t count,
               uint16_t *out) {
  if (tensor.fan_in == 0) {
    std::fill_n(out, count, reference::floatToBf16(1.0f));
    return;
  }
  const uint64_t base = XXH3_64bits(tensor.name.data(), tensor.name.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(tensor.fan_in));
  for (uint64_t i = 0; i < count; ++i)
    out[i] = reference::floatToBf16(NormalOf(base + begin + i) * scale);
}

std::vector<float> SynthValues(const SynthTensor &tensor, uint64_t begin,
                               uint64_t count) {
  std::vector<uint16_t> bits(count);
  FillSynth(tensor, begin, count, bits.data());
  std::vector<float> values(count);
  std::transform(bits.begin(), bits.end(), values.begin(),
                 reference::bf16ToFloat);
  return values;
}

} // namespace headrace::suite
