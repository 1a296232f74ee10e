// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One step of a package on a machine.
#include "tools/headrace/timeline/SimulateStep.h"

#include "tools/package-reader/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"

using namespace headrace;
using namespace headrace::simulate;
using namespace headrace::tools;

namespace {

/// A package that has passed the checker, and what its simulator needs.
struct Checked {
  plancheck::PackageReader reader;
  uint32_t entry = 0;
  std::string source; ///< Level that bundles are read from.

  const abi::Manifest &manifest() const { return reader.manifest(); }
};

llvm::Error open(const std::string &package, const Machine &machine,
                 const std::string &source, Checked &out) {
  std::string error;
  if (!out.reader.open(package, &error))
    return llvm::createStringError(error);
  const abi::Manifest &manifest = out.manifest();
  if (auto found = plancheck::checkPlan(manifest); !found.empty())
    return llvm::createStringError(package + ": the plan breaks rule '" +
                                   plancheck::ruleName(found[0].rule) +
                                   "': " + found[0].text);
  if (manifest.entries()->size() == 0)
    return llvm::createStringError(package + ": has no entry to run");
  for (uint32_t i = 0; i < manifest.entries()->size(); ++i)
    if (manifest.entries()->Get(i)->name()->string_view() == "forward")
      out.entry = i;
  out.source = source;
  if (manifest.plan() && source.empty()) {
    const std::string fast =
        manifest.levels()->Get(manifest.plan()->fast_level())->name()->str();
    for (const Machine::Level &level : machine.levels)
      if (level.name != fast && machine.link(level.name, fast))
        out.source = level.name; // Levels are ordered from fast to slow.
  }
  if (!out.source.empty() && !machine.level(out.source))
    return llvm::createStringError("machine '" + machine.name +
                                   "' has no level '" + out.source + "'");
  return llvm::Error::success();
}

llvm::Error checkShape(const std::string &package,
                       const abi::Manifest &manifest, const StepShape &shape) {
  const abi::Limits &limits = *manifest.limits();
  if (shape.tokens <= limits.max_tokens() &&
      shape.sequences <= limits.max_sequences())
    return llvm::Error::success();
  return llvm::createStringError(
      "%s: a step of %llu tokens of %llu sequences was asked for, but it was "
      "compiled for %u and %u",
      package.c_str(), (unsigned long long)shape.tokens,
      (unsigned long long)shape.sequences, limits.max_tokens(),
      limits.max_sequences());
}

} // namespace

llvm::Expected<Simulation> tools::simulateStep(const std::string &package,
                                               const Machine &machine,
                                               const StepRequest &request) {
  Checked checked;
  if (llvm::Error error = open(package, machine, request.source, checked))
    return std::move(error);
  const abi::Manifest &manifest = checked.manifest();
  const StepShape &shape = request.shape;
  if (llvm::Error error = checkShape(package, manifest, shape))
    return std::move(error);
  PackageSimulator simulator(
      manifest, machine, checked.entry, checked.source,
      randomRouting(LaunchWork(manifest).experts(), request.seed));
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

llvm::Expected<std::vector<Simulation>>
tools::simulatePasses(const std::string &package, const Machine &machine,
                      const std::string &source,
                      const std::vector<RecordedPass> &passes) {
  Checked checked;
  if (llvm::Error error = open(package, machine, source, checked))
    return std::move(error);
  Routing drawn =
      randomRouting(LaunchWork(checked.manifest()).experts(), /*seed=*/0);
  PackageSimulator simulator(
      checked.manifest(), machine, checked.entry, checked.source,
      [&](uint64_t step, uint32_t layer, uint64_t count) {
        const auto &routed = passes[step].routed;
        return layer < routed.size() ? routed[layer]
                                     : drawn(step, layer, count);
      },
      [&](uint64_t step, uint32_t layer) {
        auto found = passes[step].predicted.find(layer);
        return found == passes[step].predicted.end() ? std::vector<uint32_t>()
                                                     : found->second;
      });
  std::vector<Simulation> steps;
  for (const RecordedPass &pass : passes) {
    if (llvm::Error error = checkShape(package, checked.manifest(), pass.shape))
      return std::move(error);
    steps.push_back(simulator.step(pass.shape));
  }
  return steps;
}
