// What Linux's own file systems never tell and others do (FUSE, NTFS, network
// mounts): it is reported, and the rest is saved.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/backup_site.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using namespace testing_support;

// A folder that lists more names than Linux would let it have. What is behind
// them looks as the symlink "link" does.
struct OddFolder {
  ino_t inode = 0;
  std::vector<std::string> more_names;
  bool has_listed_more = false;

  [[nodiscard]] bool invents(std::string_view name) const {
    return std::ranges::find(more_names, name) != more_names.end();
  }
};

OddFolder& odd_folder() {
  static OddFolder folder;
  return folder;
}

constexpr const char* kLink = "link";
constexpr const char* kEmptyLink = "a symlink whose target is empty";

class BackupOfOddFileSystems : public ::testing::Test {
 protected:
  BackupOfOddFileSystems() {
    fs::create_symlink("target", folder_ / kLink);
    testing_support::write_file(folder_ / "file", "content");
    struct stat status {};
    if (::stat(folder_.path().c_str(), &status) != 0) std::abort();
    odd_folder().inode = status.st_ino;
  }
  ~BackupOfOddFileSystems() override { odd_folder() = {}; }

  // Backs up, and expects that everything but what is reported comes back.
  BackupReport back_up() {
    auto report = run_backup(site_, source_of(folder_.path()));
    EXPECT_TRUE(report.snapshot.has_value());
    EXPECT_EQ(damage_in(site_), std::vector<std::string>{});
    tree_ = read_newest(site_);
    EXPECT_EQ(text_of(tree_.at(key("file")).content), "content");
    EXPECT_EQ(tree_.at(key(kLink)).entry.symlink_target, "target");
    return report;
  }

  [[nodiscard]] std::string key(const std::string& name) const {
    return (folder_ / name).string().substr(1);
  }

  void expect_one_problem(const BackupReport& report, const std::string& name,
                          const std::string& why) {
    EXPECT_FALSE(report.is_complete);
    ASSERT_EQ(report.problem_count, 1u);
    EXPECT_EQ(report.problems.at(0).path, folder_ / name);
    EXPECT_NE(report.problems.at(0).why.find(why), std::string::npos)
        << report.problems.at(0).why;
    EXPECT_FALSE(tree_.contains(key(name)));
  }

  TempFolder folder_;
  BackupSite site_;
  StoredTree tree_;
};

TEST_F(BackupOfOddFileSystems, ReportsASymlinkWithAnEmptyTarget) {
  fs::create_symlink("read as nothing", folder_ / kEmptyLink);

  const auto report = back_up();

  expect_one_problem(report, kEmptyLink, "empty target");
}

TEST_F(BackupOfOddFileSystems, ReportsANameThatNoSnapshotHolds) {
  const std::string name(256, 'n');
  odd_folder().more_names = {name};

  const auto report = back_up();

  expect_one_problem(report, name, "255 bytes");
}

TEST_F(BackupOfOddFileSystems, ANameThatNoSnapshotHoldsCanBeExcluded) {
  odd_folder().more_names = {std::string(300, 'n')};
  auto source = source_of(folder_.path());
  std::get<FilesToBackUp>(source).options.exclude_rules = {"nnn*"};

  const auto report = run_backup(site_, std::move(source));

  EXPECT_TRUE(report.is_complete);
}

TEST_F(BackupOfOddFileSystems, SavesOnceWhatIsListedTwice) {
  odd_folder().more_names = {"file", kLink};

  const auto report = back_up();

  EXPECT_TRUE(report.is_complete);
}

// As getdents64(2) gives them.
ssize_t list_more(const std::vector<std::string>& names, char* out,
                  std::size_t room) {
  std::size_t filled = 0;
  for (const std::string& name : names) {
    const std::size_t size =
        (offsetof(dirent64, d_name) + name.size() + 1 + 7) / 8 * 8;
    if (filled + size > room) std::abort();
    const auto record_size = static_cast<std::uint16_t>(size);
    std::memset(out + filled, 0, size);
    std::memcpy(out + filled + offsetof(dirent64, d_reclen), &record_size,
                sizeof record_size);
    std::memcpy(out + filled + offsetof(dirent64, d_name), name.data(),
                name.size());
    filled += size;
  }
  return static_cast<ssize_t>(filled);
}

}  // namespace
}  // namespace cairn::ingest

// NOLINTBEGIN(bugprone-reserved-identifier): the linker demands these names.
extern "C" {
ssize_t __real_getdents64(int fd, void* out, size_t size);
ssize_t __wrap_getdents64(int fd, void* out, size_t size);
int __real_fstatat(int folder, const char* name, struct stat* out, int flags);
int __wrap_fstatat(int folder, const char* name, struct stat* out, int flags);
ssize_t __real_readlinkat(int folder, const char* name, char* out, size_t size);
ssize_t __wrap_readlinkat(int folder, const char* name, char* out, size_t size);

ssize_t __wrap_getdents64(int fd, void* out, size_t size) {
  const ssize_t filled = __real_getdents64(fd, out, size);
  auto& odd = cairn::ingest::odd_folder();
  struct stat status {};
  const bool is_its_end =
      filled == 0 && fstat(fd, &status) == 0 && status.st_ino == odd.inode;
  if (!is_its_end) return filled;
  odd.has_listed_more = !odd.has_listed_more;
  if (!odd.has_listed_more) return 0;
  return cairn::ingest::list_more(odd.more_names, static_cast<char*>(out),
                                  size);
}

int __wrap_fstatat(int folder, const char* name, struct stat* out, int flags) {
  const int result = __real_fstatat(folder, name, out, flags);
  if (result == 0 || !cairn::ingest::odd_folder().invents(name)) return result;
  return __real_fstatat(folder, cairn::ingest::kLink, out, flags);
}

ssize_t __wrap_readlinkat(int folder, const char* name, char* out,
                          size_t size) {
  if (name == std::string_view(cairn::ingest::kEmptyLink)) return 0;
  const ssize_t result = __real_readlinkat(folder, name, out, size);
  if (result >= 0 || !cairn::ingest::odd_folder().invents(name)) return result;
  return __real_readlinkat(folder, cairn::ingest::kLink, out, size);
}
}
// NOLINTEND(bugprone-reserved-identifier)
