// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The runtime's C API for this tool: statuses as LLVM errors, devices by name.
#ifndef HEADRACE_TOOLS_HEADRACE_RUNTIME_H
#define HEADRACE_TOOLS_HEADRACE_RUNTIME_H

#include "headrace/handles.hpp"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>

namespace headrace::tools {

/// `status` as an error whose message begins with `file`; ends the status.
inline llvm::Error toError(headrace_status_t status, const std::string &file) {
  if (!status)
    return llvm::Error::success();
  std::string message = headrace_status_message(status);
  headrace_status_free(status);
  if (message.compare(0, file.size(), file) != 0)
    message = file + ": " + message;
  return llvm::createStringError(message);
}

/// An instance whose warnings go to stderr.
llvm::Error makeInstance(Instance &instance);

/// Where kernels run, as `--device` says it.
struct DeviceName {
  static constexpr const char *kExpected = "cpu or cuda:N";

  bool gpu = false;
  uint32_t ordinal = 0; ///< Of the GPUs.

  /// None for what is no device's name.
  static std::optional<DeviceName> parse(llvm::StringRef text);
};

/// The `--target` for `device`: "cpu", or the GPU target whose code it runs
/// best. An error where a GPU is older than any target.
llvm::Expected<std::string> targetOf(const headrace_device_t *device);

/// Opens a device; `threads` are the processor's, 0 for all.
llvm::Error openDevice(headrace_instance_t *instance, DeviceName name,
                       uint32_t threads, Device &device);

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_RUNTIME_H
