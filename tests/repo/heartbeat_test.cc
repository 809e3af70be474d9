#include "repo/heartbeat.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/sample_repository.h"

namespace cairn::repo {
namespace {

using std::chrono::milliseconds;
using testing_support::SampleRepository;

constexpr Timestamp kNow{1'000, 0};

TEST(Heartbeat, BeatsAgainAndAgainUntilItIsDestroyed) {
  SampleRepository sample;
  Session session(sample.storage, sample.keyring, sample.signer, kNow);
  const auto newest = [&]() -> std::uint32_t {
    const auto sessions = read_sessions(sample.storage, sample.keyring);
    return sessions[0].beats.empty() ? 0 : sessions[0].beats.back();
  };
  {
    const Heartbeat heartbeat(
        session, [] { return kNow; }, milliseconds(1));
    while (newest() < 3) std::this_thread::sleep_for(milliseconds(1));
  }
  const auto last = newest();
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(newest(), last);
}

TEST(Heartbeat, EndsAtOnceHoweverLongItsPeriod) {
  SampleRepository sample;
  Session session(sample.storage, sample.keyring, sample.signer, kNow);
  {
    const Heartbeat heartbeat(session, [] { return kNow; });
  }
  EXPECT_TRUE(read_sessions(sample.storage, sample.keyring)[0].beats.empty());
}

}  // namespace
}  // namespace cairn::repo
