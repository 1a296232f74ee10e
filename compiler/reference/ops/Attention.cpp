// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plain loops of nn.attention over a cache that is not paged.
#include "compiler/reference/ops/Attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace headrace::reference {

void SequenceCache::truncate(int64_t length) {
  for (Layer &layer : layers) {
    if (layer.length <= length)
      continue;
    size_t width = layer.keys.size() / size_t(layer.length);
    layer.keys.resize(size_t(length) * width);
    layer.values.resize(size_t(length) * width);
    layer.length = length;
  }
}

KvCache KvCache::empty(int64_t layers, int64_t heads, int64_t headDim,
                       Element element, int64_t count) {
  KvCache cache;
  cache.layers = layers;
  cache.heads = heads;
  cache.headDim = headDim;
  cache.element = element;
  for (int64_t s = 0; s < count; ++s)
    cache.sequences.push_back(std::make_shared<SequenceCache>(layers));
  return cache;
}

std::string checkAttention(const KvCache &cache, int64_t layer, int64_t rows,
                           const std::vector<int32_t> &positions,
                           const std::vector<int32_t> &sequences) {
  if (int64_t(positions.size()) != rows)
    return "expected one position a row, but got " +
           std::to_string(positions.size()) + " for " + std::to_string(rows) +
           " rows";
  if (sequences.size() != cache.sequences.size() + 1)
    return "expected 'sequences' to hold one value more than the cache has "
           "sequences, but got " +
           std::to_string(sequences.size()) + " for " +
           std::to_string(cache.sequences.size());
  if (sequences.front() != 0 || sequences.back() != rows)
    return "expected 'sequences' to go from 0 to " + std::to_string(rows) +
           ", but got " + std::to_string(sequences.front()) + " to " +
           std::to_string(sequences.back());
  for (size_t s = 0; s + 1 < sequences.size(); ++s) {
    if (sequences[s] > sequences[s + 1])
      return "expected 'sequences' to ascend, but got " +
             std::to_string(sequences[s]) + " before " +
             std::to_string(sequences[s + 1]);
    int64_t length = cache.sequences[s]->layers[size_t(layer)].length;
    for (int32_t t = sequences[s]; t < sequences[s + 1]; ++t) {
      bool first = t == sequences[s];
      if (first ? positions[t] < 0 || positions[t] > length
                : positions[t] != positions[t - 1] + 1)
        return "expected the rows of sequence #" + std::to_string(s) +
               " to go on from at most position " + std::to_string(length) +
               ", one by one, but got position " +
               std::to_string(positions[t]) + " in row " + std::to_string(t);
    }
  }
  return "";
}

Rows attention(Matrix query, Matrix key, Matrix value, KvCache &cache,
               const std::vector<int32_t> &positions,
               const std::vector<int32_t> &sequences,
               const AttentionOptions &options) {
  assert(checkAttention(cache, options.layer, query.rows, positions, sequences)
             .empty());
  int64_t kvWidth = cache.heads * cache.headDim;
  assert(key.width == kvWidth && value.width == kvWidth &&
         query.width == options.heads * cache.headDim);
  int64_t group = options.heads / cache.heads;
  Rows result(query.rows, query.width);
  for (size_t s = 0; s + 1 < sequences.size(); ++s) {
    SequenceCache::Layer &layer =
        cache.sequences[s]->layers[size_t(options.layer)];
    for (int64_t t = sequences[s]; t < sequences[s + 1]; ++t) {
      // Going back to an earlier position forgets what lay behind it, so that
      // no stale key can be read.
      layer.length = positions[t] + 1;
      layer.keys.resize(size_t(layer.length * kvWidth));
      layer.values.resize(size_t(layer.length * kvWidth));
      for (int64_t c = 0; c < kvWidth; ++c) {
        int64_t at = positions[t] * kvWidth + c;
        layer.keys[at] = roundTo(cache.element, key.row(t)[c]);
        layer.values[at] = roundTo(cache.element, value.row(t)[c]);
      }
    }
    std::vector<float> p;
    for (int64_t t = sequences[s]; t < sequences[s + 1]; ++t) {
      int64_t end = int64_t(positions[t]) + 1;
      int64_t begin =
          options.window > 0 ? std::max<int64_t>(end - options.window, 0) : 0;
      p.resize(size_t(end - begin));
      for (int64_t h = 0; h < options.heads; ++h) {
        const float *q = query.row(t) + h * cache.headDim;
        int64_t column = h / group * cache.headDim;
        float largest = options.sinks ? options.sinks[h]
                                      : -std::numeric_limits<float>::infinity();
        for (int64_t j = begin; j < end; ++j) {
          const float *k = layer.keys.data() + j * kvWidth + column;
          float dot = 0.0f;
          for (int64_t d = 0; d < cache.headDim; ++d)
            dot += q[d] * k[d];
          p[j - begin] = options.scale * dot;
          largest = std::max(largest, p[j - begin]);
        }
        float sum = options.sinks ? std::exp(options.sinks[h] - largest) : 0.0f;
        for (float &score : p) {
          score = std::exp(score - largest);
          sum += score;
        }
        float *y = result.row(t) + h * cache.headDim;
        for (int64_t j = begin; j < end; ++j) {
          const float *v = layer.values.data() + j * kvWidth + column;
          float weight = p[j - begin] / sum;
          for (int64_t d = 0; d < cache.headDim; ++d)
            y[d] += weight * v[d];
        }
      }
    }
  }
  return result;
}

} // namespace headrace::reference
