// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tests of transfer queues: bytes arrive checked, in order of urgency, and
// every fault is a status that names buffer and level.
#include "runtime/src/tier/transfer_queue.h"

#include "runtime/src/digest.h"
#include "runtime/src/mapping.h"
#include "tests/runtime/harness.h"
#include "tests/runtime/tier/faulty_source.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <random>
#include <thread>
#include <unistd.h>

namespace headrace::tests {
namespace {

using runtime::ByteSource;
using runtime::DefaultAllocator;
using runtime::FileSource;
using runtime::Mapping;
using runtime::MemorySource;
using runtime::Status;
using runtime::TransferJob;
using runtime::TransferPiece;
using runtime::TransferQueue;

constexpr uint64_t kChunk = 16384;
constexpr uint64_t kSecondNs = 1000000000;

std::vector<uint8_t> RandomBytes(size_t count) {
  std::mt19937_64 random(count);
  std::vector<uint8_t> bytes(count);
  for (uint8_t &byte : bytes)
    byte = uint8_t(random());
  return bytes;
}

/// Digests of the chunks of a range.
std::vector<uint64_t> DigestsOf(const std::vector<uint8_t> &bytes,
                                uint64_t offset, uint64_t count) {
  std::vector<uint64_t> digests;
  for (uint64_t at = 0; at < count; at += kChunk)
    digests.push_back(runtime::Digest(bytes.data() + offset + at,
                                      std::min(kChunk, count - at)));
  return digests;
}

/// A range of `bytes` that one job moves to the beginning of a buffer.
struct OneJob {
  OneJob(const std::vector<uint8_t> &bytes, uint64_t offset, uint64_t count,
         const char *name = "layer 3, expert 5")
      : digests(DigestsOf(bytes, offset, count)) {
    EXPECT_TRUE(IsOk(
        Mapping::Anonymous(DefaultAllocator(), count + 4096, "test", &memory)
            .Release()));
    piece.source = offset;
    piece.bytes = count;
    piece.room = (count + 4095) / 4096 * 4096;
    piece.digests = digests.data();
    piece.name = name;
    job.pieces = &piece;
    job.piece_count = 1;
    job.base = memory.Data();
  }
  bool Holds(const std::vector<uint8_t> &bytes) const {
    return std::memcmp(memory.Data(), bytes.data() + piece.source,
                       piece.bytes) == 0;
  }

  std::vector<uint64_t> digests;
  Mapping memory;
  TransferPiece piece;
  TransferJob job;
};

TransferQueue::Options QueueOptions(bool use_ring = false,
                                    uint32_t threads = 1) {
  TransferQueue::Options options;
  options.link = "disk";
  options.level = "arena";
  options.chunk_bytes = kChunk;
  options.depth = 4;
  options.threads = threads;
  options.use_ring = use_ring;
  return options;
}

/// A queue that ends with the test.
struct RunningQueue {
  RunningQueue(ByteSource *source, const TransferQueue::Options &options)
      : queue(DefaultAllocator()) {
    EXPECT_TRUE(IsOk(queue.Start(source, options).Release()));
  }
  ~RunningQueue() { EXPECT_TRUE(queue.Stop(10 * kSecondNs)); }
  TransferQueue queue;
};

/// How files are read: by ring or threads, around the page cache or not.
struct FileWay {
  bool ring;
  bool direct;
};

class TransferFromFile : public testing::TestWithParam<FileWay> {};

TEST_P(TransferFromFile, EveryRangeArrives) {
  const std::vector<uint8_t> bytes = RandomBytes(300001);
  TemporaryFile file(bytes);
  int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(descriptor, 0);
  {
    FileSource source;
    source.Open(descriptor, GetParam().direct);
    RunningQueue running(&source, QueueOptions(GetParam().ring, 2));
    TransferQueue &queue = running.queue;
    // Aligned and not, shorter and longer than a chunk, up to the last byte.
    const std::pair<uint64_t, uint64_t> ranges[] = {
        {0, 1},         {0, 4096},   {4096, kChunk},
        {8192, 100000}, {5, 50000},  {4096, 5 * kChunk + 77},
        {299008, 993},  {0, 300001}, {12288, 0}};
    std::vector<std::unique_ptr<OneJob>> jobs;
    for (auto [offset, count] : ranges)
      jobs.push_back(std::make_unique<OneJob>(bytes, offset, count));
    uint64_t sum = 0;
    for (int round = 0; round < 3; ++round) {
      for (auto &job : jobs) {
        std::memset(job->memory.Data(), 0, job->memory.Bytes());
        queue.Submit(&job->job);
      }
      for (auto &job : jobs) {
        EXPECT_TRUE(IsOk(queue.Wait(&job->job, nullptr, 0).Release()));
        EXPECT_TRUE(job->Holds(bytes)) << job->piece.source;
        EXPECT_LE(job->job.begin_ns, job->job.end_ns);
        sum += job->piece.bytes;
      }
    }
    auto counters = queue.Counters();
    EXPECT_EQ(counters.bytes, sum);
    EXPECT_EQ(counters.transfers, 3 * std::size(ranges));
    EXPECT_EQ(counters.failed, 0u);
    EXPECT_GT(counters.busy_ns, 0u);
  }
  close(descriptor);
}

TEST_P(TransferFromFile, NeverWritesBehindTheRoom) {
  const std::vector<uint8_t> bytes = RandomBytes(3 * 4096);
  TemporaryFile file(bytes);
  int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
  {
    FileSource source;
    source.Open(descriptor, GetParam().direct);
    RunningQueue running(&source, QueueOptions(GetParam().ring));
    OneJob job(bytes, 0, 5000);
    job.piece.room = 5000;
    std::memset(job.memory.Data(), 0xee, job.memory.Bytes());
    running.queue.Submit(&job.job);
    EXPECT_TRUE(IsOk(running.queue.Wait(&job.job, nullptr, 0).Release()));
    EXPECT_TRUE(job.Holds(bytes));
    for (uint64_t i = 5000; i < job.memory.Bytes(); ++i)
      ASSERT_EQ(job.memory.Data()[i], 0xee) << i;
  }
  close(descriptor);
}

TEST_P(TransferFromFile, CutFileIsDataLoss) {
  const std::vector<uint8_t> bytes = RandomBytes(100000);
  TemporaryFile file(bytes);
  int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
  {
    FileSource source;
    source.Open(descriptor, GetParam().direct);
    RunningQueue running(&source, QueueOptions(GetParam().ring));
    ASSERT_EQ(truncate(file.Path(), 40960), 0);
    OneJob job(bytes, 8192, 80000);
    running.queue.Submit(&job.job);
    Outcome outcome(running.queue.Wait(&job.job, nullptr, 0).Release());
    EXPECT_EQ(outcome.code, HEADRACE_STATUS_DATA_LOSS);
    EXPECT_NE(outcome.message.find("'layer 3, expert 5'"), std::string::npos)
        << outcome.message;
    EXPECT_NE(outcome.message.find("level 'arena'"), std::string::npos);
    EXPECT_EQ(running.queue.Counters().failed, 1u);
    // The queue goes on.
    OneJob good(bytes, 0, 40960);
    running.queue.Submit(&good.job);
    EXPECT_TRUE(IsOk(running.queue.Wait(&good.job, nullptr, 0).Release()));
    EXPECT_TRUE(good.Holds(bytes));
  }
  close(descriptor);
}

TEST_P(TransferFromFile, DamageIsFound) {
  std::vector<uint8_t> bytes = RandomBytes(100000);
  OneJob job(bytes, 4096, 90000);
  bytes[4096 + 2 * kChunk + 3] ^= 1;
  TemporaryFile file(bytes);
  int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
  {
    FileSource source;
    source.Open(descriptor, GetParam().direct);
    RunningQueue running(&source, QueueOptions(GetParam().ring));
    running.queue.Submit(&job.job);
    Outcome outcome(running.queue.Wait(&job.job, nullptr, 0).Release());
    EXPECT_EQ(outcome.code, HEADRACE_STATUS_DATA_LOSS);
    EXPECT_NE(outcome.message.find("digest does not match"), std::string::npos)
        << outcome.message;
  }
  close(descriptor);
}

TEST_P(TransferFromFile, ErrorNamesLinkBufferAndLevel) {
  // A directory opens, but cannot be read.
  int descriptor = open("/", O_RDONLY | O_CLOEXEC);
  {
    FileSource source;
    source.Open(descriptor, GetParam().direct);
    RunningQueue running(&source, QueueOptions(GetParam().ring));
    OneJob job(RandomBytes(8192), 0, 8192);
    running.queue.Submit(&job.job);
    Outcome outcome(running.queue.Wait(&job.job, nullptr, 0).Release());
    EXPECT_EQ(outcome.code, HEADRACE_STATUS_IO);
    EXPECT_EQ(outcome.message,
              "link 'disk': reading 'layer 3, expert 5' to level 'arena' "
              "failed at byte 0 of the package: Is a directory");
  }
  close(descriptor);
}

/// Pieces of these sizes, side by side from the first byte on.
struct SideBySide {
  SideBySide(const std::vector<uint8_t> &bytes,
             const std::vector<uint64_t> &sizes)
      : digests(sizes.size()), pieces(sizes.size()), names(sizes.size()) {
    uint64_t at = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      digests[i] = DigestsOf(bytes, at, sizes[i]);
      names[i] = "piece " + std::to_string(i);
      pieces[i] = {
          at, at, sizes[i], sizes[i], digests[i].data(), names[i].c_str()};
      at += sizes[i];
    }
    EXPECT_TRUE(IsOk(
        Mapping::Anonymous(DefaultAllocator(), at, "test", &memory).Release()));
    job.pieces = pieces.data();
    job.piece_count = uint32_t(pieces.size());
    job.base = memory.Data();
  }

  std::vector<std::vector<uint64_t>> digests;
  std::vector<TransferPiece> pieces;
  std::vector<std::string> names;
  Mapping memory;
  TransferJob job;
};

TEST_P(TransferFromFile, PiecesSideBySideFailByThemselves) {
  // Two and a half chunks, three pieces in one, an empty one, one of a chunk.
  const std::vector<uint64_t> sizes = {40960, 4096, 4096,  4096,
                                       0,     4096, kChunk};
  std::vector<uint8_t> bytes = RandomBytes(81920);
  SideBySide whole(bytes, sizes), damaged(bytes, sizes);
  SideBySide cut(bytes, {sizes.begin(), sizes.end() - 1});
  auto outcome = [&](const std::vector<uint8_t> &content, TransferJob *job) {
    TemporaryFile file(content);
    int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
    FileSource source;
    source.Open(descriptor, GetParam().direct);
    RunningQueue running(&source, QueueOptions(GetParam().ring));
    running.queue.Submit(job);
    Outcome result(running.queue.Wait(job, nullptr, 0).Release());
    close(descriptor);
    return result;
  };
  EXPECT_EQ(outcome(bytes, &whole.job).code, HEADRACE_STATUS_OK);
  EXPECT_EQ(std::memcmp(whole.memory.Data(), bytes.data(), 73728), 0);

  std::vector<uint8_t> other = bytes;
  other[40960 + 4096 + 4095] ^= 1;
  Outcome digest = outcome(other, &damaged.job);
  EXPECT_EQ(digest.code, HEADRACE_STATUS_DATA_LOSS);
  EXPECT_EQ(digest.message,
            "link 'disk': digest does not match at byte 45056 of the package, "
            "read to level 'arena' for 'piece 2'");

  other = bytes;
  other.resize(53248 + 100);
  Outcome end = outcome(other, &cut.job);
  EXPECT_EQ(end.code, HEADRACE_STATUS_DATA_LOSS);
  EXPECT_EQ(end.message, "link 'disk': the package ended at byte 53348 while "
                         "'piece 5' was read to level 'arena'");
}

INSTANTIATE_TEST_SUITE_P(
    Ways, TransferFromFile,
    testing::Values(FileWay{true, true}, FileWay{true, false},
                    FileWay{false, true}, FileWay{false, false}),
    [](const testing::TestParamInfo<FileWay> &way) {
      return std::string(way.param.ring ? "Ring" : "Threads") +
             (way.param.direct ? "Direct" : "Cached");
    });

TEST(TransferQueue, CopiesFromMemoryInPieces) {
  const std::vector<uint8_t> bytes = RandomBytes(200000);
  MemorySource source(bytes.data(), bytes.size());
  RunningQueue running(&source, QueueOptions(true, 3));
  EXPECT_FALSE(running.queue.UsesRing()); // memory has no descriptor
  auto first = DigestsOf(bytes, 100, 70000);
  auto second = DigestsOf(bytes, 120000, 33);
  TransferPiece pieces[2];
  pieces[0] = {100, 4096, 70000, 70000, first.data(), "gate"};
  pieces[1] = {120000, 0, 33, 4096, second.data(), "down"};
  Mapping memory;
  ASSERT_TRUE(
      IsOk(Mapping::Anonymous(DefaultAllocator(), 80000, "test", &memory)
               .Release()));
  TransferJob job;
  job.pieces = pieces;
  job.piece_count = 2;
  job.base = memory.Data();
  running.queue.Submit(&job);
  EXPECT_TRUE(IsOk(running.queue.Wait(&job, nullptr, 0).Release()));
  EXPECT_EQ(std::memcmp(memory.Data() + 4096, &bytes[100], 70000), 0);
  EXPECT_EQ(std::memcmp(memory.Data(), &bytes[120000], 33), 0);
}

/// Memory that remembers what it was asked for.
class ListingSource final : public ByteSource {
public:
  explicit ListingSource(const std::vector<uint8_t> &bytes) : bytes(bytes) {}
  int64_t Read(uint64_t offset, void *out, uint64_t count) override {
    asked.push_back({offset, count});
    std::memcpy(out, &bytes[offset], count);
    return int64_t(count);
  }
  std::vector<std::pair<uint64_t, uint64_t>> asked;

private:
  const std::vector<uint8_t> &bytes;
};

TEST(TransferQueue, SmallPiecesSideBySideAreOneRead) {
  const std::vector<uint8_t> bytes = RandomBytes(200000);
  ListingSource source(bytes);
  {
    RunningQueue running(&source, QueueOptions());
    SideBySide one(bytes, {8192, 4096, 4096, 8192, 8192, 40960, 4096});
    // Its place is not beside that of the one before.
    one.pieces[4].target += 40960 + 4096;
    one.pieces[5].target -= 8192;
    one.pieces[6].target -= 8192;
    running.queue.Submit(&one.job);
    EXPECT_TRUE(IsOk(running.queue.Wait(&one.job, nullptr, 0).Release()));
    for (const TransferPiece &piece : one.pieces)
      EXPECT_EQ(std::memcmp(one.memory.Data() + piece.target,
                            bytes.data() + piece.source, piece.bytes),
                0);
  }
  const std::vector<std::pair<uint64_t, uint64_t>> expected = {
      {0, 16384},     {16384, 8192},  {24576, 8192},
      {32768, 16384}, {49152, 16384}, {65536, 8192 + 4096}};
  EXPECT_EQ(source.asked, expected);
}

TEST(TransferQueue, ReadsTheRestOfShortReads) {
  const std::vector<uint8_t> bytes = RandomBytes(50000);
  FaultySource source(bytes);
  source.ReadAtMost(1000);
  RunningQueue running(&source, QueueOptions());
  OneJob job(bytes, 0, 50000);
  running.queue.Submit(&job.job);
  EXPECT_TRUE(IsOk(running.queue.Wait(&job.job, nullptr, 0).Release()));
  EXPECT_TRUE(job.Holds(bytes));
}

TEST(TransferQueue, AnErrorFailsThatJobAlone) {
  const std::vector<uint8_t> bytes = RandomBytes(100000);
  FaultySource source(bytes);
  source.FailAt(30000, EIO);
  RunningQueue running(&source, QueueOptions(false, 2));
  OneJob bad(bytes, 0, 60000), good(bytes, 65536, 30000);
  running.queue.Submit(&bad.job);
  running.queue.Submit(&good.job);
  EXPECT_TRUE(IsOk(running.queue.Wait(&good.job, nullptr, 0).Release()));
  Outcome outcome(running.queue.Wait(&bad.job, nullptr, 0).Release());
  EXPECT_EQ(outcome.code, HEADRACE_STATUS_IO);
  // And can be tried again.
  source.FailAt(-1, 0);
  running.queue.Submit(&bad.job);
  EXPECT_TRUE(IsOk(running.queue.Wait(&bad.job, nullptr, 0).Release()));
  EXPECT_TRUE(bad.Holds(bytes));
  auto counters = running.queue.Counters();
  EXPECT_EQ(counters.failed, 1u);
  EXPECT_EQ(counters.transfers, 2u);
}

TEST(TransferQueue, UrgentJobsGoFirst) {
  const std::vector<uint8_t> bytes = RandomBytes(100000);
  FaultySource source(bytes);
  source.HangAt(10);
  RunningQueue running(&source, QueueOptions());
  OneJob head(bytes, 0, 100), later(bytes, 4096, 100), promoted(bytes, 8192, 9),
      urgent(bytes, 16384, 100);
  running.queue.Submit(&head.job);
  source.AwaitHang();
  running.queue.Submit(&later.job);
  running.queue.Submit(&promoted.job);
  urgent.job.urgent = true;
  running.queue.Submit(&urgent.job);
  running.queue.Promote(&promoted.job);
  source.HangAt(-1);
  for (OneJob *job : {&head, &later, &promoted, &urgent})
    EXPECT_TRUE(IsOk(running.queue.Wait(&job->job, nullptr, 0).Release()));
  EXPECT_LE(urgent.job.end_ns, promoted.job.begin_ns);
  EXPECT_LE(promoted.job.end_ns, later.job.begin_ns);
}

TEST(TransferQueue, CancelledJobsEnd) {
  const std::vector<uint8_t> bytes = RandomBytes(100000);
  FaultySource source(bytes);
  source.HangAt(10);
  RunningQueue running(&source, QueueOptions());
  OneJob started(bytes, 0, 50000), queued(bytes, 65536, 100);
  running.queue.Submit(&started.job);
  source.AwaitHang();
  running.queue.Submit(&queued.job);
  running.queue.Cancel(&queued.job);
  EXPECT_EQ(running.queue.StateOf(queued.job), TransferJob::State::kFailed);
  running.queue.Cancel(&started.job);
  // Its first chunk is still being read to the job's memory.
  EXPECT_EQ(running.queue.StateOf(started.job), TransferJob::State::kQueued);
  source.HangAt(-1);
  EXPECT_TRUE(FailsWith(running.queue.Wait(&started.job, nullptr, 0).Release(),
                        HEADRACE_STATUS_CANCELLED));
  EXPECT_EQ(source.Reads(), 1u);
  EXPECT_EQ(running.queue.Counters().cancelled, 2u);
}

TEST(TransferQueue, AWaitEndsAtItsDeadline) {
  const std::vector<uint8_t> bytes = RandomBytes(50000);
  FaultySource source(bytes);
  source.HangAt(0);
  RunningQueue running(&source, QueueOptions());
  OneJob job(bytes, 0, 50000);
  running.queue.Submit(&job.job);
  Outcome outcome(running.queue.Wait(&job.job, nullptr, 1).Release());
  EXPECT_EQ(outcome.code, HEADRACE_STATUS_DEADLINE_EXCEEDED);
  EXPECT_EQ(outcome.message, "link 'disk': the deadline passed while 'layer 3, "
                             "expert 5' was on its way to level 'arena'");
  headrace_cancel_t cancel = {};
  headrace_cancel_request(&cancel);
  EXPECT_TRUE(FailsWith(running.queue.Wait(&job.job, &cancel, 0).Release(),
                        HEADRACE_STATUS_CANCELLED));
  // The job goes on.
  source.HangAt(-1);
  EXPECT_TRUE(IsOk(running.queue.Wait(&job.job, nullptr, 0).Release()));
  EXPECT_TRUE(job.Holds(bytes));
}

TEST(TransferQueue, UrgentJobsOfARingArriveWhenAskedAbout) {
  const std::vector<uint8_t> bytes = RandomBytes(300000);
  TemporaryFile file(bytes);
  int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(descriptor, 0);
  {
    FileSource source;
    source.Open(descriptor, true);
    RunningQueue running(&source, QueueOptions(true));
    if (!running.queue.UsesRing())
      GTEST_SKIP() << "the system has no ring";
    // The second takes more reads than may be under way at once.
    OneJob small(bytes, 0, 10000), large(bytes, 12288, 200000);
    for (OneJob *job : {&small, &large}) {
      job->job.urgent = true;
      running.queue.Submit(&job->job);
      while (running.queue.StateOf(job->job) == TransferJob::State::kQueued)
        std::this_thread::yield();
      EXPECT_EQ(running.queue.StateOf(job->job), TransferJob::State::kDone);
      EXPECT_TRUE(job->Holds(bytes));
    }
  }
  close(descriptor);
}

TEST(TransferQueue, AJobThatNobodyWaitsForAnyMoreEnds) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const std::vector<uint8_t> bytes = RandomBytes(1000);
  {
    FileSource source;
    source.Open(ends[0], false);
    RunningQueue running(&source, QueueOptions(true));
    OneJob job(bytes, 0, 1000);
    job.job.urgent = true;
    running.queue.Submit(&job.job);
    EXPECT_TRUE(FailsWith(running.queue.Wait(&job.job, nullptr, 1).Release(),
                          HEADRACE_STATUS_DEADLINE_EXCEEDED));
    ASSERT_EQ(write(ends[1], bytes.data(), bytes.size()), 1000);
    while (running.queue.Counters().transfers == 0)
      std::this_thread::yield();
    EXPECT_TRUE(job.Holds(bytes));
  }
  close(ends[0]);
  close(ends[1]);
}

TEST(TransferQueue, AHangingThreadIsLeftAndCleansUp) {
  const std::vector<uint8_t> bytes = RandomBytes(50000);
  struct Owner {
    explicit Owner(const std::vector<uint8_t> &bytes)
        : source(bytes), queue(DefaultAllocator()), job(bytes, 0, 50000) {}
    FaultySource source;
    TransferQueue queue;
    OneJob job;
    std::atomic<bool> *freed = nullptr;
  };
  std::atomic<bool> freed{false};
  auto *owner = new Owner(bytes);
  owner->freed = &freed;
  owner->source.HangAt(0);
  auto options = QueueOptions();
  options.orphaned = [](void *self) {
    auto *owner = static_cast<Owner *>(self);
    std::atomic<bool> *freed = owner->freed;
    delete owner;
    *freed = true;
  };
  options.orphaned_self = owner;
  ASSERT_TRUE(IsOk(owner->queue.Start(&owner->source, options).Release()));
  owner->queue.Submit(&owner->job.job);
  owner->source.AwaitHang();
  EXPECT_FALSE(owner->queue.Stop(kSecondNs / 100));
  owner->source.HangAt(-1);
  while (!freed)
    std::this_thread::yield();
}

TEST(TransferQueue, StressOfManyJobs) {
  const std::vector<uint8_t> bytes = RandomBytes(1 << 20);
  TemporaryFile file(bytes);
  int descriptor = open(file.Path(), O_RDONLY | O_CLOEXEC);
  for (bool ring : {false, true}) {
    FileSource source;
    source.Open(descriptor, false);
    RunningQueue running(&source, QueueOptions(ring, 3));
    std::vector<std::unique_ptr<OneJob>> jobs;
    std::mt19937 random(7);
    for (int i = 0; i < 16; ++i)
      jobs.push_back(std::make_unique<OneJob>(bytes, random() % 500000,
                                              1 + random() % 100000));
    for (int round = 0; round < 50; ++round) {
      for (auto &job : jobs) {
        job->job.urgent = random() % 2;
        running.queue.Submit(&job->job);
        if (random() % 4 == 0)
          running.queue.Cancel(&job->job);
        else if (random() % 4 == 0)
          running.queue.Promote(&job->job);
      }
      for (auto &job : jobs) {
        Outcome outcome(running.queue.Wait(&job->job, nullptr, 0).Release());
        if (outcome.code == HEADRACE_STATUS_OK)
          EXPECT_TRUE(job->Holds(bytes));
        else
          EXPECT_EQ(outcome.code, HEADRACE_STATUS_CANCELLED);
      }
    }
  }
  close(descriptor);
}

} // namespace
} // namespace headrace::tests
