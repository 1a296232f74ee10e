// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers the nn dialect with its attributes and types, and verifies those.
#include "dialects/nn/IR/Nn.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace headrace::nn;

/// Parameters of attributes that are numbers: read as double.
template <> struct mlir::FieldParser<llvm::APFloat> {
  static FailureOr<llvm::APFloat> parse(AsmParser &parser) {
    double value = 0;
    if (parser.parseFloat(value))
      return failure();
    return llvm::APFloat(value);
  }
};

#include "dialects/nn/IR/NnDialect.cpp.inc"

#include "dialects/nn/IR/NnEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/nn/IR/NnAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/nn/IR/NnTypes.cpp.inc"

void headrace::nn::NnDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/nn/IR/NnAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/nn/IR/NnTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/nn/IR/NnOps.cpp.inc"
      >();
}

LogicalResult RopeAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               RopeKind kind, int64_t dim, APFloat thetaValue,
                               APFloat factorValue, APFloat lowValue,
                               APFloat highValue, int64_t original,
                               APFloat attentionFactor, bool truncate) {
  double theta = thetaValue.convertToDouble();
  double factor = factorValue.convertToDouble();
  double low = lowValue.convertToDouble(), high = highValue.convertToDouble();
  if (dim <= 0 || dim % 2) // nn.rope_table C1
    return emitError() << "expected dim of a rope table to be positive and "
                       << "even, but got " << dim;
  if (!(theta > 0) || !(factor > 0)) // nn.rope_table C1
    return emitError() << "expected theta and factor of a rope table to be "
                       << "positive, but got " << theta << " and " << factor;
  bool needsOriginal = kind == RopeKind::llama3 || kind == RopeKind::yarn;
  if (needsOriginal && original <= 0) // nn.rope_table C2
    return emitError() << "expected original of a " << stringifyRopeKind(kind)
                       << " rope table to be positive, but got " << original;
  if (kind == RopeKind::llama3 && !(low < high)) // nn.rope_table C3
    return emitError() << "expected low of a llama3 rope table to be less than "
                       << "high, but got " << low << " and " << high;
  if (!truncate && kind != RopeKind::yarn) // nn.rope_table C4
    return emitError() << "expected truncate = false with kind yarn only, but "
                       << "got " << stringifyRopeKind(kind);
  return success();
}

LogicalResult KvCacheType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t layers, int64_t heads,
                                  int64_t headDim, Type element) {
  if (layers <= 0 || heads <= 0 || headDim <= 0) // nn.kv_cache C1
    return emitError()
           << "expected layers, heads and head_dim of a KV cache to "
           << "be positive, but got " << layers << ", " << heads << " and "
           << headDim;
  if (!element.isF32() && !element.isBF16() && !element.isF16())
    return emitError() << "expected the element of a KV cache to be f32, bf16 "
                       << "or f16, but got " << element; // nn.kv_cache C1
  return success();
}
