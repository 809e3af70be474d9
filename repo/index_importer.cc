#include "repo/index_importer.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "crypto/random.h"
#include "repo/blob_index.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/index_cache.h"
#include "repo/pack_format.h"
#include "repo/wire.h"

namespace cairn::repo {

using namespace index_cache;

namespace {

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
    NamedPacks named{object.assurance, {}};
    for (const auto& pack : object.packs) {
      named.numbers.push_back(add(pack));
      const auto unindexed = key_of(kUnindexed, pack.id.bytes);
      const auto own_number = store_.get(unindexed);
      if (own_number &&
          decode_numbers(*own_number).at(0) == named.numbers.back()) {
        store_.remove(unindexed);
      }
    }
    // Last: an import that a crash cuts short is done again.
    store_.put(key_of(kIndex, id.bytes), encode(named));
  }

  // A pack that no index object names, or none as it is.
  void add_unindexed(const IndexedPack& pack) {
    const std::uint32_t next = next_number_;
    const std::uint32_t number = add(pack);
    if (number != next) return;  // it is known as it is
    store_.put(key_of(kUnindexed, pack.id.bytes), encode_numbers({number}));
  }

 private:
  // What is said of the pack keeps a number of its own, so that a false word
  // never stands in for a true one.
  std::uint32_t add(const IndexedPack& pack) {
    const std::string number_key = key_of(kPackNumber, pack.id.bytes);
    const PackInfo info = info_of(pack);
    std::vector<std::uint32_t> numbers;
    if (const auto known = store_.get(number_key)) {
      numbers = decode_numbers(*known);
    }
    for (const auto number : numbers) {
      const auto said = store_.get(pack_key(number));
      if (said && decode_pack(*said) == info) return number;
    }
    const std::uint32_t number = next_number_++;
    numbers.push_back(number);
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
    store_.put(pack_key(number), encode(info));
    store_.put(number_key, encode_numbers(numbers));
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

void forget_number(IndexStore::Writer& writer, const PackId& id,
                   std::uint32_t number) {
  const std::string key = key_of(kPackNumber, id.bytes);
  const auto value = writer.get(key);
  if (!value) return;
  auto numbers = decode_numbers(*value);
  std::erase(numbers, number);
  if (numbers.empty()) {
    writer.remove(key);
  } else {
    writer.put(key, encode_numbers(numbers));
  }
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
    for (const auto number : decode_named(value).numbers) {
      staying.insert(number);
    }
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
    forget_number(writer, id, number_in(key));
    writer.remove(key);
  }
  if (!unnamed.empty()) sweep_rows_if_many(writer, staying, unnamed.size());
  // Last: a removal that a crash cuts short is done again.
  for (const auto& key : vanished) writer.remove(key);
}

enum class Listing { is_complete, has_changed };

Listing import_listed(IndexStore::Writer& writer, const Storage& storage,
                      const Keyring& keyring, UnreadableIndexes& unreadable) {
  const std::vector<IndexId> present = list_indexes(storage);
  drop_vanished(writer, storage, present);
  Importer importer(writer);
  for (const auto& id : present) {
    if (unreadable.contains(id) || writer.get(key_of(kIndex, id.bytes))) {
      continue;
    }
    try {
      importer.add(id, read_index(storage, keyring, id));
    } catch (const NotFound&) {
      return Listing::has_changed;
    } catch (const CorruptionError& e) {
      unreadable.emplace(id, e.what());
    } catch (const UnsupportedFormat& e) {
      unreadable.emplace(id, e.what());
    }
  }
  return Listing::is_complete;
}

}  // namespace

void import_indexes(IndexStore::Writer& writer, const Storage& storage,
                    const Keyring& keyring, UnreadableIndexes& unreadable) {
  // What replaced one that is gone may not be in the same list.
  while (import_listed(writer, storage, keyring, unreadable) ==
         Listing::has_changed) {
  }
  // Asked first: to look through what was written costs a table of its own.
  if (!writer.get(kIncomplete)) return;
  bool has_unindexed = false;
  writer.for_each(std::string_view(&kUnindexed, 1),
                  [&](std::string_view, std::string_view) {
                    has_unindexed = true;
                    return IndexStore::Next::stop;
                  });
  if (!has_unindexed) writer.remove(kIncomplete);
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

}  // namespace cairn::repo
