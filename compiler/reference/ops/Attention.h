// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference of nn.attention and its key-value cache.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_ATTENTION_H
#define HEADRACE_COMPILER_REFERENCE_OPS_ATTENTION_H

#include "compiler/reference/ops/Element.h"
#include "compiler/reference/ops/Rows.h"

#include <memory>
#include <string>

namespace headrace::reference {

/// Keys and values of one sequence, for each layer those of positions 0, 1, ...
/// one behind the other. Not paged: a position's place is its number.
struct SequenceCache {
  struct Layer {
    int64_t length = 0;
    std::vector<float> keys;
    std::vector<float> values;
  };
  std::vector<Layer> layers;

  explicit SequenceCache(int64_t layers) : layers(size_t(layers)) {}

  /// Forgets everything from position `length` on.
  void truncate(int64_t length);
};

/// The cache as one step sees it: the sequences in the order of the step.
struct KvCache {
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t headDim = 0;
  Element element = Element::F32;
  std::vector<std::shared_ptr<SequenceCache>> sequences;

  /// A cache of `count` new sequences.
  static KvCache empty(int64_t layers, int64_t heads, int64_t headDim,
                       Element element, int64_t count);
};

struct AttentionOptions {
  int64_t layer = 0;
  int64_t heads = 1;
  float scale = 1.0f;
  /// Positions seen, the row's own included; 0: all.
  int64_t window = 0;
  /// One more score for each head, without a value; may be null.
  const float *sinks = nullptr;
};

/// Why `attention` would not be defined on these ids, or an empty string: rows
/// cut into as many sequences as the cache has, positions that count up inside
/// a sequence and start at most one after its last cached position.
std::string checkAttention(const KvCache &cache, int64_t layer, int64_t rows,
                           const std::vector<int32_t> &positions,
                           const std::vector<int32_t> &sequences);

/// Writes keys and values into the cache, rounded to its element, then for row
/// t of sequence s at position p and each head h (KV head g = h / (heads /
/// kv heads)):
///
///   s_j = scale * sum_d q[t, h, d] * k[j, g, d],  j <= p (and j > p - window)
///   p_j = e^(s_j - max s) / sum_j e^(s_j - max s)
///   result[t, h, :] = sum_j p_j * v[j, g, :]
///
/// where max s and the sum in p_j take in the head's sink, if there are sinks;
/// all in float32, every sum ascending; neither q nor p_j is rounded.
/// `sequences[s]` is the first row of sequence s, its last value the number of
/// rows. Source: Vaswani et al. 2017, arXiv 1706.03762; grouped heads: Ainslie
/// et al. 2023, arXiv 2305.13245; window: Jiang et al. 2023, arXiv 2310.06825;
/// sinks: Agarwal et al. 2025 (gpt-oss), arXiv 2508.10925, as in transformers'
/// modeling_gpt_oss.py.
Rows attention(Matrix query, Matrix key, Matrix value, KvCache &cache,
               const std::vector<int32_t> &positions,
               const std::vector<int32_t> &sequences,
               const AttentionOptions &options);

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_ATTENTION_H
