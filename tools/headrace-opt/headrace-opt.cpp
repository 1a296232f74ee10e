// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace-opt: parses IR, runs passes, prints IR.
#include "dialects/RegisterAll.h"
#include "mlir/Transforms/Passes.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::registerTransformsPasses();
  mlir::DialectRegistry registry;
  headrace::registerAllDialects(registry);
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Headrace IR optimizer\n", registry));
}
