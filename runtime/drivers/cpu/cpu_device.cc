// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU device: the processor as a device, on the thread pool.
#include "runtime/drivers/cpu/thread_pool.h"
#include "runtime/src/device.h"
#include "runtime/src/guard.h"
#include "runtime/src/mapping.h"
#include "runtime/src/structs.h"

#include <sched.h>
#include <unistd.h>

namespace headrace::runtime::cpu {
namespace {

/// Beyond any machine; guards against a size that is a mistake.
constexpr uint32_t kMaxThreads = 4096;

/// Beside each other: workers share no line, and equal offsets fall into
/// different sets of a cache.
constexpr uint64_t kPage = 4096;
uint64_t WorkerBytes(uint64_t kernel_bytes) {
  return (kernel_bytes + kPage - 1) / kPage * kPage + kPage;
}

/// Runs launches on the pool; memory is written at once.
class CpuExecutor final : public Executor {
public:
  CpuExecutor(headrace_package_t *package, ThreadPool *pool)
      : package(package), pool(pool),
        worker_scratch(StdAllocator<void *>(package->HostAllocator())) {}

  Status Create() {
    const uint64_t bytes = WorkerBytes(package->summary.max_scratch_bytes);
    const uint32_t workers = pool->ThreadCount();
    HEADRACE_RETURN_IF_ERROR(Mapping::Anonymous(
        package->HostAllocator(), bytes * workers, "worker scratch", &scratch));
    worker_scratch.reserve(workers);
    for (uint32_t i = 0; i < workers; ++i)
      worker_scratch.push_back(scratch.Data() + bytes * i);
    return Status();
  }

  uint32_t CodeIndex() const override { return package->summary.code; }
  Status Resolve(const abi::Launch &described, Launch *launch) override {
    const abi::Kernel &kernel =
        *package->manifest->kernels()->Get(described.kernel());
    launch->function = reinterpret_cast<headrace_kernel_fn_t>(
        package->code.Data() + kernel.entry_offset());
    return Status();
  }
  Status BindWeights(const Vector<const void *> &, size_t, size_t) override {
    return Status(); // read in place
  }
  uint64_t ScratchBytes() const override { return scratch.Bytes(); }
  Status PlaceScratch(uint8_t *base, uint64_t bytes,
                      uint32_t workers) override {
    if (pool->ThreadCount() > workers)
      return MakeStatus(package->HostAllocator(),
                        HEADRACE_STATUS_FAILED_PRECONDITION,
                        "session: the plan has scratch for %u threads, but the "
                        "device has %u; use a device of %u threads, or compile "
                        "for more",
                        workers, pool->ThreadCount(), workers);
    for (uint32_t i = 0; i < worker_scratch.size(); ++i)
      worker_scratch[i] = base + bytes * i;
    scratch = Mapping();
    return Status();
  }
  Status Fill(void *address, uint8_t value, uint64_t bytes) override {
    std::memset(address, value, bytes);
    return Status();
  }
  Status Copy(void *to, const void *from, uint64_t bytes) override {
    std::memcpy(to, from, bytes);
    return Status();
  }
  Status Execute(const Run &wanted) override {
    Run run = wanted;
    run.worker_scratch = worker_scratch.data();
    const uint64_t start = run.out_kernel_ns ? MonotonicNs() : 0;
    Status status = pool->Execute(run);
    if (run.out_kernel_ns)
      *run.out_kernel_ns = MonotonicNs() - start;
    return status;
  }
  void Destroy() override { Delete(package->HostAllocator(), this); }

private:
  headrace_package_t *const package;
  ThreadPool *const pool;
  Mapping scratch;
  Vector<void *> worker_scratch;
};

class CpuDevice final : public headrace_device_t {
public:
  CpuDevice(headrace_instance_t *instance, uint32_t thread_count)
      : headrace_device_t(instance), pool(instance, thread_count) {}

  Status Start(const uint32_t *affinity) { return pool.Start(affinity); }

  uint32_t ThreadCount() const override { return pool.ThreadCount(); }
  void Describe(headrace_device_info_t *out) const override {
    out->target = "cpu";
    out->name = "processor";
    out->memory_bytes = MemoryBytes();
    out->processor_count = pool.ThreadCount();
  }
  bool SharesHostMemory() const override { return true; }
  uint64_t MemoryBytes() const override {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0
               ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page)
               : UINT64_MAX - 1;
  }
  uint64_t ScratchBytes(uint64_t kernel_bytes) const override {
    return WorkerBytes(kernel_bytes) * pool.ThreadCount();
  }
  Status Allocate(uint64_t bytes, const char *what,
                  DeviceMemory *out) override {
    Mapping mapping;
    HEADRACE_RETURN_IF_ERROR(
        Mapping::Arena(instance->allocator, bytes, what, &mapping));
    const uint64_t mapped = mapping.Bytes();
    *out = DeviceMemory(this, mapping.Release(), mapped, false);
    return Status();
  }
  Status AllocateHost(uint64_t bytes, const char *what,
                      DeviceMemory *out) override {
    return Allocate(bytes, what, out);
  }
  void Free(void *address, uint64_t bytes, bool) override {
    Mapping::Unmap(address, bytes);
  }
  Status CreateLoader(uint32_t kind, headrace_package_t *package,
                      WeightLoaderOwner *out) override {
    return CreateWeightLoader(kind, package, out);
  }
  Status CreateExecutor(headrace_package_t *package, const ExecutorOptions &,
                        ExecutorOwner *out) override {
    HEADRACE_RETURN_IF_ERROR(package->CheckProcessor());
    auto *executor = New<CpuExecutor>(instance->allocator, package, &pool);
    out->reset(executor);
    return executor->Create();
  }
  Status CreateCopyStream(Executor *, CopyStreamOwner *) override {
    return MakeStatus(instance->allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                      "device: kernels read the host's memory itself");
  }
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
