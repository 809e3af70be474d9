#include "repo/repository.h"

#include <gtest/gtest.h>

#include "repo/error.h"
#include "repo/key_slot.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/power_cut.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Files;
using testing_support::MemoryStorage;
using testing_support::ObservedStorage;
using testing_support::PowerCut;
using testing_support::random_id;
using testing_support::read_all_snapshots;
using testing_support::SampleRepository;
using testing_support::TempFolder;
using testing_support::TestRepository;
using testing_support::write_snapshot;

constexpr Timestamp kNow{1'000, 0};

class RepositoryTest : public ::testing::Test {
 protected:
  void initialise_in(Storage& storage) {
    initialise(storage, sample.keyring, kNow, [&](Storage& s) {
      (void)add_key_file_slot(s, sample.keyring, Role::owner, key, "", kNow);
    });
  }

  Repository open() {
    return open_through(std::make_unique<MemoryStorage>(sample.storage));
  }

  Repository open_through(std::unique_ptr<Storage> through) {
    return Repository::open(std::move(through),
                            [&](const Storage& storage, const Config& config) {
                              return open_with_key_file(storage, config, key);
                            },
                            {folder / "cache", folder / "state"});
  }

  SessionId commit(std::int64_t seconds) {
    const auto id = random_id<SessionId>(random);
    SnapshotHeader header;
    header.time = {seconds, 0};
    (void)publish_snapshot(sample.storage, sample.keyring, sample.signer, id,
                           header, {});
    return id;
  }

  MarkId mark(MarkAction action, const SessionId& target) {
    return publish_mark(sample.storage, sample.keyring, sample.signer,
                        {action, target, kNow, "", {}});
  }

  std::mt19937_64 random{1};
  TempFolder folder;
  SampleRepository sample;
  crypto::Secret key = crypto::Secret::random();
};

TEST_F(RepositoryTest, WhatWasInitialisedOpens) {
  initialise_in(sample.storage);
  Repository repository = open();
  EXPECT_EQ(repository.keyring().repository(), sample.keyring.repository());
  EXPECT_TRUE(repository.snapshots(kNow).snapshots.empty());
  EXPECT_EQ(get_whole(sample.storage, kConfigName, 1U << 16),
            get_whole(sample.storage, kSecondConfigName, 1U << 16));
  EXPECT_TRUE(repository.index().packs().empty());
  EXPECT_EQ(repository.signer().chain().role, Role::owner);
}

TEST_F(RepositoryTest, ASecondInitialisationIsRefused) {
  initialise_in(sample.storage);
  EXPECT_THROW(initialise_in(sample.storage), RefusedForSafety);
  sample.storage.remove(kConfigName);
  EXPECT_THROW(initialise_in(sample.storage), RefusedForSafety);
}

TEST_F(RepositoryTest,
       AnInitialisationThatWasCutShortIsARepositoryOrCanBeDoneAgain) {
  for (std::size_t writes = 0;; ++writes) {
    MemoryStorage disk;
    PowerCut storage(disk, writes);
    try {
      initialise_in(storage);
      break;
    } catch (const IoError&) {
    }
    try {
      const Config config = read_config(disk);
      EXPECT_NO_THROW((void)open_with_key_file(disk, config, key));
    } catch (const NoRepository&) {
      EXPECT_NO_THROW(initialise_in(disk));
    }
  }
}

TEST_F(RepositoryTest, TheReserveIsAMebibyteThatEndsInItsHash) {
  initialise_in(sample.storage);
  const auto bytes = get_whole(sample.storage, kReserveName, 1U << 20);
  ASSERT_EQ(bytes.size(), 1U << 20);
  const auto rest = std::span(bytes).first(bytes.size() - 32);
  EXPECT_TRUE(
      std::ranges::equal(crypto::sha256(rest), std::span(bytes).last(32)));

  give_reserve(sample.storage);
  EXPECT_FALSE(sample.storage.size(kReserveName));
  take_reserve(sample.storage);
  take_reserve(sample.storage);
  EXPECT_TRUE(sample.storage.size(kReserveName));
}

TEST_F(RepositoryTest,
       SnapshotsComeByTimeWithTheirHoldsAndWithoutForgottenOnes) {
  initialise_in(sample.storage);
  const auto late = commit(30);
  const auto early = commit(10);
  const auto forgotten = commit(20);
  (void)mark(MarkAction::forget, forgotten);
  const auto hold = mark(MarkAction::hold, late);

  const auto list = open().snapshots(kNow);

  ASSERT_EQ(list.snapshots.size(), 2U);
  EXPECT_EQ(list.snapshots[0].snapshot.id, early);
  EXPECT_TRUE(list.snapshots[0].holds.empty());
  EXPECT_EQ(list.snapshots[1].snapshot.id, late);
  ASSERT_EQ(list.snapshots[1].holds.size(), 1U);
  EXPECT_EQ(list.snapshots[1].holds[0].id, hold);
  EXPECT_EQ(list.marks.size(), 2U);
  EXPECT_TRUE(list.damage.empty());
}

TEST_F(RepositoryTest, DamagedSlotsAndMarksAreToldAndHideNothingElse) {
  initialise_in(sample.storage);
  const auto sound = commit(10);
  const auto damaged = commit(20);
  const auto hold = mark(MarkAction::hold, sound);
  sample.storage.flip_bit(snapshot_name(damaged), 100, 1);
  sample.storage.flip_bit(mark_name(hold), 100, 1);

  const auto list = open().snapshots(kNow);

  ASSERT_EQ(list.snapshots.size(), 1U);
  EXPECT_EQ(list.snapshots[0].snapshot.id, sound);
  EXPECT_EQ(list.damage.size(), 2U);
}

// A snapshot that everything is right with but its signer.
class HistoryTest : public RepositoryTest {
 protected:
  HistoryTest() { initialise_in(sample.storage); }

  SessionId forge(std::int64_t seconds) {
    const auto id = random_id<SessionId>(random);
    SnapshotHeader header;
    header.time = {seconds, 0};
    (void)publish_snapshot(sample.storage, sample.keyring, stranger, id, header,
                           {});
    return id;
  }

  SnapshotHistory history_of(const Repository& repository) {
    return repository.history(
        kNow, [this](const std::string& what) { damage.push_back(what); });
  }

  Signer stranger{crypto::Secret::random(),
                  Keyring::create_like(sample.keyring)};
  std::vector<std::string> damage;
};

TEST_F(HistoryTest, HasWhatTheListOfAllHas) {
  const auto late = commit(30);
  (void)commit(10);
  const auto forgotten = commit(20);
  (void)mark(MarkAction::forget, forgotten);
  (void)mark(MarkAction::hold, late);
  (void)forge(15);
  const Repository repository = open();
  const auto list = repository.snapshots(kNow);

  auto history = history_of(repository);
  const auto all = history.all();

  ASSERT_EQ(all.size(), list.snapshots.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& [snapshot, holds] = list.snapshots[i];
    EXPECT_EQ(all[i]->snapshot.id, snapshot.id);
    EXPECT_EQ(all[i]->snapshot.header, snapshot.header);
    EXPECT_EQ(all[i]->snapshot.record, snapshot.record);
    EXPECT_EQ(all[i]->snapshot.signer, snapshot.signer);
    EXPECT_EQ(all[i]->holds.size(), holds.size());
  }
  EXPECT_EQ(damage, list.damage);
  EXPECT_EQ(damage.size(), 1U);
}

TEST_F(HistoryTest, DamageIsToldAtOnceAndAForgeryWhenItIsReached) {
  const auto oldest = commit(10);
  const auto damaged = commit(20);
  (void)forge(25);
  const auto newest = commit(30);
  sample.storage.flip_bit(snapshot_name(damaged), 100, 1);
  const auto repository = open();

  auto history = history_of(repository);

  EXPECT_EQ(damage.size(), 1U);
  ASSERT_EQ(history.claims().size(), 3U);
  EXPECT_EQ(history.find_valid(0)->snapshot.id, newest);
  EXPECT_EQ(damage.size(), 1U);
  EXPECT_EQ(history.find_valid(1), nullptr);
  EXPECT_EQ(damage.size(), 2U);
  EXPECT_EQ(history.find_valid(2)->snapshot.id, oldest);
}

TEST_F(HistoryTest, AForgeryThatClaimsToBeTheNewestIsNone) {
  const auto sound = commit(10);
  (void)forge(20);
  const auto repository = open();

  auto history = history_of(repository);

  EXPECT_EQ(history.find_valid(0), nullptr);
  EXPECT_EQ(history.find_valid(1)->snapshot.id, sound);
  EXPECT_EQ(damage.size(), 1U);
}

TEST_F(HistoryTest, ATombstoneOverASnapshotIsToldAtOnceUnlessAKeeperSignedIt) {
  const auto overwritten = commit(20);
  sample.storage.remove(snapshot_name(overwritten));
  (void)publish_tombstone(sample.storage, sample.keyring, stranger,
                          {overwritten, kNow, "gone"});
  const auto gone = random_id<SessionId>(random);
  (void)publish_tombstone(sample.storage, sample.keyring, sample.signer,
                          {gone, kNow, "gone"});
  const auto repository = open();

  EXPECT_TRUE(history_of(repository).claims().empty());
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_NE(damage[0].find(overwritten.hex()), std::string::npos);
}

TEST_F(HistoryTest, ASlotThatChangesMeanwhileDoesNotCount) {
  const auto id = commit(20);
  const auto gone = commit(10);
  const auto repository =
      open_through(std::make_unique<ObservedStorage>(sample.storage));
  auto history = history_of(repository);

  SnapshotHeader header;
  header.time = {40, 0};
  sample.storage.remove(snapshot_name(id));
  (void)publish_snapshot(sample.storage, sample.keyring, sample.signer, id,
                         header, {});
  sample.storage.remove(snapshot_name(gone));

  EXPECT_EQ(history.find_valid(0), nullptr);
  EXPECT_EQ(damage.size(), 1U);
  EXPECT_EQ(history.find_valid(1), nullptr);
  EXPECT_EQ(damage.size(), 1U);
}

// As if a prune settled everything right after the slots were listed. Marks
// read after slots would let a forgotten snapshot come back for that moment.
class PrunesMeanwhile : public MemoryStorage {
 public:
  explicit PrunesMeanwhile(const MemoryStorage& other) : MemoryStorage(other) {}

  void list(
      std::string_view folder,
      const std::function<void(const ListedObject&)>& visit) const override {
    MemoryStorage::list(folder, visit);
    if (folder != "snapshots") return;
    std::vector<std::string> marks;
    MemoryStorage::list("marks", [&](const ListedObject& object) {
      marks.push_back(object.name);
    });
    auto& self = const_cast<PrunesMeanwhile&>(*this);
    for (const auto& mark : marks) self.remove(mark);
  }
};

TEST_F(RepositoryTest, AForgottenSnapshotStaysForgottenWhileAPruneSettlesIt) {
  initialise_in(sample.storage);
  const auto forgotten = commit(20);
  (void)mark(MarkAction::forget, forgotten);
  const Repository repository =
      open_through(std::make_unique<PrunesMeanwhile>(sample.storage));
  EXPECT_TRUE(repository.snapshots(kNow).snapshots.empty());
}

// Two snapshots, each with an index object of its own.
class LostIndex : public ::testing::Test {
 protected:
  LostIndex() {
    auto repository = test.open();
    for (std::uint64_t i = 1; i <= 2; ++i) {
      std::mt19937_64 random(i);
      const Files files{
          {"file", testing_support::random_bytes(random, 20'000)}};
      states[write_snapshot(repository, files, at_hour(1))] = files;
    }
  }

  // From a machine that knows nothing yet.
  void expect_all_readable_with_warnings(std::size_t count) {
    test.forget_cache();
    for (const auto* const when : {"first", "when the cache is there"}) {
      SCOPED_TRACE(when);
      const auto before = names();
      warnings.clear();
      auto repository = test.open();
      repository.set_warn(
          [this](std::string_view text) { warnings.emplace_back(text); });
      EXPECT_EQ(read_all_snapshots(repository), states);
      EXPECT_EQ(names(), before);
      EXPECT_EQ(warnings.size(), count);
      for (const auto& warning : warnings) {
        EXPECT_NE(warning.find("cairn repair index"), std::string::npos)
            << warning;
      }
    }
  }

  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto* const folder : {"packs", "index", "snapshots"}) {
      test.disk().list(folder, [&](const ListedObject& object) {
        all.push_back(object.name);
      });
    }
    return all;
  }

  TestRepository test;
  std::map<SessionId, Files> states;
  std::vector<std::string> warnings;
};

TEST_F(LostIndex, NothingIsSaidWhileItIsWhole) {
  expect_all_readable_with_warnings(0);
}

TEST_F(LostIndex, OneDamagedObjectHindersNoReader) {
  test.disk().flip_bit(index_name(list_indexes(test.disk())[0]), 100, 1);
  expect_all_readable_with_warnings(1);
}

TEST_F(LostIndex, OnlyDamagedObjectsHinderNoReader) {
  for (const auto& id : list_indexes(test.disk())) {
    test.disk().flip_bit(index_name(id), 100, 1);
  }
  expect_all_readable_with_warnings(2);
}

TEST_F(LostIndex, OneMissingObjectHindersNoReader) {
  test.disk().remove(index_name(list_indexes(test.disk())[0]));
  expect_all_readable_with_warnings(1);
}

TEST_F(LostIndex, NoObjectAtAllHindersNoReader) {
  for (const auto& id : list_indexes(test.disk())) {
    test.disk().remove(index_name(id));
  }
  expect_all_readable_with_warnings(1);
}

TEST_F(LostIndex, PacksAreSearchedOnceForWhatIsMissing) {
  for (const auto& id : list_indexes(test.disk())) {
    test.disk().remove(index_name(id));
  }
  test.forget_cache();
  auto storage = std::make_unique<testing_support::FaultyStorage>(test.disk());
  const auto& counted = *storage;
  auto repository = test.open_through(std::move(storage));
  auto blobs = repository.blobs();
  std::mt19937_64 random(7);
  const auto unknown = random_id<BlobId>(random);
  EXPECT_THROW((void)blobs.read(BlobKind::content, unknown), NotFound);
  const auto reads = counted.count(testing_support::Call::get);

  EXPECT_THROW((void)blobs.read(BlobKind::content, unknown), NotFound);

  EXPECT_EQ(counted.count(testing_support::Call::get), reads);
}

}  // namespace
}  // namespace cairn::repo
