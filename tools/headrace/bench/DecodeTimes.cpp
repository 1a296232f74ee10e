// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times the decode steps of a package as they come.
#include "tools/headrace/bench/DecodeTimes.h"

#include "tools/headrace/Runtime.h"
#include "tools/headrace/bench/Random.h"
#include <algorithm>
#include <cstdlib>

using namespace headrace;
using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

/// Collects passes. Events of one pass come before that of the pass itself.
struct Recorder {
  TimedPass current;
  std::vector<TimedPass> passes;

  static void take(void *self, const headrace_trace_event_t *event) {
    auto &recorder = *static_cast<Recorder *>(self);
    TimedPass &pass = recorder.current;
    switch (event->kind) {
    case HEADRACE_TRACE_TRANSFER:
      pass.bytes += double(event->bytes);
      break;
    case HEADRACE_TRACE_ROUTED:
      pass.routed.emplace_back(event->active,
                               event->active + event->active_count);
      break;
    case HEADRACE_TRACE_PREDICTED:
      pass.predicted[event->index].assign(event->active,
                                          event->active + event->active_count);
      break;
    case HEADRACE_TRACE_PASS:
      pass.seconds = double(event->end_ns - event->begin_ns) * 1e-9;
      recorder.passes.push_back(std::move(pass));
      pass = TimedPass();
      break;
    }
  }
};

} // namespace

llvm::Expected<std::vector<TimedPass>>
headrace::tools::bench::timePasses(const std::string &path, unsigned threads,
                                   uint64_t context, uint64_t steps,
                                   uint64_t seed) {
  Recorder recorder;
  Instance instance;
  Device device;
  Package package;
  Session session;
  Sequence sequence;
  if (llvm::Error error = makeInstance(instance))
    return std::move(error);
  auto deviceOptions = sized<headrace_cpu_device_options_t>();
  deviceOptions.thread_count = threads;
  auto sessionOptions = sized<headrace_session_options_t>();
  sessionOptions.max_sequences = 1;
  sessionOptions.on_trace = Recorder::take;
  sessionOptions.trace_user_data = &recorder;
  sessionOptions.page_directory = std::getenv("TMPDIR");
  auto info = sized<headrace_package_info_t>();
  headrace_status_t status = make(device, [&](headrace_device_t **out) {
    return headrace_device_create_cpu(instance.get(), &deviceOptions, out);
  });
  if (!status)
    status = make(package, [&](headrace_package_t **out) {
      return headrace_package_open(instance.get(), path.c_str(), nullptr, out);
    });
  if (!status)
    status = headrace_package_info(package.get(), &info);
  // A plan is run as planned; without one weights are mapped.
  if (!status && info.has_plan)
    sessionOptions.weights = HEADRACE_WEIGHTS_ARENA;
  if (!status)
    status = make(session, [&](headrace_session_t **out) {
      return headrace_session_create(device.get(), package.get(),
                                     &sessionOptions, out);
    });
  if (!status)
    status = make(sequence, [&](headrace_sequence_t **out) {
      return headrace_sequence_create(session.get(), out);
    });
  if (status)
    return toError(status, path);
  if (info.vocabulary == 0)
    return llvm::createStringError(path + ": is no language model");
  if (context + steps > info.max_context)
    return llvm::createStringError(
        "%s: %llu positions and %llu steps behind them were asked for, but it "
        "was compiled for %u",
        path.c_str(), (unsigned long long)context, (unsigned long long)steps,
        info.max_context);
  // What came before the first pass stays.
  recorder.current = TimedPass();

  Random random(seed);
  auto step = [&](uint64_t count) -> llvm::Error {
    std::vector<int32_t> tokens(count);
    for (int32_t &token : tokens)
      token = int32_t(random.below(info.vocabulary));
    headrace_step_item_t item = {sequence.get(), tokens.data(), tokens.size(),
                                 HEADRACE_LOGITS_LAST};
    auto options = sized<headrace_step_options_t>();
    options.item_size = sizeof(item);
    options.items = &item;
    options.item_count = 1;
    const size_t before = recorder.passes.size();
    if (llvm::Error error = toError(
            headrace_session_step(session.get(), &options, nullptr), path))
      return error;
    // A large step is cut into passes of as many tokens as there is room for.
    for (size_t i = before; i < recorder.passes.size(); ++i) {
      recorder.passes[i].tokens = std::min<uint64_t>(count, info.max_tokens);
      count -= recorder.passes[i].tokens;
    }
    if (count || recorder.passes.size() == before)
      return llvm::createStringError(path + ": its trace lacks passes");
    return llvm::Error::success();
  };
  if (context)
    if (llvm::Error error = step(context))
      return std::move(error);
  for (uint64_t i = 0; i < steps; ++i)
    if (llvm::Error error = step(1))
      return std::move(error);
  return std::move(recorder.passes);
}
