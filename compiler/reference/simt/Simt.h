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
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace headrace::simt {

/// The global memory of a device: buffers that never lie side by side.
class Memory {
public:
  /// A new buffer; returns its address. Its bytes are undefined until written.
  uint64_t allocate(std::string name, uint64_t bytes);
  /// Makes bytes of this process a buffer, at their own address: what its owner
  /// writes is seen, and what a launch writes is its owner's. They are defined.
  void map(void *bytes, std::string name, uint64_t count);
  /// Forgets a buffer that was mapped.
  void unmap(void *bytes) { mapped.erase(reinterpret_cast<uint64_t>(bytes)); }
  /// Fills bytes from the host; they are defined then.
  void write(uint64_t address, const void *from, uint64_t bytes);
  void zero(uint64_t address, uint64_t bytes);
  /// Makes bytes undefined again, as at the start of a step.
  void forget(uint64_t address, uint64_t bytes);
  /// Reads bytes for the host; an error where one of them is undefined.
  llvm::Error read(uint64_t address, void *to, uint64_t bytes) const;

  /// Who wrote a byte in which launch, and behind how many barriers.
  struct Write {
    uint32_t launch = 0, block = 0, thread = 0, barriers = 0, warpBarriers = 0;
  };
  struct Buffer {
    std::string name;
    std::unique_ptr<uint8_t[]> owned; ///< Null for bytes of the process.
    llvm::MutableArrayRef<uint8_t> bytes;
    std::vector<uint8_t> defined;
    std::vector<Write> writes; ///< Empty where no launch has written.

    /// The last write of byte `i` by a launch; launches count from 1.
    Write lastWrite(uint64_t i) const {
      return writes.empty() ? Write() : writes[i];
    }
  };
  /// The buffer that holds `bytes` bytes at `address`, and the offset in it;
  /// null where none does.
  Buffer *find(uint64_t address, uint64_t bytes, uint64_t &offset);
  const Buffer *find(uint64_t address, uint64_t bytes, uint64_t &offset) const;

  /// The number of a launch that begins, which tells its writes from others'.
  uint32_t nextLaunch() { return ++launches; }

private:
  std::vector<Buffer> buffers;
  std::map<uint64_t, Buffer> mapped; ///< By address.
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
