// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reader and comparison of goldens.
#include "tests/compiler/reference/Goldens.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <algorithm>
#include <cmath>
#include <limits>

namespace headrace::testing {

static llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
readFile(llvm::StringRef directory, llvm::StringRef name) {
  llvm::SmallString<256> path(directory);
  llvm::sys::path::append(path, name);
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return llvm::createStringError("cannot read '" + path +
                                   "': " + buffer.getError().message());
  return std::move(*buffer);
}

/// The values of a version 1 file of little-endian float32 in C order, and its
/// shape.
static llvm::Expected<std::vector<float>> readNpy(llvm::StringRef directory,
                                                  llvm::StringRef name,
                                                  std::vector<int64_t> &shape) {
  auto buffer = readFile(directory, name);
  if (!buffer)
    return buffer.takeError();
  llvm::StringRef rest = (*buffer)->getBuffer();
  auto bad = [&](const char *what) {
    return llvm::createStringError("'" + directory + "/" + name + "' " + what);
  };
  if (!rest.consume_front(llvm::StringRef("\x93NUMPY\x01\x00", 8)) ||
      rest.size() < 2)
    return bad("is not a version 1 npy file");
  size_t length = llvm::support::endian::read16le(rest.data());
  if (rest.size() < 2 + length)
    return bad("ends in its header");
  llvm::StringRef header = rest.substr(2, length);
  rest = rest.drop_front(2 + length);
  if (!header.contains("'descr': '<f4'") ||
      !header.contains("'fortran_order': False"))
    return bad("does not hold float32 in C order");
  llvm::StringRef dims = header.split("'shape': (").second.split(')').first;
  size_t count = 1;
  for (llvm::StringRef dim : llvm::split(dims, ',')) {
    int64_t size;
    if (dim.trim().empty())
      continue;
    if (dim.trim().getAsInteger(10, size) || size < 0)
      return bad("has a shape that cannot be read");
    shape.push_back(size);
    count *= size_t(size);
  }
  if (rest.size() != count * sizeof(float))
    return bad("has not as many bytes as its shape says");
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = llvm::bit_cast<float>(
        llvm::support::endian::read32le(rest.data() + i * sizeof(float)));
  return values;
}

static bool readIds(const llvm::json::Object &object, llvm::StringRef key,
                    std::vector<int32_t> &ids) {
  const llvm::json::Array *array = object.getArray(key);
  if (!array)
    return false;
  for (const llvm::json::Value &value : *array) {
    std::optional<int64_t> id = value.getAsInteger();
    if (!id)
      return false;
    ids.push_back(int32_t(*id));
  }
  return true;
}

std::vector<int32_t> Golden::tokens() const {
  std::vector<int32_t> all = prompt;
  all.insert(all.end(), continuation.begin(), continuation.end());
  return all;
}

double Golden::closeness() const {
  return llvm::StringRef(name).ends_with("-f32") ? 2e-4 : 3e-2;
}

llvm::Expected<Golden> readGolden(llvm::StringRef directory) {
  Golden golden;
  golden.name = llvm::sys::path::filename(directory).str();
  auto buffer = readFile(directory, "golden.json");
  if (!buffer)
    return buffer.takeError();
  llvm::Expected<llvm::json::Value> json =
      llvm::json::parse((*buffer)->getBuffer());
  if (!json)
    return json.takeError();
  const llvm::json::Object *object = json->getAsObject();
  std::optional<double> deviation, bound;
  if (object) {
    deviation = object->getNumber("logits_std");
    bound = object->getNumber("router_margin_bound");
  }
  if (!deviation || !bound || !readIds(*object, "prompt", golden.prompt) ||
      !readIds(*object, "continuation", golden.continuation))
    return llvm::createStringError("'" + directory +
                                   "/golden.json' lacks a value");
  golden.logitsStd = *deviation;
  golden.routerMarginBound = *bound;
  std::vector<int64_t> shape, margins, top2;
  struct File {
    const char *name;
    std::vector<float> &values;
    std::vector<int64_t> &shape;
  } files[] = {{"golden_logits.npy", golden.logits, shape},
               {"golden_router_margin.npy", golden.routerMargin, margins},
               {"golden_top2_margin.npy", golden.top2Margin, top2}};
  for (File &file : files) {
    llvm::Expected<std::vector<float>> values =
        readNpy(directory, file.name, file.shape);
    if (!values)
      return values.takeError();
    file.values = std::move(*values);
  }
  int64_t count = int64_t(golden.tokens().size());
  if (shape.size() != 2 || shape[0] != count ||
      margins != std::vector<int64_t>{count} || top2 != margins)
    return llvm::createStringError("the goldens in '" + directory +
                                   "' do not have a row for each token");
  golden.vocabulary = shape[1];
  return golden;
}

std::vector<std::string> listGoldens(llvm::StringRef families) {
  std::vector<std::string> directories;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(families, error), end;
       !error && it != end; it.increment(error))
    if (llvm::sys::fs::exists(it->path() + "/golden.json"))
      directories.push_back(it->path());
  std::sort(directories.begin(), directories.end());
  return directories;
}

/// The index of the largest of `count` logits; the lower one of equals.
static int64_t best(const float *logits, int64_t count) {
  return std::max_element(logits, logits + count) - logits;
}

std::vector<std::string> listNarrowGoldens(llvm::StringRef families) {
  std::vector<std::string> found = listGoldens(families);
  llvm::erase_if(found,
                 [](llvm::StringRef name) { return name.ends_with("-f32"); });
  return found;
}

std::string testNameOf(llvm::StringRef directory) {
  std::string name = llvm::sys::path::filename(directory).str();
  for (char &c : name)
    if (!llvm::isAlnum(c))
      c = '_';
  return name;
}

GoldenReport compareWithGolden(const Golden &golden,
                               llvm::ArrayRef<float> logits, double bound) {
  GoldenReport report;
  if (logits.size() != golden.logits.size()) {
    report.text =
        llvm::formatv("{0}: expected {1} logits, but got {2}", golden.name,
                      golden.logits.size(), logits.size());
    return report;
  }
  double squares = 0;
  for (int64_t row = 0; row < golden.positions(); ++row) {
    if (golden.routerMargin[row] < golden.routerMarginBound) {
      ++report.leftOut;
      continue;
    }
    ++report.compared;
    const float *want = golden.logits.data() + row * golden.vocabulary;
    const float *have = logits.data() + row * golden.vocabulary;
    for (int64_t c = 0; c < golden.vocabulary; ++c) {
      double error = std::fabs(double(have[c]) - double(want[c]));
      if (std::isnan(error))
        error = std::numeric_limits<double>::infinity();
      error /= golden.logitsStd;
      squares += error * error;
      if (error > report.maxError) {
        report.maxError = error;
        report.worst = row;
      }
    }
    double apart = std::min(bound, golden.closeness()) * golden.logitsStd;
    if (golden.top2Margin[row] > apart) {
      ++report.decided;
      if (best(have, golden.vocabulary) != best(want, golden.vocabulary))
        ++report.differ;
    }
  }
  report.rmsError =
      std::sqrt(squares / double(std::max<int64_t>(report.compared, 1) *
                                 golden.vocabulary));
  bool fewLeftOut = report.leftOut * 20 <= golden.positions();
  report.ok = report.compared > 0 && report.maxError <= bound && fewLeftOut &&
              report.differ == 0;
  report.text = llvm::formatv(
      "{0}: max error {1:e2} of the deviation (bound {2:e2}) at position {3}, "
      "rms {4:e2}; {5} positions left out of {6}; greedy choice differs at "
      "{7} of {8}{9}",
      golden.name, report.maxError, bound, report.worst, report.rmsError,
      report.leftOut, golden.positions(), report.differ, report.decided,
      report.ok ? "" : "  FAILED");
  return report;
}

} // namespace headrace::testing
