// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The instance that the driver's commands use.
#include "tools/headrace/Runtime.h"

#include <cstdio>

using namespace headrace;
using namespace headrace::tools;

static void logLine(void *, headrace_log_level_t level, const char *message) {
  if (level != HEADRACE_LOG_INFO)
    fprintf(stderr, "warning: %s\n", message);
}

llvm::Error headrace::tools::makeInstance(Instance &instance) {
  auto options = sized<headrace_instance_options_t>();
  options.logger.log = logLine;
  return toError(make(instance,
                      [&](headrace_instance_t **out) {
                        return headrace_instance_create(&options, out);
                      }),
                 "runtime");
}

std::optional<DeviceName> DeviceName::parse(llvm::StringRef text) {
  DeviceName name;
  if (text == "cpu")
    return name;
  name.gpu = true;
  if (text.consume_front("cuda:") && !text.getAsInteger(10, name.ordinal))
    return name;
  return std::nullopt;
}

llvm::Expected<std::string>
headrace::tools::targetOf(const headrace_device_t *device) {
  auto info = sized<headrace_device_info_t>();
  if (llvm::Error error =
          toError(headrace_device_info(device, &info), "device"))
    return std::move(error);
  if (llvm::StringRef(info.target) == "cpu")
    return "cpu";
  const uint32_t capability = info.compute_capability;
  if (capability == 90)
    return "sm_90a";
  if (capability >= 80) // What is newer runs the portable code of sm_80.
    return "sm_80";
  return llvm::createStringError(
      "device 'cuda:%u': '%s' has compute capability %u.%u; expected 8.0 or "
      "newer",
      info.ordinal, info.name, capability / 10, capability % 10);
}

llvm::Error headrace::tools::openDevice(headrace_instance_t *instance,
                                        DeviceName name, uint32_t threads,
                                        Device &device) {
  auto open = [&](headrace_device_t **out) {
    if (name.gpu) {
      auto options = sized<headrace_cuda_device_options_t>();
      options.ordinal = name.ordinal;
      return headrace_device_create_cuda(instance, &options, out);
    }
    auto options = sized<headrace_cpu_device_options_t>();
    options.thread_count = threads;
    return headrace_device_create_cpu(instance, &options, out);
  };
  return toError(make(device, open),
                 name.gpu ? "device 'cuda:" + std::to_string(name.ordinal) + "'"
                          : std::string("device 'cpu'"));
}
