// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One NVIDIA A100 SXM4 80 GB. [D] is NVIDIA's A100 80GB datasheet, [T] the CUDA
// programming guide's table of compute capability 8.0.
#tier.machine<"a100",
  levels = [
    // [T] 164 KB of shared memory, of which a block may use 163; 108 SMs [D].
    <"sram", bytes = 166912, count = 108, alignment = 16>,
    // [D] 40 MB.
    <"l2", bytes = 41943040, alignment = 128>,
    // [D] 80 GB.
    <"hbm", bytes = 80000000000, alignment = 256>,
    // A host's memory is the host's; 1 TB stands for one that is large enough.
    <"dram", bytes = 1000000000000, alignment = 4096>],
  links = [
    // [D] 2,039 GB/s.
    <"hbm" to "sram", bandwidth = 2039000000000>,
    // [D] PCIe generation 4, 16 lanes: 64 GB/s in both directions together.
    <"dram" to "hbm", bandwidth = 32000000000>,
    <"hbm" to "dram", bandwidth = 32000000000>],
  // [D] without sparsity.
  compute = [
    <"bf16", operations = 312000000000000>,
    <"f16", operations = 312000000000000>,
    <"tf32", operations = 156000000000000>,
    <"i8", operations = 624000000000000>,
    <"f32", operations = 19500000000000>]>
