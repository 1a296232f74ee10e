// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Thread pool: runs grids of tasks, one launch after the other.
#ifndef HEADRACE_RUNTIME_DRIVERS_CPU_THREAD_POOL_H
#define HEADRACE_RUNTIME_DRIVERS_CPU_THREAD_POOL_H

#include "runtime/src/device.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <pthread.h>

namespace headrace::runtime::cpu {

/// Persistent workers; the thread that calls Execute() is worker 0.
///
/// Tasks of a launch are claimed in order from one word that holds the launch's
/// number and how many tasks are left. The thread that completes the last task
/// publishes the next launch, so no thread is waited for that has claimed
/// nothing: a worker the system has put aside delays nobody, and the caller is
/// not in the loop. Threads without work spin for a bounded time, then sleep.
///
/// Which thread runs a task never matters to the task, so results do not depend
/// on the number of threads.
class ThreadPool {
public:
  ThreadPool(headrace_instance_t *instance, uint32_t thread_count);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  /// Starts all threads but the caller's; `affinity` is null or one processor
  /// for each worker, the first unused.
  Status Start(const uint32_t *affinity);

  uint32_t ThreadCount() const { return static_cast<uint32_t>(workers.size()); }

  /// Runs `run`; one at a time, others wait their turn.
  Status Execute(const Run &run);

private:
  /// Why a run was told to stop.
  enum StopReason : uint32_t { kGoOn = 0, kCancelled, kDeadline };

  /// One thread's view, on cache lines of its own.
  struct alignas(kCacheLine) Worker {
    ThreadPool *pool = nullptr;
    uint32_t index = 0;
    pthread_t thread = {};
    std::atomic<uint64_t> task{0}; // running task + 1, for reports
  };

  static void *WorkerMain(void *argument);
  void WorkerLoop(Worker &worker);
  bool HasWork() const;
  bool Claim(uint64_t *out_task);
  uint64_t ClaimRest();
  bool RunTasks(Worker &worker);
  void Advance();
  void WakeSleepers();
  bool ShouldStop();
  bool AwaitFinish(Worker &worker);
  Status AwaitTurn(const Run &wanted);
  Status RunLaunches(const Run &wanted);
  Status Describe(headrace_status_code_t code);

  headrace_instance_t *const instance;
  Vector<Worker> workers;
  uint32_t started = 0; // threads to join

  /// Launch number << kRemainingBits | tasks left to claim.
  alignas(kCacheLine) std::atomic<uint64_t> claim{0};
  alignas(kCacheLine) std::atomic<uint64_t> done{0};

  /// The launch being run. Written by Advance() before it publishes `claim`,
  /// read by threads that have claimed a task of it.
  alignas(kCacheLine) Run run;
  const Launch *launch = nullptr;
  size_t next_launch = 0;
  uint64_t launch_number = 0;
  uint64_t task_count = 0;

  alignas(kCacheLine) std::atomic<bool> finished{true};
  std::atomic<uint32_t> stop{kGoOn};
  std::atomic<uint32_t> sleepers{0};
  std::atomic<bool> exiting{false};
  std::atomic<bool> lost{false};

  std::mutex mutex;
  std::condition_variable changed; // work to claim, a run's end, the exit
  std::condition_variable turn_free;
  bool turn_taken = false; // under `mutex`
};

} // namespace headrace::runtime::cpu

#endif // HEADRACE_RUNTIME_DRIVERS_CPU_THREAD_POOL_H
