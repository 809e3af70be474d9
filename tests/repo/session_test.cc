#include "repo/session.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>

#include "crypto/random.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/sealed_record.h"
#include "repo/snapshot.h"
#include "tests/support/for_each_seed.h"
#include "tests/support/sample_repository.h"
#include "tests/support/temp_folder.h"

namespace cairn::repo {
namespace {

using testing_support::Bytes;
using testing_support::for_each_seed;
using testing_support::MemoryStorage;
using testing_support::random_id;
using testing_support::random_text;
using testing_support::SampleRepository;
using testing_support::TempFolder;

constexpr Timestamp kNow{1'000, 0};

SessionRecord random_record(std::mt19937_64& random) {
  SessionRecord record;
  record.started = {static_cast<std::int64_t>(random()), 3};
  record.process = {random_text(random, 60),
                    random_id<BlobId>(random).bytes,
                    random_id<BlobId>(random).bytes,
                    random(),
                    random() % 0x7fffffff,
                    random() >> 30,
                    random() >> 30};
  return record;
}

TEST(SessionRecord, ComesBackAsItWas) {
  for_each_seed(100, [](auto& random) {
    const auto record = random_record(random);
    EXPECT_EQ(decode_session(encode(record), "session"), record);
  });
}

TEST(SessionRecord, WhateverDecodesEncodesToTheSameBytes) {
  for_each_seed(2000, [](auto& random) {
    Bytes bytes = encode(random_record(random));
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    try {
      const auto record = decode_session(bytes, "session");
      EXPECT_EQ(encode(record), bytes);
    } catch (const CorruptionError&) {
    } catch (const UnsupportedFormat&) {
    }
  });
}

// A registration whose process ended: what a crash leaves behind.
SessionId store_session(SampleRepository& sample, const SessionRecord& record) {
  const SessionId id{crypto::random_array<SessionId::kBytes>()};
  const SealedRecordKind kind{ObjectType::session, "cairn session",
                              Authority::indexer};
  (void)sample.storage.create(session_name(id),
                              seal_record(kind, sample.keyring, sample.signer,
                                          id.bytes, encode(record)));
  return id;
}

ProcessIdentity dead_process() {
  ProcessIdentity process = this_process();
  ++process.start;  // the same number, given to another process since
  return process;
}

// Of this machine, or of a clone of it.
ProcessIdentity process_of_another_boot() {
  ProcessIdentity process = this_process();
  process.boot[0] ^= std::byte{1};
  return process;
}

TEST(Session, IsRegisteredUntilItEnds) {
  SampleRepository sample;
  Session session(sample.storage, sample.keyring, sample.signer, kNow);
  const auto sessions = read_sessions(sample.storage, sample.keyring);
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_EQ(sessions[0].id, session.id());
  EXPECT_EQ(sessions[0].record.value().process, this_process());

  session.end();
  session.end();

  EXPECT_TRUE(read_sessions(sample.storage, sample.keyring).empty());
}

TEST(Session, PinsTheNewestEpochAfterItIsRegistered) {
  SampleRepository sample;
  const auto begin = [&] {
    return Session(sample.storage, sample.keyring, sample.signer, kNow);
  };
  Session early = begin();
  const PackId condemned{crypto::random_array<PackId::kBytes>()};
  Epoch epoch;
  epoch.number = 1;
  epoch.condemned = {condemned};
  ASSERT_EQ(publish_epoch(sample.storage, sample.keyring, sample.signer, epoch),
            Created::created);
  Session late = begin();

  EXPECT_EQ(early.epoch().number, 0U);
  EXPECT_EQ(late.epoch().number, 1U);
  EXPECT_EQ(late.epoch().condemned, std::vector{condemned});
  for (const auto& session : read_sessions(sample.storage, sample.keyring)) {
    EXPECT_EQ(session.is_older_than(1), session.id == early.id());
  }
  early.end();
  late.end();
  std::size_t left = 0;
  sample.storage.list("sessions", [&](const ListedObject&) { ++left; });
  EXPECT_EQ(left, 0U);
}

TEST(Session, WithoutAPinIsOlderThanEverything) {
  SampleRepository sample;
  const Session session(sample.storage, sample.keyring, sample.signer, kNow);
  sample.storage.remove(pin_name(session.id()));

  const auto sessions = read_sessions(sample.storage, sample.keyring);

  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_TRUE(sessions[0].is_older_than(1));
}

// Whoever cannot read what they condemn must not rest on anything.
TEST(Session, DoesNotBeginWhenTheNewestEpochsAreDamagedAndLeavesNothingBehind) {
  SampleRepository sample;
  for (const std::uint64_t number : {1U, 2U}) {
    Epoch epoch;
    epoch.number = number;
    (void)publish_epoch(sample.storage, sample.keyring, sample.signer, epoch);
  }
  for (const std::uint64_t number : {1U, 2U}) {
    sample.storage.flip_bit(epoch_name(number), 80, 1);
  }

  try {
    Session(sample.storage, sample.keyring, sample.signer, kNow);
    ADD_FAILURE() << "began";
  } catch (const CorruptionError& e) {
    EXPECT_NE(std::string(e.what()).find("cairn prune"), std::string::npos);
  }

  std::size_t left = 0;
  sample.storage.list("sessions", [&](const ListedObject&) { ++left; });
  EXPECT_EQ(left, 0U);
}

// It slept in between, and its tombstone may have been removed since.
TEST(Session, DoesNotBeginWhenItWasFencedOffBeforeItPinned) {
  class Fences : public testing_support::MemoryStorage {
   public:
    Created create(std::string_view name,
                   std::span<const std::byte> bytes) override {
      const Created created = MemoryStorage::create(name, bytes);
      if (name.ends_with(".pin")) {
        remove(name.substr(0, name.size() - std::string_view(".pin").size()));
      }
      return created;
    }
  };
  SampleRepository sample;
  Fences storage;

  EXPECT_THROW(Session(storage, sample.keyring, sample.signer, kNow),
               LockedError);

  std::size_t left = 0;
  storage.list("sessions", [&](const ListedObject&) { ++left; });
  EXPECT_EQ(left, 0U);
}

// By who fenced it and slept before that step: its tombstone may be gone.
TEST(Session, DoesNotCountItsSlotWhenItsRegistrationIsGone) {
  SampleRepository sample;
  Session session(sample.storage, sample.keyring, sample.signer, kNow);
  remove_registration(sample.storage, session.id());

  EXPECT_EQ(session.commit({}, {}).outcome, Created::exists);
}

TEST(Session, DoesNotCountItsSlotWhenTheLastDoomHasItVoid) {
  for (const std::uint64_t dooms : {0U, 1U}) {
    SampleRepository sample;
    Session session(sample.storage, sample.keyring, sample.signer, kNow);
    for (std::uint64_t number = 1; number <= 2 * dooms; ++number) {
      Epoch epoch;
      epoch.number = number;
      (void)publish_epoch(sample.storage, sample.keyring, sample.signer, epoch);
    }

    const auto committed = session.commit({}, {});

    EXPECT_EQ(committed.outcome,
              dooms == 0 ? Created::created : Created::exists);
  }
}

TEST(Session, CommitsWithItsPin) {
  SampleRepository sample;
  Epoch epoch;
  epoch.number = 1;
  (void)publish_epoch(sample.storage, sample.keyring, sample.signer, epoch);
  Session session(sample.storage, sample.keyring, sample.signer, kNow);

  EXPECT_EQ(session.commit({}, {}).outcome, Created::created);

  const auto slot = read_slot(sample.storage, sample.keyring, session.id());
  EXPECT_EQ(std::get<Snapshot>(slot).header.epoch, 1U);
}

TEST(Session, ABeatHasItsSessionAndNumberInItsName) {
  const SessionId id{crypto::random_array<SessionId::kBytes>()};
  for (const std::uint32_t number : {1U, 2U, 0xfffffffeU}) {
    EXPECT_EQ(beat_of(beat_name(id, number)), (std::pair{id, number}));
  }
  EXPECT_FALSE(beat_of(session_name(id)));
  EXPECT_FALSE(beat_of(pin_name(id)));
  EXPECT_FALSE(beat_of(beat_name(id, 1) + "0"));
  EXPECT_FALSE(beat_of("snapshots/" + beat_name(id, 1).substr(9)));
}

TEST(Session, OfItsBeatsTheLastStaysUntilItEnds) {
  SampleRepository sample;
  Session session(sample.storage, sample.keyring, sample.signer, kNow);
  for (int i = 1; i <= 3; ++i) session.beat({kNow.seconds + i, 0});

  const auto sessions = read_sessions(sample.storage, sample.keyring);
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_EQ(sessions[0].beats, std::vector<std::uint32_t>{3});
  EXPECT_EQ(read_beat(sample.storage, sample.keyring, session.id(), 3),
            (Timestamp{kNow.seconds + 3, 0}));
  // An old one that the storage passes off as a later one.
  const auto object = get_whole(sample.storage, beat_name(session.id(), 3),
                                std::uint64_t{1} << 16);
  (void)sample.storage.create(beat_name(session.id(), 4), object);
  EXPECT_THROW((void)read_beat(sample.storage, sample.keyring, session.id(), 4),
               CorruptionError);
  sample.storage.remove(beat_name(session.id(), 4));

  session.end();
  std::size_t left = 0;
  sample.storage.list("sessions", [&](const ListedObject&) { ++left; });
  EXPECT_EQ(left, 0U);
}

TEST(Session, IsNotRevokedWhileItBeats) {
  SampleRepository sample;
  ProcessIdentity elsewhere = process_of_another_boot();
  elsewhere.machine[0] ^= std::byte{1};
  Session session(sample.storage, sample.keyring, sample.signer, kNow);
  session.beat({kNow.seconds + 90, 0});
  // As another machine has it.
  sample.storage.remove(session_name(session.id()));
  const auto id = session.id();
  const SealedRecordKind kind{ObjectType::session, "cairn session",
                              Authority::indexer};
  (void)sample.storage.create(session_name(id),
                              seal_record(kind, sample.keyring, sample.signer,
                                          id.bytes, encode({kNow, elsewhere})));
  const auto revoke = [&](std::int64_t after) {
    return fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                               {kNow.seconds + after, 0},
                               std::chrono::seconds(100));
  };

  EXPECT_EQ(revoke(150), 0U);
  EXPECT_EQ(revoke(189), 0U);
  EXPECT_EQ(revoke(190), 1U);
  EXPECT_EQ(list_strays(sample.storage), std::vector{beat_name(id, 1)});
}

TEST(Session, AClockThatIsSlightlyAheadRevokesNobody) {
  SampleRepository sample;
  ProcessIdentity elsewhere = process_of_another_boot();
  elsewhere.machine[0] ^= std::byte{1};
  (void)store_session(sample, {{kNow.seconds + 60, 0}, elsewhere});
  const auto revoke = [&](std::chrono::seconds age) {
    return fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                               kNow, age);
  };
  EXPECT_EQ(revoke(std::chrono::seconds(61)), 0U);
  EXPECT_EQ(revoke(std::chrono::seconds(60)), 1U);
}

TEST(Session, APinWhoseRegistrationIsGoneIsAStrayOne) {
  SampleRepository sample;
  const Session whole(sample.storage, sample.keyring, sample.signer, kNow);
  const Session half(sample.storage, sample.keyring, sample.signer, kNow);
  sample.storage.remove(session_name(half.id()));

  EXPECT_EQ(list_strays(sample.storage), std::vector{pin_name(half.id())});
}

// A clone of this machine that lives has the same machine id.
TEST(Session, OfAnotherMachineIsDescribedWithTheWayOut) {
  SampleRepository sample;
  ProcessIdentity process = process_of_another_boot();
  process.machine[0] ^= std::byte{1};
  const auto id = store_session(sample, {kNow, process});

  EXPECT_EQ(
      fence_dead_sessions(sample.storage, sample.keyring, sample.signer, kNow),
      0U);
  const auto sessions = read_sessions(sample.storage, sample.keyring);
  ASSERT_EQ(sessions.size(), 1U);
  const std::string text = description(sessions[0]);
  EXPECT_NE(text.find(session_name(id)), std::string::npos) << text;
  EXPECT_NE(text.find("1970-01-01 00:16 UTC"), std::string::npos) << text;
  EXPECT_NE(text.find("--revoke-after"), std::string::npos) << text;
}

TEST(Session, IsRevokedOnceItIsOldUnlessItIsSeenToLive) {
  SampleRepository sample;
  ProcessIdentity elsewhere = process_of_another_boot();
  elsewhere.machine[0] ^= std::byte{1};
  const auto dead_or_alive = store_session(sample, {kNow, elsewhere});
  const auto alive = store_session(sample, {kNow, this_process()});
  const auto revoke = [&](std::chrono::seconds age) {
    return fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                               {kNow.seconds + 100, 0}, age);
  };

  EXPECT_EQ(revoke(std::chrono::seconds(101)), 0U);
  EXPECT_EQ(revoke(std::chrono::seconds(100)), 1U);

  EXPECT_FALSE(sample.storage.size(session_name(dead_or_alive)));
  EXPECT_TRUE(sample.storage.size(snapshot_name(dead_or_alive)));
  EXPECT_TRUE(sample.storage.size(session_name(alive)));
}

TEST(Session, ADamagedOneIsRemovedWhenItIsRevoked) {
  SampleRepository sample;
  const auto id = store_session(sample, {kNow, this_process()});
  const SessionId empty{crypto::random_array<SessionId::kBytes>()};
  (void)sample.storage.create(session_name(empty), {});
  sample.storage.flip_bit(session_name(id), 80, 1);
  const auto fence = [&](std::optional<std::chrono::seconds> age) {
    return fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                               kNow, age);
  };

  EXPECT_EQ(fence(std::nullopt), 0U);
  for (const auto& session : read_sessions(sample.storage, sample.keyring)) {
    EXPECT_TRUE(session.is_older_than(1));
    EXPECT_NE(description(session).find("--revoke-after"), std::string::npos);
  }
  EXPECT_EQ(fence(std::chrono::hours(24)), 2U);
  EXPECT_TRUE(read_sessions(sample.storage, sample.keyring).empty());
}

TEST(Session, EveryRoleThatWorksMaySignOne) {
  for (const Role role : {Role::owner, Role::maintain, Role::write}) {
    SampleRepository sample;
    const Keyring keyring = sample.keyring.for_role(role);
    const Signer signer(crypto::Secret::random(), keyring);
    EXPECT_NO_THROW(Session(sample.storage, keyring, signer, kNow));
    EXPECT_EQ(read_sessions(sample.storage, sample.keyring).size(), 1U);
  }
}

TEST(Session, FencedWriterCannotCommit) {
  SampleRepository sample;
  const auto id = store_session(sample, {kNow, dead_process()});

  const auto fenced =
      fence_dead_sessions(sample.storage, sample.keyring, sample.signer, kNow);
  const auto committed = publish_snapshot(sample.storage, sample.keyring,
                                          sample.signer, id, {}, {});

  EXPECT_EQ(fenced, 1U);
  EXPECT_EQ(committed.outcome, Created::exists);
  EXPECT_TRUE(std::holds_alternative<Tombstone>(
      read_slot(sample.storage, sample.keyring, id)));
  EXPECT_TRUE(read_sessions(sample.storage, sample.keyring).empty());
}

TEST(Session, FencingKeepsTheSnapshotOfWhoCommittedAndThenDied) {
  SampleRepository sample;
  const auto id = store_session(sample, {kNow, dead_process()});
  (void)publish_snapshot(sample.storage, sample.keyring, sample.signer, id, {},
                         {});

  (void)fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                            kNow);

  EXPECT_TRUE(std::holds_alternative<Snapshot>(
      read_slot(sample.storage, sample.keyring, id)));
  EXPECT_TRUE(read_sessions(sample.storage, sample.keyring).empty());
}

TEST(Session, FencingPassesOverWhoIsAlive) {
  SampleRepository sample;
  (void)store_session(sample, {kNow, this_process()});
  EXPECT_EQ(
      fence_dead_sessions(sample.storage, sample.keyring, sample.signer, kNow),
      0U);
  EXPECT_EQ(read_sessions(sample.storage, sample.keyring).size(), 1U);
}

TEST(ProcessIdentity, ThisProcessIsAlive) {
  EXPECT_FALSE(is_certainly_gone(this_process()));
}

TEST(ProcessIdentity, AChildThatEndedIsGone) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto start = this_process().start;
    const bool is_told = ::write(ends[1], &start, sizeof start) == sizeof start;
    ::_exit(is_told ? 0 : 1);
  }
  ProcessIdentity process = this_process();
  process.pid = static_cast<std::uint64_t>(child);
  ASSERT_EQ(::read(ends[0], &process.start, sizeof process.start),
            static_cast<ssize_t>(sizeof process.start));
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);

  EXPECT_TRUE(is_certainly_gone(process));
}

TEST(ProcessIdentity, AnotherProcessUnderTheSameNumberMeansGone) {
  EXPECT_TRUE(is_certainly_gone(dead_process()));
}

TEST(ProcessIdentity, AnotherBootOfThisMachineIsAGuess) {
  const ProcessIdentity process = process_of_another_boot();
  const bool has_machine_id =
      process.machine != crypto::sha256(std::span<const std::byte>());
  EXPECT_FALSE(is_certainly_gone(process));
  EXPECT_EQ(is_of_another_boot(process), has_machine_id);
  EXPECT_EQ(may_be_passed_over({kNow, process}), has_machine_id);
}

TEST(ProcessIdentity, StartTimesOfTwoTimeNamespacesAreNotCompared) {
  ProcessIdentity process = dead_process();
  ++process.time_namespace;
  EXPECT_FALSE(is_certainly_gone(process));
}

TEST(ProcessIdentity, OfAnotherMachineNothingIsCertain) {
  ProcessIdentity process = this_process();
  process.boot[0] ^= std::byte{1};
  process.machine[0] ^= std::byte{1};
  EXPECT_FALSE(is_certainly_gone(process));
}

// A /proc with these processes, and the namespace of each.
void make_proc(const std::filesystem::path& proc,
               const std::map<std::string, std::string>& links) {
  for (const auto& [pid, link] : links) {
    std::filesystem::create_directories(proc / pid / "ns");
    std::filesystem::create_symlink(link, proc / pid / "ns/pid");
  }
}

constexpr const char* kInitial = "pid:[4026531836]";

TEST(PidNamespace, IsEmptyOnceNoProcessOfTheKernelIsLeftInIt) {
  const TempFolder proc;
  make_proc(proc.path(), {{"1", kInitial}, {"77", "pid:[4026532001]"}});
  std::filesystem::create_directories(proc.path() / "78");  // ended meanwhile
  EXPECT_EQ(is_namespace_populated(4026532001, proc.path()), true);
  EXPECT_EQ(is_namespace_populated(4026532002, proc.path()), false);
}

TEST(PidNamespace, OfItNothingIsKnownFromWithinAnother) {
  const TempFolder proc;
  make_proc(proc.path(), {{"1", "pid:[4026532001]"}});
  EXPECT_EQ(is_namespace_populated(4026532002, proc.path()), std::nullopt);
}

TEST(PidNamespace, OfItNothingIsKnownWhereAProcessIsHidden) {
  const TempFolder proc;
  make_proc(proc.path(), {{"1", kInitial}, {"77", "what else"}});
  EXPECT_EQ(is_namespace_populated(4026532002, proc.path()), std::nullopt);
}

}  // namespace
}  // namespace cairn::repo
