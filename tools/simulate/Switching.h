// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Whole models as experts: how many a machine holds and how fast it changes
// from one to another. Arithmetic on sizes and link rates; nothing is
// scheduled.
#ifndef HEADRACE_TOOLS_SIMULATE_SWITCHING_H
#define HEADRACE_TOOLS_SIMULATE_SWITCHING_H

#include "compiler/machine/Machine.h"
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headrace::simulate {

/// How many of a link's parallel instances a transfer is charged with.
enum class LinksUsed { one, all };

/// Whole experts of `expertBytes` that all instances of a level hold together,
/// an expert being spread over them. 0 where the machine has no such level.
uint64_t expertsIn(const Machine &machine, std::string_view level,
                   uint64_t expertBytes);

/// Machines that hold `experts` in `level`, each expert on one of them; 0 where
/// no expert fits.
uint64_t machinesToHold(const Machine &machine, std::string_view level,
                        uint64_t expertBytes, uint64_t experts);

/// Seconds to bring an expert from one level to another; negative where no link
/// leads there.
double switchSeconds(const Machine &machine, std::string_view source,
                     std::string_view target, uint64_t expertBytes,
                     LinksUsed links);

/// A composition as "SambaNova SN40L" (arXiv 2405.07518) measures it: Llama2-7B
/// experts on one node of eight sockets, against estimates for two others.
struct SambaCoe {
  /// 6.74e9 parameters of 2 bytes.
  static constexpr uint64_t kExpertBytes = 13480000000;

  /// A row of its Table V, for DGX A100 and DGX H100 in this order.
  struct Row {
    unsigned batch, tokens;
    std::array<double, 2> overall;    ///< As printed.
    std::array<double, 2> expertOnly; ///< As printed, for one prompt.
  };
  static const std::array<Row, 4> kRows;

  /// Where a speedup comes from, in seconds.
  struct Speedup {
    unsigned batch, tokens;
    std::string machine;
    double printed;
    /// Router and experts on the SN40L node, from the printed speedups of both
    /// columns under the assumption that one link was charged; their mean.
    double computeSeconds;
    double oneLink, allLinks; ///< Overall, under each assumption.
  };
  /// All rows, each for both machines. The three machines are `sn40l-node`,
  /// `dgx-a100`, `dgx-h100`.
  static std::vector<Speedup>
  speedups(const Machine &node, const Machine &dgxA100, const Machine &dgxH100);
};

} // namespace headrace::simulate

#endif // HEADRACE_TOOLS_SIMULATE_SWITCHING_H
