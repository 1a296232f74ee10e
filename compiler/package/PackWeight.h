// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Brings the bytes of a weight into the layout its kernels read.
#ifndef HEADRACE_COMPILER_PACKAGE_PACKWEIGHT_H
#define HEADRACE_COMPILER_PACKAGE_PACKWEIGHT_H

#include <cstddef>
#include <cstdint>

namespace headrace {

/// A matrix [out, in] and the panels it goes into; see #flow.panels.
struct PanelShape {
  int64_t out, in;      ///< Rows and columns of the source.
  int64_t elementBytes; ///< 2 or 4.
  int64_t columns, pack, halves;

  int64_t panels() const {
    int64_t each = columns / halves;
    return (out / halves + each - 1) / each;
  }
  int64_t groups() const { return (in + pack - 1) / pack; }
  int64_t panelBytes() const {
    return groups() * columns * pack * elementBytes;
  }
};

/// Writes panel `panel` (panelBytes of them) from the row-major matrix at
/// `source`. Columns and channels past the matrix become zero.
void packPanel(const PanelShape &shape, const char *source, int64_t panel,
               char *target);

/// A matrix [out, in] of 16-bit elements and the blocks it goes into; see
/// #flow.fragments.
struct FragmentShape {
  int64_t out, in;
  int64_t halves; ///< 1 or 2.

  static constexpr int64_t kRows = 16, kColumns = 16, kLanes = 32, kPerLane = 8;

  int64_t rowBlocks() const {
    int64_t each = kRows / halves;
    return (out / halves + each - 1) / each;
  }
  int64_t columnBlocks() const { return (in + 63) / 64 * 4; }
  int64_t rowBlockBytes() const {
    return columnBlocks() * kLanes * kPerLane * 2;
  }
  /// Row and column, within a block, of element `element` of lane `lane`: the
  /// operand of mma.sync.m16n8k16 and wgmma m64k16 with 16 rows.
  static int64_t rowOf(int64_t lane, int64_t element) {
    return lane / 4 + element / 2 % 2 * 8;
  }
  static int64_t columnOf(int64_t lane, int64_t element) {
    return lane % 4 * 2 + element / 4 * 8 + element % 2;
  }
  /// Row of the matrix that row `row` of block `block` is; `out` or more where
  /// there is none.
  int64_t sourceRow(int64_t block, int64_t row) const {
    int64_t each = kRows / halves, half = out / halves;
    int64_t within = block * each + row % each;
    return within < half ? row / each * half + within : out;
  }
};

/// Writes row block `block` (rowBlockBytes of it) from the row-major matrix at
/// `source`. What lies past the matrix becomes zero.
void packFragments(const FragmentShape &shape, const char *source,
                   int64_t block, char *target);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_PACKWEIGHT_H
