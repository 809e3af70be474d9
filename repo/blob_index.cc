#include "repo/blob_index.h"

#include <algorithm>
#include <array>
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

#include "crypto/random.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/wire.h"

namespace cairn::repo {
namespace {

// Keys of the store, by their first letter:
//   b <first 16 bytes of the id>   copies of that blob
//   p <number>                     a pack
//   P <pack id>                    its number
//   i <index id>                   the numbers of its packs
//   d <pack id>                    its number, as no index object names it: it
//                                  came by its own directory
//   l                              there if a blob was missed that one of
//                                  those has
//   g                              how many packs went since rows were swept
//   n                              the next number
//   e                              the era
constexpr char kBlob = 'b';
constexpr char kPack = 'p';
constexpr char kPackNumber = 'P';
constexpr char kIndex = 'i';
constexpr char kUnindexed = 'd';
constexpr std::string_view kIncomplete = "l";
constexpr std::string_view kGoneCount = "g";
constexpr std::string_view kNextNumber = "n";
constexpr std::string_view kEra = "e";
constexpr std::size_t kIdPrefixBytes = 16;
constexpr std::chrono::minutes kPatience{2};

// Packs that this process published but no index object names yet get numbers
// from here upwards.
constexpr std::uint32_t kFirstOwnNumber = 0x80000000;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string key_of(char kind, std::span<const std::byte> bytes) {
  std::string key(1, kind);
  key += as_text(bytes);
  return key;
}

std::string blob_key(const BlobId& id) {
  return key_of(kBlob, std::span(id.bytes).first(kIdPrefixBytes));
}

template <typename AnId>
AnId id_in(std::string_view key) {
  AnId id;
  std::ranges::copy(as_bytes(key.substr(1)), id.bytes.begin());
  return id;
}

std::string pack_key(std::uint32_t number) {
  std::string key(1, kPack);
  for (int shift = 24; shift >= 0; shift -= 8) {
    key += static_cast<char>(number >> shift);
  }
  return key;
}

std::uint32_t number_in(std::string_view pack_key) {
  std::uint32_t number = 0;
  for (const char c : pack_key.substr(1)) {
    number = number << 8 | static_cast<unsigned char>(c);
  }
  return number;
}

void write(CborWriter& out, const BlobCopy& copy) {
  const BlobRow& row = copy.row;
  out.uint(copy.pack).uint(copy.offset);
  out.uint(static_cast<std::uint64_t>(row.kind));
  out.uint(static_cast<std::uint64_t>(row.codec));
  out.bytes(row.id.bytes).uint(row.plain_size).uint(row.stored_size);
  out.uint(row.key).uint(row.counter);
  if (row.base) {
    out.bytes(row.base->bytes);
  } else {
    out.null();
  }
  out.uint(row.depth);
}

BlobCopy read_copy(CborReader& in) {
  BlobCopy copy;
  BlobRow& row = copy.row;
  copy.pack = static_cast<std::uint32_t>(in.uint());
  copy.offset = in.uint();
  row.kind = static_cast<BlobKind>(in.uint());
  row.codec = static_cast<Codec>(in.uint());
  row.id.bytes = in.fixed<BlobId::kBytes>();
  row.plain_size = static_cast<std::uint32_t>(in.uint());
  row.stored_size = static_cast<std::uint32_t>(in.uint());
  row.key = static_cast<std::uint32_t>(in.uint());
  row.counter = in.uint();
  if (!in.skip_null()) row.base = BlobId{in.fixed<BlobId::kBytes>()};
  row.depth = static_cast<std::uint32_t>(in.uint());
  return copy;
}

PackInfo info_of(const IndexedPack& pack) {
  return {pack.id, pack.size, digest_of(pack.directory), pack.directory.keys};
}

std::string encode(const PackInfo& pack) {
  CborWriter out;
  out.bytes(pack.id.bytes).uint(pack.size).bytes(pack.directory);
  out.array(pack.keys.size());
  for (const auto& key : pack.keys) {
    out.uint(static_cast<std::uint64_t>(key.key_class));
    out.uint(key.generation).bytes(key.wrapped);
  }
  return std::string(as_text(out.view()));
}

PackInfo decode_pack(std::string_view value) {
  CborReader in(as_bytes(value), "index cache");
  PackInfo pack;
  pack.id.bytes = in.fixed<PackId::kBytes>();
  pack.size = in.uint();
  pack.directory = in.fixed<crypto::kDigestBytes>();
  pack.keys.resize(in.array(value.size()));
  for (auto& key : pack.keys) {
    key.key_class = static_cast<KeyClass>(in.uint());
    key.generation = static_cast<std::uint32_t>(in.uint());
    key.wrapped = in.fixed<crypto::kWrappedBytes>();
  }
  return pack;
}

template <typename Visit>
void for_each_copy(std::string_view value, Visit visit) {
  CborReader in(as_bytes(value), "index cache");
  while (in.left() > 0) visit(read_copy(in));
}

std::vector<std::uint32_t> decode_numbers(std::string_view value) {
  CborReader in(as_bytes(value), "index cache");
  std::vector<std::uint32_t> numbers;
  while (in.left() > 0) {
    numbers.push_back(static_cast<std::uint32_t>(in.uint()));
  }
  return numbers;
}

std::string encode_numbers(const std::vector<std::uint32_t>& numbers) {
  CborWriter out;
  for (const auto number : numbers) out.uint(number);
  return std::string(as_text(out.view()));
}

void begin_era(IndexStore::Writer& writer) {
  const auto bytes = crypto::random_array<sizeof(BlobIndex::Era)>();
  CborWriter out;
  out.uint(wire::get_u64(bytes));
  writer.put(kEra, as_text(out.view()));
}

// Adds index objects to the store, one after another.
class Importer {
 public:
  explicit Importer(IndexStore::Writer& store) : store_(store) {
    if (const auto next = store_.get(kNextNumber)) {
      next_number_ = decode_numbers(*next).at(0);
    }
  }

  void add(const IndexId& id, const IndexObject& object) {
    std::vector<std::uint32_t> numbers;
    for (const auto& pack : object.packs) {
      numbers.push_back(add(pack));
      const auto unindexed = key_of(kUnindexed, pack.id.bytes);
      if (store_.get(unindexed)) store_.remove(unindexed);
    }
    // Last: an import that a crash cuts short is done again.
    store_.put(key_of(kIndex, id.bytes), encode_numbers(numbers));
  }

  // A pack that no index object names.
  void add_unindexed(const IndexedPack& pack) {
    const auto key = key_of(kPackNumber, pack.id.bytes);
    if (store_.get(key)) return;  // another process was quicker
    store_.put(key_of(kUnindexed, pack.id.bytes), encode_numbers({add(pack)}));
  }

 private:
  std::uint32_t add(const IndexedPack& pack) {
    const std::string number_key = key_of(kPackNumber, pack.id.bytes);
    if (const auto known = store_.get(number_key)) {
      return decode_numbers(*known).at(0);
    }
    const std::uint32_t number = next_number_++;
    // First: rows that a crash leaves behind must never come to name the pack
    // that is imported next.
    store_.put(kNextNumber, encode_numbers({next_number_}));
    std::uint64_t offset = kPackHeadBytes;
    std::map<std::string, std::string> values;
    for (const auto& row : pack.directory.rows) {
      CborWriter out;
      write(out, BlobCopy{number, offset, row});
      offset += row.stored_size;
      values[blob_key(row.id)] += as_text(out.view());
    }
    for (auto& [key, value] : values) {
      if (const auto before = store_.get(key)) value += *before;
    }
    for (const auto& [key, value] : values) store_.put(key, value);
    store_.put(pack_key(number), encode(info_of(pack)));
    store_.put(number_key, encode_numbers({number}));
    return number;
  }

  IndexStore::Writer& store_;
  std::uint32_t next_number_ = 0;
};

// The numbers of the packs that came by their own directories and still exist;
// forgets the others.
std::set<std::uint32_t> unindexed_packs(IndexStore::Writer& writer,
                                        const Storage& storage) {
  std::vector<std::pair<PackId, std::uint32_t>> known;
  writer.for_each(std::string_view(&kUnindexed, 1),
                  [&](std::string_view key, std::string_view value) {
                    known.emplace_back(id_in<PackId>(key),
                                       decode_numbers(value).at(0));
                    return IndexStore::Next::go_on;
                  });
  std::set<std::uint32_t> numbers;
  if (known.empty()) return numbers;
  const auto existing = list_packs(storage);
  for (const auto& [id, number] : known) {
    if (std::ranges::binary_search(existing, id, {}, &StoredPack::id)) {
      numbers.insert(number);
    } else {
      writer.remove(key_of(kUnindexed, id.bytes));
    }
  }
  return numbers;
}

void sweep_rows(IndexStore::Writer& writer,
                const std::set<std::uint32_t>& staying) {
  writer.for_each(std::string_view(&kBlob, 1),
                  [&](std::string_view key, std::string_view value) {
                    CborWriter out;
                    bool has_gone = false;
                    for_each_copy(value, [&](const BlobCopy& copy) {
                      if (staying.contains(copy.pack)) {
                        write(out, copy);
                      } else {
                        has_gone = true;
                      }
                    });
                    if (has_gone && out.view().empty()) {
                      writer.remove(key);
                    } else if (has_gone) {
                      writer.put(key, as_text(out.view()));
                    }
                    return IndexStore::Next::go_on;
                  });
}

// Sweeps the rows of packs that went once they are more than the others, so
// that the store takes at most twice the room it needs.
void sweep_rows_if_many(IndexStore::Writer& writer,
                        const std::set<std::uint32_t>& staying,
                        std::size_t newly_gone) {
  const auto before = writer.get(kGoneCount);
  std::size_t gone = (before ? decode_numbers(*before).at(0) : 0) + newly_gone;
  if (gone > staying.size()) {
    sweep_rows(writer, staying);
    gone = 0;
  }
  writer.put(kGoneCount, encode_numbers({static_cast<std::uint32_t>(gone)}));
}

// Forgets index objects that are gone, and the packs that no other one names:
// theirs, and those of an import that a crash cut short.
void drop_vanished(IndexStore::Writer& writer, const Storage& storage,
                   const std::vector<IndexId>& present) {
  std::vector<std::string> vanished;
  std::set<std::uint32_t> staying = unindexed_packs(writer, storage);
  writer.for_each(std::string_view(&kIndex, 1), [&](std::string_view key,
                                                    std::string_view value) {
    if (!std::ranges::binary_search(present, id_in<IndexId>(key))) {
      vanished.emplace_back(key);
      return IndexStore::Next::go_on;
    }
    for (const auto number : decode_numbers(value)) staying.insert(number);
    return IndexStore::Next::go_on;
  });
  std::vector<std::pair<std::string, PackId>> unnamed;
  writer.for_each(std::string_view(&kPack, 1),
                  [&](std::string_view key, std::string_view value) {
                    if (!staying.contains(number_in(key))) {
                      unnamed.emplace_back(key, decode_pack(value).id);
                    }
                    return IndexStore::Next::go_on;
                  });
  // First: who sees a pack gone must not see the era go on.
  if (!unnamed.empty() || !writer.get(kEra)) begin_era(writer);
  for (const auto& [key, id] : unnamed) {
    // Rows that name this pack may stay behind and are passed over: a number is
    // never given twice.
    writer.remove(key_of(kPackNumber, id.bytes));
    writer.remove(key);
  }
  if (!unnamed.empty()) sweep_rows_if_many(writer, staying, unnamed.size());
  // Last: a removal that a crash cuts short is done again.
  for (const auto& key : vanished) writer.remove(key);
}

using Unreadable = std::map<IndexId, std::string>;

// Adds to `unreadable`, and passes over what is in it.
void import_all(IndexStore::Writer& writer, const Storage& storage,
                const Keyring& keyring, const std::vector<IndexId>& present,
                Unreadable& unreadable) {
  drop_vanished(writer, storage, present);
  Importer importer(writer);
  for (const auto& id : present) {
    if (unreadable.contains(id) || writer.get(key_of(kIndex, id.bytes))) {
      continue;
    }
    try {
      importer.add(id, read_index(storage, keyring, id));
    } catch (const NotFound&) {
      continue;  // merged away since it was listed
    } catch (const CorruptionError& e) {
      unreadable.emplace(id, e.what());
    } catch (const UnsupportedFormat& e) {
      unreadable.emplace(id, e.what());
    }
  }
  bool has_unindexed = false;
  writer.for_each(std::string_view(&kUnindexed, 1),
                  [&](std::string_view, std::string_view) {
                    has_unindexed = true;
                    return IndexStore::Next::stop;
                  });
  if (!has_unindexed && writer.get(kIncomplete)) writer.remove(kIncomplete);
}

void import_unindexed(IndexStore::Writer& writer, const Storage& storage,
                      const Keyring& keyring,
                      const std::vector<StoredPack>& packs) {
  Importer importer(writer);
  for (const auto& pack : packs) {
    try {
      importer.add_unindexed(
          read_pack_directory(storage, keyring, pack.id).pack);
    } catch (const NotFound&) {
      continue;  // a prune removed it since it was listed
    } catch (const CorruptionError&) {
      continue;  // what it has stays missing
    } catch (const UnsupportedFormat&) {
      continue;
    }
  }
}

bool is_in_unindexed(IndexStore::Writer& writer, const BlobId& id) {
  bool is_there = false;
  const auto value = writer.get(blob_key(id));
  if (!value) return false;
  for_each_copy(*value, [&](const BlobCopy& copy) {
    if (copy.row.id != id) return;
    const auto pack = writer.get(pack_key(copy.pack));
    is_there =
        is_there ||
        (pack && writer.get(key_of(kUnindexed, decode_pack(*pack).id.bytes)));
  });
  return is_there;
}

}  // namespace

struct BlobIndex::State {
  struct Pack {
    PackInfo info;
    bool is_named = true;  // by an index object, or published by this process
    bool exists = true;
  };

  explicit State(IndexStore& s) : store(s) {}

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
  std::mutex turn;  // of refresh() and search_packs(); taken before `mutex`
  mutable std::shared_mutex mutex;  // guards everything below
  std::unordered_map<std::uint32_t, Pack> packs;
  std::optional<std::vector<StoredPack>> existing;
  std::optional<Era> era;
  std::uint64_t generation = 0;  // of the store, that packs were loaded from
  std::uint32_t next_own_number = kFirstOwnNumber;
  std::unordered_multimap<std::uint64_t, BlobCopy> own;  // by id prefix
  Unreadable unreadable;
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

  void drop_own_rows_now_in_store() {
    std::set<PackId> in_store;
    for (const auto& [number, pack] : packs) {
      if (number < kFirstOwnNumber && pack.is_named) {
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

  [[nodiscard]] bool is_usable(std::uint32_t number) const {
    const auto found = packs.find(number);
    return found != packs.end() && is_usable(found->second);
  }

  // What a session left that was cut short does not count while the index is
  // whole: a snapshot that used it would need what no index object names.
  [[nodiscard]] bool is_usable(const Pack& pack) const {
    return pack.exists && (pack.is_named || has_searched_all || is_incomplete ||
                           !unreadable.empty());
  }
};

BlobIndex::BlobIndex(IndexStore& store)
    : state_(std::make_unique<State>(store)) {
  state_->load_packs();
}

BlobIndex::~BlobIndex() = default;

void BlobIndex::refresh(const Storage& storage, const Keyring& keyring) {
  const std::lock_guard turn(state_->turn);
  const std::vector<IndexId> present = list_indexes(storage);
  Unreadable unreadable = state_->unreadable;
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
      import_all(writer, storage, keyring, present, unreadable);
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
  Unreadable unreadable;
  for (auto& [id, why] : this->unreadable()) unreadable.emplace(id, why);
  import_all(writer, storage, keyring, list_indexes(storage), unreadable);
}

void BlobIndex::search_packs(const Storage& storage, const Keyring& keyring,
                             const std::optional<BlobId>& missed) {
  const std::lock_guard turn(state_->turn);
  std::set<PackId> known;
  {
    std::shared_lock lock(state_->mutex);
    for (const auto& [number, pack] : state_->packs) known.insert(pack.info.id);
  }
  auto packs = list_packs(storage);
  std::erase_if(
      packs, [&](const StoredPack& pack) { return known.contains(pack.id); });
  if (!packs.empty() || missed) {
    state_->write([&](IndexStore::Writer& writer) {
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
  return std::ranges::any_of(
      state_->packs, [](const auto& entry) { return !entry.second.exists; });
}

void BlobIndex::add(const IndexedPack& pack) {
  std::unique_lock lock(state_->mutex);
  const std::uint32_t number = state_->next_own_number++;
  state_->packs[number] = {info_of(pack)};
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

std::vector<BlobCopy> BlobIndex::find(const BlobId& id) const {
  std::vector<BlobCopy> copies;
  const auto [value, lock] = state_->look_up(blob_key(id));
  const auto keep = [&](BlobCopy copy) {
    if (copy.row.id == id && state_->is_usable(copy.pack)) {
      copies.push_back(std::move(copy));
    }
  };
  if (value) for_each_copy(*value, keep);
  const auto [begin, end] = state_->own.equal_range(id.prefix());
  for (auto at = begin; at != end; ++at) keep(at->second);
  std::ranges::stable_sort(copies, {},
                           [](const BlobCopy& copy) { return copy.row.depth; });
  return copies;
}

bool BlobIndex::contains(const BlobId& id) const { return !find(id).empty(); }

std::uint64_t BlobIndex::count(BlobKind kind) const {
  std::shared_lock lock(state_->mutex);
  std::uint64_t count = 0;
  std::set<BlobId> seen;  // of those that share a key or are not in the store
  const auto look_at = [&](const BlobCopy& copy) {
    if (copy.row.kind == kind && state_->is_usable(copy.pack)) {
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

std::optional<PackId> BlobIndex::pack_id(std::uint32_t number) const {
  std::shared_lock lock(state_->mutex);
  const auto found = state_->packs.find(number);
  if (found == state_->packs.end()) return std::nullopt;
  return found->second.info.id;
}

std::vector<PackInfo> BlobIndex::packs() const {
  std::shared_lock lock(state_->mutex);
  std::map<PackId, PackInfo> packs;  // one that is known twice counts once
  for (const auto& [number, pack] : state_->packs) {
    if (state_->is_usable(pack)) packs.emplace(pack.info.id, pack.info);
  }
  std::vector<PackInfo> out;
  for (auto& [id, info] : packs) out.push_back(std::move(info));
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
