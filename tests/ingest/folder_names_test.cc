#include "ingest/folder_names.h"

#include <dirent.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::ingest {
namespace {

std::vector<std::string> all_of(const FolderNames& names) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < names.count(); ++i) all.push_back(names.name(i));
  return all;
}

TEST(FolderNames, AreSortedByTheirBytes) {
  FolderNames names;
  for (const char* name : {"b", "\xff", "a-b", "a", "ab"}) {
    names.add(name, DT_REG);
  }

  names.sort();

  EXPECT_EQ(all_of(names),
            (std::vector<std::string>{"a", "a-b", "ab", "b", "\xff"}));
  EXPECT_TRUE(names.has("ab"));
  EXPECT_FALSE(names.has("abc"));
}

TEST(FolderNames, StandOnceHoweverOftenTheyWereListed) {
  FolderNames names;
  for (const char* name : {"b", "a", "b", "c", "a", "b"}) {
    names.add(name, DT_REG);
  }

  names.sort();

  EXPECT_EQ(all_of(names), (std::vector<std::string>{"a", "b", "c"}));
}

}  // namespace
}  // namespace cairn::ingest
