#include "repo/storage_probe.h"

#include <gtest/gtest.h>

#include "repo/local_storage.h"
#include "tests/support/bytes.h"
#include "tests/support/memory_storage.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::MemoryStorage;
using testing_support::TempFolder;

std::size_t left_in(const Storage& storage) {
  std::size_t left = 0;
  storage.list("probes", [&](const ListedObject&) { ++left; });
  return left;
}

TEST(StorageProbe, OneWinsInALocalFolderAndNothingIsLeft) {
  const TempFolder folder;
  const auto storage = LocalStorage::open(folder.path());
  EXPECT_EQ(probe_create_race(*storage), CreateRace::one_wins);
  EXPECT_EQ(left_in(*storage), 0U);
}

// As one that looks first and then writes.
class LastWins : public MemoryStorage {
 public:
  Created create(std::string_view name,
                 std::span<const std::byte> bytes) override {
    remove(name);
    return MemoryStorage::create(name, bytes);
  }
};

TEST(StorageProbe, SeesAStorageWhereSeveralWin) {
  LastWins storage;
  EXPECT_EQ(probe_create_race(storage), CreateRace::unsettled);
  EXPECT_EQ(left_in(storage), 0U);
}

// One that keeps its word only while it is asked by several at once.
class Replaces : public MemoryStorage {
 public:
  Created create(std::string_view name,
                 std::span<const std::byte> bytes) override {
    if (bytes.empty()) return Created::created;
    return MemoryStorage::create(name, bytes);
  }
};

TEST(StorageProbe, SeesAStorageThatReplacesWhatIsThere) {
  Replaces storage;
  EXPECT_EQ(probe_create_race(storage), CreateRace::unsettled);
}

}  // namespace
}  // namespace cairn::repo
