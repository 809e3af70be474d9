#include "service/alert_state.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "service/state_file.h"

namespace cairn::service {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;
constexpr std::int64_t kLastSecond = 253'402'300'799;  // of the year 9999

std::int64_t seconds_of(Moment moment) {
  return moment.time_since_epoch().count();
}

// False: that is no moment. Nothing there is fine.
bool read_moment(const Json& json, const char* key,
                 std::optional<Moment>& moment) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_number_unsigned()) return false;
  const auto seconds = found->get<std::uint64_t>();
  if (seconds > kLastSecond) return false;
  moment = Moment(std::chrono::seconds(seconds));
  return true;
}

bool read_text(const Json& json, const char* key, std::string& text) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return false;
  text = found->get<std::string>();
  return true;
}

Json to_json(const AlertEvent& event) {
  return {{"id", event.id},
          {"kind", name_of(event.kind)},
          {"body", event.body},
          {"channels", event.channels}};
}

std::optional<AlertEvent> event_of(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  AlertEvent event;
  std::string kind;
  if (!read_text(json, "id", event.id) || !read_text(json, "kind", kind) ||
      !read_text(json, "body", event.body)) {
    return std::nullopt;
  }
  event.kind = kind == name_of(AlertEvent::Kind::recovery)
                   ? AlertEvent::Kind::recovery
                   : AlertEvent::Kind::failure;
  const auto channels = json.find("channels");
  if (channels == json.end() || !channels->is_array()) return std::nullopt;
  for (const auto& channel : *channels) {
    if (!channel.is_string()) return std::nullopt;
    event.channels.push_back(channel.get<std::string>());
  }
  return event;
}

}  // namespace

std::string_view name_of(AlertEvent::Kind kind) noexcept {
  return kind == AlertEvent::Kind::failure ? "run_failed" : "run_recovered";
}

AlertState::AlertState(const std::filesystem::path& state,
                       const std::string& repository, const std::string& series)
    : file_(state_file(state, "alerts", repository, series, ".json")) {}

void AlertState::read() {
  const auto text = read_state_file(file_, kMostBytes);
  if (text && !parse(*text)) {
    failing_since_.reset();
    seen_.reset();
    pending_.clear();
  }
}

bool AlertState::parse(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() ||
      !read_moment(json, "failing_since", failing_since_) ||
      !read_moment(json, "seen", seen_)) {
    return false;
  }
  const auto with_it = json.find("seen_with_it");
  if (with_it != json.end()) {
    if (!with_it->is_number_integer()) return false;
    seen_with_it_ = with_it->get<std::ptrdiff_t>();
  }
  const auto pending = json.find("pending");
  if (pending == json.end() || !pending->is_array()) return false;
  for (const auto& one : *pending) {
    auto event = event_of(one);
    if (!event) return false;
    pending_.push_back(std::move(*event));
  }
  return true;
}

void AlertState::store() const {
  Json json = {{"v", 1}};
  if (failing_since_) json["failing_since"] = seconds_of(*failing_since_);
  if (seen_) {
    json["seen"] = seconds_of(*seen_);
    json["seen_with_it"] = seen_with_it_;
  }
  Json pending = Json::array();
  for (const auto& event : pending_) pending.push_back(to_json(event));
  json["pending"] = std::move(pending);
  replace_state_file(
      file_, json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void AlertState::note_runs(std::span<const JobRun> runs,
                           const std::vector<std::string>& channels,
                           const MakeBody& make_body) {
  if (runs.empty()) return;
  for (auto& event : pending_) {
    std::erase_if(event.channels, [&](const std::string& channel) {
      return std::ranges::find(channels, channel) == channels.end();
    });
  }
  std::erase_if(pending_,
                [](const AlertEvent& event) { return event.channels.empty(); });
  // Of those before the last one we were killed before anybody was told.
  for (const auto& run : unseen(runs.first(runs.size() - 1))) {
    note(run, channels, make_body);
  }
  note(runs.back(), channels, make_body);
  seen_ = runs.back().began;
  seen_with_it_ = std::ranges::count(runs, *seen_, &JobRun::began);
  if (pending_.size() > kMostPending) {
    pending_.erase(pending_.begin(),
                   pending_.end() - static_cast<std::ptrdiff_t>(kMostPending));
  }
  store();
}

// Those behind the last one that was noted; where that is in the log no more,
// those that began later.
std::vector<JobRun> AlertState::unseen(std::span<const JobRun> runs) const {
  std::vector<JobRun> later;
  if (!seen_) return later;
  std::ptrdiff_t with_it = 0;
  for (auto run = runs.begin(); run != runs.end(); ++run) {
    if (run->began == *seen_ && ++with_it == seen_with_it_) {
      return {run + 1, runs.end()};
    }
    if (run->began > *seen_) later.push_back(*run);
  }
  return later;
}

void AlertState::note(const JobRun& run,
                      const std::vector<std::string>& channels,
                      const MakeBody& make_body) {
  if (run.outcome == RunOutcome::interrupted) return;
  const bool is_good = run.outcome == RunOutcome::complete;
  if (is_good == !failing_since_) return;
  const auto kind =
      is_good ? AlertEvent::Kind::recovery : AlertEvent::Kind::failure;
  const std::string id = file_.stem().string() + "-" +
                         std::to_string(seconds_of(run.began)) + "-" +
                         std::string(name_of(kind));
  pending_.push_back({id, kind, make_body(kind, id, run), channels});
  failing_since_ = is_good ? std::nullopt : std::optional(run.began);
}

void AlertState::delivered(const std::string& id, const std::string& channel) {
  for (auto& event : pending_) {
    if (event.id == id) std::erase(event.channels, channel);
  }
  std::erase_if(pending_,
                [](const AlertEvent& event) { return event.channels.empty(); });
  store();
}

}  // namespace cairn::service
