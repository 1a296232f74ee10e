// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times the decode steps of a package as they come.
#include "tools/headrace/bench/DecodeTimes.h"

#include "tools/headrace/Runtime.h"
#include "tools/headrace/bench/MachineProbe.h"
#include "tools/headrace/bench/Random.h"

using namespace headrace::tools;
using namespace headrace::tools::bench;

llvm::Expected<std::vector<double>> headrace::tools::bench::timeDecodeSteps(
    const std::string &path, unsigned threads, uint64_t context,
    uint64_t warmUp, uint64_t steps, uint64_t seed) {
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
  if (context + warmUp + steps > info.max_context)
    return llvm::createStringError(
        "%s: %llu positions and %llu steps behind them were asked for, but it "
        "was compiled for %u",
        path.c_str(), (unsigned long long)context,
        (unsigned long long)(warmUp + steps), info.max_context);

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
    return toError(headrace_session_step(session.get(), &options, nullptr),
                   path);
  };
  if (context)
    if (llvm::Error error = step(context))
      return std::move(error);
  std::vector<double> times;
  for (uint64_t i = 0; i < warmUp + steps; ++i) {
    double begin = now();
    if (llvm::Error error = step(1))
      return std::move(error);
    if (i >= warmUp)
      times.push_back(now() - begin);
  }
  return times;
}
