// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A package with a plan at several sizes of its fast memory, against what its
// link and the best replacement allow.
#include "tools/headrace/Runtime.h"
#include "tools/headrace/TraceFile.h"
#include "tools/headrace/bench/Belady.h"
#include "tools/headrace/bench/Benches.h"
#include "tools/headrace/bench/HugeMemory.h"
#include "tools/headrace/bench/MappedChild.h"
#include "llvm/ADT/ScopeExit.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

using namespace headrace;
using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

/// What a run needs beside the budget: tables, stacks, page tables. The code is
/// another group's already when the child joins its own.
constexpr uint64_t kProcessBytes = uint64_t(1) << 20;
/// Reads of a link's probe: of what moves at once, but of no more than is
/// needed for a request's fixed cost not to count.
constexpr size_t kLargestRead = size_t(4) << 20;
constexpr unsigned kReaders = 4;
/// Read to learn the link's bandwidth: a small file more than once.
constexpr uint64_t kProbeBytes = uint64_t(1) << 29;

/// Numbers without order, other ones for each `index` (SplitMix64).
uint64_t scattered(uint64_t index) {
  uint64_t z = (index + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// Bytes a second at which a file is read around the page cache, by several
/// threads in pieces of `block` bytes here and there. Each call reads other
/// pieces: a host may keep what was read lately.
llvm::Expected<double> readRate(const std::string &path, uint64_t block) {
  static std::atomic<uint64_t> next{0};
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (file < 0)
    return llvm::createStringError(path + ": " + strerror(errno));
  llvm::scope_exit closer([&] { close(file); });
  struct stat attributes;
  if (fstat(file, &attributes) != 0)
    return llvm::createStringError(path + ": " + strerror(errno));
  const uint64_t blocks =
      std::max<uint64_t>(1, uint64_t(attributes.st_size) / block);
  const uint64_t reads = kProbeBytes / block;
  auto memory = HugeMemory::make(kReaders * block);
  if (!memory)
    return memory.takeError();
  const uint64_t end = next + reads;
  std::atomic<uint64_t> done{0};
  std::atomic<int> error{0};
  double begin = now();
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < kReaders; ++i)
    readers.emplace_back([&, i] {
      for (uint64_t at; (at = next.fetch_add(1)) < end;) {
        ssize_t got = pread(file, memory->data() + i * block, block,
                            off_t(scattered(at) % blocks * block));
        if (got < 0)
          error.store(errno);
        else
          done.fetch_add(uint64_t(got));
      }
    });
  for (std::thread &reader : readers)
    reader.join();
  next = end;
  if (error)
    return llvm::createStringError(path + ": " + strerror(error));
  return double(done) / (now() - begin);
}

/// What a session has moved so far.
struct Usage {
  uint64_t copied = 0; ///< By a processor, from memory to memory.
  uint64_t read = 0;   ///< From the disk.
  uint64_t hits = 0, misses = 0, busyNs = 0, prefetches = 0;

  uint64_t bytes() const { return copied + read; }
  Usage operator-(const Usage &before) const {
    return {copied - before.copied, read - before.read,
            hits - before.hits,     misses - before.misses,
            busyNs - before.busyNs, prefetches - before.prefetches};
  }
};

/// Bytes a second that limit what moves.
struct Rates {
  double memory = 0; ///< That all threads read; 0: nothing is copied.
  double disk = 0;   ///< 0: nothing is read.

  /// Seconds that the memory and the disk take, each by itself, for so many
  /// bytes: a copy reads and writes.
  double copying(double bytes) const {
    return bytes > 0 ? 2 * bytes / memory : 0;
  }
  double reading(double bytes) const { return bytes > 0 ? bytes / disk : 0; }
};

/// One pool of a session.
struct Pool {
  std::string name;
  uint64_t slotBytes = 0;
  uint32_t slots = 0, minSlots = 0, bundles = 0;
  bool isCache = false, hasPages = false;
};

/// A package on a device, decoding.
class Decoder {
public:
  Decoder(const TierBenchOptions &options, headrace_device_t *device,
          headrace_package_t *package)
      : options(options), device(device), package(package) {}

  llvm::Error open(headrace_session_options_t wanted) {
    wanted.max_sequences = 1;
    if (auto status = make(session, [&](headrace_session_t **out) {
          return headrace_session_create(device, package, &wanted, out);
        }))
      return toError(status, options.package);
    auto pool = sized<headrace_pool_usage_t>();
    for (uint32_t i = 0;; ++i) {
      if (auto status = headrace_session_pool(session.get(), i, &pool)) {
        headrace_status_free(status); // that was the last one
        break;
      }
      pools.push_back({pool.name, pool.slot_bytes, pool.slots, pool.min_slots,
                       pool.bundles, pool.is_cache != 0, pool.has_pages != 0});
    }
    auto link = sized<headrace_link_usage_t>();
    for (uint32_t i = 0;; ++i) {
      if (auto status = headrace_session_link(session.get(), i, &link)) {
        headrace_status_free(status);
        break;
      }
      links.push_back(link.name);
    }
    return llvm::Error::success();
  }

  /// Draws tokens after the prompt; returns seconds. What was drawn and the
  /// logits go into `digest`.
  llvm::Expected<double> decode(uint64_t seed) {
    Sequence sequence;
    if (auto status = make(sequence, [&](headrace_sequence_t **out) {
          return headrace_sequence_create(session.get(), out);
        }))
      return toError(status, options.package);
    auto generate = sized<headrace_generate_options_t>();
    generate.max_new_tokens = size_t(options.decodeTokens);
    generate.temperature = 1;
    generate.seed = seed;
    generate.on_token = [](void *self, const headrace_token_event_t *event) {
      static_cast<Decoder *>(self)->take(*event);
      return 0;
    };
    generate.user_data = this;
    double begin = now();
    if (auto status = headrace_sequence_generate(
            sequence.get(), options.prompt.data(), options.prompt.size(),
            &generate, nullptr, 0, nullptr))
      return toError(status, options.package);
    return now() - begin;
  }

  llvm::Expected<Usage> usage() {
    Usage sum;
    auto link = sized<headrace_link_usage_t>();
    for (uint32_t i = 0; i < links.size(); ++i) {
      if (auto status = headrace_session_link(session.get(), i, &link))
        return toError(status, options.package);
      if (links[i] == "pages")
        continue;
      (links[i] == "disk" ? sum.read : sum.copied) += link.bytes;
      sum.busyNs += link.busy_ns;
    }
    auto pool = sized<headrace_pool_usage_t>();
    for (uint32_t i = 0; i < pools.size(); ++i) {
      if (auto status = headrace_session_pool(session.get(), i, &pool))
        return toError(status, options.package);
      sum.hits += pool.hits;
      sum.misses += pool.misses;
      sum.prefetches += pool.prefetches;
    }
    return sum;
  }

  llvm::Expected<headrace_level_usage_t> level(uint32_t index) {
    auto level = sized<headrace_level_usage_t>();
    if (auto status = headrace_session_level(session.get(), index, &level))
      return toError(status, options.package);
    return level;
  }

  std::vector<Pool> pools;
  std::vector<std::string> links;          ///< Names.
  uint64_t digest = 14695981039346656037u; // FNV-1a
  bool finite = true, varied = false;

private:
  void take(const headrace_token_event_t &event) {
    auto mix = [&](uint32_t word) {
      digest = (digest ^ word) * 1099511628211u;
    };
    mix(uint32_t(event.token));
    for (uint32_t i = 0; i < vocabulary(); ++i) {
      uint32_t word;
      std::memcpy(&word, &event.logits[i], sizeof(word));
      mix(word);
      finite &= std::isfinite(event.logits[i]);
      varied |= event.logits[i] != event.logits[0];
    }
  }
  uint32_t vocabulary() {
    if (!words) {
      auto info = sized<headrace_package_info_t>();
      headrace_status_free(headrace_package_info(package, &info));
      words = info.vocabulary;
    }
    return words;
  }

  const TierBenchOptions &options;
  headrace_device_t *const device;
  headrace_package_t *const package;
  Session session;
  uint32_t words = 0;
};

/// The experts of all routed parts as one reference string a pool; `second` is
/// where the second decoding begins.
struct RoutingTrace {
  std::map<std::string, std::vector<uint64_t>> references;
  std::map<std::string, size_t> second;

  void add(const TraceFile &trace, size_t from) {
    for (size_t i = from; i < trace.events().size(); ++i) {
      const TraceFile::Event &event = trace.events()[i];
      if (event.kind == HEADRACE_TRACE_ROUTED)
        for (int32_t expert : event.active)
          references[event.name].push_back(uint64_t(event.index) << 32 |
                                           uint32_t(expert));
    }
  }
};

class TierBench {
public:
  explicit TierBench(const TierBenchOptions &options) : options(options) {}
  llvm::Error run();

private:
  headrace_session_options_t arena(uint64_t budget) const {
    auto wanted = sized<headrace_session_options_t>();
    wanted.weights = HEADRACE_WEIGHTS_ARENA;
    wanted.page_directory = std::getenv("TMPDIR");
    wanted.weight_source =
        options.pageCache ? HEADRACE_SOURCE_PAGE_CACHE : HEADRACE_SOURCE_DISK;
    wanted.fast_memory_bytes = budget;
    return wanted;
  }
  llvm::Error learn();
  llvm::Error measure(const char *share, uint64_t budget);
  llvm::Error compareWithMapped();
  llvm::Expected<Rates> ratesOf(const Decoder &decoder, bool reads);

  const TierBenchOptions &options;
  Instance instance;
  Device device;
  Package package;
  std::unique_ptr<MappedChild> child;
  uint32_t fastLevel = 0;
  std::string from;              ///< Where weights are; for people.
  uint64_t least = 0, whole = 0; ///< Budgets.
  uint64_t digest = 0;           ///< Of the mapped session's logits.
  RoutingTrace routing;
  double compute = 0;       ///< Seconds with all weights in fast memory.
  double computeMemory = 0; ///< Bytes a second that threads read then.
  std::unique_ptr<MachineProbe> probe; ///< Where a processor copies.
  double halfSeconds = 0;
  uint64_t halfBytes = 0;
};

/// Opens a device and the package.
llvm::Error openAll(const TierBenchOptions &options, Instance &instance,
                    Device &device, Package &package) {
  if (llvm::Error error = makeInstance(instance))
    return error;
  auto cpu = sized<headrace_cpu_device_options_t>();
  cpu.thread_count = options.threads;
  if (auto status = make(device, [&](headrace_device_t **out) {
        return headrace_device_create_cpu(instance.get(), &cpu, out);
      }))
    return toError(status, "device 'cpu'");
  return toError(make(package,
                      [&](headrace_package_t **out) {
                        return headrace_package_open(instance.get(),
                                                     options.package.c_str(),
                                                     nullptr, out);
                      }),
                 options.package);
}

/// Decodes twice with mapped weights, as a host without a budget would.
llvm::Expected<double> decodeMapped(const TierBenchOptions &options,
                                    uint64_t *digest) {
  Instance instance;
  Device device;
  Package package;
  if (llvm::Error error = openAll(options, instance, device, package))
    return std::move(error);
  Decoder decoder(options, device.get(), package.get());
  if (llvm::Error error = decoder.open(sized<headrace_session_options_t>()))
    return std::move(error);
  auto first = decoder.decode(options.seed);
  if (!first)
    return first;
  auto second = decoder.decode(options.seed + 1);
  if (second && (!decoder.finite || !decoder.varied))
    return llvm::createStringError(options.package +
                                   ": logits are not finite or all the same");
  if (digest)
    *digest = decoder.digest;
  return second;
}

/// Finds out the sizes that can be and records the routing.
llvm::Error TierBench::learn() {
  auto info = sized<headrace_package_info_t>();
  if (auto status = headrace_package_info(package.get(), &info))
    return toError(status, options.package);
  if (!info.has_plan)
    return llvm::createStringError(
        options.package + ": has no plan; compile it with --fast-memory");
  fastLevel = info.fast_level;
  uint64_t planned, slots = 0, all = 0;
  {
    Decoder decoder(options, device.get(), package.get());
    if (llvm::Error error = decoder.open(arena(0)))
      return error;
    auto level = decoder.level(fastLevel);
    if (!level)
      return level.takeError();
    planned = least = level->certified_bytes;
    from = options.pageCache ? "the page cache" : "the disk";
    if (decoder.links.front() == "memory")
      from = "homes in memory, else " + from;
    for (const Pool &pool : decoder.pools) {
      least -= (pool.slots - pool.minSlots) * pool.slotBytes;
      slots += pool.slots * pool.slotBytes;
      all += (pool.hasPages ? pool.slots : std::max(pool.slots, pool.bundles)) *
             pool.slotBytes;
    }
  }
  whole = planned - slots + all;
  auto mapped = decodeMapped(options, &digest);
  if (!mapped)
    return mapped.takeError();
  TraceFile trace;
  auto wanted = arena(whole);
  wanted.on_trace = TraceFile::take;
  wanted.trace_user_data = &trace;
  Decoder decoder(options, device.get(), package.get());
  if (llvm::Error error = decoder.open(wanted))
    return error;
  size_t seen = 0;
  for (uint64_t i : {0, 1}) {
    auto seconds = decoder.decode(options.seed + i);
    if (!seconds)
      return seconds.takeError();
    for (auto &[pool, references] : routing.references)
      routing.second[pool] = references.size();
    routing.add(trace, seen);
    seen = trace.events().size();
  }
  return llvm::Error::success();
}

/// What the links give right now, the disk in pieces of what moves at once, if
/// anything `reads` it.
llvm::Expected<Rates> TierBench::ratesOf(const Decoder &decoder, bool reads) {
  Rates rates;
  uint64_t block = kLargestRead;
  for (const Pool &pool : decoder.pools)
    block = std::min(block, pool.slotBytes);
  for (const std::string &link : decoder.links) {
    if (link == "disk") {
      if (!reads)
        continue;
      auto rate = readRate(options.package, block);
      if (!rate)
        return rate.takeError();
      rates.disk = *rate;
    } else if (rates.memory == 0) {
      if (!probe) {
        auto made = MachineProbe::create(options.threads);
        if (!made)
          return made.takeError();
        probe = std::move(*made);
      }
      rates.memory = probe->before().readBytesPerSecond;
    }
  }
  return rates;
}

/// Decodes under a budget, once to warm up and once for the figures.
llvm::Error TierBench::measure(const char *share, uint64_t budget) {
  Decoder decoder(options, device.get(), package.get());
  if (llvm::Error error = decoder.open(arena(budget)))
    return error;
  auto opened = decoder.usage();
  if (!opened)
    return opened.takeError();
  auto first = decoder.decode(options.seed);
  if (!first)
    return first.takeError();
  auto before = decoder.usage();
  if (!before)
    return before.takeError();
  const bool reads = before->read != opened->read;
  auto ratesBefore = ratesOf(decoder, reads);
  if (!ratesBefore)
    return ratesBefore.takeError();
  auto seconds = decoder.decode(options.seed + 1);
  if (!seconds)
    return seconds.takeError();
  auto ratesAfter = ratesOf(decoder, reads);
  if (!ratesAfter)
    return ratesAfter.takeError();
  // Whatever else ran beside a probe only took from the memory.
  Rates rates = {std::max(ratesBefore->memory, ratesAfter->memory),
                 (ratesBefore->disk + ratesAfter->disk) / 2};
  auto after = decoder.usage();
  if (!after)
    return after.takeError();
  auto level = decoder.level(fastLevel);
  if (!level)
    return level.takeError();
  if (decoder.digest != digest)
    return llvm::createStringError("%s: with %" PRIu64
                                   " bytes of fast memory the logits differ",
                                   options.package.c_str(), budget);
  Usage moved = *after - *before;
  const double link = moved.copied > moved.read ? rates.memory / 2 : rates.disk;
  const double reached =
      moved.busyNs ? double(moved.bytes()) / double(moved.busyNs) * 1e9 : 0;
  // A link that was seen to give more can give more.
  if (moved.copied == 0)
    rates.disk = std::max(rates.disk, reached);
  if (compute == 0) {
    compute = *seconds;
    computeMemory = rates.memory;
  }
  // Where a processor copies, the memory sets the pace of kernels, too, and a
  // shared host's changes from run to run.
  const double kernels =
      rates.memory > 0 ? compute * computeMemory / rates.memory : compute;

  // What no schedule can do without: the best replacement's misses, and what
  // streams.
  uint64_t bestMisses = 0, references = 0, bestBytes = moved.bytes();
  for (const Pool &pool : decoder.pools)
    if (pool.isCache) {
      const auto &all = routing.references[pool.name];
      size_t from = routing.second[pool.name];
      uint64_t misses = optimalMisses(all, pool.slots, from);
      bestMisses += misses;
      references += all.size() - from;
      uint64_t mine = moved.misses + moved.prefetches;
      bestBytes -=
          std::min(bestBytes, (mine - std::min(mine, misses)) * pool.slotBytes);
    }
  double tokens = double(options.decodeTokens);
  // The same from each level in their place.
  const double needed =
      moved.bytes() ? double(bestBytes) / double(moved.bytes()) : 0;
  // Transfers go on beside the kernels, or, where the processor copies, on the
  // memory that they read.
  auto allowed = [&](double share) {
    return std::max(kernels + rates.copying(share * double(moved.copied)),
                    rates.reading(share * double(moved.read)));
  };
  const double bound = allowed(needed), own = allowed(1);
  printf("%5s %12" PRIu64 " %9.3f %9.3f", share, budget,
         *seconds / tokens * 1e3, double(moved.bytes()) / tokens * 1e-6);
  if (references)
    printf(" %6.1f %6.1f", 100.0 * double(moved.hits) / double(references),
           100.0 - 100.0 * double(bestMisses) / double(references));
  else
    printf(" %6s %6s", "-", "-");
  printf(" %8.2f %8.2f %9.3f %6.2f %9.3f %6.2f %8.3f\n", reached * 1e-9,
         link * 1e-9, bound / tokens * 1e3, *seconds / bound,
         own / tokens * 1e3, *seconds / own,
         double(level->peak_bytes) / double(level->certified_bytes));
  if (!strcmp(share, "50%")) {
    halfSeconds = *seconds;
    halfBytes = budget;
  }
  return llvm::Error::success();
}

llvm::Error TierBench::compareWithMapped() {
  if (!child || !halfBytes)
    return llvm::Error::success();
  auto mapped = child->run(halfBytes + kProcessBytes);
  if (!mapped) {
    printf("plain mmap: not measured: %s\n",
           llvm::toString(mapped.takeError()).c_str());
    return llvm::Error::success();
  }
  printf("plain mmap in a control group of the 50%% budget and %" PRIu64
         " MiB: %.3f ms a token, %.2f times as long\n",
         kProcessBytes >> 20, *mapped / double(options.decodeTokens) * 1e3,
         *mapped / halfSeconds);
  return llvm::Error::success();
}

llvm::Error TierBench::run() {
  // Before there are threads.
  if (options.againstMmap) {
    auto made = MappedChild::fork(
        options.package, [&] { return decodeMapped(options, nullptr); });
    if (!made)
      return made.takeError();
    child = std::move(*made);
  }
  if (llvm::Error error = openAll(options, instance, device, package))
    return error;
  if (llvm::Error error = learn())
    return error;
  printf("%s: %" PRIu64
         " tokens drawn after %zu, %u threads, weights from %s\n",
         options.package.c_str(), uint64_t(options.decodeTokens),
         options.prompt.size(), headrace_device_thread_count(device.get()),
         from.c_str());
  printf("share        bytes  ms/token  MB/token  hits%%  best%%     GB/s "
         "    link  bound ms  ratio  moved ms  ratio  peak/certified\n");
  const std::pair<const char *, uint64_t> budgets[] = {
      {"100%", whole},
      {"50%", std::max(least, whole / 2)},
      {"25%", std::max(least, whole / 4)},
      {"least", least}};
  for (auto [share, budget] : budgets)
    if (llvm::Error error = measure(share, budget))
      return error;
  return compareWithMapped();
}

} // namespace

llvm::Error bench::benchTiers(const TierBenchOptions &options) {
  return TierBench(options).run();
}
