#include "cli/config/configuration.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "cli/config/monitoring_settings.h"
#include "cli/config/source_settings.h"
#include "cli/config/words.h"
#include "cli/nearest.h"
#include "cli/quantity.h"
#include "repo/calendar.h"

namespace cairn::cli::config {
namespace {

constexpr std::string_view kNone = "none";
constexpr std::string_view kDefaultPolicy = "default";

template <typename Named>
const Named* find_named(const std::vector<Named>& all, std::string_view name) {
  const auto found = std::ranges::find(all, name, &Named::name);
  return found == all.end() ? nullptr : &*found;
}

// Lexically: "/srv" holds "/srv/db", and "/srv/../srv".
bool is_within(const std::string& inner, const std::string& outer) {
  return outer == "/" || inner == outer ||
         (inner.starts_with(outer) && inner[outer.size()] == '/');
}

std::string normal(const std::string& path) {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  if (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

// Makes a Configuration of settings that are right each by itself, and looks
// at how they go together.
class Making {
 public:
  Making(Setting settings, std::string file, const Surroundings& surroundings,
         Mistakes& mistakes)
      : surroundings_(surroundings), mistakes_(mistakes) {
    made_.file = std::move(file);
    made_.settings = std::move(settings);
  }

  Configuration make() &&;

 private:
  void complain(const Setting& at, const std::string& path, std::string text) {
    mistakes_.push_back({at.place, path, std::move(text)});
  }

  // Where a rule or a schedule rests on the zone.
  void require_time_zone(const Setting& at, const std::string& path);
  [[nodiscard]] Setting* section(std::string_view name);
  [[nodiscard]] bool is_known(std::string_view section_name,
                              std::string_view name);
  void require_known(const Setting& at, const std::string& path,
                     std::string_view section_name, const std::string& what,
                     const std::string& name);

  void make_repository(const Setting& setting);
  void make_policy(const Setting& setting);
  void make_job(Setting& setting);
  std::optional<Schedule> make_schedule(const Setting& setting,
                                        const std::string& path);
  std::vector<Hook> make_hooks(const Setting& job, std::string_view part);
  void check_together(const Setting& setting, const Job& job,
                      const std::string& path);
  void check_series();

  const Surroundings& surroundings_;
  Mistakes& mistakes_;
  Configuration made_;
};

void Making::require_time_zone(const Setting& at, const std::string& path) {
  if (!made_.time_zone.empty()) return;
  complain(at, path,
           "needs a time zone, and the machine's has no name in the time zone "
           "database; say time_zone: for the whole file");
}

Setting* Making::section(std::string_view name) {
  const auto found =
      std::ranges::find(made_.settings.parts, name, &Setting::name);
  return found == made_.settings.parts.end() ? nullptr : &*found;
}

bool Making::is_known(std::string_view section_name, std::string_view name) {
  const Setting* const all = section(section_name);
  return all != nullptr && all->find(name) != nullptr;
}

void Making::require_known(const Setting& at, const std::string& path,
                           std::string_view section_name,
                           const std::string& what, const std::string& name) {
  if (is_known(section_name, name)) return;
  std::vector<std::string> names;
  if (const Setting* const all = section(section_name)) {
    for (const auto& one : all->parts) names.push_back(one.name);
  }
  const auto near = nearest(name, names);
  complain(at, path,
           "there is no " + what + " '" + name + "'" +
               (near ? "; did you mean '" + *near + "'?" : ""));
}

void Making::make_repository(const Setting& setting) {
  const std::string path = "repositories." + setting.name;
  Repository made{.name = setting.name,
                  .path = setting.text_or_empty("path"),
                  .key_file = {},
                  .password = secret_place(setting, "password", made_.file)};
  if (const auto key = secret_place(setting, "key", made_.file))
    made.key_file = key->text;
  if (made.key_file && made.password) {
    complain(*setting.find("password"), path,
             "'key' and 'password' exclude each other: one of them opens it");
  }
  made_.repositories.push_back(std::move(made));
}

void Making::make_policy(const Setting& setting) {
  const std::string path = "retention." + setting.name;
  if (setting.name == kNone) {
    complain(setting, path,
             "'none' is no name for a policy: a job without one says so");
  }
  Policy policy{
      .name = setting.name, .rules = {}, .prunes = setting.is_true("prune")};
  auto& rules = policy.rules;
  if (const auto day = setting.text_of("week_on")) {
    rules.week_on = repo::parse_weekday(*day);
  }
  rules.prefer = setting.text_or_empty("prefer") == "oldest"
                     ? repo::Prefer::oldest
                     : repo::Prefer::newest;
  const Setting* const keep = setting.find("keep");
  if (keep == nullptr) return;
  constexpr std::pair<std::string_view, int repo::RetentionPolicy::*>
      kCounts[] = {{"last", &repo::RetentionPolicy::last},
                   {"hourly", &repo::RetentionPolicy::hourly},
                   {"daily", &repo::RetentionPolicy::daily},
                   {"weekly", &repo::RetentionPolicy::weekly},
                   {"monthly", &repo::RetentionPolicy::monthly},
                   {"yearly", &repo::RetentionPolicy::yearly}};
  constexpr std::uint64_t kMostPeriods = 1'000'000;
  for (const auto& [name, count] : kCounts) {
    const auto text = keep->text_of(name);
    if (!text) continue;
    rules.*count = *text == "unlimited"
                       ? repo::RetentionPolicy::kAll
                       : static_cast<int>(parse_count(*text, kMostPeriods));
  }
  if (const auto span = keep->text_of("within")) {
    rules.within =
        repo::parse_calendar_span(*span).value_or(repo::CalendarSpan{});
  }
  rules.tags = keep->texts_of("tags");
  const bool is_mistyped = std::ranges::any_of(
      mistakes_, [keep_path = path + ".keep"](const Mistake& mistake) {
        return mistake.path.starts_with(keep_path);
      });
  if (rules.is_empty() && !is_mistyped) {
    complain(*keep, path + ".keep",
             "keeps nothing; say what stays, such as {daily: 7, weekly: 4}");
  }
  if (rules.needs_time_zone()) {
    require_time_zone(*keep, path + ".keep");
    rules.time_zone = made_.time_zone;
  }
  made_.policies.push_back(std::move(policy));
}

std::vector<Hook> Making::make_hooks(const Setting& job,
                                     std::string_view part) {
  std::vector<Hook> hooks;
  const Setting* const steps = job.find(part);
  if (steps == nullptr) return hooks;
  for (const auto& step : steps->parts) {
    const auto when = step.text_or_empty("when");
    const Setting* const timeout = step.find("timeout");
    hooks.push_back(
        {.arguments = step.texts_of("run"),
         .timeout = timeout ? duration_of(*timeout) : std::chrono::seconds(0),
         .when = when == "success"   ? Hook::When::success
                 : when == "failure" ? Hook::When::failure
                                     : Hook::When::always});
    if (timeout != nullptr && hooks.back().timeout.count() == 0) {
      complain(*timeout, "jobs." + job.name + "." + std::string(part),
               "no time at all");
    }
  }
  return hooks;
}

std::optional<Schedule> Making::make_schedule(const Setting& setting,
                                              const std::string& path) {
  const bool is_mistyped = std::ranges::any_of(
      mistakes_,
      [&](const Mistake& one) { return one.path.starts_with(path); });
  if (is_mistyped) return std::nullopt;
  const auto cron = setting.text_of("cron");
  const auto at = setting.text_of("at");
  if (cron.has_value() == at.has_value()) {
    complain(setting, path,
             cron ? "'cron' and 'at' exclude each other"
                  : "says no time; write cron: '0 2 * * *' or at: '02:00'");
    return std::nullopt;
  }
  if (made_.time_zone.empty()) {
    require_time_zone(setting, path);
    return std::nullopt;
  }
  // "02:05" is "05 02 * * *".
  const std::string line =
      cron ? cron_of(*cron) : at->substr(3) + " " + at->substr(0, 2) + " * * *";
  Schedule made{.timetable = service::Timetable(line, made_.time_zone),
                .jitter = duration_of(*setting.find("jitter")),
                .catches_up = setting.is_true("catch_up")};
  const service::Moment some{};
  const auto first = made.timetable.next_after(some);
  const auto wait = made.timetable.next_after(first) - first;
  if (made.jitter >= wait) {
    complain(*setting.find("jitter"), path + ".jitter",
             "as long as the time between two runs, or longer");
  }
  return made;
}

void Making::make_job(Setting& setting) {
  const std::string path = "jobs." + setting.name;
  if (setting.name == kWalName) {
    complain(setting, path,
             "'wal' is no name for a job: series that end so "
             "are those of WAL");
  }
  if (is_known("sources", setting.name)) {
    complain(setting, path,
             "there is a source of that name, too; `cairn run " + setting.name +
                 "` could mean either");
  }
  Job job{.name = setting.name,
          .sources = without_repeats(setting.texts_of("sources")),
          .repository = {},
          .series = {},
          .tags = setting.texts_of("tags"),
          .policy = {},
          .schedule = {},
          .compression = {},
          .before = make_hooks(setting, "before"),
          .after = make_hooks(setting, "after")};
  if (setting.text_or_empty("sources") == "all") {
    for (const auto& source : made_.sources) job.sources.push_back(source.name);
  } else {
    for (const auto& name : job.sources) {
      require_known(*setting.find("sources"), path + ".sources", "sources",
                    "source", name);
    }
  }
  if (made_.repositories.size() == 1) {
    setting.fall_back("to", made_.repositories.front().name);
  }
  if (const Setting* const to = setting.find("to")) {
    job.repository = to->text;
    require_known(*to, path + ".to", "repositories", "repository",
                  job.repository);
  } else if (made_.repositories.size() > 1) {
    complain(setting, path,
             "'to' is missing: which of the repositories does it save to?");
  }
  setting.fall_back("series", made_.host + "/" + setting.name);
  job.series = setting.text_or_empty("series");
  if (job.series.find('/') == std::string::npos) {
    job.series = made_.host + "/" + job.series;
  }
  if (job.series.ends_with("/" + std::string(kWalName)) &&
      setting.name != kWalName) {
    complain(*setting.find("series"), path + ".series",
             "series that end in /wal are those of WAL");
  }
  const bool has_default = is_known("retention", kDefaultPolicy);
  setting.fall_back("retention",
                    std::string(has_default ? kDefaultPolicy : kNone));
  if (const auto policy = setting.text_or_empty("retention"); policy != kNone) {
    require_known(*setting.find("retention"), path + ".retention", "retention",
                  "policy", policy);
    job.policy = policy;
  }
  if (const Setting* const schedule = setting.find("schedule")) {
    job.schedule = make_schedule(*schedule, path + ".schedule");
  }
  const auto compression = setting.text_or_empty("compression");
  if (compression == "fast") job.compression = repo::kFastCompression;
  if (compression == "max") job.compression = repo::kMaxCompression;
  check_together(setting, job, path);
  made_.jobs.push_back(std::move(job));
}

// That the sources of a job find room in one snapshot.
void Making::check_together(const Setting& setting, const Job& job,
                            const std::string& path) {
  const Setting* const at = setting.find("sources");
  if (at == nullptr) return;
  // Where each lies in the snapshot, and whose it is.
  std::vector<std::pair<std::string, std::string>> places;
  for (const auto& name : job.sources) {
    const Source* const source = made_.source(name);
    if (source == nullptr) continue;
    if (std::holds_alternative<PostgresBase>(source->what) &&
        job.sources.size() > 1) {
      complain(*at, path + ".sources",
               "a base backup fills a snapshot by itself: '" + name +
                   "' needs a job of its own");
      return;
    }
    std::vector<std::string> own;
    if (const auto* const files = std::get_if<Files>(&source->what)) {
      own = files->paths;
    } else if (const auto* const command =
                   std::get_if<CommandOutput>(&source->what)) {
      own = {"/" + command->as};
    } else {
      own = {"/" + name};
    }
    for (const auto& place : own) {
      const std::string here = normal(place);
      for (const auto& [other, whose] : places) {
        if (whose == name ||
            !(is_within(here, other) || is_within(other, here))) {
          continue;
        }
        complain(*at, path + ".sources",
                 "'" + whose + "' and '" + name +
                     "' are in each other's way: " + other + " and " + here);
        return;
      }
    }
    for (const auto& place : own) places.emplace_back(normal(place), name);
  }
}

// Two jobs in one series, or one in that of a part of the other, would count as
// each other's states.
void Making::check_series() {
  for (auto job = made_.jobs.begin(); job != made_.jobs.end(); ++job) {
    const auto refuse_where = [&](const auto& is_taken, const std::string& is) {
      const auto other = std::ranges::find_if(made_.jobs, is_taken);
      if (other == made_.jobs.end()) return false;
      const Setting* const setting = section("jobs")->find(job->name);
      complain(*setting, "jobs." + job->name,
               "has the series of " + is + "'" + other->name + "', " +
                   job->series + "; each needs its own");
      return true;
    };
    const auto is_equal = [&](const Job& other) {
      return &other < &*job && other.series == job->series &&
             other.repository == job->repository;
    };
    const auto holds_it = [&](const Job& other) {
      return job->series.starts_with(other.series + "/") &&
             other.repository == job->repository;
    };
    if (!refuse_where(is_equal, "")) (void)refuse_where(holds_it, "a part of ");
  }
}

Configuration Making::make() && {
  made_.settings.fall_back("host", surroundings_.host);
  if (surroundings_.time_zone) {
    made_.settings.fall_back("time_zone", *surroundings_.time_zone);
  }
  made_.host = made_.settings.text_or_empty("host");
  made_.time_zone = made_.settings.text_or_empty("time_zone");
  if (made_.host.find('/') != std::string::npos) {
    complain(*made_.settings.find("host"), "host",
             "a host's name has no slash");
  }
  const auto for_each = [&](std::string_view name, auto&& make) {
    if (Setting* const all = section(name)) {
      for (auto& one : all->parts) make(one);
    }
  };
  for_each("repositories", [&](Setting& one) { make_repository(one); });
  for_each("sources", [&](Setting& one) {
    if (one.shape == nullptr) return;  // was complained of
    made_.sources.push_back(make_source(one, made_.file, mistakes_));
  });
  for_each("retention", [&](Setting& one) { make_policy(one); });
  for_each("jobs", [&](Setting& one) { make_job(one); });
  check_series();
  read_monitoring(made_, mistakes_);
  return std::move(made_);
}

}  // namespace

const Repository* Configuration::repository(std::string_view name) const {
  return find_named(repositories, name);
}
const Source* Configuration::source(std::string_view name) const {
  return find_named(sources, name);
}
const Job* Configuration::job(std::string_view name) const {
  return find_named(jobs, name);
}
const Policy* Configuration::policy(std::string_view name) const {
  return find_named(policies, name);
}

std::optional<Configuration> read_configuration(
    std::string_view text, const std::string& file,
    const Surroundings& surroundings, Mistakes& mistakes) {
  Mistakes found;
  std::optional<Configuration> made;
  if (const auto root = parse_yaml(text, found)) {
    made =
        Making(read_settings(*root, found), file, surroundings, found).make();
  }
  sort_by_place(found);
  const bool is_right = found.empty();
  std::ranges::move(found, std::back_inserter(mistakes));
  return is_right ? std::move(made) : std::nullopt;
}

}  // namespace cairn::cli::config
