// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Brings the bytes of a weight encoded with scales into the layout its kernels
// read.
#include "compiler/package/PackEncoded.h"

#include <algorithm>
#include <cstring>

using namespace headrace;

/// Input channels whose scales stand together in a panel.
static constexpr int64_t kRun = 128;

/// Kernels shift bits about and would take an e4m3 NaN for a number.
static bool isNan(uint8_t e4m3) { return (e4m3 & 0x7f) == 0x7f; }

void EncodedMatrix::writeScale(const char *source, int64_t row, int64_t block,
                               bool nan, char *target) const {
  const char *scales = source + out * rowBytes();
  int64_t index = row / rows * scaleColumns() + block;
  if (scale == Scale::E8M0) {
    *target = nan ? char(0xff) : scales[index];
    return;
  }
  uint32_t bits = 0x7fc00000;
  if (!nan && scale == Scale::F32) {
    memcpy(&bits, scales + index * 4, 4);
  } else if (!nan) {
    uint16_t upper;
    memcpy(&upper, scales + index * 2, 2);
    bits = uint32_t(upper) << 16;
  }
  memcpy(target, &bits, 4);
}

/// Whether block column `block` of a row of elements has a NaN.
static bool hasNan(const EncodedMatrix &m, const char *row, int64_t block) {
  if (m.elementBits != 8)
    return false;
  int64_t begin = block * m.columns;
  return std::any_of(row + begin, row + std::min(begin + m.columns, m.in),
                     [](char element) { return isNan(uint8_t(element)); });
}

/// Bytes of the scales of one run, and of `channels` channels of elements.
static int64_t runScaleBytes(const EncodedMatrix &m, const PanelShape &s) {
  return kRun / m.columns * s.columns * m.packedScaleBytes();
}
static int64_t groupBytes(const EncodedMatrix &m, const PanelShape &s) {
  return s.columns * s.pack * m.elementBits / 8;
}

int64_t headrace::encodedPanelBytes(const EncodedMatrix &m,
                                    const PanelShape &s) {
  return (s.in + kRun - 1) / kRun * runScaleBytes(m, s) +
         s.groups() * groupBytes(m, s);
}

void headrace::packEncodedPanel(const EncodedMatrix &m, const PanelShape &s,
                                const char *source, int64_t panel,
                                char *target) {
  int64_t each = s.columns / s.halves, half = s.out / s.halves;
  int64_t unit = s.pack * m.elementBits / 8; // Bytes of a group of a column.
  int64_t scaleBytes = m.packedScaleBytes();
  memset(target, 0, size_t(encodedPanelBytes(m, s)));
  for (int64_t c = 0; c < s.columns; ++c) {
    int64_t within = panel * each + c % each;
    if (within >= half)
      continue;
    int64_t row = c / each * half + within;
    const char *elements = source + row * m.rowBytes();
    char *run = target;
    for (int64_t k = 0; k < s.in; k += kRun) {
      int64_t channels = std::min(kRun, s.in - k);
      int64_t blocks = (channels + m.columns - 1) / m.columns;
      for (int64_t i = 0; i < blocks; ++i) {
        int64_t block = k / m.columns + i;
        m.writeScale(source, row, block, hasNan(m, elements, block),
                     run + (i * s.columns + c) * scaleBytes);
      }
      run += runScaleBytes(m, s);
      const char *from = elements + k * m.elementBits / 8;
      int64_t bytes = channels * m.elementBits / 8;
      for (int64_t at = 0; at < bytes; at += unit)
        memcpy(run + (at / unit * s.columns + c) * unit, from + at,
               size_t(std::min(unit, bytes - at)));
      run += (channels + s.pack - 1) / s.pack * groupBytes(m, s);
    }
  }
}

/// Bytes of the elements of 16 rows.
static int64_t elementBytes(const EncodedMatrix &m, const FragmentShape &s) {
  return s.columnBlocks() * s.kRows * s.kColumns * m.elementBits / 8;
}

/// Input channels of which a lane's elements are 16 bytes.
static int64_t loadChannels(const EncodedMatrix &m) {
  return 256 / m.elementBits;
}

int64_t headrace::encodedBlockBytes(const EncodedMatrix &m,
                                    const FragmentShape &s) {
  int64_t padded = s.columnBlocks() * s.kColumns;
  int64_t blocks = (padded + m.columns - 1) / m.columns;
  return elementBytes(m, s) + blocks * s.kRows * m.packedScaleBytes();
}

void headrace::packEncodedFragments(const EncodedMatrix &m,
                                    const FragmentShape &s, const char *source,
                                    int64_t block, char *target) {
  memset(target, 0, size_t(encodedBlockBytes(m, s)));
  auto element = [&](int64_t row, int64_t column) -> uint32_t {
    if (row >= s.out || column >= s.in)
      return 0;
    const char *elements = source + row * m.rowBytes();
    if (m.elementBits == 8) {
      uint8_t value = uint8_t(elements[column]);
      return isNan(value) ? 0 : value;
    }
    return uint8_t(elements[column / 2]) >> (column % 2 * 4) & 0xf;
  };
  // A lane's elements of neighbouring blocks; see #flow.fragments.
  int64_t perWord = 32 / m.elementBits, perLoad = loadChannels(m) / s.kColumns;
  char *to = target;
  for (int64_t load = 0; load < s.columnBlocks() / perLoad; ++load)
    for (int64_t lane = 0; lane < s.kLanes; ++lane)
      for (int64_t word = 0; word < 4; ++word, to += 4) {
        uint32_t bits = 0;
        for (int64_t i = 0; i < perWord; ++i) {
          int64_t number = word * perWord + i;
          int64_t e = number % s.kPerLane;
          int64_t row = s.sourceRow(block, s.rowOf(lane, e));
          int64_t column = (load * perLoad + number / s.kPerLane) * s.kColumns +
                           s.columnOf(lane, e);
          int64_t place = i / 2 + i % 2 * (perWord / 2);
          bits |= element(row, column) << (place * m.elementBits);
        }
        memcpy(to, &bits, 4);
      }
  char *scales = target + elementBytes(m, s);
  int64_t together = std::max(int64_t(1), loadChannels(m) / m.columns);
  for (int64_t i = 0; i < m.scaleColumns(); ++i)
    for (int64_t r = 0; r < s.kRows; ++r)
      if (int64_t row = s.sourceRow(block, r); row < s.out) {
        int64_t pair = (i / together * 8 + r % 8) * together + i % together;
        m.writeScale(source, row, i, hasNan(m, source + row * m.rowBytes(), i),
                     scales + (pair * 2 + r / 8) * m.packedScaleBytes());
      }
}
