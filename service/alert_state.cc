#include "service/alert_state.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "repo/error.h"
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

// What tells runs of one second apart; the log has cut what was too long.
std::string mark_of(const JobRun& run) {
  return std::to_string(seconds_of(run.ended)) + "-" +
         std::to_string(run.exit_code) + (run.was_refused ? "-refused" : "");
}

bool is_same(const JobRun& a, const JobRun& b) {
  return a.began == b.began && mark_of(a) == mark_of(b);
}

}  // namespace

std::string_view name_of(AlertEvent::Kind kind) noexcept {
  return kind == AlertEvent::Kind::failure ? "run_failed" : "run_recovered";
}

AlertState::AlertState(const std::filesystem::path& state,
                       const std::string& repository, const std::string& series)
    : file_(state_file(state, "alerts", repository, series, ".json")) {}

void AlertState::read() { memory_ = stored(); }

AlertState::Memory AlertState::stored() const {
  const auto text = read_state_file(file_, kMostBytes);
  return text ? parse(*text).value_or(Memory()) : Memory();
}

std::optional<AlertState::Memory> AlertState::parse(const std::string& text) {
  Memory memory;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() ||
      !read_moment(json, "failing_since", memory.failing_since) ||
      !read_moment(json, "seen", memory.seen)) {
    return std::nullopt;
  }
  const auto with_it = json.find("seen_with_it");
  if (with_it != json.end()) {
    if (!with_it->is_number_integer()) return std::nullopt;
    memory.seen_with_it = with_it->get<std::ptrdiff_t>();
  }
  if (json.contains("seen_mark") &&
      !read_text(json, "seen_mark", memory.seen_mark)) {
    return std::nullopt;
  }
  const auto pending = json.find("pending");
  if (pending == json.end() || !pending->is_array()) return std::nullopt;
  for (const auto& one : *pending) {
    auto event = event_of(one);
    if (!event) return std::nullopt;
    memory.pending.push_back(std::move(*event));
  }
  return memory;
}

void AlertState::store() {
  is_stored_ = false;
  Json json = {{"v", 1}};
  if (memory_.failing_since) {
    json["failing_since"] = seconds_of(*memory_.failing_since);
  }
  if (memory_.seen) {
    json["seen"] = seconds_of(*memory_.seen);
    json["seen_with_it"] = memory_.seen_with_it;
    json["seen_mark"] = memory_.seen_mark;
  }
  Json pending = Json::array();
  for (const auto& event : memory_.pending) pending.push_back(to_json(event));
  json["pending"] = std::move(pending);
  replace_state_file(
      file_, json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  is_stored_ = true;
}

void AlertState::note_run(const JobRun& ended, const ReadLog& read_log,
                          const std::vector<std::string>& channels,
                          const MakeBody& make_body) {
  ingest::UniqueFd lock;
  try {
    lock = lock_state_file(file_);
    read();
  } catch (const repo::IoError&) {
    is_stored_ = false;
    note_all(ended, read_log(), channels, make_body);
    throw;
  }
  note_all(ended, read_log(), channels, make_body);
  store();
}

void AlertState::note_all(const JobRun& ended, std::span<const JobRun> log,
                          const std::vector<std::string>& channels,
                          const MakeBody& make_body) {
  auto& pending = memory_.pending;
  for (auto& event : pending) {
    std::erase_if(event.channels, [&](const std::string& channel) {
      return std::ranges::find(channels, channel) == channels.end();
    });
  }
  std::erase_if(pending,
                [](const AlertEvent& event) { return event.channels.empty(); });
  const auto mine = std::ranges::find_if(
      log, [&](const JobRun& run) { return is_same(run, ended); });
  for (const auto& run : unseen(log, mine)) note(run, channels, make_body);
  const bool is_logged = mine != log.end();
  if (!is_logged) note(ended, channels, make_body);
  const auto& newest = is_logged ? log.back() : ended;
  memory_.seen = newest.began;
  memory_.seen_mark = mark_of(newest);
  memory_.seen_with_it =
      std::ranges::count(log, *memory_.seen, &JobRun::began) +
      (is_logged ? 0 : 1);
  if (pending.size() > kMostPending) {
    pending.erase(pending.begin(),
                  pending.end() - static_cast<std::ptrdiff_t>(kMostPending));
  }
}

// Those behind the last one that was noted, since a process may have been
// killed before it told of its run; where that one is in the log no more, those
// that began later, and `ended`, whatever the clock says. At the very first
// time, none of before.
std::vector<JobRun> AlertState::unseen(
    std::span<const JobRun> log,
    std::span<const JobRun>::iterator ended) const {
  if (!memory_.seen) return {ended, log.end()};
  std::vector<JobRun> later;
  std::ptrdiff_t with_it = 0;
  for (auto run = log.begin(); run != log.end(); ++run) {
    if (run->began == *memory_.seen && ++with_it == memory_.seen_with_it &&
        mark_of(*run) == memory_.seen_mark) {
      return {run + 1, log.end()};
    }
    if (run->began > *memory_.seen || run == ended) later.push_back(*run);
  }
  return later;
}

void AlertState::note(const JobRun& run,
                      const std::vector<std::string>& channels,
                      const MakeBody& make_body) {
  if (run.outcome == RunOutcome::interrupted) return;
  const bool is_good = run.outcome == RunOutcome::complete;
  if (is_good == !memory_.failing_since) return;
  const auto kind =
      is_good ? AlertEvent::Kind::recovery : AlertEvent::Kind::failure;
  const std::string id = file_.stem().string() + "-" +
                         std::to_string(seconds_of(run.began)) + "-" +
                         std::string(name_of(kind));
  memory_.pending.push_back({id, kind, make_body(kind, id, run), channels});
  memory_.failing_since = is_good ? std::nullopt : std::optional(run.began);
}

std::optional<ingest::UniqueFd> AlertState::take_turn() {
  auto turn = try_to_lock_state_file(file_.string() + ".turn");
  if (turn) look_again();
  return turn;
}

void AlertState::look_again() {
  if (is_stored_) read();
}

void AlertState::delivered(const std::string& id, const std::string& channel) {
  const bool was_stored = std::exchange(is_stored_, false);
  const auto lock = lock_state_file(file_);
  auto now = was_stored ? stored() : memory_;
  for (auto& event : now.pending) {
    if (event.id == id) std::erase(event.channels, channel);
  }
  std::erase_if(now.pending,
                [](const AlertEvent& event) { return event.channels.empty(); });
  memory_ = std::move(now);
  store();
}

}  // namespace cairn::service
