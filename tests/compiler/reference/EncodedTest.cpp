// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Encoded elements against the tables of their standards, and the product by
// blocks.
#include "compiler/reference/ops/Encoded.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace headrace::reference;

TEST(Encoded, E4M3) {
  // Values that the standard lists.
  EXPECT_EQ(e4m3ToFloat(0x7e), 448.0f);
  EXPECT_EQ(e4m3ToFloat(0xfe), -448.0f);
  EXPECT_EQ(e4m3ToFloat(0x08), std::ldexp(1.0f, -6));
  EXPECT_EQ(e4m3ToFloat(0x07), 0.875f * std::ldexp(1.0f, -6));
  EXPECT_EQ(e4m3ToFloat(0x01), std::ldexp(1.0f, -9));
  EXPECT_EQ(e4m3ToFloat(0x38), 1.0f);
  EXPECT_EQ(e4m3ToFloat(0x00), 0.0f);
  EXPECT_TRUE(std::signbit(e4m3ToFloat(0x80)));
  EXPECT_TRUE(std::isnan(e4m3ToFloat(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3ToFloat(0xff)));
  for (int i = 1; i < 0x7f; ++i)
    EXPECT_GT(e4m3ToFloat(uint8_t(i)), e4m3ToFloat(uint8_t(i - 1))) << i;
}

TEST(Encoded, E2M1HasSixteenValues) {
  const float want[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(e2m1ToFloat(uint8_t(i)), want[i]);
    EXPECT_EQ(e2m1ToFloat(uint8_t(i + 8)), -want[i]);
  }
}

/// Of all values the nearest, and of two equally near the even one.
uint8_t nearest(float value, float (*decode)(uint8_t), int count) {
  int best = 0;
  for (int i = 1; i < count; ++i) {
    float here = std::fabs(decode(uint8_t(i)) - value);
    float before = std::fabs(decode(uint8_t(best)) - value);
    if (here < before || (here == before && i % 2 == 0))
      best = i;
  }
  return uint8_t(best);
}

TEST(Encoded, FloatsGoToTheNearest) {
  for (int i = 0; i <= 20000; ++i) {
    float value = float(i) / 40; // Up to 500, with ties.
    EXPECT_EQ(floatToE4M3(value), nearest(value, e4m3ToFloat, 0x7f)) << value;
    EXPECT_EQ(floatToE4M3(-value), 0x80 | floatToE4M3(value)) << value;
    float small = value / 20000; // Subnormal ones.
    EXPECT_EQ(floatToE4M3(small), nearest(small, e4m3ToFloat, 0x7f)) << small;
    float few = float(i) / 2000; // Up to 10.
    EXPECT_EQ(floatToE2M1(few), nearest(few, e2m1ToFloat, 8)) << few;
    EXPECT_EQ(floatToE2M1(-few), 0x8 | floatToE2M1(few)) << few;
  }
  EXPECT_EQ(floatToE4M3(INFINITY), 0x7e);
  EXPECT_EQ(floatToE4M3(NAN) & 0x7f, 0x7f);
  EXPECT_EQ(floatToE2M1(-INFINITY), 0xf);
  EXPECT_EQ(floatToE2M1(NAN) & 0x7, 0x7);
}

TEST(Encoded, E8M0IsAnExponent) {
  EXPECT_EQ(e8m0ToFloat(127), 1.0f);
  EXPECT_EQ(e8m0ToFloat(0), std::ldexp(1.0f, -127));
  EXPECT_EQ(e8m0ToFloat(254), std::ldexp(1.0f, 127));
  EXPECT_TRUE(std::isnan(e8m0ToFloat(255)));
}

TEST(Encoded, TheFirstOfTwoIsTheLowerHalf) {
  const uint8_t bytes[] = {0x21, 0xf4};
  EXPECT_EQ(decode(Encoding::E2M1, bytes, 4),
            (std::vector<float>{0.5f, 1, 2, -6}));
  EXPECT_EQ(elementBytes(Encoding::E2M1, 4), 2);
}

TEST(Encoded, EveryBlockHasItsScale) {
  // 3 outputs of 5 inputs in blocks of 2 by 2: scales 2 by 3.
  std::vector<float> elements(15), scales = {1, 10, 100, 2, 20, 200};
  for (size_t i = 0; i < elements.size(); ++i)
    elements[i] = float(i);
  const float input[] = {1, 1, 1, 1, 1}, bias[] = {0.5f, 0, 0};
  Rows y = scaledLinear({input, 1, 5}, {elements.data(), 3, 5},
                        {scales.data(), 2, 2}, bias, Element::F32);
  EXPECT_EQ(y.values,
            (std::vector<float>{0 + 1 + 10 * (2 + 3) + 100 * 4 + 0.5f,
                                5 + 6 + 10 * (7 + 8) + 100 * 9,
                                2 * (10 + 11) + 20 * (12 + 13) + 200 * 14}));
}

TEST(Encoded, ScalesApplyToSums) {
  // 2^24 + 1 is no float32: the block's sum loses the 1, whatever its scale.
  const float input[] = {16777216.0f, 1, -16777216.0f, 3};
  const float elements[] = {1, 1, 1, 1}, scales[] = {0.5f, 2};
  Rows y = scaledLinear({input, 1, 4}, {elements, 1, 4}, {scales, 1, 3},
                        nullptr, Element::F32);
  EXPECT_EQ(y.values[0], 6.0f);
}
