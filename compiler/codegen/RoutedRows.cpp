// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "compiler/codegen/RoutedRows.h"
#include "dialects/moe/IR/Moe.h"

using namespace mlir;
using namespace headrace;

RoutedRows::RoutedRows(ProgramBuilder &p, Value routing) : p(p) {
  auto type = cast<moe::RoutingType>(routing.getType());
  RoutingLayout layout(type, p.limits);
  Value bytes = p.memory(routing);
  Type i32 = p.b.getI32Type();
  int64_t slots = p.limits.maxTokens * type.getSlots();
  activeCount = p.view(bytes, layout.activeCount, 1, i32);
  active = p.view(bytes, layout.active, type.getExperts(), i32);
  offsets = p.view(bytes, layout.offsets, type.getExperts() + 1, i32);
  tokens = p.view(bytes, layout.rows, slots, i32);
  weights = p.view(bytes, layout.weights, slots, p.b.getF32Type());
}

Value RoutedRows::end() {
  return p.min(p.loadIndex(activeCount, p.index(0)),
               p.count(flow::Count::end_active));
}

Value RoutedRows::expert(Value place) { return p.loadIndex(active, place); }

std::pair<Value, Value> RoutedRows::rowsOf(Value expert) {
  Value begin = p.loadIndex(offsets, expert);
  Value end = p.loadIndex(offsets, p.add(expert, 1));
  return {begin, p.sub(end, begin)};
}
