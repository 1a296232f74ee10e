// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Model check: a whole decoder by the reference ops.
#ifndef HEADRACE_TOOLS_GPU_SUITE_MODEL_CHECK_H
#define HEADRACE_TOOLS_GPU_SUITE_MODEL_CHECK_H

#include "compiler/reference/ops/Attention.h"
#include "compiler/reference/ops/Rope.h"
#include "compiler/reference/ops/Routing.h"
#include "tools/gpu-suite/suite_file.h"

namespace headrace::suite {

/// A synthetic checkpoint of the families llama, olmoe and gpt_oss: rms norms,
/// grouped attention over a bfloat16 cache, a gated network or a mixture of
/// experts.
class ModelReference {
public:
  Failure Open(const SuiteEntry &entry, const WeightPlan &plan);

  int64_t Vocabulary() const { return vocabulary; }

  /// Forgets the sequence.
  void Restart();
  /// Adds tokens to the sequence; logits of each, [tokens, vocabulary]. With
  /// `out_margins`, for each token how far its choices of experts are from
  /// others, the least of all layers.
  Failure Step(const std::vector<int32_t> &tokens, std::vector<float> *logits,
               std::vector<float> *out_margins);

private:
  std::vector<float> Values(const std::string &name);
  reference::Rows Product(reference::Matrix x, const std::string &name,
                          int64_t out, bool biased = false);
  reference::Rows Norm(reference::Matrix x, const std::string &name);
  reference::Rows Attend(reference::Matrix x, int64_t layer);
  reference::Rows Network(reference::Matrix x, const std::string &prefix,
                          int64_t width);
  reference::RopeTable Rope() const;
  reference::Routing Route(reference::Matrix x, const std::string &prefix,
                           std::vector<float> *margins);
  reference::Rows ClampedExpert(reference::Matrix x, const std::string &prefix,
                                int64_t expert);
  reference::Rows Experts(reference::Matrix x, const std::string &prefix,
                          std::vector<float> *margins);

  SuiteEntry entry;
  const WeightPlan *plan = nullptr;
  Failure missing; // the first tensor that the plan lacks
  int64_t layers = 0, hidden = 0, intermediate = 0, heads = 0, kv_heads = 0,
          head_dim = 0, vocabulary = 0, experts = 0, slots = 0;
  bool tied = false, query_norm = false;
  bool gpt_oss = false; // its sinks, windows, biases, rope and activation
  float eps = 0;
  double theta = 0;
  reference::KvCache cache;
  int64_t length = 0;
  std::vector<int32_t> positions, sequences; // of the step
};

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_MODEL_CHECK_H
