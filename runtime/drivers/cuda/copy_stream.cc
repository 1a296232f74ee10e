// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA copy stream: copies, their events, and the end.
#include "runtime/drivers/cuda/copy_stream.h"

namespace headrace::runtime::cuda {
namespace {

/// For one copy: a link that takes longer has stopped.
constexpr uint64_t kCopyLimitNs = 30000000000;
/// For reports.
constexpr const char *kWhat = "copying beside kernels";

} // namespace

CudaCopyStream::~CudaCopyStream() {
  // Memory on both sides must outlive the copies.
  if (last > ended && !device->IsLost()) {
    StopSource at_once;
    at_once.deadline_ns = 1;
    ContextScope scope(device);
    (void)device->Await(EventOf(last), at_once, kWhat);
  }
  if (device->IsLost())
    return;
  ContextScope scope(device);
  for (auto *of : {begins, events})
    for (uint64_t i = 0; i < kEvents; ++i)
      if (of[i])
        device->Api().cuEventDestroy_v2(of[i]);
  if (stream)
    device->Api().cuStreamDestroy_v2(stream);
}

Status CudaCopyStream::Create() {
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  HEADRACE_RETURN_IF_ERROR(
      device->Check(device->Api().cuStreamCreate(&stream, kCuStreamNonBlocking),
                    "creating a stream"));
  for (auto *of : {begins, events})
    for (uint64_t i = 0; i < kEvents; ++i)
      HEADRACE_RETURN_IF_ERROR(
          device->Check(device->Api().cuEventCreate(&of[i], kCuEventDefault),
                        "creating an event"));
  return Status();
}

Status CudaCopyStream::Begin(const DeviceCopy &range) {
  const CudaApi &api = device->Api();
  const CuAddress address = AddressOf(range.device);
  CuResult result;
  if (!range.host)
    result = api.cuMemsetD8Async(address, 0, range.bytes, stream);
  else if (range.to_host)
    result = api.cuMemcpyDtoHAsync_v2(range.host, address, range.bytes, stream);
  else
    result = api.cuMemcpyHtoDAsync_v2(address, range.host, range.bytes, stream);
  return device->Check(result, kWhat);
}

Status CudaCopyStream::Copy(const DeviceCopy *ranges, size_t count,
                            uint64_t after, uint64_t *out_number) {
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  const uint64_t number = last + 1;
  if (number > kEvents)
    HEADRACE_RETURN_IF_ERROR(AwaitCopy(number - kEvents));
  HEADRACE_RETURN_IF_ERROR(executor->HoldFor(after, stream));
  if (CuResult result =
          device->Api().cuEventRecord(begins[number % kEvents], stream);
      result != kCuSuccess)
    return device->Lose(result, kWhat);
  size_t begun = 0;
  Status status;
  while (begun < count && status.IsOk())
    if (status = Begin(ranges[begun]); status.IsOk())
      ++begun;
  if (begun == 0)
    return status;
  // A copy whose end nobody could tell would never be safe to free.
  if (CuResult result = device->Api().cuEventRecord(EventOf(number), stream);
      result != kCuSuccess)
    return device->Lose(result, kWhat);
  *out_number = last = number;
  if (!status.IsOk()) {
    *out_number = 0;
    HEADRACE_RETURN_IF_ERROR(AwaitCopy(number));
  }
  return status;
}

Status CudaCopyStream::HoldLaunches(uint64_t number) {
  if (number <= ended)
    return Status();
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  return device->Check(
      device->Api().cuStreamWaitEvent(executor->Stream(), EventOf(number), 0),
      "waiting for a copy");
}

Status CudaCopyStream::Look(uint64_t number, bool *out_happened) {
  const CuResult result = device->Api().cuEventQuery(EventOf(number));
  if (result != kCuSuccess && result != kCuNotReady)
    return device->Lose(result, kWhat);
  *out_happened = result == kCuSuccess;
  return Status();
}

Status CudaCopyStream::HasEnded(uint64_t number, bool *out_ended) {
  *out_ended = number <= ended;
  if (*out_ended)
    return Status();
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  HEADRACE_RETURN_IF_ERROR(Look(number, out_ended));
  if (*out_ended)
    End(number);
  return Status();
}

/// Takes note of copies that have ended, while their events still tell when.
/// One whose time is not told has arrived all the same.
void CudaCopyStream::End(uint64_t number) {
  for (uint64_t next = ended + 1; next <= number; ++next) {
    float milliseconds = 0;
    if (device->Api().cuEventElapsedTime(&milliseconds, begins[next % kEvents],
                                         EventOf(next)) == kCuSuccess)
      busy_ns += static_cast<uint64_t>(double(milliseconds) * 1e6);
  }
  ended = number;
}

/// Where more copies are under way than there are events.
Status CudaCopyStream::AwaitCopy(uint64_t number) {
  if (number <= ended)
    return Status();
  StopSource stop;
  stop.deadline_ns = MonotonicNs() + kCopyLimitNs;
  HEADRACE_RETURN_IF_ERROR(device->Await(EventOf(number), stop, kWhat));
  End(number);
  return Status();
}

} // namespace headrace::runtime::cuda
