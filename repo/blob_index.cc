#include "repo/blob_index.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <unordered_map>

#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/index_importer.h"
#include "repo/pack_format.h"

namespace cairn::repo {

using namespace index_cache;

namespace {

constexpr std::chrono::minutes kPatience{2};

// Packs that this process published but no index object names yet get numbers
// from here upwards.
constexpr std::uint32_t kFirstOwnNumber = 0x80000000;

}  // namespace

struct BlobIndex::State {
  struct Pack {
    PackInfo info;
    bool is_named = true;  // by an index object, or published by this process
    bool is_vouched = false;
    bool exists = true;
  };

  State(IndexStore& s, const Keyring& keyring)
      : store(s), role_key(keyring.role_key()) {}

  // Brings the store up to date with what `change` does to it.
  void write(const std::function<void(IndexStore::Writer&)>& change) const {
    if (store.write(kPatience, change) ==
        IndexStore::Written::others_are_writing) {
      throw LockedError(
          "index cache: another process has been writing to it "
          "for two minutes");
    }
  }

  IndexStore& store;
  const crypto::VerifyKey role_key;
  std::mutex turn;  // of refresh() and search_packs(); taken before `mutex`
  mutable std::shared_mutex mutex;  // guards everything below
  std::unordered_map<std::uint32_t, Pack> packs;
  std::optional<std::vector<StoredPack>> existing;
  std::optional<Era> era;
  std::uint64_t generation = 0;  // of the store, that packs were loaded from
  std::uint32_t next_own_number = kFirstOwnNumber;
  std::unordered_multimap<std::uint64_t, BlobCopy> own;  // by id prefix
  UnreadableIndexes unreadable;
  bool is_incomplete = false;
  bool has_searched_all = false;

  void load_packs() {
    std::erase_if(packs,
                  [](const auto& p) { return p.first < kFirstOwnNumber; });
    generation = store.generations();
    store.for_each(std::string_view(&kPack, 1),
                   [&](std::string_view key, std::string_view value) {
                     packs[number_in(key)] = {decode_pack(value)};
                     return IndexStore::Next::go_on;
                   });
    store.for_each(std::string_view(&kIndex, 1),
                   [&](std::string_view, std::string_view value) {
                     const NamedPacks named = decode_named(value);
                     if (!named.assurance.covers(role_key)) {
                       return IndexStore::Next::go_on;
                     }
                     for (const auto number : named.numbers) {
                       const auto found = packs.find(number);
                       if (found == packs.end()) continue;
                       found->second.is_vouched = true;
                     }
                     return IndexStore::Next::go_on;
                   });
    era.reset();
    if (const auto value = store.get(kEra)) {
      era = CborReader(as_bytes(*value), "index cache").uint();
    }
    store.for_each(std::string_view(&kUnindexed, 1),
                   [&](std::string_view, std::string_view value) {
                     const auto found = packs.find(decode_numbers(value).at(0));
                     if (found != packs.end()) found->second.is_named = false;
                     return IndexStore::Next::go_on;
                   });
    is_incomplete = store.get(kIncomplete).has_value();
    mark_existing();
  }

  void mark_existing() {
    if (!existing) return;
    for (auto& [number, pack] : packs) {
      pack.exists = std::ranges::binary_search(
          *existing, StoredPack{pack.info.id, pack.info.size});
    }
  }

  void forget_own_rows() {
    own.clear();
    std::erase_if(packs,
                  [](const auto& p) { return p.first >= kFirstOwnNumber; });
  }

  void drop_own_rows_now_in_store() {
    std::set<PackId> in_store;
    for (const auto& [number, pack] : packs) {
      if (number < kFirstOwnNumber && pack.is_named && pack.is_vouched) {
        in_store.insert(pack.info.id);
      }
    }
    std::set<std::uint32_t> covered;
    for (const auto& [number, pack] : packs) {
      if (number >= kFirstOwnNumber && in_store.contains(pack.info.id)) {
        covered.insert(number);
      }
    }
    std::erase_if(own, [&](const auto& entry) {
      return covered.contains(entry.second.pack);
    });
    for (const auto number : covered) packs.erase(number);
  }

  // A value of the store, with the packs that its numbers mean.
  [[nodiscard]] std::pair<std::optional<std::string>,
                          std::shared_lock<std::shared_mutex>>
  look_up(const std::string& key) {
    while (true) {
      const auto read_from = store.generations();
      auto value = store.get(key);
      {
        std::shared_lock lock(mutex);
        if (generation == read_from && store.generations() == read_from) {
          return {std::move(value), std::move(lock)};
        }
      }
      std::unique_lock lock(mutex);
      load_packs();
    }
  }

  // Nothing: it has to be passed over.
  [[nodiscard]] const Pack* find_usable(std::uint32_t number) const {
    const auto found = packs.find(number);
    if (found == packs.end() || !is_usable(found->second)) return nullptr;
    return &found->second;
  }

  // What a session left that was cut short does not count while the index is
  // whole: a snapshot that used it would need what no index object names.
  [[nodiscard]] bool is_usable(const Pack& pack) const {
    return pack.exists && (pack.is_named || has_searched_all || is_incomplete ||
                           !unreadable.empty());
  }
};

BlobIndex::BlobIndex(IndexStore& store, const Keyring& keyring)
    : state_(std::make_unique<State>(store, keyring)) {
  state_->load_packs();
}

BlobIndex::~BlobIndex() = default;

void BlobIndex::refresh(const Storage& storage, const Keyring& keyring) {
  const std::lock_guard turn(state_->turn);
  const std::vector<IndexId> present = list_indexes(storage);
  UnreadableIndexes unreadable = state_->unreadable;
  std::erase_if(unreadable, [&](const auto& entry) {
    return !std::ranges::binary_search(present, entry.first);
  });
  std::vector<IndexId> known;
  state_->store.for_each(std::string_view(&kIndex, 1),
                         [&](std::string_view key, std::string_view) {
                           known.push_back(id_in<IndexId>(key));
                           return IndexStore::Next::go_on;
                         });
  std::vector<IndexId> readable;
  std::ranges::copy_if(
      present, std::back_inserter(readable),
      [&](const auto& id) { return !unreadable.contains(id); });
  if (known != readable) {
    // What is known is looked up again inside: another process may have been
    // quicker.
    state_->write([&](IndexStore::Writer& writer) {
      import_indexes(writer, storage, keyring, unreadable);
    });
  }
  std::unique_lock lock(state_->mutex);
  state_->unreadable = std::move(unreadable);
  state_->load_packs();
  state_->drop_own_rows_now_in_store();
}

std::vector<UnreadableIndex> BlobIndex::unreadable() const {
  std::shared_lock lock(state_->mutex);
  std::vector<UnreadableIndex> all;
  for (const auto& [id, why] : state_->unreadable) all.push_back({id, why});
  return all;
}

void BlobIndex::bring_in(IndexStore::Writer& writer, const Storage& storage,
                         const Keyring& keyring) const {
  UnreadableIndexes unreadable;
  for (auto& [id, why] : this->unreadable()) unreadable.emplace(id, why);
  import_indexes(writer, storage, keyring, unreadable);
}

void BlobIndex::search_packs(const Storage& storage, const Keyring& keyring,
                             const std::optional<BlobId>& missed) {
  const std::lock_guard turn(state_->turn);
  std::set<PackId> known;
  {
    std::shared_lock lock(state_->mutex);
    // A word that does not count may be false.
    for (const auto& [number, pack] : state_->packs) {
      if (pack.is_vouched || !pack.is_named) known.insert(pack.info.id);
    }
  }
  auto packs = list_packs(storage);
  std::erase_if(
      packs, [&](const StoredPack& pack) { return known.contains(pack.id); });
  if (!packs.empty() || missed) {
    state_->write([&](IndexStore::Writer& writer) {
      // The cache may have gone meanwhile, and be made anew by this.
      bring_in(writer, storage, keyring);
      import_unindexed(writer, storage, keyring, packs);
      if (missed && is_in_unindexed(writer, *missed)) {
        writer.put(kIncomplete, "");
      }
    });
  }
  std::unique_lock lock(state_->mutex);
  if (!missed) state_->has_searched_all = true;
  state_->load_packs();
}

bool BlobIndex::is_incomplete() const {
  std::shared_lock lock(state_->mutex);
  return state_->is_incomplete;
}

void BlobIndex::restrict_to(std::span<const StoredPack> existing) {
  std::unique_lock lock(state_->mutex);
  state_->forget_own_rows();
  state_->existing.emplace(existing.begin(), existing.end());
  state_->mark_existing();
}

void BlobIndex::count_as_absent(const PackId& id) {
  std::unique_lock lock(state_->mutex);
  assert(state_->existing);
  std::erase_if(*state_->existing,
                [&](const StoredPack& pack) { return pack.id == id; });
  state_->mark_existing();
}

std::optional<BlobIndex::Era> BlobIndex::era() const {
  std::shared_lock lock(state_->mutex);
  return state_->era;
}

bool BlobIndex::misses_packs() const {
  std::shared_lock lock(state_->mutex);
  return std::ranges::any_of(state_->packs, [](const auto& entry) {
    return entry.second.is_vouched && !entry.second.exists;
  });
}

void BlobIndex::add(const IndexedPack& pack) {
  std::unique_lock lock(state_->mutex);
  const std::uint32_t number = state_->next_own_number++;
  state_->packs[number] = {.info = info_of(pack), .is_vouched = true};
  if (auto& existing = state_->existing) {
    const StoredPack stored{pack.id, pack.size};
    existing->insert(std::ranges::upper_bound(*existing, stored), stored);
  }
  std::uint64_t offset = kPackHeadBytes;
  for (const auto& row : pack.directory.rows) {
    state_->own.emplace(row.id.prefix(), BlobCopy{number, offset, row});
    offset += row.stored_size;
  }
}

void BlobIndex::take_back(const PackId& id) {
  std::unique_lock lock(state_->mutex);
  std::set<std::uint32_t> numbers;
  for (const auto& [number, pack] : state_->packs) {
    if (!is_lasting(number) && pack.info.id == id) numbers.insert(number);
  }
  std::erase_if(state_->own, [&](const auto& entry) {
    return numbers.contains(entry.second.pack);
  });
  for (const auto number : numbers) state_->packs.erase(number);
}

std::vector<BlobCopy> BlobIndex::find(const BlobId& id) const {
  std::vector<BlobCopy> copies;
  const auto [value, lock] = state_->look_up(blob_key(id));
  const auto keep = [&](BlobCopy copy) {
    if (copy.row.id != id) return;
    const State::Pack* const pack = state_->find_usable(copy.pack);
    if (pack == nullptr) return;
    copy.is_vouched = pack->is_vouched;
    copies.push_back(std::move(copy));
  };
  if (value) for_each_copy(*value, keep);
  const auto [begin, end] = state_->own.equal_range(id.prefix());
  for (auto at = begin; at != end; ++at) keep(at->second);
  std::ranges::stable_sort(copies, {}, [](const BlobCopy& copy) {
    return std::pair(!copy.is_vouched, copy.row.depth);
  });
  return copies;
}

bool BlobIndex::contains(const BlobId& id) const { return !find(id).empty(); }

std::uint64_t BlobIndex::count(BlobKind kind) const {
  std::shared_lock lock(state_->mutex);
  std::uint64_t count = 0;
  std::set<BlobId> seen;  // of those that share a key or are not in the store
  const auto look_at = [&](const BlobCopy& copy) {
    if (copy.row.kind == kind && state_->find_usable(copy.pack)) {
      seen.insert(copy.row.id);
    }
  };
  state_->store.for_each(std::string_view(&kBlob, 1),
                         [&](std::string_view, std::string_view value) {
                           for_each_copy(value, look_at);
                           count += seen.size();
                           seen.clear();
                           return IndexStore::Next::go_on;
                         });
  for (const auto& [prefix, copy] : state_->own) look_at(copy);
  return count + seen.size();
}

bool BlobIndex::is_lasting(std::uint32_t number) noexcept {
  return number < kFirstOwnNumber;
}

PackInfo BlobIndex::pack(std::uint32_t number) const {
  auto found = find_pack(number);
  if (!found) throw NotFound("a pack that is no longer indexed");
  return std::move(*found);
}

std::optional<PackInfo> BlobIndex::find_pack(std::uint32_t number) const {
  std::shared_lock lock(state_->mutex);
  const auto found = state_->packs.find(number);
  if (found == state_->packs.end()) return std::nullopt;
  return found->second.info;
}

std::optional<PackId> BlobIndex::vouched_pack(std::uint32_t number) const {
  std::shared_lock lock(state_->mutex);
  const auto found = state_->packs.find(number);
  if (found == state_->packs.end() || !found->second.is_vouched) {
    return std::nullopt;
  }
  return found->second.info.id;
}

std::vector<PackInfo> BlobIndex::packs(Trust trust) const {
  std::shared_lock lock(state_->mutex);
  // One that is known twice counts once.
  std::map<PackId, const State::Pack*> packs;
  for (const auto& [number, pack] : state_->packs) {
    const bool is_asked = trust == Trust::anything || pack.is_vouched;
    if (!is_asked || !state_->is_usable(pack)) continue;
    const auto [place, is_new] = packs.emplace(pack.info.id, &pack);
    if (!is_new && pack.is_vouched) place->second = &pack;
  }
  std::vector<PackInfo> out;
  for (const auto& [id, pack] : packs) out.push_back(pack->info);
  return out;
}

void BlobIndex::clear() {
  if (state_->store.clear(kPatience) ==
      IndexStore::Written::others_are_writing) {
    throw LockedError("index cache: another process is writing to it");
  }
  std::unique_lock lock(state_->mutex);
  state_->packs.clear();
  state_->own.clear();
}

}  // namespace cairn::repo
