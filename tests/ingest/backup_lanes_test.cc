// Streams that are read side by side, each by itself as if it were alone.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ingest/backup.h"
#include "repo/error.h"
#include "tests/support/backup_site.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;
namespace fs = std::filesystem;

Source in_lane(unsigned lane, std::string name,
               std::unique_ptr<ByteStream> stream) {
  return StreamToBackUp{
      .name = std::move(name), .stream = std::move(stream), .lane = lane};
}

Source in_lane(unsigned lane, std::string name, Bytes bytes,
               std::size_t bytes_per_read = ~0ULL) {
  return in_lane(
      lane, std::move(name),
      std::make_unique<MemoryStream>(std::move(bytes), bytes_per_read));
}

template <typename... More>
std::vector<Source> all(More... more) {
  std::vector<Source> sources;
  (sources.push_back(std::move(more)), ...);
  return sources;
}

class BrokenStream : public MemoryStream {
 public:
  using MemoryStream::MemoryStream;
  void finish(std::stop_token) override { throw ProducerFailed("torn"); }
};

// Something that happens once, and somebody who waits for it, not for ever.
class Moment {
 public:
  void come() {
    const std::lock_guard lock(mutex_);
    has_come_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] bool comes() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [this] { return has_come_; });
  }
  [[nodiscard]] bool has_come() {
    const std::lock_guard lock(mutex_);
    return has_come_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_come_ = false;
};

TEST(BackupLanes, StoreEachStreamAsItIs) {
  for_each_seed(5, [](std::mt19937_64& random) {
    BackupSite site;
    std::map<std::string, Bytes> contents;
    std::vector<Source> sources;
    for (unsigned i = 0; i < 12; ++i) {
      const std::string name = "stream " + std::to_string(i);
      const std::size_t size = random() % (i < 3 ? 5'000'000 : 50'000);
      const Bytes bytes = random_bytes(random, size);
      const auto lane = static_cast<unsigned>(random() % kMaxLanes);
      const std::size_t per_read = 1 + random() % 300'000;
      if (i == 1) {  // large, and in vain
        sources.push_back(in_lane(
            lane, name, std::make_unique<BrokenStream>(bytes, per_read)));
      } else {
        sources.push_back(in_lane(lane, name, bytes, per_read));
        contents.emplace(name, bytes);
      }
    }
    auto repository = site.open();
    const auto report = run_backup(repository, std::move(sources));

    EXPECT_FALSE(report.is_complete);
    EXPECT_EQ(report.problem_count, 1U);
    ASSERT_EQ(report.sources.size(), 12U);
    std::uint64_t bytes = 0;
    for (unsigned i = 0; i < 12; ++i) {
      EXPECT_EQ(report.sources[i].name, "stream " + std::to_string(i));
      EXPECT_EQ(report.sources[i].status, i == 1
                                              ? repo::SourceStatus::failed
                                              : repo::SourceStatus::complete);
      bytes += report.sources[i].bytes;
    }
    EXPECT_EQ(report.bytes_read, bytes);
    const auto tree = read_newest(site);
    EXPECT_EQ(tree.size(), contents.size());
    for (const auto& [name, content] : contents) {
      const auto found = tree.find(name);
      ASSERT_NE(found, tree.end()) << name;
      EXPECT_TRUE(found->second.content == content) << name;
    }
    EXPECT_TRUE(damage_in(site).empty());
  });
}

TEST(BackupLanes, RecogniseWhatHasNotChanged) {
  BackupSite site;
  std::mt19937_64 random(7);
  const Bytes one = random_bytes(random, 3'000'000);
  const Bytes other = random_bytes(random, 3'000'000);
  for (int i = 0; i < 2; ++i) {
    auto repository = site.open();
    const auto report = run_backup(
        repository, all(in_lane(0, "one", one), in_lane(1, "other", other)));
    EXPECT_EQ(report.bytes_new, i == 0 ? one.size() + other.size() : 0);
  }
}

TEST(BackupLanes, AreReadSideBySide) {
  BackupSite site;
  std::array<Moment, 2> begun;
  std::vector<Source> sources;
  for (unsigned i = 0; i < 2; ++i) {
    auto stream = std::make_unique<MemoryStream>(Bytes(100'000), 1000);
    stream->before_read = [&begun, i](std::uint64_t) {
      begun[i].come();
      EXPECT_TRUE(begun[1 - i].comes());
    };
    sources.push_back(in_lane(i, std::to_string(i), std::move(stream)));
  }
  auto repository = site.open();

  EXPECT_TRUE(run_backup(repository, std::move(sources)).is_complete);
}

TEST(BackupLanes, AreReadInTheirOrder) {
  BackupSite site;
  Moment ended;
  auto first = std::make_unique<MemoryStream>(Bytes(100'000), 1000);
  first->before_read = [&](std::uint64_t read) {
    if (read == 100'000) ended.come();
  };
  auto second = std::make_unique<MemoryStream>(Bytes(10));
  second->before_read = [&](std::uint64_t) { EXPECT_TRUE(ended.has_come()); };
  auto repository = site.open();
  const auto report =
      run_backup(repository, all(in_lane(1, "z", std::move(first)),
                                 in_lane(0, "x", Bytes(5)),
                                 in_lane(1, "a", std::move(second))));

  EXPECT_TRUE(report.is_complete);
  ASSERT_EQ(report.sources.size(), 3U);
  EXPECT_EQ(report.sources[0].name, "z");
  EXPECT_EQ(report.sources[1].name, "x");
  EXPECT_EQ(report.sources[2].name, "a");
}

// The folder of the files is there, and some streams lie in it.
TEST(BackupLanes, MakeTheTreeThatOneLaneMakes) {
  for_each_seed(5, [](std::mt19937_64& random) {
    BackupSite site;
    const TempFolder folder;
    for (const char* const name : {"a/file", "b/file", "b/c/file"}) {
      fs::create_directories((folder.path() / name).parent_path());
      write_file(folder.path() / name,
                 text_of(random_bytes(random, 3'000'000)));
    }
    struct Stream {
      std::string name;
      Bytes content;
      bool is_broken;
    };
    std::vector<Stream> streams;
    const std::string inside = folder.path().string().substr(1);
    for (const std::string& where :
         {std::string("db"), std::string("db"), std::string("alone/deep"),
          inside + "/dumps", inside + "/dumps", std::string("db/deep")}) {
      streams.push_back({where + "/" + std::to_string(streams.size()),
                         random_bytes(random, random() % 2'000'000),
                         random() % 4 == 0});
    }
    const auto options = backup_options();
    // Without what lies above the folder, which other programs change.
    const auto tree_by = [&](unsigned lanes) {
      std::vector<Source> sources;
      for (const auto& [name, content, is_broken] : streams) {
        const auto lane = static_cast<unsigned>(random() % lanes);
        sources.push_back(
            is_broken ? in_lane(lane, name,
                                std::make_unique<BrokenStream>(content, ~0ULL))
                      : in_lane(lane, name, content));
      }
      for (const char* const name : {"a", "b"}) {
        sources.push_back(source_of(folder.path() / name));
      }
      auto repository = site.open();
      const auto report = run_backup(repository, std::move(sources), options);
      for (std::size_t i = 0; i < streams.size(); ++i) {
        EXPECT_EQ(report.sources.at(i).name, streams[i].name);
        EXPECT_EQ(report.sources.at(i).status,
                  streams[i].is_broken ? repo::SourceStatus::failed
                                       : repo::SourceStatus::complete);
      }
      auto tree = read_newest(site);
      std::erase_if(tree, [&](const auto& entry) {
        return inside.starts_with(entry.first);
      });
      return tree;
    };

    const auto expected = tree_by(1);
    const auto tree = tree_by(kMaxLanes);
    ASSERT_EQ(tree.size(), expected.size());
    for (const auto& [path, stored] : expected) {
      ASSERT_TRUE(tree.contains(path)) << path;
      EXPECT_TRUE(tree.at(path).entry == stored.entry) << path;
      EXPECT_TRUE(tree.at(path).chunks == stored.chunks) << path;
    }
    for (const auto& [name, content, is_broken] : streams) {
      const auto found = tree.find(name);
      ASSERT_EQ(found == tree.end(), is_broken) << name;
      if (is_broken) continue;
      EXPECT_TRUE(found->second.content == content) << name;
    }
    EXPECT_TRUE(tree.contains(inside + "/b/c/file"));
    EXPECT_TRUE(damage_in(site).empty());
  });
}

// The stream ends when the other lane is in the middle of a file.
TEST(BackupLanes, PutAStreamInItsPlaceWhileAnotherLaneHasAFolderOpen) {
  constexpr std::size_t kFileBytes = 48U << 20;
  constexpr std::uint64_t kWellInside = 8U << 20;
  BackupSite site;
  const TempFolder folder;
  std::mt19937_64 random(1);
  write_file(folder.path() / "file", text_of(random_bytes(random, kFileBytes)));
  repo::Progress progress;
  auto stream = std::make_unique<MemoryStream>(Bytes(1000));
  stream->before_read = [&](std::size_t) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (progress.bytes_done < kWellInside &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
  };
  std::vector<Source> sources;
  sources.push_back(source_of(folder.path()));
  sources.push_back(in_lane(1, "db/shop", std::move(stream)));
  auto repository = site.open();

  const auto report =
      back_up(repository, std::move(sources), backup_options(), progress, {});

  EXPECT_TRUE(report.is_complete);
  const auto tree = read_newest(site);
  EXPECT_EQ(tree.at("db/shop").content.size(), 1000U);
  EXPECT_EQ(tree.at(folder.path().string().substr(1) + "/file").content.size(),
            kFileBytes);
}

TEST(BackupLanes, AreNoneBesideATree) {
  BackupSite site;
  auto repository = site.open();
  const auto refused = [&](std::vector<Source> sources) {
    EXPECT_THROW((void)run_backup(repository, std::move(sources)),
                 std::invalid_argument);
  };

  refused(all(Source(TreeToBackUp{.name = "tree", .tree = nullptr}),
              in_lane(1, "c", Bytes(1))));
  refused(all(in_lane(kMaxLanes, "c", Bytes(1))));
  refused(all(in_lane(~0U, "c", Bytes(1))));
  EXPECT_TRUE(read_all_snapshots(site).empty());
}

}  // namespace
}  // namespace cairn::ingest
