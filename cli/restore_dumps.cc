#include "cli/restore_dumps.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <set>
#include <string_view>
#include <utility>

#include "cli/dump_outcome.h"
#include "cli/dump_plan.h"
#include "cli/interrupt.h"
#include "cli/pg_password.h"
#include "cli/printable.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "ingest/pg_restore.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

// Every server has it, whether anybody uses it or not.
constexpr std::string_view kAlwaysThere = "postgres";

// Nothing of it is worth a database that is in the way.
bool is_empty_by_nature(const DumpRestore& options, const PlannedDump& dump) {
  return options.databases.empty() && dump.into == kAlwaysThere &&
         dump.document && dump.document->tables_with_data == 0;
}

// Before anything is done.
void require_room(const DumpRestore& options, const ingest::PgTarget& target,
                  DumpPlan& plan, Output& output) {
  std::erase_if(plan.dumps, [&](const PlannedDump& dump) {
    if (!target.has_database(dump.into) || !is_empty_by_nature(options, dump) ||
        options.into_existing == IntoExisting::clean) {
      return false;
    }
    output.note("database " + dump.into +
                " is there already, and its dump holds no tables: left as it "
                "is");
    return true;
  });
  for (const auto& dump : plan.dumps) {
    if (!target.has_database(dump.into)) continue;
    if (options.into_existing == IntoExisting::refuse) {
      throw repo::RefusedForSafety(
          "database " + printable(dump.into) +
          " is there already, and nothing was done; --into NAME restores "
          "beside it, --clean replaces what is in it");
    }
    if (dump.kind == ingest::PgDumpKind::sql) {
      throw repo::RefusedForSafety(
          dump.path +
          " is SQL, which cannot replace what is in a database; --into NAME "
          "restores beside it");
    }
  }
}

void confirm_clean(const ingest::PgTarget& target, const DumpPlan& plan,
                   Context& context) {
  std::string names;
  for (const auto& dump : plan.dumps) {
    if (!target.has_database(dump.into)) continue;
    names += (names.empty() ? "" : ", ") + dump.into;
  }
  if (names.empty()) return;
  context.confirm("Replace what is in database " + names +
                  " by what was dumped?");
}

void note_versions(const ingest::PgTarget& target, const DumpPlan& plan,
                   Output& output) {
  for (const auto& dump : plan.dumps) {
    if (!dump.document) continue;
    const auto& version = dump.document->server_version;
    if (major_of(version) <= target.server().major) continue;
    output.warning(dump.path + " is of PostgreSQL " + version +
                   ", newer than the server's " + target.server().version +
                   ", which may not understand it");
    return;
  }
}

void note_unfinished(const ingest::PgTarget& target, Output& output) {
  for (const auto& name : target.unfinished()) {
    output.warning("database " + name +
                   " is what a restore left that was ended; unless one is "
                   "running now, drop it");
  }
}

std::string list_of(const std::set<std::string>& names) {
  std::string text;
  for (const auto& name : names) {
    text += (text.empty() ? "" : ", ") + printable(name);
  }
  return text;
}

void note_globals(const ingest::PgGlobals& globals, Output& output) {
  const auto note = [&](std::string_view what,
                        const std::set<std::string>& names) {
    if (!names.empty()) output.note(std::string(what) + list_of(names));
  };
  note("made roles: ", globals.made.roles);
  note("roles that are there already, left as they are: ", globals.kept.roles);
  note("made tablespaces: ", globals.made.tablespaces);
}

Json array_of(const std::set<std::string>& names) {
  Json json = Json::array();
  for (const auto& name : names) json.add(name);
  return json;
}

ExitCode dry_run(const ingest::PgTarget& target, const DumpPlan& plan,
                 const repo::Snapshot& snapshot, Context& context) {
  std::vector<std::string> names;
  for (const auto& dump : plan.dumps) names.push_back(dump.into);
  if (context.output.is_json()) {
    context.output.json(Json::line("dry_run", context.now())
                            .set("action", "restore")
                            .set("snapshot_id", snapshot.id.hex())
                            .set("server_version", target.server().version)
                            .set("globals", plan.globals.has_value())
                            .set_bytes("databases", names));
    return ExitCode::ok;
  }
  for (const auto& dump : plan.dumps) {
    context.output.note("would restore " + printable(dump.path) + ", " +
                        size_text(dump.entry.entry.size) + ", into " +
                        (target.has_database(dump.into) ? "" : "new ") +
                        "database " + printable(dump.into) + " of PostgreSQL " +
                        target.server().version);
  }
  return ExitCode::ok;
}

class Restoring {
 public:
  Restoring(const DumpRestore& options, DumpSnapshot& snapshot, DumpPlan& plan,
            ingest::PgTarget& target, Context& context,
            const Interrupt& interrupt)
      : options_(options),
        snapshot_(snapshot),
        plan_(plan),
        target_(target),
        context_(context),
        stop_(interrupt.token()) {}

  ExitCode run() {
    const auto began = std::chrono::steady_clock::now();
    if (plan_.globals) load_globals();
    std::vector<DumpOutcome> outcomes;
    for (const auto& dump : plan_.dumps) {
      outcomes.push_back(load(dump));
      if (!context_.output.is_json()) {
        print_outcome(outcomes.back(), context_.output);
      }
    }
    if (context_.output.is_json()) {
      print_json(outcomes, std::chrono::duration<double>(
                               std::chrono::steady_clock::now() - began)
                               .count());
    }
    return code_of(outcomes);
  }

 private:
  void load_globals() {
    if (plan_.globals->entry.size > ingest::kMaxGlobalsBytes) {
      throw repo::RefusedForSafety(
          "what belongs to no database takes more than " +
          size_text(ingest::kMaxGlobalsBytes) +
          ", and is no globals.sql of 'pg dump'");
    }
    globals_ = target_.load_globals(
        snapshot_.beginning(*plan_.globals, ingest::kMaxGlobalsBytes, stop_),
        stop_);
    if (!context_.output.is_json()) note_globals(globals_, context_.output);
  }

  // What hurts one leaves the others alone.
  DumpOutcome load(const PlannedDump& dump) {
    DumpOutcome outcome{.dump = &dump, .loaded = {}, .failure = {}};
    repo::Progress progress;
    progress.set_current(dump.path);
    const ProgressDisplay display(context_.output, context_.options.progress,
                                  {"restore", "database"}, progress);
    try {
      outcome.loaded = load_into(dump, progress);
    } catch (const ingest::PgRestoreFailed& e) {
      outcome.failure = e.what();
    } catch (const repo::CorruptionError& e) {
      outcome.failure = e.what();
      is_damaged_ = true;
    } catch (const repo::RefusedForSafety& e) {
      if (plan_.dumps.size() == 1) throw;
      outcome.failure = e.what();
    }
    return outcome;
  }

  ingest::PgLoaded load_into(const PlannedDump& dump,
                             repo::Progress& progress) {
    ingest::PgDumpToLoad what{.into = dump.into,
                              .kind = dump.kind,
                              .content =
                                  [&](const ingest::ByteSink& sink) {
                                    return snapshot_.write(dump.entry, sink,
                                                           progress, stop_);
                                  },
                              .traits = {},
                              .tables = {}};
    if (dump.document) {
      what.traits = dump.document->traits;
      what.tables = [&dump] { return dump.document->tables; };
    }
    return target_.has_database(dump.into)
               ? target_.load_over(what, options_.amcheck, stop_)
               : target_.load(what, options_.amcheck, stop_);
  }

  void print_json(const std::vector<DumpOutcome>& outcomes,
                  double seconds) const {
    Json databases = Json::array();
    for (const auto& outcome : outcomes) databases.add(json_of(outcome));
    Json json = Json::line("summary", context_.now());
    json.set("snapshot_id", snapshot_.snapshot().id.hex())
        .set("server_version", target_.server().version)
        .set("roles_made", array_of(globals_.made.roles))
        .set("roles_kept", array_of(globals_.kept.roles))
        .set("tablespaces_made", array_of(globals_.made.tablespaces))
        .set("databases", std::move(databases))
        .set_bytes("lacking", plan_.lacking)
        .set("seconds", seconds);
    context_.output.json(json);
  }

  [[nodiscard]] ExitCode code_of(
      const std::vector<DumpOutcome>& outcomes) const {
    ExitCode code = snapshot_.is_in_doubt() || is_damaged_ ? ExitCode::damage
                                                           : ExitCode::ok;
    const auto failed = std::ranges::count_if(
        outcomes, [](const DumpOutcome& outcome) { return !outcome.loaded; });
    const bool is_all_alike = std::ranges::all_of(
        outcomes, [](const DumpOutcome& outcome) { return is_alike(outcome); });
    if (!is_all_alike || !plan_.lacking.empty()) {
      code = worse(code, ExitCode::partial);
    }
    if (failed > 0 && static_cast<std::size_t>(failed) == outcomes.size()) {
      code = worse(code, ExitCode::failed);
    }
    return code;
  }

  const DumpRestore& options_;
  DumpSnapshot& snapshot_;
  const DumpPlan& plan_;
  ingest::PgTarget& target_;
  Context& context_;
  const std::stop_token stop_;
  ingest::PgGlobals globals_;
  bool is_damaged_ = false;
};

}  // namespace

ExitCode restore_dumps(const DumpRestore& options, Context& context) {
  const auto places = program_places(options.places, "restore");
  hand_on_pg_password_from_command();
  ingest::PgDumpDsn dsn(options.dsn, "--to-dsn",
                        usual_database(options.places));
  if (options.into) require_database_name(*options.into);
  for (const auto& database : options.databases) {
    require_database_name(database);
  }
  DumpSnapshot snapshot(context, options.snapshot, options.series);
  DumpPlan plan;
  std::optional<ingest::PgTarget> target;
  {
    const Interrupt interrupt;
    plan = plan_dumps(snapshot, options.databases, options.into,
                      interrupt.token());
    target.emplace(std::move(dsn), places, newest_pg_dump(plan),
                   interrupt.token());
  }
  require_room(options, *target, plan, context.output);
  note_versions(*target, plan, context.output);
  note_unfinished(*target, context.output);
  for (const auto& lacking : plan.lacking) context.output.warning(lacking);
  if (context.options.is_dry_run) {
    return dry_run(*target, plan, snapshot.snapshot(), context);
  }
  confirm_clean(*target, plan, context);
  const Interrupt interrupt;
  return Restoring(options, snapshot, plan, *target, context, interrupt).run();
}

}  // namespace cairn::cli
