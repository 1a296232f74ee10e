// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weight loader: the one that reads weights in place from the mapped file.
#include "runtime/src/weight_loader.h"

#include <sys/mman.h>

namespace headrace::runtime {
namespace {

class MappedLoader final : public WeightLoader {
public:
  explicit MappedLoader(headrace_package_t *package) : package(package) {}

  Status Bind(Vector<const void *> *table) override {
    const auto &weights = *package->manifest->weights();
    const auto &blobs = *package->manifest->blobs();
    table->clear();
    table->reserve(weights.size());
    for (uint32_t i = 0; i < weights.size(); ++i)
      table->push_back(
          package->FileBytes(blobs.Get(weights.Get(i)->blob())->offset()));
    // Reading starts while the host is still preparing its first step.
    if (package->file.Data())
      madvise(package->file.Data(), package->file.Bytes(), MADV_WILLNEED);
    return Status();
  }

  void Destroy() override { Delete(package->HostAllocator(), this); }

private:
  headrace_package_t *const package;
};

} // namespace

Status CreateWeightLoader(uint32_t kind, headrace_package_t *package,
                          WeightLoaderOwner *out) {
  const Allocator &allocator = package->HostAllocator();
  if (kind != HEADRACE_WEIGHTS_MAPPED)
    return MakeStatus(allocator, HEADRACE_STATUS_UNIMPLEMENTED,
                      "session: weight loader %u is unknown to this version",
                      kind);
  out->reset(New<MappedLoader>(allocator, package));
  return Status();
}

} // namespace headrace::runtime
