#include "repo/heartbeat.h"

#include <stop_token>
#include <utility>

#include "repo/error.h"

namespace cairn::repo {

Heartbeat::Heartbeat(Session& session, std::function<Timestamp()> clock,
                     std::chrono::milliseconds period)
    : thread_([this, &session, clock = std::move(clock),
               period](std::stop_token stop) {
        std::unique_lock lock(mutex_);
        const auto never = [] { return false; };
        while (!is_over_.wait_for(lock, stop, period, never) &&
               !stop.stop_requested()) {
          try {
            session.beat(clock());
          } catch (const Error&) {
          }
        }
      }) {}

Timestamp Heartbeat::system_time() {
  using std::chrono::floor, std::chrono::seconds;
  const auto now = std::chrono::system_clock::now();
  return {floor<seconds>(now.time_since_epoch()).count(), 0};
}

}  // namespace cairn::repo
