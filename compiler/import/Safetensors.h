// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Finds the tensors of a safetensors checkpoint; weights stay on disk.
#ifndef HEADRACE_COMPILER_IMPORT_SAFETENSORS_H
#define HEADRACE_COMPILER_IMPORT_SAFETENSORS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace {

/// Element types that the format names. Only F32, F16 and BF16 can be imported;
/// the others are read so that an error can name what it found.
enum class DType {
  F32,
  F16,
  BF16,
  F64,
  F8E4M3,
  F8E5M2,
  F8E8M0,
  F6E2M3,
  F6E3M2,
  F4,
  I64,
  I32,
  I16,
  I8,
  U64,
  U32,
  U16,
  U8,
  Bool,
  C64,
};

/// The format's spelling, as in `BF16`.
llvm::StringRef nameOf(DType dtype);

/// Bits of one element.
unsigned bitsOf(DType dtype);

/// Where one tensor lies.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  /// Relative to the checkpoint's directory.
  std::string file;
  /// From the start of the file, not of its data part.
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

/// The shape as in `[2, 3]`.
std::string shapeToString(llvm::ArrayRef<int64_t> shape);

/// A header larger than this is taken for damage.
constexpr uint64_t maxSafetensorsHeader = 100'000'000;

/// Reads the header of one file: `prefix` holds at least its first 8 + N bytes
/// (or all of it, if it is shorter), and the whole file has `fileBytes`. The
/// tensors come sorted by name. Their byte ranges are inside the file, of the
/// size that type and shape ask for, and cover the data part exactly once.
llvm::Expected<std::vector<TensorInfo>>
parseSafetensorsHeader(llvm::StringRef prefix, uint64_t fileBytes,
                       llvm::StringRef file);

/// The tensor names of a `model.safetensors.index.json`, each with its file.
llvm::Expected<std::vector<std::pair<std::string, std::string>>>
parseSafetensorsIndex(llvm::StringRef json, llvm::StringRef file);

/// The tensors of a directory.
class Checkpoint {
public:
  /// Reads the headers of `model.safetensors`, or else of the shards that
  /// `model.safetensors.index.json` names.
  static llvm::Expected<Checkpoint> open(llvm::StringRef directory);

  /// Sorted by name.
  llvm::ArrayRef<TensorInfo> tensors() const { return all; }

  /// Null where there is none of that name.
  const TensorInfo *find(llvm::StringRef name) const;

private:
  llvm::Error add(std::vector<TensorInfo> more);

  std::vector<TensorInfo> all;
  llvm::StringMap<size_t> byName;
};

/// Whether two tensors of a checkpoint hold the same bytes; reads them.
llvm::Expected<bool> sameBytes(llvm::StringRef directory, const TensorInfo &a,
                               const TensorInfo &b);

} // namespace headrace

#endif // HEADRACE_COMPILER_IMPORT_SAFETENSORS_H
