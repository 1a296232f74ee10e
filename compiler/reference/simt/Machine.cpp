// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Executes the ops of a GPU kernel, each for all threads of a block at once.
#include "compiler/reference/simt/Scalars.h"
#include "compiler/reference/simt/SharedMemory.h"
#include "compiler/reference/simt/Simt.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cstring>
#include <unordered_map>

using namespace mlir;
using namespace headrace::simt;

namespace {

constexpr uint64_t kLanes = 32;
/// Rounds of one loop; more is a loop that does not end.
constexpr uint64_t kMaxRounds = uint64_t(1) << 24;

/// 32-bit or smaller parts of a value of `type`.
size_t partsOf(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    return vector.getElementTypeBitWidth() == 32
               ? size_t(vector.getNumElements())
               : 1; // A word of packed 16-bit values.
  if (auto structure = dyn_cast<LLVM::LLVMStructType>(type))
    return structure.getBody().size();
  return 1;
}

uint64_t bytesOf(Type type) {
  if (isa<LLVM::LLVMPointerType>(type))
    return 8;
  if (auto vector = dyn_cast<VectorType>(type))
    return uint64_t(vector.getNumElements()) * vector.getElementTypeBitWidth() /
           8;
  return std::max(1u, type.getIntOrFloatBitWidth() / 8);
}

unsigned spaceOf(Value pointer) {
  return cast<LLVM::LLVMPointerType>(pointer.getType()).getAddressSpace();
}

class BlockMachine {
public:
  BlockMachine(Memory &memory, const Launch &launch, uint32_t number)
      : memory(memory), launch(launch), number(number) {}

  llvm::Error run(gpu::GPUFuncOp function, uint64_t blockNumber) {
    block = blockNumber;
    shared = std::make_unique<SharedMemory>(launch.sharedBytes, launch.threads);
    acquired = false;
    barriers = 0;
    warpBarriers.assign((launch.threads + kLanes - 1) / kLanes, 0);
    active.assign(launch.threads, 1);
    Block &body = function.getBody().front();
    for (auto [argument, value] :
         llvm::zip(body.getArguments(), launch.parameters))
      std::fill_n(define(argument).begin(), launch.threads, value);
    runBlock(body);
    if (failure.empty())
      return llvm::Error::success();
    return llvm::createStringError("%s", failure.c_str());
  }

private:
  using Lanes = std::vector<uint64_t>;

  /// Part p of thread t is at [p * threads + t].
  Lanes &define(Value value) {
    Lanes &lanes = values[value];
    lanes.resize(partsOf(value.getType()) * launch.threads);
    return lanes;
  }
  const Lanes &get(Value value) { return values[value]; }

  void fail(Operation *op, uint64_t thread, const std::string &what) {
    if (!failure.empty())
      return;
    llvm::raw_string_ostream stream(failure);
    stream << op->getName() << " " << what << " (block " << block << ", thread "
           << thread << "): ";
    op->print(stream, OpPrintingFlags().skipRegions());
  }
  template <typename Body> void each(Body body) {
    for (uint64_t t = 0; t < launch.threads && failure.empty(); ++t)
      if (active[t])
        body(t);
  }
  bool anyActive() const { return llvm::is_contained(active, 1); }
  /// Whether each warp is active as a whole or not at all.
  bool wholeWarps(Operation *op) {
    for (uint64_t t = 0; t < launch.threads; ++t)
      if (active[t] != active[t / kLanes * kLanes]) {
        fail(op, t, "is reached by a part of a warp");
        return false;
      }
    return true;
  }

  void runBlock(Block &body) {
    for (Operation &op : body) {
      if (!failure.empty())
        return;
      if (!op.hasTrait<OpTrait::IsTerminator>())
        runOp(&op);
    }
  }

  void runOp(Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](scf::ForOp op) { runFor(op); })
        .Case([&](scf::IfOp op) { runIf(op); })
        .Case([&](LLVM::LoadOp op) { runLoad(op); })
        .Case([&](LLVM::StoreOp op) { runStore(op); })
        .Case([&](LLVM::GEPOp op) { runAddress(op); })
        .Case([&](LLVM::AddressOfOp op) { runAddressOf(op); })
        .Case([&](LLVM::ExtractElementOp op) {
          pick(op.getResult(), op.getVector(), op.getPosition());
        })
        .Case([&](LLVM::InsertElementOp op) {
          Lanes from = get(op.getVector());
          const Lanes &at = get(op.getPosition()), &value = get(op.getValue());
          Lanes &to = define(op.getResult());
          each([&](uint64_t t) {
            for (size_t p = 0; p < partsOf(op.getResult().getType()); ++p)
              to[p * launch.threads + t] = from[p * launch.threads + t];
            to[at[t] * launch.threads + t] = value[t];
          });
        })
        .Case([&](LLVM::ExtractValueOp op) {
          const Lanes &from = get(op.getContainer());
          Lanes &to = define(op.getResult());
          size_t part = size_t(op.getPosition()[0]);
          each([&](uint64_t t) { to[t] = from[part * launch.threads + t]; });
        })
        .Case([&](LLVM::PoisonOp op) { define(op.getResult()); })
        .Case([&](LLVM::BitcastOp op) {
          Lanes from = get(op.getArg());
          define(op.getResult()) = from;
        })
        .Case([&](LLVM::AtomicRMWOp op) { runAtomic(op); })
        .Case([&](NVVM::ThreadIdXOp op) {
          Lanes &to = define(op.getResult());
          each([&](uint64_t t) { to[t] = t; });
        })
        .Case([&](NVVM::BlockIdXOp op) {
          Lanes &to = define(op.getResult());
          each([&](uint64_t t) { to[t] = block; });
        })
        .Case([&](gpu::BarrierOp op) {
          for (uint64_t t = 0; t < launch.threads; ++t)
            if (!active[t])
              return fail(op, t, "is not reached by the whole block");
          shared->barrier();
          ++barriers;
        })
        .Case([&](NVVM::SyncWarpOp op) {
          if (wholeWarps(op))
            for (uint64_t t = 0; t < launch.threads; t += kLanes)
              if (active[t])
                shared->warpBarrier(t / kLanes), ++warpBarriers[t / kLanes];
        })
        .Case([&](NVVM::MembarOp) {})
        .Case([&](gpu::ShuffleOp op) { runShuffle(op); })
        .Case([&](NVVM::MatchSyncOp op) { runMatch(op); })
        .Case([&](NVVM::MmaOp op) { runMma(op); })
        .Case([&](LLVM::InlineAsmOp op) { runWarpgroup(op); })
        .Case([&](NVVM::FenceProxyOp) {
          each([&](uint64_t t) { shared->fenceProxy(t); });
        })
        .Case([&](LLVM::PtrToIntOp op) {
          Lanes from = get(op.getArg());
          define(op.getResult()) = from;
        })
        .Case([&](NVVM::LdMatrixOp op) { runLoadMatrices(op); })
        .Case([&](NVVM::CpAsyncOp op) { runCopy(op); })
        .Case([&](NVVM::CpAsyncCommitGroupOp) {
          each([&](uint64_t t) { shared->commit(t); });
        })
        .Case([&](NVVM::CpAsyncWaitGroupOp op) {
          each([&](uint64_t t) { shared->await(t, op.getN()); });
        })
        .Default([&](Operation *op) { runScalar(op); });
  }

  void runScalar(Operation *op) {
    std::vector<const Lanes *> operands;
    std::vector<Type> types;
    for (Value operand : op->getOperands()) {
      operands.push_back(&get(operand));
      types.push_back(operand.getType());
    }
    // `values` may grow, but its entries stay where they are.
    Lanes &to = define(op->getResult(0));
    std::vector<uint64_t> arguments(operands.size());
    each([&](uint64_t t) {
      for (size_t i = 0; i < arguments.size(); ++i)
        arguments[i] = (*operands[i])[t];
      std::string wrong = evaluateScalar(op, arguments, to[t]);
      if (!wrong.empty())
        fail(op, t, wrong);
    });
  }

  //===--------------------------------------------------------------------===//
  // Control flow
  //===--------------------------------------------------------------------===//
  void move(ValueRange to, ValueRange from) {
    // All sources are read before any target is written.
    std::vector<Lanes> held;
    for (Value value : from)
      held.push_back(get(value));
    for (size_t i = 0; i < held.size(); ++i) {
      Lanes &out = define(to[i]);
      each([&](uint64_t t) {
        for (size_t p = 0; p < partsOf(to[i].getType()); ++p)
          out[p * launch.threads + t] = held[i][p * launch.threads + t];
      });
    }
  }
  void runIf(scf::IfOp op) {
    const Lanes condition = get(op.getCondition());
    std::vector<uint8_t> before = active;
    for (bool yes : {true, false}) {
      Region &region = yes ? op.getThenRegion() : op.getElseRegion();
      for (uint64_t t = 0; t < launch.threads; ++t)
        active[t] = before[t] && (condition[t] & 1) == uint64_t(yes);
      if (region.empty() || !anyActive())
        continue;
      runBlock(region.front());
      if (!failure.empty())
        return;
      move(op.getResults(), region.front().getTerminator()->getOperands());
    }
    active = before;
  }
  void runFor(scf::ForOp op) {
    std::vector<uint8_t> before = active;
    const Lanes to = get(op.getUpperBound()), step = get(op.getStep());
    Lanes at = get(op.getLowerBound());
    Block &body = *op.getBody();
    move(op.getRegionIterArgs(), op.getInitArgs());
    for (uint64_t round = 0;; ++round) {
      for (uint64_t t = 0; t < launch.threads; ++t)
        active[t] = before[t] && int32_t(at[t]) < int32_t(to[t]);
      if (!anyActive())
        break;
      if (round > kMaxRounds)
        return fail(op, 0, "does not end");
      Lanes &index = define(op.getInductionVar());
      each([&](uint64_t t) { index[t] = at[t]; });
      runBlock(body);
      if (!failure.empty())
        return;
      move(op.getRegionIterArgs(), body.getTerminator()->getOperands());
      for (uint64_t t = 0; t < launch.threads; ++t)
        at[t] = uint32_t(at[t] + step[t]);
    }
    active = before;
    move(op.getResults(), op.getRegionIterArgs());
  }

  //===--------------------------------------------------------------------===//
  // Memory
  //===--------------------------------------------------------------------===//
  bool loadGlobal(Operation *op, uint64_t t, uint64_t address, void *to,
                  uint64_t bytes, bool constant) {
    uint64_t offset;
    Memory::Buffer *buffer = memory.find(address, bytes, offset);
    if (!buffer)
      return fail(op, t, "reads bytes that no buffer has"), false;
    for (uint64_t i = offset; i < offset + bytes; ++i) {
      const Memory::Write last = buffer->lastWrite(i);
      bool now = last.launch == number;
      if (!buffer->defined[i])
        return fail(op, t,
                    "reads byte " + std::to_string(i) + " of '" + buffer->name +
                        "', which nobody wrote"),
               false;
      if (constant && now)
        return fail(op, t,
                    "reads byte " + std::to_string(i) + " of '" + buffer->name +
                        "' as a constant, but this launch wrote it"),
               false;
      if (now && last.block != block && !acquired)
        return fail(op, t,
                    "reads byte " + std::to_string(i) + " of '" + buffer->name +
                        "', which block " + std::to_string(last.block) +
                        " wrote in this launch"),
               false;
    }
    if (std::string wrong = unordered(*buffer, t, offset, bytes);
        !wrong.empty())
      return fail(op, t, "reads " + wrong), false;
    std::memcpy(to, buffer->bytes.data() + offset, bytes);
    return true;
  }
  /// What bytes another thread of this block wrote with no barrier since; empty
  /// where there are none.
  std::string unordered(const Memory::Buffer &buffer, uint64_t t,
                        uint64_t offset, uint64_t bytes) const {
    if (buffer.writes.empty())
      return "";
    for (uint64_t i = offset; i < offset + bytes; ++i) {
      const Memory::Write &last = buffer.writes[i];
      if (last.launch != number || last.block != block || last.thread == t ||
          last.barriers != barriers)
        continue;
      uint64_t warp = t / kLanes;
      if (last.thread / kLanes != warp ||
          last.warpBarriers == warpBarriers[warp])
        return "byte " + std::to_string(i) + " of '" + buffer.name +
               "', which thread " + std::to_string(last.thread) +
               " wrote without a barrier between them";
    }
    return "";
  }
  bool storeGlobal(Operation *op, uint64_t t, uint64_t address,
                   const void *from, uint64_t bytes) {
    uint64_t offset;
    Memory::Buffer *buffer = memory.find(address, bytes, offset);
    if (!buffer)
      return fail(op, t, "writes bytes that no buffer has"), false;
    if (std::string wrong = unordered(*buffer, t, offset, bytes);
        !wrong.empty())
      return fail(op, t, "writes " + wrong), false;
    if (buffer->writes.empty())
      buffer->writes.resize(buffer->bytes.size());
    for (uint64_t i = offset; i < offset + bytes; ++i) {
      Memory::Write &last = buffer->writes[i];
      if (last.launch == number && last.block != block && !acquired)
        return fail(op, t,
                    "writes byte " + std::to_string(i) + " of '" +
                        buffer->name + "', which block " +
                        std::to_string(last.block) + " wrote in this launch"),
               false;
      last = {number, uint32_t(block), uint32_t(t), barriers,
              warpBarriers[t / kLanes]};
      buffer->defined[i] = 1;
    }
    std::memcpy(buffer->bytes.data() + offset, from, bytes);
    return true;
  }
  void unpackParts(Lanes &to, uint64_t t, Type type, const uint8_t *bytes) {
    size_t parts = partsOf(type), each = size_t(bytesOf(type)) / parts;
    for (size_t p = 0; p < parts; ++p) {
      uint64_t word = 0;
      std::memcpy(&word, bytes + p * each, each);
      to[p * launch.threads + t] = word;
    }
  }
  void runLoad(LLVM::LoadOp op) {
    const Lanes &addresses = get(op.getAddr());
    Lanes &to = define(op.getResult());
    Type type = op.getResult().getType();
    uint64_t bytes = bytesOf(type);
    unsigned space = spaceOf(op.getAddr());
    each([&](uint64_t t) {
      uint8_t data[16];
      uint64_t at = addresses[t];
      if (at % bytes)
        return fail(op, t,
                    "loads " + std::to_string(bytes) +
                        " bytes from an address that is not aligned");
      if (space == 3) {
        std::string wrong = shared->read(t, at, data, bytes);
        if (!wrong.empty())
          return fail(op, t, wrong);
      } else if (space == 4) {
        uint64_t end = at + bytes;
        if (end > constants.size())
          return fail(op, t, "reads past a table of constants");
        std::memcpy(data, constants.data() + at, bytes);
      } else if (!loadGlobal(op, t, at, data, bytes, op.getInvariant())) {
        return;
      }
      unpackParts(to, t, type, data);
    });
  }
  void runStore(LLVM::StoreOp op) {
    const Lanes &addresses = get(op.getAddr()), &value = get(op.getValue());
    Type type = op.getValue().getType();
    uint64_t bytes = bytesOf(type);
    unsigned space = spaceOf(op.getAddr());
    size_t parts = partsOf(type), size = size_t(bytes) / parts;
    each([&](uint64_t t) {
      uint8_t data[16];
      for (size_t p = 0; p < parts; ++p)
        std::memcpy(data + p * size, &value[p * launch.threads + t], size);
      uint64_t at = addresses[t];
      if (at % bytes)
        return fail(op, t,
                    "stores " + std::to_string(bytes) +
                        " bytes to an address that is not aligned");
      if (space == 3) {
        std::string wrong = shared->write(t, at, data, bytes);
        if (!wrong.empty())
          fail(op, t, wrong);
      } else {
        storeGlobal(op, t, at, data, bytes);
      }
    });
  }
  void runAddress(LLVM::GEPOp op) {
    const Lanes base = get(op.getBase());
    int64_t size = int64_t(bytesOf(op.getElemType()));
    Lanes &to = define(op.getResult());
    if (op.getDynamicIndices().empty()) {
      int64_t index = op.getRawConstantIndices()[0];
      each([&](uint64_t t) { to[t] = base[t] + uint64_t(index * size); });
      return;
    }
    Value index = op.getDynamicIndices()[0];
    const Lanes &indices = get(index);
    bool narrow = index.getType().isInteger(32);
    each([&](uint64_t t) {
      int64_t i = narrow ? int64_t(int32_t(indices[t])) : int64_t(indices[t]);
      to[t] = base[t] + uint64_t(i * size);
    });
  }
  void runAddressOf(LLVM::AddressOfOp op) {
    Lanes &to = define(op.getResult());
    std::fill(to.begin(), to.end(), 0);
    if (spaceOf(op.getResult()) != 4 || !constants.empty())
      return;
    auto global = SymbolTable::lookupNearestSymbolFrom<LLVM::GlobalOp>(
        op, op.getGlobalNameAttr());
    for (APFloat x :
         cast<DenseElementsAttr>(*global.getValue()).getValues<APFloat>()) {
      float value = x.convertToFloat();
      const auto *bytes = reinterpret_cast<const uint8_t *>(&value);
      constants.insert(constants.end(), bytes, bytes + 4);
    }
  }
  void runAtomic(LLVM::AtomicRMWOp op) {
    const Lanes &addresses = get(op.getPtr()), &value = get(op.getVal());
    Lanes &to = define(op.getResult());
    if (op.getBinOp() != LLVM::AtomicBinOp::add)
      return fail(op, 0, "is an atomic that is not known here");
    each([&](uint64_t t) {
      uint64_t offset;
      Memory::Buffer *buffer = memory.find(addresses[t], 4, offset);
      if (!buffer || !buffer->defined[offset])
        return fail(op, t, "counts in bytes that nobody wrote");
      uint32_t before;
      std::memcpy(&before, buffer->bytes.data() + offset, 4);
      uint32_t after = before + uint32_t(value[t]);
      std::memcpy(buffer->bytes.data() + offset, &after, 4);
      to[t] = before;
      acquired = true;
    });
  }
  void runCopy(NVVM::CpAsyncOp op) {
    const Lanes &to = get(op.getDst()), &from = get(op.getSrc());
    each([&](uint64_t t) {
      uint64_t valid = op.getCpSize() ? get(op.getCpSize())[t] : 16;
      std::array<uint8_t, 16> data = {};
      if (valid > 16 || from[t] % 16)
        return fail(op, t, "copies from an address that is not aligned");
      if (valid && !loadGlobal(op, t, from[t], data.data(), valid, false))
        return;
      std::string wrong = shared->copy(t, to[t], data);
      if (!wrong.empty())
        fail(op, t, wrong);
    });
  }
  void pick(Value result, Value vector, Value position) {
    const Lanes &from = get(vector), &at = get(position);
    Lanes &to = define(result);
    each([&](uint64_t t) { to[t] = from[at[t] * launch.threads + t]; });
  }

  //===--------------------------------------------------------------------===//
  // Warps
  //===--------------------------------------------------------------------===//
  template <typename Body> void eachWarp(Operation *op, Body body) {
    if (!wholeWarps(op))
      return;
    for (uint64_t t = 0; t < launch.threads && failure.empty(); t += kLanes)
      if (active[t])
        body(t);
  }
  void runShuffle(gpu::ShuffleOp op) {
    const Lanes value = get(op.getValue()), by = get(op.getOffset());
    Lanes &to = define(op.getShuffleResult());
    define(op.getValid());
    eachWarp(op, [&](uint64_t first) {
      for (uint64_t lane = 0; lane < kLanes; ++lane) {
        uint64_t offset = by[first + lane], from = lane;
        switch (op.getMode()) {
        case gpu::ShuffleMode::XOR:
          from = lane ^ offset;
          break;
        case gpu::ShuffleMode::IDX:
          from = offset;
          break;
        case gpu::ShuffleMode::UP:
          from = lane >= offset ? lane - offset : lane;
          break;
        case gpu::ShuffleMode::DOWN:
          from = lane + offset < kLanes ? lane + offset : lane;
          break;
        }
        if (from >= kLanes)
          return fail(op, first + lane, "reads a lane that does not exist");
        to[first + lane] = value[first + from];
      }
    });
  }
  void runMatch(NVVM::MatchSyncOp op) {
    const Lanes &value = get(op.getVal());
    Lanes &to = define(op.getRes());
    eachWarp(op, [&](uint64_t first) {
      for (uint64_t lane = 0; lane < kLanes; ++lane) {
        uint32_t mask = 0;
        for (uint64_t other = 0; other < kLanes; ++other)
          if (uint32_t(value[first + other]) == uint32_t(value[first + lane]))
            mask |= 1u << other;
        to[first + lane] = mask;
      }
    });
  }
  void runMma(NVVM::MmaOp op) {
    bool half = op.getMultiplicandAPtxType() == NVVM::MMATypes::f16;
    std::vector<const Lanes *> operands;
    for (Value operand : op->getOperands())
      operands.push_back(&get(operand));
    Lanes &to = define(op.getResult());
    auto element = [&](size_t operand, uint64_t t, uint64_t upper) {
      uint16_t bits = uint16_t((*operands[operand])[t] >> (16 * upper));
      return half ? floatOfHalf(bits) : floatOfBfloat(bits);
    };
    eachWarp(op, [&](uint64_t first) {
      // The tables of mma.m16n8k16 in the PTX ISA.
      float a[16][16], b[16][8];
      for (uint64_t lane = 0; lane < kLanes; ++lane) {
        uint64_t t = first + lane, group = lane / 4, quad = lane % 4;
        for (uint64_t i = 0; i < 8; ++i)
          a[group + (i / 2 % 2) * 8][quad * 2 + i % 2 + i / 4 * 8] =
              element(i / 2, t, i % 2);
        for (uint64_t i = 0; i < 4; ++i)
          b[quad * 2 + i % 2 + i / 2 * 8][group] = element(4 + i / 2, t, i % 2);
      }
      for (uint64_t lane = 0; lane < kLanes; ++lane)
        for (uint64_t i = 0; i < 4; ++i) {
          uint64_t row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
          double sum = 0;
          for (uint64_t k = 0; k < 16; ++k)
            sum += double(a[row][k]) * double(b[k][column]);
          float total = floatOf((*operands[6 + i])[first + lane]) + float(sum);
          to[i * launch.threads + first + lane] = bitsOf(total);
        }
    });
  }
  /// wgmma with the 64 rows from registers: the attribute says its sizes.
  void runWarpgroup(LLVM::InlineAsmOp op) {
    auto sizes = op->getAttrOfType<DenseI64ArrayAttr>("headrace.wgmma");
    if (!sizes)
      return fail(op, 0, "is a text that is not known here");
    uint64_t blocks = uint64_t(sizes[0]), steps = uint64_t(sizes[1]),
             columns = uint64_t(sizes[2]);
    bool half = sizes[3];
    uint64_t sums = blocks * columns / 2, words = blocks * steps * 4;
    std::vector<Lanes> operands;
    for (Value operand : op.getOperands())
      operands.push_back(get(operand));
    if (operands.size() != sums + words + 1)
      return fail(op, 0, "has other operands than its sizes say");
    Lanes &to = define(op.getRes());
    constexpr uint64_t kGroup = 128;
    for (uint64_t t = 0; t < launch.threads; ++t)
      if (active[t] != active[t / kGroup * kGroup])
        return fail(op, t, "is reached by a part of a warpgroup");
    auto decode = [&](uint64_t bits) {
      return half ? floatOfHalf(uint16_t(bits)) : floatOfBfloat(uint16_t(bits));
    };
    for (uint64_t first = 0; first < launch.threads && failure.empty();
         first += kGroup) {
      if (!active[first])
        continue;
      // The matrix descriptor: start and stride in units of 16 bytes, and the
      // swizzle of 128 bytes.
      uint64_t descriptor = operands.back()[first];
      uint64_t start = (descriptor & 0x3fff) << 4;
      uint64_t stride = (descriptor >> 32 & 0x3fff) << 4;
      // Within a row of 128 bytes the start may be anywhere.
      if (descriptor >> 62 != 1 || start % 1024 >= 128)
        return fail(op, first, "has a descriptor of another layout");
      for (uint64_t step = 0; step < steps; ++step) {
        std::vector<float> b(16 * columns);
        for (uint64_t n = 0; n < columns; ++n)
          for (uint64_t k = 0; k < 16; ++k) {
            uint64_t at =
                start + step * 32 + n / 8 * stride + n % 8 * 128 + k * 2;
            at ^= (at >> 7 & 7) << 4;
            uint16_t bits = 0;
            for (uint64_t t = first; t < first + kGroup; t += kLanes)
              if (std::string wrong = shared->readAsync(t, at, &bits, 2);
                  !wrong.empty())
                return fail(op, t, wrong);
            b[k * columns + n] = decode(bits);
          }
        for (uint64_t block = 0; block < blocks; ++block)
          for (uint64_t warp = first; warp < first + kGroup; warp += kLanes)
            multiplyRows(operands, warp, b, columns, block * columns / 2,
                         sums + (step / 2 * blocks + block) * 8 + step % 2 * 4,
                         decode);
      }
    }
    for (uint64_t i = 0; i < sums; ++i)
      each([&](uint64_t t) { to[i * launch.threads + t] = operands[i][t]; });
  }
  /// One warp's 16 of the 64 rows, in registers `from` on, times `b`, added to
  /// the sums `sum` on.
  template <typename Decode>
  void multiplyRows(std::vector<Lanes> &operands, uint64_t warp,
                    const std::vector<float> &b, uint64_t columns, uint64_t sum,
                    uint64_t from, Decode decode) {
    float a[16][16];
    for (uint64_t lane = 0; lane < kLanes; ++lane)
      for (uint64_t i = 0; i < 8; ++i)
        a[lane / 4 + (i / 2 % 2) * 8][lane % 4 * 2 + i % 2 + i / 4 * 8] =
            decode(operands[from + i / 2][warp + lane] >> (16 * (i % 2)));
    for (uint64_t lane = 0; lane < kLanes; ++lane)
      for (uint64_t i = 0; i < columns / 2; ++i) {
        uint64_t row = lane / 4 + i / 2 % 2 * 8;
        uint64_t n = i / 4 * 8 + lane % 4 * 2 + i % 2;
        double products = 0;
        for (uint64_t k = 0; k < 16; ++k)
          products += double(a[row][k]) * double(b[k * columns + n]);
        uint64_t &total = operands[sum + i][warp + lane];
        total = bitsOf(floatOf(total) + float(products));
      }
  }
  void runLoadMatrices(NVVM::LdMatrixOp op) {
    const Lanes &addresses = get(op.getPtr());
    Lanes &to = define(op.getRes());
    uint64_t count = op.getNum();
    eachWarp(op, [&](uint64_t first) {
      for (uint64_t matrix = 0; matrix < count; ++matrix)
        for (uint64_t row = 0; row < 8; ++row) {
          uint64_t t = first + matrix * 8 + row;
          uint8_t data[16];
          if (addresses[t] % 16)
            return fail(op, t, "names a row that is not aligned");
          std::string wrong = shared->read(t, addresses[t], data, 16);
          if (!wrong.empty())
            return fail(op, t, wrong);
          for (uint64_t quad = 0; quad < 4; ++quad) {
            uint32_t word;
            std::memcpy(&word, data + quad * 4, 4);
            to[matrix * launch.threads + first + row * 4 + quad] = word;
          }
        }
    });
  }

  Memory &memory;
  const Launch &launch;
  uint32_t number;
  uint64_t block = 0;
  struct ValueHash {
    size_t operator()(Value value) const { return hash_value(value); }
  };
  /// Entries stay where they are.
  std::unordered_map<Value, Lanes, ValueHash> values;
  std::unique_ptr<SharedMemory> shared;
  std::vector<uint8_t> active, constants;
  bool acquired = false; ///< This block has seen an acquiring atomic.
  /// Barriers that the block, and each warp, has passed.
  uint32_t barriers = 0;
  std::vector<uint32_t> warpBarriers;
  std::string failure;
};

} // namespace

llvm::Error headrace::simt::run(Memory &memory, const Launch &launch,
                                bool backwards) {
  auto functions =
      cast<gpu::GPUModuleOp>(launch.module).getOps<gpu::GPUFuncOp>();
  BlockMachine machine(memory, launch, memory.nextLaunch());
  for (uint64_t i = 0; i < launch.blocks; ++i)
    if (llvm::Error error = machine.run(*functions.begin(),
                                        backwards ? launch.blocks - 1 - i : i))
      return error;
  return llvm::Error::success();
}
