// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What code generation needs to know about the processor it compiles for.
#ifndef HEADRACE_COMPILER_CODEGEN_CPU_CPUTARGET_H
#define HEADRACE_COMPILER_CODEGEN_CPU_CPUTARGET_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace headrace {

/// A processor as code generation sees it.
struct CpuTarget {
  std::string cpu;      ///< LLVM's name of the processor.
  uint64_t features;    ///< headrace_cpu_feature_t bits the code needs.
  int64_t vectorFloats; ///< float32 values in one vector register.
  int64_t vectors;      ///< vector registers.
  bool bf16Dot;         ///< has VDPBF16PS and VBMI.
  /// What a product asks for while it reads its weights.
  struct Prefetch {
    int64_t bytes; ///< Behind the read point.
    int32_t hint;  ///< 3: into the first level; 2: into the second.
  };
  /// Asked for by products of at least `prefetchRows` rows; with fewer the
  /// processor's own prefetcher keeps up.
  llvm::SmallVector<Prefetch, 2> prefetches = {{8192, 3}};
  int64_t prefetchRows = 3;

  /// Rows of the widest register tile of `columns` columns that, with its
  /// weights and one broadcast, stays in the registers.
  int64_t rowLimit(int64_t columns) const {
    int64_t perRow = columns / vectorFloats;
    int64_t rows = (vectors - perRow - 2) / perRow;
    return rows < 1 ? 1 : rows > 14 ? 14 : rows;
  }
};

/// The target that `--cpu=` names: `native`, `x86-64-v3`, `x86-64-v4`, or a
/// processor name LLVM knows that has at least AVX2. `native` on a processor
/// without AVX2 is an error.
llvm::Expected<CpuTarget> resolveCpuTarget(const std::string &name);

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_CPU_CPUTARGET_H
