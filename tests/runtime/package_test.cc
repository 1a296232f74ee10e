// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of the package file: damage of every kind, queries, verification.
#include "tests/runtime/harness.h"

#include "runtime/abi/package_format.h"
#include "runtime/src/package.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <unistd.h>

namespace headrace::tests {
namespace {

constexpr size_t kHeaderBytes = sizeof(headrace_package_header_t);

uint64_t ManifestBytes(const std::vector<uint8_t> &file) {
  headrace_package_header_t header;
  std::memcpy(&header, file.data(), sizeof(header));
  return header.manifest_bytes;
}

headrace_status_t OpenMemory(headrace_instance_t *instance,
                             const std::vector<uint8_t> &file) {
  // An exact copy, so that reading behind the end is seen by the sanitizer.
  std::unique_ptr<uint8_t[]> exact(new uint8_t[file.size()]);
  std::copy(file.begin(), file.end(), exact.get());
  headrace_package_t *package;
  headrace_status_t status =
      runtime::OpenPackageFromMemory(instance, exact.get(), file.size(), {},
                                     &package)
          .Release();
  headrace_package_release(package);
  return status;
}

TEST(PackageFile, EveryFlippedByteOfHeaderAndManifestIsSeen) {
  const std::vector<uint8_t> file = SmallToyFile();
  Instance instance = MakeInstance();
  for (size_t i = 0; i < kHeaderBytes + ManifestBytes(file); ++i) {
    std::vector<uint8_t> damaged = file;
    damaged[i] ^= 0xff;
    Outcome outcome(OpenMemory(instance.get(), damaged));
    EXPECT_NE(outcome.code, HEADRACE_STATUS_OK) << "byte " << i;
  }
}

/// The same with digests made right again, so that the checks behind them are
/// reached: any status, no crash.
TEST(PackageFile, EveryFlippedByteOfTheManifestIsHarmless) {
  const std::vector<uint8_t> file = SmallToyFile();
  const uint64_t manifest_bytes = ManifestBytes(file);
  Instance instance = MakeInstance();
  size_t accepted = 0;
  for (size_t i = kHeaderBytes; i < kHeaderBytes + manifest_bytes; ++i)
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      std::vector<uint8_t> damaged = file;
      damaged[i] ^= flip;
      SealToyFile(&damaged, manifest_bytes);
      Outcome outcome(OpenMemory(instance.get(), damaged));
      EXPECT_NE(outcome.code, HEADRACE_STATUS_INTERNAL) << "byte " << i;
      accepted += outcome.code == HEADRACE_STATUS_OK;
    }
  // Names, digests and padding may change; most of the rest may not.
  EXPECT_GT(accepted, 0u);
}

TEST(PackageFile, EveryTruncationThroughTheManifestIsSeen) {
  const std::vector<uint8_t> file = SmallToyFile();
  Instance instance = MakeInstance();
  for (size_t size = 0; size <= kHeaderBytes + ManifestBytes(file); ++size) {
    std::vector<uint8_t> cut(file.begin(),
                             file.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_TRUE(FailsWith(OpenMemory(instance.get(), cut),
                          HEADRACE_STATUS_DATA_LOSS, "header"))
        << "size " << size;
  }
}

TEST(PackageFile, RandomLengthsAndSectionEndsAreSeen) {
  const std::vector<uint8_t> file = SmallToyFile();
  TemporaryFile disk(file);
  Instance instance = MakeInstance();
  std::unique_ptr<abi::ManifestT> manifest = SmallToyManifest();
  ToyFile(*manifest);
  std::vector<size_t> sizes = {file.size() - 1, file.size() + 1};
  for (int step : {-1, 0, 1}) {
    auto add = [&](uint64_t end) {
      sizes.push_back(static_cast<size_t>(static_cast<int64_t>(end) + step));
    };
    add(manifest->code[0]->offset);
    add(manifest->code[0]->offset + manifest->code[0]->bytes);
    for (const auto &blob : manifest->blobs) {
      add(blob->offset);
      add(blob->offset + blob->bytes);
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i)
    sizes.push_back(random() % file.size());
  // From the longest on, so that each is a cut of the one before.
  std::sort(sizes.rbegin(), sizes.rend());
  for (size_t size : sizes) {
    if (size == file.size())
      continue;
    ASSERT_EQ(truncate(disk.Path(), static_cast<off_t>(size)), 0);
    headrace_package_t *package;
    EXPECT_TRUE(FailsWith(
        headrace_package_open(instance.get(), disk.Path(), nullptr, &package),
        HEADRACE_STATUS_DATA_LOSS, disk.Path()))
        << "size " << size;
    EXPECT_EQ(package, nullptr);
  }
}

TEST(PackageFile, EveryFlippedByteOfTheCodeIsSeen) {
  std::unique_ptr<abi::ManifestT> manifest = ToyManifest();
  const std::vector<uint8_t> file = ToyFile(*manifest);
  Instance instance = MakeInstance();
  for (size_t i = 0; i < manifest->code[0]->bytes; ++i) {
    std::vector<uint8_t> damaged = file;
    damaged[manifest->code[0]->offset + i] ^= 1;
    EXPECT_TRUE(FailsWith(OpenMemory(instance.get(), damaged),
                          HEADRACE_STATUS_DATA_LOSS, "code: digest"));
  }
}

TEST(PackageFile, OtherVersionsAreNamed) {
  std::vector<uint8_t> file = ToyFile();
  file[8] = 2;
  Instance instance = MakeInstance();
  EXPECT_TRUE(FailsWith(OpenMemory(instance.get(), file),
                        HEADRACE_STATUS_UNIMPLEMENTED, "package version 2"));
}

TEST(PackageFile, BadPaths) {
  Instance instance = MakeInstance();
  headrace_package_t *package;
  auto open = [&](const char *path) {
    return headrace_package_open(instance.get(), path, nullptr, &package);
  };
  EXPECT_TRUE(FailsWith(open("/no/such/file.headrace"),
                        HEADRACE_STATUS_NOT_FOUND, "/no/such/file.headrace"));
  EXPECT_TRUE(FailsWith(open("/tmp"), HEADRACE_STATUS_INVALID_ARGUMENT,
                        "regular file"));
  EXPECT_TRUE(FailsWith(open("/dev/null"), HEADRACE_STATUS_INVALID_ARGUMENT,
                        "regular file"));
  EXPECT_TRUE(FailsWith(open(nullptr), HEADRACE_STATUS_INVALID_ARGUMENT));
  EXPECT_TRUE(FailsWith(headrace_package_open(nullptr, "x", nullptr, &package),
                        HEADRACE_STATUS_INVALID_ARGUMENT));
  TemporaryFile empty({});
  EXPECT_TRUE(FailsWith(open(empty.Path()), HEADRACE_STATUS_DATA_LOSS));
  TemporaryFile text({'h', 'e', 'l', 'l', 'o'});
  EXPECT_TRUE(FailsWith(open(text.Path()), HEADRACE_STATUS_DATA_LOSS));
}

TEST(PackageVerify, ComparesChunksAndPadding) {
  std::unique_ptr<abi::ManifestT> manifest = ToyManifest();
  const std::vector<uint8_t> file = ToyFile(*manifest);
  TemporaryFile disk(file);
  Instance instance = MakeInstance();
  EXPECT_TRUE(IsOk(headrace_package_verify(
      OpenFile(instance.get(), disk.Path()).get(), nullptr)));

  auto damage_at = [&](uint64_t offset) {
    std::vector<uint8_t> damaged = file;
    damaged[offset] ^= 1;
    disk.Write(damaged);
    Package package = OpenFile(instance.get(), disk.Path());
    return headrace_package_verify(package.get(), nullptr);
  };
  EXPECT_TRUE(FailsWith(damage_at(manifest->blobs[0]->offset),
                        HEADRACE_STATUS_DATA_LOSS,
                        "blob #0 ('weight.0'): chunk 0"));
  EXPECT_TRUE(FailsWith(damage_at(file.size() - 1), HEADRACE_STATUS_DATA_LOSS,
                        "blob #1 ('weight.1'): chunk 1"));
  EXPECT_TRUE(FailsWith(damage_at(manifest->code[0]->offset - 1),
                        HEADRACE_STATUS_DATA_LOSS, "padding"));
  EXPECT_TRUE(FailsWith(damage_at(manifest->blobs[0]->offset - 1),
                        HEADRACE_STATUS_DATA_LOSS, "padding"));
}

TEST(PackageVerify, CanBeCancelledAndTellsProgress) {
  TemporaryFile disk(ToyFile());
  Instance instance = MakeInstance();
  Package package = OpenFile(instance.get(), disk.Path());
  uint64_t last = 0;
  auto options = sized<headrace_verify_options_t>();
  options.progress = [](void *user, uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    *static_cast<uint64_t *>(user) = done;
  };
  options.user_data = &last;
  EXPECT_TRUE(IsOk(headrace_package_verify(package.get(), &options)));
  EXPECT_GT(last, 0u);
  headrace_cancel_t cancel = {};
  headrace_cancel_request(&cancel);
  options.cancel = &cancel;
  EXPECT_TRUE(FailsWith(headrace_package_verify(package.get(), &options),
                        HEADRACE_STATUS_CANCELLED));
}

TEST(PackageQueries, DescribeTheToy) {
  TemporaryFile disk(ToyFile());
  Instance instance = MakeInstance();
  Package package = OpenFile(instance.get(), disk.Path());

  auto info = sized<headrace_package_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_info(package.get(), &info)));
  EXPECT_STREQ(info.model, "toy model");
  EXPECT_STREQ(info.target, "cpu");
  EXPECT_EQ(info.vocabulary, uint32_t(TOY_VOCABULARY));
  ASSERT_EQ(info.end_token_count, 2u);
  EXPECT_EQ(info.end_tokens[0], TOY_VOCABULARY - 1);
  EXPECT_EQ(info.end_tokens[1], 2);
  EXPECT_EQ(info.kv_max_pages, uint32_t(TOY_MAX_PAGES));
  EXPECT_EQ(info.entry_count, 8u);
  EXPECT_EQ(info.blob_bytes, TOY_VOCABULARY * 4u + 4196u);

  auto level = sized<headrace_level_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_level(package.get(), 0, &level)));
  EXPECT_STREQ(level.name, "dram");
  EXPECT_EQ(level.arena_bytes, kToyMaxTokens * 4u);
  EXPECT_EQ(level.peak_bytes, 64u);

  auto blob = sized<headrace_blob_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_blob(package.get(), 1, &blob)));
  EXPECT_EQ(blob.bytes, 4196u);
  EXPECT_EQ(blob.blake3[31], 1);
  auto weight = sized<headrace_weight_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_weight(package.get(), 1, &weight)));
  EXPECT_STREQ(weight.name, "weight.1");
  auto buffer = sized<headrace_buffer_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_buffer(package.get(), 7, &buffer)));
  EXPECT_STREQ(buffer.role, "logits");
  EXPECT_EQ(buffer.kind, HEADRACE_BUFFER_OUTPUT);
  auto kernel = sized<headrace_kernel_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_kernel(package.get(), 2, &kernel)));
  EXPECT_STREQ(kernel.name, "logits");
  EXPECT_EQ(kernel.scratch_bytes, TOY_VOCABULARY * 4u);

  uint32_t index = 99;
  ASSERT_TRUE(
      IsOk(headrace_package_find_entry(package.get(), "scale", &index)));
  EXPECT_EQ(index, uint32_t(kScale));
  EXPECT_TRUE(
      FailsWith(headrace_package_find_entry(package.get(), "none", &index),
                HEADRACE_STATUS_NOT_FOUND, "none"));
  auto entry = sized<headrace_entry_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_entry(package.get(), 0, &entry)));
  EXPECT_EQ(entry.input_count, 6u);
  EXPECT_EQ(entry.outputs[0], 7u);
  auto launch = sized<headrace_launch_info_t>();
  ASSERT_TRUE(IsOk(headrace_package_launch(package.get(), 0, 2, &launch)));
  EXPECT_EQ(launch.kernel, 2u);
  EXPECT_EQ(launch.weight_count, 1u);
  EXPECT_TRUE(FailsWith(headrace_package_launch(package.get(), 0, 3, &launch),
                        HEADRACE_STATUS_OUT_OF_RANGE));
  EXPECT_TRUE(FailsWith(headrace_package_launch(package.get(), 9, 0, &launch),
                        HEADRACE_STATUS_OUT_OF_RANGE));
  EXPECT_TRUE(FailsWith(headrace_package_level(package.get(), 1, &level),
                        HEADRACE_STATUS_OUT_OF_RANGE));
  EXPECT_TRUE(FailsWith(headrace_package_info(package.get(), nullptr),
                        HEADRACE_STATUS_INVALID_ARGUMENT));
}

} // namespace
} // namespace headrace::tests
