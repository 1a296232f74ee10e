// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Suite file: reading lines of words.
#include "tools/gpu-suite/suite_file.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace headrace::suite {

std::string SuiteEntry::Text(const std::string &key) const {
  auto found = values.find(key);
  return found == values.end() ? std::string() : found->second;
}

int64_t SuiteEntry::Number(const std::string &key, int64_t otherwise) const {
  auto found = values.find(key);
  return found == values.end() ? otherwise : std::atoll(found->second.c_str());
}

double SuiteEntry::Real(const std::string &key, double otherwise) const {
  auto found = values.find(key);
  return found == values.end() ? otherwise : std::atof(found->second.c_str());
}

std::vector<int64_t> SuiteEntry::Numbers(const std::string &key) const {
  std::vector<int64_t> numbers;
  std::istringstream text(Text(key));
  for (std::string part; std::getline(text, part, ',');)
    numbers.push_back(std::atoll(part.c_str()));
  return numbers;
}

const SynthTensor *WeightPlan::Find(const std::string &name) const {
  for (const SynthTensor &tensor : tensors)
    if (tensor.name == name)
      return &tensor;
  return nullptr;
}

/// "24x64@4x160": a shape and its strides.
static bool ReadView(const std::string &text, SlotSource::Range *out) {
  std::vector<uint64_t> *list = &out->shape;
  const char *at = text.c_str();
  while (true) {
    char *end = nullptr;
    list->push_back(std::strtoull(at, &end, 10));
    if (end == at)
      return false;
    if (*end == '\0')
      return list == &out->strides && out->shape.size() == out->strides.size();
    if (*end == '@' && list == &out->shape)
      list = &out->strides;
    else if (*end != 'x')
      return false;
    at = end + 1;
  }
}

Failure ReadSuite(const std::string &directory, std::vector<SuiteEntry> *out) {
  const std::string path = directory + "/suite.txt";
  std::ifstream file(path);
  if (!file)
    return path + ": cannot be read";
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    SuiteEntry entry;
    if (!(words >> entry.kind) || entry.kind[0] == '#')
      continue;
    if (entry.kind != "layer" && entry.kind != "model")
      return path + ": unknown kind '" + entry.kind + "'";
    for (std::string word; words >> word;) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos)
        return path + ": expected key=value, but got '" + word + "'";
      entry.values[word.substr(0, equals)] = word.substr(equals + 1);
    }
    for (const char *key : {"name", "file", "weights"})
      if (entry.Text(key).empty())
        return path + ": a " + entry.kind + " without '" + key + "'";
    out->push_back(std::move(entry));
  }
  if (out->empty())
    return path + ": no packages";
  return Failure();
}

/// How a plan calls the ways to store a tensor.
static bool ReadStored(const std::string &name, Stored *out) {
  static const std::pair<const char *, Stored> kNames[] = {
      {"bf16", Stored::kBf16},
      {"fp8", Stored::kFp8},
      {"fp8-scales", Stored::kFp8Scales},
      {"mxfp4", Stored::kMxfp4},
      {"mxfp4-scales", Stored::kMxfp4Scales}};
  for (const auto &[known, stored] : kNames)
    if (name == known) {
      *out = stored;
      return true;
    }
  return false;
}

Failure ReadWeightPlan(const std::string &path, WeightPlan *out) {
  std::ifstream file(path);
  if (!file)
    return path + ": cannot be read";
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const Failure wrong = path + ": line " + std::to_string(number) +
                          " is neither a tensor nor a weight";
    // Types have spaces, so fields are separated by tabs.
    std::istringstream text(line);
    std::vector<std::string> fields;
    for (std::string field; std::getline(text, field, '\t');)
      fields.push_back(field);
    auto unsigned_at = [&](size_t i) {
      return std::strtoull(fields[i].c_str(), nullptr, 10);
    };
    if (fields.size() == 7 && fields[0] == "tensor") {
      SynthTensor tensor = {fields[1],      fields[2],      unsigned_at(3),
                            unsigned_at(4), unsigned_at(5), Stored::kBf16};
      if (!ReadStored(fields[6], &tensor.stored))
        return wrong;
      out->tensors.push_back(std::move(tensor));
    } else if (fields.size() >= 7 && fields.size() % 4 == 3 &&
               fields[0] == "weight") {
      SlotSource weight;
      weight.weight = fields[1];
      weight.type = fields[2];
      for (size_t i = 3; i < fields.size(); i += 4) {
        weight.ranges.push_back(
            {fields[i], unsigned_at(i + 1), unsigned_at(i + 2), {}, {}});
        if (fields[i + 3] != "-" &&
            !ReadView(fields[i + 3], &weight.ranges.back()))
          return wrong;
      }
      out->weights.push_back(std::move(weight));
    } else {
      return wrong;
    }
  }
  std::sort(out->tensors.begin(), out->tensors.end(),
            [](const SynthTensor &a, const SynthTensor &b) {
              return std::tie(a.file, a.offset) < std::tie(b.file, b.offset);
            });
  return Failure();
}

} // namespace headrace::suite
