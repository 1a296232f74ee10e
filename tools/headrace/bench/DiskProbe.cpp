// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How fast a disk is read past the page cache.
#include "tools/headrace/bench/DiskProbe.h"

#include "tools/headrace/bench/HugeMemory.h"
#include "tools/headrace/bench/MachineProbe.h"
#include "llvm/ADT/ScopeExit.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace headrace::tools::bench;

namespace {

/// Large enough that a request's fixed cost does not count.
constexpr size_t kBlock = size_t(4) << 20;
constexpr size_t kPage = 4096;
constexpr int kPasses = 5;
/// A host keeps a smaller file in memory of its own and gives it back faster
/// than any disk.
constexpr uint64_t kAutomaticBytes = uint64_t(4) << 30;
/// Of the free space, at most, when nobody says how much.
constexpr uint64_t kFreeShare = 4;
/// Seconds of writing, and of reading, after which a slow disk has shown
/// enough.
constexpr double kLongest = 15;
constexpr int kLatencyReads = 200, kRequestReads = 50;
/// Of a request, as large as those that transfers are cut into.
constexpr size_t kRequest = size_t(1) << 20;

llvm::Error failed(const std::string &directory, const char *what, int error) {
  return llvm::createStringError(directory + ": " + what + ": " +
                                 strerror(error));
}

/// A file that is gone when its descriptor is closed.
int openNameless(const std::string &directory) {
  int file = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
    return file;
  // A file system without such files.
  std::string path = directory + "/.headrace-probe-XXXXXX";
  file = mkostemp(path.data(), O_CLOEXEC);
  if (file >= 0)
    unlink(path.c_str());
  return file;
}

/// All blocks of the file by all readers at once; 0 or an errno.
int readAll(int file, uint64_t blocks, uint8_t *memory) {
  std::atomic<uint64_t> next{0};
  std::atomic<int> error{0};
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < kDiskReaders; ++i)
    readers.emplace_back([&, i] {
      for (uint64_t block; (block = next.fetch_add(1)) < blocks;) {
        ssize_t got =
            pread(file, memory + i * kBlock, kBlock, off_t(block * kBlock));
        if (got != ssize_t(kBlock))
          error.store(got < 0 ? errno : EIO);
      }
    });
  for (std::thread &reader : readers)
    reader.join();
  return error.load();
}

} // namespace

llvm::Expected<DiskReading>
headrace::tools::bench::probeDisk(const std::string &directory,
                                  uint64_t bytes) {
  DiskReading reading;
  struct statvfs space;
  if (statvfs(directory.c_str(), &space) != 0)
    return failed(directory, "cannot be asked for its space", errno);
  reading.capacity = uint64_t(space.f_blocks) * space.f_frsize;
  uint64_t room = uint64_t(space.f_bavail) * space.f_frsize;
  const bool automatic = bytes == 0;
  if (automatic)
    bytes = std::min(kAutomaticBytes, room / kFreeShare);
  uint64_t blocks = std::max<uint64_t>(bytes / kBlock, kDiskReaders);
  if (room < blocks * kBlock)
    return llvm::createStringError(
        "%s: measuring the disk needs %llu bytes, but %llu are free",
        directory.c_str(), (unsigned long long)(blocks * kBlock),
        (unsigned long long)room);

  int file = openNameless(directory);
  if (file < 0)
    return failed(directory, "no file can be made", errno);
  llvm::scope_exit closeFile([&] { close(file); });
  if (fcntl(file, F_SETFL, O_DIRECT) != 0)
    return failed(directory, "cannot be read past the page cache", errno);
  auto mapped = HugeMemory::make(kDiskReaders * kBlock);
  if (!mapped)
    return mapped.takeError();
  uint8_t *memory = mapped->data();

  // Numbers that no disk can shorten, other ones in each block.
  uint64_t random = 0x9e3779b97f4a7c15;
  const double writing = now();
  double writingSeconds = 0;
  for (uint64_t block = 0; block < blocks; ++block) {
    if (automatic && block >= kDiskReaders && now() - writing > kLongest) {
      blocks = block;
      break;
    }
    for (size_t at = 0; at < kBlock; at += 8) {
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      memcpy(memory + at, &random, 8);
    }
    const double begin = now();
    ssize_t put = pwrite(file, memory, kBlock, off_t(block * kBlock));
    writingSeconds += now() - begin;
    if (put != ssize_t(kBlock))
      return failed(directory, "cannot be written past the page cache",
                    put < 0 ? errno : ENOSPC);
  }
  if (fsync(file) != 0)
    return failed(directory, "cannot be written", errno);

  reading.probedBytes = blocks * kBlock;
  reading.writeBytesPerSecond =
      double(reading.probedBytes) / std::max(writingSeconds, 1e-9);
  std::vector<double> rates, latencies, requests;
  const double readingSince = now();
  for (int pass = 0; pass < kPasses; ++pass) {
    if (automatic && pass > 0 && now() - readingSince > kLongest)
      break;
    double begin = now();
    if (int error = readAll(file, blocks, memory))
      return failed(directory, "cannot be read", error);
    rates.push_back(double(blocks * kBlock) / (now() - begin));
  }
  // Seconds of one request of `bytes` here and there.
  auto readOne = [&](size_t bytes) -> llvm::Expected<double> {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const uint64_t at = random % (blocks * (kBlock / bytes));
    double begin = now();
    if (pread(file, memory, bytes, off_t(at * bytes)) != ssize_t(bytes))
      return failed(directory, "cannot be read", errno);
    return now() - begin;
  };
  for (int i = 0; i < kLatencyReads; ++i) {
    auto one = readOne(kPage);
    if (!one)
      return one.takeError();
    latencies.push_back(*one * 1e9);
  }
  for (int i = 0; i < kRequestReads; ++i) {
    auto one = readOne(kRequest);
    if (!one)
      return one.takeError();
    requests.push_back(*one);
  }
  auto median = [](std::vector<double> &values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2,
                     values.end());
    return values[values.size() / 2];
  };
  reading.readBytesPerSecond = median(rates);
  reading.latencyNs = median(latencies);
  reading.requestBytesPerSecond =
      double(kRequest) /
      std::max(median(requests) - reading.latencyNs * 1e-9, 1e-9);
  return reading;
}
