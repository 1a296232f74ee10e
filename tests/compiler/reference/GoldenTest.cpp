// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Imports every checkpoint of tests/data/families, runs it with the
// interpreter, and compares with what another implementation computed.
#include "compiler/import/Import.h"
#include "compiler/reference/Interpreter.h"
#include "dialects/RegisterAll.h"
#include "dialects/nn/IR/Nn.h"
#include "tests/compiler/reference/Goldens.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Path.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <iostream>

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;

/// The value; ends the test program where there is none. (llvm::cantFail goes
/// on in a release build.)
template <typename T> static T must(llvm::Expected<T> result) {
  if (!result)
    llvm::report_fatal_error(result.takeError());
  return std::move(*result);
}

static std::vector<std::string> families() {
  return listGoldens("tests/data/families");
}

TEST(Goldens, AreThere) { EXPECT_EQ(families().size(), 22u); }

TEST(Goldens, ComparisonSeesErrors) {
  Golden golden;
  golden.name = "made-f32";
  golden.vocabulary = 2;
  golden.logits = {1, 0, 0, 1};
  golden.routerMargin = {1, 1};
  golden.top2Margin = {1, 1};
  golden.logitsStd = 2;
  golden.routerMarginBound = 0.5;
  EXPECT_TRUE(compareWithGolden(golden, golden.logits, 0.1).ok);
  EXPECT_TRUE(compareWithGolden(golden, {1.1f, 0, 0, 1}, 0.1).ok);
  GoldenReport far = compareWithGolden(golden, {1, 0, 0, 1.5f}, 0.1);
  EXPECT_FALSE(far.ok);
  EXPECT_EQ(far.worst, 1);
  EXPECT_NEAR(far.maxError, 0.25, 1e-6);
  EXPECT_FALSE(compareWithGolden(golden, {1, 0, 0, std::nanf("")}, 0.1).ok);
  EXPECT_FALSE(compareWithGolden(golden, {1, 0}, 0.1).ok);
  // A bound so loose that only the choice tells.
  GoldenReport choice = compareWithGolden(golden, {0, 1, 0, 1}, 10);
  EXPECT_EQ(choice.differ, 1);
  EXPECT_EQ(choice.decided, 2);
  EXPECT_FALSE(choice.ok);
  // One of two positions left out is more than one in twenty.
  golden.routerMargin[0] = 0;
  GoldenReport out = compareWithGolden(golden, golden.logits, 0.1);
  EXPECT_EQ(out.leftOut, 1);
  EXPECT_FALSE(out.ok);
}

namespace {
struct FamilyTest : ::testing::TestWithParam<std::string> {
  MLIRContext context;
  Golden golden;
  OwningOpRef<ModuleOp> module;

  void SetUp() override {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    llvm::Expected<Golden> read = readGolden(GetParam());
    ASSERT_TRUE(bool(read)) << llvm::toString(read.takeError());
    golden = std::move(*read);
    auto imported = importCheckpoint(GetParam(), context);
    ASSERT_TRUE(bool(imported)) << llvm::toString(imported.takeError());
    module = std::move(*imported);
  }
};
} // namespace

/// Takes every rounding out of a program: inputs of products as they are, a
/// float32 cache.
static void widen(ModuleOp module) {
  auto widenCache = [](Value value) {
    if (auto type = dyn_cast<nn::KvCacheType>(value.getType()))
      value.setType(nn::KvCacheType::get(type.getContext(), type.getLayers(),
                                         type.getHeads(), type.getHeadDim(),
                                         Float32Type::get(type.getContext())));
  };
  module.walk([&](Operation *op) {
    if (auto linear = dyn_cast<nn::LinearOp>(op))
      linear.removeInputsAttr();
    llvm::for_each(op->getResults(), widenCache);
    if (auto function = dyn_cast<func::FuncOp>(op)) {
      Block &entry = function.getBody().front();
      llvm::for_each(entry.getArguments(), widenCache);
      SmallVector<Type> results(function.getResultTypes());
      for (Type &type : results)
        if (isa<nn::KvCacheType>(type))
          for (BlockArgument argument : entry.getArguments())
            if (isa<nn::KvCacheType>(argument.getType()))
              type = argument.getType();
      function.setFunctionType(FunctionType::get(
          op->getContext(), entry.getArgumentTypes(), results));
    }
  });
}

// What remains without rounding is the order of sums: any mistake in a graph, a
// weight or an op shows here, whatever type the checkpoint has.
TEST_P(FamilyTest, WithoutRoundingLogitsMatchClosely) {
  widen(*module);
  ASSERT_TRUE(succeeded(verify(*module)));
  auto interpreter = must(Interpreter::create(*module, GetParam()));
  auto logits = must(interpreter.step({{0, golden.tokens()}}, StepRows::All));
  GoldenReport report = compareWithGolden(golden, logits.values, 2e-4);
  std::cout << "without rounding, " << report.text << "\n";
  EXPECT_TRUE(report.ok) << report.text;
}

TEST_P(FamilyTest, LogitsMatchTheGolden) {
  auto interpreter = must(Interpreter::create(*module, GetParam()));
  std::vector<float> margins(golden.positions(), 1e30f);
  interpreter.setRouterTrace([&](Location, llvm::ArrayRef<float> layer) {
    for (size_t i = 0; i < margins.size(); ++i)
      margins[i] = std::min(margins[i], layer[i]);
  });
  auto logits = interpreter.step({{0, golden.tokens()}}, StepRows::All);
  ASSERT_TRUE(bool(logits)) << llvm::toString(logits.takeError());
  GoldenReport report =
      compareWithGolden(golden, logits->values, golden.closeness());
  std::cout << report.text << "\n";
  EXPECT_TRUE(report.ok) << report.text;
  // The routers see what the golden's saw; their logits spread about 3.
  for (int64_t i = 0; i < golden.positions(); ++i)
    EXPECT_NEAR(margins[i], golden.routerMargin[i], 6 * golden.closeness())
        << i;
}

TEST_P(FamilyTest, StepsAndBatchesDoNotChangeABit) {
  auto interpreter = must(Interpreter::create(*module, GetParam()));
  std::vector<int32_t> tokens = golden.tokens();
  auto whole = must(interpreter.step({{0, tokens}}, StepRows::All));
  // The prompt in two pieces beside another sequence, then token by token.
  size_t prompt = golden.prompt.size();
  std::vector<float> pieces;
  auto take = [&](size_t begin, size_t end, int64_t other) {
    std::vector<StepItem> items;
    if (other >= 0)
      items.push_back({other, {tokens[end - 1]}});
    items.push_back({1, {tokens.begin() + begin, tokens.begin() + end}});
    auto logits = must(interpreter.step(items, StepRows::All));
    pieces.insert(pieces.end(),
                  logits.values.end() - (end - begin) * golden.vocabulary,
                  logits.values.end());
  };
  take(0, prompt / 3, 2);
  take(prompt / 3, prompt, 2);
  for (size_t t = prompt; t < tokens.size(); ++t)
    take(t, t + 1, t % 2 ? -1 : 3);
  EXPECT_TRUE(pieces == whole.values);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest, ::testing::ValuesIn(families()),
                         [](const ::testing::TestParamInfo<std::string> &info) {
                           std::string name =
                               llvm::sys::path::filename(info.param).str();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });
