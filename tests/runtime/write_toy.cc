// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes the toy package to the path given, for tests of programs. With
// --small, the smaller one, with --planned, the one with a plan, with --paged,
// the one whose key-value pages move: seeds of the fuzz target.
#include "tests/runtime/toy_package.h"

#include <cstdio>
#include <cstring>

int main(int argc, char **argv) {
  const bool small = argc == 3 && std::strcmp(argv[2], "--small") == 0;
  const bool planned = argc == 3 && std::strcmp(argv[2], "--planned") == 0;
  const bool paged = argc == 3 && std::strcmp(argv[2], "--paged") == 0;
  if (argc != 2 && !small && !planned && !paged)
    return 2;
  using namespace headrace::tests;
  const std::vector<uint8_t> bytes = planned ? ToyFile(*PlannedToyManifest())
                                     : paged ? ToyFile(*PagedToyManifest())
                                     : small ? SmallToyFile()
                                             : ToyFile();
  std::FILE *file = std::fopen(argv[1], "wb");
  if (!file)
    return 1;
  bool written =
      std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && written ? 0 : 1;
}
