// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One mixture-of-experts layer.
#include "tools/headrace/bench/Layer.h"

#include "compiler/reference/ops/Dense.h"
#include "compiler/reference/ops/Encoded.h"
#include "tools/headrace/Progress.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace headrace;
using namespace headrace::tools::bench;
using reference::Element;
using reference::Matrix;
using reference::Rows;

static constexpr float kEps = 1e-5f;
static constexpr reference::GluOptions kClamped = {1.702f, 7.0f, 1.0f};
/// Scores nearer than this may be ordered otherwise by another order of sums.
static constexpr float kLeastMargin = 1e-4f;

/// Of a block of fp8 with one scale, and of one of mxfp4.
static constexpr int64_t kBlock8 = 128, kBlock4 = 32;
/// What normal numbers are multiplied by so that they use an encoding's range.
static constexpr float kRange8 = 64, kRange4 = 2;

static const LayerShape kShapes[] = {
    {"olmoe", 2048, 1024, 64, 8, false, LayerEncoding::BF16},
    {"qwen3-30b-a3b", 2048, 768, 128, 8, false, LayerEncoding::BF16},
    {"mixtral", 4096, 14336, 8, 2, false, LayerEncoding::BF16},
    {"gpt-oss-20b", 2880, 2880, 32, 4, true, LayerEncoding::BF16}};

static int64_t blocksOf(int64_t size, int64_t block) {
  return (size + block - 1) / block;
}

std::string LayerShape::title() const {
  switch (encoding) {
  case LayerEncoding::BF16:
    return name;
  case LayerEncoding::FP8:
    return name + " in fp8";
  case LayerEncoding::MXFP4:
    return name + " in mxfp4";
  }
  llvm_unreachable("every encoding is listed");
}

std::string LayerShape::note() const {
  return name == "gpt-oss-20b" && encoding == LayerEncoding::BF16
             ? name + ": bfloat16 weights; the model's have 4 bits"
             : "";
}

uint64_t LayerShape::elementBytes(int64_t out, int64_t in) const {
  auto elements = uint64_t(out * in);
  return encoding == LayerEncoding::BF16  ? elements * 2
         : encoding == LayerEncoding::FP8 ? elements
                                          : elements / 2;
}

uint64_t LayerShape::scaleBytes(int64_t out, int64_t in) const {
  return encoding == LayerEncoding::BF16 ? 0
         : encoding == LayerEncoding::FP8
             ? 4 * uint64_t(blocksOf(out, kBlock8) * blocksOf(in, kBlock8))
             : uint64_t(out * blocksOf(in, kBlock4));
}

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
    at.bytes = isEncoded(weight)
                   ? uint64_t(at.dimensions[0]) *
                         form.matrixBytes(at.dimensions[1], at.dimensions[2])
                   : at.elements * 2;
    bytes = llvm::alignTo(bytes + at.bytes, 64);
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

std::vector<char> Layer::drawMatrix(const Place &at, Random &random) const {
  int64_t out = at.dimensions[1], in = at.dimensions[2];
  uint64_t elements = form.elementBytes(out, in);
  std::vector<char> matrix(form.matrixBytes(out, in));
  bool eight = form.encoding == LayerEncoding::FP8;
  for (uint64_t i = 0; i < elements; ++i) {
    if (eight) {
      matrix[i] = char(reference::floatToE4M3(random.normal() * kRange8));
      continue;
    }
    int low = reference::floatToE2M1(random.normal() * kRange4);
    int high = reference::floatToE2M1(random.normal() * kRange4);
    matrix[i] = char(low | high << 4);
  }
  // Scales differ, so that one that is applied to the wrong block shows.
  for (uint64_t i = elements; i < matrix.size(); i += eight ? 4 : 1) {
    if (eight) {
      float scale =
          at.deviation / kRange8 * (0.75f + float(random.below(65)) / 128);
      memcpy(matrix.data() + i, &scale, sizeof(scale));
    } else {
      int exponent = std::ilogb(at.deviation / kRange4);
      matrix[i] = char(127 + exponent + int(random.below(2)));
    }
  }
  return matrix;
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
  for (int w = 0; w < kWeightCount; ++w) {
    const Place &at = places[w];
    if (!at.elements)
      continue;
    file.write_zeros(unsigned(at.offset - done));
    done = at.offset + at.bytes;
    if (isEncoded(Weight(w))) {
      for (int64_t i = 0; i < at.dimensions[0]; ++i) {
        std::vector<char> matrix = drawMatrix(at, random);
        file.write(matrix.data(), matrix.size());
        progress.update(at.offset + uint64_t(i + 1) * matrix.size(), bytes);
      }
      continue;
    }
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
  const char *element =
      form.encoding == LayerEncoding::BF16 ? "bf16"
      : form.encoding == LayerEncoding::FP8
          ? "f8E4M3FN, #tier.scaled<rows = 128, columns = 128, scale = f32>"
          : "f4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale = f8E8M0FNU>";
  auto weightType = [&](Weight weight) {
    return type(places[weight].dimensions,
                isEncoded(weight) ? element : "bf16");
  };
  for (int w = 0; w < kWeightCount; ++w)
    if (places[w].elements)
      os << "tier.weight @" << names[w] << " : " << weightType(Weight(w))
         << " from [#tier.range<\"" << file << "\" at " << places[w].offset
         << " bytes " << places[w].bytes << ">]\n";
  std::string x = type({-1, h}, "f32"), inner = type({-1, i}, "f32");
  std::string scores = type({-1, e}, "f32");
  std::string up = type({i, h}, element), down = type({h, i}, element);
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

Rows Layer::product(Matrix in, Weight weight, Weight bias, uint64_t expert,
                    int64_t out) const {
  auto elements = uint64_t(out * in.width);
  std::vector<float> b;
  if (form.biased)
    b = decode(bias, expert * uint64_t(out), uint64_t(out));
  const float *add = form.biased ? b.data() : nullptr;
  if (!isEncoded(weight)) {
    std::vector<float> w = decode(weight, expert * elements, elements);
    return reference::linear(in, {w.data(), out, in.width}, add, Element::BF16);
  }
  bool eight = form.encoding == LayerEncoding::FP8;
  const uint8_t *matrix =
      reinterpret_cast<const uint8_t *>(mapping->const_data()) +
      places[weight].offset + expert * form.matrixBytes(out, in.width);
  std::vector<float> w = reference::decode(eight ? reference::Encoding::E4M3
                                                 : reference::Encoding::E2M1,
                                           matrix, elements);
  std::vector<float> scales = reference::decode(
      eight ? reference::ScaleType::F32 : reference::ScaleType::E8M0,
      matrix + form.elementBytes(out, in.width),
      form.scaleBytes(out, in.width) / (eight ? 4 : 1));
  return reference::scaledLinear(
      in, {w.data(), out, in.width},
      {scales.data(), eight ? kBlock8 : 1, eight ? kBlock8 : kBlock4}, add,
      Element::BF16);
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
      auto times = [&](Matrix in, Weight weight, Weight bias, int64_t out) {
        return product(in, weight, bias, expert, out);
      };
      Rows gate = times(normed, kGate, kGateBias, i);
      Rows up = times(normed, kUp, kUpBias, i);
      Rows hidden =
          reference::glu(reference::Activation::Silu, gate, up,
                         form.biased ? kClamped : reference::GluOptions());
      Rows out = times(hidden, kDown, kDownBias, h);
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
