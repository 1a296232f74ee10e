// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A machine small enough that a step of a small model takes visible time.
#tier.machine<"two-tier",
  levels = [
    <"sram", bytes = 262144, count = 2>,
    <"dram", bytes = 268435456>,
    <"disk", bytes = 1073741824, alignment = 4096>],
  links = [
    <"dram" to "sram", bandwidth = 1000000000, bus = "memory">,
    <"dram" to "dram", bandwidth = 500000000, bus = "memory">,
    <"disk" to "dram", bandwidth = 100000000, latency = 100000>],
  compute = [<"f32", operations = 10000000000, count = 2>],
  launch = 1000>
