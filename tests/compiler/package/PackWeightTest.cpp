// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packed panels against the description of #flow.panels, value by value.
#include "compiler/package/PackWeight.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/IR/MLIRContext.h"

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

using namespace headrace;

namespace {

/// The output channel that column `column` of panel `panel` holds, or -1 where
/// the panel is padded. With two halves the columns are cut into two as well,
/// and each part counts through its own half of the channels.
int64_t channelOf(const PanelShape &shape, int64_t panel, int64_t column) {
  if (shape.halves == 1) {
    int64_t channel = panel * shape.columns + column;
    return channel < shape.out ? channel : -1;
  }
  int64_t each = shape.columns / 2, gates = shape.out / 2;
  bool up = column >= each;
  int64_t channel = panel * each + (up ? column - each : column);
  if (channel >= gates)
    return -1;
  return up ? gates + channel : channel;
}

/// Never zero, so that padding is not mistaken for a value.
template <typename T> T valueAt(int64_t channel, int64_t input) {
  return T(1 + channel * 1009 + input * 13);
}

template <typename T> void check(const PanelShape &shape) {
  SCOPED_TRACE(testing::Message() << shape.out << " x " << shape.in
                                  << ", columns " << shape.columns << ", pack "
                                  << shape.pack << ", halves " << shape.halves);
  ASSERT_EQ(shape.elementBytes, int64_t(sizeof(T)));
  std::vector<T> source(size_t(shape.out * shape.in));
  for (int64_t channel = 0; channel < shape.out; ++channel)
    for (int64_t input = 0; input < shape.in; ++input)
      source[size_t(channel * shape.in + input)] = valueAt<T>(channel, input);

  // What kernels and planner take the layout to be.
  mlir::MLIRContext context;
  context.loadDialect<flow::FlowDialect>();
  auto panels =
      flow::PanelsAttr::get(&context, shape.columns, shape.pack, shape.halves);
  ASSERT_EQ(shape.panels(), panels.getPanelCount(shape.out));
  auto type = mlir::RankedTensorType::get(
      {shape.out, shape.in},
      mlir::IntegerType::get(&context, unsigned(shape.elementBytes) * 8));
  ASSERT_EQ(shape.panelBytes(), panels.getPanelBytes(type));

  std::vector<bool> seen(source.size());
  for (int64_t panel = 0; panel < shape.panels(); ++panel) {
    const T guard = T(0x5a5a5a5a), garbage = T(0x77777777);
    size_t elements = size_t(shape.panelBytes()) / sizeof(T);
    std::vector<T> packed(elements + 2, garbage);
    packed.front() = packed.back() = guard;
    packPanel(shape, reinterpret_cast<const char *>(source.data()), panel,
              reinterpret_cast<char *>(packed.data() + 1));
    EXPECT_EQ(packed.front(), guard);
    EXPECT_EQ(packed.back(), guard);
    for (int64_t group = 0; group < shape.groups(); ++group)
      for (int64_t column = 0; column < shape.columns; ++column)
        for (int64_t i = 0; i < shape.pack; ++i) {
          int64_t channel = channelOf(shape, panel, column);
          int64_t input = group * shape.pack + i;
          T want = 0;
          if (channel >= 0 && input < shape.in) {
            want = valueAt<T>(channel, input);
            seen[size_t(channel * shape.in + input)] = true;
          }
          size_t at = size_t((group * shape.columns + column) * shape.pack + i);
          ASSERT_EQ(packed[at + 1], want)
              << "panel " << panel << ", group " << group << ", column "
              << column << ", value " << i;
        }
  }
  for (size_t i = 0; i < seen.size(); ++i)
    ASSERT_TRUE(seen[i]) << "value " << i << " is in no panel";
}

TEST(PackWeight, Singles) {
  for (int64_t out : {1, 31, 32, 33, 96})
    for (int64_t in : {1, 7, 64})
      check<uint32_t>({out, in, 4, 32, 1, 1});
  check<uint16_t>({33, 5, 2, 32, 1, 1});
}

TEST(PackWeight, Pairs) {
  for (int64_t out : {1, 31, 32, 33, 96})
    for (int64_t in : {1, 2, 7, 64})
      check<uint16_t>({out, in, 2, 32, 2, 1});
  check<uint32_t>({33, 5, 4, 16, 2, 1});
}

TEST(PackWeight, Halves) {
  for (int64_t out : {2, 30, 32, 34, 66, 96})
    for (int64_t in : {1, 6, 9}) {
      check<uint16_t>({out, in, 2, 32, 2, 2});
      check<uint16_t>({out, in, 2, 32, 1, 2});
      check<uint32_t>({out, in, 4, 32, 1, 2});
    }
}

TEST(PackWeight, NarrowAndWidePanels) {
  check<uint16_t>({50, 9, 2, 16, 2, 1});
  check<uint16_t>({50, 9, 2, 16, 2, 2});
  check<uint16_t>({130, 9, 2, 64, 2, 1});
  check<uint32_t>({130, 9, 4, 64, 1, 2});
}

//===----------------------------------------------------------------------===//
// Fragments, against the tables of the PTX ISA
//===----------------------------------------------------------------------===//

/// "Matrix fragments for mma.m16n8k16", operand A of 16-bit elements: element i
/// of a lane, as the ISA writes it.
std::pair<int64_t, int64_t> operandA(int64_t lane, int64_t i) {
  int64_t group = lane >> 2, quad = lane % 4;
  bool upper = !((0 <= i && i < 2) || (4 <= i && i < 6));
  int64_t row = upper ? group + 8 : group;
  int64_t column = quad * 2 + (i & 1) + (i >= 4 ? 8 : 0);
  return {row, column};
}

TEST(PackFragments, LanesHoldWhatTheInstructionReads) {
  // wgmma's m64k16 from registers has the same table for each of its 4 warps.
  for (int64_t lane = 0; lane < 32; ++lane)
    for (int64_t i = 0; i < 8; ++i) {
      auto [row, column] = operandA(lane, i);
      EXPECT_EQ(FragmentShape::rowOf(lane, i), row);
      EXPECT_EQ(FragmentShape::columnOf(lane, i), column);
    }
}

TEST(PackFragments, EveryValueIsWhereItsLaneLoadsIt) {
  for (FragmentShape shape :
       {FragmentShape{48, 64, 1}, {20, 12, 1}, {64, 200, 2}, {24, 70, 2}}) {
    std::vector<uint16_t> source(size_t(shape.out * shape.in));
    for (size_t i = 0; i < source.size(); ++i)
      source[i] = uint16_t(i * 31 + 1);
    std::vector<int> seen(source.size(), 0);
    ASSERT_EQ(shape.columnBlocks() % 4, 0);
    for (int64_t block = 0; block < shape.rowBlocks(); ++block) {
      std::vector<uint16_t> packed(size_t(shape.rowBlockBytes() / 2), 0xffff);
      packFragments(shape, reinterpret_cast<const char *>(source.data()), block,
                    reinterpret_cast<char *>(packed.data()));
      for (size_t at = 0; at < packed.size(); ++at) {
        int64_t c = int64_t(at) / 256, lane = int64_t(at) / 8 % 32;
        auto [row, column] = operandA(lane, int64_t(at) % 8);
        column += c * 16;
        int64_t channel = block * 16 + row;
        bool inside = channel < shape.out;
        if (shape.halves == 2) { // Rows 0 to 7 gate, 8 to 15 up.
          int64_t within = block * 8 + row % 8;
          inside = within < shape.out / 2;
          channel = within + (row < 8 ? 0 : shape.out / 2);
        }
        inside = inside && column < shape.in;
        size_t from = size_t(channel * shape.in + column);
        EXPECT_EQ(packed[at], inside ? source[from] : 0);
        if (inside)
          ++seen[from];
      }
    }
    for (int count : seen)
      EXPECT_EQ(count, 1);
  }
}

} // namespace
