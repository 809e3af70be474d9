// Tar streams, from a backup to what comes back.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "ingest/restore.h"
#include "ingest/stream_output.h"
#include "tests/support/backup_site.h"
#include "tests/support/tar.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;
namespace fs = std::filesystem;

constexpr const char* kName = "volume.tar";

class BackupWeaves : public ::testing::Test {
 protected:
  // Some of everything: many small members, a large one, a database.
  [[nodiscard]] static Bytes archive(std::uint64_t modified,
                                     int small_members = 400) {
    std::mt19937_64 random(7);
    Bytes bytes;
    for (int i = 0; i < small_members; ++i) {
      append_member(
          bytes, {.name = "small/" + std::to_string(i), .modified = modified},
          random_bytes(random, random() % 3000));
    }
    append_member(bytes, {.name = "large", .modified = modified},
                  random_bytes(random, 300'000));
    Bytes database = random_bytes(random, 20 * kSmallPage);
    std::ranges::copy(bytes_of(std::string_view("SQLite format 3\0", 16)),
                      database.begin());
    append_member(bytes, {.name = "database", .modified = modified}, database);
    append_end(bytes);
    return bytes;
  }

  BackupReport back_up(Bytes bytes) { return back_up(site_, std::move(bytes)); }
  static BackupReport back_up(BackupSite& site, Bytes bytes) {
    auto repository = site.open();
    return run_backup(repository,
                      sources(source_of(kName, std::move(bytes), 777)));
  }

  repo::TreeEntry newest(repo::Repository& repository) {
    auto blobs = repository.blobs();
    repo::TreeReader tree(blobs);
    const auto snapshots = repository.snapshots(file_now()).snapshots;
    return tree
        .find({repo::BlobKind::links, snapshots.back().snapshot.header.root, 0},
              kName)
        .value();
  }
  static repo::Timestamp file_now() { return backup_options().now; }

  Bytes read_back() {
    auto repository = site_.open();
    Bytes bytes;
    repo::Progress progress;
    EXPECT_EQ(write_stream(
                  repository, newest(repository),
                  [&](std::span<const std::byte> more) {
                    bytes.insert(bytes.end(), more.begin(), more.end());
                    return repo::Visit::go_on;
                  },
                  progress, {}, 2),
              StreamEnd::complete);
    EXPECT_EQ(progress.bytes_done, progress.bytes_total);
    return bytes;
  }

  BackupSite site_;
};

TEST_F(BackupWeaves, ComeBackAsTheyWere) {
  const Bytes bytes = archive(1'700'000'000);
  (void)back_up(bytes);
  EXPECT_EQ(read_back(), bytes);
  auto repository = site_.open();
  EXPECT_TRUE(newest(repository).entry.weave);
}

TEST_F(BackupWeaves, AreRecognisedWhenNothingChanged) {
  (void)back_up(archive(1'700'000'000));
  const auto report = back_up(archive(1'700'000'000));
  EXPECT_EQ(report.chunks_new, 0U);
  EXPECT_EQ(read_back(), archive(1'700'000'000));
}

TEST_F(BackupWeaves, NewTimesInEveryHeaderAreFewNewBytes) {
  BackupSite site(ChunkSizing::as_by_default);
  // So many that packs' own bytes do not count.
  constexpr int kMembers = 3000;
  const auto first = back_up(site, archive(1'700'000'000, kMembers));
  const auto report = back_up(site, archive(1'800'000'000, kMembers));
  EXPECT_LT(report.bytes_stored, first.bytes_stored * 3 / 100);
}

// A log in a volume: where it ended yesterday is nothing to cut at today.
TEST_F(BackupWeaves, AMemberThatGrowsIsCutAsOneThatWasThatLarge) {
  Bytes log;
  const auto archive_with_log = [&] {
    std::mt19937_64 random(5);
    Bytes bytes;
    append_member(bytes, {.name = "a.log"}, log);
    append_member(bytes, {.name = "other"}, random_bytes(random, 30'000));
    append_end(bytes);
    return bytes;
  };
  std::mt19937_64 random(6);
  log = random_bytes(random, 13'000);
  BackupReport report;
  for (int state = 0; state < 12; ++state) {
    const Bytes line = random_bytes(random, 100);
    log.insert(log.end(), line.begin(), line.end());
    report = back_up(archive_with_log());
  }

  EXPECT_EQ(read_back(), archive_with_log());
  auto repository = site_.open();
  auto options = backup_options();
  options.series = "host/where nothing is known";
  EXPECT_EQ(report.chunks,
            run_backup(repository,
                       sources(source_of(kName, archive_with_log())), options)
                .chunks);
}

TEST_F(BackupWeaves, OfACutOffArchiveComeBackToo) {
  Bytes bytes = archive(1'700'000'000);
  bytes.resize(bytes.size() - 100'001);
  (void)back_up(bytes);
  EXPECT_EQ(read_back(), bytes);
}

TEST_F(BackupWeaves, FilesAreRestoredVerifiedAndLeftAloneWhereUnchanged) {
  TempFolder source;
  const Bytes bytes = archive(1'700'000'000);
  std::ofstream(source / "a.tar", std::ios::binary) << text_of(bytes);
  (void)run_backup(site_, source_of(source.path()));
  TempFolder target;
  const auto restore_all = [&] {
    auto repository = site_.open();
    repo::Progress progress;
    RestoreOptions options;
    options.target = target / "out";
    options.overwrite = Overwrite::if_changed;
    options.read_back = ReadBack::yes;
    const auto restored = restore(
        repository,
        repository.snapshots(file_now()).snapshots.back().snapshot.header.root,
        options, progress, {});
    EXPECT_EQ(progress.bytes_done, bytes.size());
    return restored;
  };
  const auto content = [&] {
    std::ifstream in(target / "out" / source.path().relative_path() / "a.tar",
                     std::ios::binary);
    return bytes_of(std::string(std::istreambuf_iterator<char>(in), {}));
  };

  auto report = restore_all();
  EXPECT_TRUE(report.failures.empty());
  EXPECT_EQ(report.bytes_written, bytes.size());
  EXPECT_EQ(content(), bytes);

  report = restore_all();
  EXPECT_EQ(report.bytes_written, 0U);
  EXPECT_EQ(report.bytes_unchanged, bytes.size());

  {
    std::fstream file(target / "out" / source.path().relative_path() / "a.tar",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000);
    file << "changed";
  }
  report = restore_all();
  EXPECT_EQ(report.bytes_written, bytes.size());
  EXPECT_EQ(content(), bytes);

  // All of the archive is in this one, and it is not the archive.
  std::ofstream(target / "out" / source.path().relative_path() / "a.tar",
                std::ios::binary | std::ios::app)
      << "more";
  report = restore_all();
  EXPECT_TRUE(report.failures.empty());
  EXPECT_EQ(report.bytes_written, bytes.size());
  EXPECT_EQ(content(), bytes);
}

}  // namespace
}  // namespace cairn::ingest
