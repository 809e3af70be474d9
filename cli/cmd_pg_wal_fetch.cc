#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/early_answer.h"
#include "cli/pg_wal.h"
#include "cli/quantity.h"
#include "cli/usage_error.h"
#include "ingest/wal_fetch.h"
#include "ingest/wal_fetch_ahead.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;
using ingest::WalFileName;
using ingest::WholeFile;
using Kind = WalFileName::Kind;

constexpr std::uint64_t kMostAhead = std::uint64_t{128} << 20;

struct Options {
  std::string name;
  std::string target;
  std::optional<std::string> series;
  std::optional<std::uint64_t> system;
  std::uint64_t ahead_bytes = kMostAhead;
};

std::uint64_t system_of(std::string_view text) {
  const auto system = ingest::parse_number(text, 10);
  if (!system || *system == 0) {
    throw UsageError("--system: '" + std::string(text) +
                     "' is no system identifier, which pg_controldata shows");
  }
  return *system;
}

WalFileName name_of(const Options& options) {
  auto name = ingest::parse_wal_file_name(options.name);
  if (!name || name->kind == Kind::partial) {
    throw UsageError("pg wal-fetch: '" + options.name +
                     "' is no file that a recovering server asks for");
  }
  if (options.target.empty()) {
    throw UsageError("pg wal-fetch: the target has no name");
  }
  return *name;
}

// One that is asked for a file that another call fetched ahead opens no
// repository, so the place stands for what is there.
fs::path folder_ahead(const std::string& repo, const std::string& series,
                      std::uint64_t system) {
  std::error_code error;
  auto place = fs::absolute(repo, error).string();
  if (error) place = repo;
  return host_folders().cache / "wal-ahead" /
         (first_digits(place + '\n' + series) + "-" + std::to_string(system));
}

class Fetching {
 public:
  Fetching(const Options& options, Context& context)
      : options_(options),
        context_(context),
        name_(name_of(options)),
        series_(wal_series(options.series)),
        system_(options.system ? options.system
                               : ingest::system_of_data_directory(".")) {
    if (system_) {
      ahead_.emplace(folder_ahead(context.repo_name(), series_, *system_));
    }
  }

  ExitCode run();

 private:
  bool take_from_ahead();
  ExitCode fetch(repo::Repository& repository);
  ExitCode fetch_segment(ingest::WalFetch& fetch);
  ExitCode write_text(const std::optional<std::string>& text,
                      std::string_view origin);
  void plan_ahead(ingest::WalFetch& fetch);
  void fill_ahead(ingest::WalFetch& fetch);
  void go_on_ahead();
  void say(std::string_view origin, std::uint64_t bytes);
  ExitCode absent();
  void require_that_all_is_shown(std::string_view what) const;

  const Options& options_;
  Context& context_;
  const WalFileName name_;
  const std::string series_;
  const std::optional<std::uint64_t> system_;
  std::optional<ingest::WalFetchAhead> ahead_;
  EarlyAnswer early_;
  bool has_plan_ = false;
  bool is_last_look_ = false;
};

ExitCode Fetching::run() {
  const bool looks_ahead =
      ahead_ && name_.kind == Kind::segment && options_.ahead_bytes > 0;
  if (looks_ahead && take_from_ahead()) {
    if (!ahead_->is_running_low(name_) || !ahead_->claim()) return ExitCode::ok;
    if (const auto code = early_.split(ExitCode::ok)) return *code;
    if (early_.answer(ExitCode::ok)) go_on_ahead();
    return ExitCode::ok;
  }
  if (looks_ahead) {
    if (const auto code = early_.split(ExitCode::cannot_tell)) return *code;
  }
  auto repository = context_.open_to_read();
  // What lay in the spool when the snapshots were listed may have been stored
  // and gone from there when it was looked at: what is missing is looked for
  // once more.
  const auto first = fetch(repository);
  if (first == ExitCode::ok) return first;
  is_last_look_ = true;
  return fetch(repository);
}

bool Fetching::take_from_ahead() {
  WholeFile file(options_.target, WholeFile::Durability::of_the_caller);
  if (!ahead_->take(name_, file)) return false;
  std::move(file).name_or_replace();
  say("ahead", 0);
  return true;
}

ExitCode Fetching::fetch(repo::Repository& repository) {
  const auto list = repository.snapshots(context_.now());
  ingest::WalFetch fetch(
      repository, list,
      {.series = series_,
       .system = system_,
       .spools = wal_spools(series_, repository.keyring().repository())});
  switch (name_.kind) {
    case Kind::history:
      return write_text(fetch.history(name_.timeline), "repository");
    case Kind::backup:
      return write_text(
          ingest::find_pushed_text(
              wal_spools(series_, repository.keyring().repository()) /
                  std::to_string(fetch.system()),
              name_),
          "spool");
    default:
      return fetch_segment(fetch);
  }
}

ExitCode Fetching::fetch_segment(ingest::WalFetch& fetch) {
  const auto bytes = fetch.available(name_);
  if (bytes < fetch.segment_bytes() && !is_last_look_) return ExitCode::failed;
  if (bytes == 0) {
    if (const auto gap = fetch.gap_at(name_)) {
      context_.output.warning(
          name_.text + ": WAL from " + to_string(gap->begin) + " to " +
          to_string(gap->end) + " of timeline " +
          std::to_string(name_.timeline) +
          " is not there, and what follows it is: recovery ends here, before "
          "the end of what is stored");
    }
    return absent();
  }
  if (bytes < fetch.segment_bytes()) {
    require_that_all_is_shown("is there in part");
  }
  WholeFile file(options_.target, WholeFile::Durability::of_the_caller);
  fetch.read(name_, [&](auto piece) { file.append(piece); });
  // A server takes zeros for the end of WAL, and a short file for a damaged
  // one.
  file.extend(fetch.segment_bytes());
  std::move(file).name_or_replace();
  say("repository", bytes);
  context_.output.flush();
  plan_ahead(fetch);
  if (has_plan_ && early_.answer(ExitCode::ok)) fill_ahead(fetch);
  return ExitCode::ok;
}

ExitCode Fetching::write_text(const std::optional<std::string>& text,
                              std::string_view origin) {
  if (!text) return absent();
  WholeFile file(options_.target, WholeFile::Durability::of_the_caller);
  file.append(std::as_bytes(std::span(*text)));
  std::move(file).name_or_replace();
  say(origin, text->size());
  return ExitCode::ok;
}

// Before the server is answered, so that its next call knows what to wait for.
// It has what it asked for, whatever becomes of this.
void Fetching::plan_ahead(ingest::WalFetch& fetch) {
  if (!ahead_ || options_.ahead_bytes < fetch.segment_bytes()) return;
  try {
    if (!ahead_->claim()) return;
    ahead_->plan(fetch, name_, options_.ahead_bytes);
    has_plan_ = true;
  } catch (const repo::Error& e) {
    context_.output.detail("fetches nothing ahead: " + std::string(e.what()));
  }
}

// Nobody is there any more to be told what goes wrong.
void Fetching::fill_ahead(ingest::WalFetch& fetch) {
  try {
    ahead_->fill(fetch);
  } catch (const repo::Error&) {
    return;
  }
}

void Fetching::go_on_ahead() {
  try {
    auto repository = context_.open_to_read();
    const auto list = repository.snapshots(context_.now());
    ingest::WalFetch fetch(
        repository, list,
        {.series = series_,
         .system = system_,
         .spools = wal_spools(series_, repository.keyring().repository())});
    plan_ahead(fetch);
    if (has_plan_) fill_ahead(fetch);
  } catch (const repo::Error&) {
    return;
  }
}

void Fetching::say(std::string_view origin, std::uint64_t bytes) {
  if (!context_.output.is_json()) {
    context_.output.detail("wrote " + name_.text + " to " + options_.target +
                           ", from " + std::string(origin));
    return;
  }
  Json json = Json::line("wal_fetched", context_.now());
  json.set("name", name_.text)
      .set_bytes("target", options_.target)
      .set("from", origin);
  if (bytes > 0) json.set("bytes", bytes);
  context_.output.json(json);
}

ExitCode Fetching::absent() {
  if (!is_last_look_) return ExitCode::failed;
  // A recovery that ends asks for something that is not there.
  if (ahead_) ahead_->clear();
  require_that_all_is_shown("is not there");
  context_.output.detail(name_.text + " is not there");
  return ExitCode::failed;
}

void Fetching::require_that_all_is_shown(std::string_view what) const {
  if (!context_.shows_less()) return;
  throw repo::RefusedForSafety(
      name_.text + ": " + std::string(what) +
      ", and that the repository shows less than before may be why");
}

ExitCode run(const Options& options, Context& context) {
  if (context.options.is_dry_run) {
    throw UsageError("pg wal-fetch: there is no dry run of it");
  }
  return Fetching(options, context).run();
}

}  // namespace

Command pg_wal_fetch_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "pg wal-fetch",
      .group = CommandGroup::backup,
      .summary = "give a recovering PostgreSQL server WAL (restore_command)",
      .text =
          "For restore_command: writes the file NAME of the WAL that is stored "
          "in series SERIES/wal, or lies in the spool of this host, to TARGET, "
          "whole or not at all. Ends with 0 when it is written; with 1 when it "
          "is certainly not there, which for a server is the end of WAL; with "
          "126 when that cannot be told, whatever the reason, which stops a "
          "server instead of having it go on with less than there is. A last "
          "segment that is stored in part comes with zeros behind. Of which "
          "cluster it is tells the current folder, the server's data directory "
          "as a rule, or --system. Segments that follow are fetched ahead into "
          "the cache folder.",
      .examples =
          "restore_command = 'cairn -r /srv/backup pg wal-fetch --series shop "
          "%f %p'\n"
          "cairn pg wal-fetch --system 7412345678901234567 "
          "000000010000000000000001 /tmp/segment",
      .declare =
          [options](Flags& flags) {
            flags.argument("NAME", options->name);
            flags.argument("TARGET", options->target);
            flags.text("--series", "S", options->series,
                       "whose WAL it is: from S/wal (default: pg)");
            flags.value(
                "--system", "N",
                [options](std::string_view text) {
                  options->system = system_of(text);
                },
                "the cluster's system identifier (default: that of the "
                "current folder, or the only one in the series)");
            flags.value(
                "--ahead", "128MiB",
                [options](std::string_view text) {
                  options->ahead_bytes = parse_size(text);
                },
                "how much is fetched ahead at most; 0: nothing (default: "
                "128MiB)");
          },
      .run = [options](Context& context) { return run(*options, context); },
      .any_failure = ExitCode::cannot_tell,
  };
}

}  // namespace cairn::cli
