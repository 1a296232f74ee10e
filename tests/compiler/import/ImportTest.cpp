// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Whole checkpoints: all bundled ones import, verify and survive printing;
// damaged ones give one line.
#include "compiler/import/Import.h"

#include "compiler/import/Synth.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tests/compiler/import/Files.h"
#include "llvm/ADT/STLExtras.h"

using namespace headrace;
using namespace headrace::test;
using namespace mlir;

namespace {

using Module = OwningOpRef<ModuleOp>;

std::string print(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream);
  return text;
}

Module import(MLIRContext &context, StringRef directory) {
  llvm::Expected<Module> module = importCheckpoint(directory, context);
  if (module)
    return std::move(*module);
  ADD_FAILURE() << directory.str() << ": "
                << llvm::toString(module.takeError());
  return {};
}

template <typename Op> int count(Module &module) {
  int result = 0;
  module->walk([&](Op) { ++result; });
  return result;
}

std::string bundled(StringRef name) {
  return (StringRef(HEADRACE_TEST_DATA) + "/families/" + name).str();
}

TEST(Import, EveryBundledCheckpoint) {
  std::error_code code;
  int checkpoints = 0;
  for (llvm::sys::fs::directory_iterator
           it(StringRef(HEADRACE_TEST_DATA) + "/families", code),
       end;
       it != end && !code; it.increment(code)) {
    SCOPED_TRACE(it->path());
    MLIRContext context;
    Module module = import(context, it->path());
    ASSERT_TRUE(module);
    std::string text = print(*module);
    Module again = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(again);
    EXPECT_EQ(print(*again), text);
    ++checkpoints;
  }
  EXPECT_GE(checkpoints, 22);
}

TEST(Import, ModuleAttributes) {
  MLIRContext context;
  Module module = import(context, bundled("llama-f32"));
  ASSERT_TRUE(module);
  llvm::SmallString<128> path;
  ASSERT_FALSE(llvm::sys::fs::real_path(bundled("llama-f32"), path));
  EXPECT_EQ(
      module.get()->getAttrOfType<StringAttr>("headrace.checkpoint").getValue(),
      path.str());
  auto model = module.get()->getAttrOfType<DictionaryAttr>("headrace.model");
  Attribute want = parseAttribute(
      R"({name = "llama-f32", family = "llama", vocabulary = 256 : i64,
          max_context = 256 : i64, eos = [252, 254], bos = 250 : i64})",
      &context);
  EXPECT_EQ(model, want);

  module = import(context, bundled("olmoe-f32"));
  model = module.get()->getAttrOfType<DictionaryAttr>("headrace.model");
  EXPECT_FALSE(model.get("bos"));

  llvm::Expected<Module> named =
      importCheckpoint(bundled("llama-f32"), context, {"other"});
  ASSERT_TRUE(bool(named));
  model = named->get()->getAttrOfType<DictionaryAttr>("headrace.model");
  EXPECT_EQ(cast<StringAttr>(model.get("name")).getValue(), "other");
}

TEST(Import, Signature) {
  MLIRContext context;
  Module module = import(context, bundled("qwen3_moe-bf16"));
  ASSERT_TRUE(module);
  auto function = module->lookupSymbol<func::FuncOp>("forward");
  ASSERT_TRUE(function);
  StringRef roles[] = {"tokens", "positions", "sequences", "output_rows"};
  for (auto [i, role] : llvm::enumerate(roles))
    EXPECT_EQ(
        function.getArgAttrOfType<StringAttr>(i, "headrace.role").getValue(),
        role);
  auto cache = cast<nn::KvCacheType>(function.getArgumentTypes()[4]);
  EXPECT_EQ(cache, function.getResultTypes()[1]);
  EXPECT_EQ(cache.getLayers(), 3);
  EXPECT_EQ(cache.getHeads(), 1);
  EXPECT_EQ(cache.getHeadDim(), 20);
  EXPECT_TRUE(cache.getElement().isBF16());
  // The uses stand together at the head.
  bool head = true;
  for (Operation &op : function.getBody().front()) {
    EXPECT_TRUE(head || !isa<tier::UseOp>(op));
    head &= isa<tier::UseOp>(op);
  }
}

TEST(Import, StackedExperts) {
  MLIRContext context;
  Module module = import(context, bundled("qwen3_moe-bf16"));
  ASSERT_TRUE(module);
  auto weight = module->lookupSymbol<tier::WeightOp>(
      "model.layers.0.mlp.experts.gate_proj");
  ASSERT_TRUE(weight);
  EXPECT_EQ(weight.getType(), parseType("tensor<9x12x64xbf16>", &context));
  llvm::Expected<Checkpoint> checkpoint =
      Checkpoint::open(bundled("qwen3_moe-bf16"));
  ASSERT_TRUE(bool(checkpoint));
  ASSERT_EQ(weight.getSource().size(), 9u);
  for (auto [i, attribute] : llvm::enumerate(weight.getSource())) {
    auto range = cast<tier::RangeAttr>(attribute);
    const TensorInfo *info =
        checkpoint->find("model.layers.0.mlp.experts." + std::to_string(i) +
                         ".gate_proj.weight");
    EXPECT_EQ(range.getFile(), info->file);
    EXPECT_EQ(range.getOffset(), info->offset);
    EXPECT_EQ(range.getBytes(), info->bytes);
  }
  EXPECT_TRUE(
      module->lookupSymbol<tier::WeightOp>("model.layers.0.self_attn.q_norm"));
}

/// All experts in one tensor, input channels first, gate and up in turn.
TEST(Import, TransposedExperts) {
  MLIRContext context;
  Module module = import(context, bundled("gpt_oss-bf16"));
  ASSERT_TRUE(module);
  llvm::Expected<Checkpoint> checkpoint =
      Checkpoint::open(bundled("gpt_oss-bf16"));
  ASSERT_TRUE(bool(checkpoint));
  std::string experts = "model.layers.1.mlp.experts.";
  auto rangeOf = [&](StringRef name) {
    auto weight = module->lookupSymbol<tier::WeightOp>(experts + name.str());
    EXPECT_TRUE(weight) << name.str();
    EXPECT_EQ(weight.getSource().size(), 1u);
    return cast<tier::RangeAttr>(weight.getSource()[0]);
  };
  auto check = [&](StringRef name, StringRef tensor, uint64_t first,
                   ArrayRef<uint64_t> shape, ArrayRef<uint64_t> strides) {
    const TensorInfo *info = checkpoint->find(experts + tensor.str());
    ASSERT_TRUE(info) << tensor.str();
    tier::RangeAttr range = rangeOf(name);
    EXPECT_EQ(range.getOffset(), info->offset + first) << name.str();
    EXPECT_EQ(range.getShape(), shape) << name.str();
    EXPECT_EQ(range.getStrides(), strides) << name.str();
    EXPECT_LE(range.getOffset() + range.getExtent(),
              info->offset + info->bytes);
  };
  // 8 experts, 64 input channels, 24 of each kind.
  check("gate_proj", "gate_up_proj", 0, {8, 24, 64}, {6144, 4, 96});
  check("up_proj", "gate_up_proj", 2, {8, 24, 64}, {6144, 4, 96});
  check("down_proj", "down_proj", 0, {8, 64, 24}, {3072, 2, 128});
  check("gate_proj_bias", "gate_up_proj_bias", 0, {8, 24}, {96, 4});
  check("up_proj_bias", "gate_up_proj_bias", 2, {8, 24}, {96, 4});
  check("down_proj_bias", "down_proj_bias", 0, {8, 64}, {128, 2});
  EXPECT_EQ(count<nn::AttentionOp>(module), 4);
  module->walk([](nn::AttentionOp op) {
    EXPECT_TRUE(op.getSinks());
    EXPECT_EQ(op.getWindow().has_value(), op.getLayer() % 2 == 0);
  });
  module->walk([](moe::WeighOp op) {
    EXPECT_EQ(op.getNorm(), moe::WeighNorm::softmax);
    EXPECT_EQ(op.getValue(),
              op.getSelection().getDefiningOp<moe::SelectOp>().getChoice());
  });
  module->walk([](nn::GluOp op) {
    EXPECT_EQ(op.getAlpha()->convertToDouble(), 1.702);
    EXPECT_EQ(op.getLimit()->convertToDouble(), 1.25);
    EXPECT_EQ(op.getOffset()->convertToDouble(), 1.0);
  });
}

/// Which products round their input.
TEST(Import, InputsOfProducts) {
  MLIRContext context;
  for (StringRef name : {"mixtral-bf16", "mixtral-f32", "llama-f16"}) {
    Module module = import(context, bundled(name));
    ASSERT_TRUE(module);
    bool bf16 = name.ends_with("bf16");
    int routers = 0;
    module->walk([&](nn::LinearOp op) {
      bool router =
          llvm::any_of(op.getResult().getUsers(), [](Operation *user) {
            return isa<moe::SquashOp>(user);
          });
      routers += router;
      EXPECT_EQ(op.getInputs().has_value(), bf16 && !router) << name.str();
    });
    EXPECT_EQ(routers, name.starts_with("mixtral") ? 2 : 0);
  }
}

TEST(Import, FamilyShapes) {
  MLIRContext context;
  Module olmoe = import(context, bundled("olmoe-f32"));
  // Two layers: queries, keys and values are clamped after their norms.
  EXPECT_EQ(count<nn::ClampOp>(olmoe), 6);
  olmoe->walk(
      [](nn::ClampOp op) { EXPECT_EQ(op.getHigh().convertToDouble(), 1.25); });
  EXPECT_EQ(count<nn::NormOp>(olmoe), 2 * 4 + 1);
  olmoe->walk(
      [](moe::WeighOp op) { EXPECT_EQ(op.getNorm(), moe::WeighNorm::none); });
  Module mixtral = import(context, bundled("mixtral-f32"));
  EXPECT_EQ(count<moe::ExpertsOp>(mixtral), 2);
  mixtral->walk(
      [](moe::WeighOp op) { EXPECT_EQ(op.getNorm(), moe::WeighNorm::sum); });
  // Layers 0 and 2 of 4 are dense; the others have a shared expert.
  Module qwen = import(context, bundled("qwen2_moe-bf16"));
  EXPECT_EQ(count<moe::ExpertsOp>(qwen), 2);
  EXPECT_EQ(count<nn::ScaleOp>(qwen), 2);
  qwen->walk([](moe::CombineOp op) { EXPECT_EQ(op.getBase().size(), 2u); });
  // Per-head norms.
  Module qwen3 = import(context, bundled("qwen3-bf16"));
  int grouped = 0;
  qwen3->walk([&](nn::NormOp op) { grouped += op.getGroups() > 1; });
  EXPECT_EQ(grouped, 3 * 2);
  // Windows from layer 1 on.
  Module qwen2 = import(context, bundled("qwen2-bf16"));
  qwen2->walk([](nn::AttentionOp op) {
    EXPECT_EQ(op.getWindow(),
              op.getLayer() == 0 ? std::nullopt : std::optional<uint64_t>(20));
  });
  // Tied: the embedding is the last product's weight.
  Module tied = import(context, bundled("qwen3-f32"));
  EXPECT_FALSE(tied->lookupSymbol("lm_head"));
  auto function = tied->lookupSymbol<func::FuncOp>("forward");
  auto last = function.getBody()
                  .front()
                  .getTerminator()
                  ->getOperand(0)
                  .getDefiningOp<nn::LinearOp>();
  EXPECT_EQ(last.getWeight().getDefiningOp<tier::UseOp>().getWeight(),
            "model.embed_tokens");
}

/// A copy of a synthetic checkpoint whose header or config one test changes.
class Damaged : public testing::Test {
protected:
  void SetUp() override { make("tiny-llama", DType::F32); }
  void make(StringRef shape, DType dtype) {
    SynthOptions options;
    options.dtype = dtype;
    llvm::sys::fs::remove_directories(dir.file("m"));
    ASSERT_EQ(errorOf(synthesizeCheckpoint(shape, dir.file("m"), options)), "");
  }
  /// Replaces text in a file; the length stays the same in the header.
  void replace(StringRef file, StringRef from, StringRef to) {
    std::string name = ("m/" + file).str(), bytes = dir.read(name);
    size_t at = bytes.find(from.str());
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at, from.size(), to.str());
    dir.write(name, bytes);
  }
  /// The message behind the directory, which comes first.
  std::string error() {
    MLIRContext context;
    std::string message = errorOf(importCheckpoint(dir.file("m"), context));
    expectOneLine(message);
    StringRef rest = message;
    EXPECT_TRUE(rest.consume_front(dir.file("m") + ": ")) << message;
    return rest.str();
  }
  TempDir dir;
};

constexpr llvm::StringLiteral weights = "model.safetensors";

TEST_F(Damaged, MissingTensor) {
  replace(weights, "layers.1.mlp.up_proj", "layers.1.mlp.up_XXXX");
  EXPECT_EQ(error(), "tensor 'model.layers.1.mlp.up_proj.weight' is missing "
                     "from the checkpoint");
}

TEST_F(Damaged, ExtraTensor) {
  replace("config.json", "\"num_hidden_layers\": 2",
          "\"num_hidden_layers\": 1");
  EXPECT_EQ(error(),
            "model.safetensors: tensor 'model.layers.1.input_layernorm.weight' "
            "has no place in a llama model of this config.json");
}

TEST_F(Damaged, InverseFrequenciesAreIgnored) {
  std::string bytes = dir.read("m/model.safetensors");
  uint64_t length = llvm::support::endian::read64le(bytes.data());
  std::string header = StringRef(bytes).substr(8, length).rtrim().str();
  std::string data = bytes.substr(8 + length);
  header.pop_back();
  header +=
      (",\"model.layers.0.self_attn.rotary_emb.inv_freq\":{\"dtype\":"
       "\"F32\",\"shape\":[1],\"data_offsets\":[" +
       llvm::Twine(data.size()) + "," + llvm::Twine(data.size() + 4) + "]}}")
          .str();
  dir.write("m/model.safetensors",
            safetensors(header, 0) + data + std::string(4, '\0'));
  MLIRContext context;
  EXPECT_EQ(errorOf(importCheckpoint(dir.file("m"), context)), "");
}

TEST_F(Damaged, WrongShape) {
  replace("config.json", "\"intermediate_size\": 96",
          "\"intermediate_size\": 48");
  EXPECT_EQ(error(),
            "model.safetensors: tensor 'model.layers.0.mlp.gate_proj.weight' "
            "has shape [96, 64], but config.json asks for [48, 64]");
}

TEST_F(Damaged, WrongDType) {
  replace("config.json", "float32", "bfloat16");
  EXPECT_EQ(error(),
            "model.safetensors: tensor 'model.embed_tokens.weight' has dtype "
            "F32, but that of the checkpoint is BF16");
  make("tiny-llama", DType::F32);
  replace(weights, "\"F32\"", "\"I32\"");
  EXPECT_EQ(error(),
            "model.safetensors: tensor 'model.embed_tokens.weight' has dtype "
            "I32, which is not supported; F32, F16 and BF16 are");
}

TEST_F(Damaged, TiedEmbeddings) {
  // The same number of bytes under the name of the head, but others.
  replace("config.json", "\"tie_word_embeddings\": false",
          "\"tie_word_embeddings\": true");
  EXPECT_EQ(error(), "model.safetensors: tensor 'lm_head.weight' differs from "
                     "'model.embed_tokens.weight', but config.json ties them");
  // A head that repeats the embedding is fine.
  llvm::Expected<Checkpoint> checkpoint = Checkpoint::open(dir.file("m"));
  ASSERT_TRUE(bool(checkpoint));
  const TensorInfo *head = checkpoint->find("lm_head.weight");
  const TensorInfo *table = checkpoint->find("model.embed_tokens.weight");
  std::string bytes = dir.read("m/model.safetensors");
  bytes.replace(head->offset, head->bytes,
                bytes.substr(table->offset, table->bytes));
  dir.write("m/model.safetensors", bytes);
  MLIRContext context;
  EXPECT_EQ(errorOf(importCheckpoint(dir.file("m"), context)), "");
}

TEST_F(Damaged, MissingExpert) {
  make("tiny-mixtral", DType::BF16);
  replace("config.json", "\"num_local_experts\": 4",
          "\"num_local_experts\": 5");
  EXPECT_EQ(error(),
            "model.safetensors: tensor "
            "'model.layers.0.block_sparse_moe.gate.weight' has shape [4, 64], "
            "but config.json asks for [5, 64]");
}

TEST_F(Damaged, NoDirectory) {
  MLIRContext context;
  std::string path = dir.file("absent");
  EXPECT_EQ(errorOf(importCheckpoint(path, context)),
            path + ": cannot be read: No such file or directory");
  EXPECT_EQ(errorOf(importCheckpoint(dir.path(), context)),
            dir.path().str() +
                ": config.json: cannot be read: No such file or directory");
}

/// A quantized checkpoint, of which one tensor or key is wrong.
struct DamagedFp8 : Damaged {
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::create_directories(dir.file("m")));
    for (StringRef file :
         {"config.json", "generation_config.json", "model.safetensors"})
      ASSERT_FALSE(
          llvm::sys::fs::copy_file(bundled("qwen3_moe-fp8") + "/" + file,
                                   dir.file(("m/" + file).str())));
  }
};

TEST_F(DamagedFp8, AsItIs) {
  MLIRContext context;
  EXPECT_EQ(errorOf(importCheckpoint(dir.file("m"), context)), "");
}

TEST_F(DamagedFp8, ModuleIsNotListed) {
  replace("config.json", "model.layers.1.self_attn.o_proj",
          "model.layers.1.self_attn.x_proj");
  EXPECT_EQ(
      error(),
      "model.safetensors: tensor 'model.layers.1.self_attn.o_proj.weight' "
      "has dtype BF16, but a module that is not in "
      "'modules_to_not_convert' has F8_E4M3");
}

TEST_F(DamagedFp8, ModuleIsListed) {
  replace("config.json", "model.layers.1.self_attn.o_proj",
          "model.layers.0.self_attn.o_proj");
  EXPECT_EQ(
      error(),
      "model.safetensors: tensor 'model.layers.0.self_attn.o_proj.weight' "
      "has dtype F8_E4M3, but that of the checkpoint is BF16");
}

TEST_F(DamagedFp8, Scales) {
  replace(weights, "layers.1.mlp.up_proj.weight_scale_inv",
          "layers.1.mlp.up_proj.weight_scale_XXX");
  EXPECT_EQ(error(), "tensor 'model.layers.1.mlp.up_proj.weight_scale_inv' is "
                     "missing from the checkpoint");
}

TEST_F(DamagedFp8, BlocksOfAnotherSize) {
  std::string config = dir.read("m/config.json");
  size_t at = config.find("128");
  ASSERT_NE(at, std::string::npos);
  dir.write("m/config.json", config.replace(at, 3, "64"));
  EXPECT_EQ(error(),
            "model.safetensors: tensor "
            "'model.layers.0.self_attn.q_proj.weight_scale_inv' has shape "
            "[2, 2], but config.json asks for [3, 2]");
}

TEST_F(DamagedFp8, NoQuantizationAtAll) {
  std::string config = dir.read("m/config.json");
  size_t at = config.find("\"quantization_config\"");
  ASSERT_NE(at, std::string::npos);
  size_t end = config.find("},", at);
  dir.write("m/config.json", config.erase(at, end + 2 - at));
  EXPECT_EQ(
      error(),
      "model.safetensors: tensor 'model.layers.0.self_attn.q_proj.weight' "
      "has dtype F8_E4M3, which is not supported; F32, F16 and BF16 are");
}

/// A flipped byte of the header is refused or changes nothing but a name that
/// nobody needs; it never crashes.
TEST_F(Damaged, FlippedHeaderBytes) {
  std::string bytes = dir.read("m/model.safetensors");
  for (size_t at = 0; at < 600; ++at) {
    std::string flipped = bytes;
    flipped[at] ^= 1 << (at % 8);
    llvm::Expected<std::vector<TensorInfo>> result =
        parseSafetensorsHeader(flipped, flipped.size(), "f");
    if (!result)
      expectOneLine(llvm::toString(result.takeError()));
  }
}

} // namespace
