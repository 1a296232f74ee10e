// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One mixture-of-experts layer: its shape, its IR, its weights, its reference.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_LAYER_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_LAYER_H

#include "compiler/reference/ops/Routing.h"
#include "tools/headrace/bench/Random.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace headrace::tools::bench {

/// How the experts' weights are stored: bfloat16, or as checkpoints in fp8
/// (e4m3, a float32 scale for each 128 by 128) and mxfp4 (e2m1, an exponent for
/// each 32 input channels) have them.
enum class LayerEncoding { BF16, FP8, MXFP4 };

struct LayerShape {
  std::string name;
  int64_t hidden = 0, intermediate = 0, experts = 0, slots = 0;
  /// As gpt-oss has them: biases of router and experts, a softmax over the
  /// picked scores, a clamped SwiGLU. Else none, over all, and plain.
  bool biased = false;
  LayerEncoding encoding = LayerEncoding::BF16;

  /// A known name, or `H=..,I=..,E=..,k=..`; none for anything else.
  static std::optional<LayerShape> parse(const std::string &text);
  static std::string knownNames();

  /// The name, and the encoding if it is not bfloat16.
  std::string title() const;
  /// How the layer differs from the model's; may be empty.
  std::string note() const;

  /// Bytes of the elements, and of the scales, of one matrix of an expert.
  uint64_t elementBytes(int64_t out, int64_t in) const;
  uint64_t scaleBytes(int64_t out, int64_t in) const;
  uint64_t matrixBytes(int64_t out, int64_t in) const {
    return elementBytes(out, in) + scaleBytes(out, in);
  }
  double expertBytes() const {
    return 2.0 * double(matrixBytes(intermediate, hidden)) +
           double(matrixBytes(hidden, intermediate));
  }
  double routerBytes() const { return 2.0 * double(experts * hidden); }
  /// Products and sums of the routed experts and the router.
  double operations(int64_t tokens) const {
    return double(tokens) * (6.0 * double(slots * hidden * intermediate) +
                             2.0 * double(experts * hidden));
  }
};

/// A shape with weights in a file.
class Layer {
public:
  enum Weight {
    kNorm,
    kRouter,
    kGate,
    kUp,
    kDown,
    kRouterBias, ///< The biases are empty where the shape has none.
    kGateBias,
    kUpBias,
    kDownBias,
    kWake,
    kWeightCount
  };

  explicit Layer(LayerShape shape);

  const LayerShape &shape() const { return form; }
  uint64_t fileBytes() const { return bytes; }

  /// Writes random weights of deviation 1 / sqrt(fan-in).
  llvm::Error writeWeights(const std::string &path, uint64_t seed);

  /// A module of the `model` phase with two entry points: `layer`, and `wake`,
  /// a small product that does nothing but rouse the workers. `file` is the
  /// weights' path, relative to the directory given to the compiler.
  std::string moduleText(const std::string &file) const;
  static constexpr int64_t kWakeIn = 64, kWakeOut = 2048;

  /// The experts that each row of `x` picks, by the reference.
  std::vector<std::vector<int32_t>> route(const float *x, int64_t rows) const;

  /// How far `y` is from the reference for `x` on up to `count` rows: the norm
  /// of the difference over the norm of what the experts add, the larger of
  /// rows. Rows whose routing is a matter of rounding are passed over.
  llvm::Expected<double> check(const float *x, const float *y, int64_t rows,
                               int64_t count) const;

  /// Drops what only `check` needs; the router stays.
  void release() { mapping.reset(); }

private:
  struct Place {
    uint64_t offset = 0, elements = 0, bytes = 0;
    float deviation = 0; ///< 0: ones.
    std::vector<int64_t> dimensions;
  };
  /// Whether `weight` is one of the experts' and not in bfloat16.
  bool isEncoded(Weight weight) const {
    return form.encoding != LayerEncoding::BF16 &&
           (weight == kGate || weight == kUp || weight == kDown);
  }
  /// One matrix of an encoded weight: its elements, then its scales.
  std::vector<char> drawMatrix(const Place &at, Random &random) const;
  std::vector<float> decode(Weight weight, uint64_t from,
                            uint64_t elements) const;
  /// `in` times matrix `expert` of `weight`, and a bias where there are some.
  reference::Rows product(reference::Matrix in, Weight weight, Weight bias,
                          uint64_t expert, int64_t out) const;
  reference::Routing routeRows(reference::Matrix normed,
                               reference::Rows &scores) const;

  LayerShape form;
  std::array<Place, kWeightCount> places;
  uint64_t bytes = 0;
  std::unique_ptr<llvm::sys::fs::mapped_file_region> mapping;
  std::vector<float> norm, router, routerBias;
};

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_LAYER_H
