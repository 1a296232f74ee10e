// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values of a file that need not be neighbours: read and cut.
#include "dialects/tier/IR/Tier.h"

#include <gtest/gtest.h>
#include <numeric>

using namespace headrace::tier;
using mlir::Attribute;

namespace {

using Bytes = std::vector<uint8_t>;
using Sizes = std::vector<uint64_t>;

struct RangeTest : ::testing::Test {
  RangeTest() { context.loadDialect<TierDialect>(); }

  RangeAttr range(uint64_t offset, uint64_t bytes, Sizes shape = {},
                  Sizes strides = {}) {
    return RangeAttr::get(&context, "f", offset, bytes, shape, strides);
  }
  Bytes read(RangeAttr range, const Bytes &file) {
    EXPECT_LE(range.getOffset() + range.getExtent(), file.size());
    Bytes out(range.getBytes());
    range.gather(reinterpret_cast<const char *>(&file[range.getOffset()]),
                 reinterpret_cast<char *>(out.data()));
    return out;
  }
  /// Value by value, from the definition.
  Bytes slowly(RangeAttr range, const Bytes &file) {
    uint64_t count = 1;
    for (uint64_t size : range.getShape())
      count *= size;
    uint64_t each = range.getBytes() / count;
    Bytes out;
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t at = range.getOffset(), rest = i;
      for (size_t d = range.getShape().size(); d-- > 0;) {
        at += rest % range.getShape()[d] * range.getStrides()[d];
        rest /= range.getShape()[d];
      }
      out.insert(out.end(), file.begin() + int64_t(at),
                 file.begin() + int64_t(at + each));
    }
    return out;
  }

  mlir::MLIRContext context;
};

TEST_F(RangeTest, Extent) {
  EXPECT_EQ(range(3, 10).getExtent(), 10u);
  // Three rows of two 2-byte values, 16 and 4 bytes apart.
  EXPECT_EQ(range(3, 12, {3, 2}, {16, 4}).getExtent(), 32u + 4 + 2);
  // Overlapping values, and one value again and again.
  EXPECT_EQ(range(0, 12, {3}, {1}).getExtent(), 6u);
  EXPECT_EQ(range(0, 12, {3}, {0}).getExtent(), 4u);
}

TEST_F(RangeTest, Gathers) {
  Bytes file(200000);
  for (size_t i = 0; i < file.size(); ++i)
    file[i] = uint8_t(i * 7 + i / 256);
  for (RangeAttr one : {
           range(5, 9),
           range(5, 12, {6}, {4}),
           range(5, 24, {4, 3}, {2, 8}),                // Transposed.
           range(1, 2 * 70 * 130, {70, 130}, {4, 280}), // More than a block.
           range(0, 4 * 70 * 3, {70, 3}, {12, 4}),
           range(2, 8 * 6, {2, 3}, {64, 16}), // Values of 8 bytes.
           range(0, 3 * 24, {2, 3, 4}, {36, 3, 9}),
           range(7, 2 * 24, {2, 3, 2, 2}, {50, 4, 2, 20}),
       })
    EXPECT_EQ(read(one, file), slowly(one, file));
}

TEST_F(RangeTest, EverySliceHoldsItsBytes) {
  Bytes file(256);
  std::iota(file.begin(), file.end(), 0);
  for (RangeAttr one :
       {range(5, 20), range(3, 24, {4, 3}, {2, 8}),
        range(1, 24, {2, 2, 3}, {60, 2, 20}), range(0, 12, {3}, {8})}) {
    Bytes all = slowly(one, file);
    if (one.isContiguous())
      all.assign(file.begin() + 5, file.begin() + 25);
    for (uint64_t from = 0; from <= one.getBytes(); ++from)
      for (uint64_t end = from; end <= one.getBytes(); ++end) {
        llvm::SmallVector<Attribute> parts;
        one.slice(from, end - from, parts);
        Bytes have;
        for (Attribute part : parts) {
          Bytes bytes = read(mlir::cast<RangeAttr>(part), file);
          have.insert(have.end(), bytes.begin(), bytes.end());
        }
        EXPECT_EQ(have, Bytes(all.begin() + int64_t(from),
                              all.begin() + int64_t(end)))
            << from << " to " << end;
      }
  }
}

TEST_F(RangeTest, WholeEntriesStayOneRange) {
  llvm::SmallVector<Attribute> parts;
  range(8, 24, {3, 2, 2}, {100, 2, 10}).slice(8, 16, parts);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0], range(108, 16, {2, 2, 2}, {100, 2, 10}));
}

} // namespace
