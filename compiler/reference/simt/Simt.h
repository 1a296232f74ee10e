// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs GPU kernels (`gpu.func`s of structured control flow) on the CPU: all
// threads of a block op by op, block after block. Slow, and strict: what a GPU
// would leave to chance is an error that names the op.
//
// Found are: accesses outside of every buffer, reads of bytes that nobody
// wrote, two blocks that write one byte, reads of another block's bytes without
// an acquiring atomic, constants that are written, shared memory that threads
// reach without a barrier between them, asynchronous copies that are read
// before they arrived or land where others still read, barriers and warp
// instructions in divergent code.
#ifndef HEADRACE_COMPILER_REFERENCE_SIMT_SIMT_H
#define HEADRACE_COMPILER_REFERENCE_SIMT_SIMT_H

#include "mlir/IR/Operation.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace headrace::simt {

/// The global memory of a device: buffers that never lie side by side.
class Memory {
public:
  /// A new buffer; returns its address. Its bytes are undefined until written.
  uint64_t allocate(std::string name, uint64_t bytes);
  /// The same at an address that another allocator gave, where no buffer of
  /// this memory is.
  void place(uint64_t address, std::string name, uint64_t bytes);
  /// Forgets the buffer at a placed address.
  void remove(uint64_t address) { placed.erase(address); }
  /// Fills bytes from the host; they are defined then.
  void write(uint64_t address, const void *from, uint64_t bytes);
  void zero(uint64_t address, uint64_t bytes);
  /// Makes bytes undefined again, as at the start of a step.
  void forget(uint64_t address, uint64_t bytes);
  /// Reads bytes for the host; an error where one of them is undefined.
  llvm::Error read(uint64_t address, void *to, uint64_t bytes) const;

  /// Who wrote a byte in its block, and behind how many barriers.
  struct Order {
    uint32_t thread = 0, barriers = 0, warpBarriers = 0;
  };
  struct Buffer {
    std::string name;
    std::vector<uint8_t> bytes, defined;
    std::vector<uint32_t> writer;    ///< Of the launch: its block plus 1.
    std::vector<uint32_t> writtenIn; ///< Number of the launch.
    std::vector<Order> order;        ///< Empty where no launch has written.
  };
  /// The buffer that holds `bytes` bytes at `address`, and the offset in it;
  /// null where none does.
  Buffer *find(uint64_t address, uint64_t bytes, uint64_t &offset);
  const Buffer *find(uint64_t address, uint64_t bytes, uint64_t &offset) const;

  /// The number of a launch that begins, which tells its writes from others'.
  uint32_t nextLaunch() { return ++launches; }

private:
  static Buffer make(std::string name, uint64_t bytes);

  std::vector<Buffer> buffers;
  std::map<uint64_t, Buffer> placed; ///< By address.
  uint32_t launches = 0;
};

/// One launch of the only function of a `gpu.module`.
struct Launch {
  mlir::Operation *module = nullptr;
  uint64_t blocks = 1, threads = 32, sharedBytes = 0;
  std::vector<uint64_t> parameters; ///< Addresses and slots.
};

/// Runs blocks in ascending order, or descending where `backwards`: what a
/// kernel computes must not depend on it. The error names the op, the block and
/// the thread.
llvm::Error run(Memory &memory, const Launch &launch, bool backwards = false);

} // namespace headrace::simt

#endif // HEADRACE_COMPILER_REFERENCE_SIMT_SIMT_H
