#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/pg_password.h"
#include "cli/pg_wal.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/postgres_connection.h"
#include "ingest/wal_check.h"
#include "ingest/wal_fetch.h"
#include "ingest/wal_push.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

using ingest::CheckFinding;
using Verdict = CheckFinding::Verdict;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookInterval{500};

struct Options {
  std::optional<std::string> dsn;
  std::optional<std::string> series;
  std::optional<std::string> slot;
  std::chrono::seconds timeout = std::chrono::minutes(1);
  bool no_switch = false;
};

std::string_view word_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::warning:
      return "warning";
    case Verdict::failed:
      return "FAILED";
    case Verdict::skipped:
      return "skipped";
  }
  return "";
}

Colour colour_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return Colour::green;
    case Verdict::warning:
      return Colour::yellow;
    case Verdict::failed:
      return Colour::red;
    case Verdict::skipped:
      return Colour::faint;
  }
  return Colour::none;
}

class Checking {
 public:
  Checking(const Options& options, Context& context)
      : options_(options),
        context_(context),
        series_(wal_series(options.series)),
        repository_(context.open_to_read()),
        slot_(options.slot.value_or(
            usual_slot(series_, repository_.keyring().repository()))) {}

  ExitCode run();

 private:
  [[nodiscard]] ingest::PostgresConnection connect(
      ingest::PostgresConnection::Mode mode);
  void say(const CheckFinding& finding, ExitCode code_when_failed);
  void look_at_stream();
  void look_at_base();
  void follow_segment(ingest::WalSourceCheck& source);
  // Where it is by now; nothing: not yet anywhere.
  [[nodiscard]] std::optional<CheckFinding> find_segment(
      const ingest::WalFileName& name);
  [[nodiscard]] std::optional<CheckFinding> find_in_repository(
      const ingest::WalFileName& name);
  [[nodiscard]] bool comes_back(ingest::WalReader& reader,
                                const ingest::WalFileName& name,
                                ingest::Lsn begin) const;
  [[nodiscard]] CheckFinding not_arrived(ingest::WalSourceCheck& source,
                                         const ingest::WalFileName& name);

  const Options& options_;
  Context& context_;
  const std::string series_;
  repo::Repository repository_;
  const std::string slot_;
  const Interrupt interrupt_;
  std::optional<ingest::WalServer> server_;  // once it let us replicate
  ExitCode code_ = ExitCode::ok;
  unsigned failed_ = 0;
  unsigned warnings_ = 0;
};

ingest::PostgresConnection Checking::connect(
    ingest::PostgresConnection::Mode mode) {
  const auto password = pg_password_from_command();
  const ingest::PostgresConnection::Options how{
      .dsn = options_.dsn.value_or(""),
      .mode = mode,
      .application_name = "cairn pg check",
      .password = password ? password->view() : std::string_view()};
  return mode == ingest::PostgresConnection::Mode::replication
             ? ingest::connect_for_wal(how, interrupt_.token())
             : ingest::PostgresConnection::connect(how, interrupt_.token());
}

ExitCode Checking::run() {
  using Mode = ingest::PostgresConnection::Mode;
  auto connection = connect(Mode::ordinary);
  say({"connection", Verdict::ok, printable(connection.place()), ""},
      ExitCode::source_failed);
  ingest::WalSourceCheck source(connection, slot_);
  for (const auto& finding : source.look(interrupt_.token())) {
    say(finding, ExitCode::source_failed);
  }
  look_at_stream();
  look_at_base();
  follow_segment(source);
  if (context_.output.is_json()) {
    context_.output.json(Json::line("summary", context_.now())
                             .set("series", series_)
                             .set("failed", failed_)
                             .set("warnings", warnings_));
  }
  return code_;
}

void Checking::say(const CheckFinding& finding, ExitCode code_when_failed) {
  if (finding.verdict == Verdict::failed) {
    ++failed_;
    code_ = worse(code_, code_when_failed);
  }
  if (finding.verdict == Verdict::warning) ++warnings_;
  if (context_.output.is_json()) {
    std::string verdict(word_of(finding.verdict));
    if (finding.verdict == Verdict::failed) verdict = "failed";
    Json json = Json::line("pg_check", context_.now());
    json.set("name", finding.name)
        .set("verdict", verdict)
        .set("text", finding.text);
    if (!finding.advice.empty()) json.set("advice", finding.advice);
    context_.output.json(json);
    context_.output.flush();
    return;
  }
  const bool is_bad =
      finding.verdict == Verdict::failed || finding.verdict == Verdict::warning;
  if (context_.output.is_quiet() && !is_bad) return;
  std::string head(word_of(finding.verdict));
  constexpr std::size_t kColumn = 9;
  head.resize(kColumn, ' ');
  std::string text = finding.name + ": " + printable(finding.text);
  if (!finding.advice.empty()) text += "; " + printable(finding.advice);
  context_.output.line(colour_of(finding.verdict), head, text);
  context_.output.flush();
}

// That we are let in as a receiver is, and which cluster it is.
void Checking::look_at_stream() {
  try {
    auto connection = connect(ingest::PostgresConnection::Mode::replication);
    server_ = ingest::identify_wal_server(connection, interrupt_.token());
    say({"replication", Verdict::ok,
         "cluster " + std::to_string(server_->system) + ", timeline " +
             std::to_string(server_->timeline) + ", PostgreSQL " +
             server_->version,
         ""},
        ExitCode::source_failed);
  } catch (const ingest::ProducerFailed& e) {
    say({"replication", Verdict::failed, e.what(), ""},
        ExitCode::source_failed);
  }
}

void Checking::look_at_base() {
  if (!server_) return;
  const auto list = repository_.snapshots(context_.now());
  const auto bases = ingest::series_of_bases(series_);
  std::vector<const repo::ValidSnapshot*> snapshots;
  for (const auto& valid : list.snapshots) snapshots.push_back(&valid);
  const auto oldest = ingest::oldest_needed_wal(
      snapshots,
      repo::series_tag(repository_.keyring(), bases.value_or(series_)),
      server_->system);
  if (oldest) {
    say({"base", Verdict::ok,
         "WAL is needed from " + to_string(*oldest) +
             " on, where the oldest base backup begins",
         ""},
        ExitCode::failed);
    return;
  }
  say({"base", Verdict::warning,
       "series " + bases.value_or(series_) +
           " has no base backup of this cluster that this key can see",
       "WAL recovers nothing without one: cairn pg base"},
      ExitCode::failed);
}

void Checking::follow_segment(ingest::WalSourceCheck& source) {
  if (!server_) return;
  if (options_.no_switch) {
    say({"switch", Verdict::skipped,
         "left out: whether WAL arrives was not looked at", ""},
        ExitCode::failed);
    return;
  }
  const auto switched = source.switch_segment(interrupt_.token());
  say(switched.finding, ExitCode::source_failed);
  const auto name = switched.segment
                        ? ingest::parse_wal_file_name(*switched.segment)
                        : std::nullopt;
  if (!name) return;
  const auto deadline = Clock::now() + options_.timeout;
  for (;;) {
    if (const auto found = find_segment(*name)) {
      say(*found, ExitCode::failed);
      return;
    }
    if (Clock::now() >= deadline) break;
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, interrupt_.token(), kLookInterval,
                   [] { return false; });
    if (interrupt_.token().stop_requested()) {
      throw repo::Cancelled("interrupted while waiting for " + name->text);
    }
  }
  say(not_arrived(source, *name), ExitCode::failed);
}

std::optional<CheckFinding> Checking::find_segment(
    const ingest::WalFileName& name) {
  const auto spool = wal_spools(series_, repository_.keyring().repository()) /
                     std::to_string(server_->system);
  const auto spooled =
      ingest::find_spooled_segment(spool, name, server_->segment_bytes);
  if (auto found = find_in_repository(name)) return found;
  if (!spooled || spooled->bytes < server_->segment_bytes) return std::nullopt;
  return CheckFinding{
      "arrival", Verdict::ok,
      name.text + " is in the spool of this host, " + spooled->path.string(),
      ""};
}

// All of it, and as one of this cluster and place.
bool Checking::comes_back(ingest::WalReader& reader,
                          const ingest::WalFileName& name,
                          ingest::Lsn begin) const {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  std::vector<std::byte> piece(kPiece);
  for (std::uint64_t at = 0; at < server_->segment_bytes; at += kPiece) {
    if (reader.read(name.timeline, {begin.value + at}, piece) < kPiece) {
      return false;
    }
    if (at > 0) continue;
    const auto head = ingest::parse_segment_head(piece);
    if (!head || head->begin != begin || head->system != server_->system) {
      return false;
    }
  }
  return true;
}

std::optional<CheckFinding> Checking::find_in_repository(
    const ingest::WalFileName& name) {
  const auto list = repository_.snapshots(context_.now());
  auto stored = ingest::find_wal(
      list.snapshots, repo::series_tag(repository_.keyring(), series_));
  std::erase_if(stored, [this](const ingest::StoredWal& one) {
    return one.stream.system != server_->system;
  });
  const auto begin = name.begin(server_->segment_bytes);
  ingest::WalReader reader(repository_, std::move(stored));
  bool is_there = false;
  for (const auto& range : reader.ranges(name.timeline)) {
    is_there =
        is_there || (begin && range.begin <= *begin &&
                     begin->value + server_->segment_bytes <= range.end.value);
  }
  if (!is_there) return std::nullopt;
  CheckFinding finding{"arrival", Verdict::ok,
                       name.text + " is in the repository", ""};
  const auto role = repository_.keyring().role();
  if (!repo::reads(role, repo::KeyClass::content)) {
    finding.text += "; this key cannot read it back";
    return finding;
  }
  if (!comes_back(reader, name, *begin)) {
    return CheckFinding{"arrival", Verdict::failed,
                        name.text + " does not come back as it was made",
                        "cairn check --level data"};
  }
  finding.text += ", and was read back";
  return finding;
}

CheckFinding Checking::not_arrived(ingest::WalSourceCheck& source,
                                   const ingest::WalFileName& name) {
  const auto ways = source.ways(interrupt_.token());
  const auto end = name.begin(server_->segment_bytes);
  const ingest::Lsn upto{(end ? end->value : 0) + server_->segment_bytes};
  const auto archived = source.last_archived(interrupt_.token());
  if (ways.acknowledged && upto <= *ways.acknowledged) {
    return {"arrival", Verdict::ok,
            name.text +
                " was acknowledged by the receiver, in whose spool it "
                "lies; not in the repository yet",
            ""};
  }
  if (ways.archives_to_us && archived && *archived >= name.text) {
    return {"arrival", Verdict::ok,
            name.text +
                " was taken by 'cairn pg wal-push', in whose spool on "
                "the server's host it lies; not in the repository yet",
            "have a timer call 'cairn pg wal-push --flush' there"};
  }
  std::string advice =
      "nobody receives, and archive_command does not call 'cairn pg wal-push'";
  if (ways.has_receiver) {
    advice = "a receiver is at work by slot " + slot_ +
             " and has not acknowledged it: what does it say?";
  } else if (ways.archives_to_us) {
    advice = "the server's log says why 'cairn pg wal-push' did not take it";
  } else if (ways.is_archiving) {
    advice = "archive_command does not call 'cairn pg wal-push'";
  }
  return {"arrival", Verdict::failed,
          name.text + " did not arrive within " +
              duration_text(static_cast<double>(options_.timeout.count())),
          advice};
}

ExitCode run(const Options& options, Context& context) {
  if (options.slot && !ingest::is_slot_name(*options.slot)) {
    throw UsageError(
        "--slot: a slot's name has 1 to 63 lower-case letters, digits and "
        "underscores");
  }
  if (context.options.is_dry_run) {
    throw UsageError(
        "pg check: there is no dry run of it; --no-switch "
        "changes nothing");
  }
  return Checking(options, context).run();
}

}  // namespace

Command pg_check_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg check",
      .group = CommandGroup::administration,
      .summary = "prove that a PostgreSQL server's WAL arrives",
      .text =
          "Looks at a server from the point of view of a backup: connection, "
          "version, the role's rights, wal_level, max_wal_senders, the slot, "
          "archiving, the limit on what a slot keeps, and whether there is a "
          "base backup. Then it has the server finish a segment "
          "(pg_switch_wal) and waits until exactly that one is in the "
          "repository, from where it is read back, or in the spool of this "
          "host. One line each: ok, warning, FAILED with what to do, or "
          "skipped. Ends with 15 for what is wrong with the server, 1 when the "
          "segment did not arrive.",
      .examples =
          "cairn pg check --dsn 'host=db.example user=backup'\n"
          "cairn pg check --dsn service=shop --series shop --no-switch",
      .declare =
          [options](Flags& flags) {
            flags.value("--dsn", "DSN", options->dsn,
                        "how to connect, as libpq takes it (default: by PG* "
                        "variables)");
            flags.text("--series", "S", options->series,
                       "whose WAL it is: in S/wal (default: pg)");
            flags.value("--slot", "NAME", options->slot,
                        "the replication slot (default: that of 'cairn pg "
                        "wal-receive')");
            flags.value(
                "--timeout", "1m",
                [options](std::string_view text) {
                  options->timeout = parse_duration(text);
                },
                "how long to wait for the segment (default: 1m)");
            flags.flag("--no-switch", options->no_switch,
                       "do not have the server finish a segment");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
