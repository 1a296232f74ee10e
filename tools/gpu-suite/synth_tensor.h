// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Synthetic tensors: bfloat16 weights that are a function of name and place, so
// that a package can be carried without them.
#ifndef HEADRACE_TOOLS_GPU_SUITE_SYNTH_TENSOR_H
#define HEADRACE_TOOLS_GPU_SUITE_SYNTH_TENSOR_H

#include <cstdint>
#include <string>
#include <vector>

namespace headrace::suite {

/// A tensor of a synthetic checkpoint, as `headrace synth --seed=0` writes it:
/// normal numbers of deviation 1 / sqrt(fan_in), or ones where that is 0.
struct SynthTensor {
  std::string name;
  std::string file;      // of the checkpoint
  uint64_t offset = 0;   // in the file, of the first element
  uint64_t elements = 0; // two bytes each
  uint64_t fan_in = 0;
};

/// Writes the bfloat16 bits of elements [begin, begin + count).
void FillSynth(const SynthTensor &tensor, uint64_t begin, uint64_t count,
               uint16_t *out);

/// The same as floats.
std::vector<float> SynthValues(const SynthTensor &tensor, uint64_t begin,
                               uint64_t count);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_SYNTH_TENSOR_H
