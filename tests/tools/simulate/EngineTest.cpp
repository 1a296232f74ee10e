// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels and transfers over time, on machines small enough to count by hand.
#include "tools/simulate/Engine.h"

#include <gtest/gtest.h>

using namespace headrace;
using namespace headrace::simulate;

namespace {

/// A disk of 10 bytes a second and 1 s of latency; memory that is read with 100
/// and copied with 50 bytes a second over one bus; 8 operations a second.
Machine tiny() {
  Machine machine;
  machine.levels = {{"sram", 64, 2}, {"dram", 1000, 1}, {"disk", 10000, 1}};
  machine.links = {{"dram", "sram", 100, 0, 1, "memory"},
                   {"dram", "dram", 50, 0, 1, "memory"},
                   {"disk", "dram", 5, 1000000000, 2, ""}};
  machine.compute = {{"bf16", 4, 2}};
  return machine;
}

KernelWork reads(double bytes, double operations = 0) {
  return {"k", "", "dram", bytes, operations, "bf16"};
}

TEST(Engine, AKernelTakesTheLongerOfReadingAndMultiplying) {
  Machine machine = tiny();
  Engine engine(machine);
  engine.run(reads(200, 8));
  EXPECT_DOUBLE_EQ(engine.now(), 2);
  engine.run(reads(200, 24));
  EXPECT_DOUBLE_EQ(engine.now(), 5);
  EXPECT_TRUE(engine.missing().empty());
}

TEST(Engine, ALaunchHasItsOwnTime) {
  Machine machine = tiny();
  machine.launch = 500000000;
  Engine engine(machine);
  engine.run(reads(100));
  EXPECT_DOUBLE_EQ(engine.now(), 1.5);
}

TEST(Engine, ATransferRunsBesideAKernelOnAnotherBus) {
  Machine machine = tiny();
  Engine engine(machine);
  size_t one = engine.transfer("disk", "dram", 20, "t", "");
  engine.run(reads(400));
  EXPECT_DOUBLE_EQ(engine.now(), 4);
  EXPECT_TRUE(engine.done(one));
  EXPECT_DOUBLE_EQ(engine.endedAt(one), 3); // 1 s, then 20 bytes by two links.
  engine.waitFor(one, "k");
  EXPECT_DOUBLE_EQ(engine.now(), 4);
  EXPECT_DOUBLE_EQ(engine.stalled(), 0);
}

TEST(Engine, TransfersOfOneLinkFollowEachOther) {
  Machine machine = tiny();
  Engine engine(machine);
  size_t first = engine.transfer("disk", "dram", 10, "a", "");
  size_t second = engine.transfer("disk", "dram", 20, "b", "");
  engine.waitFor(second, "k");
  EXPECT_DOUBLE_EQ(engine.endedAt(first), 2);
  EXPECT_DOUBLE_EQ(engine.startedAt(second), 2);
  // Its latency has passed beside the first one.
  EXPECT_DOUBLE_EQ(engine.endedAt(second), 4);
  EXPECT_DOUBLE_EQ(engine.stalled(), 4);
  EXPECT_DOUBLE_EQ(engine.bytesOf(2), 30);
}

TEST(Engine, OneRequestGetsLessThanTheLink) {
  // A request of 20 bytes alone takes 1 s and 20 bytes at 4 a second, 6 in all;
  // of a second one beside it only the bytes at 10 a second come on top.
  Machine machine = tiny();
  machine.links[2].request = 2;
  Engine engine(machine);
  size_t first = engine.transfer("disk", "dram", 20, "a", "");
  size_t second = engine.transfer("disk", "dram", 20, "b", "");
  engine.waitFor(second, "k");
  EXPECT_DOUBLE_EQ(engine.endedAt(first), 6);
  EXPECT_DOUBLE_EQ(engine.endedAt(second), 8);
}

TEST(Engine, ALinkHasSixteenRequestsUnderWay) {
  // Of three transfers of twelve requests each the third is sent when the first
  // has ended, and its latency, longer than the second takes, is seen again.
  Machine machine = tiny();
  machine.links[2].bandwidth = uint64_t(6) << 20;
  machine.links[2].latency = 3000000000;
  Engine engine(machine);
  size_t last = 0;
  for (const char *name : {"a", "b", "c"})
    last = engine.transfer("disk", "dram", 12 << 20, name, "");
  engine.waitFor(last, "k");
  EXPECT_DOUBLE_EQ(engine.now(), 3 + 1 + 3 + 1);
}

TEST(Engine, LinksOfOneBusSlowEachOtherDown) {
  // 100 bytes copied take 2 s and 200 read take 2 s: together 4, since each
  // leaves nothing of the bus.
  Machine machine = tiny();
  Engine engine(machine);
  size_t copy = engine.transfer("dram", "dram", 100, "t", "");
  engine.run(reads(200));
  EXPECT_DOUBLE_EQ(engine.now(), 4);
  EXPECT_TRUE(engine.done(copy));
  EXPECT_DOUBLE_EQ(engine.endedAt(copy), 4);
}

TEST(Engine, AKernelThatMultipliesLeavesBusFree) {
  // The kernel asks for half of the bus for 4 s, the copy for all of it: both
  // go at 2/3 of their speed until the copy of 2 s has ended after 3 s; then
  // the kernel, which has done 2 of its 4 s, goes on alone.
  Machine machine = tiny();
  Engine engine(machine);
  size_t copy = engine.transfer("dram", "dram", 100, "t", "");
  engine.run(reads(200, 32));
  EXPECT_DOUBLE_EQ(engine.endedAt(copy), 3);
  EXPECT_DOUBLE_EQ(engine.now(), 5);
}

TEST(Engine, SaysWhatTheMachineDoesNot) {
  Machine machine = tiny();
  Engine engine(machine);
  size_t one = engine.transfer("disk", "sram", 20, "t", "");
  engine.waitFor(one, "k");
  engine.run({"k", "", "disk", 100, 5, "f8"});
  engine.run({"k", "", "disk", 100, 5, "f8"});
  EXPECT_DOUBLE_EQ(engine.now(), 0);
  EXPECT_EQ(engine.missing(), (std::vector<std::string>{"link 'disk' to 'sram'",
                                                        "compute of 'f8'"}));
}

TEST(Engine, BarsSayWhatHappenedWhen) {
  Machine machine = tiny();
  Engine engine(machine);
  size_t one = engine.transfer("disk", "dram", 20, "layer 1", "in slot 0");
  engine.run(reads(100));
  engine.waitFor(one, "next");
  engine.drain();
  ASSERT_EQ(engine.bars().size(), 3u);
  const Bar &kernel = engine.bars()[0], &transfer = engine.bars()[1],
            &wait = engine.bars()[2];
  EXPECT_EQ(kernel.kind, Bar::Kind::kernel);
  EXPECT_DOUBLE_EQ(kernel.end, 1);
  EXPECT_EQ(transfer.kind, Bar::Kind::transfer);
  EXPECT_EQ(engine.lanes()[transfer.lane], "disk to dram");
  EXPECT_EQ(transfer.name, "layer 1");
  EXPECT_DOUBLE_EQ(transfer.end, 3);
  EXPECT_EQ(wait.kind, Bar::Kind::wait);
  EXPECT_EQ(wait.detail, "for layer 1");
  EXPECT_DOUBLE_EQ(wait.begin, 1);
  EXPECT_DOUBLE_EQ(wait.end, 3);
}

} // namespace
