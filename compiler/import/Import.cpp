// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns a checkpoint directory into a module of the `model` phase.
#include "compiler/import/Import.h"

#include "compiler/import/Config.h"
#include "compiler/import/Json.h"
#include "compiler/import/Safetensors.h"
#include "compiler/support/Diagnostics.h"
#include "dialects/moe/IR/Moe.h"
#include "dialects/nn/IR/Nn.h"
#include "dialects/tier/IR/Tier.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cmath>

using namespace mlir;
using llvm::Twine;

namespace headrace {

namespace {

/// Builds the module op by op. The first error sticks and building goes on with
/// the types that config.json promises, so that the code below reads like the
/// model; the module is dropped in the end.
class ModelBuilder {
public:
  ModelBuilder(MLIRContext &context, const ModelConfig &config,
               const Checkpoint &checkpoint)
      : config(config), checkpoint(checkpoint), builder(&context),
        location(builder.getUnknownLoc()) {}

  llvm::Expected<OwningOpRef<ModuleOp>> build(StringRef directory,
                                              StringRef name);

private:
  void fail(const Twine &cause) {
    if (message.empty())
      message = cause.str();
  }

  RankedTensorType rows(int64_t width) {
    return RankedTensorType::get({ShapedType::kDynamic, width},
                                 builder.getF32Type());
  }
  /// Whether the weight of `module`, a product's, is quantized in 8 bits.
  bool isFp8(StringRef module) const {
    return config.has(QuantizationConfig::Method::Fp8) &&
           !config.quantization->keeps(module);
  }
  /// Of a quantized weight; `scaled` is null after an error.
  RankedTensorType encoded(ArrayRef<int64_t> shape, tier::ScaledAttr scaled) {
    return scaled
               ? RankedTensorType::get(
                     shape, Float8E4M3FNType::get(builder.getContext()), scaled)
               : RankedTensorType::get(shape, element);
  }
  static int64_t widthOf(Value rows) {
    return cast<RankedTensorType>(rows.getType()).getDimSize(1);
  }

  void chooseElementType();
  tier::RangeAttr bind(const Twine &name, ArrayRef<int64_t> shape);
  tier::RangeAttr view(tier::RangeAttr range, uint64_t first,
                       ArrayRef<int64_t> shape, ArrayRef<uint64_t> strides);
  tier::RangeAttr bind(const Twine &name, ArrayRef<int64_t> shape, DType want,
                       StringRef who);
  tier::ScaledAttr bindScaled(const Twine &name, ArrayRef<int64_t> shape,
                              SmallVectorImpl<Attribute> &source);
  Value use(StringRef symbol, RankedTensorType type,
            ArrayRef<Attribute> source);
  Value weight(const Twine &name, ArrayRef<int64_t> shape);
  Value matrix(const Twine &name, ArrayRef<int64_t> shape);
  Value bias(bool present, const Twine &name, int64_t width);
  Value stack(const Twine &prefix, StringRef projection,
              ArrayRef<int64_t> shape);

  Value transposed(const Twine &name, StringRef tensor, int64_t in, int64_t out,
                   int64_t part = 0, int64_t parts = 1);
  Value microscaled(const Twine &name, StringRef tensor, int64_t in,
                    int64_t out, int64_t part, int64_t parts);
  Value biases(const Twine &name, StringRef tensor, int64_t out,
               int64_t part = 0, int64_t parts = 1);

  Value product(Value x, Value weight, Value bias = {});
  Value linear(Value x, const Twine &name, int64_t width, bool hasBias = false);
  Value norm(Value x, const Twine &name, int64_t groups = 1);
  Value clip(Value x);
  Value attention(Value x, const Twine &prefix, int64_t index,
                  std::optional<int64_t> window);
  Value feedForward(Value x, const Twine &prefix, int64_t width, bool hasBias);
  Value route(Value x, const Twine &prefix);
  Value mixture(Value x, Value residual, const Twine &prefix);
  SmallVector<Value> expertWeights(const Twine &prefix);
  Value expert(Block *body);
  Value layer(Value x, int64_t index);
  Attribute describe(StringRef name);

  const ModelConfig &config;
  const Checkpoint &checkpoint;
  OpBuilder builder;
  Location location;
  std::string message;

  DType dtype = DType::F32;
  FloatType element;
  /// Of the input of products; null where they read float32.
  TypeAttr inputs;
  nn::RopeAttr rope;

  func::FuncOp function;
  Operation *lastUse = nullptr;
  Value positions, sequences, cache;
  llvm::StringSet<> bound;
};

} // namespace

/// All tensors that are not quantized have the type that config.json names, or
/// else that of the embedding.
void ModelBuilder::chooseElementType() {
  const TensorInfo *embedding = checkpoint.find("model.embed_tokens.weight");
  if (config.dtype)
    dtype = *config.dtype;
  else if (embedding)
    dtype = embedding->dtype;
  switch (dtype) {
  case DType::F16:
    element = builder.getF16Type();
    break;
  case DType::BF16:
    element = builder.getBF16Type();
    inputs = TypeAttr::get(element);
    break;
  default:
    // Any other type is reported when its first tensor is bound.
    dtype = DType::F32;
    element = builder.getF32Type();
    break;
  }
}

/// The bytes of one tensor of the checkpoint's own type.
tier::RangeAttr ModelBuilder::bind(const Twine &name, ArrayRef<int64_t> shape) {
  return bind(name, shape, dtype, "that of the checkpoint is");
}

/// The bytes of one tensor, checked against what the model needs; `who` says
/// where the type `want` comes from.
tier::RangeAttr ModelBuilder::bind(const Twine &nameTwine,
                                   ArrayRef<int64_t> shape, DType want,
                                   StringRef who) {
  std::string name = nameTwine.str();
  const TensorInfo *info = checkpoint.find(name);
  if (!info) {
    fail("tensor " + quote(name) + " is missing from the checkpoint");
    return {};
  }
  bound.insert(name);
  if (info->dtype != want) {
    bool supported = config.quantization || info->dtype == DType::F32 ||
                     info->dtype == DType::F16 || info->dtype == DType::BF16;
    fail(info->file + ": tensor " + quote(name) + " has dtype " +
         nameOf(info->dtype) +
         (supported ? ", but " + who.str() + " " + nameOf(want).str()
                    : ", which is not supported; F32, F16 and BF16 are"));
    return {};
  }
  if (ArrayRef<int64_t>(info->shape) != shape) {
    fail(info->file + ": tensor " + quote(name) + " has shape " +
         shapeToString(info->shape) + ", but config.json asks for " +
         shapeToString(shape));
    return {};
  }
  return tier::RangeAttr::get(builder.getContext(), info->file, info->offset,
                              info->bytes);
}

/// A part of a tensor's range as values of `shape`, the first of them value
/// `first` of the tensor; `strides` count values, too.
tier::RangeAttr ModelBuilder::view(tier::RangeAttr range, uint64_t first,
                                   ArrayRef<int64_t> shape,
                                   ArrayRef<uint64_t> strides) {
  if (!range)
    return {};
  uint64_t each = element.getWidth() / 8, bytes = each;
  SmallVector<uint64_t> sizes(shape.begin(), shape.end()), steps;
  for (uint64_t size : sizes)
    bytes *= size;
  for (uint64_t stride : strides)
    steps.push_back(stride * each);
  return tier::RangeAttr::get(builder.getContext(), range.getFile(),
                              range.getOffset() + first * each, bytes, sizes,
                              steps);
}

/// Declares a weight before the function and names it at the function's head.
Value ModelBuilder::use(StringRef symbol, RankedTensorType type,
                        ArrayRef<Attribute> source) {
  OpBuilder::InsertionGuard guard(builder);
  // A failed import may lack ranges; its module is never verified.
  if (message.empty()) {
    builder.setInsertionPoint(function);
    tier::WeightOp::create(builder, location, symbol, type,
                           builder.getArrayAttr(source));
  }
  if (lastUse)
    builder.setInsertionPointAfter(lastUse);
  else
    builder.setInsertionPointToStart(&function.getBody().front());
  auto use = tier::UseOp::create(builder, location, type, symbol);
  lastUse = use;
  return use;
}

Value ModelBuilder::weight(const Twine &name, ArrayRef<int64_t> shape) {
  tier::RangeAttr range = bind(name + ".weight", shape);
  return use(name.str(), RankedTensorType::get(shape, element), {range});
}

/// Appends the elements and the scales of a quantized matrix to `source`; null
/// after an error.
tier::ScaledAttr ModelBuilder::bindScaled(const Twine &nameTwine,
                                          ArrayRef<int64_t> shape,
                                          SmallVectorImpl<Attribute> &source) {
  std::string name = nameTwine.str(), scales = name + ".weight_scale_inv";
  tier::RangeAttr elements =
      bind(name + ".weight", shape, DType::F8E4M3,
           "a module that is not in 'modules_to_not_convert' has");
  // Published files have scales of either type.
  const TensorInfo *info = checkpoint.find(scales);
  bool narrow = info && info->dtype == DType::BF16;
  int64_t rows = config.quantization->blockRows;
  int64_t columns = config.quantization->blockColumns;
  tier::RangeAttr factors =
      bind(scales,
           {(shape[0] + rows - 1) / rows, (shape[1] + columns - 1) / columns},
           narrow ? DType::BF16 : DType::F32, "scales are BF16 or");
  if (!elements || !factors)
    return {};
  source.append({elements, factors});
  return tier::ScaledAttr::get(builder.getContext(), rows, columns,
                               narrow ? Type(builder.getBF16Type())
                                      : Type(builder.getF32Type()),
                               Attribute());
}

/// The weight of a product, which may be quantized.
Value ModelBuilder::matrix(const Twine &nameTwine, ArrayRef<int64_t> shape) {
  std::string name = nameTwine.str();
  if (!isFp8(name))
    return weight(name, shape);
  SmallVector<Attribute> source;
  tier::ScaledAttr scaled = bindScaled(name, shape, source);
  return use(name, encoded(shape, scaled), source);
}

Value ModelBuilder::bias(bool present, const Twine &name, int64_t width) {
  if (!present)
    return {};
  std::string full = (name + ".bias").str();
  tier::RangeAttr range = bind(full, {width});
  return use(full, RankedTensorType::get({width}, element), {range});
}

/// One weight [experts, shape...] of the experts' tensors, in order.
Value ModelBuilder::stack(const Twine &prefix, StringRef projection,
                          ArrayRef<int64_t> shape) {
  SmallVector<Attribute> ranges;
  SmallVector<int64_t> stacked = {config.experts};
  stacked.append(shape.begin(), shape.end());
  RankedTensorType type = RankedTensorType::get(stacked, element);
  for (int64_t expert = 0; expert < config.experts && message.empty();
       ++expert) {
    std::string name = (prefix + "." + Twine(expert) + "." + projection).str();
    bool plain = !isFp8(name);
    RankedTensorType one = RankedTensorType::get(stacked, element);
    if (plain)
      ranges.push_back(bind(name + ".weight", shape));
    else
      one = encoded(stacked, bindScaled(name, shape, ranges));
    if (expert == 0)
      type = one;
    else if (type != one)
      fail("the experts of '" + prefix + "' differ in how " +
           quote(projection) + " is quantized; expected one encoding for all");
  }
  return use((prefix + "." + projection).str(), type, ranges);
}

/// The weight `name` [experts, out, in] from `tensor` [experts, in, parts *
/// out]: of its columns those of number `part`, part + parts, ...
Value ModelBuilder::transposed(const Twine &name, StringRef tensor, int64_t in,
                               int64_t out, int64_t part, int64_t parts) {
  int64_t columns = parts * out;
  tier::RangeAttr range = bind(tensor, {config.experts, in, columns});
  return use(name.str(),
             RankedTensorType::get({config.experts, out, in}, element),
             {view(range, uint64_t(part), {config.experts, out, in},
                   {uint64_t(in) * uint64_t(columns), uint64_t(parts),
                    uint64_t(columns)})});
}

/// The weight `name` [experts, out, in] in mxfp4: from the tensor's `_blocks`
/// [experts, parts * out, in / 32, 16], two elements a byte, and its `_scales`
/// [experts, parts * out, in / 32], of the rows of number `part`, part +
/// parts...
Value ModelBuilder::microscaled(const Twine &name, StringRef tensor, int64_t in,
                                int64_t out, int64_t part, int64_t parts) {
  constexpr int64_t kBlock = 32;
  MLIRContext *context = builder.getContext();
  int64_t experts = config.experts;
  auto type = RankedTensorType::get(
      {experts, out, in}, Float4E2M1FNType::get(context),
      tier::ScaledAttr::get(context, 1, kBlock, Float8E8M0FNUType::get(context),
                            Attribute()));
  if (in % kBlock) {
    fail("config.json: experts of mxfp4 have input channels by the " +
         Twine(kBlock) + ", but " + quote(tensor) + " has " + Twine(in));
    return use(name.str(), type, {});
  }
  StringRef who = "blocks and scales of mxfp4 are";
  tier::RangeAttr tensors[] = {
      bind(tensor + "_blocks", {experts, parts * out, in / kBlock, kBlock / 2},
           DType::U8, who),
      bind(tensor + "_scales", {experts, parts * out, in / kBlock}, DType::U8,
           who)};
  SmallVector<Attribute> source;
  for (int64_t expert = 0; expert < experts && message.empty(); ++expert)
    for (tier::RangeAttr range : tensors) {
      // One of every `parts` rows.
      uint64_t row = range.getBytes() / uint64_t(experts * parts * out);
      uint64_t first = (uint64_t(expert * parts * out) + uint64_t(part)) * row;
      source.push_back(tier::RangeAttr::get(
          context, range.getFile(), range.getOffset() + first,
          uint64_t(out) * row, {uint64_t(out)}, {uint64_t(parts) * row}));
    }
  return use(name.str(), type, source);
}

/// The same for the biases `name` [experts, out] from [experts, parts * out].
Value ModelBuilder::biases(const Twine &name, StringRef tensor, int64_t out,
                           int64_t part, int64_t parts) {
  int64_t columns = parts * out;
  tier::RangeAttr range = bind(tensor, {config.experts, columns});
  return use(name.str(), RankedTensorType::get({config.experts, out}, element),
             {view(range, uint64_t(part), {config.experts, out},
                   {uint64_t(columns), uint64_t(parts)})});
}

/// Rows times a weight [out, in].
Value ModelBuilder::product(Value x, Value weight, Value bias) {
  int64_t width = cast<RankedTensorType>(weight.getType()).getDimSize(0);
  return nn::LinearOp::create(builder, location, rows(width), x, weight, bias,
                              inputs);
}

Value ModelBuilder::linear(Value x, const Twine &name, int64_t width,
                           bool hasBias) {
  Value w = matrix(name, {width, widthOf(x)});
  return product(x, w, bias(hasBias, name, width));
}

Value ModelBuilder::norm(Value x, const Twine &name, int64_t groups) {
  Value w = weight(name, {widthOf(x) / groups});
  return nn::NormOp::create(builder, location, nn::NormKind::rms, x, w,
                            /*bias=*/Value(), llvm::APFloat(config.normEps),
                            groups);
}

Value ModelBuilder::clip(Value x) {
  if (!config.clipQkv)
    return x;
  return nn::ClampOp::create(builder, location, x,
                             llvm::APFloat(-*config.clipQkv),
                             llvm::APFloat(*config.clipQkv));
}

Value ModelBuilder::attention(Value x, const Twine &prefixTwine, int64_t index,
                              std::optional<int64_t> window) {
  std::string prefix = prefixTwine.str();
  int64_t heads = config.heads, kvHeads = config.kvHeads;
  Value q =
      linear(x, prefix + ".q_proj", heads * config.headDim, config.qkvBias);
  Value k =
      linear(x, prefix + ".k_proj", kvHeads * config.headDim, config.qkvBias);
  Value v =
      linear(x, prefix + ".v_proj", kvHeads * config.headDim, config.qkvBias);
  if (config.qkNorm != QkNorm::None) {
    bool perHead = config.qkNorm == QkNorm::PerHead;
    q = norm(q, prefix + ".q_norm", perHead ? heads : 1);
    k = norm(k, prefix + ".k_norm", perHead ? kvHeads : 1);
  }
  q = clip(q);
  k = clip(k);
  v = clip(v);
  q = nn::RopeOp::create(builder, location, q, positions, heads, rope);
  k = nn::RopeOp::create(builder, location, k, positions, kvHeads, rope);
  Value sinks;
  if (config.sinks) {
    std::string name = prefix + ".sinks";
    sinks = use(name, RankedTensorType::get({heads}, element),
                {bind(name, {heads})});
  }
  auto op = nn::AttentionOp::create(
      builder, location, q, k, v, cache, index, positions, sequences, heads,
      llvm::APFloat(1.0 / std::sqrt(double(config.headDim))),
      window ? builder.getI64IntegerAttr(*window) : IntegerAttr(), sinks);
  cache = op.getUpdatedCache();
  return linear(op.getResult(), prefix + ".o_proj", config.hidden,
                config.outputBias);
}

/// A dense gated network.
Value ModelBuilder::feedForward(Value x, const Twine &prefixTwine,
                                int64_t width, bool hasBias) {
  std::string prefix = prefixTwine.str();
  Value gate = linear(x, prefix + ".gate_proj", width, hasBias);
  Value up = linear(x, prefix + ".up_proj", width, hasBias);
  Value h =
      nn::GluOp::create(builder, location, gate.getType(), nn::Activation::silu,
                        gate, up, FloatAttr(), FloatAttr(), FloatAttr());
  return linear(h, prefix + ".down_proj", config.hidden, hasBias);
}

/// Which experts take the rows, and with which weights.
Value ModelBuilder::route(Value x, const Twine &prefixTwine) {
  std::string prefix = prefixTwine.str();
  MLIRContext *context = builder.getContext();
  int64_t experts = config.experts, slots = config.expertsPerToken;
  bool gptOss = config.family == Family::GptOss;
  std::string name = prefix + (gptOss ? ".router" : ".gate");

  // The router reads float32: its choice should not hang on a rounding.
  Value w = weight(name, {experts, config.hidden});
  Value scores = nn::LinearOp::create(builder, location, rows(experts), x, w,
                                      bias(gptOss, name, experts), TypeAttr());
  if (!gptOss)
    scores = moe::SquashOp::create(builder, location, moe::SquashKind::softmax,
                                   scores);
  Value selection = moe::SelectOp::create(
      builder, location, moe::SelectionType::get(context, experts, slots),
      slots, scores);
  auto norm = gptOss                 ? moe::WeighNorm::softmax
              : config.normalizeTopK ? moe::WeighNorm::sum
                                     : moe::WeighNorm::none;
  return moe::WeighOp::create(
      builder, location, moe::RoutingType::get(context, experts, slots),
      selection, scores, norm, FloatAttr(), FloatAttr(), FloatAttr());
}

/// Gate, up and down of all experts, then their biases, if they have any.
SmallVector<Value> ModelBuilder::expertWeights(const Twine &prefixTwine) {
  std::string prefix = prefixTwine.str();
  int64_t hidden = config.hidden, width = config.expertIntermediate;
  if (config.family == Family::GptOss) {
    // Stored [in, out], with gate and up in turn.
    std::string both = prefix + ".gate_up_proj", down = prefix + ".down_proj";
    auto weight = [&](const Twine &name, StringRef tensor, int64_t in,
                      int64_t out, int64_t part, int64_t parts) {
      return config.has(QuantizationConfig::Method::Mxfp4)
                 ? microscaled(name, tensor, in, out, part, parts)
                 : transposed(name, tensor, in, out, part, parts);
    };
    return {weight(prefix + ".gate_proj", both, hidden, width, 0, 2),
            weight(prefix + ".up_proj", both, hidden, width, 1, 2),
            weight(down, down, width, hidden, 0, 1),
            biases(prefix + ".gate_proj_bias", both + "_bias", width, 0, 2),
            biases(prefix + ".up_proj_bias", both + "_bias", width, 1, 2),
            biases(down + "_bias", down + "_bias", hidden)};
  }
  bool mixtral = config.family == Family::Mixtral;
  return {stack(prefix, mixtral ? "w1" : "gate_proj", {width, hidden}),
          stack(prefix, mixtral ? "w3" : "up_proj", {width, hidden}),
          stack(prefix, mixtral ? "w2" : "down_proj", {hidden, width})};
}

/// One expert on its rows: the body's arguments are these and its weights.
Value ModelBuilder::expert(Block *body) {
  bool gptOss = config.family == Family::GptOss;
  auto weight = [&](unsigned i) -> Value { return body->getArgument(1 + i); };
  auto bias = [&](unsigned i) { return gptOss ? weight(3 + i) : Value(); };
  auto number = [&](double x) {
    return gptOss ? builder.getF64FloatAttr(x) : FloatAttr();
  };
  Value x = body->getArgument(0);
  Value gate = product(x, weight(0), bias(0));
  Value up = product(x, weight(1), bias(1));
  Value h = nn::GluOp::create(
      builder, location, gate.getType(), nn::Activation::silu, gate, up,
      number(config.swigluAlpha), number(config.swigluLimit), number(1.0));
  return product(h, weight(2), bias(2));
}

/// Router and experts, on top of `residual`.
Value ModelBuilder::mixture(Value x, Value residual, const Twine &prefixTwine) {
  std::string prefix = prefixTwine.str();
  int64_t hidden = config.hidden;
  Value routing = route(x, prefix);
  auto bucketsType = moe::BucketsType::get(builder.getContext(), config.experts,
                                           config.expertsPerToken, hidden,
                                           builder.getF32Type());
  Value buckets =
      moe::DispatchOp::create(builder, location, bucketsType, x, routing);
  SmallVector<Value> weights = expertWeights(prefix + ".experts");
  auto op = moe::ExpertsOp::create(builder, location, bucketsType, buckets,
                                   ValueRange(weights));
  {
    OpBuilder::InsertionGuard guard(builder);
    SmallVector<Type> types{rows(hidden)};
    for (Value stacked : weights) {
      auto type = cast<RankedTensorType>(stacked.getType());
      types.push_back(RankedTensorType::get(type.getShape().drop_front(),
                                            type.getElementType(),
                                            type.getEncoding()));
    }
    Block *body =
        builder.createBlock(&op.getBody(), {}, types,
                            SmallVector<Location>(types.size(), location));
    moe::YieldOp::create(builder, location, expert(body));
  }

  SmallVector<Value> base = {residual};
  if (config.sharedIntermediate) {
    Value shared = feedForward(x, prefix + ".shared_expert",
                               config.sharedIntermediate, /*hasBias=*/false);
    Value gate = linear(x, prefix + ".shared_expert_gate", 1);
    gate = nn::ActOp::create(builder, location, nn::Activation::sigmoid, gate);
    base.push_back(nn::ScaleOp::create(builder, location, shared, gate));
  }
  return moe::CombineOp::create(builder, location, rows(hidden), op.getResult(),
                                routing, base);
}

Value ModelBuilder::layer(Value x, int64_t index) {
  std::string prefix = "model.layers." + std::to_string(index);
  location = NameLoc::get(builder.getStringAttr(prefix));
  const LayerConfig &layer = config.layers[index];
  Value n = norm(x, prefix + ".input_layernorm");
  Value a = attention(n, prefix + ".self_attn", index, layer.window);
  x = arith::AddFOp::create(builder, location, x, a);
  n = norm(x, prefix + ".post_attention_layernorm");
  if (layer.sparse)
    return mixture(n, x,
                   prefix + (config.family == Family::Mixtral
                                 ? ".block_sparse_moe"
                                 : ".mlp"));
  Value y =
      feedForward(n, prefix + ".mlp", config.intermediate, config.mlpBias);
  return arith::AddFOp::create(builder, location, x, y);
}

/// `headrace.model`.
Attribute ModelBuilder::describe(StringRef name) {
  SmallVector<Attribute> eos;
  for (int64_t id : config.eos)
    eos.push_back(builder.getI64IntegerAttr(id));
  NamedAttrList entries;
  entries.set("name", builder.getStringAttr(name));
  entries.set("family", builder.getStringAttr(nameOf(config.family)));
  entries.set("vocabulary", builder.getI64IntegerAttr(config.vocabulary));
  entries.set("max_context", builder.getI64IntegerAttr(config.maxContext));
  entries.set("eos", builder.getArrayAttr(eos));
  if (config.bos)
    entries.set("bos", builder.getI64IntegerAttr(*config.bos));
  return entries.getDictionary(builder.getContext());
}

static nn::RopeKind kindOf(RopeConfig::Kind kind) {
  switch (kind) {
  case RopeConfig::Kind::Default:
    return nn::RopeKind::standard;
  case RopeConfig::Kind::Linear:
    return nn::RopeKind::linear;
  case RopeConfig::Kind::Llama3:
    return nn::RopeKind::llama3;
  case RopeConfig::Kind::Yarn:
    return nn::RopeKind::yarn;
  }
  llvm_unreachable("every kind is listed");
}

llvm::Expected<OwningOpRef<ModuleOp>> ModelBuilder::build(StringRef directory,
                                                          StringRef name) {
  MLIRContext *context = builder.getContext();
  chooseElementType();
  using llvm::APFloat;
  rope = nn::RopeAttr::get(
      context, kindOf(config.rope.kind), config.headDim,
      APFloat(config.rope.theta), APFloat(config.rope.factor),
      APFloat(config.rope.low), APFloat(config.rope.high), config.rope.original,
      APFloat(config.rope.attentionFactor), config.rope.truncate);

  OwningOpRef<ModuleOp> module = ModuleOp::create(location);
  module.get()->setAttr("headrace.checkpoint",
                        builder.getStringAttr(directory));
  module.get()->setAttr("headrace.model", describe(name));
  builder.setInsertionPointToEnd(module->getBody());

  // The cache of narrow weights is bfloat16 whichever they are: float16 could
  // overflow.
  Type cacheElement = dtype == DType::F32 ? Type(builder.getF32Type())
                                          : Type(builder.getBF16Type());
  auto cacheType =
      nn::KvCacheType::get(context, config.layers.size(), config.kvHeads,
                           config.headDim, cacheElement);
  auto ids =
      RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  function = func::FuncOp::create(
      builder, location, "forward",
      builder.getFunctionType({ids, ids, ids, ids, cacheType},
                              {rows(config.vocabulary), cacheType}));
  StringRef roles[] = {"tokens", "positions", "sequences", "output_rows"};
  for (auto [i, role] : llvm::enumerate(roles))
    function.setArgAttr(i, "headrace.role", builder.getStringAttr(role));
  Block *entry = function.addEntryBlock();
  Value tokens = entry->getArgument(0), outputRows = entry->getArgument(3);
  positions = entry->getArgument(1);
  sequences = entry->getArgument(2);
  cache = entry->getArgument(4);
  builder.setInsertionPointToEnd(entry);

  Value table =
      weight("model.embed_tokens", {config.vocabulary, config.hidden});
  Value x = nn::EmbedOp::create(builder, location, rows(config.hidden), tokens,
                                table);
  for (size_t i = 0; i < config.layers.size() && message.empty(); ++i)
    x = layer(x, i);
  location = builder.getUnknownLoc();
  x = nn::EmbedOp::create(builder, location, rows(config.hidden), outputRows,
                          x);
  x = norm(x, "model.norm");
  Value logits =
      config.tiedEmbeddings
          ? product(x, table)
          : product(x, weight("lm_head", {config.vocabulary, config.hidden}));
  func::ReturnOp::create(builder, location, ValueRange{logits, cache});

  if (!message.empty())
    return makeError(message);
  for (const TensorInfo &info : checkpoint.tensors()) {
    // Old files carry the rotary frequencies, which config.json defines.
    if (bound.contains(info.name) ||
        StringRef(info.name).ends_with("rotary_emb.inv_freq"))
      continue;
    const TensorInfo *embedding = checkpoint.find("model.embed_tokens.weight");
    if (config.tiedEmbeddings && info.name == "lm_head.weight") {
      // Some files repeat the embedding under this name.
      llvm::Expected<bool> same = sameBytes(directory, info, *embedding);
      if (!same)
        return same.takeError();
      if (*same)
        continue;
      return makeError(info.file +
                       ": tensor 'lm_head.weight' differs from "
                       "'model.embed_tokens.weight', but config.json ties "
                       "them");
    }
    return makeError(info.file + ": tensor " + quote(info.name) +
                     " has no place in a " + nameOf(config.family) +
                     " model of this config.json");
  }

  // A diagnostic here is a mistake of ours, but it is still one error line.
  FirstDiagnostic diagnostic(context);
  if (failed(verify(*module)))
    return makeError("the imported module is not valid: " + diagnostic.text());
  return module;
}

llvm::Expected<OwningOpRef<ModuleOp>>
importCheckpoint(StringRef directory, MLIRContext &context,
                 const ImportOptions &options) {
  context.loadDialect<arith::ArithDialect, func::FuncDialect, nn::NnDialect,
                      moe::MoeDialect, tier::TierDialect>();
  llvm::SmallString<256> absolute;
  if (std::error_code code = llvm::sys::fs::real_path(directory, absolute))
    return makeError(directory + ": cannot be read: " + code.message());
  llvm::Expected<ModelConfig> config = readModelConfig(absolute);
  if (!config)
    return inDirectory(directory, config.takeError());
  llvm::Expected<Checkpoint> checkpoint = Checkpoint::open(absolute);
  if (!checkpoint)
    return inDirectory(directory, checkpoint.takeError());
  StringRef name = options.name.empty() ? llvm::sys::path::filename(absolute)
                                        : StringRef(options.name);
  auto module =
      ModelBuilder(context, *config, *checkpoint).build(absolute, name);
  if (!module)
    return inDirectory(directory, module.takeError());
  return module;
}

} // namespace headrace
