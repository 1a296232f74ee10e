// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// MLIR's diagnostics as the one line that a tool prints.
#ifndef HEADRACE_COMPILER_SUPPORT_DIAGNOSTICS_H
#define HEADRACE_COMPILER_SUPPORT_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "llvm/Support/Error.h"
#include <string>

namespace headrace {

/// `file:line:column: ` or, for what was never a file, `name: `; empty where
/// the location says neither.
std::string placeOf(mlir::Location location);

/// While it lives, keeps the first error that the context reports, with its
/// place in front, and swallows all diagnostics.
class FirstDiagnostic {
public:
  explicit FirstDiagnostic(mlir::MLIRContext *context);

  /// Empty while there was none.
  const std::string &text() const { return first; }

  /// `error`, or the diagnostic that caused it, which says more.
  llvm::Error explain(llvm::Error error);

private:
  std::string first;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_SUPPORT_DIAGNOSTICS_H
