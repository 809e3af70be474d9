#include "repo/repair_packs.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "crypto/seal.h"
#include "repo/base_chain.h"
#include "repo/blob_codec.h"
#include "repo/blob_reader.h"
#include "repo/blob_writer.h"
#include "repo/check_packs.h"
#include "repo/damage_trace.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/heartbeat.h"
#include "repo/index_batch.h"
#include "repo/look_at.h"
#include "repo/object_digest.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/reachability.h"
#include "repo/reusable_blobs.h"
#include "repo/session.h"
#include "repo/vouch.h"

namespace cairn::repo {
namespace {

// Others may publish index objects meanwhile that name what is taken out.
constexpr int kAttempts = 5;

// Plain bytes that lie in no finished pack yet and may be a base.
constexpr std::size_t kFreshBlobs = 64;

enum class RowState {
  good,
  hurt,   // its own bytes are not what they were
  leans,  // they are, and a base that they lean on cannot be read
  stuck,  // nor can it be had from elsewhere
};

struct ExaminedRow {
  PackId pack;
  BlobRow row;
  std::uint64_t offset = 0;
  WrappedKey key;
  RowState state = RowState::hurt;
  bool is_moved = false;
};

struct ExaminedPack {
  std::uint64_t size = 0;
  std::string trouble;  // empty: its bytes are what its name says
  std::vector<ExaminedRow> rows;
};

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
      repair(read_epochs(storage_, keyring_).newest, nullptr);
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
  using RowsById = std::unordered_multimap<BlobId, ExaminedRow*, IdHash>;

  void repair(const Epoch& epoch, const SessionId* session);

  // Finding out.
  void read_packs();
  [[nodiscard]] std::set<PackId> indexed_packs();
  [[noreturn]] void refuse_what_is_newer(const std::string& object,
                                         const std::string& reason);
  void read_old_directories(const std::set<PackId>& unreadable);
  void examine(const StoredPack& pack);
  std::vector<Directory> directories_of(const StoredPack& pack);
  void examine_rows(const PackId& id, const Directory& directory,
                    ExaminedPack& examined);
  RowState judge(const ExaminedRow& row);
  [[nodiscard]] bool opens(const ExaminedRow& row);
  [[nodiscard]] bool serves(const BlobCopy& copy) const;

  // Making good.
  void name_packs(const Epoch& epoch, const SessionId* session);
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
  bool fetch(BlobKind kind, const BlobId& id);
  void bring_to_light(const BlobId& id);
  PlainBlob read(BlobKind kind, const BlobId& id);
  void keep_fresh(const BlobId& id, PlainBlob plain);

  void walk_snapshots();
  void take_out_of_index(const SessionId& session);
  bool take_out_once(const SessionId& session);
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
  std::set<PackId> damaged_;
  std::map<PackId, std::vector<Directory>> old_directories_;
  std::vector<SoundPack> unnamed_;           // sound ones, by no index object
  std::map<PackId, ExaminedPack> examined_;  // of which not every row is good
  RowsById rows_;                            // of those
  // What this run stored, with its depth.
  std::unordered_map<BlobId, std::uint32_t, IdHash> stored_;
  std::unordered_map<BlobId, PlainBlob, IdHash> fresh_;
  std::unordered_set<BlobId, IdHash> not_there_;  // in the sister
  std::unordered_set<BlobId, IdHash> lost_;
  std::vector<std::byte> bytes_;  // these are reused
  std::vector<std::byte> opened_;
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

  read_packs();
  name_packs(epoch, session);
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
    take_out_of_index(*session);
  }
}

void PackRepairer::read_packs() {
  auto packs = list_packs(storage_);
  for (const auto& pack : packs) existing_.insert(pack.id);
  for (const auto& id : options_.packs) {
    if (!existing_.contains(id)) {
      throw std::invalid_argument(pack_name(id) + ": there is no such pack");
    }
  }
  const std::set<PackId> indexed = indexed_packs();
  if (!options_.packs.empty()) {
    // What no index object names serves nobody before it was looked at.
    const std::set<PackId> chosen(options_.packs.begin(), options_.packs.end());
    std::erase_if(packs, [&](const StoredPack& pack) {
      return !chosen.contains(pack.id) && indexed.contains(pack.id);
    });
  }
  std::set<PackId> unreadable;
  std::set<PackId> all;  // bases are compared with their ids
  std::erase_if(packs, [&](const StoredPack& pack) {
    step("reading directories");
    all.insert(pack.id);
    const auto trouble = trouble_with_directory(storage_, pack, [&] {
      (void)read_pack_directory(storage_, keyring_, pack.id);
    });
    if (!trouble) return false;
    if (trouble->severity == Severity::unsupported) {
      refuse_what_is_newer(pack_name(pack.id), trouble->reason);
    }
    if (trouble->severity == Severity::damage) unreadable.insert(pack.id);
    return trouble->severity == Severity::note;  // a prune removed it
  });
  read_old_directories(unreadable);
  step("reading packs");
  if (progress_ != nullptr) {
    for (const auto& pack : packs) progress_->bytes_total += pack.size;
    progress_->items_total = packs.size();
  }
  FindingList findings;  // the rows are looked at one by one below
  const auto result = check_packs(repository_, all_, packs, unreadable, all,
                                  options_.threads, findings, stop_, progress_);
  repair_.packs_read = result.packs;
  std::set<PackId> sound;
  for (const auto& pack : result.sound) {
    sound.insert(pack.id);
    if (!indexed.contains(pack.id)) unnamed_.push_back(pack);
  }
  for (const auto& pack : packs) {
    if (!sound.contains(pack.id)) examine(pack);
  }
}

std::set<PackId> PackRepairer::indexed_packs() {
  std::set<PackId> indexed;
  for (const auto& id : list_indexes(storage_)) {
    step("reading the index");
    const std::string name = index_name(id);
    const auto trouble =
        trouble_of("damaged-index", name, IfGone::it_vanished, [&] {
          for (const auto& pack : read_index(storage_, keyring_, id).packs) {
            indexed.insert(pack.id);
          }
        });
    if (trouble && trouble->severity == Severity::unsupported) {
      refuse_what_is_newer(name, trouble->reason);
    }
  }
  return indexed;
}

// What it holds would pass for lost, and what leans on that for damaged.
void PackRepairer::refuse_what_is_newer(const std::string& object,
                                        const std::string& reason) {
  require_not_renewed(storage_, keyring_);
  throw UnsupportedFormat(
      object + ": " + reason +
      "; what it holds, and what leans on that, only a "
      "cairn that knows it can judge: repair with that one. "
      "Nothing was done");
}

// What a repair stored that was killed before its index object was there, say:
// readers find it, and nobody else. But for what is about to go.
void PackRepairer::name_packs(const Epoch& epoch, const SessionId* session) {
  std::set<PackId> going(epoch.condemned.begin(), epoch.condemned.end());
  for (const auto& pack : epoch.doomed) going.insert(pack.id);
  std::erase_if(unnamed_,
                [&](const SoundPack& pack) { return going.contains(pack.id); });
  repair_.packs_named = unnamed_.size();
  if (session == nullptr || unnamed_.empty()) return;
  step("writing the index");
  repair_.packs_named = vouch_for(repository_, *session, unnamed_).size();
}

// What index objects say of packs that do not say it themselves any more.
void PackRepairer::read_old_directories(const std::set<PackId>& unreadable) {
  if (unreadable.empty()) return;
  for (const auto& id : list_indexes(storage_)) {
    step("reading the index");
    (void)trouble_of("damaged-index", index_name(id), IfGone::it_vanished, [&] {
      for (auto& pack : read_index(storage_, keyring_, id).packs) {
        if (!unreadable.contains(pack.id)) continue;
        auto& known = old_directories_[pack.id];
        if (std::ranges::find(known, pack.directory) == known.end()) {
          known.push_back(std::move(pack.directory));
        }
      }
    });
  }
}

void PackRepairer::examine(const StoredPack& pack) {
  const std::string name = pack_name(pack.id);
  step("looking at " + name);
  ExaminedPack examined;
  examined.size = pack.size;
  std::vector<Directory> directories;
  const auto trouble =
      trouble_of("damaged-pack", name, IfGone::it_vanished,
                 [&] { check_pack_bytes(storage_, pack, nullptr); });
  if (trouble && trouble->severity == Severity::note) return;  // pruned
  if (trouble) examined.trouble = trouble->reason;
  if (const auto old = old_directories_.find(pack.id);
      old != old_directories_.end()) {
    directories = std::move(old->second);
  } else {
    const auto unread =
        trouble_of("damaged-pack", name, IfGone::it_vanished, [&] {
          directories.push_back(
              read_pack_directory(storage_, keyring_, pack.id).pack.directory);
        });
    if (unread && unread->severity == Severity::note) return;
    if (unread && examined.trouble.empty()) examined.trouble = unread->reason;
  }
  for (const auto& directory : directories) {
    examine_rows(pack.id, directory, examined);
  }
  auto& kept = examined_[pack.id] = std::move(examined);
  for (auto& row : kept.rows) rows_.emplace(row.row.id, &row);
}

void PackRepairer::examine_rows(const PackId& id, const Directory& directory,
                                ExaminedPack& examined) {
  std::uint64_t offset = kPackHeadBytes;
  for (const auto& row : directory.rows) {
    if (stop_.stop_requested()) throw Cancelled("repair packs: interrupted");
    auto& added = examined.rows.emplace_back();
    added.pack = id;
    added.row = row;
    added.offset = offset;
    added.key = directory.keys[row.key];
    added.state = judge(added);
    offset += row.stored_size;
  }
}

// Leaves the stored bytes in bytes_.
RowState PackRepairer::judge(const ExaminedRow& row) {
  bool is_good = false;
  bool is_there = false;
  (void)trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
    bytes_.resize(row.row.stored_size);
    storage_.get(pack_name(row.pack), row.offset, bytes_);
    is_there = true;
    (void)blobs_.decode(row.row, row.key, bytes_, VerifyId::with_base);
    is_good = true;
  });
  if (is_good) return RowState::good;
  if (!is_there || !row.row.base || !opens(row)) return RowState::hurt;
  // With its base at hand it does not decode to what it should.
  const auto base =
      trouble_of("damaged-blob", "blob", IfGone::it_is_damage,
                 [&] { (void)blobs_.read(row.row.kind, *row.row.base); });
  return base ? RowState::leans : RowState::hurt;
}

bool PackRepairer::opens(const ExaminedRow& row) {
  opened_.resize(bytes_.size() - crypto::kTagBytes);
  bool is_open = false;
  (void)trouble_of("damaged-blob", "blob", IfGone::it_is_damage, [&] {
    const auto* const secret = repository_.session_keys().find(row.key);
    is_open = secret != nullptr &&
              crypto::open(*secret,
                           associated_data(keyring_.family(),
                                           row.key.generation, row.row),
                           bytes_, opened_);
  });
  return is_open;
}

// A copy that can be read, as far as it was looked at.
bool PackRepairer::serves(const BlobCopy& copy) const {
  const auto pack = all_.find_pack(copy.pack);
  if (!pack || !existing_.contains(pack->id)) return false;
  if (!examined_.contains(pack->id)) return true;
  const auto [begin, end] = rows_.equal_range(copy.row.id);
  return std::any_of(begin, end, [&](const auto& entry) {
    const ExaminedRow& row = *entry.second;
    return row.pack == pack->id && row.offset == copy.offset &&
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
  for (auto& [id, pack] : examined_) {
    step("looking for bases");
    for (auto& row : pack.rows) {
      if (row.state == RowState::leans) (void)heal(row);
    }
  }
}

// Those in which not all is good by now.
void PackRepairer::leave_out_packs() {
  for (auto& [id, pack] : examined_) {
    RepairedPack repaired{id, pack.trouble, pack.rows.size(), 0};
    for (const auto& row : pack.rows) {
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
    repository_.index().count_as_absent(id);
    damaged_.insert(id);
    repair_.packs.push_back(std::move(repaired));
  }
}

void PackRepairer::move_rows() {
  for (auto& [id, pack] : examined_) {
    step("moving blobs");
    if (!damaged_.contains(id)) continue;
    for (auto& row : pack.rows) {
      if (stop_.stop_requested()) throw Cancelled("repair packs: interrupted");
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
  stored_[row.row.id] = 0;
}

bool PackRepairer::has_base(const BlobRow& row) {
  if (!row.base) return true;
  const auto is_there = [&] {
    const auto depth = depth_of(row.kind, *row.base);
    return depth && *depth < row.depth;
  };
  if (is_there()) return true;
  const auto [begin, end] = rows_.equal_range(*row.base);
  for (auto at = begin; at != end; ++at) {
    ExaminedRow& base = *at->second;
    if (base.state == RowState::good && base.row.depth < row.depth &&
        base.row.kind == row.kind && damaged_.contains(base.pack)) {
      move(base);
    }
  }
  return is_there();
}

// Opened once more: it is what was looked at before, or nothing is written.
void PackRepairer::add(const ExaminedRow& row) {
  stored_[row.row.id] = row.row.depth;
  if (!writer_) return;
  bytes_.resize(row.row.stored_size);
  storage_.get(pack_name(row.pack), row.offset, bytes_);
  if (!opens(row)) {
    throw CorruptionError("blob " + row.row.id.brief() +
                          ": is not what was read before");
  }
  writer_->add(row.row, row.key, bytes_);
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
  const bool were_all_read = options_.packs.empty();
  for (const auto& copy : all_.find(id)) {
    if (copy.row.kind != kind || copy.row.depth >= below || !serves(copy)) {
      continue;
    }
    // Of what was not read, as far as the index knows.
    if (were_all_read || has_its_bases(all_, copy.row)) return true;
  }
  const auto [begin, end] = rows_.equal_range(id);
  for (auto at = begin; at != end; ++at) {
    ExaminedRow& row = *at->second;
    if (row.row.kind != kind || row.row.depth >= below) continue;
    // Of a pack whose directory only an index object had, perhaps.
    if (row.state == RowState::good && row.is_moved) return true;
    if (row.state == RowState::leans && heal(row)) return true;
  }
  return fetch(kind, id);
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
        storage_.get(pack_name(row.pack), row.offset, bytes_);
        BlobDecoder().decode(keyring_.family(), row.key.generation,
                             *repository_.session_keys().find(row.key), row.row,
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
  if (writer_) writer_->store_again(kind, id, *plain);
  stored_[id] = 0;
  keep_fresh(id, std::move(plain));
  ++repair_.blobs_fetched;
  return true;
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

// Index objects that name a damaged pack are replaced by such as name the
// others of theirs, with the same assurance.
void PackRepairer::take_out_of_index(const SessionId& session) {
  int attempt = 0;
  while (take_out_once(session)) {
    if (++attempt == kAttempts) {
      throw LockedError(
          "index: others change it again and again; run the repair again");
    }
  }
  for (const auto& id : damaged_) repository_.index().take_back(id);
  repository_.index().refresh(storage_, keyring_);
}

// False: none named any.
bool PackRepairer::take_out_once(const SessionId& session) {
  IndexBatch batch(storage_, keyring_, repository_.signer(), session);
  std::vector<IndexId> superseded;
  for (const auto& id : list_indexes(storage_)) {
    step("writing the index");
    IndexObject object;
    const auto trouble =
        trouble_of("damaged-index", index_name(id), IfGone::it_vanished,
                   [&] { object = read_index(storage_, keyring_, id); });
    if (trouble) continue;  // what cannot be read says nothing
    const auto left_out = std::erase_if(
        object.packs,
        [&](const IndexedPack& pack) { return damaged_.contains(pack.id); });
    if (left_out == 0) continue;
    superseded.push_back(id);
    batch.begin(object.assurance);
    for (auto& pack : object.packs) batch.add(std::move(pack));
  }
  batch.finish();
  if (!are_there(storage_, superseded)) {
    batch.discard();  // others replaced them meanwhile
    return true;
  }
  for (const auto& id : superseded) {
    // What a prune that fenced this session off dooms may be what this repair
    // takes for good.
    if (!storage_.size(session_name(session))) {
      throw LockedError(session_name(session) +
                        ": was fenced off by a prune, which took it for dead; "
                        "run the repair again");
    }
    storage_.remove(index_name(id));
  }
  return !superseded.empty() || !are_there(storage_, batch.published());
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
