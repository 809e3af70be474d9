#include "repo/copy.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <variant>

#include "crypto/wrap.h"
#include "repo/blob_reader.h"
#include "repo/blob_writer.h"
#include "repo/commit.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/heartbeat.h"
#include "repo/kept.h"
#include "repo/later_snapshots.h"
#include "repo/look_at.h"
#include "repo/pack_format.h"
#include "repo/reachability.h"
#include "repo/reusable_blobs.h"
#include "repo/session.h"
#include "repo/tree_bound.h"
#include "repo/tree_reader.h"
#include "repo/tree_writer.h"

namespace cairn::repo {
namespace {

// What a copy keeps in mind of what it stored, to spare reading it again.
constexpr std::size_t kMostRemembered = 200'000;

// Deeper than a path can be.
constexpr std::size_t kMaxFolderLevels = 4096;

// Of the repository that is read, unlike damage in the one that is written.
struct SourceDamage : CorruptionError {
  using CorruptionError::CorruptionError;
};

template <typename Read>
auto from_source(const Read& read) {
  try {
    return read();
  } catch (const StorageUnreachable&) {
    throw;
  } catch (const OutOfSpace&) {
    throw;  // of the disk with the cache
  } catch (const CorruptionError& e) {
    throw SourceDamage(e.what());
  } catch (const UnsupportedFormat& e) {
    throw SourceDamage(e.what());
  } catch (const NotFound& e) {
    throw SourceDamage(e.what());
  } catch (const IoError& e) {
    throw SourceDamage(e.what());
  }
}

// What is known to be stored at the target, so that a snapshot may rest on it.
// It holds for every session that pins the same epoch: what is condemned later
// goes only when that session has ended.
struct Known {
  Known(Repository& to, const Epoch& epoch)
      : number(epoch.number),
        reusable(to.storage(), to.keyring(), to.index(), epoch) {}

  std::uint64_t number;
  ReusableBlobs reusable;
  RecentlyReached recent;
  VisitedNodes nodes;  // of a sister; each with all below it
  // Of a stranger, by their ids there: chunks, and the rows that stand for
  // lists and folders.
  std::unordered_map<BlobId, Kept<Link>, IdHash> chunks;
  std::unordered_map<BlobId, Kept<Link>, IdHash> rows;
};

// Between repositories of one family.
class SisterGraph {
 public:
  SisterGraph(Repository& from, Repository& to, Known& known,
              BlobWriter& writer, BlobReader& blobs,
              std::map<WrappedKey, WrappedKey>& keys, std::stop_token stop,
              Progress* progress)
      : from_(from),
        to_(to),
        known_(known),
        writer_(writer),
        blobs_(blobs),
        keys_(keys),
        stop_(std::move(stop)),
        progress_(progress) {}

  void bring(const BlobId& root) {
    walk_graph({BlobKind::links, root, 0},
               {[this](const Link& link) { return reach(link); },
                [this](const Link& link) {
                  return std::optional(from_source([&] {
                    return decode_links(*blobs_.read(BlobKind::links, link.id),
                                        "node " + link.id.brief());
                  }));
                }});
  }

 private:
  Enter reach(const Link& link) {
    if (stop_.stop_requested()) throw Cancelled("copy: interrupted");
    if (known_.recent.contains_or_add(link)) return Enter::no;
    if (link.kind == BlobKind::links && !known_.nodes.add(link.id)) {
      return Enter::no;
    }
    transfer(link.kind, link.id, kMaxDepth + 1);
    return Enter::yes;
  }

  // Stores it with a depth below that, unless it is so stored.
  //
  // Recursion is bounded: each step goes to a strictly smaller depth.
  void transfer(BlobKind kind, const BlobId& id, std::uint32_t below) {
    const auto depth = writer_.depth_of(kind, id);
    if (depth && *depth < below) return;
    for (const auto& copy : from_.index().find(id)) {
      if (copy.row.kind == kind && copy.row.depth < below && move(copy)) return;
    }
    const auto plain = from_source([&] { return blobs_.read(kind, id); });
    require(kind, id, *plain);
    writer_.store_again(kind, id, *plain);
    count(plain->size());
  }

  // False: that copy cannot be moved as it is.
  bool move(const BlobCopy& copy) {
    const auto pack = from_.index().find_pack(copy.pack);
    if (!pack || copy.row.key >= pack->keys.size()) return false;
    const WrappedKey& key = pack->keys[copy.row.key];
    const auto trouble =
        trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
          stored_.resize(copy.row.stored_size);
          from_.storage().get(pack_name(pack->id), copy.offset, stored_);
          // Its base too: here it leans on what that base's id names.
          const auto plain =
              blobs_.decode(copy.row, key, stored_, VerifyId::with_base);
          require(copy.row.kind, copy.row.id, *plain);
        });
    if (trouble) return false;
    const auto wrapped = key_there(key);
    if (!wrapped) return false;
    std::vector<std::byte> stored;
    std::swap(stored, stored_);  // what it leans on comes first
    if (copy.row.base) {
      transfer(copy.row.kind, *copy.row.base, copy.row.depth);
    }
    writer_.add(copy.row, *wrapped, stored);
    std::swap(stored, stored_);
    count(copy.row.plain_size);
    return true;
  }

  // By the target's own keys: that two repositories say that they are of one
  // family is not enough.
  void require(BlobKind kind, const BlobId& id,
               std::span<const std::byte> plain) {
    if (to_.keyring().id_of(kind, plain) != id) {
      throw SourceDamage("blob " + id.brief() +
                         ": its bytes are not what its id names");
    }
  }

  // The session key, wrapped for the target. Nothing: it has no such
  // generation, which the seals bind.
  std::optional<WrappedKey> key_there(const WrappedKey& key) {
    const auto known = keys_.find(key);
    if (known != keys_.end()) return known->second;
    const Generation* const generation = to_.keyring().find(key.generation);
    const auto* const secret = from_.session_keys().find(key);
    if (generation == nullptr || secret == nullptr) return std::nullopt;
    WrappedKey wrapped = key;
    wrapped.wrapped = crypto::wrap(
        *secret,
        generation->public_keys[static_cast<std::size_t>(key.key_class)]);
    keys_.emplace(key, wrapped);
    return wrapped;
  }

  void count(std::uint64_t bytes) {
    if (progress_ != nullptr) progress_->bytes_done += bytes;
  }

  Repository& from_;
  Repository& to_;
  Known& known_;
  BlobWriter& writer_;
  BlobReader& blobs_;
  std::map<WrappedKey, WrappedKey>& keys_;
  std::stop_token stop_;
  Progress* progress_;
  std::vector<std::byte> stored_;  // is reused
};

// Between repositories that share nothing.
class StrangerGraph {
 public:
  StrangerGraph(Known& known, BlobWriter& writer, BlobReader& blobs,
                std::stop_token stop, Progress* progress)
      : known_(known),
        writer_(writer),
        blobs_(blobs),
        stop_(std::move(stop)),
        progress_(progress),
        store_([this](BlobKind kind, std::span<const std::byte> plain) {
          return writer_.store(kind, plain);
        }) {}

  BlobId bring(const SnapshotHeader& header) {
    TreeBound bound(header);
    TreeWriter tree(store_);
    std::vector<OpenFolder> way;
    way.push_back(
        {FolderCursor(blobs_, {BlobKind::links, header.root, 0}), {}});
    while (true) {
      if (stop_.stop_requested()) throw Cancelled("copy: interrupted");
      const auto* const entry =
          from_source([&] { return way.back().cursor.next(); });
      if (entry == nullptr) {
        const auto id = way.back().id;
        way.pop_back();
        if (way.empty()) break;
        remember(known_.rows, *id, Kept<Link>(tree.end_folder()));
        continue;
      }
      from_source([&] { bound.count(*entry, entry->entry.name); });
      if (entry->entry.type != EntryType::folder || entry->rows.empty()) {
        tree.add(entry->entry, rows_of(*entry));
        continue;
      }
      const Link row = entry->rows.front();
      const auto known = known_.rows.find(row.id);
      if (known != known_.rows.end()) {
        tree.add(entry->entry, known->second.unchanged());
        continue;
      }
      if (way.size() >= kMaxFolderLevels) {
        throw SourceDamage("node " + row.id.brief() +
                           ": lies deeper than folders can");
      }
      tree.begin_folder(entry->entry);
      way.push_back({FolderCursor(blobs_, row), row.id});
    }
    return std::move(tree).finish().id;
  }

 private:
  struct OpenFolder {
    FolderCursor cursor;
    std::optional<BlobId> id;  // of its node; nothing: the root's
  };

  // A list for each part, as it was: chunks are where they were.
  std::vector<Link> rows_of(const TreeEntry& entry) {
    std::vector<Link> rows;
    for (const auto& row : entry.rows) {
      if (row.kind == BlobKind::content) {
        rows.push_back(bring_chunk(row));
        continue;
      }
      const auto known = known_.rows.find(row.id);
      if (known != known_.rows.end()) {
        const auto& list = known->second.unchanged();
        rows.insert(rows.end(), list.begin(), list.end());
        continue;
      }
      auto list = bring_list(row);
      rows.insert(rows.end(), list.begin(), list.end());
      remember(known_.rows, row.id, Kept<Link>(list));
    }
    return rows;
  }

  std::vector<Link> bring_list(const Link& row) {
    ListWriter list(store_);
    StreamCursor cursor(blobs_, {row});
    std::uint64_t offset = 0;
    while (const auto place = from_source([&] { return cursor.at(offset); })) {
      list.add(bring_chunk({BlobKind::content, place->id, place->length}));
      offset = place->offset + place->length;
    }
    return std::move(list).finish();
  }

  Link bring_chunk(const Link& chunk) {
    if (stop_.stop_requested()) throw Cancelled("copy: interrupted");
    if (const auto known = known_.chunks.find(chunk.id);
        known != known_.chunks.end()) {
      return known->second.unchanged().front();
    }
    const auto plain =
        from_source([&] { return blobs_.read(BlobKind::content, chunk.id); });
    if (plain->size() != chunk.length) {
      throw SourceDamage("blob " + chunk.id.brief() +
                         ": is not as long as the node says that names it");
    }
    const BlobId id = writer_.store(BlobKind::content, *plain);
    if (progress_ != nullptr) progress_->bytes_done += plain->size();
    const Link row{BlobKind::content, id, chunk.length};
    remember(known_.chunks, chunk.id, Kept<Link>(std::span(&row, 1)));
    return row;
  }

  template <typename Map>
  static void remember(Map& map, const BlobId& id, Kept<Link> rows) {
    if (map.size() >= kMostRemembered) map.clear();
    map.insert_or_assign(id, std::move(rows));
  }

  Known& known_;
  BlobWriter& writer_;
  BlobReader& blobs_;
  std::stop_token stop_;
  Progress* progress_;
  StoreNode store_;
};

// What a copy's header has from its original.
bool are_alike(const SnapshotHeader& one, const SnapshotHeader& other) {
  return one.time == other.time && one.logical_bytes == other.logical_bytes &&
         one.entries == other.entries && one.is_complete == other.is_complete;
}

// Those whose record can be read.
using ByOrigin = std::multimap<SnapshotOrigin, Snapshot>;

struct Found {
  SessionId id;
  ToldBy by;
};

class Copier {
 public:
  Copier(Repository& from, Repository& to, const CopyOptions& options,
         std::stop_token stop, Progress* progress)
      : from_(from),
        to_(to),
        options_(options),
        stop_(std::move(stop)),
        progress_(progress),
        blobs_(from.blobs()) {
    report_.are_sisters = from.keyring().family() == to.keyring().family();
  }

  CopyReport run(std::span<const ValidSnapshot> snapshots,
                 const Copied& copied) {
    look_at_target();
    if (progress_ != nullptr) progress_->items_total = snapshots.size();
    for (const auto& [snapshot, holds] : snapshots) {
      if (stop_.stop_requested()) throw Cancelled("copy: interrupted");
      if (progress_ != nullptr) {
        progress_->set_current("snapshot " + snapshot.id.brief());
      }
      report_.snapshots.push_back(copy(snapshot));
      if (copied) copied(snapshot, report_.snapshots.back());
      if (progress_ != nullptr) ++progress_->items_done;
    }
    return std::move(report_);
  }

 private:
  void look_at_target();
  void read_forgotten(std::span<const StoredMark> marks);
  void look_again();
  [[nodiscard]] SnapshotOrigin origin_of(const Repository& repository,
                                         const Snapshot& snapshot) const;
  [[nodiscard]] std::optional<SessionId> find_copy(const Snapshot& snapshot,
                                                   const ByOrigin& among) const;
  [[nodiscard]] std::optional<Found> find_by_header(
      const Snapshot& snapshot, const std::optional<BlobId>& root) const;
  [[nodiscard]] bool is_one_of_several(const Snapshot& snapshot) const;
  [[nodiscard]] bool find(const Snapshot& snapshot,
                          const std::optional<BlobId>& root,
                          CopiedSnapshot& copied);
  CopiedSnapshot copy(const Snapshot& snapshot);
  void store(const Snapshot& snapshot, Session& session,
             CopiedSnapshot& copied);
  BlobId bring(const Snapshot& snapshot, BlobWriter& writer);

  // For what must not change how a copy ended.
  template <typename Step>
  static void as_far_as_possible(Step step) {
    try {
      step();
    } catch (const Error&) {
      return;
    }
  }

  Repository& from_;
  Repository& to_;
  const CopyOptions& options_;
  std::stop_token stop_;
  Progress* progress_;
  BlobReader blobs_;
  std::optional<LaterSnapshots> later_;
  std::vector<ValidSnapshot> there_;
  ByOrigin origins_;  // of those
  // That stand for a snapshot of the source, by their header or by this run.
  std::set<SessionId> taken_;
  std::vector<ValidSnapshot> sources_;  // all; of a stranger without records
  ByOrigin forgotten_;
  std::optional<Known> known_;
  std::map<WrappedKey, WrappedKey> keys_;  // of the source, for the target
  CopyReport report_;
};

void Copier::look_at_target() {
  later_.emplace(to_.storage(), to_.keyring());
  auto list = to_.snapshots(options_.clock());
  read_forgotten(list.marks);
  there_ = std::move(list.snapshots);
  report_.damage = std::move(list.damage);
  for (const auto& [snapshot, holds] : there_) {
    if (snapshot.record) {
      origins_.emplace(origin_of(to_, snapshot), snapshot);
    }
  }
  if (!report_.are_sisters &&
      std::ranges::any_of(there_, [](const ValidSnapshot& valid) {
        return !valid.snapshot.record;
      })) {
    sources_ = from_.snapshots(options_.clock()).snapshots;
  }
}

// Their slots stay until a prune settles them. What cannot be read of them says
// nothing.
void Copier::read_forgotten(std::span<const StoredMark> marks) {
  for (const auto& [id, mark] : marks) {
    if (mark.action != MarkAction::forget) continue;
    const std::string name = snapshot_name(mark.target);
    (void)trouble_of("damaged-snapshot", name, IfGone::it_vanished, [&] {
      const auto slot = read_slot(to_.storage(), to_.keyring(), mark.target);
      const auto* const snapshot = std::get_if<Snapshot>(&slot);
      if (snapshot != nullptr && snapshot->record) {
        forgotten_.emplace(origin_of(to_, *snapshot), *snapshot);
      }
    });
  }
}

// What another copy brought since.
void Copier::look_again() {
  for (auto& snapshot : later_->look()) {
    if (snapshot.record) {
      origins_.emplace(origin_of(to_, snapshot), snapshot);
    }
    there_.push_back({std::move(snapshot), {}});
  }
}

// Of a copy of a copy: where it all began.
SnapshotOrigin Copier::origin_of(const Repository& repository,
                                 const Snapshot& snapshot) const {
  if (snapshot.record->origin) return *snapshot.record->origin;
  return {repository.keyring().repository(), snapshot.id};
}

// An origin is a claim, and earlier programs left it in what they repaired,
// which lacks what the original has.
std::optional<SessionId> Copier::find_copy(const Snapshot& snapshot,
                                           const ByOrigin& among) const {
  const auto [first, last] = among.equal_range(origin_of(from_, snapshot));
  const auto found = std::find_if(first, last, [&](const auto& one) {
    const Snapshot& other = one.second;
    return are_alike(other.header, snapshot.header) &&
           other.record->repaired_from == snapshot.record->repaired_from &&
           (!report_.are_sisters || other.header.root == snapshot.header.root);
  });
  if (found == last) return std::nullopt;
  return found->second.id;
}

// A write key reads no records there: it goes by what headers say.
std::optional<Found> Copier::find_by_header(
    const Snapshot& snapshot, const std::optional<BlobId>& root) const {
  // Which of several that look alike came, contents tell; a plan reads none.
  if (!root && options_.carry == Carry::out && is_one_of_several(snapshot)) {
    return std::nullopt;
  }
  const SeriesTag tag = series_tag(to_.keyring(), snapshot.record->series);
  const auto found =
      std::ranges::find_if(there_, [&](const ValidSnapshot& valid) {
        const Snapshot& other = valid.snapshot;
        return !other.record && !taken_.contains(other.id) &&
               other.header.series_tag == tag &&
               are_alike(other.header, snapshot.header) &&
               (!root || other.header.root == *root);
      });
  if (found == there_.end()) return std::nullopt;
  return Found{found->snapshot.id, root ? ToldBy::contents : ToldBy::header};
}

// Also among what is not to be copied now: it may have been copied before.
bool Copier::is_one_of_several(const Snapshot& snapshot) const {
  return std::ranges::count_if(sources_, [&](const ValidSnapshot& valid) {
           const SnapshotHeader& other = valid.snapshot.header;
           return other.series_tag == snapshot.header.series_tag &&
                  are_alike(other, snapshot.header);
         }) > 1;
}

// `root`: as it would be there; nothing: of a stranger, before it is brought.
bool Copier::find(const Snapshot& snapshot, const std::optional<BlobId>& root,
                  CopiedSnapshot& copied) {
  std::optional<Found> found;
  if (const auto id = find_copy(snapshot, origins_)) {
    found = {*id, ToldBy::origin};
  } else {
    found = find_by_header(snapshot, root);
  }
  if (!found) return false;
  if (found->by != ToldBy::origin) taken_.insert(found->id);
  copied.outcome = CopyOutcome::was_there;
  copied.target = found->id;
  copied.told_by = found->by;
  return true;
}

CopiedSnapshot Copier::copy(const Snapshot& snapshot) {
  if (!snapshot.record) {
    throw WrongKey("this key, of the " +
                   std::string(name_of(from_.keyring().role())) +
                   " role, may not read names; an owner's key may");
  }
  CopiedSnapshot copied;
  copied.source = snapshot.id;
  look_again();
  std::optional<BlobId> root;
  if (report_.are_sisters) root = snapshot.header.root;
  if (find(snapshot, root, copied)) return copied;
  copied.was_forgotten = find_copy(snapshot, forgotten_).has_value();
  if (options_.carry == Carry::plan_only) return copied;
  Session session(to_.storage(), to_.keyring(), to_.signer(), options_.clock());
  try {
    const Heartbeat heartbeat(session, options_.clock);
    store(snapshot, session, copied);
  } catch (const SourceDamage& e) {
    copied.outcome = CopyOutcome::failed;
    copied.why = e.what();
  } catch (...) {
    as_far_as_possible([&] { session.end(); });
    throw;
  }
  as_far_as_possible([&] { session.end(); });
  if (copied.outcome == CopyOutcome::failed) {
    require_not_renewed(from_.storage(), from_.keyring());
  }
  return copied;
}

void Copier::store(const Snapshot& snapshot, Session& session,
                   CopiedSnapshot& copied) {
  if (!known_ || known_->number != session.epoch().number) {
    known_.emplace(to_, session.epoch());
  }
  BlobWriter writer(to_, known_->reusable, session.id(), progress_);
  SnapshotHeader header = snapshot.header;
  try {
    header.root = bring(snapshot, writer);
  } catch (const SourceDamage&) {
    known_.reset();  // not all below what it met is there
    as_far_as_possible([&] { writer.finish(); });
    throw;
  } catch (const Cancelled&) {
    as_far_as_possible([&] { writer.finish(); });
    throw;
  }
  writer.finish();
  header.stored_bytes = writer.bytes_stored();
  SnapshotRecord record = *snapshot.record;
  record.origin = origin_of(from_, snapshot);
  auto chain = to_.host_state().lock_chain(record.series);
  look_again();
  if (find(snapshot, header.root, copied)) return;
  if (auto warning = commit_snapshot(to_, chain, session, header, record,
                                     there_, options_.clock)) {
    report_.warnings.push_back(std::move(*warning));
  }
  origins_.emplace(*record.origin,
                   Snapshot{session.id(), header, record, {}, {}});
  taken_.insert(session.id());
  copied.target = session.id();
  copied.blobs = writer.blobs();
  copied.bytes_stored = writer.bytes_stored();
}

// Answers the root.
BlobId Copier::bring(const Snapshot& snapshot, BlobWriter& writer) {
  if (report_.are_sisters) {
    SisterGraph(from_, to_, *known_, writer, blobs_, keys_, stop_, progress_)
        .bring(snapshot.header.root);
    return snapshot.header.root;
  }
  return StrangerGraph(*known_, writer, blobs_, stop_, progress_)
      .bring(snapshot.header);
}

}  // namespace

CopyReport copy_snapshots(Repository& from, Repository& to,
                          std::span<const ValidSnapshot> snapshots,
                          const CopyOptions& options, const Copied& copied,
                          std::stop_token stop, Progress* progress) {
  if (from.keyring().repository() == to.keyring().repository()) {
    throw std::invalid_argument(to.storage().description() +
                                ": is the repository to copy from");
  }
  return Copier(from, to, options, std::move(stop), progress)
      .run(snapshots, copied);
}

}  // namespace cairn::repo
