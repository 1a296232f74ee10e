// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Weight loader: how a session gets one address for each weight slot.
#ifndef HEADRACE_RUNTIME_SRC_WEIGHT_LOADER_H
#define HEADRACE_RUNTIME_SRC_WEIGHT_LOADER_H

#include "headrace/session.h"
#include "runtime/src/package.h"

namespace headrace::runtime {

/// Kernels see only the binding table, so where the bytes are is the loader's
/// business: in the page cache, or in an arena filled under a byte budget.
class WeightLoader {
public:
  virtual ~WeightLoader() = default;

  /// Fills the binding table, one address for each weight of the package. The
  /// addresses stay valid as long as the loader.
  virtual Status Bind(Vector<const void *> *table) = 0;

  /// Ends the object and its memory.
  virtual void Destroy() = 0;
};

struct LoaderDeleter {
  void operator()(WeightLoader *loader) const { loader->Destroy(); }
};
using WeightLoaderOwner = std::unique_ptr<WeightLoader, LoaderDeleter>;

/// Makes the loader of the given kind, a headrace_weight_loader_t, for
/// `package`, which outlives it.
Status CreateWeightLoader(uint32_t kind, headrace_package_t *package,
                          WeightLoaderOwner *out);

} // namespace headrace::runtime

#endif // HEADRACE_RUNTIME_SRC_WEIGHT_LOADER_H
