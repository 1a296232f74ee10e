// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emits what no kernel family knows through upstream's lowering: an elementwise
// op becomes a linalg.generic on memory and that becomes loops. Slow, right,
// and listed by `headrace inspect`.
#include "compiler/codegen/Elementwise.h"
#include "compiler/codegen/Emitters.h"
#include "compiler/codegen/ProgramBuilder.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace headrace;

/// The scalar op of an elementwise tensor op that is upstream's.
static Value cloneScalar(OpBuilder &b, Location loc, Operation *op,
                         ValueRange operands) {
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  OperationState state(loc, op->getName(), operands, element, op->getAttrs());
  state.propertiesAttr = op->getPropertiesAsAttribute();
  return b.create(state)->getResult(0);
}

LogicalResult headrace::emitUpstream(flow::KernelOp kernel,
                                     const StepLimits &limits,
                                     const EmitOptions &) {
  Block &block = kernel.getBody().front();
  Operation *op = block.getTerminator()->getOperand(0).getDefiningOp();
  bool ours = op && isElementwise(op);
  if (!op || op != &block.front() || op->getNumResults() != 1 ||
      !(ours || OpTrait::hasElementwiseMappableTraits(op)))
    return kernel.emitOpError("holds more than one elementwise op, which the "
                              "fallback does not know");
  ProgramBuilder p(kernel, limits);
  SmallVector<Value> inputs;
  for (Value operand : op->getOperands())
    inputs.push_back(p.memory(operand));
  Value output = p.result(0);
  auto width = [](Value memory) {
    return cast<MemRefType>(memory.getType()).getDimSize(1);
  };
  MLIRContext *context = p.b.getContext();
  AffineExpr row = getAffineDimExpr(0, context),
             column = getAffineDimExpr(1, context),
             zero = getAffineConstantExpr(0, context);
  SmallVector<AffineMap> maps;
  for (Value memory : inputs) // One value a row, or one an element.
    maps.push_back(AffineMap::get(
        2, 0, {row, width(memory) == 1 && width(output) != 1 ? zero : column},
        context));
  maps.push_back(AffineMap::getMultiDimIdentityMap(2, context));
  SmallVector<utils::IteratorType> parallel(2, utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      p.b, inputs, ValueRange{output}, maps, parallel,
      [&](OpBuilder &b, Location loc, ValueRange scalars) {
        ValueRange operands = scalars.drop_back();
        linalg::YieldOp::create(b, loc,
                                ours ? emitElementwise(b, loc, op, operands)
                                     : cloneScalar(b, loc, op, operands));
      });
  IRRewriter rewriter(p.b);
  if (failed(linalg::linalgOpToLoops(rewriter, generic)))
    return op->emitOpError("could not be lowered to loops");
  generic.erase();
  SmallVector<affine::AffineApplyOp> applied;
  p.program.walk(
      [&](affine::AffineApplyOp apply) { applied.push_back(apply); });
  for (affine::AffineApplyOp apply : applied) {
    OpBuilder b(apply);
    auto values = affine::expandAffineMap(
        b, apply.getLoc(), apply.getAffineMap(), apply.getOperands());
    if (!values)
      return apply.emitOpError("could not be expanded");
    apply.getResult().replaceAllUsesWith(values->front());
    apply.erase();
  }
  // The rows of a buffer are counted by the step, not by its type.
  SmallVector<Operation *> sizes;
  p.program.walk([&](memref::DimOp dim) { sizes.push_back(dim); });
  for (Operation *dim : sizes) {
    OpBuilder b(dim);
    Value count = flow::CountOp::create(b, dim->getLoc(), b.getIndexType(),
                                        flow::Count::tokens);
    dim->getResult(0).replaceAllUsesWith(count);
    dim->erase();
  }
  return p.finish();
}
