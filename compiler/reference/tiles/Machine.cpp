// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Executes the ops of a tile program.
#include "compiler/reference/simt/Scalars.h"
#include "compiler/reference/tiles/Panel.h"
#include "compiler/reference/tiles/TaskMemory.h"
#include "compiler/reference/tiles/Tiles.h"
#include "dialects/flow/IR/Flow.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>
#include <optional>

using namespace mlir;
using namespace headrace;
using namespace headrace::tiles;
using simt::bitsOf;
using simt::realOf;

namespace {

/// Memory that a memref value stands for.
struct Place {
  uint64_t address = 0, bytes = 0;
  /// Of a stacked weight: one address an expert.
  const std::vector<uint64_t> *experts = nullptr;
};

/// Values of a register tile, row by row.
struct Tile {
  uint64_t width = 0;
  std::vector<uint64_t> bits;
};

uint64_t bytesOf(Type type) { return type.getIntOrFloatBitWidth() / 8; }

SmallVector<int64_t> stridesOf(MemRefType type) {
  SmallVector<int64_t> strides;
  int64_t first = 0;
  (void)type.getStridesAndOffset(strides, first);
  return strides;
}

/// Bytes from the first element to the end of the last; none where the number
/// of rows is not known.
std::optional<uint64_t> bytesOf(MemRefType type) {
  if (!type.hasStaticShape())
    return std::nullopt;
  uint64_t last = 0;
  for (auto [size, stride] : llvm::zip(type.getShape(), stridesOf(type)))
    last += uint64_t((size - 1) * stride);
  return (last + 1) * bytesOf(type.getElementType());
}

class TaskMachine {
public:
  TaskMachine(simt::Memory &memory, const Launch &launch,
              flow::ProgramOp program)
      : memory(memory, program.getScratch(), constantsOf(launch)),
        launch(launch), program(program) {}

  llvm::Error run(uint64_t number) {
    task = number;
    memory.beginTask(number);
    Block &body = program.getBody().front();
    scalars[body.getArgument(0)] = number;
    size_t next = 0, buffers = size_t(program.getBuffers());
    for (BlockArgument argument : body.getArguments().drop_front()) {
      Place &place = places[argument];
      if (next < buffers) {
        place = {launch.buffers[next].address, launch.buffers[next].bytes};
      } else {
        const std::vector<uint64_t> &each = launch.weights[next - buffers];
        auto type = cast<MemRefType>(argument.getType());
        place = {each[0], *bytesOf(type), &each};
      }
      ++next;
    }
    runBlock(body);
    if (failure.empty())
      return llvm::Error::success();
    return llvm::createStringError("%s", failure.c_str());
  }

private:
  static std::vector<uint64_t> constantsOf(const Launch &launch) {
    std::vector<uint64_t> all;
    for (const auto &each : launch.weights)
      all.insert(all.end(), each.begin(), each.end());
    return all;
  }

  void fail(Operation *op, const std::string &what) {
    if (!failure.empty() || what.empty())
      return;
    llvm::raw_string_ostream stream(failure);
    stream << op->getName() << " " << what << " (task " << task << "): ";
    op->print(stream, OpPrintingFlags().skipRegions());
  }
  bool ok() const { return failure.empty(); }

  void runBlock(Block &block) {
    for (Operation &op : block) {
      if (!ok())
        return;
      if (!op.hasTrait<OpTrait::IsTerminator>())
        runOp(&op);
    }
  }

  void runOp(Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](scf::ForOp op) { runFor(op); })
        .Case([&](scf::IfOp op) { runIf(op); })
        .Case([&](memref::LoadOp op) {
          Type type = op.getType();
          scalars[op.getResult()] =
              load(op, type,
                   element(op, op.getMemref(), indicesOf(op.getIndices()),
                           bytesOf(type)));
        })
        .Case([&](memref::StoreOp op) {
          Type type = op.getValue().getType();
          store(op, type, scalars[op.getValue()],
                element(op, op.getMemref(), indicesOf(op.getIndices()),
                        bytesOf(type)));
        })
        .Case([&](flow::RowsOp op) { runRows(op); })
        .Case([&](flow::LoadOp op) { runLoad(op); })
        .Case([&](flow::MmaOp op) { runMma(op); })
        .Case([&](flow::MapOp op) { runMap(op); })
        .Case([&](flow::ReduceOp op) { runReduce(op); })
        .Case([&](flow::ReadOp op) { runRead(op); })
        .Case([&](flow::StoreOp op) { runStore(op); })
        .Case([&](flow::IotaOp op) {
          bool byRow = op.getKind() == flow::IotaKind::rows;
          uint64_t start = scalars[op.getStart()];
          fill(op.getResult(), [&](uint64_t r, uint64_t c) {
            return uint32_t(start + (byRow ? r : c));
          });
        })
        .Case([&](flow::ConstantOp op) {
          uint64_t bits = bitsOf(op.getValue().convertToFloat());
          fill(op.getResult(), [&](uint64_t, uint64_t) { return bits; });
        })
        .Case([&](flow::SplitOp op) {
          const Tile in = acc(op.getInput());
          uint64_t half = in.width / 2;
          fill(op.getLow(), [&](uint64_t r, uint64_t c) {
            return in.bits[r * in.width + c];
          });
          fill(op.getHigh(), [&](uint64_t r, uint64_t c) {
            return in.bits[r * in.width + half + c];
          });
        })
        .Case([&](flow::CountOp op) {
          scalars[op.getResult()] =
              uint64_t(launch.counts[size_t(op.getWhat())]);
        })
        .Case([&](flow::ScratchOp op) {
          auto type = cast<MemRefType>(op.getResult().getType());
          places[op.getResult()] = {
              TaskMemory::scratch(uint64_t(op.getOffset())), *bytesOf(type)};
        })
        .Case([&](flow::ViewOp op) { runView(op); })
        .Case([&](flow::ExpertOp op) {
          const Place &all = places[op.getWeights()];
          uint64_t index = scalars[op.getIndex()];
          if (!all.experts || index >= all.experts->size())
            return fail(
                op, "picks expert " + std::to_string(index) + " of " +
                        std::to_string(all.experts ? all.experts->size() : 0));
          auto type = cast<MemRefType>(op.getResult().getType());
          places[op.getResult()] = {(*all.experts)[index], *bytesOf(type)};
        })
        .Case([&](flow::SameOp op) {
          scalars[op.getResult()] =
              places[op.getFirst()].address == places[op.getSecond()].address;
        })
        .Case([&](flow::ArriveOp op) {
          bool last = false;
          fail(op, memory.arrive(places[op.getCounter()].address,
                                 scalars[op.getTotal()], last));
          scalars[op.getResult()] = last;
        })
        .Case([&](flow::PrefetchOp op) {
          // Reads nothing, but asks for something that is there.
          element(op, op.getPanel(), {scalars[op.getIndex()]},
                  uint64_t(op.getBytes()));
        })
        .Default([&](Operation *op) { runScalar(op); });
  }

  void runScalar(Operation *op) {
    SmallVector<uint64_t, 3> operands;
    for (Value operand : op->getOperands())
      operands.push_back(scalars[operand]);
    if (op->getNumResults() != 1 || op->getNumRegions())
      return fail(op, "is an op that is not known here");
    uint64_t result = 0;
    fail(op, simt::evaluateScalar(op, operands, result));
    scalars[op->getResult(0)] = result;
  }

  //===--------------------------------------------------------------------===//
  // Control flow
  //===--------------------------------------------------------------------===//
  void move(ValueRange to, ValueRange from) {
    // All sources are read before any target is written.
    std::vector<uint64_t> numbers;
    std::vector<Tile> held;
    for (Value value : from) {
      bool tile = isa<flow::AccType>(value.getType());
      numbers.push_back(tile ? 0 : scalars[value]);
      held.push_back(tile ? accs[value] : Tile());
    }
    for (size_t i = 0; i < held.size(); ++i) {
      if (isa<flow::AccType>(to[i].getType()))
        accs[to[i]] = std::move(held[i]);
      else
        scalars[to[i]] = numbers[i];
    }
  }
  void runFor(scf::ForOp op) {
    uint64_t from = scalars[op.getLowerBound()],
             to = scalars[op.getUpperBound()], step = scalars[op.getStep()];
    Block &body = *op.getBody();
    move(op.getRegionIterArgs(), op.getInitArgs());
    for (int64_t at = int64_t(from); at < int64_t(to) && ok();
         at += int64_t(step)) {
      scalars[op.getInductionVar()] = uint64_t(at);
      runBlock(body);
      if (ok())
        move(op.getRegionIterArgs(), body.getTerminator()->getOperands());
    }
    if (ok())
      move(op.getResults(), op.getRegionIterArgs());
  }
  void runIf(scf::IfOp op) {
    Region &region = scalars[op.getCondition()] & 1 ? op.getThenRegion()
                                                    : op.getElseRegion();
    if (region.empty())
      return;
    runBlock(region.front());
    if (ok())
      move(op.getResults(), region.front().getTerminator()->getOperands());
  }
  void runRows(flow::RowsOp op) {
    uint64_t count = scalars[op.getCount()], limit = uint64_t(op.getLimit());
    uint64_t tiles = llvm::divideCeil(count, limit), first = 0;
    for (uint64_t tile = 0; tile < tiles && ok(); ++tile) {
      rows = count / tiles + (tile < count % tiles);
      scalars[op.getBody().getArgument(0)] = first;
      runBlock(op.getBody().front());
      first += rows;
    }
    rows = 0;
  }

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//
  SmallVector<uint64_t, 4> indicesOf(ValueRange values) {
    SmallVector<uint64_t, 4> indices;
    for (Value value : values)
      indices.push_back(scalars[value]);
    return indices;
  }
  /// Address of `bytes` bytes at `memref[indices]`, checked against its shape;
  /// missing trailing indices are zero.
  uint64_t element(Operation *op, Value memref, ArrayRef<uint64_t> indices,
                   uint64_t bytes) {
    auto type = cast<MemRefType>(memref.getType());
    SmallVector<int64_t> strides = stridesOf(type);
    uint64_t offset = 0;
    for (auto [i, index] : llvm::enumerate(indices)) {
      int64_t size = type.getShape()[i];
      if (size != ShapedType::kDynamic && index >= uint64_t(size)) {
        fail(op, "reaches for index " + std::to_string(int64_t(index)) +
                     " of dimension " + std::to_string(i) + ", whose size is " +
                     std::to_string(size));
        return 0;
      }
      offset += index * uint64_t(strides[i]) * bytesOf(type.getElementType());
    }
    const Place &place = places[memref];
    if (offset > place.bytes || bytes > place.bytes - offset) {
      fail(op, "reaches past the " + std::to_string(place.bytes) +
                   " bytes of its memory");
      return 0;
    }
    return place.address + offset;
  }
  const uint8_t *bytesAt(Operation *op, uint64_t address, uint64_t bytes) {
    const uint8_t *at = nullptr;
    if (ok())
      fail(op, memory.read(address, bytes, at));
    return ok() ? at : nullptr;
  }
  uint64_t load(Operation *op, Type type, uint64_t address) {
    uint64_t bits = 0;
    if (const uint8_t *at = bytesAt(op, address, bytesOf(type)))
      std::memcpy(&bits, at, bytesOf(type));
    return bits;
  }
  void store(Operation *op, Type type, uint64_t bits, uint64_t address) {
    if (ok())
      fail(op, memory.write(address, &bits, bytesOf(type)));
  }
  void runView(flow::ViewOp op) {
    const Place source = places[op.getSource()];
    auto type = cast<MemRefType>(op.getResult().getType());
    uint64_t offset = uint64_t(op.getOffset());
    if (op.getStart())
      offset += scalars[op.getStart()] * bytesOf(type.getElementType());
    uint64_t wanted = bytesOf(type).value_or(0);
    if (offset > source.bytes || wanted > source.bytes - offset)
      return fail(op, "views " + std::to_string(wanted) + " bytes from byte " +
                          std::to_string(offset) + " of " +
                          std::to_string(source.bytes));
    places[op.getResult()] = {source.address + offset,
                              wanted ? wanted : source.bytes - offset};
  }
  /// Row of memory that logical row `row` stands for.
  uint64_t mapRow(Operation *op, Value indices, uint64_t row) {
    if (!indices)
      return row;
    Type type = cast<MemRefType>(indices.getType()).getElementType();
    return load(op, type, element(op, indices, {row}, bytesOf(type)));
  }
  static uint64_t rounded(Type to, Type from, uint64_t bits) {
    return to == from ? bits : bitsOf(to, realOf(from, bits));
  }

  //===--------------------------------------------------------------------===//
  // Tiles
  //===--------------------------------------------------------------------===//
  const Tile &acc(Value value) { return accs[value]; }
  void fill(Value value,
            llvm::function_ref<uint64_t(uint64_t, uint64_t)> element) {
    Tile tile;
    tile.width = uint64_t(cast<flow::AccType>(value.getType()).getWidth());
    tile.bits.resize(rows * tile.width);
    for (uint64_t r = 0; r < rows; ++r)
      for (uint64_t c = 0; c < tile.width; ++c)
        tile.bits[r * tile.width + c] = element(r, c);
    accs[value] = std::move(tile);
  }

  void runLoad(flow::LoadOp op) {
    auto source = cast<MemRefType>(op.getSource().getType());
    flow::TileType tile = op.getResult().getType();
    Value home = op.getInPlace() ? op.getSource() : op.getStage();
    auto homeType = cast<MemRefType>(home.getType());
    uint64_t width = uint64_t(tile.getWidth()), first = scalars[op.getFirst()],
             count = scalars[op.getCount()];
    Type element = tile.getElement(), from = source.getElementType();
    TaskMemory::Rows staged;
    staged.stride =
        uint64_t(stridesOf(homeType)[0]) * bytesOf(homeType.getElementType());
    staged.width = width * bytesOf(element);
    staged.count = count;
    staged.address = places[home].address;
    if (op.getInPlace()) {
      staged.address += first * staged.stride;
      return memory.stage(op, std::move(staged));
    }
    bool padded = width % 2 && bytesOf(element) == 2;
    std::vector<double> x(width);
    for (uint64_t i = 0; i < count && ok(); ++i) {
      uint64_t row = mapRow(op, op.getIndices(), first + i);
      const uint8_t *at = bytesAt(
          op,
          this->element(op, op.getSource(), {row, 0}, width * bytesOf(from)),
          width * bytesOf(from));
      if (!at)
        return;
      for (uint64_t k = 0; k < width; ++k)
        x[k] = realOf(from, bitsAt(at, from, k));
      if (op.getNorm())
        normalize(*op.getNorm(), op.getEps().convertToDouble(), x);
      scaleBy(op, op.getWeight(), x, [](double a, double b) { return a * b; });
      scaleBy(op, op.getBias(), x, [](double a, double b) { return a + b; });
      uint64_t to = this->element(op, op.getStage(), {i, 0}, staged.width);
      for (uint64_t k = 0; k < width && ok(); ++k)
        store(op, element, bitsOf(element, double(float(x[k]))),
              to + k * bytesOf(element));
      // Products read whole pairs: the half pair behind an odd width is zero.
      if (padded)
        store(op, element, 0, to + width * bytesOf(element));
    }
    memory.stage(op, std::move(staged));
  }
  static uint64_t bitsAt(const uint8_t *bytes, Type type, uint64_t index) {
    uint64_t bits = 0;
    std::memcpy(&bits, bytes + index * bytesOf(type), bytesOf(type));
    return bits;
  }
  static void normalize(flow::RowNorm kind, double eps,
                        std::vector<double> &x) {
    double n = double(x.size()), mean = 0, squares = 0;
    if (kind == flow::RowNorm::layer) {
      for (double value : x)
        mean += value / n;
      for (double &value : x)
        value -= mean;
    }
    for (double value : x)
      squares += value * value;
    if (kind != flow::RowNorm::l2)
      squares /= n;
    for (double &value : x)
      value /= std::sqrt(squares + eps);
  }
  void scaleBy(flow::LoadOp op, Value vector, std::vector<double> &x,
               double (*combine)(double, double)) {
    if (!vector || !ok())
      return;
    Type type = cast<MemRefType>(vector.getType()).getElementType();
    uint64_t bytes = x.size() * bytesOf(type);
    if (const uint8_t *at = bytesAt(op, element(op, vector, {0}, bytes), bytes))
      for (size_t k = 0; k < x.size(); ++k)
        x[k] = combine(x[k], realOf(type, bitsAt(at, type, k)));
  }

  void runMma(flow::MmaOp op) {
    Panel panel(op);
    auto load = op.getRows().getDefiningOp<flow::LoadOp>();
    if (!load)
      return fail(op, "reads a tile that no flow.load made");
    const TaskMemory::Rows &tile = memory.staged(load);
    uint64_t columns = panel.columns;
    Type element = op.getRows().getType().getElement();
    const uint8_t *at = bytesAt(
        op,
        this->element(op, op.getPanel(), {scalars[op.getIndex()]}, panel.bytes),
        panel.bytes);
    if (!at)
      return;
    panel.decode(at);
    if (op.getAhead()) // Asks for something that is there.
      this->element(op, op.getAhead(), {scalars[op.getAheadIndex()]}, 1);
    uint64_t first = scalars[op.getFirst()];
    Tile out;
    out.width = columns;
    out.bits.resize(rows * columns);
    std::vector<float> sums(columns), x(panel.channels);
    for (uint64_t r = 0; r < rows && ok(); ++r) {
      if (first + r >= tile.count)
        return fail(op, "reads row " + std::to_string(first + r) +
                            " of a tile of " + std::to_string(tile.count));
      if (tile.stale[first + r])
        return fail(op, "reads row " + std::to_string(first + r) +
                            " of a tile that was overwritten after it was "
                            "loaded");
      const uint8_t *row = bytesAt(op, tile.address + (first + r) * tile.stride,
                                   panel.channels * bytesOf(element));
      if (!row)
        return;
      std::fill(sums.begin(), sums.end(), 0.0f);
      if (op.getInit()) {
        const Tile &init = acc(op.getInit());
        for (uint64_t c = 0; c < columns; ++c)
          sums[c] = simt::floatOf(init.bits[r * columns + c]);
      }
      for (uint64_t k = 0; k < panel.channels; ++k)
        x[k] = float(realOf(element, bitsAt(row, element, k)));
      panel.multiply(x, sums);
      for (uint64_t c = 0; c < columns; ++c)
        out.bits[r * columns + c] = bitsOf(sums[c]);
    }
    accs[op.getResult()] = std::move(out);
  }

  void runMap(flow::MapOp op) {
    Block &block = op.getBody().front();
    std::vector<const Tile *> inputs;
    for (Value input : op.getInputs())
      inputs.push_back(&acc(input));
    fill(op.getResult(), [&](uint64_t r, uint64_t c) -> uint64_t {
      if (!ok())
        return 0;
      for (auto [i, input] : llvm::enumerate(inputs))
        scalars[block.getArgument(unsigned(i))] =
            input->bits[r * input->width + (input->width == 1 ? 0 : c)];
      runBlock(block);
      return scalars[block.getTerminator()->getOperand(0)];
    });
  }

  void runReduce(flow::ReduceOp op) {
    const Tile in = acc(op.getInput());
    bool sum = op.getKind() == flow::ReduceKind::sum;
    fill(op.getResult(), [&](uint64_t r, uint64_t) {
      double total = sum ? 0 : -INFINITY;
      for (uint64_t c = 0; c < in.width; ++c) {
        double x = double(simt::floatOf(in.bits[r * in.width + c]));
        total = sum ? total + x : std::fmax(total, x);
      }
      return bitsOf(float(total));
    });
  }

  void runRead(flow::ReadOp op) {
    auto source = cast<MemRefType>(op.getSource().getType());
    flow::AccType type = op.getResult().getType();
    Type from = source.getElementType(), to = type.getElement();
    uint64_t size = uint64_t(source.getShape().back()),
             column = op.getColumn() ? scalars[op.getColumn()] : 0,
             first = op.getFirst() ? scalars[op.getFirst()] : 0;
    // A vector over columns, the same for every row.
    bool shared = source.getRank() == 1 && op.getColumn();
    fill(op.getResult(), [&](uint64_t r, uint64_t c) -> uint64_t {
      if (!ok())
        return 0;
      SmallVector<uint64_t, 2> at;
      if (!shared)
        at.push_back(mapRow(op, op.getIndices(), first + r));
      if (op.getColumn()) {
        // The columns of a tile past the last one are zero.
        if (column + c >= size && type.getWidth() > 1)
          return 0;
        at.push_back(column + c);
      }
      return rounded(
          to, from,
          load(op, from, element(op, op.getSource(), at, bytesOf(from))));
    });
  }

  void runStore(flow::StoreOp op) {
    auto target = cast<MemRefType>(op.getTarget().getType());
    const Tile tile = acc(op.getValue());
    Type to = target.getElementType(),
         from = op.getValue().getType().getElement();
    uint64_t size = uint64_t(target.getShape().back()),
             column = scalars[op.getColumn()], first = scalars[op.getFirst()];
    for (uint64_t r = 0; r < rows && ok(); ++r) {
      uint64_t row = mapRow(op, op.getIndices(), first + r);
      for (uint64_t c = 0; c < tile.width && ok(); ++c) {
        if (column + c >= size && tile.width > 1)
          break;
        uint64_t at =
            element(op, op.getTarget(), {row, column + c}, bytesOf(to));
        uint64_t bits = tile.bits[r * tile.width + c];
        if (op.getAccumulate())
          bits =
              bitsOf(float(realOf(from, bits) + realOf(to, load(op, to, at))));
        store(op, to, rounded(to, from, bits), at);
      }
    }
  }

  TaskMemory memory;
  const Launch &launch;
  flow::ProgramOp program;
  uint64_t task = 0, rows = 0;
  DenseMap<Value, uint64_t> scalars;
  DenseMap<Value, Place> places;
  DenseMap<Value, Tile> accs;
  std::string failure;
};

} // namespace

llvm::Error tiles::run(simt::Memory &memory, const Launch &launch,
                       bool backwards) {
  auto program = dyn_cast_or_null<flow::ProgramOp>(launch.program);
  if (!program)
    return llvm::createStringError("the launch has no flow.program");
  size_t operands = program.getBody().getNumArguments() - 1;
  if (launch.buffers.size() != size_t(program.getBuffers()) ||
      launch.buffers.size() + launch.weights.size() != operands)
    return llvm::createStringError(
        "the launch has %zu buffers and %zu weights, but the program takes "
        "%zu buffers and %zu weights",
        launch.buffers.size(), launch.weights.size(),
        size_t(program.getBuffers()), operands - size_t(program.getBuffers()));
  TaskMachine machine(memory, launch, program);
  for (uint64_t i = 0; i < launch.tasks; ++i)
    if (llvm::Error error = machine.run(backwards ? launch.tasks - 1 - i : i))
      return error;
  return llvm::Error::success();
}
