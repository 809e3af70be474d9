#include "ingest/pack_publisher.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "crypto/seal.h"
#include "repo/error.h"
#include "repo/index_object.h"
#include "repo/pack_reader.h"
#include "repo/session_keys.h"
#include "tests/support/backup_site.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"

namespace cairn::ingest {
namespace {

using namespace testing_support;

constexpr std::size_t kPacksPerIndexObject = 16;

std::size_t index_objects_in(BackupSite& site) {
  return repo::list_indexes(site.disk()).size();
}

// A backup of which nothing is there but what its last stage needs.
class Publishing {
 public:
  explicit Publishing(BackupSite& site) : Publishing(site, site.disk()) {}
  Publishing(BackupSite& site, repo::Storage& storage)
      : repository(site.open_through(storage)) {}

  struct Pack {
    repo::PackWriter writer;
    std::vector<repo::BlobId> blobs;  // what it holds
  };

  // Claimed by this backup. Nobody will read them: their bytes are none.
  Pack pack_of(std::size_t blobs) {
    Pack pack{{repository.storage(), repository.keyring().newest()}, {}};
    const Bytes stored(crypto::kTagBytes + 1);
    for (std::size_t i = 0; i < blobs; ++i) {
      repo::BlobRow row;
      for (auto& byte : row.id.bytes) byte = static_cast<std::byte>(random_());
      row.plain_size = 1;
      row.stored_size = static_cast<std::uint32_t>(stored.size());
      row.counter = keys_.next_counter();
      EXPECT_TRUE(claimed.claim(row.id));
      pack.blobs.push_back(row.id);
      pack.writer.add(row, keys_.wrapped(repo::KeyClass::content), stored);
    }
    return pack;
  }

  // Gives so many packs of one blob each, until somebody stops that. Answers
  // their blobs.
  std::vector<repo::BlobId> give(std::size_t packs, std::stop_token stop) {
    std::vector<repo::BlobId> blobs;
    try {
      for (std::size_t i = 0; i < packs; ++i) {
        auto pack = pack_of(1);
        blobs.push_back(pack.blobs.front());
        publisher.give(std::move(pack.writer), stop);
      }
    } catch (const repo::Cancelled&) {
      return blobs;
    }
    publisher.close();
    return blobs;
  }

  // Gives them and publishes them. What that throws stops the giving, as in a
  // backup.
  std::vector<repo::BlobId> publish(std::size_t packs) {
    std::vector<repo::BlobId> blobs;
    std::jthread giver(
        [&](std::stop_token stop) { blobs = give(packs, std::move(stop)); });
    publisher.run({});
    giver.join();
    return blobs;
  }

  // Whether it need not be stored again, by whoever asks now.
  [[nodiscard]] bool is_indexed(const repo::BlobId& blob) {
    return repository.index().contains(blob);
  }

  repo::Repository repository;
  ClaimedBlobs claimed;
  repo::Progress progress;
  PackPublisher publisher{repository, {}, claimed, progress};

 private:
  std::mt19937_64 random_{1};
  repo::SessionKeys keys_{repository.keyring()};
};

TEST(PackPublisher, NamesSixteenPacksInAnIndexObjectAndTheRestAtTheEnd) {
  for (const std::size_t packs : {0U, 1U, 15U, 16U, 17U, 33U}) {
    SCOPED_TRACE(std::to_string(packs) + " packs");
    BackupSite site;
    Publishing backup(site);

    backup.publish(packs);

    const std::size_t full = packs / kPacksPerIndexObject;
    EXPECT_EQ(packs_in(site.disk()).size(), packs);
    EXPECT_EQ(index_objects_in(site), full);
    EXPECT_EQ(indexed_packs_in(site).size(), full * kPacksPerIndexObject);
    backup.publisher.finish();
    const bool has_rest = packs % kPacksPerIndexObject != 0;
    EXPECT_EQ(index_objects_in(site), full + (has_rest ? 1 : 0));
    EXPECT_EQ(indexed_packs_in(site), packs_in(site.disk()));
  }
}

TEST(PackPublisher, EndsAnIndexObjectThatHasManyRows) {
  BackupSite site;
  ObservedStorage storage(site.disk());
  Publishing backup(site, storage);
  // A pack counts as four rows beside its own.
  auto large = backup.pack_of(repo::kRowsPerIndexObject - 5);
  std::size_t indexed_when_the_second_came = 1;
  int packs = 0;
  storage.before_write = [&](std::string_view name) {
    if (!name.starts_with("packs/") || ++packs < 2) return;
    indexed_when_the_second_came = index_objects_in(site);
  };

  std::jthread giver([&] {
    backup.publisher.give(std::move(large.writer), {});
    backup.give(1, {});
  });
  backup.publisher.run({});
  giver.join();

  EXPECT_EQ(indexed_when_the_second_came, 0u);
  EXPECT_EQ(index_objects_in(site), 1u);
  EXPECT_EQ(indexed_packs_in(site).size(), 2u);
}

TEST(PackPublisher, TellsHowMuchItStored) {
  BackupSite site;
  Publishing backup(site);

  backup.publish(5);

  std::uint64_t bytes = 0;
  for (const auto& pack : repo::list_packs(site.disk())) bytes += pack.size;
  EXPECT_EQ(backup.publisher.bytes_stored(), bytes);
  EXPECT_EQ(backup.progress.bytes_stored, bytes);
}

TEST(PackPublisher, LetsGoOfClaimedBlobsOnceTheyAreIndexed) {
  BackupSite site;
  ObservedStorage storage(site.disk());
  Publishing backup(site, storage);
  auto pack = backup.pack_of(3);
  bool was_early = false;
  storage.before_write = [&](std::string_view) {
    for (const auto& blob : pack.blobs) {
      was_early |= backup.is_indexed(blob) || backup.claimed.claim(blob);
    }
  };

  std::jthread giver([&] {
    backup.publisher.give(std::move(pack.writer), {});
    backup.publisher.close();
  });
  backup.publisher.run({});
  giver.join();

  EXPECT_FALSE(was_early);
  for (const auto& blob : pack.blobs) {
    EXPECT_TRUE(backup.is_indexed(blob));
    EXPECT_TRUE(backup.claimed.claim(blob));
  }
}

TEST(PackPublisher, KnowsTheBlobsWhoseRowsMovedIntoTheCache) {
  BackupSite site;
  Publishing backup(site);

  const auto blobs = backup.publish(kPacksPerIndexObject + 1);

  for (const auto& blob : blobs) EXPECT_TRUE(backup.is_indexed(blob));
  backup.publisher.finish();
  for (const auto& blob : blobs) EXPECT_TRUE(backup.is_indexed(blob));
  auto elsewhere = site.open_elsewhere();
  for (const auto& blob : blobs) {
    EXPECT_TRUE(elsewhere.index().contains(blob));
  }
}

TEST(PackPublisher, LeavesRowsInTheCacheForWhoComesNext) {
  BackupSite site;
  Publishing backup(site);
  const auto blobs = backup.publish(kPacksPerIndexObject);
  ObservedStorage storage(site.disk());
  storage.before_read = [](std::string_view name) {
    EXPECT_FALSE(name.starts_with("index/")) << name;
  };

  auto next = site.open_through(storage);

  for (const auto& blob : blobs) EXPECT_TRUE(next.index().contains(blob));
}

TEST(PackPublisher, ThrowsWhatTheStorageThrowsAndIndexesWhatIsThere) {
  BackupSite site;
  FaultyStorage storage(site.disk());
  Publishing backup(site, storage);
  storage.fail(Call::publish, 3, repo::OutOfSpace("disk full"));

  EXPECT_THROW(backup.publish(10), repo::OutOfSpace);

  EXPECT_EQ(packs_in(site.disk()).size(), 2u);
  backup.publisher.finish();
  EXPECT_EQ(index_objects_in(site), 1u);
  EXPECT_EQ(indexed_packs_in(site), packs_in(site.disk()));
}

TEST(PackPublisher, KeepsTheBlobsOfAPackThatFailedToItself) {
  BackupSite site;
  FaultyStorage storage(site.disk());
  Publishing backup(site, storage);
  auto pack = backup.pack_of(1);
  storage.fail(Call::publish, 1, repo::OutOfSpace("disk full"));
  backup.publisher.give(std::move(pack.writer), {});
  backup.publisher.close();

  EXPECT_THROW(backup.publisher.run({}), repo::OutOfSpace);

  EXPECT_FALSE(backup.is_indexed(pack.blobs.front()));
  EXPECT_FALSE(backup.claimed.claim(pack.blobs.front()));
  EXPECT_EQ(backup.publisher.bytes_stored(), 0u);
}

TEST(PackPublisher, NamesAgainWhatAnIndexObjectThatFailedWasToName) {
  BackupSite site;
  FaultyStorage storage(site.disk());
  Publishing backup(site, storage);
  storage.fail(Call::create, 1, repo::StorageUnreachable("gone"));

  EXPECT_THROW(backup.publish(kPacksPerIndexObject), repo::StorageUnreachable);
  EXPECT_EQ(index_objects_in(site), 0u);

  backup.publisher.finish();
  EXPECT_EQ(indexed_packs_in(site).size(), kPacksPerIndexObject);
}

TEST(PackPublisher, HoldsUpWhoGivesWhileTwoAreOnTheirWay) {
  BackupSite site;
  ObservedStorage storage(site.disk());
  Publishing backup(site, storage);
  std::mutex mutex;  // guards given
  std::condition_variable changed;
  std::size_t given = 0;
  std::size_t given_at_first = 0;
  bool is_first = true;
  storage.before_write = [&](std::string_view name) {
    if (!name.starts_with("packs/") || !std::exchange(is_first, false)) return;
    std::unique_lock lock(mutex);
    // Longer than giving takes. A third would be one too many.
    constexpr std::chrono::milliseconds kLong{300};
    changed.wait_for(lock, kLong, [&] { return given > 2; });
    given_at_first = given;
  };

  std::jthread giver([&] {
    for (int i = 0; i < 6; ++i) {
      auto pack = backup.pack_of(1);
      backup.publisher.give(std::move(pack.writer), {});
      {
        const std::lock_guard lock(mutex);
        ++given;
      }
      changed.notify_all();
    }
    backup.publisher.close();
  });
  backup.publisher.run({});
  giver.join();

  EXPECT_LE(given_at_first, 2u);
  EXPECT_EQ(packs_in(site.disk()).size(), 6u);
}

TEST(PackPublisher, AStopReachesWhoGivesAndWhoPublishes) {
  BackupSite site;
  Publishing backup(site);
  std::stop_source stop;
  bool has_returned = false;
  {
    std::jthread giver([&] {
      backup.give(5, stop.get_token());  // as nobody takes them, it waits
      has_returned = true;
    });
    stop.request_stop();
  }
  EXPECT_TRUE(has_returned);

  backup.publisher.run(stop.get_token());

  EXPECT_EQ(packs_in(site.disk()).size(), 0u);
  EXPECT_THROW(backup.publisher.give(std::move(backup.pack_of(1).writer),
                                     stop.get_token()),
               repo::Cancelled);
}

}  // namespace
}  // namespace cairn::ingest
