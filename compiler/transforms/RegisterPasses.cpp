// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers the compiler's passes with headrace-opt.
#include "compiler/transforms/Passes.h"

#include "mlir/Pass/Pass.h"

void headrace::registerTransformPasses() {
  mlir::registerPass(createSplitRopePass);
  mlir::registerPass(createMergeLinearsPass);
  mlir::registerPass(createSplitExpertsPass);
  mlir::registerPass(createRoundAtProducerPass);
  mlir::registerPass(createPackWeightsPass);
  mlir::registerPass(createFormKernelsPass);
  mlir::registerPass(createCutTasksPass);
  mlir::registerPass(createJoinRoutedPass);
  mlir::registerPass(createPredictRoutingPass);
  mlir::registerPass([] { return createPlaceBuffersPass(); });
}
