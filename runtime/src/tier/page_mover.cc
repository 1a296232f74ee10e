// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Page mover: listing pages, moving them, and what failures leave behind.
#include "runtime/src/tier/page_mover.h"

#include "runtime/src/kv_pool.h"
#include "runtime/src/thread.h"

#include <cstdio>
#include <cstring>

namespace headrace::runtime {

PageMover::PageMover(const Allocator &allocator)
    : allocator(allocator), queue(allocator),
      layers(StdAllocator<Layer>(allocator)),
      names(StdAllocator<Name>(allocator)),
      slots(StdAllocator<Slot>(allocator)),
      seen(StdAllocator<uint64_t>(allocator)) {}

Status PageMover::Create(const Options &options) {
  tracer = options.tracer;
  slots_at = options.slots;
  slot_bytes = options.slot_bytes;
  page_bytes = options.page_bytes;
  seen.assign(options.page_count, 0);
  names.resize(options.layer_count);
  for (uint32_t i = 0; i < options.layer_count; ++i)
    std::snprintf(names[i].text, sizeof(names[i].text), "kv.%u",
                  options.layers[i].layer);
  slots.reserve(options.slot_count);
  for (uint32_t i = 0; i < options.slot_count; ++i) {
    slots.emplace_back(allocator);
    for (Flight *flight : {&slots[i].fetch, &slots[i].store})
      flight->pieces.reserve(options.page_count); // so that no step allocates
  }
  HEADRACE_RETURN_IF_ERROR(queue.Start(options.source, options.queue));
  layers.assign(options.layers, options.layers + options.layer_count);
  return Status();
}

uint8_t *PageMover::SlotOf(uint32_t layer) const {
  for (const Layer &one : layers)
    if (one.layer == layer)
      return Address(one.slot);
  return nullptr;
}

void PageMover::SetRun(const SequencePages *used, size_t count) {
  sequences = used;
  sequence_count = count;
}

uint64_t PageMover::OccupiedBytes() const {
  uint64_t bytes = 0;
  for (const Slot &slot : slots)
    bytes += slot.occupied ? slot_bytes : 0;
  return bytes;
}

//===----------------------------------------------------------------------===//
// Lists
//===----------------------------------------------------------------------===//

/// Adds a page to a flight, once; one that follows the last makes that longer.
void PageMover::AddPage(Flight *flight, uint32_t index, uint32_t page) {
  if (seen[page] == list)
    return;
  seen[page] = list;
  const uint64_t target = page * page_bytes;
  if (!flight->pieces.empty()) {
    TransferPiece &last = flight->pieces.back();
    if (last.target + last.bytes == target) {
      last.bytes += page_bytes;
      last.room = last.bytes;
      return;
    }
  }
  TransferPiece piece;
  piece.source = layers[index].home + target;
  piece.target = target;
  piece.bytes = piece.room = page_bytes;
  piece.name = names[index].text;
  flight->pieces.push_back(piece);
}

void PageMover::Submit(Flight *flight, uint32_t slot, bool is_store) {
  if (flight->pieces.empty())
    return;
  flight->job.pieces = flight->pieces.data();
  flight->job.piece_count = static_cast<uint32_t>(flight->pieces.size());
  flight->job.base = Address(slot);
  flight->job.is_store = is_store;
  flight->job.urgent = false;
  flight->in_flight = true;
  queue.Submit(&flight->job);
}

/// Waits for the end of a flight, if there is one.
Status PageMover::Await(Flight *flight, uint32_t index,
                        const WaitLimits &limits) {
  if (!flight->in_flight)
    return Status();
  if (queue.StateOf(flight->job) == TransferJob::State::kQueued) {
    queue.Promote(&flight->job);
    const uint64_t begin = MonotonicNs();
    Status status = queue.Wait(&flight->job, limits.cancel, limits.deadline_ns);
    const uint64_t end = MonotonicNs();
    ++waits.stalls;
    waits.wait_ns += end - begin;
    tracer.Wait(names[index].text, begin, end);
    if (queue.StateOf(flight->job) == TransferJob::State::kQueued)
      return status;
  }
  flight->in_flight = false;
  Status result = queue.ResultOf(flight->job);
  if (result.IsOk() && tracer.IsOn()) {
    uint64_t bytes = 0;
    for (const TransferPiece &piece : flight->pieces)
      bytes += piece.bytes;
    tracer.Transfer(flight->job.is_store ? "pages-store" : queue.Name(),
                    names[index].text, bytes, flight->job.begin_ns,
                    flight->job.end_ns);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

Status PageMover::Settle(const WaitLimits &limits) {
  for (Slot &slot : slots)
    for (Flight *flight : {&slot.fetch, &slot.store})
      if (flight->in_flight) {
        Status status =
            queue.Wait(&flight->job, limits.cancel, limits.deadline_ns);
        if (queue.StateOf(flight->job) == TransferJob::State::kQueued)
          return status;
        // However it ended: that was another run's business.
        flight->in_flight = false;
      }
  return Status();
}

void PageMover::Fetch(uint32_t index) {
  Slot &slot = slots[layers[index].slot];
  slot.occupied = true;
  slot.fetch.pieces.clear();
  ++list;
  for (size_t i = 0; i < sequence_count; ++i) {
    const SequencePages &sequence = sequences[i];
    const uint32_t old = PagesOf(sequence.begin);
    for (uint32_t page = 0; page < old; ++page)
      AddPage(&slot.fetch, index, sequence.pages[page]);
    for (uint32_t page = old; page < PagesOf(sequence.end); ++page)
      std::memset(Address(layers[index].slot) +
                      sequence.pages[page] * page_bytes,
                  0, page_bytes);
  }
  Submit(&slot.fetch, layers[index].slot, /*is_store=*/false);
}

bool PageMover::HasArrived(uint32_t index) {
  const Flight &flight = slots[layers[index].slot].fetch;
  return !flight.in_flight ||
         queue.StateOf(flight.job) != TransferJob::State::kQueued;
}

Status PageMover::Wait(uint32_t index, const WaitLimits &limits) {
  return Await(&slots[layers[index].slot].fetch, index, limits);
}

void PageMover::Store(uint32_t index) {
  Slot &slot = slots[layers[index].slot];
  slot.store.pieces.clear();
  ++list;
  for (size_t i = 0; i < sequence_count; ++i) {
    const SequencePages &sequence = sequences[i];
    for (uint32_t page = sequence.begin / HEADRACE_KV_PAGE_POSITIONS;
         page < PagesOf(sequence.end); ++page)
      AddPage(&slot.store, index, sequence.pages[page]);
  }
  Submit(&slot.store, layers[index].slot, /*is_store=*/true);
}

Status PageMover::Release(uint32_t index, const WaitLimits &limits) {
  return Await(&slots[layers[index].slot].store, index, limits);
}

void PageMover::Abandon() {
  for (Slot &slot : slots)
    for (Flight *flight : {&slot.fetch, &slot.store})
      if (flight->in_flight)
        queue.Cancel(&flight->job);
}

Status PageMover::CopyPage(uint32_t from, uint32_t to,
                           const WaitLimits &limits) {
  HEADRACE_RETURN_IF_ERROR(Settle(limits));
  Slot &slot = slots[0];
  slot.occupied = true;
  for (uint32_t index = 0; index < layers.size(); ++index) {
    for (const bool is_store : {false, true}) {
      Flight &flight = is_store ? slot.store : slot.fetch;
      flight.pieces.clear();
      ++list;
      AddPage(&flight, index, from);
      if (is_store) {
        TransferPiece &piece = flight.pieces[0];
        piece.source = layers[index].home + to * page_bytes;
      }
      Submit(&flight, 0, is_store);
      Status status = Await(&flight, index, limits);
      if (!status.IsOk()) {
        Abandon();
        return status;
      }
    }
  }
  return Status();
}

} // namespace headrace::runtime
