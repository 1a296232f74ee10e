// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A machine that says nothing about how fast its memory is.
#tier.machine<"no-link",
  levels = [<"sram", bytes = 262144>, <"dram", bytes = 268435456>],
  compute = [<"f32", operations = 10000000000>]>
