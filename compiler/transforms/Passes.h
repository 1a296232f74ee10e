// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The compiler's own passes, in the order in which a model meets them.
#ifndef HEADRACE_COMPILER_TRANSFORMS_PASSES_H
#define HEADRACE_COMPILER_TRANSFORMS_PASSES_H

#include <memory>

namespace mlir {
class Pass;
} // namespace mlir

namespace headrace {

// Phase `specialized`: products and weights take their target's form.
std::unique_ptr<mlir::Pass> createSplitRopePass();
std::unique_ptr<mlir::Pass> createMergeLinearsPass();
std::unique_ptr<mlir::Pass> createSplitExpertsPass();
std::unique_ptr<mlir::Pass> createRoundAtProducerPass();
std::unique_ptr<mlir::Pass> createPackWeightsPass();

// Phase `dataflow`: everything sits in kernels.
std::unique_ptr<mlir::Pass> createFormKernelsPass();
std::unique_ptr<mlir::Pass> createCutTasksPass();

// Phase `tiered`: every buffer has its bytes. Where a plan follows, weights
// need not fit on the level of the buffers.
std::unique_ptr<mlir::Pass> createJoinRoutedPass();
std::unique_ptr<mlir::Pass> createPredictRoutingPass();
std::unique_ptr<mlir::Pass> createPlaceBuffersPass(bool planned = false);

/// Registers all of them with headrace-opt.
void registerTransformPasses();

} // namespace headrace

#endif // HEADRACE_COMPILER_TRANSFORMS_PASSES_H
