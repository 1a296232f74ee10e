// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The machine that runs tile programs: what the ops give, and that planted
// mistakes are found.
#include "compiler/reference/tiles/Tiles.h"
#include "dialects/RegisterAll.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "runtime/abi/kernel_abi.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace headrace;
using namespace mlir;

namespace {

/// Two rows of four values in %x, room for as many in %y, a counter in %n, and
/// %w, two panels of 4 channels and 4 columns; %e is two such weights.
struct TilesTest : ::testing::Test {
  MLIRContext context;
  simt::Memory memory;
  OwningOpRef<ModuleOp> module;
  uint64_t x = 0, y = 0, n = 0, w = 0, other = 0;

  void SetUp() override {
    DialectRegistry registry;
    registerAllDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    x = memory.allocate("x", 32);
    y = memory.allocate("y", 32);
    n = memory.allocate("n", 4);
    w = memory.allocate("w", 128);
    other = memory.allocate("other", 128);
    std::vector<float> rows{1, 2, 3, 4, 5, 6, 7, 8}, weights(32);
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i] = float(i);
    memory.write(x, rows.data(), 32);
    memory.write(w, weights.data(), 128);
    memory.write(other, weights.data(), 128);
    memory.zero(n, 4);
  }
  std::string run(const std::string &body, uint64_t tasks = 1,
                  bool backwards = false) {
    std::string text = R"(
flow.program @p "test" buffers 3 scratch 128 grid <fixed, base = 1> {
^bb0(%task: index, %x: memref<2x4xf32>, %y: memref<2x4xf32>, %n: memref<1xi32>, %w: memref<2x4x4x1xf32>, %e: memref<2x2x4x4x1xf32>):
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c9 = arith.constant 9 : index
  %f = arith.constant 5.0 : f32
)" + body + "\n}\n";
    module = parseSourceString<ModuleOp>(text, ParserConfig(&context));
    if (!module)
      return "does not parse";
    tiles::Launch launch;
    launch.program = *module->getOps<flow::ProgramOp>().begin();
    launch.tasks = tasks;
    launch.buffers = {{x, 32}, {y, 32}, {n, 4}};
    launch.weights = {{w}, {w, other}};
    launch.counts = {2, 1, 2, 0, HEADRACE_ALL_ACTIVE};
    return llvm::toString(tiles::run(memory, launch, backwards));
  }
  std::vector<float> result() {
    std::vector<float> values(8, NAN);
    llvm::Error error = memory.read(y, values.data(), 32);
    EXPECT_FALSE(bool(error)) << llvm::toString(std::move(error));
    return values;
  }
};

#define EXPECT_FINDS(wrong, what)                                              \
  do {                                                                         \
    std::string found = (wrong);                                               \
    EXPECT_NE(found.find(what), std::string::npos) << found;                   \
  } while (false)

TEST_F(TilesTest, ProductsReadPanels) {
  ASSERT_EQ(run(R"(
  %t = flow.load %x[%c0, %c2] in_place : memref<2x4xf32> -> !flow.tile<4 x f32>
  flow.rows %c2 limit 1 {
  ^bb0(%row: index):
    %a = flow.mma %t at %row, %w[%c1] : !flow.tile<4 x f32>, memref<2x4x4x1xf32> -> !flow.acc<4 x f32>
    flow.store %a, %y row %row column %c0 : !flow.acc<4 x f32>, memref<2x4xf32>
    flow.yield
  })"),
            "");
  std::vector<float> expected;
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 4; ++c) {
      float sum = 0;
      for (int k = 0; k < 4; ++k)
        sum += float(r * 4 + k + 1) * float(16 + k * 4 + c);
      expected.push_back(sum);
    }
  EXPECT_EQ(result(), expected);
}

TEST_F(TilesTest, RowsAreNormalisedWhileLoaded) {
  ASSERT_EQ(run(R"(
  %s = flow.scratch offset 0 : memref<2x4xf32>
  %t = flow.load %x[%c0, %c2] stage %s : memref<2x4xf32> norm rms eps 0.0 : memref<2x4xf32> -> !flow.tile<4 x f32>
  flow.rows %c2 limit 2 {
  ^bb0(%row: index):
    %a = flow.read %s row %row column %c0 : memref<2x4xf32> -> !flow.acc<4 x f32>
    %b = flow.map (%a) : (!flow.acc<4 x f32>) -> !flow.acc<4 x f32> {
    ^bb1(%v: f32):
      %d = arith.addf %v, %v : f32
      flow.yield %d : f32
    }
    flow.store %b, %y row %row column %c0 : !flow.acc<4 x f32>, memref<2x4xf32>
    flow.yield
  })"),
            "");
  std::vector<float> values = result();
  for (int i = 0; i < 8; ++i)
    EXPECT_FLOAT_EQ(values[size_t(i)],
                    float(2 * (i + 1) / std::sqrt(i < 4 ? 7.5 : 43.5)));
}

TEST_F(TilesTest, AccessesOutsideAreFound) {
  EXPECT_FINDS(run("%v = memref.load %x[%c0, %c9] : memref<2x4xf32>"),
               "reaches for index 9 of dimension 1");
  EXPECT_FINDS(run(R"(
  %v = flow.view %x at %c9 offset 0 : memref<2x4xf32> to memref<4xf32>)"),
               "views 16 bytes from byte 36 of 32");
  EXPECT_FINDS(run(R"(
  %v = flow.expert %e[%c2] : memref<2x2x4x4x1xf32> to memref<2x4x4x1xf32>)"),
               "picks expert 2 of 2");
  EXPECT_FINDS(run("flow.prefetch %w[%c2] bytes 64 : memref<2x4x4x1xf32>"),
               "reaches for index 2");
  EXPECT_FINDS(run("flow.prefetch %w[%c1] bytes 65 : memref<2x4x4x1xf32>"),
               "reaches past the 128 bytes");
}

TEST_F(TilesTest, ReadsOfWhatNobodyWroteAreFound) {
  EXPECT_FINDS(run("%v = memref.load %y[%c0, %c0] : memref<2x4xf32>"),
               "of 'y', which nobody wrote");
  const char *readScratch = R"(
  %s = flow.scratch offset 64 : memref<4xf32>
  %v = memref.load %s[%c0] : memref<4xf32>)";
  EXPECT_FINDS(run(readScratch), "which this task did not write");
  // What another task left there is no better.
  EXPECT_FINDS(run(std::string(R"(
  %first = arith.cmpi eq, %task, %c0 : index
  %all = flow.scratch offset 64 : memref<4xf32>
  scf.if %first {
    memref.store %f, %all[%c0] : memref<4xf32>
  })") + readScratch,
                   2),
               "which this task did not write (task 1)");
}

const char *kWriteOwnRow = R"(
  memref.store %f, %y[%task, %c0] : memref<2x4xf32>)";

TEST_F(TilesTest, TasksThatTouchTheSameAreFound) {
  EXPECT_EQ(run(kWriteOwnRow, 2), "");
  EXPECT_FINDS(run("memref.store %f, %y[%c0, %c0] : memref<2x4xf32>", 2),
               "of 'y', which task 0 writes in this launch (task 1)");
  // The row of a neighbour that has written it.
  EXPECT_FINDS(run(std::string(kWriteOwnRow) + R"(
  %v = memref.load %y[%c0, %c0] : memref<2x4xf32>)",
                   2),
               "which task 0 writes in this launch (task 1)");
  // The row of a neighbour that will write it.
  memory.zero(y, 32);
  EXPECT_FINDS(run(std::string(R"(
  %first = arith.cmpi eq, %task, %c0 : index
  scf.if %first {
    %v = memref.load %y[%c1, %c0] : memref<2x4xf32>
  })") + kWriteOwnRow,
                   2),
               "which task 0 read in this launch (task 1)");
}

TEST_F(TilesTest, TheLastToArriveMayReadAll) {
  auto arrive = [](const char *total, const char *after) {
    return std::string(kWriteOwnRow) + "\n  %last = flow.arrive %n of " +
           total + " : memref<1xi32>\n" + after;
  };
  const char *readAll = R"(
  scf.if %last {
    %a = memref.load %y[%c0, %c0] : memref<2x4xf32>
    %b = memref.load %y[%c1, %c0] : memref<2x4xf32>
    %z = arith.constant 0 : i32
    memref.store %z, %n[%c0] : memref<1xi32>
  })";
  EXPECT_EQ(run(arrive("%c2", readAll), 2), "");
  EXPECT_EQ(run(arrive("%c2", readAll), 2, /*backwards=*/true), "");
  EXPECT_FINDS(run(arrive("%c1", ""), 2), "counts to 2 of 1");
  memory.zero(n, 4);
  // The first goes on writing after it arrived.
  EXPECT_FINDS(run(arrive("%c2", R"(
  memref.store %f, %y[%task, %c1] : memref<2x4xf32>
  scf.if %last {
    %v = memref.load %y[%c0, %c1] : memref<2x4xf32>
  })"),
                   2),
               "after it arrived (task 1)");
}

TEST_F(TilesTest, TilesInUseAreFound) {
  auto overwrite = [](const char *between) {
    return std::string(R"(
  %s = flow.scratch offset 0 : memref<2x4xf32>
  %t = flow.load %x[%c0, %c2] stage %s : memref<2x4xf32> : memref<2x4xf32> -> !flow.tile<4 x f32>
)") + between +
           R"(
  flow.rows %c2 limit 2 {
  ^bb0(%row: index):
    %a = flow.mma %t at %row, %w[%c0] : !flow.tile<4 x f32>, memref<2x4x4x1xf32> -> !flow.acc<4 x f32>
    flow.yield
  })";
  };
  EXPECT_EQ(run(overwrite("")), "");
  EXPECT_FINDS(
      run(overwrite("memref.store %f, %s[%c1, %c0] : memref<2x4xf32>")),
      "reads row 1 of a tile that was overwritten after it was loaded");
  EXPECT_FINDS(run(R"(
  %t = flow.load %x[%c0, %c1] in_place : memref<2x4xf32> -> !flow.tile<4 x f32>
  flow.rows %c2 limit 2 {
  ^bb0(%row: index):
    %a = flow.mma %t at %row, %w[%c0] : !flow.tile<4 x f32>, memref<2x4x4x1xf32> -> !flow.acc<4 x f32>
    flow.yield
  })"),
               "reads row 1 of a tile of 1");
}

TEST_F(TilesTest, WrittenWeightsAreFound) {
  EXPECT_FINDS(
      run("memref.store %f, %w[%c0, %c0, %c0, %c0] : memref<2x4x4x1xf32>"),
      "writes to the weight 'w'");
}

TEST_F(TilesTest, LaunchesThatDoNotFitAreRefused) {
  ASSERT_EQ(run(""), "");
  tiles::Launch launch;
  EXPECT_FINDS(llvm::toString(tiles::run(memory, launch)), "no flow.program");
  launch.program = *module->getOps<flow::ProgramOp>().begin();
  EXPECT_FINDS(llvm::toString(tiles::run(memory, launch)),
               "0 buffers and 0 weights, but the program takes 3 buffers and 2 "
               "weights");
}

} // namespace
