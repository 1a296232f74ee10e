// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Translates kernels to machine code and lays them out as one image.
//
// The object file of one module refers only to itself: code to code and code to
// constants, all relative. So the sections are placed one behind the other and
// the relative relocations resolved here; a linker is not needed.
#include "compiler/codegen/cpu/EmitImage.h"

#include "compiler/codegen/MachineCode.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Module.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/TargetSelect.h"

using namespace headrace;

namespace {
constexpr const char *kTriple = "x86_64-unknown-linux-gnu";

llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createMachine(const CpuTarget &target) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  return createTargetMachine(kTriple, target.cpu,
                             target.features & 2 ? "" : "-avx512f",
                             llvm::CodeModel::Small);
}

/// Places the sections of `object` and resolves their relocations.
llvm::Expected<CpuImage> layOut(const llvm::object::ObjectFile &object) {
  using namespace llvm::object;
  CpuImage image;
  std::map<SectionRef, uint64_t> base;
  for (SectionRef section : object.sections()) {
    ELFSectionRef elf(section);
    if (!(elf.getFlags() & llvm::ELF::SHF_ALLOC) || section.getSize() == 0)
      continue;
    auto name = section.getName();
    if (!name)
      return name.takeError();
    if (name->starts_with(".eh_frame"))
      continue; // Nothing unwinds through a kernel.
    if (elf.getFlags() & llvm::ELF::SHF_WRITE)
      return llvm::createStringError("section '%s' of generated code is "
                                     "writable, but an image is read-only",
                                     name->str().c_str());
    auto contents = section.getContents();
    if (!contents)
      return contents.takeError();
    uint64_t at =
        llvm::alignTo(image.bytes.size(), section.getAlignment().value());
    image.bytes.resize(at);
    image.bytes.insert(image.bytes.end(), contents->begin(), contents->end());
    base[section] = at;
  }
  for (auto [section, at] : base) {
    for (SectionRef relocations : object.sections()) {
      auto target = relocations.getRelocatedSection();
      if (!target)
        return target.takeError();
      if (*target == object.section_end() || **target != section)
        continue;
      for (RelocationRef relocation : relocations.relocations()) {
        auto symbol = relocation.getSymbol();
        auto name = symbol->getName();
        if (!name)
          return name.takeError();
        auto where = symbol->getSection();
        if (!where)
          return where.takeError();
        if (*where == object.section_end() || !base.count(**where))
          return llvm::createStringError(
              "generated code needs the symbol '%s', but an image has no "
              "undefined symbols",
              name->str().c_str());
        auto value = symbol->getValue();
        if (!value)
          return value.takeError();
        auto addend = ELFRelocationRef(relocation).getAddend();
        if (!addend)
          return addend.takeError();
        uint64_t place = at + relocation.getOffset();
        int64_t delta =
            int64_t(base[**where] + *value) + *addend - int64_t(place);
        uint64_t type = relocation.getType();
        if (type == llvm::ELF::R_X86_64_PC32 ||
            type == llvm::ELF::R_X86_64_PLT32) {
          if (!llvm::isInt<32>(delta))
            return llvm::createStringError("generated code is over 2 GiB");
          int32_t small = int32_t(delta);
          memcpy(image.bytes.data() + place, &small, 4);
        } else if (type == llvm::ELF::R_X86_64_PC64) {
          memcpy(image.bytes.data() + place, &delta, 8);
        } else {
          return llvm::createStringError(
              "generated code has a relocation of kind %llu against '%s', "
              "which is not relative",
              (unsigned long long)type, name->str().c_str());
        }
      }
    }
  }
  for (SymbolRef symbol : object.symbols()) {
    auto type = symbol.getType();
    if (!type)
      return type.takeError();
    if (*type != SymbolRef::ST_Function)
      continue;
    auto where = symbol.getSection();
    auto name = symbol.getName();
    auto value = symbol.getValue();
    if (!where || !name || !value)
      return llvm::createStringError("a symbol of generated code is damaged");
    if (*where == object.section_end())
      continue;
    image.entries[name->str()] = base[**where] + *value;
  }
  return image;
}
} // namespace

llvm::Expected<CpuImage> headrace::emitImage(mlir::ModuleOp module,
                                             const CpuTarget &target) {
  mlir::registerBuiltinDialectTranslation(*module.getContext());
  mlir::registerLLVMDialectTranslation(*module.getContext());
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> code =
      mlir::translateModuleToLLVMIR(module, context);
  if (!code)
    return llvm::createStringError("translation to LLVM IR failed");
  auto machine = createMachine(target);
  if (!machine)
    return machine.takeError();
  setTarget(*code, **machine);
  for (llvm::Function &function : *code) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", (*machine)->getTargetCPU());
    function.addFnAttr("target-features", (*machine)->getTargetFeatureString());
    function.addFnAttr("prefer-vector-width", "512");
    // No loop may turn into a call of memset or memcpy.
    function.addFnAttr("no-builtins");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
  auto bytes = generateCode(*code, **machine, /*unroll=*/true,
                            llvm::CodeGenFileType::ObjectFile);
  if (!bytes)
    return bytes.takeError();
  auto object =
      llvm::object::ObjectFile::createELFObjectFile(llvm::MemoryBufferRef(
          llvm::StringRef(bytes->data(), bytes->size()), "kernels"));
  if (!object)
    return object.takeError();
  return layOut(**object);
}
