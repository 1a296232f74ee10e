// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a model compiled for a GPU without one: every launch of a step, by the
// machine of compiler/reference/simt.
#ifndef HEADRACE_TESTS_INTEGRATION_EMULATEDGPU_H
#define HEADRACE_TESTS_INTEGRATION_EMULATEDGPU_H

#include "tests/integration/EmulatedModel.h"

namespace headrace::testing {

class EmulatedGpu : public EmulatedModel {
public:
  explicit EmulatedGpu(std::string chip = "sm_90a") : chip(std::move(chip)) {}

  std::string chip;
  bool portable = false; ///< Runs what is in the portable PTX.
  /// Every launch has the blocks of its class's largest step, as in a captured
  /// graph.
  bool captured = false;

private:
  void prepare(tools::CompileRequest &request) const override;
  bool isGpu() const override { return true; }
  flow::ScheduleOp choose(llvm::StringRef entry, const Counts &counts) override;
  llvm::Error launch(flow::ScheduleOp schedule, flow::LaunchOp op,
                     const Counts &counts) override;
};

} // namespace headrace::testing

#endif // HEADRACE_TESTS_INTEGRATION_EMULATEDGPU_H
