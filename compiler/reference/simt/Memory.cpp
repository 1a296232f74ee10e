// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Global memory of the machine that runs GPU kernels on the CPU.
#include "compiler/reference/simt/Simt.h"

#include <algorithm>
#include <cstring>

using namespace headrace::simt;

/// Each buffer has addresses of its own, so that none ends where another
/// begins.
constexpr unsigned kBufferBits = 40;

static Memory::Buffer makeBuffer(std::string name,
                                 llvm::MutableArrayRef<uint8_t> bytes,
                                 bool defined) {
  Memory::Buffer buffer;
  buffer.name = std::move(name);
  buffer.bytes = bytes;
  buffer.defined.assign(bytes.size(), defined);
  return buffer;
}

uint64_t Memory::allocate(std::string name, uint64_t bytes) {
  auto owned = std::make_unique<uint8_t[]>(bytes);
  std::fill_n(owned.get(), bytes, 0xcd);
  buffers.push_back(makeBuffer(std::move(name), {owned.get(), size_t(bytes)},
                               /*defined=*/false));
  buffers.back().owned = std::move(owned);
  return uint64_t(buffers.size()) << kBufferBits;
}

void Memory::map(void *bytes, std::string name, uint64_t count) {
  mapped[reinterpret_cast<uint64_t>(bytes)] = makeBuffer(
      std::move(name), {static_cast<uint8_t *>(bytes), size_t(count)},
      /*defined=*/true);
}

const Memory::Buffer *Memory::find(uint64_t address, uint64_t bytes,
                                   uint64_t &offset) const {
  if (auto after = mapped.upper_bound(address); after != mapped.begin()) {
    const auto &[start, buffer] = *std::prev(after);
    offset = address - start;
    if (offset <= buffer.bytes.size() && bytes <= buffer.bytes.size() - offset)
      return &buffer;
  }
  uint64_t number = address >> kBufferBits;
  offset = address & ((uint64_t(1) << kBufferBits) - 1);
  if (number == 0 || number > buffers.size())
    return nullptr;
  const Buffer &buffer = buffers[number - 1];
  if (offset > buffer.bytes.size() || bytes > buffer.bytes.size() - offset)
    return nullptr;
  return &buffer;
}

Memory::Buffer *Memory::find(uint64_t address, uint64_t bytes,
                             uint64_t &offset) {
  return const_cast<Buffer *>(
      static_cast<const Memory *>(this)->find(address, bytes, offset));
}

void Memory::write(uint64_t address, const void *from, uint64_t bytes) {
  uint64_t offset;
  if (Buffer *buffer = find(address, bytes, offset)) {
    std::memcpy(buffer->bytes.data() + offset, from, bytes);
    std::fill_n(buffer->defined.begin() + int64_t(offset), bytes, 1);
  }
}

void Memory::zero(uint64_t address, uint64_t bytes) {
  write(address, std::vector<uint8_t>(bytes, 0).data(), bytes);
}

void Memory::forget(uint64_t address, uint64_t bytes) {
  uint64_t offset;
  if (Buffer *buffer = find(address, bytes, offset)) {
    std::fill_n(buffer->bytes.begin() + int64_t(offset), bytes, 0xcd);
    std::fill_n(buffer->defined.begin() + int64_t(offset), bytes, 0);
  }
}

llvm::Error Memory::read(uint64_t address, void *to, uint64_t bytes) const {
  uint64_t offset;
  const Buffer *buffer = find(address, bytes, offset);
  if (!buffer)
    return llvm::createStringError("no buffer has these bytes");
  for (uint64_t i = 0; i < bytes; ++i)
    if (!buffer->defined[offset + i])
      return llvm::createStringError("byte %llu of '%s' was never written",
                                     (unsigned long long)(offset + i),
                                     buffer->name.c_str());
  std::memcpy(to, buffer->bytes.data() + offset, bytes);
  return llvm::Error::success();
}
