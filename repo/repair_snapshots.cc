#include "repo/repair_snapshots.h"

#include <algorithm>
#include <set>
#include <utility>

#include "repo/base_chain.h"
#include "repo/blob_reader.h"
#include "repo/blob_writer.h"
#include "repo/commit.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/heartbeat.h"
#include "repo/index_object.h"
#include "repo/later_snapshots.h"
#include "repo/look_at.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/reachability.h"
#include "repo/reusable_blobs.h"
#include "repo/session.h"
#include "repo/tree_bound.h"
#include "repo/tree_reader.h"
#include "repo/tree_writer.h"

namespace cairn::repo {
namespace {

// Deeper than a path can be.
constexpr std::size_t kMaxFolderLevels = 4096;

class SnapshotRepairer {
 public:
  SnapshotRepairer(Repository& repository, const SnapshotRepairOptions& options,
                   std::stop_token stop, Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        keyring_(repository.keyring()),
        options_(options),
        stop_(std::move(stop)),
        progress_(progress),
        named_(repository.index_store(), keyring_),
        all_(repository.index_store(), keyring_),
        blobs_(storage_, keyring_, all_, repository.session_keys()) {}

  SnapshotRepair run() {
    step("reading the index");
    later_.emplace(storage_, keyring_);
    auto list = repository_.snapshots(options_.clock());
    valid_ = std::move(list.snapshots);
    repair_.damage = std::move(list.damage);
    read_index();
    if (progress_ != nullptr) progress_->items_total = valid_.size();
    // Others may come to it meanwhile.
    const std::vector<ValidSnapshot> found = valid_;
    for (const auto& [snapshot, holds] : found) {
      step("following snapshot " + snapshot.id.brief());
      ++repair_.snapshots_read;
      if (is_hurt({BlobKind::links, snapshot.header.root, 0})) {
        repair(snapshot);
      }
      if (progress_ != nullptr) ++progress_->items_done;
    }
    return std::move(repair_);
  }

 private:
  struct OpenFolder {
    FolderCursor cursor;
    std::size_t path_size = 0;
  };

  void read_index();

  // Finding out.
  bool is_hurt(const Link& link);
  bool is_there(BlobKind kind, const BlobId& id);
  [[nodiscard]] bool stays(BlobKind kind, const BlobId& id,
                           std::uint32_t below = kMaxDepth + 1) const;
  void refuse_if_it_goes(BlobKind kind, const BlobId& id) const;
  std::optional<std::vector<Link>> read_links(const BlobId& id);

  // Making a new one.
  void repair(const Snapshot& snapshot);
  void make(const Snapshot& snapshot, RepairedSnapshot& repaired);
  void commit(const Snapshot& snapshot, Session& session,
              const SnapshotHeader& header, RepairedSnapshot& repaired);
  std::optional<Link> write_tree(const Snapshot& snapshot, TreeWriter& tree,
                                 std::uint64_t& left_out);
  void settle(const BlobId& root, BlobWriter& writer);
  void count(const BlobId& root, SnapshotHeader& header);
  [[nodiscard]] SnapshotRecord record_of(const Snapshot& snapshot,
                                         std::uint64_t left_out) const;
  [[nodiscard]] std::optional<SessionId> made_before(
      const SessionId& source) const;
  void lose(const Snapshot& snapshot, const std::string& path,
            std::uint64_t& left_out);

  void step(std::string_view what) {
    if (stop_.stop_requested()) {
      throw Cancelled("repair snapshots: interrupted");
    }
    if (progress_ != nullptr) progress_->set_current(what);
  }

  Repository& repository_;
  Storage& storage_;
  const Keyring& keyring_;
  const SnapshotRepairOptions& options_;
  std::stop_token stop_;
  Progress* progress_;

  BlobIndex named_;  // of packs that are there and that index objects name
  BlobIndex all_;    // and of all others
  std::set<PackId> doomed_;
  BlobReader blobs_;
  std::optional<LaterSnapshots> later_;
  std::vector<ValidSnapshot> valid_;
  VisitedNodes whole_;            // with all below them
  VisitedNodes hurt_;             // themselves, or something below them
  std::set<LostPath> lost_here_;  // of the snapshot in hand
  SnapshotRepair repair_;
};

void SnapshotRepairer::read_index() {
  std::set<PackId> named;
  doomed_ = doomed_packs(unless_renewed(storage_, keyring_, [&] {
                           return read_epochs(storage_, keyring_);
                         }).newest);
  for (const auto& id : list_indexes(storage_)) {
    step("reading the index");
    (void)trouble_of("damaged-index", index_name(id), IfGone::it_vanished, [&] {
      for (const auto& pack : repo::read_index(storage_, keyring_, id).packs) {
        named.insert(pack.id);
      }
    });
  }
  auto packs = list_packs(storage_);
  all_.refresh(storage_, keyring_);
  all_.search_packs(storage_, keyring_);
  named_.refresh(storage_, keyring_);
  std::erase_if(
      packs, [&](const StoredPack& pack) { return doomed_.contains(pack.id); });
  std::erase_if(
      packs, [&](const StoredPack& pack) { return !named.contains(pack.id); });
  named_.restrict_to(packs);
}

bool SnapshotRepairer::is_there(BlobKind kind, const BlobId& id) {
  if (!chain_of(named_, kind, id).empty()) return true;
  const auto trouble = trouble_of("damaged-blob", "blob", IfGone::it_is_damage,
                                  [&] { (void)blobs_.read(kind, id); });
  if (trouble) return false;
  refuse_if_it_goes(kind, id);
  return true;
}

// True if it lies, with what it leans on, in packs that are there and not
// doomed.
//
// Recursion is bounded: each step goes to a strictly smaller depth.
bool SnapshotRepairer::stays(BlobKind kind, const BlobId& id,
                             std::uint32_t below) const {
  const auto copies = all_.find(id);
  return std::ranges::any_of(copies, [&](const BlobCopy& copy) {
    if (copy.row.kind != kind || copy.row.depth >= below) return false;
    const auto pack = all_.find_pack(copy.pack);
    if (!pack || doomed_.contains(pack->id) ||
        !storage_.size(pack_name(pack->id))) {
      return false;
    }
    return !copy.row.base || stays(kind, *copy.row.base, copy.row.depth);
  });
}

// It is there, and will not be after the next prune; and a snapshot made
// without it would give up what can be kept.
void SnapshotRepairer::refuse_if_it_goes(BlobKind kind,
                                         const BlobId& id) const {
  if (doomed_.empty() || stays(kind, id)) return;
  throw CorruptionError(
      "blob " + id.brief() +
      ": lies in packs alone that prune is about to remove; run `cairn repair "
      "packs`, which takes it out of them, and then this again");
}

// Nothing: it cannot be read.
std::optional<std::vector<Link>> SnapshotRepairer::read_links(
    const BlobId& id) {
  std::optional<std::vector<Link>> rows;
  (void)trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
    auto links =
        decode_links(*blobs_.read(BlobKind::links, id), "node " + id.brief());
    // Without its names a node is nothing.
    if (!links.empty() && links.front().kind == BlobKind::names) {
      (void)decode_names(*blobs_.read(BlobKind::names, links.front().id),
                         "node " + id.brief());
    }
    rows = std::move(links);
  });
  if (rows) {
    refuse_if_it_goes(BlobKind::links, id);
    if (!rows->empty() && rows->front().kind == BlobKind::names) {
      refuse_if_it_goes(BlobKind::names, rows->front().id);
    }
  }
  return rows;
}

// True if something is missing of it, or below it. Each node is read once.
bool SnapshotRepairer::is_hurt(const Link& link) {
  if (link.kind != BlobKind::links) return !is_there(link.kind, link.id);
  struct Node {
    BlobId id;
    std::vector<Link> rows;
    std::size_t next = 0;
    bool is_hurt = false;
  };
  std::vector<Node> way;
  bool was_hurt = false;  // what was looked at last
  const auto enter = [&](const Link& row) {
    if (stop_.stop_requested()) {
      throw Cancelled("repair snapshots: interrupted");
    }
    was_hurt = hurt_.contains(row.id);
    if (was_hurt || whole_.contains(row.id)) return;
    auto rows = read_links(row.id);
    if (!rows) {
      hurt_.add(row.id);
      was_hurt = true;
      return;
    }
    way.push_back({row.id, std::move(*rows), 0, false});
  };
  enter(link);
  while (!way.empty()) {
    Node& node = way.back();
    if (node.next < node.rows.size()) {
      const Link row = node.rows[node.next++];
      if (row.kind == BlobKind::links) {
        const std::size_t depth = way.size();
        enter(row);
        if (way.size() == depth) way.back().is_hurt |= was_hurt;
      } else if (row.kind == BlobKind::content) {
        node.is_hurt |= !is_there(row.kind, row.id);
      }
      continue;
    }
    was_hurt = node.is_hurt;
    (was_hurt ? hurt_ : whole_).add(node.id);
    way.pop_back();
    if (!way.empty()) way.back().is_hurt |= was_hurt;
  }
  return was_hurt;
}

void SnapshotRepairer::repair(const Snapshot& snapshot) {
  // Others may have moved what it needs since, sealed with later keys.
  require_not_renewed(storage_, keyring_);
  RepairedSnapshot repaired;
  repaired.source = snapshot.id;
  lost_here_.clear();
  if (const auto made = made_before(snapshot.id)) {
    repaired.made = *made;
    repaired.was_made_before = true;
  }
  if (options_.carry == Carry::plan_only || repaired.was_made_before ||
      !snapshot.record) {
    TreeWriter tree([this](BlobKind kind, std::span<const std::byte> plain) {
      return keyring_.id_of(kind, plain);
    });
    (void)write_tree(snapshot, tree, repaired.left_out);
  } else {
    make(snapshot, repaired);
  }
  for (const auto& lost : lost_here_) repair_.lost.add(lost);
  repair_.snapshots.push_back(repaired);
}

void SnapshotRepairer::make(const Snapshot& snapshot,
                            RepairedSnapshot& repaired) {
  Session session(storage_, keyring_, repository_.signer(), options_.clock());
  const auto end = [&] {
    try {
      session.end();
    } catch (const Error&) {
      return;  // the next prune fences it
    }
  };
  try {
    const Heartbeat heartbeat(session, options_.clock);
    ReusableBlobs reusable(storage_, keyring_, repository_.index(),
                           session.epoch());
    // What others stored since is not stored again, and has to be read.
    all_.refresh(storage_, keyring_);
    BlobWriter writer(repository_, reusable, session.id(), progress_,
                      [this](const IndexedPack& pack) { all_.add(pack); });
    TreeWriter tree([&](BlobKind kind, std::span<const std::byte> plain) {
      return writer.store(kind, plain);
    });
    const auto root = write_tree(snapshot, tree, repaired.left_out);
    if (root) {
      writer.finish();
      settle(root->id, writer);
      writer.finish();
      SnapshotHeader header = snapshot.header;
      header.root = root->id;
      header.is_complete = false;
      header.stored_bytes = writer.bytes_stored();
      count(root->id, header);
      commit(snapshot, session, header, repaired);
    }
  } catch (...) {
    end();
    throw;
  }
  end();
}

// Unless another repair did meanwhile.
void SnapshotRepairer::commit(const Snapshot& snapshot, Session& session,
                              const SnapshotHeader& header,
                              RepairedSnapshot& repaired) {
  auto chain = repository_.host_state().lock_chain(snapshot.record->series);
  for (auto& later : later_->look()) {
    valid_.push_back({std::move(later), {}});
  }
  if (const auto made = made_before(snapshot.id)) {
    repaired.made = *made;
    repaired.was_made_before = true;
    return;
  }
  if (auto warning = commit_snapshot(repository_, chain, session, header,
                                     record_of(snapshot, repaired.left_out),
                                     valid_, options_.clock)) {
    repair_.warnings.push_back(std::move(*warning));
  }
  repaired.made = session.id();
}

// What is whole goes in as it is. Nothing: nothing is left.
std::optional<Link> SnapshotRepairer::write_tree(const Snapshot& snapshot,
                                                 TreeWriter& tree,
                                                 std::uint64_t& left_out) {
  std::string path;
  std::vector<OpenFolder> way;
  bool has_any = false;
  way.push_back(
      {FolderCursor(blobs_, {BlobKind::links, snapshot.header.root, 0}), 0});
  while (true) {
    if (stop_.stop_requested()) {
      throw Cancelled("repair snapshots: interrupted");
    }
    const TreeEntry* entry = nullptr;
    const auto trouble =
        trouble_of("damaged-blob", "blob", IfGone::it_is_damage,
                   [&] { entry = way.back().cursor.next(); });
    if (trouble) {
      // Some of its entries, or all: their names are lost.
      lose(snapshot, path.empty() ? "/" : path, left_out);
      way.back().cursor.pass_over();
      continue;
    }
    if (entry == nullptr) {
      path.resize(way.back().path_size);
      way.pop_back();
      if (way.empty()) break;
      (void)tree.end_folder();
      continue;
    }
    const std::string inner = path + "/" + entry->entry.name;
    const bool is_whole = std::ranges::none_of(
        entry->rows, [&](const Link& row) { return is_hurt(row); });
    const bool is_folder = entry->entry.type == EntryType::folder;
    if (is_whole || (is_folder && entry->rows.empty())) {
      tree.add(entry->entry, entry->rows);
      has_any = true;
    } else if (is_folder && way.size() < kMaxFolderLevels) {
      const Link row = entry->rows.front();
      tree.begin_folder(entry->entry);
      has_any = true;
      way.push_back({FolderCursor(blobs_, row), path.size()});
      path = inner;
    } else {
      lose(snapshot, inner, left_out);
    }
  }
  if (!has_any) return std::nullopt;
  return std::move(tree).finish();
}

void SnapshotRepairer::lose(const Snapshot& snapshot, const std::string& path,
                            std::uint64_t& left_out) {
  if (lost_here_.insert({snapshot.id, path}).second) ++left_out;
}

// A snapshot rests only on what its writer has seen to be there, and verified:
// what lies elsewhere is stored again.
void SnapshotRepairer::settle(const BlobId& root, BlobWriter& writer) {
  RecentlyReached recent;
  VisitedNodes seen;
  const GraphVisitor visitor{
      [&](const Link& link) {
        step("looking at what is whole");
        if (recent.contains_or_add(link)) return Enter::no;
        if (link.kind == BlobKind::links && !seen.add(link.id)) {
          return Enter::no;
        }
        if (!writer.contains(link.kind, link.id)) {
          (void)writer.store(link.kind, *blobs_.read(link.kind, link.id));
        }
        return Enter::yes;
      },
      [&](const Link& link) {
        return std::optional(decode_links(*blobs_.read(link.kind, link.id),
                                          "node " + link.id.brief()));
      }};
  walk_graph({BlobKind::links, root, 0}, visitor);
}

// Entries and bytes of what is left; more than the old one says is a bomb.
void SnapshotRepairer::count(const BlobId& root, SnapshotHeader& header) {
  TreeBound bound(header);
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::vector<FolderCursor> way;
  way.emplace_back(blobs_, Link{BlobKind::links, root, 0});
  while (!way.empty()) {
    step("counting what is whole");
    const TreeEntry* const entry = way.back().next();
    if (entry == nullptr) {
      way.pop_back();
      continue;
    }
    bound.count(*entry, entry->entry.name);
    ++entries;
    if (entry->entry.weave) {
      bytes += entry->entry.size;
    } else if (has_content(entry->entry.type)) {
      bytes += content_size(entry->rows);
    } else if (entry->entry.type == EntryType::folder && !entry->rows.empty()) {
      const Link row = entry->rows.front();
      way.emplace_back(blobs_, row);
    }
  }
  header.entries = entries;
  header.logical_bytes = bytes;
}

bool holds(std::string_view source, std::string_view path) {
  while (source.starts_with('/')) source.remove_prefix(1);
  while (source.ends_with('/')) source.remove_suffix(1);
  while (path.starts_with('/')) path.remove_prefix(1);
  const auto is_below = [](std::string_view above, std::string_view below) {
    return above.empty() || above == below ||
           (below.starts_with(above) && below[above.size()] == '/');
  };
  return is_below(source, path) || is_below(path, source);
}

SnapshotRecord SnapshotRepairer::record_of(const Snapshot& snapshot,
                                           std::uint64_t left_out) const {
  SnapshotRecord record = *snapshot.record;
  if (std::ranges::find(record.tags, kRepairedTag) == record.tags.end()) {
    record.tags.emplace_back(kRepairedTag);
  }
  record.origin.reset();  // not what was copied: what is left of it
  record.repaired_from = snapshot.id;
  for (auto& source : record.sources) {
    const bool is_hurt = std::ranges::any_of(
        lost_here_,
        [&](const LostPath& lost) { return holds(source.name, lost.path); });
    if (!is_hurt || source.status == SourceStatus::failed) continue;
    source.status = SourceStatus::partial;
    if (!source.message.empty()) source.message += "; ";
    source.message += "repaired from snapshot " + snapshot.id.brief() +
                      ", without " + std::to_string(left_out) +
                      (left_out == 1 ? " path that is" : " paths that are") +
                      " lost";
  }
  return record;
}

// By an owner, as every repair: another key may say so of anything.
std::optional<SessionId> SnapshotRepairer::made_before(
    const SessionId& source) const {
  for (const auto& [snapshot, holds] : valid_) {
    if (snapshot.record && snapshot.record->repaired_from == source &&
        snapshot.signer.role == Role::owner) {
      return snapshot.id;
    }
  }
  return std::nullopt;
}

}  // namespace

SnapshotRepair repair_snapshots(Repository& repository,
                                const SnapshotRepairOptions& options,
                                std::stop_token stop, Progress* progress) {
  if (repository.keyring().role() != Role::owner) {
    throw WrongKey("the " + std::string(name_of(repository.keyring().role())) +
                   " role may not make snapshots anew");
  }
  return SnapshotRepairer(repository, options, std::move(stop), progress).run();
}

}  // namespace cairn::repo
