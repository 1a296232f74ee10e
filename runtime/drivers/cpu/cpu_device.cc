// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU device: the processor as a device, on the thread pool.
#include "runtime/drivers/cpu/thread_pool.h"
#include "runtime/src/guard.h"
#include "runtime/src/structs.h"

#include <sched.h>
#include <unistd.h>

namespace headrace::runtime::cpu {
namespace {

/// Beyond any machine; guards against a size that is a mistake.
constexpr uint32_t kMaxThreads = 4096;

class CpuDevice final : public headrace_device_t {
public:
  CpuDevice(headrace_instance_t *instance, uint32_t thread_count)
      : headrace_device_t(instance), pool(instance, thread_count) {}

  Status Start(const uint32_t *affinity) { return pool.Start(affinity); }

  uint32_t ThreadCount() const override { return pool.ThreadCount(); }
  Status Execute(const Run &run) override { return pool.Execute(run); }
  void Destroy() override {
    // The instance must outlive the memory that the device itself lies in.
    auto kept = InstanceRef::Share(instance.Get());
    Delete(kept->allocator, this);
  }

private:
  ThreadPool pool;
};

/// Processors this process may run on.
uint32_t OnlineProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
    return static_cast<uint32_t>(CPU_COUNT(&set));
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? static_cast<uint32_t>(count) : 1;
}

} // namespace
} // namespace headrace::runtime::cpu

using namespace headrace::runtime;

headrace_status_t
headrace_device_create_cpu(headrace_instance_t *instance,
                           const headrace_cpu_device_options_t *options,
                           headrace_device_t **out_device) {
  if (out_device)
    *out_device = nullptr;
  if (!instance || !out_device)
    return InvalidArgument("device: an argument is null");
  const Allocator &allocator = instance->allocator;
  return Guard(allocator, [&]() -> Status {
    headrace_cpu_device_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    uint32_t threads =
        read.thread_count ? read.thread_count : cpu::OnlineProcessors();
    if (threads > cpu::kMaxThreads)
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "device: expected at most %u threads, but got %u",
                        cpu::kMaxThreads, threads);
    if (read.affinity_count &&
        (read.affinity_count != threads || !read.affinity))
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "device: expected an affinity for each of %u threads, "
                        "but got %u",
                        threads, read.affinity ? read.affinity_count : 0);
    auto *device = New<cpu::CpuDevice>(allocator, instance, threads);
    auto owner = DeviceRef::Adopt(device);
    HEADRACE_RETURN_IF_ERROR(
        device->Start(read.affinity_count ? read.affinity : nullptr));
    *out_device = owner.Release();
    return Status();
  });
}

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
