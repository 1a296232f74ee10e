// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One NVIDIA DGX A100 640GB: eight of a100. [D] is NVIDIA's DGX A100 datasheet,
// [P] "SambaNova SN40L" (arXiv 2405.07518), section VI-C, which compares with it.
#tier.machine<"dgx-a100",
  levels = [
    <"sram", bytes = 166912, count = 864, alignment = 16>,
    <"l2", bytes = 41943040, count = 8, alignment = 128>,
    // [D] 640 GB in eight.
    <"hbm", bytes = 80000000000, count = 8, alignment = 256>,
    // [D] 2 TB.
    <"dram", bytes = 2000000000000, alignment = 4096>],
  links = [
    // Eight times a100's.
    <"hbm" to "sram", bandwidth = 2039000000000, count = 8>,
    // [P] 32 GB/s from host to one GPU. The paper's table charges one such link
    // for the node; the node has one for each GPU.
    <"dram" to "hbm", bandwidth = 32000000000, count = 8>,
    <"hbm" to "dram", bandwidth = 32000000000, count = 8>],
  // Eight times a100's.
  compute = [
    <"bf16", operations = 312000000000000, count = 8>,
    <"f16", operations = 312000000000000, count = 8>,
    <"tf32", operations = 156000000000000, count = 8>,
    <"i8", operations = 624000000000000, count = 8>,
    <"f32", operations = 19500000000000, count = 8>]>
