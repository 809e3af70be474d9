#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/printable.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "cli/usage_error.h"
#include "repo/generation_object.h"
#include "repo/lost_generations.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/repair.h"
#include "repo/repair_packs.h"
#include "repo/repair_snapshots.h"

namespace cairn::cli {
namespace {

ExitCode run_index(Context& context) {
  auto repository = context.open_as_owner();
  if (context.options.is_dry_run) {
    if (context.output.is_json()) {
      context.output.json(
          Json::line("dry_run", context.now()).set("action", "repair index"));
    } else {
      context.output.note("would write the index anew from all packs");
    }
    return ExitCode::ok;
  }
  repo::Progress progress;
  repo::IndexRepair repair;
  {
    const Interrupt interrupt;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"repair index", "pack"}, progress);
    repair = repo::repair_index(repository, interrupt.token(), &progress);
  }
  for (const auto& damage : repair.damage) context.output.warning(damage);
  if (!repair.damage.empty()) {
    context.output.warning(std::string(repo::kDamagedPackAdvice));
  }
  if (repair.rows_without_base > 0) {
    context.output.warning(
        count_text(repair.rows_without_base) +
        " differences lack the base they lean on and cannot be read; `cairn "
        "check` says which snapshots need them, `cairn prune` removes those "
        "that none needs");
  }
  if (repair.packs_unverified > 0) {
    context.output.note(
        counted(repair.packs_unverified, "pack") +
        " no index object calls verified for everyone: backups by other keys "
        "store anew what lies there, until `cairn check --level data` has read "
        "it");
  }
  if (context.output.is_json()) {
    Json damage = Json::array();
    for (const auto& text : repair.damage) damage.add(text);
    context.output.json(
        Json::line("summary", context.now())
            .set("packs", repair.packs)
            .set("rows", repair.rows)
            .set("indexes_written", repair.indexes_written)
            .set("indexes_removed", repair.indexes_removed)
            .set("packs_from_old_index", repair.packs_from_old_index)
            .set("packs_unverified", repair.packs_unverified)
            .set("rows_without_base", repair.rows_without_base)
            .set("damage", std::move(damage)));
  } else {
    context.output.note("indexed " + counted(repair.packs, "pack") + " with " +
                        counted(repair.rows, "blob"));
  }
  return repair.damage.empty() ? ExitCode::ok : ExitCode::damage;
}

ExitCode run_keys(Context& context) {
  auto repository = context.open_to_repair_keys();
  const bool is_dry_run = context.options.is_dry_run;
  const auto dropped = repo::drop_false_generations(
      repository.storage(), repository.keyring(),
      is_dry_run ? repo::Carry::plan_only : repo::Carry::out);
  if (context.output.is_json()) {
    Json numbers = Json::array();
    for (const auto number : dropped) {
      numbers.add(repo::generation_names(number)[0]);
    }
    Json json = Json::line(is_dry_run ? "dry_run" : "summary", context.now());
    if (is_dry_run) json.set("action", "repair keys");
    context.output.json(json.set("generations_removed", std::move(numbers)));
    return ExitCode::ok;
  }
  for (const auto number : dropped) {
    context.output.note((is_dry_run ? "would remove " : "removed ") +
                        repo::generation_names(number)[0]);
  }
  if (dropped.empty()) {
    context.output.note("no generation of keys lies there that is none");
  } else if (!is_dry_run) {
    context.output.note(
        "if the keys were renewed before (`cairn key rotate`), that has to be "
        "done again");
  }
  return ExitCode::ok;
}

struct PacksOptions {
  std::vector<std::string> packs;
  std::optional<std::string> from;
};

// A pack by its name, or by how that begins.
repo::PackId find_pack(const std::vector<repo::StoredPack>& packs,
                       std::string_view text) {
  if (text.starts_with("packs/")) text = text.substr(text.rfind('/') + 1);
  std::vector<repo::PackId> found;
  for (const auto& pack : packs) {
    if (pack.id.hex().starts_with(text)) found.push_back(pack.id);
  }
  if (found.size() != 1 || text.empty()) {
    throw UsageError("'" + std::string(text) + "' " +
                     (found.size() > 1 ? "begins the names of several packs"
                                       : "is no pack of this repository"));
  }
  return found.front();
}

void print_lost(const repo::LostPaths& lost, Context& context) {
  for (const auto& [snapshot, path] : lost.paths) {
    if (context.output.is_json()) {
      context.output.json(Json::line("lost", context.now())
                              .set("snapshot", snapshot.hex())
                              .set_bytes("path", path));
    } else {
      context.output.line(Colour::red, "lost",
                          "  " + snapshot.brief() + ":" + printable(path));
    }
  }
  if (lost.total > lost.paths.size() && !context.output.is_json()) {
    context.output.warning(count_text(lost.total - lost.paths.size()) +
                           " more are counted, and not listed");
  }
}

Json json_of(const repo::PackRepair& repair, Context& context) {
  Json packs = Json::array();
  for (const auto& pack : repair.packs) {
    Json one = Json::object();
    one.set("pack", pack.id.hex())
        .set("message", pack.what)
        .set("blobs", pack.blobs)
        .set("good_blobs", pack.good_blobs);
    packs.add(std::move(one));
  }
  Json troubles = Json::array();
  for (const auto& text : repair.troubles) troubles.add(text);
  Json json = Json::line(context.options.is_dry_run ? "dry_run" : "summary",
                         context.now());
  if (context.options.is_dry_run) json.set("action", "repair packs");
  json.set("packs_read", repair.packs_read)
      .set("packs", std::move(packs))
      .set("packs_named", repair.packs_named)
      .set("blobs_moved", repair.blobs_moved)
      .set("blobs_fetched", repair.blobs_fetched)
      .set("bytes_stored", repair.bytes_stored)
      .set("blobs_lost", repair.blobs_lost)
      .set("paths_lost", repair.lost.total)
      .set("troubles", std::move(troubles));
  return json;
}

void print(const repo::PackRepair& repair, Context& context) {
  const bool is_plan = context.options.is_dry_run;
  if (!context.output.is_json()) {
    for (const auto& pack : repair.packs) {
      context.output.line(Colour::yellow, "damaged",
                          "  " + repo::pack_name(pack.id) + ": " +
                              printable(pack.what) + "; " +
                              count_text(pack.good_blobs) + " of " +
                              counted(pack.blobs, "blob") + " in it are good");
    }
  }
  for (const auto& text : repair.troubles) context.output.warning(text);
  print_lost(repair.lost, context);
  if (context.output.is_json()) {
    context.output.json(json_of(repair, context));
    return;
  }
  if (repair.packs_named > 0) {
    context.output.note((is_plan ? "would name " : "named ") +
                        counted(repair.packs_named, "pack") +
                        " in the index that no index object named, and in "
                        "which every blob is what it should be");
  }
  if (repair.packs.empty() && repair.blobs_fetched == 0) {
    context.output.note("read " + counted(repair.packs_read, "pack") +
                        "; none is damaged");
  } else {
    context.output.note(
        (is_plan ? "would move " : "moved ") +
        counted(repair.blobs_moved, "blob") + " into new packs" +
        (repair.blobs_fetched == 0
             ? ""
             : ", " + std::string(is_plan ? "take " : "took ") +
                   count_text(repair.blobs_fetched) + " from the sister") +
        ", and " + (is_plan ? "take " : "took ") +
        counted(repair.packs.size(), "pack") +
        " out of the index; the next `cairn prune` removes what nothing "
        "needs");
  }
  if (repair.blobs_lost > 0) {
    context.output.warning(
        counted(repair.blobs_lost, "blob") +
        " that snapshots need could not be had. Back up again, which stores "
        "anew what the sources still have, or take them from a sister with "
        "--from; `cairn repair snapshots` makes snapshots without the rest");
  }
}

ExitCode run_packs(const PacksOptions& options, Context& context) {
  auto repository = context.open_as_owner();
  repo::PackRepairOptions how;
  how.now = context.now();
  how.threads = std::clamp(std::thread::hardware_concurrency(), 1U, 8U);
  if (context.options.is_dry_run) how.carry = repo::Carry::plan_only;
  if (!options.packs.empty()) {
    const auto packs = repo::list_packs(repository.storage());
    for (const auto& text : options.packs) {
      how.packs.push_back(find_pack(packs, text));
    }
  }
  std::optional<repo::Repository> from;
  if (options.from) {
    from.emplace(context.open_other_to_read(*options.from, kFromVariables));
    how.from = &*from;
  }
  repo::Progress progress;
  repo::PackRepair repair;
  {
    const Interrupt interrupt;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"repair packs", "pack"}, progress);
    repair = repo::repair_packs(repository, how, interrupt.token(), &progress);
  }
  print(repair, context);
  return repair.is_whole() ? ExitCode::ok : ExitCode::damage;
}

Json json_of(const repo::SnapshotRepair& repair, Context& context) {
  Json snapshots = Json::array();
  for (const auto& one : repair.snapshots) {
    Json json = Json::object();
    json.set("snapshot", one.source.hex());
    if (one.made) {
      json.set("id", one.made->hex());
    } else {
      json.set("id", nullptr);
    }
    json.set("was_made_before", one.was_made_before)
        .set("left_out", one.left_out);
    snapshots.add(std::move(json));
  }
  Json damage = Json::array();
  for (const auto& text : repair.damage) damage.add(text);
  Json json = Json::line(context.options.is_dry_run ? "dry_run" : "summary",
                         context.now());
  if (context.options.is_dry_run) json.set("action", "repair snapshots");
  json.set("snapshots_read", repair.snapshots_read)
      .set("snapshots", std::move(snapshots))
      .set("paths_lost", repair.lost.total)
      .set("damage", std::move(damage));
  return json;
}

void print(const repo::SnapshotRepair& repair, Context& context) {
  for (const auto& text : repair.warnings) context.output.warning(text);
  for (const auto& text : repair.damage) {
    context.output.warning(
        text +
        "; what it held nobody can tell, and `cairn forget` with its whole "
        "name gives it up");
  }
  print_lost(repair.lost, context);
  if (context.output.is_json()) {
    context.output.json(json_of(repair, context));
    return;
  }
  std::string to_forget;
  for (const auto& one : repair.snapshots) {
    const std::string without = ", without " + counted(one.left_out, "path");
    if (one.was_made_before) {
      context.output.note("snapshot " + one.source.brief() +
                          " was repaired before, as " + one.made->brief() +
                          without);
    } else if (one.made) {
      context.output.note("made snapshot " + one.made->brief() + " of " +
                          one.source.brief() + without);
    } else if (context.options.is_dry_run) {
      context.output.note("would make a snapshot of " + one.source.brief() +
                          without);
    } else {
      context.output.note("of snapshot " + one.source.brief() +
                          " nothing is left");
    }
    to_forget += " " + one.source.brief();
  }
  if (repair.snapshots.empty()) {
    context.output.note("looked at " +
                        counted(repair.snapshots_read, "snapshot") +
                        "; none that can be read misses anything");
  } else {
    context.output.note("the damaged ones stay until `cairn forget" +
                        to_forget + "`");
  }
}

ExitCode run_snapshots(Context& context) {
  auto repository = context.open_as_owner();
  repo::SnapshotRepairOptions how;
  how.clock = [&context] { return context.now(); };
  if (context.options.is_dry_run) how.carry = repo::Carry::plan_only;
  repo::Progress progress;
  repo::SnapshotRepair repair;
  {
    const Interrupt interrupt;
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"repair snapshots", "snapshot"}, progress);
    repair =
        repo::repair_snapshots(repository, how, interrupt.token(), &progress);
  }
  print(repair, context);
  return repair.snapshots.empty() && repair.damage.empty() ? ExitCode::ok
                                                           : ExitCode::damage;
}

}  // namespace

Command repair_snapshots_command() {
  return {
      .name = "repair snapshots",
      .group = CommandGroup::administration,
      .summary = "make snapshots without what is lost",
      .text =
          "Makes a new snapshot of each one that misses something, with all "
          "that is whole and without the rest, which is named. A file that "
          "lacks any of its content is left out. The new one has the same "
          "time and series, is marked as incomplete and tagged 'repaired'; "
          "the damaged one stays until `cairn forget` removes it. Run `repair "
          "packs` before, which finds what is damaged inside packs and saves "
          "what can be saved. Of a snapshot whose own record cannot be read "
          "nothing can be made. Ends with 4 when something is lost.",
      .examples =
          "cairn repair snapshots --dry-run\n"
          "cairn repair packs; cairn repair snapshots",
      .declare = [](Flags&) {},
      .run = run_snapshots,
  };
}

Command repair_packs_command() {
  const auto options = std::make_shared<PacksOptions>();
  return {
      .name = "repair packs",
      .group = CommandGroup::administration,
      .summary = "take what is good out of damaged packs",
      .text =
          "Reads every pack, or those given and those that no index object "
          "names, and moves what is still good in "
          "damaged ones into new packs, so that what is lost counts as absent: "
          "the next backup stores it anew, and snapshots that need it are "
          "whole "
          "again. With --from, lost pieces come from a sister repository (see "
          "init --like); its key comes from CAIRN_FROM_KEY_FILE or "
          "CAIRN_FROM_PASSWORD_FILE, or is the same. Deletes nothing: prune "
          "removes the damaged packs once nothing needs them. Killed, it goes "
          "on "
          "where it was when it is run again. Ends with 4, "
          "naming each file of each snapshot, when something could not be "
          "had.",
      .examples =
          "cairn repair packs\n"
          "cairn repair packs --from /mnt/second\n"
          "cairn repair packs 3f9a12c4 --dry-run",
      .declare =
          [options](Flags& flags) {
            flags.value("--from", "REPO", options->from,
                        "take lost pieces from this sister");
            flags.arguments("PACK", options->packs, Flags::Count::any);
          },
      .run =
          [options](Context& context) { return run_packs(*options, context); },
  };
}

Command repair_keys_command() {
  return {
      .name = "repair keys",
      .group = CommandGroup::administration,
      .summary = "remove false keys that keep all from writing",
      .text =
          "Removes generations of keys that no owner made, or that came to "
          "harm in both copies. While one lies there with a higher number "
          "than all others nobody writes, since it may be what is left of "
          "keys that were renewed. Refused where anything was sealed with "
          "later keys: then a copy of the repository may have them. If the "
          "keys were renewed before, run `cairn key rotate` again.",
      .examples = "cairn repair keys --dry-run",
      .declare = [](Flags&) {},
      .run = run_keys,
  };
}

Command repair_index_command() {
  return {
      .name = "repair index",
      .group = CommandGroup::administration,
      .summary = "write the index anew from the packs",
      .text =
          "Reads the directory of every pack and writes the index anew, "
          "whatever state the old one is in. Loses nothing, and others may "
          "be at work meanwhile.",
      .examples = "cairn repair index",
      .declare = [](Flags&) {},
      .run = run_index,
  };
}

}  // namespace cairn::cli
