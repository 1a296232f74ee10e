// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels and transfers over time on a machine's links.
#ifndef HEADRACE_TOOLS_SIMULATE_ENGINE_H
#define HEADRACE_TOOLS_SIMULATE_ENGINE_H

#include "compiler/machine/Machine.h"
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace headrace::simulate {

/// What one launch reads and multiplies.
struct KernelWork {
  std::string name;   ///< For people.
  std::string detail; ///< What it is about, in a line.
  std::string level;  ///< Where the bytes are read from.
  double bytes = 0;
  double operations = 0; ///< Products and sums counted apart.
  /// Of the operands; where the machine does not multiply it, they are taken to
  /// be converted to f32.
  std::string type;
};

/// One bar of the picture: a kernel, a transfer, or time spent waiting.
struct Bar {
  enum class Kind { kernel, transfer, wait };
  Kind kind;
  std::string name, detail;
  size_t lane;       ///< Index into Engine::lanes.
  double begin, end; ///< Seconds.
  double bytes, operations;
};

/// Runs one kernel at a time and, beside it, one transfer a link in the order
/// of their starts; the latencies of those that follow pass meanwhile, as far
/// as a link has requests under way at once. Activities that share a bus slow
/// each other down by what they ask of it together; nothing else makes them
/// wait but `waitFor`.
///
/// One thread at a time. Nothing fails: a machine without the link or the
/// compute that is asked for makes the activity take its latency only, and is
/// reported by `missing`.
class Engine {
public:
  explicit Engine(const Machine &machine);

  /// Starts a transfer when those before it on its link have ended, and so has
  /// `after`, if there is one; the number is for `waitFor`.
  size_t transfer(const std::string &source, const std::string &target,
                  double bytes, std::string name, std::string detail,
                  size_t after = SIZE_MAX);
  /// Runs a kernel to its end.
  void run(const KernelWork &work);
  /// Lets time pass until the transfer has ended. `what` names it in the bar.
  void waitFor(size_t transfer, const std::string &what);
  /// Lets time pass until no transfer is left.
  void drain();

  double now() const { return time; }
  /// Whether the transfer has ended.
  bool done(size_t transfer) const { return transfers[transfer].ended; }
  /// Whether its turn has come.
  bool started(size_t transfer) const { return transfers[transfer].started; }
  double startedAt(size_t transfer) const { return transfers[transfer].begin; }
  double endedAt(size_t transfer) const { return transfers[transfer].end; }

  /// Lane 0 has the kernels, lane 1 the waiting, each other one a link.
  const std::vector<std::string> &lanes() const { return laneNames; }
  const std::vector<Bar> &bars() const { return allBars; }
  /// Bytes that went over the link of a lane; 0 for the first two.
  double bytesOf(size_t lane) const;
  /// Seconds without a kernel since something had to arrive first.
  double stalled() const { return stalledSeconds; }
  /// What the machine does not say, each once: "link 'disk' to 'hbm'".
  const std::vector<std::string> &missing() const { return missed; }

private:
  struct Transfer {
    size_t link;
    size_t after;     ///< SIZE_MAX: none.
    double remaining; ///< Seconds that its bytes take alone.
    double latency;   ///< Seconds before that.
    double ready;     ///< When the latency is over; infinite: not yet sent.
    double requests;  ///< That it is cut into.
    double bytes;
    double begin = 0, end = 0;
    bool started = false, ended = false;
    std::string name, detail;
  };
  struct Queue {
    std::string source, target, bus;
    size_t lane;
    double bandwidth, latency; ///< Of all instances together; seconds.
    double request;            ///< Of one request.
    double bytes = 0;
    std::deque<size_t> waiting; ///< The first one runs.
  };

  size_t queueOf(const std::string &source, const std::string &target);
  void send(Queue &queue);
  void miss(const std::string &what);
  /// Advances until `remaining` seconds of a kernel that asks for `share` of
  /// `bus` are over (null: no kernel) or `until` (a transfer) has ended.
  void advance(double *remaining, double share, const std::string &bus,
               size_t until);

  const Machine &machine;
  double time = 0, stalledSeconds = 0;
  std::vector<Queue> queues;
  std::vector<Transfer> transfers;
  std::vector<std::string> laneNames, missed;
  std::vector<Bar> allBars;
};

} // namespace headrace::simulate

#endif // HEADRACE_TOOLS_SIMULATE_ENGINE_H
