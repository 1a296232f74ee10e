// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowers vector code to the LLVM dialect with upstream passes.
#include "compiler/codegen/ExpandMath.h"
#include "compiler/codegen/cpu/EmitImage.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace headrace;

LogicalResult headrace::lowerVectorsToLLVM(ModuleOp module,
                                           const CpuTarget &target) {
  PassManager pm(module.getContext());
  pm.addPass(createExpandMathPass());
  pm.addPass(createCSEPass());
  // Without its instructions, a conversion to bf16 would be a library call.
  arith::ArithExpandOpsPassOptions expand;
  expand.includeBf16 = !target.bf16Dot;
  pm.addPass(arith::createArithExpandOpsPass(expand));
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}
