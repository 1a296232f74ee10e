// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Chooses the emitter of each kernel by its family.
#include "compiler/codegen/Emitters.h"

#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace headrace;

LogicalResult headrace::emitTilePrograms(ModuleOp module,
                                         const EmitOptions &options) {
  using Emitter = LogicalResult (*)(flow::KernelOp, const StepLimits &,
                                    const EmitOptions &);
  const llvm::StringMap<Emitter> emitters = {
      {"embed", emitEmbed},
      {"angles", emitAngles},
      {"linear", emitLinear},
      {"routed_up", emitRoutedUp},
      {"routed_down", emitRoutedDown},
      {"router", emitRouter},
      {"attention", emitAttention},
      {"upstream", emitUpstream},
  };
  StepLimits limits = StepLimits::of(module);
  for (auto kernel :
       llvm::make_early_inc_range(module.getOps<flow::KernelOp>())) {
    Emitter emitter = emitters.lookup(kernel.getFamily());
    if (!emitter)
      return kernel.emitOpError("is of family '")
             << kernel.getFamily() << "', which no emitter knows";
    if (failed(emitter(kernel, limits, options)))
      return failure();
  }
  return success();
}
