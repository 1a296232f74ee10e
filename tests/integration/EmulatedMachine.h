// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stands for the machine behind the fake CUDA driver: runs what it is asked to
// launch by compiler/reference/simt.
#ifndef HEADRACE_TESTS_INTEGRATION_EMULATEDMACHINE_H
#define HEADRACE_TESTS_INTEGRATION_EMULATEDMACHINE_H

#include "compiler/reference/simt/Simt.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "tests/runtime/fake_cuda/fake_cuda.h"
#include "llvm/Support/Error.h"
#include <map>
#include <string>

namespace headrace::testing {

class EmulatedMachine {
public:
  EmulatedMachine();

  /// Takes the kernels of a dump of phase `kernels`.
  llvm::Error open(const std::string &dump);

  /// CUDA_SUCCESS and CUDA_ERROR_LAUNCH_FAILED.
  static constexpr int kDone = 0, kLaunchFailed = 719;

  /// Runs one launch; one of these results.
  int run(const tests::fake_cuda::Launch &launch);

  /// What was wrong with the first launch that failed; empty while none did.
  const std::string &failure() const { return wrong; }
  uint64_t launches() const { return count; }

private:
  llvm::Error tryRun(const tests::fake_cuda::Launch &launch);

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  simt::Memory memory;
  std::map<uint64_t, uint64_t> known; ///< Allocations that are mapped.
  std::string wrong;
  uint64_t count = 0;
};

} // namespace headrace::testing

#endif // HEADRACE_TESTS_INTEGRATION_EMULATEDMACHINE_H
