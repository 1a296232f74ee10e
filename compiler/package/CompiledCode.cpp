// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Makes the machine code of a module's kernels.
#include "compiler/package/CompiledCode.h"

#include "compiler/codegen/cpu/EmitImage.h"
#include "compiler/codegen/gpu/EmitPtx.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"
#include "runtime/abi/gpu_kernel_abi.h"

using namespace mlir;
using namespace headrace;

llvm::StringRef headrace::gpuTargetOf(ModuleOp module) {
  auto target = module->getAttrOfType<StringAttr>("headrace.target");
  return target ? target.getValue() : "";
}

static int64_t number(Operation *op, StringRef name) {
  return op->getAttrOfType<IntegerAttr>(name).getInt();
}

/// What both kinds of kernels say of themselves.
static CompiledKernel describe(Operation *op, StringRef name) {
  CompiledKernel kernel;
  kernel.name = name.str();
  kernel.family = op->getAttrOfType<StringAttr>("headrace.family").str();
  kernel.grid = op->getAttrOfType<flow::GridAttr>("headrace.grid");
  auto slots = op->getAttrOfType<DenseI64ArrayAttr>("headrace.weight_slots");
  kernel.weightSlots.assign(slots.asArrayRef().begin(),
                            slots.asArrayRef().end());
  return kernel;
}

llvm::Expected<CompiledCode> headrace::compileForCpu(ModuleOp module,
                                                     const CpuTarget &target) {
  CompiledCode out;
  OwningOpRef<ModuleOp> code = ModuleOp::create(module.getLoc());
  OpBuilder b = OpBuilder::atBlockEnd(code->getBody());
  for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
    CompiledKernel kernel = describe(function, function.getName());
    kernel.scratchBytes = uint64_t(number(function, "headrace.scratch"));
    out.kernels.push_back(kernel);
    Operation *clone = b.clone(*function);
    for (auto attr : llvm::to_vector(clone->getDiscardableAttrs()))
      if (attr.getName().strref().starts_with("headrace."))
        clone->removeDiscardableAttr(attr.getName());
  }
  auto image = emitImage(*code, target);
  if (!image)
    return image.takeError();
  for (CompiledKernel &kernel : out.kernels) {
    auto entry = image->entries.find(kernel.name);
    if (entry == image->entries.end())
      return llvm::createStringError("kernel '%s' is not in the code",
                                     kernel.name.c_str());
    kernel.entry = entry->second;
  }
  CodeSection section;
  section.target = "cpu";
  section.cpu = target.cpu;
  section.features = target.features;
  section.abiVersion = HEADRACE_KERNEL_ABI_VERSION;
  section.bytes = std::move(image->bytes);
  out.sections.push_back(std::move(section));
  return out;
}

llvm::Expected<CompiledCode> headrace::compileForGpu(ModuleOp module,
                                                     const GpuTarget &target,
                                                     llvm::StringRef toolkit) {
  auto ptxas = findPtxas(toolkit);
  if (!ptxas)
    return ptxas.takeError();
  CompiledCode out;
  SmallVector<gpu::GPUModuleOp> modules;
  for (auto kernels : module.getOps<gpu::GPUModuleOp>())
    if (!kernels->hasAttr(kProductAttr))
      modules.push_back(kernels);
  for (gpu::GPUModuleOp kernels : modules)
    out.kernels.push_back(describe(kernels, kernels.getName()));
  auto add =
      [&](StringRef chip, abi::CodeFormat format, std::vector<char> bytes,
          const std::map<std::string, GpuResources> &resources) -> llvm::Error {
    for (auto [kernel, op] : llvm::zip(out.kernels, modules)) {
      if (!isInSection(op, format == abi::CodeFormat::cubin ? kCubin : kPtx))
        continue;
      abi::KernelResourcesT needs;
      needs.code = uint32_t(out.sections.size());
      needs.threads = uint32_t(number(op, "headrace.threads"));
      needs.shared_bytes = uint32_t(number(op, "headrace.shared"));
      if (format == abi::CodeFormat::cubin) {
        auto found = resources.find(kernel.name);
        if (found == resources.end())
          return llvm::createStringError("kernel '%s' is not in the code",
                                         kernel.name.c_str());
        if (found->second.spillBytes)
          return llvm::createStringError(
              "kernel '%s' spills %lld bytes of registers on %s",
              kernel.name.c_str(), (long long)found->second.spillBytes,
              chip.str().c_str());
        needs.registers = uint32_t(found->second.registers);
        needs.local_bytes = uint32_t(found->second.localBytes);
      }
      kernel.resources.push_back(needs);
    }
    CodeSection section;
    section.target = HEADRACE_GPU_TARGET;
    section.cpu = chip.str();
    section.abiVersion = HEADRACE_GPU_KERNEL_ABI_VERSION;
    section.format = format;
    section.bytes = std::move(bytes);
    out.sections.push_back(std::move(section));
    return llvm::Error::success();
  };
  auto ptx = emitPtx(module, target.chip, kCubin);
  if (!ptx)
    return ptx.takeError();
  auto cubin = assemble(*ptx, target.chip, *ptxas);
  if (!cubin)
    return cubin.takeError();
  if (llvm::Error error = add(target.chip, abi::CodeFormat::cubin,
                              std::move(cubin->bytes), cubin->kernels))
    return std::move(error);
  ptx = emitPtx(module, kPortableChip, kPtx);
  if (!ptx)
    return ptx.takeError();
  // With the zero that ends the text.
  std::vector<char> text(ptx->c_str(), ptx->c_str() + ptx->size() + 1);
  if (llvm::Error error =
          add(kPortableChip, abi::CodeFormat::ptx, std::move(text), {}))
    return std::move(error);
  return out;
}
