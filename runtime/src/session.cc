// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session: what it allocates and when, and its C entries.
#include "runtime/src/session.h"

#include "runtime/src/guard.h"
#include "runtime/src/session_layout.h"
#include "runtime/src/structs.h"
#include "runtime/src/thread.h"

#include <cinttypes>

using namespace headrace::runtime;
namespace abi = headrace::abi;

//===----------------------------------------------------------------------===//
// Creation
//===----------------------------------------------------------------------===//

headrace_session_t::headrace_session_t(headrace_device_t *device,
                                       headrace_package_t *package)
    : device(DeviceRef::Share(device)), package(PackageRef::Share(package)),
      weights(StdAllocator<const void *>(HostAllocator())), kv(HostAllocator()),
      candidates(StdAllocator<Candidate>(HostAllocator())),
      arenas(StdAllocator<DeviceMemory>(HostAllocator())),
      addresses(StdAllocator<void *>(HostAllocator())),
      host_addresses(StdAllocator<void *>(HostAllocator())),
      transfers(StdAllocator<Transfer>(HostAllocator())),
      entries(StdAllocator<EntryPlan>(HostAllocator())),
      launch_times(StdAllocator<uint64_t>(HostAllocator())),
      live_bytes(StdAllocator<uint64_t>(HostAllocator())),
      pass_pages(StdAllocator<SequencePages>(HostAllocator())) {}

/// Bytes that the arguments of an entry take on a device with memory of its
/// own.
uint64_t headrace_session_t::ArgumentBytes(const abi::Entry &entry) const {
  uint64_t bytes = 0;
  for (const auto *list : {entry.inputs(), entry.outputs()})
    for (uint32_t buffer : *list)
      if (buffer != Model().kv_pool)
        bytes =
            Sum(bytes, SlotBytes(*package->manifest->buffers()->Get(buffer)));
  return bytes;
}

Status headrace_session_t::PlanKv(const headrace_session_options_t &options) {
  if (!HasKv())
    return Status();
  const abi::KvCache &cache = *package->manifest->kv();
  kv_pages = options.kv_pages;
  if (options.kv_bytes) {
    uint64_t fit = options.kv_bytes / cache.page_bytes();
    kv_pages = kv_pages ? std::min(kv_pages, fit) : fit;
    if (kv_pages == 0)
      return MakeStatus(HostAllocator(), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "session: a key-value pool of %" PRIu64
                        " bytes is %" PRIu64 " short of one page",
                        options.kv_bytes,
                        cache.page_bytes() - options.kv_bytes);
  } else if (kv_pages == 0) {
    kv_pages = uint64_t(max_sequences) * cache.max_pages();
  }
  if (options.weights == HEADRACE_WEIGHTS_ARENA) {
    const uint64_t planned = package->manifest->plan()->kv_pages();
    if (options.kv_pages == 0 && options.kv_bytes == 0)
      kv_pages = planned;
    if (kv_pages > planned)
      return MakeStatus(HostAllocator(), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "session: a key-value pool of %" PRIu64
                        " pages, but the plan has room for %" PRIu64,
                        kv_pages, planned);
  }
  // Page numbers are int32 in the table.
  if (kv_pages > INT32_MAX)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                      "session: a key-value pool of %" PRIu64 " pages",
                      kv_pages);
  return Status();
}

/// Adds up what the session will take and refuses what this device never had,
/// before anything is allocated.
Status
headrace_session_t::PlanMemory(const headrace_session_options_t &options) {
  const bool tiered = options.weights == HEADRACE_WEIGHTS_ARENA;
  for (uint32_t i = 0; i < package->summary.arena_bytes.size(); ++i)
    if (!tiered || !IsHomeFile(i))
      arena_bytes = Sum(arena_bytes, tiered ? package->summary.arena_bytes[i]
                                            : BufferBytes(i));
  HEADRACE_RETURN_IF_ERROR(PlanKv(options));
  // A plan has a place in the arena for all of these.
  const uint64_t scratch_bytes =
      tiered ? 0 : device->ScratchBytes(package->summary.max_scratch_bytes);
  const uint64_t kv_bytes =
      HasKv() && !tiered
          ? Product(kv_pages, package->manifest->kv()->page_bytes())
          : 0;
  const uint64_t first = device->SharesHostMemory() ? 0 : kCountsBytes;
  if (Model().entry != kNoIndex) {
    staging_bytes = first;
    for (uint32_t buffer : IoBuffers(Model()))
      if (buffer != kNoIndex)
        staging_bytes =
            Sum(staging_bytes,
                SlotBytes(*package->manifest->buffers()->Get(buffer)));
  }
  // A plan has the buffers of steps in its arena, but not the counts.
  io_bytes = tiered ? first : std::max(staging_bytes, first);
  if (!device->SharesHostMemory())
    for (uint32_t i = 0; i < package->manifest->entries()->size(); ++i)
      if (!tiered || i != Model().entry)
        io_bytes = std::max(
            io_bytes,
            Sum(first, ArgumentBytes(*package->manifest->entries()->Get(i))));

  const uint64_t present = device->MemoryBytes();
  uint64_t needed =
      Sum(Sum(arena_bytes, kv_bytes), Sum(scratch_bytes, io_bytes));
  for (uint32_t i = 0; i < package->summary.arena_bytes.size(); ++i)
    if (tiered && IsHome(i) && !device->SharesHostMemory())
      needed -= std::min(needed, package->summary.arena_bytes[i]);
  if (needed <= present)
    return Status();
  return MakeStatus(HostAllocator(), HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                    "session: needs %" PRIu64 " bytes (arena %" PRIu64
                    ", key-value pool %" PRIu64 ", scratch %" PRIu64
                    ", step buffers %" PRIu64 "), but this device has %" PRIu64
                    ": %" PRIu64 " are missing",
                    needed, arena_bytes, kv_bytes, scratch_bytes, io_bytes,
                    present, needed - present);
}

/// Bytes of a level up to the end of its buffers: the arena without what a plan
/// places beside them.
uint64_t headrace_session_t::BufferBytes(uint32_t level) const {
  uint64_t end = 0;
  for (const abi::Buffer *buffer : *package->manifest->buffers())
    if (buffer->kind() == abi::BufferKind::scratch && buffer->level() == level)
      end = std::max(end, Sum(buffer->offset(), buffer->bytes()));
  return end;
}

Status headrace_session_t::CreateArenas(bool tiered) {
  const abi::Manifest &manifest = *package->manifest;
  uint32_t levels = manifest.levels()->size();
  arenas.reserve(levels);
  for (uint32_t i = 0; i < levels; ++i) {
    arenas.emplace_back();
    if (tiered && IsHomeFile(i))
      continue;
    const uint64_t bytes =
        tiered ? package->summary.arena_bytes[i] : BufferBytes(i);
    HEADRACE_RETURN_IF_ERROR(
        tiered && IsHome(i)
            ? device->AllocateHost(bytes, "the home of what moves", &arenas[i])
            : device->Allocate(bytes, "the arena of the plan", &arenas[i]));
  }
  uint32_t buffers = manifest.buffers()->size();
  addresses.assign(buffers, nullptr);
  host_addresses.assign(buffers, nullptr);
  for (uint32_t i = 0; i < buffers; ++i) {
    const abi::Buffer &buffer = *manifest.buffers()->Get(i);
    if (buffer.kind() == abi::BufferKind::scratch)
      addresses[i] = arenas[buffer.level()].Data() + buffer.offset();
  }
  return Status();
}

Status headrace_session_t::CreateKv() {
  if (!HasKv())
    return Status();
  uint8_t *place = nullptr;
  if (IsTiered()) {
    const abi::Plan &plan = *package->manifest->plan();
    place = arenas[plan.kv_level()].Data() + plan.kv_offset();
  }
  HEADRACE_RETURN_IF_ERROR(
      kv.Create(device.Get(), executor.get(), place,
                static_cast<uint32_t>(kv_pages), *package->manifest->kv(),
                IsTiered() && tiers->pages.IsOn() ? &tiers->pages : nullptr));
  addresses[Model().kv_pool] = kv.LayerData(0);
  return Status();
}

/// Places what a step reads and writes: where kernels find it, and where this
/// thread does, which may be the same.
Status headrace_session_t::CreateIo() {
  HEADRACE_RETURN_IF_ERROR(device->Allocate(io_bytes, "step buffers", &io));
  const bool shares = device->SharesHostMemory();
  if (!shares)
    HEADRACE_RETURN_IF_ERROR(
        device->AllocateHost(std::max(staging_bytes, kCountsBytes),
                             "step buffers of the host", &staging));
  if (Model().entry == kNoIndex)
    return Status();
  uint64_t offset = shares ? 0 : kCountsBytes;
  for (uint32_t buffer : IoBuffers(Model()))
    if (buffer != kNoIndex) {
      const abi::Buffer &described = *package->manifest->buffers()->Get(buffer);
      addresses[buffer] =
          IsTiered() ? arenas[described.level()].Data() + described.offset()
                     : io.Data() + offset;
      host_addresses[buffer] =
          shares ? addresses[buffer] : staging.Data() + offset;
      offset += SlotBytes(described);
    }
  return Status();
}

/// Sets the addresses of an entry's arguments on a device with memory of its
/// own; those of a language model have theirs.
void headrace_session_t::PlaceArguments(const abi::Entry &entry) {
  uint8_t *next = io.Data() + kCountsBytes;
  for (const auto *list : {entry.inputs(), entry.outputs()})
    for (uint32_t buffer : *list)
      if (buffer != Model().kv_pool) {
        addresses[buffer] = next;
        next += SlotBytes(*package->manifest->buffers()->Get(buffer));
      }
}

Status headrace_session_t::CreateEntries() {
  const abi::Manifest &manifest = *package->manifest;
  const uint32_t count = manifest.entries()->size();
  const Vector<void *> own = addresses;
  size_t most_arguments = 0;
  entries.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const abi::Entry &entry = *manifest.entries()->Get(i);
    most_arguments =
        std::max<size_t>(most_arguments, size_t(entry.inputs()->size()) +
                                             entry.outputs()->size());
    if (!device->SharesHostMemory() && i != Model().entry)
      PlaceArguments(entry);
    HEADRACE_RETURN_IF_ERROR(CreateEntry(entry));
    std::copy(own.begin(), own.end(), addresses.begin());
  }
  transfers.reserve(most_arguments + 1); // the counts
  return Status();
}

Status headrace_session_t::CreateEntry(const abi::Entry &entry) {
  const abi::Limits &limits = *package->manifest->limits();
  const uint32_t code = executor->CodeIndex();
  entries.emplace_back(HostAllocator());
  Vector<ClassPlan> &classes = entries.back().classes;
  auto add = [&](const Launches &launches, uint32_t tokens, uint32_t sequences,
                 uint32_t outputs) {
    classes.emplace_back(HostAllocator());
    int64_t *most = classes.back().most;
    most[HEADRACE_COUNT_TOKENS] = tokens;
    most[HEADRACE_COUNT_SEQUENCES] = sequences;
    most[HEADRACE_COUNT_OUTPUTS] = outputs;
    return ResolveClass(launches, &classes.back());
  };
  if (package->manifest->code()->Get(code)->format() == abi::CodeFormat::image)
    return add(*entry.launches(), limits.max_tokens(), limits.max_sequences(),
               limits.max_tokens());
  // The manifest's checks: they grow, and the last one admits every step.
  if (entry.classes())
    for (const abi::StepClass *one : *entry.classes())
      if (one->code() == code)
        HEADRACE_RETURN_IF_ERROR(add(*one->launches(), one->max_tokens(),
                                     one->max_sequences(), one->max_outputs()));
  if (classes.empty())
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_FAILED_PRECONDITION,
                      "session: entry '%.200s' has no launches for code #%u",
                      entry.name()->c_str(), code);
  return Status();
}

Status headrace_session_t::ResolveClass(const Launches &launches,
                                        ClassPlan *plan) {
  const abi::Manifest &manifest = *package->manifest;
  size_t operand_count = 0;
  for (const abi::Launch *launch : launches)
    operand_count += launch->buffers()->size();
  // Launches point into `operands`, so it must not move.
  plan->operands.reserve(operand_count);
  plan->launches.reserve(launches.size());
  for (const abi::Launch *launch : launches) {
    Launch resolved;
    HEADRACE_RETURN_IF_ERROR(executor->Resolve(*launch, &resolved));
    resolved.buffers = plan->operands.data() + plan->operands.size();
    resolved.buffer_count = launch->buffers()->size();
    resolved.weight_ids = launch->weights()->data();
    resolved.weight_count = launch->weights()->size();
    resolved.grid_kind = launch->grid_kind();
    resolved.grid_base = launch->grid_base();
    resolved.grid_block = launch->grid_block();
    resolved.grid_limit = launch->grid_limit();
    resolved.kernel_name =
        manifest.kernels()->Get(launch->kernel())->name()->c_str();
    plan->launches.push_back(resolved);
    for (uint32_t buffer : *launch->buffers()) {
      const abi::Buffer *named = manifest.buffers()->Get(buffer);
      uint64_t offset = 0;
      if (named->kind() == abi::BufferKind::view) {
        offset = named->offset();
        buffer = named->base();
        named = manifest.buffers()->Get(buffer);
      }
      if (buffer == Model().kv_pool) { // a layer of it, never the host's
        const auto layer = static_cast<uint32_t>(offset / kv.LayerPageBytes());
        plan->operands.push_back(kv.LayerData(layer));
        continue;
      }
      if (named->kind() != abi::BufferKind::scratch)
        plan->patches.push_back(
            {static_cast<uint32_t>(plan->operands.size()), buffer, offset});
      plan->operands.push_back(At(addresses[buffer], offset));
    }
  }
  return Status();
}

Status headrace_session_t::Create(const headrace_session_options_t &options,
                                  ByteSource *source, ByteSource *homes) {
  if (package->inspect_only)
    return MakeStatus(HostAllocator(), HEADRACE_STATUS_FAILED_PRECONDITION,
                      "session: the package was opened for inspection only");
  HEADRACE_RETURN_IF_ERROR(CheckTiers(options));
  timeout_ns = options.timeout_ns;
  timing = options.timing != 0;
  poison_outputs = options.poison_outputs != 0;
  tracer = Tracer(options.on_trace, options.trace_user_data);
  max_sequences = options.max_sequences
                      ? options.max_sequences
                      : package->manifest->limits()->max_sequences();
  HEADRACE_RETURN_IF_ERROR(PlanMemory(options));
  const bool tiered = options.weights == HEADRACE_WEIGHTS_ARENA;
  weights.assign(package->manifest->weights()->size(), nullptr);
  if (!tiered) {
    HEADRACE_RETURN_IF_ERROR(
        device->CreateLoader(options.weights, package.Get(), &loader));
    HEADRACE_RETURN_IF_ERROR(loader->Bind(&weights));
  }
  ExecutorOptions executor_options;
  executor_options.timing = timing;
  executor_options.ahead = tiered && !device->SharesHostMemory();
  HEADRACE_RETURN_IF_ERROR(
      device->CreateExecutor(package.Get(), executor_options, &executor));
  HEADRACE_RETURN_IF_ERROR(CreateArenas(tiered));
  if (tiered)
    HEADRACE_RETURN_IF_ERROR(CreateTiers(options, source, homes));
  HEADRACE_RETURN_IF_ERROR(executor->BindWeights(weights, 0, weights.size()));
  HEADRACE_RETURN_IF_ERROR(CreateKv());
  HEADRACE_RETURN_IF_ERROR(CreateIo());
  return CreateEntries();
}

//===----------------------------------------------------------------------===//
// C entries
//===----------------------------------------------------------------------===//

Status headrace::runtime::CreateSession(
    headrace_device_t *device, headrace_package_t *package,
    const headrace_session_options_t *options, ByteSource *source,
    headrace_session_t **out_session, ByteSource *homes) {
  const Allocator &allocator = device->instance->allocator;
  headrace_session_options_t read;
  HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
  auto session =
      SessionRef::Adopt(New<headrace_session_t>(allocator, device, package));
  HEADRACE_RETURN_IF_ERROR(session->Create(read, source, homes));
  *out_session = session.Release();
  return Status();
}

headrace_status_t
headrace_session_create(headrace_device_t *device, headrace_package_t *package,
                        const headrace_session_options_t *options,
                        headrace_session_t **out_session) {
  if (out_session)
    *out_session = nullptr;
  if (!device || !package || !out_session)
    return InvalidArgument("session: an argument is null");
  return Guard(device->instance->allocator, [&]() -> Status {
    return CreateSession(device, package, options, nullptr, out_session);
  });
}

void headrace_session_retain(headrace_session_t *session) {
  if (session)
    session->Retain();
}

void headrace_session_release(headrace_session_t *session) {
  if (session && session->Drop() && session->Stop())
    EndSession(session);
}

headrace_status_t headrace_session_level(const headrace_session_t *session,
                                         uint32_t index,
                                         headrace_level_usage_t *out) {
  if (!session)
    return InvalidArgument("session: 'session' is null");
  return Guard(session->HostAllocator(),
               [&] { return session->DescribeLevel(index, out); });
}

headrace_status_t headrace_session_link(headrace_session_t *session,
                                        uint32_t index,
                                        headrace_link_usage_t *out) {
  if (!session)
    return InvalidArgument("session: 'session' is null");
  return Guard(session->HostAllocator(),
               [&] { return session->DescribeLink(index, out); });
}

headrace_status_t headrace_session_pool(const headrace_session_t *session,
                                        uint32_t index,
                                        headrace_pool_usage_t *out) {
  if (!session)
    return InvalidArgument("session: 'session' is null");
  return Guard(session->HostAllocator(),
               [&] { return session->DescribePool(index, out); });
}

headrace_status_t headrace_session_info(const headrace_session_t *session,
                                        headrace_session_info_t *out) {
  if (!session)
    return InvalidArgument("session: 'session' is null");
  return Guard(session->HostAllocator(), [&]() -> Status {
    headrace_session_info_t value = {};
    value.max_sequences = session->max_sequences;
    value.sequences = session->live_sequences;
    value.kv_pages = session->kv.PageCount();
    value.kv_pages_free = session->kv.FreeCount();
    value.kv_bytes = session->kv.PageBytes() * session->kv.PageCount();
    value.arena_bytes = session->arena_bytes;
    value.scratch_bytes = session->executor->ScratchBytes();
    value.io_bytes = session->io.Bytes();
    value.kernel_ns = session->kernel_ns;
    return WriteStruct(session->HostAllocator(), value, out);
  });
}

headrace_status_t headrace_session_step(headrace_session_t *session,
                                        const headrace_step_options_t *options,
                                        headrace_step_result_t *result) {
  if (!session || !options)
    return InvalidArgument("step: an argument is null");
  const Allocator &allocator = session->HostAllocator();
  return Guard(allocator, [&]() -> Status {
    headrace_step_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    // Before the step: afterwards it could not be taken back.
    if (result)
      HEADRACE_RETURN_IF_ERROR(CheckStructSize<headrace_step_result_t>(
          allocator, result->struct_size));
    return session->Step(read, result);
  });
}

headrace_status_t
headrace_session_invoke(headrace_session_t *session,
                        const headrace_invoke_options_t *options) {
  if (!session || !options)
    return InvalidArgument("invoke: an argument is null");
  const Allocator &allocator = session->HostAllocator();
  return Guard(allocator, [&]() -> Status {
    headrace_invoke_options_t read;
    HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
    return session->Invoke(read);
  });
}
