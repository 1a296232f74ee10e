// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One socket of SambaNova SN40L. [P] is "SambaNova SN40L: Scaling the AI Memory
// Wall with Dataflow and Composition of Experts" (arXiv 2405.07518), Table II
// where no section is named.
#tier.machine<"sn40l-socket",
  levels = [
    // [P] 520 MiB over 1040 memory units: half a MiB each.
    <"sram", bytes = 524288, count = 1040>,
    // [P] 64 GiB.
    <"hbm", bytes = 68719476736>,
    // [P] up to 1.5 TiB.
    <"ddr", bytes = 1649267441664, alignment = 4096>],
  links = [
    // [P] 1.8 TB/s; "about 2 TB/s" in the text.
    <"hbm" to "sram", bandwidth = 1800000000000>,
    // [P] 200 GB/s; "over 200" in the text.
    <"ddr" to "hbm", bandwidth = 200000000000, bus = "ddr">,
    <"hbm" to "ddr", bandwidth = 200000000000, bus = "ddr">],
  // [P] 638 TFLOPS.
  compute = [<"bf16", operations = 638000000000000>]>
