// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Synthetic tensors: weights that are a function of name and place, so that a
// package can be carried without them.
#ifndef HEADRACE_TOOLS_GPU_SUITE_SYNTH_TENSOR_H
#define HEADRACE_TOOLS_GPU_SUITE_SYNTH_TENSOR_H

#include <cstdint>
#include <string>
#include <vector>

namespace headrace::suite {

/// How a tensor is stored: numbers, or the elements or the scales of quantized
/// ones. The elements of mxfp4 are two a byte.
enum class Stored { kBf16, kFp8, kFp8Scales, kMxfp4, kMxfp4Scales };

/// A tensor of a synthetic checkpoint, as `headrace synth --seed=0` writes it:
/// normal numbers of deviation 1 / sqrt(fan_in), or ones where that is 0.
struct SynthTensor {
  std::string name;
  std::string file;    // of the checkpoint
  uint64_t offset = 0; // in the file, of the first unit
  uint64_t units = 0;  // elements, or bytes of what is two a byte
  uint64_t fan_in = 0;
  Stored stored = Stored::kBf16;

  uint64_t UnitBytes() const {
    return stored == Stored::kBf16 ? 2 : stored == Stored::kFp8Scales ? 4 : 1;
  }
  uint64_t Bytes() const { return units * UnitBytes(); }
};

/// Writes the bytes of units [begin, begin + count).
void FillSynth(const SynthTensor &tensor, uint64_t begin, uint64_t count,
               uint8_t *out);

/// Values of a tensor that is stored in bfloat16.
std::vector<float> SynthValues(const SynthTensor &tensor, uint64_t begin,
                               uint64_t count);

/// Values of matrix number `matrix` of a stack of [out, in]: elements times
/// scales; `scales` is null where `weight` is not quantized.
std::vector<float> SynthMatrix(const SynthTensor &weight,
                               const SynthTensor *scales, uint64_t matrix,
                               int64_t out, int64_t in);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_SYNTH_TENSOR_H
