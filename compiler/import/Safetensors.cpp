// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Finds the tensors of a safetensors checkpoint; weights stay on disk.
#include "compiler/import/Safetensors.h"

#include "compiler/import/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace llvm;

namespace headrace {

namespace {
struct DTypeRow {
  StringRef name;
  DType dtype;
  unsigned bits;
};
} // namespace

static constexpr DTypeRow dtypeTable[] = {
    {"F32", DType::F32, 32},       {"F16", DType::F16, 16},
    {"BF16", DType::BF16, 16},     {"F64", DType::F64, 64},
    {"F8_E4M3", DType::F8E4M3, 8}, {"F8_E5M2", DType::F8E5M2, 8},
    {"F8_E8M0", DType::F8E8M0, 8}, {"F6_E2M3", DType::F6E2M3, 6},
    {"F6_E3M2", DType::F6E3M2, 6}, {"F4", DType::F4, 4},
    {"I64", DType::I64, 64},       {"I32", DType::I32, 32},
    {"I16", DType::I16, 16},       {"I8", DType::I8, 8},
    {"U64", DType::U64, 64},       {"U32", DType::U32, 32},
    {"U16", DType::U16, 16},       {"U8", DType::U8, 8},
    {"BOOL", DType::Bool, 8},      {"C64", DType::C64, 64},
};

static const DTypeRow &rowOf(DType dtype) {
  return *find_if(dtypeTable,
                  [&](const DTypeRow &row) { return row.dtype == dtype; });
}

StringRef nameOf(DType dtype) { return rowOf(dtype).name; }

unsigned bitsOf(DType dtype) { return rowOf(dtype).bits; }

std::string shapeToString(ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (auto [i, size] : enumerate(shape))
    text += (i ? ", " : "") + std::to_string(size);
  return text + "]";
}

/// Bytes of `shape` elements, or nothing where that overflows or leaves part of
/// a byte.
static std::optional<uint64_t> bytesOf(DType dtype, ArrayRef<int64_t> shape) {
  // An empty tensor has no bytes, whatever its other dimensions are.
  if (is_contained(shape, 0))
    return 0;
  uint64_t bits = bitsOf(dtype);
  for (int64_t size : shape)
    if (__builtin_mul_overflow(bits, uint64_t(size), &bits))
      return std::nullopt;
  if (bits % 8)
    return std::nullopt;
  return bits / 8;
}

/// One entry of a header. `dataBytes` is the size of the data part.
static Expected<TensorInfo> parseTensor(StringRef name,
                                        const json::Value &value,
                                        uint64_t dataBytes, StringRef file) {
  auto fail = [&](const Twine &cause) {
    return makeError(file + ": tensor " + quote(name) + " " + cause);
  };
  const json::Object *object = value.getAsObject();
  if (!object)
    return fail("is not described by an object");
  for (const auto &entry : *object)
    if (!is_contained({"dtype", "shape", "data_offsets"},
                      StringRef(entry.first)))
      return fail("has the unknown key " + quote(entry.first));

  TensorInfo info;
  info.name = name.str();
  info.file = file.str();
  std::optional<StringRef> dtype = object->getString("dtype");
  if (!dtype)
    return fail("has no 'dtype'");
  const auto *row = find_if(
      dtypeTable, [&](const DTypeRow &row) { return row.name == *dtype; });
  if (row == std::end(dtypeTable))
    return fail("has the unknown dtype " + quote(*dtype));
  info.dtype = row->dtype;

  const json::Array *shape = object->getArray("shape");
  if (!shape)
    return fail("has no 'shape'");
  if (shape->size() > 8)
    return fail("has " + Twine(shape->size()) + " dimensions, more than 8");
  for (const json::Value &element : *shape) {
    std::optional<int64_t> size = element.getAsInteger();
    if (!size || *size < 0)
      return fail("has a dimension that is not a whole number of at least 0");
    info.shape.push_back(*size);
  }

  const json::Array *offsets = object->getArray("data_offsets");
  if (!offsets || offsets->size() != 2)
    return fail("has no pair 'data_offsets'");
  std::optional<uint64_t> begin = (*offsets)[0].getAsUINT64();
  std::optional<uint64_t> end = (*offsets)[1].getAsUINT64();
  if (!begin || !end)
    return fail("has a data offset that is not a whole number of at least 0");
  if (*end < *begin)
    return fail("ends at byte " + Twine(*end) + ", before it begins at byte " +
                Twine(*begin));
  if (*end > dataBytes)
    return fail("ends at byte " + Twine(*end) + ", but the file has " +
                Twine(dataBytes) + " bytes of data");
  std::optional<uint64_t> want = bytesOf(info.dtype, info.shape);
  if (!want)
    return fail("of " + *dtype + " " + shapeToString(info.shape) +
                " has no size in bytes");
  if (*end - *begin != *want)
    return fail("of " + *dtype + " " + shapeToString(info.shape) + " needs " +
                Twine(*want) + " bytes, but has " + Twine(*end - *begin));
  info.offset = *begin;
  info.bytes = *want;
  return info;
}

Expected<std::vector<TensorInfo>>
parseSafetensorsHeader(StringRef prefix, uint64_t fileBytes, StringRef file) {
  if (fileBytes < 8 || prefix.size() < 8)
    return makeError(file + ": has " + Twine(fileBytes) +
                     " bytes, too few for a safetensors file");
  uint64_t headerBytes = support::endian::read64le(prefix.data());
  if (headerBytes > fileBytes - 8)
    return makeError(file + ": the header says that it has " +
                     Twine(headerBytes) + " bytes, but the file has " +
                     Twine(fileBytes));
  if (headerBytes > maxSafetensorsHeader)
    return makeError(file + ": the header has " + Twine(headerBytes) +
                     " bytes, more than the limit of " +
                     Twine(maxSafetensorsHeader));
  if (prefix.size() - 8 < headerBytes)
    return makeError(file + ": ends inside the header");
  Expected<json::Object> header =
      parseJsonObject(prefix.substr(8, headerBytes), file);
  if (!header)
    return header.takeError();

  uint64_t dataBytes = fileBytes - 8 - headerBytes;
  std::vector<TensorInfo> tensors;
  tensors.reserve(header->size());
  for (const auto &entry : *header) {
    if (entry.first == "__metadata__")
      continue;
    Expected<TensorInfo> info =
        parseTensor(entry.first, entry.second, dataBytes, file);
    if (!info)
      return info.takeError();
    tensors.push_back(std::move(*info));
  }

  // The format has neither overlaps nor holes: either is a sign of damage.
  sort(tensors, [](const TensorInfo &a, const TensorInfo &b) {
    return std::tie(a.offset, a.bytes, a.name) <
           std::tie(b.offset, b.bytes, b.name);
  });
  uint64_t end = 0;
  const TensorInfo *last = nullptr;
  for (const TensorInfo &info : tensors) {
    if (info.offset < end)
      return makeError(file + ": tensors " + quote(last->name) + " and " +
                       quote(info.name) + " overlap");
    if (info.offset > end)
      return makeError(file + ": bytes " + Twine(end) + " to " +
                       Twine(info.offset) + " of the data belong to no tensor");
    end = info.offset + info.bytes;
    last = &info;
  }
  if (end != dataBytes)
    return makeError(file + ": bytes " + Twine(end) + " to " +
                     Twine(dataBytes) + " of the data belong to no tensor");

  for (TensorInfo &info : tensors)
    info.offset += 8 + headerBytes; // at most fileBytes
  sort(tensors, [](const TensorInfo &a, const TensorInfo &b) {
    return a.name < b.name;
  });
  return tensors;
}

Expected<std::vector<std::pair<std::string, std::string>>>
parseSafetensorsIndex(StringRef json, StringRef file) {
  Expected<json::Object> index = parseJsonObject(json, file);
  if (!index)
    return index.takeError();
  const json::Object *map = index->getObject("weight_map");
  if (!map)
    return makeError(file + ": has no object 'weight_map'");
  std::vector<std::pair<std::string, std::string>> result;
  for (const auto &entry : *map) {
    std::optional<StringRef> shard = entry.second.getAsString();
    if (!shard)
      return makeError(file + ": tensor " + quote(entry.first) +
                       " has no file name");
    // A shard lies beside its index; anything else is an attempt to leave the
    // directory.
    if (shard->empty() || *shard == "." || *shard == ".." ||
        shard->find_first_of(StringRef("/\\\0", 3)) != StringRef::npos)
      return makeError(file + ": tensor " + quote(entry.first) + " is in " +
                       quote(*shard) + ", which is not a plain file name");
    result.emplace_back(entry.first.str(), shard->str());
  }
  if (result.empty())
    return makeError(file + ": 'weight_map' names no tensor");
  sort(result);
  return result;
}

/// Reads and checks the header of one file.
static Expected<std::vector<TensorInfo>> readHeader(StringRef directory,
                                                    StringRef name) {
  SmallString<256> path(directory);
  sys::path::append(path, name);
  uint64_t fileBytes = 0;
  Expected<std::string> prefix = readFilePrefix(path, name, 8, fileBytes);
  if (prefix && prefix->size() == 8) {
    uint64_t headerBytes = support::endian::read64le(prefix->data());
    // Of a length that the parser will refuse, nothing more is read.
    if (headerBytes <= fileBytes - 8 && headerBytes <= maxSafetensorsHeader)
      prefix = readFilePrefix(path, name, 8 + headerBytes, fileBytes);
  }
  if (!prefix)
    return prefix.takeError();
  return parseSafetensorsHeader(*prefix, fileBytes, name);
}

const TensorInfo *Checkpoint::find(StringRef name) const {
  auto it = byName.find(name);
  return it == byName.end() ? nullptr : &all[it->second];
}

Error Checkpoint::add(std::vector<TensorInfo> more) {
  for (TensorInfo &info : more) {
    auto [it, isNew] = byName.try_emplace(info.name, all.size());
    if (!isNew)
      return makeError(info.file + ": tensor " + quote(info.name) +
                       " is also in " + all[it->second].file);
    all.push_back(std::move(info));
  }
  return Error::success();
}

Expected<Checkpoint> Checkpoint::open(StringRef directory) {
  if (!sys::fs::is_directory(directory))
    return makeError(directory + ": not a directory");
  auto exists = [&](StringRef name) {
    SmallString<256> path(directory);
    sys::path::append(path, name);
    return sys::fs::exists(path);
  };
  constexpr StringRef single = "model.safetensors";
  constexpr StringRef index = "model.safetensors.index.json";
  Checkpoint checkpoint;
  if (exists(single)) {
    Expected<std::vector<TensorInfo>> tensors = readHeader(directory, single);
    if (!tensors)
      return tensors.takeError();
    if (Error error = checkpoint.add(std::move(*tensors)))
      return std::move(error);
    return checkpoint;
  }
  if (!exists(index))
    return makeError(directory + ": has neither " + single + " nor " + index);

  SmallString<256> indexPath(directory);
  sys::path::append(indexPath, index);
  Expected<std::string> text =
      readSmallFile(indexPath, index, maxSafetensorsHeader);
  if (!text)
    return text.takeError();
  auto entries = parseSafetensorsIndex(*text, index);
  if (!entries)
    return entries.takeError();
  StringSet<> shards;
  for (const auto &[tensor, shard] : *entries) {
    if (!shards.insert(shard).second)
      continue;
    if (!exists(shard))
      return makeError(shard + ": missing, but " + index + " places tensor " +
                       quote(tensor) + " in it");
    Expected<std::vector<TensorInfo>> tensors = readHeader(directory, shard);
    if (!tensors)
      return tensors.takeError();
    if (Error error = checkpoint.add(std::move(*tensors)))
      return std::move(error);
  }
  StringSet<> indexed;
  for (const auto &[tensor, shard] : *entries) {
    const TensorInfo *info = checkpoint.find(tensor);
    if (!info || info->file != shard)
      return makeError(shard + ": has no tensor " + quote(tensor) + ", but " +
                       index + " places it there");
    indexed.insert(tensor);
  }
  for (const TensorInfo &info : checkpoint.all)
    if (!indexed.contains(info.name))
      return makeError(info.file + ": has a tensor " + quote(info.name) +
                       " that " + index + " does not name");
  sort(checkpoint.all, [](const TensorInfo &a, const TensorInfo &b) {
    return a.name < b.name;
  });
  for (auto [i, info] : enumerate(checkpoint.all))
    checkpoint.byName[info.name] = i;
  return checkpoint;
}

Expected<bool> sameBytes(StringRef directory, const TensorInfo &a,
                         const TensorInfo &b) {
  if (a.dtype != b.dtype || a.shape != b.shape)
    return false;
  constexpr uint64_t step = 4 << 20;
  auto read = [&](const TensorInfo &info,
                  uint64_t at) -> Expected<std::string> {
    SmallString<256> path(directory);
    sys::path::append(path, info.file);
    return readFileRange(path, info.file, info.offset + at,
                         std::min(step, info.bytes - at));
  };
  for (uint64_t at = 0; at < a.bytes; at += step) {
    Expected<std::string> left = read(a, at);
    if (!left)
      return left.takeError();
    Expected<std::string> right = read(b, at);
    if (!right)
      return right.takeError();
    if (*left != *right)
      return false;
  }
  return true;
}

} // namespace headrace
