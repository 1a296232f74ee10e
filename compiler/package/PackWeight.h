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

} // namespace headrace

#endif // HEADRACE_COMPILER_PACKAGE_PACKWEIGHT_H
