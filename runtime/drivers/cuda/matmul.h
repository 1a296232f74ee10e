// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Matmul: dense products of a package as calls of cuBLASLt.
#ifndef HEADRACE_RUNTIME_DRIVERS_CUDA_MATMUL_H
#define HEADRACE_RUNTIME_DRIVERS_CUDA_MATMUL_H

#include "runtime/drivers/cuda/cuda_device.h"

namespace headrace::runtime::cuda {

/// One product with its addresses.
struct MatmulCall {
  const abi::Matmul *product;
  const void *x;
  void *y;
  const void *weight;
  const void *bias; // or null
  uint64_t rows;
};

/// The products of one executor. An algorithm is chosen once for each shape
/// and number of rows.
class MatmulRunner {
public:
  explicit MatmulRunner(CudaDevice *device);
  ~MatmulRunner();

  /// Loads the library and takes its workspace.
  /// Codes: unavailable, resource exhausted, device lost.
  Status Create();

  /// Adds the product to `stream`.
  /// Codes: internal, device lost.
  Status Enqueue(const MatmulCall &call, CuStream stream);

private:
  /// What decides on the algorithm, and the algorithm.
  struct Choice {
    const abi::Matmul *product;
    uint64_t rows;
    uint32_t alignment; // of all addresses
    LtAlgorithm algorithm;
  };
  struct Descriptors;

  Status Check(int result, const char *what);
  Status Describe(const MatmulCall &call, Descriptors *out);
  Status Choose(const MatmulCall &call, const Descriptors &descriptors,
                LtAlgorithm *out);

  CudaDevice *const device;
  CublasLtLibrary library;
  LtHandle handle = nullptr;
  DeviceMemory workspace;
  Vector<Choice> choices;
  size_t next_choice = 0; // to replace, once there are many
};

} // namespace headrace::runtime::cuda

#endif // HEADRACE_RUNTIME_DRIVERS_CUDA_MATMUL_H
