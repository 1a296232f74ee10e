// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One NVIDIA GH200 with 96 GB of HBM3: the chip of h100-sxm beside a Grace
// processor. [D] is NVIDIA's GH200 datasheet, [T] the CUDA programming guide's
// table of compute capability 9.0.
#tier.machine<"gh200",
  levels = [
    // [T] 228 KB of shared memory, of which a block may use 227; 132 SMs.
    <"sram", bytes = 232448, count = 132, alignment = 16>,
    // The chip's, as h100-sxm.
    <"l2", bytes = 52428800, alignment = 128>,
    // [D] 96 GB.
    <"hbm", bytes = 96000000000, alignment = 256>,
    // [D] up to 480 GB of LPDDR5X.
    <"dram", bytes = 480000000000, alignment = 4096>],
  links = [
    // [D] up to 4 TB/s.
    <"hbm" to "sram", bandwidth = 4000000000000>,
    // [D] NVLink-C2C: 900 GB/s in both directions together. Users measure 342 to
    // 346 GB/s from host to device (NVIDIA/nvbandwidth#23).
    <"dram" to "hbm", bandwidth = 450000000000>,
    <"hbm" to "dram", bandwidth = 450000000000>],
  // As h100-sxm; the datasheet prints twice as much, with sparsity.
  compute = [
    <"bf16", operations = 989000000000000>,
    <"f16", operations = 989000000000000>,
    <"tf32", operations = 494000000000000>,
    <"f8", operations = 1979000000000000>,
    <"i8", operations = 1979000000000000>,
    <"f32", operations = 67000000000000>]>
