// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The weights that a flow.mma reads, out of the bytes of a panel.
#include "compiler/reference/tiles/Panel.h"

#include "compiler/reference/simt/Scalars.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cstring>

using namespace mlir;
using namespace headrace;
using namespace headrace::tiles;

namespace {

/// Reads values of a float type of whole bytes, or of less than one: those fill
/// a byte from its lower bits on.
class Values {
public:
  explicit Values(Type type) : type(type), width(type.getIntOrFloatBitWidth()) {
    for (uint64_t bits = 0; width <= 8 && bits < uint64_t(1) << width; ++bits)
      narrow.push_back(llvm::APFloat(cast<FloatType>(type).getFloatSemantics(),
                                     llvm::APInt(width, bits))
                           .convertToFloat());
  }
  float operator()(const uint8_t *from, uint64_t index) const {
    if (width > 8) {
      uint64_t bits = 0;
      memcpy(&bits, from + index * (width / 8), width / 8);
      return float(simt::realOf(type, bits));
    }
    unsigned shift = unsigned(index * width % 8);
    return narrow[from[index * width / 8] >> shift & (narrow.size() - 1)];
  }

private:
  Type type;
  unsigned width;
  std::vector<float> narrow; ///< Of all its bit patterns.
};

} // namespace

Panel::Panel(flow::MmaOp op) {
  auto memory = cast<MemRefType>(op.getPanel().getType());
  if (!op.getWeight()) {
    pack = uint64_t(memory.getDimSize(3));
    channels = block = uint64_t(memory.getDimSize(1)) * pack;
    columns = uint64_t(memory.getDimSize(2));
    element = memory.getElementType();
    bytes = channels * columns * (element.getIntOrFloatBitWidth() / 8);
    return;
  }
  encoded = cast<RankedTensorType>(*op.getWeight());
  tier::ScaledAttr scaled = tier::scaledOf(encoded);
  auto panels = cast<flow::PanelsAttr>(scaled.getPacking());
  pack = uint64_t(panels.getPack());
  channels = llvm::alignTo(uint64_t(encoded.getShape().back()), pack);
  columns = uint64_t(panels.getColumns());
  block = uint64_t(scaled.getColumns());
  element = encoded.getElementType();
  bytes = uint64_t(panels.getPanelBytes(encoded));
}

void Panel::decode(const uint8_t *from) {
  weights.resize(channels * columns);
  if (encoded)
    return decodeScaled(from);
  Values valueAt(element);
  for (uint64_t k = 0; k < channels; ++k)
    for (uint64_t c = 0; c < columns; ++c)
      weights[k * columns + c] =
          valueAt(from, (k / pack * columns + c) * pack + k % pack);
}

void Panel::decodeScaled(const uint8_t *from) {
  constexpr uint64_t kRun = uint64_t(flow::PanelsAttr::kRun);
  tier::ScaledAttr scaled = tier::scaledOf(encoded);
  Type type = isa<Float8E8M0FNUType>(scaled.getScale())
                  ? scaled.getScale()
                  : Float32Type::get(encoded.getContext());
  Values scaleAt(type), valueAt(element);
  scales.resize(llvm::divideCeil(channels, block) * columns);
  for (uint64_t run = 0; run < channels; run += kRun) {
    uint64_t here = std::min(kRun, channels - run);
    uint64_t blocks = llvm::divideCeil(here, block);
    for (uint64_t i = 0; i < blocks * columns; ++i)
      scales[run / block * columns + i] = scaleAt(from, i);
    from += kRun / block * columns * (type.getIntOrFloatBitWidth() / 8);
    for (uint64_t k = 0; k < here; ++k)
      for (uint64_t c = 0; c < columns; ++c)
        weights[(run + k) * columns + c] =
            valueAt(from, (k / pack * columns + c) * pack + k % pack);
    from += here * columns * element.getIntOrFloatBitWidth() / 8;
  }
}

void Panel::multiply(const std::vector<float> &x,
                     std::vector<float> &sums) const {
  if (!encoded) {
    for (uint64_t k = 0; k < channels; ++k)
      for (uint64_t c = 0; c < columns; ++c)
        sums[c] += x[k] * weightAt(k, c);
    return;
  }
  std::vector<float> sum(columns);
  for (uint64_t first = 0; first < channels; first += block) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (uint64_t k = first; k < std::min(first + block, channels); ++k)
      for (uint64_t c = 0; c < columns; ++c)
        sum[c] += x[k] * weightAt(k, c);
    for (uint64_t c = 0; c < columns; ++c)
      sums[c] += sum[c] * scales[first / block * columns + c];
  }
}
