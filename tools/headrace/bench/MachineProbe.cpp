// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the machine can do right now.
#include "tools/headrace/bench/MachineProbe.h"

#include "runtime/src/tier/stream_copy.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <mutex>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace headrace;
using namespace headrace::tools::bench;

double headrace::tools::bench::now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// A file of the kernel; these tell no size, so they are read as streams.
static std::string kernelFile(const std::string &path) {
  auto file = llvm::MemoryBuffer::getFileAsStream(path);
  return file ? (*file)->getBuffer().str() : std::string();
}

MachineInfo MachineInfo::ofHost() {
  MachineInfo info;
  std::string cpuinfo = kernelFile("/proc/cpuinfo");
  for (llvm::StringRef line : llvm::split(cpuinfo, '\n')) {
    auto [key, value] = line.split(':');
    key = key.trim();
    value = value.trim();
    if (key == "model name" && info.cpu.empty())
      info.cpu = value.str();
    else if (key == "cpu family")
      value.getAsInteger(10, info.family);
    else if (key == "model")
      value.getAsInteger(10, info.model);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    info.cores = unsigned(CPU_COUNT(&set));
  // Not sysconf, which counts the caches of a whole package as one.
  for (int level = 0; level < 8; ++level) {
    uint64_t kilobytes = 0;
    std::string size = kernelFile("/sys/devices/system/cpu/cpu0/cache/index" +
                                  std::to_string(level) + "/size");
    if (!llvm::StringRef(size).trim().consumeInteger(10, kilobytes))
      info.lastLevelCache = std::max(info.lastLevelCache, kilobytes << 10);
  }
  info.clockSource =
      llvm::StringRef(kernelFile("/sys/devices/system/clocksource/clocksource0/"
                                 "current_clocksource"))
          .trim()
          .str();
  char date[32];
  time_t seconds = time(nullptr);
  tm parts;
  gmtime_r(&seconds, &parts);
  strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &parts);
  info.date = date;
  return info;
}

uint64_t headrace::tools::bench::waitedForCoreNs() {
  uint64_t sum = 0;
  bool any = false;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator at("/proc/self/task", error), end;
       !error && at != end; at.increment(error)) {
    llvm::SmallVector<llvm::StringRef> words;
    std::string text = kernelFile(at->path() + "/schedstat");
    llvm::StringRef(text).split(words, ' ');
    uint64_t waited = 0;
    if (words.size() > 1 && !words[1].getAsInteger(10, waited)) {
      sum += waited;
      any = true;
    }
  }
  if (any)
    return sum;
  // A kernel without these statistics: a time slice for each loss of a core.
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return uint64_t(usage.ru_nivcsw) * 3000000;
}

/// Threads that start a piece of work together. Between two pieces they sleep,
/// so that they do not disturb what is timed; before one they spin until all
/// have come, so that no clock is still low and nobody waits to be woken.
struct MachineProbe::Crew {
  explicit Crew(unsigned count) : count(count), spans(count) {}
  ~Crew() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      exiting = true;
    }
    changed.notify_all();
    for (std::thread &thread : helpers)
      thread.join();
    for (uint8_t *buffer : buffers)
      munmap(buffer, bytes);
  }

  void spinUntil(const std::atomic<unsigned> &counter, unsigned value) {
    while (counter.load(std::memory_order_acquire) != value)
      __builtin_ia32_pause();
  }

  /// `warm(i)` and then `work(i)` on every thread; returns the seconds from
  /// the first start of `work` to its last end.
  double run(std::function<void(unsigned)> warm,
             std::function<void(unsigned)> work) {
    warmUp = std::move(warm);
    task = std::move(work);
    arrived.store(0);
    warmed.store(0);
    ended.store(0);
    {
      std::lock_guard<std::mutex> lock(mutex);
      ++generation;
    }
    changed.notify_all();
    takePart(0);
    spinUntil(ended, count);
    double first = spans[0].start, last = spans[0].end;
    for (const Span &span : spans) {
      first = std::min(first, span.start);
      last = std::max(last, span.end);
    }
    return last - first;
  }

  void takePart(unsigned index) {
    arrived.fetch_add(1);
    spinUntil(arrived, count);
    warmUp(index);
    warmed.fetch_add(1);
    spinUntil(warmed, count);
    spans[index].start = now();
    task(index);
    spans[index].end = now();
    ended.fetch_add(1);
  }

  void loop(unsigned index) {
    uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return exiting || generation != seen; });
        if (exiting)
          return;
        seen = generation;
      }
      takePart(index);
    }
  }

  struct alignas(64) Span {
    double start = 0, end = 0;
  };
  unsigned count;
  std::vector<Span> spans;
  std::vector<std::thread> helpers;
  std::vector<uint8_t *> buffers;
  size_t bytes = 0;
  std::function<void(unsigned)> warmUp, task;
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t generation = 0; ///< Under `mutex`, as `exiting`.
  bool exiting = false;
  alignas(64) std::atomic<unsigned> arrived{0};
  alignas(64) std::atomic<unsigned> warmed{0};
  alignas(64) std::atomic<unsigned> ended{0};
  alignas(64) std::atomic<uint64_t> ball{0};
};

MachineProbe::MachineProbe(unsigned threads)
    : crew(std::make_unique<Crew>(threads)), threads(threads),
      multiply(multiplyLoops().front()) {}

MachineProbe::~MachineProbe() = default;

llvm::Expected<std::unique_ptr<MachineProbe>>
MachineProbe::create(unsigned threads) {
  std::unique_ptr<MachineProbe> probe(new MachineProbe(threads));
  if (llvm::Error error = probe->start())
    return std::move(error);
  return probe;
}

llvm::Error MachineProbe::start() {
  // So much that nothing of it, and nothing else, is left in a cache.
  constexpr size_t kLeast = size_t(256) << 20;
  uint64_t cache = MachineInfo::ofHost().lastLevelCache;
  bufferBytes = std::max<size_t>(kLeast, size_t(4 * cache / threads));
  bufferBytes = (bufferBytes + kLeast - 1) / kLeast * kLeast;
  crew->bytes = bufferBytes;
  for (unsigned i = 0; i < threads; ++i) {
    void *memory = mmap(nullptr, bufferBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
      return llvm::createStringError(
          "cannot take %zu bytes to measure the memory with", bufferBytes);
    madvise(memory, bufferBytes, MADV_HUGEPAGE);
    crew->buffers.push_back(static_cast<uint8_t *>(memory));
  }
  for (unsigned i = 1; i < threads; ++i)
    crew->helpers.emplace_back([this, i] { crew->loop(i); });
  // Each thread writes its buffer first, so that it lies near that thread.
  crew->run([](unsigned) {},
            [&](unsigned i) { memset(crew->buffers[i], 1, bufferBytes); });

  // The best way to read here, each by the best of three that nobody else's
  // work disturbed: noise only ever slows.
  double best = 0;
  for (const ReadLoop &loop : readLoops())
    for (int tries = 0, clean = 0; clean < 3 && tries < 10; ++tries) {
      uint64_t waited = waitedForCoreNs();
      if (double rate = readRate(loop); rate > best) {
        best = rate;
        readLoop = loop;
      }
      if (waitedForCoreNs() - waited < 200000)
        ++clean;
    }
  rounds = roundsFor(multiply);
  for (int i = 0; i < 5; ++i)
    before();
  return llvm::Error::success();
}

/// Rounds for two milliseconds: longer than a clock takes to settle, shorter
/// than a time slice.
uint64_t MachineProbe::roundsFor(const MultiplyLoop &loop) {
  for (uint64_t count = 1000;; count *= 4) {
    double begin = now();
    loop.multiply(count);
    double seconds = now() - begin;
    if (seconds > 1e-3)
      return std::max<uint64_t>(1, uint64_t(double(count) * 2e-3 / seconds));
  }
}

double MachineProbe::readRate(const ReadLoop &loop) {
  constexpr size_t kWarm = size_t(4) << 20;
  double seconds =
      crew->run([&](unsigned i) { loop.read(crew->buffers[i], kWarm); },
                [&](unsigned i) { loop.read(crew->buffers[i], bufferBytes); });
  return double(bufferBytes) * threads / seconds;
}

double MachineProbe::multiplyRate(const MultiplyLoop &loop, uint64_t count) {
  double seconds = crew->run([&](unsigned) { loop.multiply(count / 4 + 1); },
                             [&](unsigned) { loop.multiply(count); });
  return loop.operations * double(count) * threads / seconds;
}

double MachineProbe::operationsRate(const MultiplyLoop &loop) {
  uint64_t count = roundsFor(loop);
  double best = 0;
  for (int i = 0; i < 3; ++i)
    best = std::max(best, multiplyRate(loop, count));
  return best;
}

double MachineProbe::copyRate() {
  const size_t half = bufferBytes / 2;
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    double seconds =
        crew->run([](unsigned) {},
                  [&](unsigned t) {
                    uint8_t *buffer = crew->buffers[t];
                    runtime::StreamCopy(buffer, buffer + half, half);
                  });
    best = std::max(best, double(half) * threads / seconds);
  }
  return best;
}

double MachineProbe::loadLatencyNs() {
  // One cycle through all lines in an order that no prefetcher guesses:
  // Sattolo's shuffle. The buffer holds anything before and after.
  constexpr size_t kLine = 64;
  const size_t lines = bufferBytes / kLine;
  uint8_t *buffer = crew->buffers[0];
  auto at = [&](size_t line) -> uint32_t & {
    return *reinterpret_cast<uint32_t *>(buffer + line * kLine);
  };
  for (size_t i = 0; i < lines; ++i)
    at(i) = uint32_t(i);
  uint64_t random = 0x9e3779b97f4a7c15;
  for (size_t i = lines - 1; i > 0; --i) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    std::swap(at(i), at(random % i));
  }
  constexpr int kLoads = 1 << 18;
  uint32_t line = 0;
  double begin = now();
  for (int i = 0; i < kLoads; ++i)
    line = at(line);
  double seconds = now() - begin;
  asm volatile("" ::"r"(line));
  return seconds * 1e9 / kLoads;
}

double MachineProbe::handOverNs() {
  constexpr unsigned kRounds = 2000;
  std::atomic<uint64_t> arrivals{0};
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    arrivals.store(0);
    double seconds =
        crew->run([](unsigned) {},
                  [&](unsigned) {
                    for (unsigned round = 1; round <= kRounds; ++round) {
                      arrivals.fetch_add(1, std::memory_order_acq_rel);
                      while (arrivals.load(std::memory_order_acquire) <
                             uint64_t(round) * threads)
                        __builtin_ia32_pause();
                    }
                  });
    double ns = seconds * 1e9 / kRounds;
    best = i == 0 ? ns : std::min(best, ns);
  }
  return best;
}

double MachineProbe::latency() {
  if (threads < 2)
    return 0;
  constexpr uint64_t kTrips = 1000;
  double best = -1;
  for (int i = 0; i < 3; ++i) {
    crew->ball.store(0);
    uint64_t trips = 0;
    // Ends early when one side has lost its core.
    constexpr uint64_t kOver = ~uint64_t(0);
    double seconds = crew->run(
        [](unsigned) {},
        [&](unsigned index) {
          if (index > 1)
            return;
          double limit = now() + 0.01;
          for (uint64_t trip = index; trip < 2 * kTrips; trip += 2) {
            uint64_t seen;
            for (unsigned looks = 1;
                 (seen = crew->ball.load(std::memory_order_acquire)) != trip;
                 ++looks) {
              if (seen == kOver)
                return;
              if (looks % 1024 == 0 && now() > limit) {
                crew->ball.store(kOver);
                return;
              }
            }
            if (!crew->ball.compare_exchange_strong(seen, trip + 1,
                                                    std::memory_order_release))
              return;
            if (index == 0)
              ++trips;
          }
        });
    if (trips < kTrips / 2)
      continue;
    double ns = seconds * 1e9 / (2.0 * double(trips));
    if (best < 0 || ns < best)
      best = ns;
  }
  return best;
}

Reading MachineProbe::note(Reading reading) {
  highest.readBytesPerSecond =
      std::max(highest.readBytesPerSecond, reading.readBytesPerSecond);
  highest.operationsPerSecond =
      std::max(highest.operationsPerSecond, reading.operationsPerSecond);
  return reading;
}

Reading MachineProbe::before() {
  Reading reading;
  reading.latencyNs = latency();
  reading.readBytesPerSecond = readRate(readLoop);
  reading.operationsPerSecond = multiplyRate(multiply, rounds);
  return note(reading);
}

Reading MachineProbe::after() {
  Reading reading;
  reading.readBytesPerSecond = readRate(readLoop);
  reading.operationsPerSecond = multiplyRate(multiply, rounds);
  reading.latencyNs = latency();
  return note(reading);
}
