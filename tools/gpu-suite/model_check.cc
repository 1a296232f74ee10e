// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Model check: the decoder, block by block.
#include "tools/gpu-suite/model_check.h"

#include "compiler/reference/ops/Dense.h"

#include <algorithm>
#include <cmath>

namespace headrace::suite {

using reference::Element;
using reference::Matrix;
using reference::Rows;

Failure ModelReference::Open(const SuiteEntry &described,
                             const WeightPlan &weights) {
  entry = described;
  plan = &weights;
  layers = entry.Number("layers");
  hidden = entry.Number("hidden");
  intermediate = entry.Number("intermediate");
  heads = entry.Number("heads");
  kv_heads = entry.Number("kv_heads");
  head_dim = entry.Number("head_dim");
  vocabulary = entry.Number("vocabulary");
  experts = entry.Number("experts");
  slots = entry.Number("slots");
  tied = entry.Number("tied") != 0;
  query_norm = entry.Number("query_norm") != 0;
  gpt_oss = entry.Number("gpt_oss") != 0;
  eps = static_cast<float>(entry.Real("eps", 1e-5));
  theta = entry.Real("theta", 1e4);
  if (layers < 1 || hidden < 1 || heads < 1 || kv_heads < 1 || head_dim < 1 ||
      vocabulary < 1)
    return entry.Text("name") + ": sizes are missing";
  Restart();
  return Failure();
}

void ModelReference::Restart() {
  cache =
      reference::KvCache::empty(layers, kv_heads, head_dim, Element::BF16, 1);
  length = 0;
}

std::vector<float> ModelReference::Values(const std::string &name) {
  const SynthTensor *tensor = plan->Find(name);
  if (!tensor) {
    if (missing.empty())
      missing = entry.Text("name") + ": no tensor '" + name + "'";
    return std::vector<float>();
  }
  return SynthValues(*tensor, 0, tensor->units);
}

/// Inputs of a product are rounded once, to the weights' type.
Rows ModelReference::Product(Matrix x, const std::string &name, int64_t out,
                             bool biased) {
  const SynthTensor *scales = plan->Find(name + ".weight_scale_inv");
  const SynthTensor *elements = plan->Find(name + ".weight");
  const std::vector<float> weight =
      scales && elements ? SynthMatrix(*elements, scales, 0, out, x.width)
                         : Values(name + ".weight");
  const std::vector<float> bias =
      biased ? Values(name + ".bias") : std::vector<float>();
  if (weight.size() != static_cast<size_t>(out * x.width) ||
      bias.size() != static_cast<size_t>(biased ? out : 0)) {
    if (missing.empty())
      missing = entry.Text("name") + ": '" + name + "' has another size";
    return Rows(x.rows, out);
  }
  return reference::linear(x, {weight.data(), out, x.width},
                           biased ? bias.data() : nullptr, Element::BF16);
}

Rows ModelReference::Norm(Matrix x, const std::string &name) {
  const std::vector<float> weight = Values(name + ".weight");
  if (weight.size() != static_cast<size_t>(x.width)) {
    if (missing.empty())
      missing = entry.Text("name") + ": '" + name + "' has another size";
    return Rows(x.rows, x.width);
  }
  return reference::norm(reference::NormKind::Rms, x, weight.data(), nullptr,
                         eps);
}

static void AddTo(Rows *sum, const Rows &addend) {
  for (size_t i = 0; i < sum->values.size(); ++i)
    sum->values[i] += addend.values[i];
}

reference::RopeTable ModelReference::Rope() const {
  reference::RopeTable rope;
  rope.dim = head_dim;
  rope.theta = theta;
  if (gpt_oss) {
    rope.kind = reference::RopeKind::Yarn;
    rope.factor = entry.Real("rope_factor", 1);
    rope.original = entry.Number("rope_original", 1);
    rope.high = 32;
    rope.low = 1;
    rope.attentionFactor = 0.1 * std::log(rope.factor) + 1;
    rope.truncate = false;
  }
  return rope;
}

Rows ModelReference::Attend(Matrix x, int64_t layer) {
  const std::string prefix =
      "model.layers." + std::to_string(layer) + ".self_attn.";
  Rows q = Product(x, prefix + "q_proj", heads * head_dim, gpt_oss);
  Rows k = Product(x, prefix + "k_proj", kv_heads * head_dim, gpt_oss);
  const Rows v = Product(x, prefix + "v_proj", kv_heads * head_dim, gpt_oss);
  if (query_norm) {
    q = Norm(q, prefix + "q_norm");
    k = Norm(k, prefix + "k_norm");
  }
  const reference::RopeTable rope = Rope();
  q = reference::rope(q, positions, heads, rope);
  k = reference::rope(k, positions, kv_heads, rope);
  reference::AttentionOptions options;
  options.layer = layer;
  options.heads = heads;
  options.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  std::vector<float> sinks;
  if (gpt_oss) {
    sinks = Values(prefix + "sinks");
    sinks.resize(static_cast<size_t>(heads));
    options.sinks = sinks.data();
    options.window = layer % 2 ? 0 : entry.Number("window");
  }
  const Rows mixed =
      reference::attention(q, k, v, cache, positions, sequences, options);
  return Product(mixed, prefix + "o_proj", hidden, gpt_oss);
}

Rows ModelReference::Network(Matrix x, const std::string &prefix,
                             int64_t width) {
  const Rows gate = Product(x, prefix + ".gate_proj", width);
  const Rows up = Product(x, prefix + ".up_proj", width);
  return Product(reference::glu(reference::Activation::Silu, gate, up),
                 prefix + ".down_proj", hidden);
}

reference::Routing ModelReference::Route(Matrix x, const std::string &prefix,
                                         std::vector<float> *margins) {
  const std::string name = prefix + (gpt_oss ? ".router" : ".gate");
  std::vector<float> router = Values(name + ".weight");
  const std::vector<float> bias =
      gpt_oss ? Values(name + ".bias") : std::vector<float>();
  if (router.size() != static_cast<size_t>(experts * hidden) ||
      bias.size() != static_cast<size_t>(gpt_oss ? experts : 0)) {
    if (missing.empty())
      missing = entry.Text("name") + ": no router " + prefix;
    router.assign(static_cast<size_t>(experts * hidden), 0.0f);
  }
  Rows scores = reference::linear(x, {router.data(), experts, hidden},
                                  bias.empty() ? nullptr : bias.data());
  if (!gpt_oss)
    scores = reference::squash(reference::SquashKind::Softmax, scores);
  const std::vector<float> found = reference::selectionMargins(slots, scores);
  for (size_t i = 0; i < found.size(); ++i)
    (*margins)[i] = std::min((*margins)[i], found[i]);
  return reference::weigh(reference::select(slots, scores), scores,
                          gpt_oss ? reference::WeighNorm::Softmax
                                  : reference::WeighNorm::None);
}

/// All experts in one tensor, [experts, in, out], gate and up in turn; in mxfp4
/// they are [experts, out, in].
Rows ModelReference::ClampedExpert(Matrix x, const std::string &prefix,
                                   int64_t expert) {
  const auto e = static_cast<uint64_t>(expert);
  // The rows of the transposed matrix: `out` of them, from `first` on, every
  // `step`-th column.
  auto product = [&](Matrix in, const std::string &name, int64_t out,
                     int64_t first, int64_t step) {
    const int64_t columns = out * step;
    const auto elements = static_cast<uint64_t>(in.width * columns);
    const std::string full = prefix + ".experts." + name;
    const SynthTensor *blocks = plan->Find(full + "_blocks");
    const SynthTensor *scales = plan->Find(full + "_scales");
    const SynthTensor *tensor = blocks ? blocks : plan->Find(full);
    const SynthTensor *biases = plan->Find(full + "_bias");
    const uint64_t units = blocks ? elements / 2 : elements;
    if (!tensor || !biases || (blocks && !scales) ||
        tensor->units != units * static_cast<uint64_t>(experts)) {
      if (missing.empty())
        missing =
            entry.Text("name") + ": no tensor '" + name + "' of " + prefix;
      return Rows(in.rows, out);
    }
    const std::vector<float> stored =
        SynthMatrix(*tensor, blocks ? scales : nullptr, e, columns, in.width);
    const std::vector<float> all =
        SynthValues(*biases, e * static_cast<uint64_t>(columns),
                    static_cast<uint64_t>(columns));
    Rows weight(out, in.width);
    std::vector<float> bias;
    for (int64_t row = 0; row < out; ++row) {
      const int64_t column = first + row * step;
      bias.push_back(all[static_cast<size_t>(column)]);
      for (int64_t k = 0; k < in.width; ++k)
        weight.row(row)[k] = stored[static_cast<size_t>(
            blocks ? column * in.width + k : k * columns + column)];
    }
    return reference::linear(in, weight, bias.data(), Element::BF16);
  };
  const Rows gate = product(x, "gate_up_proj", intermediate, 0, 2);
  const Rows up = product(x, "gate_up_proj", intermediate, 1, 2);
  reference::GluOptions options;
  options.alpha = 1.702f;
  options.limit = static_cast<float>(entry.Real("limit", 7));
  options.offset = 1;
  return product(reference::glu(reference::Activation::Silu, gate, up, options),
                 "down_proj", hidden, 0, 1);
}

Rows ModelReference::Experts(Matrix x, const std::string &prefix,
                             std::vector<float> *margins) {
  const reference::Routing routing = Route(x, prefix, margins);
  Rows sum(x.rows, hidden);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t slot = 0; slot < slots && missing.empty(); ++slot) {
      const auto at = static_cast<size_t>(t * slots + slot);
      const int64_t expert = routing.selection.experts[at];
      const Matrix row = {x.row(t), 1, hidden};
      const Rows one =
          gpt_oss ? ClampedExpert(row, prefix, expert)
                  : Network(row, prefix + ".experts." + std::to_string(expert),
                            intermediate);
      for (int64_t c = 0; c < hidden; ++c)
        sum.row(t)[c] +=
            routing.weights[at] * one.values[static_cast<size_t>(c)];
    }
  return sum;
}

Failure ModelReference::Step(const std::vector<int32_t> &tokens,
                             std::vector<float> *logits,
                             std::vector<float> *out_margins) {
  const auto count = static_cast<int64_t>(tokens.size());
  positions.clear();
  for (int64_t i = 0; i < count; ++i)
    positions.push_back(static_cast<int32_t>(length + i));
  sequences = {0, static_cast<int32_t>(count)};
  out_margins->assign(tokens.size(), INFINITY);

  const std::vector<float> table = Values("model.embed_tokens.weight");
  if (!missing.empty())
    return missing;
  Rows x = reference::embed(tokens, {table.data(), vocabulary, hidden});
  for (int64_t layer = 0; layer < layers && missing.empty(); ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    AddTo(&x, Attend(Norm(x, prefix + ".input_layernorm"), layer));
    const Rows normed = Norm(x, prefix + ".post_attention_layernorm");
    AddTo(&x, experts ? Experts(normed, prefix + ".mlp", out_margins)
                      : Network(normed, prefix + ".mlp", intermediate));
  }
  const Rows last =
      Product(Norm(x, "model.norm"), tied ? "model.embed_tokens" : "lm_head",
              vocabulary);
  if (!missing.empty())
    return missing;
  length += count;
  *logits = last.values;
  return Failure();
}

} // namespace headrace::suite
