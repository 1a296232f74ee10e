// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Suite file: what a suite's folder says about its packages, one line each.
#ifndef HEADRACE_TOOLS_GPU_SUITE_SUITE_FILE_H
#define HEADRACE_TOOLS_GPU_SUITE_SUITE_FILE_H

#include "tools/gpu-suite/synth_tensor.h"

#include <map>
#include <string>
#include <vector>

namespace headrace::suite {

/// Why something did not work, as one line; empty for success.
using Failure = std::string; // probe::Failure, too

/// One line of suite.txt: a kind, then `key=value`s without spaces.
struct SuiteEntry {
  std::string kind; // "layer" or "model"
  std::map<std::string, std::string> values;

  std::string Text(const std::string &key) const;
  int64_t Number(const std::string &key, int64_t otherwise = 0) const;
  double Real(const std::string &key, double otherwise) const;
  std::vector<int64_t> Numbers(const std::string &key) const;
};

/// Where the bytes of one slot of a package's binding table come from.
struct SlotSource {
  struct Range {
    std::string file;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    // Of values that are no neighbours; strides count bytes. Empty otherwise.
    std::vector<uint64_t> shape, strides;
  };
  std::string weight; // slots NAME or NAME[e] are of the weight NAME
  std::string type;   // in the IR, with its packing
  std::vector<Range> ranges;
};

/// The weights of a package: how the checkpoint's tensors are made and which of
/// their bytes each weight holds.
struct WeightPlan {
  std::vector<SynthTensor> tensors; // by file and offset
  std::vector<SlotSource> weights;

  const SynthTensor *Find(const std::string &name) const;
};

Failure ReadSuite(const std::string &directory, std::vector<SuiteEntry> *out);
Failure ReadWeightPlan(const std::string &path, WeightPlan *out);

} // namespace headrace::suite

#endif // HEADRACE_TOOLS_GPU_SUITE_SUITE_FILE_H
