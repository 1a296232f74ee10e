// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Brings the bytes of a weight encoded with scales into the layout its kernels
// read: elements and scales in one stream.
#ifndef HEADRACE_COMPILER_PACKAGE_PACKENCODED_H
#define HEADRACE_COMPILER_PACKAGE_PACKENCODED_H

#include "compiler/package/PackWeight.h"

namespace headrace {

/// One matrix as #tier.scaled stores it: elements, then scales.
struct EncodedMatrix {
  enum class Scale { F32, BF16, E8M0 };

  int64_t out, in;
  int64_t elementBits;   ///< 8 (e4m3) or 4 (e2m1).
  int64_t rows, columns; ///< Of a block.
  Scale scale;

  int64_t rowBytes() const { return in * elementBits / 8; }
  int64_t scaleColumns() const { return (in + columns - 1) / columns; }
  int64_t packedScaleBytes() const { return scale == Scale::E8M0 ? 1 : 4; }
  /// Writes the scale of block column `block` of row `row` as packings have it;
  /// with `nan` one that makes every value a NaN.
  void writeScale(const char *source, int64_t row, int64_t block, bool nan,
                  char *target) const;
};

/// Bytes of one panel of `matrix`; see #flow.panels. `shape` gives out, in,
/// columns, pack (2) and halves.
int64_t encodedPanelBytes(const EncodedMatrix &matrix, const PanelShape &shape);

/// Writes panel `panel` from the matrix at `source`. Columns and channels past
/// the matrix become zero.
void packEncodedPanel(const EncodedMatrix &matrix, const PanelShape &shape,
                      const char *source, int64_t panel, char *target);

/// Bytes of one block of 16 rows of `matrix`; see #flow.fragments.
int64_t encodedBlockBytes(const EncodedMatrix &matrix,
                          const FragmentShape &shape);

/// Writes row block `block` from the matrix at `source`. What lies past the
/// matrix becomes zero.
void packEncodedFragments(const EncodedMatrix &matrix,
                          const FragmentShape &shape, const char *source,
                          int64_t block, char *target);

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_PACKENCODED_H
