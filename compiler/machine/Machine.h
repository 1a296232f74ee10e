// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a #tier.machine says, as plain data: for code that needs no MLIR.
#ifndef HEADRACE_COMPILER_MACHINE_MACHINE_H
#define HEADRACE_COMPILER_MACHINE_MACHINE_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headrace {

/// The fields are those of the attributes of the same names in
/// docs/spec/tier.md.
struct Machine {
  struct Level {
    std::string name;
    uint64_t bytes = 0; ///< Of one instance.
    uint64_t count = 1;
    /// Bytes of all instances; saturates.
    uint64_t total() const {
      uint64_t sum;
      return __builtin_mul_overflow(bytes, count, &sum) ? UINT64_MAX : sum;
    }
  };
  struct Link {
    std::string source, target;
    uint64_t bandwidth = 0; ///< Bytes per second of one instance.
    uint64_t latency = 0;   ///< Nanoseconds.
    uint64_t count = 1;
    std::string bus;      ///< Empty: shares its wires with no other link.
    uint64_t request = 0; ///< Bytes per second of one request; 0: `bandwidth`.
  };
  struct Compute {
    std::string type;
    uint64_t operations = 0; ///< Per second of one instance.
    uint64_t count = 1;
  };

  std::string name;
  std::vector<Level> levels; ///< From fast to slow; at least one.
  std::vector<Link> links;
  std::vector<Compute> compute;
  uint64_t launch = 0; ///< Nanoseconds.

  /// Null where the machine has none.
  const Level *level(std::string_view name) const {
    for (const Level &one : levels)
      if (one.name == name)
        return &one;
    return nullptr;
  }
  const Link *link(std::string_view source, std::string_view target) const {
    for (const Link &one : links)
      if (one.source == source && one.target == target)
        return &one;
    return nullptr;
  }
  const Compute *computeOf(std::string_view type) const {
    for (const Compute &one : compute)
      if (one.type == type)
        return &one;
    return nullptr;
  }
};

} // namespace headrace

#endif // HEADRACE_COMPILER_MACHINE_MACHINE_H
