// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Layer check: rows one by one, the last row first.
#include "tools/gpu-suite/layer_check.h"

#include "compiler/reference/ops/Dense.h"
#include "compiler/reference/ops/Routing.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

namespace headrace::suite {
namespace {

using reference::Element;
using reference::Matrix;
using reference::Rows;

constexpr float kEps = 1e-5f;
/// Scores nearer than this may be ordered otherwise by another order of sums.
constexpr float kLeastMargin = 1e-4f;

} // namespace

Failure LayerReference::Open(const SuiteEntry &entry, const WeightPlan &plan) {
  hidden = entry.Number("hidden");
  intermediate = entry.Number("intermediate");
  experts = entry.Number("experts");
  slots = entry.Number("slots");
  const SynthTensor *norm_at = plan.Find("norm");
  const SynthTensor *router_at = plan.Find("router");
  bool good = hidden > 0 && slots > 0 && slots <= experts && norm_at &&
              router_at && norm_at->units == static_cast<uint64_t>(hidden) &&
              router_at->units == static_cast<uint64_t>(experts * hidden);
  const auto each = static_cast<uint64_t>(experts * intermediate * hidden);
  for (auto [name, weight] : {std::pair<const char *, Weight *>{"gate", &gate},
                              {"up", &up},
                              {"down", &down}}) {
    weight->elements = plan.Find(name);
    weight->scales = plan.Find(std::string(name) + "_scales");
    if (!weight->elements) {
      good = false;
      continue;
    }
    const Stored stored = weight->elements->stored;
    good &= weight->elements->units ==
                (stored == Stored::kMxfp4 ? each / 2 : each) &&
            (stored == Stored::kBf16) == !weight->scales;
  }
  if (!good)
    return entry.Text("name") + ": its weights are not those of its sizes";
  norm = SynthValues(*norm_at, 0, norm_at->units);
  router = SynthValues(*router_at, 0, router_at->units);
  return Failure();
}

double LayerReference::ExpertBytes() const {
  double bytes = 0;
  for (const Weight &weight : {gate, up, down})
    for (const SynthTensor *tensor : {weight.elements, weight.scales})
      if (tensor)
        bytes += static_cast<double>(tensor->Bytes());
  return bytes / static_cast<double>(experts);
}

int64_t LayerReference::DistinctExperts(const std::vector<float> &x) const {
  const auto rows = static_cast<int64_t>(x.size()) / hidden;
  const Rows normed =
      reference::norm(reference::NormKind::Rms, {x.data(), rows, hidden},
                      norm.data(), nullptr, kEps);
  const Rows scores = reference::squash(
      reference::SquashKind::Softmax,
      reference::linear(normed, {router.data(), experts, hidden}, nullptr));
  const reference::Selection picked = reference::select(slots, scores);
  return static_cast<int64_t>(
      std::set<int32_t>(picked.experts.begin(), picked.experts.end()).size());
}

Failure LayerReference::Compare(const std::vector<float> &x,
                                const std::vector<float> &y, int64_t count,
                                double *out_error) const {
  const auto rows = static_cast<int64_t>(x.size()) / hidden;
  // Everything is written: the poison is no number.
  for (size_t i = 0; i < y.size(); ++i)
    if (std::isnan(y[i]))
      return "element " + std::to_string(i % static_cast<size_t>(hidden)) +
             " of row " + std::to_string(i / static_cast<size_t>(hidden)) +
             " was not written";
  double worst = -1;
  for (int64_t t = rows - 1; t >= 0 && count > 0; --t) {
    const Matrix row = {x.data() + t * hidden, 1, hidden};
    const Rows normed = reference::norm(reference::NormKind::Rms, row,
                                        norm.data(), nullptr, kEps);
    const Rows scores = reference::squash(
        reference::SquashKind::Softmax,
        reference::linear(normed, {router.data(), experts, hidden}, nullptr));
    if (reference::selectionMargins(slots, scores)[0] < kLeastMargin)
      continue;
    --count;
    const reference::Routing routing = reference::weigh(
        reference::select(slots, scores), scores, reference::WeighNorm::Sum);
    std::vector<double> sum(static_cast<size_t>(hidden), 0.0);
    for (int64_t slot = 0; slot < slots; ++slot) {
      const auto expert = static_cast<uint64_t>(
          routing.selection.experts[static_cast<size_t>(slot)]);
      auto product = [&](Matrix in, const Weight &weight, int64_t out) {
        const std::vector<float> w =
            SynthMatrix(*weight.elements, weight.scales, expert, out, in.width);
        return reference::linear(in, {w.data(), out, in.width}, nullptr,
                                 Element::BF16);
      };
      const Rows g = product(normed, gate, intermediate);
      const Rows u = product(normed, up, intermediate);
      const Rows d = product(reference::glu(reference::Activation::Silu, g, u),
                             down, hidden);
      for (size_t c = 0; c < sum.size(); ++c)
        sum[c] +=
            static_cast<double>(routing.weights[static_cast<size_t>(slot)]) *
            static_cast<double>(d.values[c]);
    }
    double difference = 0, size = 0;
    for (size_t c = 0; c < sum.size(); ++c) {
      const size_t at = static_cast<size_t>(t * hidden) + c;
      const double got =
          static_cast<double>(y[at]) - static_cast<double>(x[at]);
      difference += (got - sum[c]) * (got - sum[c]);
      size += sum[c] * sum[c];
    }
    worst = std::max(worst, std::sqrt(difference / size));
  }
  if (worst < 0)
    return "no row was routed clearly enough to be checked";
  *out_error = worst;
  return Failure();
}

} // namespace headrace::suite
