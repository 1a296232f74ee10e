// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sampler: from a row of logits to the next token.
#ifndef HEADRACE_RUNTIME_SRC_SAMPLER_H
#define HEADRACE_RUNTIME_SRC_SAMPLER_H

#include "runtime/src/status.h"

namespace headrace::runtime {

/// A token that may be drawn.
struct Candidate {
  double weight; // relative probability
  int32_t token;
};

struct SamplerOptions {
  float temperature = 0; // 0: greedy
  float top_p = 1;
  uint64_t seed = 0;
};

/// The number in [0, 1) that seed and position determine.
double UniformAt(uint64_t seed, uint64_t position);

/// Returns the largest logit's token, ties to the lower id, or -1 when no logit
/// is a number.
int32_t ArgMax(const float *logits, uint32_t count);

/// Picks the token for `position`. `candidates` is working memory kept between
/// calls.
Status Sample(const Allocator &allocator, const float *logits, uint32_t count,
              const SamplerOptions &options, uint64_t position,
              Vector<Candidate> *candidates, int32_t *out_token);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_SAMPLER_H
