// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device: what all drivers share of the C interface.
#include "runtime/src/device.h"

void headrace_device_retain(headrace_device_t *device) {
  if (device)
    device->Retain();
}

void headrace_device_release(headrace_device_t *device) {
  if (device && device->Drop())
    device->Destroy();
}

uint32_t headrace_device_thread_count(const headrace_device_t *device) {
  return device ? device->ThreadCount() : 0;
}
