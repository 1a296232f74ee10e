// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Matmul: descriptors, the choice of an algorithm, and the call.
#include "runtime/drivers/cuda/matmul.h"

#include <algorithm>

namespace headrace::runtime::cuda {
namespace {

/// What the library's documentation advises for Hopper.
constexpr uint64_t kWorkspaceBytes = 32u << 20;
/// Steps of many different lengths would otherwise remember without end.
constexpr size_t kMaxChoices = 256;
/// The library tells no wider alignments apart.
constexpr uintptr_t kMaxAlignment = 256;

int TypeOf(abi::ElementType type) {
  return type == abi::ElementType::f32    ? kLtTypeF32
         : type == abi::ElementType::bf16 ? kLtTypeBf16
                                          : kLtTypeF16;
}

} // namespace

/// The library works on columns, so a row-major matrix is its transpose there:
/// y^T [out, rows] = w^T^T [out, in] * x^T [in, rows].
struct MatmulRunner::Descriptors {
  explicit Descriptors(const CublasLtApi &api) : api(api) {}
  Descriptors(const Descriptors &) = delete;
  Descriptors &operator=(const Descriptors &) = delete;
  ~Descriptors() {
    if (description)
      api.cublasLtMatmulDescDestroy(description);
    for (LtLayout *layout : {w, x, y})
      if (layout)
        api.cublasLtMatrixLayoutDestroy(layout);
  }

  const CublasLtApi &api;
  LtDescription *description = nullptr;
  LtLayout *w = nullptr;
  LtLayout *x = nullptr;
  LtLayout *y = nullptr;
};

MatmulRunner::MatmulRunner(CudaDevice *device)
    : device(device), choices(StdAllocator<Choice>(device->HostAllocator())) {}

MatmulRunner::~MatmulRunner() {
  if (!handle || device->IsLost())
    return;
  ContextScope scope(device);
  library.api.cublasLtDestroy(handle);
}

Status MatmulRunner::Check(int result, const char *what) {
  if (result == 0)
    return Status();
  return MakeStatus(device->HostAllocator(), HEADRACE_STATUS_INTERNAL,
                    "cublasLt: %s: status %d", what, result);
}

Status MatmulRunner::Create() {
  HEADRACE_RETURN_IF_ERROR(
      library.Open(device->HostAllocator(), device->CublasLtPath()));
  HEADRACE_RETURN_IF_ERROR(device->Allocate(
      kWorkspaceBytes, "the workspace of cuBLASLt", &workspace));
  ContextScope scope(device);
  HEADRACE_RETURN_IF_ERROR(scope.TakeStatus());
  return Check(library.api.cublasLtCreate(&handle), "creating a handle");
}

Status MatmulRunner::Describe(const MatmulCall &call, Descriptors *out) {
  const CublasLtApi &api = library.api;
  const abi::Matmul &product = *call.product;
  HEADRACE_RETURN_IF_ERROR(
      Check(api.cublasLtMatmulDescCreate(&out->description, kLtComputeF32,
                                         kLtTypeF32),
            "describing a product"));
  auto set = [&](int attribute, const auto &value) {
    return Check(api.cublasLtMatmulDescSetAttribute(out->description, attribute,
                                                    &value, sizeof(value)),
                 "describing a product");
  };
  HEADRACE_RETURN_IF_ERROR(
      set(kLtDescriptionTransposeA, int32_t{kLtOperationTranspose}));
  if (call.bias) {
    HEADRACE_RETURN_IF_ERROR(set(kLtDescriptionEpilogue, kLtEpilogueBias));
    HEADRACE_RETURN_IF_ERROR(set(kLtDescriptionBiasPointer, call.bias));
    HEADRACE_RETURN_IF_ERROR(
        set(kLtDescriptionBiasType, int32_t{TypeOf(product.y_element())}));
  }
  auto layout = [&](LtLayout **made, abi::ElementType type, uint64_t rows,
                    uint64_t columns, uint32_t stride) {
    return Check(api.cublasLtMatrixLayoutCreate(made, TypeOf(type), rows,
                                                columns, stride),
                 "describing a matrix");
  };
  HEADRACE_RETURN_IF_ERROR(layout(&out->w, product.element(), product.in(),
                                  product.out(), product.in()));
  HEADRACE_RETURN_IF_ERROR(layout(&out->x, product.element(), product.in(),
                                  call.rows, product.x_stride()));
  return layout(&out->y, product.y_element(), product.out(), call.rows,
                product.y_stride());
}

Status MatmulRunner::Choose(const MatmulCall &call,
                            const Descriptors &descriptors, LtAlgorithm *out) {
  uintptr_t bits = kMaxAlignment;
  for (const void *address :
       {call.x, static_cast<const void *>(call.y), call.weight, call.bias})
    bits |= reinterpret_cast<uintptr_t>(address);
  const auto alignment = static_cast<uint32_t>(bits & (~bits + 1));
  for (const Choice &choice : choices)
    if (choice.product == call.product && choice.rows == call.rows &&
        choice.alignment == alignment) {
      *out = choice.algorithm;
      return Status();
    }

  const CublasLtApi &api = library.api;
  LtPreference *preference = nullptr;
  HEADRACE_RETURN_IF_ERROR(
      Check(api.cublasLtMatmulPreferenceCreate(&preference), "a preference"));
  int failed = 0;
  auto prefer = [&](int attribute, const auto &value) {
    if (!failed)
      failed = api.cublasLtMatmulPreferenceSetAttribute(preference, attribute,
                                                        &value, sizeof(value));
  };
  prefer(kLtPreferenceWorkspaceBytes, uint64_t{kWorkspaceBytes});
  for (int attribute : {kLtPreferenceAlignmentA, kLtPreferenceAlignmentB,
                        kLtPreferenceAlignmentC, kLtPreferenceAlignmentD})
    prefer(attribute, alignment);
  LtHeuristic found = {};
  int count = 0;
  if (!failed)
    failed = api.cublasLtMatmulAlgoGetHeuristic(
        handle, descriptors.description, descriptors.w, descriptors.x,
        descriptors.y, descriptors.y, preference, 1, &found, &count);
  api.cublasLtMatmulPreferenceDestroy(preference);
  HEADRACE_RETURN_IF_ERROR(Check(failed, "choosing an algorithm"));
  if (count == 0 || found.state != 0)
    return MakeStatus(device->HostAllocator(), HEADRACE_STATUS_INTERNAL,
                      "cublasLt: no algorithm for %llu rows of %u -> %u",
                      static_cast<unsigned long long>(call.rows),
                      call.product->in(), call.product->out());
  *out = found.algorithm;
  const Choice choice = {call.product, call.rows, alignment, found.algorithm};
  if (choices.size() < kMaxChoices) {
    choices.push_back(choice);
  } else {
    choices[next_choice] = choice;
    next_choice = (next_choice + 1) % kMaxChoices;
  }
  return Status();
}

Status MatmulRunner::Enqueue(const MatmulCall &call, CuStream stream) {
  Descriptors descriptors(library.api);
  HEADRACE_RETURN_IF_ERROR(Describe(call, &descriptors));
  LtAlgorithm algorithm;
  HEADRACE_RETURN_IF_ERROR(Choose(call, descriptors, &algorithm));
  const float alpha = 1;
  const float beta = call.product->accumulate() ? 1 : 0;
  return Check(library.api.cublasLtMatmul(
                   handle, descriptors.description, &alpha, call.weight,
                   descriptors.w, call.x, descriptors.x, &beta, call.y,
                   descriptors.y, call.y, descriptors.y, &algorithm,
                   workspace.Data(), kWorkspaceBytes, stream),
               "a product");
}

} // namespace headrace::runtime::cuda
