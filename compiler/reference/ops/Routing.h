// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference of the moe ops: scores to selection to routing, dispatch, combine.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_ROUTING_H
#define HEADRACE_COMPILER_REFERENCE_OPS_ROUTING_H

#include "compiler/reference/ops/Element.h"
#include "compiler/reference/ops/Rows.h"

namespace headrace::reference {

enum class SquashKind { Softmax, Sigmoid };

/// - Softmax: e^(x - max) / sum e^(x - max) over the row's experts.
/// - Sigmoid: 1 / (1 + e^-x).
Rows squash(SquashKind kind, Matrix scores);

/// Which experts each row picked: `experts[row * slots + slot]`.
struct Selection {
  int64_t expertCount = 0;
  int64_t slots = 0;
  std::vector<int32_t> experts;

  int64_t rows() const { return int64_t(experts.size()) / slots; }
};

/// The `topK` largest scores of each row, largest first. Of equal scores the
/// lower expert comes first; a NaN is smaller than every other score.
/// Source: Shazeer et al. 2017, arXiv 1701.06538, with a stated tie rule.
Selection select(int64_t topK, Matrix choice);

/// For each row the `topK`-th largest minus the next score, infinite where
/// every expert is picked: how far the row is from another selection.
std::vector<float> selectionMargins(int64_t topK, Matrix choice);

/// A selection with a weight a slot, in the order of `selection.experts`.
struct Routing {
  Selection selection;
  std::vector<float> weights;
};

enum class WeighNorm { None, Sum, PNorm, Softmax };

/// With v_j = value[row, expert of slot j], over the row's slots in slot order:
/// - None: v_j
/// - Sum: v_j / (sum v_j + eps). DeepSeek-V3, arXiv 2412.19437;
///   eps as in its published modeling file.
/// - PNorm: v_j / (sum |v_j|^p)^(1/p).
/// - Softmax: e^(v_j - max) / sum e^(v_j - max). Mixtral, arXiv 2401.04088.
///
/// then times `scale`. A sum, or a divisor, of zero gives weights of zero.
Routing weigh(const Selection &selection, Matrix value, WeighNorm norm,
              float eps = 0.0f, float p = 1.0f, float scale = 1.0f);

/// Rows grouped by expert: `rows[e]` are the numbers of the rows that picked
/// expert e, ascending, and `values[e]` their values in that order.
struct Buckets {
  int64_t slots = 0;
  int64_t width = 0;
  std::vector<std::vector<int32_t>> rows;
  std::vector<Rows> values;
};

/// A row stands in the bucket of each of its experts. Values are rounded to
/// `element`. Source: MegaBlocks, Gale et al. 2022, arXiv 2211.15841
/// (dropless).
Buckets dispatch(Matrix input, const Routing &routing,
                 Element element = Element::F32);

/// Whether `buckets` hold exactly the rows that `routing` sends to each expert.
bool bucketsMatch(const Buckets &buckets, const Routing &routing);

/// `result[t] = base[t] + sum over the row's experts, ascending, of weight *
/// expert row`: the sum starts at the addends of `base`, added in order, or at
/// zero. `buckets` must match `routing`.
Rows combine(const Buckets &buckets, const Routing &routing,
             const std::vector<Matrix> &base);

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_ROUTING_H
