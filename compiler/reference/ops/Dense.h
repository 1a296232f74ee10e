// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference of nn.embed, nn.linear, nn.norm and the elementwise nn ops.
//
// Every function is the definition of its op in the plainest loops that compute
// it. All arithmetic is float32 and every sum runs in ascending order, so that
// a row's result does not depend on the rows beside it.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_DENSE_H
#define HEADRACE_COMPILER_REFERENCE_OPS_DENSE_H

#include "compiler/reference/ops/Element.h"
#include "compiler/reference/ops/Rows.h"

#include <limits>

namespace headrace::reference {

/// `result[t, :] = table[ids[t], :]`. Every id must be a row of the table.
/// Source: torch.nn.Embedding.
Rows embed(const std::vector<int32_t> &ids, Matrix table);

/// `result[t, n] = bias[n] + sum_k round(input[t, k]) * weight[n, k]`: the sum
/// starts at zero, k ascending, and the bias, where not null, is added last.
/// `inputs` is the type that the input is rounded to (F32: not at all).
/// Source: torch.nn.functional.linear.
Rows linear(Matrix input, Matrix weight, const float *bias,
            Element inputs = Element::F32);

enum class NormKind { Rms, Layer, L2 };

/// Normalises each of `groups` equal parts (n channels) of each row:
/// - Rms: x / sqrt(mean(x^2) + eps). Zhang & Sennrich 2019, arXiv 1910.07467.
/// - Layer: (x - mean) / sqrt(mean((x - mean)^2) + eps). Ba et al. 2016,
///   arXiv 1607.06450.
/// - L2: x / sqrt(sum(x^2) + eps).
///
/// then times `weight` and plus `bias`, n values each, where not null.
Rows norm(NormKind kind, Matrix input, const float *weight, const float *bias,
          float eps, int64_t groups = 1);

enum class Activation { Silu, Gelu, GeluTanh, Relu, Sigmoid };

/// - Silu: x / (1 + e^-x). Ramachandran et al. 2017, arXiv 1710.05941.
/// - Gelu: x/2 (1 + erf(x / sqrt 2)). Hendrycks & Gimpel 2016, arXiv
/// 1606.08415.
/// - GeluTanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), ibid.
/// - Relu: x where x > 0, NaN where x is NaN, else 0.
/// - Sigmoid: 1 / (1 + e^-x).
float activate(Activation kind, float x);
Rows act(Activation kind, Matrix input);

/// What a gated unit may have besides its activation.
struct GluOptions {
  /// Of Silu: x / (1 + e^(-alpha x)).
  float alpha = 1.0f;
  /// `gate` is cut off above it, `up` on both sides; a NaN stays NaN.
  float limit = std::numeric_limits<float>::infinity();
  /// Added to `up`.
  float offset = 0.0f;
};

/// `act(min(gate, limit)) * (clamp(up, -limit, limit) + offset)`. Source:
/// Shazeer 2020, arXiv 2002.05202; alpha, limit and offset: Agarwal et al. 2025
/// (gpt-oss), arXiv 2508.10925, as in transformers' modeling_gpt_oss.py.
Rows glu(Activation kind, Matrix gate, Matrix up,
         const GluOptions &options = {});

/// `min(max(x, low), high)`; a NaN stays NaN. Source: torch.clamp.
Rows clamp(Matrix input, float low, float high);

/// `result[t, :] = input[t, :] * factor[t, 0]`.
Rows scale(Matrix input, Matrix factor);

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_DENSE_H
