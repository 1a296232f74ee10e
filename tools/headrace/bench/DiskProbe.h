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
  double readBytesPerSecond = 0;  ///< Large blocks, several at a time.
  double writeBytesPerSecond = 0; ///< Large blocks, one at a time.
  double latencyNs = 0;           ///< One page at a time, at random.
  /// What one request of a megabyte gets besides that latency.
  double requestBytesPerSecond = 0;
  uint64_t capacity = 0;    ///< Bytes of the file system.
  uint64_t probedBytes = 0; ///< Of the file that was read.
};

/// Writes `bytes` to a file without a name in `directory` and reads them back
/// several times; 0: 4 GiB, or a quarter of what is free, or what can be
/// written in 15 seconds, if that is less. Fails where the file system keeps
/// everything in memory or has no room.
llvm::Expected<DiskReading> probeDisk(const std::string &directory,
                                      uint64_t bytes);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_DISKPROBE_H
