// Signs of life of a session that works for long.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "repo/session.h"

namespace cairn::repo {

// From its construction to its destruction the session beats once in every
// period. A beat that fails is no harm: the next comes soon.
//
// Ownership      borrows the session.
class Heartbeat {
 public:
  static constexpr std::chrono::milliseconds kPeriod = std::chrono::minutes(5);

  explicit Heartbeat(Session& session,
                     std::function<Timestamp()> clock = system_time,
                     std::chrono::milliseconds period = kPeriod);

  static Timestamp system_time();

 private:
  std::mutex mutex_;
  std::condition_variable_any is_over_;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace cairn::repo
