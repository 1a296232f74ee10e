// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace run.
#include "compiler/machine/LoadMachine.h"
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/Npy.h"
#include "tools/headrace/PackageCache.h"
#include "tools/headrace/Runtime.h"
#include "tools/headrace/Tokens.h"
#include "tools/headrace/TraceFile.h"
#include "tools/headrace/timeline/SimulateStep.h"
#include "llvm/Support/FileSystem.h"
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>

using namespace headrace;
using namespace headrace::tools;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int64_t kUsualNewTokens = 128;

struct RunOptions {
  Prompt prompt;
  std::vector<int32_t> endTokens; ///< Empty: the package's.
  /// Absent: as many as are usual, as far as the context reaches.
  std::optional<int64_t> maxNewTokens;
  std::unique_ptr<NpyWriter> logits; ///< Null: not asked for.
  double temperature = 0, topP = 1;
  uint64_t seed = 0;
  uint32_t threads = 0;
  Device device;
  uint64_t fastMemory = 0; ///< 0: as planned.
  std::string trace;       ///< Empty: none.
  std::optional<Machine> machine;
};

// A signal handler reaches only what is global.
headrace_cancel_t interrupt;
struct sigaction oldInterrupt, oldTerminate;

/// While it lives, Ctrl-C cancels; a second one does what it did before.
class InterruptGuard {
public:
  InterruptGuard() {
    struct sigaction action = {};
    action.sa_handler = [](int) {
      headrace_cancel_request(&interrupt);
      restore();
    };
    sigaction(SIGINT, &action, &oldInterrupt);
    sigaction(SIGTERM, &action, &oldTerminate);
    // Who started this process wants it to go on, as nohup does.
    if (oldInterrupt.sa_handler == SIG_IGN)
      sigaction(SIGINT, &oldInterrupt, nullptr);
  }
  ~InterruptGuard() { restore(); }

private:
  static void restore() {
    sigaction(SIGINT, &oldInterrupt, nullptr);
    sigaction(SIGTERM, &oldTerminate, nullptr);
  }
};

/// Opens `file` for running.
headrace_status_t openPackage(headrace_instance_t *instance,
                              const std::string &file, Package &package) {
  return make(package, [&](headrace_package_t **out) {
    return headrace_package_open(instance, file.c_str(), nullptr, out);
  });
}

/// One sequence of an open package, fed with the prompt and continued.
class Generation {
public:
  Generation(const RunOptions &options, const std::string &file)
      : options(options), file(file), logits(options.logits.get()),
        printer(options.prompt.tokenizer.get()) {}

  llvm::Error run(headrace_package_t *package);
  /// Prints how fast it went, if it came to a token; `remark` is about the
  /// package.
  void report(const char *remark) const;

private:
  void reportUsage() const;
  llvm::Error create(headrace_package_t *package);
  llvm::Error feed(const int32_t *ids, size_t count);
  llvm::Error generate(const int32_t *ids, size_t count, int64_t most);
  bool take(const headrace_token_event_t &event);
  llvm::Error writeTrace() const;
  llvm::Error failed(headrace_status_t status) const {
    return toError(status, file);
  }

  const RunOptions &options;
  const std::string &file;
  headrace_package_info_t info;
  Session session;
  Sequence sequence;
  NpyWriter *logits;
  TokenPrinter printer;
  TraceFile trace;
  /// Why `take` stopped the generation; empty where it did not.
  std::string stopped;
  bool tiered = false;
  int64_t newTokens = 0;
  int32_t lastToken = 0;
  Clock::time_point begin, firstTime, lastTime;
};

llvm::Error Generation::create(headrace_package_t *package) {
  info = sized<headrace_package_info_t>();
  if (auto status = headrace_package_info(package, &info))
    return failed(status);
  auto one = sized<headrace_session_options_t>();
  one.max_sequences = 1;
  tiered = info.has_plan;
  if (tiered)
    one.weights = HEADRACE_WEIGHTS_ARENA;
  else if (options.fastMemory)
    return llvm::createStringError(
        "%s: has no plan for a budget of fast memory; compile it with "
        "--fast-memory",
        file.c_str());
  one.fast_memory_bytes = options.fastMemory;
  one.page_directory = std::getenv("TMPDIR");
  if (!options.trace.empty()) {
    one.on_trace = TraceFile::take;
    one.trace_user_data = &trace;
  }
  if (auto status = make(session, [&](headrace_session_t **out) {
        return headrace_session_create(options.device.get(), package, &one,
                                       out);
      }))
    return failed(status);
  return failed(make(sequence, [&](headrace_sequence_t **out) {
    return headrace_sequence_create(session.get(), out);
  }));
}

/// Adds `count` tokens to the sequence and the row of each to the logits.
llvm::Error Generation::feed(const int32_t *ids, size_t count) {
  // The runtime would cut a step itself, but keep the rows of all of it.
  uint64_t rowBytes = uint64_t(info.vocabulary) * sizeof(float);
  size_t most = std::clamp<uint64_t>((64 << 20) / rowBytes, 1, info.max_tokens);
  while (count) {
    headrace_step_item_t item = {};
    item.sequence = sequence.get();
    item.tokens = ids;
    item.token_count = std::min(count, most);
    item.logits = logits ? HEADRACE_LOGITS_ALL : HEADRACE_LOGITS_NONE;
    auto step = sized<headrace_step_options_t>();
    step.item_size = sizeof(item);
    step.items = &item;
    step.item_count = 1;
    step.cancel = &interrupt;
    auto result = sized<headrace_step_result_t>();
    if (auto status = headrace_session_step(session.get(), &step, &result))
      return failed(status);
    if (logits)
      if (auto error = logits->append(result.logits, int64_t(result.row_count),
                                      info.vocabulary))
        return error;
    ids += item.token_count;
    count -= item.token_count;
  }
  return llvm::Error::success();
}

/// Whether the generation shall go on after this token.
bool Generation::take(const headrace_token_event_t &event) {
  lastTime = Clock::now();
  if (!newTokens++)
    firstTime = lastTime;
  lastToken = event.token;
  if (logits)
    if (auto error = logits->append(event.logits, 1, info.vocabulary))
      stopped = llvm::toString(std::move(error));
  if (!printer.print(event.token))
    stopped = "standard output: cannot be written";
  return stopped.empty();
}

llvm::Error Generation::generate(const int32_t *ids, size_t count,
                                 int64_t most) {
  auto generate = sized<headrace_generate_options_t>();
  generate.max_new_tokens = size_t(most);
  std::vector<int32_t> ends = options.endTokens;
  if (ends.empty())
    ends.assign(info.end_tokens, info.end_tokens + info.end_token_count);
  const tokenizers::Tokenizer *tokenizer = options.prompt.tokenizer.get();
  if (ends.empty() && tokenizer && tokenizer->eosId() >= 0)
    ends.push_back(tokenizer->eosId());
  generate.end_tokens = ends.data();
  generate.end_token_count = ends.size();
  generate.temperature = float(options.temperature);
  generate.top_p = float(options.topP);
  generate.seed = options.seed;
  generate.on_token = [](void *self, const headrace_token_event_t *event) {
    return static_cast<Generation *>(self)->take(*event) ? 0 : 1;
  };
  generate.user_data = this;
  generate.cancel = &interrupt;
  auto result = sized<headrace_generate_result_t>();
  auto status = headrace_sequence_generate(sequence.get(), ids, count,
                                           &generate, nullptr, 0, &result);
  bool printed = printer.finish();
  if (status)
    return failed(status);
  if (!stopped.empty())
    return llvm::createStringError(stopped);
  if (!printed)
    return llvm::createStringError("standard output: cannot be written");
  if (result.reason == HEADRACE_STOP_CONTEXT)
    return llvm::createStringError(
        "%s: the context of %u positions is full; see --max-context",
        file.c_str(), info.max_context);
  return llvm::Error::success();
}

llvm::Error Generation::run(headrace_package_t *package) {
  if (auto error = create(package))
    return error;
  const std::vector<int32_t> &prompt = options.prompt.ids;
  if (prompt.size() > info.max_context)
    return llvm::createStringError(
        "%s: the prompt has %zu tokens, but the context %u; see --max-context",
        file.c_str(), prompt.size(), info.max_context);
  for (size_t i = 0; i < prompt.size(); ++i)
    if (prompt[i] < 0 || uint32_t(prompt[i]) >= info.vocabulary)
      return llvm::createStringError(
          "%s: token #%zu is %d, but the vocabulary has %u ids", file.c_str(),
          i, prompt[i], info.vocabulary);

  begin = Clock::now();
  // The last new token needs no place in the context.
  int64_t room = int64_t(info.max_context) - int64_t(prompt.size()) + 1;
  int64_t most = options.maxNewTokens.value_or(std::min(kUsualNewTokens, room));
  if (most == 0) {
    if (auto error = feed(prompt.data(), prompt.size()))
      return error;
    firstTime = lastTime = Clock::now();
  } else {
    // A generation tells the logits of the prompt's last token only.
    size_t before = logits ? prompt.size() - 1 : 0;
    if (auto error = feed(prompt.data(), before))
      return error;
    if (auto error =
            generate(prompt.data() + before, prompt.size() - before, most))
      return error;
    // The new tokens have a row each, too, the last one where there is room.
    if (logits && headrace_sequence_length(sequence.get()) < info.max_context)
      if (auto error = feed(&lastToken, 1))
        return error;
  }
  if (!options.trace.empty())
    if (auto error = writeTrace())
      return error;
  return logits ? logits->keep() : llvm::Error::success();
}

/// Writes the trace, with the last step as predicted for the machine, if one
/// was named.
llvm::Error Generation::writeTrace() const {
  if (!options.machine)
    return trace.write(options.trace, nullptr);
  StepRequest request;
  request.shape.context = headrace_sequence_length(sequence.get());
  auto predicted = simulateStep(file, *options.machine, request);
  if (!predicted)
    return predicted.takeError();
  return trace.write(options.trace, &*predicted);
}

/// Prints what moved, where weights move.
void Generation::reportUsage() const {
  auto link = sized<headrace_link_usage_t>();
  for (uint32_t i = 0;; ++i) {
    auto status = headrace_session_link(session.get(), i, &link);
    if (status) {
      headrace_status_free(status); // it was never made, or has no more
      break;
    }
    fprintf(stderr, "%s: %.3g MB in %llu transfers", link.name,
            double(link.bytes + link.stored_bytes) * 1e-6,
            (unsigned long long)link.transfers);
    if (link.stalls)
      fprintf(stderr, ", waited %.3g s", double(link.wait_ns) * 1e-9);
    fprintf(stderr, "\n");
  }
  auto pool = sized<headrace_pool_usage_t>();
  for (uint32_t i = 0;; ++i) {
    auto status = headrace_session_pool(session.get(), i, &pool);
    if (status) {
      headrace_status_free(status); // that was the last one
      return;
    }
    fprintf(stderr, "%s: %u of %u in slots", pool.name,
            std::min(pool.slots, pool.bundles), pool.bundles);
    if (pool.is_cache)
      fprintf(stderr, ", %llu hits, %llu misses", (unsigned long long)pool.hits,
              (unsigned long long)pool.misses);
    fprintf(stderr, "\n");
  }
}

void Generation::report(const char *remark) const {
  auto line = [](const char *what, int64_t tokens, Clock::duration time) {
    double seconds = std::chrono::duration<double>(time).count();
    fprintf(stderr, "%s: %lld tokens in %.3g s, %.1f tokens/s\n", what,
            (long long)tokens, seconds,
            seconds > 0 ? double(tokens) / seconds : 0.0);
  };
  if (firstTime == Clock::time_point())
    return;
  fprintf(stderr, "package: %s%s\n", file.c_str(), remark);
  line("prefill", int64_t(options.prompt.ids.size()), firstTime - begin);
  if (newTokens > 1)
    line("decode", newTokens - 1, lastTime - firstTime);
  if (tiered && session)
    reportUsage();
}

/// Opens what the cache has for `request`, which it may have to compile.
llvm::Error openCached(PackageCache &cache, const CompileRequest &request,
                       headrace_instance_t *instance, Package &package,
                       PackageCache::Entry &entry) {
  for (bool again : {false, true}) {
    auto found = cache.get(request, again);
    if (!found)
      return found.takeError();
    entry = *found;
    auto status = openPackage(instance, entry.path, package);
    // An old file may be damaged, or gone again; a new one is what it is.
    if (status && !entry.compiled && !again) {
      fprintf(stderr, "warning: %s\n", headrace_status_message(status));
      headrace_status_free(status);
      continue;
    }
    return toError(status, entry.path);
  }
  return llvm::Error::success();
}

/// Runs and reports; the exit code.
int finish(const RunOptions &options, const std::string &file,
           const char *remark, headrace_package_t *package) {
  Generation generation(options, file);
  llvm::Error error = [&] {
    InterruptGuard guard;
    return generation.run(package);
  }();
  generation.report(remark);
  return error ? fail(llvm::toString(std::move(error))) : int(kSuccess);
}

} // namespace

int tools::runCommand(int argc, char **argv) {
  std::string cacheDirectory = PackageCache::defaultDirectory();
  CommandLine line(
      "headrace run DIR|PACKAGE --prompt=TEXT|--tokens=IDS",
      {{"--prompt", "TEXT", "continue this text; prints text"},
       {"--tokens", "1,2,3", "continue these token ids; prints ids"},
       {"--max-new-tokens", "N",
        "stop after N tokens; 0: logits only "
        "(default: 128)"},
       {"--logits", "FILE.npy",
        "write float32 [tokens, vocabulary]: row i "
        "follows token i"},
       {"--temperature", "T",
        "draw tokens; 0: take the likeliest (default: 0)"},
       {"--top-p", "P", "draw from the likeliest of this sum (default: 1)"},
       {"--seed", "N", "of the draws (default: 0)"},
       {"--tokenizer", "DIR", "tokenizer and end tokens (default: DIR)"},
       {"--device", "NAME", "cpu or cuda:N (default: cpu)"},
       {"--threads", "N", "threads; 0: one for each processor (default: 0)"},
       {"--fast-memory", "SIZE",
        "most bytes of fast memory, such as 8GiB; a package needs a plan "
        "(default: as planned)"},
       {"--trace", "FILE.json",
        "write what ran when, for Perfetto or chrome://tracing"},
       {"--machine", "NAME|FILE",
        "with --trace: draw the last step as predicted for it, too"},
       {"--target", "NAME",
        "compile for cpu, sm_80 or sm_90a (default: the device's)"},
       {"--cuda", "DIR", "a CUDA toolkit, for a GPU (default: the system's)"},
       {"--cpu", "NAME",
        "compile for native, x86-64-v3, ... (default: native)"},
       {"--max-context", "N",
        "positions to compile for (default: the model's, "
        "at most 4096)"},
       {"--cache-dir", "DIR",
        "where packages are kept (default: "
        "$XDG_CACHE_HOME/headrace or ~/.cache/headrace)"},
       {"--cache-limit", "GIB",
        "of the packages there; those unused for "
        "longest go first (default: 64)"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() != 1)
    return line.usageError("expected one checkpoint directory or package");
  std::string deviceText = line.text("--device", "cpu");
  auto deviceName = DeviceName::parse(deviceText);
  if (!deviceName)
    return line.usageError("unknown device '" + deviceText + "'; expected " +
                           DeviceName::kExpected);

  CompileRequest request;
  request.target = line.text("--target", "");
  if (line.has("--target")) {
    if (!isTarget(request.target))
      return line.usageError("unknown target '" + request.target +
                             "'; expected " + kExpectedTarget);
    if ((request.target == "cpu") == deviceName->gpu)
      return line.usageError("code for target '" + request.target +
                             "' does not run on device '" + deviceText + "'");
  }

  RunOptions options;
  if (line.has("--max-new-tokens"))
    options.maxNewTokens = line.number("--max-new-tokens", 0, 0, INT32_MAX);
  options.temperature = line.real("--temperature", 0, 0, 1e6);
  options.topP = line.real("--top-p", 1, 0, 1);
  options.seed = uint64_t(line.number("--seed", 0, 0, INT64_MAX));
  options.threads = uint32_t(line.number("--threads", 0, 0, 1024));
  options.fastMemory = line.bytes("--fast-memory", 0);
  options.trace = line.text("--trace", "");
  request.cudaToolkit = line.text("--cuda", "");
  request.cpu = line.text("--cpu", "native");
  request.maxContext = line.number("--max-context", 0, 1, 1 << 24);
  double limit = line.real("--cache-limit", 64, 0, 1 << 30) * (1 << 30);
  if (line.failed)
    return kUsage;

  if (line.has("--machine")) {
    if (!line.has("--trace"))
      return line.usageError("flag '--machine' needs --trace");
    auto machine = loadMachine(line.text("--machine", ""));
    if (!machine)
      return fail(llvm::toString(machine.takeError()));
    options.machine = std::move(*machine);
  }

  const std::string &input = line.positional()[0];
  llvm::sys::fs::file_status status;
  if (std::error_code error = llvm::sys::fs::status(input, status))
    return fail(input + ": cannot be read: " + error.message());
  bool checkpoint = llvm::sys::fs::is_directory(status);
  for (const char *flag : {"--target", "--cuda", "--cpu", "--max-context",
                           "--cache-dir", "--cache-limit"})
    if (!checkpoint && line.has(flag))
      return line.usageError("flag '" + std::string(flag) +
                             "' is for checkpoints, but '" + input +
                             "' is a file");
  std::string texts = line.text("--tokenizer", checkpoint ? input : "");
  if (int code = readPrompt(line, texts, options.prompt); code >= 0)
    return code;
  // The package knows those of its checkpoint.
  if (line.has("--tokenizer")) {
    auto ends = readEndTokens(texts);
    if (!ends)
      return fail(llvm::toString(ends.takeError()));
    options.endTokens = std::move(*ends);
  }

  // Before the compilation, which may take long.
  Instance instance;
  if (auto error = makeInstance(instance))
    return fail(llvm::toString(std::move(error)));
  if (auto error = openDevice(instance.get(), *deviceName, options.threads,
                              options.device))
    return fail(llvm::toString(std::move(error)));
  if (checkpoint && request.target.empty()) {
    auto target = targetOf(options.device.get());
    if (!target)
      return fail(llvm::toString(target.takeError()));
    request.target = std::move(*target);
  }
  if (line.has("--logits")) {
    auto writer = NpyWriter::create(line.text("--logits", ""));
    if (!writer)
      return fail(llvm::toString(writer.takeError()));
    options.logits = std::move(*writer);
  }

  Package package;
  if (!checkpoint) {
    if (auto error =
            toError(openPackage(instance.get(), input, package), input))
      return fail(llvm::toString(std::move(error)));
    return finish(options, input, "", package.get());
  }
  cacheDirectory = line.text("--cache-dir", cacheDirectory);
  if (cacheDirectory.empty())
    return fail("no home directory to keep packages in; give --cache-dir");
  PackageCache cache(cacheDirectory, uint64_t(limit));
  request.checkpoint = input;
  request.fastMemory = options.fastMemory;
  PackageCache::Entry entry;
  if (auto error = openCached(cache, request, instance.get(), package, entry))
    return fail(llvm::toString(std::move(error)));
  cache.trim(entry.path);
  bool kept = llvm::sys::fs::exists(entry.path);
  return finish(options, entry.path,
                !kept            ? " (not kept: larger than --cache-limit)"
                : entry.compiled ? " (new)"
                                 : "",
                package.get());
}
