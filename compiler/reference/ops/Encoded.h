// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weights encoded in few bits with a scale for each block, decoded bit by bit,
// and their product.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_ENCODED_H
#define HEADRACE_COMPILER_REFERENCE_OPS_ENCODED_H

#include "compiler/reference/ops/Element.h"
#include "compiler/reference/ops/Rows.h"

namespace headrace::reference {

/// OCP 8-bit floats: 4 bits of exponent of bias 7 and 3 of fraction, no
/// infinities, 0x7f and 0xff are NaN. Open Compute Project, "OFP8", 2023.
float e4m3ToFloat(uint8_t bits);

/// The lower four bits: sign, 2 bits of exponent of bias 1, 1 of fraction, all
/// of them numbers. Open Compute Project, "Microscaling formats", 2023.
float e2m1ToFloat(uint8_t bits);

/// 2^(bits - 127); 255 is NaN. Ibid.
float e8m0ToFloat(uint8_t bits);

/// The nearest of those numbers, ties to the even one; too large becomes the
/// largest. A NaN stays one in e4m3 and becomes the largest in e2m1.
uint8_t floatToE4M3(float value);
uint8_t floatToE2M1(float value);

/// How elements and scales are stored.
enum class Encoding { E4M3, E2M1 };
enum class ScaleType { F32, BF16, E8M0 };

/// Bytes of `count` elements, of which there are whole bytes.
int64_t elementBytes(Encoding encoding, int64_t count);
/// `count` elements; those of 4 bits stand two in a byte, the first in the
/// lower half.
std::vector<float> decode(Encoding encoding, const uint8_t *bytes,
                          size_t count);
std::vector<float> decode(ScaleType type, const uint8_t *bytes, size_t count);

/// The scales of a matrix: block (i, j) of `rows` by `columns` elements has
/// `values[i * ceil(width / columns) + j]`.
struct BlockScales {
  const float *values;
  int64_t rows, columns;
};

/// `linear` of Dense.h for a weight whose values are `elements` times scales:
/// products of elements are summed by block of input channels, k ascending, and
/// these sums times their scales, blocks ascending; the bias is added last.
Rows scaledLinear(Matrix input, Matrix elements, BlockScales scales,
                  const float *bias, Element inputs);

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_ENCODED_H
