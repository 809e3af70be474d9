#include "repo/blob_index.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::Call;
using testing_support::FaultyStorage;
using testing_support::for_each_seed;
using testing_support::random_id;
using testing_support::SampleRepository;
using testing_support::TempFolder;

// A pack that exists in the index only.
IndexedPack made_up_pack(std::mt19937_64& random,
                         const std::vector<BlobId>& blobs) {
  IndexedPack pack;
  pack.id = random_id<PackId>(random);
  pack.size = 1 << 20;
  pack.directory.keys.push_back({KeyClass::content, 1, {}});
  for (const auto& id : blobs) {
    BlobRow row;
    row.id = id;
    row.plain_size = static_cast<std::uint32_t>(1 + random() % 1000);
    row.stored_size = row.plain_size + 16;
    if (random() % 2 == 0) {
      row.codec = Codec::zstd_to_base;
      row.base = random_id<BlobId>(random);
      row.depth = static_cast<std::uint32_t>(1 + random() % kMaxDepth);
    }
    pack.directory.rows.push_back(row);
  }
  return pack;
}

// Where every copy lies: what the index has to say.
using Places = std::multiset<std::pair<PackId, std::uint64_t>>;

Places places_in(const std::map<PackId, IndexedPack>& packs, const BlobId& id) {
  Places places;
  for (const auto& [pack_id, pack] : packs) {
    std::uint64_t offset = kPackHeadBytes;
    for (const auto& row : pack.directory.rows) {
      if (row.id == id) places.emplace(pack_id, offset);
      offset += row.stored_size;
    }
  }
  return places;
}

Places places_by(const BlobIndex& index, const BlobId& id) {
  Places places;
  std::uint32_t depth = 0;
  for (const auto& copy : index.find(id)) {
    EXPECT_GE(copy.row.depth, depth) << "not by ascending depth";
    depth = copy.row.depth;
    places.emplace(index.pack(copy.pack).id, copy.offset);
  }
  EXPECT_EQ(index.contains(id), !places.empty());
  return places;
}

TEST(BlobIndex, SaysWhatAMapWouldUnderRandomChanges) {
  for_each_seed(5, [](auto& random) {
    TempFolder folder;
    SampleRepository sample;
    std::vector<BlobId> ids;
    for (int i = 0; i < 60; ++i) ids.push_back(random_id<BlobId>(random));
    std::map<IndexId, std::vector<IndexedPack>> objects;
    std::map<PackId, IndexedPack> published;  // by add(), in no object yet
    std::map<PackId, IndexedPack> known;      // as of the last refresh()
    std::optional<std::set<PackId>> existing;
    std::optional<IndexStore> store(folder.path());
    std::optional<BlobIndex> index(std::in_place, *store, sample.keyring);

    const auto some_packs = [&] {
      std::vector<IndexedPack> packs;
      for (auto n = 1 + random() % 3; n > 0; --n) {
        std::vector<BlobId> blobs;
        for (auto k = 1 + random() % 10; k > 0; --k) {
          const auto& id = ids[random() % ids.size()];
          if (std::ranges::count(blobs, id) == 0) blobs.push_back(id);
        }
        packs.push_back(made_up_pack(random, blobs));
      }
      return packs;
    };
    for (int step = 0; step < 40; ++step) {
      switch (random() % 6) {
        case 0: {
          const auto packs = some_packs();
          objects[sample.store_index(packs)] = packs;
          break;
        }
        case 1:  // an object goes, with what it named
          if (!objects.empty()) {
            const auto gone = objects.begin();
            sample.storage.remove(index_name(gone->first));
            objects.erase(gone);
          }
          break;
        case 2:  // two are merged
          if (objects.size() >= 2) {
            auto packs = objects.begin()->second;
            const auto& more = std::next(objects.begin())->second;
            packs.insert(packs.end(), more.begin(), more.end());
            for (int i = 0; i < 2; ++i) {
              sample.storage.remove(index_name(objects.begin()->first));
              objects.erase(objects.begin());
            }
            objects[sample.store_index(packs)] = packs;
          }
          break;
        case 3: {  // published here, and named by an object a bit later
          for (const auto& pack : some_packs()) {
            index->add(pack);
            published[pack.id] = pack;
            known[pack.id] = pack;
            if (existing) existing->insert(pack.id);
          }
          break;
        }
        case 4:  // another process comes upon the cache
          if (published.empty()) {
            index.reset();
            store.reset();
            store.emplace(folder.path());
            index.emplace(*store, sample.keyring);
            existing.reset();
          }
          break;
        default:
          if (random() % 4 == 0) {
            std::vector<StoredPack> packs_that_exist;
            existing.emplace();
            for (const auto& [id, pack] : known) {
              if (random() % 3 != 0) {
                existing->insert(id);
                packs_that_exist.push_back({id, pack.size});
              }
            }
            index->restrict_to(packs_that_exist);
            published.clear();  // and who did so writes no object any more
          } else if (!published.empty()) {
            std::vector<IndexedPack> packs;
            for (const auto& [id, pack] : published) packs.push_back(pack);
            objects[sample.store_index(packs)] = packs;
            published.clear();
          }
          break;
      }
      index->refresh(sample.storage, sample.keyring);
      known = published;
      for (const auto& [id, packs] : objects) {
        for (const auto& pack : packs) known[pack.id] = pack;
      }
      auto usable = known;
      if (existing) {
        std::erase_if(usable, [&](const auto& pack) {
          return !existing->contains(pack.first);
        });
      }
      for (const auto& id : ids) {
        const auto expected = places_in(usable, id);
        const auto found = places_by(*index, id);
        ASSERT_EQ(found, expected) << "step " << step;
      }
      ASSERT_EQ(index->packs().size(), usable.size()) << "step " << step;
    }
  });
}

TEST(BlobIndex, AnImportThatWasCutShortLeavesNoRowsToAnotherPack) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  std::vector<BlobId> many;
  for (int i = 0; i < 30'000; ++i) many.push_back(random_id<BlobId>(random));
  const auto first = sample.store_index({made_up_pack(random, many)});
  IndexId second;  // imported after the first
  do {
    sample.storage.remove(index_name(second));
    second = sample.store_index({made_up_pack(random, {many[0]})});
  } while (second < first);
  FaultyStorage storage(sample.storage);
  storage.fail(Call::get, 2, IoError("bad disk"));
  EXPECT_THROW(index.refresh(storage, sample.keyring), IoError);

  sample.storage.remove(index_name(first));
  sample.storage.remove(index_name(second));
  const auto other = random_id<BlobId>(random);
  (void)sample.store_index({made_up_pack(random, {other})});
  index.refresh(sample.storage, sample.keyring);

  EXPECT_TRUE(index.contains(other));
  for (const auto& id : many) ASSERT_FALSE(index.contains(id));
  EXPECT_EQ(index.packs().size(), 1U);
}

TEST(BlobIndex, PassesOverAnIndexObjectThatIsDamaged) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  const auto lost = random_id<BlobId>(random);
  const auto kept = random_id<BlobId>(random);
  const auto damaged = sample.store_index({made_up_pack(random, {lost})});
  (void)sample.store_index({made_up_pack(random, {kept})});
  sample.storage.flip_bit(index_name(damaged), 100, 1);

  index.refresh(sample.storage, sample.keyring);

  EXPECT_FALSE(index.contains(lost));
  EXPECT_TRUE(index.contains(kept));
  ASSERT_EQ(index.unreadable().size(), 1U);
  EXPECT_EQ(index.unreadable()[0].id, damaged);
  EXPECT_NE(index.unreadable()[0].why.find(index_name(damaged)),
            std::string::npos);

  sample.storage.remove(index_name(damaged));
  index.refresh(sample.storage, sample.keyring);
  EXPECT_TRUE(index.unreadable().empty());
}

// Packs in the storage, of one blob each.
class BlobIndexOfPacks : public ::testing::Test {
 protected:
  IndexedPack store_pack() {
    return sample.store(
        {sample.encode(testing_support::random_bytes(random, 1000))});
  }
  static BlobId blob_of(const IndexedPack& pack) {
    return pack.directory.rows.at(0).id;
  }

  std::mt19937_64 random{1};
  TempFolder folder;
  SampleRepository sample;
  IndexStore store{folder.path()};
  BlobIndex index{store, sample.keyring};
};

TEST_F(BlobIndexOfPacks, FindsInThePacksWhatNoIndexObjectNames) {
  const auto named = store_pack();
  const auto lost = store_pack();
  const auto damaged = store_pack();
  const auto size = sample.storage.size(pack_name(damaged.id)).value();
  sample.storage.flip_bit(pack_name(damaged.id), size - 100, 1);
  (void)sample.store_index({named});
  index.refresh(sample.storage, sample.keyring);
  EXPECT_FALSE(index.contains(blob_of(lost)));

  index.search_packs(sample.storage, sample.keyring, blob_of(lost));

  EXPECT_EQ(index.find(blob_of(named)).size(), 1U);
  EXPECT_EQ(index.find(blob_of(lost)).size(), 1U);
  EXPECT_FALSE(index.contains(blob_of(damaged)));
  EXPECT_TRUE(index.is_incomplete());
  // It is in the store: another process need not search.
  const BlobIndex other(store, sample.keyring);
  EXPECT_TRUE(other.contains(blob_of(lost)));
  EXPECT_TRUE(other.is_incomplete());
}

// `repair packs` went by an index that had lost what index objects say, and
// took for lost what leaned on it.
TEST_F(BlobIndexOfPacks, ASearchBringsBackWhatWentWithTheCacheMeanwhile) {
  const auto named = store_pack();
  const auto left = store_pack();
  (void)sample.store_index({named});
  index.refresh(sample.storage, sample.keyring);
  std::filesystem::remove_all(folder.path());

  index.search_packs(sample.storage, sample.keyring);

  EXPECT_EQ(index.find(blob_of(left)).size(), 1U);
  EXPECT_EQ(index.find(blob_of(named)).size(), 1U);
}

TEST_F(BlobIndexOfPacks, AFoundPackStaysUntilItIsNamedOrGone) {
  const auto one = store_pack();
  const auto two = store_pack();
  const auto three = store_pack();
  index.search_packs(sample.storage, sample.keyring, blob_of(one));

  const auto first = sample.store_index({three});
  index.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(index.find(blob_of(one)).size(), 1U);
  EXPECT_EQ(index.find(blob_of(three)).size(), 1U);
  EXPECT_TRUE(index.is_incomplete());

  (void)sample.store_index({one});
  sample.storage.remove(pack_name(two.id));
  index.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(index.find(blob_of(one)).size(), 1U);
  EXPECT_FALSE(index.contains(blob_of(two)));
  EXPECT_FALSE(index.is_incomplete());

  sample.storage.remove(index_name(first));
  index.refresh(sample.storage, sample.keyring);
  EXPECT_FALSE(index.contains(blob_of(three)));
}

TEST_F(BlobIndexOfPacks, ASearchThatIsNotForABlobCallsNothingIncomplete) {
  const auto pack = store_pack();

  index.search_packs(sample.storage, sample.keyring);

  EXPECT_TRUE(index.contains(blob_of(pack)));
  EXPECT_FALSE(index.is_incomplete());
}

TEST_F(BlobIndexOfPacks, WhatASessionLeftBehindCountsOnlyOnceItIsMissed) {
  const auto pack = store_pack();
  index.search_packs(sample.storage, sample.keyring);
  BlobIndex other(store, sample.keyring);
  EXPECT_FALSE(other.contains(blob_of(pack)));
  EXPECT_TRUE(other.packs().empty());
  other.add(pack);  // it is this process that writes it
  other.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(other.find(blob_of(pack)).size(), 1U);

  BlobIndex third(store, sample.keyring);
  third.search_packs(sample.storage, sample.keyring, random_id<BlobId>(random));
  EXPECT_FALSE(third.contains(blob_of(pack)));
  third.search_packs(sample.storage, sample.keyring, blob_of(pack));

  EXPECT_TRUE(third.contains(blob_of(pack)));
  EXPECT_TRUE(third.is_incomplete());
}

// Two hosts with a write key each, the owner, and one cache.
class SharedBlobIndex : public BlobIndexOfPacks {
 protected:
  struct Host {
    explicit Host(const Keyring& owner)
        : keyring(owner.for_role(Role::write)),
          signer(crypto::Secret::random(), keyring) {}
    Keyring keyring;
    Signer signer;
  };

  IndexId name(const Host& host, const IndexedPack& pack) {
    return publish_index(sample.storage, host.keyring, host.signer,
                         {{}, {pack}, Assurance::by(host.keyring)});
  }

  // To whom of the owner, A and B the blob is vouched for, as letters.
  std::string vouched(const BlobId& id) {
    std::string who;
    for (const auto& [letter, keyring] : {std::pair('o', &sample.keyring),
                                          {'a', &a.keyring},
                                          {'b', &b.keyring}}) {
      BlobIndex one(store, *keyring);
      one.refresh(sample.storage, *keyring);
      const auto copies = one.find(id);
      if (std::ranges::any_of(copies, &BlobCopy::is_vouched)) who += letter;
      EXPECT_FALSE(copies.empty());
    }
    return who;
  }

  // The same pack with its two rows taken for one another.
  static IndexedPack belied(IndexedPack pack) {
    std::swap(pack.directory.rows.at(0), pack.directory.rows.at(1));
    return pack;
  }

  IndexedPack store_two_blobs() {
    return sample.store(
        {sample.encode(testing_support::random_bytes(random, 1000)),
         sample.encode(testing_support::random_bytes(random, 1000))});
  }

  Host a{sample.keyring};
  Host b{sample.keyring};
};

TEST_F(SharedBlobIndex, WhatAWriteKeyStoredIsVouchedForToThatKeyAlone) {
  const auto of_owner = store_pack();
  const auto of_a = store_pack();
  const auto of_nobody = store_pack();
  (void)sample.store_index({of_owner});
  (void)name(a, of_a);
  (void)publish_index(sample.storage, sample.keyring, sample.signer,
                      {{}, {of_nobody}});

  EXPECT_EQ(vouched(blob_of(of_owner)), "oab");
  EXPECT_EQ(vouched(blob_of(of_a)), "a");
  EXPECT_EQ(vouched(blob_of(of_nobody)), "");
}

TEST_F(SharedBlobIndex, IsVouchedForAsLongAsAnObjectIsThereThatSaysSo) {
  const auto pack = store_pack();
  (void)name(a, pack);
  EXPECT_EQ(vouched(blob_of(pack)), "a");
  const auto by_owner = sample.store_index({pack});
  EXPECT_EQ(vouched(blob_of(pack)), "oab");

  sample.storage.remove(index_name(by_owner));

  EXPECT_EQ(vouched(blob_of(pack)), "a");
}

TEST_F(SharedBlobIndex, AFalseWordOfAnotherKeyChangesNothing) {
  for (const bool lie_is_first : {true, false}) {
    const auto pack = store_two_blobs();
    if (lie_is_first) (void)name(b, belied(pack));
    index.refresh(sample.storage, sample.keyring);
    (void)name(a, pack);
    index.refresh(sample.storage, sample.keyring);
    if (!lie_is_first) (void)name(b, belied(pack));

    BlobIndex of_a(store, a.keyring);
    of_a.refresh(sample.storage, a.keyring);

    EXPECT_EQ(vouched(blob_of(pack)), "ab");
    const auto first = of_a.find(blob_of(pack)).at(0);
    EXPECT_TRUE(first.is_vouched);
    EXPECT_EQ(first.offset, kPackHeadBytes);
    EXPECT_EQ(of_a.find_pack(first.pack)->directory, digest_of(pack.directory));
  }
}

TEST_F(SharedBlobIndex, APackThatOnlyAnotherKeyNamesIsNotMissed) {
  auto pack = store_pack();
  (void)name(a, pack);
  pack.size += 1;
  (void)name(b, pack);
  BlobIndex of_a(store, a.keyring);
  of_a.refresh(sample.storage, a.keyring);

  of_a.restrict_to(list_packs(sample.storage));

  EXPECT_FALSE(of_a.misses_packs());
  EXPECT_EQ(of_a.find(blob_of(pack)).size(), 1U);
  of_a.count_as_absent(pack.id);
  EXPECT_TRUE(of_a.misses_packs());
}

TEST(BlobIndex, FollowsWhatAnotherProcessImported) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  const auto id = random_id<BlobId>(random);
  (void)sample.store_index({made_up_pack(random, {id})});
  {
    IndexStore other_store(folder.path());
    BlobIndex other(other_store, sample.keyring);
    other.refresh(sample.storage, sample.keyring);
  }
  index.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(index.find(id).size(), 1U);
}

TEST(BlobIndex, ClearForgetsEverythingAndRefreshBringsItBack) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  const auto id = random_id<BlobId>(random);
  (void)sample.store_index({made_up_pack(random, {id})});
  index.refresh(sample.storage, sample.keyring);

  index.clear();
  EXPECT_FALSE(index.contains(id));
  index.refresh(sample.storage, sample.keyring);

  EXPECT_TRUE(index.contains(id));
}

TEST(BlobIndex, ForgetsTheRowsOfPacksThatWentOnceTheyAreMostOfAll) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  const auto rows = [&] {
    std::size_t count = 0;
    store.for_each("b", [&](std::string_view, std::string_view) {
      ++count;
      return IndexStore::Next::go_on;
    });
    return count;
  };
  const auto both = random_id<BlobId>(random);
  std::vector<IndexId> old;
  for (int i = 0; i < 3; ++i) {
    old.push_back(sample.store_index(
        {made_up_pack(random, {random_id<BlobId>(random), both})}));
  }
  (void)sample.store_index({made_up_pack(random, {both})});
  index.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(rows(), 4U);

  sample.storage.remove(index_name(old[0]));
  index.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(rows(), 4U);
  EXPECT_EQ(index.find(both).size(), 3U);
  sample.storage.remove(index_name(old[1]));
  index.refresh(sample.storage, sample.keyring);
  EXPECT_EQ(rows(), 4U);
  sample.storage.remove(index_name(old[2]));
  index.refresh(sample.storage, sample.keyring);

  EXPECT_EQ(rows(), 1U);
  EXPECT_EQ(index.find(both).size(), 1U);
}

TEST(BlobIndex, BlobsThatShareAPrefixAreKeptApart) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  auto one = random_id<BlobId>(random);
  auto two = one;
  two.bytes[31] ^= std::byte{1};
  (void)sample.store_index({made_up_pack(random, {one})});
  index.refresh(sample.storage, sample.keyring);
  EXPECT_TRUE(index.contains(one));
  EXPECT_FALSE(index.contains(two));
  index.add(made_up_pack(random, {two}));
  EXPECT_EQ(index.find(one).size(), 1U);
  EXPECT_EQ(index.find(two).size(), 1U);
}

// A snapshot of the next session that rested on it would need what no index
// object names.
TEST(BlobIndex, ANewSessionForgetsWhatAnEarlierOneLeftWithoutIndex) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  const auto left = random_id<BlobId>(random);
  const auto indexed = random_id<BlobId>(random);
  const auto ended_early = made_up_pack(random, {left});
  const auto ended_well = made_up_pack(random, {indexed});
  index.add(ended_early);
  index.add(ended_well);
  (void)sample.store_index({ended_well});
  index.refresh(sample.storage, sample.keyring);
  ASSERT_TRUE(index.contains(left));

  std::vector<StoredPack> existing = {{ended_early.id, ended_early.size},
                                      {ended_well.id, ended_well.size}};
  std::ranges::sort(existing);
  index.restrict_to(existing);

  EXPECT_FALSE(index.contains(left));
  EXPECT_EQ(index.find(indexed).size(), 1U);
}

TEST(BlobIndex, IsSearchedByManyThreadsWhileItGrows) {
  std::mt19937_64 random(1);
  TempFolder folder;
  SampleRepository sample;
  IndexStore store(folder.path());
  BlobIndex index(store, sample.keyring);
  const auto id = random_id<BlobId>(random);
  index.add(made_up_pack(random, {id}));
  std::atomic<bool> is_done = false;
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!is_done) {
        for (const auto& copy : index.find(id)) (void)copy.row.depth;
        (void)index.packs();
      }
    });
  }
  for (int i = 0; i < 10; ++i) {
    const auto pack = made_up_pack(random, {id, random_id<BlobId>(random)});
    index.add(pack);
    (void)sample.store_index({pack});
    index.refresh(sample.storage, sample.keyring);
  }
  is_done = true;
  readers.clear();
  EXPECT_EQ(index.find(id).size(), 11U);
}

}  // namespace
}  // namespace cairn::repo
