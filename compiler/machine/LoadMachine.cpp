// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Descriptions of machines: those that are shipped, and files.
#include "compiler/machine/LoadMachine.h"

#include "dialects/tier/IR/Tier.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;

namespace headrace {

namespace {
constexpr ShippedMachine kShipped[] = {
#include "compiler/machine/ShippedMachines.inc"
};
} // namespace

llvm::ArrayRef<ShippedMachine> shippedMachines() { return kShipped; }

llvm::Expected<tier::MachineAttr> loadMachine(MLIRContext *context,
                                              llvm::StringRef nameOrFile) {
  std::unique_ptr<llvm::MemoryBuffer> file;
  llvm::StringRef text;
  for (const ShippedMachine &one : kShipped)
    if (one.name == nameOrFile)
      text = one.text;
  if (text.empty()) {
    auto read = llvm::MemoryBuffer::getFile(nameOrFile, /*IsText=*/true);
    if (!read)
      return llvm::createStringError(
          nameOrFile + ": cannot be read: " + read.getError().message() +
          "; expected a file with a #tier.machine or one of " +
          llvm::join(
              llvm::map_range(kShipped, [](auto &one) { return one.name; }),
              ", "));
    file = std::move(*read);
    text = file->getBuffer();
  }
  // The parser counts what it has read from the first token on, and what stands
  // before that token is comments.
  text = text.ltrim();
  while (text.consume_front("//"))
    text = text.drop_until([](char c) { return c == '\n'; }).ltrim();
  size_t read = 0;
  auto machine = dyn_cast_or_null<tier::MachineAttr>(
      parseAttribute(text, context, /*type=*/{}, &read));
  if (machine && !text.substr(read).trim().empty())
    return llvm::createStringError(nameOrFile +
                                   ": has more behind its #tier.machine");
  if (!machine)
    return llvm::createStringError(nameOrFile + ": is not a #tier.machine");
  return machine;
}

llvm::Expected<Machine> loadMachine(llvm::StringRef nameOrFile) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<tier::TierDialect>();
  std::string first;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (first.empty())
      first = diagnostic.str();
  });
  auto attribute = loadMachine(&context, nameOrFile);
  if (!attribute) {
    if (first.empty())
      return attribute.takeError();
    llvm::consumeError(attribute.takeError());
    return llvm::createStringError(nameOrFile + ": " + first);
  }
  Machine machine;
  machine.name = attribute->getName().str();
  machine.launch = attribute->getLaunch();
  for (tier::LevelAttr level : attribute->getLevels())
    machine.levels.push_back(
        {level.getName().str(), level.getBytes(), level.getCount()});
  for (tier::LinkAttr link : attribute->getLinks())
    machine.links.push_back({link.getSource().str(), link.getTarget().str(),
                             link.getBandwidth(), link.getLatency(),
                             link.getCount(), link.getBus().str(),
                             link.getRequest()});
  for (tier::ComputeAttr one : attribute->getCompute())
    machine.compute.push_back(
        {one.getType().str(), one.getOperations(), one.getCount()});
  return machine;
}

} // namespace headrace
