#include "cli/restore_extract.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

#include "cli/dump_file.h"
#include "cli/dump_outcome.h"
#include "cli/dump_plan.h"
#include "cli/interrupt.h"
#include "cli/pg_password.h"
#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/restore_recovery.h"
#include "cli/temporary_folder.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/pg_extract.h"
#include "ingest/pg_restore.h"
#include "ingest/recovery_server.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

using ingest::PgTableName;

constexpr std::string_view kSqlEnd = ".sql";

void require_sense(const ExtractRequest& request) {
  const auto refuse = [](const std::string& why) {
    throw UsageError("restore: " + why);
  };
  if (request.to_dump.has_value() == request.to_dsn.has_value()) {
    refuse(
        "a database at a moment goes into a file, --to-dump FILE, or a server, "
        "--to-dsn DSN");
  }
  if (request.to_dump && (request.into || request.schema)) {
    refuse("--into and --schema go with --to-dsn");
  }
  if (request.schema && request.into) {
    refuse("--schema is of the database that is there; leave --into out");
  }
  if (request.schema && request.tables.empty()) {
    refuse("--schema takes tables: name them by --table");
  }
  if (request.schema && request.schema->empty()) refuse("--schema is empty");
  if (request.to_dsn && !request.tables.empty() && !request.schema) {
    refuse(
        "tables go into a schema beside, --schema NAME, or a file, --to-dump "
        "FILE");
  }
  require_database_name(request.database);
  if (request.into) require_database_name(*request.into);
}

// Where it is to go in the server that it is for.
class Destination {
 public:
  Destination(const ExtractRequest& request, const std::stop_token& stop)
      : into_(request.into.value_or(request.database)),
        target_(ingest::PgDumpDsn(*request.to_dsn, "--to-dsn",
                                  usual_database(request.places)),
                program_places(request.places, "restore"), 0, stop) {
    const bool is_there = target_.has_database(into_);
    const std::string name = "database " + printable(into_);
    if (!request.schema) {
      if (!is_there) return;
      throw repo::RefusedForSafety(
          name +
          " is there already, and nothing was done; --into NAME restores "
          "beside it");
    }
    is_beside_ = true;
    if (!is_there) {
      throw repo::NotFound(name +
                           ", into which the schema is to go, is not there");
    }
    if (target_.has_schema(into_, *request.schema, stop)) {
      throw repo::RefusedForSafety(
          "schema " + printable(*request.schema) + " of " + name +
          " is there already, and nothing was done; --schema takes a new name");
    }
  }

  [[nodiscard]] const std::string& into() const noexcept { return into_; }

  ingest::PgLoaded load(const ingest::PgDumpToLoad& dump,
                        const std::stop_token& stop) {
    const auto amcheck = ingest::PgAmcheckWanted::no;
    return is_beside_ ? target_.load_beside(dump, amcheck, stop)
                      : target_.load(dump, amcheck, stop);
  }

 private:
  std::string into_;
  ingest::PgTarget target_;
  bool is_beside_ = false;
};

std::vector<ingest::PgTableBefore> tables_of(
    const ingest::PgDumpStream& stream) {
  std::vector<ingest::PgTableBefore> tables;
  for (const auto& table : stream.tables()) {
    tables.push_back({table.schema, table.name, table.rows, {}});
  }
  return tables;
}

// All that a dump gives, to the sink; it throws when the dump is not whole.
ingest::StreamEnd pass_on(ingest::PgDumpStream& stream,
                          const ingest::ByteSink& sink,
                          const std::stop_token& stop) {
  constexpr std::size_t kRoom = std::size_t{256} << 10;
  std::vector<std::byte> room(kRoom);
  while (const std::size_t size = stream.read(room, stop)) {
    if (sink(std::span(room).first(size)) == repo::Visit::stop) {
      return ingest::StreamEnd::not_wanted;
    }
  }
  stream.finish(stop);
  return ingest::StreamEnd::complete;
}

// Takes what was asked for out of the recovered server.
class Extraction {
 public:
  Extraction(const ExtractRequest& request, Destination* destination,
             Context& context)
      : request_(request), destination_(destination), context_(context) {
    for (const auto& table : request.tables) {
      asked_.push_back(ingest::parse_table_name(table));
    }
  }

  void take(const ingest::RecoveredServer& server,
            const std::stop_token& stop) {
    // Of the folder that the server's programs come from, or its version's.
    PgPlaces places;
    places.bin_dir = request_.places.bin_dir;
    const auto programs = ingest::find_dump_programs(
        program_places(places, "restore"), server.major, stop);
    require_database(server, programs.programs, stop);
    const ingest::PgQuestions questions{programs.programs,
                                        server.dsn_of(request_.database)};
    ingest::PgExtract extract;
    if (!asked_.empty()) {
      extract.tables = ingest::find_tables(questions, asked_, stop);
    }
    if (request_.schema) {
      ingest::move_tables(questions, extract.tables, *request_.schema, stop);
      extract = {.tables = {}, .schema = *request_.schema};
    }
    if (request_.to_dump) {
      write_file(questions, extract, stop);
    } else {
      load(questions, extract, server.major, stop);
    }
  }

  [[nodiscard]] bool is_done() const { return is_done_; }
  // Nothing: into a file.
  [[nodiscard]] const std::optional<ingest::PgLoaded>& loaded() const {
    return loaded_;
  }
  [[nodiscard]] std::uint64_t rows() const { return rows_; }
  [[nodiscard]] std::uint64_t table_count() const { return tables_; }

 private:
  void require_database(const ingest::RecoveredServer& server,
                        const ingest::PgPrograms& programs,
                        const std::stop_token& stop) const {
    const auto all =
        ingest::ask_databases({programs, server.dsn_of("template1")}, stop);
    std::string names;
    for (const auto& [name, bytes] : all) {
      if (name == request_.database) return;
      names += (names.empty() ? "" : ", ") + printable(name);
    }
    throw repo::NotFound("there was no database " +
                         printable(request_.database) +
                         " at that moment; there were " + names);
  }

  void write_file(const ingest::PgQuestions& questions,
                  const ingest::PgExtract& extract,
                  const std::stop_token& stop) {
    const auto format = request_.to_dump->ends_with(kSqlEnd)
                            ? ingest::PgDumpFormat::plain
                            : ingest::PgDumpFormat::custom;
    ingest::PgDumpStream stream(
        ingest::extract_command(questions, extract, format,
                                ingest::PgDumpPacking::compressed),
        [this] { return context_.now(); });
    DumpFile file(*request_.to_dump);
    (void)pass_on(
        stream,
        [&file](std::span<const std::byte> bytes) {
          file.write(bytes);
          return repo::Visit::go_on;
        },
        stop);
    file.publish();
    note_done(stream);
  }

  void load(const ingest::PgQuestions& questions,
            const ingest::PgExtract& extract, int major,
            const std::stop_token& stop) {
    ingest::PgDumpStream stream(
        ingest::extract_command(questions, extract,
                                ingest::PgDumpFormat::custom,
                                ingest::PgDumpPacking::plain),
        [this] { return context_.now(); });
    ingest::PgDumpToLoad dump{
        .into = destination_->into(),
        .kind = ingest::PgDumpKind::archive,
        .content =
            [&](const ingest::ByteSink& sink) {
              return pass_on(stream, sink, stop);
            },
        .traits = {},
        .tables = [&stream] { return tables_of(stream); }};
    if (!request_.schema) {
      dump.traits = ingest::ask_database_traits(questions, major, stop);
    }
    loaded_ = destination_->load(dump, stop);
    note_done(stream);
  }

  void note_done(const ingest::PgDumpStream& stream) {
    is_done_ = true;
    rows_ = stream.row_count();
    tables_ = stream.table_count();
  }

  const ExtractRequest& request_;
  Destination* const destination_;  // null: into a file
  Context& context_;
  std::vector<PgTableName> asked_;
  std::optional<ingest::PgLoaded> loaded_;
  bool is_done_ = false;
  std::uint64_t rows_ = 0;
  std::uint64_t tables_ = 0;
};

// The user that root has the server run as has to get through to its folder.
void let_through(const std::filesystem::path& folder) {
  constexpr mode_t kPassing = 0711;
  if (::geteuid() == 0 && ::chmod(folder.c_str(), kPassing) != 0) {
    repo::throw_system_error(folder.string(), errno);
  }
}

void print_json(const ExtractRequest& request, const Extraction& extraction,
                const std::optional<DumpOutcome>& outcome, double seconds,
                Context& context) {
  Json json = Json::line("summary", context.now());
  json.set_bytes("database", request.database)
      .set("target", to_string(*request.recovery.target))
      .set("tables", extraction.table_count())
      .set("rows", extraction.rows());
  if (request.to_dump) json.set_bytes("file", *request.to_dump);
  if (request.schema) json.set_bytes("schema", *request.schema);
  if (outcome) json.set("restored", json_of(*outcome));
  context.output.json(json.set("seconds", seconds));
}

}  // namespace

ExitCode restore_extract(const ExtractRequest& request, Context& context) {
  require_sense(request);
  const auto began = std::chrono::steady_clock::now();
  std::optional<Destination> destination;
  if (request.to_dump) {
    DumpFile::require_absent(*request.to_dump);
  } else {
    hand_on_pg_password_from_command();
    const Interrupt interrupt;
    destination.emplace(request, interrupt.token());
  }
  Extraction extraction(request, destination ? &*destination : nullptr,
                        context);
  const TemporaryFolder scratch;
  let_through(scratch.path());
  const ExitCode recovered =
      restore_to_moment(request.recovery, request.series,
                        (scratch.path() / "data").string(), context,
                        [&extraction](const ingest::RecoveredServer& server,
                                      const std::stop_token& stop) {
                          extraction.take(server, stop);
                        });
  if (!extraction.is_done()) return recovered;

  PlannedDump dump;
  std::optional<DumpOutcome> outcome;
  if (extraction.loaded()) {
    dump.path = request.database;
    dump.database = request.database;
    dump.into = destination->into();
    outcome = DumpOutcome{
        .dump = &dump, .loaded = extraction.loaded(), .failure = {}};
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began)
          .count();
  if (context.output.is_json()) {
    print_json(request, extraction, outcome, seconds, context);
  } else if (outcome) {
    print_outcome(*outcome, context.output);
  } else {
    context.output.note("wrote " + printable(*request.to_dump) + ": " +
                        counted(extraction.rows(), "row") + " in " +
                        counted(extraction.table_count(), "table") +
                        " of database " + printable(request.database) +
                        ", in " + duration_text(seconds));
  }
  return !outcome || is_alike(*outcome) ? recovered
                                        : worse(recovered, ExitCode::partial);
}

}  // namespace cairn::cli
