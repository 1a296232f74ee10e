// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A directory for large files that must not outlive the command.
#ifndef HEADRACE_TOOLS_HEADRACE_BENCH_TEMPDIRECTORY_H
#define HEADRACE_TOOLS_HEADRACE_BENCH_TEMPDIRECTORY_H

#include "llvm/Support/Error.h"
#include <cstdint>
#include <memory>
#include <string>

namespace headrace::tools::bench {

/// Removed with its files at the end of its life, and when the process is
/// interrupted, terminated or loses its terminal. At most one at a time.
class TempDirectory {
public:
  /// Makes one where temporary files go, if `bytes` are free there.
  static llvm::Expected<std::unique_ptr<TempDirectory>> create(uint64_t bytes);
  ~TempDirectory() { remove(); }

  const std::string &path() const { return directory; }
  /// The path of a file that may be made in it.
  std::string file(const std::string &name);
  /// Files that are open or mapped stay usable.
  void remove();

private:
  explicit TempDirectory(std::string directory)
      : directory(std::move(directory)) {}
  std::string directory;
};

/// Writes the dirty pages of a file now, and not while something is timed.
void flushFile(const std::string &path);

} // namespace headrace::tools::bench

#endif // HEADRACE_TOOLS_HEADRACE_BENCH_TEMPDIRECTORY_H
