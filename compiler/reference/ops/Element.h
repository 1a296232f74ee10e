// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Float element types and exact conversions between them.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_ELEMENT_H
#define HEADRACE_COMPILER_REFERENCE_OPS_ELEMENT_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headrace::reference {

enum class Element { F32, BF16, F16 };

/// Bytes of one stored value.
int64_t byteWidth(Element element);

/// IEEE 754 binary32 to bfloat16 (8 exponent bits, 7 of fraction) and to
/// binary16, round to nearest, ties to even; too large becomes infinity. A NaN
/// stays one: its sign and upper payload bits are kept and it becomes quiet.
uint16_t floatToBf16(float value);
uint16_t floatToF16(float value);

/// The exact value of a bfloat16 or binary16.
float bf16ToFloat(uint16_t bits);
float f16ToFloat(uint16_t bits);

/// The value of `element` nearest to `value`, as a float.
float roundTo(Element element, float value);

/// `count` little-endian values of `element` as floats.
std::vector<float> decode(Element element, const uint8_t *bytes, size_t count);

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_ELEMENT_H
