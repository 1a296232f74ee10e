// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session: creation, steps cut into passes, and plain invocation.
#include "runtime/src/session.h"

#include "runtime/src/guard.h"
#include "runtime/src/structs.h"
#include "runtime/src/thread.h"

#include <array>
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
      live_bytes(StdAllocator<uint64_t>(HostAllocator())) {}

namespace {

/// Where the counts of a run lie among the step buffers of a device with memory
/// of its own: first, so that one transfer takes them along.
constexpr uint64_t kCountsBytes = kCacheLine;

/// Of outputs before a run, where asked for: NaN in every float type.
constexpr uint8_t kPoison = 0xff;
static_assert(sizeof(int64_t) * HEADRACE_COUNT_COUNT <= kCountsBytes);

/// a + b and a * b, or UINT64_MAX where that does not fit.
uint64_t Sum(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}
uint64_t Product(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/// The buffers of a language model that are the session's own: what a step
/// reads, the longest last, then what it writes.
std::array<uint32_t, 6> IoBuffers(const LanguageModel &model) {
  return {model.tokens,      model.positions, model.sequences,
          model.output_rows, model.kv_table,  model.logits};
}

/// Bytes that a buffer takes among others.
uint64_t SlotBytes(const abi::Buffer &buffer) {
  return Sum(buffer.bytes(), kCacheLine - 1) / kCacheLine * kCacheLine;
}

} // namespace

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
  io_bytes = tiered ? 0 : std::max(staging_bytes, first);
  if (!device->SharesHostMemory())
    for (const abi::Entry *entry : *package->manifest->entries())
      io_bytes = std::max(io_bytes, Sum(first, ArgumentBytes(*entry)));

  const uint64_t present = device->MemoryBytes();
  const uint64_t needed =
      Sum(Sum(arena_bytes, kv_bytes), Sum(scratch_bytes, io_bytes));
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
    HEADRACE_RETURN_IF_ERROR(device->Allocate(
        tiered ? package->summary.arena_bytes[i] : BufferBytes(i),
        "the arena of the plan", &arenas[i]));
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
  HEADRACE_RETURN_IF_ERROR(kv.Create(device.Get(), executor.get(), place,
                                     static_cast<uint32_t>(kv_pages),
                                     package->manifest->kv()->page_bytes()));
  addresses[Model().kv_pool] = kv.Data();
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
    if (buffer != kNoIndex && IsTiered()) {
      const abi::Buffer &planned = *package->manifest->buffers()->Get(buffer);
      addresses[buffer] = arenas[planned.level()].Data() + planned.offset();
      host_addresses[buffer] = addresses[buffer];
    } else if (buffer != kNoIndex) {
      addresses[buffer] = io.Data() + offset;
      host_addresses[buffer] = (shares ? io : staging).Data() + offset;
      offset += SlotBytes(*package->manifest->buffers()->Get(buffer));
    }
  return Status();
}

/// `offset` bytes behind `address`, which may still be unknown.
static void *At(void *address, uint64_t offset) {
  return address ? static_cast<uint8_t *>(address) + offset : nullptr;
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
      if (named->kind() != abi::BufferKind::scratch)
        plan->patches.push_back(
            {static_cast<uint32_t>(plan->operands.size()), buffer, offset});
      plan->operands.push_back(At(addresses[buffer], offset));
    }
  }
  return Status();
}

Status headrace_session_t::Create(const headrace_session_options_t &options,
                                  ByteSource *source) {
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
  HEADRACE_RETURN_IF_ERROR(
      device->CreateExecutor(package.Get(), executor_options, &executor));
  HEADRACE_RETURN_IF_ERROR(CreateArenas(tiered));
  if (tiered)
    HEADRACE_RETURN_IF_ERROR(CreateTiers(options, source));
  HEADRACE_RETURN_IF_ERROR(executor->BindWeights(weights));
  HEADRACE_RETURN_IF_ERROR(CreateKv());
  HEADRACE_RETURN_IF_ERROR(CreateIo());
  return CreateEntries();
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

void headrace_session_t::BindArguments(uint32_t entry) {
  for (ClassPlan &plan : entries[entry].classes)
    for (const Patch &patch : plan.patches)
      plan.operands[patch.operand] = At(addresses[patch.buffer], patch.offset);
}

/// Runs an entry with the first `uploads` of `transfers` before it and the rest
/// behind it.
Status headrace_session_t::RunEntry(uint32_t entry, const int64_t *counts,
                                    size_t uploads, bool pinned,
                                    const headrace_cancel_t *cancel,
                                    uint64_t deadline_ns) {
  // The last class admits what no other does.
  const Vector<ClassPlan> &classes = entries[entry].classes;
  size_t index = 0;
  auto admits = [&](const ClassPlan &plan) {
    for (int i = 0; i <= HEADRACE_COUNT_OUTPUTS; ++i)
      if (counts[i] > plan.most[i])
        return false;
    return true;
  };
  while (index + 1 < classes.size() && !admits(classes[index]))
    ++index;
  const ClassPlan &plan = classes[index];
  Run run;
  run.entry_name = package->manifest->entries()->Get(entry)->name()->c_str();
  run.pinned = pinned;
  run.launches = plan.launches.data();
  run.launch_count = plan.launches.size();
  run.uploads = transfers.data();
  run.upload_count = uploads;
  run.downloads = transfers.data() + uploads;
  run.download_count = transfers.size() - uploads;
  run.weights = weights.data();
  run.device_counts = io.Data();
  std::copy(counts, counts + HEADRACE_COUNT_COUNT, run.counts);
  std::copy(plan.most, plan.most + HEADRACE_COUNT_COUNT, run.class_counts);
  if (timing)
    run.out_kernel_ns = &kernel_ns;
  run.cancel = cancel;
  run.deadline_ns = deadline_ns;
  const uint64_t begin = tracer.IsOn() ? MonotonicNs() : 0;
  Status status = IsTiered() ? RunTiered(entry, run) : Execute(run, 0);
  if (tracer.IsOn())
    tracer.Pass(run.entry_name, begin, MonotonicNs());
  return status;
}

/// Runs launches of an entry, `first_launch` of it the first.
Status headrace_session_t::Execute(const Run &wanted, uint32_t first_launch) {
  Run run = wanted;
  if (tracer.IsOn()) {
    launch_times.assign(run.launch_count + 1, 0);
    run.launch_begin_ns = launch_times.data();
  }
  Status status = executor->Execute(run);
  if (tracer.IsOn()) {
    launch_times[run.launch_count] = MonotonicNs();
    for (size_t i = 0; i < run.launch_count; ++i)
      if (launch_times[i] && launch_times[i + 1])
        tracer.Launch(run.launches[i].kernel_name,
                      first_launch + static_cast<uint32_t>(i), launch_times[i],
                      launch_times[i + 1]);
  }
  // A thread or the device may still be inside a kernel: what it uses is never
  // freed.
  if (status.Code() == HEADRACE_STATUS_DEVICE_LOST && !kept_for_ever) {
    kept_for_ever = true;
    Retain();
  }
  return status;
}

/// When a call with this timeout must be over.
static uint64_t DeadlineOf(uint64_t call_timeout_ns, uint64_t timeout_ns) {
  uint64_t timeout = call_timeout_ns ? call_timeout_ns : timeout_ns;
  uint64_t deadline;
  if (timeout == 0 || __builtin_add_overflow(MonotonicNs(), timeout, &deadline))
    return 0;
  return deadline;
}

Status headrace_session_t::Invoke(const headrace_invoke_options_t &options) {
  const abi::Manifest &manifest = *package->manifest;
  const abi::Limits &limits = *manifest.limits();
  const Allocator &allocator = HostAllocator();
  if (options.entry >= entries.size())
    return MakeStatus(allocator, HEADRACE_STATUS_OUT_OF_RANGE,
                      "invoke: entry %u of %zu", options.entry, entries.size());
  const uint32_t sequences = options.sequences ? options.sequences : 1;
  const uint32_t outputs = options.outputs ? options.outputs : options.tokens;
  if (options.tokens == 0 || options.tokens > limits.max_tokens() ||
      sequences > limits.max_sequences() || outputs > limits.max_tokens())
    return MakeStatus(allocator, HEADRACE_STATUS_OUT_OF_RANGE,
                      "invoke: %u tokens, %u sequences, %u outputs; at most "
                      "%u, %u, %u",
                      options.tokens, sequences, outputs, limits.max_tokens(),
                      limits.max_sequences(), limits.max_tokens());

  auto needed_bytes = [&](const abi::Buffer &buffer) -> uint64_t {
    auto scaled = [&](uint64_t count, uint64_t most) {
      auto product = static_cast<unsigned __int128>(buffer.bytes()) * count;
      return static_cast<uint64_t>((product + most - 1) / most);
    };
    switch (buffer.rows()) {
    case abi::RowKind::tokens:
      return scaled(options.tokens, limits.max_tokens());
    case abi::RowKind::sequences:
      return scaled(sequences, limits.max_sequences());
    case abi::RowKind::outputs:
      return scaled(outputs, limits.max_tokens());
    case abi::RowKind::fixed:
      break;
    }
    return buffer.bytes();
  };
  auto check = [&](const flatbuffers::Vector<uint32_t> &buffers,
                   const char *what, size_t count, const void *const *pointers,
                   const uint64_t *bytes) -> Status {
    if (count != buffers.size() || (count && (!pointers || !bytes)))
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "invoke: expected %u %ss, but got %zu", buffers.size(),
                        what, count);
    for (uint32_t i = 0; i < buffers.size(); ++i) {
      const abi::Buffer &buffer = *manifest.buffers()->Get(buffers.Get(i));
      uint64_t needed = needed_bytes(buffer);
      if (bytes[i] < needed)
        return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                          "invoke: %s #%u ('%.200s'): expected %" PRIu64
                          " bytes, but got %" PRIu64,
                          what, i, buffer.name()->c_str(), needed, bytes[i]);
      if (!pointers[i] || reinterpret_cast<uintptr_t>(pointers[i]) % kCacheLine)
        return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                          "invoke: %s #%u ('%.200s'): expected a pointer "
                          "aligned to %zu bytes",
                          what, i, buffer.name()->c_str(), kCacheLine);
      if (buffer.role() &&
          (buffer.role()->string_view() == HEADRACE_ROLE_KV_POOL ||
           buffer.role()->string_view() == HEADRACE_ROLE_KV_TABLE))
        return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                          "invoke: the entry reads a key-value cache; use "
                          "headrace_session_step");
    }
    return Status();
  };
  const abi::Entry &entry = *manifest.entries()->Get(options.entry);
  HEADRACE_RETURN_IF_ERROR(check(*entry.inputs(), "input", options.input_count,
                                 options.inputs, options.input_bytes));
  HEADRACE_RETURN_IF_ERROR(check(*entry.outputs(), "output",
                                 options.output_count, options.outputs_data,
                                 options.output_bytes));

  const int64_t counts[HEADRACE_COUNT_COUNT] = {
      options.tokens, sequences, outputs, 0, HEADRACE_ALL_ACTIVE};
  const uint64_t deadline = DeadlineOf(options.timeout_ns, timeout_ns);
  transfers.clear();
  if (!device->SharesHostMemory()) {
    std::memcpy(staging.Data(), counts, sizeof(counts));
    transfers.push_back({io.Data(), staging.Data(), kCountsBytes});
    uint8_t *next = io.Data() + kCountsBytes;
    auto add = [&](const flatbuffers::Vector<uint32_t> &buffers, uint32_t i,
                   void *host) {
      const abi::Buffer &buffer = *manifest.buffers()->Get(buffers.Get(i));
      void *place = options.entry == Model().entry ? addresses[buffers.Get(i)]
                                                   : static_cast<void *>(next);
      transfers.push_back({place, host, needed_bytes(buffer)});
      next += SlotBytes(buffer);
    };
    for (uint32_t i = 0; i < entry.inputs()->size(); ++i)
      add(*entry.inputs(), i, const_cast<void *>(options.inputs[i]));
    const size_t uploads = transfers.size();
    for (uint32_t i = 0; i < entry.outputs()->size(); ++i)
      add(*entry.outputs(), i, options.outputs_data[i]);
    for (size_t i = uploads; poison_outputs && i < transfers.size(); ++i)
      HEADRACE_RETURN_IF_ERROR(
          executor->Fill(transfers[i].device, kPoison, transfers[i].bytes));
    return RunEntry(options.entry, counts, uploads, false, options.cancel,
                    deadline);
  }

  // The buffers of a language model have addresses of their own, for steps.
  const bool is_model = options.entry == Model().entry;
  Vector<void *> own{StdAllocator<void *>(allocator)};
  if (is_model)
    own = addresses;
  for (uint32_t i = 0; i < entry.inputs()->size(); ++i)
    addresses[entry.inputs()->Get(i)] = const_cast<void *>(options.inputs[i]);
  for (uint32_t i = 0; i < entry.outputs()->size(); ++i) {
    const uint32_t buffer = entry.outputs()->Get(i);
    addresses[buffer] = options.outputs_data[i];
    if (poison_outputs)
      HEADRACE_RETURN_IF_ERROR(
          executor->Fill(addresses[buffer], kPoison,
                         needed_bytes(*manifest.buffers()->Get(buffer))));
  }
  BindArguments(options.entry);
  Status status =
      RunEntry(options.entry, counts, 0, false, options.cancel, deadline);
  if (is_model) {
    std::copy(own.begin(), own.end(), addresses.begin());
    BindArguments(options.entry);
  }
  return status;
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

/// One run of the entry point: which rows it takes, and what it gives.
struct headrace_session_t::Pass {
  size_t item = 0;  // the next row to take,
  size_t token = 0; // within its item
  int64_t counts[HEADRACE_COUNT_COUNT] = {};
};

const headrace_step_item_t &
headrace_session_t::Item(const headrace_step_options_t &options,
                         size_t index) const {
  return *reinterpret_cast<const headrace_step_item_t *>(
      reinterpret_cast<const char *>(options.items) +
      index * options.item_size);
}

uint32_t headrace_session_t::PagesNeeded(const headrace_sequence_t &sequence,
                                         uint64_t count) const {
  if (!HasKv())
    return 0;
  uint32_t pages = PagesOf(sequence.length + count) - PagesOf(sequence.length);
  // The page that is partly filled is copied if somebody else has it too.
  if (sequence.length % HEADRACE_KV_PAGE_POSITIONS &&
      kv.IsShared(sequence.pages.back()))
    ++pages;
  return pages;
}

Status headrace_session_t::CheckStep(const headrace_step_options_t &options,
                                     uint64_t *out_rows) {
  const Allocator &allocator = HostAllocator();
  const abi::Limits &limits = *package->manifest->limits();
  if (Model().entry == kNoIndex)
    return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                      "step: the package has no entry 'forward'");
  if (options.item_count == 0 || !options.items)
    return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                      "step: no items");
  if (options.item_size < kStepItemFirstSize ||
      options.item_size % alignof(headrace_step_item_t) ||
      options.item_size > kMaxStructSize)
    return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                      "step: item_size is %zu, expected at least %zu",
                      options.item_size, kStepItemFirstSize);
  ++step_number;
  uint64_t rows = 0;
  uint64_t pages = 0;
  for (size_t i = 0; i < options.item_count; ++i) {
    const headrace_step_item_t &item = Item(options, i);
    headrace_sequence_t *sequence = item.sequence;
    if (!sequence || sequence->session != this)
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "step: item #%zu: expected a sequence of this session",
                        i);
    if (sequence->in_step == step_number)
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "step: item #%zu: the sequence appears twice", i);
    sequence->in_step = step_number;
    if (item.token_count == 0 || !item.tokens)
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "step: item #%zu: no tokens", i);
    if (item.token_count > limits.max_context() - sequence->length)
      return MakeStatus(allocator, HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                        "step: item #%zu: context full: %u positions and %zu "
                        "tokens exceed %u",
                        i, sequence->length, item.token_count,
                        limits.max_context());
    for (size_t j = 0; j < item.token_count; ++j)
      if (item.tokens[j] < 0 ||
          static_cast<uint32_t>(item.tokens[j]) >= limits.vocabulary())
        return MakeStatus(allocator, HEADRACE_STATUS_OUT_OF_RANGE,
                          "step: item #%zu: token #%zu is %d, the vocabulary "
                          "has %u",
                          i, j, item.tokens[j], limits.vocabulary());
    if (item.logits == HEADRACE_LOGITS_LAST)
      rows += 1;
    else if (item.logits == HEADRACE_LOGITS_ALL)
      rows += item.token_count;
    else if (item.logits != HEADRACE_LOGITS_NONE)
      return MakeStatus(allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "step: item #%zu: logits is %u", i, item.logits);
    pages += PagesNeeded(*sequence, item.token_count);
  }
  if (options.logits && options.logits_rows < rows)
    return MakeStatus(allocator, HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                      "step: %" PRIu64
                      " rows of logits are wanted, 'logits' holds %zu",
                      rows, options.logits_rows);
  if (pages > kv.FreeCount())
    return MakeStatus(allocator, HEADRACE_STATUS_RESOURCE_EXHAUSTED,
                      "step: key-value pool full: %" PRIu64
                      " pages needed, %u of %u free",
                      pages, kv.FreeCount(), kv.PageCount());
  *out_rows = rows;
  return Status();
}

/// Gives every sequence of the step the pages it will write; CheckStep has
/// counted them, and the lists have room for a full context.
Status
headrace_session_t::ReservePages(const headrace_step_options_t &options) {
  if (!HasKv())
    return Status();
  for (size_t i = 0; i < options.item_count; ++i) {
    const headrace_step_item_t &item = Item(options, i);
    headrace_sequence_t &sequence = *item.sequence;
    if (sequence.length % HEADRACE_KV_PAGE_POSITIONS &&
        kv.IsShared(sequence.pages.back())) {
      uint32_t shared = sequence.pages.back();
      uint32_t copy;
      HEADRACE_RETURN_IF_ERROR(kv.TakeCopy(shared, &copy));
      sequence.pages.back() = copy;
      kv.Drop(shared);
    }
    uint32_t pages = PagesOf(sequence.length + item.token_count);
    while (sequence.pages.size() < pages) {
      uint32_t page;
      HEADRACE_RETURN_IF_ERROR(kv.Take(&page));
      sequence.pages.push_back(page);
    }
  }
  return Status();
}

void headrace_session_t::ReturnPages(const headrace_step_options_t &options) {
  for (size_t i = 0; i < options.item_count; ++i) {
    headrace_sequence_t &sequence = *Item(options, i).sequence;
    sequence.Truncate(sequence.length);
  }
}

/// Takes rows in order of items until one of the limits is reached, and writes
/// the inputs for them.
void headrace_session_t::FillPass(const headrace_step_options_t &options,
                                  Pass *pass) {
  const abi::Limits &limits = *package->manifest->limits();
  const LanguageModel &model = Model();
  auto input = [&](uint32_t buffer) {
    return buffer == kNoIndex ? nullptr
                              : static_cast<int32_t *>(host_addresses[buffer]);
  };
  int32_t *tokens = input(model.tokens);
  int32_t *positions = input(model.positions);
  int32_t *sequences = input(model.sequences);
  int32_t *output_rows = input(model.output_rows);
  int32_t *kv_table = input(model.kv_table);

  uint32_t rows = 0, slots = 0, outputs = 0;
  while (pass->item < options.item_count && slots < limits.max_sequences() &&
         rows < limits.max_tokens()) {
    const headrace_step_item_t &item = Item(options, pass->item);
    const headrace_sequence_t &sequence = *item.sequence;
    const uint64_t left = item.token_count - pass->token;
    uint64_t take = std::min<uint64_t>(left, limits.max_tokens() - rows);
    const uint32_t outputs_left = model.max_outputs - outputs;
    if (item.logits == HEADRACE_LOGITS_ALL)
      take = std::min<uint64_t>(take, outputs_left);
    else if (item.logits == HEADRACE_LOGITS_LAST && take == left &&
             outputs_left == 0)
      --take; // the last row waits for the next pass
    if (take == 0)
      break;

    if (sequences)
      sequences[slots] = static_cast<int32_t>(rows);
    if (kv_table) {
      const uint32_t max_pages = package->manifest->kv()->max_pages();
      int32_t *line = kv_table + uint64_t(slots) * max_pages;
      std::copy(sequence.pages.begin(), sequence.pages.end(), line);
      std::fill(line + sequence.pages.size(), line + max_pages, 0);
    }
    for (uint64_t i = 0; i < take; ++i) {
      const uint64_t token = pass->token + i;
      tokens[rows] = item.tokens[token];
      if (positions)
        positions[rows] = static_cast<int32_t>(sequence.length + token);
      if (item.logits == HEADRACE_LOGITS_ALL ||
          (item.logits == HEADRACE_LOGITS_LAST &&
           token + 1 == item.token_count))
        output_rows[outputs++] = static_cast<int32_t>(rows);
      ++rows;
    }
    ++slots;
    pass->token += take;
    if (pass->token < item.token_count)
      break; // a limit was reached inside the item
    pass->token = 0;
    ++pass->item;
  }
  if (sequences)
    sequences[slots] = static_cast<int32_t>(rows);
  pass->counts[HEADRACE_COUNT_TOKENS] = rows;
  pass->counts[HEADRACE_COUNT_SEQUENCES] = slots;
  pass->counts[HEADRACE_COUNT_OUTPUTS] = outputs;
  pass->counts[HEADRACE_COUNT_FIRST_ACTIVE] = 0;
  pass->counts[HEADRACE_COUNT_END_ACTIVE] = HEADRACE_ALL_ACTIVE;
}

/// Lists what a pass sends and fetches on a device with memory of its own:
/// counts and inputs as far as they are used, in one piece, and the logits.
/// Returns the number of uploads.
size_t headrace_session_t::PlanTransfers(const Pass &pass) {
  transfers.clear();
  if (device->SharesHostMemory())
    return 0;
  std::memcpy(staging.Data(), pass.counts, sizeof(pass.counts));
  const LanguageModel &model = Model();
  auto *logits = static_cast<uint8_t *>(host_addresses[model.logits]);
  const uint8_t *end = logits;
  if (model.kv_table != kNoIndex)
    end = static_cast<uint8_t *>(host_addresses[model.kv_table]) +
          static_cast<uint64_t>(pass.counts[HEADRACE_COUNT_SEQUENCES]) *
              package->manifest->kv()->max_pages() * sizeof(int32_t);
  transfers.push_back(
      {io.Data(), staging.Data(), static_cast<uint64_t>(end - staging.Data())});
  transfers.push_back(
      {addresses[model.logits], logits,
       static_cast<uint64_t>(pass.counts[HEADRACE_COUNT_OUTPUTS]) *
           package->manifest->limits()->vocabulary() * sizeof(float)});
  return 1;
}

/// Runs the step. Logits go to `out`, or stay in the plan's buffer for null.
Status headrace_session_t::RunPasses(const headrace_step_options_t &options,
                                     float *out, size_t *out_passes) {
  const uint64_t vocabulary = package->manifest->limits()->vocabulary();
  const uint64_t deadline = DeadlineOf(options.timeout_ns, timeout_ns);
  const auto *logits =
      static_cast<const float *>(host_addresses[Model().logits]);
  Pass pass;
  while (pass.item < options.item_count) {
    FillPass(options, &pass);
    const size_t uploads = PlanTransfers(pass);
    if (poison_outputs)
      HEADRACE_RETURN_IF_ERROR(executor->Fill(
          addresses[Model().logits], kPoison,
          static_cast<uint64_t>(pass.counts[HEADRACE_COUNT_OUTPUTS]) *
              vocabulary * sizeof(float)));
    HEADRACE_RETURN_IF_ERROR(RunEntry(Model().entry, pass.counts, uploads, true,
                                      options.cancel, deadline));
    ++*out_passes;
    if (out) {
      uint64_t values = vocabulary * static_cast<uint64_t>(
                                         pass.counts[HEADRACE_COUNT_OUTPUTS]);
      out = std::copy(logits, logits + values, out);
    }
  }
  return Status();
}

Status headrace_session_t::Step(const headrace_step_options_t &options,
                                headrace_step_result_t *result) {
  const abi::Limits &limits = *package->manifest->limits();
  uint64_t rows;
  HEADRACE_RETURN_IF_ERROR(CheckStep(options, &rows));

  uint64_t tokens = 0;
  for (size_t i = 0; i < options.item_count; ++i)
    tokens += Item(options, i).token_count;
  const bool one_pass = options.item_count <= limits.max_sequences() &&
                        tokens <= limits.max_tokens() &&
                        rows <= Model().max_outputs;
  float *out = options.logits;
  if (!out && !one_pass && rows) {
    uint64_t bytes;
    if (__builtin_mul_overflow(rows, uint64_t(limits.vocabulary()) * 4, &bytes))
      bytes = UINT64_MAX;
    if (results.Bytes() < bytes)
      HEADRACE_RETURN_IF_ERROR(Mapping::Anonymous(
          HostAllocator(), bytes, "the logits of a step", &results));
    out = reinterpret_cast<float *>(results.Data());
  }

  headrace_step_result_t value = {};
  Status status = ReservePages(options);
  if (status.IsOk())
    status = RunPasses(options, out, &value.pass_count);
  if (!status.IsOk()) {
    ReturnPages(options);
    return status;
  }
  for (size_t i = 0; i < options.item_count; ++i) {
    const headrace_step_item_t &item = Item(options, i);
    item.sequence->length += static_cast<uint32_t>(item.token_count);
  }
  if (!result)
    return Status();
  value.row_count = rows;
  if (rows)
    value.logits =
        out ? out : static_cast<const float *>(host_addresses[Model().logits]);
  return WriteStruct(HostAllocator(), value, result);
}

//===----------------------------------------------------------------------===//
// C entries
//===----------------------------------------------------------------------===//

Status headrace::runtime::CreateSession(
    headrace_device_t *device, headrace_package_t *package,
    const headrace_session_options_t *options, ByteSource *source,
    headrace_session_t **out_session) {
  const Allocator &allocator = device->instance->allocator;
  headrace_session_options_t read;
  HEADRACE_RETURN_IF_ERROR(ReadOptions(allocator, options, &read));
  auto session =
      SessionRef::Adopt(New<headrace_session_t>(allocator, device, package));
  HEADRACE_RETURN_IF_ERROR(session->Create(read, source));
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
