#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/printable.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "cli/series.h"
#include "cli/snapshot_selector.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/copy.h"

namespace cairn::cli {
namespace {

struct Options {
  std::optional<std::string> to;
  std::optional<std::string> series;
  std::vector<std::string> snapshots;
};

// By time, so that a series there comes in the order that it has here.
std::vector<repo::ValidSnapshot> chosen(const Options& options,
                                        Context& context,
                                        SnapshotSelector& selector) {
  std::vector<repo::ValidSnapshot> all;
  if (options.snapshots.empty()) {
    const auto found = options.series ? selector.of_series() : selector.all();
    for (const auto* const valid : found) all.push_back(*valid);
    return all;
  }
  std::set<repo::SessionId> wanted;
  for (const auto& text : options.snapshots) {
    if (is_latest(text)) context.require_that_latest_is();
    const auto selected = selector.select(text);
    if (!selected.path.empty()) {
      throw UsageError("copy: '" + text + "': whole snapshots are copied");
    }
    wanted.insert(selected.snapshot.snapshot.id);
  }
  for (const auto* const valid : selector.all()) {
    if (wanted.contains(valid->snapshot.id)) all.push_back(*valid);
  }
  return all;
}

std::string_view name_of(repo::ToldBy told_by) {
  switch (told_by) {
    case repo::ToldBy::origin:
      return "origin";
    case repo::ToldBy::contents:
      return "contents";
    case repo::ToldBy::header:
      break;
  }
  return "header";
}

std::string_view name_of(const repo::CopiedSnapshot& one, bool is_plan) {
  switch (one.outcome) {
    case repo::CopyOutcome::copied:
      return is_plan ? "would copy" : "copied";
    case repo::CopyOutcome::was_there:
      return "was there";
    case repo::CopyOutcome::failed:
      break;
  }
  return "failed";
}

void print(const repo::Snapshot& snapshot, const repo::CopiedSnapshot& one,
           Context& context) {
  const bool is_plan = context.options.is_dry_run;
  if (context.output.is_json()) {
    Json json = Json::line("copy", context.now());
    json.set("outcome", one.outcome == repo::CopyOutcome::copied ? "copied"
                        : one.outcome == repo::CopyOutcome::was_there
                            ? "was_there"
                            : "failed")
        .set("snapshot", snapshot.id.hex());
    if (one.target) {
      json.set("id", one.target->hex());
    } else {
      json.set("id", nullptr);
    }
    json.set("blobs", one.blobs).set("bytes_stored", one.bytes_stored);
    json.set("was_forgotten", one.was_forgotten);
    if (one.told_by) json.set("told_by", name_of(*one.told_by));
    if (!one.why.empty()) json.set("message", one.why);
    context.output.json(json);
    return;
  }
  if (one.outcome == repo::CopyOutcome::failed) {
    context.output.warning("snapshot " + snapshot.id.brief() +
                           " is not copied: " + one.why);
    return;
  }
  if (one.outcome == repo::CopyOutcome::was_there &&
      context.options.verbosity == 0) {
    return;
  }
  if (context.output.is_quiet()) return;
  context.output.line(
      std::string(name_of(one, is_plan)) + "  " + snapshot.id.brief() + " of " +
      printable(snapshot.record ? snapshot.record->series : "?") +
      (one.target ? " as " + one.target->brief() : "") +
      (one.outcome == repo::CopyOutcome::copied && !is_plan
           ? ", " + size_text(one.bytes_stored) + " stored"
           : ""));
}

struct Sums {
  std::uint64_t copied = 0;
  std::uint64_t forgotten = 0;  // of them
  std::uint64_t there = 0;
  std::uint64_t by_header = 0;  // of them, alone
  std::uint64_t failed = 0;
  std::uint64_t blobs = 0;
  std::uint64_t bytes = 0;
};

Sums sums_of(const repo::CopyReport& report) {
  Sums sums;
  for (const auto& one : report.snapshots) {
    sums.copied += one.outcome == repo::CopyOutcome::copied ? 1 : 0;
    sums.forgotten +=
        one.was_forgotten && one.outcome == repo::CopyOutcome::copied ? 1 : 0;
    sums.there += one.outcome == repo::CopyOutcome::was_there ? 1 : 0;
    sums.by_header += one.told_by == repo::ToldBy::header ? 1 : 0;
    sums.failed += one.outcome == repo::CopyOutcome::failed ? 1 : 0;
    sums.blobs += one.blobs;
    sums.bytes += one.bytes_stored;
  }
  return sums;
}

void print(const repo::CopyReport& report, const std::string& to,
           Context& context) {
  const bool is_plan = context.options.is_dry_run;
  const Sums sums = sums_of(report);
  for (const auto& text : report.damage) context.output.warning(text);
  for (const auto& text : report.warnings) context.output.warning(text);
  if (context.output.is_json()) {
    Json json = Json::line(is_plan ? "dry_run" : "summary", context.now());
    if (is_plan) json.set("action", "copy");
    context.output.json(json.set("sister", report.are_sisters)
                            .set("copied", sums.copied)
                            .set("were_there", sums.there)
                            .set("by_header", sums.by_header)
                            .set("failed", sums.failed)
                            .set("blobs", sums.blobs)
                            .set("bytes_stored", sums.bytes));
    return;
  }
  if (sums.by_header > 0) {
    context.output.note(
        counted(sums.by_header, "snapshot") + " in " + to +
        (sums.by_header == 1 ? " is" : " are") +
        " recognised by series, time, size and count alone: its key may not "
        "read more. An owner's key there knows them by their origin");
  }
  if (sums.copied == 0 && sums.failed == 0) {
    context.output.note(to + " has all of " + counted(sums.there, "snapshot") +
                        " already");
    return;
  }
  if (sums.forgotten > 0) {
    context.output.note(
        count_text(sums.forgotten) + " of them had been forgotten there, and " +
        (is_plan ? "would come" : "came") +
        " back: what is to stay away has to be forgotten here, too, or not be "
        "named to copy");
  }
  context.output.note(
      (is_plan ? "would copy " : "copied ") + counted(sums.copied, "snapshot") +
      " to " + to +
      (sums.there > 0 ? ", which has " + count_text(sums.there) + " already"
                      : "") +
      (is_plan ? "" : "; stored " + size_text(sums.bytes)) +
      (report.are_sisters ? ""
                          : ". It is no sister (init --like), so that "
                            "everything is decoded and stored anew"));
}

ExitCode run(const Options& options, Context& context) {
  if (!options.to) throw UsageError("copy: say where to: --to REPO");
  auto from = context.open_to_read();
  auto to = context.open_other_to_write(*options.to, kToVariables);
  SnapshotSelector selector(context, from, options.series);
  const auto snapshots = chosen(options, context, selector);
  repo::CopyOptions how;
  how.clock = [&context] { return context.now(); };
  if (context.options.is_dry_run) how.carry = repo::Carry::plan_only;
  repo::Progress progress;
  repo::CopyReport report;
  {
    const Interrupt interrupt;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"copy", "snapshot"}, progress);
    report = repo::copy_snapshots(
        from, to, snapshots, how,
        [&](const repo::Snapshot& snapshot, const repo::CopiedSnapshot& one) {
          print(snapshot, one, context);
        },
        interrupt.token(), &progress);
  }
  print(report, *options.to, context);
  const bool is_hurt = sums_of(report).failed > 0 || selector.is_in_doubt() ||
                       !selector.damage().empty() || !report.damage.empty();
  return is_hurt ? ExitCode::damage : ExitCode::ok;
}

}  // namespace

Command copy_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "copy",
      .group = CommandGroup::backup,
      .summary = "copy snapshots to another repository",
      .text =
          "Copies all snapshots, or those given, with their time, host, tags "
          "and series, to another repository. To a sister (see init --like) "
          "stored pieces move as they are, to any other they are decoded and "
          "stored anew. Copies what is not there yet: run it again after it "
          "was interrupted, or to bring a second repository up to date. Its "
          "key comes from CAIRN_TO_KEY_FILE or CAIRN_TO_PASSWORD_FILE, or is "
          "the same. Holds, and what was forgotten, are not copied. What was "
          "forgotten only there comes back, as anything that is not there: "
          "forget it here, too, or say which snapshots or which series to "
          "copy. A write key there cannot read where a snapshot came from: "
          "what has the same series, time, size and count counts as copied, "
          "once for each snapshot here, as far as possible only with the same "
          "contents; how many went by that alone is told. Ends with "
          "4 when a snapshot cannot be read whole.",
      .examples =
          "cairn copy --to /mnt/second\n"
          "cairn copy --to /mnt/second latest --dry-run",
      .declare =
          [options](Flags& flags) {
            flags.value("--to", "REPO", options->to, "where to copy to");
            declare_series(flags, options->series);
            flags.arguments("SNAP", options->snapshots, Flags::Count::any);
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
