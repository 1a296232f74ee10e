// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the definitions of our passes share.
#ifndef HEADRACE_COMPILER_TRANSFORMS_PASSESDETAIL_H
#define HEADRACE_COMPILER_TRANSFORMS_PASSESDETAIL_H

#include "compiler/transforms/Passes.h"
#include "dialects/flow/IR/Flow.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace headrace {

/// Marks a call, and its launch, whose routing is only a guess.
constexpr llvm::StringLiteral kPredicts = "predicts";

/// A pass over a module that may create ops of our dialects and of arith and
/// tensor.
template <typename Derived>
struct ModulePass
    : public mlir::PassWrapper<Derived, mlir::OperationPass<mlir::ModuleOp>> {
  void getDependentDialects(mlir::DialectRegistry &registry) const override {
    registry.insert<flow::FlowDialect, tier::TierDialect,
                    mlir::arith::ArithDialect, mlir::tensor::TensorDialect>();
  }
};

/// Columns [from, from + width) of the rows `value`.
inline mlir::Value sliceColumns(mlir::OpBuilder &b, mlir::Location loc,
                                mlir::Value value, int64_t from,
                                int64_t width) {
  auto type = mlir::cast<mlir::RankedTensorType>(value.getType());
  mlir::Value rows = mlir::tensor::DimOp::create(b, loc, value, 0);
  mlir::OpFoldResult zero = b.getIndexAttr(0), one = b.getIndexAttr(1);
  return mlir::tensor::ExtractSliceOp::create(
      b, loc,
      mlir::RankedTensorType::get({mlir::ShapedType::kDynamic, width},
                                  type.getElementType()),
      value, {zero, b.getIndexAttr(from)}, {rows, b.getIndexAttr(width)},
      {one, one});
}

} // namespace headrace

#define HEADRACE_PASS(flag, summary)                                           \
  llvm::StringRef getArgument() const final { return flag; }                   \
  llvm::StringRef getDescription() const final { return summary; }

#endif // HEADRACE_COMPILER_TRANSFORMS_PASSESDETAIL_H
