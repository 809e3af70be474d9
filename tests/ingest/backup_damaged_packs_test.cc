// A pack whose name is there is not a pack that is there.
#include <gtest/gtest.h>

#include <fstream>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;

// Two states of a folder and a stream, with lists and differences, and what a
// backup makes of it after one of its packs came to harm.
class BackupOverDamagedPacks : public ::testing::Test {
 protected:
  BackupOverDamagedPacks() {
    std::mt19937_64 random(1);
    stream_ = random_bytes(random, 200'000);
    write_file(folder_ / "small", "small");
    write_file(folder_ / "big", text_of(random_bytes(random, 300'000)));
    let_settle(folder_.path());
    (void)back_up();
    for (std::size_t i = 0; i < stream_.size(); i += 10'000) {
      stream_[i] ^= std::byte{1};
    }
    (void)back_up();
    site_.keep();
  }

  BackupReport back_up() {
    auto repository = site_.open();
    return run_backup(repository, sources(source_of(folder_.path()),
                                          source_of("db", stream_)));
  }

  template <typename Harm>
  void expect_stored_anew_after(Harm harm) {
    for (const auto& pack : repo::list_packs(site_.disk())) {
      site_.go_back();
      harm(pack);

      const auto report = back_up();

      EXPECT_TRUE(report.is_complete);
      auto repository = site_.open_elsewhere();
      const auto tree = read_tree(repository, root_of(site_, report));
      EXPECT_TRUE(tree.at("db").content == stream_);
      for (const char* name : {"small", "big"}) {
        EXPECT_TRUE(
            text_of(tree.at((folder_ / name).string().substr(1)).content) ==
            read_file(folder_ / name));
      }
    }
  }

  TempFolder folder_;
  Bytes stream_;
  BackupSite site_;
};

TEST_F(BackupOverDamagedPacks, StoresAnewWhatLayInOneThatIsEmpty) {
  expect_stored_anew_after([&](const repo::StoredPack& pack) {
    site_.disk().truncate(repo::pack_name(pack.id), 0);
  });
}

TEST_F(BackupOverDamagedPacks, StoresAnewWhatLayInOneThatWasCutShort) {
  expect_stored_anew_after([&](const repo::StoredPack& pack) {
    site_.disk().truncate(repo::pack_name(pack.id), pack.size / 2);
  });
}

// Its blobs may be whole, but only an index object still knows where they lie.
TEST_F(BackupOverDamagedPacks, TrustsNoneWhoseDirectoryCannotBeRead) {
  std::size_t warned = 0;
  std::size_t harmed = 0;
  for (const auto& pack : repo::list_packs(site_.disk())) {
    site_.go_back();
    site_.disk().flip_bit(repo::pack_name(pack.id),
                          pack.size - repo::kTrailerBytes - 9, 0);
    ++harmed;

    const auto first = back_up();
    const auto second = back_up();

    EXPECT_TRUE(first.is_complete);
    // All that it used of the pack was stored once more, and once only.
    EXPECT_EQ(second.chunks_new, 0U);
    if (first.warnings.empty()) continue;
    ++warned;
    EXPECT_NE(first.warnings.front().find(repo::pack_name(pack.id)),
              std::string::npos);
  }
  EXPECT_GE(warned * 2, harmed);
}

TEST_F(BackupOverDamagedPacks, ADamagedIndexCacheIsMadeAnewOnTheWay) {
  for (const auto& item :
       fs::recursive_directory_iterator(site_.cache_folder())) {
    if (item.path().extension() != ".sst") continue;
    std::fstream table(item.path(),
                       std::ios::in | std::ios::out | std::ios::binary);
    // Of the blocks with rows; the end, which opening reads, stays.
    for (std::uintmax_t at = 0; at < item.file_size() / 2; at += 64) {
      table.seekp(static_cast<std::streamoff>(at));
      table.put('\x55');
    }
  }

  const auto report = back_up();

  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.chunks_new, 0U);
}

}  // namespace
}  // namespace cairn::ingest
