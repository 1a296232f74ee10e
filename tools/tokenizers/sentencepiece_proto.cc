//===- sentencepiece_proto.cc - Checking a SentencePiece model ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/tokenizers/sentencepiece_proto.h"

#include "tools/tokenizers/tokenizer_config.h"
#include "tools/tokenizers/utf8.h"

#include <cctype>
#include <cmath>
#include <cstring>

namespace headrace::tokenizers {

namespace {

constexpr size_t kMaxPieceBytes = 1024;

/// Walks the fields of one serialized protobuf message.
class MessageReader {
public:
  explicit MessageReader(std::string_view bytes) : rest(bytes) {}

  struct Field {
    unsigned number = 0;
    unsigned wireType = 0;
    uint64_t value = 0;
    std::string_view bytes;

    bool isVarint() const { return wireType == 0; }
    bool isBytes() const { return wireType == 2; }
    bool isFixed32() const { return wireType == 5; }
  };

  /// False at the end of the message or at a malformed field; see `bad`.
  bool next(Field &field) {
    if (rest.empty())
      return false;
    uint64_t tag;
    if (!varint(tag) || (tag >> 3) == 0 || (tag >> 3) > 0x1FFFFFFF)
      return fail();
    field.number = static_cast<unsigned>(tag >> 3);
    field.wireType = tag & 7;
    field.bytes = {};
    field.value = 0;
    switch (field.wireType) {
    case 0:
      return varint(field.value) || fail();
    case 1:
      return fixed(8, field.value) || fail();
    case 2: {
      uint64_t size;
      if (!varint(size) || size > rest.size())
        return fail();
      field.bytes = rest.substr(0, size);
      rest.remove_prefix(size);
      return true;
    }
    case 5:
      return fixed(4, field.value) || fail();
    default:
      return fail();
    }
  }

  bool bad() const { return malformed; }

private:
  bool fail() {
    malformed = true;
    return false;
  }

  bool varint(uint64_t &value) {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest.empty())
        return false;
      uint64_t byte = static_cast<unsigned char>(rest.front());
      rest.remove_prefix(1);
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80)
        return true;
    }
    return false;
  }

  bool fixed(size_t size, uint64_t &value) {
    if (rest.size() < size)
      return false;
    for (size_t i = 0; i < size; ++i)
      value |= uint64_t(static_cast<unsigned char>(rest[i])) << (8 * i);
    rest.remove_prefix(size);
    return true;
  }

  std::string_view rest;
  bool malformed = false;
};

using Field = MessageReader::Field;

Status malformed() { return Status::error("not a SentencePiece model"); }

Status unsupported(const std::string &what) {
  return Status::error(what + " is not supported");
}

Status readPiece(std::string_view bytes, size_t index,
                 SentencePieceModel::Piece &piece) {
  std::string where = "piece #" + std::to_string(index);
  MessageReader reader(bytes);
  Field field;
  while (reader.next(field)) {
    if (field.number == 1 && field.isBytes()) {
      piece.text = field.bytes;
    } else if (field.number == 2 && field.isFixed32()) {
      uint32_t bits = static_cast<uint32_t>(field.value);
      float score;
      std::memcpy(&score, &bits, sizeof(score));
      if (!std::isfinite(score))
        return Status::error(where + " has a score that is not finite");
    } else if (field.number == 3 && field.isVarint()) {
      if (field.value < SentencePieceModel::Normal ||
          field.value > SentencePieceModel::Byte)
        return unsupported(where + " of type " + std::to_string(field.value));
      piece.type = static_cast<SentencePieceModel::PieceType>(field.value);
    } else if (field.number <= 3) {
      return malformed();
    }
  }
  if (reader.bad())
    return malformed();
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes ||
      findMalformedUtf8(piece.text) != std::string_view::npos)
    return Status::error(where + " is not 1 to " +
                         std::to_string(kMaxPieceBytes) + " bytes of UTF-8");
  // The library resolves these by recursion; trained models have none.
  if (piece.type == SentencePieceModel::Unused)
    return unsupported(where + " of type UNUSED");
  if (piece.type == SentencePieceModel::Byte) {
    const std::string &text = piece.text;
    auto digit = [](char c) {
      return c >= '0' && c <= '9'   ? c - '0'
             : c >= 'A' && c <= 'F' ? c - 55
                                    : -1;
    };
    if (text.size() != 6 || text.compare(0, 3, "<0x") != 0 || text[5] != '>' ||
        digit(text[3]) < 0 || digit(text[4]) < 0)
      return Status::error(where + " is of type BYTE but is not like <0x0A>");
    piece.byte =
        static_cast<unsigned char>(digit(text[3]) * 16 + digit(text[4]));
  }
  return {};
}

/// A trained rule set: a Darts double array that leads into a blob of strings.
/// The library follows its offsets unchecked, so we check them all here.
Status checkCharsMap(std::string_view map) {
  if (map.empty())
    return {};
  auto word = [&](size_t offset) {
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i)
      value |= uint32_t(static_cast<unsigned char>(map[offset + i])) << (8 * i);
    return value;
  };
  Status broken = Status::error("its normalization rules are broken");
  if (map.size() < 8)
    return broken;
  size_t trieBytes = word(0);
  if (trieBytes > map.size() - 4 || trieBytes % 1024 != 0 || trieBytes == 0)
    return broken;
  std::string_view strings = map.substr(4 + trieBytes);
  if (strings.empty() || strings.back() != '\0' ||
      findMalformedUtf8(strings) != std::string_view::npos)
    return broken;
  size_t units = trieBytes / 4;
  for (size_t i = 0; i < units; ++i) {
    uint32_t unit = word(4 + 4 * i);
    if (unit >> 31) {
      if ((unit & 0x7FFFFFFF) >= strings.size())
        return broken;
      continue;
    }
    // A step goes to this place with its low eight bits changed.
    size_t offset = size_t(unit >> 10) << ((unit & (1u << 9)) >> 6);
    if (((i ^ offset) | 0xFF) >= units)
      return broken;
  }
  return {};
}

Status readTrainerSpec(std::string_view bytes, uint64_t &modelType,
                       SentencePieceModel &model) {
  MessageReader reader(bytes);
  Field field;
  while (reader.next(field)) {
    switch (field.number) {
    case 3:
      if (!field.isVarint())
        return malformed();
      modelType = field.value;
      break;
    case 24:
      if (!field.isVarint())
        return malformed();
      if (field.value)
        return unsupported("treat_whitespace_as_suffix");
      break;
    case 41:
    case 42:
      if (!field.isVarint())
        return malformed();
      (field.number == 41 ? model.bosId : model.eosId) =
          field.value < static_cast<uint64_t>(kMaxTokens)
              ? static_cast<int32_t>(field.value)
              : -1;
      break;
    case 44:
      if (!field.isBytes() || field.bytes.size() > kMaxPieceBytes ||
          findMalformedUtf8(field.bytes) != std::string_view::npos)
        return malformed();
      model.unknownSurface = field.bytes;
      break;
    default:
      break;
    }
  }
  return reader.bad() ? malformed() : Status();
}

Status readNormalizerSpec(std::string_view bytes, SentencePieceModel &model) {
  MessageReader reader(bytes);
  Field field;
  while (reader.next(field)) {
    if (field.number == 2) {
      if (!field.isBytes())
        return malformed();
      Status status = checkCharsMap(field.bytes);
      if (!status.ok())
        return status;
    } else if (field.number >= 3 && field.number <= 5) {
      if (!field.isVarint())
        return malformed();
      bool value = field.value != 0;
      if (field.number == 3)
        model.addDummyPrefix = value;
      else if (field.number == 4)
        model.removeExtraWhitespaces = value;
      else if (!value)
        return unsupported("escape_whitespaces=false");
    }
  }
  return reader.bad() ? malformed() : Status();
}

} // namespace

Status readSentencePieceModel(std::string_view bytes,
                              SentencePieceModel &model) {
  MessageReader reader(bytes);
  Field field;
  uint64_t modelType = 1;
  size_t specs[2] = {0, 0};
  while (reader.next(field)) {
    if (field.number >= 1 && field.number <= 5 && !field.isBytes())
      return malformed();
    Status status;
    switch (field.number) {
    case 1:
      if (model.pieces.size() == static_cast<size_t>(kMaxTokens))
        return unsupported("a vocabulary of more than " +
                           std::to_string(kMaxTokens) + " pieces");
      model.pieces.emplace_back();
      status =
          readPiece(field.bytes, model.pieces.size() - 1, model.pieces.back());
      break;
    case 2:
      ++specs[0];
      status = readTrainerSpec(field.bytes, modelType, model);
      break;
    case 3:
      ++specs[1];
      status = readNormalizerSpec(field.bytes, model);
      break;
    case 5: {
      MessageReader denormalizer(field.bytes);
      Field inner;
      while (denormalizer.next(inner))
        if (inner.number == 2 && !inner.bytes.empty())
          return unsupported("a denormalizer");
      if (denormalizer.bad())
        return malformed();
      break;
    }
    default:
      break;
    }
    if (!status.ok())
      return status;
  }
  if (reader.bad() || model.pieces.empty() || specs[0] != 1 || specs[1] != 1)
    return malformed();
  if (modelType != 1 && modelType != 2) {
    const char *name = modelType == 3   ? "WORD"
                       : modelType == 4 ? "CHAR"
                                        : nullptr;
    return unsupported("SentencePiece model type " +
                       (name ? name : std::to_string(modelType)));
  }
  for (int32_t *id : {&model.bosId, &model.eosId})
    if (static_cast<size_t>(*id) >= model.pieces.size() ||
        model.pieces[*id].type != SentencePieceModel::Control)
      *id = -1;
  return {};
}

} // namespace headrace::tokenizers
