// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the thread pool: every task once, launches in order, under stress.
#include "tests/runtime/harness.h"

#include "runtime/drivers/cpu/thread_pool.h"

#include <chrono>
#include <random>
#include <thread>

namespace headrace::tests {
namespace {

using runtime::Launch;
using runtime::cpu::ThreadPool;

/// What a launch of the stress does: checks that the one before has ended, and
/// counts each task.
struct Stage {
  std::vector<std::atomic<uint32_t>> *runs;
  std::atomic<uint64_t> *finished_before; // tasks of the stage before
  uint64_t expected_before;
  std::atomic<uint64_t> *finished;
  std::atomic<uint64_t> *errors;
};

void RunStage(const headrace_call_t *call, uint64_t task) {
  const auto &stage = *static_cast<const Stage *>(call->buffers[0]);
  // Plain reads: the pool's barrier must order them.
  if (stage.finished_before &&
      stage.finished_before->load(std::memory_order_relaxed) !=
          stage.expected_before)
    stage.errors->fetch_add(1);
  (*stage.runs)[task].fetch_add(1, std::memory_order_relaxed);
  stage.finished->fetch_add(1, std::memory_order_relaxed);
  // The scratch is this worker's alone.
  auto *scratch = static_cast<volatile uint64_t *>(call->scratch);
  scratch[0] = task;
  for (int i = 0; i < 20; ++i)
    if (scratch[0] != task)
      stage.errors->fetch_add(1);
}

void Stress(uint32_t threads, int rounds, bool pause) {
  Instance instance = MakeInstance();
  ThreadPool pool(instance.get(), threads);
  ASSERT_TRUE(IsOk(pool.Start(nullptr).Release()));
  std::mt19937 random(threads);
  std::vector<std::vector<uint64_t>> scratch(threads, std::vector<uint64_t>(8));
  std::vector<void *> worker_scratch;
  for (auto &part : scratch)
    worker_scratch.push_back(part.data());

  for (int round = 0; round < rounds; ++round) {
    const size_t stages = random() % 12;
    std::vector<Stage> stage(stages);
    std::vector<std::vector<std::atomic<uint32_t>>> runs(stages);
    std::vector<std::atomic<uint64_t>> finished(stages);
    std::vector<void *> operands(stages);
    std::vector<Launch> launches(stages);
    std::atomic<uint64_t> errors{0};
    size_t before = stages;
    for (size_t i = 0; i < stages; ++i) {
      const uint64_t tasks = random() % 3 ? random() % 40 : random() % 2;
      runs[i] = std::vector<std::atomic<uint32_t>>(tasks);
      stage[i] = {&runs[i], before < stages ? &finished[before] : nullptr,
                  before < stages ? runs[before].size() : 0, &finished[i],
                  &errors};
      if (tasks)
        before = i;
      operands[i] = &stage[i];
      launches[i].function = RunStage;
      launches[i].buffers = &operands[i];
      launches[i].grid_base = tasks;
      launches[i].kernel_name = "stage";
    }
    runtime::Run run;
    run.entry_name = "stress";
    run.launches = launches.data();
    run.launch_count = launches.size();
    run.worker_scratch = worker_scratch.data();
    ASSERT_TRUE(IsOk(pool.Execute(run).Release()));
    EXPECT_EQ(errors, 0u);
    for (size_t i = 0; i < stages; ++i)
      for (size_t task = 0; task < runs[i].size(); ++task)
        ASSERT_EQ(runs[i][task], 1u) << "stage " << i << " task " << task;
    // Now and then the workers fall asleep.
    if (pause && round % 50 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

TEST(ThreadPool, OneThread) { Stress(1, 500, false); }
TEST(ThreadPool, TwoThreads) { Stress(2, 2000, true); }
TEST(ThreadPool, MoreThreadsThanProcessors) { Stress(9, 500, true); }

TEST(ThreadPool, StartsAndEndsQuickly) {
  Instance instance = MakeInstance();
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(instance.get(), 4);
    ASSERT_TRUE(IsOk(pool.Start(nullptr).Release()));
  }
}

TEST(ThreadPool, TakesTurns) {
  Instance instance = MakeInstance();
  ThreadPool pool(instance.get(), 2);
  ASSERT_TRUE(IsOk(pool.Start(nullptr).Release()));
  std::vector<std::thread> hosts;
  for (int host = 0; host < 4; ++host)
    hosts.emplace_back([&] {
      // Not atomic on purpose: one step at a time, and ordered.
      for (int round = 0; round < 200; ++round) {
        uint64_t word[2][8] = {};
        void *scratch[2] = {word[0], word[1]};
        std::vector<std::atomic<uint32_t>> runs(5);
        std::atomic<uint64_t> finished{0}, errors{0};
        Stage stage = {&runs, nullptr, 0, &finished, &errors};
        void *operand = &stage;
        Launch launch;
        launch.function = RunStage;
        launch.buffers = &operand;
        launch.grid_base = 5;
        launch.kernel_name = "stage";
        runtime::Run run;
        run.entry_name = "turns";
        run.launches = &launch;
        run.launch_count = 1;
        run.worker_scratch = scratch;
        ASSERT_TRUE(IsOk(pool.Execute(run).Release()));
        ASSERT_EQ(finished, 5u);
        ASSERT_EQ(errors, 0u);
      }
    });
  for (std::thread &host : hosts)
    host.join();
}

TEST(Device, Affinity) {
  Instance instance = MakeInstance();
  headrace_device_t *device;
  auto options = sized<headrace_cpu_device_options_t>();
  options.thread_count = 2;
  const uint32_t bad[] = {0, 100000}, good[] = {0, 0};
  options.affinity = bad;
  options.affinity_count = 1;
  EXPECT_TRUE(
      FailsWith(headrace_device_create_cpu(instance.get(), &options, &device),
                HEADRACE_STATUS_INVALID_ARGUMENT, "affinity"));
  options.affinity_count = 2;
  EXPECT_TRUE(
      FailsWith(headrace_device_create_cpu(instance.get(), &options, &device),
                HEADRACE_STATUS_INVALID_ARGUMENT, "processor 100000"));
  options.affinity = good;
  ASSERT_TRUE(
      IsOk(headrace_device_create_cpu(instance.get(), &options, &device)));
  EXPECT_EQ(headrace_device_thread_count(device), 2u);
  headrace_device_release(device);
}

} // namespace
} // namespace headrace::tests
