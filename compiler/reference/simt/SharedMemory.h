// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Shared memory of one block, which knows who touched each byte since the last
// barrier, and asynchronous copies into it.
#ifndef HEADRACE_COMPILER_REFERENCE_SIMT_SHAREDMEMORY_H
#define HEADRACE_COMPILER_REFERENCE_SIMT_SHAREDMEMORY_H

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::simt {

class SharedMemory {
public:
  SharedMemory(uint64_t bytes, uint64_t threads);

  /// Empty where the access is fine, else what is wrong with it.
  std::string read(uint64_t thread, uint64_t at, void *to, uint64_t bytes);
  /// The same for an instruction of the async proxy, which sees what was
  /// written otherwise only behind a fence of the thread that wrote it.
  std::string readAsync(uint64_t thread, uint64_t at, void *to, uint64_t bytes);
  std::string write(uint64_t thread, uint64_t at, const void *from,
                    uint64_t bytes);
  /// A copy of 16 bytes under way: they may not be read before its thread has
  /// waited for it.
  std::string copy(uint64_t thread, uint64_t at,
                   const std::array<uint8_t, 16> &data);
  void commit(uint64_t thread);
  /// Copies of all but the last `left` groups of the thread arrive.
  void await(uint64_t thread, uint64_t left);

  /// The thread's fence between its writes and the async proxy's reads.
  void fenceProxy(uint64_t thread) { ++fences[thread]; }

  void barrier() { ++epoch; }
  void warpBarrier(uint64_t warp) { ++warpEpochs[warp]; }

private:
  struct Byte {
    uint8_t value = 0xcd;
    bool defined = false;
    uint32_t writeEpoch = 0, writeWarpEpoch = 0, writer = 0;
    uint32_t writeFence = 0; ///< How many fences its writer had made.
    uint32_t readEpoch = 0, readWarpEpoch = 0, reader = 0;
    uint32_t readWarps = 0; ///< A bit each, of readEpoch.
  };
  struct Copy {
    uint64_t at;
    std::array<uint8_t, 16> data;
  };
  std::string touch(uint64_t thread, uint64_t at, uint64_t bytes);
  void mark(Byte &byte, uint64_t thread);

  std::vector<Byte> memory;
  std::vector<uint32_t> warpEpochs, fences;
  uint32_t epoch = 1;
  /// Of each thread: its groups of copies, the open one last.
  std::vector<std::vector<std::vector<Copy>>> copies;
};

} // namespace headrace::simt

#endif // HEADRACE_COMPILER_REFERENCE_SIMT_SHAREDMEMORY_H
