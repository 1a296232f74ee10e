// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What code generation needs to know about the GPU it compiles for, and where
// the tools of a CUDA toolkit are.
#ifndef HEADRACE_COMPILER_CODEGEN_GPU_GPUTARGET_H
#define HEADRACE_COMPILER_CODEGEN_GPU_GPUTARGET_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace headrace {

/// A GPU as code generation sees it.
struct GpuTarget {
  std::string chip;    ///< As ptxas calls it: sm_80, sm_90a.
  int64_t processors;  ///< Multiprocessors of the chip's largest product.
  int64_t sharedBytes; ///< Shared memory that one block may have.
};

/// The chip of the portable code in every GPU package.
constexpr const char *kPortableChip = "sm_80";

/// Whether `--target=` names a GPU.
bool isGpuTarget(llvm::StringRef name);

/// The target that `--target=` names: `sm_80` or `sm_90a`.
llvm::Expected<GpuTarget> resolveGpuTarget(llvm::StringRef name);

/// The assembler of a CUDA toolkit: in `directory`/bin, or, where that is
/// empty, on the PATH or in /usr/local/cuda/bin. An error says where it was
/// looked for and what needs it.
llvm::Expected<std::string> findPtxas(llvm::StringRef directory = "");

} // namespace headrace

#endif // HEADRACE_COMPILER_CODEGEN_GPU_GPUTARGET_H
