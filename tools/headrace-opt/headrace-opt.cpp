// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace-opt: parses IR, runs passes, prints IR.
#include "compiler/pipelines/Phases.h"
#include "compiler/transforms/Passes.h"
#include "dialects/RegisterAll.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::registerTransformsPasses();
  headrace::registerTransformPasses();
  headrace::registerPhasePasses();
  mlir::DialectRegistry registry;
  headrace::registerAllDialects(registry);
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Headrace IR optimizer\n", registry));
}
