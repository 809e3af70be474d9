#include "repo/hold.h"

#include <gtest/gtest.h>

#include <string>

#include "repo/error.h"
#include "repo/forget.h"
#include "repo/prune.h"
#include "tests/support/observed_storage.h"
#include "tests/support/test_repository.h"

namespace cairn::repo {
namespace {

using testing_support::at_hour;
using testing_support::bytes_of;
using testing_support::Files;
using testing_support::ObservedStorage;
using testing_support::read_all_snapshots;
using testing_support::TestRepository;
using testing_support::write_snapshot;

const Files kFiles{{"a", bytes_of("what is held")}};

Mark hold_of(const SessionId& snapshot) {
  return {MarkAction::hold, snapshot, at_hour(5), "test", std::nullopt};
}

TEST(Hold, KeepsItsSnapshot) {
  TestRepository test;
  auto repository = test.open();
  const auto held = write_snapshot(repository, kFiles, at_hour(1));

  (void)hold_snapshot(repository, hold_of(held));

  EXPECT_THROW((void)forget_snapshot(repository, held, "test", at_hour(6)),
               RefusedForSafety);
}

// Whenever another process forgets the snapshot and prunes, either the hold
// says that it came too late or the snapshot is there.
TEST(Hold, IsNeverLostInSilence) {
  bool finished = false;
  for (int call = 0; !finished; ++call) {
    SCOPED_TRACE("forgotten and pruned at call " + std::to_string(call));
    TestRepository test;
    SessionId held;
    {
      auto repository = test.open();
      held = write_snapshot(repository, kFiles, at_hour(1));
    }
    ObservedStorage observed(test.disk());
    int calls = 0;
    const auto others = [&](std::string_view) {
      if (calls++ != call) return;
      auto other = test.open();
      try {
        (void)forget_snapshot(other, held, "test", at_hour(6));
      } catch (const RefusedForSafety&) {
        return;  // it saw the hold
      }
      (void)prune(other, {}, at_hour(7), {}, {}, nullptr);
    };
    auto repository = test.open_elsewhere(observed);
    observed.before_read = others;
    observed.before_write = others;

    bool is_told = false;
    try {
      (void)hold_snapshot(repository, hold_of(held));
    } catch (const RefusedForSafety&) {
      is_told = true;
    }

    finished = calls <= call;
    auto again = test.open();
    EXPECT_NE(is_told, read_all_snapshots(again).contains(held));
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace cairn::repo
