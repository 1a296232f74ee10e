// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits kernels that work row by row without a product: embedding look-up and
// rotary angles.
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "compiler/codegen/RopeFrequencies.h"
#include "compiler/codegen/Trigonometry.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

LogicalResult headrace::emitEmbed(flow::KernelOp kernel,
                                  const StepLimits &limits,
                                  const EmitOptions &) {
  nn::EmbedOp embed;
  kernel.getBody().walk([&](nn::EmbedOp op) { embed = op; });
  auto type = cast<RankedTensorType>(embed.getTable().getType());
  auto panels = dyn_cast_or_null<flow::PanelsAttr>(type.getEncoding());
  if (panels && panels.getHalves() != 1)
    return embed.emitOpError("reads a table whose rows are interleaved");
  ProgramBuilder p(kernel, limits);
  Value table = p.memory(embed.getTable());
  Value row = p.task();
  Value id = p.loadIndex(p.memory(embed.getIds()), row);
  p.loop(p.index(type.getDimSize(1)), [&](Value column) {
    SmallVector<Value> at{id, column};
    if (panels) // A tied table is read where the output product has it.
      at = {p.div(id, panels.getColumns()), p.div(column, panels.getPack()),
            p.rem(id, panels.getColumns()), p.rem(column, panels.getPack())};
    Value value = p.load(table, at);
    if (!value.getType().isF32())
      value = arith::ExtFOp::create(p.b, p.b.getF32Type(), value);
    p.store(value, p.result(0), {row, column});
  });
  return p.finish();
}

LogicalResult headrace::emitAngles(flow::KernelOp kernel,
                                   const StepLimits &limits,
                                   const EmitOptions &) {
  nn::AnglesOp angles;
  kernel.getBody().walk([&](nn::AnglesOp op) { angles = op; });
  nn::RopeAttr table = angles.getTable();
  int64_t half = table.getDim() / 2;
  SmallVector<float> frequencies = ropeFrequencies(table);
  ProgramBuilder p(kernel, limits);
  Value row = p.task();
  Value position = arith::SIToFPOp::create(
      p.b, p.b.getF32Type(), p.load(p.memory(angles.getPositions()), row));
  Value scale = p.f32(table.getAttentionFactor().convertToDouble());
  // The frequencies are constants, which code may hold; a table in memory would
  // be data to relocate. So each task writes them down for its loop.
  Value known = p.scratch(
      MemRefType::get({std::max<int64_t>(half, 1)}, p.b.getF32Type()));
  for (int64_t i = 0; i < half; ++i)
    p.store(p.f32(frequencies[size_t(i)]), known, p.index(i));
  p.loop(p.index(half), [&](Value i) {
    Value angle = arith::MulFOp::create(p.b, position, p.load(known, i));
    auto [cosine, sine] = emitCosineAndSine(p.b, angle);
    p.store(arith::MulFOp::create(p.b, cosine, scale), p.result(0), {row, i});
    p.store(arith::MulFOp::create(p.b, sine, scale), p.result(0),
            {row, p.add(i, half)});
  });
  return p.finish();
}
