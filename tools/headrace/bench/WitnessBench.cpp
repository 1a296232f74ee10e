// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs what a plan's certificate says reaches the peak, and compares.
#include "tools/headrace/Runtime.h"
#include "tools/headrace/bench/Benches.h"
#include "tools/headrace/bench/Random.h"
#include "tools/package-reader/PackageReader.h"
#include <cinttypes>
#include <cstdlib>
#include <fstream>

using namespace headrace;
using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

/// The run must come as close to the certified peak.
constexpr double kReached = 1 / 1.05;
/// What a process may hold beside the arena: the manifest, tables of the plan,
/// stacks, and what its libraries keep.
constexpr uint64_t kBeyondBytes = uint64_t(16) << 20;

/// Bytes of memory that belong to nobody but this process.
uint64_t anonymousBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "RssAnon:") {
      uint64_t kib = 0;
      status >> kib;
      return kib << 10;
    }
  return 0;
}

/// A step of some rows of each sequence, all at once.
class Runner {
public:
  Runner(const std::string &package, headrace_session_t *session,
         uint32_t vocabulary, uint64_t seed)
      : package(package), session(session), vocabulary(vocabulary),
        random(seed) {}

  llvm::Error addSequences(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      sequences.emplace_back();
      if (auto status = make(sequences.back(), [&](headrace_sequence_t **out) {
            return headrace_sequence_create(session, out);
          }))
        return toError(status, package);
    }
    return llvm::Error::success();
  }

  /// `rows[i]` tokens of sequence i; where there are none it takes no part.
  llvm::Error step(const std::vector<uint32_t> &rows, uint32_t logits) {
    std::vector<std::vector<int32_t>> tokens(rows.size());
    std::vector<headrace_step_item_t> items;
    for (size_t i = 0; i < rows.size(); ++i) {
      for (uint32_t row = 0; row < rows[i]; ++row)
        tokens[i].push_back(int32_t(random.below(vocabulary)));
      if (rows[i])
        items.push_back(
            {sequences[i].get(), tokens[i].data(), rows[i], logits});
    }
    auto options = sized<headrace_step_options_t>();
    options.item_size = sizeof(headrace_step_item_t);
    options.items = items.data();
    options.item_count = items.size();
    return toError(headrace_session_step(session, &options, nullptr), package);
  }

private:
  const std::string &package;
  headrace_session_t *const session;
  const uint32_t vocabulary;
  Random random;
  std::vector<Sequence> sequences;
};

const abi::Peak *fastPeak(const abi::Manifest &manifest) {
  for (const abi::Peak *peak : *manifest.certificate())
    if (peak->level() == manifest.plan()->fast_level() && peak->witness())
      return peak;
  return nullptr;
}

/// Bytes that a session takes of memory: a home without a budget is a file.
uint64_t arenaBytes(const abi::Manifest &manifest) {
  const abi::Plan &plan = *manifest.plan();
  uint64_t bytes = manifest.levels()->Get(plan.fast_level())->arena_bytes();
  if (plan.home_level() < manifest.levels()->size() && plan.home_budget())
    bytes += manifest.levels()->Get(plan.home_level())->arena_bytes();
  return bytes;
}

/// Compares the high-water mark of a level with its certificate.
llvm::Error judge(const std::string &package, headrace_session_t *session,
                  const abi::Peak &peak) {
  auto level = sized<headrace_level_usage_t>();
  if (auto status = headrace_session_level(session, peak.level(), &level))
    return toError(status, package);
  const double ratio = double(level.peak_bytes) / double(peak.bytes());
  printf("level %s: at most %" PRIu64 " bytes in use, certified %" PRIu64
         ", %.3f of it\n",
         level.name, level.peak_bytes, peak.bytes(), ratio);
  if (ratio >= kReached && ratio <= 1)
    return llvm::Error::success();
  return llvm::createStringError("%s: the peak of level '%s' is not what was "
                                 "certified",
                                 package.c_str(), level.name);
}

/// Brings every sequence to where its last rows begin, and runs these.
llvm::Error runWitness(Runner &runner, const abi::Witness &run,
                       const abi::Limits &limits) {
  const uint32_t count = run.sequences();
  if (llvm::Error error = runner.addSequences(count))
    return error;
  std::vector<uint32_t> last(count, run.tokens() / count);
  for (uint32_t i = 0; i < run.tokens() % count; ++i)
    ++last[i];
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t before = run.context() - std::min(run.context(), last[i]);
    for (; before;) {
      std::vector<uint32_t> rows(count);
      rows[i] = std::min(before, limits.max_tokens());
      before -= rows[i];
      if (llvm::Error error = runner.step(rows, HEADRACE_LOGITS_NONE))
        return error;
    }
  }
  return runner.step(last, run.outputs() == run.tokens()
                               ? HEADRACE_LOGITS_ALL
                               : HEADRACE_LOGITS_LAST);
}

} // namespace

llvm::Error bench::benchWitness(const TierBenchOptions &options) {
  plancheck::PackageReader reader;
  std::string reason;
  if (!reader.open(options.package, &reason))
    return llvm::createStringError(reason);
  const abi::Manifest &manifest = reader.manifest();
  const abi::Peak *peak = manifest.plan() ? fastPeak(manifest) : nullptr;
  if (!peak)
    return llvm::createStringError(
        options.package + ": has no plan; compile it with --fast-memory");
  const abi::Witness &run = *peak->witness();

  Instance instance;
  Device device;
  Package package;
  Session session;
  if (llvm::Error error = makeInstance(instance))
    return error;
  auto cpu = sized<headrace_cpu_device_options_t>();
  // As many as the plan has scratch for.
  cpu.thread_count = manifest.plan()->workers();
  const uint64_t before = anonymousBytes();
  auto wanted = sized<headrace_session_options_t>();
  wanted.weights = HEADRACE_WEIGHTS_ARENA;
  wanted.page_directory = std::getenv("TMPDIR");
  wanted.weight_source =
      options.pageCache ? HEADRACE_SOURCE_PAGE_CACHE : HEADRACE_SOURCE_DISK;
  auto info = sized<headrace_package_info_t>();
  headrace_status_t status = make(device, [&](headrace_device_t **out) {
    return headrace_device_create_cpu(instance.get(), &cpu, out);
  });
  if (!status)
    status = make(package, [&](headrace_package_t **out) {
      return headrace_package_open(instance.get(), options.package.c_str(),
                                   nullptr, out);
    });
  if (!status)
    status = headrace_package_info(package.get(), &info);
  if (!status)
    status = make(session, [&](headrace_session_t **out) {
      return headrace_session_create(device.get(), package.get(), &wanted, out);
    });
  if (status)
    return toError(status, options.package);
  Runner runner(options.package, session.get(), info.vocabulary, options.seed);
  if (llvm::Error error = runWitness(runner, run, *manifest.limits()))
    return error;

  const uint64_t now = anonymousBytes();
  const uint64_t beyond = now - std::min(now, before + arenaBytes(manifest));
  printf("witness: %u tokens of %u sequences that end at %u\n", run.tokens(),
         run.sequences(), run.context());
  for (const abi::Peak *one : *manifest.certificate())
    if (llvm::Error error = judge(options.package, session.get(), *one))
      return error;
  printf("beyond the arenas: %" PRIu64 " bytes, at most %" PRIu64 " expected\n",
         beyond, kBeyondBytes);
  if (beyond > kBeyondBytes)
    return llvm::createStringError(
        options.package + ": the process holds more than the stated bytes");
  return llvm::Error::success();
}
