// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tables on standard output.
#include "tools/headrace/Table.h"

#include <algorithm>
#include <cstdio>

using namespace headrace::tools;

void Table::print() const {
  printf("\n%s (%zu)\n", title.c_str(), rows.size() - 1);
  if (rows.size() == 1)
    return;
  std::vector<size_t> widths(rows[0].size());
  for (const auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  for (const auto &row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      // Numbers have their last digits below each other.
      bool number = !row[i].empty() && &row != &rows[0] &&
                    row[i].find_first_not_of("0123456789") == std::string::npos;
      std::string space(widths[i] - row[i].size(), ' ');
      line += "  " + (number ? space + row[i] : row[i] + space);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    printf("%s\n", line.c_str());
  }
}
