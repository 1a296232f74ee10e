// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The weights that a flow.mma reads, out of the bytes of a panel.
#ifndef HEADRACE_COMPILER_REFERENCE_TILES_PANEL_H
#define HEADRACE_COMPILER_REFERENCE_TILES_PANEL_H

#include "dialects/flow/IR/Flow.h"
#include <cstdint>
#include <vector>

namespace headrace::tiles {

/// One panel: input channels by columns.
struct Panel {
  explicit Panel(flow::MmaOp op);

  /// Reads the panel's `bytes` bytes.
  void decode(const uint8_t *from);
  /// `sums[c]` plus the product of the row `x` (`channels` values) with column
  /// c, as flow.mma says.
  void multiply(const std::vector<float> &x, std::vector<float> &sums) const;

  uint64_t channels, columns, bytes;

private:
  float weightAt(uint64_t channel, uint64_t column) const {
    return weights[channel * columns + column];
  }
  void decodeScaled(const uint8_t *from);

  uint64_t pack;
  uint64_t block; ///< Channels that are added up by themselves.
  mlir::Type element;
  mlir::RankedTensorType encoded; ///< Null where elements are the weights.
  std::vector<float> weights, scales;
};

} // namespace headrace::tiles

#endif // HEADRACE_COMPILER_REFERENCE_TILES_PANEL_H
