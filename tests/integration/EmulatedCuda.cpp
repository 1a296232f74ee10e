// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Makes the fake libcuda one that computes, for programs that are not tests: it
// runs the kernels of the packages of a bundle from the dumps that
// `tools/gpu-bundle --keep-dumps` left, thread by thread.
//
// HEADRACE_TEST_SUITE names the bundle's folder `suite`, HEADRACE_TEST_DUMPS
// the dumps. Kernels of different packages share their names; whose they are is
// told by the code that was loaded, which lies in the package's file.
#include "tests/integration/EmulatedMachine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace headrace;
using namespace headrace::testing;
using namespace headrace::tests;

namespace {

class Bundle {
public:
  int run(const fake_cuda::Launch &launch) {
    // A module may take the place of one that was unloaded.
    std::string name = packageOf(*launch.image);
    std::unique_ptr<EmulatedMachine> &machine = machines[name];
    if (!machine) {
      machine = std::make_unique<EmulatedMachine>();
      if (llvm::Error error =
              machine->open(std::string(std::getenv("HEADRACE_TEST_DUMPS")) +
                            "/" + name + "/4-kernels.mlir"))
        return fail(llvm::toString(std::move(error)));
    }
    int result = machine->run(launch);
    return result ? fail(machine->failure()) : result;
  }

private:
  static int fail(const std::string &what) {
    std::fprintf(stderr, "emulated GPU: %s\n", what.c_str());
    return EmulatedMachine::kLaunchFailed;
  }
  std::string packageOf(const std::string &image) {
    auto known = names.find(image);
    if (known != names.end())
      return known->second;
    std::error_code error;
    for (llvm::sys::fs::directory_iterator
             at(std::getenv("HEADRACE_TEST_SUITE"), error),
         end;
         !error && at != end; at.increment(error)) {
      if (!llvm::StringRef(at->path()).ends_with(".headrace"))
        continue;
      auto file = llvm::MemoryBuffer::getFile(at->path());
      if (file && (*file)->getBuffer().contains(image))
        return names[image] = llvm::sys::path::stem(at->path()).str();
    }
    return names[image] = "of no package";
  }

  std::map<std::string, std::string> names; ///< Of packages, by code.
  std::map<std::string, std::unique_ptr<EmulatedMachine>> machines;
};

[[gnu::constructor]] void setUp() {
  if (!std::getenv("HEADRACE_TEST_SUITE") ||
      !std::getenv("HEADRACE_TEST_DUMPS"))
    return;
  fake_cuda::SetMachine(
      [bundle = std::make_shared<Bundle>()](const fake_cuda::Launch &launch) {
        return bundle->run(launch);
      });
}

} // namespace
