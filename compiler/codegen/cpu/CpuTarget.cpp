// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Resolves the name of a processor to what code generation needs to know.
#include "compiler/codegen/cpu/CpuTarget.h"

#include "runtime/abi/kernel_abi.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/X86TargetParser.h"

using namespace headrace;

llvm::Expected<CpuTarget> headrace::resolveCpuTarget(const std::string &name) {
  llvm::StringRef cpu = name;
  if (cpu == "native")
    cpu = llvm::sys::getHostCPUName();
  llvm::StringMap<bool> has;
  llvm::SmallVector<llvm::StringRef> known;
  llvm::X86::fillValidCPUArchList(known, /*Only64Bit=*/true);
  if (!llvm::is_contained(known, cpu))
    return llvm::createStringError("unknown processor '%s'; expected native, "
                                   "x86-64-v3, x86-64-v4 or a name LLVM knows",
                                   name.c_str());
  llvm::SmallVector<llvm::StringRef> names;
  llvm::X86::getFeaturesForCPU(cpu, names);
  for (llvm::StringRef feature : names)
    has[feature] = true;
  // A virtual machine may hide what its processor has.
  if (name == "native") {
    auto host = llvm::sys::getHostCPUFeatures();
    for (auto &entry : has)
      if (auto it = host.find(entry.getKey()); it != host.end())
        entry.second = it->second;
    for (auto &entry : host)
      if (entry.second)
        has[entry.getKey()] = true;
  }
  auto all = [&](std::initializer_list<const char *> features) {
    for (const char *feature : features)
      if (!has.lookup(feature))
        return false;
    return true;
  };
  if (!all({"avx2", "fma", "f16c", "bmi2"}))
    return llvm::createStringError(
        "processor '%s' lacks AVX2, FMA, F16C or BMI2, which generated code "
        "needs; compile for --cpu=x86-64-v3 to run elsewhere",
        cpu.str().c_str());
  CpuTarget target;
  target.cpu = cpu.str();
  target.features = HEADRACE_CPU_AVX2;
  target.vectorFloats = 8;
  target.vectors = 16;
  target.bf16Dot = false;
  // Each of these has AVX-512 F, which LLVM's list for x86-64-v4 leaves out.
  if (all({"avx512bw", "avx512cd", "avx512dq", "avx512vl"})) {
    target.features |= HEADRACE_CPU_AVX512;
    target.vectorFloats = 16;
    target.vectors = 32;
    // Encoded weights decode by tables of bytes. One generation of processors
    // (Cooper Lake) has dot products without them.
    if (all({"avx512bf16", "avx512vbmi"})) {
      target.features |= HEADRACE_CPU_AVX512_BF16;
      target.bf16Dot = true;
    }
  }
  // Measured with weights beyond the caches: Zen 5 wants lines in its first
  // level from 3 rows on. Zen 4 wants them from 6 rows on, first in its second
  // level: the first one has too few fills at a time to wait for memory.
  if (cpu == "znver3" || cpu == "znver4") {
    target.prefetchRows = 6;
    target.prefetches = {{16384, 2}, {2048, 3}};
  }
  return target;
}
