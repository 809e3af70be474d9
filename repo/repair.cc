#include "repo/repair.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "crypto/random.h"
#include "repo/base_chain.h"
#include "repo/error.h"
#include "repo/index_batch.h"
#include "repo/pack_reader.h"

namespace cairn::repo {
namespace {

constexpr std::chrono::minutes kPatience{2};

class Repair {
 public:
  Repair(Repository& repository, std::stop_token stop, Progress* progress)
      : repository_(repository),
        storage_(repository.storage()),
        stop_(std::move(stop)),
        progress_(progress),
        batch_(storage_, repository.keyring(), repository.signer(),
               SessionId{crypto::random_array<SessionId::kBytes>()}) {}

  IndexRepair run() {
    // Index objects before packs: what an old one names was there when the
    // packs are listed, or is gone for good.
    const auto old = list_indexes(storage_);
    index_packs();
    for (const auto& id : old) take_from(id);
    batch_.finish();
    repair_.indexes_written = batch_.published().size();
    for (const auto& id : superseded_) {
      storage_.remove(index_name(id));
      ++repair_.indexes_removed;
    }
    if (repository_.index_store().clear(kPatience) ==
        IndexStore::Written::others_are_writing) {
      throw LockedError("index cache: another process is writing to it");
    }
    repository_.index().refresh(storage_, repository_.keyring());
    look_for_bases();
    mend_config(storage_, repository_.config());
    take_reserve(storage_);
    return std::move(repair_);
  }

 private:
  void index_packs() {
    const auto packs = list_packs(storage_);
    if (progress_ != nullptr) progress_->items_total = packs.size();
    for (const auto& pack : packs) {
      if (stop_.stop_requested()) throw Cancelled("repair: interrupted");
      try {
        auto indexed =
            read_pack_directory(storage_, repository_.keyring(), pack.id).pack;
        if (std::ranges::any_of(indexed.directory.rows, has_base)) {
          with_differences_.push_back(pack.id);
        }
        add(std::move(indexed));
      } catch (const NotFound&) {
        continue;  // a prune removed it since it was listed
      } catch (const CorruptionError& e) {
        repair_.damage.emplace_back(e.what());
        unreadable_.insert(pack.id);
      } catch (const UnsupportedFormat& e) {
        repair_.damage.emplace_back(e.what());
        unreadable_.insert(pack.id);
      }
      if (progress_ != nullptr) ++progress_->items_done;
    }
  }

  // A pack whose directory is damaged may have blobs that are not.
  void take_from(const IndexId& old) {
    try {
      for (auto& pack :
           read_index(storage_, repository_.keyring(), old).packs) {
        if (unreadable_.erase(pack.id) == 0) continue;
        ++repair_.packs_from_old_index;
        add(std::move(pack));
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
    ++repair_.packs;
    repair_.rows += pack.directory.rows.size();
    batch_.add(std::move(pack));
  }

  Repository& repository_;
  Storage& storage_;
  std::stop_token stop_;
  Progress* progress_;
  IndexBatch batch_;
  std::set<PackId> unreadable_;
  std::vector<PackId> with_differences_;
  std::vector<IndexId> superseded_;
  IndexRepair repair_;
};

}  // namespace

IndexRepair repair_index(Repository& repository, std::stop_token stop,
                         Progress* progress) {
  return Repair(repository, std::move(stop), progress).run();
}

}  // namespace cairn::repo
