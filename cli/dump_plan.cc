#include "cli/dump_plan.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "cli/printable.h"
#include "cli/quantity.h"
#include "cli/usage_error.h"
#include "ingest/pg_dump.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

// What a server keeps of the name of a database; it cuts longer ones.
constexpr std::size_t kMaxDatabaseName = 63;

SnapshotSelector::Selected select(Context& context, SnapshotSelector& selector,
                                  const std::string& name) {
  if (is_latest(name)) context.require_that_latest_is();
  return selector.select(name);
}

std::string last_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

// Reads how it begins.
ingest::PgDumpKind kind_of(DumpSnapshot& snapshot, const std::string& path,
                           const repo::TreeEntry& entry,
                           const std::stop_token& stop) {
  const std::string head =
      snapshot.beginning(entry, ingest::kPgDumpHeadBytes, stop);
  const auto bytes = std::as_bytes(std::span(head));
  const auto kind = ingest::kind_of_pg_dump(bytes);
  if (!kind) {
    throw repo::RefusedForSafety(
        path + ": is " + std::string(ingest::what_is_no_pg_dump(bytes)) +
        ", and only what pg_dump or pg_dumpall wrote is loaded into a server; "
        "'cairn cat' writes it to a program that knows what it is");
  }
  return *kind;
}

// What lies beside the dump; nothing: it was not made by `pg dump`.
std::optional<PgTablesDocument> document_of(DumpSnapshot& snapshot,
                                            const std::string& path,
                                            const std::stop_token& stop) {
  const std::string name = last_name(path);
  const auto database = ingest::pg_database_of(name);
  if (!database) return std::nullopt;
  const std::string beside = path.substr(0, path.size() - name.size()) +
                             ingest::pg_tables_name(*database);
  if (!snapshot.has(beside)) return std::nullopt;
  const auto entry = snapshot.entry(beside);
  if (entry.entry.size > kMaxTablesDocument) return std::nullopt;
  return read_pg_tables_document(
      snapshot.beginning(entry, kMaxTablesDocument, stop));
}

PlannedDump dump_at(DumpSnapshot& snapshot, const std::string& path,
                    const std::stop_token& stop) {
  PlannedDump dump{
      .path = path,
      .database = ingest::pg_database_of(last_name(path)).value_or(""),
      .into = {},
      .entry = snapshot.entry(path),
      .kind = {},
      .document = {}};
  dump.kind = kind_of(snapshot, path, dump.entry, stop);
  dump.document = document_of(snapshot, path, stop);
  dump.into = dump.database;
  return dump;
}

// The one thing that a path names.
DumpPlan plan_for_path(DumpSnapshot& snapshot, const std::stop_token& stop) {
  DumpPlan plan;
  PlannedDump dump = dump_at(snapshot, snapshot.path(), stop);
  if (dump.kind == ingest::PgDumpKind::globals) {
    plan.globals = std::move(dump.entry);
  } else {
    plan.dumps.push_back(std::move(dump));
  }
  return plan;
}

bool is_wanted(const std::vector<std::string>& databases,
               const std::string& database) {
  return databases.empty() ||
         std::ranges::find(databases, database) != databases.end();
}

// Where a source lies: "postgres" of "postgres/shop.dump", the top of the
// snapshot of "shop.dump".
std::string folder_of(std::string_view name) {
  const auto slash = name.rfind('/');
  return std::string(slash == std::string_view::npos ? ""
                                                     : name.substr(0, slash));
}

// A source that is a dump of databases that are wanted.
bool is_dump(const repo::SourceReport& source,
             const std::vector<std::string>& databases) {
  if (source.kind != repo::SourceKind::command) return false;
  const auto database = ingest::pg_database_of(last_name(source.name));
  return database && is_wanted(databases, *database);
}

// That holds the dumps: the one that was named, or the only one. `cairn run`
// makes one of each server.
std::string folder_of_dumps(DumpSnapshot& snapshot,
                            const repo::SnapshotRecord& record,
                            const std::vector<std::string>& databases) {
  if (!snapshot.path().empty()) return snapshot.path();
  std::set<std::string> folders;
  for (const auto& source : record.sources) {
    if (is_dump(source, databases)) folders.insert(folder_of(source.name));
  }
  if (folders.size() <= 1) return folders.empty() ? "" : *folders.begin();
  std::string names;
  for (const auto& folder : folders) {
    names += (names.empty() ? "" : ", ") + printable(folder);
  }
  throw UsageError("restore: the snapshot holds dumps of several servers, in " +
                   names + "; name one: SNAP:" + printable(*folders.rbegin()));
}

// All dumps of a snapshot, or of a folder of it, or those of the databases that
// were named.
DumpPlan plan_for_all(DumpSnapshot& snapshot,
                      const std::vector<std::string>& databases,
                      const std::stop_token& stop) {
  const auto& record = snapshot.snapshot().record;
  if (!record) {
    throw repo::WrongKey(
        "this key may not read what the snapshot holds; a key of the role "
        "owner or restore does");
  }
  const std::string folder = folder_of_dumps(snapshot, *record, databases);
  DumpPlan plan;
  for (const auto& source : record->sources) {
    const bool is_globals = source.kind == repo::SourceKind::command &&
                            last_name(source.name) == ingest::kPgGlobalsName;
    if (folder_of(source.name) != folder ||
        !(is_globals || is_dump(source, databases))) {
      continue;
    }
    if (source.status == repo::SourceStatus::failed) {
      plan.lacking.push_back(source.name +
                             " is not in the snapshot: " + source.message);
    } else if (is_globals) {
      plan.globals = snapshot.entry(source.name);
    } else {
      plan.dumps.push_back(dump_at(snapshot, source.name, stop));
    }
  }
  for (const auto& name : databases) {
    if (std::ranges::find(plan.dumps, name, &PlannedDump::database) ==
        plan.dumps.end()) {
      throw repo::NotFound("snapshot " + snapshot.snapshot().id.brief() +
                           " holds no dump of database " + printable(name) +
                           "; 'cairn ls " + snapshot.snapshot().id.brief() +
                           "' lists what it holds");
    }
  }
  if (plan.dumps.empty()) {
    throw repo::NotFound("snapshot " + snapshot.snapshot().id.brief() +
                         " holds no dumps of databases by 'pg dump'; name one "
                         "by its path: SNAP:PATH");
  }
  return plan;
}

void give_names(const std::optional<std::string>& into, DumpPlan& plan) {
  if (into) {
    if (plan.dumps.size() != 1) {
      throw UsageError("restore: --into names one database, and this is " +
                       counted(plan.dumps.size(), "dump") +
                       "; choose one by --database D or SNAP:PATH");
    }
    plan.dumps.front().into = *into;
  }
  for (const auto& dump : plan.dumps) {
    if (dump.into.empty()) {
      throw UsageError("restore: " + dump.path +
                       " does not say which database it is of; name one by "
                       "--into");
    }
    require_database_name(dump.into);
  }
}

}  // namespace

DumpSnapshot::DumpSnapshot(Context& context, const std::string& name,
                           const std::optional<std::string>& series)
    : repository_(context.open_to_read()),
      selector_(context, repository_, series),
      selected_(select(context, selector_, name)) {}

repo::TreeEntry DumpSnapshot::entry(const std::string& path) {
  auto entry = selector_.entry_at({selected_.snapshot, path, path});
  if (!repo::has_content(entry.entry.type)) {
    throw repo::NotFound(path + ": neither a file nor a stream");
  }
  return entry;
}

bool DumpSnapshot::is_folder() {
  const auto entry =
      selector_.entry_at({selected_.snapshot, selected_.path, selected_.path});
  return entry.entry.type == repo::EntryType::folder;
}

bool DumpSnapshot::has(const std::string& path) {
  auto blobs = repository_.blobs();
  return repo::TreeReader(blobs)
      .find({repo::BlobKind::links, snapshot().header.root, 0}, path)
      .has_value();
}

ingest::StreamEnd DumpSnapshot::write(const repo::TreeEntry& entry,
                                      const ingest::ByteSink& sink,
                                      repo::Progress& progress,
                                      const std::stop_token& stop) {
  return ingest::write_stream(
      repository_, entry, sink, progress, stop,
      std::clamp(std::thread::hardware_concurrency(), 1U, 8U));
}

std::string DumpSnapshot::beginning(const repo::TreeEntry& entry,
                                    std::size_t most,
                                    const std::stop_token& stop) {
  std::string text;
  repo::Progress progress;
  (void)ingest::write_stream(
      repository_, entry,
      [&](std::span<const std::byte> bytes) {
        text.append(reinterpret_cast<const char*>(bytes.data()),
                    std::min(bytes.size(), most - text.size()));
        return text.size() < most ? repo::Visit::go_on : repo::Visit::stop;
      },
      progress, stop, 1);
  return text;
}

DumpPlan plan_dumps(DumpSnapshot& snapshot,
                    const std::vector<std::string>& databases,
                    const std::optional<std::string>& into,
                    const std::stop_token& stop) {
  const bool is_one = !snapshot.path().empty() && !snapshot.is_folder();
  if (is_one && !databases.empty()) {
    throw UsageError(
        "restore: --database chooses among the dumps of a snapshot; SNAP:PATH "
        "names one already");
  }
  DumpPlan plan = is_one ? plan_for_path(snapshot, stop)
                         : plan_for_all(snapshot, databases, stop);
  give_names(into, plan);
  return plan;
}

int major_of(const std::string& version) {
  int major = 0;
  (void)std::from_chars(version.data(), version.data() + version.size(), major);
  return major;
}

int newest_pg_dump(const DumpPlan& plan) {
  int newest = 0;
  for (const auto& dump : plan.dumps) {
    if (!dump.document) continue;
    newest = std::max(newest, major_of(dump.document->pg_dump_version));
  }
  return newest;
}

void require_database_name(const std::string& name) {
  if (name.empty() || name.size() > kMaxDatabaseName ||
      name.find('\0') != std::string::npos) {
    throw UsageError("restore: '" + name +
                     "' cannot be the name of a database, which has 1 to " +
                     std::to_string(kMaxDatabaseName) + " bytes");
  }
}

}  // namespace cairn::cli
