#include "repo/reusable_blobs.h"

#include <algorithm>
#include <mutex>

#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/lost_generations.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/wire.h"

namespace cairn::repo {

void PackNotes::add(std::uint32_t pack) {
  if (are_too_many) return;
  const auto place = std::ranges::lower_bound(packs, pack);
  if (place != packs.end() && *place == pack) return;
  if (packs.size() == kMost || !BlobIndex::is_lasting(pack)) {
    are_too_many = true;
    packs.clear();
  } else {
    packs.insert(place, pack);
  }
}

namespace {

std::optional<BlobIndex::Era> era_for(
    const Keyring& keyring, const std::optional<BlobIndex::Era>& era) {
  if (!era) return std::nullopt;
  const auto key = keyring.role_key();
  return *era ^ wire::get_u64(std::span(key).first<sizeof(BlobIndex::Era)>());
}

}  // namespace

namespace {

// Whoever wrote on with older keys would seal for who was shut out by the newer
// ones.
void require_newest_keys(const Storage& storage, const Keyring& keyring,
                         const BlobIndex& index) {
  if (const auto& why = keyring.later_keys_lost()) throw CorruptionError(*why);
  for (const auto& unreadable : index.unreadable()) {
    std::uint32_t generation = 0;
    try {
      generation = generation_of(storage, unreadable.id);
    } catch (const StorageUnreachable&) {
      throw;
    } catch (const Error&) {
      continue;  // damaged, or gone
    }
    if (generation <= keyring.newest().number) continue;
    require_not_renewed(storage, keyring);
    throw RefusedForSafety(index_name(unreadable.id) + ": was sealed with " +
                           missing_keys(generation));
  }
  require_no_later_keys(storage, keyring);
}

}  // namespace

ReusableBlobs::ReusableBlobs(const Storage& storage, const Keyring& keyring,
                             BlobIndex& index, const Epoch& epoch)
    : storage_(storage),
      keyring_(keyring),
      index_(index),
      index_era_(index.era()),
      era_(era_for(keyring, index_era_)) {
  require_newest_keys(storage, keyring, index);
  auto listed = list_packs(storage);
  const auto leave_out = [&](const PackId& id) {
    const auto found =
        std::ranges::lower_bound(listed, id, {}, &StoredPack::id);
    if (found != listed.end() && found->id == id) listed.erase(found);
  };
  for (const auto& id : epoch.condemned) leave_out(id);
  for (const auto& pack : epoch.doomed) leave_out(pack.id);
  for (const auto& pack : index.packs(Trust::vouched_for)) {
    const auto found =
        std::ranges::lower_bound(listed, pack.id, {}, &StoredPack::id);
    // One that is gone may have been pruned: no damage.
    if (found == listed.end() || found->id != pack.id) continue;
    if (found->size != pack.size) {
      damage_.push_back(pack_name(pack.id) + ": has " +
                        std::to_string(found->size) + " bytes instead of " +
                        std::to_string(pack.size));
    }
  }
  index.restrict_to(listed);
  has_lost_packs_ = index.misses_packs();
}

std::vector<BlobCopy> ReusableBlobs::chain_of(BlobKind kind, const BlobId& id) {
  while (true) {
    const auto chain = look_up(kind, id);
    const bool is_whole = std::ranges::all_of(
        chain, [&](const BlobCopy& copy) { return is_confirmed(copy.pack); });
    if (is_whole) return chain;
    // The pack counts as absent now, or its number is another one.
  }
}

std::vector<BlobCopy> ReusableBlobs::look_up(BlobKind kind, const BlobId& id) {
  {
    std::shared_lock lock(mutex_);
    auto chain = rows_.chain_of(kind, id);
    if (!chain.empty()) return chain;
  }
  try {
    return repo::chain_of(index_, kind, id, Trust::vouched_for);
  } catch (const Error&) {
    has_lost_packs_ = true;
    return {};  // the cache fails, which is no reason to fail with it
  }
}

bool ReusableBlobs::contains(BlobKind kind, const BlobId& id) {
  return !chain_of(kind, id).empty();
}

bool ReusableBlobs::contains(BlobKind kind, const BlobId& id,
                             PackNotes& notes) {
  const auto chain = chain_of(kind, id);
  for (const BlobCopy& copy : chain) notes.add(copy.pack);
  return !chain.empty();
}

bool ReusableBlobs::has_as_noted(std::optional<BlobIndex::Era> era,
                                 const PackNotes& notes) {
  // The index may have been made anew since this run began.
  return !notes.packs.empty() && has_lost_nothing_since(era) &&
         index_.era() == index_era_ &&
         std::ranges::all_of(notes.packs, [&](std::uint32_t pack) {
           return is_confirmed(pack);
         });
}

bool ReusableBlobs::has_lost_nothing_since(
    std::optional<BlobIndex::Era> era) const noexcept {
  return era && era == era_ && !has_lost_packs_;
}

std::vector<std::string> ReusableBlobs::damage() const {
  std::shared_lock lock(mutex_);
  return damage_;
}

bool ReusableBlobs::is_confirmed(std::uint32_t pack) {
  const auto id = index_.vouched_pack(pack);
  const auto is_known = [&] {
    const auto found = confirmed_.find(pack);
    return id && found != confirmed_.end() && found->second == *id;
  };
  {
    std::shared_lock lock(mutex_);
    if (is_known()) return true;
  }
  // One at a time; who asks about packs that are known does not wait for it.
  const std::lock_guard turn(reading_);
  {
    std::unique_lock lock(mutex_);
    if (is_known()) return true;
    // What had this number before has it no more, or is vouched for no more.
    confirmed_.erase(pack);
    rows_.forget(pack);
  }
  const auto known = index_.find_pack(pack);
  if (!id || !known || known->id != *id) return false;
  try {
    Directory directory = read_directory(*known);
    std::unique_lock lock(mutex_);
    rows_.add(pack, std::move(directory));
    confirmed_.insert_or_assign(pack, *id);
    return true;
  } catch (const StorageUnreachable&) {
    throw;
  } catch (const Error& e) {
    // Whatever it is: what lies there is stored anew.
    std::unique_lock lock(mutex_);
    has_lost_packs_ = true;
    index_.count_as_absent(*id);
    damage_.emplace_back(e.what());
    return false;
  }
}

Directory ReusableBlobs::read_directory(const PackInfo& pack) const {
  auto found = read_pack_directory(storage_, keyring_, pack.id).pack;
  if (found.size != pack.size || digest_of(found.directory) != pack.directory) {
    throw CorruptionError(pack_name(pack.id) +
                          ": its directory is not what the index says");
  }
  return std::move(found.directory);
}

}  // namespace cairn::repo
