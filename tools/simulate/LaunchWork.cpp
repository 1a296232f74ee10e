// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the launches of a package read and multiply in a step of a given shape.
#include "tools/simulate/LaunchWork.h"

#include "runtime/abi/kernel_abi.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

using namespace headrace;
using namespace headrace::simulate;

namespace {

/// `tensor<16x2048x1024xbf16, ...>`: the sizes, and what stands behind the last
/// `x`. Types are for people elsewhere; here they give the shape of a product,
/// which nothing but a prediction depends on.
struct TensorType {
  std::vector<uint64_t> shape; ///< 0 for `?`.
  std::string element;
};

TensorType readType(std::string_view text) {
  TensorType type;
  constexpr std::string_view kBegin = "tensor<";
  if (text.substr(0, kBegin.size()) != kBegin)
    return type;
  text.remove_prefix(kBegin.size());
  for (;;) {
    size_t digits = 0;
    uint64_t size = 0;
    while (digits < text.size() && digits < 18 && text[digits] >= '0' &&
           text[digits] <= '9')
      size = size * 10 + uint64_t(text[digits++] - '0');
    if (!text.empty() && text[0] == '?')
      digits = 1;
    if (digits == 0 || digits >= text.size() || text[digits] != 'x')
      break;
    type.shape.push_back(size);
    text.remove_prefix(digits + 1);
  }
  type.element = std::string(text.substr(0, text.find_first_of(",>")));
  return type;
}

} // namespace

uint64_t simulate::expectedDistinct(uint64_t tokens, uint64_t picks,
                                    uint64_t experts) {
  if (experts == 0 || picks == 0)
    return 0;
  double missed = std::pow(1 - double(picks) / double(experts), double(tokens));
  double hit = std::round(double(experts) * (1 - missed));
  return std::clamp(uint64_t(hit), std::min(picks, experts), experts);
}

LaunchWork::LaunchWork(const abi::Manifest &manifest) : manifest(manifest) {
  for (const abi::Weight *weight : *manifest.weights()) {
    WeightSize size;
    size.bytes = manifest.blobs()->Get(weight->blob())->bytes();
    TensorType type = readType(weight->type()->string_view());
    size.type = type.element;
    size.elements = 1;
    for (uint64_t one : type.shape)
      size.elements *= double(one);
    if (type.shape.size() > 1) {
      size.rows = type.shape[type.shape.size() - 2];
      size.rowBytes = size.elements > 0 ? double(size.bytes) / size.elements *
                                              double(type.shape.back())
                                        : 0;
    }
    weights.push_back(size);
  }
  auto findRouted = [&](const auto &launches) {
    for (const abi::Launch *launch : launches)
      if (launch->grid_kind() == abi::GridKind::per_routed) {
        routedPicks = launch->grid_block();
        routedExperts = launch->grid_limit();
      }
  };
  for (const abi::Entry *entry : *manifest.entries()) {
    findRouted(*entry->launches());
    if (entry->classes())
      for (const abi::StepClass *one : *entry->classes())
        findRouted(*one->launches());
  }
}

std::string LaunchWork::nameOf(const abi::Launch &launch) const {
  return launch.kind() == abi::LaunchKind::matmul
             ? "matmul"
             : manifest.kernels()->Get(launch.kernel())->name()->str();
}

uint32_t LaunchWork::slotsOf(const abi::Launch &launch,
                             uint32_t operand) const {
  if (launch.kind() == abi::LaunchKind::matmul)
    return 1;
  const auto *slots = manifest.kernels()->Get(launch.kernel())->weight_slots();
  return slots && operand < slots->size() ? slots->Get(operand) : 1;
}

bool LaunchWork::isRouted(const abi::Launch &launch) const {
  for (uint32_t i = 0; i < launch.weights()->size(); ++i)
    if (slotsOf(launch, i) > 1)
      return true;
  return launch.grid_kind() == abi::GridKind::per_routed;
}

bool LaunchWork::hasRole(const abi::Launch &launch, const char *role) const {
  for (uint32_t index : *launch.buffers()) {
    const abi::Buffer *buffer = manifest.buffers()->Get(index);
    if (buffer->kind() == abi::BufferKind::view)
      buffer = manifest.buffers()->Get(buffer->base());
    if (buffer->role() && buffer->role()->string_view() == role)
      return true;
  }
  return false;
}

KernelWork LaunchWork::of(const abi::Launch &launch, const StepShape &shape,
                          double active, double share) const {
  KernelWork work;
  work.name = nameOf(launch);
  const bool embeds =
      launch.kind() == abi::LaunchKind::kernel &&
      manifest.kernels()->Get(launch.kernel())->family()->string_view() ==
          "embed";
  const double rows = double(
      hasRole(launch, HEADRACE_ROLE_LOGITS) ? shape.outputs : shape.tokens);
  for (uint32_t i = 0; i < launch.weights()->size(); ++i) {
    const uint32_t slot = launch.weights()->Get(i);
    const WeightSize &size = weights[slot];
    const uint32_t slots = slotsOf(launch, i);
    if (work.detail.empty() || size.rows)
      work.detail = manifest.weights()->Get(slot)->name()->str();
    if (embeds) {
      work.bytes += rows * size.rowBytes;
      continue;
    }
    const double read = slots > 1 ? active : 1;
    work.bytes += read * double(size.bytes);
    if (!size.rows)
      continue; // A norm or a bias.
    work.type = size.type;
    const double uses = slots > 1 ? rows * double(routedPicks) * share : rows;
    work.operations += 2 * uses * size.elements;
  }
  const abi::KvCache *cache = manifest.kv();
  if (cache && hasRole(launch, HEADRACE_ROLE_KV_POOL)) {
    const double width = double(cache->heads()) * double(cache->head_dim());
    const double element =
        cache->element_type() == abi::ElementType::f32 ? 4 : 2;
    work.bytes += shape.positionsRead() * 2 * width * element;
    // The result has the queries' width; scores and their sums are two products
    // of it with each position, in float32.
    const abi::Buffer *result = manifest.buffers()->Get(
        launch.buffers()->Get(launch.buffers()->size() - 1));
    TensorType type = readType(result->type()->string_view());
    double queries = type.shape.empty() ? width : double(type.shape.back());
    work.operations += 4 * shape.pairs() * queries;
    work.type = "f32";
    work.detail = "reads " + std::to_string(cache->heads()) + " heads of " +
                  std::to_string(cache->head_dim());
  }
  return work;
}
