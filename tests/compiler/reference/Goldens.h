// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the goldens of tests/data/families and compares logits with them. No
// MLIR, so that tests of compiled packages use it too.
#ifndef HEADRACE_TESTS_COMPILER_REFERENCE_GOLDENS_H
#define HEADRACE_TESTS_COMPILER_REFERENCE_GOLDENS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>
#include <vector>

namespace headrace::testing {

/// What another implementation computed; tests/data/README.md says how.
struct Golden {
  /// The directory's name, such as "mixtral-bf16".
  std::string name;
  std::vector<int32_t> prompt;
  std::vector<int32_t> continuation;
  int64_t vocabulary = 0;
  /// One row of `vocabulary` logits for each token fed.
  std::vector<float> logits;
  std::vector<float> routerMargin;
  std::vector<float> top2Margin;
  double logitsStd = 0;
  double routerMarginBound = 0;

  /// Prompt and continuation: what a teacher-forced run feeds.
  std::vector<int32_t> tokens() const;
  int64_t positions() const { return int64_t(routerMargin.size()); }

  /// What counts as close, as a part of `logitsStd`: 2e-4 for f32, else 3e-2.
  /// Two logits farther apart than this may not change places.
  double closeness() const;
};

/// The golden beside a checkpoint.
llvm::Expected<Golden> readGolden(llvm::StringRef directory);

/// The checkpoints below `families` that have a golden, sorted by name.
std::vector<std::string> listGoldens(llvm::StringRef families);

/// Those of them whose weights are narrower than float32, which GPUs take.
std::vector<std::string> listNarrowGoldens(llvm::StringRef families);

/// The name of a checkpoint as that of a test may be.
std::string testNameOf(llvm::StringRef directory);

struct GoldenReport {
  /// Largest and root mean square error over the positions compared, as parts
  /// of the golden's standard deviation.
  double maxError = 0;
  double rmsError = 0;
  /// Position of the largest error.
  int64_t worst = 0;
  int64_t compared = 0;
  /// Positions left out: their router margin is below the golden's bound.
  int64_t leftOut = 0;
  /// Positions whose best two logits are farther apart than the smaller of
  /// `bound` and closeness(), and those of them where the best token differs.
  int64_t decided = 0;
  int64_t differ = 0;
  /// Every rule holds: error, left out at most 5 %, no differing choice.
  bool ok = false;
  /// All of this in one line.
  std::string text;
};

/// Compares a run that was fed `golden.tokens()`: `logits` has a row for each.
/// `bound` is the largest allowed error as a part of the standard deviation.
GoldenReport compareWithGolden(const Golden &golden,
                               llvm::ArrayRef<float> logits, double bound);

} // namespace headrace::testing

#endif // HEADRACE_TESTS_COMPILER_REFERENCE_GOLDENS_H
