// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA device: opening, memory, waiting, and what a result means.
#include "runtime/drivers/cuda/cuda_device.h"

#include "runtime/drivers/cuda/copy_stream.h"
#include "runtime/drivers/cuda/cuda_executor.h"
#include "runtime/drivers/cuda/resident_package.h"
#include "runtime/src/guard.h"
#include "runtime/src/structs.h"

#include <cinttypes>
#include <ctime>
#include <immintrin.h>

namespace headrace::runtime::cuda {
namespace {

/// How long work may go on after a run was told to stop before the device is
/// given up, where the host says nothing. A captured step cannot be
/// interrupted, and the longest ones take about a second.
constexpr uint64_t kStopGraceNs = 10000000000;

/// How long filling memory outside of a session may take: far beyond what any
/// device needs for the largest single piece.
constexpr uint64_t kFillLimitNs = 60000000000;

/// A decode step is over within the time a wait spins; longer ones sleep
/// between looks.
constexpr uint64_t kSpinNs = 3000000;
constexpr int kPausesPerLook = 16;
constexpr timespec kSleep = {0, 50000};

/// True for results after which the context runs nothing any more.
bool LosesDevice(CuResult result) {
  switch (result) {
  case kCuDeinitialized:
  case kCuDeviceUnavailable:
  case kCuEccUncorrectable:
  case kCuNvlinkUncorrectable:
  case kCuContained:
  case kCuIllegalAddress:
  case kCuLaunchTimeout:
  case kCuContextIsDestroyed:
  case kCuAssert:
  case kCuHardwareStackError:
  case kCuIllegalInstruction:
  case kCuMisalignedAddress:
  case kCuInvalidAddressSpace:
  case kCuInvalidPc:
  case kCuLaunchFailed:
  case kCuSystemNotReady:
  case kCuExternalDevice:
  case kCuUnknown:
    return true;
  default:
    return false;
  }
}

headrace_status_code_t CodeOf(CuResult result) {
  if (LosesDevice(result))
    return HEADRACE_STATUS_DEVICE_LOST;
  switch (result) {
  case kCuOutOfMemory:
    return HEADRACE_STATUS_RESOURCE_EXHAUSTED;
  case kCuNoBinaryForGpu:
  case kCuInvalidPtx:
  case kCuInvalidImage:
  case kCuJitCompilerNotFound:
  case kCuUnsupportedPtxVersion:
  case kCuJitCompilationDisabled:
    return HEADRACE_STATUS_FAILED_PRECONDITION;
  default:
    return HEADRACE_STATUS_INTERNAL;
  }
}

} // namespace

//===----------------------------------------------------------------------===//
// Opening
//===----------------------------------------------------------------------===//

CudaDevice::CudaDevice(headrace_instance_t *instance, uint64_t grace)
    : headrace_device_t(instance), stop_grace_ns(grace ? grace : kStopGraceNs),
      cublaslt_path(StdAllocator<char>(instance->allocator)),
      residents(StdAllocator<ResidentPackage *>(instance->allocator)) {}

CudaDevice::~CudaDevice() {
  if (!context || IsLost())
    return;
  {
    ContextScope scope(this);
    if (copied)
      Api().cuEventDestroy_v2(copied);
    if (copy_stream)
      Api().cuStreamDestroy_v2(copy_stream);
  }
  Api().cuDevicePrimaryCtxRelease_v2(device);
}

Status CudaDevice::Open(const headrace_cuda_device_options_t &options) {
  HEADRACE_RETURN_IF_ERROR(library.Open(HostAllocator(), options.cuda_library));
  if (options.cublaslt_library)
    cublaslt_path = options.cublaslt_library;
  int count = 0;
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuDeviceGetCount(&count), "counting devices"));
  if (count <= 0 || options.ordinal >= static_cast<uint32_t>(count))
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_UNAVAILABLE,
                      "cuda: no such device: 'cuda:%u' of %d", options.ordinal,
                      count);
  ordinal = options.ordinal;
  int driver = 0, major = 0, minor = 0, shared = 0, processors = 0;
  size_t bytes = 0;
  auto attribute = [&](int *value, int which) {
    return Check(Api().cuDeviceGetAttribute(value, which, device),
                 "asking for an attribute");
  };
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuDeviceGet(&device, static_cast<int>(ordinal)),
            "opening the device"));
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuDriverGetVersion(&driver), "asking for the version"));
  HEADRACE_RETURN_IF_ERROR(
      attribute(&major, kCuAttributeComputeCapabilityMajor));
  HEADRACE_RETURN_IF_ERROR(
      attribute(&minor, kCuAttributeComputeCapabilityMinor));
  HEADRACE_RETURN_IF_ERROR(
      attribute(&shared, kCuAttributeMaxSharedMemoryPerBlockOptin));
  HEADRACE_RETURN_IF_ERROR(
      attribute(&processors, kCuAttributeMultiprocessorCount));
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuDeviceTotalMem_v2(&bytes, device), "asking for memory"));
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuDeviceGetName(name, sizeof(name), device),
            "asking for the name"));
  driver_version = static_cast<uint32_t>(driver);
  capability = static_cast<uint32_t>(major * 10 + minor);
  shared_bytes = static_cast<uint32_t>(shared);
  multiprocessors = static_cast<uint32_t>(processors);
  memory_bytes = bytes;
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuDevicePrimaryCtxRetain(&context, device),
            "retaining the primary context"));
  ContextScope scope(this);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuStreamCreate(&copy_stream, kCuStreamNonBlocking),
            "creating a stream"));
  return Check(Api().cuEventCreate(&copied, kCuEventDisableTiming),
               "creating an event");
}

void CudaDevice::Describe(headrace_device_info_t *out) const {
  out->target = "cuda";
  out->name = name;
  out->memory_bytes = memory_bytes;
  out->ordinal = ordinal;
  out->compute_capability = capability;
  out->processor_count = multiprocessors;
  out->driver_version = driver_version;
}

void CudaDevice::Destroy() {
  // The instance must outlive the memory that the device itself lies in.
  auto kept = InstanceRef::Share(instance.Get());
  Delete(kept->allocator, this);
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

Status CudaDevice::Check(CuResult result, const char *what) {
  if (result == kCuSuccess)
    return Status();
  if (LosesDevice(result))
    MarkLost();
  return MakeStatus(HostAllocator(), CodeOf(result), "cuda:%u: %s: %s", ordinal,
                    what, library.Describe(result).text);
}

Status CudaDevice::Lose(CuResult result, const char *what) {
  MarkLost();
  return MakeStatus(HostAllocator(), HEADRACE_STATUS_DEVICE_LOST,
                    "cuda:%u: %s: %s", ordinal, what,
                    library.Describe(result).text);
}

Status CudaDevice::CheckAlive() {
  if (!IsLost())
    return Status();
  return MakeStatus(HostAllocator(), HEADRACE_STATUS_DEVICE_LOST,
                    "cuda:%u: the device was lost in an earlier call", ordinal);
}

ContextScope::ContextScope(CudaDevice *device) : device(device) {
  status = device->Check(device->Api().cuCtxPushCurrent_v2(device->context),
                         "entering the context");
  pushed = status.IsOk();
}

ContextScope::~ContextScope() {
  CuContext before;
  if (pushed)
    device->Api().cuCtxPopCurrent_v2(&before);
}

//===----------------------------------------------------------------------===//
// Waiting
//===----------------------------------------------------------------------===//

Status CudaDevice::Await(CuEvent event, const StopSource &stop,
                         const char *what) {
  const uint64_t start = MonotonicNs();
  uint64_t stopped_at = 0;
  headrace_status_code_t reason = HEADRACE_STATUS_OK;
  for (;;) {
    const CuResult result = Api().cuEventQuery(event);
    if (result != kCuSuccess && result != kCuNotReady)
      return Lose(result, what); // nobody knows what is still under way
    if (result == kCuSuccess && !stopped_at)
      return Status();
    if (result == kCuSuccess)
      return MakeStatus(
          HostAllocator(), reason, "cuda:%u: %s %s", ordinal, what,
          reason == HEADRACE_STATUS_CANCELLED ? "was cancelled"
                                              : "missed its deadline");
    const uint64_t now = MonotonicNs();
    if (stopped_at) {
      if (now - stopped_at > stop_grace_ns) {
        MarkLost();
        return MakeStatus(HostAllocator(), HEADRACE_STATUS_DEVICE_LOST,
                          "cuda:%u: %s does not end", ordinal, what);
      }
    } else if (IsCancelled(stop.cancel)) {
      reason = HEADRACE_STATUS_CANCELLED;
      stopped_at = now;
    } else if (stop.deadline_ns && now >= stop.deadline_ns) {
      reason = HEADRACE_STATUS_DEADLINE_EXCEEDED;
      stopped_at = now;
    }
    if (now - start < kSpinNs) {
      for (int i = 0; i < kPausesPerLook; ++i)
        _mm_pause();
    } else {
      nanosleep(&kSleep, nullptr);
    }
  }
}

Status CudaDevice::AwaitCopies() {
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuEventRecord(copied, copy_stream), "recording an event"));
  StopSource stop;
  stop.deadline_ns = MonotonicNs() + kFillLimitNs;
  return Await(copied, stop, "filling memory");
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Status CudaDevice::Allocate(uint64_t bytes, const char *what,
                            DeviceMemory *out) {
  *out = DeviceMemory();
  HEADRACE_RETURN_IF_ERROR(CheckAlive());
  if (bytes == 0)
    return Status();
  ContextScope scope(this);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  CuAddress address = 0;
  if (CuResult result = Api().cuMemAlloc_v2(&address, bytes);
      result != kCuSuccess) {
    Status status = Check(result, what);
    return MakeStatus(HostAllocator(), status.Code(),
                      "cannot allocate %" PRIu64 " bytes: %s", bytes,
                      status.Message());
  }
  *out = DeviceMemory(this, reinterpret_cast<void *>(address), bytes, false);
  std::lock_guard<std::mutex> lock(copy_mutex);
  HEADRACE_RETURN_IF_ERROR(
      Check(Api().cuMemsetD8Async(address, 0, bytes, copy_stream), what));
  return AwaitCopies();
}

Status CudaDevice::AllocateHost(uint64_t bytes, const char *what,
                                DeviceMemory *out) {
  *out = DeviceMemory();
  HEADRACE_RETURN_IF_ERROR(CheckAlive());
  if (bytes == 0)
    return Status();
  ContextScope scope(this);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  void *address = nullptr;
  if (CuResult result = Api().cuMemHostAlloc(&address, bytes, kCuHostPortable);
      result != kCuSuccess) {
    Status status = Check(result, what);
    return MakeStatus(HostAllocator(), status.Code(),
                      "cannot pin %" PRIu64 " bytes of the host: %s", bytes,
                      status.Message());
  }
  std::memset(address, 0, bytes);
  *out = DeviceMemory(this, address, bytes, true);
  return Status();
}

void CudaDevice::Free(void *address, uint64_t, bool for_host) {
  // A lost device may hang here, and what it may still write to must stay.
  if (IsLost())
    return;
  ContextScope scope(this);
  if (for_host)
    Api().cuMemFreeHost(address);
  else
    Api().cuMemFree_v2(AddressOf(address));
}

//===----------------------------------------------------------------------===//
// Packages
//===----------------------------------------------------------------------===//

Status CudaDevice::Acquire(headrace_package_t *package, ResidentPackage **out) {
  HEADRACE_RETURN_IF_ERROR(CheckAlive());
  std::lock_guard<std::mutex> lock(mutex);
  for (ResidentPackage *resident : residents)
    if (resident->Package() == package) {
      resident->Retain();
      *out = resident;
      return Status();
    }
  residents.reserve(residents.size() + 1);
  auto *resident = New<ResidentPackage>(HostAllocator(), this, package);
  if (Status status = resident->LoadCode(); !status.IsOk()) {
    Delete(HostAllocator(), resident);
    return status;
  }
  residents.push_back(resident);
  *out = resident;
  return Status();
}

void CudaDevice::Drop(ResidentPackage *resident) {
  // Under the mutex: nobody finds it between the last reference and its end.
  std::lock_guard<std::mutex> lock(mutex);
  if (!resident->RefCounted::Drop())
    return;
  residents.erase(std::find(residents.begin(), residents.end(), resident));
  Delete(HostAllocator(), resident);
}

Status CudaDevice::CreateLoader(uint32_t kind, headrace_package_t *package,
                                WeightLoaderOwner *out) {
  if (kind != HEADRACE_WEIGHTS_MAPPED)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_UNIMPLEMENTED,
                      "session: weight loader %u is unknown to the cuda driver",
                      kind);
  return CreateResidentLoader(this, package, out);
}

Status CudaDevice::CreateExecutor(headrace_package_t *package,
                                  const ExecutorOptions &options,
                                  ExecutorOwner *out) {
  ResidentPackage *resident;
  HEADRACE_RETURN_IF_ERROR(Acquire(package, &resident));
  CudaExecutor *executor;
  try {
    executor = New<CudaExecutor>(HostAllocator(), this, resident, options);
  } catch (...) {
    Drop(resident);
    throw;
  }
  out->reset(executor);
  return executor->Create();
}

Status CudaDevice::CreateCopyStream(Executor *executor, CopyStreamOwner *out) {
  auto *stream = New<CudaCopyStream>(HostAllocator(), this,
                                     static_cast<CudaExecutor *>(executor));
  out->reset(stream);
  return stream->Create();
}

} // namespace headrace::runtime::cuda

//===----------------------------------------------------------------------===//
// C entries
//===----------------------------------------------------------------------===//

using namespace headrace::runtime;

headrace_status_t
headrace_device_create_cuda(headrace_instance_t *instance,
                            const headrace_cuda_device_options_t *options,
                            headrace_device_t **out_device) {
  if (out_device)
    *out_device = nullptr;
  if (!instance || !out_device)
    return InvalidArgument("device: an argument is null");
  const Allocator &allocator = instance->allocator;
  return Guard(allocator, [&]() -> Status {
    headrace_cuda_device_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    auto *device =
        New<cuda::CudaDevice>(allocator, instance, read.stop_grace_ns);
    auto owner = DeviceRef::Adopt(device);
    HEADRACE_RETURN_IF_ERROR(device->Open(read));
    *out_device = owner.Release();
    return Status();
  });
}

headrace_status_t
headrace_cuda_device_count(headrace_instance_t *instance,
                           const headrace_cuda_device_options_t *options,
                           uint32_t *out_count) {
  if (out_count)
    *out_count = 0;
  if (!instance || !out_count)
    return InvalidArgument("device: an argument is null");
  const Allocator &allocator = instance->allocator;
  return Guard(allocator, [&]() -> Status {
    headrace_cuda_device_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    cuda::CudaLibrary library;
    HEADRACE_RETURN_IF_ERROR(library.Open(allocator, read.cuda_library));
    int count = 0;
    if (cuda::CuResult result = library.api.cuDeviceGetCount(&count);
        result != cuda::kCuSuccess)
      return MakeStatus(allocator, HEADRACE_STATUS_UNAVAILABLE,
                        "cuda: counting devices: %s",
                        library.Describe(result).text);
    *out_count = static_cast<uint32_t>(std::max(count, 0));
    return Status();
  });
}
