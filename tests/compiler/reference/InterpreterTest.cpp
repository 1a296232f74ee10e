// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The interpreter: self-checking programs, sessions, and errors that name the
// op or file.
#include "compiler/reference/Interpreter.h"
#include "dialects/RegisterAll.h"
#include "dialects/nn/IR/Nn.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace headrace;
using namespace mlir;

/// The value; ends the test program where there is none. (llvm::cantFail goes
/// on in a release build.)
template <typename T> static T must(llvm::Expected<T> result) {
  if (!result)
    llvm::report_fatal_error(result.takeError());
  return std::move(*result);
}

static MLIRContext &context() {
  static MLIRContext *context = [] {
    DialectRegistry registry;
    registerAllDialects(registry);
    auto *context = new MLIRContext(registry);
    context->loadAllAvailableDialects();
    return context;
  }();
  return *context;
}

static OwningOpRef<ModuleOp> parse(llvm::StringRef text) {
  auto module = parseSourceString<ModuleOp>(text, ParserConfig(&context()));
  EXPECT_TRUE(module) << text.str();
  return module;
}

/// The message of a failure; empty where there was none.
template <typename T> static std::string message(llvm::Expected<T> result) {
  return result ? "" : llvm::toString(result.takeError());
}

static void expectContains(const std::string &text, const char *part) {
  EXPECT_NE(text.find(part), std::string::npos)
      << "'" << part << "' is not in: " << text;
}

static std::vector<float> floatsOf(DenseElementsAttr dense) {
  std::vector<float> values;
  for (const llvm::APFloat &value : dense.getValues<llvm::APFloat>())
    values.push_back(float(value.convertToDouble()));
  return values;
}

static RuntimeValue argumentOf(func::FuncOp function, unsigned index) {
  if (auto sequences =
          function.getArgAttrOfType<IntegerAttr>(index, "test.sequences")) {
    auto type = cast<nn::KvCacheType>(function.getArgumentTypes()[index]);
    auto element = type.getElement().isF32() ? reference::Element::F32
                                             : reference::Element::BF16;
    return std::make_shared<reference::KvCache>(reference::KvCache::empty(
        type.getLayers(), type.getHeads(), type.getHeadDim(), element,
        sequences.getInt()));
  }
  auto dense =
      function.getArgAttrOfType<DenseElementsAttr>(index, "test.value");
  if (!dense)
    return std::monostate();
  if (dense.getElementType().isInteger(32))
    return IdTensor(dense.getValues<int32_t>().begin(),
                    dense.getValues<int32_t>().end());
  return FloatTensor(cast<RankedTensorType>(dense.getType()).getShape().vec(),
                     floatsOf(dense));
}

static void runProgram(const std::string &file) {
  auto module = parseSourceFile<ModuleOp>(
      "tests/compiler/reference/programs/" + file, ParserConfig(&context()));
  ASSERT_TRUE(module);
  auto interpreter = Interpreter::create(*module);
  ASSERT_TRUE(bool(interpreter));
  int checked = 0;
  for (auto function : module->getOps<func::FuncOp>()) {
    if (function.isPrivate())
      continue;
    SCOPED_TRACE(function.getName().str());
    llvm::SmallVector<RuntimeValue> arguments;
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      arguments.push_back(argumentOf(function, i));
    auto results = interpreter->runFunction(function.getName(), arguments);
    ASSERT_TRUE(bool(results)) << llvm::toString(results.takeError());
    for (unsigned i = 0; i < function.getNumResults(); ++i) {
      auto expected =
          function.getResultAttrOfType<DenseElementsAttr>(i, "test.expected");
      ASSERT_TRUE(expected) << "result without expected value";
      auto &have = std::get<FloatTensor>((*results)[i]);
      ASSERT_EQ(llvm::ArrayRef(have.shape),
                cast<RankedTensorType>(expected.getType()).getShape());
      for (auto [j, want] : llvm::enumerate(floatsOf(expected)))
        EXPECT_NEAR(have.values.get()[j], want, 1e-6 + 1e-6 * std::fabs(want))
            << "value " << j;
      ++checked;
    }
  }
  EXPECT_GT(checked, 3);
}

TEST(Program, Nn) { runProgram("nn.mlir"); }
TEST(Program, Moe) { runProgram("moe.mlir"); }
TEST(Program, Upstream) { runProgram("upstream.mlir"); }

TEST(Error, UnknownOpIsNamedWithItsPlace) {
  auto module = parse(R"(
    func.func @f(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
      %0 = math.cbrt %x : tensor<?x2xf32>
      return %0 : tensor<?x2xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  std::string text =
      message(interpreter.runFunction("f", {FloatTensor({1, 2}, {1, 2})}));
  expectContains(text, "'math.cbrt' is not known to the reference interpreter");
  expectContains(text, ":3:");
}

TEST(Error, ArgumentsAreChecked) {
  auto module = parse(R"(
    func.func @f(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
      return %x : tensor<?x2xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  expectContains(message(interpreter.runFunction("g", {})), "no function '@g'");
  expectContains(message(interpreter.runFunction("f", {})),
                 "expected 1 arguments, but got 0");
  expectContains(
      message(interpreter.runFunction("f", {FloatTensor({1, 3}, {1, 2, 3})})),
      "1x3");
  expectContains(message(interpreter.runFunction("f", {IdTensor{1}})),
                 "another kind");
}

TEST(Error, RowsThatDisagree) {
  auto module = parse(R"(
    func.func @glu(%x: tensor<?x1xf32>, %y: tensor<?x1xf32>) -> tensor<?x1xf32> {
      %0 = nn.glu silu %x, %y : tensor<?x1xf32>
      return %0 : tensor<?x1xf32>
    }
    func.func @add(%x: tensor<?x1xf32>, %y: tensor<?x1xf32>) -> tensor<?x1xf32> {
      %0 = arith.addf %x, %y : tensor<?x1xf32>
      return %0 : tensor<?x1xf32>
    }
    func.func @columns(%x: tensor<?x1xf32>, %n: index) -> tensor<?x1xf32> {
      %0 = tensor.extract_slice %x[0, 0] [%n, 1] [1, 1] : tensor<?x1xf32> to tensor<?x1xf32>
      return %0 : tensor<?x1xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  FloatTensor one({1, 1}, {1}), two({2, 1}, {1, 2});
  expectContains(message(interpreter.runFunction("glu", {one, two})),
                 "equally many rows");
  expectContains(message(interpreter.runFunction("add", {one, two})),
                 "one shape");
  expectContains(message(interpreter.runFunction("columns", {two, int64_t(3)})),
                 "reads outside");
  EXPECT_EQ(message(interpreter.runFunction("columns", {two, int64_t(0)})), "");
}

TEST(Error, CombineWithAnotherRouting) {
  auto module = parse(R"(
    func.func @f(%x: tensor<?x2xf32>, %y: tensor<?x2xf32>) -> tensor<?x2xf32> {
      %s = moe.select top_k 1 %x : tensor<?x2xf32> -> !moe.selection<experts = 2, slots = 1>
      %t = moe.select top_k 1 %y : tensor<?x2xf32> -> !moe.selection<experts = 2, slots = 1>
      %r = moe.weigh %s, %x norm none : !moe.selection<experts = 2, slots = 1>, tensor<?x2xf32> -> !moe.routing<experts = 2, slots = 1>
      %q = moe.weigh %t, %x norm none : !moe.selection<experts = 2, slots = 1>, tensor<?x2xf32> -> !moe.routing<experts = 2, slots = 1>
      %b = moe.dispatch %x, %r : tensor<?x2xf32>, !moe.routing<experts = 2, slots = 1> -> !moe.buckets<experts = 2, slots = 1, width = 2, element = f32>
      %z = moe.combine %b, %q : !moe.buckets<experts = 2, slots = 1, width = 2, element = f32>, !moe.routing<experts = 2, slots = 1> -> tensor<?x2xf32>
      return %z : tensor<?x2xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  FloatTensor x({1, 2}, {1, 2}), y({1, 2}, {2, 1});
  expectContains(message(interpreter.runFunction("f", {x, y})),
                 "dispatched by another one");
  EXPECT_EQ(message(interpreter.runFunction("f", {x, x})), "");
}

TEST(Error, EndlessRecursion) {
  auto module = parse(R"(
    func.func @f(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
      %0 = call @f(%x) : (tensor<?x1xf32>) -> tensor<?x1xf32>
      return %0 : tensor<?x1xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  expectContains(
      message(interpreter.runFunction("f", {FloatTensor({0, 1}, {})})),
      "nested deeper");
}

TEST(Error, CacheValueUsedTwice) {
  auto module = parse(R"(
    func.func @f(%x: tensor<?x1xf32>, %c: !nn.kv_cache<layers = 1, heads = 1, head_dim = 1, element = f32>, %p: tensor<?xi32>, %s: tensor<?xi32>) -> tensor<?x1xf32> {
      %0, %c1 = nn.attention %x, %x, %x cache %c layer 0 at %p of %s heads 1 scale 1.0 : tensor<?x1xf32>, tensor<?x1xf32>, !nn.kv_cache<layers = 1, heads = 1, head_dim = 1, element = f32>
      %1, %c2 = nn.attention %0, %x, %x cache %c layer 0 at %p of %s heads 1 scale 1.0 : tensor<?x1xf32>, tensor<?x1xf32>, !nn.kv_cache<layers = 1, heads = 1, head_dim = 1, element = f32>
      return %1 : tensor<?x1xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  auto cache = std::make_shared<reference::KvCache>(
      reference::KvCache::empty(1, 1, 1, reference::Element::F32, 1));
  expectContains(
      message(interpreter.runFunction(
          "f", {FloatTensor({1, 1}, {1}), cache, IdTensor{0}, IdTensor{0, 1}})),
      "no other use");
}

namespace {
/// A directory with one file of six float32: 1 to 6.
struct WeightTest : ::testing::Test {
  llvm::SmallString<128> directory;

  void SetUp() override {
    ASSERT_FALSE(
        llvm::sys::fs::createUniqueDirectory("headrace-weights", directory));
    std::error_code error;
    llvm::raw_fd_ostream file((directory + "/w.bin").str(), error);
    ASSERT_FALSE(error);
    float values[] = {1, 2, 3, 4, 5, 6};
    file.write(reinterpret_cast<const char *>(values), sizeof(values));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(directory); }

  llvm::Expected<llvm::SmallVector<RuntimeValue>> use(llvm::StringRef source,
                                                      llvm::StringRef where) {
    auto module = parse(("tier.weight @w : tensor<2x2xf32> from [" + source +
                         "] func.func @f() -> tensor<2x2xf32> {"
                         "  %0 = tier.use @w : tensor<2x2xf32>"
                         "  return %0 : tensor<2x2xf32> }")
                            .str());
    auto interpreter = must(Interpreter::create(*module, where));
    return interpreter.runFunction("f", {});
  }
};
} // namespace

TEST_F(WeightTest, RangesLieOneBehindTheOther) {
  auto results = use("#tier.range<\"w.bin\" at 16 bytes 8>, "
                     "#tier.range<\"w.bin\" at 0 bytes 8>",
                     directory);
  ASSERT_TRUE(bool(results)) << llvm::toString(results.takeError());
  auto &tensor = std::get<FloatTensor>(results->front());
  EXPECT_EQ(std::vector<float>(tensor.values.get(), tensor.values.get() + 4),
            (std::vector<float>{5, 6, 1, 2}));
}

TEST_F(WeightTest, ErrorsNameTheFile) {
  expectContains(
      message(use("#tier.range<\"w.bin\" at 12 bytes 16>", directory)),
      "w.bin' ends before byte 28");
  expectContains(
      message(use("#tier.range<\"none.bin\" at 0 bytes 16>", directory)),
      "none.bin'");
  expectContains(message(use("#tier.range<\"w.bin\" at 0 bytes 16>", "")),
                 "checkpoint directory");
}

// A model whose logits are [running mean of the tokens, token].
static const char *meanModel = R"(
  !cache = !nn.kv_cache<layers = 1, heads = 1, head_dim = 2, element = f32>
  func.func @forward(
      %tokens: tensor<?xi32> {headrace.role = "tokens"},
      %positions: tensor<?xi32> {headrace.role = "positions"},
      %sequences: tensor<?xi32> {headrace.role = "sequences"},
      %rows: tensor<?xi32> {headrace.role = "output_rows"},
      %c0: !cache {headrace.role = "cache"}) -> (tensor<?x2xf32>, !cache) {
    %table = arith.constant dense<[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [6.0, 6.0]]> : tensor<4x2xf32>
    %zeros = arith.constant dense<0.0> : tensor<2x2xf32>
    %first = arith.constant dense<[[1.0, 0.0], [0.0, 0.0]]> : tensor<2x2xf32>
    %second = arith.constant dense<[[0.0, 0.0], [0.0, 1.0]]> : tensor<2x2xf32>
    %x = nn.embed %tokens, %table : tensor<?xi32>, tensor<4x2xf32> -> tensor<?x2xf32>
    %k = nn.linear %x, %zeros : tensor<?x2xf32>, tensor<2x2xf32> -> tensor<?x2xf32>
    %a, %c1 = nn.attention %x, %k, %x cache %c0 layer 0 at %positions of %sequences heads 1 scale 1.0
      : tensor<?x2xf32>, tensor<?x2xf32>, !cache
    %m = nn.linear %a, %first : tensor<?x2xf32>, tensor<2x2xf32> -> tensor<?x2xf32>
    %t = nn.linear %x, %second : tensor<?x2xf32>, tensor<2x2xf32> -> tensor<?x2xf32>
    %y = arith.addf %m, %t : tensor<?x2xf32>
    %out = nn.embed %rows, %y : tensor<?xi32>, tensor<?x2xf32> -> tensor<?x2xf32>
    return %out, %c1 : tensor<?x2xf32>, !cache
  })";

TEST(Session, KeepsTheCacheOfEachSequence) {
  auto module = parse(meanModel);
  auto interpreter = must(Interpreter::create(*module));
  auto step = [&](llvm::ArrayRef<StepItem> items, StepRows rows) {
    return must(interpreter.step(items, rows)).values;
  };
  using Floats = std::vector<float>;
  EXPECT_EQ(step({{7, {2, 3}}}, StepRows::All), (Floats{2, 2, 4, 6}));
  EXPECT_EQ(step({{9, {3}}, {7, {1}}}, StepRows::Last), (Floats{6, 6, 3, 1}));
  EXPECT_EQ(step({{9, {2, 1}}}, StepRows::Last), (Floats{3, 1}));

  // A step that fails leaves no trace: token 4 is outside the table.
  expectContains(message(interpreter.step({{7, {1, 4}}})), "nn.embed");
  expectContains(message(interpreter.step({{7, {1}}, {7, {1}}})), "twice");
  expectContains(message(interpreter.step({{7, {}}})), "no token");
  EXPECT_EQ(step({{7, {1}}}, StepRows::Last), (Floats{2.5f, 1}));

  interpreter.forget(7);
  EXPECT_EQ(step({{7, {1}}}, StepRows::Last), (Floats{1, 1}));
}

TEST(Session, FailureAfterAttentionRollsBack) {
  // Now the last op picks rows by token: token 3 in a step of one row fails,
  // when attention has already written its key.
  std::string text = meanModel;
  size_t at = text.find("nn.embed %rows, %y");
  text.replace(at, 18, "nn.embed %tokens, %y");
  auto module = parse(text);
  auto interpreter = must(Interpreter::create(*module));
  EXPECT_EQ(message(interpreter.step({{1, {0}}})), "");
  expectContains(message(interpreter.step({{1, {3}}})), "nn.embed");
  EXPECT_EQ(must(interpreter.step({{1, {0}}})).values,
            (std::vector<float>{0, 0}));
}

TEST(Session, RolesAreRequired) {
  auto module = parse(R"(
    func.func @forward(%x: tensor<?xi32>) -> tensor<?xi32> {
      return %x : tensor<?xi32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  expectContains(message(interpreter.step({{0, {1}}})), "headrace.role");
  auto empty = parse("module {}");
  auto nothing = must(Interpreter::create(*empty));
  expectContains(message(nothing.step({{0, {1}}})), "'@forward'");
}

TEST(Trace, GivesMarginsBeforeTheSquash) {
  auto module = parse(R"(
    func.func @f(%x: tensor<?x3xf32>) -> tensor<?x3xf32> {
      %p = moe.squash softmax %x : tensor<?x3xf32>
      %s = moe.select top_k 1 %p : tensor<?x3xf32> -> !moe.selection<experts = 3, slots = 1>
      return %p : tensor<?x3xf32>
    })");
  auto interpreter = must(Interpreter::create(*module));
  std::vector<float> margins;
  interpreter.setRouterTrace([&](Location, llvm::ArrayRef<float> values) {
    margins.assign(values.begin(), values.end());
  });
  must(
      interpreter.runFunction("f", {FloatTensor({2, 3}, {1, 5, 2, 0, 0, -1})}));
  EXPECT_EQ(margins, (std::vector<float>{3, 0}));
}
