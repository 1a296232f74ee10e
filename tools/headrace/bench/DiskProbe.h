// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How fast a disk is read past the page cache.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_DISKPROBE_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_DISKPROBE_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace headrace::tools::bench {

/// Requests in flight while bandwidth is measured.
constexpr unsigned kDiskReaders = 4;

struct DiskReading {
  double readBytesPerSecond = 0;  ///< Blocks, several at a time.
  double writeBytesPerSecond = 0; ///< Large blocks, one at a time.
  double latencyNs = 0;           ///< One page at a time, at random.
  /// What one block, or of blocks of 4 MiB a megabyte, gets at a time, besides
  /// that latency.
  double requestBytesPerSecond = 0;
  uint64_t capacity = 0;    ///< Bytes of the file system.
  uint64_t probedBytes = 0; ///< Of the file that was read.
  uint64_t blockBytes = 0;  ///< Of a block.
};

/// What is to be measured.
///
/// A disk behind a host that caches gives a file that was just written, or a
/// small one, faster than others: what a package will get, its own file says.
/// And a disk gives much less in small blocks.
struct DiskProbe {
  std::string directory; ///< On the disk.
  /// Of the file without a name that is written there; 0: 4 GiB (256 MiB if it
  /// is not read), or a quarter of what is free, or what can be written in 15
  /// seconds, if that is less.
  uint64_t bytes = 0;
  std::string readFile; ///< Of at least 64 KiB; empty: what was written.
  /// Of a block, a multiple of 4096, 4 MiB at most; 0: 4 MiB, or a quarter of
  /// the file.
  uint64_t request = 0;
};

/// Fails where the file system keeps everything in memory or has no room, and
/// where the file to read is too short.
llvm::Expected<DiskReading> probeDisk(const DiskProbe &what);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_DISKPROBE_H
