// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Shared memory of one block.
#include "compiler/reference/simt/SharedMemory.h"

using namespace headrace::simt;

SharedMemory::SharedMemory(uint64_t bytes, uint64_t threads)
    : memory(bytes), warpEpochs((threads + 31) / 32, 1), fences(threads, 0),
      copies(threads, std::vector<std::vector<Copy>>(1)) {}

static std::string outside(uint64_t at, uint64_t bytes, uint64_t all) {
  return "touches bytes " + std::to_string(at) + " + " + std::to_string(bytes) +
         " of " + std::to_string(all) + " of shared memory";
}

std::string SharedMemory::read(uint64_t thread, uint64_t at, void *to,
                               uint64_t bytes) {
  if (at > memory.size() || bytes > memory.size() - at)
    return outside(at, bytes, memory.size());
  uint64_t warp = thread / 32;
  for (uint64_t i = 0; i < bytes; ++i) {
    Byte &byte = memory[at + i];
    if (!byte.defined)
      return "reads byte " + std::to_string(at + i) +
             " of shared memory, which nobody wrote or which has not arrived";
    if (byte.writeEpoch == epoch && byte.writer != thread &&
        (byte.writer / 32 != warp || byte.writeWarpEpoch == warpEpochs[warp]))
      return "reads byte " + std::to_string(at + i) +
             " of shared memory, which thread " + std::to_string(byte.writer) +
             " wrote without a barrier between them";
    if (byte.readEpoch != epoch)
      byte.readWarps = 0;
    byte.readEpoch = epoch;
    byte.readWarps |= 1u << warp;
    byte.readWarpEpoch = warpEpochs[warp];
    byte.reader = uint32_t(thread);
    static_cast<uint8_t *>(to)[i] = byte.value;
  }
  return "";
}

std::string SharedMemory::readAsync(uint64_t thread, uint64_t at, void *to,
                                    uint64_t bytes) {
  if (std::string wrong = read(thread, at, to, bytes); !wrong.empty())
    return wrong;
  for (uint64_t i = at; i < at + bytes; ++i)
    if (fences[memory[i].writer] == memory[i].writeFence)
      return "reads byte " + std::to_string(i) +
             " of shared memory through the async proxy, which thread " +
             std::to_string(memory[i].writer) +
             " wrote without a proxy fence behind it";
  return "";
}

std::string SharedMemory::touch(uint64_t thread, uint64_t at, uint64_t bytes) {
  if (at > memory.size() || bytes > memory.size() - at)
    return outside(at, bytes, memory.size());
  uint64_t warp = thread / 32;
  for (uint64_t i = 0; i < bytes; ++i) {
    const Byte &byte = memory[at + i];
    if (byte.writeEpoch == epoch && byte.writer != thread &&
        (byte.writer / 32 != warp || byte.writeWarpEpoch == warpEpochs[warp]))
      return "writes byte " + std::to_string(at + i) +
             " of shared memory, which thread " + std::to_string(byte.writer) +
             " wrote without a barrier between them";
    bool others = byte.readWarps & ~(1u << warp);
    bool mine = byte.readWarps & (1u << warp) && byte.reader != thread &&
                byte.readWarpEpoch == warpEpochs[warp];
    if (byte.readEpoch == epoch && (others || mine))
      return "writes byte " + std::to_string(at + i) +
             " of shared memory, which others read without a barrier between "
             "them";
  }
  return "";
}

void SharedMemory::mark(Byte &byte, uint64_t thread) {
  byte.writeEpoch = epoch;
  byte.writeWarpEpoch = warpEpochs[thread / 32];
  byte.writer = uint32_t(thread);
  byte.writeFence = fences[thread];
}

std::string SharedMemory::write(uint64_t thread, uint64_t at, const void *from,
                                uint64_t bytes) {
  if (std::string wrong = touch(thread, at, bytes); !wrong.empty())
    return wrong;
  for (uint64_t i = 0; i < bytes; ++i) {
    Byte &byte = memory[at + i];
    byte.value = static_cast<const uint8_t *>(from)[i];
    byte.defined = true;
    mark(byte, thread);
  }
  return "";
}

std::string SharedMemory::copy(uint64_t thread, uint64_t at,
                               const std::array<uint8_t, 16> &data) {
  if (at % 16)
    return "copies to byte " + std::to_string(at) +
           " of shared memory, which is not aligned to 16";
  if (std::string wrong = touch(thread, at, 16); !wrong.empty())
    return wrong;
  for (uint64_t i = 0; i < 16; ++i) {
    memory[at + i].defined = false;
    mark(memory[at + i], thread);
  }
  copies[thread].back().push_back({at, data});
  return "";
}

void SharedMemory::commit(uint64_t thread) { copies[thread].emplace_back(); }

void SharedMemory::await(uint64_t thread, uint64_t left) {
  auto &groups = copies[thread];
  while (groups.size() > left + 1) { // The last group is open.
    for (const Copy &copy : groups.front())
      for (uint64_t i = 0; i < 16; ++i) {
        Byte &byte = memory[copy.at + i];
        byte.value = copy.data[i];
        byte.defined = true;
        mark(byte, thread);
      }
    groups.erase(groups.begin());
  }
}
