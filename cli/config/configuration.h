// What a cairn.yaml says, in types: repositories, sources, jobs, policies.
//
//   text --parse_yaml--> tree --read_settings--> settings --> Configuration
//
// Every mistake of a file is found at once, each with its place. A file with
// any is of no use: what it leaves out might be what it was written for.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/config/mistakes.h"
#include "cli/config/settings.h"
#include "ingest/pg_dump.h"
#include "ingest/postgres_archives.h"
#include "repo/blob_codec.h"
#include "repo/retention.h"
#include "service/timetable.h"

namespace cairn::cli::config {

// Where a secret comes from; never the secret.
struct SecretPlace {
  enum class Kind { file, variable, command };
  Kind kind = Kind::file;
  std::string text;    // the path, the name, or a command for /bin/sh
  std::string origin;  // "cairn.yaml:12", for messages
};

struct Repository {
  std::string name;
  std::string path;  // absolute
  std::optional<std::string> key_file;
  std::optional<SecretPlace> password;
};

enum class Part { data, config, databases };

struct Files {
  std::vector<std::string> paths;  // absolute
  std::vector<std::string> exclude;
  std::vector<std::string> exclude_if_present;
  bool one_file_system = false;
  bool is_live = false;  // programs are at work there
};

struct CommandOutput {
  std::vector<std::string> arguments;
  std::string as;
};

struct PostgresDumps {
  std::string dsn;
  std::optional<SecretPlace> password;
  std::vector<std::string> databases;  // each once; empty: all
  ingest::PgDumpFormat format = ingest::PgDumpFormat::custom;
  std::optional<std::string> bin_dir;
  std::optional<std::string> container;
  std::string container_program;
};

struct PostgresBase {
  std::string dsn;
  std::optional<SecretPlace> password;
  ingest::Checkpoint checkpoint = ingest::Checkpoint::fast;
  std::optional<std::uint64_t> max_rate;  // bytes per second
};

struct Redis {
  std::optional<std::string> socket;  // host and port do not count then
  std::string host;
  unsigned port = 0;
  std::string user;  // empty: the default one
  std::optional<SecretPlace> password;
  bool has_tls = false;
  std::optional<std::string> tls_ca;
  std::optional<std::string> tls_cert;
  std::optional<std::string> tls_key;
  std::optional<std::string> tls_name;  // nothing: that of the host
  std::optional<std::string> aof_dir;   // nothing: without append-only files
};

struct Source {
  std::string name;
  Part part = Part::data;
  bool may_be_empty = false;  // though it was not before
  std::variant<Files, CommandOutput, PostgresDumps, PostgresBase, Redis> what;
};

struct Hook {
  enum class When { always, success, failure };
  std::vector<std::string> arguments;
  std::chrono::seconds timeout{0};
  When when = When::always;
};

// When a job runs by itself.
struct Schedule {
  service::Timetable timetable;
  std::chrono::seconds jitter{0};
  bool catches_up = true;
};

struct Job {
  std::string name;
  std::vector<std::string> sources;  // names, each once
  std::string repository;            // name
  std::string series;                // whole: HOST/JOB
  std::vector<std::string> tags;
  std::optional<std::string> policy;  // name; nothing: forgets nothing
  std::optional<Schedule> schedule = {};
  repo::CompressionLevels compression;
  std::vector<Hook> before;
  std::vector<Hook> after;
};

struct Policy {
  std::string name;
  repo::RetentionPolicy rules;
  bool prunes = true;
};

// What `cairn status` takes for a problem.
struct Thresholds {
  std::chrono::seconds overdue{3'600};  // beyond the interval
  double size_change = 0.5;             // of the usual size
  double repository_used = 0.8;         // of the disk
  std::chrono::seconds wal_lag{900};
};

struct Webhook {
  std::string url;                    // empty: `secret` says
  std::optional<SecretPlace> secret;  // where the URL comes from
  std::chrono::seconds timeout{20};
};

struct Monitoring {
  std::optional<std::string> textfile;  // absolute
  std::optional<Webhook> webhook;
  std::vector<std::string> command;  // empty: none
};

// What runs verify of what is stored.
struct DataChecks {
  std::chrono::seconds cycle{30 * 86'400};
  std::uint64_t budget = std::uint64_t{2} << 30;  // bytes for each run
};

struct Configuration {
  std::string file;
  std::string host;
  std::string time_zone;  // empty: not known, and nothing here rests on it
  std::vector<Repository> repositories;  // each list in the file's order
  std::vector<Source> sources;
  std::vector<Job> jobs;
  std::vector<Policy> policies;
  Thresholds thresholds;
  Monitoring monitoring;
  DataChecks data_checks;
  Setting settings;  // all of it, for whoever shows it

  // Nothing: there is none of that name.
  [[nodiscard]] const Repository* repository(std::string_view name) const;
  [[nodiscard]] const Source* source(std::string_view name) const;
  [[nodiscard]] const Job* job(std::string_view name) const;
  [[nodiscard]] const Policy* policy(std::string_view name) const;
};

// What the machine says where the file does not.
struct Surroundings {
  std::string host;
  std::optional<std::string> time_zone;  // nothing: it has no name
};

// `file` is what messages call it. What is wrong is added to `mistakes`, in
// the order of the file; nothing: something is.
[[nodiscard]] std::optional<Configuration> read_configuration(
    std::string_view text, const std::string& file,
    const Surroundings& surroundings, Mistakes& mistakes);

}  // namespace cairn::cli::config
