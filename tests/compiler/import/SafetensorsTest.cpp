// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the reader of safetensors accepts, and every way to refuse a file.
#include "compiler/import/Safetensors.h"

#include "tests/compiler/import/Files.h"

using namespace headrace;
using namespace headrace::test;

namespace {

/// The error of a file "f" with that header and data.
std::string headerError(llvm::StringRef header, size_t dataBytes) {
  std::string bytes = safetensors(header, dataBytes);
  std::string error = errorOf(parseSafetensorsHeader(bytes, bytes.size(), "f"));
  expectOneLine(error);
  return error;
}

TEST(Safetensors, ReadsOneFile) {
  TempDir dir;
  std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
      R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
      R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[28,36]},)"
      R"("empty":{"dtype":"F16","shape":[0,7],"data_offsets":[28,28]}}   )";
  dir.write("model.safetensors", safetensors(header, 36));
  llvm::Expected<Checkpoint> checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(bool(checkpoint)) << errorOf(std::move(checkpoint));
  ASSERT_EQ(checkpoint->tensors().size(), 4u);
  EXPECT_EQ(checkpoint->tensors()[0].name, "a");
  const TensorInfo *b = checkpoint->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, DType::F32);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b->file, "model.safetensors");
  EXPECT_EQ(b->offset, 8 + header.size() + 4);
  EXPECT_EQ(b->bytes, 24u);
  EXPECT_EQ(checkpoint->find("empty")->bytes, 0u);
  EXPECT_EQ(checkpoint->find("c"), nullptr);
}

TEST(Safetensors, EscapedNamesAreDecoded) {
  std::string bytes = safetensors(
      R"({"a\u0062":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  auto tensors = parseSafetensorsHeader(bytes, bytes.size(), "f");
  ASSERT_TRUE(bool(tensors)) << errorOf(std::move(tensors));
  EXPECT_EQ(tensors->at(0).name, "ab");
}

TEST(Safetensors, RefusesDamagedHeaders) {
  EXPECT_EQ(errorOf(parseSafetensorsHeader("1234567", 7, "f")),
            "f: has 7 bytes, too few for a safetensors file");
  EXPECT_EQ(errorOf(parseSafetensorsHeader("", 0, "f")),
            "f: has 0 bytes, too few for a safetensors file");
  std::string past = safetensors("{}", 0);
  past[0] = 3;
  EXPECT_EQ(errorOf(parseSafetensorsHeader(past, past.size(), "f")),
            "f: the header says that it has 3 bytes, but the file has 10");
  past.replace(0, 8, 8, '\xff');
  EXPECT_EQ(errorOf(parseSafetensorsHeader(past, past.size(), "f")),
            "f: the header says that it has 18446744073709551615 bytes, but "
            "the file has 10");
  // A length that fits the file but no sane header.
  std::string large = safetensors("{}", 0);
  llvm::support::endian::write64le(large.data(), 200'000'000);
  EXPECT_EQ(errorOf(parseSafetensorsHeader(large, uint64_t(1) << 40, "f")),
            "f: the header has 200000000 bytes, more than the limit of "
            "100000000");
  EXPECT_EQ(errorOf(parseSafetensorsHeader(safetensors("{}", 0).substr(0, 9),
                                           10, "f")),
            "f: ends inside the header");
  EXPECT_TRUE(llvm::StringRef(headerError("{\"a\":", 0))
                  .starts_with("f: not valid JSON: "));
  EXPECT_TRUE(llvm::StringRef(headerError("\xff\xfe", 0))
                  .starts_with("f: not valid JSON: "));
  EXPECT_TRUE(
      llvm::StringRef(headerError("", 0)).starts_with("f: not valid JSON: "));
  EXPECT_EQ(headerError("[]", 0), "f: expected a JSON object at the top");
  EXPECT_EQ(headerError(std::string(100000, '['), 0),
            "f: nested deeper than 32 levels");
}

TEST(Safetensors, EveryTruncationIsRefused) {
  std::string whole = safetensors(
      R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", 12);
  for (size_t size = 0; size < whole.size(); ++size)
    expectOneLine(
        errorOf(parseSafetensorsHeader(whole.substr(0, size), size, "f")));
  EXPECT_EQ(errorOf(parseSafetensorsHeader(whole, whole.size(), "f")), "");
}

TEST(Safetensors, RefusesBadEntries) {
  EXPECT_EQ(headerError(R"({"a":1})", 0),
            "f: tensor 'a' is not described by an object");
  EXPECT_EQ(headerError(R"({"a":{}})", 0), "f: tensor 'a' has no 'dtype'");
  EXPECT_EQ(headerError(R"({"a":{"dtype":"F99"}})", 0),
            "f: tensor 'a' has the unknown dtype 'F99'");
  EXPECT_EQ(headerError(R"({"a":{"dtype":"F32"}})", 0),
            "f: tensor 'a' has no 'shape'");
  EXPECT_EQ(headerError(R"({"a":{"dtype":"F32","shape":[-1]}})", 0),
            "f: tensor 'a' has a dimension that is not a whole number of at "
            "least 0");
  EXPECT_EQ(headerError(R"({"a":{"dtype":"F32","shape":[1.5]}})", 0),
            "f: tensor 'a' has a dimension that is not a whole number of at "
            "least 0");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1]}})", 0),
      "f: tensor 'a' has 9 dimensions, more than 8");
  EXPECT_EQ(headerError(R"({"a":{"dtype":"F32","shape":[1]}})", 0),
            "f: tensor 'a' has no pair 'data_offsets'");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 0),
      "f: tensor 'a' has no pair 'data_offsets'");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})",
                  0),
      "f: tensor 'a' has a data offset that is not a whole number of at least "
      "0");
  EXPECT_EQ(
      headerError(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4),
      "f: tensor 'a' has the unknown key 'x'");
}

TEST(Safetensors, RefusesBadRanges) {
  EXPECT_EQ(headerError(
                R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3),
            "f: tensor 'a' ends at byte 4, but the file has 3 bytes of data");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"F32","shape":[1],)"
                  R"("data_offsets":[0,18446744073709551615]}})",
                  4),
      "f: tensor 'a' ends at byte 18446744073709551615, but the file has 4 "
      "bytes of data");
  EXPECT_EQ(headerError(
                R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4),
            "f: tensor 'a' ends at byte 0, before it begins at byte 4");
  EXPECT_EQ(headerError(
                R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
            "f: tensor 'a' of F32 [2] needs 8 bytes, but has 4");
  EXPECT_EQ(headerError(
                R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1),
            "f: tensor 'a' of F4 [3] has no size in bytes");
  // 2^62 * 4 and 2^32 * 2^32 elements overflow 64 bits.
  EXPECT_EQ(headerError(R"({"a":{"dtype":"F32","shape":[4611686018427387904],)"
                        R"("data_offsets":[0,0]}})",
                        0),
            "f: tensor 'a' of F32 [4611686018427387904] has no size in bytes");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],)"
                  R"("data_offsets":[0,0]}})",
                  0),
      "f: tensor 'a' of F32 [4294967296, 4294967296] has no size in bytes");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                  6),
      "f: tensors 'a' and 'b' overlap");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                  R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                  4),
      "f: tensors 'a' and 'b' overlap");
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                  6),
      "f: bytes 2 to 4 of the data belong to no tensor");
  EXPECT_EQ(headerError(
                R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 9),
            "f: bytes 2 to 9 of the data belong to no tensor");
}

TEST(Safetensors, RefusesNamesGivenTwice) {
  EXPECT_EQ(
      headerError(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                  2),
      "f: names 'a' twice");
  EXPECT_EQ(headerError(
                R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                R"("\u0061":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                2),
            "f: names 'a' twice");
}

TEST(Safetensors, NamesInErrorsStayOnOneLine) {
  std::string error = headerError(R"({"a\nb\u0000":1})", 0);
  EXPECT_EQ(error, "f: tensor 'a\\0Ab\\00' is not described by an object");
  error = headerError("{\"" + std::string(5000, 'x') + "\":1}", 0);
  EXPECT_LT(error.size(), 300u);
}

constexpr llvm::StringLiteral oneTensor =
    R"({"NAME":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";

std::string fileWith(llvm::StringRef name) {
  std::string header = oneTensor.str();
  header.replace(header.find("NAME"), 4, name.str());
  return safetensors(header, 2);
}

TEST(Checkpoint, ReadsShards) {
  TempDir dir;
  dir.write("one.safetensors", fileWith("a"));
  dir.write("two.safetensors", fileWith("b"));
  dir.write("model.safetensors.index.json",
            R"({"metadata":{"total_size":4},"weight_map":)"
            R"({"b":"two.safetensors","a":"one.safetensors"}})");
  llvm::Expected<Checkpoint> checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(bool(checkpoint)) << errorOf(std::move(checkpoint));
  EXPECT_EQ(checkpoint->find("a")->file, "one.safetensors");
  EXPECT_EQ(checkpoint->find("b")->file, "two.safetensors");
}

TEST(Checkpoint, RefusesBadShards) {
  TempDir dir;
  constexpr llvm::StringLiteral index = "model.safetensors.index.json";
  auto error = [&] {
    std::string message = errorOf(Checkpoint::open(dir.path()));
    expectOneLine(message);
    return message;
  };
  EXPECT_EQ(
      error(),
      (dir.path() + ": has neither model.safetensors nor " + index).str());
  EXPECT_EQ(errorOf(Checkpoint::open(dir.file("absent"))),
            dir.file("absent") + ": not a directory");

  dir.write(index, "{");
  EXPECT_EQ(llvm::StringRef(error()).take_front(46),
            "model.safetensors.index.json: not valid JSON: ");
  dir.write(index, "{}");
  EXPECT_EQ(error(), index.str() + ": has no object 'weight_map'");
  dir.write(index, R"({"weight_map":{}})");
  EXPECT_EQ(error(), index.str() + ": 'weight_map' names no tensor");
  dir.write(index, R"({"weight_map":{"a":1}})");
  EXPECT_EQ(error(), index.str() + ": tensor 'a' has no file name");
  for (llvm::StringRef outside : {"../x", "/etc/passwd", "..", ""}) {
    dir.write(index, (R"({"weight_map":{"a":")" + outside + R"("}})").str());
    EXPECT_EQ(error(), (index + ": tensor 'a' is in '" + outside +
                        "', which is not a plain file name")
                           .str());
  }
  dir.write(index, R"({"weight_map":{"a":"one","a":"one"}})");
  EXPECT_EQ(error(), index.str() + ": names 'a' twice");

  dir.write(index, R"({"weight_map":{"a":"one","b":"two"}})");
  dir.write("one", fileWith("a"));
  EXPECT_EQ(error(), "two: missing, but model.safetensors.index.json places "
                     "tensor 'b' in it");
  dir.write("two", fileWith("c"));
  EXPECT_EQ(error(), "two: has no tensor 'b', but "
                     "model.safetensors.index.json places it there");
  dir.write("two", fileWith("a"));
  EXPECT_EQ(error(), "two: tensor 'a' is also in one");
  dir.write("two", fileWith("b"));
  EXPECT_EQ(errorOf(Checkpoint::open(dir.path())), "");
  dir.write(index, R"({"weight_map":{"a":"two","b":"one"}})");
  EXPECT_EQ(error(), "two: has no tensor 'a', but "
                     "model.safetensors.index.json places it there");
  dir.write(
      "two",
      safetensors(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("c":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                  4));
  dir.write(index, R"({"weight_map":{"a":"one","b":"two"}})");
  EXPECT_EQ(error(), "two: has a tensor 'c' that "
                     "model.safetensors.index.json does not name");
  dir.write("two", "short");
  EXPECT_EQ(error(), "two: has 5 bytes, too few for a safetensors file");
}

TEST(Checkpoint, RefusesWhatIsNoFile) {
  TempDir dir;
  ASSERT_FALSE(llvm::sys::fs::create_directory(dir.file("model.safetensors")));
  EXPECT_EQ(errorOf(Checkpoint::open(dir.path())),
            "model.safetensors: not a regular file");
}

} // namespace
