// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Thread pool: claiming, advancing, waiting.
#include "runtime/drivers/cpu/thread_pool.h"

#include "runtime/src/thread.h"

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <immintrin.h>

namespace headrace::runtime::cpu {
namespace {

constexpr int kRemainingBits = 40;
constexpr uint64_t kRemainingMask = (uint64_t(1) << kRemainingBits) - 1;

/// How long a thread without work spins before it sleeps. Covers the gap
/// between two launches and, mostly, that between two decode steps. There is no
/// yield in between: on a busy machine a yield gives away a whole time slice, a
/// sleep only until the wake.
constexpr uint64_t kSpinNs = 200000;
/// Pauses between two looks at the clock: about a microsecond.
constexpr int kPausesPerLook = 32;
/// How often a sleeping caller looks at cancel word and deadline.
constexpr auto kPollPeriod = std::chrono::milliseconds(1);
/// How long running tasks may go on after a run was told to stop before the
/// device is given up. Tasks take milliseconds at most.
constexpr uint64_t kStopGraceNs = 2000000000;

/// The default floating-point environment: exceptions masked, denormals kept.
constexpr unsigned kDefaultMxcsr = 0x1f80;

/// Spins for a bounded time; true as soon as `ready` is.
template <typename Ready> bool SpinUntil(Ready &&ready) {
  const uint64_t start = MonotonicNs();
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (ready())
        return true;
      _mm_pause();
    }
  } while (MonotonicNs() - start < kSpinNs);
  return false;
}

} // namespace

ThreadPool::ThreadPool(headrace_instance_t *instance, uint32_t thread_count)
    : instance(instance),
      workers(thread_count, StdAllocator<Worker>(instance->allocator)) {
  for (uint32_t i = 0; i < thread_count; ++i) {
    workers[i].pool = this;
    workers[i].index = i;
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    exiting.store(true);
  }
  changed.notify_all();
  for (uint32_t i = 1; i <= started; ++i)
    pthread_join(workers[i].thread, nullptr);
}

Status ThreadPool::Start(const uint32_t *affinity) {
  for (uint32_t i = 1; i < workers.size(); ++i) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int error = 0;
    if (affinity) {
      cpu_set_t set;
      CPU_ZERO(&set);
      if (affinity[i] >= CPU_SETSIZE)
        error = EINVAL;
      else
        CPU_SET(affinity[i], &set);
      if (!error)
        error = pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
    }
    char name[16];
    std::snprintf(name, sizeof(name), "headrace-%u", i % 1000000);
    if (!error)
      error = StartThread(&workers[i].thread, &attributes, WorkerMain,
                          &workers[i], name);
    pthread_attr_destroy(&attributes);
    if (error && affinity)
      return MakeStatus(instance->allocator, HEADRACE_STATUS_INVALID_ARGUMENT,
                        "device: cannot start worker %u on processor %u", i,
                        affinity[i]);
    if (error)
      return MakeStatus(instance->allocator, HEADRACE_STATUS_UNAVAILABLE,
                        "device: cannot start thread %u of %zu", i,
                        workers.size());
    started = i;
  }
  return Status();
}

void *ThreadPool::WorkerMain(void *argument) {
  auto &worker = *static_cast<Worker *>(argument);
  _mm_setcsr(kDefaultMxcsr);
  // The root of this thread: nothing below throws but for a broken mutex, and
  // then there is no caller to tell.
  try {
    worker.pool->WorkerLoop(worker);
  } catch (...) {
    worker.pool->instance->Log(HEADRACE_LOG_ERROR,
                               "device: worker %u has ended", worker.index);
  }
  return nullptr;
}

void ThreadPool::WorkerLoop(Worker &worker) {
  auto ready = [&] {
    return HasWork() || exiting.load(std::memory_order_relaxed);
  };
  while (!exiting.load()) {
    if (RunTasks(worker) || SpinUntil(ready))
      continue;
    std::unique_lock<std::mutex> lock(mutex);
    sleepers.fetch_add(1);
    // One wait, not a loop: after it the thread spins again, so that a run of
    // short launches does not wake it for each one.
    if (!ready())
      changed.wait(lock);
    sleepers.fetch_sub(1);
  }
}

bool ThreadPool::HasWork() const {
  return (claim.load(std::memory_order_seq_cst) & kRemainingMask) != 0;
}

bool ThreadPool::Claim(uint64_t *out_task) {
  uint64_t word = claim.load(std::memory_order_relaxed);
  do {
    if ((word & kRemainingMask) == 0)
      return false;
  } while (!claim.compare_exchange_weak(
      word, word - 1, std::memory_order_acquire, std::memory_order_relaxed));
  // Holding a task, this launch cannot end before it is added to `done`.
  *out_task = task_count - (word & kRemainingMask);
  return true;
}

/// Takes all tasks that are left, when they will not be run; the caller holds
/// one of the same launch.
uint64_t ThreadPool::ClaimRest() {
  uint64_t word = claim.load(std::memory_order_relaxed);
  while ((word & kRemainingMask) != 0 &&
         !claim.compare_exchange_weak(word, word & ~kRemainingMask,
                                      std::memory_order_relaxed)) {
  }
  return word & kRemainingMask;
}

/// Runs tasks of the present launch until none is left to claim; true if there
/// was one. Generated code has no type before its entry for the sanitizer that
/// would look there.
__attribute__((no_sanitize("function"))) bool
ThreadPool::RunTasks(Worker &worker) {
  uint64_t task;
  if (!Claim(&task))
    return false;
  const Launch &current = *launch;
  const headrace_call_t call = {current.buffers, run.weights,
                                current.weight_ids, run.counts,
                                run.worker_scratch[worker.index]};
  uint64_t count = task_count;
  uint64_t completed = 0;
  do {
    ++completed;
    if (ShouldStop()) {
      completed += ClaimRest();
      break;
    }
    worker.task.store(task + 1, std::memory_order_relaxed);
    current.function(&call, task);
  } while (Claim(&task));
  worker.task.store(0, std::memory_order_relaxed);
  if (done.fetch_add(completed, std::memory_order_acq_rel) + completed == count)
    Advance();
  return true;
}

/// Publishes the next launch that has tasks, or the end of the run. Called by
/// one thread at a time: the caller at the start, then whoever completes a
/// launch.
void ThreadPool::Advance() {
  while (next_launch < run.launch_count && !ShouldStop()) {
    if (run.launch_begin_ns)
      run.launch_begin_ns[next_launch] = MonotonicNs();
    const Launch &next = run.launches[next_launch++];
    uint64_t tasks = GridTasks(next.grid_kind, next.grid_base, next.grid_block,
                               next.grid_limit, run.counts);
    if (tasks == 0)
      continue;
    launch = &next;
    task_count = tasks;
    done.store(0, std::memory_order_relaxed);
    ++launch_number;
    claim.store(launch_number << kRemainingBits | tasks);
    // The order of this load after the store above, and of the sleepers' count
    // before their look at `claim`, is what makes a missed wake impossible.
    if (tasks > 1 && sleepers.load() != 0)
      WakeSleepers();
    return;
  }
  finished.store(true);
  if (sleepers.load() != 0)
    WakeSleepers();
}

void ThreadPool::WakeSleepers() {
  // Passing through the mutex waits for a thread between look and wait.
  {
    std::lock_guard<std::mutex> lock(mutex);
  }
  changed.notify_all();
}

bool ThreadPool::ShouldStop() {
  if (stop.load(std::memory_order_relaxed) != kGoOn)
    return true;
  uint32_t reason = kGoOn;
  if (IsCancelled(run.cancel))
    reason = kCancelled;
  else if (run.deadline_ns && MonotonicNs() >= run.deadline_ns)
    reason = kDeadline;
  else
    return false;
  uint32_t expected = kGoOn;
  stop.compare_exchange_strong(expected, reason);
  return true;
}

/// Takes part until the run has finished; false when it never will.
bool ThreadPool::AwaitFinish(Worker &worker) {
  auto ready = [&] { return finished.load() || HasWork(); };
  uint64_t stopped_at = 0;
  for (;;) {
    if (RunTasks(worker))
      continue;
    if (finished.load())
      return true;
    if (SpinUntil(ready))
      continue;
    {
      std::unique_lock<std::mutex> lock(mutex);
      sleepers.fetch_add(1);
      if (!ready())
        changed.wait_for(lock, kPollPeriod);
      sleepers.fetch_sub(1);
    }
    if (!ShouldStop())
      continue;
    uint64_t now = MonotonicNs();
    if (!stopped_at)
      stopped_at = now;
    else if (now - stopped_at > kStopGraceNs)
      return finished.load();
  }
}

Status ThreadPool::AwaitTurn(const Run &wanted) {
  std::unique_lock<std::mutex> lock(mutex);
  while (turn_taken) {
    if (IsCancelled(wanted.cancel))
      return MakeStatus(instance->allocator, HEADRACE_STATUS_CANCELLED,
                        "'%.64s' was cancelled while another step ran",
                        wanted.entry_name);
    if (wanted.deadline_ns && MonotonicNs() >= wanted.deadline_ns)
      return MakeStatus(instance->allocator, HEADRACE_STATUS_DEADLINE_EXCEEDED,
                        "'%.64s' waited for another step until its deadline",
                        wanted.entry_name);
    turn_free.wait_for(lock, kPollPeriod);
  }
  turn_taken = true;
  return Status();
}

Status ThreadPool::Execute(const Run &wanted) {
  HEADRACE_RETURN_IF_ERROR(AwaitTurn(wanted));
  Status status;
  if (lost.load())
    // Once it has ended, no thread is inside what that step used.
    status = MakeStatus(instance->allocator, HEADRACE_STATUS_DEVICE_LOST,
                        finished.load()
                            ? "device: a kernel of an earlier step ended after "
                              "the step had been given up"
                            : "device: a kernel of an earlier step has not "
                              "ended");
  else
    status = RunLaunches(wanted);
  {
    std::lock_guard<std::mutex> lock(mutex);
    turn_taken = false;
  }
  turn_free.notify_one();
  return status;
}

Status ThreadPool::RunLaunches(const Run &wanted) {
  run = wanted;
  launch = nullptr;
  task_count = 0;
  next_launch = 0;
  stop.store(kGoOn);
  finished.store(false);

  // Generated code expects the default environment, and results may not depend
  // on which thread computes them.
  unsigned host_mxcsr = _mm_getcsr();
  _mm_setcsr(kDefaultMxcsr);
  Advance();
  bool ended = AwaitFinish(workers[0]);
  _mm_setcsr(host_mxcsr);

  if (!ended) {
    lost.store(true);
    return Describe(HEADRACE_STATUS_DEVICE_LOST);
  }
  switch (stop.load()) {
  case kCancelled:
    return Describe(HEADRACE_STATUS_CANCELLED);
  case kDeadline:
    return Describe(HEADRACE_STATUS_DEADLINE_EXCEEDED);
  default:
    return Status();
  }
}

/// Says where the run stands; the logger also gets each worker's task.
Status ThreadPool::Describe(headrace_status_code_t code) {
  // A launch whose tasks still run is not rewritten by anyone, so reading it is
  // safe even when the run never ends.
  uint64_t tasks = task_count;
  uint64_t left = claim.load() & kRemainingMask;
  const char *kernel = launch ? launch->kernel_name : "none";
  const char *verb = code == HEADRACE_STATUS_CANCELLED ? "was cancelled"
                     : code == HEADRACE_STATUS_DEADLINE_EXCEEDED
                         ? "missed its deadline"
                         : "does not end";
  headrace_log_level_t level = code == HEADRACE_STATUS_CANCELLED
                                   ? HEADRACE_LOG_INFO
                                   : HEADRACE_LOG_ERROR;
  instance->Log(level,
                "device: '%.64s' %s: launch %zu of %zu, kernel '%.200s', "
                "%" PRIu64 " of %" PRIu64 " tasks unclaimed, %" PRIu64
                " completed, %" PRId64 " tokens, %" PRId64 " sequences, "
                "%" PRId64 " outputs",
                run.entry_name, verb, next_launch, run.launch_count, kernel,
                left, tasks, done.load(), run.counts[HEADRACE_COUNT_TOKENS],
                run.counts[HEADRACE_COUNT_SEQUENCES],
                run.counts[HEADRACE_COUNT_OUTPUTS]);
  for (Worker &worker : workers)
    if (uint64_t task = worker.task.load(std::memory_order_relaxed))
      instance->Log(level, "device: worker %u is in task %" PRIu64,
                    worker.index, task - 1);
  return MakeStatus(instance->allocator, code,
                    "'%.64s' %s in launch %zu of %zu, kernel '%.200s'",
                    run.entry_name, verb, next_launch, run.launch_count,
                    kernel);
}

} // namespace headrace::runtime::cpu
