#include "cli/last_right_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/temp_folder.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using testing_support::read_file;
using testing_support::write_file;

class LastRightFileTest : public testing::Test {
 protected:
  [[nodiscard]] fs::path state() const { return folder_ / "state"; }

  [[nodiscard]] std::size_t copies() const {
    const fs::path folder = state() / "daemon";
    if (!fs::exists(folder)) return 0;
    return static_cast<std::size_t>(std::distance(
        fs::directory_iterator(folder), fs::directory_iterator()));
  }

 private:
  testing_support::TempFolder folder_;
};

TEST_F(LastRightFileTest, IsThereFromTheFirstCallToTheEnd) {
  {
    LastRightFile file(state());
    EXPECT_EQ(copies(), 0U);
    const fs::path copy = file.of("version: 1\n");
    EXPECT_EQ(read_file(copy), "version: 1\n");
    EXPECT_EQ(fs::status(copy).permissions(),
              fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_EQ(file.of("version: 1\n"), copy);
    file.drop();
    EXPECT_EQ(copies(), 0U);
    EXPECT_EQ(read_file(file.of("version: 1 # now\n")), "version: 1 # now\n");
  }
  EXPECT_EQ(copies(), 0U);
}

TEST_F(LastRightFileTest, IsThereAgainWhenSomebodyTakesItAway) {
  LastRightFile file(state());
  fs::remove(file.of("a"));
  EXPECT_EQ(read_file(file.of("a")), "a");
}

TEST_F(LastRightFileTest, RemovesThoseOfProcessesThatWereKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    LastRightFile file(state());
    (void)file.of("a");
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  write_file(state() / "daemon" / "last-right-4711.yaml", "of an older cairn");
  write_file(state() / "daemon" / "other.yaml", "not ours");
  ASSERT_EQ(copies(), 3U);

  const LastRightFile next(state());
  EXPECT_EQ(copies(), 1U);
}

TEST_F(LastRightFileTest, LeavesThoseOfProcessesThatLive) {
  LastRightFile first(state());
  const fs::path copy = first.of("a");
  LastRightFile second(state());
  EXPECT_EQ(read_file(copy), "a");
  EXPECT_NE(second.of("b"), copy);
}

}  // namespace
}  // namespace cairn::cli
