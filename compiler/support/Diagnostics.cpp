// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// MLIR's diagnostics as the one line that a tool prints.
#include "compiler/support/Diagnostics.h"

#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;
using namespace headrace;

std::string headrace::placeOf(Location location) {
  // Names and fusions hold files; an op of a file is where its text is.
  if (auto file = location->findInstanceOf<FileLineColLoc>())
    return (file.getFilename().getValue() + ":" + llvm::Twine(file.getLine()) +
            ":" + llvm::Twine(file.getColumn()) + ": ")
        .str();
  if (auto name = location->findInstanceOf<NameLoc>())
    return name.getName().str() + ": ";
  return "";
}

FirstDiagnostic::FirstDiagnostic(MLIRContext *context)
    : handler(context, [this](Diagnostic &diagnostic) {
        if (diagnostic.getSeverity() == DiagnosticSeverity::Error &&
            first.empty())
          first = placeOf(diagnostic.getLocation()) + diagnostic.str();
      }) {}

llvm::Error FirstDiagnostic::explain(llvm::Error error) {
  if (!error || first.empty())
    return error;
  llvm::consumeError(std::move(error));
  return llvm::createStringError(first);
}
