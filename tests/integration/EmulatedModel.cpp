// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a compiled model launch by launch.
#include "tests/integration/EmulatedModel.h"

#include "compiler/package/WeightPieces.h"
#include "dialects/RegisterAll.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/Parser/Parser.h"
#include "runtime/abi/kernel_abi.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include <gtest/gtest.h>
#include <unistd.h>

using namespace headrace;
using namespace headrace::testing;
using namespace mlir;

constexpr uint64_t kPages = 64; ///< Of the pool.

llvm::Error EmulatedModel::open(const std::string &checkpoint,
                                int64_t maxTokens) {
  tools::CompileRequest request;
  request.checkpoint = checkpoint;
  if (llvm::Error error = compile(request, maxTokens, checkpoint))
    return error;
  auto model = (*module)->getAttrOfType<DictionaryAttr>("headrace.model");
  vocabulary = model.getAs<IntegerAttr>("vocabulary").getInt();
  return llvm::Error::success();
}

llvm::Error EmulatedModel::openText(const std::string &text,
                                    const std::string &weights,
                                    int64_t maxTokens) {
  tools::CompileRequest request;
  request.moduleText = text;
  request.modulePath = "the text";
  request.weights = weights;
  return compile(request, maxTokens, weights);
}

llvm::Error EmulatedModel::compile(tools::CompileRequest &request,
                                   int64_t maxTokens,
                                   const std::string &weights) {
  DialectRegistry registry;
  registerAllDialects(registry);
  context.appendDialectRegistry(registry);
  std::string path = ::testing::TempDir() + "headrace-emulated-" +
                     std::to_string(getpid()) + ".mlir";
  prepare(request);
  request.output = path;
  request.maxTokens = maxTokens;
  request.maxSequences = 4;
  request.quiet = true;
  if (llvm::Error error = tools::compile(request))
    return error;
  module = parseSourceFile<ModuleOp>(path, ParserConfig(&context));
  llvm::sys::fs::remove(path);
  if (!module)
    return llvm::createStringError("the dump of phase '%s' is no module",
                                   request.to.c_str());
  limits = StepLimits::of(*module);
  if (llvm::Error error = complete())
    return error;
  if (llvm::Error error = bindWeights(weights))
    return error;
  return placeBuffers();
}

/// A matrix of a weight of `type` as its kernels read it.
static std::vector<char> pack(RankedTensorType type, std::vector<char> bytes) {
  WeightPieces pieces = piecesOf(type);
  if (!pieces)
    return bytes;
  std::vector<char> packed(size_t(pieces.count * pieces.bytes));
  for (int64_t i = 0; i < pieces.count; ++i)
    pieces.pack(bytes.data(), i, packed.data() + i * pieces.bytes);
  return packed;
}

llvm::Error EmulatedModel::bindWeights(const std::string &checkpoint) {
  for (auto weight : module->getOps<tier::WeightOp>()) {
    std::vector<char> source;
    for (auto range : weight.getSource().getAsRange<tier::RangeAttr>()) {
      auto file = llvm::MemoryBuffer::getFile(
          checkpoint + "/" + range.getFile().str(), false, false);
      if (!file)
        return llvm::createStringError("a file of weights cannot be read");
      size_t at = source.size();
      source.resize(at + range.getBytes());
      range.gather((*file)->getBufferStart() + range.getOffset(), &source[at]);
    }
    auto type = cast<RankedTensorType>(weight.getType());
    int64_t count = weightSlots(type);
    uint64_t each = source.size() / uint64_t(count);
    weights[weight.getSymName().str()] = {slots.size(), uint64_t(count)};
    for (int64_t i = 0; i < count; ++i) {
      std::vector<char> bytes(source.begin() + i * int64_t(each),
                              source.begin() + (i + 1) * int64_t(each));
      bytes = pack(type, std::move(bytes));
      uint64_t address = memory.allocate(weight.getSymName().str() + "[" +
                                             std::to_string(i) + "]",
                                         bytes.size());
      memory.write(address, bytes.data(), bytes.size());
      slots.push_back(address);
    }
  }
  table = memory.allocate("binding table", slots.size() * 8);
  memory.write(table, slots.data(), slots.size() * 8);
  counts = memory.allocate("counts", HEADRACE_COUNT_COUNT * 8);
  return llvm::Error::success();
}

llvm::Error EmulatedModel::placeBuffers() {
  if (auto type = (*module)->getAttrOfType<TypeAttr>("headrace.kv_cache")) {
    auto cache = cast<nn::KvCacheType>(type.getValue());
    pageBytes = uint64_t(KvLayout(cache, isGpu()).pageElements) *
                (cache.getElement().getIntOrFloatBitWidth() / 8);
    pool = memory.allocate("kv_pool", kPages * pageBytes);
    memory.zero(pool, kPages * pageBytes);
    maxPages = (limits.maxContext + HEADRACE_KV_PAGE_POSITIONS - 1) /
               HEADRACE_KV_PAGE_POSITIONS;
  }
  for (auto buffer : module->getOps<tier::BufferOp>())
    if (!buffer.getRole())
      arenaBytes = std::max<uint64_t>(
          arenaBytes, *buffer.getOffset() + uint64_t(buffer.getBytes()));
  arena = memory.allocate("arena", arenaBytes);
  memory.zero(arena, arenaBytes);
  for (auto buffer : module->getOps<tier::BufferOp>()) {
    std::string name = buffer.getSymName().str();
    uint64_t bytes = uint64_t(buffer.getBytes());
    if (!buffer.getRole()) {
      buffers[name] = {arena + *buffer.getOffset(), bytes};
    } else if (*buffer.getRole() == HEADRACE_ROLE_KV_POOL) {
      // For a pool of one page; a layer's pages are together.
      uint64_t offset = buffer.getOffset().value_or(0) * kPages;
      buffers[name] = {pool + offset, kPages * pageBytes - offset};
    } else {
      buffers[name] = {memory.allocate(name, bytes), bytes};
    }
  }
  if (auto found = module->lookupSymbol<tier::BufferOp>("gpu.tickets")) {
    tickets = buffers["gpu.tickets"].address;
    ticketBytes = uint64_t(found.getBytes());
  }
  return llvm::Error::success();
}

void EmulatedModel::forgetSequences() {
  pages.clear();
  lengths.clear();
  nextPage = 0;
  memory.zero(pool, kPages * pageBytes);
}

std::vector<int32_t> EmulatedModel::pagesOf(int64_t sequence,
                                            int64_t positions) {
  std::vector<int32_t> &mine = pages[sequence];
  while (int64_t(mine.size()) * HEADRACE_KV_PAGE_POSITIONS < positions)
    mine.push_back(nextPage++);
  return mine;
}

uint64_t EmulatedModel::programsOf(flow::GridAttr grid, const Counts &counts) {
  uint64_t base = uint64_t(grid.getBase());
  switch (grid.getKind()) {
  case flow::GridKind::fixed:
    return base;
  case flow::GridKind::per_token:
    return base * uint64_t(counts.tokens);
  case flow::GridKind::per_sequence:
    return base * uint64_t(counts.sequences);
  case flow::GridKind::per_output:
    return base * uint64_t(counts.outputs);
  case flow::GridKind::per_token_block:
    return base *
           llvm::divideCeil(uint64_t(counts.tokens), uint64_t(grid.getBlock()));
  case flow::GridKind::per_routed:
    return base * uint64_t(std::min<int64_t>(grid.getLimit(),
                                             grid.getBlock() * counts.tokens));
  }
  return 0;
}

llvm::Expected<std::vector<float>>
EmulatedModel::step(const std::vector<EmulatedItem> &items) {
  std::vector<int32_t> tokens, positions, sequences{0}, outputs, pageTable;
  for (const EmulatedItem &item : items) {
    int64_t &length = lengths[item.sequence];
    for (int32_t token : item.tokens) {
      outputs.push_back(int32_t(tokens.size()));
      tokens.push_back(token);
      positions.push_back(int32_t(length++));
    }
    sequences.push_back(int32_t(tokens.size()));
    std::vector<int32_t> row = pagesOf(item.sequence, length);
    row.resize(size_t(maxPages), 0);
    pageTable.insert(pageTable.end(), row.begin(), row.end());
  }
  auto put = [&](const char *role, const std::vector<int32_t> &values) {
    memory.write(buffers[role].address, values.data(), values.size() * 4);
  };
  put(HEADRACE_ROLE_TOKENS, tokens);
  put(HEADRACE_ROLE_POSITIONS, positions);
  put(HEADRACE_ROLE_SEQUENCES, sequences);
  put(HEADRACE_ROLE_OUTPUT_ROWS, outputs);
  put(HEADRACE_ROLE_KV_TABLE, pageTable);
  int64_t rows = int64_t(tokens.size());
  memory.forget(buffers[HEADRACE_ROLE_LOGITS].address,
                uint64_t(rows * vocabulary) * 4);
  if (llvm::Error error = run("forward", rows, int64_t(items.size())))
    return std::move(error);
  std::vector<float> logits(size_t(rows * vocabulary));
  if (llvm::Error error = memory.read(buffers[HEADRACE_ROLE_LOGITS].address,
                                      logits.data(), logits.size() * 4))
    return std::move(error);
  return logits;
}

llvm::Expected<std::vector<float>>
EmulatedModel::feed(const std::vector<int32_t> &tokens,
                    const std::vector<size_t> &sizes, bool company) {
  std::vector<float> logits;
  int64_t sequence = --fed, other = --fed;
  size_t at = 0;
  for (size_t i = 0; at < tokens.size(); ++i) {
    size_t count = std::min(sizes[i % sizes.size()], tokens.size() - at);
    std::vector<EmulatedItem> items{
        {sequence,
         {tokens.begin() + int64_t(at), tokens.begin() + int64_t(at + count)}}};
    size_t before = company && i % 2 ? 2 : 0;
    if (company)
      items.insert(before ? items.begin() : items.end(),
                   {other, {tokens.rbegin(), tokens.rbegin() + 2}});
    auto rows = step(items);
    if (!rows)
      return rows.takeError();
    auto from = rows->begin() + int64_t(before) * vocabulary;
    logits.insert(logits.end(), from, from + int64_t(count) * vocabulary);
    at += count;
  }
  return logits;
}

llvm::Expected<std::vector<float>>
EmulatedModel::invoke(llvm::StringRef entry, const std::vector<float> &x,
                      int64_t width) {
  std::string input, output;
  for (auto schedule : module->getOps<flow::ScheduleOp>()) {
    if (schedule->getAttrOfType<StringAttr>("headrace.entry") != entry)
      continue;
    auto name = [](ArrayAttr symbols) {
      return cast<FlatSymbolRefAttr>(symbols[0]).getValue().str();
    };
    input = name(schedule.getInputs());
    output = name(schedule.getOutputs());
  }
  if (input.empty())
    return llvm::createStringError("there is no such entry");
  memory.write(buffers[input].address, x.data(), x.size() * 4);
  memory.forget(buffers[output].address, x.size() * 4);
  if (llvm::Error error = run(entry, int64_t(x.size()) / width, 1))
    return std::move(error);
  std::vector<float> y(x.size());
  if (llvm::Error error =
          memory.read(buffers[output].address, y.data(), y.size() * 4))
    return std::move(error);
  return y;
}

llvm::Error EmulatedModel::run(llvm::StringRef entry, int64_t rows,
                               int64_t sequences) {
  int64_t numbers[HEADRACE_COUNT_COUNT] = {rows, sequences, rows, 0,
                                           HEADRACE_ALL_ACTIVE};
  memory.write(counts, numbers, sizeof(numbers));
  // Nothing of the step before may be read, but what counts from launch to
  // launch: tickets, and the counter at the beginning of each routing.
  std::vector<std::pair<uint64_t, uint64_t>> kept;
  if (ticketBytes)
    kept.push_back({tickets, ticketBytes});
  for (auto buffer : module->getOps<tier::BufferOp>())
    if (isa<moe::RoutingType>(buffer.getType()))
      kept.push_back({buffers[buffer.getSymName().str()].address, 4});
  std::vector<std::vector<uint8_t>> saved;
  for (auto [address, bytes] : kept) {
    saved.emplace_back(bytes);
    if (llvm::Error error = memory.read(address, saved.back().data(), bytes))
      return error;
    for (uint8_t byte : saved.back())
      if (byte)
        return llvm::createStringError("a counter is not zero between steps");
  }
  memory.forget(arena, arenaBytes);
  for (auto [i, place] : llvm::enumerate(kept))
    memory.write(place.first, saved[i].data(), place.second);

  Counts sizes{rows, sequences, rows};
  flow::ScheduleOp chosen = choose(entry, sizes);
  if (!chosen)
    return llvm::createStringError("no class of steps admits this one");
  for (auto op : chosen.getBody().getOps<flow::LaunchOp>())
    if (llvm::Error error = launch(chosen, op, sizes)) {
      memory.zero(arena, arenaBytes); // Its counters may be anything.
      return llvm::createStringError(op.getKernel().str() + ": " +
                                     llvm::toString(std::move(error)));
    }
  return llvm::Error::success();
}
