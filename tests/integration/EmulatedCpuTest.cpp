// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles the checkpoints of tests/data for a CPU, runs every task of every
// tile program on memory that knows who wrote it, and compares the logits with
// other people's.
#include "tests/integration/EmulatedCpu.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "tests/compiler/reference/Goldens.h"
#include <gtest/gtest.h>
#include <set>

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;

namespace {

class CheckedGolden : public ::testing::TestWithParam<std::string> {
protected:
  void open(const std::string &cpu) {
    auto read = readGolden(GetParam());
    ASSERT_TRUE(bool(read)) << llvm::toString(read.takeError());
    golden = std::move(*read);
    model.cpu = cpu;
    llvm::Error error = model.open(GetParam(), 80);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
  }
  std::vector<float> feed(const std::vector<size_t> &sizes, bool company) {
    auto logits = model.feed(golden.tokens(), sizes, company);
    EXPECT_TRUE(bool(logits)) << llvm::toString(logits.takeError());
    return logits ? std::move(*logits) : std::vector<float>();
  }
  void expectGolden(const std::vector<float> &logits) {
    GoldenReport report = compareWithGolden(golden, logits, golden.closeness());
    printf("%s\n", report.text.c_str());
    EXPECT_TRUE(report.ok) << report.text;
  }

  Golden golden;
  EmulatedCpu model;
};

/// The bits of a sequence depend neither on the order of tasks nor on how its
/// tokens are cut into steps nor on what runs beside them.
TEST_P(CheckedGolden, AnyOrderOfTasksGivesTheSameBits) {
  open("x86-64-v4");
  std::vector<float> whole = feed({77}, false);
  expectGolden(whole);
  model.backwards = true;
  EXPECT_EQ(whole, feed({1, 2, 15, 9}, true));
}

TEST_P(CheckedGolden, TilesOfTwoRows) {
  open("x86-64-v3");
  expectGolden(feed({29}, true));
}

INSTANTIATE_TEST_SUITE_P(
    Families, CheckedGolden,
    ::testing::ValuesIn(listGoldens("tests/data/families")),
    [](const auto &info) { return testNameOf(info.param); });

/// Programs that were made wrong.
class WrongPrograms : public ::testing::Test {
protected:
  void SetUp() override {
    llvm::Error error = model.open("tests/data/families/qwen3_moe-bf16", 80);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    ASSERT_EQ(step(), "");
  }
  /// What is wrong with two steps of two sequences; empty where nothing is.
  std::string step() {
    model.forgetSequences();
    std::vector<int32_t> tokens(41); // More than a page.
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = int32_t(i * 5 + 3);
    for (const auto &first : {tokens, std::vector<int32_t>{4, 5}}) {
      auto rows = model.step({{1, first}, {2, {9, 8, 7}}});
      if (!rows)
        return llvm::toString(rows.takeError());
    }
    return "";
  }
  /// Makes each program wrong in turn by what `change` does to each op of type
  /// `Op`; it says whether it did anything. Returns how many were changed.
  template <typename Op>
  int expectFound(const char *message,
                  llvm::function_ref<bool(flow::ProgramOp, Op)> change) {
    int changed = 0;
    for (auto program : model.program().getOps<flow::ProgramOp>()) {
      OwningOpRef<flow::ProgramOp> original = program.clone();
      std::vector<Op> ops;
      program.walk([&](Op op) { ops.push_back(op); });
      bool any = false;
      for (Op op : ops)
        any |= change(program, op);
      if (any) {
        ++changed;
        std::string wrong = step();
        EXPECT_TRUE(!wrong.empty() && llvm::StringRef(wrong).contains(message))
            << program.getSymName().str() << ": "
            << (wrong.empty() ? "nothing was found" : wrong);
      }
      program->getRegion(0).takeBody((*original)->getRegion(0));
    }
    EXPECT_EQ(step(), "");
    return changed;
  }
  /// Puts `make(value)` in place of `value` where `op` uses it.
  static void wrap(Operation *op, Value value,
                   llvm::function_ref<Value(OpBuilder &, Value)> make) {
    OpBuilder b(op);
    op->replaceUsesOfWith(value, make(b, value));
  }
  static Value index(OpBuilder &b, int64_t value) {
    return arith::ConstantIndexOp::create(b, b.getUnknownLoc(), value);
  }
  static Value plus(OpBuilder &b, Value value, int64_t more) {
    return arith::AddIOp::create(b, b.getUnknownLoc(), value, index(b, more));
  }
  static Value half(OpBuilder &b, Value value) {
    return arith::DivUIOp::create(b, b.getUnknownLoc(), value, index(b, 2));
  }

  EmulatedCpu model;
};

/// Every second task does the work of its neighbour.
TEST_F(WrongPrograms, TasksThatWriteTheSameAreFound) {
  std::set<Operation *> seen;
  auto change = [&](flow::ProgramOp program, flow::StoreOp) {
    // A launch of one task has no neighbours.
    if (!seen.insert(program).second ||
        (program.getGrid().getKind() == flow::GridKind::fixed &&
         program.getGrid().getBase() == 1))
      return false;
    BlockArgument task = program.getBody().getArgument(0);
    OpBuilder b(&program.getBody().front(), program.getBody().front().begin());
    Value two = index(b, 2);
    auto other = arith::DivUIOp::create(b, b.getUnknownLoc(), task, two);
    task.replaceAllUsesExcept(other, other);
    return true;
  };
  EXPECT_GE(expectFound<flow::StoreOp>(" writes in this launch", change), 2);
}

TEST_F(WrongPrograms, PanelsThatAreNotThereAreFound) {
  auto change = [](flow::ProgramOp, flow::MmaOp op) {
    int64_t panels = cast<MemRefType>(op.getPanel().getType()).getDimSize(0);
    wrap(op, op.getIndex(),
         [&](OpBuilder &b, Value value) { return plus(b, value, panels); });
    return true;
  };
  EXPECT_GE(expectFound<flow::MmaOp>("reaches for index", change), 4);
}

TEST_F(WrongPrograms, RowsThatWereNotLoadedAreFound) {
  auto change = [](flow::ProgramOp, flow::LoadOp op) {
    wrap(op, op.getCount(), half);
    return true;
  };
  EXPECT_GE(expectFound<flow::LoadOp>("of a tile of", change), 4);
}

/// Rows at the step's end and behind it.
TEST_F(WrongPrograms, RowsThatNobodyWroteAreFound) {
  auto change = [](flow::ProgramOp, flow::LoadOp op) {
    if (op.getIndices() || op.getInPlace())
      return false;
    wrap(op, op.getFirst(),
         [](OpBuilder &b, Value value) { return plus(b, value, 8); });
    return true;
  };
  EXPECT_GE(expectFound<flow::LoadOp>("nobody wrote", change), 2);
}

/// All pieces of scratch in one place: the probabilities of a page are written
/// over queries that the next page wants. It does so from the second step on,
/// whose rows see more than a page.
TEST_F(WrongPrograms, SlotsInUseAreFound) {
  auto change = [](flow::ProgramOp program, flow::ScratchOp op) {
    bool moved = op.getOffset() != 0 && program.getFamily() == "attention";
    if (moved)
      op.setOffset(0);
    return moved;
  };
  EXPECT_GE(expectFound<flow::ScratchOp>("overwritten after", change), 1);
}

TEST_F(WrongPrograms, LoadsAheadOfTheirStoresAreFound) {
  auto change = [](flow::ProgramOp, flow::LoadOp op) {
    for (Operation *at = op->getPrevNode(); at; at = at->getPrevNode())
      if (auto store = dyn_cast<flow::StoreOp>(at);
          store && store.getTarget() == op.getSource()) {
        store->moveAfter(op);
        return true;
      }
    return false;
  };
  EXPECT_GE(expectFound<flow::LoadOp>("overwritten after", change), 1);
}

/// One task too early is taken for the last: it reads what others write, or
/// they count on.
TEST_F(WrongPrograms, TasksThatHaveNotArrivedAreFound) {
  auto change = [](flow::ProgramOp, flow::ArriveOp op) {
    wrap(op, op.getTotal(),
         [](OpBuilder &b, Value value) { return plus(b, value, -1); });
    return true;
  };
  EXPECT_GE(expectFound<flow::ArriveOp>("", change), 1);
}

} // namespace
