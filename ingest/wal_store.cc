#include "ingest/wal_store.h"

#include <algorithm>
#include <fstream>
#include <span>
#include <type_traits>
#include <utility>

#include "ingest/wal_archive.h"
#include "repo/blob_reader.h"
#include "repo/blob_writer.h"
#include "repo/commit.h"
#include "repo/error.h"
#include "repo/forget.h"
#include "repo/heartbeat.h"
#include "repo/kept.h"
#include "repo/reusable_blobs.h"
#include "repo/session.h"
#include "repo/snapshot.h"
#include "repo/tree_reader.h"
#include "repo/tree_writer.h"

namespace cairn::ingest {
namespace {

constexpr std::uint32_t kFolderMode = 0700;
constexpr std::uint32_t kFileMode = 0600;
// A fourth of it has to be needless.
constexpr std::uint64_t kLeastTrimmedPart = 4;
constexpr std::string_view kClusterFile = "cluster";
constexpr std::string_view kForgetReason = "a later one holds its WAL and more";

std::uint64_t bytes_of(const std::map<std::uint32_t, std::string>& histories) {
  std::uint64_t bytes = 0;
  for (const auto& [timeline, content] : histories) bytes += content.size();
  return bytes;
}

std::string what_is_lost(const CommittedWal& committed) {
  return "what snapshot " + committed.snapshot.brief() +
         " holds is lost, or was stored by another write key and is not "
         "verified; 'cairn check' tells which";
}

// Nothing: what `read` takes is damaged or lost.
template <typename Read>
std::optional<std::invoke_result_t<Read>> if_undamaged(Read read) {
  try {
    return read();
  } catch (const repo::CorruptionError&) {
    return std::nullopt;
  } catch (const repo::NotFound&) {
    return std::nullopt;
  }
}

// One flush, from registered to committed.
class Flush {
 public:
  Flush(repo::Repository& repository, const WalCluster& cluster,
        const WalStoreOptions& options, repo::Session& session, WalRun& run,
        const std::map<std::uint32_t, std::string>& histories)
      : repository_(repository),
        cluster_(cluster),
        options_(options),
        session_(session),
        run_(run),
        histories_(histories),
        now_(options.clock()),
        tag_(repo::series_tag(repository.keyring(), options.series)),
        list_(repository.snapshots(now_)),
        valid_(list_.snapshots),
        committed_(run.committed()) {}

  WalFlush run(const std::stop_token& stop);

 private:
  repo::ListWriter open_list(repo::ReusableBlobs& reusable,
                             const repo::StoreNode& store);
  void find_predecessor(repo::ReusableBlobs& reusable);
  void begin_anew(std::string why);
  void find_start();
  [[nodiscard]] bool can_start_at(Lsn start);
  std::vector<repo::Link> store_stream(repo::BlobWriter& writer,
                                       repo::ListWriter list,
                                       const std::stop_token& stop);
  repo::Link store_tree(const repo::StoreNode& store, repo::BlobWriter& writer,
                        std::span<const repo::Link> rows);
  void note_own_snapshots();
  void commit(const repo::Kept<repo::Link>& root, std::uint64_t bytes_stored);
  void forget_predecessors();
  [[nodiscard]] bool may_forget() const;
  [[nodiscard]] bool is_of_ours(const repo::Snapshot& snapshot) const;
  [[nodiscard]] repo::Entry entry_of(std::string name, repo::EntryType type,
                                     std::uint64_t size) const;

  repo::Repository& repository_;
  const WalCluster& cluster_;
  const WalStoreOptions& options_;
  repo::Session& session_;
  WalRun& run_;
  const std::map<std::uint32_t, std::string>& histories_;
  const repo::Timestamp now_;
  const repo::SeriesTag tag_;
  const repo::SnapshotList list_;
  const std::vector<repo::ValidSnapshot>& valid_;
  std::optional<CommittedWal> committed_;
  std::optional<Lsn> needed_;  // from there on; nothing: all
  WalFlush flush_;
};

WalFlush Flush::run(const std::stop_token& stop) {
  repository_.index().refresh(repository_.storage(), repository_.keyring());
  repo::ReusableBlobs reusable(repository_.storage(), repository_.keyring(),
                               repository_.index(), session_.epoch());
  repo::BlobWriter writer(repository_, reusable, session_.id(), nullptr);
  const repo::StoreNode store = [&](repo::BlobKind kind,
                                    std::span<const std::byte> plain) {
    return writer.store(kind, plain);
  };
  auto list = open_list(reusable, store);
  flush_.begin = committed_ ? committed_->end : run_.begin();
  flush_.end = run_.durable_end();
  flush_.snapshot = session_.id();
  repo::Kept<repo::Link> rows(store_stream(writer, std::move(list), stop));
  repo::Kept<repo::Link> root;
  root.add(store_tree(store, writer, rows.items()));
  rows.require_unchanged();
  writer.finish();
  flush_.bytes_stored = writer.bytes_stored();
  note_own_snapshots();
  commit(root, writer.bytes_stored());
  run_.note_committed(
      {flush_.stream.start, flush_.end, session_.id(), rows.take()});
  forget_predecessors();
  return std::move(flush_);
}

// Under a valid snapshot collection keeps all that lies below its rows; under
// one that was forgotten it may be going.
void Flush::find_predecessor(repo::ReusableBlobs& reusable) {
  if (!committed_) return;
  const bool is_valid = std::ranges::any_of(valid_, [&](const auto& one) {
    return one.snapshot.id == committed_->snapshot &&
           one.snapshot.header.series_tag == tag_;
  });
  if (!is_valid) {
    begin_anew("snapshot " + committed_->snapshot.brief() +
               ", which held the WAL before, was forgotten");
  } else if (!std::ranges::all_of(committed_->rows, [&](const auto& row) {
               return reusable.contains(row.kind, row.id);
             })) {
    begin_anew(what_is_lost(*committed_));
  }
}

// Its snapshot stays, and readers take what it still has.
void Flush::begin_anew(std::string why) {
  flush_.began_anew = std::move(why);
  run_.forget_committed();
  committed_.reset();
}

// That the packs are there says nothing of the nodes in them, and what cannot
// be read today cannot tomorrow either: WAL would gather in the spool for ever.
repo::ListWriter Flush::open_list(repo::ReusableBlobs& reusable,
                                  const repo::StoreNode& store) {
  auto blobs = repository_.blobs();
  const auto read = [&](const repo::Link& node) {
    const auto plain = blobs.read(repo::BlobKind::links, node.id);
    return repo::decode_links(*plain, "node " + node.id.brief());
  };
  find_predecessor(reusable);
  find_start();
  if (committed_ && !flush_.trimmed_from) {
    auto list = if_undamaged(
        [&] { return repo::ListWriter(store, committed_->rows, read); });
    if (list) return std::move(*list);
    begin_anew(what_is_lost(*committed_));
    flush_.stream.start = run_.begin();
  }
  return repo::ListWriter(store);
}

// Where the predecessor starts, or later, when no base needs what it starts
// with: to leave it out costs a look at every list that stays, so it has to be
// worth that. What was not committed yet stays in any case.
void Flush::find_start() {
  flush_.stream = {cluster_.system, run_.timeline(),
                   committed_ ? committed_->start : run_.begin()};
  const auto bases = series_of_bases(options_.series);
  if (!committed_ || !bases) return;
  // One that cannot be read may be of an older base, and be repaired one day.
  if (!list_.damage.empty()) return;
  std::vector<const repo::ValidSnapshot*> snapshots;
  for (const auto& one : valid_) snapshots.push_back(&one);
  // Of later timelines a receiver of this one has no history.
  const auto no_history = [](std::uint32_t) -> std::optional<std::string> {
    return std::nullopt;
  };
  needed_ = end_of_needless_wal(snapshots,
                                repo::series_tag(repository_.keyring(), *bases),
                                cluster_.system, run_.timeline(), no_history);
  if (!needed_) return;
  const Lsn start =
      std::min(segment_begin(*needed_, cluster_.segment_bytes), run_.begin());
  const auto length = committed_->end.value - committed_->start.value;
  if (start <= committed_->start) return;
  if (start.value - committed_->start.value < length / kLeastTrimmedPart) {
    return;
  }
  if (!if_undamaged([&] { return can_start_at(start); }).value_or(false)) {
    return;
  }
  flush_.trimmed_from = committed_->start;
  flush_.stream.start = start;
}

// Every list that stays is read before one of the new ones is stored: damage
// would leave those behind with each flush.
bool Flush::can_start_at(Lsn start) {
  auto blobs = repository_.blobs();
  repo::StreamCursor kept(blobs, committed_->rows);
  std::uint64_t offset = start.value - committed_->start.value;
  const auto first = kept.at(offset);
  // Writers with another page size may have cut elsewhere.
  if (first ? first->offset != offset : start != committed_->end) return false;
  while (const auto place = kept.at(offset)) offset += place->length;
  return true;
}

std::vector<repo::Link> Flush::store_stream(repo::BlobWriter& writer,
                                            repo::ListWriter list,
                                            const std::stop_token& stop) {
  if (flush_.trimmed_from) {
    auto blobs = repository_.blobs();
    repo::StreamCursor kept(blobs, committed_->rows);
    std::uint64_t offset =
        flush_.stream.start.value - flush_.trimmed_from->value;
    while (const auto place = kept.at(offset)) {
      list.add({repo::BlobKind::content, place->id, place->length});
      offset += place->length;
    }
  }
  const std::uint64_t page = repository_.config().page_chunk;
  std::vector<std::byte> chunk;
  for (Lsn at = flush_.begin; at < flush_.end; at.value += chunk.size()) {
    if (stop.stop_requested()) throw repo::Cancelled("interrupted");
    const std::uint64_t cut = (at.value / page + 1) * page;
    chunk.resize(
        static_cast<std::size_t>(std::min(cut, flush_.end.value) - at.value));
    run_.read(at, chunk);
    list.add({repo::BlobKind::content,
              writer.store(repo::BlobKind::content, chunk), chunk.size()});
  }
  return std::move(list).finish();
}

repo::Entry Flush::entry_of(std::string name, repo::EntryType type,
                            std::uint64_t size) const {
  repo::Entry entry;
  entry.name = std::move(name);
  entry.type = type;
  entry.mode = type == repo::EntryType::folder ? kFolderMode : kFileMode;
  entry.modified = now_;
  entry.size = size;
  if (type == repo::EntryType::stream) entry.profile = repo::Profile::page;
  return entry;
}

// The path that path_of() gives, and the history files beside the timeline's
// folder.
repo::Link Flush::store_tree(const repo::StoreNode& store,
                             repo::BlobWriter& writer,
                             std::span<const repo::Link> rows) {
  std::vector<std::string> names;
  const std::string path = path_of(flush_.stream);
  std::string_view rest = path;
  for (auto slash = rest.find('/'); slash != std::string_view::npos;
       slash = rest.find('/')) {
    names.emplace_back(rest.substr(0, slash));
    rest.remove_prefix(slash + 1);
  }
  repo::TreeWriter tree(store);
  const auto begin_folder = [&](const std::string& name) {
    tree.begin_folder(entry_of(name, repo::EntryType::folder, 0));
  };
  const auto add_history = [&](std::uint32_t timeline,
                               const std::string& content) {
    const repo::Link chunk{repo::BlobKind::content,
                           writer.store(repo::BlobKind::content,
                                        std::as_bytes(std::span(content))),
                           content.size()};
    tree.add(
        entry_of(history_name(timeline), repo::EntryType::file, content.size()),
        {&chunk, 1});
  };
  const auto own = histories_.find(run_.timeline());
  begin_folder(names.at(0));
  begin_folder(names.at(1));
  for (auto older = histories_.begin(); older != own; ++older) {
    if (!older->second.empty()) add_history(older->first, older->second);
  }
  begin_folder(names.at(2));
  tree.add(entry_of(std::string(rest), repo::EntryType::stream,
                    flush_.end.value - flush_.stream.start.value),
           rows);
  (void)tree.end_folder();
  if (own != histories_.end() && !own->second.empty()) {
    add_history(own->first, own->second);
  }
  (void)tree.end_folder();
  (void)tree.end_folder();
  return std::move(tree).finish();
}

void Flush::commit(const repo::Kept<repo::Link>& root,
                   std::uint64_t bytes_stored) {
  constexpr std::uint64_t kFoldersAndStream = 4;
  const auto bytes = flush_.end.value - flush_.stream.start.value;
  repo::SourceReport source;
  source.name = path_of(flush_.stream);
  source.kind = repo::SourceKind::postgres_wal;
  source.bytes = bytes;
  source.entries = kFoldersAndStream + histories_.size();
  source.facts = {
      {std::string(wal_fact::kEndLsn), to_string(flush_.end)},
      {std::string(wal_fact::kServerVersion), cluster_.server_version},
      {std::string(wal_fact::kStartLsn), to_string(flush_.stream.start)},
      {std::string(wal_fact::kSystemIdentifier),
       std::to_string(cluster_.system)},
      {std::string(wal_fact::kTimeline), std::to_string(run_.timeline())},
      {std::string(wal_fact::kWalSegmentBytes),
       std::to_string(cluster_.segment_bytes)}};
  repo::SnapshotRecord record;
  record.series = options_.series;
  record.host = options_.host;
  record.user = options_.user;
  record.program = options_.program;
  record.paths = {source.name};
  record.sources = {source};

  repo::SnapshotHeader header;
  header.time = now_;
  header.logical_bytes = bytes + bytes_of(histories_);
  header.stored_bytes = bytes_stored;
  header.is_complete = true;
  header.entries = source.entries;
  auto chain = repository_.host_state().lock_chain(record.series);
  header.root = root.unchanged().front().id;
  if (auto warning = repo::commit_snapshot(repository_, chain, session_, header,
                                           record, valid_, options_.clock)) {
    flush_.warnings.push_back(std::move(*warning));
  }
}

bool Flush::may_forget() const {
  const auto role = repository_.keyring().role();
  return role == repo::Role::owner || role == repo::Role::maintain;
}

// Before the commit, so that a crash behind it leaves none that nobody dares to
// forget.
void Flush::note_own_snapshots() {
  if (!may_forget()) return;
  std::vector<repo::SessionId> own;
  const auto known = run_.own_snapshots();
  for (const auto& valid : valid_) {
    const auto& id = valid.snapshot.id;
    const bool is_own = (committed_ && id == committed_->snapshot) ||
                        std::ranges::find(known, id) != known.end();
    if (is_own) own.push_back(id);
  }
  own.push_back(session_.id());
  try {
    run_.note_own_snapshots(std::move(own));
  } catch (const repo::IoError& e) {
    // On a full disk it is more that the spool is emptied.
    flush_.warnings.emplace_back(e.what());
  }
}

// The one that this flush went on from, and what this run committed between a
// commit and a crash. Not what has this host's key alone: a copy of the machine
// has it, too, and may have received other WAL.
bool Flush::is_of_ours(const repo::Snapshot& snapshot) const {
  if (committed_ && snapshot.id == committed_->snapshot) return true;
  const auto own = run_.own_snapshots();
  if (std::ranges::find(own, snapshot.id) == own.end()) return false;
  if (snapshot.header.series_tag != tag_ || !snapshot.record ||
      snapshot.record->sources.size() != 1) {
    return false;
  }
  const auto& source = snapshot.record->sources.front();
  const auto stream = parse_wal_path(source.name);
  if (source.kind != repo::SourceKind::postgres_wal || !stream ||
      stream->system != cluster_.system ||
      stream->timeline != run_.timeline()) {
    return false;
  }
  // Of the same stream, before something was left out of it perhaps.
  const bool starts_within = stream->start == flush_.stream.start ||
                             (stream->start < flush_.stream.start && needed_ &&
                              flush_.stream.start <= *needed_);
  return starts_within && stream->start <= flush_.end &&
         source.bytes <= flush_.end.value - stream->start.value;
}

void Flush::forget_predecessors() {
  if (!may_forget()) return;
  for (const auto& valid : valid_) {
    if (!is_of_ours(valid.snapshot) || !valid.holds.empty()) continue;
    try {
      (void)repo::forget_snapshot(repository_, valid, kForgetReason,
                                  options_.clock());
    } catch (const repo::Error& e) {
      // It is covered, so that `cairn forget` drops it one day.
      flush_.warnings.push_back(
          "snapshot " + valid.snapshot.id.brief() +
          " stays though a later one covers it: " + e.what());
    }
  }
}

template <typename Step>
void as_far_as_possible(Step step) {
  try {
    step();
  } catch (const repo::Error&) {
    return;  // the outcome is decided
  }
}

}  // namespace

void note_spooled_cluster(const std::filesystem::path& spool,
                          const WalCluster& cluster) {
  replace_spool_file(spool / kClusterFile,
                     std::to_string(cluster.system) + ' ' +
                         std::to_string(cluster.segment_bytes) + ' ' +
                         cluster.server_version + '\n');
}

std::optional<WalCluster> read_spooled_cluster(
    const std::filesystem::path& spool) {
  std::ifstream in(spool / kClusterFile);
  WalCluster cluster;
  if (!(in >> cluster.system >> cluster.segment_bytes) || in.get() != ' ' ||
      !std::getline(in, cluster.server_version) ||
      !is_segment_size(cluster.segment_bytes) ||
      spool.filename() != std::to_string(cluster.system)) {
    return std::nullopt;
  }
  return cluster;
}

WalStore::WalStore(WalCluster cluster, WalStoreOptions options)
    : cluster_(std::move(cluster)), options_(std::move(options)) {}

std::optional<WalFlush> WalStore::flush(
    repo::Repository& repository, WalRun& run,
    const std::map<std::uint32_t, std::string>& histories,
    const std::stop_token& stop) {
  if (run.uncommitted_bytes() == 0) return std::nullopt;
  repo::Session session(repository.storage(), repository.keyring(),
                        repository.signer(), options_.clock());
  std::optional<WalFlush> done;
  try {
    const repo::Heartbeat heartbeat(session, options_.clock);
    done = Flush(repository, cluster_, options_, session, run, histories)
               .run(stop);
  } catch (...) {
    as_far_as_possible([&] { session.end(); });
    throw;
  }
  as_far_as_possible([&] { session.end(); });
  return done;
}

AdoptedWal WalStore::adopt(repo::Repository& repository, WalSpool& spool,
                           std::uint32_t timeline) {
  const auto list = repository.snapshots(options_.clock());
  auto stored = find_wal(
      list.snapshots, repo::series_tag(repository.keyring(), options_.series));
  std::erase_if(stored, [&](const StoredWal& one) {
    return one.stream.system != cluster_.system ||
           one.stream.timeline != timeline ||
           one.segment_bytes != cluster_.segment_bytes ||
           one.end <= one.stream.start;
  });
  if (stored.empty()) return {};
  const StoredWal last = *std::ranges::max_element(stored, {}, &StoredWal::end);
  CommittedWal committed{
      last.stream.start, last.end, last.snapshot->snapshot.id, {}};
  const Lsn begin = segment_begin(last.end, cluster_.segment_bytes);
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(last.end.value - begin.value));
  const auto has_read = if_undamaged([&] {
    WalReader reader(repository, {last});
    committed.rows = reader.rows_of(last);
    return reader.read(timeline, begin, bytes) == bytes.size();
  });
  if (!has_read.value_or(false)) {
    return {.run = nullptr,
            .warning = "a stream begins anew: " + what_is_lost(committed)};
  }
  auto run = spool.begin_run(timeline, begin);
  run->write(bytes);
  run->sync();
  run->note_committed(committed);
  return {.run = std::move(run), .warning = std::nullopt};
}

}  // namespace cairn::ingest
