// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packages that `headrace run` compiled, kept for its next run.
#include "tools/headrace/PackageCache.h"

#include "compiler/codegen/cpu/CpuTarget.h"
#include "compiler/codegen/gpu/GpuTarget.h"
#include "compiler/import/Safetensors.h"
#include "compiler/support/OutputFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <chrono>
#include <cstdio>
#include <vector>

using namespace headrace;
using namespace headrace::tools;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace {

constexpr llvm::StringLiteral kExtension = ".headrace";
/// Hex digits of the digest in a file name.
constexpr size_t kDigits = 32;

llvm::Error cannot(llvm::StringRef file, const char *what,
                   std::error_code why) {
  return llvm::createStringError("%s: cannot be %s: %s", file.str().c_str(),
                                 what, why.message().c_str());
}

/// What decides about the bytes of a package. Weights are told apart by size,
/// time and header: reading them all would take as long as packing them.
class Key {
public:
  void add(llvm::StringRef label, llvm::StringRef value) {
    add(label);
    add(value);
  }
  void add(llvm::StringRef label, int64_t value) {
    add(label, std::to_string(value));
  }
  llvm::Error addContents(llvm::StringRef file);
  /// Adds name, size and time; returns the size.
  llvm::Expected<uint64_t> addIdentity(llvm::StringRef file);
  llvm::Error addHeader(llvm::StringRef file, uint64_t fileBytes);
  std::string digest() {
    return llvm::toHex(hasher.final<kDigits / 2>(), /*LowerCase=*/true);
  }

private:
  /// With its length, so that no two sequences of values look the same.
  void add(llvm::StringRef value) {
    hasher.update(std::to_string(value.size()) + ":");
    hasher.update(value);
  }
  llvm::BLAKE3 hasher;
};

llvm::Error Key::addContents(llvm::StringRef file) {
  auto buffer = llvm::MemoryBuffer::getFile(file);
  if (!buffer)
    return cannot(file, "read", buffer.getError());
  add(path::filename(file), (*buffer)->getBuffer());
  return llvm::Error::success();
}

llvm::Expected<uint64_t> Key::addIdentity(llvm::StringRef file) {
  fs::file_status status;
  if (std::error_code error = fs::status(file, status))
    return cannot(file, "read", error);
  add(file, int64_t(status.getSize()));
  add("time", status.getLastModificationTime().time_since_epoch().count());
  return status.getSize();
}

llvm::Error Key::addHeader(llvm::StringRef file, uint64_t fileBytes) {
  // A length that makes no sense is for the importer to complain about.
  uint64_t bytes = std::min<uint64_t>(fileBytes, 4096);
  if (fileBytes >= 8) {
    auto length = llvm::MemoryBuffer::getFileSlice(file, 8, 0);
    if (!length)
      return cannot(file, "read", length.getError());
    uint64_t header =
        llvm::support::endian::read64le((*length)->getBufferStart());
    if (header <= maxSafetensorsHeader && header + 8 <= fileBytes)
      bytes = header + 8;
  }
  auto header = llvm::MemoryBuffer::getFileSlice(file, bytes, 0);
  if (!header)
    return cannot(file, "read", header.getError());
  add("header", (*header)->getBuffer());
  return llvm::Error::success();
}

struct PackageFacts {
  std::string name;
  uint64_t weightBytes = 0; ///< About what the package will have.
};

/// The package that `request` gives.
llvm::Expected<PackageFacts> describe(const CompileRequest &request) {
  auto target = resolveCpuTarget(request.cpu);
  if (!target)
    return target.takeError();
  const std::string &checkpoint = request.checkpoint;
  llvm::SmallString<128> real;
  if (std::error_code error = fs::real_path(checkpoint, real))
    return cannot(checkpoint, "read", error);

  Key key;
  key.add("version", HEADRACE_VERSION);
  // Versions under development share their number.
  auto self = key.addIdentity(
      fs::getMainExecutable(nullptr, reinterpret_cast<void *>(&cannot)));
  if (!self)
    return self.takeError();
  key.add("target", request.target);
  if (isGpuTarget(request.target)) {
    // Its assembler makes the code.
    auto ptxas = findPtxas(request.cudaToolkit);
    if (!ptxas)
      return ptxas.takeError();
    if (auto bytes = key.addIdentity(*ptxas); !bytes)
      return bytes.takeError();
  }
  key.add("cpu", target->cpu);
  key.add("features", int64_t(target->features));
  key.add("tokens", request.maxTokens);
  key.add("sequences", request.maxSequences);
  key.add("context", request.maxContext);
  key.add("fast memory", int64_t(request.fastMemory));
  key.add("checkpoint", real);

  PackageFacts facts;
  std::error_code error;
  std::vector<std::string> files;
  for (fs::directory_iterator it(checkpoint, error), end; it != end && !error;
       it.increment(error)) {
    llvm::StringRef name = path::filename(it->path());
    if (name == "config.json" || name == "generation_config.json" ||
        name.ends_with(".safetensors") ||
        name.ends_with(".safetensors.index.json"))
      files.push_back(it->path());
  }
  if (error)
    return cannot(checkpoint, "read", error);
  llvm::sort(files);
  for (const std::string &file : files) {
    if (!llvm::StringRef(file).ends_with(".safetensors")) {
      if (llvm::Error error = key.addContents(file))
        return error;
      continue;
    }
    auto bytes = key.addIdentity(file);
    if (!bytes)
      return bytes.takeError();
    facts.weightBytes += *bytes;
    if (llvm::Error error = key.addHeader(file, *bytes))
      return error;
  }

  // The model's name is for people who look into the directory.
  std::string name = path::filename(real).take_front(64).str();
  for (char &c : name)
    if (!llvm::isAlnum(c) && c != '-' && c != '_' && c != '.')
      c = '_';
  facts.name = name + "-" + key.digest() + kExtension.str();
  return facts;
}

/// Whether a file's name is one that describe() makes.
bool isPackageName(llvm::StringRef name) {
  return name.consume_back(kExtension) && name.size() > kDigits &&
         name[name.size() - kDigits - 1] == '-' &&
         llvm::all_of(name.take_back(kDigits),
                      [](char c) { return llvm::isHexDigit(c); });
}

/// Marks a package as used now.
void touch(const std::string &file) {
  auto descriptor =
      fs::openNativeFileForReadWrite(file, fs::CD_OpenExisting, fs::OF_None);
  if (!descriptor)
    return llvm::consumeError(descriptor.takeError());
  (void)fs::setLastAccessAndModificationTime(*descriptor,
                                             std::chrono::system_clock::now());
  (void)fs::closeFile(*descriptor);
}

} // namespace

std::string PackageCache::defaultDirectory() {
  llvm::SmallString<128> directory;
  if (!path::cache_directory(directory))
    return "";
  path::append(directory, "headrace");
  return std::string(directory);
}

llvm::Expected<PackageCache::Entry> PackageCache::get(CompileRequest request,
                                                      bool again) {
  auto facts = describe(request);
  if (!facts)
    return facts.takeError();
  // For the owner only: packages are run.
  if (std::error_code error = fs::create_directories(
          directory, /*IgnoreExisting=*/true, fs::owner_all))
    return cannot(directory, "created", error);
  llvm::SmallString<128> file(directory);
  path::append(file, facts->name);
  Entry entry{std::string(file)};
  if (!again && fs::exists(entry.path)) {
    touch(entry.path);
    return entry;
  }
  request.output = entry.path;
  entry.compiled = true;
  if (!request.quiet)
    fprintf(stderr, "compiling %s\n", request.checkpoint.c_str());
  trim(entry.path, facts->weightBytes);
  llvm::Error error = compile(request);
  if (!error)
    return entry;
  // Not every message of the phases knows about which checkpoint it is.
  std::string message = llvm::toString(std::move(error));
  if (message.find(request.checkpoint) == std::string::npos)
    message = request.checkpoint + ": " + message;
  return llvm::createStringError(message);
}

void PackageCache::trim(const std::string &last, uint64_t reserve) const {
  struct File {
    std::string path;
    fs::basic_file_status status;
    bool last;
  };
  std::vector<File> packages;
  uint64_t total = reserve;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; it != end && !error;
       it.increment(error)) {
    llvm::StringRef name = path::filename(it->path());
    auto status = it->status();
    if (!status || status->type() != fs::file_type::regular_file)
      continue;
    if (!isPackageName(name)) {
      // What a compilation left that was killed.
      if (size_t at = name.rfind('.'); isPackageName(name.take_front(at)))
        OutputFile::removeAbandoned(
            llvm::StringRef(it->path()).drop_back(name.size() - at));
      continue;
    }
    total += status->getSize();
    packages.push_back({it->path(), *status, it->path() == last});
  }
  llvm::sort(packages, [](const File &a, const File &b) {
    if (a.last != b.last)
      return b.last;
    return a.status.getLastModificationTime() <
           b.status.getLastModificationTime();
  });
  for (const File &package : packages) {
    if (total <= limit)
      break;
    if (!fs::remove(package.path))
      total -= package.status.getSize();
  }
}
