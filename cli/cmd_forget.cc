#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/forget_run.h"
#include "cli/printable.h"
#include "cli/prune_run.h"
#include "cli/quantity.h"
#include "cli/snapshot_selector.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/calendar.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/retention.h"

namespace cairn::cli {
namespace {

constexpr std::uint64_t kMaxCount = 1'000'000;
constexpr const char* kNotNamed = "not named";

struct Options {
  std::vector<std::string> snapshots;
  repo::RetentionPolicy policy;
  std::optional<std::string> time_zone;
  std::optional<std::string> series;
  bool prune = false;
};

int parse_keep_count(std::string_view text) {
  if (text == "unlimited") return repo::RetentionPolicy::kAll;
  return static_cast<int>(parse_count(text, kMaxCount));
}

void require_sense(const Options& options) {
  const bool has_rules = !options.policy.is_empty();
  if (!options.snapshots.empty() && has_rules) {
    throw UsageError(
        "forget: either name snapshots or give rules, not both at once");
  }
  if (options.snapshots.empty() && !has_rules) {
    throw UsageError(
        "forget: name snapshots, or say what to keep (--keep-daily 7, ...)");
  }
}

repo::RetentionPolicy policy_of(const Options& options) {
  repo::RetentionPolicy policy = options.policy;
  const auto zone = options.time_zone ? options.time_zone : local_time_zone();
  if (zone) {
    policy.time_zone = *zone;
  } else if (policy.needs_time_zone()) {
    throw UsageError(
        "forget: the machine's time zone has no name in the time zone "
        "database; give --time-zone");
  }
  return policy;
}

// The complete one that arrived last, of each series. One that claims to have
// arrived in the future is none to rely on.
std::set<repo::SessionId> last_complete_ones(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    const repo::Timestamp& now) {
  std::map<repo::SeriesTag, const repo::ValidSnapshot*> last;
  for (const auto* const valid : snapshots) {
    const auto& header = valid->snapshot.header;
    if (!header.is_complete) continue;
    if (repo::arrived_in_the_future(valid->snapshot, now)) continue;
    auto& known = last[header.series_tag];
    if (!known || known->snapshot.header.arrival <= header.arrival) {
      known = valid;
    }
  }
  std::set<repo::SessionId> ids;
  for (const auto& [tag, valid] : last) ids.insert(valid->snapshot.id);
  return ids;
}

std::vector<ForgetDecision> decide_by_names(
    const std::vector<const repo::ValidSnapshot*>& snapshots,
    SnapshotSelector& selector, const Options& options) {
  std::set<repo::SessionId> named;
  for (const auto& text : options.snapshots) {
    const auto selected = selector.select(text);
    if (!selected.path.empty()) {
      throw UsageError("forget: '" + text +
                       "': only whole snapshots can be forgotten");
    }
    named.insert(selected.snapshot.snapshot.id);
  }
  std::vector<ForgetDecision> decisions;
  for (const auto* const valid : snapshots) {
    const bool is_named = named.contains(valid->snapshot.id);
    decisions.push_back({valid, !is_named, {is_named ? "named" : kNotNamed}});
  }
  return decisions;
}

// What rules never do takes more than a name. Answers whether it was given.
repo::LastComplete require_permission(
    const std::vector<ForgetDecision>& decisions,
    const std::set<repo::SessionId>& last_ones, Context& context) {
  for (const auto& decision : decisions) {
    const auto& [snapshot, holds] = *decision.valid;
    if (decision.is_kept) continue;
    if (!holds.empty()) {
      throw repo::RefusedForSafety(
          "snapshot " + snapshot.id.brief() +
          " is held; 'cairn hold remove' lets it go. Nothing was forgotten");
    }
  }
  auto last = context.options.assume_yes ? repo::LastComplete::may_go
                                         : repo::LastComplete::stays;
  for (const auto& decision : decisions) {
    const auto& snapshot = decision.valid->snapshot;
    if (decision.is_kept || !last_ones.contains(snapshot.id)) continue;
    if (context.options.is_dry_run) {
      context.output.warning("snapshot " + snapshot.id.brief() +
                             " is the last complete one of " +
                             series_text(snapshot) + "; -y will be needed");
      continue;
    }
    context.confirm("Snapshot " + snapshot.id.brief() +
                    " is the last complete one of " + series_text(snapshot) +
                    ". Forget it?");
    last = repo::LastComplete::may_go;
  }
  return last;
}

enum class Shown { all, forgotten };

void print_text(const std::vector<ForgetDecision>& decisions, Shown shown,
                Context& context) {
  if (context.output.is_quiet()) return;
  std::vector<std::string> order;
  std::map<std::string, std::vector<const ForgetDecision*>> by_series;
  for (const auto& decision : decisions) {
    if (shown == Shown::forgotten && decision.is_kept) continue;
    const std::string series = series_text(decision.valid->snapshot);
    auto& of_series = by_series[series];
    if (of_series.empty()) order.push_back(series);
    of_series.push_back(&decision);
  }
  const auto now = context.now();
  for (const auto& series : order) {
    Table table({{"  "}, {"ID"}, {"Time"}, {"Reasons"}});
    for (const auto* const decision : by_series[series]) {
      const auto& snapshot = decision->valid->snapshot;
      table.add({decision->is_kept ? "keep" : "forget", snapshot.id.brief(),
                 time_and_age(snapshot.header.time, now),
                 joined(decision->reasons)});
    }
    context.output.line(Colour::bold, printable(series));
    table.print(context.output);
    context.output.line("");
  }
}

Json json_of(const std::vector<ForgetDecision>& decisions) {
  Json all = Json::array();
  for (const auto& decision : decisions) {
    const auto& snapshot = decision.valid->snapshot;
    Json reasons = Json::array();
    for (const auto& reason : decision.reasons) reasons.add(reason);
    Json json = Json::object();
    json.set("id", snapshot.id.hex()).set("time", snapshot.header.time);
    set_series(json, snapshot);
    json.set("complete", snapshot.header.is_complete)
        .set("keep", decision.is_kept)
        .set("reasons", std::move(reasons));
    all.add(std::move(json));
  }
  return all;
}

void add_unreadable(Json& all, const repo::SessionId& id) {
  Json reasons = Json::array();
  reasons.add("cannot be read");
  Json json = Json::object();
  json.set("id", id.hex())
      .set("time", nullptr)
      .set("series", nullptr)
      .set("series_tag", nullptr)
      .set("complete", nullptr)
      .set("keep", false)
      .set("reasons", std::move(reasons));
  all.add(std::move(json));
}

// Whole ids of slots that cannot be read: nothing but a name is left of them.
std::vector<repo::SessionId> unreadable_ones(const Options& options,
                                             repo::Repository& repository) {
  std::vector<repo::SessionId> ids;
  for (const auto& text : options.snapshots) {
    const auto id = repo::SessionId::from_hex(text);
    if (!id) continue;
    try {
      (void)repo::read_slot(repository.storage(), repository.keyring(), *id);
    } catch (const repo::CorruptionError&) {
      ids.push_back(*id);
    } catch (const repo::NotFound&) {
    }
  }
  return ids;
}

void give_up(const std::vector<repo::SessionId>& ids, const Options& options,
             repo::Repository& repository, Context& context) {
  const bool is_dry = context.options.is_dry_run;
  for (const auto& id : ids) {
    if (is_dry) break;
    context.confirm(repo::snapshot_name(id) +
                    " cannot be read. Forget it, whatever it was?");
  }
  if (context.output.is_json()) {
    SnapshotSelector selector(context, repository, options.series);
    std::vector<ForgetDecision> others;
    for (const auto* const valid : selector.of_series()) {
      others.push_back({valid, true, {kNotNamed}});
    }
    Json all = json_of(others);
    for (const auto& id : ids) add_unreadable(all, id);
    context.output.document(all);
  }
  for (const auto& id : ids) {
    if (!is_dry) {
      (void)repo::forget_snapshot(repository, id, "could not be read",
                                  context.now());
      context.output.allow_loss();
    }
    if (context.output.is_json()) continue;
    const std::string name = repo::snapshot_name(id);
    context.output.note(is_dry
                            ? "would forget " + name + ", which cannot be read"
                            : "forgot " + name + ", which could not be read");
  }
}

ExitCode prune_if_wanted(const Options& options, repo::Repository& repository,
                         std::span<const repo::SessionId> forgotten,
                         Context& context) {
  if (!options.prune) return ExitCode::ok;
  return run_prune(repository, {}, PruneReport::text_only, context, forgotten);
}

ExitCode run(const Options& options, Context& context) {
  require_sense(options);
  auto repository = context.open_as_owner();
  const auto unreadable = unreadable_ones(options, repository);
  if (!unreadable.empty()) {
    if (unreadable.size() < options.snapshots.size()) {
      throw UsageError(
          "forget: snapshots that cannot be read are forgotten apart from "
          "others");
    }
    give_up(unreadable, options, repository, context);
    return prune_if_wanted(options, repository, unreadable, context);
  }
  SnapshotSelector selector(context, repository, options.series);
  const auto snapshots = selector.of_series();
  require_undamaged(selector.damage());

  const bool is_by_name = !options.snapshots.empty();
  if (!is_by_name) require_past_arrivals(snapshots, context.now());
  const auto decisions =
      is_by_name ? decide_by_names(snapshots, selector, options)
                 : decide_by_rules(snapshots, policy_of(options), repository);
  auto last = repo::LastComplete::stays;
  if (is_by_name) {
    last = require_permission(
        decisions, last_complete_ones(snapshots, context.now()), context);
  }
  if (context.output.is_json()) {
    context.output.document(json_of(decisions));
  } else {
    print_text(decisions, is_by_name ? Shown::forgotten : Shown::all, context);
  }
  forget_all(decisions, last,
             options.prune ? SpaceComesBack::now : SpaceComesBack::with_a_prune,
             repository, context);
  return prune_if_wanted(options, repository, ids_of_forgotten(decisions),
                         context);
}

}  // namespace

Command forget_command() {
  const auto options = std::make_shared<Options>();
  const auto keep = [options](Flags& flags, std::string_view name,
                              int repo::RetentionPolicy::*count,
                              std::string_view help) {
    flags.value(
        name, "N",
        [options, count](std::string_view text) {
          options->policy.*count = parse_keep_count(text);
        },
        help);
  };
  return {
      .name = "forget",
      .group = CommandGroup::space,
      .summary = "drop snapshots by rules or by name",
      .text =
          "Drops the snapshots that no rule keeps, or those that are named. "
          "Each "
          "series is judged by itself. Space comes back with 'cairn prune', or "
          "with --prune. Rules never drop what is held, nor the "
          "complete snapshot of a series that arrived last; that one goes only "
          "when it is named, and -y is given or 'y' answered at the terminal. "
          "N may be 'unlimited'. Start with "
          "--dry-run, which shows the reason for each.",
      .examples =
          "cairn forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 -n\n"
          "cairn forget 1f2e3d4c --prune",
      .declare =
          [options, keep](Flags& flags) {
            using Policy = repo::RetentionPolicy;
            flags.arguments("SNAP", options->snapshots, Flags::Count::any);
            keep(flags, "--keep-last", &Policy::last, "keep the newest N");
            keep(flags, "--keep-hourly", &Policy::hourly,
                 "keep one of each of the newest N hours that have any");
            keep(flags, "--keep-daily", &Policy::daily, "the same for days");
            keep(flags, "--keep-weekly", &Policy::weekly, "for weeks");
            keep(flags, "--keep-monthly", &Policy::monthly, "for months");
            keep(flags, "--keep-yearly", &Policy::yearly, "for years");
            flags.value(
                "--keep-within", "SPAN",
                [options](std::string_view text) {
                  const auto span = repo::parse_calendar_span(text);
                  if (!span) {
                    throw UsageError("'" + std::string(text) +
                                     "' is not a span such as 30d or 1y6m");
                  }
                  options->policy.within = *span;
                },
                "keep all that are at most this much older than the newest");
            flags.texts("--keep-tag", "T", options->policy.tags,
                        "keep all with this tag; may be repeated");
            flags.value(
                "--week-on", "DAY",
                [options](std::string_view text) {
                  options->policy.week_on = repo::parse_weekday(text);
                  if (!options->policy.week_on) {
                    throw UsageError("'" + std::string(text) +
                                     "' is no day of the week");
                  }
                },
                "for weeks and longer, prefer snapshots of that day");
            flags.value(
                "--prefer", "newest|oldest",
                [options](std::string_view text) {
                  if (text != "newest" && text != "oldest") {
                    throw UsageError("'" + std::string(text) +
                                     "' is neither newest nor oldest");
                  }
                  options->policy.prefer = text == "newest"
                                               ? repo::Prefer::newest
                                               : repo::Prefer::oldest;
                },
                "which one of a period stays (default: newest)");
            flags.value(
                "--time-zone", "Z",
                [options](std::string_view text) {
                  options->time_zone = text;
                  (void)repo::TimeZone(*options->time_zone);
                },
                "where days begin, such as Europe/Berlin (default: "
                "this machine's)");
            declare_series(flags, options->series);
            flags.flag("--prune", options->prune,
                       "prune afterwards, without waiting for backups and with "
                       "an empty trash");
          },
      .run = [options](Context& context) { return run(*options, context); },
  };
}

}  // namespace cairn::cli
