// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Verifiers of the flow ops. `// <op> C<n>` names the constraint in the spec.
#include "dialects/flow/IR/Flow.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace::flow;

#define GET_OP_CLASSES
#include "dialects/flow/IR/FlowOps.cpp.inc"

LogicalResult KernelOp::verifyRegions() {
  FunctionType type = getType();
  Block &block = getBody().front();
  if (block.getArgumentTypes() != TypeRange(type.getInputs()))
    return emitOpError("expected the region's arguments to have the types of ")
           << type; // flow.kernel C1
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || yield.getValues().getTypes() != TypeRange(type.getResults()))
    return emitOpError("expected flow.yield to give the results of ")
           << type; // flow.kernel C2
  return success();
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto kernel =
      tables.lookupNearestSymbolFrom<KernelOp>(*this, getKernelAttr());
  if (!kernel) // flow.call C1
    return emitOpError("expected '@")
           << getKernel() << "' to name a flow.kernel, but there is none";
  FunctionType type = kernel.getType();
  if (TypeRange(type.getInputs()) != getOperandTypes() ||
      TypeRange(type.getResults()) != getResultTypes()) // flow.call C1
    return emitOpError("expected the types of '@")
           << getKernel() << "', " << type << ", but got "
           << FunctionType::get(getContext(), getOperandTypes(),
                                getResultTypes());
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &tables) {
  Operation *kernel = tables.lookupNearestSymbolFrom(*this, getKernelAttr());
  // Lowered to code, a kernel is a function that still says its family.
  if (!isa_and_nonnull<KernelOp, ProgramOp>(kernel) &&
      !(kernel && kernel->hasAttr("headrace.family"))) // flow.launch C1
    return emitOpError("expected '@")
           << getKernel() << "' to name a flow.kernel or flow.program";
  auto check = [&](ArrayAttr symbols, bool weights) -> LogicalResult {
    for (auto symbol : symbols.getAsRange<FlatSymbolRefAttr>()) {
      Operation *op = tables.lookupNearestSymbolFrom(*this, symbol);
      if (isa_and_nonnull<tier::BufferOp>(op) ||
          (weights && isa_and_nonnull<tier::WeightOp>(op)))
        continue; // flow.launch C2
      return emitOpError("expected ") << symbol << " to name a tier.buffer"
                                      << (weights ? " or a tier.weight" : "");
    }
    return success();
  };
  return success(succeeded(check(getInputs(), true)) &&
                 succeeded(check(getResults(), false)));
}

/// What `flow.routed` and `flow.predict` name: the buffer of a routing, and the
/// bundles of experts that it picks from.
template <typename Op>
static LogicalResult verifyRouting(Op op, SymbolTableCollection &tables) {
  auto buffer = tables.lookupNearestSymbolFrom<headrace::tier::BufferOp>(
      op, op.getRoutingAttr());
  // flow.predict C1
  if (!buffer || buffer.getRole()) // flow.routed C1
    return op.emitOpError("expected '@")
           << op.getRouting() << "' to name the buffer of a routing";
  auto bundle = tables.lookupNearestSymbolFrom<headrace::tier::BundleOp>(
      op, op.getBundlesAttr());
  auto pool = bundle ? tables.lookupNearestSymbolFrom<headrace::tier::PoolOp>(
                           bundle, bundle.getPoolAttr())
                     : headrace::tier::PoolOp();
  // flow.predict C2
  if (!pool || pool.getKind() != headrace::tier::PoolKind::cache ||
      !bundle.getExperts()) // flow.routed C2
    return op.emitOpError("expected '@")
           << op.getBundles() << "' to name the bundles of experts in a cache";
  return success();
}

LogicalResult RoutedOp::verifySymbolUses(SymbolTableCollection &tables) {
  return verifyRouting(*this, tables);
}

LogicalResult PredictOp::verifySymbolUses(SymbolTableCollection &tables) {
  if (failed(verifyRouting(*this, tables)))
    return failure();
  if (int64_t(getMost()) <= 0) // flow.predict C3
    return emitOpError("expected 'most' to be positive, but got ")
           << int64_t(getMost());
  Block &block = getBody().front();
  auto launch = block.empty() ? LaunchOp() : dyn_cast<LaunchOp>(block.front());
  if (!launch || !llvm::hasSingleElement(block) ||
      !llvm::is_contained(launch.getResults(),
                          getRoutingAttr())) // flow.predict C4
    return emitOpError("expected one launch with the result '@")
           << getRouting() << "'";
  return success();
}

LogicalResult ProgramOp::verifyRegions() {
  Block &block = getBody().front();
  if (block.getNumArguments() == 0 || !block.getArgument(0).getType().isIndex())
    return emitOpError("expected the first block argument to be the task, an "
                       "index"); // flow.program C1
  for (BlockArgument arg : block.getArguments().drop_front())
    if (!isa<MemRefType>(arg.getType())) // flow.program C1
      return emitOpError("expected block argument #")
             << arg.getArgNumber() << " to be a memref, but got "
             << arg.getType();
  if (int64_t(getBuffers()) < 0 ||
      int64_t(getBuffers()) > int64_t(block.getNumArguments()) - 1)
    return emitOpError(
               "expected 'buffers' to be at most the number of memrefs ")
           << block.getNumArguments() - 1 << ", but got "
           << getBuffers();                           // flow.program C2
  if (int64_t(getScratch()) < 0 || getScratch() % 64) // flow.program C3
    return emitOpError("expected 'scratch' to be a multiple of 64, but got ")
           << getScratch();
  return success();
}

LogicalResult ScratchOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  int64_t offset = getOffset();
  if (offset < 0 || offset % 64) // flow.scratch C1
    return emitOpError("expected 'offset' to be a multiple of 64, but got ")
           << offset;
  if (!type.hasStaticShape() || !type.getElementType().isIntOrFloat())
    return emitOpError("expected a piece of static shape, but got ")
           << type; // flow.scratch C2
  auto program = (*this)->getParentOfType<ProgramOp>();
  if (!program)
    return success();
  int64_t end =
      offset + llvm::divideCeil(
                   type.getNumElements() * type.getElementTypeBitWidth(), 8);
  if (end > int64_t(program.getScratch())) // flow.scratch C3
    return emitOpError("expected the piece to end within the ")
           << program.getScratch() << " bytes of scratch, but it ends at "
           << end;
  return success();
}

LogicalResult ExpertOp::verify() {
  auto weights = cast<MemRefType>(getWeights().getType());
  auto one = cast<MemRefType>(getResult().getType());
  auto program = (*this)->getParentOfType<ProgramOp>();
  auto argument = dyn_cast<BlockArgument>(getWeights());
  if (program && (!argument || argument.getOwner()->getParentOp() != program ||
                  int64_t(argument.getArgNumber()) <=
                      int64_t(program.getBuffers()))) // flow.expert C1
    return emitOpError("expected an argument of the program behind its ")
           << program.getBuffers() << " buffers";
  if (weights.getRank() < 2 || !weights.hasStaticShape() ||
      !weights.getLayout().isIdentity() ||
      one != MemRefType::get(weights.getShape().drop_front(),
                             weights.getElementType())) // flow.expert C2
    return emitOpError("expected ")
           << weights << " without its first dimension, but got " << one;
  return success();
}

LogicalResult SplitOp::verify() {
  AccType input = getInput().getType();
  AccType half =
      AccType::get(getContext(), input.getWidth() / 2, input.getElement());
  if (input.getWidth() % 2 || getLow().getType() != half ||
      getHigh().getType() != half) // flow.split C1
    return emitOpError("expected two halves of ")
           << input << ", but got " << getLow().getType() << " and "
           << getHigh().getType();
  return success();
}

LogicalResult ViewOp::verify() {
  Type element = cast<MemRefType>(getResult().getType()).getElementType();
  if (!element.isIntOrFloat() || element.getIntOrFloatBitWidth() % 8)
    return emitOpError("expected elements of whole bytes, but got ")
           << element; // flow.view C1
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  if (int64_t(getOffset()) < 0 || int64_t(getOffset()) % bytes) // flow.view C1
    return emitOpError(
               "expected 'offset' to be a multiple of the element size ")
           << bytes << ", but got " << int64_t(getOffset());
  return success();
}

LogicalResult LoadOp::verify() {
  auto source = cast<MemRefType>(getSource().getType());
  TileType tile = getResult().getType();
  if (source.getRank() != 2 || source.getDimSize(1) != tile.getWidth())
    return emitOpError("expected the source to be ")
           << tile.getWidth() << " wide, but got " << source; // flow.load C1
  if (getInPlace()) {
    if (getIndices() || getNorm() ||
        source.getElementType() != tile.getElement()) // flow.load C2
      return emitOpError("expected rows used in place to be neither gathered, "
                         "normalised nor converted");
    return success();
  }
  auto stage =
      getStage() ? dyn_cast<MemRefType>(getStage().getType()) : nullptr;
  if (!stage || stage.getRank() != 2 ||
      stage.getDimSize(1) != tile.getWidth()) // flow.load C3
    return emitOpError("expected a stage of rows ")
           << tile.getWidth() << " wide";
  return success();
}

LogicalResult RowsOp::verifyRegions() {
  if (int64_t(getLimit()) <= 0) // flow.rows C1
    return emitOpError("expected 'limit' to be positive, but got ")
           << getLimit();
  Block &block = getBody().front();
  if (block.getNumArguments() != 1 || !block.getArgument(0).getType().isIndex())
    return emitOpError("expected one block argument, the tile's first row");
  return success();
}

/// A product with panels that are bytes.
static LogicalResult verifyEncodedProduct(MmaOp op) {
  auto weight = cast<RankedTensorType>(*op.getWeight());
  headrace::tier::ScaledAttr scaled = headrace::tier::scaledOf(weight);
  auto panels =
      scaled ? dyn_cast_or_null<PanelsAttr>(scaled.getPacking()) : PanelsAttr();
  if (!panels || PanelsAttr::kRun % scaled.getColumns() ||
      scaled.getColumns() % panels.getPack()) // flow.mma C5
    return op.emitOpError("expected an encoded weight in panels with blocks "
                          "of which 128 channels hold a whole number, but got ")
           << weight;
  auto panel = cast<MemRefType>(op.getPanel().getType());
  int64_t bytes = panels.getPanelBytes(weight);
  if (panel.getRank() != 2 || !panel.getElementType().isInteger(8) ||
      panel.getDimSize(1) != bytes) // flow.mma C5
    return op.emitOpError("expected panels of ")
           << bytes << " bytes, but got " << panel;
  if (op.getResult().getType().getWidth() != panels.getColumns())
    return op.emitOpError("expected the result to be as wide as a panel, ")
           << panels.getColumns() << ", but got "
           << op.getResult().getType().getWidth(); // flow.mma C1
  if (op.getRows().getType().getWidth() != weight.getShape().back())
    return op.emitOpError("expected the weight's ")
           << weight.getShape().back() << " input channels to match the tile's "
           << "width " << op.getRows().getType().getWidth(); // flow.mma C2
  if (op.getAhead())                                         // flow.mma C3
    return op.emitOpError("expected no 'ahead' for an encoded weight");
  return success();
}

LogicalResult MmaOp::verify() {
  auto panel = cast<MemRefType>(getPanel().getType());
  AccType acc = getResult().getType();
  if (getWeight())
    return verifyEncodedProduct(*this);
  if (panel.getRank() != 4 || panel.getDimSize(2) != acc.getWidth() ||
      panel.getDimSize(3) <= 0)
    return emitOpError("expected the result to be as wide as a panel of ")
           << panel << ", but got " << acc.getWidth(); // flow.mma C1
  int64_t depth = panel.getDimSize(1) * panel.getDimSize(3);
  int64_t pack = panel.getDimSize(3);
  int64_t width = getRows().getType().getWidth();
  if ((width + pack - 1) / pack * pack != depth) // flow.mma C2
    return emitOpError("expected the panel's ")
           << depth << " input channels to match the tile's width " << width;
  if (Value ahead = getAhead()) {
    auto next = cast<MemRefType>(ahead.getType());
    if (next.getElementType() != panel.getElementType() ||
        next.getRank() != 4 ||
        next.getShape().drop_front() !=
            panel.getShape().drop_front()) // flow.mma C3
      return emitOpError("expected 'ahead' to hold panels like those of ")
             << panel << ", but got " << next;
    if (getPrefetch()) // flow.mma C4
      return emitOpError("expected 'prefetch' or 'ahead', but got both");
  }
  return success();
}

LogicalResult PrefetchOp::verify() {
  if (int64_t(getBytes()) <= 0) // flow.prefetch C1
    return emitOpError("expected 'bytes' to be positive, but got ")
           << getBytes();
  return success();
}

LogicalResult MapOp::verifyRegions() {
  AccType result = getResult().getType();
  Block &block = getBody().front();
  if (block.getNumArguments() != getInputs().size()) // flow.map C2
    return emitOpError("expected one block argument an operand, but got ")
           << block.getNumArguments() << " for " << getInputs().size();
  for (auto [value, arg] : llvm::zip(getInputs(), block.getArguments())) {
    auto type = cast<AccType>(value.getType());
    if (type.getWidth() != result.getWidth() && type.getWidth() != 1)
      return emitOpError("expected an operand as wide as the result ")
             << result.getWidth() << " or 1, but got "
             << type.getWidth();            // flow.map C1
    if (arg.getType() != type.getElement()) // flow.map C2
      return emitOpError("expected block argument #")
             << arg.getArgNumber() << " to be " << type.getElement()
             << ", but got " << arg.getType();
  }
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || yield.getValues().size() != 1 ||
      yield.getValues()[0].getType() != result.getElement())
    return emitOpError("expected the region to yield one ")
           << result.getElement(); // flow.map C2
  return success();
}
