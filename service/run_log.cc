#include "service/run_log.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <utility>

#include "repo/error.h"
#include "service/state_file.h"

namespace cairn::service {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kFolder = "runs";
constexpr std::string_view kEnding = ".jsonl";

// Of the file, from its end: what is longer was not written by us.
constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;
// The last second of the year 9999: differences of moments cannot overflow.
constexpr std::int64_t kLastSecond = 253'402'300'799;

constexpr std::array<std::pair<RunOutcome, std::string_view>, 4> kOutcomes = {{
    {RunOutcome::complete, "complete"},
    {RunOutcome::partial, "partial"},
    {RunOutcome::failed, "failed"},
    {RunOutcome::interrupted, "interrupted"},
}};

// ---- to text

// Not in the middle of a character.
std::string shortened(const std::string& message) {
  if (message.size() <= RunLog::kMaxMessage) return message;
  std::size_t size = RunLog::kMaxMessage;
  const auto continues = [&](std::size_t i) {
    return (static_cast<unsigned char>(message[i]) & 0xc0U) == 0x80U;
  };
  while (size > 0 && continues(size)) --size;
  return message.substr(0, size);
}

Json to_json(const SourceRun& source) {
  Json json = {{"name", source.name},
               {"outcome", name_of(source.outcome)},
               {"bytes", source.bytes}};
  if (source.seconds) json["seconds"] = *source.seconds;
  if (!source.message.empty()) json["message"] = shortened(source.message);
  return json;
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_line(Moment began, const std::string& series) {
  return text_of({{"v", 1},
                  {"series", series},
                  {"begins", began.time_since_epoch().count()}});
}

std::string to_line(const JobRun& run, const std::string& series) {
  Json json = {{"v", 1},
               {"series", series},
               {"began", run.began.time_since_epoch().count()},
               {"ended", run.ended.time_since_epoch().count()},
               {"outcome", name_of(run.outcome)},
               {"exit_code", run.exit_code},
               {"bytes_read", run.bytes_read},
               {"bytes_new", run.bytes_new}};
  if (run.verified) json["verified"] = *run.verified;
  if (run.was_refused) json["refused"] = true;
  if (run.snapshot) json["snapshot"] = *run.snapshot;
  if (!run.message.empty()) json["message"] = shortened(run.message);
  Json sources = Json::array();
  for (const auto& source : run.sources) sources.push_back(to_json(source));
  json["sources"] = std::move(sources);
  return text_of(json);
}

// ---- and back. Nothing, or false: that is not what was written.

bool read_text(const Json& json, const char* key, std::string& text) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_string()) return false;
  text = found->get<std::string>();
  return true;
}

template <typename Number>
bool read_count(const Json& json, const char* key, Number& number) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return false;
  const auto value = found->get<std::uint64_t>();
  number = static_cast<Number>(value);
  return std::in_range<Number>(value);
}

bool read_moment(const Json& json, const char* key, Moment& moment) {
  std::int64_t seconds = 0;
  if (!read_count(json, key, seconds) || seconds > kLastSecond) return false;
  moment = Moment(std::chrono::seconds(seconds));
  return true;
}

bool read_outcome(const Json& json, RunOutcome& outcome) {
  std::string name;
  if (!read_text(json, "outcome", name)) return false;
  for (const auto& [known, its_name] : kOutcomes) {
    if (its_name != name) continue;
    outcome = known;
    return true;
  }
  return false;
}

bool read_seconds(const Json& json, std::optional<double>& seconds) {
  const auto found = json.find("seconds");
  if (found == json.end()) return true;
  if (!found->is_number()) return false;
  seconds = found->get<double>();
  return std::isfinite(*seconds) && *seconds >= 0;
}

bool read_source(const Json& json, SourceRun& source) {
  return json.is_object() && read_text(json, "name", source.name) &&
         read_outcome(json, source.outcome) &&
         read_count(json, "bytes", source.bytes) &&
         read_seconds(json, source.seconds) &&
         read_text(json, "message", source.message);
}

bool read_flag(const Json& json, const char* key, std::optional<bool>& flag) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_boolean()) return false;
  flag = found->get<bool>();
  return true;
}

bool read_sources(const Json& json, std::vector<SourceRun>& sources) {
  const auto found = json.find("sources");
  if (found == json.end() || !found->is_array()) return false;
  return std::ranges::all_of(*found, [&](const Json& one) {
    return read_source(one, sources.emplace_back());
  });
}

std::optional<JobRun> run_of(const Json& json) {
  JobRun run;
  std::string snapshot;
  std::optional<bool> was_refused;
  const bool makes_sense = read_moment(json, "began", run.began) &&
                           read_moment(json, "ended", run.ended) &&
                           read_outcome(json, run.outcome) &&
                           read_count(json, "exit_code", run.exit_code) &&
                           read_count(json, "bytes_read", run.bytes_read) &&
                           read_count(json, "bytes_new", run.bytes_new) &&
                           read_flag(json, "verified", run.verified) &&
                           read_flag(json, "refused", was_refused) &&
                           read_text(json, "snapshot", snapshot) &&
                           read_text(json, "message", run.message) &&
                           read_sources(json, run.sources);
  if (!makes_sense) return std::nullopt;
  if (!snapshot.empty()) run.snapshot = std::move(snapshot);
  run.was_refused = was_refused.value_or(false);
  return run;
}

struct Parsed {
  std::vector<JobRun> runs;
  std::optional<Moment> unfinished;
  std::size_t damaged = 0;

  // False: that makes no sense.
  bool take(std::string_view line);
};

bool Parsed::take(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return false;
  Moment begins;
  if (read_moment(json, "begins", begins)) {
    if (unfinished) runs.push_back(lost_run(*unfinished));
    unfinished = begins;
    return true;
  }
  auto run = run_of(json);
  if (!run) return false;
  if (unfinished == run->began && !run->was_refused) unfinished.reset();
  runs.push_back(std::move(*run));
  return true;
}

// Without empty ones.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// As its last line says; empty: it does not.
std::string series_of(const fs::path& log) {
  const auto text = read_state_file(log, kMostBytes);
  const auto lines = lines_of(text ? *text : std::string_view());
  std::string series;
  if (lines.empty()) return series;
  const Json json = Json::parse(lines.back(), nullptr, false);
  if (json.is_object()) (void)read_text(json, "series", series);
  return series;
}

Parsed parse(std::string_view text) {
  Parsed parsed;
  for (const auto& line : lines_of(text)) {
    if (!parsed.take(line)) ++parsed.damaged;
  }
  return parsed;
}

}  // namespace

RunOutcome outcome_of(repo::SourceStatus status) noexcept {
  switch (status) {
    case repo::SourceStatus::complete:
      return RunOutcome::complete;
    case repo::SourceStatus::partial:
      return RunOutcome::partial;
    case repo::SourceStatus::failed:
      break;
  }
  return RunOutcome::failed;
}

std::string_view name_of(RunOutcome outcome) noexcept {
  for (const auto& [known, name] : kOutcomes) {
    if (known == outcome) return name;
  }
  return "failed";
}

RunLog::RunLog(const std::filesystem::path& state,
               const std::string& repository, const std::string& series)
    : file_(state_file(state, kFolder, repository, series, kEnding)),
      series_(series) {}

std::vector<std::string> RunLog::parts_of(const fs::path& state,
                                          const std::string& repository,
                                          const std::string& series) {
  std::vector<std::string> parts;
  std::error_code error;
  for (fs::directory_iterator entry(state / kFolder, error), end;
       !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() != kEnding) continue;
    try {
      const auto its = series_of(entry->path());
      // Of another repository, it has another name.
      if (its.starts_with(series + "/") &&
          state_file(state, kFolder, repository, its, kEnding) ==
              entry->path()) {
        parts.push_back(its);
      }
    } catch (const repo::IoError&) {
      continue;
    }
  }
  std::ranges::sort(parts);
  return parts;
}

JobRun lost_run(Moment began) {
  return {.began = began,
          .ended = began,
          .outcome = RunOutcome::failed,
          .exit_code = 1,
          .message =
              "it never came to its end: it was killed, or the machine "
              "went down"};
}

void RunLog::begin(Moment began) { write(to_line(began, series_)); }

void RunLog::append(const JobRun& run) { write(to_line(run, series_)); }

void RunLog::write(const std::string& line) {
  const auto lock = lock_state_file(file_);
  const auto text = read_state_file(file_, kMostBytes);
  const std::string_view all = text ? *text : std::string_view();
  if (lines_of(all).size() < 2 * kKept) {
    append_to_state_file(file_, line);
    return;
  }
  const auto parsed = parse(all);
  std::string newest;
  for (const auto& run :
       std::span(parsed.runs).last(std::min(parsed.runs.size(), kKept - 1))) {
    newest.append(to_line(run, series_)) += '\n';
  }
  if (parsed.unfinished)
    newest.append(to_line(*parsed.unfinished, series_)) += '\n';
  replace_state_file(file_, newest + line + '\n');
}

std::vector<JobRun> RunLog::read() const {
  const auto text = read_state_file(file_, kMostBytes);
  auto parsed = parse(text ? *text : std::string_view());
  damaged_ = parsed.damaged;
  unfinished_ = parsed.unfinished;
  return std::move(parsed.runs);
}

}  // namespace cairn::service
