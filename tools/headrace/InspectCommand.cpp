// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// headrace inspect and verify.
#include "compiler/machine/LoadMachine.h"
#include "runtime/abi/kernel_abi.h"
#include "tools/headrace/Commands.h"
#include "tools/headrace/Flags.h"
#include "tools/headrace/InspectGpu.h"
#include "tools/headrace/InspectPlan.h"
#include "tools/headrace/Progress.h"
#include "tools/headrace/Runtime.h"
#include "tools/headrace/Table.h"
#include "tools/headrace/timeline/SimulateStep.h"
#include "tools/headrace/timeline/Timeline.h"
#include "tools/package-reader/PackageReader.h"
#include "tools/plan-check/PlanChecker.h"
#include <cinttypes>
#include <cstdio>
#include <set>
#include <vector>

using namespace headrace;
using namespace headrace::tools;

namespace {

/// A package opened for queries only, and what it says. A query can fail only
/// for an index that is out of range, which none of these is.
class Inspector {
public:
  explicit Inspector(const std::string &file) : file(file) {}
  llvm::Error open();
  void summary() const;
  void levels() const;
  void entries() const;
  void kernels() const;
  void buffers() const;
  void weights() const;
  void blobs() const;
  bool forGpu() const { return info.target != std::string("cpu"); }

private:
  template <typename Info, typename Query, typename... Index>
  Info get(Query query, Index... index) const {
    auto out = sized<Info>();
    if (auto status = query(package.get(), index..., &out))
      headrace_status_free(status);
    return out;
  }
  headrace_entry_info_t entry(uint32_t i) const {
    return get<headrace_entry_info_t>(headrace_package_entry, i);
  }
  headrace_kernel_info_t kernel(uint32_t i) const {
    return get<headrace_kernel_info_t>(headrace_package_kernel, i);
  }
  headrace_launch_info_t launch(uint32_t entry, uint32_t i) const {
    return get<headrace_launch_info_t>(headrace_package_launch, entry, i);
  }
  headrace_buffer_info_t buffer(uint32_t i) const {
    return get<headrace_buffer_info_t>(headrace_package_buffer, i);
  }
  headrace_level_info_t level(uint32_t i) const {
    return get<headrace_level_info_t>(headrace_package_level, i);
  }
  std::string bufferNames(const uint32_t *indices, uint32_t count) const;

  std::string file;
  Instance instance;
  Package package;
  headrace_package_info_t info;
};

llvm::Error Inspector::open() {
  if (auto error = makeInstance(instance))
    return error;
  auto options = sized<headrace_package_options_t>();
  options.inspect_only = 1;
  if (auto status = make(package, [&](headrace_package_t **out) {
        return headrace_package_open(instance.get(), file.c_str(), &options,
                                     out);
      }))
    return toError(status, file);
  info = sized<headrace_package_info_t>();
  return toError(headrace_package_info(package.get(), &info), file);
}

std::string number(uint64_t value) { return std::to_string(value); }

std::string features(uint64_t bits) {
  struct {
    uint64_t bit;
    const char *name;
  } known[] = {{HEADRACE_CPU_AVX2, "avx2"},
               {HEADRACE_CPU_AVX512, "avx512"},
               {HEADRACE_CPU_AVX512_BF16, "avx512-bf16"}};
  std::string out;
  for (auto &feature : known)
    if (bits & feature.bit) {
      out += (out.empty() ? "" : ", ") + std::string(feature.name);
      bits &= ~feature.bit;
    }
  if (bits)
    out += (out.empty() ? "" : ", ") + std::string("unknown");
  return out.empty() ? "none" : out;
}

const char *elementName(uint32_t type) {
  static const char *const names[] = {"none", "f32", "bf16",
                                      "f16",  "i32", "u8"};
  return type < sizeof(names) / sizeof(*names) ? names[type] : "unknown";
}

const char *kindName(headrace_buffer_kind_t kind) {
  switch (kind) {
  case HEADRACE_BUFFER_SCRATCH:
    return "scratch";
  case HEADRACE_BUFFER_INPUT:
    return "input";
  case HEADRACE_BUFFER_OUTPUT:
    return "output";
  case HEADRACE_BUFFER_VIEW:
    return "view";
  }
  return "unknown";
}

/// The number of tasks as a formula.
std::string grid(const headrace_launch_info_t &launch) {
  return gridFormula(launch.grid_kind, launch.grid_base, launch.grid_block,
                     launch.grid_limit);
}

std::string Inspector::bufferNames(const uint32_t *indices,
                                   uint32_t count) const {
  std::string out;
  for (uint32_t i = 0; i < count; ++i)
    out += (i ? " " : "") + std::string(buffer(indices[i]).name);
  return out.empty() ? "-" : out;
}

void Inspector::summary() const {
  auto line = [](const char *name, const std::string &value) {
    printf("%-18s%s\n", (name + std::string(":")).c_str(), value.c_str());
  };
  line("package", file);
  line("producer", info.producer);
  line("model", info.model);
  line("target", info.target);
  line("processor", info.cpu);
  line("features", features(info.features));
  line("kernel ABI", number(info.kernel_abi_version));
  line("file", number(info.file_bytes) + " bytes: manifest " +
                   number(info.manifest_bytes) + ", code " +
                   number(info.code_bytes) + ", weights " +
                   number(info.blob_bytes) + " in " + number(info.blob_count) +
                   " blobs");
  line("limits", number(info.max_tokens) + " tokens and " +
                     number(info.max_sequences) + " sequences a step, " +
                     number(info.max_context) + " positions a sequence");
  line("vocabulary", info.vocabulary ? number(info.vocabulary) : "none");
  std::string ends;
  for (size_t i = 0; i < info.end_token_count; ++i)
    ends += (i ? ", " : "") + number(info.end_tokens[i]);
  line("end tokens", ends.empty() ? "none" : ends);
  line("key-value cache",
       info.kv_layers
           ? number(info.kv_layers) + " layers, " + number(info.kv_heads) +
                 " heads of " + number(info.kv_head_dim) + " " +
                 elementName(info.kv_element_type) + ", " +
                 number(info.kv_max_pages) + " pages of " +
                 number(info.kv_page_bytes) + " bytes a sequence"
           : "none");
  std::string fallback;
  for (uint32_t i = 0; i < info.kernel_count; ++i)
    if (kernel(i).family == std::string("upstream"))
      fallback += (fallback.empty() ? "" : ", ") + std::string(kernel(i).name);
  line("fallback kernels", fallback.empty() ? "none" : fallback);
}

void Inspector::levels() const {
  Table table("levels", {"name", "bytes", "arena", "peak"});
  for (uint32_t i = 0; i < info.level_count; ++i) {
    headrace_level_info_t one = level(i);
    table.add({one.name, number(one.bytes), number(one.arena_bytes),
               one.peak_bytes ? number(one.peak_bytes) : "-"});
  }
  table.print();
}

void Inspector::entries() const {
  Table table("entries", {"name", "launches", "inputs", "outputs"});
  for (uint32_t i = 0; i < info.entry_count; ++i) {
    headrace_entry_info_t one = entry(i);
    table.add({one.name, number(one.launch_count),
               bufferNames(one.inputs, one.input_count),
               bufferNames(one.outputs, one.output_count)});
  }
  table.print();
}

void Inspector::kernels() const {
  // One kernel may serve launches of different grids.
  std::vector<uint64_t> launches(info.kernel_count);
  std::vector<std::set<std::string>> grids(info.kernel_count);
  for (uint32_t i = 0; i < info.entry_count; ++i)
    for (uint32_t j = 0, end = entry(i).launch_count; j < end; ++j) {
      headrace_launch_info_t one = launch(i, j);
      if (one.kernel >= info.kernel_count)
        continue;
      ++launches[one.kernel];
      grids[one.kernel].insert(grid(one));
    }
  Table table("kernels", {"name", "family", "launches", "scratch", "grid"});
  for (uint32_t i = 0; i < info.kernel_count; ++i) {
    headrace_kernel_info_t one = kernel(i);
    std::string all;
    for (const std::string &formula : grids[i])
      all += (all.empty() ? "" : "; ") + formula;
    table.add({one.name, one.family, number(launches[i]),
               number(one.scratch_bytes), all.empty() ? "-" : all});
  }
  table.print();
}

void Inspector::buffers() const {
  // A buffer lives from the first launch that names it to the last.
  struct Life {
    std::string entry;
    uint32_t first, last;
  };
  std::vector<std::vector<Life>> lives(info.buffer_count);
  for (uint32_t i = 0; i < info.entry_count; ++i) {
    headrace_entry_info_t one = entry(i);
    for (uint32_t j = 0; j < one.launch_count; ++j) {
      headrace_launch_info_t step = launch(i, j);
      for (uint32_t k = 0; k < step.buffer_count; ++k) {
        if (step.buffers[k] >= info.buffer_count)
          continue;
        auto &life = lives[step.buffers[k]];
        if (life.empty() || life.back().entry != one.name)
          life.push_back({one.name, j, j});
        life.back().last = j;
      }
    }
  }
  Table table("buffers", {"name", "kind", "level", "offset", "bytes",
                          "launches", "role", "type"});
  for (uint32_t i = 0; i < info.buffer_count; ++i) {
    headrace_buffer_info_t one = buffer(i);
    bool placed = one.kind == HEADRACE_BUFFER_SCRATCH;
    std::string life;
    for (const Life &each : lives[i])
      life += (life.empty() ? "" : " ") +
              (info.entry_count > 1 ? each.entry + ":" : std::string()) +
              number(each.first) + ".." + number(each.last);
    table.add(
        {one.name, kindName(one.kind),
         placed && one.level < info.level_count ? level(one.level).name : "-",
         placed || one.kind == HEADRACE_BUFFER_VIEW ? number(one.offset) : "-",
         number(one.bytes), life.empty() ? "-" : life,
         *one.role ? one.role : "-", one.type});
  }
  table.print();
}

/// The name of the tensor that weight `name` is an expert's part of, or `name`.
static std::string stackOf(llvm::StringRef name) {
  size_t open = name.rfind('[');
  return name.substr(0, name.ends_with("]") ? open : name.size()).str();
}

void Inspector::weights() const {
  struct Row {
    std::string name, type;
    uint64_t bytes = 0;
    uint32_t slots = 0;
  };
  std::vector<Row> rows;
  for (uint32_t i = 0; i < info.weight_count; ++i) {
    auto one = get<headrace_weight_info_t>(headrace_package_weight, i);
    std::string name = stackOf(one.name);
    if (rows.empty() || rows.back().name != name)
      rows.push_back({name, one.type});
    rows.back().bytes +=
        get<headrace_blob_info_t>(headrace_package_blob, one.blob).bytes;
    ++rows.back().slots;
  }
  Table table("weights", {"bytes", "slots", "name", "type"});
  for (const Row &row : rows)
    table.add({number(row.bytes), number(row.slots), row.name, row.type});
  table.print();
}

void Inspector::blobs() const {
  Table table("blobs", {"bytes", "offset", "blake3", "weight", "type"});
  for (uint32_t i = 0; i < info.weight_count; ++i) {
    auto one = get<headrace_weight_info_t>(headrace_package_weight, i);
    auto blob = get<headrace_blob_info_t>(headrace_package_blob, one.blob);
    std::string digest;
    for (int j = 0; blob.blake3 && j < 6; ++j) {
      char hex[3];
      snprintf(hex, sizeof(hex), "%02x", blob.blake3[j]);
      digest += hex;
    }
    table.add(
        {number(blob.bytes), number(blob.offset), digest, one.name, one.type});
  }
  table.print();
}

} // namespace

static int timeline(CommandLine &line) {
  if (!line.has("--machine"))
    return line.usageError("--timeline needs --machine; headrace machine "
                           "--list names the shipped ones");
  StepRequest request;
  request.shape.context = uint64_t(line.number("--context", 0, 0, 1 << 30));
  if (line.failed)
    return kUsage;
  auto machine = loadMachine(line.text("--machine", ""));
  if (!machine)
    return fail(llvm::toString(machine.takeError()));
  auto step = simulateStep(line.positional()[0], *machine, request);
  if (!step)
    return fail(llvm::toString(step.takeError()));
  if (auto error = writeTimeline(*step, line.text("--timeline", "")))
    return fail(llvm::toString(std::move(error)));
  return kSuccess;
}

int tools::inspectCommand(int argc, char **argv) {
  CommandLine line(
      "headrace inspect PACKAGE [TABLES]",
      {{"--entries", nullptr, "the entry points"},
       {"--kernels", nullptr,
        "the kernels and their grids; for a GPU also its steps"},
       {"--buffers", nullptr, "the buffers and their places"},
       {"--levels", nullptr, "bytes of each memory level"},
       {"--weights", nullptr, "the weights (default: all of these)"},
       {"--blobs", nullptr, "where each weight's bytes are in the file"},
       {"--plan", nullptr,
        "what lives where in fast memory, and why; no other table"},
       {"--timeline", "FILE",
        "write a simulated decode step as a page, no table"},
       {"--machine", "NAME|FILE", "that it runs on"},
       {"--context", "N", "positions before the step (default: 0)"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() != 1)
    return line.usageError("expected one package");
  if (line.has("--timeline"))
    return timeline(line);
  if (line.has("--plan"))
    return inspectPlan(line.positional()[0]);
  Inspector inspector(line.positional()[0]);
  if (auto error = inspector.open())
    return fail(llvm::toString(std::move(error)));
  struct {
    const char *flag;
    void (Inspector::*print)() const;
  } tables[] = {{"--levels", &Inspector::levels},
                {"--entries", &Inspector::entries},
                {"--kernels", &Inspector::kernels},
                {"--buffers", &Inspector::buffers},
                {"--weights", &Inspector::weights}};
  bool all = !line.has("--blobs");
  for (auto &table : tables)
    all &= !line.has(table.flag);
  inspector.summary();
  for (auto &table : tables) {
    if (!all && !line.has(table.flag))
      continue;
    if (inspector.forGpu() && table.flag == std::string("--kernels")) {
      if (auto error = inspectGpuCode(line.positional()[0]))
        return fail(llvm::toString(std::move(error)));
      continue;
    }
    (inspector.*table.print)();
  }
  if (line.has("--blobs"))
    inspector.blobs();
  return kSuccess;
}

/// Prints what each rule has to say; the error names the first violation.
static int verifyPlan(const std::string &file) {
  plancheck::PackageReader reader;
  std::string error;
  if (!reader.open(file, &error))
    return fail(error);
  const abi::Manifest &manifest = reader.manifest();
  std::vector<plancheck::Violation> found = plancheck::checkPlan(manifest);
  for (unsigned i = 1; i <= plancheck::kRuleCount; ++i) {
    size_t broken = 0;
    for (const plancheck::Violation &one : found)
      broken += unsigned(one.rule) == i;
    printf("P%-3u %-12s %s\n", i, plancheck::ruleName(plancheck::Rule(i)),
           broken          ? ("broken " + number(broken) + " times").c_str()
           : found.empty() ? "holds"
                           : "no violation found");
  }
  for (const plancheck::Violation &one : found)
    printf("%s: %s: %s\n", file.c_str(), plancheck::ruleName(one.rule),
           one.text.c_str());
  if (!found.empty())
    return fail(file + ": the plan breaks rule P" +
                number(unsigned(found[0].rule)) + ", " +
                plancheck::ruleName(found[0].rule) + ": " + found[0].text);
  if (!manifest.plan())
    printf("%s: ok, no plan: weights are mapped\n", file.c_str());
  for (const abi::Peak *peak : *manifest.certificate())
    printf("%s: ok, at most %" PRIu64 " bytes of level '%s'\n", file.c_str(),
           peak->bytes(),
           manifest.levels()->Get(peak->level())->name()->c_str());
  return kSuccess;
}

int tools::verifyCommand(int argc, char **argv) {
  CommandLine line("headrace verify PACKAGE",
                   {{"--plan", nullptr,
                     "check the memory plan by every rule, not the digests"}});
  if (int code = line.parse(argc, argv); code >= 0)
    return code;
  if (line.positional().size() != 1)
    return line.usageError("expected one package");
  const std::string &file = line.positional()[0];
  if (line.has("--plan"))
    return verifyPlan(file);
  Instance instance;
  if (auto error = makeInstance(instance))
    return fail(llvm::toString(std::move(error)));
  Package package;
  auto open = sized<headrace_package_options_t>();
  open.inspect_only = 1;
  auto status = make(package, [&](headrace_package_t **out) {
    return headrace_package_open(instance.get(), file.c_str(), &open, out);
  });
  auto info = sized<headrace_package_info_t>();
  if (!status)
    status = headrace_package_info(package.get(), &info);
  if (!status) {
    Progress progress("verifying");
    auto verify = sized<headrace_verify_options_t>();
    verify.progress = [](void *bar, uint64_t done, uint64_t total) {
      static_cast<Progress *>(bar)->update(done, total);
    };
    verify.user_data = &progress;
    status = headrace_package_verify(package.get(), &verify);
  }
  if (auto error = toError(status, file))
    return fail(llvm::toString(std::move(error)));
  printf("%s: ok, %" PRIu32 " blobs, %" PRIu64 " bytes\n", file.c_str(),
         info.blob_count, info.file_bytes);
  return kSuccess;
}
