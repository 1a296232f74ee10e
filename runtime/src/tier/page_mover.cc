// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Page mover: listing pages, moving them, and what failures leave behind.
#include "runtime/src/tier/page_mover.h"

#include "runtime/src/kv_pool.h"
#include "runtime/src/thread.h"

#include <cstdio>
#include <cstring>

namespace headrace::runtime {

PageMover::PageMover(const Allocator &allocator)
    : allocator(allocator), queue(allocator), to_device(allocator),
      layers(StdAllocator<Layer>(allocator)),
      flights(StdAllocator<Flights>(allocator)),
      slots(StdAllocator<Slot>(allocator)),
      seen(StdAllocator<uint64_t>(allocator)) {}

Status PageMover::Create(const Options &options) {
  tracer = options.tracer;
  slots_at = options.slots;
  home = options.home;
  slot_bytes = options.slot_bytes;
  page_bytes = options.page_bytes;
  seen.assign(options.page_count, 0);
  slots.resize(options.slot_count);
  flights.reserve(options.layer_count);
  for (uint32_t i = 0; i < options.layer_count; ++i) {
    flights.emplace_back(allocator);
    std::snprintf(flights[i].name, sizeof(flights[i].name), "kv.%u",
                  options.layers[i].layer);
    for (Flight *flight : {&flights[i].fetch, &flights[i].store})
      flight->pieces.reserve(options.page_count); // so that no step allocates
  }
  if (options.device) {
    DeviceLink::Options wanted;
    wanted.link = options.queue.link;
    wanted.level = options.queue.level;
    wanted.most_pieces = options.page_count;
    HEADRACE_RETURN_IF_ERROR(
        options.device->CreateCopyStream(options.executor, &wanted.stream));
    to_device.Create(std::move(wanted));
    link = &to_device;
  } else {
    HEADRACE_RETURN_IF_ERROR(queue.Start(options.source, options.queue));
  }
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

/// Adds a page to a flight, once.
void PageMover::AddPage(uint32_t index, Flight *flight, uint32_t page) {
  if (seen[page] == list)
    return;
  seen[page] = list;
  const uint64_t target = page * page_bytes;
  AddRange(index, flight, layers[index].home + target, target);
}

/// Adds a page; one that follows the last makes that longer.
void PageMover::AddRange(uint32_t index, Flight *flight, uint64_t source,
                         uint64_t target) {
  if (!flight->pieces.empty()) {
    TransferPiece &last = flight->pieces.back();
    if (last.target + last.bytes == target &&
        (last.source == kZeros) == (source == kZeros)) {
      last.bytes += page_bytes;
      last.room = last.bytes;
      return;
    }
  }
  TransferPiece piece;
  piece.source = source;
  piece.target = target;
  piece.bytes = piece.room = page_bytes;
  piece.name = flights[index].name;
  flight->pieces.push_back(piece);
}

void PageMover::Submit(Flight *flight, uint32_t slot, bool is_store) {
  if (flight->pieces.empty())
    return;
  flight->job.pieces = flight->pieces.data();
  flight->job.piece_count = static_cast<uint32_t>(flight->pieces.size());
  flight->job.base = Address(slot);
  flight->job.home = home;
  flight->job.is_scattered = true;
  flight->job.is_store = is_store;
  flight->job.after = slots[slot].reader;
  flight->job.urgent = false;
  flight->in_flight = true;
  link->Submit(&flight->job);
}

/// Takes note of a flight that has ended.
void PageMover::NoteEnd(uint32_t index, Flight *flight) {
  flight->in_flight = false;
  const TransferJob &job = flight->job;
  if (job.state != TransferJob::State::kDone || !tracer.IsOn())
    return;
  uint64_t bytes = 0;
  for (const TransferPiece &piece : flight->pieces)
    bytes += piece.source == kZeros ? 0 : piece.bytes;
  tracer.Transfer(job.is_store ? "pages-store" : link->Name(),
                  flights[index].name, bytes, job.begin_ns, job.end_ns);
}

/// Waits for a flight, if there is one, as far as `wait` does.
Status PageMover::Await(uint32_t index, Flight *flight, Waiting wait,
                        const WaitLimits &limits) {
  if (!flight->in_flight)
    return Status();
  if (link->StateOf(flight->job) == TransferJob::State::kQueued) {
    link->Promote(&flight->job);
    const uint64_t begin = MonotonicNs();
    Status status =
        (link->*wait)(&flight->job, limits.cancel, limits.deadline_ns);
    const uint64_t end = MonotonicNs();
    ++waits.stalls;
    waits.wait_ns += end - begin;
    tracer.Wait(flights[index].name, begin, end);
    if (link->StateOf(flight->job) == TransferJob::State::kQueued)
      return status;
  }
  NoteEnd(index, flight);
  return link->ResultOf(flight->job);
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

Status PageMover::Settle(const WaitLimits &limits) {
  for (uint32_t i = 0; i < layers.size(); ++i)
    for (Flight *flight : {&flights[i].fetch, &flights[i].store})
      if (flight->in_flight) {
        Status status =
            link->Wait(&flight->job, limits.cancel, limits.deadline_ns);
        if (link->StateOf(flight->job) == TransferJob::State::kQueued)
          return status;
        // However it ended: that was another run's business.
        NoteEnd(i, flight);
      }
  return Status();
}

void PageMover::Fetch(uint32_t index) {
  const uint32_t slot = layers[index].slot;
  Flight *fetch = &flights[index].fetch;
  slots[slot].occupied = true;
  fetch->pieces.clear();
  ++list;
  for (size_t i = 0; i < sequence_count; ++i) {
    const SequencePages &sequence = sequences[i];
    const uint32_t old = PagesOf(sequence.begin);
    for (uint32_t page = 0; page < old; ++page)
      AddPage(index, fetch, sequence.pages[page]);
    for (uint32_t page = old; page < PagesOf(sequence.end); ++page) {
      const uint64_t target = sequence.pages[page] * page_bytes;
      if (IsOnDevice())
        AddRange(index, fetch, kZeros, target);
      else
        std::memset(Address(slot) + target, 0, page_bytes);
    }
  }
  Submit(fetch, slot, /*is_store=*/false);
}

bool PageMover::HasArrived(uint32_t index) {
  const Flight &flight = flights[index].fetch;
  return !flight.in_flight ||
         link->StateOf(flight.job) != TransferJob::State::kQueued;
}

Status PageMover::Wait(uint32_t index, const WaitLimits &limits) {
  return Await(index, &flights[index].fetch, &Link::Hold, limits);
}

void PageMover::Store(uint32_t index, uint64_t part) {
  const uint32_t slot = layers[index].slot;
  Flight *store = &flights[index].store;
  slots[slot].reader = part;
  store->pieces.clear();
  ++list;
  for (size_t i = 0; i < sequence_count; ++i) {
    const SequencePages &sequence = sequences[i];
    for (uint32_t page = sequence.begin / HEADRACE_KV_PAGE_POSITIONS;
         page < PagesOf(sequence.end); ++page)
      AddPage(index, store, sequence.pages[page]);
  }
  Submit(store, slot, /*is_store=*/true);
}

Status PageMover::Release(uint32_t index, const WaitLimits &limits) {
  return Await(index, &flights[index].store, &Link::Follow, limits);
}

void PageMover::Abandon() {
  for (Flights &layer : flights)
    for (Flight *flight : {&layer.fetch, &layer.store})
      if (flight->in_flight)
        link->Cancel(&flight->job);
}

Status PageMover::CopyPage(uint32_t from, uint32_t to,
                           const WaitLimits &limits) {
  HEADRACE_RETURN_IF_ERROR(Settle(limits));
  if (IsOnDevice()) { // with homes where the host reaches
    for (const Layer &layer : layers)
      std::memcpy(home + layer.home + to * page_bytes,
                  home + layer.home + from * page_bytes, page_bytes);
    return Status();
  }
  slots[0].occupied = true;
  for (uint32_t index = 0; index < layers.size(); ++index) {
    for (const bool is_store : {false, true}) {
      Flight &flight = is_store ? flights[index].store : flights[index].fetch;
      flight.pieces.clear();
      const uint64_t page = is_store ? to : from;
      AddRange(index, &flight, layers[index].home + page * page_bytes,
               from * page_bytes);
      Submit(&flight, 0, is_store);
      Status status = Await(index, &flight, &Link::Wait, limits);
      if (!status.IsOk()) {
        Abandon();
        return status;
      }
    }
  }
  return Status();
}

} // namespace headrace::runtime
