// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Session, tiered part: runs in parts, between which weights and pages move.
#include "runtime/src/session.h"
#include "runtime/src/session_layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace headrace::runtime;
namespace abi = headrace::abi;

/// How waits of a run may end early.
static WaitLimits LimitsOf(const Run &run) {
  WaitLimits limits;
  limits.cancel = run.cancel;
  limits.deadline_ns = run.deadline_ns;
  return limits;
}

/// Runs parts of one entry for the arena loader: what the run sends goes before
/// the first of them, what it fetches behind the last.
///
/// A device that can is given them ahead, some at a time, and keeps the order
/// of launches and transfers itself. Whoever waits for it here waits for its
/// transfers first, so that what does not come is named.
class headrace_session_t::WaveRunner final : public LaunchRunner {
public:
  WaveRunner(headrace_session_t *session, const Run &run)
      : session(session), run(run) {}

  Status RunLaunches(uint32_t begin, uint32_t end, int64_t first_active,
                     int64_t end_active) override {
    Run part = run;
    part.launches += begin;
    part.launch_count = end - begin;
    part.counts[HEADRACE_COUNT_FIRST_ACTIVE] = first_active;
    part.counts[HEADRACE_COUNT_END_ACTIVE] = end_active;
    part.download_count = 0;
    const bool ahead = session->executor->CanStart(part);
    HEADRACE_RETURN_IF_ERROR(ahead ? AwaitRoom() : AwaitTransfers());
    const Transfer counts = CountsOf(part);
    if (std::exchange(sent, true)) {
      // Kernels of a device with memory of its own find the counts there.
      part.uploads = &counts;
      part.upload_count =
          run.upload_count && (first != first_active || last != end_active);
    }
    first = first_active;
    last = end_active;
    ArenaLoader &loader = session->tiers->loader;
    if (const auto [from, to] = loader.Bound(); from < to) {
      HEADRACE_RETURN_IF_ERROR(
          session->executor->BindWeights(session->weights, from, to - from));
      loader.ClearBound();
    }
    if (!ahead) {
      Status status = session->Execute(part, begin);
      spent_ns += session->kernel_ns;
      return status;
    }
    Status status = session->executor->Start(part, &session->last_part);
    held[session->last_part % Executor::kMostAhead] = loader.Held();
    session->KeepIfLost(status);
    return status;
  }

  uint64_t LastPart() const override { return session->last_part; }

  /// Waits for what was begun, and fetches what the run gives.
  Status Finish() {
    if (run.download_count == 0 && session->last_part == 0) {
      session->kernel_ns = spent_ns;
      return Status();
    }
    HEADRACE_RETURN_IF_ERROR(AwaitTransfers());
    Run part = run;
    part.launch_count = part.upload_count = 0;
    session->kernel_ns = 0; // of what was begun and not yet told
    Status status = session->Execute(part, 0);
    session->kernel_ns += spent_ns;
    return status;
  }

  Status ReadRouting(const TierRouting &routing, const int32_t **active,
                     uint32_t *count) override {
    HEADRACE_RETURN_IF_ERROR(AwaitTransfers());
    HEADRACE_RETURN_IF_ERROR(session->ReadRoutingBuffer(
        routing, routing.active_offset + routing.experts * sizeof(int32_t),
        run));
    const uint8_t *base = Bytes(routing);
    int32_t number;
    std::memcpy(&number, base + routing.count_offset, sizeof(number));
    const auto *list =
        reinterpret_cast<const int32_t *>(base + routing.active_offset);
    // A router that is wrong must not lead to addresses that are.
    bool ascending = number >= 0 && uint32_t(number) <= routing.experts;
    int32_t before = -1;
    for (int32_t i = 0; ascending && i < number; ++i) {
      ascending = list[i] > before && uint32_t(list[i]) < routing.experts;
      before = list[i];
    }
    if (!ascending)
      return Wrong(routing);
    *active = list;
    *count = static_cast<uint32_t>(number);
    return Status();
  }

  Status ReadPrediction(const TierRouting &routing, float *scores, int32_t *out,
                        uint32_t *count) override {
    const int32_t *active;
    HEADRACE_RETURN_IF_ERROR(ReadRouting(routing, &active, count));
    std::copy(active, active + *count, out);
    HEADRACE_RETURN_IF_ERROR(session->ReadRoutingBuffer(
        routing,
        std::max(routing.picks_offset +
                     (routing.experts + uint64_t(1)) * sizeof(int32_t),
                 routing.weights_offset + routing.most_picks * sizeof(float)),
        run));
    const uint8_t *base = Bytes(routing);
    const auto *picks =
        reinterpret_cast<const int32_t *>(base + routing.picks_offset);
    const auto *weights =
        reinterpret_cast<const float *>(base + routing.weights_offset);
    const auto most = static_cast<int32_t>(routing.most_picks);
    for (uint32_t i = 0; i < *count; ++i)
      if (picks[out[i]] < 0 || picks[out[i]] > picks[out[i] + 1] ||
          picks[out[i] + 1] > most)
        return Wrong(routing);
    std::fill_n(scores, routing.experts, 0.0f);
    for (uint32_t i = 0; i < *count; ++i) {
      float &score = scores[out[i]];
      for (int32_t j = picks[out[i]]; j < picks[out[i] + 1]; ++j)
        score += weights[j];
      if (std::isnan(score)) // compares like nothing else
        score = 0;
    }
    std::sort(out, out + *count, [&](int32_t a, int32_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    return Status();
  }

private:
  /// Waits until what the next part uses has room: counts, addresses, an event.
  Status AwaitRoom() {
    const uint64_t next = session->last_part + 1;
    if (next <= Executor::kMostAhead)
      return Status();
    HEADRACE_RETURN_IF_ERROR(session->tiers->loader.AwaitHeld(
        held[next % Executor::kMostAhead], LimitsOf(run)));
    Status status =
        session->executor->AwaitPart(next - Executor::kMostAhead, run);
    session->KeepIfLost(status);
    return status;
  }

  /// Waits for the transfers that launches on the device wait for.
  Status AwaitTransfers() {
    ArenaLoader &loader = session->tiers->loader;
    return loader.AwaitHeld(loader.Held(), LimitsOf(run));
  }

  /// The counts on their way to the device, with what changes in a wave. Those
  /// of the first part are sent with the run's inputs.
  Transfer CountsOf(const Run &part) const {
    if (!session->part_counts.Bytes())
      return {nullptr, nullptr, 0};
    uint8_t *place = session->staging.Data();
    if (sent)
      place = session->part_counts.Data() +
              (session->last_part + 1) % Executor::kMostAhead * kCountsBytes;
    std::memcpy(place, part.counts, sizeof(part.counts));
    return {session->io.Data(), place, kCountsBytes};
  }

  const uint8_t *Bytes(const TierRouting &routing) const {
    if (session->routing_copy.Bytes())
      return session->routing_copy.Data();
    uint32_t index = routing.buffer;
    uint64_t offset = 0;
    const abi::Buffer *buffer =
        session->package->manifest->buffers()->Get(index);
    if (buffer->kind() == abi::BufferKind::view) {
      offset = buffer->offset();
      index = buffer->base();
    }
    return static_cast<const uint8_t *>(session->addresses[index]) + offset;
  }

  Status Wrong(const TierRouting &routing) const {
    const abi::Buffer &buffer =
        *session->package->manifest->buffers()->Get(routing.buffer);
    return MakeStatus(session->HostAllocator(), HEADRACE_STATUS_INTERNAL,
                      "'%.64s': buffer '%.200s' holds no routing of %u "
                      "experts",
                      run.entry_name, buffer.name()->c_str(), routing.experts);
  }

  headrace_session_t *const session;
  const Run &run;
  bool sent = false;           // what the run sends
  int64_t first = 0, last = 0; // active experts, as the device knows them
  uint64_t spent_ns = 0;       // by the launches
  /// The transfers that parts under way wait for, and all before them.
  HeldCopies held[Executor::kMostAhead] = {};
};

/// Brings the first bytes of a routing to where the host reads them, on a
/// device with memory of its own.
Status headrace_session_t::ReadRoutingBuffer(const TierRouting &routing,
                                             uint64_t bytes, const Run &run) {
  if (!routing_copy.Bytes())
    return Status();
  const Transfer transfer = {addresses[routing.buffer], routing_copy.Data(),
                             bytes};
  Run part = run;
  part.launch_count = part.upload_count = 0;
  part.downloads = &transfer;
  part.download_count = 1;
  part.pinned = true;
  part.out_kernel_ns = nullptr;
  return Execute(part, 0);
}

/// Waits for what a run that failed has left to the device, which is before
/// anything is written that it may still read.
Status headrace_session_t::SettleTiers(const headrace_cancel_t *cancel,
                                       uint64_t deadline_ns) {
  if (!IsTiered() || last_part == 0)
    return Status();
  WaitLimits limits;
  limits.cancel = cancel;
  limits.deadline_ns = deadline_ns;
  Run run;
  run.entry_name = "the run before";
  run.cancel = cancel;
  run.deadline_ns = deadline_ns;
  Status status = tiers->loader.AwaitHeld(tiers->loader.Held(), limits);
  if (status.IsOk())
    status = executor->AwaitPart(last_part, run);
  KeepIfLost(status);
  return status;
}

Status headrace_session_t::RunTiered(uint32_t entry, uint32_t step_class,
                                     const Run &run) {
  WaveRunner runner(this, run);
  Status status =
      tiers->loader.RunEntry(entry, step_class, &runner, LimitsOf(run));
  if (status.IsOk())
    status = runner.Finish();
  KeepIfLost(status);
  NotePeak(tiers->plan.entry_schedules[entry] + step_class);
  return status;
}

/// Of a traced session, so that events of a pass hold all that it moved.
void headrace_session_t::AwaitRest(const Run &run) {
  tiers->loader.AwaitRest(LimitsOf(run));
}
