// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session: one run of an entry point, and plain invocation.
#include "runtime/src/session.h"

#include "runtime/src/guard.h"
#include "runtime/src/session_layout.h"
#include "runtime/src/structs.h"
#include "runtime/src/thread.h"

#include <cinttypes>

using namespace headrace::runtime;
namespace abi = headrace::abi;

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
  Status status = IsTiered()
                      ? RunTiered(entry, static_cast<uint32_t>(index), run)
                      : Execute(run, 0);
  if (tracer.IsOn()) {
    const uint64_t end = MonotonicNs();
    if (IsTiered())
      AwaitRest(run);
    tracer.Pass(run.entry_name, begin, end);
  }
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
  KeepIfLost(status);
  return status;
}

/// A thread or the device may still be inside a kernel or a copy: what it uses
/// is never freed.
void headrace_session_t::KeepIfLost(const Status &status) {
  if (status.Code() == HEADRACE_STATUS_DEVICE_LOST && !kept_for_ever) {
    kept_for_ever = true;
    Retain();
  }
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
  HEADRACE_RETURN_IF_ERROR(SettleTiers(options.cancel, deadline));
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
