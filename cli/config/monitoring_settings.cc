#include "cli/config/monitoring_settings.h"

#include "cli/config/source_settings.h"
#include "cli/quantity.h"

namespace cairn::cli::config {
namespace {

// Where it is set.
void read_duration(const Setting& all, std::string_view part,
                   std::chrono::seconds& into) {
  if (const Setting* const setting = all.find(part)) {
    into = duration_of(*setting);
  }
}

void read_share(const Setting& all, std::string_view part, double& into) {
  if (const auto text = all.text_of(part)) into = parse_percent(*text);
}

// "user:password" of https://user:password@host/.
bool holds_login(std::string_view url) {
  const auto scheme = url.find("://");
  if (scheme == url.npos) return false;
  url.remove_prefix(scheme + 3);
  return url.substr(0, url.find_first_of("/?#\\")).find('@') != url.npos;
}

Webhook webhook_of(const Setting& setting, const std::string& file,
                   Mistakes& mistakes) {
  Webhook made;
  made.secret = secret_place(setting, "url", file);
  made.url = setting.text_or_empty("url");
  read_duration(setting, "timeout", made.timeout);
  const std::string path = "monitoring.webhook";
  if (!made.url.empty() && !made.url.starts_with("http://") &&
      !made.url.starts_with("https://")) {
    mistakes.push_back({setting.find("url")->place, path + ".url",
                        "a URL begins with http:// or https://"});
  }
  if (holds_login(made.url)) {
    mistakes.push_back(
        {setting.find("url")->place, path + ".url",
         "it holds a login: a secret does not stand in this file, only where "
         "it comes from; write {file: PATH}, {env: NAME} or {command: "
         "COMMAND}"});
  }
  if (made.timeout.count() == 0) {
    mistakes.push_back(
        {setting.find("timeout")->place, path + ".timeout", "no time at all"});
  }
  return made;
}

void read_checks(const Setting& data, DataChecks& into, Mistakes& mistakes) {
  constexpr std::chrono::hours kLeast{1};
  read_duration(data, "cycle", into.cycle);
  if (into.cycle < kLeast) {
    mistakes.push_back({data.find("cycle")->place, "checks.data.cycle",
                        "a cycle takes one hour at least"});
  }
  if (const auto budget = data.text_of("budget")) {
    into.budget = parse_size(*budget);
  }
}

}  // namespace

void read_monitoring(Configuration& made, Mistakes& mistakes) {
  if (const Setting* const all = made.settings.find("thresholds")) {
    read_duration(*all, "overdue", made.thresholds.overdue);
    read_share(*all, "size_change", made.thresholds.size_change);
    read_share(*all, "repository_used", made.thresholds.repository_used);
    read_duration(*all, "wal_lag", made.thresholds.wal_lag);
  }
  if (const Setting* const all = made.settings.find("monitoring")) {
    if (const Setting* const prometheus = all->find("prometheus")) {
      made.monitoring.textfile = prometheus->text_of("textfile");
    }
    if (const Setting* const webhook = all->find("webhook")) {
      made.monitoring.webhook = webhook_of(*webhook, made.file, mistakes);
    }
    made.monitoring.command = all->texts_of("command");
  }
  if (const Setting* const all = made.settings.find("checks")) {
    if (const Setting* const data = all->find("data")) {
      read_checks(*data, made.data_checks, mistakes);
    }
  }
}

}  // namespace cairn::cli::config
