// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The instance that the driver's commands use.
#include "tools/headrace/Runtime.h"

#include <cstdio>

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
