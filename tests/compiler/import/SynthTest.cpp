// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Synthetic checkpoints: whole or absent, and the same each time.
#include "compiler/import/Synth.h"

#include "compiler/import/Config.h"
#include "tests/compiler/import/Files.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <csignal>
#include <cstring>
#include <sys/resource.h>

using namespace headrace;
using namespace headrace::test;

namespace {

std::vector<std::string> filesOf(llvm::StringRef directory) {
  std::vector<std::string> names;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(directory, code), end;
       it != end && !code; it.increment(code))
    names.push_back(llvm::sys::path::filename(it->path()).str());
  llvm::sort(names);
  return names;
}

TEST(Synth, EveryTinyShapeCanBeOpened) {
  TempDir dir;
  for (llvm::StringRef shape : synthShapes()) {
    if (!shape.starts_with("tiny-"))
      continue;
    std::string path = dir.file(shape);
    EXPECT_EQ(errorOf(synthesizeCheckpoint(shape, path)), "");
    EXPECT_EQ(errorOf(readModelConfig(path)), "") << shape.str();
    EXPECT_EQ(errorOf(Checkpoint::open(path)), "") << shape.str();
  }
}

TEST(Synth, BytesDependOnTheSeedOnly) {
  TempDir dir;
  SynthOptions options;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-olmoe", dir.file("a"))), "");
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-olmoe", dir.file("b"))), "");
  options.seed = 1;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-olmoe", dir.file("c"), options)),
            "");
  std::string a = dir.read("a/model.safetensors");
  EXPECT_EQ(a, dir.read("b/model.safetensors"));
  EXPECT_EQ(a.size(), dir.read("c/model.safetensors").size());
  EXPECT_NE(a, dir.read("c/model.safetensors"));
}

/// The elements of a tensor of 4-byte floats.
std::vector<float> floatsOf(const TempDir &dir, llvm::StringRef directory,
                            llvm::StringRef tensor) {
  llvm::Expected<Checkpoint> checkpoint = Checkpoint::open(dir.file(directory));
  EXPECT_TRUE(bool(checkpoint));
  const TensorInfo *info = checkpoint->find(tensor);
  std::string bytes = dir.read((directory + "/" + info->file).str())
                          .substr(info->offset, info->bytes);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST(Synth, WeightsAreNormalAndNormsAreOne) {
  TempDir dir;
  SynthOptions options;
  options.dtype = DType::F32;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-llama", dir.file("a"), options)),
            "");
  std::vector<float> values = floatsOf(dir, "a", "model.embed_tokens.weight");
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  ASSERT_EQ(values.size(), 256u * 64);
  EXPECT_NEAR(sum / values.size(), 0.0, 0.01);
  EXPECT_NEAR(std::sqrt(squares / values.size()), 1.0 / 8, 0.005);
  for (float value : floatsOf(dir, "a", "model.norm.weight"))
    EXPECT_EQ(value, 1.0f);

  // Narrow types hold the same numbers, rounded to nearest.
  options.dtype = DType::F16;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-llama", dir.file("h"), options)),
            "");
  llvm::Expected<Checkpoint> half = Checkpoint::open(dir.file("h"));
  ASSERT_TRUE(bool(half));
  const TensorInfo *info = half->find("model.embed_tokens.weight");
  std::string bytes = dir.read("h/model.safetensors");
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits =
        llvm::support::endian::read16le(bytes.data() + info->offset + 2 * i);
    int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    double value = exponent ? std::ldexp(1024 + mantissa, exponent - 25)
                            : std::ldexp(mantissa, -24);
    if (bits >> 15)
      value = -value;
    double ulp = std::ldexp(1.0, std::max(exponent, 1) - 25);
    ASSERT_LE(std::fabs(value - values[i]), ulp / 2) << i;
  }
}

TEST(Synth, QuantizedCheckpointsCanBeOpened) {
  TempDir dir;
  for (llvm::StringRef shape : synthShapes()) {
    if (!shape.starts_with("tiny-"))
      continue;
    SynthOptions options;
    bool gptOss = shape == "tiny-gpt-oss";
    options.encoding = gptOss ? SynthEncoding::MXFP4 : SynthEncoding::FP8;
    std::string path = dir.file(shape);
    EXPECT_EQ(errorOf(synthesizeCheckpoint(shape, path, options)), "");
    llvm::Expected<ModelConfig> config = readModelConfig(path);
    ASSERT_TRUE(bool(config)) << errorOf(std::move(config));
    EXPECT_TRUE(config->has(gptOss ? QuantizationConfig::Method::Mxfp4
                                   : QuantizationConfig::Method::Fp8));
    EXPECT_EQ(errorOf(Checkpoint::open(path)), "");
    options.encoding = gptOss ? SynthEncoding::FP8 : SynthEncoding::MXFP4;
    std::string error =
        errorOf(synthesizeCheckpoint(shape, dir.file("b"), options));
    EXPECT_NE(error.find("is not quantized to"), std::string::npos) << error;
  }
  SynthOptions options;
  options.encoding = SynthEncoding::FP8;
  options.dtype = DType::F32;
  EXPECT_EQ(errorOf(synthesizeCheckpoint("tiny-olmoe", dir.file("b"), options)),
            "a checkpoint of F32 cannot be quantized; one of BF16 can");
}

/// Elements times scales have the deviation that unquantized weights have,
/// within a factor of two.
TEST(Synth, QuantizedWeightsAreAsLarge) {
  TempDir dir;
  SynthOptions options;
  options.encoding = SynthEncoding::FP8;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-llama", dir.file("a"), options)),
            "");
  llvm::Expected<Checkpoint> checkpoint = Checkpoint::open(dir.file("a"));
  ASSERT_TRUE(bool(checkpoint));
  const TensorInfo *codes =
      checkpoint->find("model.layers.0.mlp.up_proj.weight");
  const TensorInfo *scales =
      checkpoint->find("model.layers.0.mlp.up_proj.weight_scale_inv");
  ASSERT_TRUE(codes && scales);
  EXPECT_EQ(codes->dtype, DType::F8E4M3);
  EXPECT_EQ(scales->dtype, DType::F32);
  std::string bytes = dir.read("a/model.safetensors");
  float scale;
  std::memcpy(&scale, bytes.data() + scales->offset, sizeof(scale));
  double squares = 0;
  for (uint64_t i = 0; i < codes->bytes; ++i) {
    auto code = uint8_t(bytes[codes->offset + i]);
    int exponent = code >> 3 & 15, fraction = code & 7;
    double value = exponent ? std::ldexp(8 + fraction, exponent - 10)
                            : std::ldexp(fraction, -9);
    squares += value * value * double(scale) * double(scale);
  }
  double deviation = std::sqrt(squares / double(codes->bytes));
  EXPECT_GT(deviation, 0.5 / 8);
  EXPECT_LT(deviation, 2.0 / 8);
}

TEST(Synth, ShardsHoldTheSameTensors) {
  TempDir dir;
  SynthOptions options;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-mixtral", dir.file("a"))), "");
  options.shardBytes = 60'000;
  ASSERT_EQ(
      errorOf(synthesizeCheckpoint("tiny-mixtral", dir.file("b"), options)),
      "");
  std::vector<std::string> files = filesOf(dir.file("b"));
  ASSERT_GE(files.size(), 6u);
  EXPECT_EQ(files[2].substr(0, 15), "model-00001-of-");
  llvm::Expected<Checkpoint> a = Checkpoint::open(dir.file("a"));
  llvm::Expected<Checkpoint> b = Checkpoint::open(dir.file("b"));
  ASSERT_TRUE(a && b) << errorOf(std::move(b));
  ASSERT_EQ(a->tensors().size(), b->tensors().size());
  for (auto [x, y] : llvm::zip(a->tensors(), b->tensors())) {
    EXPECT_EQ(x.name, y.name);
    EXPECT_EQ(dir.read("a/" + x.file).substr(x.offset, x.bytes),
              dir.read("b/" + y.file).substr(y.offset, y.bytes))
        << x.name;
  }
}

TEST(Synth, Overrides) {
  TempDir dir;
  SynthOptions options;
  options.layers = 3;
  options.experts = 2;
  ASSERT_EQ(errorOf(synthesizeCheckpoint("tiny-olmoe", dir.file("a"), options)),
            "");
  llvm::Expected<ModelConfig> config = readModelConfig(dir.file("a"));
  ASSERT_TRUE(bool(config));
  EXPECT_EQ(config->layers.size(), 3u);
  EXPECT_EQ(config->experts, 2);
  EXPECT_EQ(config->expertsPerToken, 2);
}

TEST(Synth, Refuses) {
  TempDir dir;
  std::string path = dir.file("a");
  auto error = [&](llvm::StringRef shape, const SynthOptions &options) {
    std::string message = errorOf(synthesizeCheckpoint(shape, path, options));
    expectOneLine(message);
    EXPECT_FALSE(llvm::sys::fs::exists(path));
    return message;
  };
  SynthOptions options;
  EXPECT_EQ(llvm::StringRef(error("huge", options)).substr(0, 30),
            "shape 'huge' is not known; kno");
  options.experts = 4;
  EXPECT_EQ(error("tiny-llama", options), "shape 'tiny-llama' has no experts");
  options.experts = 0;
  EXPECT_EQ(error("tiny-olmoe", options),
            "shape 'tiny-olmoe': lacks 'num_experts'");
  options.experts.reset();
  options.layers = 0;
  EXPECT_EQ(error("tiny-olmoe", options),
            "shape 'tiny-olmoe': expected 'num_hidden_layers' to be an integer "
            "from 1 to 4096, but got 0");
  options.layers.reset();
  options.dtype = DType::I64;
  EXPECT_EQ(error("tiny-olmoe", options),
            "a checkpoint of I64 cannot be made; F32, F16 and BF16 can");
  // 4096 layers of Mixtral are 11 TB.
  options.dtype = DType::BF16;
  options.layers = 4096;
  EXPECT_NE(error("mixtral-8x7b", options).find(" bytes of disk, but "),
            std::string::npos);
  options.experts = 65536;
  EXPECT_NE(error("mixtral-8x7b", options).find("too many tensors"),
            std::string::npos);
}

TEST(Synth, LeavesOtherFilesAlone) {
  TempDir dir;
  dir.write("f", "mine");
  EXPECT_EQ(errorOf(synthesizeCheckpoint("tiny-llama", dir.path())),
            (dir.path() + ": exists and is not empty").str());
  EXPECT_EQ(errorOf(synthesizeCheckpoint("tiny-llama", dir.file("f"))),
            dir.file("f") + ": exists and is not a directory");
  EXPECT_EQ(filesOf(dir.path()), (std::vector<std::string>{"f"}));
  ASSERT_FALSE(llvm::sys::fs::create_directory(dir.file("empty")));
  EXPECT_EQ(errorOf(synthesizeCheckpoint("tiny-llama", dir.file("empty"))), "");
}

TEST(Synth, AFailedWriteLeavesNothing) {
  TempDir dir;
  // Writing past the limit fails like a full disk.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 50'000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string error =
      errorOf(synthesizeCheckpoint("tiny-llama", dir.file("a")));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  expectOneLine(error);
  EXPECT_NE(error.find("cannot be written: File too large"), std::string::npos)
      << error;
  EXPECT_TRUE(filesOf(dir.path()).empty());
}

} // namespace
