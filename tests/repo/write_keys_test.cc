// What write keys store, and who relies on it: nobody but the key itself, until
// a key that reads has verified it (FORMAT.md, 6.7).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "repo/check.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/repair.h"
#include "repo/reusable_blobs.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/one_base.h"
#include "tests/support/power_cut.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::Call;
using testing_support::ChunksByPath;
using testing_support::CutFalls;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::MemoryStorage;
using testing_support::ObservedStorage;
using testing_support::PowerCut;
using testing_support::random_bytes;
using testing_support::read_all_snapshots;
using testing_support::store_false_copy;
using testing_support::TestRepository;
using testing_support::write_snapshot;

using States = std::map<SessionId, Files>;

constexpr PruneOptions kNothingWasted{.max_unused = 0, .budget = {}};

Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

Bytes changed(Bytes bytes, std::size_t at) {
  bytes.at(at) ^= std::byte{1};
  return bytes;
}

std::set<PackId> packs_in(const Storage& storage) {
  std::set<PackId> packs;
  for (const auto& pack : list_packs(storage)) packs.insert(pack.id);
  return packs;
}

// An owner, and two hosts with a write key each.
struct Site {
  Repository owner() { return test.open(); }
  Repository a() { return test.open_with(key_a); }
  Repository b() { return test.open_with(key_b); }

  BlobId id_of(const Bytes& plain) {
    return test.open().keyring().id_of(BlobKind::content, plain);
  }

  // Who may use the chunk again, as letters.
  std::string reusable(const BlobId& id) {
    std::string who;
    const auto ask = [&](char letter, Repository repository) {
      ReusableBlobs blobs(test.disk(), repository.keyring(), repository.index(),
                          {});
      if (blobs.contains(BlobKind::content, id)) who += letter;
      EXPECT_TRUE(blobs.damage().empty());
    };
    ask('o', owner());
    ask('a', a());
    ask('b', b());
    return who;
  }
  std::string reusable(const Bytes& chunk) { return reusable(id_of(chunk)); }

  // The readers to whom each pack is vouched for, by index objects that say of
  // it what its directory says.
  std::map<PackId, std::string> vouched_packs() {
    std::map<PackId, std::string> packs;
    const MemoryStorage& disk = test.disk();
    auto repository = owner();
    std::vector<IndexObject> objects;
    for (const auto& id : list_indexes(disk)) {
      objects.push_back(read_index(disk, repository.keyring(), id));
    }
    for (const auto& stored : list_packs(disk)) {
      const auto pack =
          read_pack_directory(disk, repository.keyring(), stored.id).pack;
      std::string& who = packs[stored.id];
      for (const auto& reader : readers) {
        const bool is_vouched =
            std::ranges::any_of(objects, [&](const IndexObject& object) {
              return object.assurance.covers(reader.second) &&
                     std::ranges::count(object.packs, pack) > 0;
            });
        if (is_vouched) who += reader.first;
      }
    }
    return packs;
  }

  // As if an index object had never said so.
  void take_back_what_is_said() {
    auto repository = owner();
    for (const auto& id : list_indexes(test.disk())) {
      auto object = read_index(test.disk(), repository.keyring(), id);
      object.assurance = {};
      test.disk().remove(index_name(id));
      (void)publish_index(test.disk(), repository.keyring(),
                          repository.signer(), object);
    }
  }

  CheckReport check_data(CheckOptions options = {}) {
    auto repository = owner();
    options.level = CheckLevel::data;
    options.now = at_hour(9999);
    return check(repository, options, {}, nullptr);
  }
  CheckReport verify() { return check_data({.now = {}, .vouch = Vouch::yes}); }

  PruneOutcome prune_all() {
    auto repository = owner();
    return prune(repository, kNothingWasted, at_hour(1000), {}, {}, nullptr);
  }

  States read_all() {
    test.forget_cache();
    auto repository = owner();
    return read_all_snapshots(repository);
  }

  void forget(const SessionId& id) {
    auto repository = owner();
    (void)forget_snapshot(repository, id, "test", at_hour(500));
  }

  TestRepository test;
  crypto::Secret key_a = test.add_key(Role::write);
  crypto::Secret key_b = test.add_key(Role::write);
  std::vector<std::pair<char, crypto::VerifyKey>> readers{
      {'o', owner().keyring().role_key()},
      {'a', a().keyring().role_key()},
      {'b', b().keyring().role_key()}};
};

SessionId write(Repository repository, const Files& files, std::int64_t hour,
                const FilesOptions& options = {}) {
  return write_snapshot(repository, files, at_hour(hour), options);
}

const Finding* find(const CheckReport& report, std::string_view code) {
  const auto found = std::ranges::find(report.findings, code, &Finding::code);
  return found == report.findings.end() ? nullptr : &*found;
}

TEST(WriteKeys, ShareWhatTheyStoreOnceAnOwnerHasVerifiedIt) {
  Site site;
  const Bytes of_owner = noise(1, 4'000);
  const Bytes of_a = noise(2, 4'000);
  (void)write(site.owner(), {{"f", of_owner}}, 1);
  (void)write(site.a(), {{"f", of_a}}, 2);
  EXPECT_EQ(site.reusable(of_owner), "oab");
  EXPECT_EQ(site.reusable(of_a), "a");

  const auto report = site.verify();

  EXPECT_EQ(report.packs_verified, 2U);  // contents and nodes
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(site.reusable(of_a), "oab");
  EXPECT_EQ(site.verify().packs_verified, 0U);
}

TEST(WriteKeys, StoreAnewWhatAnotherKeyStored) {
  Site site;
  const Bytes chunk = noise(1, 4'000);
  (void)write(site.a(), {{"f", chunk}}, 1);
  const auto before = packs_in(site.test.disk());

  (void)write(site.b(), {{"f", chunk}}, 2);
  EXPECT_EQ(packs_in(site.test.disk()).size(), before.size() + 2);
  (void)write(site.b(), {{"f", chunk}}, 3);
  EXPECT_EQ(packs_in(site.test.disk()).size(), before.size() + 2);
  EXPECT_EQ(site.reusable(chunk), "ab");
}

// A run says of an unchanged file that it lies in packs which it saw in an era.
// Another key on the same host must see for itself; the same key need not.
TEST(WriteKeys, DoNotTakeOverWhatAnotherKeyNotedOnTheSameHost) {
  Site site;
  const Bytes chunk = noise(1, 4'000);
  (void)write(site.a(), {{"f", chunk}}, 1);
  PackNotes notes;
  std::optional<BlobIndex::Era> era;
  {
    auto repository = site.a();
    ReusableBlobs blobs(site.test.disk(), repository.keyring(),
                        repository.index(), {});
    ASSERT_TRUE(blobs.contains(BlobKind::content, site.id_of(chunk), notes));
    era = blobs.era();
  }
  const auto holds = [&](Repository repository) {
    ReusableBlobs blobs(site.test.disk(), repository.keyring(),
                        repository.index(), {});
    EXPECT_EQ(blobs.has_as_noted(era, notes),
              blobs.has_lost_nothing_since(era));
    return blobs.has_as_noted(era, notes);
  };

  EXPECT_TRUE(holds(site.a()));
  EXPECT_FALSE(holds(site.b()));
  EXPECT_FALSE(holds(site.owner()));
}

// Nor is what other keys store taken for something that went.
TEST(WriteKeys, LoseNoEraToWhatOthersStored) {
  Site site;
  (void)write(site.a(), {{"f", noise(1, 4'000)}}, 1);
  const auto look = [&] {
    auto repository = site.a();
    ReusableBlobs blobs(site.test.disk(), repository.keyring(),
                        repository.index(), {});
    EXPECT_TRUE(blobs.damage().empty());
    return std::pair(blobs.era(), blobs.has_lost_nothing_since(blobs.era()));
  };
  const auto before = look();
  EXPECT_TRUE(before.second);

  (void)write(site.b(), {{"g", noise(2, 4'000)}}, 2);
  {
    auto repository = site.b();
    auto gone = store_false_copy(repository, BlobKind::content,
                                 site.id_of(noise(3, 100)), noise(4, 100));
    site.test.disk().remove(pack_name(gone.id));
    // And one that is not as large as it says.
    PackWriter writer(repository.storage(), repository.keyring().newest());
    auto pack = std::move(writer).finish();
    ++pack.size;
    (void)publish_index(repository.storage(), repository.keyring(),
                        repository.signer(),
                        {{}, {pack}, Assurance::by(repository.keyring())});
  }

  EXPECT_EQ(look(), before);
}

// The attack, on what a repository is made of: ingest plays it on backups.
TEST(WriteKeys, CannotSpoilWhatOthersStoreLaterOrHaveStored) {
  Site site;
  const Bytes later = noise(1, 4'000);
  const Bytes stored = noise(2, 4'000);
  const Bytes of_owner = noise(3, 4'000);
  States states;
  const auto store = [&](Repository repository, const Files& files, int hour) {
    states[write(std::move(repository), files, hour)] = files;
  };
  std::set<PackId> false_packs;
  const auto spoil = [&](const Bytes& chunk) {
    auto thief = site.a();
    false_packs.insert(store_false_copy(thief, BlobKind::content,
                                        site.id_of(chunk), noise(99, 3'000))
                           .id);
  };
  spoil(later);
  store(site.b(), {{"f", stored}}, 1);
  store(site.owner(), {{"f", of_owner}}, 2);
  spoil(stored);
  spoil(of_owner);
  store(site.b(), {{"f", later}, {"g", stored}, {"h", of_owner}}, 3);

  (void)site.prune_all();
  EXPECT_EQ(site.read_all(), states);

  const auto report = site.verify();
  std::set<PackId> found;
  for (const auto& finding : report.findings) {
    if (finding.severity != Severity::damage) continue;
    EXPECT_EQ(finding.code, "damaged-blob");
    EXPECT_TRUE(finding.snapshots.empty());
    for (const auto& id : false_packs) {
      if (finding.object == pack_name(id)) found.insert(id);
    }
  }
  // Of the owner's chunk a verified copy was there: the false one is gone.
  EXPECT_EQ(found.size(), 2U);
  EXPECT_EQ(report.count(Severity::damage), 2U);
  EXPECT_EQ(site.reusable(stored), "oab");
  EXPECT_EQ(site.reusable(later), "oab");

  (void)site.prune_all();
  EXPECT_EQ(site.read_all(), states);
  EXPECT_EQ(site.check_data().count(Severity::damage), 0U);
  const auto left = packs_in(site.test.disk());
  for (const auto& id : false_packs) EXPECT_FALSE(left.contains(id));
}

TEST(Prune, KeepsAVerifiedCopyAndNotAShallowerOneOfAWriteKey) {
  Site site;
  ChunksByPath bases;
  FilesOptions chained;
  chained.bases = &bases;
  const Bytes base = noise(1, 4'000);
  const Bytes plain = changed(base, 7);
  States states;
  states[write(site.owner(), {{"f", base}}, 1, chained)] = {{"f", base}};
  states[write(site.owner(), {{"f", plain}}, 2, chained)] = {{"f", plain}};
  const auto good = packs_in(site.test.disk());
  {
    auto thief = site.a();
    for (const auto& chunk : {base, plain}) {
      (void)store_false_copy(thief, BlobKind::content, site.id_of(chunk),
                             noise(99, 4'000));
    }
  }

  (void)site.prune_all();

  EXPECT_EQ(packs_in(site.test.disk()), good);
  EXPECT_EQ(site.read_all(), states);
}

TEST(Prune, KeepsAllCopiesOfWhatNobodyHasVerified) {
  Site site;
  const Bytes chunk = noise(1, 4'000);
  {
    auto thief = site.a();
    (void)store_false_copy(thief, BlobKind::content, site.id_of(chunk),
                           noise(99, 4'000));
  }
  States states;
  const Files files{{"f", chunk}};
  states[write(site.b(), files, 1)] = files;
  const auto before = packs_in(site.test.disk());

  (void)site.prune_all();

  EXPECT_EQ(packs_in(site.test.disk()), before);
  EXPECT_EQ(site.read_all(), states);
}

// The base of a verified difference lies in a pack that nobody has verified,
// and in another, false.
TEST(Prune, KeepsAllUnverifiedCopiesOfABaseThatHasNoOther) {
  Site site;
  ChunksByPath bases;
  FilesOptions chained;
  chained.bases = &bases;
  const Bytes base = noise(1, 4'000);
  const Bytes plain = changed(base, 7);
  const auto old = write(site.owner(), {{"f", base}}, 1, chained);
  site.take_back_what_is_said();
  // As a check of a subset leaves it.
  {
    auto repository = site.owner();
    repository.index().refresh(site.test.disk(), repository.keyring());
    for (const auto& id : list_indexes(site.test.disk())) {
      auto object = read_index(site.test.disk(), repository.keyring(), id);
      object.assurance = Assurance::for_everyone();
      (void)publish_index(site.test.disk(), repository.keyring(),
                          repository.signer(), object);
    }
  }
  const auto unverified = packs_in(site.test.disk());
  States states;
  const Files files{{"f", plain}};
  states[write(site.owner(), files, 2, chained)] = files;
  for (const auto& id : list_indexes(site.test.disk())) {
    auto repository = site.owner();
    auto object = read_index(site.test.disk(), repository.keyring(), id);
    std::erase_if(object.packs, [&](const IndexedPack& pack) {
      return unverified.contains(pack.id);
    });
    site.test.disk().remove(index_name(id));
    if (object.packs.empty()) continue;
    (void)publish_index(site.test.disk(), repository.keyring(),
                        repository.signer(), object);
  }
  std::set<PackId> false_packs;
  for (int i = 0; i < 2; ++i) {
    auto thief = site.a();
    false_packs.insert(store_false_copy(thief, BlobKind::content,
                                        site.id_of(base), noise(98, 4'000))
                           .id);
  }
  site.forget(old);

  (void)site.prune_all();

  const auto left = packs_in(site.test.disk());
  for (const auto& id : false_packs) EXPECT_TRUE(left.contains(id));
  EXPECT_EQ(site.read_all(), states);
}

TEST(Prune, MovesNothingOutOfPacksThatNobodyHasVerified) {
  Site site;
  const auto old = write(site.a(), {{"f", noise(1, 40'000)}}, 1);
  const Files files{{"f", noise(1, 8'192)}};
  States states;
  states[write(site.a(), files, 2)] = files;
  site.forget(old);
  const auto plan = [&] {
    auto repository = site.owner();
    return plan_prune(repository, kNothingWasted, at_hour(1000), {}, nullptr);
  };
  EXPECT_EQ(plan().repacked.packs, 0U);
  EXPECT_GT(plan().bytes_unused, 0U);

  EXPECT_EQ(site.prune_all().written.packs, 0U);
  EXPECT_EQ(plan().unverified.packs, plan().kept.packs);
  EXPECT_EQ(site.reusable(noise(1, 4'096)), "a");
  (void)site.verify();
  EXPECT_EQ(plan().unverified.packs, 0U);
  EXPECT_GT(site.prune_all().repacked.packs, 0U);

  EXPECT_EQ(plan().bytes_unused, 0U);
  EXPECT_EQ(site.read_all(), states);
  EXPECT_EQ(site.reusable(noise(1, 4'096)), "oab");
}

// Those of each key are merged apart, by whoever prunes.
TEST(Prune, MergesIndexObjectsAndKeepsForWhomTheyCount) {
  Site site;
  for (unsigned i = 0; i < 10; ++i) {
    (void)write(site.a(), {{"f", noise(10 + i, 4'000)}}, i);
    (void)write(site.b(), {{"f", noise(30 + i, 4'000)}}, i);
    (void)write(site.owner(), {{"f", noise(50 + i, 4'000)}}, i);
  }
  const auto before = site.vouched_packs();
  for (const auto& id : list_indexes(site.test.disk())) {
    auto repository = site.owner();
    const auto object = read_index(site.test.disk(), repository.keyring(), id);
    EXPECT_NE(object.assurance, Assurance{});
  }

  {
    auto maintainer = site.test.open_as(Role::maintain);
    (void)prune(maintainer, {.max_unused = 1e9, .budget = 0}, at_hour(1000), {},
                {}, nullptr);
  }

  EXPECT_EQ(list_indexes(site.test.disk()).size(), 3U);
  EXPECT_EQ(site.vouched_packs(), before);
  EXPECT_EQ(site.reusable(noise(10, 4'000)), "a");
  EXPECT_EQ(site.reusable(noise(30, 4'000)), "b");
  EXPECT_EQ(site.reusable(noise(50, 4'000)), "oab");
}

TEST(Prune, ChangesForWhomNoPackCountsWhicheverWriteThePowerCutHits) {
  Site site;
  States states;
  {
    std::vector<SessionId> dead;
    const auto store = [&](Repository repository, std::uint64_t seed,
                           int hour) {
      const Bytes content = noise(seed, 20'000);
      const Files whole{{"f", content}};
      const Files part{{"f", Bytes(content.begin(), content.begin() + 8'192)}};
      const Files gone{{"g", noise(seed + 1, 6'000)}};
      dead.push_back(write_snapshot(repository, whole, at_hour(hour)));
      dead.push_back(write_snapshot(repository, gone, at_hour(hour)));
      states[write_snapshot(repository, part, at_hour(hour + 1))] = part;
    };
    store(site.owner(), 100, 1);
    store(site.a(), 200, 3);
    store(site.b(), 300, 5);
    for (int i = 0; i < 8; ++i) {
      const Files files{{"f", noise(static_cast<std::uint64_t>(400 + i), 300)}};
      states[write(i % 2 == 0 ? site.a() : site.owner(), files, 10 + i)] =
          files;
    }
    auto thief = site.a();
    (void)store_false_copy(thief, BlobKind::content,
                           site.id_of(noise(300, 4'096)), noise(99, 4'096));
    for (const auto& id : dead) site.forget(id);
  }
  auto& test = site.test;
  test.let_processes_die();
  const MemoryStorage before = test.disk();
  const auto vouched_before = site.vouched_packs();
  (void)site.prune_all();
  const auto staying = packs_in(test.disk());
  for (const auto falls : {CutFalls::before_effect, CutFalls::after_effect}) {
    bool finished = false;
    for (std::size_t writes = 0; !finished; ++writes) {
      SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
      test.disk() = before;
      {
        auto repository = test.open_through(
            std::make_unique<PowerCut>(test.disk(), writes, falls));
        try {
          (void)prune(repository, kNothingWasted, at_hour(1000), {}, {},
                      nullptr);
          finished = true;
        } catch (const IoError&) {
        }
      }
      test.let_processes_die();

      for (const auto& [id, who] : site.vouched_packs()) {
        const auto old = vouched_before.find(id);
        if (staying.contains(id) && old != vouched_before.end()) {
          EXPECT_EQ(who, old->second);
        } else if (old != vouched_before.end()) {
          // No index object names packs that moved any more, before they go.
          EXPECT_TRUE(who == old->second || who.empty());
        } else {
          EXPECT_TRUE(who.empty() || who == "oab") << who;  // moved
        }
      }
      EXPECT_EQ(site.read_all(), states);
      if (HasFailure()) return;
    }
  }
  EXPECT_NE(packs_in(test.disk()), packs_in(before));
}

TEST(RepairIndex, KeepsForWhomPacksCount) {
  for (const Role role : {Role::owner, Role::maintain}) {
    SCOPED_TRACE(name_of(role));
    Site site;
    (void)write(site.owner(), {{"f", noise(1, 4'000)}}, 1);
    (void)write(site.a(), {{"f", noise(2, 4'000)}}, 2);
    (void)write(site.b(), {{"f", noise(3, 4'000)}}, 3);
    const auto before = site.vouched_packs();
    auto repository =
        role == Role::owner ? site.owner() : site.test.open_as(role);

    const auto repair = repair_index(repository, {}, nullptr);

    EXPECT_EQ(site.vouched_packs(), before);
    EXPECT_EQ(repair.packs_unverified, 4U);
    EXPECT_EQ(site.reusable(noise(1, 4'000)), "oab");
    EXPECT_EQ(site.reusable(noise(2, 4'000)), "a");
    EXPECT_EQ(site.reusable(noise(3, 4'000)), "b");
  }
}

TEST(RepairIndex, CallsNothingVerifiedWhenNobodySaysSoAnyMore) {
  Site site;
  (void)write(site.owner(), {{"f", noise(1, 4'000)}}, 1);
  for (const auto& id : list_indexes(site.test.disk())) {
    site.test.disk().flip_bit(index_name(id), 100, 1);
  }
  {
    auto repository = site.owner();

    EXPECT_EQ(repair_index(repository, {}, nullptr).packs_unverified, 2U);
  }

  EXPECT_EQ(site.reusable(noise(1, 4'000)), "");
  EXPECT_EQ(site.verify().packs_verified, 2U);
  EXPECT_EQ(site.reusable(noise(1, 4'000)), "oab");
}

TEST(RepairIndex, TakesAwayTheWordOfWhoLied) {
  Site site;
  (void)write(site.b(), {{"f", noise(1, 8'192)}}, 1);
  {
    auto repository = site.a();
    auto object = read_index(site.test.disk(), repository.keyring(),
                             list_indexes(site.test.disk()).front());
    for (auto& pack : object.packs) {
      std::swap(pack.directory.rows.front(), pack.directory.rows.back());
    }
    object.assurance = Assurance::by(repository.keyring());
    (void)publish_index(site.test.disk(), repository.keyring(),
                        repository.signer(), object);
  }
  auto repository = site.owner();
  EXPECT_THROW((void)plan_prune(repository, {}, at_hour(9), {}, nullptr),
               CorruptionError);

  (void)repair_index(repository, {}, nullptr);

  EXPECT_NO_THROW((void)plan_prune(repository, {}, at_hour(9), {}, nullptr));
  EXPECT_EQ(site.reusable(noise(1, 4'096)), "b");
}

TEST(RepairIndex, IsNotForKeysWhoseWordCountsForThemselvesAlone) {
  Site site;
  (void)write(site.owner(), {{"f", noise(1, 4'000)}}, 1);
  const auto before = site.vouched_packs();
  auto repository = site.b();

  EXPECT_THROW((void)repair_index(repository, {}, nullptr), WrongKey);

  EXPECT_EQ(site.vouched_packs(), before);
}

TEST(Prune, SeesAllPacksBesideARepairOfTheIndex) {
  Site site;
  (void)write(site.owner(), {{"f", noise(1, 8'192)}}, 1);
  (void)write(site.owner(), {{"g", noise(2, 8'192)}}, 2);
  auto other_host = site.owner();
  site.test.forget_cache();
  std::map<std::string, int> reads;
  bool done = false;
  auto observed = std::make_unique<ObservedStorage>(site.test.disk());
  observed->before_read = [&](std::string_view name) {
    if (done || !name.starts_with("index/")) return;
    if (++reads[std::string(name)] < 2) return;
    done = true;
    (void)repair_index(other_host, {}, nullptr);
  };
  auto repository = site.test.open_through(std::move(observed));
  try {
    (void)plan_prune(repository, {}, at_hour(9), {}, nullptr);
  } catch (const Error& e) {
    ADD_FAILURE() << e.what();
  }
  EXPECT_TRUE(done);
}

TEST(WriteKeys, CannotHideAPackWhoseIndexObjectIsLost) {
  for (const bool lies : {false, true}) {
    Site site;
    (void)write(site.owner(), {{"f", noise(1, 8'192)}}, 1);
    IndexObject object;
    {
      auto thief = site.a();
      const auto ids = list_indexes(site.test.disk());
      object = read_index(site.test.disk(), thief.keyring(), ids.front());
      for (auto& pack : object.packs) {
        for (auto& row : pack.directory.rows) row.id.bytes[0] ^= std::byte{1};
      }
      object.assurance = {};
      if (lies) {
        (void)publish_index(site.test.disk(), thief.keyring(), thief.signer(),
                            object);
      }
      // Bad luck: the true one cannot be read any more.
      site.test.disk().flip_bit(index_name(ids.front()), 100, 1);
    }
    try {
      EXPECT_EQ(site.read_all().size(), 1U) << lies;
      EXPECT_EQ(site.read_all().begin()->second.size(), 1U) << lies;
    } catch (const Error& e) {
      ADD_FAILURE() << lies << " " << e.what();
    }
  }
}

TEST(Check, VerifiesPacksOnlyWhenItIsAskedTo) {
  Site site;
  (void)write(site.a(), {{"f", noise(1, 4'000)}}, 1);
  const auto indexes = list_indexes(site.test.disk());

  const auto report = site.check_data();
  EXPECT_EQ(report.packs_verified, 0U);
  ASSERT_NE(find(report, "unverified-packs"), nullptr);
  EXPECT_EQ(report.count(Severity::damage), 0U);
  {
    auto maintainer = site.test.open_as(Role::maintain);
    EXPECT_EQ(check(maintainer,
                    {.level = CheckLevel::data,
                     .now = at_hour(99),
                     .vouch = Vouch::yes},
                    {}, nullptr)
                  .packs_verified,
              0U);
  }
  {  // can read, and may not say so
    auto restorer = site.test.open_as(Role::restore);
    EXPECT_EQ(check(restorer,
                    {.level = CheckLevel::data,
                     .now = at_hour(99),
                     .vouch = Vouch::yes},
                    {}, nullptr)
                  .packs_verified,
              0U);
  }
  {
    auto writer = site.a();
    EXPECT_EQ(check(writer,
                    {.level = CheckLevel::data,
                     .now = at_hour(99),
                     .vouch = Vouch::yes},
                    {}, nullptr)
                  .packs_verified,
              0U);
  }

  EXPECT_EQ(list_indexes(site.test.disk()), indexes);
}

TEST(Check, LeavesAPackUnverifiedThatHasABadBlob) {
  Site site;
  (void)write(site.b(), {{"f", noise(1, 4'000)}}, 1);
  PackId bad;
  {
    auto thief = site.a();
    bad = store_false_copy(thief, BlobKind::content,
                           site.id_of(noise(2, 4'000)), noise(3, 4'000))
              .id;
  }

  const auto report = site.verify();

  EXPECT_EQ(report.packs_verified, 2U);
  const auto* const finding = find(report, "damaged-blob");
  ASSERT_NE(finding, nullptr);
  EXPECT_EQ(finding->object, pack_name(bad));
  EXPECT_EQ(site.vouched_packs().at(bad), "a");
}

// The blob is what its id names, as long as the false base is there: once it is
// verified, prune would drop that for a good one.
TEST(Check, LeavesAPackUnverifiedThatNeedsAFalseBase) {
  Site site;
  const Bytes base = noise(1, 4'000);
  const Bytes false_base = noise(2, 4'000);
  const Bytes plain = changed(false_base, 7);
  PackId dependent;
  {
    auto thief = site.a();
    (void)store_false_copy(thief, BlobKind::content, site.id_of(base),
                           false_base);
    const std::optional<Base> given = Base{site.id_of(base), 0, false_base};
    SessionKeys keys(thief.keyring());
    BlobEncoder encoder(thief.keyring(), keys, {});
    const auto blob = encoder.encode(BlobKind::content, site.id_of(plain),
                                     plain, testing_support::one_base(given));
    ASSERT_TRUE(blob.row.base);
    PackWriter writer(thief.storage(), thief.keyring().newest());
    writer.add(blob.row, keys.wrapped(KeyClass::content), blob.stored);
    const auto pack = std::move(writer).finish();
    dependent = pack.id;
    (void)publish_index(thief.storage(), thief.keyring(), thief.signer(),
                        {{}, {pack}, Assurance::by(thief.keyring())});
  }

  const auto report = site.verify();

  EXPECT_EQ(report.packs_verified, 0U);
  EXPECT_EQ(report.count(Severity::damage), 2U);
  EXPECT_EQ(site.vouched_packs().at(dependent), "a");
}

TEST(Check, VerifiesThePacksOfASubset) {
  Site site;
  FilesOptions small_packs;
  small_packs.writer.pack_bytes = 40'000;
  (void)write(site.a(), {{"f", noise(1, 200'000)}}, 1, small_packs);
  std::uint64_t verified = 0;

  for (const auto* const part : {"1/3", "2/3", "3/3"}) {
    const auto report = site.check_data(
        {.subset = parse_pack_subset(part), .now = {}, .vouch = Vouch::yes});
    EXPECT_EQ(report.packs_verified, report.packs_read);
    verified += report.packs_verified;
  }

  EXPECT_EQ(verified, list_packs(site.test.disk()).size());
}

// Nothing of it is a failure of the check.
TEST(Check, VerifiesNothingWhereItCannotWriteOrAPruneInterferes) {
  Site site;
  (void)write(site.a(), {{"f", noise(1, 4'000)}}, 1);
  const MemoryStorage before = site.test.disk();
  const auto expect_note = [&](std::unique_ptr<Storage> storage) {
    auto repository = site.test.open_through(std::move(storage));
    const auto report = check(
        repository,
        {.level = CheckLevel::data, .now = at_hour(9), .vouch = Vouch::yes}, {},
        nullptr);
    EXPECT_EQ(report.packs_verified, 0U);
    EXPECT_NE(find(report, "unverified-packs"), nullptr);
    EXPECT_NE(report.verifying_failed, "");
    EXPECT_EQ(report.count(Severity::damage), 0U);
    for (const auto& [id, who] : site.vouched_packs()) EXPECT_EQ(who, "a");
  };
  auto full = std::make_unique<FaultyStorage>(site.test.disk());
  full->fail(Call::create, 1, OutOfSpace("disk full"));
  expect_note(std::move(full));

  auto observed = std::make_unique<ObservedStorage>(site.test.disk());
  observed->before_write = [&](std::string_view name) {
    if (!name.starts_with("index/")) return;
    const auto packs = list_packs(site.test.disk());
    if (packs.size() > 1) site.test.disk().remove(pack_name(packs.front().id));
  };
  expect_note(std::move(observed));
}

TEST(PlanIndexChange, KeepsAssurancesApart) {
  const auto pack = [](int n) {
    PackId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
  };
  const auto index = [](int n) {
    IndexId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
  };
  crypto::VerifyKey key{};
  key[0] = std::byte{1};
  const auto of_a = Assurance::for_key(key);
  const std::vector<PlannedIndex> indexes{
      {index(1), 100'000, Assurance::for_everyone(), {pack(1)}},
      {index(2), 100'000, of_a, {pack(1), pack(2)}},
      {index(3), 100'000, of_a, {pack(3)}},
      {index(4), 100'000, {}, {pack(2)}},
      {index(5), 100'000, Assurance::for_everyone(), {pack(9)}},
  };

  // Pack 4 has no name; pack 9 is gone.
  const auto change =
      plan_index_change(indexes, {pack(1), pack(2), pack(3), pack(4)});

  auto removed = change.removed;
  std::ranges::sort(removed);
  EXPECT_EQ(removed, (std::vector{index(2), index(4), index(5)}));
  ASSERT_EQ(change.to_name.size(), 2U);
  EXPECT_EQ(change.to_name[0].assurance, Assurance{});
  EXPECT_EQ(change.to_name[0].packs, std::vector{pack(4)});
  EXPECT_EQ(change.to_name[1].assurance, of_a);
  EXPECT_EQ(change.to_name[1].packs, std::vector{pack(2)});
}

}  // namespace
}  // namespace cairn::repo
