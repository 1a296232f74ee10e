// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// emit-tile-programs: the first half of phase `kernels` for a CPU, to be looked
// at.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/cpu/CpuTarget.h"
#include "compiler/pipelines/Phases.h"
#include "compiler/transforms/PassesDetail.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace headrace;

namespace {
struct EmitTileProgramsPass : public ModulePass<EmitTileProgramsPass> {
  HEADRACE_PASS("headrace-emit-tile-programs",
                "replaces each flow.kernel by the flow.program of its tasks")

  EmitTileProgramsPass() = default;
  EmitTileProgramsPass(const EmitTileProgramsPass &other) : ModulePass(other) {}

  void getDependentDialects(DialectRegistry &registry) const override {
    ModulePass::getDependentDialects(registry);
    registry
        .insert<math::MathDialect, memref::MemRefDialect, scf::SCFDialect>();
  }

  void runOnOperation() override {
    auto target = resolveCpuTarget(cpu);
    if (!target) {
      getOperation().emitError(llvm::toString(target.takeError()));
      return signalPassFailure();
    }
    if (failed(emitTilePrograms(getOperation(), emitOptionsFor(*target))))
      signalPassFailure();
  }

  Option<std::string> cpu{
      *this, "cpu",
      llvm::cl::desc("the processor whose registers tiles fill, as for "
                     "`headrace compile --cpu`"),
      llvm::cl::init("x86-64-v4")};
};
} // namespace

void headrace::registerPhasePasses() {
  registerPass([] { return std::make_unique<EmitTileProgramsPass>(); });
}
