// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One step of a package on a machine.
#include "tools/headrace/timeline/SimulateStep.h"

#include "tools/plan-check/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"

using namespace headrace;
using namespace headrace::simulate;
using namespace headrace::tools;

llvm::Expected<Simulation> tools::simulateStep(const std::string &package,
                                               const Machine &machine,
                                               const StepRequest &request) {
  plancheck::PackageReader reader;
  std::string error;
  if (!reader.open(package, &error))
    return llvm::createStringError(error);
  const abi::Manifest &manifest = reader.manifest();
  if (auto found = plancheck::checkPlan(manifest); !found.empty())
    return llvm::createStringError(package + ": the plan breaks rule '" +
                                   plancheck::ruleName(found[0].rule) +
                                   "': " + found[0].text);
  uint32_t entry = 0;
  for (uint32_t i = 0; i < manifest.entries()->size(); ++i)
    if (manifest.entries()->Get(i)->name()->string_view() == "forward")
      entry = i;
  if (manifest.entries()->size() == 0)
    return llvm::createStringError(package + ": has no entry to run");
  const StepShape &shape = request.shape;
  const abi::Limits &limits = *manifest.limits();
  if (shape.tokens > limits.max_tokens() ||
      shape.sequences > limits.max_sequences())
    return llvm::createStringError(
        "%s: a step of %llu tokens of %llu sequences was asked for, but it was "
        "compiled for %u and %u",
        package.c_str(), (unsigned long long)shape.tokens,
        (unsigned long long)shape.sequences, limits.max_tokens(),
        limits.max_sequences());
  LaunchWork work(manifest);
  std::string source = request.source;
  if (manifest.plan() && source.empty()) {
    const std::string fast =
        manifest.levels()->Get(manifest.plan()->fast_level())->name()->str();
    for (const Machine::Level &level : machine.levels)
      if (level.name != fast && machine.link(level.name, fast))
        source = level.name; // Levels are ordered from fast to slow.
  }
  if (!source.empty() && !machine.level(source))
    return llvm::createStringError("machine '" + machine.name +
                                   "' has no level '" + source + "'");
  PackageSimulator simulator(manifest, machine, entry, source,
                             randomRouting(work.experts(), request.seed));
  for (uint64_t i = 0; i < request.warmUp; ++i)
    simulator.step(shape);
  Simulation step = simulator.step(shape);
  step.what = shape.tokens == shape.sequences
                  ? "one decode step of " + std::to_string(shape.tokens) +
                        (shape.tokens == 1 ? " sequence" : " sequences")
                  : "a step of " + std::to_string(shape.tokens) + " tokens";
  step.what += " after " + std::to_string(shape.context) + " positions";
  return step;
}
