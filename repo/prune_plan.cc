#include "repo/prune_plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>

#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/reachability.h"
#include "repo/session.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kManySmallIndexes = 8;
constexpr std::uint64_t kSmallIndexRows = kRowsPerIndexObject / 2;

// This draft writes none: whoever did knows rules that we do not.
constexpr std::string_view kReservedFolders[] = {"settings"};

void stop_if_asked(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Cancelled("prune: interrupted");
}

void say(Progress* progress, std::string_view what) {
  if (progress != nullptr) progress->set_current(what);
}

class Planner {
 public:
  Planner(Repository& repository, const Timestamp& now, std::stop_token stop,
          Progress* progress, std::span<const SessionId> as_if_forgotten)
      : repository_(repository),
        storage_(repository.storage()),
        keyring_(repository.keyring()),
        now_(now),
        stop_(std::move(stop)),
        progress_(progress),
        as_if_forgotten_(as_if_forgotten),
        folder_(repository.cache_folder()),
        index_(repository.index_store(), keyring_),
        survey_(folder_) {}

  PrunePlan plan(const PruneOptions& options) {
    mark(read_epochs(storage_, keyring_).newest);
    take(decide_fates(survey_, *facts_, options, folder_));
    return std::move(plan_);
  }

  PrunePlan plan_doom(const Epoch& condemnation) {
    const std::set<PackId> condemned(condemnation.condemned.begin(),
                                     condemnation.condemned.end());
    mark(condemnation, &condemned);
    take(decide_doom(survey_, *facts_, is_condemned_, folder_));
    return std::move(plan_);
  }

  PrunePlan read_roots() {
    read_snapshots();
    return std::move(plan_);
  }

 private:
  void mark(const Epoch& epoch, const std::set<PackId>* condemned = nullptr);
  void refuse_what_is_newer();
  void read_snapshots();
  std::variant<Snapshot, Tombstone> read_needed_slot(const SessionId& id);
  void settle_marks(const std::vector<StoredMark>& marks,
                    const std::set<SessionId>& slots_that_stay);
  void survey_packs(const Epoch& epoch);
  void read_indexes();
  bool read_listed_indexes(std::vector<bool>& is_named);  // by pack
  void mark_reachable();
  Enter reach(const Link& link);
  void settle_rows();
  void settle_base(std::size_t pack, RowNumber number, const BlobRow& row);

  // Sound copies of a blob, of smaller depth than `below`: the shallowest of
  // the verified ones that are not condemned, any of which serves; where there
  // is none, of the condemned ones; where there is none, all others.
  struct Candidates {
    std::vector<ConfirmedCopy> copies;  // by ascending depth
    bool any_serves = false;
  };
  Candidates find_candidates(BlobKind kind, const BlobId& id,
                             std::uint32_t below = kMaxDepth + 1);
  [[nodiscard]] RowNumber choose(const Candidates& candidates) const;
  void take(PackFates fates);

  Repository& repository_;
  const Storage& storage_;
  const Keyring& keyring_;
  const Timestamp now_;
  std::stop_token stop_;
  Progress* progress_;
  const std::span<const SessionId> as_if_forgotten_;
  const std::filesystem::path folder_;

  BlobIndex index_;  // one of our own, restricted to what exists
  PackSurvey survey_;
  std::vector<Snapshot> roots_;
  PrunePlan plan_;

  std::map<PackId, std::string> unreadable_;  // each with why
  std::vector<bool> is_condemned_;            // by pack

  // Once the survey is complete.
  std::optional<ConfirmedCopies> copies_;
  std::optional<RowFacts> facts_;
  // Candidates of what snapshots reach. Those of a blob with several of which
  // any serves are contested: one is chosen when it is known how many bytes
  // each pack has to keep anyway.
  std::optional<MarkSet> reached_;
  std::optional<MarkSet> contested_;
  std::vector<bool> has_contested_;        // by pack
  std::vector<std::uint64_t> lone_bytes_;  // by pack
};

void Planner::mark(const Epoch& epoch, const std::set<PackId>* condemned) {
  refuse_what_is_newer();
  read_snapshots();
  survey_packs(epoch);
  read_indexes();

  is_condemned_.resize(survey_.packs().size());
  for (std::size_t i = 0; condemned != nullptr && i < is_condemned_.size();
       ++i) {
    is_condemned_[i] = condemned->contains(survey_.packs()[i].id);
  }
  if (condemned != nullptr) {
    std::erase_if(plan_.unreadable, [&](const StoredPack& pack) {
      return !condemned->contains(pack.id);
    });
  }
  copies_.emplace(index_, survey_, folder_);
  facts_.emplace(survey_, folder_);
  reached_.emplace(folder_, survey_.row_count());
  contested_.emplace(folder_, survey_.row_count());
  lone_bytes_.resize(survey_.packs().size());
  has_contested_.resize(survey_.packs().size());
  mark_reachable();
  settle_rows();
}

void Planner::refuse_what_is_newer() {
  for (const auto folder : kReservedFolders) {
    storage_.list(folder, [](const ListedObject& object) {
      throw UnsupportedFormat(object.name +
                              ": was written by a newer cairn, whose rules "
                              "for deletion this one does not know");
    });
  }
}

void Planner::read_snapshots() {
  say(progress_, "reading snapshots");
  const auto slots = list_slots(storage_);
  const auto marks = read_marks(storage_, keyring_);
  std::set<SessionId> forgotten(as_if_forgotten_.begin(),
                                as_if_forgotten_.end());
  for (const auto& [id, mark] : marks) {
    if (mark.action == MarkAction::forget) forgotten.insert(mark.target);
  }
  std::set<SessionId> held;
  for (const auto& hold : active_holds(marks, now_)) {
    held.insert(hold.mark.target);
  }
  std::vector<Snapshot> committed;
  std::set<SessionId> staying;
  for (const auto& id : slots) {
    const bool is_forgotten = forgotten.contains(id);
    // Unread: that it cannot be read may be why it was forgotten.
    if (is_forgotten && !held.contains(id)) {
      plan_.slots.push_back(id);
      continue;
    }
    std::variant<Snapshot, Tombstone> slot;
    try {
      slot = read_needed_slot(id);
    } catch (const NotFound&) {
      continue;  // another collector settled it
    }
    if (auto* const snapshot = std::get_if<Snapshot>(&slot)) {
      committed.push_back(std::move(*snapshot));
    } else {
      staying.insert(id);
      // As long as a session is registered, its tombstone may be all that keeps
      // it from committing: who fenced it may have slept before the next step.
      if (!storage_.size(session_name(id))) plan_.tombstones.push_back(id);
    }
  }
  // After the slots: a doom lists what was there before it.
  const LastDoom doom = read_last_doom(storage_, keyring_);
  for (auto& snapshot : committed) {
    if (doom.is_void(snapshot.id, snapshot.header.epoch)) {
      plan_.slots.push_back(snapshot.id);
      continue;
    }
    staying.insert(snapshot.id);
    if (forgotten.contains(snapshot.id)) {
      plan_.held_slots.push_back(snapshot.id);
    }
    plan_.roots.push_back(snapshot.id);
    roots_.push_back(std::move(snapshot));
  }
  std::ranges::sort(plan_.slots);
  plan_.snapshots = roots_.size() - plan_.held_slots.size();
  settle_marks(marks, staying);
}

std::variant<Snapshot, Tombstone> Planner::read_needed_slot(
    const SessionId& id) {
  try {
    return read_slot(storage_, keyring_, id);
  } catch (const CorruptionError& e) {
    throw CorruptionError(std::string(e.what()) +
                          "; if it cannot be brought back, `cairn forget " +
                          id.hex() + "` gives it up");
  }
}

// Forget marks go once their slots are gone, and holds with nothing to hold.
// Releases go last, else a hold would come back to life in between.
void Planner::settle_marks(const std::vector<StoredMark>& marks,
                           const std::set<SessionId>& slots_that_stay) {
  std::set<SessionId> active;
  for (const auto& hold : active_holds(marks, now_)) {
    if (slots_that_stay.contains(hold.mark.target)) {
      active.insert(SessionId{hold.id.bytes});
    }
  }
  std::vector<MarkId> releases;
  for (const auto& [id, mark] : marks) {
    switch (mark.action) {
      case MarkAction::forget:
        // Of one that is held too, it stays with the slot.
        if (!slots_that_stay.contains(mark.target)) plan_.marks.push_back(id);
        break;
      case MarkAction::hold:
        if (!active.contains(SessionId{id.bytes})) plan_.marks.push_back(id);
        break;
      case MarkAction::release:
        releases.push_back(id);
        break;
    }
  }
  plan_.marks.insert(plan_.marks.end(), releases.begin(), releases.end());
}

void Planner::survey_packs(const Epoch& epoch) {
  say(progress_, "reading directories");
  std::set<PackId> doomed;
  for (const auto& pack : epoch.doomed) doomed.insert(pack.id);
  for (const auto& pack : list_packs(storage_)) {
    stop_if_asked(stop_);
    if (doomed.contains(pack.id)) continue;
    try {
      survey_.add(read_pack_directory(storage_, keyring_, pack.id).pack);
    } catch (const NotFound&) {
      continue;  // another collector came further than the epoch that we know
    } catch (const CorruptionError& e) {
      unreadable_.emplace(pack.id, e.what());
      plan_.unreadable.push_back(pack);
    }
    if (progress_ != nullptr) ++progress_->items_done;
  }
}

void Planner::read_indexes() {
  std::vector<bool> is_named;
  while (!read_listed_indexes(is_named)) {
  }
  index_.refresh(storage_, keyring_);
  std::vector<StoredPack> existing;
  for (const auto& pack : survey_.packs()) {
    existing.push_back({pack.id, pack.size});
  }
  index_.restrict_to(existing);
  // An index object that was lost must lose nothing.
  if (std::ranges::count(is_named, false) > 0) {
    index_.search_packs(storage_, keyring_);
  }
}

// False: one was replaced meanwhile, and what did that may not be in the list.
bool Planner::read_listed_indexes(std::vector<bool>& is_named) {
  is_named.assign(survey_.packs().size(), false);
  for (const auto& id : list_indexes(storage_)) {
    stop_if_asked(stop_);
    IndexObject object;
    try {
      object = read_index(storage_, keyring_, id);
    } catch (const NotFound&) {
      return false;
    }
    for (const auto& pack : object.packs) {
      if (const auto why = unreadable_.find(pack.id);
          why != unreadable_.end()) {
        throw CorruptionError(why->second +
                              "; `cairn repair packs` takes out what is good");
      }
      const auto place = survey_.find(pack.id);
      if (!place) continue;  // removed by a prune that came no further
      is_named[*place] = true;
      if (object.assurance == Assurance::for_everyone()) {
        survey_.set_verified(*place);
      }
      if (survey_.packs()[*place].directory != digest_of(pack.directory)) {
        throw CorruptionError(index_name(id) + ": differs from pack " +
                              pack.id.brief() +
                              "; `cairn repair index` makes it anew");
      }
    }
  }
  return true;
}

void Planner::mark_reachable() {
  BlobReader blobs(storage_, keyring_, index_, repository_.session_keys());
  RecentlyReached recent;
  const SessionId* snapshot = nullptr;
  const GraphVisitor visitor{
      [&](const Link& link) {
        stop_if_asked(stop_);
        if (recent.contains_or_add(link)) return Enter::no;
        try {
          return reach(link);
        } catch (const NotFound& e) {
          throw CorruptionError(snapshot_name(*snapshot) + ": " + e.what());
        }
      },
      [&](const Link& link) {
        return decode_links(*blobs.read(BlobKind::links, link.id),
                            "node " + link.id.brief());
      }};
  for (const auto& root : roots_) {
    say(progress_, "following snapshot " + root.id.brief());
    snapshot = &root.id;
    walk_graph({BlobKind::links, root.header.root, 0}, visitor);
  }
}

// Throws NotFound when no copy can be relied on.
Enter Planner::reach(const Link& link) {
  const auto [copies, any_serves] = find_candidates(link.kind, link.id);
  if (copies.empty()) {
    throw NotFound("blob " + link.id.brief() +
                   ", which it needs, is missing or leans on one that is; "
                   "`cairn repair packs` looks for it in packs that are "
                   "about to go, too");
  }
  if (!reached_->mark(copies.front().row)) return Enter::no;
  const bool is_contested = any_serves && copies.size() > 1;
  for (const auto& copy : copies) {
    reached_->mark(copy.row);
    if (is_contested) {
      contested_->mark(copy.row);
      has_contested_[copy.pack] = true;
    } else {
      lone_bytes_[copy.pack] += copy.copy.row.stored_size;
    }
  }
  return Enter::yes;
}

Planner::Candidates Planner::find_candidates(BlobKind kind, const BlobId& id,
                                             std::uint32_t below) {
  auto copies = copies_->find_sound(kind, id);
  std::erase_if(copies, [&](const ConfirmedCopy& copy) {
    return copy.copy.row.depth >= below;
  });
  for (const bool condemned : {false, true}) {
    std::vector<ConfirmedCopy> verified;
    for (const auto& copy : copies) {
      if (survey_.packs()[copy.pack].is_verified &&
          is_condemned_[copy.pack] == condemned &&
          (verified.empty() ||
           copy.copy.row.depth == verified.front().copy.row.depth)) {
        verified.push_back(copy);
      }
    }
    if (!verified.empty()) return {std::move(verified), true};
  }
  return {std::move(copies), false};
}

// The same answer whenever it is asked: the one in the pack that has most to
// keep anyway.
RowNumber Planner::choose(const Candidates& candidates) const {
  return std::ranges::max_element(
             candidates.copies, {},
             [&](const ConfirmedCopy& copy) { return lone_bytes_[copy.pack]; })
      ->row;
}

// Second pass over the directories: of several copies one stays live, and
// every difference is tied to the copy of its base.
void Planner::settle_rows() {
  say(progress_, "resolving differences");
  for (std::size_t i = 0; i < survey_.packs().size(); ++i) {
    stop_if_asked(stop_);
    const SurveyedPack& pack = survey_.packs()[i];
    if (!pack.has_differences && !has_contested_[i]) {
      for (std::uint32_t n = 0; n < pack.row_count; ++n) {
        const RowNumber row = pack.first_row + n;
        if (reached_->is_marked(row)) facts_->live.mark(row);
      }
      continue;
    }
    RowNumber number = pack.first_row;
    const auto directory =
        read_pack_directory(storage_, keyring_, pack.id).pack.directory;
    for (const auto& row : directory.rows) {
      if (row.base) settle_base(i, number, row);
      if (reached_->is_marked(number) &&
          (!contested_->is_marked(number) ||
           choose(find_candidates(row.kind, row.id)) == number)) {
        facts_->live.mark(number);
      }
      ++number;
    }
  }
}

void Planner::settle_base(std::size_t pack, RowNumber number,
                          const BlobRow& row) {
  const auto bases = find_candidates(row.kind, *row.base, row.depth);
  if (bases.copies.empty()) {
    facts_->has_unsound[pack] = true;
  } else if (bases.any_serves) {
    facts_->base[number] = choose(bases) + 1;
  } else {
    std::vector<RowNumber> rows;
    for (const auto& copy : bases.copies) rows.push_back(copy.row);
    facts_->lean_on_all(number, rows);
  }
}

void Planner::take(PackFates fates) {
  const auto packs = survey_.packs();
  for (std::size_t i = 0; i < packs.size(); ++i) {
    PackVerdict& verdict = fates.verdicts[i];
    PackSum& sum = verdict.fate == PackFate::keep     ? plan_.kept
                   : verdict.fate == PackFate::repack ? plan_.repacked
                                                      : plan_.removed;
    ++sum.packs;
    sum.bytes += packs[i].size;
    plan_.bytes_used += verdict.needed_bytes;
    if (verdict.fate == PackFate::repack) {
      plan_.bytes_rewritten += verdict.needed_bytes;
    }
    if (verdict.is_beyond_room) {
      plan_.least_beyond_room =
          std::min(plan_.least_beyond_room.value_or(verdict.needed_bytes),
                   verdict.needed_bytes);
    }
    if (verdict.fate == PackFate::keep) {
      plan_.bytes_unused += packs[i].blob_bytes - verdict.needed_bytes;
    }
    if (verdict.fate == PackFate::keep && !packs[i].is_verified) {
      ++plan_.unverified.packs;
      plan_.unverified.bytes += packs[i].size;
    }
    plan_.packs.push_back({packs[i].id, packs[i].size, packs[i].blob_bytes,
                           packs[i].holds_content, packs[i].is_verified,
                           std::move(verdict)});
  }
  for (const auto& pack : plan_.unreadable) {
    ++plan_.removed.packs;
    plan_.removed.bytes += pack.size;
  }
  plan_.removal_order = std::move(fates.removal_order);
  plan_.last_order = std::move(fates.last_order);
}

}  // namespace

std::uint64_t PrunePlan::bytes_freed() const noexcept {
  return removed.bytes + repacked.bytes - bytes_rewritten;
}

PrunePlan plan_prune(Repository& repository, const PruneOptions& options,
                     const Timestamp& now, std::stop_token stop,
                     Progress* progress,
                     std::span<const SessionId> as_if_forgotten) {
  const auto last_epoch = [&] {
    return read_epochs(repository.storage(), repository.keyring()).last;
  };
  while (true) {
    // What is missing may have gone with the pass of a prune.
    const std::uint64_t before = last_epoch();
    const auto unless_others_went_on = [&] {
      if (last_epoch() == before) throw;
    };
    try {
      return Planner(repository, now, stop, progress, as_if_forgotten)
          .plan(options);
    } catch (const NotFound&) {
      unless_others_went_on();
    } catch (const CorruptionError&) {
      unless_others_went_on();
    }
  }
}

PrunePlan plan_doom(Repository& repository, const Epoch& condemnation,
                    const Timestamp& now, std::stop_token stop,
                    Progress* progress) {
  return Planner(repository, now, std::move(stop), progress, {})
      .plan_doom(condemnation);
}

PrunePlan read_roots(Repository& repository, const Timestamp& now) {
  return Planner(repository, now, {}, nullptr, {}).read_roots();
}

namespace {

// Of index objects with one assurance, which go on naming packs of `due`, which
// are all that they are to name; the others are added to the change.
void cover(std::vector<const PlannedIndex*> indexes, const Assurance& assurance,
           const std::set<PackId>& due, IndexChange& change) {
  std::ranges::stable_sort(indexes, [](const auto* a, const auto* b) {
    return a->rows > b->rows;  // the largest first
  });
  const auto is_small = [](const PlannedIndex* index) {
    return index->rows < kSmallIndexRows;
  };
  const bool merge_small = std::ranges::count_if(indexes, is_small) >=
                           static_cast<std::ptrdiff_t>(kManySmallIndexes);
  std::set<PackId> covered;
  for (const PlannedIndex* index : indexes) {
    const bool serves = std::ranges::all_of(index->packs, [&](const auto& id) {
      return due.contains(id) && !covered.contains(id);
    });
    if (!serves || index->packs.empty() || (merge_small && is_small(index))) {
      change.removed.push_back(index->id);
    } else {
      change.serving.push_back(index->id);
      covered.insert(index->packs.begin(), index->packs.end());
    }
  }
  IndexChange::ToName& to_name = change.to_name.emplace_back();
  to_name.assurance = assurance;
  std::ranges::set_difference(due, covered, std::back_inserter(to_name.packs));
  if (to_name.packs.empty()) change.to_name.pop_back();
}

}  // namespace

std::vector<PlannedIndex> read_index_contents(const Storage& storage,
                                              const Keyring& keyring) {
  std::vector<PlannedIndex> indexes;
  for (const auto& id : list_indexes(storage)) {
    IndexObject object;
    try {
      object = read_index(storage, keyring, id);
    } catch (const NotFound&) {
      continue;  // replaced by another collector, whose own names the packs
    }
    PlannedIndex& index = indexes.emplace_back();
    index.id = id;
    index.assurance = object.assurance;
    for (const auto& pack : object.packs) {
      index.packs.push_back(pack.id);
      index.rows += pack.directory.rows.size();
    }
  }
  return indexes;
}

IndexChange plan_index_change(std::span<const PlannedIndex> indexes,
                              const std::vector<PackId>& remaining) {
  struct Group {
    std::vector<const PlannedIndex*> indexes;
    std::set<PackId> due;
  };
  std::map<Assurance, Group> groups;
  for (const auto& index : indexes) {
    Group& group = groups[index.assurance];
    group.indexes.push_back(&index);
    for (const auto& id : index.packs) {
      if (std::ranges::binary_search(remaining, id)) group.due.insert(id);
    }
  }
  const std::set<PackId> verified = groups[Assurance::for_everyone()].due;
  std::set<PackId>& unassured = groups[Assurance{}].due;
  unassured = {remaining.begin(), remaining.end()};
  for (auto& [assurance, group] : groups) {
    if (assurance == Assurance{}) continue;
    if (assurance != Assurance::for_everyone()) {
      std::erase_if(group.due,
                    [&](const auto& id) { return verified.contains(id); });
    }
    for (const auto& id : group.due) unassured.erase(id);
  }
  IndexChange change;
  for (const auto& [assurance, group] : groups) {
    cover(group.indexes, assurance, group.due, change);
  }
  return change;
}

}  // namespace cairn::repo
