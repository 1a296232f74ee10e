// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The frequencies of a rotary table.
#include "compiler/codegen/RopeFrequencies.h"

#include <algorithm>
#include <cmath>

using namespace headrace;

llvm::SmallVector<float> headrace::ropeFrequencies(nn::RopeAttr table) {
  int64_t dim = table.getDim(), half = dim / 2;
  double theta = table.getTheta().convertToDouble();
  float factor = float(table.getFactor().convertToDouble());
  double low = table.getLow().convertToDouble();
  double high = table.getHigh().convertToDouble();
  double original = double(table.getOriginal());
  llvm::SmallVector<float> out;
  for (int64_t i = 0; i < half; ++i) {
    float base = 1.0f / std::pow(float(theta), float(2 * i) / float(dim));
    switch (table.getKind()) {
    case nn::RopeKind::standard:
      out.push_back(base);
      break;
    case nn::RopeKind::linear:
      out.push_back(base / factor);
      break;
    case nn::RopeKind::llama3: {
      double wavelength = 2 * M_PI / base;
      if (wavelength > original / low) {
        out.push_back(base / factor);
      } else if (wavelength < original / high) {
        out.push_back(base);
      } else {
        double smooth = (original / wavelength - low) / (high - low);
        out.push_back(float((1 - smooth) * base / factor + smooth * base));
      }
      break;
    }
    case nn::RopeKind::yarn: {
      // The channel at which `beta` full turns fit into the original context.
      auto channel = [&](double beta) {
        return dim * std::log(original / (beta * 2 * M_PI)) /
               (2 * std::log(theta));
      };
      double from = channel(high), to = channel(low);
      if (table.getTruncate()) {
        from = std::floor(from);
        to = std::ceil(to);
      }
      from = std::max(from, 0.0);
      to = std::min(to, double(dim - 1));
      double span = to == from ? 0.001 : to - from;
      double ramp = std::clamp((double(i) - from) / span, 0.0, 1.0);
      out.push_back(float(base * (1 - ramp) + base / factor * ramp));
      break;
    }
    }
  }
  return out;
}
