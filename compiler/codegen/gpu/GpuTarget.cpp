// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Resolves the name of a GPU and finds the tools of a CUDA toolkit.
#include "compiler/codegen/gpu/GpuTarget.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"

using namespace headrace;

bool headrace::isGpuTarget(llvm::StringRef name) {
  return name.starts_with("sm_");
}

llvm::Expected<GpuTarget> headrace::resolveGpuTarget(llvm::StringRef name) {
  if (name == "sm_80")
    return GpuTarget{name.str(), 108, 163 << 10};
  if (name == "sm_90a")
    return GpuTarget{name.str(), 132, 227 << 10};
  return llvm::createStringError("unknown GPU '%s'; expected sm_80 or sm_90a; "
                                 "newer chips run the portable "
                                 "code of either",
                                 name.str().c_str());
}

llvm::Expected<std::string> headrace::findPtxas(llvm::StringRef directory) {
  constexpr const char *kUsual = "/usr/local/cuda/bin";
  if (!directory.empty()) {
    llvm::SmallString<128> bin(directory);
    llvm::sys::path::append(bin, "bin");
    if (auto found = llvm::sys::findProgramByName("ptxas", {bin.str()}))
      return *found;
    return llvm::createStringError("%s: has no ptxas; expected a CUDA toolkit",
                                   bin.c_str());
  }
  if (auto found = llvm::sys::findProgramByName("ptxas"))
    return *found;
  if (auto found = llvm::sys::findProgramByName("ptxas", {kUsual}))
    return *found;
  return llvm::createStringError(
      "ptxas was not found on the PATH or in %s, and code for a GPU needs it; "
      "install a CUDA toolkit (12.0 or newer) or name one with --cuda=DIR",
      kUsual);
}
