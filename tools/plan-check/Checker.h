// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the files of the checker share: the package, and where violations go.
#ifndef HEADRACE_TOOLS_PLANCHECK_CHECKER_H
#define HEADRACE_TOOLS_PLANCHECK_CHECKER_H

#include "tools/plan-check/PlanChecker.h"

#include <map>
#include <sstream>

namespace headrace::plancheck {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint64_t kNowhere = UINT64_MAX; ///< A home: in the package alone.

/// Whether a step of that kind says how many launches it runs.
inline bool runsSeveral(abi::StepKind kind) {
  return kind == abi::StepKind::routed || kind == abi::StepKind::predict;
}

/// The elements of a vector that may be absent.
template <typename Vector>
auto listOf(const Vector *vector) -> std::vector<decltype(vector->Get(0))> {
  std::vector<decltype(vector->Get(0))> list;
  if (vector)
    list.assign(vector->begin(), vector->end());
  return list;
}

/// Bytes [offset, offset + bytes).
struct Range {
  uint64_t offset = 0, bytes = 0;

  uint64_t end() const { return offset + bytes; }
  /// Without overflow.
  bool isIn(uint64_t size) const {
    return offset <= size && bytes <= size - offset;
  }
};

/// Launches and steps of an entry, or of one of its GPU classes.
struct Schedule {
  std::pair<uint32_t, uint32_t> number; ///< Entry, class; kNone: its own.
  uint32_t maxTokens;
  std::string name; ///< For messages: "entry 'forward'".
  const flatbuffers::Vector<flatbuffers::Offset<abi::Launch>> &launches;
  const flatbuffers::Vector<flatbuffers::Offset<abi::Step>> *steps;

  /// One step for each launch where there is no other schedule.
  uint32_t stepCount() const { return steps ? steps->size() : launches.size(); }
};

/// Bytes of a level in use from one step of a schedule to another, both
/// included.
struct Thing {
  abi::PartKind kind;
  uint32_t index; ///< As in Part.
  uint32_t level;
  Range place;
  uint32_t from, to;

  std::string name() const {
    return abi::EnumNamePartKind(kind) + (" #" + std::to_string(index));
  }
  /// By itself or with its neighbours, past the page cache.
  bool moves() const {
    return kind != abi::PartKind::buffer && kind != abi::PartKind::kv &&
           kind != abi::PartKind::scratch;
  }
  bool meets(const Thing &other) const {
    return from <= other.to && other.from <= to;
  }
};

/// Each check stands in the file that its comment names.
class Checker {
public:
  explicit Checker(const abi::Manifest &manifest)
      : manifest(manifest), plan(manifest.plan()) {}

  std::vector<Violation> run();

private:
  template <typename... Parts> void fail(Rule rule, const Parts &...parts) {
    if (found.size() >= kMostViolations)
      return;
    std::ostringstream text;
    (text << ... << parts);
    found.push_back({rule, text.str()});
  }

  template <typename... Parts>
  void aligned(uint64_t value, uint64_t unit, const Parts &...what) {
    if (value % unit)
      fail(Rule::alignment, what..., ": ", value, " is no multiple of ", unit);
  }

  // References.cc: what all others rely on.
  bool checkReferences();
  void checkPlanReferences();
  void checkScheduleReferences(const Schedule &schedule);
  bool checkSizes();
  void refers(uint32_t index, uint32_t count, const char *what, uint32_t at,
              const char *to);

  // Places.cc: what lies where.
  void checkPlaces();
  void checkBundles();
  void checkOverlap(const Schedule &schedule);
  std::vector<Thing> thingsOf(const Schedule &schedule) const;

  // Walk.cc: what is in which slot when.
  class Walk;
  void checkSchedule(const Schedule &schedule);

  // Certificate.cc: what is claimed.
  void checkCertificate();
  void checkParts(const abi::Peak &peak);
  void checkPeak(const abi::Peak &peak);
  void checkWitness(const abi::Peak &peak);

  std::vector<Schedule> schedules() const;
  /// The beginning of a message about a level.
  std::string on(uint32_t level) const {
    return "level '" + manifest.levels()->Get(level)->name()->str() + "': ";
  }
  const abi::Weight &weight(uint32_t i) const {
    return *manifest.weights()->Get(i);
  }
  uint64_t weightBytes(uint32_t i) const {
    return manifest.blobs()->Get(weight(i).blob())->bytes();
  }
  const abi::Buffer &buffer(uint32_t i) const {
    return *manifest.buffers()->Get(i);
  }
  const abi::Bundle &bundle(uint32_t i) const {
    return *plan->bundles()->Get(i);
  }
  const abi::Pool &pool(uint32_t i) const { return *plan->pools()->Get(i); }
  uint32_t bundleCount() const { return plan ? plan->bundles()->size() : 0; }
  uint32_t poolCount() const { return plan ? plan->pools()->size() : 0; }
  /// All pages of so many layers of the key-value cache.
  uint64_t pageBytes(uint64_t layers) const {
    return manifest.kv()->page_bytes() / manifest.kv()->layers() * layers *
           plan->kv_pages();
  }
  /// The bundle of the pages behind a buffer; kNone: they are none, or stay.
  uint32_t pagesBehind(uint32_t which) const;
  /// Consecutive slots of the binding table that an operand stands for.
  uint32_t slotsOf(const abi::Launch &launch, uint32_t operand) const;

  const abi::Manifest &manifest;
  const abi::Plan *const plan;          ///< Null: weights are mapped.
  std::vector<uint32_t> bundleOf;       ///< By weight; kNone: of none.
  std::map<uint32_t, uint32_t> pagesOf; ///< By layer whose pages move: bundle.
  std::vector<Violation> found;
};

} // namespace headrace::plancheck

#endif // HEADRACE_TOOLS_PLANCHECK_CHECKER_H
