// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the packing of a weight's type is carried out, piece by piece.
#include "compiler/package/WeightPieces.h"

#include "compiler/package/PackEncoded.h"
#include "dialects/flow/IR/Flow.h"

using namespace mlir;
using namespace headrace;

static EncodedMatrix encodedMatrix(RankedTensorType type,
                                   tier::ScaledAttr scaled, int64_t out,
                                   int64_t in) {
  using Scale = EncodedMatrix::Scale;
  Type scale = scaled.getScale();
  return {out,
          in,
          type.getElementTypeBitWidth(),
          scaled.getRows(),
          scaled.getColumns(),
          isa<Float8E8M0FNUType>(scale) ? Scale::E8M0
          : scale.isBF16()              ? Scale::BF16
                                        : Scale::F32};
}

WeightPieces headrace::piecesOf(RankedTensorType type) {
  Attribute packing = tier::packingOf(type);
  if (!packing)
    return {};
  ArrayRef<int64_t> shape = type.getShape();
  int64_t out = shape[shape.size() - 2], in = shape.back();
  tier::ScaledAttr scaled = tier::scaledOf(type);
  EncodedMatrix encoded{};
  if (scaled)
    encoded = encodedMatrix(type, scaled, out, in);
  if (auto panels = dyn_cast<flow::PanelsAttr>(packing)) {
    PanelShape layout{out,
                      in,
                      type.getElementTypeBitWidth() / 8,
                      panels.getColumns(),
                      panels.getPack(),
                      panels.getHalves()};
    if (scaled)
      return {layout.panels(), encodedPanelBytes(encoded, layout),
              [=](const char *source, int64_t piece, char *target) {
                packEncodedPanel(encoded, layout, source, piece, target);
              }};
    return {layout.panels(), layout.panelBytes(),
            [=](const char *source, int64_t piece, char *target) {
              packPanel(layout, source, piece, target);
            }};
  }
  FragmentShape layout{out, in, cast<flow::FragmentsAttr>(packing).getHalves()};
  if (scaled)
    return {layout.rowBlocks(), encodedBlockBytes(encoded, layout),
            [=](const char *source, int64_t piece, char *target) {
              packEncodedFragments(encoded, layout, source, piece, target);
            }};
  return {layout.rowBlocks(), layout.rowBlockBytes(),
          [=](const char *source, int64_t piece, char *target) {
            packFragments(layout, source, piece, target);
          }};
}
