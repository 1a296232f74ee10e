// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plain loops of nn.embed, nn.linear, nn.norm and the elementwise nn ops.
#include "compiler/reference/ops/Dense.h"

#include <cassert>
#include <cmath>

namespace headrace::reference {

Rows embed(const std::vector<int32_t> &ids, Matrix table) {
  Rows result(int64_t(ids.size()), table.width);
  for (int64_t t = 0; t < result.rows; ++t) {
    assert(ids[t] >= 0 && ids[t] < table.rows && "id outside the table");
    for (int64_t c = 0; c < table.width; ++c)
      result.row(t)[c] = table.row(ids[t])[c];
  }
  return result;
}

Rows linear(Matrix input, Matrix weight, const float *bias, Element inputs) {
  assert(input.width == weight.width && "input and weight disagree in width");
  Rows result(input.rows, weight.rows);
  std::vector<float> rounded(size_t(input.width));
  for (int64_t t = 0; t < input.rows; ++t) {
    for (int64_t k = 0; k < input.width; ++k)
      rounded[k] = roundTo(inputs, input.row(t)[k]);
    // Eight sums at a time, because one float addition must wait for the one
    // before it; each sum by itself still runs in ascending order.
    constexpr int64_t atOnce = 8;
    int64_t n = 0;
    for (; n + atOnce <= weight.rows; n += atOnce) {
      float sums[atOnce] = {};
      const float *first = weight.row(n);
      for (int64_t k = 0; k < input.width; ++k)
        for (int64_t i = 0; i < atOnce; ++i)
          sums[i] += rounded[k] * first[i * weight.width + k];
      for (int64_t i = 0; i < atOnce; ++i)
        result.row(t)[n + i] = sums[i];
    }
    for (; n < weight.rows; ++n) {
      float sum = 0.0f;
      for (int64_t k = 0; k < input.width; ++k)
        sum += rounded[k] * weight.row(n)[k];
      result.row(t)[n] = sum;
    }
    if (bias)
      for (n = 0; n < weight.rows; ++n)
        result.row(t)[n] += bias[n];
  }
  return result;
}

Rows norm(NormKind kind, Matrix input, const float *weight, const float *bias,
          float eps, int64_t groups) {
  assert(input.width % groups == 0 && "groups must divide the row");
  int64_t n = input.width / groups;
  Rows result(input.rows, input.width);
  for (int64_t part = 0; part < input.rows * groups; ++part) {
    const float *x = input.data + part * n;
    float *y = result.values.data() + part * n;
    float mean = 0.0f;
    if (kind == NormKind::Layer) {
      for (int64_t c = 0; c < n; ++c)
        mean += x[c];
      mean /= float(n);
    }
    float squares = 0.0f;
    for (int64_t c = 0; c < n; ++c)
      squares += (x[c] - mean) * (x[c] - mean);
    if (kind != NormKind::L2)
      squares /= float(n);
    float root = std::sqrt(squares + eps);
    for (int64_t c = 0; c < n; ++c) {
      y[c] = (x[c] - mean) / root;
      if (weight)
        y[c] *= weight[c];
      if (bias)
        y[c] += bias[c];
    }
  }
  return result;
}

float activate(Activation kind, float x) {
  switch (kind) {
  case Activation::Silu:
    return x / (1.0f + std::exp(-x));
  case Activation::Gelu:
    return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
  case Activation::GeluTanh:
    return 0.5f * x *
           (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
  case Activation::Relu:
    return x <= 0.0f ? 0.0f : x;
  case Activation::Sigmoid:
    return 1.0f / (1.0f + std::exp(-x));
  }
  return x;
}

Rows act(Activation kind, Matrix input) {
  Rows result(input.rows, input.width);
  for (size_t i = 0; i < result.values.size(); ++i)
    result.values[i] = activate(kind, input.data[i]);
  return result;
}

Rows glu(Activation kind, Matrix gate, Matrix up, const GluOptions &options) {
  assert(gate.rows == up.rows && gate.width == up.width);
  Rows result(gate.rows, gate.width);
  for (size_t i = 0; i < result.values.size(); ++i) {
    // Comparisons are false for a NaN, which therefore stays.
    float g = gate.data[i] > options.limit ? options.limit : gate.data[i];
    float u = up.data[i] > options.limit    ? options.limit
              : up.data[i] < -options.limit ? -options.limit
                                            : up.data[i];
    float active = kind == Activation::Silu
                       ? g / (1.0f + std::exp(-options.alpha * g))
                       : activate(kind, g);
    result.values[i] = active * (u + options.offset);
  }
  return result;
}

Rows clamp(Matrix input, float low, float high) {
  Rows result(input.rows, input.width);
  for (size_t i = 0; i < result.values.size(); ++i) {
    float x = input.data[i];
    // Both comparisons are false for a NaN, which therefore stays.
    result.values[i] = x < low ? low : x > high ? high : x;
  }
  return result;
}

Rows scale(Matrix input, Matrix factor) {
  assert(input.rows == factor.rows && factor.width == 1);
  Rows result(input.rows, input.width);
  for (int64_t t = 0; t < input.rows; ++t)
    for (int64_t c = 0; c < input.width; ++c)
      result.row(t)[c] = input.row(t)[c] * factor.row(t)[0];
  return result;
}

} // namespace headrace::reference
