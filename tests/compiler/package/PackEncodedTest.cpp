// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packed encoded weights against the descriptions of #flow.panels and
// #flow.fragments, value by value.
#include "compiler/package/PackEncoded.h"
#include "compiler/package/WeightPieces.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/IR/MLIRContext.h"

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

using namespace headrace;
using Scale = EncodedMatrix::Scale;

namespace {

/// A matrix whose elements and scales tell where they come from.
struct Source {
  EncodedMatrix matrix;
  std::vector<char> bytes;

  explicit Source(EncodedMatrix m) : matrix(m) {
    bytes.resize(size_t(m.out * m.rowBytes()));
    for (int64_t n = 0; n < m.out; ++n)
      for (int64_t k = 0; k < m.in; ++k)
        setElement(n, k,
                   uint8_t((n * 7 + k * 3) % (m.elementBits == 8 ? 127 : 16)));
    int64_t rows = (m.out + m.rows - 1) / m.rows;
    for (int64_t i = 0; i < rows * m.scaleColumns(); ++i) {
      if (m.scale == Scale::E8M0) {
        bytes.push_back(char(i % 255));
        continue;
      }
      float value = float(i + 1);
      uint32_t bits;
      memcpy(&bits, &value, 4);
      if (m.scale == Scale::BF16)
        bits >>= 16;
      for (int b = 0; b < (m.scale == Scale::BF16 ? 2 : 4); ++b)
        bytes.push_back(char(bits >> 8 * b));
    }
  }
  void setElement(int64_t n, int64_t k, uint8_t value) {
    char &byte =
        bytes[size_t(n * matrix.rowBytes() + k * matrix.elementBits / 8)];
    if (matrix.elementBits == 8)
      byte = char(value);
    else if (k % 2 == 0)
      byte = char((uint8_t(byte) & 0xf0) | value);
    else
      byte = char((uint8_t(byte) & 0x0f) | value << 4);
  }
  uint8_t element(int64_t n, int64_t k) const {
    if (n < 0 || n >= matrix.out || k >= matrix.in)
      return 0;
    uint8_t byte = uint8_t(
        bytes[size_t(n * matrix.rowBytes() + k * matrix.elementBits / 8)]);
    return matrix.elementBits == 8 ? byte : k % 2 ? byte >> 4 : byte & 0xf;
  }
  /// As packings have it: the bits of a float32, or the byte.
  uint32_t scale(int64_t n, int64_t block) const {
    int64_t index = n / matrix.rows * matrix.scaleColumns() + block;
    if (matrix.scale == Scale::E8M0)
      return uint32_t(index % 255);
    float value = float(index + 1); // bfloat16 has it, too.
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
  }
};

uint32_t scaleAt(const EncodedMatrix &m, const char *at) {
  uint32_t bits = 0;
  memcpy(&bits, at, size_t(m.packedScaleBytes()));
  return bits;
}

/// Bits `[unit * bits, (unit + 1) * bits)` of a run of bytes.
uint8_t unitAt(const char *bytes, int64_t unit, int64_t bits) {
  uint8_t byte = uint8_t(bytes[unit * bits / 8]);
  return bits == 8 ? byte : unit % 2 ? byte >> 4 : byte & 0xf;
}

const EncodedMatrix kMatrices[] = {
    {96, 256, 8, 128, 128, Scale::F32}, {70, 200, 8, 128, 128, Scale::F32},
    {70, 137, 8, 64, 64, Scale::BF16},  {96, 128, 4, 1, 32, Scale::E8M0},
    {66, 96, 4, 1, 32, Scale::E8M0},    {34, 18, 4, 16, 32, Scale::F32}};

TEST(PackEncoded, PanelsHoldRunsOfScalesAndPairs) {
  for (const EncodedMatrix &m : kMatrices)
    for (int64_t halves : {1, 2}) {
      SCOPED_TRACE(testing::Message()
                   << m.out << " x " << m.in << " of " << m.elementBits
                   << ", halves " << halves);
      Source source(m);
      PanelShape shape{m.out, m.in, 0, 32, 2, halves};
      int64_t each = 32 / halves, half = m.out / halves;
      for (int64_t panel = 0; panel < shape.panels(); ++panel) {
        std::vector<char> packed(size_t(encodedPanelBytes(m, shape)) + 1, 0x5a);
        packEncodedPanel(m, shape, source.bytes.data(), panel, packed.data());
        EXPECT_EQ(packed.back(), 0x5a);
        const char *at = packed.data();
        for (int64_t run = 0; run < m.in; run += 128) {
          int64_t channels = std::min<int64_t>(128, m.in - run);
          const char *scales = at;
          at += 128 / m.columns * 32 * m.packedScaleBytes();
          for (int64_t c = 0; c < 32; ++c) {
            int64_t within = panel * each + c % each;
            int64_t n = within < half ? c / each * half + within : -1;
            for (int64_t i = 0; i * m.columns < channels; ++i)
              ASSERT_EQ(
                  scaleAt(m, scales + (i * 32 + c) * m.packedScaleBytes()),
                  n < 0 ? 0 : source.scale(n, run / m.columns + i));
            for (int64_t k = 0; k < (channels + 1) / 2 * 2; ++k)
              ASSERT_EQ(unitAt(at, (k / 2 * 32 + c) * 2 + k % 2, m.elementBits),
                        source.element(n, run + k))
                  << "channel " << n << ", input " << run + k;
          }
          at += (channels + 1) / 2 * 64 * m.elementBits / 8;
        }
        ASSERT_EQ(at, packed.data() + packed.size() - 1);
      }
    }
}

TEST(PackEncoded, FragmentsHoldSixteenBytesALane) {
  for (const EncodedMatrix &m : kMatrices)
    for (int64_t halves : {1, 2}) {
      SCOPED_TRACE(testing::Message()
                   << m.out << " x " << m.in << " of " << m.elementBits
                   << ", halves " << halves);
      Source source(m);
      FragmentShape shape{m.out, m.in, halves};
      int64_t perWord = 32 / m.elementBits;
      for (int64_t block = 0; block < shape.rowBlocks(); ++block) {
        std::vector<char> packed(size_t(encodedBlockBytes(m, shape)));
        packEncodedFragments(m, shape, source.bytes.data(), block,
                             packed.data());
        auto channel = [&](int64_t row) {
          int64_t each = 16 / halves, half = m.out / halves;
          int64_t within = block * each + row % each;
          return within < half ? row / each * half + within : int64_t(-1);
        };
        const char *at = packed.data();
        int64_t channels = m.elementBits == 8 ? 32 : 64; // Of 16 bytes.
        int64_t elements = channels / 2, padded = shape.columnBlocks() * 16;
        for (int64_t load = 0; load < padded / channels; ++load)
          for (int64_t lane = 0; lane < 32; ++lane)
            for (int64_t e = 0; e < elements; ++e) {
              // Even elements of a word in its lower half, odd ones above.
              int64_t word = e / perWord, i = e % perWord;
              int64_t place = i / 2 + i % 2 * perWord / 2;
              int64_t number =
                  (load * 32 + lane) * elements + word * perWord + place;
              int64_t k = load * channels + e / 8 * 16 +
                          FragmentShape::columnOf(lane, e % 8);
              ASSERT_EQ(unitAt(at, number, m.elementBits),
                        source.element(
                            channel(FragmentShape::rowOf(lane, e % 8)), k));
            }
        at += shape.columnBlocks() * 256 * m.elementBits / 8;
        int64_t together = m.elementBits == 4 && m.columns == 32 ? 2 : 1;
        for (int64_t i = 0; i * m.columns < padded; i += together)
          for (int64_t g = 0; g < 8; ++g)
            for (int64_t j = i; j < i + together; ++j)
              for (int64_t n : {channel(g), channel(g + 8)}) {
                ASSERT_EQ(scaleAt(m, at), n < 0 || j >= m.scaleColumns()
                                              ? 0
                                              : source.scale(n, j));
                at += m.packedScaleBytes();
              }
        ASSERT_EQ(at, packed.data() + packed.size());
      }
    }
}

TEST(PackEncoded, ANanBecomesItsScales) {
  EncodedMatrix m{32, 256, 8, 32, 128, Scale::F32};
  Source source(m);
  source.setElement(3, 200, 0xff);
  PanelShape panel{m.out, m.in, 0, 32, 2, 1};
  std::vector<char> packed(size_t(encodedPanelBytes(m, panel)));
  packEncodedPanel(m, panel, source.bytes.data(), 0, packed.data());
  int64_t run = 128 + 128 * 32; // Bytes of one.
  FragmentShape fragments{m.out, m.in, 1};
  std::vector<char> block(size_t(encodedBlockBytes(m, fragments)));
  packEncodedFragments(m, fragments, source.bytes.data(), 0, block.data());
  for (int64_t n = 0; n < 16; ++n)
    for (int64_t i = 0; i < 2; ++i) {
      bool bad = n == 3 && i == 1;
      int64_t place = (i * 8 + n % 8) * 2 + n / 8;
      uint32_t want = bad ? 0x7fc00000 : source.scale(n, i);
      EXPECT_EQ(scaleAt(m, packed.data() + i * run + n * 4), want);
      EXPECT_EQ(scaleAt(m, block.data() + 16 * 256 + place * 4), want);
    }
}

TEST(PackEncoded, SizesAreThoseOfTheTypes) {
  mlir::MLIRContext context;
  context.loadDialect<flow::FlowDialect>();
  mlir::Builder b(&context);
  for (const EncodedMatrix &m : kMatrices)
    for (int64_t halves : {1, 2}) {
      mlir::Type scale =
          m.scale == Scale::E8M0
              ? mlir::Type(mlir::Float8E8M0FNUType::get(&context))
          : m.scale == Scale::BF16 ? mlir::Type(b.getBF16Type())
                                   : mlir::Type(b.getF32Type());
      mlir::Type element =
          m.elementBits == 8
              ? mlir::Type(mlir::Float8E4M3FNType::get(&context))
              : mlir::Type(mlir::Float4E2M1FNType::get(&context));
      auto typeOf = [&](mlir::Attribute packing) {
        return mlir::RankedTensorType::get(
            {m.out, m.in}, element,
            tier::ScaledAttr::get(&context, m.rows, m.columns, scale, packing));
      };
      EXPECT_EQ(*tier::storedBytes(typeOf({})), Source(m).bytes.size());
      auto panels = flow::PanelsAttr::get(&context, 32, 2, halves);
      WeightPieces pieces = piecesOf(typeOf(panels));
      EXPECT_EQ(pieces.bytes, panels.getPanelBytes(typeOf(panels)));
      EXPECT_EQ(pieces.count, panels.getPanelCount(m.out));
      auto blocks = flow::FragmentsAttr::get(&context, halves);
      pieces = piecesOf(typeOf(blocks));
      EXPECT_EQ(pieces.bytes,
                flow::FragmentsAttr::getRowBlockBytes(typeOf(blocks)));
      EXPECT_EQ(pieces.count, blocks.getRowBlocks(m.out));
    }
}

} // namespace
