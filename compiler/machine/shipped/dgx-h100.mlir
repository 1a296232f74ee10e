// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One NVIDIA DGX H100: eight of h100-sxm. [D] is NVIDIA's DGX H100 datasheet, [P]
// "SambaNova SN40L" (arXiv 2405.07518), section VI-C, which compares with it.
#tier.machine<"dgx-h100",
  levels = [
    <"sram", bytes = 232448, count = 1056, alignment = 16>,
    <"l2", bytes = 52428800, count = 8, alignment = 128>,
    // [D] 640 GB in eight.
    <"hbm", bytes = 80000000000, count = 8, alignment = 256>,
    // [D] 2 TB.
    <"dram", bytes = 2000000000000, alignment = 4096>],
  links = [
    // Eight times h100-sxm's.
    <"hbm" to "sram", bandwidth = 3350000000000, count = 8>,
    // [P] 64 GB/s from host to one GPU. The paper's table charges one such link
    // for the node; the node has one for each GPU.
    <"dram" to "hbm", bandwidth = 64000000000, count = 8>,
    <"hbm" to "dram", bandwidth = 64000000000, count = 8>],
  // Eight times h100-sxm's.
  compute = [
    <"bf16", operations = 989000000000000, count = 8>,
    <"f16", operations = 989000000000000, count = 8>,
    <"tf32", operations = 494000000000000, count = 8>,
    <"f8", operations = 1979000000000000, count = 8>,
    <"i8", operations = 1979000000000000, count = 8>,
    <"f32", operations = 67000000000000, count = 8>]>
