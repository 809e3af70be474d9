#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/pg_wal.h"
#include "cli/quantity.h"
#include "cli/usage_error.h"
#include "cli/wal_teller.h"
#include "ingest/wal_push.h"
#include "ingest/wal_store.h"
#include "ingest/whole_file.h"
#include "repo/config.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

// When so much waits it is stored, as a receiver does.
constexpr std::uint64_t kEnough = std::uint64_t{64} << 20;
// To try again when the repository was in the way.
constexpr seconds kPatience{60};
// For another process to let go of the spool, where a flush was asked for.
constexpr seconds kLockPatience{10};

constexpr std::string_view kLastFlush = "last-flush";

struct Options {
  std::vector<std::string> path;  // one, or none
  std::optional<std::string> series;
  bool flush = false;
  std::uint64_t max_spool = std::uint64_t{4} << 30;
  seconds flush_interval = std::chrono::minutes(5);
};

// Where an earlier call found the repository, for when it is away: what is
// pushed meanwhile goes to its spool all the same.
class KnownPlace {
 public:
  explicit KnownPlace(const std::string& repo) {
    std::error_code error;
    auto place = fs::absolute(repo, error).string();
    if (error) place = repo;
    path_ = host_folders().state / "places" / first_digits(place);
  }

  [[nodiscard]] std::optional<repo::RepositoryId> read() const {
    std::ifstream in(path_);
    std::string hex;
    if (!(in >> hex)) return std::nullopt;
    return repo::RepositoryId::from_hex(hex);
  }

  void write(const repo::RepositoryId& repository) const {
    if (read() == repository) return;
    ingest::make_spool_folder(path_.parent_path());
    ingest::replace_spool_file(path_, repository.hex() + '\n');
  }

 private:
  fs::path path_;
};

repo::RepositoryId repository_at_hand(Context& context) {
  const KnownPlace place(context.repo_name());
  const auto or_known = [&](const repo::Error& e) {
    auto known = place.read();
    if (known) {
      context.output.warning(std::string(e.what()) +
                             "; WAL waits in the spool until it is back");
    }
    return known;
  };
  try {
    const auto storage = context.open_storage();
    const auto repository = repo::read_config(*storage).repository;
    place.write(repository);
    return repository;
  } catch (const repo::NoRepository& e) {
    if (const auto known = or_known(e)) return *known;
    throw;
  } catch (const repo::StorageUnreachable& e) {
    if (const auto known = or_known(e)) return *known;
    throw;
  } catch (const repo::CorruptionError& e) {
    if (const auto known = or_known(e)) return *known;
    throw;
  }
}

class Pushing {
 public:
  Pushing(const Options& options, Context& context)
      : options_(options),
        context_(context),
        series_(wal_series(options.series)),
        repository_id_(repository_at_hand(context)),
        spools_(wal_spools(series_, repository_id_)),
        teller_(context, series_) {}

  ExitCode push(const std::string& path);
  // Of all clusters, at once.
  ExitCode flush();

 private:
  struct Waits {
    std::uint64_t bytes = 0;
    std::optional<repo::Timestamp> since;
  };
  [[nodiscard]] static Waits waits_in(const fs::path& spool);
  // With what was moved into runs by calls that then could not store it.
  [[nodiscard]] static std::uint64_t unstored_in(const fs::path& spool);
  [[nodiscard]] bool is_stored(const ingest::WalToPush& file);
  [[nodiscard]] bool is_due(const fs::path& spool) const;
  void require_room(const fs::path& spool, const ingest::WalToPush& file);
  // False: it stays in the spool, which is told of.
  bool try_to_drain(const fs::path& spool);
  void drain(const fs::path& spool, const ingest::WalCluster& cluster);
  void say(const ingest::WalToPush& file, std::string_view outcome);

  const Options& options_;
  Context& context_;
  const std::string series_;
  const repo::RepositoryId repository_id_;
  const fs::path spools_;
  WalTeller teller_;
  std::optional<repo::Repository> repository_;  // to write, once it is needed
  const Interrupt interrupt_;
};

ExitCode Pushing::push(const std::string& path) {
  const auto file = ingest::inspect_wal_to_push(path, ".");
  const fs::path spool = spools_ / std::to_string(file.system);
  ingest::PushedWal pushed(spool);
  const auto known = pushed.compare(file);
  if (known == ingest::PushedWal::Known::same ||
      (known == ingest::PushedWal::Known::elsewhere && is_stored(file))) {
    say(file, "was_there");
    return ExitCode::ok;
  }
  require_room(spool, file);
  const auto added = pushed.add(file);
  if (file.segment_bytes > 0 && !ingest::read_spooled_cluster(spool)) {
    ingest::note_spooled_cluster(
        spool, {file.system, file.segment_bytes, file.server_version});
  }
  say(file, added == ingest::PushedWal::Added::added ? "added" : "was_there");
  // It is durable here, whatever becomes of this.
  if (is_due(spool)) (void)try_to_drain(spool);
  return ExitCode::ok;
}

// Where the spool does not know of it: of a host that lost its state, or of one
// of several that archive to the same series.
bool Pushing::is_stored(const ingest::WalToPush& file) {
  if (file.name.kind == ingest::WalFileName::Kind::backup) return false;
  try {
    auto repository = context_.open_to_read();
    return ingest::compare_with_stored(repository, series_, file,
                                       context_.now()) ==
           ingest::InRepository::all;
  } catch (const repo::RefusedForSafety&) {
    throw;
  } catch (const repo::Error& e) {
    context_.output.warning(
        std::string(e.what()) + "; " + file.name.text +
        " is kept without being compared with what is stored");
  }
  return false;
}

Pushing::Waits Pushing::waits_in(const fs::path& spool) {
  Waits waits;
  for (const auto& one : ingest::PushedWal(spool).waiting()) {
    waits.bytes += one.bytes;
    if (!waits.since || one.since < *waits.since) waits.since = one.since;
  }
  return waits;
}

std::uint64_t Pushing::unstored_in(const fs::path& spool) {
  std::uint64_t bytes = waits_in(spool).bytes;
  for (const auto& run : ingest::look_at_spool(spool)) {
    bytes += run.uncommitted_bytes();
  }
  return bytes;
}

bool Pushing::is_due(const fs::path& spool) const {
  std::ifstream in(spool / kLastFlush);
  std::int64_t last = 0;
  std::string outcome;
  const bool has_last = static_cast<bool>(in >> last >> outcome);
  const auto now = context_.now().seconds;
  // One that lies in the future is of a clock that went wrong.
  const auto since_last =
      has_last && last <= now ? seconds(now - last) : seconds::max();
  if (outcome == "failed") return since_last >= kPatience;
  if (since_last >= options_.flush_interval) return true;
  const auto waits = waits_in(spool);
  if (waits.bytes >= kEnough) return true;
  return waits.since &&
         (waits.since->seconds > now ||
          seconds(now - waits.since->seconds) >= options_.flush_interval);
}

void Pushing::require_room(const fs::path& spool,
                           const ingest::WalToPush& file) {
  const auto fits = [&] {
    return unstored_in(spool) + file.bytes <= options_.max_spool;
  };
  if (fits() || (try_to_drain(spool) && fits())) return;
  throw repo::OutOfSpace(spool.string() + ": " + size_text(unstored_in(spool)) +
                         " wait for the repository, and --max-spool allows " +
                         size_text(options_.max_spool) + "; " + file.name.text +
                         " stays with the server until there is room");
}

bool Pushing::try_to_drain(const fs::path& spool) {
  const auto cluster = ingest::read_spooled_cluster(spool);
  if (!cluster) return false;  // nothing but histories so far
  std::string outcome = "failed";
  try {
    drain(spool, *cluster);
    outcome = "stored";
  } catch (const repo::LockedError& e) {
    // Who has the spool stores it.
    context_.output.detail(e.what());
    outcome = "left";
  } catch (const repo::Cancelled&) {
    context_.output.detail("interrupted; WAL waits in the spool");
  } catch (const repo::Error& e) {
    context_.output.warning(std::string(e.what()) + "; WAL stays in " +
                            spool.string() + " until it can be stored");
  }
  try {
    ingest::replace_spool_file(
        spool / kLastFlush,
        std::to_string(context_.now().seconds) + ' ' + outcome + '\n');
  } catch (const repo::IoError& e) {
    context_.output.warning(e.what());
  }
  return outcome == "stored";
}

void Pushing::drain(const fs::path& spool, const ingest::WalCluster& cluster) {
  ingest::WalSpool own(spool, cluster.segment_bytes);
  if (!repository_) repository_.emplace(context_.open_to_write());
  if (repository_->keyring().repository() != repository_id_) {
    throw repo::RefusedForSafety("another repository lies at " +
                                 context_.repo_name() + " now");
  }
  ingest::WalStore store(cluster, wal_store_options(series_, context_));
  ingest::flush_spool(own, store, *repository_, nullptr, teller_,
                      interrupt_.token());
}

ExitCode Pushing::flush() {
  std::error_code error;
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(spools_, error)) {
    folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  for (const auto& folder : folders) {
    const auto cluster = ingest::read_spooled_cluster(folder);
    if (!cluster) continue;
    const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
    for (bool is_done = false; !is_done;) {
      try {
        drain(folder, *cluster);
        is_done = true;
      } catch (const repo::LockedError& e) {
        if (std::chrono::steady_clock::now() >= deadline) {
          throw repo::LockedError(std::string(e.what()) +
                                  "; it stores what waits, a 'cairn pg "
                                  "wal-receive' at once on SIGUSR1");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    }
  }
  teller_.sum_up();
  return ExitCode::ok;
}

void Pushing::say(const ingest::WalToPush& file, std::string_view outcome) {
  if (!context_.output.is_json()) {
    context_.output.detail(file.name.text + (outcome == "added"
                                                 ? " is in the spool"
                                                 : " was stored before"));
    return;
  }
  context_.output.json(
      Json::line("wal_pushed", context_.now())
          .set("name", file.name.text)
          .set("series", series_)
          .set("system_identifier", std::to_string(file.system))
          .set("outcome", outcome)
          .set("bytes", file.bytes));
}

ExitCode run(const Options& options, Context& context) {
  if (context.options.is_dry_run) {
    throw UsageError("pg wal-push: there is no dry run of it");
  }
  if (options.flush != options.path.empty() || options.path.size() > 1) {
    throw UsageError("pg wal-push: one PATH, or --flush alone");
  }
  Pushing pushing(options, context);
  return options.flush ? pushing.flush() : pushing.push(options.path.front());
}

}  // namespace

Command pg_wal_push_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg wal-push",
      .group = CommandGroup::backup,
      .summary = "take WAL from a PostgreSQL server (archive_command)",
      .text =
          "For archive_command: takes the file PATH of pg_wal, a segment, the "
          "last one of a timeline (.partial), a history or a backup history, "
          "checks that it is what its name says and of this cluster, and ends "
          "with 0 once it is synced to the spool of this host (below "
          "XDG_STATE_HOME), the one of 'cairn pg wal-receive', which may run "
          "beside it. The same bytes again are 0; other bytes by a name that "
          "is known are refused (16), and nothing is overwritten. What waits "
          "is stored in series SERIES/wal by a call that finds 64 MiB, or that "
          "--flush-interval has gone by, by a receiver at its next flush, and "
          "by --flush, which a timer should call. While the repository is away "
          "up to --max-spool waits; then calls fail (14), and the server keeps "
          "its WAL and tries again. It never ends with more than 125.",
      .examples =
          "archive_command = 'cairn -r /srv/backup pg wal-push --series shop "
          "%p'\n"
          "cairn pg wal-push --series shop --flush",
      .declare =
          [options](Flags& flags) {
            flags.arguments("PATH", options->path, Flags::Count::any);
            flags.text("--series", "S", options->series,
                       "whose WAL it is: stored in S/wal (default: pg)");
            flags.flag("--flush", options->flush,
                       "take nothing, store what waits");
            flags.value(
                "--max-spool", "4GiB",
                [options](std::string_view text) {
                  options->max_spool = parse_size(text);
                },
                "how much may wait for the repository (default: 4GiB)");
            flags.value(
                "--flush-interval", "5m",
                [options](std::string_view text) {
                  options->flush_interval = parse_duration(text);
                },
                "how old the last flush may be before a call stores what waits "
                "(default: 5m)");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
