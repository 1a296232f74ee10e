// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Packs weights into blobs: checksums of their chunks, a digest, and equal ones
// once.
#include "compiler/package/WriteWeights.h"

#include "compiler/package/BlockWriter.h"
#include "compiler/package/CheckpointFiles.h"
#include "compiler/package/WeightPieces.h"
#include "compiler/support/OutputFile.h"
#include "runtime/abi/package_format.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/xxhash.h"
#include <cstring>
#include <map>

using namespace mlir;
using namespace headrace;

StoredWeights StoredWeights::unwritten(ArrayRef<WeightSlot> slots) {
  StoredWeights stored;
  for (const WeightSlot &slot : slots) {
    StoredBlob blob;
    blob.bytes = slot.packedBytes;
    blob.chunks.assign(
        llvm::divideCeil(slot.packedBytes, HEADRACE_PACKAGE_CHUNK_BYTES), 1);
    stored.blobOf.push_back(uint32_t(stored.blobs.size()));
    stored.blobs.push_back(std::move(blob));
  }
  return stored;
}

namespace {

/// What is packed between two writes.
constexpr uint64_t kBatch = uint64_t(16) << 20;

class WeightsWriter {
public:
  WeightsWriter(const PackageContents &contents, StringRef checkpoint,
                OutputFile &file, uint64_t begin,
                const std::function<void(uint64_t, uint64_t)> &progress)
      : contents(contents), checkpoint(checkpoint), writer(file, begin),
        end(begin), progress(progress), total(contents.packedBytes()) {}

  llvm::Expected<StoredWeights> run();

private:
  llvm::Error writeBlob(const WeightSlot &slot);
  /// Space for the next `bytes` bytes of the blob; good until the next call.
  char *extend(uint64_t bytes);
  /// Whole chunks go out as they fill, so that memory stays bounded.
  llvm::Error flushBatch();
  llvm::Error flush(uint64_t ready);

  const PackageContents &contents;
  CheckpointFiles checkpoint;
  BlockWriter writer;
  uint64_t end; ///< Of the blobs that are kept.
  const std::function<void(uint64_t, uint64_t)> &progress;
  uint64_t done = 0, total;
  std::vector<char> gathered, packed;
  StoredBlob blob; ///< The one that is written: what is in the file.
  llvm::BLAKE3 hash;
};

char *WeightsWriter::extend(uint64_t bytes) {
  packed.resize(packed.size() + bytes);
  return packed.data() + packed.size() - bytes;
}

llvm::Error WeightsWriter::flushBatch() {
  return packed.size() < kBatch
             ? llvm::Error::success()
             : flush(packed.size() -
                     packed.size() % HEADRACE_PACKAGE_CHUNK_BYTES);
}

llvm::Error WeightsWriter::flush(uint64_t ready) {
  hash.update(llvm::StringRef(packed.data(), ready));
  for (uint64_t at = 0; at < ready; at += HEADRACE_PACKAGE_CHUNK_BYTES)
    blob.chunks.push_back(llvm::xxh3_64bits(llvm::StringRef(
        packed.data() + at,
        std::min<uint64_t>(HEADRACE_PACKAGE_CHUNK_BYTES, ready - at))));
  if (llvm::Error error =
          writer.write(packed.data(), ready, blob.offset + blob.bytes))
    return error;
  blob.bytes += ready;
  packed.erase(packed.begin(), packed.begin() + int64_t(ready));
  done += ready;
  if (progress)
    progress(done, total);
  return llvm::Error::success();
}

llvm::Error WeightsWriter::writeBlob(const WeightSlot &slot) {
  tier::WeightOp weight = slot.weight;
  auto type = cast<RankedTensorType>(weight.getType());
  uint64_t stored =
      tier::storedBytes(type).value_or(0) / uint64_t(weightSlots(type));
  auto source = checkpoint.read(
      weight, uint64_t(std::max<int64_t>(slot.expert, 0)) * stored, stored,
      gathered);
  if (!source)
    return source.takeError();
  blob = StoredBlob();
  blob.offset = end;
  blob.bytes = 0;
  hash.init();
  if (WeightPieces pieces = piecesOf(type)) {
    for (int64_t i = 0; i < pieces.count; ++i) {
      pieces.pack(*source, i, extend(uint64_t(pieces.bytes)));
      if (llvm::Error error = flushBatch())
        return error;
    }
  } else {
    for (uint64_t from = 0; from < slot.packedBytes; from += kBatch) {
      uint64_t part = std::min(kBatch, slot.packedBytes - from);
      memcpy(extend(part), *source + from, part);
      if (llvm::Error error = flushBatch())
        return error;
    }
  }
  if (llvm::Error error = flush(packed.size()))
    return error;
  auto digest = hash.final<32>();
  blob.blake3.assign(digest.begin(), digest.end());
  return llvm::Error::success();
}

llvm::Expected<StoredWeights> WeightsWriter::run() {
  StoredWeights stored;
  stored.blobOf.resize(contents.slots.size());
  std::map<std::vector<uint8_t>, uint32_t> known; // By digest.
  for (uint32_t slot : contents.fileOrder()) {
    if (llvm::Error error = writeBlob(contents.slots[slot]))
      return error;
    // Equal bytes are stored once: the next blob takes this one's place.
    auto [it, fresh] =
        known.try_emplace(blob.blake3, uint32_t(stored.blobs.size()));
    stored.blobOf[slot] = it->second;
    if (fresh) {
      end = llvm::alignTo(end + blob.bytes, HEADRACE_PACKAGE_ALIGNMENT);
      stored.blobs.push_back(std::move(blob));
    } else if (llvm::Error error = writer.truncate(end)) {
      return error;
    }
  }
  if (llvm::Error error = writer.finish())
    return error;
  return stored;
}

} // namespace

llvm::Expected<StoredWeights> headrace::writeWeights(
    const PackageContents &contents, StringRef checkpoint, OutputFile &file,
    uint64_t begin, const std::function<void(uint64_t, uint64_t)> &progress) {
  return WeightsWriter(contents, checkpoint, file, begin, progress).run();
}
