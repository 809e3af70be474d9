#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/pg_password.h"
#include "cli/pg_series.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/usage_error.h"
#include "ingest/postgres_connection.h"
#include "ingest/wal_receiver.h"
#include "ingest/wal_server.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

struct Options {
  std::optional<std::string> dsn;
  std::optional<std::string> series;
  std::optional<std::string> slot;
  std::uint64_t max_spool = std::uint64_t{4} << 30;
  std::chrono::seconds flush_interval = std::chrono::minutes(5);
};

// SIGUSR1, which asks for a flush now.
std::atomic<bool> flush_was_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free);

class FlushSignal {
 public:
  FlushSignal() {
    struct sigaction action {};
    action.sa_handler = [](int) { flush_was_requested = true; };
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGUSR1, &action, &before_);
  }
  FlushSignal(const FlushSignal&) = delete;
  FlushSignal& operator=(const FlushSignal&) = delete;
  ~FlushSignal() { ::sigaction(SIGUSR1, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

// "cairn_HOST_pg_wal_0123abcd": people see whose it is, and two repositories do
// not share one.
std::string usual_slot(const std::string& series,
                       const repo::Repository& repo) {
  constexpr std::size_t kMostOfSeries = 45;
  constexpr std::size_t kDigits = 8;
  std::string name = "cairn_";
  for (const char c : series.substr(0, kMostOfSeries)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = byte < 0x80 && std::isalnum(byte) != 0;
    name += is_plain ? static_cast<char>(std::tolower(byte)) : '_';
  }
  return name + "_" +
         digits_of_series(repo.keyring().repository().hex() + series)
             .substr(0, kDigits);
}

// Words on a screen, from two threads.
class Teller : public ingest::WalEvents {
 public:
  Teller(Context& context, std::string series)
      : context_(context), series_(std::move(series)) {}

  void receiving(const ingest::WalStart& start) override {
    const auto& stream = start.stream;
    if (context_.output.is_json()) {
      Json json = Json::line("wal_receiving", context_.now());
      json.set("series", series_)
          .set("server", start.place)
          .set("server_version", start.version)
          .set("slot", start.slot)
          .set("system_identifier", std::to_string(stream.system))
          .set("timeline", stream.timeline)
          .set("lsn", to_string(stream.start));
      print(json);
      return;
    }
    context_.output.note(
        "receiving WAL of cluster " + std::to_string(stream.system) +
        ", timeline " + std::to_string(stream.timeline) + ", from " +
        to_string(stream.start) + " on, of " + printable(start.place) +
        " by slot " + start.slot + ", for series " + printable(series_));
  }

  void flushed(const ingest::WalFlush& flush) override {
    {
      const std::lock_guard lock(mutex_);
      ++flushes_;
      bytes_ += flush.end.value - flush.begin.value;
      bytes_stored_ += flush.bytes_stored;
    }
    for (const auto& text : flush.warnings) context_.output.warning(text);
    if (flush.began_anew) {
      context_.output.warning("a new stream begins at " +
                              to_string(flush.begin) + ": " +
                              *flush.began_anew);
    }
    if (flush.trimmed_from) {
      context_.output.detail("left out WAL from " +
                             to_string(*flush.trimmed_from) + " to " +
                             to_string(flush.stream.start) +
                             ", which precedes the oldest base backup");
    }
    if (context_.output.is_json()) {
      Json json = Json::line("wal_flushed", context_.now());
      json.set("snapshot_id", flush.snapshot.hex())
          .set("timeline", flush.stream.timeline)
          .set("stream_begin", to_string(flush.stream.start))
          .set("begin", to_string(flush.begin))
          .set("end", to_string(flush.end))
          .set("bytes", flush.end.value - flush.begin.value)
          .set("bytes_stored", flush.bytes_stored)
          .set("began_anew", flush.began_anew.has_value())
          .set("trimmed", flush.trimmed_from.has_value());
      print(json);
      return;
    }
    context_.output.detail("stored WAL from " + to_string(flush.begin) +
                           " to " + to_string(flush.end) + " as " +
                           flush.snapshot.brief() + ", " +
                           size_text(flush.bytes_stored) + " stored");
  }

  void gap(const ingest::WalGap& gap) override {
    context_.output.warning(
        "GAP: WAL of timeline " + std::to_string(gap.timeline) + " from " +
        to_string(gap.from) + " to " + to_string(gap.to) + " is lost, since " +
        gap.why +
        ". No moment after the first and before a new base backup can be "
        "recovered; take one now");
    if (!context_.output.is_json()) return;
    Json json = Json::line("wal_gap", context_.now());
    json.set("timeline", gap.timeline)
        .set("from", to_string(gap.from))
        .set("to", to_string(gap.to))
        .set("reason", gap.why);
    print(json);
  }

  void note(const std::string& text) override { context_.output.note(text); }
  void warning(const std::string& text) override {
    context_.output.warning(text);
  }

  void sum_up() {
    if (context_.output.is_json()) {
      Json json = Json::line("summary", context_.now());
      json.set("series", series_)
          .set("flushes", flushes_)
          .set("bytes", bytes_)
          .set("bytes_stored", bytes_stored_);
      print(json);
      return;
    }
    context_.output.note("stored " + size_text(bytes_) + " of WAL in " +
                         counted(flushes_, "snapshot") + ", " +
                         size_text(bytes_stored_) + " in the repository");
  }

 private:
  // Whoever follows reads each line when it is written.
  void print(const Json& json) {
    const std::lock_guard lock(mutex_);
    context_.output.json(json);
    context_.output.flush();
  }

  Context& context_;
  const std::string series_;
  std::mutex mutex_;  // guards standard output and the sums
  std::uint64_t flushes_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t bytes_stored_ = 0;
};

ExitCode run(const Options& options, Context& context) {
  const std::string series = pg_wal_series(options.series);
  if (options.slot && !ingest::is_slot_name(*options.slot)) {
    throw UsageError(
        "--slot: a slot's name has 1 to 63 lower-case letters, digits and "
        "underscores");
  }
  if (context.options.is_dry_run) {
    throw UsageError("pg wal-receive: there is no dry run of it");
  }
  auto repository = context.open_to_write();
  ingest::WalReceiverOptions how;
  how.slot = options.slot.value_or(usual_slot(series, repository));
  how.spool = wal_spool_of(series, repository);
  how.max_spool = options.max_spool;
  how.drain.interval = options.flush_interval;
  how.store = {.series = series,
               .host = host_name(),
               .user = user_name(),
               .program = std::string(kProgram),
               .clock = [&context] { return context.now(); }};
  const ingest::WalReceiver::Connect connect =
      [&options](const std::stop_token& stop) {
        // Anew each time: it may have changed.
        const auto password = pg_password_from_command();
        return ingest::connect_for_wal(
            {.dsn = options.dsn.value_or(""),
             .application_name = "cairn pg wal-receive",
             .password = password ? password->view() : std::string_view()},
            stop);
      };
  Teller teller(context, series);
  const Interrupt interrupt;
  const FlushSignal flush_signal;
  ingest::WalReceiver receiver(
      std::move(how), connect, std::move(repository),
      [&context] { return context.open_to_write(); },
      [] { return flush_was_requested.exchange(false); }, teller);
  receiver.run(interrupt.token());
  teller.sum_up();
  return ExitCode::ok;
}

}  // namespace

Command pg_wal_receive_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg wal-receive",
      .group = CommandGroup::backup,
      .summary = "store a PostgreSQL server's WAL as it is made",
      .text =
          "Receives the WAL of a PostgreSQL server through a replication slot "
          "until SIGINT or SIGTERM, then stores all of it and ends with 0. "
          "What "
          "was received is synced to a spool on this host (below "
          "XDG_STATE_HOME) before the server may forget it, and stored in the "
          "repository every --flush-interval, when 64 MiB have gathered, and "
          "on "
          "SIGUSR1, as one growing stream of series SERIES/wal. It goes on "
          "over restarts of the server, promotions, and a repository that is "
          "full or away. The role needs the attribute REPLICATION, the server "
          "wal_level = replica; the slot is made where it does not exist, and "
          "never dropped: drop it when this is given up, or the server keeps "
          "WAL for ever. A password comes from a password file, a service "
          "file, PGPASSWORD or CAIRN_PG_PASSWORD_COMMAND, never from the DSN.",
      .examples =
          "cairn pg wal-receive --dsn 'host=db.example user=backup'\n"
          "cairn pg wal-receive --dsn service=shop --series shop "
          "--flush-interval 1m",
      .declare =
          [options](Flags& flags) {
            flags.value("--dsn", "DSN", options->dsn,
                        "how to connect, as libpq takes it (default: by PG* "
                        "variables)");
            flags.text("--series", "S", options->series,
                       "whose WAL it is: stored in S/wal (default: pg)");
            flags.value("--slot", "NAME", options->slot,
                        "the replication slot (default: cairn_ and the "
                        "series)");
            flags.value(
                "--max-spool", "4GiB",
                [options](std::string_view text) {
                  options->max_spool = parse_size(text);
                },
                "how much may wait for the repository before nothing more is "
                "taken from the server (default: 4GiB)");
            flags.value(
                "--flush-interval", "5m",
                [options](std::string_view text) {
                  options->flush_interval = parse_duration(text);
                  if (options->flush_interval < std::chrono::seconds(1)) {
                    throw UsageError("--flush-interval: one second at least");
                  }
                },
                "how long received WAL waits at most before it is stored "
                "(default: 5m)");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
