#include "repo/repair.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "crypto/random.h"
#include "repo/base_chain.h"
#include "repo/epoch.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/index_batch.h"
#include "repo/look_at.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"

namespace cairn::repo {
namespace {

constexpr std::chrono::minutes kPatience{2};

class Repair {
 public:
  Repair(Repository& repository, std::stop_token stop, Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        keyring_(repository.keyring()),
        stop_(std::move(stop)),
        progress_(progress),
        batch_(storage_, keyring_, repository.signer(),
               SessionId{crypto::random_array<SessionId::kBytes>()}) {}

  IndexRepair run() {
    // Index objects before packs: what an old one names was there when the
    // packs are listed, or is gone for good. What is doomed goes whatever an
    // index object says.
    const auto old = list_indexes(storage_);
    for (const auto& id : old) hear(id);
    std::set<PackId> doomed;
    const auto trouble = trouble_of(
        "damaged-epoch", "epochs", IfGone::it_vanished,
        [&] { doomed = doomed_packs(read_epochs(storage_, keyring_).newest); });
    if (trouble) repair_.damage.push_back(trouble->reason);
    for (const auto& pack : list_packs(storage_)) {
      if (!doomed.contains(pack.id)) left_.insert(pack.id);
    }
    if (progress_ != nullptr) progress_->items_total = left_.size();

    // What everyone may rely on needs no other assurance.
    index_packs(Assurance::for_everyone());
    for (const auto& pack : done_) left_.erase(pack);
    repair_.packs_unverified = left_.size();
    for (const auto& [assurance, said] : said_) {
      if (assurance.reach == Assurance::Reach::one_key) index_packs(assurance);
    }
    for (const auto& pack : done_) left_.erase(pack);
    index_the_rest();
    if (!unreadable_.empty()) {
      for (const auto& id : old) take_from(id);
    }
    batch_.finish();
    if (!are_there(storage_, superseded_)) {
      batch_.discard();
      is_overtaken_ = true;
      return {};
    }
    repair_.indexes_written = batch_.published().size();
    for (const auto& id : superseded_) {
      storage_.remove(index_name(id));
      ++repair_.indexes_removed;
    }
    if (repository_.index_store().clear(kPatience) ==
        IndexStore::Written::others_are_writing) {
      throw LockedError("index cache: another process is writing to it");
    }
    repository_.index().refresh(storage_, keyring_);
    look_for_bases();
    mend_config(storage_, repository_.config());
    mend_generation_objects(storage_, repository_.keyring());
    take_reserve(storage_);
    return std::move(repair_);
  }

  // Somebody took back what an old index object said, as `repair packs` does of
  // a damaged pack, so that it must not be said again. Or a prune, which began
  // before the old ones went, took them to serve in place of the new ones.
  [[nodiscard]] bool is_undone() const {
    return is_overtaken_ || !are_there(storage_, batch_.published());
  }

 private:
  // The directories that index objects of one assurance give packs.
  using Words = std::multimap<PackId, crypto::Digest>;

  void hear(const IndexId& old) {
    try {
      const IndexObject object = read_index(storage_, keyring_, old);
      for (const auto& pack : object.packs) {
        said_[object.assurance].emplace(pack.id, digest_of(pack.directory));
      }
    } catch (const NotFound&) {
      return;
    } catch (const CorruptionError&) {
      // That is why we are here.
    } catch (const UnsupportedFormat& e) {
      repair_.damage.emplace_back(e.what());
      return;  // a newer program's, and no business of ours
    }
    superseded_.push_back(old);
  }

  // Those of the packs left that have that assurance.
  void index_packs(const Assurance& assurance) {
    const auto said = said_.find(assurance);
    if (said == said_.end()) return;
    batch_.begin(assurance);
    for (auto at = said->second.begin(); at != said->second.end();) {
      const auto [first, end] = said->second.equal_range(at->first);
      at = end;
      if (!left_.contains(first->first)) continue;
      const auto pack = read(first->first);
      if (!pack) continue;
      const auto directory = digest_of(pack->directory);
      const bool is_true = std::any_of(first, end, [&](const auto& said_of_it) {
        return said_of_it.second == directory;
      });
      if (!is_true) continue;
      done_.insert(pack->id);
      add(*pack);
    }
  }

  void index_the_rest() {
    batch_.begin({});
    for (const auto& id : left_) {
      if (const auto pack = read(id)) add(*pack);
    }
  }

  // Nothing: it has no directory that can be read, or is gone.
  std::optional<IndexedPack> read(const PackId& id) {
    if (stop_.stop_requested()) throw Cancelled("repair: interrupted");
    if (unreadable_.contains(id)) return std::nullopt;
    try {
      auto pack = read_pack_directory(storage_, keyring_, id).pack;
      if (std::ranges::any_of(pack.directory.rows, has_base)) {
        with_differences_.insert(id);
      }
      return pack;
    } catch (const NotFound&) {
      // A prune removed it since it was listed.
    } catch (const CorruptionError& e) {
      repair_.damage.emplace_back(e.what());
      unreadable_.insert(id);
    } catch (const UnsupportedFormat& e) {
      repair_.damage.emplace_back(e.what());
      unreadable_.insert(id);
    }
    return std::nullopt;
  }

  // A pack whose directory is damaged may have blobs that are not.
  void take_from(const IndexId& old) {
    try {
      IndexObject object = read_index(storage_, keyring_, old);
      for (auto& pack : object.packs) {
        if (!unreadable_.contains(pack.id)) continue;
        if (!taken_.emplace(pack.id, object.assurance).second) continue;
        ++repair_.packs_from_old_index;
        batch_.begin(object.assurance);
        add(std::move(pack));
      }
    } catch (const Error&) {
      return;  // hear() has told of it
    }
  }

  static bool has_base(const BlobRow& row) { return row.base.has_value(); }

  // Once all packs are indexed.
  void look_for_bases() {
    for (const auto& id : with_differences_) {
      if (stop_.stop_requested()) throw Cancelled("repair: interrupted");
      try {
        const auto pack =
            read_pack_directory(storage_, repository_.keyring(), id).pack;
        for (const auto& row : pack.directory.rows) {
          if (!has_its_bases(repository_.index(), row)) {
            ++repair_.rows_without_base;
          }
        }
      } catch (const NotFound&) {
        continue;  // a prune removed it meanwhile
      }
    }
  }

  void add(IndexedPack pack) {
    if (named_.insert(pack.id).second) {
      ++repair_.packs;
      repair_.rows += pack.directory.rows.size();
      if (progress_ != nullptr) ++progress_->items_done;
    }
    batch_.add(std::move(pack));
  }

  Repository& repository_;
  Storage& storage_;
  const Keyring& keyring_;
  std::stop_token stop_;
  Progress* progress_;
  IndexBatch batch_;
  std::map<Assurance, Words> said_;
  std::set<PackId> left_;  // that have no assurance yet
  std::set<PackId> done_;  // that have some
  std::set<PackId> named_;
  std::set<PackId> unreadable_;
  std::set<std::pair<PackId, Assurance>> taken_;
  std::set<PackId> with_differences_;
  std::vector<IndexId> superseded_;
  bool is_overtaken_ = false;
  IndexRepair repair_;
};

}  // namespace

IndexRepair repair_index(Repository& repository, std::stop_token stop,
                         Progress* progress) {
  const Role role = repository.keyring().role();
  if (!may_vouch_for_all(role)) {
    throw WrongKey("the " + std::string(name_of(role)) +
                   " role may not say for whom packs are verified");
  }
  constexpr int kAttempts = 5;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Repair repair(repository, stop, progress);
    IndexRepair result =
        unless_renewed(repository.storage(), repository.keyring(),
                       [&] { return repair.run(); });
    if (!result.damage.empty()) {
      require_not_renewed(repository.storage(), repository.keyring());
    }
    if (!repair.is_undone()) return result;
  }
  throw LockedError("index: others change it again and again; try again later");
}

}  // namespace cairn::repo
