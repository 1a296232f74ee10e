// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a module of the `kernels` phase as a package file.
#include "compiler/package/WritePackage.h"

#include "compiler/codegen/BufferLayout.h"
#include "compiler/codegen/gpu/GpuEmitters.h"
#include "compiler/package/BlockWriter.h"
#include "compiler/package/CompiledCode.h"
#include "compiler/package/WeightPieces.h"
#include "compiler/package/WritePlan.h"
#include "compiler/support/OutputFile.h"
#include "dialects/flow/IR/Flow.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/IR/Builders.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/package_format.h"
#include "runtime/abi/package_generated.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/BLAKE3.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"
#include <cstring>
#include <map>

using namespace mlir;
using namespace headrace;
namespace abi = headrace::abi;

namespace {

uint64_t alignUp(uint64_t value) {
  return llvm::alignTo(value, HEADRACE_PACKAGE_ALIGNMENT);
}

template <typename T> std::string text(T value) {
  std::string out;
  llvm::raw_string_ostream stream(out);
  stream << value;
  return out;
}

abi::ElementType elementOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  if (element.isF32())
    return abi::ElementType::f32;
  if (element.isBF16())
    return abi::ElementType::bf16;
  if (element.isF16())
    return abi::ElementType::f16;
  if (element.isInteger(32))
    return abi::ElementType::i32;
  return abi::ElementType::none;
}

/// What the bytes of a host's buffer grow with.
abi::RowKind rowsOf(StringRef role) {
  if (role == HEADRACE_ROLE_SEQUENCES || role == HEADRACE_ROLE_KV_TABLE)
    return abi::RowKind::sequences;
  if (role == HEADRACE_ROLE_OUTPUT_ROWS || role == HEADRACE_ROLE_LOGITS)
    return abi::RowKind::outputs;
  if (role == HEADRACE_ROLE_KV_POOL)
    return abi::RowKind::fixed;
  return abi::RowKind::tokens;
}

/// The product that the driver's library runs for `launch`; null where it is
/// code of our own.
DictionaryAttr productOf(flow::LaunchOp launch) {
  Operation *kernel = launch->getParentOfType<ModuleOp>().lookupSymbol(
      launch.getKernelAttr().getAttr());
  return kernel ? kernel->getAttrOfType<DictionaryAttr>(kProductAttr)
                : DictionaryAttr();
}

abi::MatmulT matmulOf(DictionaryAttr product) {
  auto number = [&](StringRef name) {
    return uint32_t(product.getAs<IntegerAttr>(name).getInt());
  };
  abi::MatmulT matmul;
  matmul.rows = product.getAs<BoolAttr>("outputs").getValue()
                    ? abi::RowKind::outputs
                    : abi::RowKind::tokens;
  matmul.in = number("in");
  matmul.out = number("out");
  matmul.x_stride = number("x_stride");
  matmul.y_stride = number("y_stride");
  matmul.element = elementOf(product.getAs<TypeAttr>("element").getValue());
  matmul.y_element = elementOf(product.getAs<TypeAttr>("y_element").getValue());
  matmul.accumulate = product.getAs<BoolAttr>("accumulate").getValue();
  return matmul;
}

/// The files of a checkpoint, opened as they are named.
class Checkpoint {
public:
  explicit Checkpoint(std::string directory)
      : directory(std::move(directory)) {}

  /// The `bytes` bytes of `weight` from `offset` on: in place when they are one
  /// run of a file, else gathered into `buffer`.
  llvm::Expected<const char *> read(tier::WeightOp weight, uint64_t offset,
                                    uint64_t bytes, std::vector<char> &buffer) {
    struct Piece {
      tier::RangeAttr range;
      const char *source;
    };
    SmallVector<Piece> pieces;
    uint64_t at = 0, end = offset + bytes;
    for (auto range : weight.getSource().getAsRange<tier::RangeAttr>()) {
      uint64_t first = at, from = std::max(at, offset);
      at += range.getBytes();
      uint64_t to = std::min(at, end);
      if (from >= to)
        continue;
      auto file = open(range.getFile());
      if (!file)
        return file.takeError();
      uint64_t size = (*file)->getBufferSize();
      if (range.getOffset() > size ||
          range.getExtent() > size - range.getOffset())
        return llvm::createStringError(
            "%s/%s: weight '%s' ends at byte %llu, but the file has %llu bytes",
            directory.c_str(), range.getFile().str().c_str(),
            weight.getSymName().str().c_str(),
            (unsigned long long)(range.getOffset() + range.getExtent()),
            (unsigned long long)size);
      SmallVector<Attribute> parts;
      range.slice(from - first, to - from, parts);
      for (Attribute part : parts) {
        auto one = cast<tier::RangeAttr>(part);
        pieces.push_back({one, (*file)->getBufferStart() + one.getOffset()});
      }
    }
    if (pieces.size() == 1 && pieces[0].range.isContiguous())
      return pieces[0].source;
    buffer.resize(bytes);
    char *target = buffer.data();
    for (const Piece &piece : pieces) {
      piece.range.gather(piece.source, target);
      target += piece.range.getBytes();
    }
    return static_cast<const char *>(buffer.data());
  }

private:
  llvm::Expected<llvm::MemoryBuffer *> open(StringRef name) {
    auto &entry = files[name];
    if (!entry) {
      llvm::SmallString<256> path(directory);
      llvm::sys::path::append(path, name);
      auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
      if (!file)
        return llvm::createStringError("%s: cannot be read: %s", path.c_str(),
                                       file.getError().message().c_str());
      entry = std::move(*file);
    }
    return entry.get();
  }
  std::string directory;
  llvm::StringMap<std::unique_ptr<llvm::MemoryBuffer>> files;
};

struct BlobRecord {
  uint64_t offset = 1, bytes = 1;
  std::vector<uint8_t> blake3 = std::vector<uint8_t>(32, 1);
  std::vector<uint64_t> chunks;
};

/// One slot of the binding table: a weight, or one expert's matrix of a stacked
/// one.
struct Slot {
  tier::WeightOp weight;
  int64_t expert = -1; ///< Of a stacked weight.
  uint64_t packedBytes = 0;
  uint32_t blob = 0;
};

/// An entry point: one schedule, or for GPUs one a class of steps in the order
/// of the manifest. A code section runs all that are not another's alone.
struct EntryParts {
  StringRef name;
  flow::ScheduleOp any;
  SmallVector<std::pair<uint32_t, flow::ScheduleOp>> classes; ///< By section.
};

class PackageWriter {
public:
  PackageWriter(ModuleOp module, StringRef path, const PackageOptions &options)
      : module(module), path(path), options(options),
        limits(StepLimits::of(module)) {}

  llvm::Error run();

private:
  llvm::Error emitCode();
  llvm::Error collect();
  void addSlots(tier::WeightOp weight);
  llvm::Error checkSlots();
  llvm::Error collectEndTokens();
  void collectEntries();
  /// An integer of `headrace.model`; 0 where it is silent.
  int64_t modelNumber(StringRef name);
  SmallVector<uint32_t, 0> fileOrder() const;
  llvm::Error packWeights(OutputFile &file, uint64_t &end);
  std::vector<uint8_t> manifest();

  ModuleOp module;
  StringRef path;
  const PackageOptions &options;
  StepLimits limits;
  CompiledCode code;
  bool gpu = false;
  SmallVector<Slot> slots;
  SmallVector<tier::BufferOp> buffers;
  std::vector<EntryParts> entryParts;
  llvm::StringMap<uint32_t> weightNumber; ///< First slot.
  llvm::StringMap<uint32_t> bufferNumber, kernelNumber;
  std::vector<BlobRecord> blobs;
  std::vector<int32_t> endTokens;
  PlanRecord plan;
  uint64_t totalPacked = 0;
};

llvm::Error PackageWriter::emitCode() {
  llvm::StringRef chip = gpuTargetOf(module);
  gpu = !chip.empty();
  auto target = gpu ? resolveGpuTarget(chip) : GpuTarget();
  if (!target)
    return target.takeError();
  auto made = gpu ? compileForGpu(module, *target, options.cudaToolkit)
                  : compileForCpu(module, options.target);
  if (!made)
    return made.takeError();
  code = std::move(*made);
  for (auto [i, kernel] : llvm::enumerate(code.kernels))
    kernelNumber[kernel.name] = uint32_t(i);
  return llvm::Error::success();
}

void PackageWriter::addSlots(tier::WeightOp weight) {
  weightNumber[weight.getSymName()] = uint32_t(slots.size());
  auto type = cast<RankedTensorType>(weight.getType());
  MemRefType memory = memoryType(type, limits);
  int64_t count = weightSlots(type);
  uint64_t bytes = uint64_t(memory.getNumElements() / count) *
                   (memory.getElementTypeBitWidth() / 8);
  for (int64_t i = 0; i < count; ++i) {
    slots.push_back(
        {weight, type.getRank() >= 3 ? i : -1, bytes, uint32_t(blobs.size())});
    BlobRecord record;
    record.bytes = bytes;
    record.chunks.assign(llvm::divideCeil(bytes, HEADRACE_PACKAGE_CHUNK_BYTES),
                         1);
    totalPacked += bytes;
    blobs.push_back(record);
  }
}

llvm::Error PackageWriter::collect() {
  for (Operation &op : *module.getBody()) {
    if (auto weight = dyn_cast<tier::WeightOp>(op)) {
      addSlots(weight);
    } else if (auto buffer = dyn_cast<tier::BufferOp>(op)) {
      bufferNumber[buffer.getSymName()] = uint32_t(buffers.size());
      buffers.push_back(buffer);
    }
  }
  if (llvm::Error error = collectEndTokens())
    return error;
  if (llvm::Error error = checkSlots())
    return error;
  collectEntries();
  ManifestNumbers numbers{weightNumber, bufferNumber, {}, {}};
  for (auto [e, entry] : llvm::enumerate(entryParts)) {
    if (!gpu)
      numbers.schedules[entry.any.getSymName()].push_back({uint32_t(e)});
    for (auto [c, part] : llvm::enumerate(entry.classes))
      numbers.schedules[part.second.getSymName()].push_back(
          {uint32_t(e), uint32_t(c)});
  }
  auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
  for (auto [i, level] : llvm::enumerate(machine.getLevels()))
    numbers.levels[level.getName()] = uint32_t(i);
  SmallVector<uint64_t> slotBytes;
  for (Slot &slot : slots)
    slotBytes.push_back(slot.packedBytes);
  plan = recordPlan(module, numbers, slotBytes, limits);
  return llvm::Error::success();
}

void PackageWriter::collectEntries() {
  llvm::MapVector<StringRef, SmallVector<flow::ScheduleOp>> schedules;
  for (auto schedule : module.getOps<flow::ScheduleOp>()) {
    auto entry = schedule->getAttrOfType<StringAttr>("headrace.entry");
    schedules[entry ? entry.getValue() : schedule.getSymName()].push_back(
        schedule);
  }
  for (auto &[name, parts] : schedules) {
    entryParts.push_back({name, parts.front(), {}});
    for (uint32_t section = 0; gpu && section < code.sections.size();
         ++section) {
      bool cubin = code.sections[section].format == abi::CodeFormat::cubin;
      for (flow::ScheduleOp schedule : parts)
        if (isInSection(schedule, cubin ? kCubin : kPtx))
          entryParts.back().classes.push_back({section, schedule});
    }
  }
}

/// A kernel reads as many slots behind an operand's first as the weight has.
llvm::Error PackageWriter::checkSlots() {
  llvm::Error error = llvm::Error::success();
  module.walk([&](flow::LaunchOp launch) {
    if (!kernelNumber.count(launch.getKernel()))
      return WalkResult::advance(); // The driver's library runs it.
    const std::vector<uint32_t> &reads =
        code.kernels[kernelNumber.lookup(launch.getKernel())].weightSlots;
    size_t operand = 0;
    for (auto symbol : launch.getInputs().getAsRange<FlatSymbolRefAttr>()) {
      auto it = weightNumber.find(symbol.getValue());
      if (it == weightNumber.end())
        continue;
      tier::WeightOp weight = slots[it->second].weight;
      int64_t have = weightSlots(cast<RankedTensorType>(weight.getType()));
      if (operand < reads.size() && reads[operand] == have) {
        ++operand;
        continue;
      }
      error = llvm::joinErrors(
          std::move(error),
          llvm::createStringError(
              "kernel '%s': expected weight operand #%zu to have %lld slots, "
              "but '%s' has %lld",
              launch.getKernel().str().c_str(), operand,
              operand < reads.size() ? (long long)reads[operand] : 0,
              weight.getSymName().str().c_str(), (long long)have));
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return error;
}

llvm::Error PackageWriter::collectEndTokens() {
  ArrayAttr ends;
  if (auto model = module->getAttrOfType<DictionaryAttr>("headrace.model"))
    ends = model.getAs<ArrayAttr>("eos");
  if (!ends)
    return llvm::Error::success();
  for (Attribute id : ends) {
    auto number = dyn_cast<IntegerAttr>(id);
    int64_t token = number ? number.getInt() : -1;
    if (token < 0 || token >= modelNumber("vocabulary"))
      return llvm::createStringError(
          "the module's 'headrace.model': expected 'eos' to hold token ids "
          "below the vocabulary of %lld, but got %s",
          (long long)modelNumber("vocabulary"), text(id).c_str());
    endTokens.push_back(int32_t(token));
  }
  return llvm::Error::success();
}

int64_t PackageWriter::modelNumber(StringRef name) {
  auto model = module->getAttrOfType<DictionaryAttr>("headrace.model");
  auto attr = model ? model.getAs<IntegerAttr>(name) : IntegerAttr();
  return attr ? attr.getInt() : 0;
}

/// Slots in the order in which their blobs lie in the file: what moves together
/// side by side, so that one read brings it, then all others.
SmallVector<uint32_t, 0> PackageWriter::fileOrder() const {
  llvm::SetVector<uint32_t> order;
  if (plan.plan)
    for (const auto &bundle : plan.plan->bundles)
      order.insert(bundle->weights.begin(), bundle->weights.end());
  for (uint32_t i = 0; i < slots.size(); ++i)
    order.insert(i);
  return order.takeVector();
}

llvm::Error PackageWriter::packWeights(OutputFile &file, uint64_t &end) {
  std::string directory = options.checkpoint;
  if (directory.empty())
    if (auto attr = module->getAttrOfType<StringAttr>("headrace.checkpoint"))
      directory = attr.str();
  Checkpoint checkpoint(directory);
  std::map<std::vector<uint8_t>, uint32_t> known;
  std::vector<BlobRecord> unique;
  std::vector<char> gathered, packed;
  BlockWriter writer(file, end);
  uint64_t done = 0;
  for (uint32_t number : fileOrder()) {
    Slot &slot = slots[number];
    auto type = cast<RankedTensorType>(slot.weight.getType());
    uint64_t sourceBytes =
        tier::storedBytes(type).value_or(0) / uint64_t(weightSlots(type));
    auto source = checkpoint.read(
        slot.weight, uint64_t(std::max<int64_t>(slot.expert, 0)) * sourceBytes,
        sourceBytes, gathered);
    if (!source)
      return source.takeError();
    uint64_t bytes = slot.packedBytes;
    BlobRecord record;
    record.offset = end;
    record.bytes = bytes;
    llvm::BLAKE3 hash;
    uint64_t at = 0;
    // Whole chunks go out as they fill, so that memory stays bounded.
    packed.clear();
    auto flush = [&](bool last) -> llvm::Error {
      uint64_t ready = packed.size();
      if (!last)
        ready -= ready % HEADRACE_PACKAGE_CHUNK_BYTES;
      if (!ready)
        return llvm::Error::success();
      hash.update(llvm::StringRef(packed.data(), ready));
      for (uint64_t c = 0; c < ready; c += HEADRACE_PACKAGE_CHUNK_BYTES)
        record.chunks.push_back(llvm::xxh3_64bits(llvm::StringRef(
            packed.data() + c,
            std::min<uint64_t>(HEADRACE_PACKAGE_CHUNK_BYTES, ready - c))));
      if (llvm::Error error = writer.write(packed.data(), ready, end + at))
        return error;
      at += ready;
      packed.erase(packed.begin(), packed.begin() + int64_t(ready));
      done += ready;
      if (options.progress)
        options.progress(done, totalPacked);
      return llvm::Error::success();
    };
    constexpr uint64_t kBatch = uint64_t(16) << 20;
    if (WeightPieces pieces = piecesOf(type)) {
      for (int64_t i = 0; i < pieces.count; ++i) {
        size_t from = packed.size();
        packed.resize(from + size_t(pieces.bytes));
        pieces.pack(*source, i, packed.data() + from);
        if (packed.size() >= kBatch)
          if (llvm::Error error = flush(false))
            return error;
      }
    } else {
      for (uint64_t from = 0; from < bytes; from += kBatch) {
        uint64_t part = std::min(kBatch, bytes - from);
        packed.insert(packed.end(), *source + from, *source + from + part);
        if (llvm::Error error = flush(false))
          return error;
      }
    }
    if (llvm::Error error = flush(true))
      return error;
    auto digest = hash.final<32>();
    record.blake3.assign(digest.begin(), digest.end());
    // Equal bytes are stored once: the next blob takes this one's place.
    auto [it, fresh] =
        known.try_emplace(record.blake3, uint32_t(unique.size()));
    slot.blob = it->second;
    if (fresh) {
      unique.push_back(record);
      end = alignUp(end + bytes);
    } else if (llvm::Error error = writer.truncate(end)) {
      return error;
    }
  }
  blobs = std::move(unique);
  return writer.finish();
}

std::vector<uint8_t> PackageWriter::manifest() {
  flatbuffers::FlatBufferBuilder b(1 << 16);
  auto model = module->getAttrOfType<DictionaryAttr>("headrace.model");
  auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
  auto arenaBytes = [&](uint32_t level) -> uint64_t {
    auto it = plan.arenas.find(level);
    return it == plan.arenas.end() ? 0 : it->second;
  };
  std::vector<flatbuffers::Offset<abi::Level>> levels;
  llvm::StringMap<uint32_t> levelNumber;
  for (tier::LevelAttr level : machine.getLevels()) {
    levelNumber[level.getName()] = uint32_t(levels.size());
    levels.push_back(abi::CreateLevel(b, b.CreateString(level.getName().str()),
                                      level.getBytes() * level.getCount(),
                                      arenaBytes(uint32_t(levels.size()))));
  }
  std::vector<flatbuffers::Offset<abi::Blob>> blobList;
  for (const BlobRecord &blob : blobs)
    blobList.push_back(abi::CreateBlob(b, blob.offset, blob.bytes,
                                       b.CreateVector(blob.blake3),
                                       b.CreateVector(blob.chunks)));
  std::vector<flatbuffers::Offset<abi::Weight>> weightList;
  for (Slot &slot : slots) {
    std::string name = slot.weight.getSymName().str();
    auto type = cast<RankedTensorType>(slot.weight.getType());
    if (slot.expert >= 0) {
      name += "[" + std::to_string(slot.expert) + "]";
      type = RankedTensorType::get(type.getShape().drop_front(),
                                   type.getElementType(), type.getEncoding());
    }
    const PlanRecord::Place &place = plan.slots[weightList.size()];
    weightList.push_back(abi::CreateWeight(
        b, b.CreateString(name), b.CreateString(text(type)), slot.blob,
        place.residency, place.level, place.offset));
  }
  std::vector<flatbuffers::Offset<abi::Buffer>> bufferList;
  uint64_t arena = 0;
  StringRef home = gpu ? "hbm" : "dram"; // Where activations are.
  for (tier::BufferOp buffer : buffers) {
    bool scratch = !buffer.getRole();
    uint64_t offset = buffer.getOffset().value_or(0);
    if (auto it = plan.buffers.find(uint32_t(bufferList.size()));
        it != plan.buffers.end())
      offset = it->second;
    if (scratch) {
      arena = std::max<uint64_t>(arena, offset + buffer.getBytes());
      home = buffer.getLevel();
    }
    bool view = !scratch && buffer.getOffset();
    StringRef role = buffer.getRole().value_or("");
    bufferList.push_back(abi::CreateBuffer(
        b, b.CreateString(buffer.getSymName().str()),
        scratch              ? abi::BufferKind::scratch
        : view               ? abi::BufferKind::view
        : buffer.getOutput() ? abi::BufferKind::output
                             : abi::BufferKind::input,
        b.CreateString(view                     ? ""
                       : buffer->hasAttr(kKept) ? HEADRACE_ROLE_KEPT
                                                : role.str()),
        b.CreateString(text(buffer.getType())), elementOf(buffer.getType()),
        levelNumber.lookup(buffer.getLevel()), offset, buffer.getBytes(),
        scratch || view ? abi::RowKind::fixed : rowsOf(role),
        view ? bufferNumber.lookup(role) : 0));
  }
  std::vector<flatbuffers::Offset<abi::Kernel>> kernelList;
  for (const CompiledKernel &kernel : code.kernels) {
    auto name = b.CreateString(kernel.name);
    std::vector<flatbuffers::Offset<abi::KernelResources>> resources;
    for (const abi::KernelResourcesT &needs : kernel.resources)
      resources.push_back(abi::CreateKernelResources(b, &needs));
    kernelList.push_back(abi::CreateKernel(
        b, name, b.CreateString(kernel.family), kernel.entry,
        kernel.scratchBytes, gpu ? b.CreateString(kernel.name) : 0,
        gpu ? b.CreateVector(resources) : 0,
        b.CreateVector(kernel.weightSlots)));
  }
  auto numbers = [&](ArrayAttr symbols) {
    std::vector<uint32_t> out;
    for (auto symbol : symbols.getAsRange<FlatSymbolRefAttr>())
      out.push_back(bufferNumber.lookup(symbol.getValue()));
    return out;
  };
  auto launchesOf = [&](flow::ScheduleOp schedule) {
    std::vector<flatbuffers::Offset<abi::Launch>> launches;
    schedule.walk([&](flow::LaunchOp launch) {
      std::vector<uint32_t> operands, firstSlots;
      for (auto symbol : launch.getInputs().getAsRange<FlatSymbolRefAttr>()) {
        auto it = weightNumber.find(symbol.getValue());
        if (it != weightNumber.end())
          firstSlots.push_back(it->second);
        else
          operands.push_back(bufferNumber.lookup(symbol.getValue()));
      }
      for (uint32_t result : numbers(launch.getResults()))
        operands.push_back(result);
      if (auto product = productOf(launch)) {
        abi::MatmulT matmul = matmulOf(product);
        auto sizes = abi::CreateMatmul(b, &matmul);
        launches.push_back(
            abi::CreateLaunch(b, /*kernel=*/0, b.CreateVector(operands),
                              b.CreateVector(firstSlots), abi::GridKind::fixed,
                              1, 1, 1, abi::LaunchKind::matmul, sizes));
        return;
      }
      uint32_t kernel = kernelNumber.lookup(launch.getKernel());
      flow::GridAttr grid = code.kernels[kernel].grid;
      launches.push_back(abi::CreateLaunch(
          b, kernel, b.CreateVector(operands), b.CreateVector(firstSlots),
          abi::GridKind(grid.getKind()), uint64_t(grid.getBase()),
          uint64_t(grid.getBlock()), uint64_t(grid.getLimit())));
    });
    return b.CreateVector(launches);
  };
  auto stepsOf = [&](flow::ScheduleOp schedule) {
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<abi::Step>>>
        list = 0;
    if (plan.plan) {
      std::vector<flatbuffers::Offset<abi::Step>> steps;
      for (const auto &step : plan.steps[schedule.getSymName()])
        steps.push_back(abi::CreateStep(b, step.get()));
      list = b.CreateVector(steps);
    }
    return list;
  };
  std::vector<flatbuffers::Offset<abi::Entry>> entries;
  for (const EntryParts &entry : entryParts) {
    std::vector<flatbuffers::Offset<abi::StepClass>> classes;
    for (auto [section, schedule] : entry.classes) {
      auto bounds = schedule->getAttrOfType<DictionaryAttr>("headrace.class");
      auto bound = [&](StringRef name) {
        return uint32_t(bounds.getAs<IntegerAttr>(name).getInt());
      };
      auto launches = launchesOf(schedule);
      classes.push_back(abi::CreateStepClass(
          b, section, bound("max_tokens"), bound("max_sequences"),
          bound("max_outputs"), launches, stepsOf(schedule)));
    }
    flow::ScheduleOp any = entry.any;
    auto launches =
        gpu ? b.CreateVector(std::vector<flatbuffers::Offset<abi::Launch>>())
            : launchesOf(any);
    auto steps = gpu ? 0 : stepsOf(any);
    entries.push_back(
        abi::CreateEntry(b, b.CreateString(entry.name.str()),
                         b.CreateVector(numbers(any.getInputs())),
                         b.CreateVector(numbers(any.getOutputs())), launches,
                         gpu ? b.CreateVector(classes) : 0, steps));
  }
  std::vector<flatbuffers::Offset<abi::Code>> codeList;
  for (const CodeSection &section : code.sections)
    codeList.push_back(abi::CreateCode(
        b, b.CreateString(section.target), b.CreateString(section.cpu),
        section.features, section.abiVersion, section.offset,
        section.bytes.size(),
        llvm::xxh3_64bits(
            llvm::StringRef(section.bytes.data(), section.bytes.size())),
        section.format));
  flatbuffers::Offset<abi::KvCache> cache = 0;
  if (auto type = module->getAttrOfType<TypeAttr>("headrace.kv_cache")) {
    auto kv = cast<nn::KvCacheType>(type.getValue());
    KvLayout layout(kv, gpu);
    cache = abi::CreateKvCache(
        b, uint32_t(kv.getLayers()), uint32_t(kv.getHeads()),
        uint32_t(kv.getHeadDim()), elementOf(kv.getElement()),
        uint64_t(layout.pageElements) *
            (kv.getElement().getIntOrFloatBitWidth() / 8),
        uint32_t(llvm::divideCeil(uint64_t(limits.maxContext),
                                  HEADRACE_KV_PAGE_POSITIONS)));
  }
  auto bounds = abi::CreateLimits(
      b, uint32_t(limits.maxTokens), uint32_t(limits.maxSequences),
      uint32_t(limits.maxContext), uint32_t(modelNumber("vocabulary")));
  std::vector<flatbuffers::Offset<abi::Peak>> peaks;
  for (const auto &peak : plan.certificate)
    peaks.push_back(abi::CreatePeak(b, peak.get()));
  if (!plan.plan)
    peaks.push_back(abi::CreatePeak(b, levelNumber.lookup(home), arena));
  StringRef name = "model";
  if (model)
    if (auto attr = model.getAs<StringAttr>("name"))
      name = attr.getValue();
  flatbuffers::Offset<flatbuffers::Vector<int32_t>> ends = 0;
  if (!endTokens.empty())
    ends = b.CreateVector(endTokens);
  auto root = abi::CreateManifest(
      b, b.CreateString("headrace " HEADRACE_VERSION),
      b.CreateString(name.str()), b.CreateVector(levels),
      b.CreateVector(blobList), b.CreateVector(weightList),
      b.CreateVector(bufferList), b.CreateVector(kernelList),
      b.CreateVector(entries), b.CreateVector(codeList), cache, bounds,
      b.CreateVector(peaks), HEADRACE_PACKAGE_CHUNK_BYTES,
      plan.plan ? abi::CreatePlan(b, plan.plan.get()) : 0, ends);
  abi::FinishManifestBuffer(b, root);
  return {b.GetBufferPointer(), b.GetBufferPointer() + b.GetSize()};
}

llvm::Error PackageWriter::run() {
  if (llvm::Error error = emitCode())
    return error;
  if (llvm::Error error = collect())
    return error;
  // Where code and blobs lie follows from the manifest's size, which does not
  // depend on the numbers in it, except that equal weights may shrink it.
  uint64_t room = manifest().size();
  uint64_t end = alignUp(sizeof(headrace_package_header_t) + room), codeEnd = 0;
  for (CodeSection &section : code.sections) {
    section.offset = end;
    codeEnd = end + section.bytes.size();
    end = alignUp(codeEnd);
  }
  OutputFile file;
  if (llvm::Error error = file.create(path))
    return error;
  if (llvm::Error error = file.checkSpace(
          end + totalPacked + slots.size() * HEADRACE_PACKAGE_ALIGNMENT))
    return error;
  uint64_t blobsFrom = end;
  if (llvm::Error error = packWeights(file, end))
    return error;
  if (end == blobsFrom)
    end = codeEnd;
  else // The last blob ends the file, without padding.
    end = blobs.back().offset + blobs.back().bytes;
  std::vector<uint8_t> bytes = manifest();
  if (plan.plan) {
    plan.setDigest(scheduleDigest(bytes.data()));
    bytes = manifest();
  }
  if (bytes.size() > room)
    return llvm::createStringError("%s: the manifest outgrew its room",
                                   path.str().c_str());
  headrace_package_header_t header;
  memset(&header, 0, sizeof(header));
  memcpy(header.magic, HEADRACE_PACKAGE_MAGIC, 8);
  header.version = HEADRACE_PACKAGE_VERSION;
  header.header_bytes = sizeof(header);
  header.file_bytes = end;
  header.manifest_bytes = bytes.size();
  header.manifest_xxh3 = llvm::xxh3_64bits(bytes);
  header.header_xxh3 = llvm::xxh3_64bits(llvm::ArrayRef<uint8_t>(
      reinterpret_cast<uint8_t *>(&header),
      offsetof(headrace_package_header_t, header_xxh3)));
  if (llvm::Error error =
          file.write(reinterpret_cast<char *>(&header), sizeof(header), 0))
    return error;
  if (llvm::Error error =
          file.write(reinterpret_cast<const char *>(bytes.data()), bytes.size(),
                     sizeof(header)))
    return error;
  for (const CodeSection &section : code.sections)
    if (llvm::Error error = file.write(section.bytes.data(),
                                       section.bytes.size(), section.offset))
      return error;
  if (llvm::Error error = file.truncate(end))
    return error;
  return file.finish();
}

} // namespace

llvm::Error headrace::writePackage(ModuleOp module, llvm::StringRef path,
                                   const PackageOptions &options) {
  return PackageWriter(module, path, options).run();
}
