// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files that are there whole or not at all.
#ifndef HEADRACE_COMPILER_SUPPORT_OUTPUTFILE_H
#define HEADRACE_COMPILER_SUPPORT_OUTPUTFILE_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace llvm {
class raw_ostream;
}

namespace headrace {

/// A regular file that gets its name, and replaces what had it, when it is
/// whole. Until then it has no name where the file system can do that, so that
/// nothing is left of it however the process ends. Elsewhere it is called
/// `PATH.part-XXXXXXXX`; what a killed writer leaves under such a name, the
/// next writer of PATH removes.
///
/// Every error is one sentence that begins with the path. One thread at a time.
class OutputFile {
public:
  OutputFile() = default;
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;
  /// Drops the file, unless it was finished.
  ~OutputFile();

  /// Begins the file that will be at `path`. `named` asks for a temporary name
  /// even where the file system could do without.
  llvm::Error create(llvm::StringRef path, bool named = false);

  /// An error that says so if fewer than `bytes` are free where the file is.
  llvm::Error checkSpace(uint64_t bytes) const;

  llvm::Error write(const char *data, uint64_t bytes, uint64_t offset);

  /// Forgets what was written from `bytes` on, or fills up to there with zeros.
  llvm::Error truncate(uint64_t bytes);

  /// Gives the file its name.
  llvm::Error finish();

  /// Removes what killed writers of `path` left; living ones go on.
  static void removeAbandoned(llvm::StringRef path);

private:
  friend llvm::Error writeText(llvm::StringRef,
                               llvm::function_ref<void(llvm::raw_ostream &)>);
  bool openUnnamed();
  llvm::Error openNamed();
  llvm::Error link();
  llvm::Error failed(const char *what, int code) const;

  std::string shown;     ///< The path as it was given.
  std::string path;      ///< Behind symbolic links.
  std::string temporary; ///< Empty while the file has no name.
  int descriptor = -1;
};

/// A directory that gets its name when all of its files are written. Until then
/// it is called `PATH.part-XXXXXXXX`, and what a killed writer leaves is
/// removed as that of an OutputFile.
class OutputDirectory {
public:
  OutputDirectory() = default;
  OutputDirectory(const OutputDirectory &) = delete;
  OutputDirectory &operator=(const OutputDirectory &) = delete;
  /// Removes it, unless it was finished.
  ~OutputDirectory();

  /// Begins the directory that will be at `path`.
  llvm::Error create(llvm::StringRef path);
  /// Where its files are written.
  llvm::StringRef temporaryPath() const { return temporary; }
  /// Gives the directory its name, which an empty one may have had.
  llvm::Error finish();

private:
  std::string path, temporary;
  int descriptor = -1;
};

/// Writes what `body` prints to `path`: to standard output for "-", into it if
/// it is a device or a pipe, and to an OutputFile else.
llvm::Error writeText(llvm::StringRef path,
                      llvm::function_ref<void(llvm::raw_ostream &)> body);

} // namespace headrace

#endif // HEADRACE_COMPILER_SUPPORT_OUTPUTFILE_H
