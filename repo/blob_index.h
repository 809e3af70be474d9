// Which blob lies where. Derived from the repository's index objects, kept in
// the cache folder, thrown away without loss (FORMAT.md, 6.7; DESIGN: RocksDB).
//
//   index objects --refresh()--> IndexStore --find()--> copies of a blob
//                                  ^  ^
//   packs that none of them names -+  |  search_packs(), when one is missed
//   this session's new packs --add()--+  in memory until the next refresh()
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "repo/blob.h"
#include "repo/index_cache.h"
#include "repo/index_object.h"
#include "repo/index_store.h"
#include "repo/keyring.h"
#include "repo/pack_reader.h"
#include "repo/storage.h"

namespace cairn::repo {

// An index object that was passed over, since it cannot be read.
struct UnreadableIndex {
  IndexId id;
  std::string why;  // with its name
};

enum class Trust { anything, vouched_for };

// Threads        find() and pack() from many threads, also during add(),
//                refresh() and search_packs(), of which the last two take
//                turns; the others one thread at a time.
class BlobIndex {
 public:
  // Borrows the store. What is vouched for is so for who holds the keyring's
  // role key; others may share the store.
  BlobIndex(IndexStore& store, const Keyring& keyring);
  ~BlobIndex();

  // Brings in the index objects that are not known yet, drops what only those
  // said that are gone, and forgets rows given to add() that are now in them.
  // One that cannot be read fails alone: it is passed over, and unreadable()
  // has it from then on.
  void refresh(const Storage& storage, const Keyring& keyring);
  [[nodiscard]] std::vector<UnreadableIndex> unreadable() const;

  // The part of refresh() that writes, for who has the store open for writing
  // anyway. find() sees it after the next refresh().
  void bring_in(IndexStore::Writer& writer, const Storage& storage,
                const Keyring& keyring) const;

  // Brings in the packs that no index object names, by the directories in the
  // packs themselves, one at a time; packs that cannot be read are passed over.
  // Writes to the store alone.
  //
  // A pack without an index is usual while somebody writes it, or left over. So
  // this is for who misses something, and what it brings in counts only if
  // `missed` is found, while an index object is unreadable, or, without
  // `missed`, for this BlobIndex.
  void search_packs(const Storage& storage, const Keyring& keyring,
                    const std::optional<BlobId>& missed = std::nullopt);

  // True once a blob that was missed lay in a pack that no index object names,
  // on this machine, until the index names all of them.
  [[nodiscard]] bool is_incomplete() const;

  // Begins a session. From now on, packs that are not in `existing`, or there
  // with another size, count as absent: what lies in them has to be stored
  // anew. Sorted. So do those given to add() that are in no known index object:
  // the session that made them ended without one.
  void restrict_to(std::span<const StoredPack> existing);

  // This one, too. Requires: restricted.
  void count_as_absent(const PackId& id);

  // A number that is another one once a pack that was known is known no more: a
  // prune removed it, or it was lost and the index made anew without it. What
  // was found whole in an era is whole while that era lasts and no pack is
  // missed. Nothing: no index object was there yet.
  using Era = std::uint64_t;
  [[nodiscard]] std::optional<Era> era() const;

  // True if some pack that is vouched for counts as absent.
  [[nodiscard]] bool misses_packs() const;

  // A pack that this process just published, having read its blobs back. Kept
  // in memory.
  void add(const IndexedPack& pack);

  // The opposite: one that came to harm since.
  void take_back(const PackId& id);

  // Every copy in a pack that exists. First those that are vouched for: an
  // index object whose assurance covers this role key says so, or this process
  // published the pack. Of these and of the others, the ones of smaller depth
  // come first.
  [[nodiscard]] std::vector<BlobCopy> find(const BlobId& id) const;

  // True if find() would give any.
  [[nodiscard]] bool contains(const BlobId& id) const;

  // How many different blobs of that kind lie in packs that exist.
  [[nodiscard]] std::uint64_t count(BlobKind kind) const;

  // True for a number that means the same pack to other processes, too, and to
  // later ones while the era lasts; false for that of a pack given to add().
  [[nodiscard]] static bool is_lasting(std::uint32_t number) noexcept;

  // By number; valid until refresh(). Nothing, or NotFound: no pack has it any
  // more.
  [[nodiscard]] PackInfo pack(std::uint32_t number) const;
  [[nodiscard]] std::optional<PackInfo> find_pack(std::uint32_t number) const;
  // Nothing also if it is not vouched for.
  [[nodiscard]] std::optional<PackId> vouched_pack(std::uint32_t number) const;

  // All packs known, in no particular order, each as it is vouched for, if it
  // is; or only those.
  [[nodiscard]] std::vector<PackInfo> packs(
      Trust trust = Trust::anything) const;

  // Forgets everything, in memory and in the store.
  void clear();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
