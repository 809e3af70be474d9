#include <memory>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/snapshot_selector.h"
#include "cli/snapshot_text.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "repo/error.h"
#include "repo/hold.h"

namespace cairn::cli {
namespace {

struct AddOptions {
  std::string snapshot;
  std::optional<std::string> series;
  std::optional<std::string> reason;
  std::optional<std::string> until;
};

struct RemoveOptions {
  std::string which;
};

ExitCode add(const AddOptions& options, Context& context) {
  repo::Mark mark{.action = repo::MarkAction::hold,
                  .target = {},
                  .time = context.now(),
                  .reason = options.reason.value_or(""),
                  .until = std::nullopt};
  if (options.until) {
    mark.until = parse_until(*options.until, mark.time);
    if (!mark.until) {
      throw UsageError("hold add: --until: '" + *options.until +
                       "' is not a time, a date or a span such as 90d");
    }
    if (*mark.until <= mark.time) {
      throw UsageError("hold add: --until: " + local_time_text(*mark.until) +
                       " has passed");
    }
  }
  auto repository = context.open_as_owner();
  SnapshotSelector selector(context, repository, options.series);
  const auto selected = selector.select(options.snapshot);
  if (!selected.path.empty()) {
    throw UsageError("hold add: '" + options.snapshot +
                     "': only whole snapshots can be held");
  }
  mark.target = selected.snapshot.snapshot.id;

  std::optional<repo::MarkId> id;
  if (!context.options.is_dry_run) {
    id = repo::hold_snapshot(repository, mark);
  }
  if (context.output.is_json()) {
    Json json = Json::line(id ? "hold" : "dry_run", mark.time);
    if (!id) json.set("action", "hold add");
    json.set("snapshot", mark.target.hex()).set("reason", mark.reason);
    if (id) json.set("id", id->hex());
    if (mark.until) json.set("until", *mark.until);
    context.output.json(json);
  } else {
    context.output.note(
        (id ? "hold " + id->brief() + ": snapshot " + mark.target.brief() +
                  " stays until "
            : "would hold snapshot " + mark.target.brief() + " until ") +
        (mark.until ? local_time_text(*mark.until) : "the hold is removed"));
  }
  return selector.is_in_doubt() ? ExitCode::damage : ExitCode::ok;
}

ExitCode list(Context& context) {
  const auto repository = context.open_to_read();
  const auto all = repository.snapshots(context.now());
  using enum Table::Align;
  Table table(
      {{"Hold"}, {"Snapshot"}, {"Time"}, {"Series"}, {"Until"}, {"Reason"}});
  Json array = Json::array();
  std::size_t count = 0;
  for (const auto& [snapshot, holds] : all.snapshots) {
    for (const auto& [id, mark] : holds) {
      ++count;
      Json json = Json::object();
      json.set("id", id.hex())
          .set("snapshot", snapshot.id.hex())
          .set("time", mark.time)
          .set("reason", mark.reason);
      if (mark.until) {
        json.set("until", *mark.until);
      } else {
        json.set("until", nullptr);
      }
      array.add(std::move(json));
      table.add({id.brief(), snapshot.id.brief(),
                 local_time_text(snapshot.header.time), series_text(snapshot),
                 mark.until ? local_time_text(*mark.until) : "no end",
                 mark.reason});
    }
  }
  if (context.output.is_json()) {
    context.output.document(array);
  } else if (count == 0 && all.damage.empty()) {
    context.output.note("nothing is held");
  } else {
    table.print(context.output);
  }
  for (const auto& damage : all.damage) context.output.warning(damage);
  return all.damage.empty() ? ExitCode::ok : ExitCode::damage;
}

// The holds whose id begins so; else all those of the snapshot named so.
std::vector<repo::StoredMark> find_holds(const std::string& which,
                                         SnapshotSelector& selector) {
  std::vector<repo::StoredMark> matches;
  for (const auto* const valid : selector.all()) {
    for (const auto& hold : valid->holds) {
      if (which.size() >= 4 && hold.id.hex().starts_with(which)) {
        matches.push_back(hold);
      }
    }
  }
  if (matches.size() > 1) {
    throw repo::NotFound("several holds' ids begin with " + which);
  }
  if (!matches.empty()) return matches;
  const auto selected = selector.select(which);
  if (!selected.path.empty()) {
    throw UsageError("hold remove: '" + which +
                     "': only whole snapshots are held");
  }
  if (selected.snapshot.holds.empty()) {
    throw repo::NotFound("snapshot " + selected.snapshot.snapshot.id.brief() +
                         " is not held");
  }
  return selected.snapshot.holds;
}

ExitCode remove(const RemoveOptions& options, Context& context) {
  auto repository = context.open_as_owner();
  SnapshotSelector selector(context, repository);
  const auto now = context.now();
  for (const auto& [id, hold] : find_holds(options.which, selector)) {
    const repo::Mark release{.action = repo::MarkAction::release,
                             .target = {id.bytes},
                             .time = now,
                             .reason = "",
                             .until = std::nullopt};
    if (!context.options.is_dry_run) {
      (void)repo::publish_mark(repository.storage(), repository.keyring(),
                               repository.signer(), release);
    }
    if (context.output.is_json()) {
      const bool is_dry = context.options.is_dry_run;
      Json json = Json::line(is_dry ? "dry_run" : "hold_removed", now);
      if (is_dry) json.set("action", "hold remove");
      json.set("id", id.hex()).set("snapshot", hold.target.hex());
      context.output.json(json);
    } else {
      context.output.note((context.options.is_dry_run ? "would remove hold "
                                                      : "removed hold ") +
                          id.brief() + " of snapshot " + hold.target.brief());
    }
  }
  return ExitCode::ok;
}

}  // namespace

Command hold_add_command() {
  const auto options = std::make_shared<AddOptions>();
  return {
      .name = "hold add",
      .group = CommandGroup::space,
      .summary = "keep a snapshot whatever the rules say",
      .text =
          "Holds a snapshot: no rule and no 'forget' removes it until the "
          "hold ends or is removed.",
      .examples =
          "cairn hold add latest --reason 'before the upgrade'\n"
          "cairn hold add 1f2e3d4c --until 2027-12-31",
      .declare =
          [options](Flags& flags) {
            flags.argument("SNAP", options->snapshot);
            declare_series(flags, options->series);
            flags.text("--reason", "TEXT", options->reason,
                       "for later readers");
            flags.value(
                "--until", "TIME", options->until,
                "a date (to its end), a time, or a span from now such as 90d");
          },
      .run = [options](Context& context) { return add(*options, context); },
  };
}

Command hold_list_command() {
  return {
      .name = "hold list",
      .group = CommandGroup::space,
      .summary = "list the snapshots that are held",
      .text = "Lists the holds: of which snapshot, until when and why.",
      .examples = "cairn hold list --json",
      .declare = [](Flags&) {},
      .run = list,
  };
}

Command hold_remove_command() {
  const auto options = std::make_shared<RemoveOptions>();
  return {
      .name = "hold remove",
      .group = CommandGroup::space,
      .summary = "let the rules have a snapshot again",
      .text =
          "Removes one hold by its id, or all holds of a snapshot. The "
          "snapshot itself stays until it is forgotten.",
      .examples = "cairn hold remove 1f2e3d4c",
      .declare =
          [options](Flags& flags) {
            flags.argument("HOLD|SNAP", options->which);
          },
      .run = [options](Context& context) { return remove(*options, context); },
  };
}

}  // namespace cairn::cli
