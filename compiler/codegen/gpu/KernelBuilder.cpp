// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the code of one thread of a GPU kernel.
#include "compiler/codegen/gpu/KernelBuilder.h"

#include "compiler/codegen/ProgramBuilder.h"
#include "dialects/nn/IR/Nn.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace headrace;

constexpr unsigned kGlobal = 1, kShared = 3;

KernelBuilder::KernelBuilder(flow::KernelOp kernel, const std::string &name,
                             const StepLimits &limits,
                             ArrayRef<ExtraBuffer> extras)
    : ScalarBuilder(kernel), kernel(kernel), limits(limits), extras(extras) {
  Type pointer = LLVM::LLVMPointerType::get(b.getContext(), kGlobal);
  LaunchOperands operands(kernel);
  SmallVector<Type> types{pointer, pointer};
  for (Value argument : operands.buffers)
    types.append(isa<nn::KvCacheType>(argument.getType()) ? 2 : 1, pointer);
  for (Type type : kernel.getType().getResults())
    if (!isa<nn::KvCacheType>(type))
      types.push_back(pointer);
  types.append(extras.size(), pointer);
  types.append(operands.weights.size(), b.getI32Type());

  module = gpu::GPUModuleOp::create(b, name);
  b.setInsertionPointToStart(module.getBody());
  // Dynamic shared memory: its size is a number of the launch.
  LLVM::GlobalOp::create(b, LLVM::LLVMArrayType::get(b.getI8Type(), 0),
                         /*isConstant=*/false, LLVM::Linkage::External,
                         "shared", Attribute(), /*alignment=*/1024,
                         /*addrSpace=*/kShared);
  function = gpu::GPUFuncOp::create(b, name, b.getFunctionType(types, {}));
  function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
  Block &block = function.getBody().front();
  b.setInsertionPointToStart(&block);
  unsigned next = 0;
  table = block.getArgument(next++);
  counts = block.getArgument(next++);
  for (Value argument : operands.buffers) {
    buffers[argument] = block.getArgument(next++);
    if (isa<nn::KvCacheType>(argument.getType()))
      tables[argument] = block.getArgument(next++);
  }
  for (Type type : kernel.getType().getResults())
    if (!isa<nn::KvCacheType>(type))
      results.push_back(block.getArgument(next++));
  for (size_t i = 0; i < extras.size(); ++i)
    extraValues.push_back(block.getArgument(next++));
  for (Value argument : operands.weights)
    slots[argument] = block.getArgument(next++);
}

void KernelBuilder::finish(int64_t threads, flow::GridAttr grid) {
  gpu::ReturnOp::create(b);
  function->setAttr("nvvm.maxntid",
                    b.getDenseI32ArrayAttr({int32_t(threads), 1, 1}));
  // One block a multiprocessor will do: registers come before residency, which
  // the assembler would otherwise buy with spills.
  function->setAttr("nvvm.minctasm", b.getI32IntegerAttr(1));
  module->setAttr("headrace.family", kernel.getFamilyAttr());
  module->setAttr("headrace.grid", grid);
  module->setAttr("headrace.threads", b.getI64IntegerAttr(threads));
  module->setAttr("headrace.shared", b.getI64IntegerAttr(sharedBytes));
  SmallVector<int64_t> weightSlotCounts;
  for (Value argument : LaunchOperands(kernel).weights)
    weightSlotCounts.push_back(
        weightSlots(cast<RankedTensorType>(argument.getType())));
  module->setAttr("headrace.weight_slots",
                  b.getDenseI64ArrayAttr(weightSlotCounts));
}

Value KernelBuilder::extra(ExtraBuffer which) {
  for (auto [i, known] : llvm::enumerate(extras))
    if (known == which)
      return extraValues[i];
  return {};
}

RowsInMemory KernelBuilder::rowsAt(Value base, Type type) {
  MemRefType memory = memoryType(type, limits);
  SmallVector<int64_t> strides;
  int64_t offset = 0;
  (void)memory.getStridesAndOffset(strides, offset);
  return {base, strides[0], memory.getRank() > 1 ? memory.getDimSize(1) : 1,
          memory.getElementType()};
}

RowsInMemory KernelBuilder::rowsOf(Value argument) {
  return rowsAt(buffer(argument), argument.getType());
}

RowsInMemory KernelBuilder::rowsOfResult(unsigned i) {
  unsigned seen = 0;
  for (Type type : kernel.getType().getResults())
    if (!isa<nn::KvCacheType>(type) && seen++ == i)
      return rowsAt(result(i), type);
  return {};
}

Value KernelBuilder::weight(Value argument, Value expert) {
  Value slot = slots.lookup(argument);
  if (expert)
    slot = add(slot, expert);
  Value entry = at(table, slot, b.getI64Type());
  return loadConstant(LLVM::LLVMPointerType::get(b.getContext(), kGlobal),
                      entry);
}

flow::Count KernelBuilder::rowCounter() {
  return kernel->hasAttr(kOutputRowsAttr) ? flow::Count::outputs
                                          : flow::Count::tokens;
}

Value KernelBuilder::count(flow::Count what) {
  Value wide = loadConstant(b.getI64Type(), at(counts, int64_t(what) * 8));
  if (what == flow::Count::end_active) // HEADRACE_ALL_ACTIVE is larger.
    wide = arith::MinSIOp::create(b, wide, i64(INT32_MAX));
  return arith::TruncIOp::create(b, b.getI32Type(), wide);
}

Value KernelBuilder::larger(Value x, Value y) {
  Value more = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, x, y);
  return select(more, x, y);
}

Value KernelBuilder::thread() {
  return NVVM::ThreadIdXOp::create(b, b.getI32Type());
}
Value KernelBuilder::block() {
  return NVVM::BlockIdXOp::create(b, b.getI32Type());
}
Value KernelBuilder::lane() { return rem(thread(), kWarp); }
Value KernelBuilder::warp() { return div(thread(), kWarp); }

Value KernelBuilder::shared(int64_t bytes) {
  Value base = LLVM::AddressOfOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext(), kShared), "shared");
  Value piece = at(base, sharedBytes);
  sharedBytes += int64_t(llvm::alignTo(uint64_t(bytes), 128));
  return piece;
}

Value KernelBuilder::constants(ArrayRef<float> values) {
  constexpr unsigned kConstant = 4;
  auto type = LLVM::LLVMArrayType::get(f32Type(), values.size());
  auto shape = RankedTensorType::get({int64_t(values.size())}, f32Type());
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    LLVM::GlobalOp::create(b, type, /*isConstant=*/true,
                           LLVM::Linkage::Internal, "constants",
                           DenseElementsAttr::get(shape, values),
                           /*alignment=*/16, kConstant);
  }
  return LLVM::AddressOfOp::create(
      b, LLVM::LLVMPointerType::get(b.getContext(), kConstant), "constants");
}

Value KernelBuilder::at(Value base, Value index, Type element) {
  return LLVM::GEPOp::create(b, base.getType(), element, base,
                             ArrayRef<LLVM::GEPArg>{index});
}

Value KernelBuilder::at(Value base, int64_t bytes) {
  if (bytes == 0)
    return base;
  return LLVM::GEPOp::create(b, base.getType(), b.getI8Type(), base,
                             ArrayRef<LLVM::GEPArg>{i64(bytes)});
}

Value KernelBuilder::at(const RowsInMemory &rows, Value row, Value column) {
  Value start = arith::MulIOp::create(b, toI64(row), i64(rows.stride));
  Value index = arith::AddIOp::create(b, start, toI64(column));
  return at(rows.base, index, rows.element);
}

Value KernelBuilder::load(Type type, Value address) {
  return LLVM::LoadOp::create(b, type, address);
}

Value KernelBuilder::loadConstant(Type type, Value address,
                                  unsigned alignment) {
  auto op = LLVM::LoadOp::create(b, type, address, alignment);
  op.setInvariant(true);
  return op;
}

void KernelBuilder::store(Value value, Value address) {
  LLVM::StoreOp::create(b, value, address);
}

SmallVector<Value> KernelBuilder::load16(Value address, bool constant) {
  Value vector = constant
                     ? loadConstant(words(), address, 16)
                     : LLVM::LoadOp::create(b, words(), address, 16).getRes();
  SmallVector<Value> out;
  for (int64_t i = 0; i < 4; ++i)
    out.push_back(LLVM::ExtractElementOp::create(b, vector, i32(i)));
  return out;
}

void KernelBuilder::store16(ValueRange parts, Value address) {
  Value vector = LLVM::PoisonOp::create(b, words());
  for (int64_t i = 0; i < 4; ++i)
    vector = LLVM::InsertElementOp::create(b, vector, parts[size_t(i)], i32(i));
  LLVM::StoreOp::create(b, vector, address, 16);
}

Value KernelBuilder::increment(Value address) {
  return LLVM::AtomicRMWOp::create(b, LLVM::AtomicBinOp::add, address, i32(1),
                                   LLVM::AtomicOrdering::acq_rel, "device");
}

void KernelBuilder::loop(Value from, Value to, Value step,
                         function_ref<void(Value)> body) {
  auto op = scf::ForOp::create(b, from, to, step);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  body(op.getInductionVar());
}

SmallVector<Value>
KernelBuilder::fold(Value from, Value to, Value step, ValueRange inits,
                    function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(b, from, to, step, inits);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  SmallVector<Value> out = body(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(b, out);
  return SmallVector<Value>(op.getResults());
}

void KernelBuilder::when(Value condition, function_ref<void()> body) {
  auto op = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  body();
}

SmallVector<Value>
KernelBuilder::choose(Value condition, TypeRange types,
                      function_ref<SmallVector<Value>()> yes,
                      function_ref<SmallVector<Value>()> no) {
  auto op = scf::IfOp::create(b, types, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  scf::YieldOp::create(b, yes());
  b.setInsertionPointToStart(op.elseBlock());
  scf::YieldOp::create(b, no());
  return SmallVector<Value>(op.getResults());
}

void KernelBuilder::barrier() { gpu::BarrierOp::create(b); }

void KernelBuilder::fence() {
  NVVM::MembarOp::create(b, NVVM::MemScopeKind::GPU);
}

Value KernelBuilder::lastToArrive(Value counter, Value total) {
  Value flag = shared(4);
  fence();
  barrier();
  when(equal(thread(), i32(0)), [&] {
    Value before = increment(counter);
    Value last = equal(before, sub(total, i32(1)));
    when(last, [&] { store(i32(0), counter); });
    store(arith::ExtUIOp::create(b, i32Type(), last), flag);
  });
  barrier();
  fence();
  return equal(load(i32Type(), flag), i32(1));
}

Value KernelBuilder::shuffle(Value value, int64_t mask) {
  return gpu::ShuffleOp::create(b, value, i32(mask), i32(kWarp),
                                gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

Value KernelBuilder::broadcast(Value value, Value from) {
  return gpu::ShuffleOp::create(b, value, from, i32(kWarp),
                                gpu::ShuffleMode::IDX)
      .getShuffleResult();
}

Value KernelBuilder::shuffleUp(Value value, int64_t distance) {
  // Lanes below the first one that has a source keep their own value.
  return gpu::ShuffleOp::create(b, value, i32(distance), i32(kWarp),
                                gpu::ShuffleMode::UP)
      .getShuffleResult();
}

Value KernelBuilder::lanesWithSame(Value value) {
  return NVVM::MatchSyncOp::create(b, b.getI32Type(), i32(-1), value,
                                   NVVM::MatchSyncKind::any);
}

void KernelBuilder::warpBarrier() { NVVM::SyncWarpOp::create(b, i32(-1)); }

Value KernelBuilder::countBits(Value mask) {
  return math::CtPopOp::create(b, mask);
}

Value KernelBuilder::warpSum(Value value) {
  for (int64_t mask = kWarp / 2; mask; mask /= 2)
    value = addF(value, shuffle(value, mask));
  return value;
}

Value KernelBuilder::warpMax(Value value) {
  for (int64_t mask = kWarp / 2; mask; mask /= 2)
    value = larger(value, shuffle(value, mask));
  return value;
}

std::pair<Value, Value> KernelBuilder::unpack(Value word, Type element) {
  if (element.isBF16()) { // The upper half of a float32.
    Value low = arith::ShLIOp::create(b, word, i32(16));
    Value high = arith::AndIOp::create(b, word, i32(int32_t(0xffff0000)));
    return {arith::BitcastOp::create(b, f32Type(), low),
            arith::BitcastOp::create(b, f32Type(), high)};
  }
  Type i16 = b.getI16Type();
  auto half = [&](Value bits) {
    Value small = arith::TruncIOp::create(b, i16, bits);
    return widen(arith::BitcastOp::create(b, element, small));
  };
  return {half(word), half(arith::ShRUIOp::create(b, word, i32(16)))};
}

Value KernelBuilder::pack(Value low, Value high, Type element) {
  auto bits = [&](Value x) -> Value {
    Value small =
        arith::BitcastOp::create(b, b.getI16Type(), narrow(x, element));
    return arith::ExtUIOp::create(b, i32Type(), small);
  };
  Value upper = arith::ShLIOp::create(b, bits(high), i32(16));
  return arith::OrIOp::create(b, bits(low), upper);
}

SmallVector<Value> KernelBuilder::mma(ValueRange a, ValueRange bs,
                                      ValueRange accumulators, Type element) {
  auto f32x4 = LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(4, b.getF32Type()));
  SmallVector<Value> left(a), right(bs);
  auto type = NVVM::MMATypes::bf16;
  if (element.isF16()) {
    type = NVVM::MMATypes::f16;
    Type pair = VectorType::get({2}, element);
    for (Value &word : left)
      word = LLVM::BitcastOp::create(b, pair, word);
    for (Value &word : right)
      word = LLVM::BitcastOp::create(b, pair, word);
  }
  Value sums = NVVM::MmaOp::create(
      b, f32x4, left, right, accumulators, ArrayRef<int64_t>{16, 8, 16},
      /*b1Op=*/std::nullopt, /*intOverflow=*/std::nullopt,
      std::array<NVVM::MMATypes, 2>{type, type},
      std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row,
                                     NVVM::MMALayout::col});
  SmallVector<Value> out;
  for (int64_t i = 0; i < 4; ++i)
    out.push_back(LLVM::ExtractValueOp::create(b, sums, i));
  return out;
}

SmallVector<Value>
KernelBuilder::multiplyWarpgroup(ValueRange words, Value descriptor,
                                 ValueRange accumulators, int64_t blocks,
                                 int64_t steps, int64_t tokens, Type element) {
  // One text for all of it: between the first instruction and the wait nothing
  // may touch the sums' registers.
  int64_t sums = int64_t(accumulators.size()), each = sums / blocks;
  int64_t firstWord = 2 * sums,
          tokensOperand = firstWord + int64_t(words.size());
  std::string text, constraints;
  llvm::raw_string_ostream out(text);
  auto list = [&](int64_t from, int64_t count) {
    out << "{";
    for (int64_t i = 0; i < count; ++i)
      out << (i ? ", $" : "$") << from + i;
    out << "}";
  };
  const char *name = element.isF16() ? "f16" : "bf16";
  out << "{\n.reg .pred p;\n.reg .b64 d;\nsetp.eq.b32 p, 0, 0;\n"
      << "wgmma.fence.sync.aligned;\n";
  for (int64_t step = 0; step < steps; ++step) {
    // 16 channels are 32 bytes, in units of 16.
    out << "add.s64 d, $" << tokensOperand << ", " << 2 * step << ";\n";
    for (int64_t block = 0; block < blocks; ++block) {
      out << "wgmma.mma_async.sync.aligned.m64n" << tokens << "k16.f32." << name
          << "." << name << " ";
      list(block * each, each);
      out << ", ";
      list(firstWord + (step / 2 * blocks + block) * 8 + step % 2 * 4, 4);
      out << ", d, p, 1, 1, 0;\n";
    }
  }
  out << "wgmma.commit_group.sync.aligned;\n"
      << "wgmma.wait_group.sync.aligned 0;\n}";
  for (int64_t i = 0; i < sums; ++i)
    constraints += "=f,";
  for (int64_t i = 0; i < sums; ++i)
    constraints += std::to_string(i) + ",";
  for (size_t i = 0; i < words.size(); ++i)
    constraints += "r,";
  constraints += "l";
  SmallVector<Value> operands(accumulators);
  llvm::append_range(operands, words);
  operands.push_back(descriptor);
  auto type = LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(size_t(sums), b.getF32Type()));
  auto op = LLVM::InlineAsmOp::create(
      b, type, operands, text, constraints, /*has_side_effects=*/true,
      /*is_align_stack=*/false, LLVM::TailCallKind::None,
      LLVM::AsmDialectAttr(), ArrayAttr());
  // What the text does, for who runs it without a GPU.
  op->setAttr("headrace.wgmma",
              b.getDenseI64ArrayAttr({blocks, steps, tokens, element.isF16()}));
  SmallVector<Value> result;
  for (int64_t i = 0; i < sums; ++i)
    result.push_back(LLVM::ExtractValueOp::create(b, op.getRes(), i));
  return result;
}

void KernelBuilder::fenceProxy() {
  NVVM::FenceProxyOp::create(
      b, NVVM::ProxyKind::async_shared,
      NVVM::SharedSpaceAttr::get(b.getContext(),
                                 NVVM::SharedSpace::shared_cta));
}

SmallVector<Value> KernelBuilder::loadMatrices(Value address) {
  auto i32x4 = LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(4, b.getI32Type()));
  auto shape = NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8);
  Value four =
      NVVM::LdMatrixOp::create(b, i32x4, address, 4u, NVVM::MMALayout::row,
                               shape, NVVM::LdStMatrixEltType::B16);
  SmallVector<Value> out;
  for (int64_t i = 0; i < 4; ++i)
    out.push_back(LLVM::ExtractValueOp::create(b, four, i));
  return out;
}

void KernelBuilder::copyAsync(Value to, Value from, Value valid) {
  NVVM::CpAsyncOp::create(b, to, from, 16, NVVM::LoadCacheModifierKind::CG,
                          valid);
}

void KernelBuilder::commitCopies() { NVVM::CpAsyncCommitGroupOp::create(b); }

void KernelBuilder::awaitCopies(int64_t left) {
  NVVM::CpAsyncWaitGroupOp::create(b, uint32_t(left));
}
