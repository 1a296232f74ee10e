// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tables on standard output.
#ifndef HEADRACE_TOOLS_HEADRACE_TABLE_H
#define HEADRACE_TOOLS_HEADRACE_TABLE_H

#include <string>
#include <vector>

namespace headrace::tools {

/// Rows of cells, printed in columns as wide as they need to be.
class Table {
public:
  Table(std::string title, std::vector<std::string> head)
      : title(std::move(title)) {
    rows.push_back(std::move(head));
  }
  void add(std::vector<std::string> cells) { rows.push_back(std::move(cells)); }
  /// Behind an empty line: the title with the number of rows, the rows.
  void print() const;

private:
  std::string title;
  std::vector<std::vector<std::string>> rows;
};

} // namespace headrace::tools

#endif // HEADRACE_TOOLS_HEADRACE_TABLE_H
