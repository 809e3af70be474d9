#include "cli/commands.h"
#include "cli/context.h"
#include "cli/interrupt.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "repo/repair.h"

namespace cairn::cli {
namespace {

ExitCode run(Context& context) {
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

}  // namespace

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
      .run = run,
  };
}

}  // namespace cairn::cli
