// Prune and forget on a full disk, and what they make anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "repo/error.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/repo/prune_steps.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::Call;
using testing_support::FaultyStorage;
using testing_support::Files;
using testing_support::forget;
using testing_support::MemoryStorage;
using testing_support::noise;
using testing_support::nothing_wasted;
using testing_support::plan_of;
using testing_support::prune_all;
using testing_support::read_all_snapshots;
using testing_support::TestRepository;
using testing_support::write_snapshot;

TEST(Prune, GivesTheReserveBackWhenTheDiskIsFull) {
  TestRepository test;
  {
    auto repository = test.open();
    const auto old =
        write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
    forget(repository, old);
  }
  auto full = std::make_unique<FaultyStorage>(test.disk());
  full->fail(Call::create, 1, OutOfSpace("no space left"));
  auto repository = test.open_through(std::move(full));

  const auto outcome = prune_all(repository);

  EXPECT_EQ(outcome.removed.packs, 2U);
  EXPECT_TRUE(outcome.has_reserve);
  EXPECT_TRUE(test.disk().size(kReserveName));
}

// A pack that goes whole, and one of which half is needed.
struct HalfNeeded {
  HalfNeeded() {
    auto repository = test.open();
    const auto gone =
        write_snapshot(repository, {{"x", noise(3, 90'000)}}, at_hour(0));
    const auto old =
        write_snapshot(repository, {{"a", noise(1, 90'000)}}, at_hour(1));
    kept = write_snapshot(repository, files, at_hour(2));
    forget(repository, gone);
    forget(repository, old);
  }

  // Each of these publications meets a full disk, counted from 1.
  PruneOutcome prune_with_no_room_at(std::initializer_list<std::size_t> calls) {
    auto full = std::make_unique<FaultyStorage>(test.disk());
    for (const std::size_t call : calls) {
      full->add(
          {.call = Call::publish,
           .nth = call,
           .error = std::make_exception_ptr(OutOfSpace("no space left"))});
    }
    auto repository = test.open_through(std::move(full));
    return prune_all(repository, nothing_wasted());
  }

  void expect_whole() {
    auto later = test.open();
    EXPECT_EQ(read_all_snapshots(later).at(kept), files);
    EXPECT_FALSE(prune_all(later, nothing_wasted()).ran_out_of_space);
    EXPECT_EQ(plan_of(later, nothing_wasted()).repacked.packs, 0U);
  }

  const Files files = {{"a", noise(1, 40'960)}};
  TestRepository test;
  SessionId kept;
};

TEST(Prune, TakesAwayWhatIsDeadWholeAndThenRepacksOnAFullDisk) {
  HalfNeeded scene;

  const auto outcome = scene.prune_with_no_room_at({1, 2});

  EXPECT_FALSE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.removed.packs, 2U);
  EXPECT_GE(outcome.repacked.packs, 1U);
  scene.expect_whole();
}

TEST(Prune, RepacksWithTheReserveOnAFullDisk) {
  HalfNeeded scene;

  const auto outcome = scene.prune_with_no_room_at({1});

  EXPECT_FALSE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.repacked.packs, 1U);
  EXPECT_TRUE(scene.test.disk().size(kReserveName));  // taken again at the end
  scene.expect_whole();
}

TEST(Prune, FreesWhatItCanWhenThereIsNoRoomToRepack) {
  HalfNeeded scene;

  const auto outcome = scene.prune_with_no_room_at({1, 2, 3, 4});

  EXPECT_TRUE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.removed.packs, 2U);
  EXPECT_EQ(outcome.repacked.packs, 0U);
  scene.expect_whole();
}

TEST(Forget, GivesTheReserveBackWhenTheDiskIsFull) {
  TestRepository test;
  SessionId id;
  {
    auto repository = test.open();
    id = write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  }
  auto full = std::make_unique<FaultyStorage>(test.disk());
  full->fail(Call::create, 1, OutOfSpace("no space left"));
  auto repository = test.open_through(std::move(full));

  forget(repository, id);

  EXPECT_FALSE(test.disk().size(kReserveName));
  EXPECT_TRUE(repository.snapshots(at_hour(600)).snapshots.empty());
}

TEST(Prune, WritesADamagedReserveAndAConfigCopyAnew) {
  TestRepository test;
  auto repository = test.open();
  (void)write_snapshot(repository, {{"a", noise(1, 900)}}, at_hour(1));
  const MemoryStorage whole = test.disk();
  for (const auto name : {kConfigName, kSecondConfigName}) {
    for (const bool is_lost : {false, true}) {
      if (is_lost) {
        test.disk().remove(name);
      } else {
        test.disk().flip_bit(name, 40, 1);
      }
      test.disk().flip_bit(kReserveName, 40, 1);

      (void)prune_all(repository);

      const auto read = [&](const Storage& storage, std::string_view object) {
        return get_whole(storage, object, std::uint64_t{2} << 20);
      };
      EXPECT_EQ(read(test.disk(), name), read(whole, name));
      const auto reserve = read(test.disk(), kReserveName);
      const auto digest = crypto::sha256(
          std::span(reserve).first(reserve.size() - crypto::kDigestBytes));
      EXPECT_TRUE(std::ranges::equal(
          digest, std::span(reserve).last(crypto::kDigestBytes)));
    }
  }
}

}  // namespace
}  // namespace cairn::repo
