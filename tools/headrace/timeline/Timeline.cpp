// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A simulated step as a page to look at.
#include "tools/headrace/timeline/Timeline.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace headrace;
using namespace headrace::simulate;
using namespace headrace::tools;

namespace {

constexpr llvm::StringRef kPage =
#include "tools/headrace/timeline/page.inc"
    ;
/// Where the page wants its data.
constexpr llvm::StringRef kPlace = "/*DATA*/";

/// `qkv.3` and `qkv.4` are bars of one colour.
llvm::StringRef family(llvm::StringRef name) {
  return name.rtrim("0123456789").rtrim("_.");
}

std::string toJson(const Simulation &simulation) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out);
  json.object([&] {
    json.attribute("model", simulation.model);
    json.attribute("machine", simulation.machine);
    json.attribute("what", simulation.what);
    json.attribute("tokens", int64_t(simulation.tokens));
    json.attribute("seconds", simulation.seconds);
    json.attribute("stalled", simulation.stalled);
    json.attribute("hits", int64_t(simulation.hits));
    json.attribute("misses", int64_t(simulation.misses));
    json.attributeArray("missing", [&] {
      for (const std::string &one : simulation.missing)
        json.value(one);
    });
    json.attributeArray("lanes", [&] {
      for (size_t i = 0; i < simulation.lanes.size(); ++i)
        json.object([&] {
          json.attribute("name", simulation.lanes[i]);
          json.attribute("bytes", simulation.laneBytes[i]);
        });
    });
    json.attributeArray("bars", [&] {
      for (const Bar &bar : simulation.bars)
        json.array([&] {
          json.value(int64_t(bar.lane));
          json.value(bar.begin);
          json.value(bar.end);
          json.value(bar.name);
          json.value(bar.detail);
          json.value(bar.kind == Bar::Kind::kernel     ? family(bar.name)
                     : bar.kind == Bar::Kind::transfer ? "transfer"
                                                       : "waiting");
          json.value(bar.bytes);
          json.value(bar.operations);
        });
    });
    json.attributeArray("levels", [&] {
      for (const Occupancy &level : simulation.occupancy)
        json.object([&] {
          json.attribute("name", level.level);
          json.attribute("capacity", double(level.capacity));
          json.attribute("peak", double(level.peak()));
          json.attributeArray("parts", [&] {
            for (const std::string &part : level.parts)
              json.value(part);
          });
          json.attributeArray("points", [&] {
            for (const Occupancy::Point &point : level.points)
              json.array([&] {
                json.value(point.time);
                for (uint64_t bytes : point.bytes)
                  json.value(double(bytes));
              });
          });
        });
    });
  });
  // A name may hold "</script>", which would end the page's script.
  std::string safe;
  for (char c : text)
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  return safe;
}

} // namespace

llvm::Error tools::writeTimeline(const Simulation &simulation,
                                 const std::string &path) {
  const std::pair<llvm::StringRef, llvm::StringRef> around =
      kPage.split(kPlace);
  std::string data = toJson(simulation);
  llvm::Error error = llvm::writeToOutput(path, [&](llvm::raw_ostream &out) {
    out << around.first << data << around.second;
    return llvm::Error::success();
  });
  if (!error)
    return error;
  return llvm::createStringError(
      path + ": cannot be written: " + llvm::toString(std::move(error)));
}
