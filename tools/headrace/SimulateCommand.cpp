// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace simulate: how long a package's steps take on a described machine.
#include "compiler/machine/LoadMachine.h"
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/bench/DecodeTimes.h"
#include "tools/headrace/bench/MachineProbe.h"
#include "tools/headrace/bench/Timing.h"
#include "tools/headrace/timeline/SimulateStep.h"
#include "tools/headrace/timeline/Timeline.h"
#include "tools/simulate/Switching.h"
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <map>

using namespace headrace;
using namespace headrace::simulate;
using namespace headrace::tools;

namespace {

/// "1.23 ms": three digits, whatever the size.
std::string seconds(double value) {
  const char *unit = "s";
  double scale = 1;
  if (value < 1e-3) {
    unit = "us";
    scale = 1e6;
  } else if (value < 1) {
    unit = "ms";
    scale = 1e3;
  }
  char text[48];
  snprintf(text, sizeof(text), "%.3g %s", value * scale, unit);
  return text;
}

void print(const Simulation &step) {
  printf("%s on %s, %s\n", step.model.c_str(), step.machine.c_str(),
         step.what.c_str());
  printf("  step              %s\n", seconds(step.seconds).c_str());
  printf("  a token           %s\n",
         seconds(step.seconds / double(step.tokens)).c_str());
  printf("  waiting           %s\n", seconds(step.stalled).c_str());
  if (step.hits + step.misses)
    printf("  experts found     %" PRIu64 " of %" PRIu64 "\n", step.hits,
           step.hits + step.misses);
  for (const std::string &one : step.missing)
    printf("  the machine's description lacks %s: taken to need no time\n",
           one.c_str());
  struct Sum {
    size_t count = 0;
    double seconds = 0, bytes = 0, operations = 0;
  };
  std::map<std::pair<size_t, std::string>, Sum> sums;
  for (const Bar &bar : step.bars) {
    if (bar.kind == Bar::Kind::wait)
      continue;
    bool transfer = bar.kind == Bar::Kind::transfer;
    Sum &sum = sums[{bar.lane, transfer ? step.lanes[bar.lane] : bar.name}];
    ++sum.count;
    sum.seconds += bar.end - bar.begin;
    sum.bytes += bar.bytes;
    sum.operations += bar.operations;
  }
  printf("  %-22s %6s  %10s  %14s  %12s\n", "kernel or link", "times", "time",
         "bytes", "GFLOP");
  for (const auto &[key, sum] : sums)
    printf("  %-22s %6zu  %10s  %14.0f  %12.3f\n", key.second.c_str(),
           sum.count, seconds(sum.seconds).c_str(), sum.bytes,
           sum.operations * 1e-9);
}

/// What a prediction may be off by.
constexpr double kTolerance = 0.2;
/// Steps that are timed.
constexpr uint64_t kTimedSteps = 32;

/// Runs decode steps, simulates the same ones with the routing that they had,
/// and compares times and bytes.
int compare(const std::string &package, const Machine &machine,
            const StepRequest &request, unsigned threads) {
  auto measured = bench::timePasses(package, threads, request.shape.context,
                                    request.warmUp + kTimedSteps, request.seed);
  if (!measured)
    return fail(llvm::toString(measured.takeError()));
  std::vector<RecordedPass> passes;
  uint64_t context = 0;
  for (const bench::TimedPass &pass : *measured) {
    passes.push_back(
        {{pass.tokens, 1, 1, context}, pass.routed, pass.predicted});
    context += pass.tokens;
  }
  auto predicted = simulatePasses(package, machine, request.source, passes);
  if (!predicted)
    return fail(llvm::toString(predicted.takeError()));

  std::vector<double> times, guesses;
  double bytes = 0, guessedBytes = 0;
  for (size_t i = 0; i < passes.size(); ++i) {
    bytes += (*measured)[i].bytes;
    for (double lane : (*predicted)[i].laneBytes)
      guessedBytes += lane;
    if (i + kTimedSteps < passes.size())
      continue;
    times.push_back((*measured)[i].seconds);
    guesses.push_back((*predicted)[i].seconds);
  }
  const double time = bench::medianOf(times), guess = bench::medianOf(guesses);
  const double ratio = guess / time;
  printf("%s on %s, %zu decode steps after %" PRIu64 " positions\n",
         predicted->back().model.c_str(), machine.name.c_str(), times.size(),
         request.shape.context + request.warmUp);
  printf("  predicted         %s\n", seconds(guess).c_str());
  printf("  measured          %s (%s to %s), the prediction is %.2f of it\n",
         seconds(time).c_str(),
         seconds(*std::min_element(times.begin(), times.end())).c_str(),
         seconds(*std::max_element(times.begin(), times.end())).c_str(), ratio);
  printf("  moved             %.0f bytes in all passes, predicted %.0f\n",
         bytes, guessedBytes);
  if (ratio >= 1 - kTolerance && ratio <= 1 + kTolerance)
    return kSuccess;
  char text[96];
  snprintf(text, sizeof(text),
           "the prediction is %.0f %% off; at most %.0f %% were expected",
           100 * (ratio - 1), 100 * kTolerance);
  return fail(package + ": " + text);
}

int switching(const Machine &machine, uint64_t expertBytes, uint64_t experts) {
  printf("%s, experts of %" PRIu64 " bytes\n", machine.name.c_str(),
         expertBytes);
  for (const Machine::Level &level : machine.levels) {
    printf("  %-8s %14" PRIu64 " bytes  %8" PRIu64 " experts",
           level.name.c_str(), level.total(),
           expertsIn(machine, level.name, expertBytes));
    if (experts)
      printf("  %6" PRIu64 " machines for %" PRIu64,
             machinesToHold(machine, level.name, expertBytes, experts),
             experts);
    printf("\n");
  }
  for (const Machine::Link &link : machine.links) {
    double one = switchSeconds(machine, link.source, link.target, expertBytes,
                               LinksUsed::one);
    double all = switchSeconds(machine, link.source, link.target, expertBytes,
                               LinksUsed::all);
    printf("  %s to %s: %s over one link", link.source.c_str(),
           link.target.c_str(), seconds(one).c_str());
    if (link.count > 1)
      printf(", %s over all %" PRIu64, seconds(all).c_str(), link.count);
    printf("\n");
  }
  return kSuccess;
}

int sn40lPaper() {
  llvm::Expected<Machine> node = loadMachine("sn40l-node");
  llvm::Expected<Machine> a100 = loadMachine("dgx-a100");
  llvm::Expected<Machine> h100 = loadMachine("dgx-h100");
  llvm::Error error = llvm::joinErrors(
      llvm::joinErrors(node.takeError(), a100.takeError()), h100.takeError());
  if (error)
    return fail(llvm::toString(std::move(error)));
  for (const Machine *machine : {&*node, &*a100, &*h100})
    switching(*machine, SambaCoe::kExpertBytes, 850);
  printf("end to end, SN40L node against   batch  tokens  printed  one link  "
         "all links\n");
  for (const SambaCoe::Speedup &one : SambaCoe::speedups(*node, *a100, *h100))
    printf("%-32s %6u  %6u  %6.1fx  %7.2fx  %8.2fx\n", one.machine.c_str(),
           one.batch, one.tokens, one.printed, one.oneLink, one.allLinks);
  return kSuccess;
}

} // namespace

int tools::simulateCommand(int argc, char **argv) {
  CommandLine line(
      "headrace simulate --machine=NAME|FILE PACKAGE...",
      {{"--machine", "NAME|FILE", "shipped, or a #tier.machine"},
       {"--tokens", "N", "rows of the step; 1: decode (default: 1)"},
       {"--sequences", "N", "that the rows are of (default: 1)"},
       {"--context", "N", "positions before the step (default: 0)"},
       {"--warm-up", "N", "steps that fill the caches before (default: 32)"},
       {"--seed", "N", "of the routing, drawn at random (default: 0)"},
       {"--source", "LEVEL",
        "where weights come from (default: the slowest level with a link)"},
       {"--timeline", "FILE", "write the step as a page to look at"},
       {"--measure", nullptr, "run it here too and compare; one package"},
       {"--threads", "N", "of --measure (default: one for each core)"},
       {"--expert-bytes", "N", "no package: what experts of N bytes ask for"},
       {"--experts", "N", "how many, with --expert-bytes"},
       {"--sn40l-paper", nullptr,
        "no package: the paper's comparison, under both its assumptions"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.has("--sn40l-paper"))
    return sn40lPaper();
  if (!line.has("--machine"))
    return line.usageError("expected --machine; headrace machine --list names "
                           "the shipped ones");
  StepRequest request;
  request.shape.tokens = uint64_t(line.number("--tokens", 1, 1, 1 << 24));
  request.shape.sequences =
      uint64_t(line.number("--sequences", 1, 1, int64_t(request.shape.tokens)));
  request.shape.outputs = request.shape.sequences;
  request.shape.context = uint64_t(line.number("--context", 0, 0, 1 << 30));
  request.warmUp = uint64_t(line.number("--warm-up", 32, 0, 1 << 20));
  request.seed = uint64_t(line.number("--seed", 0, 0, INT64_MAX));
  request.source = line.text("--source", "");
  auto threads = unsigned(line.number(
      "--threads", int64_t(bench::MachineInfo::ofHost().cores), 1, 1024));
  auto expertBytes = uint64_t(line.number("--expert-bytes", 0, 1, INT64_MAX));
  auto experts = uint64_t(line.number("--experts", 0, 1, INT64_MAX));
  if (line.failed)
    return kUsage;
  auto machine = loadMachine(line.text("--machine", ""));
  if (!machine)
    return fail(llvm::toString(machine.takeError()));
  if (expertBytes)
    return switching(*machine, expertBytes, experts);
  if (line.positional().empty())
    return line.usageError("expected a package or --expert-bytes");
  if (line.positional().size() > 1 &&
      (line.has("--timeline") || line.has("--measure")))
    return line.usageError("--timeline and --measure take one package");
  if (line.has("--measure") && request.shape.tokens != 1)
    return line.usageError("--measure times decode steps: expected --tokens=1");
  for (const std::string &package : line.positional()) {
    auto step = simulateStep(package, *machine, request);
    if (!step)
      return fail(llvm::toString(step.takeError()));
    print(*step);
    if (line.has("--timeline"))
      if (auto error = writeTimeline(*step, line.text("--timeline", "")))
        return fail(llvm::toString(std::move(error)));
    if (line.has("--measure"))
      if (int code = compare(package, *machine, request, threads))
        return code;
  }
  return kSuccess;
}
