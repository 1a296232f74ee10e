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
  ASSERT_EQ(shape.panels() * shape.panelBytes(),
            panels.getPackedElements(shape.out, shape.in) * shape.elementBytes);

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

} // namespace
