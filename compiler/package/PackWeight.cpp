// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Brings the bytes of a weight into the layout its kernels read.
#include "compiler/package/PackWeight.h"

#include <cstring>

using namespace headrace;

/// One column of a panel: `pack` neighbouring values of `row` are one Unit.
template <typename Unit>
static void packColumn(const char *row, int64_t whole, int64_t columns,
                       char *target) {
  for (int64_t g = 0; g < whole; ++g) {
    Unit unit;
    memcpy(&unit, row + g * int64_t(sizeof(Unit)), sizeof(Unit));
    memcpy(target + g * columns * int64_t(sizeof(Unit)), &unit, sizeof(Unit));
  }
}

void headrace::packPanel(const PanelShape &s, const char *source, int64_t panel,
                         char *target) {
  int64_t unitBytes = s.pack * s.elementBytes;
  int64_t each = s.columns / s.halves, half = s.out / s.halves;
  int64_t rowBytes = s.in * s.elementBytes;
  int64_t whole = s.in / s.pack, rest = s.in % s.pack;
  memset(target, 0, size_t(s.panelBytes()));
  for (int64_t c = 0; c < s.columns; ++c) {
    int64_t within = panel * each + c % each;
    if (within >= half)
      continue;
    const char *row = source + (c / each * half + within) * rowBytes;
    char *column = target + c * unitBytes;
    if (unitBytes == 4)
      packColumn<uint32_t>(row, whole, s.columns, column);
    else if (unitBytes == 2)
      packColumn<uint16_t>(row, whole, s.columns, column);
    else
      packColumn<uint64_t>(row, whole, s.columns, column);
    if (rest)
      memcpy(column + whole * s.columns * unitBytes, row + whole * unitBytes,
             size_t(rest * s.elementBytes));
  }
}

void headrace::packFragments(const FragmentShape &s, const char *source,
                             int64_t block, char *target) {
  for (int64_t c = 0; c < s.columnBlocks(); ++c)
    for (int64_t lane = 0; lane < s.kLanes; ++lane)
      for (int64_t e = 0; e < s.kPerLane; ++e, target += 2) {
        int64_t row = s.sourceRow(block, s.rowOf(lane, e));
        int64_t column = c * s.kColumns + s.columnOf(lane, e);
        uint16_t value = 0;
        if (row < s.out && column < s.in)
          memcpy(&value, source + (row * s.in + column) * 2, 2);
        memcpy(target, &value, 2);
      }
}
