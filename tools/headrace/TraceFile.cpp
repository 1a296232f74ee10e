// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Trace events as JSON: processes "measured" and "predicted", a row for the
// kernels, one for the waits and one for each link.
#include "tools/headrace/TraceFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <map>

using namespace headrace;
using namespace headrace::tools;

namespace {

enum Process { kMeasured = 1, kPredicted = 2 };
enum Row { kPasses = 1, kKernels, kWaits, kRouting, kFirstLink };

class Writer {
public:
  explicit Writer(llvm::raw_ostream &out) : json(out) {
    json.objectBegin();
    json.attribute("displayTimeUnit", "ms");
    json.attributeBegin("traceEvents");
    json.arrayBegin();
  }
  ~Writer() {
    json.arrayEnd();
    json.attributeEnd();
    json.objectEnd();
  }

  void nameProcess(Process process, llvm::StringRef name) {
    metadata("process_name", process, 0, name);
  }
  void nameRow(Process process, int row, llvm::StringRef name) {
    metadata("thread_name", process, row, name);
  }

  /// A bar. Times are in microseconds.
  void bar(Process process, int row, llvm::StringRef name, double begin,
           double duration,
           llvm::function_ref<void(llvm::json::OStream &)> arguments) {
    json.object([&] {
      json.attribute("name", name);
      json.attribute("ph", "X");
      json.attribute("pid", int(process));
      json.attribute("tid", row);
      json.attribute("ts", begin);
      json.attribute("dur", duration);
      json.attributeObject("args", [&] { arguments(json); });
    });
  }

private:
  void metadata(const char *what, Process process, int row,
                llvm::StringRef name) {
    json.object([&] {
      json.attribute("name", what);
      json.attribute("ph", "M");
      json.attribute("pid", int(process));
      json.attribute("tid", row);
      json.attributeObject("args", [&] { json.attribute("name", name); });
    });
  }
  llvm::json::OStream json;
};

void writePredicted(Writer &out, const simulate::Simulation &step,
                    double begin) {
  out.nameProcess(kPredicted, "predicted on " + step.machine);
  for (size_t i = 0; i < step.lanes.size(); ++i)
    out.nameRow(kPredicted, int(i) + 1, step.lanes[i]);
  for (const simulate::Bar &bar : step.bars)
    out.bar(kPredicted, int(bar.lane) + 1, bar.name, begin + bar.begin * 1e6,
            (bar.end - bar.begin) * 1e6, [&](llvm::json::OStream &json) {
              json.attribute("bytes", bar.bytes);
            });
}

} // namespace

void TraceFile::take(void *self, const headrace_trace_event_t *event) {
  Event copy;
  copy.kind = event->kind;
  copy.index = event->index;
  copy.name = event->name;
  copy.link = event->link;
  copy.beginNs = event->begin_ns;
  copy.endNs = event->end_ns;
  copy.bytes = event->bytes;
  if (event->active)
    copy.active.assign(event->active, event->active + event->active_count);
  static_cast<TraceFile *>(self)->all.push_back(std::move(copy));
}

llvm::Error TraceFile::write(const std::string &path,
                             const simulate::Simulation *predicted) const {
  uint64_t origin = UINT64_MAX, lastPass = 0;
  std::map<std::string, int> rows;
  for (const Event &event : all) {
    origin = std::min(origin, event.beginNs);
    if (event.kind == HEADRACE_TRACE_PASS)
      lastPass = std::max(lastPass, event.beginNs);
    if (event.kind == HEADRACE_TRACE_TRANSFER)
      rows.try_emplace(event.link, kFirstLink + int(rows.size()));
  }
  auto at = [&](uint64_t ns) { return double(ns - origin) * 1e-3; };
  auto print = [&](llvm::raw_ostream &stream) -> llvm::Error {
    Writer out(stream);
    out.nameProcess(kMeasured, "measured");
    out.nameRow(kMeasured, kPasses, "passes");
    out.nameRow(kMeasured, kKernels, "kernels");
    out.nameRow(kMeasured, kWaits, "waits");
    out.nameRow(kMeasured, kRouting, "routing");
    for (const auto &[link, row] : rows)
      out.nameRow(kMeasured, row, link);
    for (const Event &event : all) {
      static constexpr int kRows[] = {kPasses, kKernels, 0,
                                      kWaits,  kRouting, kRouting};
      if (event.kind >= std::size(kRows))
        continue; // of a newer library
      int row = event.kind == HEADRACE_TRACE_TRANSFER ? rows[event.link]
                                                      : kRows[event.kind];
      out.bar(kMeasured, row, event.name, at(event.beginNs),
              double(event.endNs - event.beginNs) * 1e-3,
              [&](llvm::json::OStream &json) {
                if (event.kind == HEADRACE_TRACE_LAUNCH)
                  json.attribute("launch", event.index);
                if (event.kind == HEADRACE_TRACE_TRANSFER)
                  json.attribute("bytes", int64_t(event.bytes));
                if (event.kind == HEADRACE_TRACE_ROUTED ||
                    event.kind == HEADRACE_TRACE_PREDICTED)
                  json.attributeArray(event.kind == HEADRACE_TRACE_ROUTED
                                          ? "experts"
                                          : "predicted",
                                      [&] {
                                        for (int32_t expert : event.active)
                                          json.value(expert);
                                      });
              });
    }
    if (predicted && lastPass)
      writePredicted(out, *predicted, at(lastPass));
    return llvm::Error::success();
  };
  return llvm::writeToOutput(path, print);
}
