// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The frequencies in generated code against those of the reference.
#include "compiler/codegen/RopeFrequencies.h"
#include "compiler/reference/ops/Rope.h"
#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

using namespace headrace;

namespace {

/// Both compute in the precision that suits them: single precision powers as
/// in transformers here, double there.
void check(nn::RopeKind kind, reference::RopeTable table) {
  mlir::MLIRContext context;
  context.loadDialect<nn::NnDialect>();
  auto number = [](double value) { return llvm::APFloat(value); };
  auto attribute = nn::RopeAttr::get(
      &context, kind, table.dim, number(table.theta), number(table.factor),
      number(table.low), number(table.high), table.original,
      number(table.attentionFactor), table.truncate);
  auto have = ropeFrequencies(attribute);
  auto want = reference::ropeFrequencies(table);
  ASSERT_EQ(have.size(), size_t(table.dim / 2));
  ASSERT_EQ(want.size(), have.size());
  for (size_t i = 0; i < have.size(); ++i)
    EXPECT_NEAR(have[i] / want[i], 1.0, 1e-6) << "frequency " << i;
}

TEST(RopeFrequencies, Default) {
  reference::RopeTable table;
  for (int64_t dim : {2, 12, 64, 128})
    for (double theta : {1e4, 5e5, 1e6}) {
      table.dim = dim;
      table.theta = theta;
      check(nn::RopeKind::standard, table);
    }
}

TEST(RopeFrequencies, Linear) {
  reference::RopeTable table;
  table.kind = reference::RopeKind::Linear;
  table.dim = 64;
  table.factor = 4;
  check(nn::RopeKind::linear, table);
}

TEST(RopeFrequencies, Llama3) {
  // All three bands have frequencies: the first ones stay, the last ones are
  // divided.
  reference::RopeTable table;
  table.kind = reference::RopeKind::Llama3;
  table.dim = 128;
  table.theta = 5e5;
  table.factor = 8;
  table.low = 1;
  table.high = 4;
  table.original = 8192;
  check(nn::RopeKind::llama3, table);
  auto plain = table;
  plain.kind = reference::RopeKind::Default;
  auto scaled = reference::ropeFrequencies(table);
  auto base = reference::ropeFrequencies(plain);
  EXPECT_EQ(scaled.front(), base.front());
  EXPECT_FLOAT_EQ(scaled.back(), base.back() / 8);
}

TEST(RopeFrequencies, Yarn) {
  reference::RopeTable table;
  table.kind = reference::RopeKind::Yarn;
  table.dim = 128;
  table.theta = 1e6;
  table.factor = 4;
  table.low = 1;
  table.high = 32;
  table.original = 32768;
  table.attentionFactor = 1.138629436111989;
  check(nn::RopeKind::yarn, table);
  table.truncate = false;
  check(nn::RopeKind::yarn, table);
  table.truncate = true;
  // The ramp has no width: the step stands where it starts.
  table.low = table.high = 1;
  table.dim = 8;
  table.original = 7;
  check(nn::RopeKind::yarn, table);
}

} // namespace
