// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Layer check: one mixture-of-experts layer by the reference ops.
#ifndef HEADRACE_TOOLS_GPU_SUITE_LAYER_CHECK_H
#define HEADRACE_TOOLS_GPU_SUITE_LAYER_CHECK_H

#include "tools/gpu-suite/suite_file.h"

namespace headrace::suite {

/// y = x + sum over the k likeliest experts of p / sum p * expert(norm(x)),
/// with p the softmax of the router's logits, and silu(gate) * up inside.
class LayerReference {
public:
  /// The plan's tensors are norm, router, gate, up and down, and the scales of
  /// the last three, as gate_scales, where they are quantized.
  Failure Open(const SuiteEntry &entry, const WeightPlan &plan);

  int64_t Hidden() const { return hidden; }
  int64_t Slots() const { return slots; }
  int64_t Experts() const { return experts; }
  /// Bytes of one expert's weights as stored, scales included.
  double ExpertBytes() const;
  double Operations(int64_t tokens) const {
    return 6.0 * static_cast<double>(tokens * slots * hidden * intermediate);
  }

  /// How many experts the rows of `x` pick together.
  int64_t DistinctExperts(const std::vector<float> &x) const;

  /// The norm of the difference over the norm of what the experts add, the
  /// larger of up to `count` rows. Rows whose choice is a matter of rounding
  /// are passed over; an expert picked wrongly is an error of about 1 then.
  Failure Compare(const std::vector<float> &x, const std::vector<float> &y,
                  int64_t count, double *out_error) const;

private:
  int64_t hidden = 0, intermediate = 0, experts = 0, slots = 0;
  /// A stacked weight, and its scales where it is quantized.
  struct Weight {
    const SynthTensor *elements = nullptr, *scales = nullptr;
  };
  Weight gate, up, down;
  std::vector<float> norm, router;
};

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_LAYER_CHECK_H
