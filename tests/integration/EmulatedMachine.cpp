// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs launches of the fake CUDA driver.
#include "tests/integration/EmulatedMachine.h"

#include "dialects/RegisterAll.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Parser/Parser.h"
#include <cstring>

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;

EmulatedMachine::EmulatedMachine() : context(MLIRContext::Threading::DISABLED) {
  DialectRegistry registry;
  registerAllDialects(registry);
  context.appendDialectRegistry(registry);
}

llvm::Error EmulatedMachine::open(const std::string &dump) {
  module = parseSourceFile<ModuleOp>(dump, ParserConfig(&context));
  if (!module)
    return llvm::createStringError(dump + ": is no module");
  return llvm::Error::success();
}

int EmulatedMachine::run(const tests::fake_cuda::Launch &launch) {
  llvm::Error error = tryRun(launch);
  if (!error)
    return kDone;
  wrong = std::string(launch.kernel) + ": " + llvm::toString(std::move(error));
  return kLaunchFailed;
}

llvm::Error EmulatedMachine::tryRun(const tests::fake_cuda::Launch &launch) {
  simt::Launch out;
  out.module = SymbolTable(*module).lookup(launch.kernel);
  if (!out.module)
    return llvm::createStringError("is not in the dump");
  auto number = [&](StringRef name) {
    return uint64_t(out.module->getAttrOfType<IntegerAttr>(name).getInt());
  };
  out.blocks = launch.blocks;
  out.threads = launch.threads;
  out.sharedBytes = launch.shared_bytes;
  if (out.threads != number("headrace.threads") ||
      out.sharedBytes != number("headrace.shared"))
    return llvm::createStringError("has other threads or shared memory than "
                                   "it was compiled for");
  // The parameters lie as gpu_kernel_abi.h says.
  auto function =
      *cast<gpu::GPUModuleOp>(out.module).getOps<gpu::GPUFuncOp>().begin();
  size_t at = 0;
  for (Type type : function.getArgumentTypes()) {
    size_t bytes = type.isInteger(32) ? 4 : 8;
    uint64_t value = 0;
    if (at + bytes > launch.parameter_bytes)
      return llvm::createStringError("has too few bytes of parameters");
    std::memcpy(&value, launch.parameters + at, bytes);
    out.parameters.push_back(value);
    at += bytes;
  }
  if (at != launch.parameter_bytes)
    return llvm::createStringError("has too many bytes of parameters");

  for (auto it = known.begin(); it != known.end();)
    if (auto found = launch.memory->find(it->first);
        found == launch.memory->end() || found->second != it->second) {
      memory.unmap(reinterpret_cast<void *>(it->first));
      it = known.erase(it);
    } else {
      ++it;
    }
  for (auto [address, bytes] : *launch.memory)
    if (known.try_emplace(address, bytes).second)
      memory.map(reinterpret_cast<void *>(address), "device memory", bytes);
  if (llvm::Error error = simt::run(memory, out))
    return error;
  ++count;
  return llvm::Error::success();
}
