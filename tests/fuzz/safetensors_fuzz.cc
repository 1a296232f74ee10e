// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fuzzes the readers of a safetensors header and of an index of shards.
#include "compiler/import/Safetensors.h"

#include "llvm/Support/Endian.h"
#include <cstdlib>
#include <string>

using namespace headrace;

/// For promises of the interface that must hold whatever the bytes are.
static void require(bool condition) {
  if (!condition)
    std::abort();
}

/// What a caller relies on when it maps the file.
static void check(llvm::Expected<std::vector<TensorInfo>> result,
                  uint64_t fileBytes) {
  if (!result) {
    std::string message = llvm::toString(result.takeError());
    require(!message.empty() && message.find('\n') == std::string::npos);
    return;
  }
  uint64_t data = 8;
  for (const TensorInfo &info : *result) {
    require(info.offset <= fileBytes && info.bytes <= fileBytes - info.offset);
    data += info.bytes;
  }
  require(data <= fileBytes);
  for (size_t i = 1; i < result->size(); ++i)
    require((*result)[i - 1].name < (*result)[i].name);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  llvm::StringRef bytes(reinterpret_cast<const char *>(data), size);
  check(parseSafetensorsHeader(bytes, size, "f"), size);

  // The same bytes as a header whose length is right, so that the fuzzer need
  // not find that out; the first byte is the size of the data.
  if (!bytes.empty()) {
    llvm::StringRef header = bytes.drop_front();
    std::string file(8, '\0');
    llvm::support::endian::write64le(file.data(), header.size());
    file += header;
    uint64_t fileBytes = file.size() + data[0];
    check(parseSafetensorsHeader(file, fileBytes, "f"), fileBytes);
  }

  auto index = parseSafetensorsIndex(bytes, "f");
  if (!index) {
    std::string message = llvm::toString(index.takeError());
    require(!message.empty() && message.find('\n') == std::string::npos);
    return 0;
  }
  for (const auto &[tensor, shard] : *index)
    require(!shard.empty() && shard.find('/') == std::string::npos &&
            shard != "..");
  return 0;
}
