// Prune and forget on a full disk, and what they make anew.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "repo/error.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "repo/session.h"
#include "tests/repo/prune_steps.h"
#include "tests/support/faulty_storage.h"
#include "tests/support/power_cut.h"
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
using testing_support::PowerCut;
using testing_support::prune_all;
using testing_support::read_all_snapshots;
using testing_support::stored_packs;
using testing_support::TestRepository;
using testing_support::write_snapshot;

// So many bytes are free, and what is staged or stored takes of them.
class SmallDisk : public Storage {
 public:
  SmallDisk(MemoryStorage& inner, std::uint64_t& free)
      : inner_(inner), free_(free) {}

  Created create(std::string_view name,
                 std::span<const std::byte> bytes) override {
    if (inner_.size(name)) return Created::exists;
    take(bytes.size());
    return inner_.create(name, bytes);
  }
  std::unique_ptr<StagedObject> stage() override {
    return std::make_unique<Staged>(*this);
  }
  void get(std::string_view name, std::uint64_t offset,
           std::span<std::byte> out) const override {
    inner_.get(name, offset, out);
  }
  std::optional<std::uint64_t> size(std::string_view name) const override {
    return inner_.size(name);
  }
  void list(
      std::string_view folder,
      const std::function<void(const ListedObject&)>& visit) const override {
    inner_.list(folder, visit);
  }
  void remove(std::string_view name) override {
    free_ += inner_.size(name).value_or(0);
    inner_.remove(name);
  }
  void remove_unfinished() override { inner_.remove_unfinished(); }
  std::string description() const override { return inner_.description(); }

 private:
  class Staged : public StagedObject {
   public:
    explicit Staged(SmallDisk& disk)
        : disk_(disk), inner_(disk.inner_.stage()) {}
    ~Staged() override { disk_.free_ += taken_; }

    void append(std::span<const std::byte> bytes) override {
      disk_.take(bytes.size());
      taken_ += bytes.size();
      inner_->append(bytes);
    }
    Created publish(std::string_view name) override {
      const Created created = inner_->publish(name);
      if (created == Created::created) taken_ = 0;
      return created;
    }

   private:
    SmallDisk& disk_;
    std::unique_ptr<StagedObject> inner_;
    std::uint64_t taken_ = 0;
  };

  void take(std::uint64_t size) {
    if (size > free_) throw OutOfSpace("no space left");
    free_ -= size;
  }

  MemoryStorage& inner_;
  std::uint64_t& free_;
};

// Packs of which a part is needed, none of them dead.
struct HalfUsedPacks {
  HalfUsedPacks(unsigned count, std::size_t needed, std::size_t needless) {
    auto repository = test.open();
    std::vector<SessionId> old;
    for (unsigned i = 0; i < count; ++i) {
      Files with = files;
      with["keep" + std::to_string(i)] = noise(2 * i, needed);
      files = with;
      with["leave" + std::to_string(i)] = noise(2 * i + 1, needless);
      old.push_back(
          write_snapshot(repository, with, at_hour(i),
                         {.writer = {.pack_bytes = std::size_t{64} << 20}}));
    }
    kept = write_snapshot(repository, files, at_hour(count));
    for (const auto& id : old) forget(repository, id);
  }

  PruneOutcome prune(const PruneOptions& options = {}) {
    auto repository =
        test.open_through(std::make_unique<SmallDisk>(test.disk(), free));
    return prune_all(repository, options);
  }

  void expect_whole() {
    auto later = test.open();
    EXPECT_EQ(read_all_snapshots(later).at(kept), files);
  }

  Files files;
  TestRepository test;
  SessionId kept;
  std::uint64_t free = 0;
};

TEST(Prune, RepacksOnAFullDiskInPartsForWhichThereIsRoom) {
  for (const unsigned free : {0U, 10'000U, 131'072U, 400'000U, 700'000U}) {
    HalfUsedPacks scene(6, 400'000, 1'200'000);
    scene.free = free;

    const auto outcome = scene.prune();

    EXPECT_FALSE(outcome.ran_out_of_space) << free;
    EXPECT_GE(outcome.repacked.packs, 6U) << free;
    EXPECT_TRUE(outcome.has_reserve) << free;
    EXPECT_GT(scene.free, 6 * 1'200'000U) << free;
    scene.expect_whole();
  }
}

TEST(Prune, MovesNothingOnAFullDiskWhoseOldPacksWaitInTheTrash) {
  HalfUsedPacks scene(6, 400'000, 1'200'000);
  scene.free = 1'000'000;
  const auto before = stored_packs(scene.test.disk());
  PruneOptions options;
  options.trash = std::chrono::hours(24);

  const auto outcome = scene.prune(options);

  EXPECT_TRUE(outcome.ran_out_of_space);
  EXPECT_EQ(outcome.trash.packs, 0U);
  EXPECT_EQ(stored_packs(scene.test.disk()), before);
  EXPECT_TRUE(outcome.has_reserve);
  scene.expect_whole();

  EXPECT_FALSE(scene.prune().ran_out_of_space);
  EXPECT_GT(scene.free, 6 * 1'200'000U);
  scene.expect_whole();
}

TEST(Prune, LosesNothingOnAFullDiskWhicheverWriteThePowerCutHits) {
  HalfUsedPacks scene(2, 700'000, 300'000);
  const MemoryStorage before = scene.test.disk();
  bool has_finished = false;
  for (std::size_t writes = 0; !has_finished; ++writes) {
    SCOPED_TRACE("power cut after " + std::to_string(writes) + " writes");
    scene.test.disk() = before;
    scene.free = 0;
    {
      SmallDisk disk(scene.test.disk(), scene.free);
      auto repository =
          scene.test.open_through(std::make_unique<PowerCut>(disk, writes));
      try {
        has_finished = !prune_all(repository).ran_out_of_space;
      } catch (const IoError&) {
      }
    }
    scene.expect_whole();

    const auto outcome = scene.prune();

    EXPECT_FALSE(outcome.ran_out_of_space);
    scene.expect_whole();
    auto later = scene.test.open();
    EXPECT_EQ(plan_of(later).repacked.packs, 0U);
  }
}

TEST(Prune, SaysHowMuchRoomAPackTakesThatIsTooLarge) {
  HalfUsedPacks scene(1, 3'000'000, 3'000'000);

  const auto outcome = scene.prune();

  EXPECT_TRUE(outcome.ran_out_of_space);
  EXPECT_GT(outcome.room_missing, 1'500'000U);
  EXPECT_LT(outcome.room_missing, 3'500'000U);
  scene.expect_whole();

  scene.free += outcome.room_missing;
  const auto next = scene.prune();

  EXPECT_FALSE(next.ran_out_of_space);
  EXPECT_EQ(next.room_missing, 0U);
  EXPECT_TRUE(next.has_reserve);
  scene.expect_whole();
}

TEST(Prune, MovesOnAFullDiskNoMoreThanTheBudget) {
  HalfUsedPacks scene(6, 400'000, 1'200'000);
  auto repository = scene.test.open_through(
      std::make_unique<SmallDisk>(scene.test.disk(), scene.free));

  const auto outcome =
      prune_all(repository, {.max_unused = 0, .budget = 1'300'000});

  EXPECT_FALSE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.repacked.packs, 2U);
  EXPECT_LT(outcome.repacked.bytes, 4 * 1'600'000U);
  scene.expect_whole();
}

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
  PruneOutcome prune_with_no_room_at(
      std::initializer_list<std::size_t> calls, Call call = Call::publish,
      std::chrono::seconds trash = std::chrono::seconds(0)) {
    auto full = std::make_unique<FaultyStorage>(test.disk());
    for (const std::size_t nth : calls) {
      full->add(
          {.call = call,
           .nth = nth,
           .error = std::make_exception_ptr(OutOfSpace("no space left"))});
    }
    auto repository = test.open_through(std::move(full));
    auto options = nothing_wasted();
    options.trash = trash;
    return prune_all(repository, options);
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

  const auto outcome = scene.prune_with_no_room_at({1, 2, 3, 4, 5, 6, 7, 8});

  EXPECT_TRUE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.removed.packs, 2U);
  EXPECT_EQ(outcome.repacked.packs, 0U);
  scene.expect_whole();
}

// A copy that was of no use waits for nothing, as what is old does.
TEST(Prune, PutsNoCopyOfAFailedAttemptInTheTrash) {
  HalfNeeded scene;
  const auto before = stored_packs(scene.test.disk());

  const auto outcome =
      scene.prune_with_no_room_at({1}, Call::create, std::chrono::hours(24));

  EXPECT_TRUE(outcome.ran_out_of_space);
  EXPECT_GE(outcome.written.packs, 1U);
  EXPECT_EQ(outcome.repacked.packs, 0U);
  EXPECT_GE(outcome.trash.packs, 1U);  // what was dead whole
  EXPECT_EQ(stored_packs(scene.test.disk()), before);
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
