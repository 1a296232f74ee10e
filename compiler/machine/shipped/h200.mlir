// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One NVIDIA H200 SXM 141 GB: the chip of h100-sxm with other memory. [D] is
// NVIDIA's H200 datasheet, [T] the CUDA programming guide's table of compute
// capability 9.0.
#tier.machine<"h200",
  levels = [
    // [T] 228 KB of shared memory, of which a block may use 227; 132 SMs.
    <"sram", bytes = 232448, count = 132, alignment = 16>,
    // The chip's, as h100-sxm.
    <"l2", bytes = 52428800, alignment = 128>,
    // [D] 141 GB.
    <"hbm", bytes = 141000000000, alignment = 256>,
    // A host's memory is the host's; 1 TB stands for one that is large enough.
    <"dram", bytes = 1000000000000, alignment = 4096>],
  links = [
    // [D] 4.8 TB/s.
    <"hbm" to "sram", bandwidth = 4800000000000>,
    // [D] PCIe generation 5: 128 GB/s in both directions together.
    <"dram" to "hbm", bandwidth = 64000000000>,
    <"hbm" to "dram", bandwidth = 64000000000>],
  // [D] prints twice these, but for f32: with sparsity.
  compute = [
    <"bf16", operations = 989000000000000>,
    <"f16", operations = 989000000000000>,
    <"tf32", operations = 494000000000000>,
    <"f8", operations = 1979000000000000>,
    <"i8", operations = 1979000000000000>,
    <"f32", operations = 67000000000000>]>
