// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times a whole model, through its package and the C API.
#include "runtime/abi/kernel_abi.h"
#include "tools/headrace/Compile.h"
#include "tools/headrace/Runtime.h"
#include "tools/headrace/bench/Benches.h"
#include "tools/headrace/bench/Random.h"
#include "tools/headrace/bench/TempDirectory.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <algorithm>
#include <cmath>

using namespace headrace;
using namespace headrace::tools;
using namespace headrace::tools::bench;

namespace {

/// What a step of the model reads and multiplies, from what its package says.
struct Volume {
  double fixedBytes = 0;       ///< Weights that every step reads.
  double expertBytes = 0;      ///< Those of all experts.
  double rowBytes = 0;         ///< Of the embedding, for each token.
  double rowOperations = 0;    ///< For each token.
  double outputOperations = 0; ///< For each row of logits.
  double positionBytes = 0;    ///< Of the cache, for each position read.
  double experts = 1, slots = 1;

  /// Experts read by one token are known; of several, all may be drawn.
  Work step(double tokens, double positions) const {
    double drawn = std::min(1.0, tokens * slots / experts);
    return {fixedBytes + drawn * expertBytes + tokens * rowBytes +
                positions * positionBytes,
            tokens * rowOperations + outputOperations};
  }
};

struct WeightSize {
  llvm::SmallVector<double> dimensions;
  double elementBytes = 0;
  /// Of an encoded weight: the size of a block with one scale, and its bytes.
  double blockRows = 0, blockColumns = 0, scaleBytes = 0;

  double elements() const {
    double product = 1;
    for (double d : dimensions)
      product *= d;
    return product;
  }
  double bytes() const {
    double scales = 0;
    if (size_t rank = dimensions.size(); scaleBytes > 0 && rank >= 2) {
      double out = dimensions[rank - 2], in = dimensions[rank - 1];
      scales = elements() / (out * in) * std::ceil(out / blockRows) *
               std::ceil(in / blockColumns) * scaleBytes;
    }
    return elements() * elementBytes + scales;
  }
};

class ModelRun {
public:
  ModelRun(std::string path, unsigned threads)
      : path(std::move(path)), threads(threads) {}

  llvm::Error open();
  llvm::Error step(llvm::ArrayRef<int32_t> tokens);
  llvm::Error truncate(int64_t length) {
    return check(headrace_sequence_truncate(sequence.get(), uint32_t(length)));
  }
  int64_t length() const { return headrace_sequence_length(sequence.get()); }
  const headrace_package_info_t &info() const { return about; }
  llvm::Expected<Volume> volume() const;

private:
  llvm::Error check(headrace_status_t status) const {
    return toError(status, path);
  }
  llvm::Expected<double> stackOf(uint32_t weight, llvm::StringRef stack) const;
  llvm::Expected<WeightSize> sizeOf(uint32_t weight) const;
  llvm::Error addLaunch(uint32_t entry, uint32_t launch, Volume &volume) const;

  std::string path;
  unsigned threads;
  Instance instance;
  Device device;
  Package package;
  Session session;
  Sequence sequence;
  headrace_package_info_t about = {};
};

llvm::Error ModelRun::open() {
  if (llvm::Error error = makeInstance(instance))
    return error;
  auto deviceOptions = sized<headrace_cpu_device_options_t>();
  deviceOptions.thread_count = threads;
  if (llvm::Error error = check(make(device, [&](headrace_device_t **out) {
        return headrace_device_create_cpu(instance.get(), &deviceOptions, out);
      })))
    return error;
  if (llvm::Error error = check(make(package, [&](headrace_package_t **out) {
        return headrace_package_open(instance.get(), path.c_str(), nullptr,
                                     out);
      })))
    return error;
  about = sized<headrace_package_info_t>();
  if (llvm::Error error = check(headrace_package_info(package.get(), &about)))
    return error;
  auto sessionOptions = sized<headrace_session_options_t>();
  sessionOptions.max_sequences = 1;
  if (llvm::Error error = check(make(session, [&](headrace_session_t **out) {
        return headrace_session_create(device.get(), package.get(),
                                       &sessionOptions, out);
      })))
    return error;
  return check(make(sequence, [&](headrace_sequence_t **out) {
    return headrace_sequence_create(session.get(), out);
  }));
}

llvm::Error ModelRun::step(llvm::ArrayRef<int32_t> tokens) {
  headrace_step_item_t item = {sequence.get(), tokens.data(), tokens.size(),
                               HEADRACE_LOGITS_LAST};
  auto options = sized<headrace_step_options_t>();
  options.item_size = sizeof(item);
  options.items = &item;
  options.item_count = 1;
  return check(headrace_session_step(session.get(), &options, nullptr));
}

/// Slots of the stacked weight that begins with slot `weight` named `NAME[0]`.
llvm::Expected<double> ModelRun::stackOf(uint32_t weight,
                                         llvm::StringRef stack) const {
  double slots = 0;
  for (uint32_t next = weight; next < about.weight_count; ++next, ++slots) {
    auto of = sized<headrace_weight_info_t>();
    if (llvm::Error error =
            check(headrace_package_weight(package.get(), next, &of)))
      return std::move(error);
    llvm::StringRef name = of.name;
    if (!name.consume_front(stack) ||
        name != "[" + std::to_string(next - weight) + "]")
      break;
  }
  return slots;
}

/// Reads `tensor<2048x1024xbf16, ...>`; of a stacked weight the number of its
/// matrices comes first.
llvm::Expected<WeightSize> ModelRun::sizeOf(uint32_t weight) const {
  auto of = sized<headrace_weight_info_t>();
  if (llvm::Error error =
          check(headrace_package_weight(package.get(), weight, &of)))
    return std::move(error);
  WeightSize size;
  llvm::StringRef text = of.type;
  bool good = text.consume_front("tensor<");
  uint64_t dimension;
  while (!text.consumeInteger(10, dimension)) {
    size.dimensions.push_back(double(dimension));
    good &= text.consume_front("x");
  }
  size.elementBytes = text.starts_with("f32")                               ? 4
                      : text.starts_with("bf16") || text.starts_with("f16") ? 2
                      : text.starts_with("f8E4M3FN")                        ? 1
                      : text.starts_with("f4E2M1FN") ? 0.5
                                                     : 0;
  // Scales: rows = R, columns = C, scale = T.
  if (size_t at = text.find("#tier.scaled<"); at != text.npos) {
    auto number = [&](llvm::StringRef key) {
      uint64_t value = 0;
      llvm::StringRef rest =
          text.substr(text.find(key, at)).drop_front(key.size());
      good &= !rest.consumeInteger(10, value) && value > 0;
      return double(std::max<uint64_t>(value, 1));
    };
    size.blockRows = number("rows = ");
    size.blockColumns = number("columns = ");
    size.scaleBytes = text.contains("scale = f32")    ? 4
                      : text.contains("scale = bf16") ? 2
                                                      : 1;
  }
  if (!good || size.dimensions.empty() || size.elementBytes == 0)
    return llvm::createStringError(
        "%s: weight '%s' has type %s, whose bytes are not known", path.c_str(),
        of.name, of.type);
  if (llvm::StringRef stack = of.name; stack.consume_back("[0]")) {
    auto slots = stackOf(weight, stack);
    if (!slots)
      return slots.takeError();
    size.dimensions.insert(size.dimensions.begin(), *slots);
  }
  return size;
}

llvm::Error ModelRun::addLaunch(uint32_t entry, uint32_t launch,
                                Volume &volume) const {
  auto of = sized<headrace_launch_info_t>();
  auto kernel = sized<headrace_kernel_info_t>();
  if (llvm::Error error =
          check(headrace_package_launch(package.get(), entry, launch, &of)))
    return error;
  if (llvm::Error error =
          check(headrace_package_kernel(package.get(), of.kernel, &kernel)))
    return error;
  if (of.grid_kind == HEADRACE_GRID_PER_ROUTED) {
    volume.slots = double(of.grid_block);
    volume.experts = double(of.grid_limit);
  }
  bool makesLogits = false;
  for (uint32_t i = 0; i < of.buffer_count; ++i) {
    auto buffer = sized<headrace_buffer_info_t>();
    if (llvm::Error error = check(
            headrace_package_buffer(package.get(), of.buffers[i], &buffer)))
      return error;
    makesLogits |= llvm::StringRef(buffer.role) == HEADRACE_ROLE_LOGITS;
  }
  for (uint32_t i = 0; i < of.weight_count; ++i) {
    auto size = sizeOf(of.weights[i]);
    if (!size)
      return size.takeError();
    double bytes = size->bytes();
    bool perExpert = size->dimensions.size() == 3;
    if (llvm::StringRef(kernel.family) == "embed") {
      volume.rowBytes += size->dimensions.back() * size->elementBytes;
      continue;
    }
    (perExpert ? volume.expertBytes : volume.fixedBytes) += bytes;
    if (size->dimensions.size() == 1)
      continue; // A norm or a bias.
    double used = perExpert ? volume.slots / volume.experts : 1;
    (makesLogits ? volume.outputOperations : volume.rowOperations) +=
        2 * used * size->elements();
  }
  return llvm::Error::success();
}

llvm::Expected<Volume> ModelRun::volume() const {
  uint32_t index = 0;
  if (llvm::Error error =
          check(headrace_package_find_entry(package.get(), "forward", &index)))
    return std::move(error);
  auto entry = sized<headrace_entry_info_t>();
  if (llvm::Error error =
          check(headrace_package_entry(package.get(), index, &entry)))
    return std::move(error);
  Volume volume;
  for (uint32_t launch = 0; launch < entry.launch_count; ++launch)
    if (llvm::Error error = addLaunch(index, launch, volume))
      return std::move(error);
  double element = about.kv_element_type == HEADRACE_ELEMENT_F32 ? 4 : 2;
  volume.positionBytes =
      2.0 * about.kv_layers * about.kv_heads * about.kv_head_dim * element;
  return volume;
}

class ModelBench {
public:
  ModelBench(const ModelBenchOptions &options, Report &report)
      : options(options), report(report), random(options.seed) {}

  llvm::Error run();

private:
  llvm::Error compile();
  llvm::Error checkLimits(const ModelRun &model) const;
  llvm::Error start();
  llvm::Error prefill(ModelRun &model);
  llvm::Error decode(ModelRun &model, int64_t context);
  void add(const char *what, int64_t tokens, int64_t context, Work work,
           const Measurements &found);

  std::vector<int32_t> draw(int64_t count) {
    std::vector<int32_t> tokens(static_cast<size_t>(count));
    for (int32_t &token : tokens)
      token = int32_t(random.below(vocabulary));
    return tokens;
  }

  const ModelBenchOptions &options;
  Report &report;
  Random random;
  std::unique_ptr<TempDirectory> directory;
  std::unique_ptr<MachineProbe> probe;
  std::string package, name;
  uint64_t vocabulary = 1;
  Volume volume;
};

/// A checkpoint becomes a package in a temporary directory.
llvm::Error ModelBench::compile() {
  uint64_t bytes = 0;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator at(options.model, error), end;
       !error && at != end; at.increment(error))
    if (llvm::StringRef(at->path()).ends_with(".safetensors")) {
      uint64_t size = 0;
      if (!llvm::sys::fs::file_size(at->path(), size))
        bytes += size;
    }
  auto made = TempDirectory::create(bytes * 5 / 4 + (64 << 20));
  if (!made)
    return made.takeError();
  directory = std::move(*made);
  CompileRequest request;
  request.checkpoint = options.model;
  request.output = package = directory->file("model.headrace");
  request.cpu = options.cpu;
  request.maxSequences = 1;
  int64_t most = options.prefill;
  for (int64_t context : options.contexts)
    most = std::max(most, context);
  request.maxContext = most;
  if (llvm::Error failure = headrace::tools::compile(request))
    return failure;
  flushFile(package);
  return llvm::Error::success();
}

llvm::Error ModelBench::checkLimits(const ModelRun &model) const {
  int64_t most = model.info().max_context;
  if (model.info().vocabulary == 0)
    return llvm::createStringError("%s: is no language model",
                                   options.model.c_str());
  for (int64_t context : options.contexts) {
    if (context > most)
      return llvm::createStringError(
          "%s: a context of %lld was asked for, but it has %lld",
          options.model.c_str(), (long long)context, (long long)most);
    if (context <= options.decodeTokens)
      return llvm::createStringError(
          "a context of %lld has no room for %lld steps and a token before "
          "them",
          (long long)context, (long long)options.decodeTokens);
  }
  if (options.prefill > most)
    return llvm::createStringError(
        "%s: a prefill of %lld was asked for, but its context is %lld",
        options.model.c_str(), (long long)options.prefill, (long long)most);
  return llvm::Error::success();
}

/// From nothing to the first token, less what a token takes by itself.
llvm::Error ModelBench::start() {
  std::vector<double> times;
  for (int i = 0; i < options.repeats; ++i) {
    std::vector<int32_t> token = draw(1);
    double begin = now();
    ModelRun model(package, options.threads);
    if (llvm::Error error = model.open())
      return error;
    if (llvm::Error error = model.step(token))
      return error;
    double whole = now() - begin;
    std::vector<double> own;
    for (int j = 0; j < 5; ++j) {
      if (llvm::Error error = model.truncate(0))
        return error;
      double from = now();
      if (llvm::Error error = model.step(token))
        return error;
      own.push_back(now() - from);
    }
    times.push_back(whole - medianOf(own));
  }
  Measurement m;
  m.state = "page cache warm";
  m.median = medianOf(times);
  m.least = *std::min_element(times.begin(), times.end());
  m.most = *std::max_element(times.begin(), times.end());
  m.repeats = options.repeats;
  Measurements all;
  all.states.push_back(m);
  add("start-up", 1, 0, {}, all);
  return llvm::Error::success();
}

void ModelBench::add(const char *what, int64_t tokens, int64_t context,
                     Work work, const Measurements &found) {
  Result result;
  result.shape = name;
  result.what = what;
  result.tokens = tokens;
  result.context = context;
  result.bytes = work.bytes;
  result.operations = work.operations;
  report.add(result, found);
}

llvm::Error ModelBench::prefill(ModelRun &model) {
  Work work = volume.step(double(options.prefill), 0);
  std::vector<int32_t> tokens;
  auto prepare = [&] {
    tokens = draw(options.prefill);
    return model.truncate(0);
  };
  auto call = [&](double &seconds) -> llvm::Expected<Work> {
    double begin = now();
    if (llvm::Error error = model.step(tokens))
      return std::move(error);
    seconds = now() - begin;
    return work;
  };
  // Once unmeasured: it brings the weights of all experts into the mapping.
  if (llvm::Error error = prepare())
    return error;
  if (llvm::Error error = model.step(tokens))
    return error;
  auto found =
      measure(*probe, "timing the prefill", options.repeats, prepare, call);
  if (!found)
    return found.takeError();
  add("prefill", options.prefill, 0, work, *found);
  return llvm::Error::success();
}

/// Steps of one token that end at `context`.
llvm::Error ModelBench::decode(ModelRun &model, int64_t context) {
  int64_t base = context - options.decodeTokens;
  if (int64_t length = model.length(); length > base) {
    if (llvm::Error error = model.truncate(base))
      return error;
  } else if (length < base) {
    if (llvm::Error error = model.step(draw(base - length)))
      return error;
  }
  std::vector<int32_t> token;
  auto prepare = [&]() -> llvm::Error {
    token = draw(1);
    if (model.length() == context)
      return model.truncate(base);
    return llvm::Error::success();
  };
  auto call = [&](double &seconds) -> llvm::Expected<Work> {
    Work work = volume.step(1, double(model.length() + 1));
    double begin = now();
    if (llvm::Error error = model.step(token))
      return std::move(error);
    seconds = now() - begin;
    return work;
  };
  auto found = measure(*probe, "timing steps at " + std::to_string(context),
                       int(options.decodeTokens), prepare, call);
  if (!found)
    return found.takeError();
  add("decode", 1, context,
      volume.step(1, double(base) + double(options.decodeTokens) / 2), *found);
  return llvm::Error::success();
}

llvm::Error ModelBench::run() {
  name = llvm::sys::path::filename(options.model).str();
  if (llvm::sys::fs::is_directory(options.model)) {
    if (llvm::Error error = compile())
      return error;
  } else {
    package = options.model;
  }
  ModelRun model(package, options.threads);
  if (llvm::Error error = model.open())
    return error;
  if (llvm::Error error = checkLimits(model))
    return error;
  vocabulary = model.info().vocabulary;
  auto sizes = model.volume();
  if (!sizes)
    return sizes.takeError();
  volume = *sizes;
  // Opens the file again, so it comes before the file may go.
  if (llvm::Error error = start())
    return error;
  if (directory)
    directory->remove();

  auto made = MachineProbe::create(options.threads);
  if (!made)
    return made.takeError();
  probe = std::move(*made);
  if (options.prefill)
    if (llvm::Error error = prefill(model))
      return error;
  for (int64_t context : options.contexts)
    if (llvm::Error error = decode(model, context))
      return error;
  report.setProbe(*probe);
  report.note("bytes of a step: weights with k of E experts, and the cache; "
              "operations: products with weights, attention not counted");
  return llvm::Error::success();
}

} // namespace

llvm::Error headrace::tools::bench::benchModel(const ModelBenchOptions &options,
                                               Report &report) {
  return ModelBench(options, report).run();
}
