// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace-gpu-suite: checks and times the packages of a suite on a device.
// tools/gpu-check calls it and reads the lines of JSON it prints.
#include "tools/gpu-probe/gpu_machine.h"
#include "tools/gpu-suite/link_bench.h"
#include "tools/gpu-suite/materialize.h"
#include "tools/gpu-suite/numerics.h"
#include "tools/gpu-suite/runner.h"
#include "tools/gpu-suite/stream_check.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <thread>
#include <unistd.h>

using namespace headrace::suite;

namespace {

constexpr const char *kUsage =
    "usage: headrace-gpu-suite COMMAND [--device=cpu|cuda:N] [--seed=N]\n"
    "  device                    says what the device is\n"
    "  numerics DIR [--only=NAME] [--work=DIR]\n"
    "                            checks each package of a suite\n"
    "  bench DIR [--only=NAME] [--work=DIR] [--repeats=N]\n"
    "                            times each package that is marked for it\n"
    "  stream DIR [--only=NAME] [--work=DIR] [--repeats=N]\n"
    "                            checks and times each package with a plan\n"
    "  link                      times transfers to the device\n"
    "  machine OUT               writes a GPU's description, as headrace "
    "machine\n"
    "  weights PLAN FILE OUT     writes a file of a plan's checkpoint\n";

/// Wrong results and everything else that went wrong; wrong usage; no device.
enum ExitCode { kSuccess = 0, kFailed = 1, kWrongUsage = 2, kNoDevice = 3 };

struct Arguments {
  std::vector<std::string> words;
  std::string device = "cuda:0";
  std::string only;
  std::string work;
  uint64_t seed = 1;
  int repeats = 31;
};

bool Parse(int argc, char **argv, Arguments *out) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    auto value = [&](const char *flag, std::string *text) {
      const size_t length = std::strlen(flag);
      if (word.compare(0, length, flag) != 0)
        return false;
      *text = word.substr(length);
      return true;
    };
    std::string number;
    if (value("--device=", &out->device) || value("--only=", &out->only) ||
        value("--work=", &out->work))
      continue;
    if (value("--seed=", &number))
      out->seed = std::strtoull(number.c_str(), nullptr, 10);
    else if (value("--repeats=", &number))
      out->repeats = std::max(1, std::atoi(number.c_str()));
    else if (word.compare(0, 2, "--") == 0)
      return false;
    else
      out->words.push_back(word);
  }
  return !out->words.empty();
}

/// A line for a person, and the exit code.
int Fail(const Failure &failure, ExitCode code = kFailed) {
  std::fprintf(stderr, "error: %s\n", failure.c_str());
  return code;
}

unsigned Threads() { return std::max(1u, std::thread::hardware_concurrency()); }

/// The GPU beside this host as a #tier.machine. The disk is left out: what a
/// bundle lies on is not what packages will.
Failure RecordMachine(const Machine &machine, const std::string &path) {
  if (std::string(machine.info.target) != "cuda")
    return "a GPU's description was asked for, but the device is the processor";
  headrace::probe::GpuReading gpu;
  if (Failure failure = headrace::probe::ProbeGpu(machine.info.ordinal, &gpu);
      !failure.empty())
    return failure;
  headrace::probe::HostFigures host;
  host.recorder = "headrace-gpu-suite";
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
  host.date = date;
  host.dram_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                    static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const std::string text = headrace::probe::WriteMachine(gpu, host);
  std::FILE *file = std::fopen(path.c_str(), "w");
  const bool written = file && std::fputs(text.c_str(), file) >= 0;
  if ((file && std::fclose(file) != 0) || !written)
    return path + ": cannot be written";
  return Failure();
}

/// The package of an entry: the file, or one made of it in `work`.
class Materialized {
public:
  ~Materialized() {
    if (!made.empty())
      unlink(made.c_str());
  }
  Failure Open(const std::string &directory, const SuiteEntry &entry,
               const WeightPlan &plan, std::string work) {
    if (work.empty())
      work = std::filesystem::temp_directory_path().string();
    made = work + "/headrace-" + std::to_string(getpid()) + "-" +
           entry.Text("name") + ".headrace";
    return Materialize(directory + "/" + entry.Text("file"), plan, Threads(),
                       made);
  }
  const std::string &Path() const { return made; }

private:
  std::string made;
};

/// Runs `work` on each entry that is asked for; a failure of one does not keep
/// the others from running.
template <typename Work>
int ForEachEntry(const Arguments &arguments, const Machine &machine,
                 Work &&work) {
  if (arguments.words.size() != 2)
    return Fail(kUsage, kWrongUsage);
  std::vector<SuiteEntry> entries;
  if (Failure failure = ReadSuite(arguments.words[1], &entries);
      !failure.empty())
    return Fail(failure);
  int code = kSuccess;
  for (const SuiteEntry &entry : entries) {
    const std::string name = entry.Text("name");
    if (!arguments.only.empty() && name != arguments.only)
      continue;
    WeightPlan plan;
    Materialized package;
    Loaded loaded;
    Failure failure =
        ReadWeightPlan(arguments.words[1] + "/" + entry.Text("weights"), &plan);
    auto run = [&]() -> Failure {
      if (!failure.empty())
        return failure;
      if (Failure wrong =
              package.Open(arguments.words[1], entry, plan, arguments.work);
          !wrong.empty())
        return wrong;
      if (Failure wrong = loaded.Open(machine, package.Path()); !wrong.empty())
        return wrong;
      return work(entry, plan, loaded);
    };
    if (Failure wrong = run(); !wrong.empty()) {
      std::printf("{\"name\": \"%s\", \"failure\": %s}\n", name.c_str(),
                  Quoted(wrong).c_str());
      Fail(name + ": " + wrong);
      code = kFailed;
    }
    std::fflush(stdout);
  }
  return code;
}

} // namespace

int main(int argc, char **argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments))
    return Fail(kUsage, kWrongUsage);
  const std::string command = arguments.words[0];
  if (command == "weights") {
    if (arguments.words.size() != 4)
      return Fail(kUsage, kWrongUsage);
    WeightPlan plan;
    Failure failure = ReadWeightPlan(arguments.words[1], &plan);
    if (failure.empty())
      failure = WriteCheckpointFile(plan, arguments.words[2], Threads(),
                                    arguments.words[3]);
    return failure.empty() ? kSuccess : Fail(failure);
  }

  Machine machine;
  bool unavailable = false;
  if (Failure failure = machine.Open(arguments.device, &unavailable);
      !failure.empty())
    return Fail(failure, unavailable ? kNoDevice : kFailed);
  if (command == "device") {
    std::printf("{\"device\": \"%s\", \"name\": %s, \"memory_bytes\": %llu, "
                "\"compute_capability\": %u, \"processors\": %u, "
                "\"driver\": %u}\n",
                arguments.device.c_str(), Quoted(machine.info.name).c_str(),
                static_cast<unsigned long long>(machine.info.memory_bytes),
                machine.info.compute_capability, machine.info.processor_count,
                machine.info.driver_version);
    return kSuccess;
  }
  if (command == "numerics")
    return ForEachEntry(
        arguments, machine,
        [&](const SuiteEntry &entry, const WeightPlan &plan, Loaded &loaded) {
          return CheckNumerics(entry, plan, loaded, arguments.seed);
        });
  if (command == "bench")
    return ForEachEntry(
        arguments, machine,
        [&](const SuiteEntry &entry, const WeightPlan &plan, Loaded &loaded) {
          return entry.Number("bench")
                     ? Bench(entry, plan, machine, loaded, arguments.seed,
                             arguments.repeats)
                     : Failure();
        });
  if (command == "stream")
    return ForEachEntry(
        arguments, machine,
        [&](const SuiteEntry &entry, const WeightPlan &, Loaded &loaded) {
          return entry.Number("streamed")
                     ? CheckStreamed(entry, machine, loaded, arguments.seed,
                                     arguments.repeats)
                     : Failure();
        });
  if (command == "link") {
    Failure failure = BenchLink(machine);
    return failure.empty() ? kSuccess : Fail(failure);
  }
  if (command == "machine" && arguments.words.size() == 2) {
    Failure failure = RecordMachine(machine, arguments.words[1]);
    return failure.empty() ? kSuccess : Fail(failure);
  }
  return Fail(kUsage, kWrongUsage);
}
