#include "cli/config_template.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "cli/context.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array kSettingsNames = {".env",
                                       "compose.yaml",
                                       "compose.yml",
                                       "compose.override.yaml",
                                       "compose.override.yml",
                                       "docker-compose.yaml",
                                       "docker-compose.yml",
                                       "docker-compose.override.yaml",
                                       "docker-compose.override.yml"};
constexpr std::array kSocketFolders = {"/run/postgresql", "/tmp"};
constexpr const char* kSocketName = ".s.PGSQL.5432";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::optional<std::string> absolute_of(const char* variable) {
  const char* const value = std::getenv(variable);
  if (!value || *value == '\0') return std::nullopt;
  return fs::absolute(value).lexically_normal().string();
}

// In single quotes, where YAML takes everything as it is but the quote.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

std::string repositories_text(const FoundHere& found) {
  std::string key = "    # key: {file: /etc/cairn/repo.key}\n";
  if (found.key_file) {
    key = fmt::format("    key: {{file: {}}}\n", quoted(*found.key_file));
  }
  return fmt::format(
      "repositories:\n"
      "  local:\n"
      "    path: {}\n"
      "{}"
      "    # password: {{file: /run/secrets/cairn}}   or {{env: NAME}}, "
      "{{command: pass show cairn}}\n",
      quoted(found.repository.value_or("/srv/backups/cairn")), key);
}

std::string sources_text(const FoundHere& found) {
  std::string text = "sources:\n";
  if (found.settings.empty()) {
    text +=
        "  etc:\n"
        "    type: files\n"
        "    part: config\n"
        "    paths: [/etc]\n";
  } else {
    text +=
        "  settings:                  # found in this folder\n"
        "    type: files\n"
        "    part: config\n"
        "    paths:\n";
    for (const auto& path : found.settings) {
      text += "      - " + quoted(path) + "\n";
    }
  }
  if (found.postgres) {
    text += fmt::format(
        "  postgres:                  # a server of this machine\n"
        "    type: postgres\n"
        "    dsn: {}\n",
        quoted("host=" + *found.postgres + " user=postgres"));
  } else {
    text +=
        "  # postgres:\n"
        "  #   type: postgres         # dumps of every database, and the "
        "roles\n"
        "  #   dsn: host=db user=backup      # no password here\n"
        "  #   password: {file: /run/secrets/pg_password}\n"
        "  #   databases: [shop, n8n]        # default: all\n"
        "  #   container: shop-postgres-1    # run pg_dump in there\n";
  }
  return text +
         "  # cluster:\n"
         "  #   type: postgres_base    # a whole cluster as it runs; a job of "
         "its own\n"
         "  #   dsn: host=db user=replicator\n"
         "  # redis:\n"
         "  #   type: redis            # its whole RDB, by replication\n"
         "  #   host: redis\n"
         "  #   password: {file: /run/secrets/redis_password}\n"
         "  # uploads:\n"
         "  #   type: files\n"
         "  #   paths: [/srv/shop/uploads]\n"
         "  #   exclude: ['*.tmp', /cache/]\n"
         "  #   allow_empty: true      # else a problem where it was not empty "
         "before\n"
         "  # workflows:\n"
         "  #   type: command          # what a program writes; no shell\n"
         "  #   command: [docker, exec, n8n, n8n, export:workflow, --all]\n"
         "  #   as: n8n_workflows.json\n";
}

}  // namespace

FoundHere look_around(const std::optional<std::string>& repo) {
  FoundHere found{.host = host_name(),
                  .time_zone = local_time_zone().value_or("UTC"),
                  .repository = {},
                  .key_file = absolute_of("CAIRN_KEY_FILE")};
  if (repo) found.repository = fs::absolute(*repo).lexically_normal().string();
  std::error_code error;
  const fs::path here = fs::current_path(error);
  for (const char* const name : kSettingsNames) {
    if (!error && is_there(here / name)) {
      found.settings.push_back((here / name).string());
    }
  }
  for (const char* const folder : kSocketFolders) {
    if (!found.postgres && is_there(fs::path(folder) / kSocketName)) {
      found.postgres = folder;
    }
  }
  return found;
}

std::string configuration_text(const FoundHere& found) {
  return fmt::format(
      "# What cairn backs up, where to, and what it keeps. `cairn config "
      "validate` finds\n"
      "# mistakes, `cairn config show` says what is in force, `cairn run "
      "--dry-run` what\n"
      "# a run would do. Everything not said here has a default.\n"
      "version: 1\n"
      "host: {}          # snapshots are found by it; it should outlive the "
      "machine\n"
      "time_zone: {}     # where days begin, and whose clocks schedules go by\n"
      "\n{}\n{}\n"
      "jobs:\n"
      "  nightly:                   # `cairn run nightly`\n"
      "    sources: all             # or [postgres, settings]: together one "
      "snapshot\n"
      "    schedule: daily          # at 02:00, or '30 1 * * *'; "
      "`cairn schedule install`\n"
      "    # tags: [nightly]\n"
      "    # before: [{{run: [/opt/shop/maintenance, on], timeout: 60s}}]\n"
      "    # after: [{{run: [/opt/shop/maintenance, off]}}]   # when: always, "
      "success, failure\n"
      "\n"
      "retention:\n"
      "  default:                   # of each job that names no other one\n"
      "    keep: {{daily: 7, weekly: 4, monthly: 12}}\n"
      "    # week_on: sunday        # weekly and monthly ones are Sundays'\n"
      "    # prune: true            # free the space after each run\n"
      "\n"
      "# Each run verifies what it wrote, and all there is once in a cycle. "
      "`cairn status`\n"
      "# says whether everything is safe.\n"
      "# checks: {{data: {{cycle: 30d, budget: 2GiB}}}}\n"
      "# thresholds: {{overdue: 1h, size_change: 50%, repository_used: 80%, "
      "wal_lag: 15m}}\n"
      "# monitoring:\n"
      "#   webhook: {{url: {{file: /run/secrets/hook}}}}   # the first failing "
      "run, and the recovery\n"
      "#   command: [/usr/local/bin/page-me]\n"
      "#   prometheus: {{textfile: "
      "/var/lib/prometheus/node-exporter/cairn.prom}}\n",
      quoted(found.host), quoted(found.time_zone), repositories_text(found),
      sources_text(found));
}

}  // namespace cairn::cli
