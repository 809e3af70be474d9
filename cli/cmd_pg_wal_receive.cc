#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/pg_password.h"
#include "cli/pg_wal.h"
#include "cli/quantity.h"
#include "cli/usage_error.h"
#include "cli/wal_teller.h"
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

ExitCode run(const Options& options, Context& context) {
  const std::string series = wal_series(options.series);
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
  how.slot = options.slot.value_or(
      usual_slot(series, repository.keyring().repository()));
  how.spool = wal_spools(series, repository.keyring().repository());
  how.max_spool = options.max_spool;
  how.drain.interval = options.flush_interval;
  how.store = wal_store_options(series, context);
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
  WalTeller teller(context, series);
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
