// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conversions between float32, bfloat16 and binary16, bit by bit.
#include "compiler/reference/ops/Element.h"

#include <cmath>
#include <cstring>

namespace headrace::reference {

static uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

static float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

int64_t byteWidth(Element element) { return element == Element::F32 ? 4 : 2; }

uint16_t floatToBf16(float value) {
  uint32_t bits = bitsOf(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return uint16_t((bits >> 16) | 0x0040u);
  // Adds half a unit, less one where the kept part is even; a carry into the
  // exponent is the right result, infinity included.
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float bf16ToFloat(uint16_t bits) { return floatOf(uint32_t(bits) << 16); }

uint16_t floatToF16(float value) {
  uint32_t bits = bitsOf(value);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  // 65520 lies half way between the largest value, 65504, and the next one.
  if (magnitude >= bitsOf(65520.0f))
    return uint16_t(sign | 0x7c00u);
  if (magnitude < bitsOf(0x1p-14f)) {
    // A subnormal counts units of 2^-24; the product is exact, so that
    // nearbyint (ties to even) is the only rounding.
    float units = std::nearbyint(floatOf(magnitude) * 0x1p24f);
    return uint16_t(sign | uint32_t(units));
  }
  uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return uint16_t(sign | ((rounded - (112u << 23)) >> 13));
}

float f16ToFloat(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  uint32_t exponent = (bits >> 10) & 0x1fu;
  uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0) {
    float magnitude = float(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 31)
    return floatOf(sign | 0x7f800000u | (fraction << 13));
  return floatOf(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

float roundTo(Element element, float value) {
  switch (element) {
  case Element::F32:
    return value;
  case Element::BF16:
    return bf16ToFloat(floatToBf16(value));
  case Element::F16:
    return f16ToFloat(floatToF16(value));
  }
  return value;
}

std::vector<float> decode(Element element, const uint8_t *bytes, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (element == Element::F32) {
      const uint8_t *at = bytes + 4 * i;
      values[i] = floatOf(uint32_t(at[0]) | uint32_t(at[1]) << 8 |
                          uint32_t(at[2]) << 16 | uint32_t(at[3]) << 24);
      continue;
    }
    uint16_t bits = uint16_t(bytes[2 * i] | bytes[2 * i + 1] << 8);
    values[i] = element == Element::BF16 ? bf16ToFloat(bits) : f16ToFloat(bits);
  }
  return values;
}

} // namespace headrace::reference
