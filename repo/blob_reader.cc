#include "repo/blob_reader.h"

#include <algorithm>
#include <cassert>
#include <exception>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "repo/blob_codec.h"
#include "repo/error.h"
#include "repo/pack_format.h"

namespace cairn::repo {

struct PlainCache::State {
  struct Entry {
    BlobId id;
    PlainBlob plain;
  };
  std::size_t max_bytes;
  std::mutex mutex;  // guards everything below
  std::size_t bytes = 0;
  std::list<Entry> recent;  // newest first
  std::unordered_map<BlobId, std::list<Entry>::iterator, IdHash> places;
};

PlainCache::PlainCache(std::size_t max_bytes)
    : state_(std::make_unique<State>()) {
  state_->max_bytes = max_bytes;
}

PlainCache::~PlainCache() = default;

PlainBlob PlainCache::find(const BlobId& id) {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->places.find(id);
  if (found == state_->places.end()) return nullptr;
  state_->recent.splice(state_->recent.begin(), state_->recent, found->second);
  return found->second->plain;
}

void PlainCache::insert(const BlobId& id, PlainBlob plain) {
  std::lock_guard lock(state_->mutex);
  if (const auto old = state_->places.find(id); old != state_->places.end()) {
    state_->bytes -= old->second->plain->size();
    state_->recent.erase(old->second);
    state_->places.erase(old);
  }
  state_->bytes += plain->size();
  state_->recent.push_front({id, std::move(plain)});
  state_->places[id] = state_->recent.begin();
  while (state_->bytes > state_->max_bytes) {
    const auto& oldest = state_->recent.back();
    state_->bytes -= oldest.plain->size();
    state_->places.erase(oldest.id);
    state_->recent.pop_back();
  }
}

struct BlobReader::State {
  const Storage& storage;
  const Keyring& keyring;
  const BlobIndex& index;
  SessionKeyCache& keys;
  PlainCache& cache;
  SearchFurther search_further;
  BlobDecoder decoder;
  RawBytes stored;  // these are reused between blobs
  RawBytes base_of_chain;
  // Of bases. Only after something went wrong: it costs as much as decoding.
  VerifyId verify_bases = VerifyId::no;

  std::vector<BlobCopy> copies_of(BlobKind kind, const BlobId& id,
                                  std::uint32_t max_depth);
  PlainBlob resolve_base(const BlobRow& row);
  PlainBlob read_copy(const BlobCopy& copy, VerifyId verify);
  // The copy's stored bytes into `stored`, and what they were sealed with.
  WrappedKey get_stored(const BlobCopy& copy);
  void read_chain(std::span<const BlobCopy> chain, RawBytes& plain);
  void decode_into(std::span<std::byte> plain, const BlobRow& row,
                   const WrappedKey& key, std::span<const std::byte> bytes,
                   std::span<const std::byte> base);
  PlainBlob decode(const BlobRow& row, const WrappedKey& key,
                   std::span<const std::byte> bytes, const PlainBlob& base,
                   VerifyId verify);
  PlainBlob read_first(const BlobId& id, const std::vector<BlobCopy>& copies,
                       VerifyId verify);
};

std::vector<BlobCopy> BlobReader::State::copies_of(BlobKind kind,
                                                   const BlobId& id,
                                                   std::uint32_t max_depth) {
  const auto look = [&] {
    auto copies = index.find(id);
    std::erase_if(copies, [&](const BlobCopy& copy) {
      return copy.row.kind != kind || copy.row.depth > max_depth;
    });
    return copies;
  };
  auto copies = look();
  if (copies.empty() && search_further && search_further(id)) copies = look();
  return copies;
}

// Recursion is bounded: each step goes to a strictly smaller depth, and no row
// is deeper than kMaxDepth.
PlainBlob BlobReader::State::resolve_base(const BlobRow& row) {
  if (!row.base) return nullptr;
  if (verify_bases == VerifyId::no) {
    if (auto plain = cache.find(*row.base)) return plain;
  }
  const auto copies = copies_of(row.kind, *row.base, row.depth - 1);
  if (copies.empty()) {
    throw CorruptionError("blob " + row.id.brief() + ": its base " +
                          row.base->brief() + " is missing");
  }
  PlainBlob plain = read_first(*row.base, copies, verify_bases);
  cache.insert(*row.base, plain);
  return plain;
}

PlainBlob BlobReader::State::read_first(const BlobId& id,
                                        const std::vector<BlobCopy>& copies,
                                        VerifyId verify) {
  std::exception_ptr first_failure;
  for (const BlobCopy& copy : copies) {
    try {
      return read_copy(copy, verify);
    } catch (const Error&) {
      // Whatever it is, a bad disk under one pack say: another may be sound.
      if (!first_failure) first_failure = std::current_exception();
    }
  }
  if (first_failure) std::rethrow_exception(first_failure);
  throw NotFound("blob " + id.brief() + ": is missing");
}

PlainBlob BlobReader::State::read_copy(const BlobCopy& copy, VerifyId verify) {
  const PlainBlob base = resolve_base(copy.row);
  const WrappedKey key = get_stored(copy);
  return decode(copy.row, key, stored, base, verify);
}

WrappedKey BlobReader::State::get_stored(const BlobCopy& copy) {
  const PackInfo pack = index.pack(copy.pack);
  if (copy.row.key >= pack.keys.size()) {
    throw CorruptionError("blob " + copy.row.id.brief() +
                          ": names a key that its pack does not have");
  }
  stored.resize(copy.row.stored_size);
  storage.get(pack_name(pack.id), copy.offset, stored);
  return pack.keys[copy.row.key];
}

void BlobReader::State::read_chain(std::span<const BlobCopy> chain,
                                   RawBytes& plain) {
  base_of_chain.resize(0);
  for (std::size_t i = chain.size(); i-- > 0;) {
    const BlobRow& row = chain[i].row;
    const WrappedKey key = get_stored(chain[i]);
    plain.resize(row.plain_size);
    decode_into(plain, row, key, stored, base_of_chain);
    if (i > 0) std::swap(plain, base_of_chain);
  }
}

void BlobReader::State::decode_into(std::span<std::byte> plain,
                                    const BlobRow& row, const WrappedKey& key,
                                    std::span<const std::byte> bytes,
                                    std::span<const std::byte> base) {
  const crypto::Secret* const secret = keys.find(key);
  if (secret == nullptr) {
    throw WrongKey("this key, of the " + std::string(name_of(keyring.role())) +
                   " role, may not read " +
                   (row.kind == BlobKind::content ? "contents" : "names") +
                   "; an owner's key may");
  }
  decoder.decode(keyring.family(), key.generation, *secret, row, bytes, base,
                 plain);
}

PlainBlob BlobReader::State::decode(const BlobRow& row, const WrappedKey& key,
                                    std::span<const std::byte> bytes,
                                    const PlainBlob& base, VerifyId verify) {
  auto plain = std::make_shared<RawBytes>(row.plain_size);
  decode_into(
      *plain, row, key, bytes,
      base ? std::span<const std::byte>(*base) : std::span<const std::byte>());
  if (verify == VerifyId::yes && keyring.id_of(row.kind, *plain) != row.id) {
    throw CorruptionError("blob " + row.id.brief() +
                          ": its bytes are not what its id names");
  }
  return plain;
}

BlobReader::BlobReader(const Storage& storage, const Keyring& keyring,
                       const BlobIndex& index, SessionKeyCache& keys,
                       PlainCache& cache, SearchFurther search_further)
    : state_(new State{storage,
                       keyring,
                       index,
                       keys,
                       cache,
                       std::move(search_further),
                       {},
                       {},
                       {},
                       VerifyId::no}) {}

BlobReader::~BlobReader() = default;
BlobReader::BlobReader(BlobReader&&) noexcept = default;

PlainBlob BlobReader::read(BlobKind kind, const BlobId& id) {
  const auto copies = state_->copies_of(kind, id, kMaxDepth);
  try {
    return state_->read_first(id, copies, VerifyId::yes);
  } catch (const CorruptionError&) {
    const bool has_base = std::ranges::any_of(
        copies, [](const BlobCopy& copy) { return copy.row.base.has_value(); });
    if (!has_base) throw;
  }
  // Perhaps a base is not what its id names, written so by somebody with a
  // write key, and another copy of it is.
  state_->verify_bases = VerifyId::yes;
  const struct Restore {
    State& state;
    ~Restore() { state.verify_bases = VerifyId::no; }
  } restore{*state_};
  return state_->read_first(id, copies, VerifyId::yes);
}

PlainBlob BlobReader::read_copy(const BlobCopy& copy, VerifyId verify) {
  return state_->read_copy(copy, verify);
}

void BlobReader::read_chain(std::span<const BlobCopy> chain, RawBytes& plain) {
  assert(!chain.empty() && !chain.back().row.base);
  state_->read_chain(chain, plain);
}

PlainBlob BlobReader::decode(const BlobRow& row, const WrappedKey& key,
                             std::span<const std::byte> stored,
                             VerifyId verify) {
  const PlainBlob base = state_->resolve_base(row);
  return state_->decode(row, key, stored, base, verify);
}

}  // namespace cairn::repo
