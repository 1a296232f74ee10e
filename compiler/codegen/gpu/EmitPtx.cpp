// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns GPU kernels into PTX with LLVM's back end and into machine code with
// ptxas.
#include "compiler/codegen/gpu/EmitPtx.h"

#include "compiler/codegen/MachineCode.h"
#include "compiler/codegen/gpu/LowerToNvvm.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/TargetSelect.h"

using namespace headrace;

extern "C" {
void LLVMInitializeNVPTXTargetInfo(void);
void LLVMInitializeNVPTXTarget(void);
void LLVMInitializeNVPTXTargetMC(void);
void LLVMInitializeNVPTXAsmPrinter(void);
}

namespace {

llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createMachine(llvm::StringRef chip) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  // PTX 8.0, of CUDA 12.0: the oldest that knows sm_90a.
  return createTargetMachine("nvptx64-nvidia-cuda", chip, "+ptx80");
}

/// A file that is gone with the object.
class TemporaryFile {
public:
  explicit TemporaryFile(llvm::StringRef suffix) {
    code = llvm::sys::fs::createTemporaryFile("headrace", suffix, path);
  }
  ~TemporaryFile() {
    if (!code)
      llvm::sys::fs::remove(path);
  }
  llvm::SmallString<128> path;
  std::error_code code;
};

llvm::Error fileError(const TemporaryFile &file, std::error_code code) {
  return llvm::createStringError("%s: %s", file.path.str().str().c_str(),
                                 code.message().c_str());
}

} // namespace

llvm::Expected<std::string> headrace::emitPtx(mlir::ModuleOp module,
                                              llvm::StringRef chip,
                                              llvm::StringRef section) {
  mlir::OwningOpRef<mlir::ModuleOp> lowered = lowerToNvvm(module, section);
  if (!lowered)
    return llvm::createStringError("GPU kernels could not be lowered to NVVM");
  mlir::registerBuiltinDialectTranslation(*module.getContext());
  mlir::registerLLVMDialectTranslation(*module.getContext());
  mlir::registerNVVMDialectTranslation(*module.getContext());
  auto machine = createMachine(chip);
  if (!machine)
    return machine.takeError();
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code =
      mlir::translateModuleToLLVMIR(*lowered, context, "headrace");
  if (!code)
    return llvm::createStringError("translation to LLVM IR failed");
  setTarget(*code, **machine);
  auto text = generateCode(*code, **machine, /*unroll=*/false,
                           llvm::CodeGenFileType::AssemblyFile);
  if (!text)
    return text.takeError();
  return std::string(text->begin(), text->end());
}

llvm::Expected<Cubin> headrace::assemble(llvm::StringRef ptx,
                                         llvm::StringRef chip,
                                         const std::string &ptxas) {
  TemporaryFile source("ptx"), output("cubin"), log("txt");
  for (TemporaryFile *file : {&source, &output, &log})
    if (file->code)
      return fileError(*file, file->code);
  {
    std::error_code code;
    llvm::raw_fd_ostream stream(source.path, code);
    if (code)
      return fileError(source, code);
    stream << ptx;
    stream.close();
    if (stream.has_error())
      return fileError(source, stream.error());
  }
  std::string arch = ("-arch=" + chip).str();
  llvm::SmallVector<llvm::StringRef> arguments{
      ptxas, "-v", "-O3", arch, source.path, "-o", output.path};
  std::string message;
  int result = llvm::sys::ExecuteAndWait(
      ptxas, arguments, std::nullopt,
      {std::nullopt, log.path.str(), log.path.str()}, 0, 0, &message);
  auto text = llvm::MemoryBuffer::getFile(log.path);
  if (!text)
    return fileError(log, text.getError());
  if (result != 0)
    return llvm::createStringError(
        "%s: failed for %s: %s", ptxas.c_str(), chip.str().c_str(),
        message.empty() ? (*text)->getBuffer().take_front(2000).str().c_str()
                        : message.c_str());
  auto bytes = llvm::MemoryBuffer::getFile(output.path, /*IsText=*/false,
                                           /*RequiresNullTerminator=*/false);
  if (!bytes)
    return fileError(output, bytes.getError());
  Cubin cubin;
  cubin.bytes.assign((*bytes)->getBufferStart(), (*bytes)->getBufferEnd());
  cubin.kernels = parseResources((*text)->getBuffer());
  return cubin;
}

std::map<std::string, GpuResources>
headrace::parseResources(llvm::StringRef text) {
  // ptxas info    : Compiling entry function 'NAME' for 'sm_80'
  // ptxas info    : Function properties for NAME
  //     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
  // ptxas info    : Used 40 registers, ..., 1024 bytes smem
  std::map<std::string, GpuResources> out;
  llvm::Regex entry("Compiling entry function '([^']+)'");
  llvm::Regex stack("([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores, "
                    "([0-9]+) bytes spill loads");
  llvm::Regex used("Used ([0-9]+) registers");
  llvm::Regex shared("([0-9]+) bytes smem");
  GpuResources *now = nullptr;
  while (!text.empty()) {
    llvm::StringRef line;
    std::tie(line, text) = text.split('\n');
    llvm::SmallVector<llvm::StringRef> parts;
    auto number = [&](size_t i) {
      int64_t value = 0;
      (void)parts[i].getAsInteger(10, value);
      return value;
    };
    if (entry.match(line, &parts))
      now = &out[parts[1].str()];
    if (!now)
      continue;
    if (stack.match(line, &parts)) {
      now->localBytes = number(1);
      now->spillBytes = number(2) + number(3);
    }
    if (used.match(line, &parts))
      now->registers = number(1);
    if (shared.match(line, &parts))
      now->sharedBytes = number(1);
  }
  return out;
}
