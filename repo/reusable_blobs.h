// Which stored blobs a new snapshot may rest on.
//
// A snapshot says "0 of 64 chunks new" and is believed. So what it takes as
// stored was seen to be there, with everything it leans on:
//
//   index --> copies --> their packs: vouched for, listed, not about to go, as
//                        large as the index says, and with the directory that
//                        the index says
//
// Packs that another write key stored are vouched for once a reading role has
// verified them (FORMAT.md, 6.7): until then they count as not there, which is
// no damage.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "repo/base_chain.h"
#include "repo/blob_index.h"
#include "repo/directory_cache.h"
#include "repo/epoch.h"
#include "repo/keyring.h"
#include "repo/storage.h"

namespace cairn::repo {

// A few packs by their numbers. More than that are not worth noting, nor are
// those whose numbers will not last.
struct PackNotes {
  static constexpr std::size_t kMost = 16;

  std::vector<std::uint32_t> packs;  // ascending
  bool are_too_many = false;         // then none are there

  void add(std::uint32_t pack);
  bool operator==(const PackNotes&) const = default;
};

// For one run, which lists the packs when it begins, and reads the directory of
// each pack that it uses anything of, once.
//
// Threads        all members from many threads.
// Failure        a pack that does not confirm what the index says of it counts
//                as absent; StorageUnreachable.
class ReusableBlobs {
 public:
  // Borrows. Restricts the index to the packs that are there, and that the
  // pinned `epoch` neither condemns nor dooms.
  ReusableBlobs(const Storage& storage, const Keyring& keyring,
                BlobIndex& index, const Epoch& epoch);

  // The blob with what it leans on, as repo::chain_of(). Empty: it has to be
  // stored anew.
  [[nodiscard]] std::vector<BlobCopy> chain_of(BlobKind kind, const BlobId& id);
  [[nodiscard]] bool contains(BlobKind kind, const BlobId& id);

  // The same, and notes the packs in which it lies with what it leans on.
  [[nodiscard]] bool contains(BlobKind kind, const BlobId& id,
                              PackNotes& notes);

  // True if what was noted in that era can be used without being looked up
  // again: no pack went since, and the noted ones are confirmed. False says
  // nothing: it has to be looked up.
  [[nodiscard]] bool has_as_noted(std::optional<BlobIndex::Era> era,
                                  const PackNotes& notes);

  // To be noted down with what this run finds whole or makes. Another one for
  // each role key: what is whole for one may rest on packs that nobody vouches
  // for to another.
  [[nodiscard]] std::optional<BlobIndex::Era> era() const noexcept {
    return era_;
  }

  // True if what was whole in that era is whole now: no pack went since.
  [[nodiscard]] bool has_lost_nothing_since(
      std::optional<BlobIndex::Era> era) const noexcept;

  // What is wrong with packs, one line for each.
  [[nodiscard]] std::vector<std::string> damage() const;

 private:
  [[nodiscard]] bool is_confirmed(std::uint32_t pack);
  [[nodiscard]] Directory read_directory(const PackInfo& pack) const;
  [[nodiscard]] std::vector<BlobCopy> look_up(BlobKind kind, const BlobId& id);

  const Storage& storage_;
  const Keyring& keyring_;
  BlobIndex& index_;
  const std::optional<BlobIndex::Era> index_era_;
  const std::optional<BlobIndex::Era> era_;
  std::atomic<bool> has_lost_packs_ = false;
  std::mutex reading_;               // held while a directory is read
  mutable std::shared_mutex mutex_;  // guards everything below
  std::unordered_map<std::uint32_t, PackId> confirmed_;  // by their numbers
  DirectoryCache rows_;                                  // of those
  std::vector<std::string> damage_;
};

}  // namespace cairn::repo
