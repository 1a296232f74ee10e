// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers GPU kernels to the LLVM and NVVM dialects with upstream's patterns.
#include "compiler/codegen/gpu/LowerToNvvm.h"

#include "compiler/codegen/ExpandMath.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/LoweringOptions.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/DialectConversion.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace headrace;

namespace {

template <typename Pass>
using GpuPass = PassWrapper<Pass, OperationPass<gpu::GPUModuleOp>>;

/// gpu, arith, math and cf to llvm and nvvm. Unlike upstream's pass it keeps
/// LLVM's intrinsics for square roots and roundings, which are instructions,
/// where that one calls a toolkit's library.
struct ToNvvmPass : public GpuPass<ToNvvmPass> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ToNvvmPass)
  void getDependentDialects(DialectRegistry &registry) const override {
    registry
        .insert<LLVM::LLVMDialect, NVVM::NVVMDialect, cf::ControlFlowDialect>();
  }
  void runOnOperation() override {
    LowerToLLVMOptions options(&getContext());
    options.overrideIndexBitwidth(64);
    LLVMTypeConverter converter(&getContext(), options);
    RewritePatternSet patterns(&getContext());
    arith::populateArithToLLVMConversionPatterns(converter, patterns);
    populateMathToLLVMConversionPatterns(converter, patterns);
    cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
    // Ahead of the calls of a library.
    populateGpuToNVVMConversionPatterns(converter, patterns, PatternBenefit(0));
    LLVMConversionTarget target(getContext());
    target.addLegalDialect<LLVM::LLVMDialect, NVVM::NVVMDialect>();
    target.addIllegalDialect<gpu::GPUDialect>();
    target.addLegalOp<gpu::GPUModuleOp>();
    if (failed(applyPartialConversion(getOperation(), target,
                                      std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace

OwningOpRef<ModuleOp> headrace::lowerToNvvm(ModuleOp module,
                                            StringRef section) {
  OwningOpRef<ModuleOp> work(ModuleOp::create(module.getLoc()));
  for (auto kernels : module.getOps<gpu::GPUModuleOp>())
    if (isInSection(kernels, section))
      work->push_back(kernels->clone());
  PassManager pm(module.getContext(), ModuleOp::getOperationName());
  OpPassManager &inner = pm.nest<gpu::GPUModuleOp>();
  inner.addPass(createCanonicalizerPass());
  inner.addPass(createCSEPass());
  inner.addPass(createExpandMathPass());
  inner.addPass(createLoopInvariantCodeMotionPass());
  inner.addPass(createSCFToControlFlowPass());
  inner.addPass(std::make_unique<ToNvvmPass>());
  if (failed(pm.run(*work)))
    return {};
  // One module: the globals of each kernel get names of their own.
  OwningOpRef<ModuleOp> all(ModuleOp::create(module.getLoc()));
  for (auto kernels : work->getOps<gpu::GPUModuleOp>()) {
    for (auto global :
         llvm::make_early_inc_range(kernels.getOps<LLVM::GlobalOp>())) {
      std::string name = (kernels.getName() + "_" + global.getSymName()).str();
      if (failed(SymbolTable::replaceAllSymbolUses(
              global, StringAttr::get(module.getContext(), name), kernels)))
        return {};
      global.setSymName(name);
      global->moveBefore(all->getBody(), all->getBody()->end());
    }
    for (auto function :
         llvm::make_early_inc_range(kernels.getOps<LLVM::LLVMFuncOp>()))
      function->moveBefore(all->getBody(), all->getBody()->end());
  }
  return all;
}
