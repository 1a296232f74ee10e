// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Materialise: from a weight's type and sources to the bytes of its blob.
#include "tools/gpu-suite/materialize.h"

#include "compiler/package/PackEncoded.h"
#include "runtime/abi/package_format.h"
#include "runtime/abi/package_generated.h"

#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <mutex>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace headrace::suite {
namespace {

/// A file of a known size, mapped for writing.
class MappedFile {
public:
  ~MappedFile() {
    if (data)
      munmap(data, bytes);
    if (descriptor >= 0)
      close(descriptor);
  }
  Failure Create(const std::string &path, uint64_t size) {
    bytes = size;
    descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (descriptor < 0 || ftruncate(descriptor, static_cast<off_t>(size)) != 0)
      return path + ": cannot be written: " + std::strerror(errno);
    void *memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
      return path + ": cannot be mapped: " + std::strerror(errno);
    data = static_cast<uint8_t *>(memory);
    return Failure();
  }
  uint8_t *data = nullptr;

private:
  uint64_t bytes = 0;
  int descriptor = -1;
};

/// Runs `work` for 0 to `count` - 1 on some threads; the first failure.
Failure ForEach(size_t count, unsigned threads,
                const std::function<Failure(size_t)> &work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Failure first;
  auto run = [&] {
    for (size_t i = next++; i < count; i = next++) {
      Failure failure = work(i);
      if (failure.empty())
        continue;
      std::lock_guard<std::mutex> lock(mutex);
      if (first.empty())
        first = failure;
      next = count;
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i)
    others.emplace_back(run);
  run();
  for (std::thread &other : others)
    other.join();
  return first;
}

/// tensor<8x64x32xbf16, #flow.panels<columns = 32, pack = 2, halves = 2>>, or
/// tensor<8x64x64xf4E2M1FN, #tier.scaled<rows = 1, columns = 32, scale =
/// f8E8M0FNU, packing = #flow.fragments<halves = 2>>>
struct WeightType {
  std::vector<int64_t> shape;
  int64_t bits = 16;   // of an element
  std::string packing; // "panels", "fragments" or empty
  int64_t columns = 0, pack = 0, halves = 1;
  bool scaled = false;
  EncodedMatrix matrix = {};

  uint64_t StoredBytes() const { // of one slot
    int64_t count = 1;
    for (size_t i = shape.size() > 2 ? 1 : 0; i < shape.size(); ++i)
      count *= shape[i];
    int64_t scales = 0;
    if (scaled)
      scales = (matrix.out + matrix.rows - 1) / matrix.rows *
               matrix.scaleColumns() *
               (matrix.scale == EncodedMatrix::Scale::F32    ? 4
                : matrix.scale == EncodedMatrix::Scale::BF16 ? 2
                                                             : 1);
    return static_cast<uint64_t>(count * bits / 8 + scales);
  }
};

bool ParseType(const std::string &text, WeightType *out) {
  const std::string prefix = "tensor<";
  if (text.compare(0, prefix.size(), prefix) != 0)
    return false;
  const char *at = text.c_str() + prefix.size();
  while (*at >= '0' && *at <= '9') {
    char *end = nullptr;
    out->shape.push_back(std::strtoll(at, &end, 10));
    if (*end != 'x')
      return false;
    at = end + 1;
  }
  auto starts = [&](const char *name) {
    return std::strncmp(at, name, std::strlen(name)) == 0;
  };
  out->bits = starts("bf16")       ? 16
              : starts("f8E4M3FN") ? 8
              : starts("f4E2M1FN") ? 4
                                   : 0;
  if (out->bits == 0 || out->shape.empty())
    return false;
  // `columns` is a field of two attributes.
  auto field = [&](size_t from, const char *name, int64_t *value) {
    const size_t found = text.find(std::string(name) + " = ", from);
    if (found != std::string::npos)
      *value = std::atoll(text.c_str() + found + std::strlen(name) + 3);
  };
  for (const char *packing : {"panels", "fragments"})
    if (size_t found = text.find(std::string("#flow.") + packing);
        found != std::string::npos) {
      out->packing = packing;
      field(found, "columns", &out->columns);
      field(found, "pack", &out->pack);
      field(found, "halves", &out->halves);
    }
  const size_t scaled = text.find("#tier.scaled<");
  out->scaled = scaled != std::string::npos;
  if (out->scaled != (out->bits < 16))
    return false;
  if (!out->scaled)
    return !out->packing.empty() || at[4] == '>';
  if (out->shape.size() < 2)
    return false;
  EncodedMatrix &matrix = out->matrix;
  matrix.out = out->shape[out->shape.size() - 2];
  matrix.in = out->shape.back();
  matrix.elementBits = out->bits;
  field(scaled, "rows", &matrix.rows);
  field(scaled, "columns", &matrix.columns);
  const size_t scale = text.find("scale = ", scaled);
  matrix.scale = text.compare(scale, 11, "scale = f32") == 0
                     ? EncodedMatrix::Scale::F32
                 : text.compare(scale, 12, "scale = bf16") == 0
                     ? EncodedMatrix::Scale::BF16
                     : EncodedMatrix::Scale::E8M0;
  return matrix.rows > 0 && matrix.columns > 0;
}

/// Bytes from byte `offset` of `file` on.
Failure FillFrom(const WeightPlan &plan, const SlotSource &source,
                 const std::string &file, uint64_t offset, uint64_t bytes,
                 uint8_t *out) {
  for (const SynthTensor &tensor : plan.tensors) {
    if (tensor.file != file || offset < tensor.offset ||
        offset >= tensor.offset + tensor.Bytes() || bytes == 0)
      continue;
    const uint64_t unit = tensor.UnitBytes();
    const uint64_t first = (offset - tensor.offset) / unit;
    const uint64_t here = std::min(bytes / unit, tensor.units - first);
    FillSynth(tensor, first, here, out);
    out += here * unit;
    offset += here * unit;
    bytes -= here * unit;
  }
  if (bytes)
    return "weight '" + source.weight + "': no tensor at byte " +
           std::to_string(offset) + " of " + file;
  return Failure();
}

/// Bytes [from, to) of a range whose values are no neighbours.
Failure FillView(const WeightPlan &plan, const SlotSource &source,
                 const SlotSource::Range &range, uint64_t from, uint64_t to,
                 uint8_t *out) {
  uint64_t values = 1, extent = 0;
  for (size_t d = 0; d < range.shape.size(); ++d) {
    values *= range.shape[d];
    extent += (range.shape[d] - 1) * range.strides[d];
  }
  const uint64_t unit = range.bytes / values; // A value, or a row of them.
  std::vector<uint8_t> stored(extent + unit);
  if (Failure failure = FillFrom(plan, source, range.file, range.offset,
                                 stored.size(), stored.data());
      !failure.empty())
    return failure;
  for (uint64_t at = from; at < to;) {
    uint64_t place = 0, rest = at / unit;
    for (size_t d = range.shape.size(); d-- > 0; rest /= range.shape[d])
      place += rest % range.shape[d] * range.strides[d];
    const uint64_t here = std::min(unit - at % unit, to - at);
    std::memcpy(out, stored.data() + place + at % unit, here);
    out += here;
    at += here;
  }
  return Failure();
}

/// Bytes [begin, begin + count) of what a weight is made of.
Failure Gather(const WeightPlan &plan, const SlotSource &source, uint64_t begin,
               uint64_t count, uint8_t *out) {
  uint64_t at = 0;
  for (const SlotSource::Range &range : source.ranges) {
    const uint64_t from = std::max(at, begin);
    const uint64_t to = std::min(at + range.bytes, begin + count);
    if (from < to) {
      uint8_t *target = out + (from - begin);
      Failure failure =
          range.shape.empty()
              ? FillFrom(plan, source, range.file, range.offset + (from - at),
                         to - from, target)
              : FillView(plan, source, range, from - at, to - at, target);
      if (!failure.empty())
        return failure;
    }
    at += range.bytes;
  }
  if (at < begin + count)
    return "weight '" + source.weight + "': its sources hold " +
           std::to_string(at) + " bytes, expected " +
           std::to_string(begin + count);
  return Failure();
}

/// Writes the packed bytes of one slot.
Failure Pack(const SlotSource &source, const WeightType &type,
             const std::vector<uint8_t> &stored, uint8_t *out, uint64_t bytes) {
  const auto *from = reinterpret_cast<const char *>(stored.data());
  auto *to = reinterpret_cast<char *>(out);
  const int64_t in = type.shape.back();
  const int64_t rows =
      type.shape.size() > 1 ? type.shape[type.shape.size() - 2] : 1;
  uint64_t written = stored.size();
  // `count` pieces of `size` bytes each.
  auto pieces = [&](int64_t count, int64_t size, auto &&write) {
    written = static_cast<uint64_t>(count * size);
    for (int64_t i = 0; i < count && written <= bytes; ++i)
      write(i, to + i * size);
  };
  if (type.packing == "panels") {
    const PanelShape shape = {rows,         in,        2,
                              type.columns, type.pack, type.halves};
    if (type.scaled)
      pieces(shape.panels(), encodedPanelBytes(type.matrix, shape),
             [&](int64_t i, char *target) {
               packEncodedPanel(type.matrix, shape, from, i, target);
             });
    else
      pieces(shape.panels(), shape.panelBytes(), [&](int64_t i, char *target) {
        packPanel(shape, from, i, target);
      });
  } else if (type.packing == "fragments") {
    const FragmentShape shape = {rows, in, type.halves};
    if (type.scaled)
      pieces(shape.rowBlocks(), encodedBlockBytes(type.matrix, shape),
             [&](int64_t i, char *target) {
               packEncodedFragments(type.matrix, shape, from, i, target);
             });
    else
      pieces(shape.rowBlocks(), shape.rowBlockBytes(),
             [&](int64_t i, char *target) {
               packFragments(shape, from, i, target);
             });
  } else if (written <= bytes) {
    std::memcpy(to, from, written);
  }
  if (written != bytes)
    return "weight '" + source.weight + "': " + std::to_string(written) +
           " bytes of " + source.type + ", but the package has " +
           std::to_string(bytes);
  return Failure();
}

Failure ReadFile(const std::string &path, std::vector<char> *out) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return path + ": cannot be read";
  out->assign(std::istreambuf_iterator<char>(file),
              std::istreambuf_iterator<char>());
  return Failure();
}

} // namespace

Failure Materialize(const std::string &skeleton, const WeightPlan &plan,
                    unsigned threads, const std::string &path) {
  std::vector<char> bytes;
  if (Failure failure = ReadFile(skeleton, &bytes); !failure.empty())
    return failure;
  headrace_package_header_t header;
  if (bytes.size() < sizeof(header))
    return skeleton + ": is no package";
  std::memcpy(&header, bytes.data(), sizeof(header));
  const auto *at =
      reinterpret_cast<const uint8_t *>(bytes.data()) + sizeof(header);
  if (std::memcmp(header.magic, HEADRACE_PACKAGE_MAGIC, 8) != 0 ||
      header.manifest_bytes > bytes.size() - sizeof(header))
    return skeleton + ": is no package";
  // In memory of its own, which is aligned.
  std::vector<uint64_t> words((header.manifest_bytes + 7) / 8);
  std::memcpy(words.data(), at, header.manifest_bytes);
  flatbuffers::Verifier verifier(
      reinterpret_cast<const uint8_t *>(words.data()), header.manifest_bytes);
  if (!abi::VerifyManifestBuffer(verifier))
    return skeleton + ": has no manifest";
  const abi::Manifest &manifest = *abi::GetManifest(words.data());

  MappedFile file;
  if (Failure failure = file.Create(path, header.file_bytes); !failure.empty())
    return failure;
  std::memcpy(file.data, bytes.data(),
              std::min<uint64_t>(bytes.size(), header.file_bytes));

  return ForEach(manifest.weights()->size(), threads, [&](size_t index) {
    const abi::Weight &weight =
        *manifest.weights()->Get(static_cast<uint32_t>(index));
    const std::string slot = weight.name()->str();
    const size_t bracket = slot.rfind('[');
    const std::string name = slot.substr(0, bracket);
    const uint64_t expert =
        bracket == std::string::npos
            ? 0
            : std::strtoull(slot.c_str() + bracket + 1, nullptr, 10);
    const SlotSource *source = nullptr;
    for (const SlotSource &one : plan.weights)
      if (one.weight == name)
        source = &one;
    if (!source)
      return skeleton + ": nothing is said of weight '" + name + "'";
    WeightType type;
    if (!ParseType(source->type, &type))
      return skeleton + ": weight '" + name + "': unknown type " + source->type;
    if (weight.blob() >= manifest.blobs()->size())
      return skeleton + ": weight '" + name + "' has no blob";
    const abi::Blob &blob = *manifest.blobs()->Get(weight.blob());
    if (blob.offset() > header.file_bytes ||
        blob.bytes() > header.file_bytes - blob.offset())
      return skeleton + ": weight '" + name + "' lies outside of the file";
    std::vector<uint8_t> stored(type.StoredBytes());
    if (Failure failure = Gather(plan, *source, expert * stored.size(),
                                 stored.size(), stored.data());
        !failure.empty())
      return failure;
    return Pack(*source, type, stored, file.data + blob.offset(), blob.bytes());
  });
}

Failure WriteCheckpointFile(const WeightPlan &plan, const std::string &name,
                            unsigned threads, const std::string &path) {
  std::vector<const SynthTensor *> tensors;
  uint64_t bytes = 0;
  for (const SynthTensor &tensor : plan.tensors)
    if (tensor.file == name) {
      tensors.push_back(&tensor);
      bytes = std::max(bytes, tensor.offset + tensor.Bytes());
    }
  if (tensors.empty())
    return name + ": the plan has no such file";
  MappedFile file;
  if (Failure failure = file.Create(path, bytes); !failure.empty())
    return failure;
  return ForEach(tensors.size(), threads, [&](size_t i) {
    FillSynth(*tensors[i], 0, tensors[i]->units,
              file.data + tensors[i]->offset);
    return Failure();
  });
}

} // namespace headrace::suite
