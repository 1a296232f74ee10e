// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plain loops of the moe ops.
#include "compiler/reference/ops/Routing.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace headrace::reference {

/// Turns `count` values into their softmax, in place.
static void softmax(float *values, int64_t count) {
  float largest = *std::max_element(values, values + count);
  float sum = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    values[i] = std::exp(values[i] - largest);
    sum += values[i];
  }
  for (int64_t i = 0; i < count; ++i)
    values[i] /= sum;
}

Rows squash(SquashKind kind, Matrix scores) {
  Rows result(scores.rows, scores.width);
  std::copy(scores.data, scores.data + result.values.size(),
            result.values.begin());
  if (kind == SquashKind::Softmax) {
    for (int64_t t = 0; t < scores.rows; ++t)
      softmax(result.row(t), scores.width);
    return result;
  }
  for (float &x : result.values)
    x = 1.0f / (1.0f + std::exp(-x));
  return result;
}

/// The experts of one row, best first.
static std::vector<int32_t> ranked(const float *scores, int64_t count) {
  std::vector<int32_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  // A NaN goes behind every number; of equal scores, and of NaNs, the lower
  // expert stays in front.
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    bool aIsNan = std::isnan(scores[a]), bIsNan = std::isnan(scores[b]);
    if (aIsNan != bIsNan)
      return bIsNan;
    if (!aIsNan && scores[a] != scores[b])
      return scores[a] > scores[b];
    return a < b;
  });
  return order;
}

Selection select(int64_t topK, Matrix choice) {
  assert(topK >= 1 && topK <= choice.width);
  Selection selection;
  selection.expertCount = choice.width;
  selection.slots = topK;
  for (int64_t t = 0; t < choice.rows; ++t) {
    std::vector<int32_t> order = ranked(choice.row(t), choice.width);
    selection.experts.insert(selection.experts.end(), order.begin(),
                             order.begin() + topK);
  }
  return selection;
}

std::vector<float> selectionMargins(int64_t topK, Matrix choice) {
  std::vector<float> margins(size_t(choice.rows),
                             std::numeric_limits<float>::infinity());
  if (topK == choice.width)
    return margins;
  for (int64_t t = 0; t < choice.rows; ++t) {
    std::vector<int32_t> order = ranked(choice.row(t), choice.width);
    margins[t] = choice.row(t)[order[topK - 1]] - choice.row(t)[order[topK]];
  }
  return margins;
}

Routing weigh(const Selection &selection, Matrix value, WeighNorm norm,
              float eps, float p, float scale) {
  assert(value.rows == selection.rows() &&
         value.width == selection.expertCount);
  Routing routing{selection, std::vector<float>(selection.experts.size())};
  int64_t slots = selection.slots;
  for (int64_t t = 0; t < value.rows; ++t) {
    const int32_t *experts = selection.experts.data() + t * slots;
    float *weights = routing.weights.data() + t * slots;
    for (int64_t j = 0; j < slots; ++j)
      weights[j] = value.row(t)[experts[j]];
    if (norm == WeighNorm::Softmax)
      softmax(weights, slots);
    if (norm == WeighNorm::Sum || norm == WeighNorm::PNorm) {
      float sum = 0.0f;
      for (int64_t j = 0; j < slots; ++j)
        sum += norm == WeighNorm::Sum ? weights[j]
                                      : std::pow(std::fabs(weights[j]), p);
      float divisor =
          norm == WeighNorm::Sum ? sum + eps : std::pow(sum, 1.0f / p);
      bool nothing = sum == 0.0f || divisor == 0.0f;
      for (int64_t j = 0; j < slots; ++j)
        weights[j] = nothing ? 0.0f : weights[j] / divisor;
    }
    for (int64_t j = 0; j < slots; ++j)
      weights[j] *= scale;
  }
  return routing;
}

Buckets dispatch(Matrix input, const Routing &routing, Element element) {
  const Selection &selection = routing.selection;
  assert(selection.rows() == input.rows);
  Buckets buckets;
  buckets.slots = selection.slots;
  buckets.width = input.width;
  buckets.rows.resize(size_t(selection.expertCount));
  for (int64_t t = 0; t < input.rows; ++t)
    for (int64_t j = 0; j < selection.slots; ++j)
      buckets.rows[selection.experts[t * selection.slots + j]].push_back(
          int32_t(t));
  for (const std::vector<int32_t> &rows : buckets.rows) {
    Rows values(int64_t(rows.size()), input.width);
    for (int64_t i = 0; i < values.rows; ++i)
      for (int64_t c = 0; c < input.width; ++c)
        values.row(i)[c] = roundTo(element, input.row(rows[i])[c]);
    buckets.values.push_back(std::move(values));
  }
  return buckets;
}

bool bucketsMatch(const Buckets &buckets, const Routing &routing) {
  const Selection &selection = routing.selection;
  std::vector<float> nothing(size_t(selection.rows()));
  Matrix column{nothing.data(), selection.rows(), 1};
  return buckets.rows == dispatch(column, routing).rows;
}

Rows combine(const Buckets &buckets, const Routing &routing,
             const std::vector<Matrix> &base) {
  assert(bucketsMatch(buckets, routing));
  const Selection &selection = routing.selection;
  Rows result(selection.rows(), buckets.width);
  for (size_t addend = 0; addend < base.size(); ++addend)
    for (size_t i = 0; i < result.values.size(); ++i)
      result.values[i] = addend == 0 ? base[addend].data[i]
                                     : result.values[i] + base[addend].data[i];
  for (size_t e = 0; e < buckets.rows.size(); ++e) {
    for (size_t i = 0; i < buckets.rows[e].size(); ++i) {
      int64_t t = buckets.rows[e][i];
      const int32_t *experts = selection.experts.data() + t * selection.slots;
      int64_t slot =
          std::find(experts, experts + selection.slots, int32_t(e)) - experts;
      float weight = routing.weights[t * selection.slots + slot];
      const float *row = buckets.values[e].row(int64_t(i));
      for (int64_t c = 0; c < buckets.width; ++c)
        result.row(t)[c] += weight * row[c];
    }
  }
  return result;
}

} // namespace headrace::reference
