// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes the manifest of a package, table by table.
#include "compiler/package/WriteManifest.h"

#include "compiler/codegen/gpu/GpuEmitters.h"
#include "dialects/nn/IR/Nn.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/package_format.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace headrace;
namespace abi = headrace::abi;

template <typename T> using Table = std::vector<flatbuffers::Offset<T>>;
template <typename T>
using Vector = flatbuffers::Offset<flatbuffers::Vector<T>>;
template <typename T> using TableVector = Vector<flatbuffers::Offset<T>>;

static std::string print(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

static abi::ElementType elementOf(Type type) {
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
static abi::RowKind rowsOf(StringRef role) {
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
static DictionaryAttr productOf(flow::LaunchOp launch) {
  Operation *kernel = launch->getParentOfType<ModuleOp>().lookupSymbol(
      launch.getKernelAttr().getAttr());
  return kernel ? kernel->getAttrOfType<DictionaryAttr>(kProductAttr)
                : DictionaryAttr();
}

static abi::MatmulT matmulOf(DictionaryAttr product) {
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

namespace {

class ManifestWriter {
public:
  ManifestWriter(const PackageContents &contents, const StoredWeights &stored)
      : contents(contents), stored(stored), module(contents.module),
        plan(contents.plan), b(1 << 16) {}

  std::vector<uint8_t> run();

private:
  Table<abi::Level> levels();
  Table<abi::Blob> blobs();
  Table<abi::Weight> weights();
  uint64_t offsetOf(uint32_t number);
  Table<abi::Buffer> buffers();
  Table<abi::Kernel> kernels();
  flatbuffers::Offset<abi::Launch> launch(flow::LaunchOp op);
  TableVector<abi::Launch> launches(flow::ScheduleOp schedule);
  TableVector<abi::Step> steps(flow::ScheduleOp schedule);
  Table<abi::StepClass> classes(const EntryParts &entry);
  Table<abi::Entry> entries();
  Table<abi::Code> code();
  flatbuffers::Offset<abi::KvCache> kvCache();
  flatbuffers::Offset<abi::Peak> peakOfActivations();
  Table<abi::Peak> peaks();
  std::vector<uint32_t> bufferNumbers(ArrayAttr symbols);

  const PackageContents &contents;
  const StoredWeights &stored;
  ModuleOp module;
  const PlanRecord &plan;
  flatbuffers::FlatBufferBuilder b;
};

Table<abi::Level> ManifestWriter::levels() {
  Table<abi::Level> list;
  auto machine = module->getAttrOfType<tier::MachineAttr>("tier.machine");
  for (tier::LevelAttr level : machine.getLevels()) {
    auto arena = plan.arenas.find(uint32_t(list.size()));
    list.push_back(
        abi::CreateLevel(b, b.CreateString(level.getName().str()),
                         level.getBytes() * level.getCount(),
                         arena == plan.arenas.end() ? 0 : arena->second));
  }
  return list;
}

Table<abi::Blob> ManifestWriter::blobs() {
  Table<abi::Blob> list;
  for (const StoredBlob &blob : stored.blobs)
    list.push_back(abi::CreateBlob(b, blob.offset, blob.bytes,
                                   b.CreateVector(blob.blake3),
                                   b.CreateVector(blob.chunks)));
  return list;
}

Table<abi::Weight> ManifestWriter::weights() {
  Table<abi::Weight> list;
  for (const WeightSlot &slot : contents.slots) {
    tier::WeightOp weight = slot.weight;
    std::string name = weight.getSymName().str();
    auto type = cast<RankedTensorType>(weight.getType());
    if (slot.expert >= 0) {
      name += "[" + std::to_string(slot.expert) + "]";
      type = RankedTensorType::get(type.getShape().drop_front(),
                                   type.getElementType(), type.getEncoding());
    }
    const PlanRecord::Place &place = plan.slots[list.size()];
    list.push_back(
        abi::CreateWeight(b, b.CreateString(name), b.CreateString(print(type)),
                          stored.blobOf[list.size()], place.residency,
                          place.level, place.offset));
  }
  return list;
}

/// Of the buffer with `number`, in its level or its host's buffer.
uint64_t ManifestWriter::offsetOf(uint32_t number) {
  auto it = plan.buffers.find(number);
  tier::BufferOp buffer = contents.buffers[number];
  return it == plan.buffers.end() ? buffer.getOffset().value_or(0) : it->second;
}

Table<abi::Buffer> ManifestWriter::buffers() {
  Table<abi::Buffer> list;
  for (tier::BufferOp buffer : contents.buffers) {
    bool scratch = !buffer.getRole();
    bool view = !scratch && buffer.getOffset();
    StringRef role = buffer.getRole().value_or("");
    list.push_back(abi::CreateBuffer(
        b, b.CreateString(buffer.getSymName().str()),
        scratch              ? abi::BufferKind::scratch
        : view               ? abi::BufferKind::view
        : buffer.getOutput() ? abi::BufferKind::output
                             : abi::BufferKind::input,
        b.CreateString(view                     ? ""
                       : buffer->hasAttr(kKept) ? HEADRACE_ROLE_KEPT
                                                : role.str()),
        b.CreateString(print(buffer.getType())), elementOf(buffer.getType()),
        contents.levelNumber.lookup(buffer.getLevel()),
        offsetOf(uint32_t(list.size())), buffer.getBytes(),
        scratch || view ? abi::RowKind::fixed : rowsOf(role),
        view ? contents.bufferNumber.lookup(role) : 0));
  }
  return list;
}

Table<abi::Kernel> ManifestWriter::kernels() {
  bool gpu = contents.gpu;
  Table<abi::Kernel> list;
  for (const CompiledKernel &kernel : contents.code.kernels) {
    auto name = b.CreateString(kernel.name);
    Table<abi::KernelResources> resources;
    for (const abi::KernelResourcesT &needs : kernel.resources)
      resources.push_back(abi::CreateKernelResources(b, &needs));
    list.push_back(abi::CreateKernel(b, name, b.CreateString(kernel.family),
                                     kernel.entry, kernel.scratchBytes,
                                     gpu ? b.CreateString(kernel.name) : 0,
                                     gpu ? b.CreateVector(resources) : 0,
                                     b.CreateVector(kernel.weightSlots)));
  }
  return list;
}

std::vector<uint32_t> ManifestWriter::bufferNumbers(ArrayAttr symbols) {
  std::vector<uint32_t> numbers;
  for (auto symbol : symbols.getAsRange<FlatSymbolRefAttr>())
    numbers.push_back(contents.bufferNumber.lookup(symbol.getValue()));
  return numbers;
}

flatbuffers::Offset<abi::Launch> ManifestWriter::launch(flow::LaunchOp op) {
  std::vector<uint32_t> operands, firstSlots;
  for (auto symbol : op.getInputs().getAsRange<FlatSymbolRefAttr>()) {
    auto it = contents.firstSlot.find(symbol.getValue());
    if (it != contents.firstSlot.end())
      firstSlots.push_back(it->second);
    else
      operands.push_back(contents.bufferNumber.lookup(symbol.getValue()));
  }
  for (uint32_t result : bufferNumbers(op.getResults()))
    operands.push_back(result);
  if (auto product = productOf(op)) {
    abi::MatmulT matmul = matmulOf(product);
    auto sizes = abi::CreateMatmul(b, &matmul);
    return abi::CreateLaunch(b, /*kernel=*/0, b.CreateVector(operands),
                             b.CreateVector(firstSlots), abi::GridKind::fixed,
                             1, 1, 1, abi::LaunchKind::matmul, sizes);
  }
  uint32_t kernel = contents.kernelNumber.lookup(op.getKernel());
  flow::GridAttr grid = contents.code.kernels[kernel].grid;
  return abi::CreateLaunch(
      b, kernel, b.CreateVector(operands), b.CreateVector(firstSlots),
      abi::GridKind(grid.getKind()), uint64_t(grid.getBase()),
      uint64_t(grid.getBlock()), uint64_t(grid.getLimit()));
}

TableVector<abi::Launch> ManifestWriter::launches(flow::ScheduleOp schedule) {
  Table<abi::Launch> list;
  schedule.walk([&](flow::LaunchOp op) { list.push_back(launch(op)); });
  return b.CreateVector(list);
}

TableVector<abi::Step> ManifestWriter::steps(flow::ScheduleOp schedule) {
  if (!plan.plan)
    return 0;
  Table<abi::Step> list;
  if (auto it = plan.steps.find(schedule.getSymName()); it != plan.steps.end())
    for (const auto &step : it->second)
      list.push_back(abi::CreateStep(b, step.get()));
  return b.CreateVector(list);
}

Table<abi::StepClass> ManifestWriter::classes(const EntryParts &entry) {
  Table<abi::StepClass> list;
  for (auto [section, part] : entry.classes) {
    flow::ScheduleOp schedule = part;
    auto bounds = schedule->getAttrOfType<DictionaryAttr>("headrace.class");
    auto bound = [&](StringRef name) {
      return uint32_t(bounds.getAs<IntegerAttr>(name).getInt());
    };
    auto run = launches(schedule);
    list.push_back(abi::CreateStepClass(
        b, section, bound("max_tokens"), bound("max_sequences"),
        bound("max_outputs"), run, steps(schedule)));
  }
  return list;
}

Table<abi::Entry> ManifestWriter::entries() {
  bool gpu = contents.gpu;
  Table<abi::Entry> list;
  for (const EntryParts &entry : contents.entries) {
    Table<abi::StepClass> byClass = classes(entry);
    flow::ScheduleOp any = entry.any;
    auto run = gpu ? b.CreateVector(Table<abi::Launch>()) : launches(any);
    auto moves = gpu ? 0 : steps(any);
    list.push_back(
        abi::CreateEntry(b, b.CreateString(entry.name.str()),
                         b.CreateVector(bufferNumbers(any.getInputs())),
                         b.CreateVector(bufferNumbers(any.getOutputs())), run,
                         gpu ? b.CreateVector(byClass) : 0, moves));
  }
  return list;
}

Table<abi::Code> ManifestWriter::code() {
  Table<abi::Code> list;
  for (const CodeSection &section : contents.code.sections)
    list.push_back(abi::CreateCode(
        b, b.CreateString(section.target), b.CreateString(section.cpu),
        section.features, section.abiVersion, section.offset,
        section.bytes.size(),
        llvm::xxh3_64bits(
            llvm::StringRef(section.bytes.data(), section.bytes.size())),
        section.format));
  return list;
}

flatbuffers::Offset<abi::KvCache> ManifestWriter::kvCache() {
  auto type = module->getAttrOfType<TypeAttr>("headrace.kv_cache");
  if (!type)
    return 0;
  auto cache = cast<nn::KvCacheType>(type.getValue());
  KvLayout layout(cache, contents.gpu);
  return abi::CreateKvCache(
      b, uint32_t(cache.getLayers()), uint32_t(cache.getHeads()),
      uint32_t(cache.getHeadDim()), elementOf(cache.getElement()),
      uint64_t(layout.pageElements) *
          (cache.getElement().getIntOrFloatBitWidth() / 8),
      uint32_t(llvm::divideCeil(uint64_t(contents.limits.maxContext),
                                HEADRACE_KV_PAGE_POSITIONS)));
}

flatbuffers::Offset<abi::Peak> ManifestWriter::peakOfActivations() {
  StringRef level = contents.gpu ? "hbm" : "dram";
  uint64_t bytes = 0;
  for (auto [i, op] : llvm::enumerate(contents.buffers)) {
    tier::BufferOp buffer = op;
    if (buffer.getRole())
      continue;
    level = buffer.getLevel();
    bytes =
        std::max<uint64_t>(bytes, offsetOf(uint32_t(i)) + buffer.getBytes());
  }
  return abi::CreatePeak(b, contents.levelNumber.lookup(level), bytes);
}

/// A plan's certificate; without a plan only activations have a place.
Table<abi::Peak> ManifestWriter::peaks() {
  if (!plan.plan)
    return {peakOfActivations()};
  Table<abi::Peak> list;
  for (const auto &peak : plan.certificate)
    list.push_back(abi::CreatePeak(b, peak.get()));
  return list;
}

std::vector<uint8_t> ManifestWriter::run() {
  // Tables lie in the order in which they are made.
  auto levelList = levels();
  auto blobList = blobs();
  auto weightList = weights();
  auto bufferList = buffers();
  auto kernelList = kernels();
  auto entryList = entries();
  auto codeList = code();
  auto cache = kvCache();
  auto limits = abi::CreateLimits(b, uint32_t(contents.limits.maxTokens),
                                  uint32_t(contents.limits.maxSequences),
                                  uint32_t(contents.limits.maxContext),
                                  uint32_t(contents.modelNumber("vocabulary")));
  auto peakList = peaks();
  StringRef name = "model";
  if (auto model = module->getAttrOfType<DictionaryAttr>("headrace.model"))
    if (auto attr = model.getAs<StringAttr>("name"))
      name = attr.getValue();
  Vector<int32_t> ends =
      contents.endTokens.empty() ? 0 : b.CreateVector(contents.endTokens);
  auto root = abi::CreateManifest(
      b, b.CreateString("headrace " HEADRACE_VERSION),
      b.CreateString(name.str()), b.CreateVector(levelList),
      b.CreateVector(blobList), b.CreateVector(weightList),
      b.CreateVector(bufferList), b.CreateVector(kernelList),
      b.CreateVector(entryList), b.CreateVector(codeList), cache, limits,
      b.CreateVector(peakList), HEADRACE_PACKAGE_CHUNK_BYTES,
      plan.plan ? abi::CreatePlan(b, plan.plan.get()) : 0, ends);
  abi::FinishManifestBuffer(b, root);
  return {b.GetBufferPointer(), b.GetBufferPointer() + b.GetSize()};
}

} // namespace

std::vector<uint8_t> headrace::writeManifest(const PackageContents &contents,
                                             const StoredWeights &stored) {
  return ManifestWriter(contents, stored).run();
}
