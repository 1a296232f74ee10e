// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Whole models as experts: arithmetic on sizes and link rates.
#include "tools/simulate/Switching.h"

using namespace headrace;
using namespace headrace::simulate;

uint64_t simulate::expertsIn(const Machine &machine, std::string_view level,
                             uint64_t expertBytes) {
  const Machine::Level *one = machine.level(level);
  return one && expertBytes ? one->total() / expertBytes : 0;
}

uint64_t simulate::machinesToHold(const Machine &machine,
                                  std::string_view level, uint64_t expertBytes,
                                  uint64_t experts) {
  uint64_t each = expertsIn(machine, level, expertBytes);
  return each ? experts / each + (experts % each != 0) : 0;
}

double simulate::switchSeconds(const Machine &machine, std::string_view source,
                               std::string_view target, uint64_t expertBytes,
                               LinksUsed links) {
  const Machine::Link *link = machine.link(source, target);
  if (!link)
    return -1;
  double rate = double(link->bandwidth) *
                (links == LinksUsed::all ? double(link->count) : 1.0);
  return double(link->latency) * 1e-9 + double(expertBytes) / rate;
}

// Overall speedups are printed for both batches, those of the expert alone for
// one prompt only; a batch runs its prompts one after another.
const std::array<SambaCoe::Row, 4> SambaCoe::kRows = {{
    {8, 20, {6.6, 3.7}, {2.0, 1.5}},
    {1, 20, {4.8, 2.8}, {2.0, 1.5}},
    {8, 200, {4.2, 2.7}, {3.2, 2.3}},
    {1, 200, {3.9, 2.6}, {3.2, 2.3}},
}};

std::vector<SambaCoe::Speedup> SambaCoe::speedups(const Machine &node,
                                                  const Machine &dgxA100,
                                                  const Machine &dgxH100) {
  const Machine *others[2] = {&dgxA100, &dgxH100};
  double own = switchSeconds(node, "ddr", "hbm", kExpertBytes, LinksUsed::all);
  std::vector<Speedup> out;
  for (const Row &row : kRows) {
    // Overall o = (e X + k s) / (X + k own) with e the expert's speedup, s a
    // switch there, own a switch here, k experts copied: solved for X.
    double copied = row.batch, compute = 0;
    for (int i = 0; i < 2; ++i) {
      double s = switchSeconds(*others[i], "dram", "hbm", kExpertBytes,
                               LinksUsed::one);
      compute += copied * (s - row.overall[i] * own) /
                 (row.overall[i] - row.expertOnly[i]) / 2;
    }
    for (int i = 0; i < 2; ++i) {
      auto overall = [&](LinksUsed links) {
        double s =
            switchSeconds(*others[i], "dram", "hbm", kExpertBytes, links);
        return (row.expertOnly[i] * compute + copied * s) /
               (compute + copied * own);
      };
      out.push_back({row.batch, row.tokens, others[i]->name, row.overall[i],
                     compute, overall(LinksUsed::one),
                     overall(LinksUsed::all)});
    }
  }
  return out;
}
