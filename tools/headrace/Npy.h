// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes NumPy's file format.
#ifndef HEADRACE_TOOLS_HEADRACE_NPY_H
#define HEADRACE_TOOLS_HEADRACE_NPY_H

#include "compiler/support/OutputFile.h"
#include <memory>

namespace headrace::tools {

/// A float32 array [rows, columns] that grows row by row. Without `keep`
/// nothing is left of it.
class NpyWriter {
public:
  static llvm::Expected<std::unique_ptr<NpyWriter>>
  create(const std::string &path);

  /// Appends `count` rows that lie one behind the other; all have the same
  /// number of columns.
  llvm::Error append(const float *values, int64_t count, int64_t width);

  /// Ends the array and gives it its name.
  llvm::Error keep();

private:
  std::string header() const;

  OutputFile file;
  int64_t rows = 0, columns = 0;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_NPY_H
