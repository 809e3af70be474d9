#include "ingest/recovery_server.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "ingest/child_process.h"
#include "ingest/pg_dump_programs.h"
#include "ingest/postgres_base.h"
#include "ingest/postgres_connection.h"
#include "ingest/program_output.h"
#include "ingest/recovery_files.h"
#include "repo/cbor.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxAnswer = std::size_t{1} << 20;
constexpr std::string_view kPort = "5432";
// Of a session, which come before those of its database and role: what keeps
// applications from writing, or from reading for long, is not meant for us.
constexpr std::string_view kSessionSettings =
    "-c default_transaction_read_only=off -c statement_timeout=0 "
    "-c lock_timeout=0";

constexpr std::string_view kRoleMissing = "28000";
constexpr std::string_view kStartingUp = "57P03";

int major_of(std::string_view version) {
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  return major;
}

std::vector<fs::path> candidate_folders(const ServerPlaces& places, int major) {
  if (places.bin_dir) return {fs::absolute(*places.bin_dir)};
  std::vector<fs::path> folders = {places.versions / std::to_string(major) /
                                   "bin"};
  for (std::size_t at = 0; at <= places.path.size();) {
    const std::size_t end =
        std::min(places.path.find(':', at), places.path.size());
    if (end > at) folders.emplace_back(places.path.substr(at, end - at));
    at = end + 1;
  }
  return folders;
}

bool has_program(const fs::path& folder, const char* name) {
  return ::access((folder / name).c_str(), X_OK) == 0;
}

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) repo::throw_system_error(path.string(), errno);
}

std::string read_file(const fs::path& path) {
  constexpr std::uintmax_t kMost = std::uintmax_t{1} << 20;
  std::error_code error;
  if (fs::file_size(path, error) > kMost || error) return {};
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Without lines that name files of the live machine.
std::string without_includes(const std::string& text) {
  std::istringstream in(text);
  std::string line;
  std::string kept;
  while (std::getline(in, line)) {
    const auto begin = line.find_first_not_of(" \t");
    if (begin != std::string::npos && line.compare(begin, 7, "include") == 0) {
      continue;
    }
    kept += line + "\n";
  }
  return kept;
}

// The server's settings where they lay outside its data directory: those that
// were saved, in one file.
std::string saved_settings(const fs::path& data) {
  std::error_code error;
  fs::path found;
  std::vector<fs::path> included;
  for (fs::recursive_directory_iterator
           at(data / std::string(kOutsideConfigFolder), error),
       end;
       !error && at != end; at.increment(error)) {
    const auto& path = at->path();
    if (path.filename() == "postgresql.conf") found = path;
    if (path.extension() == ".conf" &&
        path.parent_path().filename() == "conf.d") {
      included.push_back(path);
    }
  }
  if (found.empty()) return {};
  std::ranges::sort(included);
  std::string text = without_includes(read_file(found));
  for (const auto& path : included) text += without_includes(read_file(path));
  return text;
}

class Server {
 public:
  Server(const RecoveryPlan& plan, fs::path data, const VerifyOptions& options)
      : data_(std::move(data)), options_(options) {
    prepare_scratch();
    process_.emplace(words(plan), ChildProcess::Input::empty,
                     ChildProcess::Errors::ours, identity_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Fast, then at once.
  ~Server() {
    if (!process_) return;
    constexpr std::array kSignals{SIGINT, SIGQUIT};
    constexpr std::chrono::seconds kGrace{20};
    for (const int signal : kSignals) {
      process_->send(signal);
      const auto deadline = Clock::now() + kGrace;
      while (process_->is_running() && Clock::now() < deadline) pause();
      if (!process_->is_running()) break;
    }
  }

  // Until it accepts connections, which it does once recovery has ended.
  void wait_until_recovered(const std::stop_token& stop) {
    for (;;) {
      if (!process_->is_running()) {
        throw VerificationFailed("the server ended before it had recovered: " +
                                 last_words());
      }
      if (stop.stop_requested()) throw repo::Cancelled("interrupted");
      if (const auto connection = try_to_connect(stop)) return;
      pause();
    }
  }

  [[nodiscard]] PostgresConnection connect(const std::string& database,
                                           const std::stop_token& stop) const {
    return PostgresConnection::connect({.dsn = address(database) + user_},
                                       stop);
  }

  // Words by which PostgreSQL's programs find a database of it.
  [[nodiscard]] std::string address(const std::string& database) const {
    std::string quoted;
    for (const char c : database) {
      if (c == '\'' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return "host='" + options_.scratch.string() +
           "' port=" + std::string(kPort) + " dbname='" + quoted +
           "' options='" + std::string(kSessionSettings) + "'";
  }
  [[nodiscard]] const std::string& user() const noexcept { return user_; }

  // Cleanly.
  void stop(const std::stop_token& stop) {
    process_->send(SIGINT);
    try {
      process_->wait(stop);
    } catch (const ProducerFailed& e) {
      process_.reset();
      throw VerificationFailed("the server did not stop cleanly: " +
                               std::string(e.what()) + ": " + last_words());
    }
    process_.reset();
  }

 private:
  static void pause() {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }

  [[nodiscard]] fs::path log() const { return options_.scratch / "log"; }

  void prepare_scratch() {
    struct stat owner {};
    const fs::path version = data_ / "PG_VERSION";
    if (::stat(version.c_str(), &owner) != 0) {
      repo::throw_system_error(version.string(), errno);
    }
    // The name of a socket cannot be longer.
    constexpr std::size_t kLongest = 80;
    if (options_.scratch.string().size() > kLongest) {
      throw ProducerFailed(options_.scratch.string() +
                           ": too long a path for a socket; set TMPDIR to a "
                           "shorter one");
    }
    write_file(options_.scratch / "hba", "local all all trust\n");
    write_file(options_.scratch / "ident", "");
    write_file(log(), "");
    has_own_config_ = fs::exists(data_ / "postgresql.conf");
    if (!has_own_config_) {
      write_file(options_.scratch / "config", saved_settings(data_));
    }
    if (::geteuid() != 0) return;
    if (owner.st_uid == 0) {
      throw ProducerFailed(data_.string() +
                           " belongs to root, as which PostgreSQL refuses to "
                           "run; give it to its server's user (chown -R)");
    }
    identity_ = {owner.st_uid, owner.st_gid};
    for (const auto* const name : {"", "hba", "ident", "log", "config"}) {
      const fs::path path = options_.scratch / name;
      if (::chown(path.c_str(), owner.st_uid, owner.st_gid) != 0 &&
          errno != ENOENT) {
        repo::throw_system_error(path.string(), errno);
      }
    }
  }

  [[nodiscard]] std::vector<std::string> words(const RecoveryPlan& plan) const {
    const std::string scratch = options_.scratch.string();
    std::vector<std::string> all = {
        // The log is the server's whole standard error.
        "/bin/sh",
        "-c",
        "exec \"$@\" >>\"$0\" 2>&1",
        log().string(),
        (options_.programs.folder / "postgres").string(),
        "-D",
        fs::absolute(data_).string(),
        "-k",
        scratch,
        "-p",
        std::string(kPort)};
    const auto set = [&](std::string_view name, const std::string& value) {
      all.emplace_back("-c");
      all.push_back(std::string(name) + "=" + value);
    };
    if (!has_own_config_) set("config_file", scratch + "/config");
    set("data_directory", fs::absolute(data_).string());
    set("hba_file", scratch + "/hba");
    set("ident_file", scratch + "/ident");
    set("external_pid_file", "");
    set("listen_addresses", "");
    set("unix_socket_permissions", "0700");
    set("unix_socket_group", "");
    set("ssl", "off");
    set("logging_collector", "off");
    set("log_destination", "stderr");
    set("log_line_prefix", "");
    // Whatever the live machine had.
    set("shared_buffers", "128MB");
    set("huge_pages", "off");
    // In its folder, which goes with it: /dev/shm is small in a container, and
    // what a killed server had there stays.
    set("dynamic_shared_memory_type", "mmap");
    // It is nobody's standby, nobody's primary, and has nothing to do.
    set("hot_standby", "off");
    set("primary_conninfo", "");
    set("primary_slot_name", "");
    set("synchronous_standby_names", "");
    set("archive_command", "");
    const int major = major_of(plan.base->version);
    constexpr int kFirstWithLibrary = 15;
    if (major >= kFirstWithLibrary) set("archive_library", "");
    // If we are killed it ends, and does not finish what we asked for first.
    constexpr int kFirstThatLooks = 14;
    if (major >= kFirstThatLooks) set("client_connection_check_interval", "1s");
    set("autovacuum", "off");
    set("max_logical_replication_workers", "0");
    set("cron.launch_active_jobs", "off");
    return all;
  }

  // As whom is known once one of the usual superusers exists there.
  std::optional<PostgresConnection> try_to_connect(
      const std::stop_token& stop) {
    for (const auto* const user : {" user=postgres", ""}) {
      user_ = user;
      try {
        auto connection = connect("template1", stop);
        if (connection.value("SELECT pg_is_in_recovery()", stop) == "f") {
          return connection;
        }
        return std::nullopt;
      } catch (const PostgresError& e) {
        if (e.sqlstate() == kRoleMissing) continue;
        const bool is_early = e.sqlstate().empty() ||
                              e.sqlstate() == kStartingUp ||
                              e.has_lost_connection();
        if (!is_early) throw;
        return std::nullopt;
      }
    }
    throw ProducerFailed(
        "the recovered server knows no role 'postgres', nor the one that "
        "PGUSER or this user's name gives; set PGUSER to a superuser of it");
  }

  // What it said last, without what it said to us.
  [[nodiscard]] std::string last_words() const {
    constexpr std::size_t kMostLines = 6;
    constexpr std::array<std::string_view, 5> kTelling{
        "FATAL", "PANIC", "ERROR", "HINT", "DETAIL"};
    constexpr std::uintmax_t kTail = 64 << 10;
    std::error_code error;
    std::ifstream in(log(), std::ios::binary);
    const auto size = fs::file_size(log(), error);
    if (!error && size > kTail) {
      in.seekg(static_cast<std::streamoff>(size - kTail));
    }
    std::vector<std::string> all;
    std::vector<std::string> telling;
    std::string line;
    while (std::getline(in, line)) {
      // What it says to us each time that we come too early.
      if (line.find("the database system is") != std::string::npos) continue;
      all.push_back(line);
      const bool is_telling = std::ranges::any_of(
          kTelling,
          [&](std::string_view word) { return line.starts_with(word); });
      if (is_telling) telling.push_back(line);
    }
    const auto& lines = telling.empty() ? all : telling;
    std::string text;
    const auto first =
        lines.size() > kMostLines ? lines.size() - kMostLines : 0;
    for (std::size_t i = first; i < lines.size(); ++i) {
      text += (text.empty() ? "" : "; ") + lines[i];
    }
    return text.empty() ? "it said nothing" : repo::as_utf8(text);
  }

  const fs::path data_;
  const VerifyOptions& options_;
  bool has_own_config_ = false;
  std::optional<ChildProcess::Identity> identity_;
  std::string user_ = " user=postgres";
  std::optional<ChildProcess> process_;
};

void verify_base(const fs::path& data, const VerifyOptions& options,
                 VerifyReport& report, const std::stop_token& stop) {
  const auto& folder = options.programs.folder;
  if (!has_program(folder, "pg_verifybackup")) {
    report.notes.emplace_back("pg_verifybackup is not installed in " +
                              folder.string());
    return;
  }
  try {
    (void)output_of({(folder / "pg_verifybackup").string(), "--quiet",
                     "--ignore", std::string(kRecoveryWalFolder), "--ignore",
                     std::string(kOutsideConfigFolder), data.string()},
                    kMaxAnswer, stop);
  } catch (const ProducerFailed& e) {
    throw VerificationFailed(e.what());
  }
}

void require_target_reached(const RecoveryPlan& plan, const Server& server,
                            VerifyReport& report, const std::stop_token& stop) {
  auto connection = server.connect("template1", stop);
  const auto replayed =
      parse_lsn(connection.value("SELECT pg_last_wal_replay_lsn()", stop));
  const auto file = connection.value(
      "SELECT pg_walfile_name(pg_current_wal_insert_lsn())", stop);
  constexpr std::size_t kDigits = 8;
  const auto timeline = parse_number(file.substr(0, kDigits), 16);
  if (!replayed || !timeline) {
    throw VerificationFailed("the server does not say how far it recovered");
  }
  report.replayed = *replayed;
  report.timeline = static_cast<std::uint32_t>(*timeline);
  const bool is_there = plan.target.kind == RecoveryTarget::Kind::immediate
                            ? *replayed >= plan.base->end
                            : *replayed == plan.stop;
  if (!is_there) {
    throw VerificationFailed("recovery ended at " + to_string(*replayed) +
                             ", and was to end at " + to_string(plan.stop));
  }
  if (*timeline <= plan.timeline) {
    throw VerificationFailed("the server is still on timeline " +
                             std::to_string(*timeline) +
                             ": it was not promoted");
  }
}

void check_indexes(const Server& server, const VerifyOptions& options,
                   VerifyReport& report, const std::stop_token& stop) {
  const auto program = options.programs.folder / "pg_amcheck";
  if (!has_program(options.programs.folder, "pg_amcheck")) {
    report.notes.emplace_back("pg_amcheck is not installed in " +
                              options.programs.folder.string());
    return;
  }
  const auto databases =
      server.connect("template1", stop)
          .query(
              "SELECT datname FROM pg_database WHERE datallowconn "
              "ORDER BY datname",
              stop);
  for (const auto& row : databases) {
    const std::string name = row.at(0).value_or("");
    auto connection = server.connect(name, stop);
    const auto has = [&](const std::string& what) {
      return connection.value("SELECT count(*) FROM " + what, stop) != "0";
    };
    if (!has("pg_available_extensions WHERE name = 'amcheck'")) {
      report.notes.emplace_back("the extension amcheck is not installed");
      return;
    }
    const bool is_ours = !has("pg_extension WHERE extname = 'amcheck'");
    if (is_ours) connection.query("CREATE EXTENSION amcheck", stop);
    std::vector<std::string> words = {program.string(), "--no-password",
                                      "--heapallindexed"};
    words.push_back(server.address(name) + server.user());
    try {
      (void)output_of(words, kMaxAnswer, stop);
    } catch (const ProducerFailed& e) {
      throw VerificationFailed("database " + repo::as_utf8(name) + ": " +
                               e.what());
    }
    if (is_ours) connection.query("DROP EXTENSION amcheck", stop);
    ++report.databases_checked;
  }
}

// A query has to answer rows, and the first of their first column is to be
// neither false nor nothing.
void run_sql(const Server& server, const VerifyOptions& options,
             VerifyReport& report, const std::stop_token& stop) {
  if (options.sql.empty()) return;
  auto connection = server.connect(options.database, stop);
  for (const auto& sql : options.sql) {
    constexpr std::size_t kQuoted = 100;
    const std::string quoted = repo::as_utf8(
        sql.size() > kQuoted ? sql.substr(0, kQuoted) + "..." : sql);
    const auto fail = [&](const std::string& why) {
      throw VerificationFailed("check '" + quoted + "' " + why);
    };
    try {
      connection.send(sql, stop);
      while (const auto result = connection.next_result(stop)) {
        if (result->kind == PostgresResult::Kind::command) continue;
        if (result->kind != PostgresResult::Kind::rows) {
          fail("begins a COPY");
        }
        if (result->rows.empty()) fail("answered no row");
        const auto& row = result->rows.front();
        if (row.empty() || !row.front()) fail("answered nothing");
        if (*row.front() == "f") fail("answered false");
      }
    } catch (const PostgresError& e) {
      fail("failed: " + std::string(e.what()));
    }
    ++report.statements;
  }
}

}  // namespace

ServerPrograms find_server_programs(const ServerPlaces& places, int major,
                                    const std::stop_token& stop) {
  std::string others;
  for (const auto& folder : candidate_folders(places, major)) {
    if (!has_program(folder, "postgres")) continue;
    const auto version = program_version(output_of(
        {(folder / "postgres").string(), "--version"}, kMaxAnswer, stop));
    if (version && version->major == major) return {folder, version->text};
    others += (others.empty() ? "" : ", ") +
              (version ? version->text : std::string("none that says")) + " (" +
              folder.string() + ")";
  }
  const std::string wanted = std::to_string(major);
  throw ProducerFailed(
      "no server of PostgreSQL " + wanted + " to verify with" +
      (others.empty() ? "" : ", but " + others) +
      "; install one (Debian: postgresql-" + wanted +
      "), or name the folder where its programs are by --bin-dir");
}

VerifyReport verify_recovery(const RecoveryPlan& plan, const fs::path& data,
                             const VerifyOptions& options,
                             const std::function<void(std::string_view)>& phase,
                             const std::stop_token& stop) {
  VerifyReport report;
  phase("comparing the base backup with its manifest");
  verify_base(data, options, report, stop);
  phase("recovering");
  const auto began = Clock::now();
  Server server(plan, data, options);
  server.wait_until_recovered(stop);
  report.recovery_seconds =
      std::chrono::duration<double>(Clock::now() - began).count();
  require_target_reached(plan, server, report, stop);
  phase("checking tables and indexes");
  check_indexes(server, options, report, stop);
  phase("running the given checks");
  run_sql(server, options, report, stop);
  phase("stopping the server");
  server.stop(stop);
  return report;
}

void use_recovered(const RecoveryPlan& plan, const fs::path& data,
                   const VerifyOptions& options,
                   const std::function<void(const RecoveredServer&)>& use,
                   const std::stop_token& stop) {
  VerifyReport report;
  Server server(plan, data, options);
  server.wait_until_recovered(stop);
  require_target_reached(plan, server, report, stop);
  use({.major = major_of(plan.base->version),
       .dsn_of = [&server](const std::string& database) {
         return server.address(database) + server.user();
       }});
  server.stop(stop);
}

}  // namespace cairn::ingest
