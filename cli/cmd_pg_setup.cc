#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/pg_password.h"
#include "cli/pg_wal.h"
#include "cli/printable.h"
#include "cli/usage_error.h"
#include "ingest/postgres_connection.h"
#include "ingest/wal_server.h"
#include "repo/config.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::optional<std::string> dsn;
  std::optional<std::string> series;
  std::optional<std::string> slot;
  std::string role = "cairn";
  bool print = false;
};

// What a server says; without one, all that may be.
struct Server {
  std::optional<int> major;
  std::string version;
  std::string wal_level;
  std::string archive_mode;
  std::string most_kept;
};

Server ask(const Options& options) {
  if (!options.dsn) return {};
  const Interrupt interrupt;
  const auto password = pg_password_from_command();
  auto connection = ingest::PostgresConnection::connect(
      {.dsn = *options.dsn,
       .application_name = "cairn pg setup",
       .password = password ? password->view() : std::string_view()},
      interrupt.token());
  const auto show = [&](const std::string& setting) {
    return connection.value("SHOW " + setting, interrupt.token());
  };
  return {.major = connection.major_version(),
          .version = show("server_version"),
          .wal_level = show("wal_level"),
          .archive_mode = show("archive_mode"),
          .most_kept = show("max_slot_wal_keep_size")};
}

// A word for /bin/sh.
std::string shell_word(std::string_view text) {
  const bool is_plain = !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') ||
           std::string_view("_-./:=@,+").find(c) != std::string_view::npos;
  });
  if (is_plain) return std::string(text);
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

std::string doubled(std::string_view text, char what) {
  std::string out;
  for (const char c : text) out += std::string(c == what ? 2 : 1, c);
  return out;
}

std::string sql_literal(std::string_view text) {
  return "'" + doubled(text, '\'') + "'";
}

std::string sql_name(std::string_view text) {
  const bool is_plain =
      !text.empty() && (text[0] < '0' || text[0] > '9') &&
      std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
      });
  return is_plain ? std::string(text) : '"' + doubled(text, '"') + '"';
}

std::string own_program() {
  std::error_code error;
  const auto path = fs::read_symlink("/proc/self/exe", error);
  return error ? "cairn" : path.string();
}

class Sheet {
 public:
  Sheet(const Options& options, Context& context)
      : options_(options),
        output_(context.output),
        series_(wal_series(options.series)),
        repo_(context.repo_name()),
        slot_(options.slot.value_or(usual_slot(
            series_, repo::read_config(*context.open_storage()).repository))),
        now_(context.now()),
        server_(ask(options)) {}

  void print();

 private:
  void role();
  void by_slot();
  void by_archiving();
  void recovery();
  [[nodiscard]] std::string command(std::string_view verb,
                                    std::string_view words) const;
  // For archive_command and the like, where %p and %f are the server's.
  [[nodiscard]] std::string setting(std::string_view verb,
                                    std::string_view words) const {
    return doubled(command(verb, ""), '%') + std::string(words);
  }
  [[nodiscard]] bool may_be(int first, int last) const {
    return !server_.major ||
           (first <= *server_.major && *server_.major <= last);
  }
  void line(const std::string& text = {}) { output_.line(text); }

  const Options& options_;
  Output& output_;
  const std::string series_;
  const std::string repo_;
  const std::string slot_;
  const repo::Timestamp now_;
  const Server server_;
};

std::string Sheet::command(std::string_view verb,
                           std::string_view words) const {
  std::string text;
  for (const char* const name : {"CAIRN_KEY_FILE", "CAIRN_PASSWORD_FILE",
                                 "CAIRN_CACHE_DIR", "XDG_STATE_HOME"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    text += std::string(text.empty() ? "env " : "") + name + "=" +
            shell_word(value) + " ";
  }
  std::error_code error;
  const auto place = fs::absolute(repo_, error);
  text += shell_word(own_program()) + " -r " +
          shell_word(error ? repo_ : place.lexically_normal().string()) +
          " pg " + std::string(verb) + " --series " +
          shell_word(series_.substr(0, series_.rfind('/')));
  if (!words.empty()) text += " ";
  return text + std::string(words);
}

void Sheet::print() {
  if (output_.is_json()) {
    output_.document(
        Json::line("pg_setup", now_)
            .set("series", series_)
            .set("role", options_.role)
            .set("slot", slot_)
            .set_bytes("receive", command("wal-receive", ""))
            .set_bytes("archive_command", setting("wal-push", " %p"))
            .set_bytes("restore_command", setting("wal-fetch", " %f %p"))
            .set_bytes("check", command("check", "")));
    return;
  }
  line(
      "-- What a PostgreSQL server needs so that cairn can save it, for series "
      "of WAL");
  line("-- " + series_ +
       ". Nothing was changed. SQL is for psql, as a "
       "superuser.");
  if (server_.major) {
    line("-- The server: PostgreSQL " + printable(server_.version) +
         ", wal_level " + server_.wal_level + ", archive_mode " +
         server_.archive_mode + ", max_slot_wal_keep_size " +
         server_.most_kept);
  } else {
    line(
        "-- For PostgreSQL 13 to 18; --dsn leaves out what does not concern "
        "a server.");
  }
  role();
  by_slot();
  by_archiving();
  recovery();
}

void Sheet::role() {
  const std::string name = sql_name(options_.role);
  line();
  line(
      "-- 1. A role that may do this and no more. Give it a password by "
      "\\password, and");
  line(
      "--    cairn that password by a password file or "
      "CAIRN_PG_PASSWORD_COMMAND.");
  line("CREATE ROLE " + name + " LOGIN REPLICATION;");
  line("\\password " + name);
  line("--    pg_hba.conf needs a line for it, an ordinary one:");
  line("--    hostssl  postgres  " + name + "  ADDRESS/32  scram-sha-256");
  line("--    For 'cairn pg check', to have a segment finished:");
  line("GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO " + name + ";");
  line(
      "--    Only for 'cairn pg base' where configuration lies outside the "
      "data "
      "directory:");
  line("--    GRANT pg_read_all_settings TO " + name + ";");
  line(
      "--    GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text), "
      "pg_catalog.pg_read_binary_file(text, bigint, bigint) TO " +
      name + ";");
  line("--    Only for 'cairn pg dump', which another role may do as well:");
  if (may_be(14, 99)) {
    line("--    GRANT pg_read_all_data TO " + name + ";" +
         (server_.major ? "" : "   -- 14 and later"));
  }
  if (may_be(0, 13)) {
    line("--    " + std::string(server_.major ? "" : "13: ") +
         "GRANT USAGE ON SCHEMA and SELECT ON ALL TABLES, in each database.");
  }
}

void Sheet::by_slot() {
  line();
  line(
      "-- 2. WAL by a slot, as it is made: loses a second at most, and needs "
      "nothing on");
  line("--    the server. This, or 3, or both.");
  if (server_.wal_level == "minimal" || !server_.major) {
    line("ALTER SYSTEM SET wal_level = replica;              -- restart");
  }
  line(
      "ALTER SYSTEM SET max_wal_senders = 10;             -- restart, if it "
      "is less");
  line(
      "--    What the server may keep while nobody receives. Beyond that the "
      "slot loses WAL,");
  line(
      "--    and a new base backup is needed; without a limit its disk fills.");
  line("ALTER SYSTEM SET max_slot_wal_keep_size = '10GB';");
  if (may_be(18, 99)) {
    line(std::string("ALTER SYSTEM SET idle_replication_slot_timeout = 0;") +
         (server_.major ? "" : "    -- 18 and later"));
  }
  line("ALTER SYSTEM SET wal_sender_timeout = '60s';");
  line("SELECT pg_reload_conf();");
  line("--    The receiver makes the slot. To keep WAL from now on:");
  line("SELECT pg_create_physical_replication_slot(" + sql_literal(slot_) +
       ", true);");
  line("--    The receiver, under systemd or the like, with restarts:");
  line("--    " +
       command("wal-receive", "--dsn 'host=... user=" + options_.role + "'"));
  line("--    When it is given up:");
  line("--    SELECT pg_drop_replication_slot(" + sql_literal(slot_) + ");");
}

void Sheet::by_archiving() {
  line();
  line(
      "-- 3. WAL by archive_command: a segment at a time, by the server's own "
      "user, who");
  line("--    needs cairn, the repository and a key (a write key will do).");
  line(std::string("ALTER SYSTEM SET archive_mode = on;") +
       (server_.archive_mode == "on" ? "" : "                -- restart"));
  line("ALTER SYSTEM SET archive_command = " +
       sql_literal(setting("wal-push", " %p")) + ";");
  line("--    A segment every five minutes at least, full or not:");
  line("ALTER SYSTEM SET archive_timeout = '300s';");
  line("SELECT pg_reload_conf();");
  line(
      "--    By a timer of that user, every five minutes, to store what waits "
      "in the spool:");
  line("--    " + command("wal-push", "--flush"));
}

void Sheet::recovery() {
  line();
  line(
      "-- 4. Recovery, in postgresql.auto.conf of a restored data directory "
      "with");
  line(
      "--    recovery.signal beside it. It ends when 'wal-fetch' says that "
      "there is no more");
  line("--    (1), and stops when that cannot be told (126).");
  line("--    restore_command = " +
       sql_literal(setting("wal-fetch", " %f %p")));
  line();
  line("-- 5. Then:");
  line("--    " +
       command("check", "--dsn 'host=... user=" + options_.role + "'"));
}

ExitCode run(const Options& options, Context& context) {
  if (!options.print) {
    throw UsageError(
        "pg setup: --print shows what to set up; nothing is ever set up by "
        "itself");
  }
  if (options.slot && !ingest::is_slot_name(*options.slot)) {
    throw UsageError(
        "--slot: a slot's name has 1 to 63 lower-case letters, digits and "
        "underscores");
  }
  Sheet(options, context).print();
  return ExitCode::ok;
}

}  // namespace

Command pg_setup_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg setup",
      .group = CommandGroup::administration,
      .summary = "show what a PostgreSQL server needs to be saved",
      .text =
          "Prints SQL and settings, and changes nothing: a role with the least "
          "rights, the replication slot and what protects the server's disk, "
          "archive_command, restore_command, and the commands to run. With "
          "--dsn it leaves out what does not concern that server's version. "
          "The places of key files that are set in the environment stand in "
          "the commands; no secret does.",
      .examples =
          "cairn pg setup --print --dsn 'host=db.example user=postgres'\n"
          "cairn pg setup --print --series shop",
      .declare =
          [options](Flags& flags) {
            flags.flag("--print", options->print, "show it");
            flags.value("--dsn", "DSN", options->dsn,
                        "ask this server for its version and settings");
            flags.text("--series", "S", options->series,
                       "whose WAL it is to be: in S/wal (default: pg)");
            flags.value("--slot", "NAME", options->slot,
                        "the replication slot (default: cairn_ and the "
                        "series)");
            flags.value(
                "--role", "NAME",
                [options](std::string_view text) {
                  if (text.empty()) throw UsageError("--role: has no name");
                  options->role = text;
                },
                "the role to make (default: cairn)");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
