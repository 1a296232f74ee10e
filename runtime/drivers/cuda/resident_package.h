// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Resident package: what all sessions of one package share on one device.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_RESIDENT_PACKAGE_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_RESIDENT_PACKAGE_H

#include "runtime/drivers/cuda/cuda_device.h"

namespace headrace::runtime::cuda {

/// How a kernel of the loaded code is launched.
struct Kernel {
  CuFunction function = nullptr;
  uint32_t threads = 0;
  uint32_t shared_bytes = 0;
};

/// The index of the code section that is best on a chip of compute capability
/// `capability` (90 for 9.0): machine code for it, else the newest portable
/// code that it runs. kNoIndex where there is none.
uint32_t ChooseCode(const abi::Manifest &manifest, uint32_t capability);

/// The same among the sections of PTX alone, which a driver translates for its
/// chip.
uint32_t ChoosePortableCode(const abi::Manifest &manifest, uint32_t capability);

/// Counted by the device, see CudaDevice::Acquire().
class ResidentPackage : public RefCounted {
public:
  ResidentPackage(CudaDevice *device, headrace_package_t *package);
  ~ResidentPackage();

  /// Loads the best code section. Where the driver refuses machine code, loads
  /// the package's PTX in its place, if there is any, and logs a warning.
  /// Codes: failed precondition (none for this chip, or the driver refuses it),
  /// data loss, resource exhausted, device lost.
  Status LoadCode();

  /// Finds kernel `index` in the loaded code.
  /// Codes: failed precondition (too much shared memory), data loss (no such
  /// function), device lost.
  Status FindKernel(uint32_t index, Kernel *out);

  /// Brings the weights to the device, once, comparing the digest of each
  /// chunk, and gives their addresses.
  /// Codes: data loss, resource exhausted, device lost.
  Status BindWeights(Vector<const void *> *table);

  headrace_package_t *Package() const { return package; }
  uint32_t CodeIndex() const { return code; }

private:
  class Uploader;

  Status LoadSection(uint32_t index);
  Status UploadBlob(uint32_t index, Uploader *uploader);

  CudaDevice *const device;
  headrace_package_t *const package; // outlived by the sessions' reference
  uint32_t code = kNoIndex;
  CuModule module = nullptr;
  std::mutex weights_mutex; // of the three below
  bool bound = false;
  DeviceMemory weights;
  Vector<uint64_t> blob_offsets; // in `weights`
};

/// Makes the loader whose weights lie in device memory.
Status CreateResidentLoader(CudaDevice *device, headrace_package_t *package,
                            WeightLoaderOwner *out);

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_RESIDENT_PACKAGE_H
