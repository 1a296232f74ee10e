// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the packing of a weight's type is carried out, piece by piece.
#ifndef HEADRACE_COMPILER_PACKAGE_WEIGHTPIECES_H
#define HEADRACE_COMPILER_PACKAGE_WEIGHTPIECES_H

#include "mlir/IR/BuiltinTypes.h"
#include <functional>

namespace headrace {

/// The pieces that one packed matrix consists of, one behind the other; none
/// for a matrix that stays as it is stored.
struct WeightPieces {
  int64_t count = 0;
  int64_t bytes = 0; ///< Of each piece.
  /// Writes piece `piece` of the stored matrix at `source` to `target`.
  std::function<void(const char *source, int64_t piece, char *target)> pack;

  explicit operator bool() const { return bool(pack); }
};

/// The pieces of a matrix of a weight [.., out, in] of `type`.
WeightPieces piecesOf(mlir::RankedTensorType type);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_WEIGHTPIECES_H
