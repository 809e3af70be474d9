#include "cli/prune_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "cli/interrupt.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"

namespace cairn::cli {
namespace {

std::string packs_text(const repo::PackSum& sum) {
  return counted(sum.packs, "pack") + " (" + size_text(sum.bytes) + ")";
}

Json json_of(const repo::PackSum& sum) {
  Json json = Json::object();
  json.set("packs", sum.packs).set("bytes", sum.bytes);
  return json;
}

void print_plan(const repo::PrunePlan& plan, PruneReport report,
                Context& context) {
  for (const auto& id : plan.held_slots) {
    context.output.warning("snapshot " + id.brief() +
                           " is forgotten, and held since: it stays until the "
                           "hold is over");
  }
  if (context.output.is_json()) {
    if (report == PruneReport::text_only) return;
    context.output.json(Json::line("plan", context.now())
                            .set("kept", json_of(plan.kept))
                            .set("removed", json_of(plan.removed))
                            .set("repacked", json_of(plan.repacked))
                            .set("unverified", json_of(plan.unverified))
                            .set("bytes_rewritten", plan.bytes_rewritten)
                            .set("bytes_used", plan.bytes_used)
                            .set("bytes_unused", plan.bytes_unused)
                            .set("bytes_freed", plan.bytes_freed())
                            .set("snapshots_settled", plan.slots.size())
                            .set("marks_settled", plan.marks.size()));
    return;
  }
  if (context.output.is_quiet()) return;
  context.output.line("keep      " + packs_text(plan.kept) + ", " +
                      size_text(plan.bytes_unused) + " in them unused");
  context.output.line("remove    " + packs_text(plan.removed));
  context.output.line("repack    " + packs_text(plan.repacked) + ", moving " +
                      size_text(plan.bytes_rewritten));
  context.output.line("frees     about " + size_text(plan.bytes_freed()));
  if (plan.unverified.packs > 0) {
    context.output.line(
        "verify    " + packs_text(plan.unverified) +
        " wait for `cairn check --level data`, since no key that reads has "
        "verified them: until then not every key shares them, and they are not "
        "repacked");
  }
}

// Nobody waits for a prune, and backups beside it keep four fifths of their
// speed instead of 70 %, on two cores (benchmarks/durability). Of this thread
// and those that it starts.
void give_way_to_others() {
  constexpr int kNiceness = 10;
  errno = 0;
  const int now = ::getpriority(PRIO_PROCESS, 0);
  if (errno != 0) return;
  (void)::setpriority(PRIO_PROCESS, 0, std::max(now, kNiceness));
}

void print_outcome(const repo::PruneOutcome& outcome, PruneReport report,
                   Context& context) {
  if (!context.output.is_json()) {
    context.output.note(
        "removed " + packs_text(outcome.removed) + ", repacked " +
        packs_text(outcome.repacked) + " into " + packs_text(outcome.written) +
        (outcome.trash.packs == 0
             ? ""
             : "; " + packs_text(outcome.trash) + " wait in the trash"));
  } else if (report == PruneReport::json_lines) {
    context.output.json(Json::line("summary", context.now())
                            .set("removed", json_of(outcome.removed))
                            .set("repacked", json_of(outcome.repacked))
                            .set("written", json_of(outcome.written))
                            .set("indexes_removed", outcome.indexes_removed)
                            .set("indexes_written", outcome.indexes_written)
                            .set("snapshots_settled", outcome.slots_settled)
                            .set("marks_settled", outcome.marks_settled)
                            .set("sessions_fenced", outcome.sessions_fenced)
                            .set("trash", json_of(outcome.trash))
                            .set_bytes("waits_for", outcome.waits_for)
                            .set("ran_out_of_space", outcome.ran_out_of_space)
                            .set("room_missing", outcome.room_missing));
  }
  for (const auto& session : outcome.waits_for) {
    context.output.note(session +
                        "; what might go is condemned, and goes with the next "
                        "prune once that has ended");
  }
  if (!outcome.can_fence) {
    context.output.warning(
        "this storage lets two create one object: backups that died are waited "
        "for, since they cannot be fenced off; remove their sessions by hand, "
        "and prune from one host only");
  }
  if (!outcome.has_reserve) {
    context.output.warning(
        "the disk has no room left for the megabyte that forgetting and "
        "pruning need when it is full");
  }
}

std::string full_disk_text(const repo::PruneOutcome& outcome) {
  const std::string_view done = outcome.repacked.packs > 0
                                    ? "a part was repacked"
                                    : "what was dead whole is gone";
  const std::string next =
      outcome.trash.packs > 0
          ? size_text(outcome.trash.bytes) +
                " wait in the trash and free nothing before their time: prune "
                "without --trash, or free room elsewhere on the disk"
      : outcome.room_missing == 0
          ? "prune again to repack the rest"
          : "to repack the rest takes about " +
                size_text(outcome.room_missing) +
                " more: free that elsewhere on the disk, or forget more, and "
                "prune again";
  return "the disk ran full: " + std::string(done) + "; " + next;
}

}  // namespace

ExitCode run_prune(repo::Repository& repository,
                   const repo::PruneOptions& options, PruneReport report,
                   Context& context,
                   std::span<const repo::SessionId> as_if_forgotten) {
  give_way_to_others();
  repo::Progress progress;
  const Interrupt interrupt;
  const auto now = context.now();
  const auto shown = [&](const auto& work) {
    const ProgressDisplay display(context.output, context.options.progress,
                                  {"prune", "pack"}, progress);
    return work();
  };
  if (context.options.is_dry_run) {
    const auto plan = shown([&] {
      return repo::plan_prune(repository, options, now, interrupt.token(),
                              &progress, as_if_forgotten);
    });
    print_plan(plan, report, context);
    return ExitCode::ok;
  }
  const auto outcome = shown([&] {
    return repo::prune(
        repository, options, now,
        {.decide =
             [&](const repo::PrunePlan& plan) {
               print_plan(plan, report, context);
               return repo::Proceed::yes;
             },
         .waits =
             [&](const std::vector<std::string>& sessions) {
               for (const auto& session : sessions) {
                 context.output.note(session + "; waiting for its end");
               }
             }},
        interrupt.token(), &progress);
  });
  context.output.allow_loss();
  context.note_newest_epoch(repository);
  print_outcome(outcome, report, context);
  if (outcome.ran_out_of_space) {
    context.output.warning(full_disk_text(outcome));
    return ExitCode::out_of_space;
  }
  return ExitCode::ok;
}

}  // namespace cairn::cli
