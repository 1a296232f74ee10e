// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reference of nn.rope, nn.angles and nn.rotate.
#ifndef HEADRACE_COMPILER_REFERENCE_OPS_ROPE_H
#define HEADRACE_COMPILER_REFERENCE_OPS_ROPE_H

#include "compiler/reference/ops/Rows.h"

namespace headrace::reference {

enum class RopeKind { Default, Linear, Llama3, Yarn };

/// The parameters of `#nn.rope_table`, with the names used there.
struct RopeTable {
  RopeKind kind = RopeKind::Default;
  int64_t dim = 0;
  double theta = 10000.0;
  double factor = 1.0;
  double low = 1.0;
  double high = 1.0;
  int64_t original = 0;
  double attentionFactor = 1.0;
  bool truncate = true;
};

/// The `dim / 2` frequencies of a table, computed in double and rounded once.
/// With f_i = theta^(-2i/dim) (Su et al. 2021, arXiv 2104.09864):
/// - Default: f_i.
/// - Linear: f_i / factor. Chen et al. 2023, arXiv 2306.15595.
/// - Llama3: with wavelength w = 2 pi / f_i: f_i / factor where
///   w > original / low; f_i where w < original / high; else
///   (1 - s) f_i / factor + s f_i with s = (original / w - low) / (high - low).
/// - Yarn (Peng et al. 2023, arXiv 2309.00071): d(beta) =
///   dim log(original / (2 pi beta)) / (2 log theta); a = max(floor(d(high)),
///   0), b = min(ceil(d(low)), dim - 1), b = a + 0.001 if equal; r_i = clamp((i
///   - a) / (b - a), 0, 1); r_i f_i / factor + (1 - r_i) f_i. Without
///   `truncate` d is neither floored nor ceiled.
///
/// The exact forms are those of modeling_rope_utils.py of transformers;
/// `high` and `low` of yarn are its beta_fast and beta_slow.
std::vector<float> ropeFrequencies(const RopeTable &table);

/// Row t: the cosines of a_i = positions[t] * f_i, then their sines, both times
/// `attentionFactor`. The angle is a float32 product; its cosine and sine are
/// rounded to float32.
Rows angles(const std::vector<int32_t> &positions, const RopeTable &table);

/// Half pairing: with r the width of `angles`, channels i and i + r/2 of every
/// head become `x_i cos a - x_j sin a` and `x_j cos a + x_i sin a`; channels
/// from r on stay. Source: rotate_half of transformers' modeling_llama.py.
Rows rotate(Matrix input, Matrix angles, int64_t heads);

/// `rotate` by the `angles` of the rows' positions.
Rows rope(Matrix input, const std::vector<int32_t> &positions, int64_t heads,
          const RopeTable &table);

} // namespace headrace::reference

#endif // HEADRACE_COMPILER_REFERENCE_OPS_ROPE_H
