// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Resident package: choosing and loading code, and bringing weights over.
#include "runtime/drivers/cuda/resident_package.h"

#include "runtime/abi/gpu_kernel_abi.h"
#include "runtime/src/digest.h"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstring>
#include <string_view>

namespace headrace::runtime::cuda {
namespace {

/// Blobs start where any vector load may.
constexpr uint64_t kWeightAlignment = 256;
/// Bytes of one upload. Two are under way: while one is copied by the device
/// the next is filled.
constexpr uint64_t kPieceBytes = 8u << 20;
constexpr uint32_t kPieces = 2;

/// "sm_90a": number and whether it holds for this chip alone.
struct Chip {
  uint32_t number = 0;
  bool specific = false;
};

Chip ParseChip(std::string_view name) {
  Chip chip;
  if (name.substr(0, 3) != "sm_")
    return chip;
  const char *end = name.data() + name.size();
  auto [rest, error] = std::from_chars(name.data() + 3, end, chip.number);
  if (error != std::errc() || end - rest > 1)
    return Chip();
  chip.specific = rest != end;
  return chip;
}

uint32_t Choose(const abi::Manifest &manifest, uint32_t capability,
                bool portable) {
  uint32_t best = kNoIndex;
  uint32_t best_rank = 0;
  for (uint32_t i = 0; i < manifest.code()->size(); ++i) {
    const abi::Code &code = *manifest.code()->Get(i);
    if (code.target()->string_view() != HEADRACE_GPU_TARGET ||
        code.kernel_abi_version() != HEADRACE_GPU_KERNEL_ABI_VERSION)
      continue;
    if (portable && code.format() != abi::CodeFormat::ptx)
      continue;
    const Chip chip = ParseChip(code.cpu()->string_view());
    const bool exact = chip.number == capability;
    if (chip.number == 0 || chip.number > capability ||
        (!exact && (chip.specific || code.format() != abi::CodeFormat::ptx)))
      continue;
    // Machine code before text, what only this chip runs before what others do.
    const uint32_t rank = 4 * chip.number +
                          2 * (code.format() == abi::CodeFormat::cubin) +
                          chip.specific;
    if (rank > best_rank) {
      best = i;
      best_rank = rank;
    }
  }
  return best;
}

} // namespace

uint32_t ChooseCode(const abi::Manifest &manifest, uint32_t capability) {
  return Choose(manifest, capability, /*portable=*/false);
}

uint32_t ChoosePortableCode(const abi::Manifest &manifest,
                            uint32_t capability) {
  return Choose(manifest, capability, /*portable=*/true);
}

//===----------------------------------------------------------------------===//
// Code
//===----------------------------------------------------------------------===//

ResidentPackage::ResidentPackage(CudaDevice *device,
                                 headrace_package_t *package)
    : device(device), package(package),
      blob_offsets(StdAllocator<uint64_t>(device->HostAllocator())) {}

ResidentPackage::~ResidentPackage() {
  if (!module || device->IsLost())
    return;
  ContextScope scope(device);
  device->Api().cuModuleUnload(module);
}

Status ResidentPackage::LoadCode() {
  const Allocator &allocator = device->HostAllocator();
  const abi::Manifest &manifest = *package->manifest;
  code = ChooseCode(manifest, device->Capability());
  if (code == kNoIndex) {
    char found[200] = "";
    size_t used = 0;
    for (const abi::Code *section : *manifest.code())
      if (used < sizeof(found))
        used += static_cast<size_t>(
            std::snprintf(found + used, sizeof(found) - used, "%s%.20s %.20s",
                          used ? ", " : "", section->target()->c_str(),
                          section->cpu()->c_str()));
    return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                      "session: the package has no code for this GPU (sm_%u, "
                      "kernel ABI %u), only for %s",
                      device->Capability(), HEADRACE_GPU_KERNEL_ABI_VERSION,
                      found);
  }
  const abi::Code &chosen = *manifest.code()->Get(code);
  Status refusal = LoadSection(code);
  // Machine code may be too new for the driver, which still translates text.
  // Other failures have nothing to do with the code.
  if (refusal.Code() != HEADRACE_STATUS_FAILED_PRECONDITION ||
      chosen.format() != abi::CodeFormat::cubin)
    return refusal;
  const uint32_t portable = ChoosePortableCode(manifest, device->Capability());
  if (portable == kNoIndex)
    return refusal;
  const abi::Code &text = *manifest.code()->Get(portable);
  if (Status status = LoadSection(portable); !status.IsOk())
    return MakeStatus(allocator, status.Code(),
                      "session: neither the package's machine code for %.20s "
                      "nor its portable PTX for %.20s can be loaded: %s; %s",
                      chosen.cpu()->c_str(), text.cpu()->c_str(),
                      refusal.Message(), status.Message());
  code = portable;
  device->instance->Log(
      HEADRACE_LOG_WARNING,
      "device: the driver refuses the package's machine code for %.20s, so its "
      "portable PTX for %.20s runs, which may be slower: %s",
      chosen.cpu()->c_str(), text.cpu()->c_str(), refusal.Message());
  return Status();
}

Status ResidentPackage::LoadSection(uint32_t index) {
  const Allocator &allocator = device->HostAllocator();
  const abi::Code &section = *package->manifest->code()->Get(index);
  const uint8_t *image = package->FileBytes(section.offset());
  // The driver reads text up to a zero, so there must be one.
  if (section.format() == abi::CodeFormat::ptx &&
      image[section.bytes() - 1] != 0)
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "code: section #%u does not end in a zero", index);
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  char log[512] = "";
  int options[] = {kCuJitErrorLogBuffer, kCuJitErrorLogBufferBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log) - 1)};
  Status status = device->Check(
      device->Api().cuModuleLoadDataEx(&module, image, 2, options, values),
      "loading code");
  if (status.IsOk() || !log[0])
    return status;
  return MakeStatus(allocator, status.Code(), "%s: %s", status.Message(), log);
}

Status ResidentPackage::FindKernel(uint32_t index, Kernel *out) {
  const Allocator &allocator = device->HostAllocator();
  const abi::Kernel &kernel = *package->manifest->kernels()->Get(index);
  const abi::KernelResources *needs = nullptr;
  if (kernel.symbol() && kernel.resources())
    for (const abi::KernelResources *candidate : *kernel.resources())
      if (candidate->code() == code)
        needs = candidate;
  if (!needs)
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "session: kernel '%.200s' is not in code section #%u",
                      kernel.name()->c_str(), code);
  if (needs->shared_bytes() > device->SharedBytes())
    return MakeStatus(allocator, HEADRACE_STATUS_FAILED_PRECONDITION,
                      "session: kernel '%.200s' needs %u bytes of shared "
                      "memory, this GPU has %u",
                      kernel.name()->c_str(), needs->shared_bytes(),
                      device->SharedBytes());
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  const CuResult result = device->Api().cuModuleGetFunction(
      &out->function, module, kernel.symbol()->c_str());
  if (result == kCuNotFound)
    return MakeStatus(allocator, HEADRACE_STATUS_DATA_LOSS,
                      "session: code section #%u lacks '%.200s'", code,
                      kernel.symbol()->c_str());
  HEADRACE_RETURN_IF_ERROR(device->Check(result, "finding a kernel"));
  out->threads = needs->threads();
  out->shared_bytes = needs->shared_bytes();
  // Also for none: it makes the driver load the function now, and not in the
  // middle of a capture.
  return device->Check(device->Api().cuFuncSetAttribute(
                           out->function, kCuFunctionMaxDynamicSharedSizeBytes,
                           static_cast<int>(needs->shared_bytes())),
                       "asking for shared memory");
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Copies host bytes to the device through pinned pieces, on a stream of its
/// own: beside whatever sessions run, at the speed of the link.
class ResidentPackage::Uploader {
public:
  explicit Uploader(CudaDevice *device) : device(device) {}

  ~Uploader() {
    // Pinned memory must outlive its copies.
    if (!Finish().IsOk())
      return; // the device is lost
    ContextScope scope(device);
    for (CuEvent event : events)
      if (event)
        device->Api().cuEventDestroy_v2(event);
    if (stream)
      device->Api().cuStreamDestroy_v2(stream);
  }

  Status Create() {
    HEADRACE_RETURN_IF_ERROR(device->AllocateHost(
        kPieceBytes * kPieces, "the upload of weights", &pinned));
    ContextScope scope(device);
    HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
    HEADRACE_RETURN_IF_ERROR(device->Check(
        device->Api().cuStreamCreate(&stream, kCuStreamNonBlocking),
        "creating a stream"));
    for (CuEvent &event : events)
      HEADRACE_RETURN_IF_ERROR(device->Check(
          device->Api().cuEventCreate(&event, kCuEventDisableTiming),
          "creating an event"));
    return Status();
  }

  Status Upload(CuAddress to, const uint8_t *from, uint64_t bytes) {
    ContextScope scope(device);
    HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
    while (bytes) {
      const uint64_t count = std::min(bytes, kPieceBytes);
      HEADRACE_RETURN_IF_ERROR(Await(next));
      uint8_t *piece = pinned.Data() + kPieceBytes * next;
      std::memcpy(piece, from, count);
      HEADRACE_RETURN_IF_ERROR(device->Check(
          device->Api().cuMemcpyHtoDAsync_v2(to, piece, count, stream),
          "uploading weights"));
      HEADRACE_RETURN_IF_ERROR(
          device->Check(device->Api().cuEventRecord(events[next], stream),
                        "recording an event"));
      busy[next] = true;
      next = (next + 1) % kPieces;
      to += count;
      from += count;
      bytes -= count;
    }
    return Status();
  }

  Status Finish() {
    ContextScope scope(device);
    HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
    for (uint32_t i = 0; i < kPieces; ++i)
      HEADRACE_RETURN_IF_ERROR(Await(i));
    return Status();
  }

private:
  Status Await(uint32_t piece) {
    if (!std::exchange(busy[piece], false))
      return Status();
    StopSource stop;
    stop.deadline_ns = MonotonicNs() + kPieceLimitNs;
    return device->Await(events[piece], stop, "the upload of weights");
  }

  /// For one piece: a link that takes longer has stopped.
  static constexpr uint64_t kPieceLimitNs = 30000000000;

  CudaDevice *const device;
  DeviceMemory pinned;
  CuStream stream = nullptr;
  CuEvent events[kPieces] = {};
  bool busy[kPieces] = {};
  uint32_t next = 0;
};

Status ResidentPackage::UploadBlob(uint32_t index, Uploader *uploader) {
  const abi::Blob &blob = *package->manifest->blobs()->Get(index);
  const uint64_t chunk_bytes = package->manifest->chunk_bytes();
  const uint8_t *from = package->FileBytes(blob.offset());
  CuAddress to = AddressOf(weights.Data() + blob_offsets[index]);
  for (uint64_t at = 0, chunk = 0; at < blob.bytes(); ++chunk) {
    const uint64_t bytes = std::min(chunk_bytes, blob.bytes() - at);
    if (Digest(from + at, bytes) !=
        blob.chunk_xxh3()->Get(static_cast<uint32_t>(chunk)))
      return MakeStatus(device->HostAllocator(), HEADRACE_STATUS_DATA_LOSS,
                        "blob #%u: chunk %" PRIu64 ": digest does not match",
                        index, chunk);
    HEADRACE_RETURN_IF_ERROR(uploader->Upload(to + at, from + at, bytes));
    at += bytes;
  }
  return Status();
}

Status ResidentPackage::BindWeights(Vector<const void *> *table) {
  const abi::Manifest &manifest = *package->manifest;
  std::lock_guard<std::mutex> lock(weights_mutex);
  if (!bound) {
    const uint32_t count = manifest.blobs()->size();
    blob_offsets.assign(count, 0);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; ++i) {
      blob_offsets[i] = bytes;
      bytes += (manifest.blobs()->Get(i)->bytes() + kWeightAlignment - 1) /
               kWeightAlignment * kWeightAlignment;
    }
    HEADRACE_RETURN_IF_ERROR(
        device->Allocate(bytes, "the weights of the package", &weights));
    if (count) {
      Uploader uploader(device);
      HEADRACE_RETURN_IF_ERROR(uploader.Create());
      for (uint32_t i = 0; i < count; ++i)
        HEADRACE_RETURN_IF_ERROR(UploadBlob(i, &uploader));
      HEADRACE_RETURN_IF_ERROR(uploader.Finish());
    }
    bound = true;
  }
  table->clear();
  table->reserve(manifest.weights()->size());
  for (const abi::Weight *weight : *manifest.weights())
    table->push_back(weights.Data() + blob_offsets[weight->blob()]);
  return Status();
}

namespace {

class ResidentLoader final : public WeightLoader {
public:
  ResidentLoader(CudaDevice *device, ResidentPackage *resident)
      : device(device), resident(resident) {}
  ~ResidentLoader() override { device->Drop(resident); }

  Status Bind(Vector<const void *> *table) override {
    return resident->BindWeights(table);
  }
  void Destroy() override { Delete(device->HostAllocator(), this); }

private:
  CudaDevice *const device;
  ResidentPackage *const resident; // one reference
};

} // namespace

Status CreateResidentLoader(CudaDevice *device, headrace_package_t *package,
                            WeightLoaderOwner *out) {
  ResidentPackage *resident;
  HEADRACE_RETURN_IF_ERROR(device->Acquire(package, &resident));
  try {
    out->reset(New<ResidentLoader>(device->HostAllocator(), device, resident));
  } catch (...) {
    device->Drop(resident);
    throw;
  }
  return Status();
}

} // namespace headrace::runtime::cuda
