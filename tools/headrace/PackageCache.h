// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packages that `headrace run` compiled, kept for its next run.
#ifndef HEADRACE_TOOLS_HEADRACE_PACKAGECACHE_H
#define HEADRACE_TOOLS_HEADRACE_PACKAGECACHE_H

#include "tools/headrace/Compile.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace headrace::tools {

/// A directory of packages, each named by the model and a digest of all that
/// decides about its bytes. Several processes may use one at once: a package
/// appears whole, and one that is removed while it is open stays readable.
class PackageCache {
public:
  /// `limit`: bytes that all packages together may take.
  PackageCache(std::string directory, uint64_t limit)
      : directory(std::move(directory)), limit(limit) {}

  /// `headrace` in the user's cache directory, or empty where there is none.
  static std::string defaultDirectory();

  struct Entry {
    std::string path;
    bool compiled = false; ///< By this call.
  };

  /// The package of `request`, whose `checkpoint` is set and whose `output` is
  /// not. It is compiled where it is missing, or where `again` says that what
  /// is there is of no use. It may be larger than the limit until `trim`, which
  /// the caller owes once the package is open.
  llvm::Expected<Entry> get(CompileRequest request, bool again = false);

  /// Removes packages until the rest and `reserve` bytes keep to the limit,
  /// those that were not used for the longest time first, `last` after all
  /// others. Errors are ignored: another process may be doing the same.
  void trim(const std::string &last, uint64_t reserve = 0) const;

private:
  std::string directory;
  uint64_t limit;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_PACKAGECACHE_H
