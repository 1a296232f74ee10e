// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times one layer against what the machine could do.
#include "tools/headrace/Compile.h"
#include "tools/headrace/Runtime.h"
#include "tools/headrace/bench/Benches.h"
#include "tools/headrace/bench/Random.h"
#include "tools/headrace/bench/TempDirectory.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>
#include <cstdlib>

using namespace headrace;
using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

constexpr double kMostError = 1e-2;
/// How long the workers are given to come back from the roused product, and to
/// get past the wake itself; well below the time they spin for.
constexpr double kSettle = 50e-6;

/// Floats at an address that the runtime takes in place.
struct Buffer {
  explicit Buffer(size_t count)
      : bytes((count * 4 + 63) / 64 * 64),
        data(static_cast<float *>(std::aligned_alloc(64, bytes))) {}
  ~Buffer() { std::free(data); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  uint64_t bytes;
  float *data;
};

/// The layer as the runtime has it.
class LayerRun {
public:
  LayerRun(const Layer &layer, unsigned threads, int64_t maxTokens)
      : layer(layer), threads(threads),
        x(size_t(maxTokens * layer.shape().hidden)),
        y(size_t(maxTokens * layer.shape().hidden)),
        wakeIn(size_t(Layer::kWakeIn)), wakeOut(size_t(Layer::kWakeOut)) {
    std::fill_n(wakeIn.data, Layer::kWakeIn, 1.0f);
  }

  llvm::Error open(const std::string &path) {
    package = path;
    if (llvm::Error error = makeInstance(instance))
      return error;
    auto deviceOptions = sized<headrace_cpu_device_options_t>();
    deviceOptions.thread_count = threads;
    auto step = [&](headrace_status_t status) {
      return toError(status, package);
    };
    if (llvm::Error error = step(make(device, [&](headrace_device_t **out) {
          return headrace_device_create_cpu(instance.get(), &deviceOptions,
                                            out);
        })))
      return error;
    if (llvm::Error error = step(make(file, [&](headrace_package_t **out) {
          return headrace_package_open(instance.get(), path.c_str(), nullptr,
                                       out);
        })))
      return error;
    if (llvm::Error error = step(make(session, [&](headrace_session_t **out) {
          return headrace_session_create(device.get(), file.get(), nullptr,
                                         out);
        })))
      return error;
    if (llvm::Error error =
            step(headrace_package_find_entry(file.get(), "layer", &entry)))
      return error;
    return step(headrace_package_find_entry(file.get(), "wake", &wakeEntry));
  }

  void fillInput(Random &random, int64_t tokens) {
    for (int64_t i = 0; i < tokens * layer.shape().hidden; ++i)
      x.data[i] = random.normal();
  }
  const float *input() const { return x.data; }
  const float *output() const { return y.data; }

  llvm::Error run(int64_t tokens) {
    uint64_t bytes = uint64_t(tokens * layer.shape().hidden) * 4;
    return invoke(entry, tokens, x.data, bytes, y.data, bytes);
  }

  /// The workers sleep while the machine is measured. In a model they come from
  /// another launch, awake.
  llvm::Error wake() {
    if (llvm::Error error = invoke(wakeEntry, 1, wakeIn.data, wakeIn.bytes,
                                   wakeOut.data, wakeOut.bytes))
      return error;
    for (double end = now() + kSettle; now() < end;)
      __builtin_ia32_pause();
    return llvm::Error::success();
  }

private:
  llvm::Error invoke(uint32_t which, int64_t tokens, const float *in,
                     uint64_t inBytes, float *out, uint64_t outBytes) {
    auto options = sized<headrace_invoke_options_t>();
    const void *inputs[] = {in};
    void *outputs[] = {out};
    options.entry = which;
    options.tokens = uint32_t(tokens);
    options.inputs = inputs;
    options.input_bytes = &inBytes;
    options.input_count = 1;
    options.outputs_data = outputs;
    options.output_bytes = &outBytes;
    options.output_count = 1;
    return toError(headrace_session_invoke(session.get(), &options), package);
  }

  const Layer &layer;
  unsigned threads;
  Buffer x, y, wakeIn, wakeOut;
  std::string package;
  Instance instance;
  Device device;
  Package file;
  Session session;
  uint32_t entry = 0, wakeEntry = 0;
};

} // namespace

static int64_t countExperts(const std::vector<std::vector<int32_t>> &rows) {
  llvm::DenseSet<int32_t> seen;
  for (const std::vector<int32_t> &row : rows)
    seen.insert(row.begin(), row.end());
  return int64_t(seen.size());
}

llvm::Error headrace::tools::bench::benchLayer(const LayerBenchOptions &options,
                                               Report &report) {
  const LayerShape &shape = options.shape;
  // Enough rows that a few calls before the first timed one reach every expert.
  int64_t maxTokens = 512;
  for (int64_t tokens : options.tokens)
    maxTokens = std::max(maxTokens, tokens);

  Layer layer(shape);
  // The weights as written and as packed, and room for padding and code.
  auto directory =
      TempDirectory::create(layer.fileBytes() * 5 / 2 + (64 << 20));
  if (!directory)
    return directory.takeError();
  if (llvm::Error error =
          layer.writeWeights((*directory)->file("weights.bin"), options.seed))
    return error;
  CompileRequest request;
  request.moduleText = layer.moduleText("weights.bin");
  request.modulePath = "the layer's module";
  request.weights = (*directory)->path();
  request.output = (*directory)->file("layer.headrace");
  request.cpu = options.cpu;
  request.maxTokens = maxTokens;
  if (llvm::Error error = headrace::tools::compile(request))
    return error;
  flushFile(request.output);

  LayerRun run(layer, options.threads, maxTokens);
  if (llvm::Error error = run.open(request.output))
    return error;
  // What is mapped stays; nothing is left behind from here on.
  (*directory)->remove();

  // Before anything is timed: is it right, and is every weight in memory?
  Random random(options.seed + 1);
  double error = 0;
  llvm::DenseSet<int32_t> touched;
  std::vector<int64_t> sizes = options.tokens;
  sizes.push_back(maxTokens);
  for (int64_t tokens : sizes) {
    run.fillInput(random, tokens);
    if (llvm::Error failure = run.run(tokens))
      return failure;
    auto found = layer.check(run.input(), run.output(), tokens, 3);
    if (!found)
      return found.takeError();
    if (!(*found <= kMostError))
      return llvm::createStringError(
          "%s, %lld tokens: the result is wrong: relative error %.3g, at most "
          "%.3g is right",
          shape.title().c_str(), (long long)tokens, *found, kMostError);
    error = std::max(error, *found);
  }
  for (int call = 0; call < 8 && int64_t(touched.size()) < shape.experts;
       ++call) {
    run.fillInput(random, maxTokens);
    if (llvm::Error failure = run.run(maxTokens))
      return failure;
    for (const auto &row : layer.route(run.input(), maxTokens))
      touched.insert(row.begin(), row.end());
  }
  layer.release();

  auto probe = MachineProbe::create(options.threads);
  if (!probe)
    return probe.takeError();
  for (int64_t tokens : options.tokens) {
    Work work;
    std::vector<double> bytes;
    auto prepare = [&]() -> llvm::Error {
      run.fillInput(random, tokens);
      int64_t experts = countExperts(layer.route(run.input(), tokens));
      work.bytes = double(experts) * shape.expertBytes() + shape.routerBytes();
      work.operations = shape.operations(tokens);
      bytes.push_back(work.bytes);
      return llvm::Error::success();
    };
    auto call = [&](double &seconds) -> llvm::Expected<Work> {
      if (llvm::Error failure = run.wake())
        return std::move(failure);
      double begin = now();
      if (llvm::Error failure = run.run(tokens))
        return std::move(failure);
      seconds = now() - begin;
      return work;
    };
    auto found =
        measure(**probe, "timing " + std::to_string(tokens) + " tokens",
                options.repeats, prepare, call);
    if (!found)
      return found.takeError();
    Result result;
    result.shape = shape.title();
    result.what = "layer";
    result.tokens = tokens;
    result.bytes = medianOf(bytes);
    result.operations = shape.operations(tokens);
    result.error = error;
    report.add(result, *found);
  }
  report.setProbe(**probe);
  if (std::string note = shape.note(); !note.empty())
    report.note(note);
  report.note(llvm::formatv("checked against the reference: relative error of "
                            "what the experts add {0:F5}",
                            error));
  return llvm::Error::success();
}
