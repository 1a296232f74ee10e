// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A routing as the kernels behind the router read it.
#ifndef HEADRACE_COMPILER_CODEGEN_ROUTEDROWS_H
#define HEADRACE_COMPILER_CODEGEN_ROUTEDROWS_H

#include "compiler/codegen/ProgramBuilder.h"
#include <utility>

namespace headrace {

/// The rows of a routing by expert, as the router has left them.
class RoutedRows {
public:
  /// `routing` is the kernel's argument or result of type !moe.routing.
  RoutedRows(ProgramBuilder &p, mlir::Value routing);

  /// One past the last place, in the list of active experts, of this wave.
  mlir::Value end();
  /// The expert at a place of that list.
  mlir::Value expert(mlir::Value place);
  /// First row of an expert, and the number of its rows.
  std::pair<mlir::Value, mlir::Value> rowsOf(mlir::Value expert);

  mlir::Value tokens;  ///< The token of each row: i32.
  mlir::Value weights; ///< Its weight in the sum: f32.

private:
  ProgramBuilder &p;
  mlir::Value activeCount, active, offsets;
};

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_ROUTEDROWS_H
