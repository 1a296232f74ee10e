// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session: steps of a language model, cut into passes of as many rows as an
// entry point takes.
#include "runtime/src/session.h"

#include "runtime/src/guard.h"
#include "runtime/src/session_layout.h"
#include "runtime/src/structs.h"
#include "runtime/src/thread.h"

#include <cinttypes>

using namespace headrace::runtime;
namespace abi = headrace::abi;

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
Status headrace_session_t::ReservePages(const headrace_step_options_t &options,
                                        uint64_t deadline_ns) {
  if (!HasKv())
    return Status();
  WaitLimits limits;
  limits.cancel = options.cancel;
  limits.deadline_ns = deadline_ns;
  for (size_t i = 0; i < options.item_count; ++i) {
    const headrace_step_item_t &item = Item(options, i);
    headrace_sequence_t &sequence = *item.sequence;
    if (sequence.length % HEADRACE_KV_PAGE_POSITIONS &&
        kv.IsShared(sequence.pages.back())) {
      uint32_t shared = sequence.pages.back();
      uint32_t copy;
      HEADRACE_RETURN_IF_ERROR(kv.TakeCopy(shared, limits, &copy));
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

  pass_pages.clear();
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
      if (IsTiered() && tiers->pages.IsOn()) {
        const auto begin = static_cast<uint32_t>(sequence.length + pass->token);
        pass_pages.push_back({sequence.pages.data(), begin,
                              begin + static_cast<uint32_t>(take)});
      }
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
/// counts and inputs as far as they are used, in one piece where no plan says
/// otherwise, and the logits.
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
  if (IsTiered()) {
    // Each has its own place in the arena. In the host's memory they follow one
    // another, the longest last.
    const auto inputs = IoBuffers(model);
    transfers.push_back({io.Data(), staging.Data(), kCountsBytes});
    for (uint32_t buffer : inputs)
      if (buffer != kNoIndex && buffer != model.logits)
        transfers.push_back(
            {addresses[buffer], host_addresses[buffer],
             buffer == model.kv_table
                 ? static_cast<uint64_t>(
                       end - static_cast<uint8_t *>(host_addresses[buffer]))
                 : package->manifest->buffers()->Get(buffer)->bytes()});
  } else {
    transfers.push_back({io.Data(), staging.Data(),
                         static_cast<uint64_t>(end - staging.Data())});
  }
  const size_t uploads = transfers.size();
  transfers.push_back(
      {addresses[model.logits], logits,
       static_cast<uint64_t>(pass.counts[HEADRACE_COUNT_OUTPUTS]) *
           package->manifest->limits()->vocabulary() * sizeof(float)});
  return uploads;
}

/// Runs the step. Logits go to `out`, or stay in the plan's buffer for null.
Status headrace_session_t::RunPasses(const headrace_step_options_t &options,
                                     uint64_t deadline_ns, float *out,
                                     size_t *out_passes) {
  const uint64_t vocabulary = package->manifest->limits()->vocabulary();
  const auto *logits =
      static_cast<const float *>(host_addresses[Model().logits]);
  Pass pass;
  while (pass.item < options.item_count) {
    FillPass(options, &pass);
    if (IsTiered())
      tiers->pages.SetRun(pass_pages.data(), pass_pages.size());
    const size_t uploads = PlanTransfers(pass);
    if (poison_outputs)
      HEADRACE_RETURN_IF_ERROR(executor->Fill(
          addresses[Model().logits], kPoison,
          static_cast<uint64_t>(pass.counts[HEADRACE_COUNT_OUTPUTS]) *
              vocabulary * sizeof(float)));
    HEADRACE_RETURN_IF_ERROR(RunEntry(Model().entry, pass.counts, uploads, true,
                                      options.cancel, deadline_ns));
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
  const uint64_t deadline = DeadlineOf(options.timeout_ns, timeout_ns);
  Status status = SettleTiers(options.cancel, deadline);
  if (status.IsOk())
    status = ReservePages(options, deadline);
  if (status.IsOk())
    status = RunPasses(options, deadline, out, &value.pass_count);
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
