// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The reference ops against values worked out by hand or in closed form.
#include "compiler/reference/ops/Attention.h"
#include "compiler/reference/ops/Dense.h"
#include "compiler/reference/ops/Rope.h"
#include "compiler/reference/ops/Routing.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>

using namespace headrace::reference;
using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

static const float nan_ = std::numeric_limits<float>::quiet_NaN();
static const float inf = std::numeric_limits<float>::infinity();

static float floatFromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

static void expectNear(const Rows &have, const Floats &want,
                       float tolerance = 1e-6f) {
  ASSERT_EQ(have.values.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(have.values[i], want[i], tolerance) << "value " << i;
}

TEST(Element, Bf16RoundsToNearestEven) {
  EXPECT_EQ(floatToBf16(1.0f), 0x3f80);
  EXPECT_EQ(floatToBf16(floatFromBits(0x3f808000)), 0x3f80); // tie, to even
  EXPECT_EQ(floatToBf16(floatFromBits(0x3f818000)), 0x3f82); // tie, to even
  EXPECT_EQ(floatToBf16(floatFromBits(0x3f808001)), 0x3f81); // above the tie
  EXPECT_EQ(floatToBf16(floatFromBits(0xbf817fff)), 0xbf81); // below the tie
  EXPECT_EQ(floatToBf16(-0.0f), 0x8000);
  EXPECT_EQ(floatToBf16(inf), 0x7f80);
  EXPECT_EQ(floatToBf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(floatToBf16(floatFromBits(0x7f7f7fff)), 0x7f7f); // largest finite
  EXPECT_EQ(floatToBf16(floatFromBits(0x00018000)), 0x0002); // subnormal tie
}

TEST(Element, NanIsKept) {
  // A payload only in the bits that are cut off must not become infinity.
  EXPECT_EQ(floatToBf16(floatFromBits(0x7f800001)), 0x7fc0);
  EXPECT_EQ(floatToBf16(floatFromBits(0xffffffff)), 0xffff);
  EXPECT_EQ(floatToF16(floatFromBits(0x7f800001)), 0x7e00);
  EXPECT_EQ(floatToF16(floatFromBits(0xff802000)), 0xfe01);
  EXPECT_TRUE(std::isnan(f16ToFloat(0x7e00)));
  EXPECT_TRUE(std::isnan(bf16ToFloat(0x7fc0)));
}

TEST(Element, F16RoundsToNearestEven) {
  EXPECT_EQ(floatToF16(1.0f), 0x3c00);
  EXPECT_EQ(floatToF16(-2.0f), 0xc000);
  EXPECT_EQ(floatToF16(65504.0f), 0x7bff);
  EXPECT_EQ(floatToF16(65519.996f), 0x7bff);
  EXPECT_EQ(floatToF16(65520.0f), 0x7c00);
  EXPECT_EQ(floatToF16(1.0f + 0x1p-11f), 0x3c00);     // tie, to even
  EXPECT_EQ(floatToF16(1.0f + 3 * 0x1p-11f), 0x3c02); // tie, to even
  EXPECT_EQ(floatToF16(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01);
  EXPECT_EQ(floatToF16(0x1p-14f), 0x0400);     // least normal
  EXPECT_EQ(floatToF16(0x1p-24f), 0x0001);     // least subnormal
  EXPECT_EQ(floatToF16(0x1p-25f), 0x0000);     // tie, to even
  EXPECT_EQ(floatToF16(3 * 0x1p-25f), 0x0002); // tie, to even
  EXPECT_EQ(floatToF16(-0x1.8p-25f), 0x8001);
  // Just below the least normal: rounds up into it.
  EXPECT_EQ(floatToF16(floatFromBits(0x387fffff)), 0x0400);
}

TEST(Element, EveryNarrowValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if (!std::isnan(f16ToFloat(uint16_t(bits)))) {
      EXPECT_EQ(floatToF16(f16ToFloat(uint16_t(bits))), bits);
    }
    if (!std::isnan(bf16ToFloat(uint16_t(bits)))) {
      EXPECT_EQ(floatToBf16(bf16ToFloat(uint16_t(bits))), bits);
    }
  }
  EXPECT_EQ(f16ToFloat(0x3555), 0x1.554p-2f);
  EXPECT_EQ(f16ToFloat(0x83ff), -1023.0f / 16777216.0f);
}

TEST(Element, DecodesLittleEndian) {
  const uint8_t bytes[] = {0x80, 0x3f, 0x00, 0xc0};
  EXPECT_EQ(decode(Element::BF16, bytes, 2), (Floats{1.0f, -2.0f}));
  EXPECT_EQ(decode(Element::F16, bytes, 2)[1], -2.0f);
  const uint8_t wide[] = {0x00, 0x00, 0x20, 0xc1};
  EXPECT_EQ(decode(Element::F32, wide, 1), (Floats{-10.0f}));
}

TEST(Embed, PicksRows) {
  Rows table(3, 2, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(embed({2, 0, 2}, table).values, (Floats{5, 6, 1, 2, 5, 6}));
  EXPECT_EQ(embed({}, table).rows, 0);
}

TEST(Linear, WeightIsOutByIn) {
  Rows input(2, 2, {1, 2, 3, 4});
  Rows weight(3, 2, {1, 0, 0, 1, 10, 100});
  Floats bias = {0.5f, 0, -1};
  EXPECT_EQ(linear(input, weight, nullptr).values,
            (Floats{1, 2, 210, 3, 4, 430}));
  EXPECT_EQ(linear(input, weight, bias.data()).values,
            (Floats{1.5f, 2, 209, 3.5f, 4, 429}));
}

TEST(Linear, RoundsInputsButNotWeights) {
  Rows input(1, 1, {1.0f + 0x1p-8f + 0x1p-12f});
  Rows weight(1, 1, {1.0f + 0x1p-12f});
  EXPECT_EQ(linear(input, weight, nullptr, Element::BF16).values[0],
            (1.0f + 0x1p-7f) * (1.0f + 0x1p-12f));
  EXPECT_EQ(linear(input, weight, nullptr, Element::F16).values[0],
            (1.0f + 0x1p-8f) * (1.0f + 0x1p-12f));
}

TEST(Linear, SumsInFloatWithAscendingK) {
  // 2^24 + 1 rounds down to 2^24 in every step; another order, or a wider
  // accumulator, gives 2^24 + 2. Eleven channels take both loops.
  for (int64_t outputs : {1, 11}) {
    Rows input(1, 3, {16777216.0f, 1, 1});
    Rows weight(outputs, 3, Floats(size_t(outputs * 3), 1.0f));
    for (float y : linear(input, weight, nullptr).values)
      EXPECT_EQ(y, 16777216.0f);
  }
  Rows weight(11, 2);
  for (int64_t n = 0; n < 11; ++n)
    weight.row(n)[1] = float(n);
  Rows y = linear(Rows(1, 2, {5, 2}), weight, nullptr);
  for (int64_t n = 0; n < 11; ++n)
    EXPECT_EQ(y.values[n], 2.0f * float(n));
}

TEST(Norm, Rms) {
  // mean of squares 12.5, root 5 / sqrt 2.
  Rows input(1, 2, {3, 4});
  Floats weight = {2, -1};
  expectNear(norm(NormKind::Rms, input, nullptr, nullptr, 0),
             {0.84852814f, 1.13137085f});
  expectNear(norm(NormKind::Rms, input, weight.data(), nullptr, 3.5f),
             {1.5f, -1.0f});
}

TEST(Norm, Layer) {
  // mean 2, variance 1.
  Rows input(1, 4, {1, 3, 1, 3});
  Floats weight = {1, 2, 3, 4}, bias = {0, 0, 10, -10};
  expectNear(norm(NormKind::Layer, input, weight.data(), bias.data(), 0),
             {-1, 2, 7, -6});
  expectNear(norm(NormKind::Layer, input, nullptr, nullptr, 3),
             {-0.5f, 0.5f, -0.5f, 0.5f});
}

TEST(Norm, L2AndGroups) {
  Rows input(2, 4, {3, 4, 0, 5, 6, 8, 1, 0});
  Floats weight = {1, 10};
  expectNear(norm(NormKind::L2, input, nullptr, nullptr, 0, 2),
             {0.6f, 0.8f, 0, 1, 0.6f, 0.8f, 1, 0});
  expectNear(norm(NormKind::L2, input, weight.data(), nullptr, 0, 2),
             {0.6f, 8, 0, 10, 0.6f, 8, 1, 0});
  expectNear(norm(NormKind::L2, Rows(1, 1, {0}), nullptr, nullptr, 1e-6f), {0});
}

TEST(Act, KnownValues) {
  struct {
    Activation kind;
    float at1, atMinus2;
  } cases[] = {
      {Activation::Silu, 0.73105858f, -0.23840584f},
      {Activation::Gelu, 0.84134475f, -0.04550026f},
      {Activation::GeluTanh, 0.84119199f, -0.04540231f},
      {Activation::Relu, 1.0f, 0.0f},
      {Activation::Sigmoid, 0.73105858f, 0.11920292f},
  };
  for (auto &c : cases) {
    expectNear(act(c.kind, Rows(1, 2, {1, -2})), {c.at1, c.atMinus2}, 5e-7f);
    EXPECT_TRUE(std::isnan(activate(c.kind, nan_)));
    EXPECT_EQ(activate(c.kind, 0.0f),
              c.kind == Activation::Sigmoid ? 0.5f : 0.0f);
  }
  EXPECT_EQ(activate(Activation::Silu, 100.0f), 100.0f);
  EXPECT_EQ(activate(Activation::Sigmoid, -200.0f), 0.0f);
}

TEST(Glu, ActOfGateTimesUp) {
  expectNear(
      glu(Activation::Relu, Rows(1, 3, {2, -1, 3}), Rows(1, 3, {5, 7, -1})),
      {10, 0, -3});
  expectNear(glu(Activation::Silu, Rows(1, 1, {1}), Rows(1, 1, {2})),
             {1.46211716f});
}

TEST(Glu, ClampsGateAboveAndUpOnBothSides) {
  GluOptions options;
  options.alpha = 1.702f;
  options.limit = 2;
  options.offset = 1;
  // x / (1 + e^(-1.702 x)) is 1.93565862 of 2 and -0.00441472 of -4.
  Rows y = glu(Activation::Silu, Rows(1, 5, {3, 2, -4, 2, nan_}),
               Rows(1, 5, {0.5f, 9, 1, -9, 1}), options);
  expectNear(
      Rows(1, 4, {y.values[0], y.values[1], y.values[2], y.values[3]}),
      {1.5f * 1.93565862f, 3 * 1.93565862f, 2 * -0.00441472f, -1.93565862f});
  EXPECT_TRUE(std::isnan(y.values[4]));
}

TEST(Clamp, KeepsNan) {
  Rows y = clamp(Rows(1, 5, {-3, -1, 0, 9, nan_}), -1, 2);
  EXPECT_EQ(Floats(y.values.begin(), y.values.begin() + 4),
            (Floats{-1, -1, 0, 2}));
  EXPECT_TRUE(std::isnan(y.values[4]));
}

TEST(Scale, OneFactorARow) {
  EXPECT_EQ(scale(Rows(2, 2, {1, 2, 3, 4}), Rows(2, 1, {10, -1})).values,
            (Floats{10, 20, -3, -4}));
}

TEST(Rope, DefaultAndLinearFrequencies) {
  RopeTable table;
  table.dim = 4;
  table.theta = 10000;
  EXPECT_EQ(ropeFrequencies(table), (Floats{1.0f, 0.01f}));
  table.kind = RopeKind::Linear;
  table.factor = 4;
  EXPECT_EQ(ropeFrequencies(table), (Floats{0.25f, 0.0025f}));
}

TEST(Rope, Llama3Frequencies) {
  // theta = 16^4 and dim 8 give f = 1, 1/16, 1/256, 1/4096, wavelengths
  // 6.28, 100.5, 1608, 25736. With original 2048, low 1, high 32 the blend
  // runs from wavelength 64 to 2048.
  RopeTable table;
  table.kind = RopeKind::Llama3;
  table.dim = 8;
  table.theta = 65536;
  table.factor = 8;
  table.low = 1;
  table.high = 32;
  table.original = 2048;
  Floats f = ropeFrequencies(table);
  ASSERT_EQ(f.size(), 4u);
  EXPECT_EQ(f[0], 1.0f);
  // s = (2048 / (32 pi) - 1) / 31 = 0.62489783; (1 - s) / 8 + s = 0.67178560.
  EXPECT_NEAR(f[1], 0.67178560f / 16, 1e-8f);
  // s = (2048 / (512 pi) - 1) / 31 = 0.00881418; (1 - s) / 8 + s = 0.13271241.
  EXPECT_NEAR(f[2], 0.13271241f / 256, 1e-9f);
  EXPECT_EQ(f[3], 1.0f / 4096 / 8);
}

TEST(Rope, YarnFrequencies) {
  // d(beta) = 16 log(original / (2 pi beta)) / (2 log theta). With theta = e^4
  // (54.598), d = 2 log(original / (2 pi beta)); original = 4096:
  // d(32) = 6.03 -> a = 6; d(1) = 12.96 -> b = 13.
  RopeTable table;
  table.kind = RopeKind::Yarn;
  table.dim = 16;
  table.theta = 54.598150033144236;
  table.factor = 2;
  table.low = 1;
  table.high = 32;
  table.original = 4096;
  Floats f = ropeFrequencies(table);
  ASSERT_EQ(f.size(), 8u);
  for (int i = 0; i <= 6; ++i)
    EXPECT_NEAR(f[i], std::exp(-0.5 * i), 1e-7) << i;
  // i = 7: ramp 1/7, blend 1/14 + 6/7 = 13/14.
  EXPECT_NEAR(f[7], std::exp(-3.5) * 13 / 14, 1e-8);
  // Not rounded, the ramp goes from 6.0283 to 12.9598.
  table.truncate = false;
  f = ropeFrequencies(table);
  EXPECT_NEAR(f[6], std::exp(-3.0), 1e-7);
  EXPECT_NEAR(f[7], std::exp(-3.5) * (1 - 0.5 * 0.9716936 / 6.9314718), 1e-8);
  table.truncate = true;
  // All dimensions turn less than once: everything is interpolated but the
  // ramp's first step, whose width is 0.001.
  table.original = 6;
  f = ropeFrequencies(table);
  EXPECT_NEAR(f[0], 1.0, 1e-7);
  EXPECT_NEAR(f[1], std::exp(-0.5) / 2, 1e-7);
}

TEST(Rope, RotatesHalvesOfEachHead) {
  // Two heads of 3 channels, of which 2 rotate, by one radian a position.
  RopeTable table;
  table.dim = 2;
  float c = 0.54030231f, s = 0.84147098f;
  Rows x(2, 6, {1, 0, 7, 0, 1, 8, 1, 0, 7, 2, 1, 8});
  expectNear(rope(x, {0, 1}, 2, table),
             {1, 0, 7, 0, 1, 8, c, s, 7, 2 * c - s, c + 2 * s, 8});
  table.attentionFactor = 2;
  expectNear(rope(Rows(1, 2, {1, 0}), {1}, 1, table), {2 * c, 2 * s});
}

TEST(Rope, PairsAreHalfAHeadApart) {
  RopeTable table;
  table.dim = 4;
  table.theta = 100; // f = 1, 0.1
  Rows y = rope(Rows(1, 4, {1, 10, 0, 0}), {2}, 1, table);
  expectNear(y, {-0.41614684f, 9.80066578f, 0.90929743f, 1.98669331f}, 2e-6f);
}

TEST(Rope, AngleIsAFloatProduct) {
  // float(0.01) * 100001 = 1000.01 in float is 1000.01001; its cosine, not
  // that of 1000.01, is meant.
  RopeTable table;
  table.dim = 4;
  float angle = 100001.0f * 0.01f;
  Rows y = rope(Rows(1, 4, {0, 1, 0, 0}), {100001}, 1, table);
  EXPECT_EQ(y.values[1], float(std::cos(double(angle))));
}

namespace {
/// One KV head of one channel unless said otherwise: scores are products.
struct AttentionTest : ::testing::Test {
  KvCache cache = KvCache::empty(1, 1, 1, Element::F32, 1);
  AttentionOptions options;

  Rows run(Floats q, Floats k, Floats v, Ints positions) {
    auto rows = int64_t(positions.size());
    auto matrix = [&](const Floats &values) {
      return Rows(rows, int64_t(values.size()) / rows, values);
    };
    Ints sequences = {0, int32_t(rows)};
    EXPECT_EQ(checkAttention(cache, options.layer, rows, positions, sequences),
              "");
    return attention(matrix(q), matrix(k), matrix(v), cache, positions,
                     sequences, options);
  }
};
} // namespace

TEST_F(AttentionTest, IsCausal) {
  // Keys of zero give the mean of the values so far.
  expectNear(run({1, 1, 1}, {0, 0, 0}, {3, 5, 10}, {0, 1, 2}), {3, 4, 6});
}

TEST_F(AttentionTest, SoftmaxOfScaledProducts) {
  // Scores 0.5 * 2 * log(3) = log 3 and 0: weights 3/4 and 1/4.
  options.scale = 0.5f;
  float log3 = 1.09861229f;
  expectNear(run({0, 2}, {log3, 0}, {8, 4}, {0, 1}), {8, 7}, 2e-6f);
}

TEST_F(AttentionTest, SinkTakesPartInTheSumAlone) {
  // Scores log 3 and 0 beside a sink of log 4: 3/8, 1/8, and half for nothing.
  float log3 = 1.09861229f, sink = 1.38629436f;
  options.sinks = &sink;
  expectNear(run({0, 1}, {log3, 0}, {8, 4}, {0, 1}), {1.6f, 3.5f}, 2e-6f);
}

TEST_F(AttentionTest, LargestSinkDoesNotOverflow) {
  float sink = 1e4f;
  options.sinks = &sink;
  expectNear(run({1}, {1}, {1}, {0}), {0});
  sink = -1e4f; // One that is of no weight changes nothing.
  expectNear(run({1}, {1}, {1}, {0}), {1});
}

TEST_F(AttentionTest, LargeScoresDoNotOverflow) {
  expectNear(run({100, 100}, {100, 99}, {1, 2}, {0, 1}), {1, 1});
}

TEST_F(AttentionTest, WindowCountsTheRowItself) {
  options.window = 2;
  expectNear(run({1, 1, 1}, {0, 0, 0}, {3, 5, 10}, {0, 1, 2}), {3, 4, 7.5f});
}

TEST_F(AttentionTest, CacheCarriesOverAndGoesBack) {
  expectNear(run({1, 1}, {0, 0}, {3, 5}, {0, 1}), {3, 4});
  expectNear(run({1}, {0}, {10}, {2}), {6});
  // Position 1 again: what lay behind it is forgotten.
  expectNear(run({1}, {0}, {9}, {1}), {6});
  EXPECT_EQ(cache.sequences[0]->layers[0].length, 2);
  cache.sequences[0]->truncate(1);
  expectNear(run({1}, {0}, {1}, {1}), {2});
}

TEST_F(AttentionTest, KeysAndValuesAreRoundedToTheCache) {
  cache = KvCache::empty(1, 1, 1, Element::BF16, 1);
  expectNear(run({1}, {1}, {1.0f + 0x1p-9f}, {0}), {1.0f}, 0);
  EXPECT_EQ(cache.sequences[0]->layers[0].values[0], 1.0f);
}

TEST_F(AttentionTest, GroupedHeadsShareAKeyHead) {
  // Four heads of two channels over two KV heads; one position, so that each
  // head gives the value of its KV head.
  cache = KvCache::empty(1, 2, 2, Element::F32, 1);
  options.heads = 4;
  expectNear(run({1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 0, 0}, {1, 2, 3, 4}, {0}),
             {1, 2, 1, 2, 3, 4, 3, 4});
}

TEST_F(AttentionTest, SequencesDoNotSeeEachOther) {
  cache = KvCache::empty(2, 1, 1, Element::F32, 2);
  options.layer = 1;
  Rows q(3, 1, {1, 1, 1}), k(3, 1, {0, 0, 0}), v(3, 1, {2, 100, 4});
  // Rows 0 of sequence 0; rows 1 and 2 of sequence 1.
  expectNear(attention(q, k, v, cache, {0, 0, 1}, {0, 1, 3}, options),
             {2, 100, 52});
  EXPECT_EQ(cache.sequences[0]->layers[0].length, 0);
  EXPECT_EQ(cache.sequences[1]->layers[1].length, 2);
}

TEST_F(AttentionTest, CheckNamesWhatIsWrong) {
  auto check = [&](int64_t rows, Ints positions, Ints sequences) {
    return checkAttention(cache, 0, rows, positions, sequences);
  };
  EXPECT_EQ(check(2, {0, 1}, {0, 2}), "");
  EXPECT_NE(check(2, {0}, {0, 2}), "");       // a position is missing
  EXPECT_NE(check(2, {0, 1}, {0, 1, 2}), ""); // too many sequences
  EXPECT_NE(check(2, {0, 1}, {0, 1}), "");    // a row without sequence
  EXPECT_NE(check(1, {1}, {0, 1}), "");       // a gap
  EXPECT_NE(check(2, {0, 0}, {0, 2}), "");    // does not count up
  EXPECT_NE(check(1, {-1}, {0, 1}), "");
}

TEST(Squash, SoftmaxAndSigmoid) {
  float log2 = 0.69314718f;
  expectNear(squash(SquashKind::Softmax, Rows(2, 2, {0, log2, 500, 500})),
             {1 / 3.0f, 2 / 3.0f, 0.5f, 0.5f});
  expectNear(squash(SquashKind::Sigmoid, Rows(1, 2, {0, -log2})),
             {0.5f, 1 / 3.0f});
}

TEST(Select, LargestFirst) {
  Selection s = select(2, Rows(2, 4, {1, 4, 3, 2, -1, -4, -3, -2}));
  EXPECT_EQ(s.experts, (Ints{1, 2, 0, 3}));
  EXPECT_EQ(s.rows(), 2);
  EXPECT_EQ(s.expertCount, 4);
}

TEST(Select, TiesGoToTheLowerExpert) {
  EXPECT_EQ(select(2, Rows(1, 4, {1, 2, 2, 2})).experts, (Ints{1, 2}));
  EXPECT_EQ(select(2, Rows(1, 3, {-0.0f, 0.0f, -1})).experts, (Ints{0, 1}));
}

TEST(Select, NanIsSmallest) {
  EXPECT_EQ(select(4, Rows(1, 4, {nan_, -inf, nan_, 1})).experts,
            (Ints{3, 1, 0, 2}));
}

TEST(Select, Margins) {
  EXPECT_EQ(selectionMargins(2, Rows(2, 3, {1, 5, 3, 2, 2, 2})),
            (Floats{2, 0}));
  EXPECT_EQ(selectionMargins(3, Rows(1, 3, {1, 5, 3})), (Floats{inf}));
}

TEST(Weigh, Norms) {
  Selection s{3, 2, {2, 0}};
  Rows value(1, 3, {1, 50, 3});
  EXPECT_EQ(weigh(s, value, WeighNorm::None).weights, (Floats{3, 1}));
  EXPECT_EQ(weigh(s, value, WeighNorm::Sum).weights, (Floats{0.75f, 0.25f}));
  EXPECT_EQ(weigh(s, value, WeighNorm::Sum, 4.0f).weights,
            (Floats{0.375f, 0.125f}));
  EXPECT_EQ(weigh(s, value, WeighNorm::None, 0, 1, 2.5f).weights,
            (Floats{7.5f, 2.5f}));
  Floats p1 = weigh(s, value, WeighNorm::PNorm, 0, 1).weights;
  EXPECT_NEAR(p1[0], 0.75f, 1e-6f);
  Floats p2 = weigh(s, Rows(1, 3, {-4, 0, 3}), WeighNorm::PNorm, 0, 2).weights;
  EXPECT_NEAR(p2[0], 0.6f, 1e-6f);
  EXPECT_NEAR(p2[1], -0.8f, 1e-6f);
  Floats soft =
      weigh(s, Rows(1, 3, {0, 9, 1.09861229f}), WeighNorm::Softmax, 0, 1, 2)
          .weights;
  EXPECT_NEAR(soft[0], 1.5f, 1e-6f);
  EXPECT_NEAR(soft[1], 0.5f, 1e-6f);
}

TEST(Weigh, ZeroSumGivesZeros) {
  Selection s{2, 2, {0, 1}};
  for (WeighNorm norm : {WeighNorm::Sum, WeighNorm::PNorm})
    EXPECT_EQ(weigh(s, Rows(1, 2, {0, 0}), norm).weights, (Floats{0, 0}));
  EXPECT_EQ(weigh(s, Rows(1, 2, {1, -1}), WeighNorm::Sum).weights,
            (Floats{0, 0}));
}

TEST(Dispatch, RowsAscendInEveryBucket) {
  Routing routing{{3, 2, {2, 0, 0, 2, 0, 2}}, Floats(6, 1)};
  Buckets b = dispatch(Rows(3, 1, {10, 20, 30}), routing);
  EXPECT_EQ(b.rows, (std::vector<Ints>{{0, 1, 2}, {}, {0, 1, 2}}));
  EXPECT_EQ(b.values[2].values, (Floats{10, 20, 30}));
  EXPECT_EQ(b.values[1].rows, 0);
  EXPECT_TRUE(bucketsMatch(b, routing));
  routing.selection.experts[0] = 1;
  EXPECT_FALSE(bucketsMatch(b, routing));
  EXPECT_EQ(dispatch(Rows(3, 1, {1.0f + 0x1p-9f, 0, 0}), routing, Element::BF16)
                .values[1]
                .values,
            (Floats{1}));
}

TEST(Combine, BasePlusWeightedExperts) {
  Routing routing{{2, 1, {1, 0}}, {10, 100}};
  Buckets b = dispatch(Rows(2, 2, {1, 2, 3, 4}), routing);
  EXPECT_EQ(combine(b, routing, {}).values, (Floats{10, 20, 300, 400}));
  Rows base(2, 2, {1, 1, 2, 2}), more(2, 2, {0, 5, 0, 5});
  EXPECT_EQ(combine(b, routing, {base, more}).values,
            (Floats{11, 26, 302, 407}));
}

TEST(Combine, ExpertsAscendWhateverTheSlotOrder) {
  // Base, then expert 0, then expert 1: (2^24 + 1) - 2^24 is 0 in that order
  // and 1 in slot order, which has expert 1 first.
  float big = 16777216.0f;
  Routing routing{{2, 2, {1, 0}}, {-1, 1}};
  Buckets b = dispatch(Rows(1, 1, {0}), routing);
  b.values[0].values = {1};
  b.values[1].values = {big};
  Rows base(1, 1, {big});
  EXPECT_EQ(combine(b, routing, {base}).values, (Floats{0}));
}

TEST(Combine, WeightsOfZeroGiveTheBase) {
  Routing routing{{2, 1, {0}}, {0}};
  Buckets b = dispatch(Rows(1, 1, {7}), routing);
  EXPECT_EQ(combine(b, routing, {Rows(1, 1, {3})}).values, (Floats{3}));
}
