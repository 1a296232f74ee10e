// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads config.json and generation_config.json into a plain description of the
// model, or says which key is in the way.
#include "compiler/import/Config.h"

#include "compiler/import/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include <cmath>

using namespace llvm;

namespace headrace {

namespace {

/// What the published code of a family fixes.
struct FamilyTraits {
  StringRef modelType;
  Family family;
  StringRef architecture;
  bool sparse = false;
  QkNorm qkNorm = QkNorm::None;
  double defaultTheta = 10000.0;
};

constexpr FamilyTraits families[] = {
    {"mixtral", Family::Mixtral, "MixtralForCausalLM", true, QkNorm::None, 1e6},
    {"olmoe", Family::Olmoe, "OlmoeForCausalLM", true, QkNorm::FullWidth},
    {"qwen2_moe", Family::Qwen2Moe, "Qwen2MoeForCausalLM", true},
    {"qwen3_moe", Family::Qwen3Moe, "Qwen3MoeForCausalLM", true,
     QkNorm::PerHead},
    {"gpt_oss", Family::GptOss, "GptOssForCausalLM", true, QkNorm::None,
     150000.0},
    {"llama", Family::Llama, "LlamaForCausalLM"},
    {"mistral", Family::Mistral, "MistralForCausalLM"},
    {"qwen2", Family::Qwen2, "Qwen2ForCausalLM"},
    {"qwen3", Family::Qwen3, "Qwen3ForCausalLM", false, QkNorm::PerHead},
};

/// Keys that cannot change what the model computes at inference: training,
/// bookkeeping, what a Python class returns, and defaults of sampling.
/// docs/import.md lists them too.
constexpr StringRef harmlessKeys[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "do_sample",
    "initializer_range",
    "max_length",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "repetition_penalty",
    "return_dict",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "temperature",
    "top_k",
    "top_p",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
};

/// An int32 token id or dimension.
constexpr int64_t maxInteger = 2147483647;

/// One JSON object being read. The first error sticks; every key asked for is
/// marked, so that finish() can name a key that nobody asked for.
class Reader {
public:
  Reader(const json::Object &object, const Twine &where)
      : object(object), where(where.str()) {}

  void fail(const Twine &cause) {
    if (message.empty())
      message = (where + ": " + cause).str();
  }
  bool failed() const { return !message.empty(); }

  /// Absent and null are the same.
  const json::Value *get(StringRef key) {
    asked.insert(key);
    const json::Value *value = object.get(key);
    return value && value->kind() == json::Value::Null ? nullptr : value;
  }
  bool has(StringRef key) { return get(key) != nullptr; }
  /// Present, if only as null.
  bool mentions(StringRef key) {
    asked.insert(key);
    return object.get(key) != nullptr;
  }

  std::optional<int64_t> integer(StringRef key, int64_t low = 1,
                                 int64_t high = maxInteger) {
    const json::Value *value = get(key);
    if (!value)
      return std::nullopt;
    std::optional<int64_t> number = value->getAsInteger();
    if (number && *number >= low && *number <= high)
      return number;
    fail("expected '" + key + "' to be an integer from " + Twine(low) + " to " +
         Twine(high) + ", but got " + print(*value));
    return std::nullopt;
  }
  int64_t requiredInteger(StringRef key, int64_t low = 1,
                          int64_t high = maxInteger) {
    if (!has(key))
      fail("lacks '" + key + "'");
    return integer(key, low, high).value_or(low);
  }

  std::optional<double> positive(StringRef key) {
    const json::Value *value = get(key);
    if (!value)
      return std::nullopt;
    std::optional<double> number = value->getAsNumber();
    // Kernels compute in float32.
    if (number && *number > 1e-30 && *number < 1e30)
      return number;
    fail("expected '" + key + "' to be a positive number, but got " +
         print(*value));
    return std::nullopt;
  }
  double requiredPositive(StringRef key) {
    if (!has(key))
      fail("lacks '" + key + "'");
    return positive(key).value_or(1.0);
  }

  std::optional<bool> boolean(StringRef key) {
    const json::Value *value = get(key);
    if (!value)
      return std::nullopt;
    std::optional<bool> result = value->getAsBoolean();
    if (!result)
      fail("expected '" + key + "' to be true or false, but got " +
           print(*value));
    return result;
  }

  std::optional<StringRef> string(StringRef key) {
    const json::Value *value = get(key);
    if (!value)
      return std::nullopt;
    std::optional<StringRef> result = value->getAsString();
    if (!result)
      fail("expected '" + key + "' to be a string, but got " + print(*value));
    return result;
  }

  const json::Array *array(StringRef key) {
    const json::Value *value = get(key);
    if (!value)
      return nullptr;
    if (!value->getAsArray())
      fail("expected '" + key + "' to be a list, but got " + print(*value));
    return value->getAsArray();
  }

  const json::Object *dictionary(StringRef key) {
    const json::Value *value = get(key);
    if (!value)
      return nullptr;
    if (!value->getAsObject())
      fail("expected '" + key + "' to be an object, but got " + print(*value));
    return value->getAsObject();
  }

  /// One integer or a list of them, each at least 0.
  std::vector<int64_t> integers(StringRef key) {
    std::vector<int64_t> result;
    const json::Value *value = get(key);
    if (!value)
      return result;
    auto add = [&](const json::Value &element) {
      std::optional<int64_t> number = element.getAsInteger();
      if (!number || *number < 0 || *number > maxInteger)
        fail("expected '" + key + "' to hold integers from 0 to " +
             Twine(maxInteger) + ", but got " + print(element));
      else if (!is_contained(result, *number))
        result.push_back(*number);
    };
    if (const json::Array *list = value->getAsArray()) {
      // Bounds the search for duplicates above.
      if (list->size() > 4096)
        fail("'" + key + "' has more than 4096 elements");
      else
        for_each(*list, add);
    } else {
      add(*value);
    }
    return result;
  }

  /// The value of `key` where it is `only` or absent; an error otherwise.
  void allowOnly(StringRef key, const json::Value &only) {
    const json::Value *value = get(key);
    if (value && *value != only)
      fail("'" + key + "' is " + print(*value) + ", but only " + print(only) +
           " is supported");
  }

  void ignore(StringRef key) { asked.insert(key); }

  /// The error, if there was one or a key has a value that nobody asked for.
  Error finish() {
    if (!failed()) {
      // In order, so that the same file always gives the same error.
      std::vector<StringRef> unknown;
      for (const auto &entry : object)
        if (entry.second.kind() != json::Value::Null &&
            !asked.contains(entry.first))
          unknown.push_back(entry.first);
      if (!unknown.empty())
        fail("key " + quote(*min_element(unknown)) +
             " is not supported, and it could change the result");
    }
    return failed() ? makeError(message) : Error::success();
  }

  static std::string print(const json::Value &value) {
    std::string text = formatv("{0}", value).str();
    if (text.size() > 80)
      text = text.substr(0, 80) + "...";
    return text;
  }

private:
  const json::Object &object;
  std::string where;
  std::string message;
  StringSet<> asked;
};

} // namespace

StringRef nameOf(Family family) {
  return find_if(families,
                 [&](const FamilyTraits &traits) {
                   return traits.family == family;
                 })
      ->modelType;
}

bool QuantizationConfig::keeps(StringRef module) const {
  std::string name = ("." + module + ".").str();
  return any_of(plainModules, [&](const std::string &plain) {
    return StringRef(name).contains("." + plain + ".");
  });
}

/// The table of a rope dictionary: `rope_scaling` (classic) or
/// `rope_parameters` (transformers 5, with the theta inside).
static Expected<RopeConfig> parseRope(const json::Object &object,
                                      StringRef where, double theta,
                                      int64_t maxContext) {
  Reader reader(object, where);
  RopeConfig rope;
  rope.theta = reader.positive("rope_theta").value_or(theta);
  std::optional<StringRef> kind = reader.string("rope_type");
  std::optional<StringRef> oldKind = reader.string("type");
  if (kind && oldKind && *kind != *oldKind)
    reader.fail("'rope_type' and 'type' differ");
  if (!kind)
    kind = oldKind;
  if (!kind || *kind == "default") {
    rope.kind = RopeConfig::Kind::Default;
  } else if (*kind == "linear") {
    rope.kind = RopeConfig::Kind::Linear;
    rope.factor = reader.requiredPositive("factor");
  } else if (*kind == "llama3") {
    rope.kind = RopeConfig::Kind::Llama3;
    rope.factor = reader.requiredPositive("factor");
    rope.low = reader.requiredPositive("low_freq_factor");
    rope.high = reader.requiredPositive("high_freq_factor");
    rope.original = reader.requiredInteger("original_max_position_embeddings");
    if (rope.low >= rope.high)
      reader.fail("expected 'low_freq_factor' to be less than "
                  "'high_freq_factor'");
  } else if (*kind == "yarn") {
    rope.kind = RopeConfig::Kind::Yarn;
    rope.original = reader.requiredInteger("original_max_position_embeddings");
    rope.factor = reader.positive("factor").value_or(double(maxContext) /
                                                     double(rope.original));
    rope.high = reader.positive("beta_fast").value_or(32.0);
    rope.low = reader.positive("beta_slow").value_or(1.0);
    if (rope.low >= rope.high)
      reader.fail("expected 'beta_slow' to be less than 'beta_fast'");
    rope.truncate = reader.boolean("truncate").value_or(true);
    auto scaleOf = [&](double weight) {
      return rope.factor <= 1 ? 1.0 : 0.1 * weight * std::log(rope.factor) + 1;
    };
    std::optional<double> given = reader.positive("attention_factor");
    std::optional<double> over = reader.positive("mscale");
    std::optional<double> under = reader.positive("mscale_all_dim");
    if (given)
      rope.attentionFactor = *given;
    else if (over && under)
      rope.attentionFactor = scaleOf(*over) / scaleOf(*under);
    else
      rope.attentionFactor = scaleOf(1.0);
  } else {
    reader.fail("rope type " + quote(*kind) + " is not supported");
  }
  // Rotating only part of a head is not supported.
  reader.allowOnly("partial_rotary_factor", 1.0);
  if (Error error = reader.finish())
    return std::move(error);
  return rope;
}

/// Classic and new spellings of the rope table.
static Expected<RopeConfig> readRope(Reader &reader, StringRef file,
                                     double defaultTheta, int64_t maxContext) {
  double theta = reader.positive("rope_theta").value_or(defaultTheta);
  reader.allowOnly("partial_rotary_factor", 1.0);
  const json::Object *scaling = reader.dictionary("rope_scaling");
  const json::Object *parameters = reader.dictionary("rope_parameters");
  if (scaling && parameters) {
    reader.fail("has both 'rope_scaling' and 'rope_parameters'");
    return RopeConfig();
  }
  if (parameters)
    return parseRope(*parameters, (file + ": 'rope_parameters'").str(), theta,
                     maxContext);
  if (scaling)
    return parseRope(*scaling, (file + ": 'rope_scaling'").str(), theta,
                     maxContext);
  RopeConfig rope;
  rope.theta = theta;
  return rope;
}

/// `torch_dtype` or, in newer files, `dtype`.
static std::optional<DType> readDType(Reader &reader) {
  std::optional<StringRef> classic = reader.string("torch_dtype");
  std::optional<StringRef> name = reader.string("dtype");
  if (classic && name && *classic != *name)
    reader.fail("'dtype' and 'torch_dtype' differ");
  if (!name)
    name = classic;
  if (!name)
    return std::nullopt;
  StringRef plain = *name;
  plain.consume_front("torch.");
  if (plain == "float32")
    return DType::F32;
  if (plain == "float16")
    return DType::F16;
  if (plain == "bfloat16")
    return DType::BF16;
  reader.fail("dtype " + quote(*name) +
              " is not supported; float32, float16 and bfloat16 are");
  return std::nullopt;
}

/// The keys of weights in 8-bit floats.
static void readFp8(Reader &reader, QuantizationConfig &config) {
  reader.allowOnly("fmt", "e4m3");
  // Published kernels quantize the rows of products, too; ours take them as
  // they are, so that nothing depends on it.
  reader.allowOnly("activation_scheme", "dynamic");
  const json::Array *block = reader.array("weight_block_size");
  auto size = [&](size_t i) {
    std::optional<int64_t> value =
        block && block->size() == 2 ? (*block)[i].getAsInteger() : std::nullopt;
    if (!value || *value < 1 || *value > maxInteger)
      reader.fail("expected 'weight_block_size' to be two positive integers");
    return value.value_or(1);
  };
  config.blockRows = size(0);
  config.blockColumns = size(1);
}

/// How weights are quantized.
static Expected<QuantizationConfig>
parseQuantization(const json::Object &object, StringRef where, Family family) {
  Reader reader(object, where);
  QuantizationConfig config;
  std::optional<StringRef> method = reader.string("quant_method");
  // Of gpt-oss, whose experts alone are quantized.
  StringRef known = family == Family::GptOss ? "mxfp4" : "fp8";
  // Other methods have other keys, so theirs comes first.
  if (!reader.failed() && method != known)
    return makeError(where + ": " +
                     (method ? "'quant_method' is " + Reader::print(*method) +
                                   ", but only " + Reader::print(known) +
                                   " is supported in this family"
                             : Twine("lacks 'quant_method'").str()));
  if (known == "mxfp4") {
    config.method = QuantizationConfig::Method::Mxfp4;
    reader.allowOnly("dequantize", false);
  } else {
    readFp8(reader, config);
  }
  for (StringRef key : {"modules_to_not_convert", "ignored_layers"})
    if (const json::Array *names = reader.array(key))
      for (const json::Value &name : *names) {
        if (std::optional<StringRef> text = name.getAsString())
          config.plainModules.push_back(text->str());
        else
          reader.fail("expected '" + key + "' to hold strings, but got " +
                      Reader::print(name));
      }
  if (config.method == QuantizationConfig::Method::Mxfp4)
    for (const std::string &name : config.plainModules)
      if (StringRef(name).contains("experts"))
        reader.fail("'modules_to_not_convert' has " + quote(name) +
                    ", but experts are what mxfp4 quantizes");
  if (Error error = reader.finish())
    return std::move(error);
  return config;
}

static void readAttention(Reader &reader, ModelConfig &config) {
  Family family = config.family;
  config.heads = reader.requiredInteger("num_attention_heads", 1, 65536);
  // The published classes of these two take every head where the key is absent;
  // those of the others have a number of their own, which no file relies on.
  bool mayLackKvHeads = family == Family::Llama || family == Family::Olmoe;
  if (!reader.mentions("num_key_value_heads") && !mayLackKvHeads)
    reader.fail("lacks 'num_key_value_heads'");
  config.kvHeads =
      reader.integer("num_key_value_heads", 1, 65536).value_or(config.heads);
  if (config.heads % config.kvHeads)
    reader.fail("expected 'num_attention_heads' to be a multiple of "
                "'num_key_value_heads', but got " +
                Twine(config.heads) + " and " + Twine(config.kvHeads));

  std::optional<int64_t> headDim = reader.integer("head_dim", 1, 65536);
  if (!headDim) {
    // Their classes have a number of their own, whatever the other sizes are.
    if (family == Family::Qwen3 || family == Family::GptOss)
      reader.fail("lacks 'head_dim'");
    if (config.hidden % config.heads)
      reader.fail("expected 'hidden_size' to be a multiple of "
                  "'num_attention_heads', but got " +
                  Twine(config.hidden) + " and " + Twine(config.heads));
    headDim = std::max<int64_t>(config.hidden / config.heads, 1);
  }
  config.headDim = *headDim;
  if (config.headDim % 2)
    reader.fail(
        "expected an even head size for the rotary embedding, but got " +
        Twine(config.headDim));
  if (family == Family::Olmoe && config.headDim * config.heads != config.hidden)
    reader.fail("expected 'hidden_size' to be 'num_attention_heads' times the "
                "head size, but got " +
                Twine(config.hidden) + " and " + Twine(config.heads) +
                " times " + Twine(config.headDim));

  switch (family) {
  case Family::Llama:
  case Family::Olmoe:
  case Family::Qwen3:
  case Family::Qwen3Moe:
    config.qkvBias = config.outputBias =
        reader.boolean("attention_bias").value_or(false);
    break;
  case Family::Qwen2:
    config.qkvBias = true;
    reader.allowOnly("attention_bias", true);
    break;
  case Family::GptOss:
    config.qkvBias = config.outputBias =
        reader.boolean("attention_bias").value_or(true);
    config.sinks = true;
    break;
  case Family::Qwen2Moe:
    config.qkvBias = reader.boolean("qkv_bias").value_or(true);
    break;
  case Family::Mixtral:
  case Family::Mistral:
    reader.allowOnly("attention_bias", false);
    break;
  }
  if (family == Family::Olmoe)
    config.clipQkv = reader.positive("clip_qkv");
}

/// Fills in which layers look back only so far.
static void readWindows(Reader &reader, ModelConfig &config) {
  Family family = config.family;
  bool hasSwitch = family == Family::Qwen2 || family == Family::Qwen3 ||
                   family == Family::Qwen2Moe || family == Family::Qwen3Moe;
  // The published code of these reads the kind of each layer from the file.
  bool perLayer =
      (hasSwitch && family != Family::Qwen3Moe) || family == Family::GptOss;

  std::optional<int64_t> window;
  int64_t firstLayer = 0;
  if (hasSwitch) {
    bool on = reader.boolean("use_sliding_window").value_or(false);
    // Files that do not use the window give it any value, even 0.
    if (on)
      window = reader.requiredInteger("sliding_window");
    else
      reader.ignore("sliding_window");
    std::optional<int64_t> from =
        reader.integer("max_window_layers", 0, maxInteger);
    if (on && perLayer) {
      if (!from && !reader.has("layer_types"))
        reader.fail("lacks 'max_window_layers'");
      firstLayer = from.value_or(0);
      // Published versions disagree on which layers these are.
      if (family == Family::Qwen2Moe && !reader.has("layer_types"))
        reader.fail("'use_sliding_window' needs 'layer_types' in this family");
    }
    if (on && !perLayer && from.value_or(0) != 0)
      reader.fail("'max_window_layers' is " + Twine(*from) +
                  ", but only 0 is supported with 'use_sliding_window' in this "
                  "family");
  } else if (family == Family::Mistral || family == Family::Mixtral ||
             family == Family::GptOss) {
    // The classes of these two have a number of their own where the key is
    // absent; published files have it, if only as null.
    if (family != Family::Mixtral && !reader.mentions("sliding_window"))
      reader.fail("lacks 'sliding_window'");
    window = reader.integer("sliding_window");
  } else {
    reader.allowOnly("sliding_window", nullptr);
  }
  for (auto [i, layer] : enumerate(config.layers))
    if (int64_t(i) >= firstLayer)
      layer.window = window;
  // Every second layer of this one sees all positions, unless the file says
  // otherwise.
  if (family == Family::GptOss)
    for (size_t i = 1; i < config.layers.size(); i += 2)
      config.layers[i].window = std::nullopt;

  const json::Array *types = reader.array("layer_types");
  if (!types)
    return;
  if (types->size() != config.layers.size())
    return reader.fail("expected 'layer_types' to have " +
                       Twine(config.layers.size()) + " elements, but got " +
                       Twine(types->size()));
  for (auto [layer, value] : zip(config.layers, *types)) {
    std::optional<StringRef> type = value.getAsString();
    bool slides = type && *type == "sliding_attention";
    if (!slides && (!type || *type != "full_attention"))
      return reader.fail("layer type " + Reader::print(value) +
                         " is not supported");
    if (slides && !window)
      return reader.fail("'layer_types' has sliding_attention, but no window "
                         "is in use");
    if (!perLayer && slides != layer.window.has_value())
      return reader.fail("'layer_types' contradicts 'sliding_window', and this "
                         "family has one for all layers");
    layer.window = slides ? window : std::nullopt;
  }
}

static void readExperts(Reader &reader, ModelConfig &config) {
  Family family = config.family;
  // Both names are in use; transformers maps one to the other.
  std::optional<int64_t> local = reader.integer("num_local_experts", 1, 65536);
  std::optional<int64_t> count = reader.integer("num_experts", 1, 65536);
  if (local && count && *local != *count)
    reader.fail("'num_experts' and 'num_local_experts' differ");
  if (!local && !count)
    reader.fail(family == Family::Mixtral ? "lacks 'num_local_experts'"
                                          : "lacks 'num_experts'");
  config.experts = local ? *local : count.value_or(1);
  config.expertsPerToken = reader.requiredInteger("num_experts_per_tok");
  if (config.expertsPerToken > config.experts)
    reader.fail("expected 'num_experts_per_tok' to be at most the number of "
                "experts, but got " +
                Twine(config.expertsPerToken) + " and " +
                Twine(config.experts));

  if (family == Family::Mixtral) {
    config.normalizeTopK = true;
    reader.allowOnly("norm_topk_prob", true);
  } else if (family == Family::GptOss) {
    // The second name of a number is in the published files.
    reader.allowOnly("experts_per_token", config.expertsPerToken);
    config.swigluAlpha = reader.positive("swiglu_alpha").value_or(1.702);
    config.swigluLimit = reader.positive("swiglu_limit").value_or(7.0);
  } else {
    if (!reader.has("norm_topk_prob"))
      reader.fail("lacks 'norm_topk_prob'");
    config.normalizeTopK = reader.boolean("norm_topk_prob").value_or(false);
  }

  if (family == Family::Mixtral || family == Family::Olmoe ||
      family == Family::GptOss) {
    config.expertIntermediate = config.intermediate;
    for (LayerConfig &layer : config.layers)
      layer.sparse = true;
    return;
  }
  config.expertIntermediate = reader.requiredInteger("moe_intermediate_size");
  if (family == Family::Qwen2Moe)
    config.sharedIntermediate =
        reader.requiredInteger("shared_expert_intermediate_size");
  int64_t step = reader.integer("decoder_sparse_step").value_or(1);
  std::vector<int64_t> dense;
  if (const json::Value *value = reader.get("mlp_only_layers")) {
    if (value->getAsArray())
      dense = reader.integers("mlp_only_layers");
    else
      reader.fail("expected 'mlp_only_layers' to be a list, but got " +
                  Reader::print(*value));
  }
  for (int64_t layer : dense)
    if (layer >= int64_t(config.layers.size()))
      reader.fail("'mlp_only_layers' names layer " + Twine(layer) +
                  ", but there are " + Twine(config.layers.size()));
  for (auto [i, layer] : enumerate(config.layers))
    layer.sparse = (i + 1) % step == 0 && !is_contained(dense, int64_t(i));
}

/// `eos_token_id` and `bos_token_id`, of either file.
static void readTokens(Reader &reader, std::vector<int64_t> &eos,
                       std::optional<int64_t> &bos) {
  eos = reader.integers("eos_token_id");
  bos = reader.integer("bos_token_id", 0);
}

static Error checkTokens(const ModelConfig &config, StringRef file) {
  auto check = [&](StringRef key, int64_t id) -> Error {
    if (id < config.vocabulary)
      return Error::success();
    return makeError(file + ": '" + key + "' is " + Twine(id) +
                     ", but the vocabulary has " + Twine(config.vocabulary) +
                     " tokens");
  };
  for (int64_t id : config.eos)
    if (Error error = check("eos_token_id", id))
      return error;
  return config.bos ? check("bos_token_id", *config.bos) : Error::success();
}

Expected<ModelConfig> parseModelConfig(StringRef json, StringRef file) {
  Expected<json::Object> object = parseJsonObject(json, file);
  if (!object)
    return object.takeError();
  Reader reader(*object, file);
  std::optional<StringRef> modelType = reader.string("model_type");
  if (!modelType)
    return makeError(file + ": lacks 'model_type'");
  const auto *traits = find_if(families, [&](const FamilyTraits &traits) {
    return traits.modelType == *modelType;
  });
  if (traits == std::end(families)) {
    std::string known = join(
        map_range(families,
                  [](const FamilyTraits &traits) { return traits.modelType; }),
        ", ");
    return makeError(file + ": model_type " + quote(*modelType) +
                     " is not supported; supported are " + known);
  }

  // What stands for a different model altogether comes first.
  for (StringRef key : {"compression_config", "auto_map"})
    if (reader.has(key))
      return makeError(file + ": '" + key + "' is not supported");
  if (const json::Array *names = reader.array("architectures"))
    for (const json::Value &name : *names)
      if (name.getAsString() != traits->architecture)
        reader.fail("architecture " + Reader::print(name) +
                    " is not supported; " + traits->architecture + " is");

  ModelConfig config;
  config.family = traits->family;
  config.qkNorm = traits->qkNorm;
  config.dtype = readDType(reader);
  if (const json::Object *object = reader.dictionary("quantization_config")) {
    Expected<QuantizationConfig> quantization = parseQuantization(
        *object, (file + ": 'quantization_config'").str(), config.family);
    if (!quantization)
      return quantization.takeError();
    config.quantization = std::move(*quantization);
  }
  config.vocabulary = reader.requiredInteger("vocab_size");
  config.hidden = reader.requiredInteger("hidden_size");
  config.layers.resize(reader.requiredInteger("num_hidden_layers", 1, 4096));
  config.maxContext = reader.requiredInteger("max_position_embeddings");
  config.normEps = reader.requiredPositive("rms_norm_eps");
  config.tiedEmbeddings = reader.boolean("tie_word_embeddings").value_or(false);
  config.intermediate = reader.requiredInteger("intermediate_size");
  if (!reader.has("hidden_act"))
    reader.fail("lacks 'hidden_act'");
  reader.allowOnly("hidden_act", "silu");
  if (config.family == Family::Llama)
    config.mlpBias = reader.boolean("mlp_bias").value_or(false);
  else
    reader.allowOnly("mlp_bias", false);
  reader.allowOnly("is_encoder_decoder", false);

  readAttention(reader, config);
  readWindows(reader, config);
  if (traits->sparse)
    readExperts(reader, config);
  readTokens(reader, config.eos, config.bos);
  Expected<RopeConfig> rope =
      readRope(reader, file, traits->defaultTheta, config.maxContext);
  if (!rope)
    return rope.takeError();
  config.rope = *rope;
  // The second name of what the rope table says.
  if (config.family == Family::GptOss && config.rope.original)
    reader.allowOnly("initial_context_length", config.rope.original);

  for (StringRef key : harmlessKeys)
    reader.ignore(key);
  if (Error error = reader.finish())
    return std::move(error);
  if (Error error = checkTokens(config, file))
    return std::move(error);
  return config;
}

Expected<GenerationConfig> parseGenerationConfig(StringRef json,
                                                 StringRef file) {
  Expected<json::Object> object = parseJsonObject(json, file);
  if (!object)
    return object.takeError();
  GenerationConfig config;
  Reader reader(*object, file);
  readTokens(reader, config.eos, config.bos);
  // The rest is about sampling, which the caller decides.
  for (const auto &entry : *object)
    reader.ignore(entry.first);
  if (Error error = reader.finish())
    return std::move(error);
  return config;
}

Expected<ModelConfig> readModelConfig(StringRef directory) {
  constexpr uint64_t limit = 16 << 20;
  auto read = [&](StringRef name) {
    SmallString<256> path(directory);
    sys::path::append(path, name);
    return readSmallFile(path, name, limit);
  };
  Expected<std::string> text = read("config.json");
  if (!text)
    return text.takeError();
  Expected<ModelConfig> config = parseModelConfig(*text, "config.json");
  if (!config)
    return config.takeError();

  constexpr StringRef generationFile = "generation_config.json";
  SmallString<256> path(directory);
  sys::path::append(path, generationFile);
  if (!sys::fs::exists(path))
    return config;
  text = read(generationFile);
  if (!text)
    return text.takeError();
  Expected<GenerationConfig> generation =
      parseGenerationConfig(*text, generationFile);
  if (!generation)
    return generation.takeError();
  if (!generation->eos.empty())
    config->eos = generation->eos;
  if (generation->bos)
    config->bos = generation->bos;
  if (Error error = checkTokens(*config, generationFile))
    return std::move(error);
  return config;
}

} // namespace headrace
