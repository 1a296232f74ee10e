// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What one task of a launch may read and write.
#ifndef HEADRACE_COMPILER_REFERENCE_TILES_TASKMEMORY_H
#define HEADRACE_COMPILER_REFERENCE_TILES_TASKMEMORY_H

#include "compiler/reference/simt/Simt.h"
#include <map>
#include <set>
#include <string>
#include <vector>

namespace headrace::tiles {

/// The memory of a launch as its tasks see it. Tasks may run at once, so what
/// one of them writes is nobody else's to touch before all have arrived. Every
/// function says what is wrong, or nothing.
class TaskMemory {
public:
  /// Nobody may write to the buffers at the addresses `constants`.
  TaskMemory(simt::Memory &memory, uint64_t scratchBytes,
             const std::vector<uint64_t> &constants);

  void beginTask(uint64_t task);

  /// Points `at` to `bytes` bytes that are there and have been written.
  std::string read(uint64_t address, uint64_t bytes, const uint8_t *&at);
  std::string write(uint64_t address, const void *from, uint64_t bytes);

  /// Counts the task in; `last` for the `total`th. From then on the last one
  /// may touch what the others did before they arrived.
  std::string arrive(uint64_t counter, uint64_t total, bool &last);

  /// Address of a byte of the task's scratch.
  static uint64_t scratch(uint64_t offset) { return kScratch + offset; }

  /// Rows of a staged tile, `stride` bytes from one to the next.
  struct Rows {
    uint64_t address = 0, stride = 0, width = 0, count = 0;
    /// One a row: whether it was written after it was staged.
    std::vector<uint8_t> stale;
  };
  /// Watches rows until others are staged under the same key.
  void stage(const void *key, Rows rows);
  const Rows &staged(const void *key) { return tiles[key]; }

private:
  static constexpr uint64_t kScratch = uint64_t(1) << 62;
  static constexpr uint32_t kMany = ~uint32_t(0);
  static constexpr uint8_t kWritten = 1, kRead = 2;

  /// Who touched a byte in this launch: the task's number plus 1, or 0.
  struct Touched {
    std::vector<uint32_t> written, read;
    /// kWritten, kRead: by a task that had arrived before.
    std::vector<uint8_t> late;
  };
  Touched &touched(const simt::Memory::Buffer &buffer);
  static std::string name(const simt::Memory::Buffer &buffer, uint64_t byte) {
    return "byte " + std::to_string(byte) + " of '" + buffer.name + "'";
  }

  simt::Memory &memory;
  std::set<const simt::Memory::Buffer *> constants;
  std::map<const simt::Memory::Buffer *, Touched> all;
  std::vector<uint8_t> scratchBytes, scratchDefined;
  std::map<const void *, Rows> tiles;
  uint32_t task = 0;
  bool arrived = false, acquired = false;
};

} // namespace headrace::tiles

#endif // HEADRACE_COMPILER_REFERENCE_TILES_TASKMEMORY_H
