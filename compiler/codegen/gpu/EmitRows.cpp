// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits GPU kernels that work row by row without a product: embedding look-up
// and rotary angles. One row a block.
#include "compiler/codegen/RopeFrequencies.h"
#include "compiler/codegen/Trigonometry.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "dialects/nn/IR/Nn.h"

using namespace mlir;
using namespace headrace;

constexpr int64_t kThreads = 128;

/// A kernel of one row a block: `body(k, row)` runs where the row exists.
static void emitRowKernel(flow::KernelOp kernel, const GpuOptions &options,
                          StepSize size, Expansion &out,
                          function_ref<void(KernelBuilder &, Value)> body) {
  const DeviceKernel &made = out.add(kernel, size, "", {});
  KernelBuilder k(kernel, made.name, options.limits, made.extras);
  Value row = k.block();
  flow::Count rows = k.rowCounter();
  k.when(k.less(row, k.count(rows)), [&] { body(k, row); });
  auto grid = rows == flow::Count::outputs ? flow::GridKind::per_output
                                           : flow::GridKind::per_token;
  k.finish(kThreads, flow::GridAttr::get(kernel.getContext(), grid, 1, 1, 1));
}

LogicalResult headrace::emitGpuEmbed(flow::KernelOp kernel,
                                     const GpuOptions &options, StepSize size,
                                     Expansion &out) {
  nn::EmbedOp embed;
  kernel.getBody().walk([&](nn::EmbedOp op) { embed = op; });
  auto type = cast<RankedTensorType>(embed.getTable().getType());
  auto packing = dyn_cast_or_null<flow::FragmentsAttr>(type.getEncoding());
  if (type.getEncoding() && (!packing || packing.getHalves() != 1))
    return embed.emitOpError("reads a table whose rows are interleaved");
  int64_t width = type.getDimSize(1);
  emitRowKernel(kernel, options, size, out, [&](KernelBuilder &k, Value row) {
    Value id =
        k.load(k.i32Type(), k.at(k.buffer(embed.getIds()), row, k.i32Type()));
    RowsInMemory to = k.rowsOfResult(0);
    RowsInMemory table{k.weight(embed.getTable()), width, width,
                       type.getElementType()};
    k.loop(k.thread(), k.i32(width), k.i32(kThreads), [&](Value column) {
      Value from;
      if (packing) { // A tied table is read where the output product has it.
        int64_t blocks = flow::FragmentsAttr::getColumnBlocks(width);
        Value r = k.rem(id, 16), c = k.rem(column, 16);
        Value lane = k.add(k.mul(k.rem(r, 8), 4), k.div(k.rem(c, 8), 2));
        Value place = k.add(k.mul(k.div(c, 8), 4),
                            k.add(k.mul(k.div(r, 8), 2), k.rem(c, 2)));
        Value block = k.add(k.mul(k.div(id, 16), blocks), k.div(column, 16));
        from = k.at(RowsInMemory{table.base, 256, 256, table.element}, block,
                    k.add(k.mul(lane, 8), place));
      } else {
        from = k.at(table, id, column);
      }
      Value x = k.loadConstant(table.element, from);
      k.store(k.narrow(k.widen(x), to.element), k.at(to, row, column));
    });
  });
  return success();
}

LogicalResult headrace::emitGpuAngles(flow::KernelOp kernel,
                                      const GpuOptions &options, StepSize size,
                                      Expansion &out) {
  nn::AnglesOp angles;
  kernel.getBody().walk([&](nn::AnglesOp op) { angles = op; });
  nn::RopeAttr table = angles.getTable();
  int64_t half = table.getDim() / 2;
  SmallVector<float> frequencies = ropeFrequencies(table);
  emitRowKernel(kernel, options, size, out, [&](KernelBuilder &k, Value row) {
    Value number = k.load(
        k.i32Type(), k.at(k.buffer(angles.getPositions()), row, k.i32Type()));
    Value position = arith::SIToFPOp::create(k.b, k.f32Type(), number);
    Value scale = k.f32(table.getAttentionFactor().convertToDouble());
    Value constants = k.constants(frequencies);
    RowsInMemory to = k.rowsOfResult(0);
    k.loop(k.thread(), k.i32(half), k.i32(kThreads), [&](Value i) {
      Value frequency = k.load(k.f32Type(), k.at(constants, i, k.f32Type()));
      auto [cosine, sine] = emitCosineAndSine(k.b, k.mulF(position, frequency));
      k.store(k.mulF(cosine, scale), k.at(to, row, i));
      k.store(k.mulF(sine, scale), k.at(to, row, k.add(i, half)));
    });
  });
  return success();
}
