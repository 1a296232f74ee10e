// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A run with plain mapped weights in a process of little memory.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_MAPPEDCHILD_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_MAPPEDCHILD_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>

namespace headrace::tools::bench {

/// A process that waits to be told how much memory it may have. Made before
/// this one has threads, since a fork keeps only one.
class MappedChild {
public:
  /// `measure` runs in the child, after the package's pages have left the page
  /// cache, and returns seconds.
  static llvm::Expected<std::unique_ptr<MappedChild>>
  fork(const std::string &package,
       std::function<llvm::Expected<double>()> measure);
  ~MappedChild();

  /// Bounds the child's memory, page cache included, by a control group, and
  /// returns what it measured. Fails where this process may not make groups.
  llvm::Expected<double> run(uint64_t bytes);

private:
  MappedChild() = default;
  pid_t pid = -1;
  int toChild = -1, fromChild = -1;
  std::string group; ///< Its directory; empty: none made.
};

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_MAPPEDCHILD_H
