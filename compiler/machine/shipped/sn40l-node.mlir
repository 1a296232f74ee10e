// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One node of SambaNova SN40L: eight sockets. [P] is "SambaNova SN40L: Scaling the
// AI Memory Wall with Dataflow and Composition of Experts" (arXiv 2405.07518),
// Table II where no section is named.
#tier.machine<"sn40l-node",
  levels = [
    // Eight times sn40l-socket's.
    <"sram", bytes = 524288, count = 8320>,
    <"hbm", bytes = 68719476736, count = 8>,
    <"ddr", bytes = 1649267441664, count = 8, alignment = 4096>],
  links = [
    // Eight times sn40l-socket's.
    <"hbm" to "sram", bandwidth = 1800000000000, count = 8>,
    // [P], section V: over 1 TB/s from DDR to HBM for the node, which is 62 % of
    // eight times Table II.
    <"ddr" to "hbm", bandwidth = 125000000000, count = 8, bus = "ddr">,
    <"hbm" to "ddr", bandwidth = 125000000000, count = 8, bus = "ddr">],
  // Eight times [P] 638 TFLOPS.
  compute = [<"bf16", operations = 638000000000000, count = 8>]>
