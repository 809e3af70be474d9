#include "ingest/size_count.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/backup_site.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

using testing_support::sources;
using testing_support::TempFolder;
using testing_support::write_file;

std::uint64_t total_of(const std::vector<Source>& sources) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  repo::Progress progress;
  const SizeCount count(sources, progress);
  while (progress.bytes_total == 0 &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  return progress.bytes_total;
}

TEST(SizeCount, IsThatOfTheFilesThatNoRuleLeavesOut) {
  const TempFolder folder;
  write_file(folder / "a", std::string(1000, 'a'));
  write_file(folder / "b.tmp", std::string(300, 'b'));
  std::filesystem::create_directory(folder / "sub");
  write_file(folder / "sub/c", std::string(20, 'c'));
  FilesToBackUp files{.paths = {folder.path().string()}, .options = {}};
  files.options.exclude_rules = {"*.tmp"};

  EXPECT_EQ(total_of(sources(std::move(files))), 1020U);
}

TEST(SizeCount, PassesOverWhatIsNotThere) {
  const TempFolder folder;
  write_file(folder / "a", "four");
  std::vector<Source> two;
  two.emplace_back(
      FilesToBackUp{.paths = {(folder / "nowhere").string()}, .options = {}});
  two.emplace_back(
      FilesToBackUp{.paths = {(folder / "a").string()}, .options = {}});

  EXPECT_EQ(total_of(two), 4U);
}

}  // namespace
}  // namespace cairn::ingest
