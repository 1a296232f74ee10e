//===- sentencepiece_proto.h - Checking a SentencePiece model -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef HEADRACE_TOOLS_TOKENIZERS_SENTENCEPIECE_PROTO_H
#define HEADRACE_TOOLS_TOKENIZERS_SENTENCEPIECE_PROTO_H

#include "tools/tokenizers/tokenizer.h"

namespace headrace::tokenizers {

/// What decoding needs of a model, in the terms of sentencepiece_model.proto.
struct SentencePieceModel {
  enum PieceType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
  };
  struct Piece {
    std::string text;
    PieceType type = Normal;
    /// The byte of a Byte piece.
    unsigned char byte = 0;
  };
  std::vector<Piece> pieces;
  bool addDummyPrefix = true;
  bool removeExtraWhitespaces = true;
  std::string unknownSurface = " \xE2\x81\x87 ";
  int32_t bosId = 1;
  int32_t eosId = 2;
};

/// Reads the serialized ModelProto in `bytes` and checks what libsentencepiece
/// takes on trust. Models that we decode differently from it are refused.
Status readSentencePieceModel(std::string_view bytes,
                              SentencePieceModel &model);

} // namespace headrace::tokenizers

#endif // HEADRACE_TOOLS_TOKENIZERS_SENTENCEPIECE_PROTO_H
