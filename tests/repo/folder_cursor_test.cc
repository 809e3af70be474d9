#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "repo/error.h"
#include "repo/tree_reader.h"
#include "tests/support/bytes.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::StateWriter;
using testing_support::TestRepository;

using Names = std::vector<std::string>;

// A folder of many nodes below lists.
class FolderCursorTest : public ::testing::Test {
 protected:
  static constexpr int kEntries = 4000;

  FolderCursorTest() {
    Repository repository = stored.open();
    StateWriter writer(repository);
    std::mt19937_64 random{1};
    for (int i = 0; i < kEntries; ++i) {
      // Long and random, so that nodes are too large to be read together.
      names.push_back(std::to_string(10'000 + i) + random_letters(random));
      writer.add_file(names.back(), {});
    }
    writer.commit(at_hour(1));
    const auto list = repository.snapshots(at_hour(0));
    root.kind = BlobKind::links;
    root.id = list.snapshots.back().snapshot.header.root;
  }

  static std::string random_letters(std::mt19937_64& random) {
    std::string letters(40, 'a');
    for (char& letter : letters)
      letter = static_cast<char>('a' + random() % 26);
    return letters;
  }

  static Names rest_of(FolderCursor& cursor) {
    Names rest;
    while (const TreeEntry* const entry = cursor.next()) {
      rest.push_back(entry->entry.name);
    }
    return rest;
  }

  TestRepository stored;
  Names names;
  Link root;
};

TEST_F(FolderCursorTest, GivesEveryEntryInTheOrderOfNames) {
  Repository repository = stored.open();
  BlobReader blobs = repository.blobs();
  FolderCursor cursor(blobs, root);

  EXPECT_EQ(rest_of(cursor), names);
  EXPECT_EQ(cursor.next(), nullptr);
}

TEST_F(FolderCursorTest, StandsWhereItStoodWhenItsMemoryWasGivenBack) {
  Repository repository = stored.open();
  BlobReader blobs = repository.blobs();
  testing_support::for_each_seed(20, [&](auto& random) {
    FolderCursor cursor(blobs, root);
    Names found;
    while (const TreeEntry* const entry = cursor.next()) {
      found.push_back(entry->entry.name);
      if (random() % 50 == 0) cursor.release();
      if (random() % 50 == 0) (void)cursor.unread_row();
    }
    EXPECT_EQ(found, names);
  });
}

TEST_F(FolderCursorTest, GoesOnWhereAReadFailed) {
  int failures = 0;
  for (std::size_t nth = 1; nth < 20; ++nth) {
    auto storage =
        std::make_unique<testing_support::FaultyStorage>(stored.disk());
    auto& faulty = *storage;
    Repository repository = stored.open_through(std::move(storage));
    BlobReader blobs = repository.blobs();
    FolderCursor cursor(blobs, root);
    faulty.fail(testing_support::Call::get, nth, IoError("once"));
    Names found;

    const auto read_rest = [&] {
      while (const TreeEntry* const entry = cursor.next()) {
        found.push_back(entry->entry.name);
      }
    };
    try {
      read_rest();  // a small node is tried again by itself
    } catch (const IoError&) {
      ++failures;
      read_rest();
    }

    EXPECT_EQ(found, names);
  }
  EXPECT_GT(failures, 3);
}

TEST_F(FolderCursorTest, PassesOverOneNodeOnly) {
  auto storage =
      std::make_unique<testing_support::FaultyStorage>(stored.disk());
  auto& faulty = *storage;
  Repository repository = stored.open_through(std::move(storage));
  BlobReader blobs = repository.blobs();
  FolderCursor cursor(blobs, root);
  Names found{cursor.next()->entry.name};
  faulty.fail(testing_support::Call::get, 1, IoError("once"));

  const auto read_rest = [&] {
    while (const TreeEntry* const entry = cursor.next()) {
      found.push_back(entry->entry.name);
    }
  };
  EXPECT_THROW(read_rest(), IoError);
  const std::size_t before = found.size();
  cursor.pass_over();
  read_rest();

  constexpr std::size_t kMostEntriesOfANode = 512;
  EXPECT_LT(found.size(), names.size());
  EXPECT_GE(found.size(), names.size() - kMostEntriesOfANode);
  // What is missing is one stretch behind what was read before.
  EXPECT_TRUE(std::equal(
      found.begin() + static_cast<std::ptrdiff_t>(before), found.end(),
      names.end() - static_cast<std::ptrdiff_t>(found.size() - before)));
}

TEST_F(FolderCursorTest, SkipsRowsWithoutReadingThem) {
  Repository repository = stored.open();
  BlobReader blobs = repository.blobs();
  FolderCursor first(blobs, root);
  FolderCursor second(blobs, root);
  ASSERT_NE(first.next(), nullptr);
  ASSERT_EQ(second.unread_row(), root.id);

  std::size_t skipped = 0;
  std::size_t given = 1;
  while (true) {
    if (first.unread_row() && skipped < 5) {
      first.skip_row();
      ++skipped;
    } else if (first.next() != nullptr) {
      ++given;
    } else {
      break;
    }
  }

  // How many there are depends on where the tree's key divides it.
  EXPECT_GE(skipped, 1u);
  EXPECT_LT(given, names.size());
}

}  // namespace
}  // namespace cairn::repo
