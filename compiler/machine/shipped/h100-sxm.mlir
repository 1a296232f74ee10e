// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One NVIDIA H100 SXM5 80 GB. [D] is NVIDIA's H100 datasheet, [T] the CUDA
// programming guide's table of compute capability 9.0.
#tier.machine<"h100-sxm",
  levels = [
    // [T] 228 KB of shared memory, of which a block may use 227; 132 SMs [D].
    <"sram", bytes = 232448, count = 132, alignment = 16>,
    // [D] 50 MB.
    <"l2", bytes = 52428800, alignment = 128>,
    // [D] 80 GB.
    <"hbm", bytes = 80000000000, alignment = 256>,
    // A host's memory is the host's; 1 TB stands for one that is large enough.
    <"dram", bytes = 1000000000000, alignment = 4096>],
  links = [
    // [D] 3.35 TB/s.
    <"hbm" to "sram", bandwidth = 3350000000000>,
    // [D] PCIe generation 5, 16 lanes: 64 GB/s in each direction.
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
