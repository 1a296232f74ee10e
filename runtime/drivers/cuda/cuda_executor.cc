// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CUDA executor: transfers, launches, capture and replay.
#include "runtime/drivers/cuda/cuda_executor.h"

#include "runtime/abi/gpu_kernel_abi.h"

#include <cinttypes>
#include <cstring>
#include <utility>

namespace headrace::runtime::cuda {
namespace {

/// Launches that are under way at once where they are not captured, twice: so a
/// step that is told to stop ends after these, not after all of them.
constexpr size_t kPace = 64;

/// Fills `out` with the parameters of a launch, see gpu_kernel_abi.h, and
/// returns their bytes. The manifest's checks bound them.
size_t PackParameters(const Launch &launch, const void *table,
                      const void *counts, uint8_t *out) {
  uint8_t *next = out;
  auto add = [&](const auto &value) {
    std::memcpy(next, &value, sizeof(value));
    next += sizeof(value);
  };
  add(table);
  add(counts);
  for (uint32_t i = 0; i < launch.buffer_count; ++i)
    add(launch.buffers[i]);
  for (uint32_t i = 0; i < launch.weight_count; ++i)
    add(launch.weight_ids[i]);
  return static_cast<size_t>(next - out);
}

/// True where the launches of a run can be captured: the library may choose by
/// the number of rows, which differ from step to step.
bool CanCapture(const Run &run) {
  for (size_t i = 0; i < run.launch_count; ++i)
    if (run.launches[i].matmul)
      return false;
  return true;
}

} // namespace

CudaExecutor::CudaExecutor(CudaDevice *device, ResidentPackage *resident,
                           const ExecutorOptions &options)
    : device(device), resident(resident), options(options),
      kernels(StdAllocator<Kernel>(device->HostAllocator())),
      captured(StdAllocator<Captured>(device->HostAllocator())) {}

CudaExecutor::~CudaExecutor() {
  // A lost device may hang in any of these; what it holds is gone anyway.
  // Memory outlives parts of a run that was given up.
  if (started > ended && !device->IsLost()) {
    StopSource at_once;
    at_once.deadline_ns = 1;
    ContextScope scope(device);
    (void)device->Await(EventOf(started), at_once, "the step");
  }
  if (!device->IsLost()) {
    ContextScope scope(device);
    const CudaApi &api = device->Api();
    auto destroy = [&](CuEvent event) {
      if (event)
        api.cuEventDestroy_v2(event);
    };
    for (const Captured &one : captured) {
      if (one.graph)
        api.cuGraphExecDestroy(one.graph);
      destroy(one.timer.start);
      destroy(one.timer.end);
    }
    for (CuEvent event : {done, paced[0], paced[1], loose.start, loose.end})
      destroy(event);
    for (CuEvent event : parts)
      destroy(event);
    if (stream)
      api.cuStreamDestroy_v2(stream);
  }
  matmul.reset();
  table = DeviceMemory();
  table_staging = DeviceMemory();
  device->Drop(resident);
}

Status CudaExecutor::Create() {
  const abi::Manifest &manifest = *resident->Package()->manifest;
  kernels.resize(manifest.kernels()->size());
  table_bytes = uint64_t(manifest.weights()->size()) * 8;
  places = options.ahead ? kMostAhead + 2 : 1;
  HEADRACE_RETURN_IF_ERROR(
      device->Allocate(table_bytes, "the binding table", &table));
  HEADRACE_RETURN_IF_ERROR(device->AllocateHost(
      table_bytes * places, "the host's binding table", &table_staging));
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  const CudaApi &api = device->Api();
  HEADRACE_RETURN_IF_ERROR(device->Check(
      api.cuStreamCreate(&stream, kCuStreamNonBlocking), "creating a stream"));
  auto create = [&](CuEvent *event, unsigned flags) {
    return device->Check(api.cuEventCreate(event, flags), "creating an event");
  };
  for (CuEvent *event : {&done, &paced[0], &paced[1]})
    HEADRACE_RETURN_IF_ERROR(create(event, kCuEventDisableTiming));
  for (uint64_t i = 0; options.ahead && i < kMostAhead; ++i)
    HEADRACE_RETURN_IF_ERROR(create(&parts[i], kCuEventDisableTiming));
  return CreateTimer(&loose);
}

Status CudaExecutor::Resolve(const abi::Launch &described, Launch *launch) {
  if (described.kind() == abi::LaunchKind::matmul) {
    if (!matmul) {
      matmul.emplace(device);
      HEADRACE_RETURN_IF_ERROR(matmul->Create());
    }
    launch->matmul = described.matmul();
    return Status();
  }
  Kernel &kernel = kernels[described.kernel()];
  if (!kernel.function)
    HEADRACE_RETURN_IF_ERROR(resident->FindKernel(described.kernel(), &kernel));
  launch->kernel = &kernel;
  return Status();
}

Status CudaExecutor::BindWeights(const Vector<const void *> &weights,
                                 size_t first, size_t count) {
  if (count == 0)
    return Status();
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  // Nothing that was copied from this place is still under way, unless no run
  // came between: then both write what the table has now.
  const uint64_t offset = first * sizeof(void *);
  const uint64_t bytes = count * sizeof(void *);
  uint8_t *place =
      table_staging.Data() + bindings++ % places * table_bytes + offset;
  std::memcpy(place, weights.data() + first, bytes);
  return device->Check(
      device->Api().cuMemcpyHtoDAsync_v2(AddressOf(table.Data() + offset),
                                         place, bytes, stream),
      "binding weights");
}

Status CudaExecutor::Fill(void *address, uint8_t value, uint64_t bytes) {
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  return device->Check(
      device->Api().cuMemsetD8Async(AddressOf(address), value, bytes, stream),
      "filling memory");
}

Status CudaExecutor::Copy(void *to, const void *from, uint64_t bytes) {
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  return device->Check(device->Api().cuMemcpyDtoDAsync_v2(
                           AddressOf(to), AddressOf(from), bytes, stream),
                       "copying memory");
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

Status CudaExecutor::Execute(const Run &run) {
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  const Allocator &allocator = device->HostAllocator();
  const StopSource stop = {run.cancel, run.deadline_ns};
  if (IsCancelled(stop.cancel))
    return MakeStatus(allocator, HEADRACE_STATUS_CANCELLED,
                      "'%.64s' was cancelled before its first launch",
                      run.entry_name);
  if (stop.deadline_ns && MonotonicNs() >= stop.deadline_ns)
    return MakeStatus(allocator, HEADRACE_STATUS_DEADLINE_EXCEEDED,
                      "'%.64s' missed its deadline before its first launch",
                      run.entry_name);
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  const CudaApi &api = device->Api();

  Status status = Enqueue(run, stop);
  // Also after a failure: what was enqueued uses memory of the session.
  StopSource at_once;
  at_once.deadline_ns = 1;
  Status waited;
  if (CuResult result = api.cuEventRecord(done, stream); result != kCuSuccess)
    waited = device->Lose(result, "the step");
  else
    waited = device->Await(done, status.IsOk() ? stop : at_once, "the step");
  if (!status.IsOk() && waited.Code() != HEADRACE_STATUS_DEVICE_LOST)
    return Explain(run, std::move(status));
  if (!waited.IsOk())
    return Explain(run, std::move(waited));
  ended = started;
  if (!run.pinned) {
    // Such a copy does not return before it is done, so it starts only now.
    Status fetched = Download(run);
    if (fetched.IsOk())
      fetched = device->Check(api.cuEventRecord(done, stream), "the results");
    if (fetched.IsOk())
      fetched = device->Await(done, stop, "the results");
    if (!fetched.IsOk())
      return Explain(run, std::move(fetched));
  }
  if (!options.timing)
    return Status();
  HEADRACE_RETURN_IF_ERROR(ReadTimes());
  if (run.out_kernel_ns)
    *run.out_kernel_ns = std::exchange(spent_ns, 0);
  return Status();
}

//===----------------------------------------------------------------------===//
// Parts of runs
//===----------------------------------------------------------------------===//

bool CudaExecutor::CanStart(const Run &run) const {
  return options.ahead && run.pinned && CanCapture(run);
}

Status CudaExecutor::Start(const Run &run, uint64_t *out_part) {
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  *out_part = ++started;
  Status status = Upload(run);
  if (status.IsOk())
    status = Replay(run);
  // What was begun must be known to have ended some day.
  if (CuResult result = device->Api().cuEventRecord(EventOf(started), stream);
      result != kCuSuccess)
    status = device->Lose(result, "the step");
  return status.IsOk() ? Status() : Explain(run, std::move(status));
}

Status CudaExecutor::AwaitPart(uint64_t part, const Run &run) {
  if (part <= ended)
    return Status();
  HEADRACE_RETURN_IF_ERROR(device->CheckAlive());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  const StopSource stop = {run.cancel, run.deadline_ns};
  Status status = device->Await(EventOf(part), stop, "the step");
  if (status.Code() != HEADRACE_STATUS_DEVICE_LOST)
    ended = part;
  return status.IsOk() ? Status() : Explain(run, std::move(status));
}

Status CudaExecutor::HoldFor(uint64_t part, CuStream other) {
  // Of a part that is further back than that somebody has seen the end.
  if (part <= ended || part + kMostAhead <= started)
    return Status();
  return device->Check(device->Api().cuStreamWaitEvent(other, EventOf(part), 0),
                       "waiting for launches");
}

/// Says which step it was; the logger also gets its counts. It has no time.
Status CudaExecutor::Explain(const Run &run, Status status) {
  spent_ns = 0;
  loose.pending = false;
  for (Captured &one : captured)
    one.timer.pending = false;
  const headrace_log_level_t level = status.Code() == HEADRACE_STATUS_CANCELLED
                                         ? HEADRACE_LOG_INFO
                                         : HEADRACE_LOG_ERROR;
  device->instance->Log(
      level,
      "device: '%.64s': %s; %zu launches, first kernel '%.200s', "
      "%" PRId64 " tokens, %" PRId64 " sequences, %" PRId64 " outputs",
      run.entry_name, status.Message(), run.launch_count,
      run.launch_count ? run.launches[0].kernel_name : "none",
      run.counts[HEADRACE_COUNT_TOKENS], run.counts[HEADRACE_COUNT_SEQUENCES],
      run.counts[HEADRACE_COUNT_OUTPUTS]);
  return MakeStatus(device->HostAllocator(), status.Code(), "'%.64s': %s",
                    run.entry_name, status.Message());
}

Status CudaExecutor::Enqueue(const Run &run, const StopSource &stop) {
  HEADRACE_RETURN_IF_ERROR(Upload(run));
  if (CanCapture(run)) {
    HEADRACE_RETURN_IF_ERROR(Replay(run));
  } else {
    HEADRACE_RETURN_IF_ERROR(Mark(loose.start, false));
    HEADRACE_RETURN_IF_ERROR(LaunchAll(run, run.counts, &stop));
    HEADRACE_RETURN_IF_ERROR(Mark(loose.end, false));
    loose.pending = options.timing && run.launch_count;
  }
  return run.pinned ? Download(run) : Status();
}

Status CudaExecutor::Upload(const Run &run) {
  for (size_t i = 0; i < run.upload_count; ++i) {
    const Transfer &transfer = run.uploads[i];
    if (transfer.bytes)
      HEADRACE_RETURN_IF_ERROR(device->Check(
          device->Api().cuMemcpyHtoDAsync_v2(AddressOf(transfer.device),
                                             transfer.host, transfer.bytes,
                                             stream),
          "sending inputs"));
  }
  return Status();
}

Status CudaExecutor::Download(const Run &run) {
  for (size_t i = 0; i < run.download_count; ++i) {
    const Transfer &transfer = run.downloads[i];
    if (transfer.bytes)
      HEADRACE_RETURN_IF_ERROR(device->Check(
          device->Api().cuMemcpyDtoHAsync_v2(transfer.host,
                                             AddressOf(transfer.device),
                                             transfer.bytes, stream),
          "fetching outputs"));
  }
  return Status();
}

Status CudaExecutor::Replay(const Run &run) {
  if (run.launch_count == 0)
    return Status();
  Captured *found = nullptr;
  for (Captured &one : captured)
    if (one.launches == run.launches && one.count == run.launch_count)
      found = &one;
  if (!found) {
    captured.push_back({run.launches, run.launch_count, nullptr, Timer()});
    found = &captured.back();
    if (Status status = Capture(run, found); !status.IsOk()) {
      captured.pop_back();
      return status;
    }
  }
  // Its events time one replay after the other.
  Timer &timer = found->timer;
  if (timer.pending) {
    HEADRACE_RETURN_IF_ERROR(AwaitPart(timer.part, run));
    HEADRACE_RETURN_IF_ERROR(ReadTime(&timer));
  }
  HEADRACE_RETURN_IF_ERROR(
      device->Check(device->Api().cuGraphLaunch(found->graph, stream),
                    "starting a captured step"));
  timer.part = started;
  timer.pending = options.timing;
  return Status();
}

/// Captures the launches with the grids of the class's largest step.
Status CudaExecutor::Capture(const Run &run, Captured *out) {
  const CudaApi &api = device->Api();
  Timer &timer = out->timer;
  auto give_back = [&](Status failure) {
    for (CuEvent event : {timer.start, timer.end})
      if (event)
        api.cuEventDestroy_v2(event);
    return failure;
  };
  if (Status made = CreateTimer(&timer); !made.IsOk())
    return give_back(std::move(made));
  if (Status begun = device->Check(
          api.cuStreamBeginCapture_v2(stream, kCuCaptureThreadLocal),
          "starting a capture");
      !begun.IsOk())
    return give_back(std::move(begun));
  Status status = Mark(timer.start, true);
  if (status.IsOk())
    status = LaunchAll(run, run.class_counts, nullptr);
  if (status.IsOk())
    status = Mark(timer.end, true);
  // Ends the capture in any case, or the stream could not be used again.
  CuGraph graph = nullptr;
  const CuResult ended = api.cuStreamEndCapture(stream, &graph);
  if (status.IsOk())
    status = device->Check(ended, "ending a capture");
  if (status.IsOk())
    status =
        device->Check(api.cuGraphInstantiateWithFlags(&out->graph, graph, 0),
                      "making a captured step");
  if (graph)
    api.cuGraphDestroy(graph);
  return status.IsOk() ? Status() : give_back(std::move(status));
}

/// Starts the launches in order. With `stop`, they are paced: a bounded number
/// is under way, and a stop is seen between them.
Status CudaExecutor::LaunchAll(const Run &run, const int64_t *counts,
                               const StopSource *stop) {
  const CudaApi &api = device->Api();
  for (size_t i = 0; i < run.launch_count; ++i) {
    if (stop && i && i % kPace == 0) {
      CuEvent event = paced[i / kPace % 2];
      if (i / kPace > 2)
        HEADRACE_RETURN_IF_ERROR(device->Await(event, *stop, "the step"));
      HEADRACE_RETURN_IF_ERROR(
          device->Check(api.cuEventRecord(event, stream), "pacing a step"));
    }
    const Launch &launch = run.launches[i];
    HEADRACE_RETURN_IF_ERROR(launch.matmul ? LaunchMatmul(run, launch)
                                           : LaunchKernel(run, launch, counts));
  }
  return Status();
}

Status CudaExecutor::LaunchKernel(const Run &run, const Launch &launch,
                                  const int64_t *counts) {
  const uint64_t blocks =
      GridTasks(launch.grid_kind, launch.grid_base, launch.grid_block,
                launch.grid_limit, counts);
  if (blocks == 0)
    return Status();
  if (blocks > HEADRACE_GPU_MAX_BLOCKS)
    return MakeStatus(device->HostAllocator(), HEADRACE_STATUS_OUT_OF_RANGE,
                      "kernel '%.200s': %" PRIu64
                      " blocks, a launch has at most %u",
                      launch.kernel_name, blocks, HEADRACE_GPU_MAX_BLOCKS);
  alignas(8) uint8_t parameters[HEADRACE_GPU_MAX_PARAMETER_BYTES];
  size_t bytes =
      PackParameters(launch, table.Data(), run.device_counts, parameters);
  void *extra[] = {LaunchParamBufferPointer(), parameters,
                   LaunchParamBufferSize(), &bytes, LaunchParamEnd()};
  const auto &kernel = *static_cast<const Kernel *>(launch.kernel);
  const CuResult result = device->Api().cuLaunchKernel(
      kernel.function, static_cast<unsigned>(blocks), 1, 1, kernel.threads, 1,
      1, kernel.shared_bytes, stream, nullptr, extra);
  return device->Check(result, launch.kernel_name);
}

Status CudaExecutor::LaunchMatmul(const Run &run, const Launch &launch) {
  MatmulCall call;
  call.product = launch.matmul;
  call.x = launch.buffers[0];
  call.y = launch.buffers[1];
  call.weight = run.weights[launch.weight_ids[0]];
  call.bias =
      launch.weight_count > 1 ? run.weights[launch.weight_ids[1]] : nullptr;
  call.rows = static_cast<uint64_t>(
      run.counts[launch.matmul->rows() == abi::RowKind::outputs
                     ? HEADRACE_COUNT_OUTPUTS
                     : HEADRACE_COUNT_TOKENS]);
  return call.rows ? matmul->Enqueue(call, stream) : Status();
}

//===----------------------------------------------------------------------===//
// Time
//===----------------------------------------------------------------------===//

Status CudaExecutor::Mark(CuEvent event, bool in_capture) {
  if (!event)
    return Status();
  // In a captured step it is a node, so that no work of the host is counted.
  return device->Check(in_capture ? device->Api().cuEventRecordWithFlags(
                                        event, stream, kCuEventRecordExternal)
                                  : device->Api().cuEventRecord(event, stream),
                       "timing a step");
}

Status CudaExecutor::CreateTimer(Timer *timer) {
  for (CuEvent *event : {&timer->start, &timer->end})
    if (options.timing)
      HEADRACE_RETURN_IF_ERROR(
          device->Check(device->Api().cuEventCreate(event, kCuEventDefault),
                        "creating an event"));
  return Status();
}

/// Of launches that have ended.
Status CudaExecutor::ReadTime(Timer *timer) {
  if (!std::exchange(timer->pending, false))
    return Status();
  float milliseconds = 0;
  HEADRACE_RETURN_IF_ERROR(device->Check(
      device->Api().cuEventElapsedTime(&milliseconds, timer->start, timer->end),
      "timing a step"));
  spent_ns += static_cast<uint64_t>(double(milliseconds) * 1e6);
  return Status();
}

/// When everything has ended.
Status CudaExecutor::ReadTimes() {
  HEADRACE_RETURN_IF_ERROR(ReadTime(&loose));
  for (Captured &one : captured)
    HEADRACE_RETURN_IF_ERROR(ReadTime(&one.timer));
  return Status();
}

} // namespace headrace::runtime::cuda
