#include "repo/session.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>

#include "crypto/random.h"
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
  record.purpose = static_cast<SessionPurpose>(random() % 2);
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
  Session session(sample.storage, sample.keyring, sample.signer,
                  SessionPurpose::write, kNow);
  const auto sessions = read_sessions(sample.storage, sample.keyring);
  ASSERT_EQ(sessions.size(), 1U);
  EXPECT_EQ(sessions[0].id, session.id());
  EXPECT_EQ(sessions[0].record.process, this_process());

  session.end();
  session.end();

  EXPECT_TRUE(read_sessions(sample.storage, sample.keyring).empty());
}

TEST(Session, WritersDoNotMindEachOther) {
  SampleRepository sample;
  const auto begin = [&] {
    return Session(sample.storage, sample.keyring, sample.signer,
                   SessionPurpose::write, kNow);
  };
  [[maybe_unused]] const Session first = begin();
  EXPECT_NO_THROW((void)begin());
}

TEST(Session, APruneAndAnythingElseExcludeEachOther) {
  for (const auto first_purpose :
       {SessionPurpose::write, SessionPurpose::prune}) {
    SampleRepository sample;
    const auto begin = [&](SessionPurpose purpose) {
      return Session(sample.storage, sample.keyring, sample.signer, purpose,
                     kNow);
    };
    [[maybe_unused]] const Session first = begin(first_purpose);
    const auto second_purpose = first_purpose == SessionPurpose::write
                                    ? SessionPurpose::prune
                                    : SessionPurpose::write;

    EXPECT_THROW((void)begin(second_purpose), LockedError);
    EXPECT_THROW((void)(first_purpose == SessionPurpose::prune
                            ? begin(SessionPurpose::prune)
                            : begin(second_purpose)),
                 LockedError);

    EXPECT_EQ(read_sessions(sample.storage, sample.keyring).size(), 1U);
  }
}

TEST(Session, ADeadOneIsInNobodysWay) {
  SampleRepository sample;
  (void)store_session(sample, {kNow, dead_process(), SessionPurpose::prune});
  EXPECT_NO_THROW(Session(sample.storage, sample.keyring, sample.signer,
                          SessionPurpose::write, kNow));
}

// A clone of this machine that lives has the same machine id.
TEST(Session, APruneOfAnotherBootKeepsEveryoneOutAndIsNamed) {
  SampleRepository sample;
  const auto id = store_session(
      sample, {kNow, process_of_another_boot(), SessionPurpose::prune});
  for (const auto purpose : {SessionPurpose::write, SessionPurpose::prune}) {
    try {
      (void)fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                                kNow);
      Session(sample.storage, sample.keyring, sample.signer, purpose, kNow);
      ADD_FAILURE() << "was passed over";
    } catch (const LockedError& e) {
      const std::string text = e.what();
      EXPECT_NE(text.find(session_name(id)), std::string::npos) << text;
      EXPECT_NE(text.find("1970-01-01 00:16 UTC"), std::string::npos) << text;
      EXPECT_NE(text.find("--revoke-after"), std::string::npos) << text;
    }
  }
}

TEST(Session, IsRevokedOnceItIsOldUnlessItIsSeenToLive) {
  SampleRepository sample;
  const auto store = [&](const ProcessIdentity& process) {
    return store_session(sample, {kNow, process, SessionPurpose::prune});
  };
  const auto dead_or_alive = store(process_of_another_boot());
  const auto alive = store(this_process());
  const auto revoke = [&](std::chrono::seconds age) {
    return fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                               {kNow.seconds + 100, 0}, age);
  };

  EXPECT_EQ(revoke(std::chrono::seconds(101)), 0U);
  EXPECT_EQ(revoke(std::chrono::seconds(100)), 1U);

  EXPECT_THROW(must_be_registered(sample.storage, dead_or_alive), LockedError);
  EXPECT_NO_THROW(must_be_registered(sample.storage, alive));
}

TEST(Session, ADamagedOneIsRefusedAndNothingIsLeftBehind) {
  SampleRepository sample;
  const auto id =
      store_session(sample, {kNow, this_process(), SessionPurpose::prune});
  sample.storage.flip_bit(session_name(id), 80, 1);

  EXPECT_THROW(Session(sample.storage, sample.keyring, sample.signer,
                       SessionPurpose::write, kNow),
               CorruptionError);

  std::size_t count = 0;
  sample.storage.list("sessions", [&](const ListedObject&) { ++count; });
  EXPECT_EQ(count, 1U);
}

TEST(Session, ADamagedOneIsRemovedWhenItIsRevoked) {
  SampleRepository sample;
  const auto id =
      store_session(sample, {kNow, this_process(), SessionPurpose::prune});
  const SessionId empty{crypto::random_array<SessionId::kBytes>()};
  (void)sample.storage.create(session_name(empty), {});
  sample.storage.flip_bit(session_name(id), 80, 1);
  const auto fence = [&](std::optional<std::chrono::seconds> age) {
    return fence_dead_sessions(sample.storage, sample.keyring, sample.signer,
                               kNow, age);
  };
  const auto begin = [&] {
    Session(sample.storage, sample.keyring, sample.signer,
            SessionPurpose::write, kNow);
  };

  EXPECT_EQ(fence(std::nullopt), 0U);
  try {
    begin();
    ADD_FAILURE() << "was passed over";
  } catch (const CorruptionError& e) {
    EXPECT_NE(std::string(e.what()).find("--revoke-after"), std::string::npos);
  }
  EXPECT_EQ(fence(std::chrono::hours(24)), 2U);
  EXPECT_NO_THROW(begin());
}

TEST(Session, EveryRoleThatWorksMaySignOne) {
  for (const Role role : {Role::owner, Role::maintain, Role::write}) {
    SampleRepository sample;
    const Keyring keyring = sample.keyring.for_role(role);
    const Signer signer(crypto::Secret::random(), keyring);
    EXPECT_NO_THROW(
        Session(sample.storage, keyring, signer, SessionPurpose::write, kNow));
    EXPECT_EQ(read_sessions(sample.storage, sample.keyring).size(), 1U);
  }
}

TEST(Session, FencedWriterCannotCommit) {
  SampleRepository sample;
  const auto id =
      store_session(sample, {kNow, dead_process(), SessionPurpose::write});

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
  const auto id =
      store_session(sample, {kNow, dead_process(), SessionPurpose::write});
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
  (void)store_session(sample, {kNow, this_process(), SessionPurpose::write});
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

TEST(ProcessIdentity, AnotherBootOfThisMachineIsAGuessThatSparesAPrune) {
  const ProcessIdentity process = process_of_another_boot();
  const bool has_machine_id =
      process.machine != crypto::sha256(std::span<const std::byte>());
  EXPECT_FALSE(is_certainly_gone(process));
  EXPECT_EQ(is_of_another_boot(process), has_machine_id);
  EXPECT_EQ(may_be_passed_over({kNow, process, SessionPurpose::write}),
            has_machine_id);
  EXPECT_FALSE(may_be_passed_over({kNow, process, SessionPurpose::prune}));
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
