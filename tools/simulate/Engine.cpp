// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels and transfers over time on a machine's links.
#include "tools/simulate/Engine.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace headrace::simulate;

namespace {
constexpr size_t kNone = std::numeric_limits<size_t>::max();
constexpr double kNever = std::numeric_limits<double>::infinity();
/// As the runtime does it: transfers are cut into requests of so many bytes, so
/// many of which are under way at once.
constexpr double kRequestBytes = 1 << 20;
constexpr double kRequests = 16;
constexpr size_t kKernels = 0, kWaits = 1;
/// Less of an activity than this is rounding, not work.
constexpr double kNothing = 1e-15;
} // namespace

Engine::Engine(const Machine &machine)
    : machine(machine), laneNames{"kernels", "waiting"} {}

void Engine::miss(const std::string &what) {
  if (std::find(missed.begin(), missed.end(), what) == missed.end())
    missed.push_back(what);
}

size_t Engine::queueOf(const std::string &source, const std::string &target) {
  for (size_t i = 0; i < queues.size(); ++i)
    if (queues[i].source == source && queues[i].target == target)
      return i;
  Queue queue;
  queue.source = source;
  queue.target = target;
  queue.lane = laneNames.size();
  queue.bandwidth = queue.latency = queue.request = 0;
  if (const Machine::Link *link = machine.link(source, target)) {
    queue.bandwidth = double(link->bandwidth) * double(link->count);
    queue.latency = double(link->latency) * 1e-9;
    queue.request =
        link->request ? double(link->request) * double(link->count) : 0;
    queue.bus = link->bus;
  } else {
    miss("link '" + source + "' to '" + target + "'");
  }
  laneNames.push_back(source + " to " + target);
  queues.push_back(queue);
  return queues.size() - 1;
}

double Engine::bytesOf(size_t lane) const {
  for (const Queue &queue : queues)
    if (queue.lane == lane)
      return queue.bytes;
  return 0;
}

size_t Engine::transfer(const std::string &source, const std::string &target,
                        double bytes, std::string name, std::string detail,
                        size_t after) {
  Transfer one;
  one.after = after;
  one.link = queueOf(source, target);
  Queue &queue = queues[one.link];
  one.remaining = queue.bandwidth > 0 ? bytes / queue.bandwidth : 0;
  // What the first request takes longer than its share of all that are under
  // way.
  one.latency = queue.latency;
  if (queue.request > 0)
    one.latency += std::min(bytes, kRequestBytes) *
                   (1 / queue.request - 1 / queue.bandwidth);
  one.ready = kNever;
  one.requests = std::max(1.0, std::ceil(bytes / kRequestBytes));
  one.bytes = bytes;
  one.name = std::move(name);
  one.detail = std::move(detail);
  queue.bytes += bytes;
  queue.waiting.push_back(transfers.size());
  transfers.push_back(std::move(one));
  return transfers.size() - 1;
}

/// Sends the requests of transfers for which there is room.
void Engine::send(Queue &queue) {
  double underWay = 0;
  for (size_t index : queue.waiting) {
    Transfer &one = transfers[index];
    const bool isFree = one.after == kNone || transfers[one.after].ended;
    if (underWay >= kRequests || !isFree)
      return;
    if (one.ready == kNever)
      one.ready = time + one.latency;
    underWay += one.requests;
  }
}

void Engine::advance(double *remaining, double share, const std::string &bus,
                     size_t until) {
  auto over = [&] {
    return remaining ? *remaining <= kNothing
                     : until == kNone || transfers[until].ended;
  };
  while (!over()) {
    // Who runs, and what is asked of each bus.
    std::vector<size_t> running;
    double step = kNever;
    for (Queue &queue : queues)
      if (!queue.waiting.empty()) {
        send(queue);
        Transfer &first = transfers[queue.waiting.front()];
        if (first.after != kNone && !transfers[first.after].ended)
          continue;
        if (!first.started) {
          first.started = true;
          first.begin = time;
        }
        if (first.ready - time <= kNothing)
          running.push_back(queue.waiting.front());
        else
          step = std::min(step, first.ready - time);
      }
    auto slowdown = [&](const std::string &of) {
      if (of.empty())
        return 1.0;
      double asked = remaining && of == bus ? share : 0;
      for (size_t i : running)
        if (queues[transfers[i].link].bus == of)
          asked += 1;
      return std::max(1.0, asked);
    };
    double mine = slowdown(bus);
    if (remaining)
      step = std::min(step, *remaining * mine);
    for (size_t i : running)
      step = std::min(step, transfers[i].remaining *
                                slowdown(queues[transfers[i].link].bus));
    if (step == kNever)
      return; // Nothing is left that could end.
    std::vector<double> slower;
    for (size_t i : running)
      slower.push_back(slowdown(queues[transfers[i].link].bus));
    time += step;
    if (remaining)
      *remaining -= step / mine;
    for (size_t at = 0; at < running.size(); ++at) {
      Transfer &one = transfers[running[at]];
      one.remaining -= step / slower[at];
      if (one.remaining > kNothing)
        continue;
      one.ended = true;
      one.end = time;
      Queue &queue = queues[one.link];
      queue.waiting.pop_front();
      allBars.push_back({Bar::Kind::transfer, one.name, one.detail, queue.lane,
                         one.begin, time, one.bytes, 0});
    }
  }
}

void Engine::run(const KernelWork &work) {
  const std::string &fast = machine.levels.front().name;
  double moving = 0, multiplying = 0;
  std::string bus;
  if (work.bytes > 0) {
    if (const Machine::Link *link = machine.link(work.level, fast)) {
      moving = work.bytes / (double(link->bandwidth) * double(link->count));
      bus = link->bus;
    } else if (work.level != fast) {
      miss("link '" + work.level + "' to '" + fast + "'");
    }
  }
  if (work.operations > 0) {
    const Machine::Compute *compute = machine.computeOf(work.type);
    if (!compute)
      compute = machine.computeOf("f32");
    if (compute)
      multiplying = work.operations /
                    (double(compute->operations) * double(compute->count));
    else
      miss("compute of '" + work.type + "'");
  }
  double alone = double(machine.launch) * 1e-9 + std::max(moving, multiplying);
  double share = alone > 0 ? moving / alone : 0;
  double begin = time;
  advance(&alone, share, bus, kNone);
  allBars.push_back({Bar::Kind::kernel, work.name, work.detail, kKernels, begin,
                     time, work.bytes, work.operations});
}

void Engine::waitFor(size_t transfer, const std::string &what) {
  double begin = time;
  advance(nullptr, 0, "", transfer);
  if (time > begin) {
    stalledSeconds += time - begin;
    allBars.push_back({Bar::Kind::wait, what, "for " + transfers[transfer].name,
                       kWaits, begin, time, 0, 0});
  }
}

void Engine::drain() {
  for (size_t i = 0; i < transfers.size(); ++i)
    advance(nullptr, 0, "", i);
}
