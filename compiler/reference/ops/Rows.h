// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The buffers that the reference ops work on: rows of float32, row major.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_ROWS_H
#define HEADRACE_COMPILER_REFERENCE_OPS_ROWS_H

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace headrace::reference {

/// A matrix somebody else owns: `rows` rows of `width` values one behind the
/// other. Values of a narrower type are held as the float each of them equals.
struct Matrix {
  const float *data = nullptr;
  int64_t rows = 0;
  int64_t width = 0;

  const float *row(int64_t index) const { return data + index * width; }
};

/// A matrix that owns its values.
struct Rows {
  int64_t rows = 0;
  int64_t width = 0;
  std::vector<float> values;

  Rows() = default;
  Rows(int64_t rows, int64_t width)
      : rows(rows), width(width), values(size_t(rows * width), 0.0f) {}
  Rows(int64_t rows, int64_t width, std::vector<float> values)
      : rows(rows), width(width), values(std::move(values)) {}

  float *row(int64_t index) { return values.data() + index * width; }
  const float *row(int64_t index) const {
    return values.data() + index * width;
  }
  operator Matrix() const { return {values.data(), rows, width}; }
};

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_ROWS_H
