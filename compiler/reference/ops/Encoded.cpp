// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Encoded weights in the plainest loops.
#include "compiler/reference/ops/Encoded.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

namespace headrace::reference {

/// A number of `fraction` bits of fraction below its exponent.
static float toFloat(uint8_t magnitude, int fraction, int bias) {
  int exponent = magnitude >> fraction;
  int units = magnitude & ((1 << fraction) - 1);
  if (exponent == 0)
    return std::ldexp(float(units), 1 - bias - fraction);
  return std::ldexp(float(units + (1 << fraction)), exponent - bias - fraction);
}

float e4m3ToFloat(uint8_t bits) {
  float magnitude = (bits & 0x7f) == 0x7f
                        ? std::numeric_limits<float>::quiet_NaN()
                        : toFloat(bits & 0x7f, 3, 7);
  return bits & 0x80 ? -magnitude : magnitude;
}

float e2m1ToFloat(uint8_t bits) {
  float magnitude = toFloat(bits & 0x7, 1, 1);
  return bits & 0x8 ? -magnitude : magnitude;
}

float e8m0ToFloat(uint8_t bits) {
  return bits == 255 ? std::numeric_limits<float>::quiet_NaN()
                     : std::ldexp(1.0f, int(bits) - 127);
}

uint8_t floatToE4M3(float value) {
  uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value))
    return sign | 0x7f;
  float magnitude = std::min(std::fabs(value), 448.0f);
  if (magnitude < 0x1p-6f) // Subnormal: units of 2^-9.
    return uint8_t(sign | int(std::nearbyint(magnitude * 0x1p9f)));
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof(bits));
  bits += 0x7ffff + (bits >> 20 & 1);
  return uint8_t(sign | ((bits >> 20) - ((127 - 7) << 3)));
}

uint8_t floatToE2M1(float value) {
  float m = std::fabs(value);
  // How many of the bounds between neighbours lie below; one that is met
  // belongs to the even number.
  int below = (m > 0.25f) + (m >= 0.75f) + (m > 1.25f) + (m >= 1.75f) +
              (m > 2.5f) + (m >= 3.5f) + !(m <= 5.0f);
  if (std::isnan(value))
    below = 7;
  return uint8_t((std::signbit(value) ? 0x8 : 0) | below);
}

int64_t elementBytes(Encoding encoding, int64_t count) {
  return encoding == Encoding::E4M3 ? count : count / 2;
}

std::vector<float> decode(Encoding encoding, const uint8_t *bytes,
                          size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = encoding == Encoding::E4M3
                    ? e4m3ToFloat(bytes[i])
                    : e2m1ToFloat(uint8_t(bytes[i / 2] >> (i % 2 * 4)));
  return values;
}

std::vector<float> decode(ScaleType type, const uint8_t *bytes, size_t count) {
  if (type != ScaleType::E8M0)
    return decode(type == ScaleType::F32 ? Element::F32 : Element::BF16, bytes,
                  count);
  std::vector<float> values(count);
  std::transform(bytes, bytes + count, values.begin(), e8m0ToFloat);
  return values;
}

Rows scaledLinear(Matrix input, Matrix elements, BlockScales scales,
                  const float *bias, Element inputs) {
  assert(input.width == elements.width && "input and weight disagree in width");
  int64_t across = (elements.width + scales.columns - 1) / scales.columns;
  Rows result(input.rows, elements.rows);
  std::vector<float> rounded(size_t(input.width));
  for (int64_t t = 0; t < input.rows; ++t) {
    for (int64_t k = 0; k < input.width; ++k)
      rounded[size_t(k)] = roundTo(inputs, input.row(t)[k]);
    for (int64_t n = 0; n < elements.rows; ++n) {
      float total = 0.0f;
      for (int64_t block = 0; block < across; ++block) {
        int64_t end = std::min((block + 1) * scales.columns, elements.width);
        float sum = 0.0f;
        for (int64_t k = block * scales.columns; k < end; ++k)
          sum += rounded[size_t(k)] * elements.row(n)[k];
        total += sum * scales.values[n / scales.rows * across + block];
      }
      result.row(t)[n] = bias ? total + bias[n] : total;
    }
  }
  return result;
}

} // namespace headrace::reference
