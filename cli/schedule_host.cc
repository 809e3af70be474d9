#include "cli/schedule_host.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "cli/context.h"
#include "cli/job_secrets.h"
#include "cli/temporary_folder.h"
#include "cli/usage_error.h"
#include "ingest/byte_stream.h"
#include "ingest/program_output.h"
#include "ingest/unique_fd.h"
#include "repo/error.h"
#include "service/crontab.h"
#include "service/systemd_units.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxText = std::size_t{1} << 20;  // bytes of a crontab
constexpr const char* kSystemdRuns = "/run/systemd/system";
constexpr const char* kSystemUnits = "/etc/systemd/system";

// Paths, and no secrets: what a program has to find again that begins without
// the environment of whoever installed it.
constexpr std::array kKeptVariables = {"CAIRN_CACHE_DIR", "CAIRN_KEY_FILE",
                                       "CAIRN_PASSWORD_FILE"};
// Those that are relative are none, by their rules.
constexpr std::array kKeptFolders = {"XDG_CACHE_HOME", "XDG_STATE_HOME",
                                     "XDG_CONFIG_HOME"};

using Variables = std::vector<std::pair<std::string, std::string>>;

// Absolute: whoever begins it does so in another folder.
Variables kept_variables() {
  Variables kept;
  for (const char* const name : kKeptVariables) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    kept.emplace_back(name, fs::absolute(value).lexically_normal().string());
  }
  for (const char* const name : kKeptFolders) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value == '/') kept.emplace_back(name, value);
  }
  return kept;
}

std::string this_program() {
  std::error_code error;
  const auto path = fs::read_symlink("/proc/self/exe", error);
  if (error) repo::throw_system_error("/proc/self/exe", error.value());
  return path.string();
}

std::string file_of(const config::Configuration& all) {
  auto file = fs::absolute(all.file).lexically_normal().string();
  if (file.find('\n') != file.npos) {
    throw UsageError("the name of the configuration file has a line end");
  }
  return file;
}

// What a program says; a failure of it is one of ours.
std::string said_by(const std::vector<std::string>& command) {
  try {
    return ingest::output_of(command, kMaxText, {});
  } catch (const ingest::ProducerFailed& e) {
    throw repo::Error(e.what());
  }
}

// ---- systemd

enum class Control { systemd, nobody };

class SystemdHost : public ScheduleHost {
 public:
  SystemdHost(const config::Configuration& all, fs::path folder,
              service::UnitJob::Manager manager, Control control)
      : all_(all),
        file_(file_of(all)),
        folder_(std::move(folder)),
        manager_(manager),
        control_(control) {}

  std::string description() const override {
    return "timers of systemd in " + folder_.string();
  }
  std::optional<std::string> caution() const override;
  std::vector<InstalledJob> installed() const override;
  InstalledJob made_of(const PlannedJob& job) const override;
  void install(const std::vector<PlannedJob>& jobs) override;
  void remove(const std::vector<std::string>& names) override;
  std::optional<std::string> obstacle(const std::string& name) const override;

 private:
  [[nodiscard]] std::vector<service::Unit> units_of(
      const PlannedJob& planned) const;
  [[nodiscard]] std::vector<std::string> writable(const config::Job& job) const;
  void require_ours(const service::Unit& unit) const;
  void write(const service::Unit& unit) const;
  void call_systemctl(std::vector<std::string> words) const;
  [[nodiscard]] std::vector<std::string> systemctl() const;

  const config::Configuration& all_;
  std::string file_;
  fs::path folder_;
  service::UnitJob::Manager manager_;
  Control control_;
};

std::string text_of_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxText, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::string timer_of(const std::string& job) {
  return "cairn-" + job + ".timer";
}

bool runs_unknown_programs(const config::Configuration& all,
                           const config::Job& job) {
  if (!job.before.empty() || !job.after.empty()) return true;
  if (!all.monitoring.command.empty()) return true;
  const bool asks_program = std::ranges::any_of(
      secrets_of(job, all), [](const config::SecretPlace* place) {
        return place->kind == config::SecretPlace::Kind::command;
      });
  if (asks_program) return true;
  return std::ranges::any_of(job.sources, [&](const std::string& name) {
    const auto* const source = all.source(name);
    return source != nullptr &&
           std::holds_alternative<config::CommandOutput>(source->what);
  });
}

// A '-' before a folder: one that is not there is no reason not to begin.
std::vector<std::string> SystemdHost::writable(const config::Job& job) const {
  const auto folders = host_folders();
  std::vector<std::string> list = {
      "-" + all_.repository(job.repository)->path, "-" + folders.cache.string(),
      "-" + folders.state.string(), "-/tmp", "-/var/tmp"};
  if (const auto& metrics = all_.monitoring.textfile) {
    list.push_back("-" + fs::path(*metrics).parent_path().string());
  }
  return list;
}

std::vector<service::Unit> SystemdHost::units_of(
    const PlannedJob& planned) const {
  const auto& [job, schedule, frequency, retention] = planned;
  std::vector<std::string> command = {this_program(), "--config", file_};
  const auto run = planned.run_words();
  command.insert(command.end(), run.begin(), run.end());
  auto environment = kept_variables();
  if (const char* const home = std::getenv("HOME")) {
    environment.emplace_back("HOME", home);
  }
  service::UnitJob unit{.name = job->name,
                        .configuration = file_,
                        .command = std::move(command),
                        .timetable = schedule.timetable,
                        .jitter = schedule.jitter,
                        .catches_up = schedule.catches_up,
                        .environment = std::move(environment),
                        .manager = manager_,
                        .frequency = frequency,
                        .retention = retention};
  if (!runs_unknown_programs(all_, *job)) unit.writable = writable(*job);
  return service::units_of(unit);
}

InstalledJob SystemdHost::made_of(const PlannedJob& job) const {
  InstalledJob made{.name = job.job->name,
                    .text = {},
                    .frequency = job.frequency,
                    .retention = job.retention};
  for (const auto& unit : units_of(job)) made.text += unit.text;
  return made;
}

std::vector<InstalledJob> SystemdHost::installed() const {
  std::set<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const auto name = entry.path().filename().string();
    const bool is_unit = name.ends_with(".service") || name.ends_with(".timer");
    if (name.starts_with("cairn-") && is_unit) files.insert(name);
  }
  std::map<std::string, InstalledJob> jobs;
  for (const auto& name : files) {  // the service before its timer
    const auto text = text_of_file(folder_ / name);
    const auto origin = service::origin_of(text);
    if (!origin || origin->configuration != file_ ||
        !name.starts_with("cairn-" + origin->job + ".")) {
      continue;
    }
    auto& job = jobs[origin->job];
    job.name = origin->job;
    job.text += text;
    job.frequency = origin->frequency;
    job.retention = origin->retention;
  }
  std::vector<InstalledJob> all;
  for (auto& [name, job] : jobs) all.push_back(std::move(job));
  return all;
}

void SystemdHost::require_ours(const service::Unit& unit) const {
  const auto file = folder_ / unit.file;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(file, error))) return;
  const auto origin = service::origin_of(text_of_file(file));
  if (origin && origin->configuration == file_) return;
  throw repo::RefusedForSafety(file.string() + ": " +
                               (origin ? "belongs to " + origin->configuration
                                       : "is not one that cairn made") +
                               "; rename the job, or remove that unit");
}

// Whole or not at all: systemd may read it at any moment.
void SystemdHost::write(const service::Unit& unit) const {
  constexpr mode_t kForAllToRead = 0644;
  const fs::path file = folder_ / unit.file;
  const fs::path part = folder_ / ("." + unit.file + ".new");
  const ingest::UniqueFd fd(::open(
      part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
      kForAllToRead));
  if (!fd) repo::throw_system_error(part.string(), errno);
  std::size_t at = 0;
  while (at < unit.text.size()) {
    const ssize_t count =
        ::write(fd.get(), unit.text.data() + at, unit.text.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) repo::throw_system_error(part.string(), errno);
    at += static_cast<std::size_t>(count);
  }
  if (::fchmod(fd.get(), kForAllToRead) != 0 || ::fsync(fd.get()) != 0 ||
      ::rename(part.c_str(), file.c_str()) != 0) {
    repo::throw_system_error(file.string(), errno);
  }
}

std::vector<std::string> SystemdHost::systemctl() const {
  if (manager_ == service::UnitJob::Manager::user) {
    return {"systemctl", "--user"};
  }
  return {"systemctl"};
}

void SystemdHost::call_systemctl(std::vector<std::string> words) const {
  if (control_ == Control::nobody) return;
  auto command = systemctl();
  command.insert(command.end(), words.begin(), words.end());
  (void)said_by(command);
}

void SystemdHost::install(const std::vector<PlannedJob>& jobs) {
  std::vector<service::Unit> units;
  for (const auto& job : jobs)
    std::ranges::move(units_of(job), std::back_inserter(units));
  for (const auto& unit : units) require_ours(unit);
  std::error_code error;
  fs::create_directories(folder_, error);
  // What a unit may write to has to be there when it begins.
  const auto folders = host_folders();
  fs::create_directories(folders.cache, error);
  fs::create_directories(folders.state, error);
  for (const auto& unit : units) {
    if (text_of_file(folder_ / unit.file) != unit.text) write(unit);
  }
  call_systemctl({"daemon-reload"});
  for (const auto& job : jobs) {
    call_systemctl({"enable", "--now", timer_of(job.job->name)});
    // One that runs already goes on by what it was.
    call_systemctl({"restart", timer_of(job.job->name)});
  }
}

void SystemdHost::remove(const std::vector<std::string>& names) {
  for (const auto& name : names) {
    call_systemctl({"disable", "--now", timer_of(name)});
    for (const char* const kind : {".timer", ".service"}) {
      const fs::path file = folder_ / ("cairn-" + name + kind);
      if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
        repo::throw_system_error(file.string(), errno);
      }
    }
  }
  call_systemctl({"daemon-reload"});
}

std::optional<std::string> SystemdHost::caution() const {
  constexpr const char* kLingering = "/var/lib/systemd/linger";
  if (manager_ != service::UnitJob::Manager::user ||
      control_ == Control::nobody) {
    return std::nullopt;
  }
  std::error_code error;
  if (fs::exists(fs::path(kLingering) / user_name(), error)) {
    return std::nullopt;
  }
  return "they run while you are logged in only; `loginctl enable-linger` "
         "has them run always";
}

std::optional<std::string> SystemdHost::obstacle(
    const std::string& name) const {
  if (control_ == Control::nobody) return std::nullopt;
  auto command = systemctl();
  command.insert(command.end(), {"is-active", timer_of(name)});
  try {
    (void)ingest::output_of(command, kMaxText, {});
    return std::nullopt;
  } catch (const ingest::ProducerFailed&) {
    return "its timer is not active";
  }
}

// ---- cron

class CrontabHost : public ScheduleHost {
 public:
  explicit CrontabHost(const config::Configuration& all)
      : file_(file_of(all)) {}

  std::string description() const override { return "the crontab of the user"; }
  std::optional<std::string> caution() const override { return std::nullopt; }
  std::vector<InstalledJob> installed() const override;
  InstalledJob made_of(const PlannedJob& job) const override;
  void install(const std::vector<PlannedJob>& jobs) override;
  void remove(const std::vector<std::string>& names) override;
  std::optional<std::string> obstacle(const std::string&) const override {
    return std::nullopt;
  }

 private:
  [[nodiscard]] static std::string crontab();
  void replace(const std::vector<service::CrontabJob>& jobs) const;

  std::string file_;
};

std::string CrontabHost::crontab() {
  try {
    return ingest::output_of({"crontab", "-l"}, kMaxText, {});
  } catch (const ingest::ProducerFailed& e) {
    const std::string what = e.what();
    if (what.find("no crontab for") != what.npos) return "";
    throw repo::Error(what);
  }
}

std::vector<InstalledJob> CrontabHost::installed() const {
  std::vector<InstalledJob> all;
  for (auto& job : service::jobs_in_crontab(crontab(), file_)) {
    all.push_back({.name = job.name,
                   .text = job.lines,
                   .frequency = job.frequency,
                   .retention = job.retention});
  }
  return all;
}

InstalledJob CrontabHost::made_of(const PlannedJob& planned) const {
  std::vector<std::string> command;
  for (const auto& [name, value] : kept_variables()) {
    command.push_back(name + "=" + service::crontab_word(value));
  }
  for (const auto& word :
       {this_program(), std::string("--quiet"), std::string("--config"), file_,
        std::string("daemon"), std::string("--once"), planned.job->name}) {
    command.push_back(service::crontab_word(word));
  }
  if (planned.frequency) {
    command.insert(command.end(), {"--frequency", *planned.frequency});
  }
  if (planned.retention) {
    command.insert(command.end(), {"--retention", *planned.retention});
  }
  const auto made = service::crontab_job(
      planned.job->name, planned.schedule.timetable, local_time_zone(), command,
      planned.frequency, planned.retention);
  return {.name = made.name,
          .text = made.lines,
          .frequency = made.frequency,
          .retention = made.retention};
}

void CrontabHost::replace(const std::vector<service::CrontabJob>& jobs) const {
  const auto before = crontab();
  const auto after = service::with_jobs(before, file_, jobs);
  if (after == before) return;
  const TemporaryFolder folder;
  const auto file = folder.path() / "crontab";
  {
    std::ofstream out(file, std::ios::binary);
    out << after;
    if (!out.flush()) repo::throw_system_error(file.string(), errno);
  }
  (void)said_by({"crontab", file.string()});
}

void CrontabHost::install(const std::vector<PlannedJob>& jobs) {
  auto all = service::jobs_in_crontab(crontab(), file_);
  for (const auto& planned : jobs) {
    const auto made = made_of(planned);
    const service::CrontabJob job{made.name, made.text, made.frequency,
                                  made.retention};
    const auto old =
        std::ranges::find(all, job.name, &service::CrontabJob::name);
    old == all.end() ? all.push_back(job) : void(*old = job);
  }
  replace(all);
}

void CrontabHost::remove(const std::vector<std::string>& names) {
  auto all = service::jobs_in_crontab(crontab(), file_);
  std::erase_if(all, [&](const service::CrontabJob& job) {
    return std::ranges::find(names, job.name) != names.end();
  });
  replace(all);
}

// ---- which of them

bool is_in_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  std::string left = path != nullptr ? path : "/usr/bin:/bin";
  for (;;) {
    const auto end = left.find(':');
    const auto file = fs::path(left.substr(0, end)) / program;
    if (::access(file.c_str(), X_OK) == 0) return true;
    if (end == left.npos) return false;
    left.erase(0, end + 1);
  }
}

fs::path own_units() {
  return config_folder().parent_path() / "systemd" / "user";
}

}  // namespace

std::unique_ptr<ScheduleHost> schedule_host(
    const config::Configuration& all, const std::optional<fs::path>& folder) {
  using Manager = service::UnitJob::Manager;
  const bool is_root = ::geteuid() == 0;
  const auto manager = is_root ? Manager::system : Manager::user;
  if (folder) {
    return std::make_unique<SystemdHost>(all, *folder, manager,
                                         Control::nobody);
  }
  std::error_code error;
  if (fs::is_directory(kSystemdRuns, error)) {
    return std::make_unique<SystemdHost>(
        all, is_root ? fs::path(kSystemUnits) : own_units(), manager,
        Control::systemd);
  }
  if (is_in_path("crontab")) return std::make_unique<CrontabHost>(all);
  throw repo::Error(
      "neither systemd nor cron runs jobs on this machine; `cairn daemon` "
      "does, in a container too");
}

}  // namespace cairn::cli
