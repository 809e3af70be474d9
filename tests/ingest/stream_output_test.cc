#include "ingest/stream_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <random>
#include <stop_token>
#include <thread>

#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "repo/pack_format.h"
#include "tests/support/bytes.h"
#include "tests/support/test_repository.h"

namespace cairn::ingest {
namespace {

using repo::Link;
using repo::TreeEntry;
using repo::Visit;
using testing_support::Bytes;
using testing_support::random_bytes;
using testing_support::Reuse;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::WriterOptions;

constexpr std::size_t kChunkBytes = 10'000;

class StreamOutput : public ::testing::Test {
 protected:
  // Of chunks of kChunkBytes, with lists where there are many of them.
  TreeEntry store(const Bytes& content, std::vector<repo::Extent> holes = {},
                  const WriterOptions& options = {}) {
    StateWriter writer(repository, options);
    const repo::StoreNode store_node = [&](repo::BlobKind kind,
                                           std::span<const std::byte> plain) {
      return writer.store_node(kind, plain);
    };
    repo::ListWriter list(store_node);
    std::span<const std::byte> rest = content;
    while (!rest.empty()) {
      const auto chunk = rest.first(std::min(kChunkBytes, rest.size()));
      list.add(writer.chunk(chunk));
      rest = rest.subspan(chunk.size());
    }
    TreeEntry stream;
    stream.entry.name = "stream";
    stream.entry.type = repo::EntryType::stream;
    stream.entry.size = content.size();
    for (const auto& hole : holes) stream.entry.size += hole.size;
    stream.entry.holes = std::move(holes);
    stream.rows = std::move(list).finish();
    writer.publish_index();
    return stream;
  }

  Bytes read_all(const TreeEntry& stream, unsigned workers) {
    Bytes bytes;
    EXPECT_EQ(
        write_stream(repository, stream, into(bytes), progress, {}, workers),
        StreamEnd::complete);
    return bytes;
  }

  static ByteSink into(Bytes& bytes) {
    return [&bytes](std::span<const std::byte> more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
      return Visit::go_on;
    };
  }

  void damage_chunk(const Bytes& content, std::size_t number) {
    const auto chunk =
        std::span(content).subspan(number * kChunkBytes, kChunkBytes);
    const auto copy =
        repository.index()
            .find(repository.keyring().id_of(repo::BlobKind::content, chunk))
            .at(0);
    stored.disk().flip_bit(
        repo::pack_name(repository.index().pack(copy.pack).id), copy.offset, 0);
  }

  TestRepository stored;
  repo::Repository repository = stored.open();
  std::mt19937_64 random{1};
  repo::Progress progress;
};

TEST_F(StreamOutput, GivesAllBytesInOrderHoweverManyWorkers) {
  const Bytes content = random_bytes(random, 20'123'456);
  const TreeEntry stream = store(content);

  for (const unsigned workers : {1u, 2u, 7u}) {
    EXPECT_EQ(read_all(stream, workers), content);
  }
}

TEST_F(StreamOutput, GivesNothingForAnEmptyStream) {
  EXPECT_TRUE(read_all(store({}), 2).empty());
}

TEST_F(StreamOutput, GivesHolesAsZeros) {
  const Bytes content = random_bytes(random, 25'000);
  const TreeEntry stream = store(
      content, {{0, 100'000}, {105'000, 1}, {120'001, 7}, {125'008, 70'000}});

  const Bytes bytes = read_all(stream, 2);

  Bytes expected(100'000);
  const auto append = [&](std::size_t begin, std::size_t end) {
    expected.insert(expected.end(),
                    content.begin() + static_cast<std::ptrdiff_t>(begin),
                    content.begin() + static_cast<std::ptrdiff_t>(end));
  };
  append(0, 5000);
  expected.resize(expected.size() + 1);
  append(5000, 20'000);
  expected.resize(expected.size() + 7);
  append(20'000, 25'000);
  expected.resize(expected.size() + 70'000);
  EXPECT_EQ(bytes, expected);
  EXPECT_EQ(bytes.size(), stream.entry.size);
  EXPECT_EQ(progress.bytes_done, progress.bytes_total);
}

TEST_F(StreamOutput, GivesAnotherCopyOfADamagedChunk) {
  const Bytes content = random_bytes(random, 50 * kChunkBytes);
  (void)store(content);
  const auto stream = store(content, {}, {.reuse = Reuse::nothing});
  damage_chunk(content, 17);

  EXPECT_EQ(read_all(stream, 2), content);
}

TEST_F(StreamOutput, GivesEverythingBeforeADamagedChunk) {
  const Bytes content = random_bytes(random, 6'000'000);
  const TreeEntry stream = store(content);
  damage_chunk(content, 457);
  damage_chunk(content, 460);
  Bytes bytes;

  EXPECT_THROW(
      (void)write_stream(repository, stream, into(bytes), progress, {}),
      repo::CorruptionError);

  EXPECT_EQ(bytes.size(), 457 * kChunkBytes);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), content.begin()));
}

TEST_F(StreamOutput, EndsWhenTheSinkWantsNoMore) {
  const TreeEntry stream = store(random_bytes(random, 3'000'000));
  std::size_t given = 0;

  const auto end =
      write_stream(repository, stream,
                   [&](std::span<const std::byte> bytes) {
                     given += bytes.size();
                     return given < 100'000 ? Visit::go_on : Visit::stop;
                   },
                   progress, {});

  EXPECT_EQ(end, StreamEnd::not_wanted);
  EXPECT_EQ(given, 100'000u);
}

TEST_F(StreamOutput, StopsWhenItIsTold) {
  const TreeEntry stream = store(random_bytes(random, 30'000'000));
  std::stop_source stop;
  std::size_t given = 0;

  EXPECT_THROW((void)write_stream(
                   repository, stream,
                   [&](std::span<const std::byte> bytes) {
                     given += bytes.size();
                     if (given >= 1'000'000) stop.request_stop();
                     return Visit::go_on;
                   },
                   progress, stop.get_token()),
               repo::Cancelled);

  EXPECT_LT(given, 30'000'000u);
}

struct Pipe {
  Pipe() {
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC) != 0) std::abort();
    from = UniqueFd(fds[0]);
    to = UniqueFd(fds[1]);
  }
  UniqueFd from;
  UniqueFd to;
};

TEST_F(StreamOutput, GoesThroughAPipe) {
  const Bytes content = random_bytes(random, 5'000'000);
  const TreeEntry stream = store(content);
  Pipe pipe;
  Bytes bytes;
  std::jthread reader([&] {
    std::array<std::byte, 30'000> buffer;
    for (;;) {
      const ssize_t size = read(pipe.from.get(), buffer.data(), buffer.size());
      if (size <= 0) return;
      bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + size);
    }
  });

  const auto end =
      write_stream(repository, stream, pipe.to.get(), progress, {});
  { const UniqueFd closed = std::move(pipe.to); }
  reader.join();

  EXPECT_EQ(end, StreamEnd::complete);
  EXPECT_EQ(bytes, content);
}

TEST_F(StreamOutput, AReaderThatGoesAwayIsNoError) {
  std::signal(SIGPIPE, SIG_IGN);
  const TreeEntry stream = store(random_bytes(random, 5'000'000));
  Pipe pipe;
  std::jthread reader([from = std::move(pipe.from)] {
    std::array<std::byte, 1000> buffer;
    EXPECT_GT(read(from.get(), buffer.data(), buffer.size()), 0);
  });

  EXPECT_EQ(write_stream(repository, stream, pipe.to.get(), progress, {}),
            StreamEnd::not_wanted);
}

TEST_F(StreamOutput, WaitsForAPipeThatDoesNotBlock) {
  const Bytes content = random_bytes(random, 3'000'000);
  const TreeEntry stream = store(content);
  Pipe pipe;
  ASSERT_EQ(fcntl(pipe.to.get(), F_SETFL, O_NONBLOCK), 0);
  std::size_t size_read = 0;
  std::jthread reader([&] {
    std::array<std::byte, 4096> buffer;
    while (size_read < content.size()) {
      const ssize_t size = read(pipe.from.get(), buffer.data(), buffer.size());
      if (size <= 0) return;
      size_read += static_cast<std::size_t>(size);
    }
  });

  EXPECT_EQ(write_stream(repository, stream, pipe.to.get(), progress, {}),
            StreamEnd::complete);

  reader.join();
  EXPECT_EQ(size_read, content.size());
}

TEST_F(StreamOutput, TellsWhenTheDiskIsFull) {
  const TreeEntry stream = store(random_bytes(random, 1'000'000));
  const UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full);

  EXPECT_THROW((void)write_stream(repository, stream, full.get(), progress, {}),
               repo::OutOfSpace);
}

}  // namespace
}  // namespace cairn::ingest
