// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lays out a package file and writes it: header, manifest, code, weights.
#include "compiler/package/WritePackage.h"

#include "compiler/package/PackageContents.h"
#include "compiler/package/WriteManifest.h"
#include "compiler/package/WriteWeights.h"
#include "compiler/support/OutputFile.h"
#include "runtime/abi/package_format.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/xxhash.h"
#include <cstring>

using namespace mlir;
using namespace headrace;

static uint64_t alignUp(uint64_t value) {
  return llvm::alignTo(value, HEADRACE_PACKAGE_ALIGNMENT);
}

static llvm::Expected<CompiledCode> compile(ModuleOp module,
                                            const PackageOptions &options) {
  StringRef chip = gpuTargetOf(module);
  if (chip.empty())
    return compileForCpu(module, options.target);
  auto target = resolveGpuTarget(chip);
  if (!target)
    return target.takeError();
  return compileForGpu(module, *target, options.cudaToolkit);
}

static std::string checkpointOf(ModuleOp module,
                                const PackageOptions &options) {
  auto recorded = module->getAttrOfType<StringAttr>("headrace.checkpoint");
  return options.checkpoint.empty() && recorded ? recorded.str()
                                                : options.checkpoint;
}

/// Of a file of `fileBytes` bytes.
static headrace_package_header_t headerOf(llvm::ArrayRef<uint8_t> manifest,
                                          uint64_t fileBytes) {
  headrace_package_header_t header;
  memset(&header, 0, sizeof(header));
  memcpy(header.magic, HEADRACE_PACKAGE_MAGIC, 8);
  header.version = HEADRACE_PACKAGE_VERSION;
  header.header_bytes = sizeof(header);
  header.file_bytes = fileBytes;
  header.manifest_bytes = manifest.size();
  header.manifest_xxh3 = llvm::xxh3_64bits(manifest);
  header.header_xxh3 = llvm::xxh3_64bits(llvm::ArrayRef<uint8_t>(
      reinterpret_cast<uint8_t *>(&header),
      offsetof(headrace_package_header_t, header_xxh3)));
  return header;
}

llvm::Error headrace::writePackage(ModuleOp module, llvm::StringRef path,
                                   const PackageOptions &options) {
  auto code = compile(module, options);
  if (!code)
    return code.takeError();
  auto contents = PackageContents::of(module, std::move(*code));
  if (!contents)
    return contents.takeError();
  // Where code and blobs lie follows from the manifest's size, which does not
  // depend on the numbers in it, except that equal weights may shrink it.
  uint64_t room =
      writeManifest(*contents, StoredWeights::unwritten(contents->slots))
          .size();
  uint64_t end = alignUp(sizeof(headrace_package_header_t) + room), codeEnd = 0;
  for (CodeSection &section : contents->code.sections) {
    section.offset = end;
    codeEnd = end + section.bytes.size();
    end = alignUp(codeEnd);
  }
  OutputFile file;
  if (llvm::Error error = file.create(path))
    return error;
  if (llvm::Error error =
          file.checkSpace(end + contents->packedBytes() +
                          contents->slots.size() * HEADRACE_PACKAGE_ALIGNMENT))
    return error;
  auto stored = writeWeights(*contents, checkpointOf(module, options), file,
                             end, options.progress);
  if (!stored)
    return stored.takeError();
  // The last blob ends the file, without padding.
  end = stored->blobs.empty()
            ? codeEnd
            : stored->blobs.back().offset + stored->blobs.back().bytes;
  std::vector<uint8_t> manifest = writeManifest(*contents, *stored);
  if (contents->plan.plan) {
    contents->plan.setDigest(scheduleDigest(manifest.data()));
    manifest = writeManifest(*contents, *stored);
  }
  if (manifest.size() > room)
    return llvm::createStringError("%s: the manifest outgrew its room",
                                   path.str().c_str());
  headrace_package_header_t header = headerOf(manifest, end);
  if (llvm::Error error =
          file.write(reinterpret_cast<char *>(&header), sizeof(header), 0))
    return error;
  if (llvm::Error error =
          file.write(reinterpret_cast<const char *>(manifest.data()),
                     manifest.size(), sizeof(header)))
    return error;
  for (const CodeSection &section : contents->code.sections)
    if (llvm::Error error = file.write(section.bytes.data(),
                                       section.bytes.size(), section.offset))
      return error;
  if (llvm::Error error = file.truncate(end))
    return error;
  return file.finish();
}
