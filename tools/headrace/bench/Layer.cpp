// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One mixture-of-experts layer.
#include "tools/headrace/bench/Layer.h"

#include "compiler/reference/ops/Dense.h"
#include "tools/headrace/Progress.h"
#include "tools/headrace/bench/Random.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cmath>
#include <cstdio>

using namespace headrace;
using namespace headrace::tools::bench;
using reference::Element;
using reference::Matrix;
using reference::Rows;

static constexpr float kEps = 1e-5f;
static constexpr reference::GluOptions kClamped = {1.702f, 7.0f, 1.0f};
/// Scores nearer than this may be ordered otherwise by another order of sums.
static constexpr float kLeastMargin = 1e-4f;

static const LayerShape kShapes[] = {
    {"olmoe", 2048, 1024, 64, 8, false, ""},
    {"qwen3-30b-a3b", 2048, 768, 128, 8, false, ""},
    {"mixtral", 4096, 14336, 8, 2, false, ""},
    {"gpt-oss-20b", 2880, 2880, 32, 4, true,
     "gpt-oss-20b: bfloat16 weights; the model's have 4 bits"}};

std::string LayerShape::knownNames() {
  std::string names;
  for (const LayerShape &shape : kShapes)
    names += (names.empty() ? "" : ", ") + shape.name;
  return names;
}

std::optional<LayerShape> LayerShape::parse(const std::string &text) {
  for (const LayerShape &shape : kShapes)
    if (shape.name == text)
      return shape;
  LayerShape shape;
  shape.name = text;
  for (llvm::StringRef rest = text; !rest.empty();) {
    auto [part, behind] = rest.split(',');
    auto [key, value] = part.split('=');
    int64_t *field = key == "H"   ? &shape.hidden
                     : key == "I" ? &shape.intermediate
                     : key == "E" ? &shape.experts
                     : key == "k" ? &shape.slots
                                  : nullptr;
    if (!field || *field || value.getAsInteger(10, *field) || *field < 1 ||
        *field > 1 << 20)
      return std::nullopt;
    rest = behind;
  }
  if (!shape.hidden || !shape.intermediate || !shape.experts || !shape.slots ||
      shape.slots > shape.experts)
    return std::nullopt;
  return shape;
}

Layer::Layer(LayerShape shape) : form(std::move(shape)) {
  int64_t h = form.hidden, i = form.intermediate, e = form.experts;
  auto place = [&](Weight weight, std::vector<int64_t> dimensions,
                   float fanIn) {
    Place &at = places[weight];
    at.offset = bytes;
    at.elements = 1;
    for (int64_t d : dimensions)
      at.elements *= uint64_t(d);
    at.deviation = fanIn > 0 ? 1 / std::sqrt(fanIn) : 0;
    at.dimensions = std::move(dimensions);
    bytes = llvm::alignTo(bytes + at.elements * 2, 64);
  };
  place(kNorm, {h}, 0);
  place(kRouter, {e, h}, float(h));
  place(kGate, {e, i, h}, float(h));
  place(kUp, {e, i, h}, float(h));
  place(kDown, {e, h, i}, float(i));
  if (form.biased) {
    place(kRouterBias, {e}, float(h));
    place(kGateBias, {e, i}, float(h));
    place(kUpBias, {e, i}, float(h));
    place(kDownBias, {e, h}, float(i));
  }
  place(kWake, {kWakeOut, kWakeIn}, float(kWakeIn));
}

llvm::Error Layer::writeWeights(const std::string &path, uint64_t seed) {
  auto failed = [&](std::error_code code) {
    return llvm::createStringError("%s: cannot be written: %s", path.c_str(),
                                   code.message().c_str());
  };
  int descriptor = -1;
  if (std::error_code code = llvm::sys::fs::openFileForReadWrite(
          path, descriptor, llvm::sys::fs::CD_CreateNew,
          llvm::sys::fs::OF_None))
    return failed(code);
  llvm::raw_fd_ostream file(descriptor, /*shouldClose=*/true,
                            /*unbuffered=*/true);
  Progress progress("writing weights");
  Random random(seed);
  std::vector<uint16_t> block;
  constexpr size_t kBlock = size_t(2) << 20;
  uint64_t done = 0;
  for (const Place &at : places) {
    if (!at.elements)
      continue;
    file.write_zeros(unsigned(at.offset - done));
    for (uint64_t left = at.elements; left;) {
      block.resize(size_t(std::min<uint64_t>(left, kBlock)));
      for (uint16_t &value : block)
        value = reference::floatToBf16(
            at.deviation > 0 ? random.normal() * at.deviation : 1.0f);
      file.write(reinterpret_cast<const char *>(block.data()),
                 block.size() * 2);
      left -= block.size();
      progress.update(at.offset + (at.elements - left) * 2, bytes);
    }
    done = at.offset + at.elements * 2;
  }
  file.write_zeros(unsigned(bytes - done));
  if (file.has_error()) {
    std::error_code code = file.error();
    file.clear_error();
    return failed(code);
  }
  std::error_code code;
  mapping = std::make_unique<llvm::sys::fs::mapped_file_region>(
      llvm::sys::fs::convertFDToNativeFile(descriptor),
      llvm::sys::fs::mapped_file_region::readonly, bytes, 0, code);
  if (code)
    return failed(code);
  norm = decode(kNorm, 0, places[kNorm].elements);
  router = decode(kRouter, 0, places[kRouter].elements);
  routerBias = decode(kRouterBias, 0, places[kRouterBias].elements);
  return llvm::Error::success();
}

std::vector<float> Layer::decode(Weight weight, uint64_t from,
                                 uint64_t elements) const {
  return reference::decode(
      Element::BF16,
      reinterpret_cast<const uint8_t *>(mapping->const_data()) +
          places[weight].offset + from * 2,
      elements);
}

std::string Layer::moduleText(const std::string &file) const {
  std::string text;
  llvm::raw_string_ostream os(text);
  int64_t h = form.hidden, i = form.intermediate, e = form.experts;
  const char *names[kWeightCount] = {
      "norm",        "router",    "gate",    "up",        "down",
      "router_bias", "gate_bias", "up_bias", "down_bias", "wake_weight"};
  auto type = [](llvm::ArrayRef<int64_t> dimensions, const char *element) {
    std::string out = "tensor<";
    for (int64_t d : dimensions)
      out += (d < 0 ? std::string("?") : std::to_string(d)) + "x";
    return out + element + ">";
  };
  auto weightType = [&](Weight weight) {
    return type(places[weight].dimensions, "bf16");
  };
  for (int w = 0; w < kWeightCount; ++w)
    if (places[w].elements)
      os << "tier.weight @" << names[w] << " : " << weightType(Weight(w))
         << " from [#tier.range<\"" << file << "\" at " << places[w].offset
         << " bytes " << places[w].elements * 2 << ">]\n";
  std::string x = type({-1, h}, "f32"), inner = type({-1, i}, "f32");
  std::string scores = type({-1, e}, "f32");
  std::string up = type({i, h}, "bf16"), down = type({h, i}, "bf16");
  std::string width = type({i}, "bf16"), height = type({h}, "bf16");
  auto biased = [&](const std::string &words) {
    return form.biased ? words : std::string();
  };
  std::string sizes =
      llvm::formatv("experts = {0}, slots = {1}", e, form.slots);
  std::string selection = "!moe.selection<" + sizes + ">";
  std::string routing = "!moe.routing<" + sizes + ">";
  std::string buckets =
      llvm::formatv("!moe.buckets<{0}, width = {1}, element = f32>", sizes, h);

  os << "func.func @layer(%x: " << x << ") -> " << x << " {\n";
  for (int w = 0; w < kWake; ++w)
    if (places[w].elements)
      os << "  %w_" << names[w] << " = tier.use @" << names[w] << " : "
         << weightType(Weight(w)) << "\n";
  os << "  %n = nn.norm rms %x, %w_norm eps 1.0e-5 : " << x << ", "
     << weightType(kNorm) << "\n"
     << "  %l = nn.linear %n, %w_router" << biased(" bias %w_router_bias")
     << " : " << x << ", " << weightType(kRouter)
     << biased(", " + weightType(kRouterBias)) << " -> " << scores << "\n";
  const char *value = form.biased ? "%l" : "%p";
  if (!form.biased)
    os << "  %p = moe.squash softmax %l : " << scores << "\n";
  os << "  %s = moe.select top_k " << form.slots << " " << value << " : "
     << scores << " -> " << selection << "\n"
     << "  %r = moe.weigh %s, " << value << " norm "
     << (form.biased ? "softmax" : "sum") << " : " << selection << ", "
     << scores << " -> " << routing << "\n"
     << "  %b = moe.dispatch %n, %r : " << x << ", " << routing << " -> "
     << buckets << "\n"
     << "  %e = moe.experts %b weights(%w_gate, %w_up, %w_down"
     << biased(", %w_gate_bias, %w_up_bias, %w_down_bias") << ") : " << buckets
     << ", (" << weightType(kGate) << ", " << weightType(kUp) << ", "
     << weightType(kDown)
     << biased(", " + weightType(kGateBias) + ", " + weightType(kUpBias) +
               ", " + weightType(kDownBias))
     << ") -> " << buckets << " {\n"
     << "  ^bb0(%t: " << x << ", %wg: " << up << ", %wu: " << up
     << ", %wd: " << down
     << biased(", %bg: " + width + ", %bu: " + width + ", %bd: " + height)
     << "):\n"
     << "    %g = nn.linear %t, %wg" << biased(" bias %bg")
     << " inputs bf16 : " << x << ", " << up << biased(", " + width) << " -> "
     << inner << "\n"
     << "    %u = nn.linear %t, %wu" << biased(" bias %bu")
     << " inputs bf16 : " << x << ", " << up << biased(", " + width) << " -> "
     << inner << "\n"
     << "    %h = nn.glu silu %g, %u"
     << biased(" alpha 1.702 limit 7.0 offset 1.0") << " : " << inner << "\n"
     << "    %d = nn.linear %h, %wd" << biased(" bias %bd")
     << " inputs bf16 : " << inner << ", " << down << biased(", " + height)
     << " -> " << x << "\n"
     << "    moe.yield %d : " << x << "\n"
     << "  }\n"
     << "  %y = moe.combine %e, %r base(%x) : " << buckets << ", " << routing
     << ", " << x << " -> " << x << "\n"
     << "  return %y : " << x << "\n}\n";

  std::string in = type({-1, kWakeIn}, "f32"),
              out = type({-1, kWakeOut}, "f32");
  os << "func.func @wake(%x: " << in << ") -> " << out << " {\n"
     << "  %w = tier.use @wake_weight : " << weightType(kWake) << "\n"
     << "  %y = nn.linear %x, %w inputs bf16 : " << in << ", "
     << weightType(kWake) << " -> " << out << "\n"
     << "  return %y : " << out << "\n}\n";
  return text;
}

reference::Routing Layer::routeRows(Matrix normed, Rows &scores) const {
  scores = reference::linear(normed, {router.data(), form.experts, form.hidden},
                             form.biased ? routerBias.data() : nullptr);
  if (!form.biased)
    scores = reference::squash(reference::SquashKind::Softmax, scores);
  return reference::weigh(reference::select(form.slots, scores), scores,
                          form.biased ? reference::WeighNorm::Softmax
                                      : reference::WeighNorm::Sum);
}

std::vector<std::vector<int32_t>> Layer::route(const float *x,
                                               int64_t rows) const {
  Rows scores;
  Rows normed =
      reference::norm(reference::NormKind::Rms, {x, rows, form.hidden},
                      norm.data(), nullptr, kEps);
  reference::Routing routing = routeRows(normed, scores);
  std::vector<std::vector<int32_t>> out;
  for (int64_t t = 0; t < rows; ++t)
    out.emplace_back(routing.selection.experts.begin() + t * form.slots,
                     routing.selection.experts.begin() + (t + 1) * form.slots);
  return out;
}

llvm::Expected<double> Layer::check(const float *x, const float *y,
                                    int64_t rows, int64_t count) const {
  int64_t h = form.hidden, i = form.intermediate;
  double worst = -1;
  // The last row first: it is where an edge of a tile is.
  for (int64_t t = rows - 1; t >= 0 && count > 0; --t) {
    Matrix row = {x + t * h, 1, h};
    Rows normed = reference::norm(reference::NormKind::Rms, row, norm.data(),
                                  nullptr, kEps);
    Rows scores;
    reference::Routing routing = routeRows(normed, scores);
    if (reference::selectionMargins(form.slots, scores)[0] < kLeastMargin)
      continue;
    --count;
    std::vector<double> sum(size_t(h), 0.0);
    for (int64_t slot = 0; slot < form.slots; ++slot) {
      auto expert = uint64_t(routing.selection.experts[size_t(slot)]);
      auto product = [&](Matrix in, Weight weight, Weight bias, int64_t out) {
        auto elements = uint64_t(out * in.width);
        std::vector<float> w = decode(weight, expert * elements, elements), b;
        if (form.biased)
          b = decode(bias, expert * uint64_t(out), uint64_t(out));
        return reference::linear(in, {w.data(), out, in.width},
                                 form.biased ? b.data() : nullptr,
                                 Element::BF16);
      };
      Rows gate = product(normed, kGate, kGateBias, i);
      Rows up = product(normed, kUp, kUpBias, i);
      Rows hidden =
          reference::glu(reference::Activation::Silu, gate, up,
                         form.biased ? kClamped : reference::GluOptions());
      Rows out = product(hidden, kDown, kDownBias, h);
      for (int64_t c = 0; c < h; ++c)
        sum[size_t(c)] +=
            double(routing.weights[size_t(slot)]) * out.values[size_t(c)];
    }
    double difference = 0, size = 0;
    for (int64_t c = 0; c < h; ++c) {
      double want = sum[size_t(c)];
      double got = double(y[t * h + c]) - double(x[t * h + c]);
      difference += (got - want) * (got - want);
      size += want * want;
    }
    double error = std::sqrt(difference / size);
    if (!(error <= worst)) // A NaN is the worst of all.
      worst = error;
    if (std::isnan(error))
      break;
  }
  if (worst < 0)
    return llvm::createStringError(
        "no row was routed clearly enough to be checked");
  return worst;
}
