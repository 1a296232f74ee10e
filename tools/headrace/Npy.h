// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes NumPy's file format.
#ifndef HEADRACE_TOOLS_HEADRACE_NPY_H
#define HEADRACE_TOOLS_HEADRACE_NPY_H

#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace headrace::tools {

/// A float32 array [rows, columns] that grows row by row under a temporary
/// name. Without `keep` nothing is left of it.
class NpyWriter {
public:
  static llvm::Expected<std::unique_ptr<NpyWriter>>
  create(const std::string &path);
  ~NpyWriter();

  /// Appends `count` rows that lie one behind the other; all have the same
  /// number of columns.
  llvm::Error append(const float *values, int64_t count, int64_t width);

  /// Ends the array and gives it its name.
  llvm::Error keep();

private:
  NpyWriter(const std::string &path, llvm::sys::fs::TempFile file);
  std::string header() const;
  llvm::Error failed(const std::string &why) const;

  std::string path;
  int64_t rows = 0, columns = 0;
  llvm::sys::fs::TempFile file;
  std::optional<llvm::raw_fd_ostream> stream;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_NPY_H
