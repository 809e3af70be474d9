#include "cli/restore_redis.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "cli/config/configuration.h"
#include "cli/dump_plan.h"
#include "cli/interrupt.h"
#include "cli/printable.h"
#include "cli/progress_display.h"
#include "cli/quantity.h"
#include "cli/redis_keys_document.h"
#include "cli/redis_source.h"
#include "cli/temporary_folder.h"
#include "cli/time_text.h"
#include "cli/usage_error.h"
#include "ingest/rdb_scanner.h"
#include "ingest/redis_aof.h"
#include "ingest/redis_data_folder.h"
#include "ingest/redis_trial.h"
#include "repo/error.h"

namespace cairn::cli {
namespace {

constexpr std::uint64_t kUsualDatabases = 16;

using Databases = std::map<std::uint64_t, ingest::RedisKeyspace>;

std::string in_folder(const std::string& folder, std::string_view name) {
  return (folder.empty() ? "" : folder + "/") + std::string(name);
}

struct DumpsOfSnapshot {
  std::vector<std::string> whole;
  std::vector<std::string> absent;  // each with why
};

DumpsOfSnapshot dumps_of(const repo::SnapshotRecord& record) {
  DumpsOfSnapshot found;
  for (const auto& source : record.sources) {
    if (!source.name.ends_with("/" + std::string(kRedisDumpName))) continue;
    if (source.status == repo::SourceStatus::failed) {
      found.absent.push_back(printable(source.name) + " (" + source.message +
                             ")");
    } else {
      found.whole.push_back(source.name);
    }
  }
  return found;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// "SNAP:redis" each, of dumps.
std::string choices(std::vector<std::string> dumps) {
  for (auto& dump : dumps) {
    dump = "SNAP:" + printable(dump.substr(0, dump.rfind('/')));
  }
  return listed(dumps);
}

// The one dump of the snapshot, in words that name it otherwise.
std::string only_dump(const DumpSnapshot& snapshot) {
  const auto& record = snapshot.snapshot().record;
  if (!record) {
    throw repo::WrongKey(
        "this key may not read what the snapshot holds; a key of the role "
        "owner or restore does");
  }
  const std::string id = snapshot.snapshot().id.brief();
  auto found = dumps_of(*record);
  if (found.whole.size() == 1 && found.absent.empty()) {
    return found.whole.front();
  }
  if (!found.whole.empty()) {
    std::vector<std::string> names;
    for (const auto& name : found.whole) names.push_back(printable(name));
    throw UsageError(
        "restore: snapshot " + id + " holds " + listed(names) +
        (found.absent.empty() ? "" : ", but not " + listed(found.absent)) +
        "; choose by " + choices(std::move(found.whole)));
  }
  throw repo::NotFound(
      found.absent.empty()
          ? "snapshot " + id +
                " holds no dump of a source of type redis; name one by its "
                "path: SNAP:PATH"
          : "not in snapshot " + id + ": " + listed(found.absent));
}

// What the path names: a dump, or the folder of the source that it is of.
std::string dump_path(DumpSnapshot& snapshot) {
  const std::string& path = snapshot.path();
  if (path.empty()) return only_dump(snapshot);
  const std::string inside = in_folder(path, kRedisDumpName);
  return snapshot.has(inside) ? inside : path;
}

std::optional<RedisKeysDocument> document_beside(DumpSnapshot& snapshot,
                                                 const std::string& dump,
                                                 const std::stop_token& stop) {
  const auto slash = dump.rfind('/');
  const std::string beside = in_folder(
      slash == std::string::npos ? "" : dump.substr(0, slash), kRedisKeysName);
  if (!snapshot.has(beside)) return std::nullopt;
  const auto entry = snapshot.entry(beside);
  if (entry.entry.size > kMaxKeysDocument) return std::nullopt;
  return read_redis_keys_document(
      snapshot.beginning(entry, kMaxKeysDocument, stop));
}

// What is known of the names that the server gave which was saved: it said so,
// or they are those of its files.
ingest::KnownRedisNames saved_names(
    const DumpSnapshot& snapshot, const std::string& dump,
    const std::optional<RedisKeysDocument>& document) {
  ingest::KnownRedisNames names;
  if (document) names = document->names;
  const auto& record = snapshot.snapshot().record;
  const auto slash = dump.rfind('/');
  if (names.aof_prefix || !record || slash == std::string::npos) return names;
  const std::string files =
      in_folder(dump.substr(0, slash), kRedisAofName) + "/";
  for (const auto& source : record->sources) {
    if (!source.name.starts_with(files)) continue;
    const auto prefix = ingest::aof_prefix_of(source.name.substr(files.size()));
    if (prefix) names.aof_prefix = ingest::checked_redis_name(*prefix);
  }
  return names;
}

// "20261127T122100Z": a name for what was there before.
std::string suffix_of(const repo::Timestamp& time) {
  std::string text = rfc3339(time);
  text = text.substr(0, text.find_first_of(".+Z"));
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return ".before-" + text + "Z";
}

std::string text_of(const Databases& databases) {
  std::string text;
  for (const auto& [number, space] : databases) {
    text += (text.empty() ? "" : ", ") + std::string("db") +
            std::to_string(number) + " " + counted(space.keys, "key") + " (" +
            std::to_string(space.expiring) + " expiring)";
  }
  return text.empty() ? "no keys" : text;
}

// `where` is who says what was expected.
void require_same(const Databases& found, const Databases& expected,
                  const std::string& what, const std::string& where) {
  if (found == expected) return;
  throw ingest::VerificationFailed(what + " has " + text_of(found) + ", and " +
                                   where + " says " + text_of(expected));
}

class Restoring {
 public:
  Restoring(const RedisRestore& options, DumpSnapshot& snapshot,
            Context& context, std::stop_token stop)
      : options_(options),
        snapshot_(snapshot),
        context_(context),
        stop_(std::move(stop)),
        path_(dump_path(snapshot)),
        entry_(snapshot.entry(path_)),
        document_(document_beside(snapshot, path_, stop_)),
        saved_names_(saved_names(snapshot, path_, document_)),
        names_(ingest::redis_names_in(options.folder, saved_names_)),
        began_(context.now()) {}

  ExitCode run() {
    std::optional<ingest::RedisPrograms> programs;
    if (options_.verify) {
      const char* const path = std::getenv("PATH");
      programs = ingest::find_redis_programs(path ? path : "");
    }
    require_an_rdb();
    if (context_.options.is_dry_run) return dry_run();
    confirm_no_server_unseen();
    confirm_other_server();
    ingest::RedisDataFolder folder(options_.folder, saved_names_);
    names_ = folder.names();
    write(folder);
    folder.complete();
    if (programs) verify(folder, *programs);
    const auto moved = folder.put_in_place(suffix_of(began_));
    report(folder, moved);
    return snapshot_.is_in_doubt() ? ExitCode::damage : ExitCode::ok;
  }

 private:
  void confirm_no_server_unseen() {
    if (ingest::sees_all_programs() ||
        !ingest::has_redis_data(options_.folder)) {
      return;
    }
    context_.confirm(
        "From here, a container or a /proc that hides programs, not every "
        "program of the machine can be seen. A Redis server would write over "
        "what is restored. Has the one of " +
        options_.folder + " ended?");
  }

  // A server whose processes cannot be seen from here, in a container beside
  // ours, may have its folder in common with us all the same.
  void confirm_other_server() {
    if (context_.configured_repository() == nullptr ||
        !ingest::has_redis_data(options_.folder)) {
      return;
    }
    const auto* const source =
        context_.configuration()->source(path_.substr(0, path_.find('/')));
    if (source == nullptr) return;
    const auto* const server = std::get_if<config::Redis>(&source->what);
    if (server == nullptr) return;
    const auto place =
        RedisSource(source->name, *server, context_).place_if_it_answers(stop_);
    if (!place) return;
    context_.confirm("The server of source '" + source->name + "', at " +
                     *place +
                     ", runs. It would write over what is restored, if that is "
                     "its folder. Is " +
                     options_.folder + " another one's?");
  }

  ExitCode dry_run() {
    if (context_.output.is_json()) {
      Json json = Json::line("dry_run", context_.now());
      json.set("action", "restore")
          .set("snapshot_id", snapshot_.snapshot().id.hex())
          .set_bytes("path", path_)
          .set_bytes("target", options_.folder)
          .set("bytes", entry_.entry.size);
      set_names(json);
      context_.output.json(json);
    } else {
      context_.output.note("would restore " + printable(path_) + ", " +
                           size_text(entry_.entry.size) + ", to " +
                           options_.folder);
      context_.output.note(text_of_names());
    }
    return ExitCode::ok;
  }

  void set_names(Json& json) const {
    json.set_bytes("dbfilename", names_.dump)
        .set_bytes("appenddirname", names_.aof_folder)
        .set_bytes("appendfilename", names_.aof_prefix);
  }

  // No file here says which a server has.
  [[nodiscard]] std::string text_of_names() const {
    return "for a server with `dbfilename " + printable(names_.dump) +
           "`, `appenddirname " + printable(names_.aof_folder) +
           "`, `appendfilename " + printable(names_.aof_prefix) +
           "`: one whose settings differ starts without it, and says nothing";
  }

  // By its beginning: before anything is asked, or promised.
  void require_an_rdb() {
    constexpr std::size_t kEnough = 4096;
    ingest::RdbScanner scanner(began_);
    const std::string text = snapshot_.beginning(entry_, kEnough, stop_);
    try {
      scanner.add(std::as_bytes(std::span(text)));
      if (scanner.content().magic.empty()) scanner.finish();
    } catch (const ingest::ProducerFailed& e) {
      refuse_no_rdb(e.what());
    }
  }

  [[noreturn]] void refuse_no_rdb(const std::string& why) const {
    throw repo::RefusedForSafety(path_ +
                                 " is no RDB that a server reads: " + why);
  }

  // It is walked on the way: what is no whole RDB would be found out by the
  // server, when the old data are out of its way.
  void write(ingest::RedisDataFolder& folder) {
    ingest::RdbScanner scanner(began_);
    repo::Progress progress;
    progress.bytes_total = entry_.entry.size;
    progress.set_current(path_);
    const ProgressDisplay display(context_.output, context_.options.progress,
                                  {"restore", "dump"}, progress);
    try {
      (void)snapshot_.write(
          entry_,
          [&](std::span<const std::byte> bytes) {
            scanner.add(bytes);
            folder.write(bytes);
            return repo::Visit::go_on;
          },
          progress, stop_);
      scanner.finish();
    } catch (const ingest::ProducerFailed& e) {
      refuse_no_rdb(e.what());
    }
    content_ = scanner.content();
    if (content_.not_walked) return;
    for (const auto& [number, database] : content_.databases) {
      expected_[number] = {database.keys, database.expiring};
    }
    require_usual_numbers();
    require_as_saved();
  }

  // A server has memory for each database up to the last.
  void require_usual_numbers() const {
    constexpr std::uint64_t kLast = 65'535;
    if (expected_.empty() || expected_.rbegin()->first <= kLast) return;
    throw repo::RefusedForSafety(
        path_ + " has keys in database " +
        std::to_string(expected_.rbegin()->first) +
        ", and the last that is restored is " + std::to_string(kLast) +
        ": a server would need its memory for all of them");
  }

  // That a server must be told to have.
  [[nodiscard]] std::uint64_t databases() const {
    constexpr std::uint64_t kUsual = 16;
    return expected_.empty() ? kUsual
                             : std::max(kUsual, expected_.rbegin()->first + 1);
  }

  void require_as_saved() const {
    if (!document_ || !document_->is_walked) return;
    Databases saved;
    for (const auto& [number, one] : document_->databases) {
      saved[number] = {one.keys, one.expiring};
    }
    require_same(expected_, saved, path_, std::string(kRedisKeysName));
  }

  void phase(std::string_view what) const {
    context_.output.note(std::string(what));
  }

  [[nodiscard]] ingest::RedisTrial trial(
      ingest::RedisDataFolder& folder, ingest::RedisReads what,
      const ingest::RedisPrograms& programs) const {
    const TemporaryFolder scratch;
    return ingest::try_redis(folder, what,
                             {.programs = programs,
                              .scratch = scratch.path(),
                              .databases = databases()},
                             stop_);
  }

  void verify(ingest::RedisDataFolder& folder,
              const ingest::RedisPrograms& programs) {
    phase("having redis-check-rdb read it");
    ingest::check_rdb(folder, programs, stop_);
    phase("starting a server on it, with append-only files");
    tried_ = trial(folder, ingest::RedisReads::append_only_files, programs);
    phase("starting a server on it, without");
    const auto other = trial(folder, ingest::RedisReads::dump, programs);
    if (!content_.not_walked) {
      require_same(tried_->databases, expected_, "a server", "the dump");
    }
    require_same(other.databases, tried_->databases,
                 "a server without append-only files", "one with them");
    if (other.digest != tried_->digest) {
      throw ingest::VerificationFailed(
          "two servers that loaded it have different data");
    }
  }

  void report(const ingest::RedisDataFolder& folder,
              const std::vector<std::string>& moved) const {
    const auto sum = content_.sum();
    if (context_.output.is_json()) {
      Json json = Json::line("summary", context_.now());
      json.set("snapshot_id", snapshot_.snapshot().id.hex())
          .set_bytes("path", path_)
          .set_bytes("target", options_.folder)
          .set("bytes", content_.bytes)
          .set("verified", tried_.has_value())
          .set_bytes("moved_aside", moved);
      if (content_.not_walked) {
        json.set("keys", nullptr).set("expired", nullptr);
      } else {
        json.set("keys", sum.keys).set("expired", sum.expired);
      }
      json.set("databases_needed", databases());
      if (tried_) json.set("load_seconds", tried_->seconds);
      set_names(json);
      context_.output.json(json);
      return;
    }
    auto& output = context_.output;
    output.line(
        "restored " + printable(path_) + " of snapshot " +
        snapshot_.snapshot().id.brief() + " to " + options_.folder + ": " +
        (content_.not_walked ? size_text(content_.bytes) : text_of(expected_)));
    if (tried_) {
      output.line("verified: a server has loaded it, with append-only files (" +
                  printable(names_.aof_folder) +
                  ") and without: " + text_of(tried_->databases));
    }
    output.line(text_of_names());
    for (const auto& name : moved) {
      output.note("what was there is now " + options_.folder + "/" + name);
    }
    if (content_.not_walked) {
      output.note("its keys were not counted: " + *content_.not_walked);
    }
    if (folder.is_new() && folder.owner().user == 0) {
      output.note(
          "the files are root's, and a server runs as somebody else: "
          "chown -R them to its user");
    }
    if (databases() > kUsualDatabases) {
      output.note(
          "a server does not start with it unless its configuration "
          "says `databases " +
          std::to_string(databases()) + "`, or more");
    }
    if (sum.expired > 0) {
      output.note(counted(sum.expired, "key") +
                  " of them had a time to live that has passed: a server drops "
                  "them");
    }
  }

  const RedisRestore& options_;
  DumpSnapshot& snapshot_;
  Context& context_;
  const std::stop_token stop_;
  const std::string path_;
  const repo::TreeEntry entry_;
  const std::optional<RedisKeysDocument> document_;
  const ingest::KnownRedisNames saved_names_;
  ingest::RedisNames names_;  // that what is restored gets
  const repo::Timestamp began_;
  ingest::RdbContent content_;
  Databases expected_;
  std::optional<ingest::RedisTrial> tried_;
};

}  // namespace

ExitCode restore_redis(const RedisRestore& options, Context& context) {
  if (options.folder.empty()) {
    throw UsageError("restore: --to-redis-dir: an empty folder name");
  }
  // Before anything is read that takes long.
  ingest::require_no_redis_in(options.folder);
  DumpSnapshot snapshot(context, options.snapshot, options.series);
  const Interrupt interrupt;
  return Restoring(options, snapshot, context, interrupt.token()).run();
}

}  // namespace cairn::cli
