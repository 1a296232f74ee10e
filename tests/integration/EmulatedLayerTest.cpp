// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Layers wide enough that every ring of a kernel goes round: right results, and
// what the checking machine says of kernels that were made wrong on purpose.
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "tests/integration/EmulatedGpu.h"
#include "tools/headrace/bench/Layer.h"
#include "tools/headrace/bench/Random.h"
#include "llvm/Support/FileSystem.h"
#include <gtest/gtest.h>
#include <unistd.h>

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;
using tools::bench::LayerEncoding;

namespace {

constexpr double kMostError = 1e-2;

class EmulatedLayer : public ::testing::Test {
protected:
  void TearDown() override { llvm::sys::fs::remove_directories(directory); }

  /// Six chunks of 64 channels go up and five down, through rings of three.
  void open(const std::string &chip, bool biased = false,
            LayerEncoding encoding = LayerEncoding::BF16) {
    tools::bench::LayerShape shape;
    shape.biased = biased;
    shape.encoding = encoding;
    shape.name = "layer";
    shape.hidden = 384;
    shape.intermediate = 304;
    shape.experts = 5;
    shape.slots = 2;
    layer = std::make_unique<tools::bench::Layer>(shape);
    directory =
        ::testing::TempDir() + "headrace-layer-" + std::to_string(getpid());
    ASSERT_FALSE(llvm::sys::fs::create_directories(directory));
    llvm::Error error = layer->writeWeights(directory + "/weights.bin", 7);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
    gpu.chip = chip;
    gpu.captured = true;
    error = gpu.openText(layer->moduleText("weights.bin"), directory, 256);
    ASSERT_FALSE(bool(error)) << llvm::toString(std::move(error));
  }
  std::vector<float> rows(int64_t tokens) {
    std::vector<float> x(size_t(tokens * layer->shape().hidden));
    tools::bench::Random random(uint64_t(tokens) + 1);
    for (float &value : x)
      value = random.normal();
    return x;
  }
  llvm::Expected<std::vector<float>> run(const std::vector<float> &x) {
    return gpu.invoke("layer", x, layer->shape().hidden);
  }
  void expectRight(int64_t tokens) {
    std::vector<float> x = rows(tokens);
    auto y = run(x);
    ASSERT_TRUE(bool(y)) << llvm::toString(y.takeError());
    auto error = layer->check(x.data(), y->data(), tokens, tokens);
    ASSERT_TRUE(bool(error)) << llvm::toString(error.takeError());
    EXPECT_LT(*error, kMostError) << tokens << " tokens";
  }
  /// What is wrong with a run of `tokens`; empty where nothing is.
  std::string wrongWith(int64_t tokens) {
    std::vector<float> x = rows(tokens);
    auto y = run(x);
    if (!y)
      return llvm::toString(y.takeError());
    auto error = layer->check(x.data(), y->data(), tokens, tokens);
    if (!error)
      return llvm::toString(error.takeError());
    return *error < kMostError ? "" : "the result is wrong";
  }

  /// Kernels of steps of `tokens` tokens that hold an op of type `Op`.
  template <typename Op> std::vector<gpu::GPUModuleOp> kernelsWith() {
    std::vector<gpu::GPUModuleOp> found;
    for (auto kernel : gpu.program().getOps<gpu::GPUModuleOp>()) {
      bool has = false;
      kernel.walk([&](Op) { has = true; });
      if (has && launched(kernel))
        found.push_back(kernel);
    }
    return found;
  }
  /// Whether the entry `layer` launches the kernel in the chip's own code.
  bool launched(gpu::GPUModuleOp kernel) {
    bool found = false;
    gpu.program().walk([&](flow::LaunchOp launch) {
      auto schedule = launch->getParentOfType<flow::ScheduleOp>();
      auto section = schedule->getAttrOfType<StringAttr>("headrace.section");
      found |=
          launch.getKernel() == kernel.getName() &&
          schedule->getAttrOfType<StringAttr>("headrace.entry") == "layer" &&
          (!section || section.getValue() == "cubin");
    });
    return found;
  }
  /// Tokens of a step that runs `kernel` in several blocks.
  static int64_t tokensFor(gpu::GPUModuleOp kernel) {
    return StringRef(kernel.getName()).contains("_few") ? 8 : 200;
  }
  /// Expects the machine to find out what `change` did to `kernel`.
  void expectFound(gpu::GPUModuleOp kernel, const char *what,
                   const char *message,
                   llvm::function_ref<void(gpu::GPUModuleOp)> change) {
    // Not a part of the program, where it would be found by its name.
    OwningOpRef<gpu::GPUModuleOp> original = kernel.clone();
    change(kernel);
    std::string wrong = wrongWith(tokensFor(kernel));
    EXPECT_TRUE(llvm::StringRef(wrong).contains(message))
        << kernel.getName().str() << ", " << what << ": "
        << (wrong.empty() ? "nothing was found" : wrong);
    kernel->getRegion(0).takeBody((*original)->getRegion(0));
  }

  std::unique_ptr<tools::bench::Layer> layer;
  std::string directory;
  EmulatedGpu gpu;
};

TEST_F(EmulatedLayer, ResultsAreThoseOfTheReference) {
  open("sm_90a");
  for (int64_t tokens : {1, 7, 8, 9, 64, 65, 200}) {
    expectRight(tokens);
    if (HasFatalFailure())
      return;
  }
  gpu.portable = true;
  for (int64_t tokens : {9, 200})
    expectRight(tokens);
}

/// Biases of experts and router, a softmax over the picked, a clamped SwiGLU.
TEST_F(EmulatedLayer, BiasedResultsAreThoseOfTheReference) {
  open("sm_90a", /*biased=*/true);
  for (int64_t tokens : {1, 8, 65}) {
    expectRight(tokens);
    if (HasFatalFailure())
      return;
  }
}

/// Blocks of scales that end within the matrix, and steps that end within a
/// block.
TEST_F(EmulatedLayer, Fp8ResultsAreThoseOfTheReference) {
  open("sm_90a", /*biased=*/false, LayerEncoding::FP8);
  for (int64_t tokens : {1, 8, 65}) {
    expectRight(tokens);
    if (HasFatalFailure())
      return;
  }
}

TEST_F(EmulatedLayer, Mxfp4ResultsAreThoseOfTheReference) {
  open("sm_90a", /*biased=*/true, LayerEncoding::MXFP4);
  for (int64_t tokens : {1, 8, 65}) {
    expectRight(tokens);
    if (HasFatalFailure())
      return;
  }
}

TEST_F(EmulatedLayer, MissingBarriersAreFound) {
  open("sm_90a");
  auto kernels = kernelsWith<gpu::BarrierOp>();
  EXPECT_GE(kernels.size(), 4u);
  for (gpu::GPUModuleOp kernel : kernels)
    expectFound(
        kernel, "without barriers", "barrier", [](gpu::GPUModuleOp changed) {
          std::vector<Operation *> barriers;
          changed.walk([&](gpu::BarrierOp op) { barriers.push_back(op); });
          for (Operation *op : barriers)
            op->erase();
        });
}

TEST_F(EmulatedLayer, CopiesThatAreNotAwaitedAreFound) {
  open("sm_90a");
  auto kernels = kernelsWith<NVVM::CpAsyncWaitGroupOp>();
  EXPECT_GE(kernels.size(), 2u);
  for (gpu::GPUModuleOp kernel : kernels)
    expectFound(kernel, "one copy too few awaited", "has not arrived",
                [](gpu::GPUModuleOp changed) {
                  changed.walk([&](NVVM::CpAsyncWaitGroupOp op) {
                    op.setN(op.getN() + 1);
                  });
                });
}

/// Copies are of another proxy than the instructions that read them.
TEST_F(EmulatedLayer, MissingProxyFencesAreFound) {
  open("sm_90a");
  auto kernels = kernelsWith<NVVM::FenceProxyOp>();
  EXPECT_GE(kernels.size(), 2u);
  for (gpu::GPUModuleOp kernel : kernels)
    expectFound(kernel, "without proxy fences", "proxy fence",
                [](gpu::GPUModuleOp changed) {
                  std::vector<Operation *> fences;
                  changed.walk(
                      [&](NVVM::FenceProxyOp op) { fences.push_back(op); });
                  for (Operation *op : fences)
                    op->erase();
                });
}

/// A ring of two slots where the kernel loads two chunks ahead.
TEST_F(EmulatedLayer, RingSlotsInUseAreFound) {
  open("sm_90a");
  for (gpu::GPUModuleOp kernel : kernelsWith<NVVM::CpAsyncOp>())
    expectFound(
        kernel, "a slot less", "has not arrived", [](gpu::GPUModuleOp changed) {
          std::vector<arith::RemUIOp> slots;
          changed.walk([&](arith::RemUIOp op) {
            if (matchPattern(op.getRhs(), m_Constant()) &&
                op.getRhs().getDefiningOp<arith::ConstantIntOp>().value() == 3)
              slots.push_back(op);
          });
          EXPECT_FALSE(slots.empty());
          for (arith::RemUIOp op : slots) {
            OpBuilder b(op);
            op.getRhsMutable().assign(
                arith::ConstantIntOp::create(b, op.getLoc(), op.getType(), 2));
          }
        });
}

/// Every second block does the work of its neighbour.
TEST_F(EmulatedLayer, BlocksThatWriteTheSameAreFound) {
  open("sm_90a");
  for (gpu::GPUModuleOp kernel : kernelsWith<NVVM::BlockIdXOp>())
    expectFound(
        kernel, "two blocks do the same", "which block",
        [](gpu::GPUModuleOp changed) {
          std::vector<NVVM::BlockIdXOp> numbers;
          changed.walk([&](NVVM::BlockIdXOp op) { numbers.push_back(op); });
          for (NVVM::BlockIdXOp op : numbers) {
            OpBuilder b(op);
            b.setInsertionPointAfter(op);
            Value one =
                arith::ConstantIntOp::create(b, op.getLoc(), b.getI32Type(), 1);
            auto half =
                arith::ShRUIOp::create(b, op.getLoc(), op.getResult(), one);
            op.getResult().replaceAllUsesExcept(half.getResult(), half);
          }
        });
}

} // namespace
