// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the kernels of a family compute: their regions, taken apart once for the
// code generators of all targets.
#ifndef HEADRACE_COMPILER_CODEGEN_KERNELMATCH_H
#define HEADRACE_COMPILER_CODEGEN_KERNELMATCH_H

#include "dialects/flow/IR/Flow.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include <optional>

namespace headrace {

/// The row operand of a product, followed back to an argument of its kernel.
struct RowSource {
  mlir::Value argument;
  nn::NormOp norm;
  nn::EmbedOp pick; ///< Rows picked by an index argument.
};

/// Fails with a diagnostic at the op that is no part of a row operand.
mlir::LogicalResult matchRows(mlir::Value value, RowSource &source);

/// A product on rows: the dense one of a kernel, or the one inside experts on
/// rows that were dispatched to them. Its epilogue is what makes `yielded` of
/// it.
struct ProductMatch {
  nn::LinearOp linear;
  RowSource rows;
  mlir::Value yielded;
  moe::ExpertsOp experts;   ///< Null where the product is dense.
  moe::DispatchOp dispatch; ///< The same.
};

/// Takes a kernel of family `linear` apart.
mlir::LogicalResult matchLinear(flow::KernelOp kernel, ProductMatch &match);

/// Takes the first half of a routed feed-forward apart.
mlir::LogicalResult matchRoutedUp(flow::KernelOp kernel, ProductMatch &match);

/// The second half: a product whose rows, weighed, are added up.
struct RoutedDownMatch {
  moe::CombineOp combine;
  moe::ExpertsOp experts;
  nn::LinearOp linear;
};

mlir::LogicalResult matchRoutedDown(flow::KernelOp kernel,
                                    RoutedDownMatch &match);

/// A query, key or value: channels `offset` on of an argument's rows, then a
/// norm, clamps and a rotation, each optional, in this order.
struct HeadSource {
  mlir::Value argument;
  int64_t offset = 0;
  nn::NormOp norm;
  mlir::SmallVector<mlir::Operation *> elementwise; ///< Innermost first.
  nn::RotateOp rotate;
};

/// Follows `value` back to a kernel argument. An error names the op that has no
/// place in a head.
mlir::LogicalResult matchHead(mlir::Value value, HeadSource &source);

/// Scores with one number an expert added, as routers do that balance experts
/// by a bias of the choice alone.
struct BiasedScores {
  mlir::Value scores;
  mlir::Value bias; ///< [experts].
  mlir::DestinationStyleOpInterface
      shaped; ///< What spreads the bias over rows.
};

/// Takes `choice` apart where it is a sum of rows and of one vector: a
/// `linalg.generic` that adds the two, or `arith.addf` of a `linalg.broadcast`.
std::optional<BiasedScores> matchBiasedScores(mlir::Value choice);

/// A router: scores = squash?(linear(norm?(x))), the value those scores and the
/// choice the same, with a bias or without; or choice and value made by other
/// kernels. It may store the rounded rows of the norm too.
struct RouterMatch {
  mlir::Value input;
  nn::NormOp norm;
  nn::LinearOp linear; ///< Null where the scores are given.
  moe::SquashOp squash;
  mlir::Value bias; ///< [experts], of the choice alone; null where none is.
  moe::SelectOp select;
  moe::WeighOp weigh;
  unsigned routing = 0;           ///< Which result the routing is.
  std::optional<unsigned> stored; ///< Which one the norm's rows are.
};

/// Takes a kernel of family `router` apart. An error names the op that has no
/// place in one.
mlir::LogicalResult matchRouter(flow::KernelOp kernel, RouterMatch &match);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_KERNELMATCH_H
