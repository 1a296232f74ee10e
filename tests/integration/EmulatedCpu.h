// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the tile programs of a model compiled for a CPU: every launch of a step,
// by the machine of compiler/reference/tiles.
#ifndef HEADRACE_TESTS_INTEGRATION_EMULATEDCPU_H
#define HEADRACE_TESTS_INTEGRATION_EMULATEDCPU_H

#include "tests/integration/EmulatedModel.h"

namespace headrace::testing {

class EmulatedCpu : public EmulatedModel {
public:
  std::string cpu = "x86-64-v4";

private:
  void prepare(tools::CompileRequest &request) const override;
  llvm::Error complete() override;
  bool isGpu() const override { return false; }
  flow::ScheduleOp choose(llvm::StringRef entry, const Counts &counts) override;
  llvm::Error launch(flow::ScheduleOp schedule, flow::LaunchOp op,
                     const Counts &counts) override;
};

} // namespace headrace::testing

#endif // HEADRACE_TESTS_INTEGRATION_EMULATEDCPU_H
