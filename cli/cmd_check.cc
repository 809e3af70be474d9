#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <thread>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/finding_text.h"
#include "cli/interrupt.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "crypto/random.h"
#include "repo/check.h"

namespace cairn::cli {
namespace {

struct Options {
  std::optional<repo::CheckLevel> level;
  std::optional<repo::PackSubset> subset;
  bool no_key = false;
};

repo::CheckLevel parse_level(std::string_view text) {
  if (text == "index") return repo::CheckLevel::index;
  if (text == "structure") return repo::CheckLevel::structure;
  if (text == "data") return repo::CheckLevel::data;
  throw UsageError("'" + std::string(text) +
                   "' is none of index, structure, data");
}

// Findings beyond a thousand of one severity are counted only.
std::uint64_t left_out(const repo::CheckReport& report) {
  const auto found = std::accumulate(report.found.begin(), report.found.end(),
                                     std::uint64_t{0});
  return found - report.findings.size();
}

// Where a share begins, and a size: always at the same pack, most would never
// be read.
std::uint64_t any_number() {
  return std::bit_cast<std::uint64_t>(
      crypto::random_array<sizeof(std::uint64_t)>());
}

void print_summary(const repo::CheckReport& report, double seconds,
                   Context& context) {
  using enum repo::Severity;
  if (context.output.is_json()) {
    context.output.json(Json::line("summary", context.now())
                            .set("damage", report.count(damage))
                            .set("unsupported", report.count(unsupported))
                            .set("garbage", report.count(garbage))
                            .set("notes", report.count(note))
                            .set("findings_left_out", left_out(report))
                            .set("packs", report.packs)
                            .set("packs_read", report.packs_read)
                            .set("packs_verified", report.packs_verified)
                            .set("index_objects", report.index_objects)
                            .set("snapshots", report.snapshots)
                            .set("blobs", report.blobs)
                            .set("bytes_read", report.bytes_read)
                            .set("seconds", seconds));
    return;
  }
  if (left_out(report) > 0) {
    context.output.warning(count_text(left_out(report)) +
                           " more findings are counted, and not listed");
  }
  if (!report.verifying_failed.empty()) {
    context.output.warning(report.verifying_failed);
  }
  if (context.output.is_quiet()) return;
  std::string looked = "looked at " + counted(report.packs, "pack");
  if (report.packs_read > 0) {
    looked += " (" + count_text(report.packs_read) + " read whole)";
  }
  looked += ", " + counted(report.index_objects, "index object") + ", " +
            counted(report.snapshots, "snapshot") + "; read " +
            size_text(report.bytes_read) + " in " + duration_text(seconds);
  context.output.line(looked);
  if (report.packs_verified > 0) {
    context.output.line(counted(report.packs_verified, "pack") +
                        " that nobody had verified for everyone " +
                        (report.packs_verified == 1 ? "is" : "are") +
                        " verified; everyone may share what lies in " +
                        (report.packs_verified == 1 ? "it" : "them") + " now");
  }
  if (report.count(garbage) > 0) {
    context.output.line(
        "of no use and of no harm: " + counted(report.count(garbage), "thing") +
        "; 'cairn prune' removes what it can");
  }
  if (report.count(damage) > 0) {
    context.output.line("damage: " + counted(report.count(damage), "finding"));
  } else if (report.count(unsupported) > 0) {
    context.output.line("in need of a newer program: " +
                        counted(report.count(unsupported), "thing") +
                        "; no damage elsewhere");
  } else if (std::ranges::any_of(report.findings, limits_the_answer)) {
    context.output.line("no damage in what this key can read");
  } else {
    context.output.line("no damage");
  }
}

ExitCode run(const Options& options, Context& context) {
  const auto level = options.level.value_or(
      options.subset ? repo::CheckLevel::data : repo::CheckLevel::structure);
  if (options.subset && !options.no_key && level != repo::CheckLevel::data) {
    throw UsageError("check: --subset goes with --level data");
  }
  if (options.subset && level == repo::CheckLevel::index) {
    throw UsageError(
        "check: --subset is of the packs, and --level index reads none");
  }
  const repo::CheckOptions how{
      .level = level,
      .subset = options.subset.value_or(repo::PackSubset{}),
      .subset_beginning = any_number(),
      .now = context.now(),
      .threads = std::clamp(std::thread::hardware_concurrency(), 1U, 8U),
      .vouch = context.options.is_dry_run ? repo::Vouch::no : repo::Vouch::yes};
  const auto began = std::chrono::steady_clock::now();
  repo::Progress progress;
  const auto shown = [&](const auto& work) {
    const Interrupt interrupt;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"check", "pack"}, progress);
    return work(interrupt.token());
  };
  repo::CheckReport report;
  if (options.no_key) {
    const auto storage = context.open_storage();
    report = shown([&](std::stop_token stop) {
      return repo::check_without_key(*storage, how, stop, &progress);
    });
  } else {
    auto repository = context.open_to_read();
    report = shown([&](std::stop_token stop) {
      return repo::check(repository, how, stop, &progress);
    });
    if (const auto& less = context.what_is_less()) {
      repo::note_rollback(report, *less);
    }
  }
  for (const auto& finding : report.findings) print(finding, context);
  print_summary(
      report,
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began)
          .count(),
      context);
  return code_of(report);
}

}  // namespace

Command check_command() {
  const auto options = std::make_shared<Options>();
  return {
      .name = "check",
      .group = CommandGroup::backup,
      .summary = "look for damage",
      .text =
          "Looks for damage, and says which snapshots and paths it hurts. "
          "Level "
          "index reads the small objects; structure (the default) follows "
          "every "
          "snapshot to every blob it needs; data reads and decodes every byte, "
          "or those of a subset of the packs: a part N/M is always the same "
          "one, so that 1/M to M/M in turn read all; a share or a size begins "
          "at another pack each time, by chance, and leaves none out for ever, "
          "but promises no time. --no-key reads every byte "
          "without "
          "any key, at level index those of the small objects. Packs that "
          "no reading key has verified, such as write keys store, and in which "
          "level data finds every byte as it should "
          "be, are noted as verified, so that others share them (not with "
          "--dry-run). Nothing else is "
          "changed, and backups may go on. Ends with 4 "
          "when "
          "there is damage, or the repository shows less than this host saw of "
          "it; leftovers of interrupted runs are none.",
      .examples =
          "cairn check --level data\n"
          "cairn check --subset 3/30    # a thirtieth each night\n"
          "cairn check --no-key",
      .declare =
          [options](Flags& flags) {
            flags.value(
                "--level", "index|structure|data",
                [options](std::string_view text) {
                  options->level = parse_level(text);
                },
                "how closely to look");
            flags.value(
                "--subset", "5%|3/30|2GiB",
                [options](std::string_view text) {
                  options->subset = repo::parse_pack_subset(text);
                },
                "read only so much of the data");
            flags.flag("--no-key", options->no_key,
                       "what can be told without a key");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
