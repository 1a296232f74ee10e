// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What one task of a launch may read and write.
#include "compiler/reference/tiles/TaskMemory.h"

#include <algorithm>
#include <cstring>

using namespace headrace::tiles;
using Buffer = headrace::simt::Memory::Buffer;

TaskMemory::TaskMemory(simt::Memory &memory, uint64_t scratch,
                       const std::vector<uint64_t> &addresses)
    : memory(memory), scratchBytes(scratch, 0xcd), scratchDefined(scratch, 0) {
  for (uint64_t address : addresses) {
    uint64_t offset;
    if (const Buffer *buffer = memory.find(address, 1, offset))
      constants.insert(buffer);
  }
}

void TaskMemory::beginTask(uint64_t number) {
  task = uint32_t(number) + 1;
  arrived = acquired = false;
  std::fill(scratchDefined.begin(), scratchDefined.end(), 0);
  tiles.clear();
}

TaskMemory::Touched &TaskMemory::touched(const Buffer &buffer) {
  Touched &by = all[&buffer];
  if (by.written.empty()) {
    by.written.assign(buffer.bytes.size(), 0);
    by.read.assign(buffer.bytes.size(), 0);
    by.late.assign(buffer.bytes.size(), 0);
  }
  return by;
}

std::string TaskMemory::read(uint64_t address, uint64_t bytes,
                             const uint8_t *&at) {
  if (address >= kScratch) {
    uint64_t offset = address - kScratch;
    if (offset > scratchBytes.size() || bytes > scratchBytes.size() - offset)
      return "reads past the program's scratch";
    for (uint64_t i = offset; i < offset + bytes; ++i)
      if (!scratchDefined[i])
        return "reads byte " + std::to_string(i) +
               " of its scratch, which this task did not write";
    at = scratchBytes.data() + offset;
    return "";
  }
  uint64_t offset;
  const Buffer *buffer = memory.find(address, bytes, offset);
  if (!buffer)
    return "reads bytes that no buffer has";
  at = buffer->bytes.data() + offset;
  bool constant = constants.count(buffer);
  Touched *by = constant ? nullptr : &touched(*buffer);
  for (uint64_t i = offset; i < offset + bytes; ++i) {
    if (!buffer->defined[i])
      return "reads " + name(*buffer, i) + ", which nobody wrote";
    if (constant)
      continue;
    uint32_t writer = by->written[i];
    if (writer && writer != task && (!acquired || by->late[i] & kWritten))
      return "reads " + name(*buffer, i) + ", which task " +
             std::to_string(writer - 1) + " writes in this launch" +
             (acquired ? " after it arrived" : "");
    if (acquired)
      continue;
    by->read[i] = by->read[i] == 0 || by->read[i] == task ? task : kMany;
    if (arrived)
      by->late[i] |= kRead;
  }
  return "";
}

std::string TaskMemory::write(uint64_t address, const void *from,
                              uint64_t bytes) {
  for (auto &[key, rows] : tiles) {
    if (rows.count == 0 || address + bytes <= rows.address ||
        address >= rows.address + rows.count * rows.stride)
      continue;
    uint64_t first =
        address > rows.address ? (address - rows.address) / rows.stride : 0;
    for (uint64_t r = first; r < rows.count; ++r) {
      uint64_t row = rows.address + r * rows.stride;
      if (row >= address + bytes)
        break;
      if (address < row + rows.width)
        rows.stale[r] = 1;
    }
  }
  if (address >= kScratch) {
    uint64_t offset = address - kScratch;
    if (offset > scratchBytes.size() || bytes > scratchBytes.size() - offset)
      return "writes past the program's scratch";
    std::memcpy(scratchBytes.data() + offset, from, bytes);
    std::fill_n(scratchDefined.begin() + int64_t(offset), bytes, 1);
    return "";
  }
  uint64_t offset;
  Buffer *buffer = memory.find(address, bytes, offset);
  if (!buffer)
    return "writes bytes that no buffer has";
  if (constants.count(buffer))
    return "writes to the weight '" + buffer->name + "'";
  Touched &by = touched(*buffer);
  for (uint64_t i = offset; i < offset + bytes; ++i) {
    uint32_t writer = by.written[i], reader = by.read[i];
    if (writer && writer != task && (!acquired || by.late[i] & kWritten))
      return "writes " + name(*buffer, i) + ", which task " +
             std::to_string(writer - 1) + " writes in this launch";
    if (reader && reader != task && (!acquired || by.late[i] & kRead))
      return "writes " + name(*buffer, i) + ", which " +
             (reader == kMany ? "several tasks"
                              : "task " + std::to_string(reader - 1)) +
             " read in this launch";
    by.written[i] = task;
    if (arrived)
      by.late[i] |= kWritten;
    buffer->defined[i] = 1;
  }
  std::memcpy(buffer->bytes.data() + offset, from, bytes);
  return "";
}

std::string TaskMemory::arrive(uint64_t counter, uint64_t total, bool &last) {
  uint64_t offset;
  Buffer *buffer = memory.find(counter, 4, offset);
  if (!buffer || !buffer->defined[offset])
    return "counts in bytes that nobody wrote";
  uint32_t before;
  std::memcpy(&before, buffer->bytes.data() + offset, 4);
  if (before >= total)
    return "counts to " + std::to_string(uint64_t(before) + 1) + " of " +
           std::to_string(total);
  uint32_t after = before + 1;
  std::memcpy(buffer->bytes.data() + offset, &after, 4);
  last = after == total;
  arrived = !last;
  acquired = last;
  return "";
}

void TaskMemory::stage(const void *key, Rows rows) {
  rows.stale.assign(rows.count, 0);
  tiles[key] = std::move(rows);
}
