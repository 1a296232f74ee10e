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
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace headrace::tools::bench;

namespace {

/// Large enough that a request's fixed cost does not count.
constexpr size_t kBlock = size_t(4) << 20;
/// Of a file that shows anything.
constexpr uint64_t kFewestBytes = uint64_t(64) << 10;
constexpr size_t kPage = 4096;
constexpr int kPasses = 5;
/// Of one pass at least, however small the file.
constexpr uint64_t kPassBytes = uint64_t(64) << 20;
/// A host keeps a smaller file in memory of its own and gives it back faster
/// than any disk.
constexpr uint64_t kAutomaticBytes = uint64_t(4) << 30;
/// Of the free space, at most, when nobody says how much.
constexpr uint64_t kFreeShare = 4;
/// Seconds of writing, and of reading, after which a slow disk has shown
/// enough.
constexpr double kLongest = 15;
/// Of a file that only shows how fast the disk is written.
constexpr uint64_t kWrittenBytes = uint64_t(256) << 20;
constexpr int kLatencyReads = 200, kRequestReads = 50;
/// Of a request, as large as those that transfers are cut into.
constexpr size_t kRequest = size_t(1) << 20;

llvm::Error failed(const std::string &path, const char *what, int error) {
  return llvm::createStringError(path + ": " + what + ": " + strerror(error));
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

/// Numbers that no disk can shorten.
class Noise {
public:
  uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  }

  void fill(uint8_t *memory, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 8) {
      const uint64_t one = next();
      memcpy(memory + at, &one, 8);
    }
  }

private:
  uint64_t state = 0x9e3779b97f4a7c15;
};

double median(std::vector<double> &values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2,
                   values.end());
  return values[values.size() / 2];
}

/// Writes `blocks` blocks, fewer if `automatic` and it takes too long.
/// Seconds of writing; `blocks` becomes what was written.
llvm::Expected<double> writeAll(const std::string &directory, int file,
                                uint64_t &blocks, bool automatic,
                                uint8_t *memory) {
  Noise noise;
  const double since = now();
  double seconds = 0;
  for (uint64_t block = 0; block < blocks; ++block) {
    if (automatic && block >= kDiskReaders && now() - since > kLongest) {
      blocks = block;
      break;
    }
    noise.fill(memory, kBlock);
    const double begin = now();
    ssize_t put = pwrite(file, memory, kBlock, off_t(block * kBlock));
    seconds += now() - begin;
    if (put != ssize_t(kBlock))
      return failed(directory, "cannot be written past the page cache",
                    put < 0 ? errno : ENOSPC);
  }
  if (fsync(file) != 0)
    return failed(directory, "cannot be written", errno);
  return seconds;
}

/// The first `bytes` of the file in blocks, as often as `passes` says, by all
/// readers at once; 0 or an errno.
int readAll(int file, uint64_t bytes, size_t block, uint64_t passes,
            uint8_t *memory) {
  const uint64_t blocks = bytes / block;
  std::atomic<uint64_t> next{0};
  std::atomic<int> error{0};
  std::vector<std::thread> readers;
  for (unsigned i = 0; i < kDiskReaders; ++i)
    readers.emplace_back([&, i] {
      for (uint64_t one; (one = next.fetch_add(1)) < blocks * passes;) {
        ssize_t got = pread(file, memory + i * kBlock, block,
                            off_t(one % blocks * block));
        if (got != ssize_t(block))
          error.store(got < 0 ? errno : EIO);
      }
    });
  for (std::thread &reader : readers)
    reader.join();
  return error.load();
}

/// Measures how the first `bytes` of the file are read, into `reading`;
/// `wanted` bytes at a time, or as large transfers are if that is 0.
llvm::Error readBack(const std::string &path, int file, uint64_t bytes,
                     uint64_t wanted, bool automatic, uint8_t *memory,
                     DiskReading &reading) {
  const uint64_t share = bytes / kDiskReaders / kPage * kPage;
  const size_t block =
      std::min({uint64_t(kBlock), share, wanted ? wanted : kBlock});
  const size_t request = std::min<uint64_t>(wanted ? wanted : kRequest, block);
  const uint64_t passBytes = bytes / block * block;
  const uint64_t repeats = std::max<uint64_t>(1, kPassBytes / passBytes);
  std::vector<double> rates, latencies, requests;
  const double since = now();
  for (int pass = 0; pass < kPasses; ++pass) {
    if (automatic && pass > 0 && now() - since > kLongest)
      break;
    const double begin = now();
    if (int error = readAll(file, bytes, block, repeats, memory))
      return failed(path, "cannot be read past the page cache", error);
    rates.push_back(double(passBytes * repeats) / (now() - begin));
  }
  // Single requests, here and there.
  Noise noise;
  auto readMany = [&](size_t size, int count,
                      std::vector<double> &seconds) -> llvm::Error {
    for (int i = 0; i < count; ++i) {
      const uint64_t at = noise.next() % (bytes / size);
      const double begin = now();
      if (pread(file, memory, size, off_t(at * size)) != ssize_t(size))
        return failed(path, "cannot be read past the page cache", errno);
      seconds.push_back(now() - begin);
    }
    return llvm::Error::success();
  };
  if (auto error = readMany(kPage, kLatencyReads, latencies))
    return error;
  if (auto error = readMany(request, kRequestReads, requests))
    return error;
  const double latency = median(latencies);
  reading.probedBytes = bytes;
  reading.blockBytes = block;
  reading.readBytesPerSecond = median(rates);
  reading.latencyNs = latency * 1e9;
  reading.requestBytesPerSecond =
      double(request) / std::max(median(requests) - latency, 1e-9);
  return llvm::Error::success();
}

} // namespace

llvm::Expected<DiskReading>
headrace::tools::bench::probeDisk(const DiskProbe &what) {
  DiskReading reading;
  const std::string &directory = what.directory, &readFile = what.readFile;
  uint64_t bytes = what.bytes;
  struct statvfs space;
  if (statvfs(directory.c_str(), &space) != 0)
    return failed(directory, "cannot be asked for its space", errno);
  reading.capacity = uint64_t(space.f_blocks) * space.f_frsize;
  uint64_t room = uint64_t(space.f_bavail) * space.f_frsize;
  const bool automatic = bytes == 0;
  if (automatic)
    bytes = std::min(readFile.empty() ? kAutomaticBytes : kWrittenBytes,
                     room / kFreeShare);
  uint64_t blocks = std::max<uint64_t>(bytes / kBlock, kDiskReaders);
  if (room < blocks * kBlock)
    return llvm::createStringError(
        "%s: measuring the disk needs %llu bytes, but %llu are free",
        directory.c_str(), (unsigned long long)(blocks * kBlock),
        (unsigned long long)room);
  auto mapped = HugeMemory::make(kDiskReaders * kBlock);
  if (!mapped)
    return mapped.takeError();

  int written = openNameless(directory);
  if (written < 0)
    return failed(directory, "no file can be made", errno);
  llvm::scope_exit closeWritten([&] { close(written); });
  if (fcntl(written, F_SETFL, O_DIRECT) != 0)
    return failed(directory, "cannot be read past the page cache", errno);
  auto seconds =
      writeAll(directory, written, blocks, automatic, mapped->data());
  if (!seconds)
    return seconds.takeError();
  reading.writeBytesPerSecond =
      double(blocks * kBlock) / std::max(*seconds, 1e-9);
  if (readFile.empty()) {
    if (auto error = readBack(directory, written, blocks * kBlock, what.request,
                              automatic, mapped->data(), reading))
      return std::move(error);
    return reading;
  }

  int file = open(readFile.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (file < 0)
    return failed(readFile, "cannot be read past the page cache", errno);
  llvm::scope_exit closeFile([&] { close(file); });
  struct stat status;
  if (fstat(file, &status) != 0)
    return failed(readFile, "cannot be asked for its size", errno);
  if (!S_ISREG(status.st_mode) || uint64_t(status.st_size) < kFewestBytes)
    return llvm::createStringError(
        "%s: expected a file of at least %llu bytes to measure how it is read",
        readFile.c_str(), (unsigned long long)kFewestBytes);
  if (auto error = readBack(readFile, file, uint64_t(status.st_size),
                            what.request, automatic, mapped->data(), reading))
    return std::move(error);
  return reading;
}
