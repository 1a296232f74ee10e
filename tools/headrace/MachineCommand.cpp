// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace machine: records this machine, or prints a shipped description.
#include "compiler/machine/LoadMachine.h"
#include "tools/gpu-probe/gpu_machine.h"
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/Runtime.h"
#include "tools/headrace/bench/DiskProbe.h"
#include "tools/headrace/bench/MachineProbe.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <cstdio>
#include <hwloc.h>
#include <unistd.h>

using namespace headrace;
using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

struct Cache {
  uint64_t bytes = 0;
  unsigned count = 0;
};

struct Caches {
  Cache worker; ///< Private to a core or to few: the fastest level of a plan.
  Cache last;   ///< Shared by many; no bytes where `worker` is the last one.
};

/// What hwloc sees of the processors this process may run on.
llvm::Expected<Caches> findCaches() {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0)
    return llvm::createStringError("hwloc cannot be set up");
  Caches caches;
  if (hwloc_topology_load(topology) == 0) {
    auto find = [&](hwloc_obj_type_t type) -> Cache {
      int count = hwloc_get_nbobjs_by_type(topology, type);
      if (count <= 0)
        return {};
      hwloc_obj_t first = hwloc_get_obj_by_type(topology, type, 0);
      return {first->attr->cache.size, unsigned(count)};
    };
    caches.worker = find(HWLOC_OBJ_L2CACHE);
    caches.last = find(HWLOC_OBJ_L3CACHE);
    if (!caches.worker.bytes)
      caches.worker = find(HWLOC_OBJ_L1CACHE);
  }
  hwloc_topology_destroy(topology);
  if (!caches.worker.bytes)
    return llvm::createStringError("hwloc sees no cache of this machine");
  return caches;
}

using probe::Rounded;

uint64_t memoryBytes() {
  return uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE));
}

/// The processor's description; `remark` says what is not in it, if anything.
llvm::Expected<std::string> record(unsigned threads, const DiskProbe &what,
                                   const std::string &remark) {
  MachineInfo info = MachineInfo::ofHost();
  auto caches = findCaches();
  if (!caches)
    return caches.takeError();
  fprintf(stderr, "measuring the disk\n");
  auto disk = probeDisk(what);
  if (!disk)
    return disk.takeError();
  fprintf(stderr, "measuring the memory and the cores\n");
  auto probe = MachineProbe::create(threads);
  if (!probe)
    return probe.takeError();
  const uint64_t waited = waitedForCoreNs();
  const double begin = now();
  double copy = (*probe)->copyRate();
  double load = (*probe)->loadLatencyNs();
  double handOver = (*probe)->handOverNs();
  double read = (*probe)->best().readBytesPerSecond;

  if (double share = double(waitedForCoreNs() - waited) * 1e-9 /
                     ((now() - begin) * threads);
      share > 0.01)
    fprintf(stderr,
            "note: other programs had the cores for %.0f %% of the time; the "
            "figures are theirs too\n",
            100 * share);

  std::string text;
  llvm::raw_string_ostream out(text);
  out << "// Recorded by headrace machine on " << info.date << ": " << info.cpu
      << ", family " << info.family << ", model " << info.model << ".\n"
      << "// Sizes come from hwloc and the kernel; rates were measured with "
      << threads << (threads == 1 ? " thread" : " threads")
      << ", the disk's in\n// " << kDiskReaders << " requests of "
      << disk->blockBytes << " bytes at a time, of " << disk->probedBytes
      << (what.readFile.empty() ? " bytes just written.\n"
                                : " bytes of a file that was there.\n")
      << remark << "#tier.machine<\"host\",\n  levels = [\n"
      << "    <\"sram\", bytes = " << caches->worker.bytes
      << ", count = " << caches->worker.count << ">,\n";
  if (caches->last.bytes)
    out << "    <\"llc\", bytes = " << caches->last.bytes
        << ", count = " << caches->last.count << ">,\n";
  out << "    <\"dram\", bytes = " << memoryBytes() << ">,\n"
      << "    <\"disk\", bytes = " << disk->capacity
      << ", alignment = 4096>],\n  links = [\n"
      << "    // " << (*probe)->readLoopName() << "; one load after another.\n"
      << "    <\"dram\" to \"sram\", bandwidth = " << Rounded(read)
      << ", latency = " << Rounded(load) << ", bus = \"memory\">,\n"
      << "    // Stores around the caches; each byte counted once.\n"
      << "    <\"dram\" to \"dram\", bandwidth = " << Rounded(copy)
      << ", bus = \"memory\">,\n"
      << "    // Past the page cache; one request at a time.\n"
      << "    <\"disk\" to \"dram\", bandwidth = "
      << Rounded(disk->readBytesPerSecond)
      << ", latency = " << Rounded(disk->latencyNs) << ", request = "
      << std::min(Rounded(disk->requestBytesPerSecond),
                  Rounded(disk->readBytesPerSecond))
      << ">,\n    <\"dram\" to \"disk\", bandwidth = "
      << Rounded(disk->writeBytesPerSecond) << ">],\n  compute = [";
  const char *between = "";
  for (const MultiplyLoop &loop : multiplyLoops()) {
    out << between << "\n    // " << loop.name << ", one core's share.\n    <\""
        << loop.type << "\", operations = "
        << Rounded((*probe)->operationsRate(loop) / threads)
        << ", count = " << threads << ">";
    between = ",";
  }
  out << "],\n  // From the last thread's end of one piece of work to the next "
         "one's beginning.\n  launch = "
      << Rounded(handOver) << ">\n";
  return text;
}

/// The description of a GPU that was measured, with the disk measured now.
llvm::Expected<std::string> recordGpu(const probe::GpuReading &gpu,
                                      const DiskProbe &what) {
  fprintf(stderr, "measuring the disk\n");
  auto disk = probeDisk(what);
  if (!disk)
    return disk.takeError();
  probe::HostFigures host;
  host.recorder = "headrace machine";
  host.date = MachineInfo::ofHost().date;
  host.dram_bytes = memoryBytes();
  host.disk = {disk->capacity, disk->readBytesPerSecond,
               disk->requestBytesPerSecond, disk->writeBytesPerSecond,
               disk->latencyNs};
  return probe::WriteMachine(gpu, host);
}

/// What `--device` names; without it the first GPU, or the processor where
/// there is none.
llvm::Expected<std::string> recordDevice(std::optional<DeviceName> device,
                                         unsigned threads,
                                         const DiskProbe &disk) {
  std::string remark;
  if (!device || device->gpu) {
    const uint32_t ordinal = device ? device->ordinal : 0;
    fprintf(stderr, "measuring the GPU\n");
    probe::GpuReading gpu;
    probe::Failure failure = probe::ProbeGpu(ordinal, &gpu);
    if (failure.empty())
      return recordGpu(gpu, disk);
    if (device)
      return llvm::createStringError("device 'cuda:" + std::to_string(ordinal) +
                                     "': " + failure);
    remark = "// No GPU is in it: " + failure + ".\n";
  }
  return record(threads, disk, remark);
}

} // namespace

int headrace::tools::machineCommand(int argc, char **argv) {
  CommandLine line(
      "headrace machine [NAME] [-o FILE]",
      {{"-o", "FILE", "where the description goes (default: -, stdout)"},
       {"--list", nullptr, "print the names of the shipped machines and exit"},
       {"--device", "NAME",
        "cpu or cuda:N (default: the first GPU, or else cpu)"},
       {"--disk", "DIR", "on the disk that packages lie on (default: .)"},
       {"--disk-bytes", "N",
        "of the file that is written there to measure it (default: 4 GiB, or "
        "what room and time allow)"},
       {"--disk-file", "FILE",
        "that is read to measure the disk, a package for instance (default: "
        "the one that is written)"},
       {"--disk-request", "BYTES",
        "that are read at a time: as large as what a package moves (default: 4 "
        "MiB)"},
       {"--threads", "N",
        "of cpu, that measure (default: one for each core)"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() > 1)
    return line.usageError("expected at most one machine");
  if (line.has("--list")) {
    for (const ShippedMachine &one : shippedMachines())
      printf("%s\n", one.name.str().c_str());
    return kSuccess;
  }
  auto threads = unsigned(
      line.number("--threads", int64_t(MachineInfo::ofHost().cores), 1, 1024));
  DiskProbe disk;
  disk.directory = line.text("--disk", ".");
  disk.readFile = line.text("--disk-file", "");
  if (line.has("--disk-bytes"))
    disk.bytes = uint64_t(
        line.number("--disk-bytes", 0, int64_t(1) << 20, int64_t(1) << 40));
  if (line.has("--disk-request"))
    disk.request =
        uint64_t(line.number("--disk-request", 0, 4096, int64_t(4) << 20));
  std::optional<DeviceName> device;
  if (line.has("--device")) {
    device = DeviceName::parse(line.text("--device", ""));
    if (!device)
      return line.usageError("unknown device '" + line.text("--device", "") +
                             "'; expected " + DeviceName::kExpected);
  }
  if (line.failed)
    return kUsage;
  if (disk.request % 4096)
    return line.usageError("expected a multiple of 4096 behind --disk-request");

  std::string text;
  if (line.positional().empty()) {
    auto recorded = recordDevice(device, threads, disk);
    if (!recorded)
      return fail(llvm::toString(recorded.takeError()));
    text = std::move(*recorded);
  } else {
    for (const ShippedMachine &one : shippedMachines())
      if (one.name == line.positional()[0])
        text = one.text.str();
    if (text.empty())
      return line.usageError("unknown machine '" + line.positional()[0] +
                             "'; headrace machine --list names them");
  }
  if (auto error = llvm::writeToOutput(line.text("-o", "-"),
                                       [&](llvm::raw_ostream &out) {
                                         out << text;
                                         return llvm::Error::success();
                                       }))
    return fail(line.text("-o", "-") +
                ": cannot be written: " + llvm::toString(std::move(error)));
  return kSuccess;
}
