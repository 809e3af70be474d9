#include "repo/repair_packs.h"

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "repo/base_chain.h"
#include "repo/blob_codec.h"
#include "repo/blob_reader.h"
#include "repo/blob_writer.h"
#include "repo/check_packs.h"
#include "repo/damage_trace.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/heartbeat.h"
#include "repo/look_at.h"
#include "repo/pack_examination.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/reachability.h"
#include "repo/reusable_blobs.h"
#include "repo/session.h"
#include "repo/vouch.h"
#include "repo/withdraw_packs.h"

namespace cairn::repo {
namespace {

// Plain bytes that lie in no finished pack yet and may be a base.
constexpr std::size_t kFreshBlobs = 64;

// Blobs remembered by this run itself before the index is to know them.
constexpr std::size_t kStoredBlobs = 16384;

class PackRepairer {
 public:
  PackRepairer(Repository& repository, const PackRepairOptions& options,
               std::stop_token stop, Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        keyring_(repository.keyring()),
        options_(options),
        stop_(std::move(stop)),
        progress_(progress),
        all_(repository.index_store(), keyring_),
        blobs_(storage_, keyring_, all_, repository.session_keys()) {}

  PackRepair run() {
    if (options_.carry == Carry::plan_only) {
      const auto log = unless_renewed(
          storage_, keyring_, [&] { return read_epochs(storage_, keyring_); });
      repair(log.newest, nullptr);
      return std::move(repair_);
    }
    Session session(storage_, keyring_, repository_.signer(), options_.now);
    try {
      const Heartbeat heartbeat(session);
      repair(session.epoch(), &session.id());
    } catch (...) {
      end(session);
      throw;
    }
    end(session);
    return std::move(repair_);
  }

 private:
  void repair(const Epoch& epoch, const SessionId* session);

  // Finding out.
  void examine();
  [[nodiscard]] bool serves(const BlobCopy& copy) const;
  [[nodiscard]] const ExaminedPack& pack_of(const ExaminedRow& row) const {
    return found_->not_sound[row.pack];
  }

  // Making good.
  void name_packs(const SessionId* session);
  [[nodiscard]] std::optional<std::uint32_t> depth_of(BlobKind kind,
                                                      const BlobId& id);
  void heal_rows();
  void leave_out_packs();
  void move_rows();
  void move(ExaminedRow& row);
  bool has_base(const BlobRow& row);
  void add(const ExaminedRow& row);
  bool ensure(BlobKind kind, const BlobId& id, std::uint32_t below);
  bool heal(ExaminedRow& row);
  bool take_out_of_going(BlobKind kind, const BlobId& id);
  bool fetch(BlobKind kind, const BlobId& id);
  void store_again(BlobKind kind, const BlobId& id, PlainBlob plain);
  void note_stored(const BlobId& id, std::uint32_t depth);
  void bring_to_light(const BlobId& id);
  PlainBlob read(BlobKind kind, const BlobId& id);
  void keep_fresh(const BlobId& id, PlainBlob plain);

  void walk_snapshots();
  void name_what_is_lost();

  void step(std::string_view what) {
    if (stop_.stop_requested()) throw Cancelled("repair packs: interrupted");
    if (progress_ != nullptr) progress_->set_current(what);
  }

  // What was repaired is, whether or not the registration can be taken back:
  // the next prune fences it.
  static void end(Session& session) {
    try {
      session.end();
    } catch (const Error&) {
      return;
    }
  }

  Repository& repository_;
  Storage& storage_;
  const Keyring& keyring_;
  const PackRepairOptions& options_;
  std::stop_token stop_;
  Progress* progress_;

  BlobIndex all_;  // every pack, also those that no index object names
  BlobReader blobs_;
  std::optional<BlobReader> sister_;
  std::optional<ReusableBlobs> reusable_;
  std::optional<BlobWriter> writer_;  // nothing: a plan only

  std::vector<Snapshot> snapshots_;
  std::set<PackId> existing_;
  // Whatever prune removes, or may: what only these hold is stored again.
  std::set<PackId> going_;
  std::set<PackId> damaged_;
  std::vector<SoundPack> unnamed_;        // sound ones, by no index object
  std::optional<PackExamination> found_;  // less what the two above have of it
  std::optional<RowsById> rows_;  // of packs of which not every row is good
  // What this run stored, with its depth; the index has what is not in it any
  // more.
  std::unordered_map<BlobId, std::uint32_t, IdHash> stored_;
  std::unordered_map<BlobId, PlainBlob, IdHash> fresh_;
  std::unordered_set<BlobId, IdHash> not_there_;  // in the sister
  std::unordered_set<BlobId, IdHash> lost_;
  std::vector<std::byte> bytes_;  // is reused
  PackRepair repair_;
};

void PackRepairer::repair(const Epoch& epoch, const SessionId* session) {
  step("reading the index");
  auto list = repository_.snapshots(options_.now);
  for (auto& valid : list.snapshots) {
    snapshots_.push_back(std::move(valid.snapshot));
  }
  repair_.troubles = std::move(list.damage);
  all_.refresh(storage_, keyring_);
  all_.search_packs(storage_, keyring_);
  if (options_.from != nullptr) sister_.emplace(options_.from->blobs());

  going_ = going_packs(epoch);
  examine();
  name_packs(session);
  // What other sessions of this process made counts as far as it is indexed.
  repository_.index().refresh(storage_, keyring_);
  reusable_.emplace(storage_, keyring_, repository_.index(), epoch);
  if (session == nullptr) {
    for (const auto& pack : unnamed_) {  // as if they were named
      repository_.index().add(
          read_pack_directory(storage_, keyring_, pack.id).pack);
    }
  } else {
    writer_.emplace(repository_, *reusable_, *session, progress_,
                    [this](const IndexedPack& pack) {
                      all_.add(pack);
                      existing_.insert(pack.id);
                    });
  }
  heal_rows();
  leave_out_packs();
  move_rows();
  walk_snapshots();
  if (writer_) {
    step("writing packs");
    writer_->finish();
    repair_.bytes_stored = writer_->bytes_stored();
  }
  // Before the index changes under the reader.
  name_what_is_lost();
  if (session != nullptr && !repair_.packs.empty()) {
    withdraw_packs(repository_, *session, damaged_,
                   [this] { step("writing the index"); });
  }
}

void PackRepairer::examine() {
  found_.emplace(
      examine_packs(repository_, all_, blobs_,
                    {.packs = options_.packs, .threads = options_.threads},
                    stop_, progress_));
  repair_.packs_read = found_->packs_read;
  existing_ = std::move(found_->existing);
  unnamed_ = std::move(found_->unnamed);
  rows_.emplace(found_->rows, repository_.cache_folder());
}

// What a repair stored that was killed before its index object was there, say:
// readers find it, and nobody else. But for what is about to go.
void PackRepairer::name_packs(const SessionId* session) {
  std::erase_if(unnamed_, [&](const SoundPack& pack) {
    return going_.contains(pack.id);
  });
  repair_.packs_named = unnamed_.size();
  if (session == nullptr || unnamed_.empty()) return;
  step("writing the index");
  repair_.packs_named = vouch_for(repository_, *session, unnamed_).size();
}

// A copy that can be read, as far as it was looked at, and that stays.
bool PackRepairer::serves(const BlobCopy& copy) const {
  const auto pack = all_.find_pack(copy.pack);
  if (!pack || !existing_.contains(pack->id) || going_.contains(pack->id)) {
    return false;
  }
  const auto* const examined = found_->find(pack->id);
  if (examined == nullptr) return true;
  return rows_->any_of(copy.row.id, [&](const ExaminedRow& row) {
    return pack_of(row).id == pack->id && row.offset == copy.offset &&
           row.row.depth == copy.row.depth && row.state == RowState::good;
  });
}

// Of what will be left without the damaged packs.
std::optional<std::uint32_t> PackRepairer::depth_of(BlobKind kind,
                                                    const BlobId& id) {
  std::optional<std::uint32_t> depth;
  if (const auto found = stored_.find(id); found != stored_.end()) {
    depth = found->second;
  }
  const auto chain = reusable_->chain_of(kind, id);
  if (!chain.empty() && (!depth || chain.front().row.depth < *depth)) {
    depth = chain.front().row.depth;
  }
  return depth;
}

// A base that comes back makes good what leans on it, in packs that have
// nothing else wrong with them.
void PackRepairer::heal_rows() {
  for (std::uint64_t i = 0; i < found_->rows.size(); ++i) {
    step("looking for bases");
    auto& row = found_->rows[i];
    if (row.state == RowState::leans) (void)heal(row);
  }
}

// Those in which not all is good by now.
void PackRepairer::leave_out_packs() {
  for (const auto& pack : found_->not_sound) {
    RepairedPack repaired{pack.id, pack.trouble, pack.row_count, 0};
    for (std::uint64_t i = 0; i < pack.row_count; ++i) {
      const auto& row = found_->rows[pack.first_row + i];
      if (row.state == RowState::good) {
        ++repaired.good_blobs;
      } else if (repaired.what.empty()) {
        repaired.what =
            "blob " + row.row.id.brief() +
            (row.state == RowState::stuck ? ": a base that it needs is lost"
                                          : ": is not what its id names");
      }
    }
    if (repaired.what.empty()) continue;
    repository_.index().count_as_absent(pack.id);
    damaged_.insert(pack.id);
    repair_.packs.push_back(std::move(repaired));
  }
}

void PackRepairer::move_rows() {
  for (const auto& pack : found_->not_sound) {
    if (!damaged_.contains(pack.id)) continue;
    for (std::uint64_t i = 0; i < pack.row_count; ++i) {
      step("moving blobs");
      auto& row = found_->rows[pack.first_row + i];
      if (row.state == RowState::good) move(row);
    }
  }
}

// Unless the blob is elsewhere, as shallow: what leans on it may lean on that.
//
// Recursion is bounded: each step goes to a strictly smaller depth.
void PackRepairer::move(ExaminedRow& row) {
  if (std::exchange(row.is_moved, true)) return;
  const auto depth = depth_of(row.row.kind, row.row.id);
  if (depth && *depth <= row.row.depth) return;
  ++repair_.blobs_moved;
  if (has_base(row.row)) {
    add(row);
    return;
  }
  // Its base is there for nobody who writes, or too deep.
  bring_to_light(row.row.id);
  const auto plain = read(row.row.kind, row.row.id);
  if (writer_) writer_->store_again(row.row.kind, row.row.id, *plain);
  note_stored(row.row.id, 0);
}

bool PackRepairer::has_base(const BlobRow& row) {
  if (!row.base) return true;
  const auto is_there = [&] {
    const auto depth = depth_of(row.kind, *row.base);
    return depth && *depth < row.depth;
  };
  if (is_there()) return true;
  return rows_->any_of(*row.base, [&](ExaminedRow& base) {
    if (base.state != RowState::good || base.row.depth >= row.depth ||
        base.row.kind != row.kind || !damaged_.contains(pack_of(base).id)) {
      return false;
    }
    move(base);
    return is_there();
  });
}

// Opened once more: it is what was looked at before, or nothing is written.
void PackRepairer::add(const ExaminedRow& row) {
  note_stored(row.row.id, row.row.depth);
  if (!writer_) return;
  bytes_.resize(row.row.stored_size);
  storage_.get(pack_name(pack_of(row).id), row.offset, bytes_);
  const auto& key = found_->keys[row.key];
  if (!opens(repository_, row.row, key, bytes_)) {
    throw CorruptionError("blob " + row.row.id.brief() +
                          ": is not what was read before");
  }
  writer_->add(row.row, key, bytes_);
}

void PackRepairer::walk_snapshots() {
  RecentlyReached recent;
  VisitedNodes seen;
  const GraphVisitor visitor{
      [&](const Link& link) {
        if (stop_.stop_requested())
          throw Cancelled("repair packs: interrupted");
        if (recent.contains_or_add(link)) return Enter::no;
        if (link.kind == BlobKind::links && !seen.add(link.id)) {
          return Enter::no;
        }
        if (!lost_.contains(link.id) &&
            !ensure(link.kind, link.id, kMaxDepth + 1)) {
          lost_.insert(link.id);
        }
        return Enter::yes;
      },
      [&](const Link& link) {
        std::optional<std::vector<Link>> rows;
        if (lost_.contains(link.id)) return rows;
        bring_to_light(link.id);
        const auto trouble =
            trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
              rows = decode_links(*read(BlobKind::links, link.id),
                                  "node " + link.id.brief());
            });
        if (trouble) lost_.insert(link.id);
        return rows;
      }};
  for (const auto& snapshot : snapshots_) {
    step("following snapshot " + snapshot.id.brief());
    walk_graph({BlobKind::links, snapshot.header.root, 0}, visitor);
  }
  repair_.blobs_lost = lost_.size();
}

// True if the blob can be read, and leaned on by who has that depth; makes it
// so where it can.
//
// Recursion is bounded: each step goes to a strictly smaller depth, and no row
// is tried twice.
bool PackRepairer::ensure(BlobKind kind, const BlobId& id,
                          std::uint32_t below) {
  const auto stored = stored_.find(id);
  if (stored != stored_.end() && stored->second < below) return true;
  // Then what a good copy leans on was read with it.
  const bool are_bases_good = options_.packs.empty() && going_.empty();
  for (const auto& copy : all_.find(id)) {
    if (copy.row.kind != kind || copy.row.depth >= below || !serves(copy)) {
      continue;
    }
    if (are_bases_good || !copy.row.base ||
        ensure(kind, *copy.row.base, copy.row.depth)) {
      return true;
    }
  }
  const bool is_examined = rows_->any_of(id, [&](ExaminedRow& row) {
    if (row.row.kind != kind || row.row.depth >= below) return false;
    // Of a pack whose directory only an index object had, perhaps.
    if (row.state == RowState::good && row.is_moved) return true;
    return row.state == RowState::leans && heal(row) &&
           !going_.contains(pack_of(row).id);
  });
  if (is_examined) return true;
  return take_out_of_going(kind, id) || fetch(kind, id);
}

// What a prune moved out of them came to harm, say.
bool PackRepairer::take_out_of_going(BlobKind kind, const BlobId& id) {
  if (going_.empty()) return false;
  const auto copies = all_.find(id);
  const bool is_there = std::ranges::any_of(copies, [&](const auto& copy) {
    const auto pack = all_.find_pack(copy.pack);
    return copy.row.kind == kind && pack && going_.contains(pack->id);
  });
  if (!is_there) return false;
  PlainBlob plain;
  const auto trouble =
      trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
        const auto fresh = fresh_.find(id);
        plain = fresh != fresh_.end() ? fresh->second : blobs_.read(kind, id);
      });
  if (trouble) return false;
  store_again(kind, id, std::move(plain));
  ++repair_.blobs_moved;
  return true;
}

// A difference whose base comes back.
bool PackRepairer::heal(ExaminedRow& row) {
  row.state = RowState::stuck;
  if (!ensure(row.row.kind, *row.row.base, row.row.depth)) return false;
  bring_to_light(*row.row.base);
  auto plain = std::make_shared<RawBytes>(row.row.plain_size);
  const auto trouble =
      trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
        const auto base = read(row.row.kind, *row.row.base);
        bytes_.resize(row.row.stored_size);
        storage_.get(pack_name(pack_of(row).id), row.offset, bytes_);
        const auto& key = found_->keys[row.key];
        BlobDecoder().decode(keyring_.family(), key.generation,
                             *repository_.session_keys().find(key), row.row,
                             bytes_, *base, *plain);
        if (keyring_.id_of(row.row.kind, *plain) != row.row.id) {
          throw CorruptionError("its bytes are not what its id names");
        }
      });
  row.state = trouble ? RowState::hurt : RowState::good;
  if (!trouble) keep_fresh(row.row.id, std::move(plain));
  return !trouble;
}

bool PackRepairer::fetch(BlobKind kind, const BlobId& id) {
  if (!sister_ || not_there_.contains(id)) return false;
  PlainBlob plain;
  const auto trouble =
      trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
        plain = sister_->read(kind, id);
        // Ids are the family's, and this repository's own keys say so.
        if (keyring_.id_of(kind, *plain) != id) {
          throw CorruptionError("its bytes are not what its id names");
        }
      });
  if (trouble) {
    not_there_.insert(id);
    return false;
  }
  store_again(kind, id, std::move(plain));
  ++repair_.blobs_fetched;
  return true;
}

void PackRepairer::store_again(BlobKind kind, const BlobId& id,
                               PlainBlob plain) {
  if (writer_) writer_->store_again(kind, id, *plain);
  note_stored(id, 0);
  keep_fresh(id, std::move(plain));
}

void PackRepairer::note_stored(const BlobId& id, std::uint32_t depth) {
  if (writer_ && stored_.size() >= kStoredBlobs) {
    writer_->finish();
    stored_.clear();
  }
  stored_[id] = depth;
}

// What lies in an open pack nobody finds. It writes: where a failure to read is
// no more than a finding, this comes before.
void PackRepairer::bring_to_light(const BlobId& id) {
  if (writer_ && stored_.contains(id) && !fresh_.contains(id)) {
    writer_->finish();
  }
}

// Wherever it lies by now, once it was brought to light.
PlainBlob PackRepairer::read(BlobKind kind, const BlobId& id) {
  if (const auto found = fresh_.find(id); found != fresh_.end()) {
    return found->second;
  }
  PlainBlob plain;
  const auto trouble = trouble_of("damaged-blob", "blob", IfGone::it_is_damage,
                                  [&] { plain = blobs_.read(kind, id); });
  if (!trouble) return plain;
  if (!writer_ && sister_) return sister_->read(kind, id);  // as it would be
  throw CorruptionError("blob " + id.brief() + ": " + trouble->reason);
}

void PackRepairer::keep_fresh(const BlobId& id, PlainBlob plain) {
  if (fresh_.size() >= kFreshBlobs) {
    if (writer_) writer_->finish();
    fresh_.clear();
  }
  fresh_[id] = std::move(plain);
}

void PackRepairer::name_what_is_lost() {
  if (lost_.empty()) return;
  DamageTrace trace(
      blobs_, keyring_, [&](const BlobId& id) { return lost_.contains(id); },
      [&](const BlobId&, const SessionId& snapshot, const std::string& path) {
        repair_.lost.add({snapshot, path.empty() ? "/" : path});
      });
  for (const auto& snapshot : snapshots_) {
    step("tracing damage to snapshot " + snapshot.id.brief());
    trace.trace(snapshot, stop_);
  }
}

}  // namespace

PackRepair repair_packs(Repository& repository,
                        const PackRepairOptions& options, std::stop_token stop,
                        Progress* progress) {
  if (repository.keyring().role() != Role::owner) {
    throw WrongKey("the " + std::string(name_of(repository.keyring().role())) +
                   " role may not say what packs hold");
  }
  if (options.from != nullptr) {
    const Keyring& sister = options.from->keyring();
    const Storage& there = options.from->storage();
    if (sister.repository() == repository.keyring().repository() &&
        there.place() == repository.storage().place()) {
      throw std::invalid_argument(there.description() +
                                  ": is the repository that is to be repaired; "
                                  "name a copy of it, or a sister");
    }
    if (sister.family() != repository.keyring().family()) {
      throw std::invalid_argument(
          there.description() +
          ": is no sister of this repository, so that its blobs have other "
          "names; `cairn init --like` makes one");
    }
  }
  return PackRepairer(repository, options, std::move(stop), progress).run();
}

}  // namespace cairn::repo
