// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device: what all drivers share of the C interface.
#include "runtime/src/device.h"

#include "runtime/src/guard.h"
#include "runtime/src/structs.h"

using namespace headrace::runtime;

void headrace_device_retain(headrace_device_t *device) {
  if (device)
    device->Retain();
}

void headrace_device_release(headrace_device_t *device) {
  if (device && device->Drop())
    device->Destroy();
}

headrace_status_t headrace_device_info(const headrace_device_t *device,
                                       headrace_device_info_t *out) {
  if (!device)
    return InvalidArgument("device: 'device' is null");
  return Guard(device->instance->allocator, [&]() -> Status {
    headrace_device_info_t value = {};
    device->Describe(&value);
    return WriteStruct(device->instance->allocator, value, out);
  });
}

uint32_t headrace_device_thread_count(const headrace_device_t *device) {
  return device ? device->ThreadCount() : 0;
}
