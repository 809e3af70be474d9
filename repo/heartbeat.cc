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

}  // namespace cairn::repo
