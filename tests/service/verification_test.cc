#include "service/verification.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "repo/forget.h"
#include "repo/pack_format.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_repository.h"

namespace cairn::service {
namespace {

using testing_support::at_hour;
using testing_support::Bytes;
using testing_support::Files;
using testing_support::random_bytes;
using testing_support::TempFolder;
using testing_support::TestRepository;
using testing_support::write_file;
using testing_support::write_snapshot;

constexpr std::int64_t kHoursInCycle = 30 * 24;

// A machine that runs a job each night, and verifies by plan.
class VerificationTest : public ::testing::Test {
 protected:
  std::set<repo::PackId> packs() {
    std::set<repo::PackId> ids;
    for (const auto& pack : repo::list_packs(test_.disk())) ids.insert(pack.id);
    return ids;
  }

  // One that saves a new file; empty: nothing new.
  Verification run(std::int64_t hour, std::size_t new_bytes,
                   std::uint64_t budget = std::uint64_t{1} << 30) {
    auto repository = test_.open();
    const auto there_before = packs();
    if (new_bytes > 0) {
      std::mt19937_64 random(static_cast<std::uint64_t>(hour) + 1);
      const Files files = {
          {"file-" + std::to_string(hour), random_bytes(random, new_bytes)}};
      snapshots_.push_back(write_snapshot(repository, files, at_hour(hour)));
    }
    auto file = this->file();
    return verify_by_plan(repository,
                          {.rules = {.cycle = std::chrono::hours(kHoursInCycle),
                                     .budget = budget},
                           .there_before = there_before,
                           .now = at_hour(hour)},
                          file, {}, nullptr);
  }

  [[nodiscard]] VerifiedPacksFile file() const {
    return {state_.path(), "repository", "place"};
  }

  TestRepository test_;
  TempFolder state_;
  std::vector<repo::SessionId> snapshots_;
};

TEST_F(VerificationTest, ReadsWhatARunWrote) {
  const auto first = run(0, 10'000);
  EXPECT_EQ(first.plan.written.size(), packs().size());
  EXPECT_TRUE(first.damaged.empty());
  EXPECT_EQ(file().read().sound.size(), packs().size());

  const auto second = run(1, 10'000);
  EXPECT_LT(second.plan.written.size(), packs().size());
  EXPECT_EQ(file().read().sound.size(), packs().size());
}

TEST_F(VerificationTest, FindsAFlippedBitInEveryOldPackWithinTheCycle) {
  for (std::int64_t night = 0; night < 5; ++night) (void)run(night * 24, 5'000);
  const auto victims = packs();
  const auto sound = test_.disk();
  const auto known_file = file();
  const auto known = known_file.read();
  for (const auto& victim : victims) {
    SCOPED_TRACE(victim.brief());
    test_.disk() = sound;
    auto again = file();
    again.change([&](VerifiedPacks& packs) { packs = known; });
    test_.disk().flip_bit(repo::pack_name(victim), 100, 3);

    std::optional<std::int64_t> found;
    for (std::int64_t night = 5; night <= 4 + 30 && !found; ++night) {
      const auto verified = run(night * 24, 0, 3'000);
      if (verified.damaged.contains(victim)) found = night;
    }
    ASSERT_TRUE(found) << "not within the cycle";
    EXPECT_TRUE(file().read().damaged.contains(victim));
  }
}

TEST_F(VerificationTest, SaysWhichSnapshotsAreHurt) {
  (void)run(0, 50'000);
  const auto of_first = packs();
  (void)run(24, 50'000);
  repo::PackId largest;
  std::uint64_t most = 0;
  for (const auto& pack : repo::list_packs(test_.disk())) {
    if (!of_first.contains(pack.id) || pack.size <= most) continue;
    most = pack.size;
    largest = pack.id;
  }
  test_.disk().flip_bit(repo::pack_name(largest), 5'000, 0);

  const auto verified = run(kHoursInCycle, 0);
  ASSERT_EQ(verified.damaged, (std::set{largest}));
  std::set<repo::SessionId> hurt;
  for (const auto& finding : verified.report.findings) {
    hurt.insert(finding.snapshots.begin(), finding.snapshots.end());
  }
  EXPECT_EQ(hurt, (std::set{snapshots_.front()}));
}

TEST_F(VerificationTest, TakesAMissingPackForDamageUntilItIsBack) {
  (void)run(0, 50'000);
  const auto sound = test_.disk();
  repo::StoredPack largest;
  for (const auto& pack : repo::list_packs(test_.disk())) {
    if (pack.size > largest.size) largest = pack;
  }
  test_.disk().remove(repo::pack_name(largest.id));
  for (const std::int64_t hour : {1, 2}) {
    const auto verified = run(hour, 0);
    EXPECT_EQ(verified.damaged, (std::set{largest.id}));
    EXPECT_GT(verified.report.count(repo::Severity::damage), 0U);
    EXPECT_TRUE(file().read().damaged.contains(largest.id));
  }
  test_.disk() = sound;
  EXPECT_TRUE(run(3, 0).damaged.empty());
  EXPECT_TRUE(file().read().damaged.empty());
}

TEST_F(VerificationTest, DoesItsWorkWhereItsMemoryCannotBeReadOrWritten) {
  (void)run(0, 5'000);
  for (const auto& entry :
       std::filesystem::directory_iterator(state_ / "verified")) {
    std::filesystem::remove(entry.path());
    std::filesystem::create_directory(entry.path());
  }
  const auto victim = *packs().begin();
  const auto verified = run(1, 0);
  EXPECT_EQ(verified.plan.again.size(), packs().size());
  EXPECT_TRUE(verified.damaged.empty());
  EXPECT_NE(verified.memory_trouble, "");

  test_.disk().flip_bit(repo::pack_name(victim), 100, 3);
  EXPECT_EQ(run(2, 0).damaged, (std::set{victim}));
}

TEST_F(VerificationTest, CountsAPackAsLateThatNobodyEverRead) {
  (void)run(0, 5'000);
  std::filesystem::remove_all(state_ / "verified");
  (void)run(1, 0, 0);  // without a budget
  const auto late_at = [&](std::int64_t hour) {
    return coverage_of(repo::list_packs(test_.disk()), file().read(),
                       std::chrono::hours(kHoursInCycle),
                       Moment(std::chrono::seconds(at_hour(hour).seconds)))
        .late;
  };
  EXPECT_EQ(late_at(kHoursInCycle), 0U);
  EXPECT_EQ(late_at(kHoursInCycle + 2), packs().size());
}

TEST_F(VerificationTest, ForgetsDamageThatWasRepaired) {
  (void)run(0, 5'000);
  const auto sound = test_.disk();
  const auto victim = *packs().begin();
  test_.disk().flip_bit(repo::pack_name(victim), 100, 3);
  EXPECT_EQ(run(kHoursInCycle, 0).damaged.size(), 1U);
  EXPECT_EQ(run(kHoursInCycle + 1, 0).damaged.size(), 1U);  // still told

  test_.disk() = sound;
  EXPECT_TRUE(run(kHoursInCycle + 2, 0).damaged.empty());
  EXPECT_TRUE(file().read().damaged.empty());
}

TEST_F(VerificationTest, ReadsAllAgainWhereItsMemoryIsLost) {
  (void)run(0, 5'000);
  std::filesystem::remove_all(state_ / "verified");
  const auto verified = run(1, 0);
  EXPECT_EQ(verified.plan.again.size(), packs().size());
}

TEST_F(VerificationTest, ForgetsPacksThatAreGone) {
  (void)run(0, 5'000);
  auto known_file = file();
  known_file.change([](VerifiedPacks& known) {
    known.sound[repo::PackId{}] = Moment(std::chrono::seconds(1));
  });
  (void)run(1, 0);
  EXPECT_FALSE(file().read().sound.contains(repo::PackId{}));
}

TEST(VerifiedPacks, AreReadAsTheyWereWritten) {
  VerifiedPacks packs;
  packs.sound[repo::PackId{}] = Moment(std::chrono::seconds(5));
  packs.damaged[repo::PackId{{std::byte{1}}}] = Moment(std::chrono::seconds(6));
  packs.paced = Moment(std::chrono::seconds(7));
  EXPECT_EQ(parse_verified_packs(to_text(packs)), packs);
}

TEST(VerifiedPacks, LeaveOutWhatMakesNoSense) {
  const std::string id(64, 'a');
  const auto packs = parse_verified_packs(
      "cairn verified packs 1\n\n \npack\npack x 1\npack " + id + " -1\npack " +
      id + " 99999999999999999999\npack " + id + " 1 2\nwhat " + id +
      " 1\npaced x\ndamaged " + id + " 3\npack " + id);
  EXPECT_TRUE(packs.sound.empty());
  EXPECT_EQ(packs.damaged.size(), 1U);
  EXPECT_FALSE(packs.paced);
  EXPECT_EQ(parse_verified_packs("cairn verified packs"), VerifiedPacks{});
}

}  // namespace
}  // namespace cairn::service
