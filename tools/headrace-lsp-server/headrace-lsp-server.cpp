// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace-lsp-server: editor support for Headrace IR.
#include "dialects/RegisterAll.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  headrace::registerAllDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
