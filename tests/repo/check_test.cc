#include "repo/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <ostream>
#include <set>
#include <string>

#include "repo/config.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/mark.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/observed_storage.h"
#include "tests/support/sample_repository.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::bytes_of;
using testing_support::Call;
using testing_support::ChunksByPath;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::FilesOptions;
using testing_support::MemoryStorage;
using testing_support::ObservedStorage;
using testing_support::random_bytes;
using testing_support::Reuse;
using testing_support::StateWriter;
using testing_support::TestRepository;
using testing_support::write_snapshot;

Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

Bytes changed(Bytes bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] ^= std::byte{1};
  return bytes;
}

CheckReport check_at(Repository& repository, CheckLevel level) {
  return check(repository, {.level = level, .now = at_hour(1000)}, {}, nullptr);
}

CheckReport check_at(TestRepository& test, CheckLevel level) {
  auto repository = test.open();
  return check_at(repository, level);
}

CheckReport check_keyless(const Storage& storage) {
  return check_without_key(storage, {.now = at_hour(1000)}, {}, nullptr);
}

// For messages of failed tests.
std::string text_of(const CheckReport& report) {
  std::string text;
  for (const auto& finding : report.findings) {
    text += std::to_string(static_cast<int>(finding.severity)) + " " +
            std::string(finding.code) + " " + finding.object + ": " +
            finding.message + "\n";
  }
  return text;
}

const Finding* find(const CheckReport& report, std::string_view code) {
  const auto found = std::ranges::find(report.findings, code, &Finding::code);
  return found == report.findings.end() ? nullptr : &*found;
}

std::vector<ListedObject> all_objects(const Storage& storage) {
  std::vector<ListedObject> objects;
  for (const auto name : {kConfigName, kSecondConfigName, kReserveName}) {
    if (const auto size = storage.size(name)) {
      objects.push_back({std::string(name), *size});
    }
  }
  for (const auto folder :
       {"keys", "packs", "index", "snapshots", "sessions", "marks", "epochs"}) {
    storage.list(
        folder, [&](const ListedObject& object) { objects.push_back(object); });
  }
  return objects;
}

// Two snapshots, one of them forgotten, a hold, a difference, two epochs, a
// session that lives and its pin.
struct SmallRepository {
  SmallRepository() {
    auto repository = test.open();
    ChunksByPath bases;
    FilesOptions options;
    options.bases = &bases;
    const auto content = noise(1, 9'000);
    forgotten =
        write_snapshot(repository, {{"d/a", content}}, at_hour(1), options);
    kept = write_snapshot(repository,
                          {{"d/a", changed(content, 2)}, {"b", noise(3, 500)}},
                          at_hour(2), options);
    (void)publish_mark(
        repository.storage(), repository.keyring(), repository.signer(),
        {MarkAction::forget, forgotten, at_hour(3), "", std::nullopt});
    (void)publish_mark(repository.storage(), repository.keyring(),
                       repository.signer(),
                       {MarkAction::hold, kept, at_hour(3), "", std::nullopt});
    publish(repository, 1, {kept});
    publish(repository, 2, {kept});
    StateWriter writer(repository);  // abandoned: its session stays
  }

  static void publish(Repository& repository, std::uint64_t number,
                      std::vector<SessionId> snapshots) {
    Epoch epoch;
    epoch.number = number;
    epoch.snapshots = std::move(snapshots);
    ASSERT_EQ(publish_epoch(repository.storage(), repository.keyring(),
                            repository.signer(), epoch),
              Created::created);
  }

  TestRepository test;
  SessionId forgotten;
  SessionId kept;
};

TEST(Check, FindsNothingInASoundRepository) {
  SmallRepository small;

  for (const auto level :
       {CheckLevel::index, CheckLevel::structure, CheckLevel::data}) {
    const auto report = check_at(small.test, level);

    EXPECT_TRUE(report.findings.empty()) << text_of(report);
    EXPECT_EQ(report.snapshots, 1U);
    EXPECT_EQ(report.packs, 4U);
  }
  const auto keyless = check_keyless(small.test.disk());
  EXPECT_TRUE(keyless.findings.empty()) << text_of(keyless);
}

TEST(Check, ReadsEveryByteAtLevelDataAndWithoutAKey) {
  SmallRepository small;
  std::uint64_t bytes = 0;
  for (const auto& object : all_objects(small.test.disk())) {
    bytes += object.size;
  }

  EXPECT_GE(check_at(small.test, CheckLevel::data).bytes_read, bytes);
  EXPECT_EQ(check_keyless(small.test.disk()).bytes_read, bytes);
}

// Where to hurt an object: all its borders, and places between.
std::set<std::uint64_t> places_in(const ListedObject& object) {
  constexpr std::uint64_t kEdge = 1;
  const std::uint64_t stride = std::max<std::uint64_t>(object.size / 7, 1);
  std::set<std::uint64_t> places;
  for (std::uint64_t at = 0; at < object.size; at += stride) places.insert(at);
  for (const std::uint64_t border :
       {std::uint64_t{0}, std::uint64_t{kPrologueBytes},
        std::uint64_t{kPackHeadBytes}, object.size - kDirectoryStep,
        object.size - crypto::kDigestBytes, object.size - kTrailerBytes,
        object.size}) {
    for (std::uint64_t at = border - kEdge; at != border + kEdge; ++at) {
      if (at < object.size) places.insert(at);
    }
  }
  return places;
}

bool is_noticed(const CheckReport& report) {
  return report.count(Severity::damage) > 0;
}

TEST(Check, FindsEveryFlippedByte) {
  SmallRepository small;
  auto& disk = small.test.disk();
  const MemoryStorage sound = disk;
  auto repository = small.test.open();

  for (const auto& object : all_objects(sound)) {
    for (const auto at : places_in(object)) {
      SCOPED_TRACE(object.name + " at " + std::to_string(at));
      disk = sound;
      disk.flip_bit(object.name, at, static_cast<unsigned>(at % 8));

      EXPECT_TRUE(is_noticed(check_keyless(disk)));
      EXPECT_TRUE(is_noticed(check_at(repository, CheckLevel::data)));
    }
    if (HasFailure()) return;
  }
}

TEST(Check, TellsWhichCopyOfTheConfigIsNotWhatItWas) {
  SmallRepository small;
  auto& disk = small.test.disk();
  const MemoryStorage sound = disk;

  for (const auto name : {kConfigName, kSecondConfigName}) {
    SCOPED_TRACE(name);
    for (const bool is_missing : {false, true}) {
      disk = sound;
      if (is_missing) {
        disk.remove(name);
      } else {
        disk.flip_bit(name, 30, 0);
      }

      const auto report = check_at(small.test, CheckLevel::index);

      ASSERT_NE(find(report, "config-differs"), nullptr);
      EXPECT_EQ(find(report, "config-differs")->object, name);
      EXPECT_EQ(report.count(Severity::damage), 1U) << text_of(report);
    }
  }
}

TEST(Check, FindsTwoConfigsThatAreWholeAndNotTheSame) {
  SmallRepository small;
  auto& disk = small.test.disk();
  auto config = read_config(disk);
  ++config.cdc_min;
  disk.replace(kSecondConfigName, encode(config));

  for (const auto& report :
       {check_at(small.test, CheckLevel::index), check_keyless(disk)}) {
    ASSERT_NE(find(report, "config-differs"), nullptr) << text_of(report);
    EXPECT_EQ(find(report, "config-differs")->object, kSecondConfigName);
    EXPECT_EQ(report.count(Severity::damage), 1U) << text_of(report);
  }
}

TEST(Check, FindsEveryTruncatedObject) {
  SmallRepository small;
  auto& disk = small.test.disk();
  const MemoryStorage sound = disk;
  auto repository = small.test.open();

  for (const auto& object : all_objects(sound)) {
    SCOPED_TRACE(object.name);
    for (const std::uint64_t size :
         {std::uint64_t{0}, object.size / 2, object.size - 1}) {
      disk = sound;
      disk.truncate(object.name, size);

      EXPECT_TRUE(is_noticed(check_keyless(disk)));
      EXPECT_TRUE(is_noticed(check_at(repository, CheckLevel::structure)));
    }
  }
}

TEST(Check, FindsASwappedObject) {
  SmallRepository small;
  auto& disk = small.test.disk();
  const MemoryStorage sound = disk;

  for (const auto folder :
       {"packs", "index", "snapshots", "sessions", "marks", "epochs"}) {
    SCOPED_TRACE(folder);
    disk = sound;
    std::vector<std::string> names;
    disk.list(folder, [&](const ListedObject& object) {
      names.push_back(object.name);
    });
    ASSERT_GE(names.size(), 2U);
    disk.replace(names[0], get_whole(sound, names[1], kMaxPackBytes));
    disk.replace(names[1], get_whole(sound, names[0], kMaxPackBytes));

    auto repository = small.test.open();
    EXPECT_TRUE(is_noticed(check_at(repository, CheckLevel::data)));
  }
}

TEST(Check, FindsASlotThatHoldsTheSnapshotOfAnother) {
  SmallRepository small;
  auto& disk = small.test.disk();
  const auto slot = snapshot_name(small.forgotten);
  disk.replace(slot, get_whole(disk, snapshot_name(small.kept), kMaxPackBytes));

  const auto report = check_at(small.test, CheckLevel::index);

  const auto* const finding = find(report, "damaged-snapshot");
  ASSERT_NE(finding, nullptr) << text_of(report);
  EXPECT_EQ(finding->object, slot);
}

// The one finding, whether a key is at hand or not.
void expect_damage(SmallRepository& small, std::string_view code,
                   const std::string& object) {
  SCOPED_TRACE(object);
  for (const auto& report : {check_at(small.test, CheckLevel::index),
                             check_keyless(small.test.disk())}) {
    const auto* const finding = find(report, code);
    ASSERT_NE(finding, nullptr) << text_of(report);
    EXPECT_EQ(finding->object, object);
    EXPECT_EQ(report.count(Severity::damage), 1U) << text_of(report);
  }
}

TEST(Check, NamesADamagedEpoch) {
  SmallRepository small;
  auto& disk = small.test.disk();
  const MemoryStorage sound = disk;

  for (const std::uint64_t number : {1U, 2U}) {
    disk = sound;
    disk.flip_bit(epoch_name(number), 80, 1);

    expect_damage(small, "damaged-epoch", epoch_name(number));
  }
}

TEST(Check, FindsAnEpochThatAWriteKeySigned) {
  SmallRepository small;
  auto writer = small.test.open_as(Role::write);
  SmallRepository::publish(writer, 3, {small.kept});

  const auto report = check_at(small.test, CheckLevel::index);

  const auto* const finding = find(report, "damaged-epoch");
  ASSERT_NE(finding, nullptr) << text_of(report);
  EXPECT_EQ(finding->object, epoch_name(3));
  EXPECT_EQ(report.count(Severity::damage), 1U) << text_of(report);
}

TEST(Check, NamesADamagedPin) {
  SmallRepository small;
  auto& disk = small.test.disk();
  std::string pin;
  disk.list("sessions", [&](const ListedObject& object) {
    if (object.name.ends_with(".pin")) pin = object.name;
  });
  disk.flip_bit(pin, 80, 1);

  expect_damage(small, "damaged-session", pin);
}

TEST(Check, NotesWhatHasNoNameOfAnEpochOrAPin) {
  SmallRepository small;
  const std::set<std::string> strangers = {
      "epochs/3",
      "epochs/0000000000000000",
      "epochs/00000000000000003",
      "epochs/0000000000000003.pin",
      "sessions/3.pin",
      pin_name(small.kept) + ".pin",
      snapshot_name(small.kept) + ".pin",
  };
  for (const auto& name : strangers) {
    ASSERT_EQ(small.test.disk().create(name, bytes_of("?")), Created::created);
  }

  for (const auto& report : {check_at(small.test, CheckLevel::index),
                             check_keyless(small.test.disk())}) {
    std::set<std::string> found;
    for (const auto& finding : report.findings) {
      EXPECT_EQ(finding.code, "stranger") << text_of(report);
      EXPECT_EQ(finding.severity, Severity::note);
      found.insert(finding.object);
    }
    EXPECT_EQ(found, strangers);
  }
}

// Its packs may be gone: nobody waited for it.
TEST(Check, DoesNotJudgeAVoidSnapshot) {
  SmallRepository small;
  auto repository = small.test.open();
  std::mt19937_64 random(1);
  const auto commit_without_packs = [&](std::uint64_t pinned_epoch) {
    const auto id = testing_support::random_id<SessionId>(random);
    SnapshotHeader header;
    header.time = header.arrival = at_hour(5);
    header.epoch = pinned_epoch;
    header.root = testing_support::random_id<BlobId>(random);
    (void)publish_snapshot(repository.storage(), repository.keyring(),
                           repository.signer(), id, header, {});
    return id;
  };

  (void)commit_without_packs(0);
  const auto with_a_void_one = check_at(repository, CheckLevel::data);
  const auto id = commit_without_packs(1);
  const auto with_one_that_counts = check_at(repository, CheckLevel::data);

  EXPECT_TRUE(with_a_void_one.findings.empty()) << text_of(with_a_void_one);
  EXPECT_EQ(with_a_void_one.snapshots, 1U);
  const auto* const finding = find(with_one_that_counts, "missing-blob");
  ASSERT_NE(finding, nullptr);
  EXPECT_EQ(finding->snapshots, std::vector{id});
  EXPECT_EQ(with_one_that_counts.snapshots, 2U);
}

TEST(Check, FindsEveryMissingPackThatASnapshotNeeds) {
  TestRepository test;
  {
    auto repository = test.open();
    const auto forgotten =
        write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
    (void)write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(2));
    (void)publish_mark(
        repository.storage(), repository.keyring(), repository.signer(),
        {MarkAction::forget, forgotten, at_hour(3), "", std::nullopt});
  }
  auto& disk = test.disk();
  const MemoryStorage sound = disk;
  std::size_t damaged = 0;

  for (const auto& pack : list_packs(sound)) {
    disk = sound;
    disk.remove(pack_name(pack.id));
    for (const auto level :
         {CheckLevel::index, CheckLevel::structure, CheckLevel::data}) {
      const auto report = check_at(test, level);
      const auto* const missing = find(report, "missing-pack");
      ASSERT_NE(missing, nullptr);
      const bool is_damage = missing->severity == Severity::damage;
      EXPECT_EQ(is_damage, is_noticed(report));
      EXPECT_EQ(is_damage, find(report, "missing-blob") != nullptr ||
                               find(report, "missing-base") != nullptr)
          << text_of(report);
      if (is_damage && level == CheckLevel::index) ++damaged;
    }
  }
  // All but the two of the forgotten snapshot.
  EXPECT_EQ(damaged, 2U);
}

TEST(Check, NamesBothOfTwoPacksThatWereExchanged) {
  TestRepository test;
  {
    auto repository = test.open();
    write_snapshot(repository, {{"a", noise(1, 9'000)}}, at_hour(1));
    write_snapshot(repository, {{"b", noise(2, 9'000)}}, at_hour(2));
  }
  auto& disk = test.disk();
  std::vector<std::string> names;
  auto repository = test.open();
  for (const auto& pack : list_packs(disk)) {
    const auto rows = read_pack_directory(disk, repository.keyring(), pack.id)
                          .pack.directory.rows;
    if (rows.front().kind == BlobKind::content) {
      names.push_back(pack_name(pack.id));
    }
  }
  ASSERT_EQ(names.size(), 2U);
  const auto first = get_whole(disk, names[0], 1U << 20);
  const auto second = get_whole(disk, names[1], 1U << 20);
  ASSERT_EQ(first.size(), second.size());
  disk.replace(names[0], second);
  disk.replace(names[1], first);

  const auto report = check_at(test, CheckLevel::structure);

  for (const auto& name : names) {
    const bool is_named =
        std::ranges::any_of(report.findings, [&](const Finding& finding) {
          return finding.code == "damaged-pack" && finding.object == name;
        });
    EXPECT_TRUE(is_named) << text_of(report);
  }
  EXPECT_EQ(find(report, "index-differs"), nullptr) << text_of(report);
}

TEST(Check, NamesSnapshotsAndPathsThatAreHurt) {
  TestRepository test;
  SessionId first;
  SessionId second;
  {
    auto repository = test.open();
    first = write_snapshot(
        repository, {{"x/hurt", noise(1, 9'000)}, {"x/whole", noise(2, 50)}},
        at_hour(1));
    second =
        write_snapshot(repository, {{"other", noise(3, 9'000)}}, at_hour(2));
  }
  // The content of the first one.
  for (const auto& pack : list_packs(test.disk())) {
    auto repository = test.open();
    const auto directory =
        read_pack_directory(test.disk(), repository.keyring(), pack.id)
            .pack.directory;
    const bool is_it = directory.rows.size() == 4 &&
                       directory.rows.front().kind == BlobKind::content;
    if (is_it) test.disk().flip_bit(pack_name(pack.id), 5'000, 0);
  }

  const auto report = check_at(test, CheckLevel::data);

  const auto* const finding = find(report, "damaged-blob");
  ASSERT_NE(finding, nullptr) << text_of(report);
  EXPECT_EQ(finding->snapshots, std::vector{first});
  EXPECT_EQ(finding->paths, std::vector<std::string>{"/x/hurt"});
  EXPECT_EQ(finding->blobs, 1U);
}

TEST(Check, FindsAnIndexThatLies) {
  SmallRepository small;
  auto& disk = small.test.disk();
  auto repository = small.test.open();
  const auto id = list_indexes(disk).front();
  auto object = read_index(disk, repository.keyring(), id);
  auto& rows = object.packs.front().directory.rows;
  rows.front().id.bytes[0] ^= std::byte{1};
  disk.remove(index_name(id));
  (void)publish_index(disk, repository.keyring(), repository.signer(), object);

  const auto report = check_at(small.test, CheckLevel::structure);

  EXPECT_NE(find(report, "index-differs"), nullptr) << text_of(report);
}

// States that lean on the same two chunks, each in a pack of its own.
TEST(Check, DecodesWhatManyLeanOnOnce) {
  TestRepository test;
  PackId base_pack;
  constexpr std::uint64_t kStates = 20;
  {
    auto repository = test.open();
    StateWriter writer(repository);
    std::vector<Link> bases;
    for (const std::uint64_t i : {1U, 2U}) {
      bases.push_back(writer.chunk(noise(i, 9'000)));
    }
    writer.end_packs();
    base_pack = repository.index().packs().front().id;
    for (std::uint64_t state = 0; state < kStates; ++state) {
      std::vector<Link> chunks;
      for (const std::uint64_t i : {1U, 2U}) {
        chunks.push_back(writer.chunk(changed(noise(i, 9'000), 10 + state),
                                      bases[i - 1].id));
      }
      writer.add_file("f" + std::to_string(10 + state), chunks);
      writer.end_packs();
    }
    (void)writer.commit(at_hour(1));
  }
  auto storage = std::make_unique<ObservedStorage>(test.disk());
  std::atomic<std::uint64_t> reads = 0;
  storage->before_read = [&](std::string_view name) {
    if (name == pack_name(base_pack)) ++reads;
  };
  auto repository = test.open_through(std::move(storage));

  const auto report = check_at(repository, CheckLevel::data);

  EXPECT_TRUE(report.findings.empty()) << text_of(report);
  EXPECT_LT(reads.load(), kStates);
}

TEST(Check, FindsABaseThatIsMissing) {
  TestRepository test;
  SessionId snapshot;
  PackId base_pack;
  {
    auto repository = test.open();
    StateWriter writer(repository);
    const auto base = writer.chunk(noise(1, 4'000));
    writer.end_packs();
    base_pack = repository.index().packs().front().id;
    const auto difference = writer.chunk(changed(noise(1, 4'000), 2), base.id);
    writer.add_file("f", std::vector{difference});
    snapshot = writer.commit(at_hour(1));
  }
  test.disk().remove(pack_name(base_pack));

  const auto report = check_at(test, CheckLevel::structure);

  const auto* const finding = find(report, "missing-base");
  ASSERT_NE(finding, nullptr) << text_of(report);
  EXPECT_EQ(finding->severity, Severity::damage);
  EXPECT_EQ(finding->snapshots, std::vector{snapshot});
  EXPECT_EQ(finding->paths, std::vector<std::string>{"/f"});
}

TEST(Check, DoesNotTakeTwoDifferencesThatLeanOnEachOtherForSound) {
  TestRepository test;
  const auto a = noise(1, 4'000);
  const auto b = changed(a, 2);
  std::set<PackId> plain_packs;
  {
    auto repository = test.open();
    Link link_a;
    Link link_b;
    {
      StateWriter writer(repository);
      link_a = writer.chunk(a);
      writer.end_packs();
      link_b = writer.chunk(b, link_a.id);  // leans on a
      writer.add_file("f", std::vector{link_a, link_b});
      (void)writer.commit(at_hour(1));
    }
    {
      StateWriter writer(repository, {.reuse = Reuse::nothing});
      (void)writer.chunk(b);
      writer.end_packs();
      (void)writer.chunk(a, link_b.id);  // leans on b
      writer.add_file("g", std::vector{link_a});
      (void)writer.commit(at_hour(2));
    }
    // Both plain copies go.
    for (const auto& pack : list_packs(test.disk())) {
      const auto directory =
          read_pack_directory(test.disk(), repository.keyring(), pack.id)
              .pack.directory;
      const auto& row = directory.rows.front();
      if (row.kind == BlobKind::content && !row.base) {
        plain_packs.insert(pack.id);
      }
    }
  }
  ASSERT_EQ(plain_packs.size(), 2U);
  for (const auto& id : plain_packs) test.disk().remove(pack_name(id));

  const auto report = check_at(test, CheckLevel::structure);

  EXPECT_NE(find(report, "missing-base"), nullptr) << text_of(report);
}

TEST(Check, TakesLeftoversOfACrashForGarbage) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  {
    StateWriter writer(repository);
    testing_support::write_files(writer, {{"b", noise(2, 9'000)}});
    writer.publish_packs();
  }
  test.let_processes_die();

  const auto report = check_at(test, CheckLevel::data);

  EXPECT_EQ(report.count(Severity::damage), 0U) << text_of(report);
  EXPECT_NE(find(report, "dead-session"), nullptr);
  EXPECT_NE(find(report, "unindexed-pack"), nullptr);
  EXPECT_NE(find(report, "unreferenced-packs"), nullptr);
}

TEST(Check, TakesAPackThatOnlyALostIndexNamedForDamage) {
  SmallRepository small;
  for (const auto& id : list_indexes(small.test.disk())) {
    small.test.disk().remove(index_name(id));
  }

  for (const auto level : {CheckLevel::index, CheckLevel::data}) {
    const auto report = check_at(small.test, level);

    const auto* const finding = find(report, "unindexed-pack");
    ASSERT_NE(finding, nullptr) << text_of(report);
    EXPECT_EQ(finding->severity, Severity::damage);
  }
}

TEST(Check, IsNotMisledByALocalIndex) {
  SmallRepository small;
  auto& disk = small.test.disk();
  {
    auto repository = small.test.open();
    (void)repository.index();
  }
  // Every file of the store, with a hole in its middle.
  for (const auto& file : std::filesystem::recursive_directory_iterator(
           small.test.cache_folder())) {
    if (file.path().extension() != ".sst") continue;
    std::fstream bytes(file.path(),
                       std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(file.file_size() / 3));
    bytes << "damage damage damage";
  }

  const auto report = check_at(small.test, CheckLevel::structure);

  EXPECT_TRUE(report.findings.empty()) << text_of(report);
  (void)disk;
}

TEST(Check, GoesOnWhenAnObjectCannotBeRead) {
  SmallRepository small;
  auto failing = std::make_unique<FaultyStorage>(small.test.disk());
  auto& faults = *failing;
  auto repository = small.test.open_through(std::move(failing));
  // Some object on the way, after the ones that opening reads.
  faults.fail(Call::get, 9, IoError("input/output error"));

  const auto report = check_at(repository, CheckLevel::structure);

  EXPECT_GE(report.count(Severity::damage), 1U) << text_of(report);
}

TEST(Check, StopsWhenTheStorageCannotBeReached) {
  SmallRepository small;
  auto failing = std::make_unique<FaultyStorage>(small.test.disk());
  auto& faults = *failing;
  auto repository = small.test.open_through(std::move(failing));
  faults.fail(Call::get, 9, StorageUnreachable("gone"));

  EXPECT_THROW((void)check_at(repository, CheckLevel::structure),
               StorageUnreachable);
}

TEST(Check, SaysUnsupportedOfWhatANewerProgramWrote) {
  SmallRepository small;
  ASSERT_EQ(small.test.disk().create("settings/1", bytes_of("?")),
            Created::created);

  const auto report = check_at(small.test, CheckLevel::index);
  const auto keyless = check_keyless(small.test.disk());

  EXPECT_EQ(report.count(Severity::unsupported), 1U);
  EXPECT_EQ(keyless.count(Severity::unsupported), 1U);
  EXPECT_EQ(report.count(Severity::damage), 0U) << text_of(report);
}

TEST(Check, FlagsATimeThatIsYetToCome) {
  SmallRepository small;
  auto repository = small.test.open();

  const auto report =
      check(repository, {.level = CheckLevel::index, .now = at_hour(-5)}, {},
            nullptr);

  ASSERT_NE(find(report, "future-time"), nullptr);
  EXPECT_EQ(find(report, "future-time")->severity, Severity::note);
}

// The system gave the number of a removed file to another one meanwhile.
TEST(Check, NotesFilesThatShareANumberAndDiffer) {
  TestRepository test;
  auto repository = test.open();
  const auto commit_with = [&](const Bytes& other, int hour) {
    StateWriter writer(repository);
    const std::vector<Link> rows = {writer.chunk(noise(1, 900)),
                                    writer.chunk(other)};
    for (const std::size_t i : {0U, 1U}) {
      Entry entry;
      entry.name = i == 0 ? "a" : "b";
      entry.size = rows[i].length;
      entry.hard_link = HardLink{1, 2};
      writer.add(entry, std::span(&rows[i], 1));
    }
    return writer.commit(at_hour(hour));
  };
  (void)commit_with(noise(1, 900), 1);
  const SessionId unequal = commit_with(noise(2, 900), 2);

  const auto report = check_at(repository, CheckLevel::structure);

  EXPECT_EQ(report.count(Severity::note), 1u) << text_of(report);
  const auto* const finding = find(report, "unequal-links");
  ASSERT_TRUE(finding) << text_of(report);
  EXPECT_EQ(finding->object, snapshot_name(unequal));
  EXPECT_NE(finding->message.find("'b'"), std::string::npos);
  EXPECT_EQ(report.count(Severity::damage), 0u);
}

TEST(Check, ChecksWhatAMaintenanceKeyCanRead) {
  SmallRepository small;
  auto repository = small.test.open_as(Role::maintain);

  const auto report = check_at(repository, CheckLevel::data);

  EXPECT_EQ(report.count(Severity::damage), 0U) << text_of(report);
  EXPECT_NE(find(report, "unread-contents"), nullptr);
}

TEST(Check, ReadsOnlyTheSubset) {
  TestRepository test;
  auto repository = test.open();
  FilesOptions small_packs;
  small_packs.writer.pack_bytes = 40'000;
  (void)write_snapshot(repository, {{"a", noise(1, 400'000)}}, at_hour(1),
                       small_packs);
  const auto packs = list_packs(test.disk()).size();
  std::uint64_t read_in_parts = 0;

  for (const auto* const part : {"1/3", "2/3", "3/3"}) {
    const CheckOptions options{.level = CheckLevel::data,
                               .subset = parse_pack_subset(part),
                               .now = at_hour(1000)};
    read_in_parts += check(repository, options, {}, nullptr).packs_read;
  }

  EXPECT_EQ(read_in_parts, packs);
}

TEST(Check, StopsWhenAsked) {
  SmallRepository small;
  auto repository = small.test.open();
  std::stop_source stop;
  stop.request_stop();

  EXPECT_THROW(
      (void)check(repository, {.now = at_hour(9)}, stop.get_token(), nullptr),
      Cancelled);
}

TEST(Check, LeavesNothingInTheCacheFolder) {
  SmallRepository small;
  small.test.disk().remove(pack_name(list_packs(small.test.disk()).front().id));

  (void)check_at(small.test, CheckLevel::data);

  std::set<std::string> left;
  for (const auto& folder :
       std::filesystem::directory_iterator(small.test.cache_folder())) {
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      const std::string name = file.path().filename();
      left.insert(name.substr(0, name.find('-')));
    }
  }
  EXPECT_EQ(left, (std::set<std::string>{"current", "db2", "lock"}));
}

void forget_snapshot_at(Repository& repository, const SessionId& id) {
  (void)forget_snapshot(repository, id, "test", at_hour(40));
}

// A prune that found nothing to remove, but many small index objects.
TEST(Check, TakesIndexObjectsThatAreMergedMeanwhileForNoDamage) {
  TestRepository test;
  {
    auto repository = test.open();
    for (unsigned i = 0; i < 3; ++i) {
      (void)write_snapshot(repository, {{"a", noise(i, 5'000)}}, at_hour(i));
    }
  }
  for (int nth = 1; nth <= 8; ++nth) {
    SCOPED_TRACE(nth);
    auto observed =
        std::make_unique<testing_support::ObservedStorage>(test.disk());
    auto* const storage = observed.get();
    auto repository = test.open_through(std::move(observed));
    (void)repository.index();
    int reads = 0;
    storage->before_read = [&](std::string_view name) {
      if (!name.starts_with("index/") || ++reads != nth) return;
      IndexObject merged;
      const auto old = list_indexes(test.disk());
      for (const auto& id : old) {
        auto object = read_index(test.disk(), repository.keyring(), id);
        std::ranges::move(object.packs, std::back_inserter(merged.packs));
      }
      (void)publish_index(test.disk(), repository.keyring(),
                          repository.signer(), merged);
      for (const auto& id : old) test.disk().remove(index_name(id));
    };

    const auto report = check_at(repository, CheckLevel::structure);

    EXPECT_EQ(report.count(Severity::damage), 0U);
  }
}

// It had taken the snapshot for valid.
TEST(Check, TakesWhatIsForgottenAndPrunedMeanwhileForNoDamage) {
  for (const std::string folder : {"index/", "packs/", "epochs/"}) {
    for (int nth = 1; nth <= 4; ++nth) {
      SCOPED_TRACE(folder + std::to_string(nth));
      TestRepository test;
      SessionId old;
      {
        auto repository = test.open();
        forget_snapshot_at(
            repository,
            write_snapshot(repository, {{"x", noise(9, 5'000)}}, at_hour(1)));
        (void)prune(repository, {}, at_hour(50), {}, {}, nullptr);
        old = write_snapshot(repository, {{"a", noise(1, 5'000)}}, at_hour(2));
        (void)write_snapshot(repository, {{"b", noise(2, 5'000)}}, at_hour(3));
      }
      auto other = test.open();
      auto observed =
          std::make_unique<testing_support::ObservedStorage>(test.disk());
      auto* const storage = observed.get();
      auto repository = test.open_through(std::move(observed));
      (void)repository.index();
      int reads = 0;
      storage->before_read = [&](std::string_view name) {
        if (!name.starts_with(folder) || ++reads != nth) return;
        forget_snapshot_at(other, old);
        (void)prune(other, {}, at_hour(60), {}, {}, nullptr);
      };

      const auto report = check_at(repository, CheckLevel::structure);

      EXPECT_EQ(report.count(Severity::damage), 0U);
    }
  }
}

}  // namespace
}  // namespace cairn::repo
