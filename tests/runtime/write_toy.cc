// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a toy package to the path given, for tests of programs. A second
// argument asks for another kind; all but the first are seeds of the fuzz
// targets (tests/fuzz/seeds/package).
#include "tests/runtime/toy_gpu_package.h"
#include "tests/runtime/toy_package.h"

#include <cstdio>
#include <cstring>

using namespace headrace::tests;

namespace {

struct Kind {
  const char *flag;
  std::vector<uint8_t> (*make)();
};

constexpr Kind kKinds[] = {
    {"--small", SmallToyFile},
    {"--planned", [] { return ToyFile(*PlannedToyManifest()); }},
    // Its key-value pages move.
    {"--paged", [] { return ToyFile(*PagedToyManifest()); }},
    // Its weights have homes in memory.
    {"--housed", [] { return ToyFile(*HousedToyManifest()); }},
    {"--gpu", ToyGpuFile},
    {"--planned-gpu", [] { return PlannedToyGpuFile(); }},
    // Its key-value pages leave the device.
    {"--paged-gpu", PagedToyGpuFile},
};

std::vector<uint8_t> Make(const char *flag) {
  if (!flag)
    return ToyFile();
  for (const Kind &kind : kKinds)
    if (std::strcmp(kind.flag, flag) == 0)
      return kind.make();
  return {};
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2 && argc != 3)
    return 2;
  const std::vector<uint8_t> bytes = Make(argc == 3 ? argv[2] : nullptr);
  if (bytes.empty())
    return 2;
  std::FILE *file = std::fopen(argv[1], "wb");
  if (!file)
    return 1;
  bool written =
      std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && written ? 0 : 1;
}
