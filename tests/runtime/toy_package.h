// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Toy package: a whole package made in memory, with a toy language model whose
// logits a test can compute.
#ifndef HEADRACE_TESTS_RUNTIME_TOY_PACKAGE_H
#define HEADRACE_TESTS_RUNTIME_TOY_PACKAGE_H

#include "runtime/abi/package_generated.h"
#include "tests/runtime/toy_kernels.h"

#include <memory>
#include <string>
#include <vector>

namespace headrace::tests {

/// Limits of the toy's passes: small, so that steps are cut.
constexpr uint32_t kToyMaxTokens = 8;
constexpr uint32_t kToyMaxSequences = 3;
constexpr uint32_t kToyMaxOutputs = 4;

/// Entries in the package, in this order.
enum ToyEntry : uint32_t {
  kForward = 0, // the language model
  kScale,       // y = 3 x
  kCount,       // counts 1000 tasks
  kStuck,       // two tasks, see toy_stuck
  kSlow,        // very many slow tasks
  kEmpty,       // 1000 launches of two empty tasks
  kBusy1,       // 100 launches of one busy task
  kBusy2        // 100 launches of two busy tasks
};

/// The manifest, code offsets and blob ranges included, ready to be changed.
std::unique_ptr<abi::ManifestT> ToyManifest();

/// Without the entries that have many equal launches: for tests that go through
/// every byte.
std::unique_ptr<abi::ManifestT> SmallToyManifest();

/// The small toy with a plan: weight 0 is streamed through a ring of two slots
/// by the entries that read it, weight 1 is resident.
std::unique_ptr<abi::ManifestT> PlannedToyManifest();

/// The planned toy with the pages of its key-value cache, of one layer, in a
/// home on a second level, from which those in use come to a ring of one slot.
std::unique_ptr<abi::ManifestT> PagedToyManifest();

/// The paged toy with a home in memory: of its pages, and of weight 0.
std::unique_ptr<abi::ManifestT> HousedToyManifest();

/// A step of a plan.
std::unique_ptr<abi::StepT> ToyStep(abi::StepKind kind, uint32_t launch,
                                    uint32_t bundle = 0, uint32_t slot = 0);

/// Writes the digest of the schedule into plan and certificate.
void SealPlan(abi::ManifestT *manifest);

/// The file around `manifest`: header, sections and digests; the ranges of code
/// and blob are laid out anew if `lay_out`.
std::vector<uint8_t> ToyFile(abi::ManifestT &manifest, bool lay_out = true);

/// The same around other code than ToyCode(), which is that of a processor.
std::vector<uint8_t> ToyCode();
std::vector<uint8_t> ToyFile(abi::ManifestT &manifest,
                             const std::vector<uint8_t> &code,
                             bool lay_out = true);

/// The files of the unchanged toys.
std::vector<uint8_t> ToyFile();
std::vector<uint8_t> SmallToyFile();

/// Computes header digests and sizes of `file` again, for tests that change
/// the manifest in place.
void SealToyFile(std::vector<uint8_t> *file, uint64_t manifest_bytes);

/// The logits after the last of `tokens`.
std::vector<float> ToyLogits(const std::vector<int32_t> &tokens);

/// The token the toy gives after `tokens`, greedily.
int32_t ToyNext(const std::vector<int32_t> &tokens);

/// A file that disappears with the object.
class TemporaryFile {
public:
  explicit TemporaryFile(const std::vector<uint8_t> &bytes);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile &) = delete;
  TemporaryFile &operator=(const TemporaryFile &) = delete;

  const char *Path() const { return path.c_str(); }
  void Write(const std::vector<uint8_t> &bytes);

private:
  std::string path;
};

} // namespace headrace::tests

#endif // HEADRACE_TESTS_RUNTIME_TOY_PACKAGE_H
