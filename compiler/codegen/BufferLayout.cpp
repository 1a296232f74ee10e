// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the values between kernels lie in memory.
#include "compiler/codegen/BufferLayout.h"

#include "dialects/flow/IR/Flow.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/IR/Builders.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace;

constexpr int64_t kLine = 64;

StepLimits StepLimits::of(ModuleOp module) {
  StepLimits limits;
  auto dict = module->getAttrOfType<DictionaryAttr>("headrace.limits");
  auto read = [&](StringRef name, int64_t &value) {
    if (dict)
      if (auto attr = dict.getAs<IntegerAttr>(name))
        value = attr.getInt();
  };
  read("max_tokens", limits.maxTokens);
  read("max_sequences", limits.maxSequences);
  read("max_context", limits.maxContext);
  return limits;
}

void StepLimits::set(ModuleOp module) const {
  Builder b(module.getContext());
  module->setAttr(
      "headrace.limits",
      b.getDictionaryAttr({
          b.getNamedAttr("max_tokens", b.getI64IntegerAttr(maxTokens)),
          b.getNamedAttr("max_sequences", b.getI64IntegerAttr(maxSequences)),
          b.getNamedAttr("max_context", b.getI64IntegerAttr(maxContext)),
      }));
}

RoutingLayout::RoutingLayout(moe::RoutingType type, const StepLimits &limits) {
  int64_t at = 0;
  auto take = [&](int64_t words) {
    int64_t here = at;
    at = int64_t(llvm::alignTo(uint64_t(at + words * 4), kLine));
    return here;
  };
  int64_t experts = type.getExperts();
  int64_t slots = limits.maxTokens * type.getSlots();
  counter = take(1);
  activeCount = take(1);
  active = take(experts);
  offsets = take(experts + 1);
  cursors = take(experts);
  ids = take(slots);
  idWeights = take(slots);
  rows = take(slots);
  weights = take(slots);
  bytes = at;
}

KvLayout::KvLayout(nn::KvCacheType type, bool gpu) {
  constexpr int64_t positions = HEADRACE_KV_PAGE_POSITIONS;
  // Pairs of 16-bit values are multiplied as bf16 by every target.
  pack = type.getElement().isBF16() ? 2 : 1;
  int64_t dim = type.getHeadDim();
  keyElements =
      int64_t(llvm::alignTo(uint64_t(dim), gpu ? 32 : pack)) * positions;
  valueElements = int64_t(llvm::alignTo(uint64_t(dim), 32)) * positions;
  headElements = keyElements + valueElements;
  layerElements = headElements * type.getHeads();
  pageElements = layerElements * type.getLayers();
}

bool headrace::isWeightType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.hasStaticShape();
}

int64_t headrace::weightSlots(RankedTensorType type) {
  return type.getRank() >= 3 ? type.getDimSize(0) : 1;
}

/// Rows of `width` elements, padded for products where the element is short.
static MemRefType rowsType(int64_t width, Type element) {
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  // Only the operands of products are short.
  if (bytes != 2)
    return MemRefType::get({ShapedType::kDynamic, width}, element);
  // One more element than the width, because an odd width is read in pairs.
  int64_t stride =
      int64_t(llvm::alignTo(uint64_t((width + width % 2) * bytes), kLine));
  if (stride / kLine % 2 == 0)
    stride += kLine;
  return MemRefType::get(
      {ShapedType::kDynamic, width}, element,
      StridedLayoutAttr::get(element.getContext(), 0, {stride / bytes, 1}));
}

MemRefType headrace::memoryType(Type type, const StepLimits &limits) {
  MLIRContext *context = type.getContext();
  Type i8 = IntegerType::get(context, 8);
  if (auto routing = dyn_cast<moe::RoutingType>(type))
    return MemRefType::get({RoutingLayout(routing, limits).bytes}, i8);
  if (auto buckets = dyn_cast<moe::BucketsType>(type))
    return rowsType(buckets.getWidth(), buckets.getElement());
  if (auto cache = dyn_cast<nn::KvCacheType>(type))
    return MemRefType::get({ShapedType::kDynamic}, cache.getElement());
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return {};
  if (!tensor.hasStaticShape()) {
    ArrayRef<int64_t> shape = tensor.getShape();
    if (!tensor.isDynamicDim(0) || tensor.getNumDynamicDims() != 1 ||
        !tensor.getElementType().isIntOrFloat())
      return {};
    Type element = tensor.getElementType();
    if (element.isInteger(1)) // A byte each.
      element = i8;
    return shape.size() == 2 ? rowsType(shape[1], element)
                             : MemRefType::get(shape, element);
  }
  Attribute packing = tier::packingOf(tensor);
  if (tier::scaledOf(tensor) && packing) {
    // Elements and scales in one: bytes.
    ArrayRef<int64_t> shape = tensor.getShape();
    int64_t out = shape[shape.size() - 2];
    SmallVector<int64_t> memory(shape.drop_back(2));
    if (auto panels = dyn_cast<flow::PanelsAttr>(packing))
      memory.append({panels.getPanelCount(out), panels.getPanelBytes(tensor)});
    else if (auto blocks = dyn_cast<flow::FragmentsAttr>(packing))
      memory.append(
          {blocks.getRowBlocks(out), blocks.getRowBlockBytes(tensor)});
    return MemRefType::get(memory, i8);
  }
  if (auto panels = dyn_cast_or_null<flow::PanelsAttr>(packing)) {
    ArrayRef<int64_t> shape = tensor.getShape();
    int64_t out = shape[shape.size() - 2], in = shape.back();
    int64_t pack = panels.getPack();
    SmallVector<int64_t> memory(shape.drop_back(2));
    memory.append({panels.getPanelCount(out), (in + pack - 1) / pack,
                   panels.getColumns(), pack});
    return MemRefType::get(memory, tensor.getElementType());
  }
  if (auto blocks = dyn_cast_or_null<flow::FragmentsAttr>(packing)) {
    ArrayRef<int64_t> shape = tensor.getShape();
    SmallVector<int64_t> memory(shape.drop_back(2));
    memory.append({blocks.getRowBlocks(shape[shape.size() - 2]),
                   blocks.getColumnBlocks(shape.back()), 32, 8});
    return MemRefType::get(memory, tensor.getElementType());
  }
  return MemRefType::get(tensor.getShape(), tensor.getElementType());
}

int64_t headrace::bufferBytes(Type type, const StepLimits &limits) {
  MemRefType memory = memoryType(type, limits);
  int64_t element = memory.getElementType().getIntOrFloatBitWidth() / 8;
  int64_t rows = limits.maxTokens;
  if (auto buckets = dyn_cast<moe::BucketsType>(type))
    rows *= buckets.getSlots();
  SmallVector<int64_t> strides;
  int64_t offset = 0;
  (void)memory.getStridesAndOffset(strides, offset);
  int64_t first = memory.getShape()[0];
  int64_t count = first == ShapedType::kDynamic ? rows : first;
  return int64_t(llvm::alignTo(uint64_t(count * strides[0] * element), kLine));
}
