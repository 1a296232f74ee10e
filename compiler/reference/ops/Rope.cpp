// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Frequency tables, angles and the rotation by them.
#include "compiler/reference/ops/Rope.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace headrace::reference {

static const double pi = 3.14159265358979323846;

/// The dimension whose frequency turns `beta` times over the original context.
static double correctionDim(const RopeTable &table, double beta) {
  return double(table.dim) *
         std::log(double(table.original) / (beta * 2.0 * pi)) /
         (2.0 * std::log(table.theta));
}

std::vector<float> ropeFrequencies(const RopeTable &table) {
  std::vector<float> frequencies;
  double first = 0.0, last = 0.0;
  if (table.kind == RopeKind::Yarn) {
    first = correctionDim(table, table.high);
    last = correctionDim(table, table.low);
    if (table.truncate) {
      first = std::floor(first);
      last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, double(table.dim - 1));
    if (first == last)
      last += 0.001;
  }
  for (int64_t i = 0; i < table.dim / 2; ++i) {
    double f = std::pow(table.theta, -2.0 * double(i) / double(table.dim));
    switch (table.kind) {
    case RopeKind::Default:
      break;
    case RopeKind::Linear:
      f /= table.factor;
      break;
    case RopeKind::Llama3: {
      double wavelength = 2.0 * pi / f;
      double original = double(table.original);
      if (wavelength > original / table.low) {
        f /= table.factor;
      } else if (wavelength >= original / table.high) {
        double s =
            (original / wavelength - table.low) / (table.high - table.low);
        f = (1.0 - s) * f / table.factor + s * f;
      }
      break;
    }
    case RopeKind::Yarn: {
      double r = std::clamp((double(i) - first) / (last - first), 0.0, 1.0);
      f = r * f / table.factor + (1.0 - r) * f;
      break;
    }
    }
    frequencies.push_back(float(f));
  }
  return frequencies;
}

Rows angles(const std::vector<int32_t> &positions, const RopeTable &table) {
  std::vector<float> frequencies = ropeFrequencies(table);
  int64_t half = table.dim / 2;
  Rows result(int64_t(positions.size()), table.dim);
  for (int64_t t = 0; t < result.rows; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      float angle = float(positions[t]) * frequencies[i];
      // In double, so that the float is the rounded cosine whatever the
      // accuracy of the platform's float functions.
      float cosine = float(std::cos(double(angle)));
      float sine = float(std::sin(double(angle)));
      result.row(t)[i] = cosine * float(table.attentionFactor);
      result.row(t)[half + i] = sine * float(table.attentionFactor);
    }
  }
  return result;
}

Rows rotate(Matrix input, Matrix angles, int64_t heads) {
  assert(angles.rows == input.rows && input.width % heads == 0 &&
         angles.width <= input.width / heads);
  int64_t headDim = input.width / heads;
  int64_t half = angles.width / 2;
  Rows result(input.rows, input.width);
  std::copy(input.data, input.data + result.values.size(),
            result.values.begin());
  for (int64_t t = 0; t < input.rows; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const float *x = input.row(t) + h * headDim;
      float *y = result.row(t) + h * headDim;
      for (int64_t i = 0; i < half; ++i) {
        float cosine = angles.row(t)[i], sine = angles.row(t)[half + i];
        y[i] = x[i] * cosine - x[i + half] * sine;
        y[i + half] = x[i + half] * cosine + x[i] * sine;
      }
    }
  }
  return result;
}

Rows rope(Matrix input, const std::vector<int32_t> &positions, int64_t heads,
          const RopeTable &table) {
  return rotate(input, angles(positions, table), heads);
}

} // namespace headrace::reference
