// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Synthetic tensors: the numbers of compiler/import/Synth.cpp again; a test
// compares the two.
#include "tools/gpu-suite/synth_tensor.h"

#include "compiler/reference/ops/Encoded.h"

#include <cmath>
#include <cstring>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace headrace::suite {

/// What a scale is of, in rows and columns of fp8 and in columns of mxfp4.
constexpr int64_t kFp8Block = 128, kMxfp4Block = 32;
/// What normal numbers are multiplied by so that they use an encoding's range.
constexpr float kFp8Range = 64, kMxfp4Range = 2;

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
               uint8_t *out) {
  const uint64_t base = XXH3_64bits(tensor.name.data(), tensor.name.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(tensor.fan_in));
  auto normal = [&](uint64_t i) { return NormalOf(base + begin + i); };
  for (uint64_t i = 0; i < count; ++i, out += tensor.UnitBytes())
    switch (tensor.stored) {
    case Stored::kBf16: {
      const uint16_t bits =
          reference::floatToBf16(tensor.fan_in ? normal(i) * scale : 1.0f);
      std::memcpy(out, &bits, sizeof(bits));
      break;
    }
    case Stored::kFp8:
      *out = reference::floatToE4M3(normal(i) * kFp8Range);
      break;
    case Stored::kFp8Scales: {
      const float factor = scale / kFp8Range * (1.0f + normal(i) * 0.1f);
      std::memcpy(out, &factor, sizeof(factor));
      break;
    }
    case Stored::kMxfp4: {
      const uint64_t first = base + 2 * (begin + i);
      const int low = reference::floatToE2M1(NormalOf(first) * kMxfp4Range);
      const int high =
          reference::floatToE2M1(NormalOf(first + 1) * kMxfp4Range);
      *out = static_cast<uint8_t>(low | high << 4);
      break;
    }
    case Stored::kMxfp4Scales:
      *out = static_cast<uint8_t>(127 + std::ilogb(scale / kMxfp4Range) +
                                  (normal(i) > 0));
      break;
    }
}

std::vector<float> SynthValues(const SynthTensor &tensor, uint64_t begin,
                               uint64_t count) {
  std::vector<uint8_t> bytes(count * tensor.UnitBytes());
  FillSynth(tensor, begin, count, bytes.data());
  return reference::decode(reference::Element::BF16, bytes.data(), count);
}

std::vector<float> SynthMatrix(const SynthTensor &weight,
                               const SynthTensor *scales, uint64_t matrix,
                               int64_t out, int64_t in) {
  const auto elements = static_cast<uint64_t>(out * in);
  if (!scales)
    return SynthValues(weight, matrix * elements, elements);
  const bool eight = weight.stored == Stored::kFp8;
  const uint64_t units = eight ? elements : elements / 2;
  std::vector<uint8_t> bytes(units);
  FillSynth(weight, matrix * units, units, bytes.data());
  std::vector<float> values = reference::decode(
      eight ? reference::Encoding::E4M3 : reference::Encoding::E2M1,
      bytes.data(), elements);
  const int64_t rows = eight ? kFp8Block : 1;
  const int64_t columns = eight ? kFp8Block : kMxfp4Block;
  const int64_t across = (in + columns - 1) / columns;
  const auto count = static_cast<uint64_t>((out + rows - 1) / rows * across);
  bytes.resize(count * scales->UnitBytes());
  FillSynth(*scales, matrix * count, count, bytes.data());
  const std::vector<float> factors = reference::decode(
      eight ? reference::ScaleType::F32 : reference::ScaleType::E8M0,
      bytes.data(), count);
  for (int64_t n = 0; n < out; ++n)
    for (int64_t k = 0; k < in; ++k)
      values[static_cast<size_t>(n * in + k)] *=
          factors[static_cast<size_t>(n / rows * across + k / columns)];
  return values;
}

} // namespace headrace::suite
