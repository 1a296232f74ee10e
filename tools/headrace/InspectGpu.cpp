// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The code of a package for GPUs, for people.
#include "tools/headrace/InspectGpu.h"

#include "runtime/abi/kernel_abi.h"
#include "tools/headrace/Table.h"
#include "tools/package-reader/PackageReader.h"

#include <map>
#include <set>

using namespace headrace;
using namespace headrace::tools;

static std::string number(uint64_t value) { return std::to_string(value); }

std::string tools::gridFormula(uint32_t kind, uint64_t base, uint64_t block,
                               uint64_t limit) {
  auto times = [&](const std::string &what) {
    return base == 1 ? what : number(base) + " * " + what;
  };
  switch (kind) {
  case HEADRACE_GRID_FIXED:
    return number(base);
  case HEADRACE_GRID_PER_TOKEN:
    return times("tokens");
  case HEADRACE_GRID_PER_SEQUENCE:
    return times("sequences");
  case HEADRACE_GRID_PER_OUTPUT:
    return times("outputs");
  case HEADRACE_GRID_PER_TOKEN_BLOCK:
    return times("ceil(tokens / " + number(block) + ")");
  case HEADRACE_GRID_PER_ROUTED:
    return times("min(" + number(limit) + ", " + number(block) + " * tokens)");
  }
  return "unknown";
}

namespace {

/// How the steps of one code section launch one kernel.
struct Use {
  uint64_t launches = 0;
  std::set<std::string> grids;
};

class CodePrinter {
public:
  explicit CodePrinter(const abi::Manifest &manifest) : manifest(manifest) {}

  void print() {
    sections();
    steps();
    kernels();
  }

private:
  std::string section(uint32_t index) const {
    const abi::Code &code = *manifest.code()->Get(index);
    return code.cpu()->str() + " " + abi::EnumNameCodeFormat(code.format());
  }

  void sections() const {
    Table table("code", {"section", "kernel ABI", "bytes"});
    for (uint32_t i = 0; i < manifest.code()->size(); ++i) {
      const abi::Code &code = *manifest.code()->Get(i);
      table.add({section(i), number(code.kernel_abi_version()),
                 number(code.bytes())});
    }
    table.print();
  }

  /// A step takes the first class of its section that admits it.
  void steps() {
    Table table("steps", {"entry", "section", "tokens", "sequences", "outputs",
                          "launches", "of a library"});
    for (const abi::Entry *entry : *manifest.entries()) {
      if (!entry->classes())
        continue;
      for (const abi::StepClass *one : *entry->classes()) {
        uint64_t library = 0;
        for (const abi::Launch *launch : *one->launches()) {
          if (launch->kind() == abi::LaunchKind::matmul) {
            ++library;
            continue;
          }
          Use &use = uses[{launch->kernel(), one->code()}];
          ++use.launches;
          use.grids.insert(
              gridFormula(uint32_t(launch->grid_kind()), launch->grid_base(),
                          launch->grid_block(), launch->grid_limit()));
        }
        table.add({entry->name()->str(), section(one->code()),
                   "up to " + number(one->max_tokens()),
                   "up to " + number(one->max_sequences()),
                   "up to " + number(one->max_outputs()),
                   number(one->launches()->size()), number(library)});
      }
    }
    table.print();
  }

  void kernels() const {
    Table table("kernels", {"name", "family", "section", "launches", "threads",
                            "registers", "local", "shared", "blocks"});
    for (uint32_t i = 0; i < manifest.kernels()->size(); ++i) {
      const abi::Kernel &kernel = *manifest.kernels()->Get(i);
      if (!kernel.resources())
        continue;
      for (const abi::KernelResources *needs : *kernel.resources()) {
        auto found = uses.find({i, needs->code()});
        std::string blocks;
        if (found != uses.end())
          for (const std::string &formula : found->second.grids)
            blocks += (blocks.empty() ? "" : "; ") + formula;
        // What a driver makes of text is its own.
        bool known = needs->registers() != 0;
        table.add(
            {kernel.name()->str(), kernel.family()->str(),
             section(needs->code()),
             number(found == uses.end() ? 0 : found->second.launches),
             number(needs->threads()), known ? number(needs->registers()) : "-",
             known ? number(needs->local_bytes()) : "-",
             number(needs->shared_bytes()), blocks.empty() ? "-" : blocks});
      }
    }
    table.print();
  }

  const abi::Manifest &manifest;
  std::map<std::pair<uint32_t, uint32_t>, Use> uses; ///< By kernel and section.
};

} // namespace

llvm::Error tools::inspectGpuCode(const std::string &package) {
  plancheck::PackageReader reader;
  std::string error;
  if (!reader.open(package, &error))
    return llvm::createStringError(error);
  CodePrinter(reader.manifest()).print();
  return llvm::Error::success();
}
