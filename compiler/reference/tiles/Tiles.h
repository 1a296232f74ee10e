// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs tile programs (`flow.program`) op by op, task after task. Slow, and
// strict: what a processor would leave to chance is an error that names the op
// and the task.
//
// Found are: accesses outside of a buffer, a view, a tile or the program's
// scratch; reads of bytes that nobody wrote; two tasks that write one byte; a
// task that reads what another one of the launch writes, or writes what another
// one reads, without having seen it arrive; a tile whose rows were overwritten
// after `flow.load` staged them (a slot of a ring in use, loads and products in
// the wrong order); weights that are written; counters that count too far.
#ifndef HEADRACE_COMPILER_REFERENCE_TILES_TILES_H
#define HEADRACE_COMPILER_REFERENCE_TILES_TILES_H

#include "compiler/reference/simt/Simt.h"
#include "mlir/IR/Operation.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <vector>

namespace headrace::tiles {

/// One launch of a `flow.program`.
struct Launch {
  mlir::Operation *program = nullptr;
  uint64_t tasks = 1;

  struct Buffer {
    uint64_t address, bytes;
  };
  std::vector<Buffer> buffers; ///< Operands, then results.
  /// For each weight operand the addresses of its matrices: one, or one an
  /// expert.
  std::vector<std::vector<uint64_t>> weights;
  std::vector<int64_t> counts; ///< By headrace_count_t.
};

/// Runs the tasks in ascending order, or descending where `backwards`: what a
/// program computes must not depend on it. Sums of products are those of
/// float32, k ascending; norms are computed in double.
llvm::Error run(simt::Memory &memory, const Launch &launch,
                bool backwards = false);

} // namespace headrace::tiles

#endif // HEADRACE_COMPILER_REFERENCE_TILES_TILES_H
