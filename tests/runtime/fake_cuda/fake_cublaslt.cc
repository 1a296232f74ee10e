// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fake CUDA: the product of cuBLASLt as three loops on a stream.
#include "tests/runtime/fake_cuda/state.h"

#include <cstring>

using namespace headrace::tests::fake_cuda;

#define FAKE extern "C" FAKE_CUDA_API int

#define ENTER()                                                                \
  State &state = TheState();                                                   \
  std::lock_guard<std::mutex> lock(state.mutex);                               \
  if (CuResult scripted = state.Enter(__func__, false);                        \
      scripted != kCuSuccess)                                                  \
  return scripted

namespace {

/// What a layout's opaque words hold here.
enum { kType, kRows, kColumns, kStride };

uint64_t ElementBytes(uint64_t type) { return type == kLtTypeF32 ? 4 : 2; }

float Load(const uint8_t *at, uint64_t type) {
  if (type == kLtTypeF32) {
    float value;
    std::memcpy(&value, at, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  if (type == kLtTypeBf16) {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return static_cast<float>(half);
}

void Store(uint8_t *at, uint64_t type, float value) {
  if (type == kLtTypeF32) {
    std::memcpy(at, &value, 4);
  } else if (type == kLtTypeBf16) {
    uint32_t wide;
    std::memcpy(&wide, &value, 4);
    wide += 0x7fff + (wide >> 16 & 1);
    const auto bits = static_cast<uint16_t>(wide >> 16);
    std::memcpy(at, &bits, 2);
  } else {
    const auto half = static_cast<_Float16>(value);
    std::memcpy(at, &half, 2);
  }
}

} // namespace

FAKE cublasLtCreate(LtHandle *handle) {
  ENTER();
  *handle = reinterpret_cast<LtHandle>(new char);
  ++state.live;
  state.objects.insert(*handle);
  return 0;
}
FAKE cublasLtDestroy(LtHandle handle) {
  ENTER();
  state.objects.erase(handle);
  delete reinterpret_cast<char *>(handle);
  --state.live;
  return 0;
}

FAKE cublasLtMatmulDescCreate(LtDescription **description, int, int) {
  ENTER();
  *description = new LtDescription();
  ++state.live;
  state.objects.insert(*description);
  return 0;
}
FAKE cublasLtMatmulDescDestroy(LtDescription *description) {
  ENTER();
  state.objects.erase(description);
  delete description;
  --state.live;
  return 0;
}
FAKE cublasLtMatmulDescSetAttribute(LtDescription *description, int attribute,
                                    const void *value, size_t bytes) {
  ENTER();
  std::memcpy(&description->data[attribute], value, bytes);
  return 0;
}

FAKE cublasLtMatrixLayoutCreate(LtLayout **layout, int type, uint64_t rows,
                                uint64_t columns, int64_t stride) {
  ENTER();
  *layout = new LtLayout();
  (*layout)->data[kType] = static_cast<uint64_t>(type);
  (*layout)->data[kRows] = rows;
  (*layout)->data[kColumns] = columns;
  (*layout)->data[kStride] = static_cast<uint64_t>(stride);
  ++state.live;
  state.objects.insert(*layout);
  return 0;
}
FAKE cublasLtMatrixLayoutDestroy(LtLayout *layout) {
  ENTER();
  state.objects.erase(layout);
  delete layout;
  --state.live;
  return 0;
}

FAKE cublasLtMatmulPreferenceCreate(LtPreference **preference) {
  ENTER();
  *preference = new LtPreference();
  ++state.live;
  state.objects.insert(*preference);
  return 0;
}
FAKE cublasLtMatmulPreferenceDestroy(LtPreference *preference) {
  ENTER();
  state.objects.erase(preference);
  delete preference;
  --state.live;
  return 0;
}
FAKE cublasLtMatmulPreferenceSetAttribute(LtPreference *, int, const void *,
                                          size_t) {
  ENTER();
  return 0;
}

FAKE cublasLtMatmulAlgoGetHeuristic(LtHandle, LtDescription *description,
                                    LtLayout *, LtLayout *, LtLayout *,
                                    LtLayout *d, LtPreference *, int,
                                    LtHeuristic *found, int *count) {
  ENTER();
  *found = {};
  // Biases have the type of the result, says cublasLt.h; there is no algorithm
  // for others.
  const bool has_bias =
      static_cast<uint32_t>(description->data[kLtDescriptionEpilogue]) ==
      kLtEpilogueBias;
  *count = !has_bias ||
           static_cast<uint32_t>(description->data[kLtDescriptionBiasType]) ==
               d->data[kType];
  return 0;
}

FAKE cublasLtMatmul(LtHandle, LtDescription *description, const void *alpha,
                    const void *a, LtLayout *a_layout, const void *b,
                    LtLayout *b_layout, const void *beta, const void *,
                    LtLayout *, void *d, LtLayout *d_layout,
                    const LtAlgorithm *, void *, size_t, CuStream stream) {
  ENTER();
  float scale, old_scale;
  std::memcpy(&scale, alpha, 4);
  std::memcpy(&old_scale, beta, 4);
  const LtDescription described = *description;
  const LtLayout w = *a_layout, x = *b_layout, y = *d_layout;
  auto run = [=](uint64_t *) {
    const bool transposed =
        static_cast<int32_t>(described.data[kLtDescriptionTransposeA]) ==
        kLtOperationTranspose;
    const bool has_bias =
        static_cast<uint32_t>(described.data[kLtDescriptionEpilogue]) ==
        kLtEpilogueBias;
    const auto *bias = reinterpret_cast<const uint8_t *>(
        described.data[kLtDescriptionBiasPointer]);
    const uint64_t bias_type =
        static_cast<uint32_t>(described.data[kLtDescriptionBiasType]);
    auto at = [](const void *base, const LtLayout &layout, uint64_t row,
                 uint64_t column) {
      return static_cast<const uint8_t *>(base) +
             (column * layout.data[kStride] + row) *
                 ElementBytes(layout.data[kType]);
    };
    const uint64_t depth = x.data[kRows];
    for (uint64_t column = 0; column < y.data[kColumns]; ++column)
      for (uint64_t row = 0; row < y.data[kRows]; ++row) {
        float sum = 0;
        for (uint64_t k = 0; k < depth; ++k)
          sum += Load(transposed ? at(a, w, k, row) : at(a, w, row, k),
                      w.data[kType]) *
                 Load(at(b, x, k, column), x.data[kType]);
        auto *out = const_cast<uint8_t *>(at(d, y, row, column));
        float value = scale * sum;
        if (old_scale != 0)
          value += old_scale * Load(out, y.data[kType]);
        if (has_bias)
          value += Load(bias + row * ElementBytes(bias_type), bias_type);
        Store(out, y.data[kType], value);
      }
    return true;
  };
  Enqueue(stream, {std::move(run), kKernelNs, nullptr, /*is_kernel=*/true});
  return 0;
}
