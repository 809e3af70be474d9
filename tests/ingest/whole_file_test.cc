#include "ingest/whole_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/bytes.h"
#include "tests/support/temp_folder.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using testing_support::bytes_of;
using testing_support::TempFolder;

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class WholeFiles : public ::testing::TestWithParam<WholeFile::Durability> {
 protected:
  [[nodiscard]] fs::path path() const { return folder / "file"; }
  std::size_t count() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder.path()), {}));
  }
  TempFolder folder;
};

INSTANTIATE_TEST_SUITE_P(BothWays, WholeFiles,
                         ::testing::Values(WholeFile::Durability::of_the_caller,
                                           WholeFile::Durability::synced));

TEST_P(WholeFiles, IsNotThereBeforeItIsNamed) {
  WholeFile file(path(), GetParam());
  file.append(bytes_of("half"));
  EXPECT_FALSE(fs::exists(path()));
  file.append(bytes_of(" and half"));
  EXPECT_TRUE(std::move(file).name_unless_taken());
  EXPECT_EQ(content(path()), "half and half");
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_P(WholeFiles, LeavesNothingWhereItIsGivenUp) {
  {
    WholeFile file(path(), GetParam());
    file.append(bytes_of("half"));
  }
  EXPECT_EQ(count(), 0U);
}

TEST_P(WholeFiles, LeavesATakenNameAlone) {
  std::ofstream(path()) << "before";
  {
    WholeFile file(path(), GetParam());
    file.append(bytes_of("after"));
    EXPECT_FALSE(std::move(file).name_unless_taken());
  }
  EXPECT_EQ(content(path()), "before");
  EXPECT_EQ(count(), 1U);
}

TEST_P(WholeFiles, TakesTheNameOfAnotherOne) {
  for (const auto* const text : {"first", "second"}) {
    WholeFile file(path(), GetParam());
    file.append(bytes_of(text));
    std::move(file).name_or_replace();
    EXPECT_EQ(content(path()), text);
  }
  EXPECT_EQ(count(), 1U);
}

TEST_P(WholeFiles, EndsInZeros) {
  WholeFile file(path(), GetParam());
  file.append(bytes_of("text"));
  file.extend(10);
  std::move(file).name_or_replace();
  EXPECT_EQ(content(path()), std::string("text\0\0\0\0\0\0", 10));
}

}  // namespace
}  // namespace cairn::ingest
