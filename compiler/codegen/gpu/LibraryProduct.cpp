// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Finds dense products that the driver's library runs as they are: rows times
// row-major weights, with a bias, added to what is in the result or not.
#include "compiler/codegen/ProgramBuilder.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "compiler/codegen/gpu/RowStage.h"

using namespace mlir;
using namespace headrace;

/// Whether every launch of `kernel` writes its result over operand `argument`.
static bool isReplaced(flow::KernelOp kernel, unsigned argument) {
  bool all = true;
  kernel->getParentOfType<ModuleOp>().walk([&](flow::LaunchOp launch) {
    if (launch.getKernel() == kernel.getSymName())
      all &= launch.getInputs()[argument] == launch.getResults()[0];
  });
  return all;
}

static int64_t strideOf(Type type, const StepLimits &limits) {
  SmallVector<int64_t> strides;
  int64_t offset = 0;
  (void)memoryType(type, limits).getStridesAndOffset(strides, offset);
  return strides[0];
}

std::optional<DeviceKernel> headrace::libraryProduct(flow::KernelOp kernel,
                                                     const StepLimits &limits) {
  Block &body = kernel.getBody().front();
  nn::LinearOp linear;
  kernel.getBody().walk([&](nn::LinearOp op) { linear = op; });
  if (kernel.getFamily() != "linear" || !linear ||
      kernel.getType().getNumResults() != 1)
    return std::nullopt;
  auto weight = cast<RankedTensorType>(linear.getWeight().getType());
  Type element = weight.getElementType();
  auto result = cast<RankedTensorType>(kernel.getType().getResult(0));
  RowSource source;
  if (weight.getEncoding() || !(element.isBF16() || element.isF16()) ||
      failed(matchRows(linear.getInput(), source)))
    return std::nullopt;

  LibraryOperands operands;
  Value value = body.getTerminator()->getOperand(0);
  if (auto rounded = value.getDefiningOp<arith::TruncFOp>())
    value = rounded.getIn();
  bool accumulate = false;
  if (auto sum = value.getDefiningOp<arith::AddFOp>()) {
    bool first = sum.getLhs() == linear.getResult();
    auto addend = dyn_cast<BlockArgument>(first ? sum.getRhs() : sum.getLhs());
    if (!addend || addend.getType() != result ||
        !isReplaced(kernel, addend.getArgNumber()))
      return std::nullopt;
    accumulate = true;
    value = first ? sum.getLhs() : sum.getRhs();
  }
  if (value != linear.getResult())
    return std::nullopt;
  auto numberOf = [](Value argument) {
    return cast<BlockArgument>(argument).getArgNumber();
  };
  if (Value bias = linear.getBias()) {
    // The library's biases have the type of the result (cublasLt.h,
    // CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE).
    if (cast<RankedTensorType>(bias.getType()).getElementType() !=
        result.getElementType())
      return std::nullopt;
    operands.bias = numberOf(bias);
  }
  operands.weight = numberOf(linear.getWeight());
  Type rows = RankedTensorType::get(
      {ShapedType::kDynamic, weight.getDimSize(1)}, element);
  if (isReady(source, element)) {
    operands.x = numberOf(source.argument);
    rows = source.argument.getType();
  }

  OpBuilder b(kernel);
  DeviceKernel made;
  made.name = (kernel.getSymName() + "_library").str();
  made.library = operands;
  auto module = gpu::GPUModuleOp::create(b, kernel.getLoc(), made.name);
  module->setAttr("headrace.family", kernel.getFamilyAttr());
  bool outputs = source.pick || kernel->hasAttr(kOutputRowsAttr);
  auto entry = [&](StringRef name, int64_t number) {
    return b.getNamedAttr(name, b.getI64IntegerAttr(number));
  };
  module->setAttr(
      kProductAttr,
      b.getDictionaryAttr(
          {b.getNamedAttr("accumulate", b.getBoolAttr(accumulate)),
           b.getNamedAttr("element", TypeAttr::get(element)),
           entry("in", weight.getDimSize(1)),
           entry("out", weight.getDimSize(0)),
           b.getNamedAttr("outputs", b.getBoolAttr(outputs)),
           entry("x_stride", strideOf(rows, limits)),
           b.getNamedAttr("y_element", TypeAttr::get(result.getElementType())),
           entry("y_stride", strideOf(result, limits))}));
  return made;
}
