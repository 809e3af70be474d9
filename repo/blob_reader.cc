#include "repo/blob_reader.h"

#include <algorithm>
#include <cassert>
#include <exception>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "repo/base_chain.h"
#include "repo/blob_codec.h"
#include "repo/error.h"
#include "repo/often_read_packs.h"
#include "repo/pack_format.h"

namespace cairn::repo {

namespace {

// What it takes to read blobs of one pack, so that a chain of differences does
// not look it all up again at every level.
struct OpenPack {
  struct Key {
    WrappedKey wrapped;
    const crypto::Secret* secret = nullptr;  // null: nobody asked for it yet
  };

  std::string name;
  std::uint64_t size = 0;
  std::vector<Key> keys;
  // Some of its bytes, from `window_at` on: differences are small, and those of
  // neighbours lie side by side.
  RawBytes window;
  std::uint64_t window_at = 0;
};

struct SealKey {
  std::uint32_t generation;
  const crypto::Secret& secret;  // of the cache
};

struct Stored {
  SealKey key;
  std::span<const std::byte> bytes;  // valid until the next is got
};

constexpr std::size_t kWindowBytes = std::size_t{16} << 10;
// Larger ones are read by themselves.
constexpr std::size_t kMostWindowedBytes = kWindowBytes / 4;

// A check or a large restore comes by all packs there are.
constexpr std::size_t kMostOpenPacks = 256;

}  // namespace

struct BlobReader::State {
  const Storage& storage;
  const Keyring& keyring;
  const BlobIndex& index;
  SessionKeyCache& keys;
  SearchFurther search_further;
  std::shared_ptr<OftenReadPacks> often_read;
  BlobDecoder decoder = {};
  RawBytes stored = {};  // these are reused between blobs
  RawBytes base_of_chain = {};
  RawBytes last_base = {};
  std::optional<BlobId> last_base_id = {};  // nothing: that holds none
  bool is_last_base_true = false;           // it was compared with its id
  PlainBlob searched_base = {};  // what base_of() answered last, else null
  // Of bases. Only after something went wrong: it costs as much as decoding.
  VerifyId verify_bases = VerifyId::no;
  // By number, which never comes to mean another one.
  std::unordered_map<std::uint32_t, OpenPack> packs = {};
  // Copies that were of no use to the read that goes on, by where they lie:
  // each costs its chain once, however many lean on one another.
  std::set<std::pair<std::uint32_t, std::uint64_t>> useless = {};

  std::vector<BlobCopy> copies_of(BlobKind kind, const BlobId& id,
                                  std::uint32_t max_depth);
  // The chain of the row's base. Empty: the index knows none.
  std::vector<BlobCopy> chain_of_base(const BlobRow& row);
  std::optional<BlobCopy> any_copy(BlobKind kind, const BlobId& id);
  // The one that the index names first.
  std::optional<BlobCopy> noted_copy(BlobKind kind, const BlobId& id,
                                     std::uint32_t max_depth);
  std::span<const std::byte> base_of(const BlobRow& row, VerifyId verify);
  bool read_last_base(const BlobRow& row);
  PlainBlob search_base(const BlobRow& row);
  PlainBlob read_copy(const BlobCopy& copy, VerifyId verify);
  OpenPack& open_pack(std::uint32_t number);
  Stored get_stored(const BlobCopy& copy);
  std::span<const std::byte> get_bytes(OpenPack& pack, const BlobCopy& copy);
  // False: they cannot be read together with what comes after them.
  bool move_window(OpenPack& pack, std::uint64_t offset, std::size_t size);
  // After a failure, which may have been theirs.
  void forget_windows();
  const crypto::Secret& secret_of(const WrappedKey& key, const BlobRow& row);
  void read_chain(std::span<const BlobCopy> chain, RawBytes& plain);
  void decode_into(std::span<std::byte> plain, const BlobRow& row,
                   const SealKey& key, std::span<const std::byte> bytes,
                   std::span<const std::byte> base);
  PlainBlob decode(const BlobRow& row, const SealKey& key,
                   std::span<const std::byte> bytes,
                   std::span<const std::byte> base, VerifyId verify);
  PlainBlob read_first(const BlobId& id, const std::vector<BlobCopy>& copies,
                       VerifyId verify);
  // Runs `read`, which compares what it gives with its id; if that is not what
  // it should be, once more with bases that are compared too.
  template <typename Read>
  PlainBlob read_verified(bool has_base, const Read& read);
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

// Empty without one; valid until the next call.
std::span<const std::byte> BlobReader::State::base_of(const BlobRow& row,
                                                      VerifyId verify) {
  if (!row.base) return {};
  if (verify_bases == VerifyId::no &&
      (last_base_id == row.base || read_last_base(row))) {
    if (verify != VerifyId::with_base || is_last_base_true) return last_base;
    is_last_base_true = keyring.id_of(row.kind, last_base) == *row.base;
    if (is_last_base_true) return last_base;
    throw CorruptionError("blob " + row.base->brief() +
                          ": its bytes are not what its id names");
  }
  searched_base = search_base(row);
  return *searched_base;
}

std::vector<BlobCopy> BlobReader::State::chain_of_base(const BlobRow& row) {
  std::vector<BlobCopy> chain;
  BlobRow at = row;
  while (at.base) {
    auto next = often_read->base_of(at);
    if (!next) next = noted_copy(at.kind, *at.base, at.depth - 1);
    if (!next) return chain_below(index, row);  // there may be another way
    at = next->row;
    chain.push_back(std::move(*next));
  }
  return chain;
}

std::optional<BlobCopy> BlobReader::State::any_copy(BlobKind kind,
                                                    const BlobId& id) {
  if (auto copy = often_read->copy_of(kind, id)) return copy;
  return noted_copy(kind, id, kMaxDepth);
}

std::optional<BlobCopy> BlobReader::State::noted_copy(BlobKind kind,
                                                      const BlobId& id,
                                                      std::uint32_t max_depth) {
  auto copies = copies_of(kind, id, max_depth);
  if (copies.empty()) return std::nullopt;
  often_read->note(storage, keyring, index, copies.front());
  return std::move(copies.front());
}

// False: its copies have to be tried one after another.
bool BlobReader::State::read_last_base(const BlobRow& row) {
  last_base_id.reset();
  is_last_base_true = false;
  try {
    const auto chain = chain_of_base(row);
    if (chain.empty()) return false;
    read_chain(chain, last_base);
  } catch (const Error&) {
    forget_windows();
    return false;
  }
  last_base_id = row.base;
  return true;
}

// Recursion is bounded: each step goes to a strictly smaller depth, and no row
// is deeper than kMaxDepth.
PlainBlob BlobReader::State::search_base(const BlobRow& row) {
  const auto copies = copies_of(row.kind, *row.base, row.depth - 1);
  if (copies.empty()) {
    throw CorruptionError("blob " + row.id.brief() + ": its base " +
                          row.base->brief() + " is missing");
  }
  return read_first(*row.base, copies, verify_bases);
}

PlainBlob BlobReader::State::read_first(const BlobId& id,
                                        const std::vector<BlobCopy>& copies,
                                        VerifyId verify) {
  std::exception_ptr first_failure;
  for (const BlobCopy& copy : copies) {
    const std::pair place(copy.pack, copy.offset);
    if (useless.contains(place)) continue;
    try {
      return read_copy(copy, verify);
    } catch (const Error&) {
      // Whatever it is, a bad disk under one pack say: another may be sound.
      if (!first_failure) first_failure = std::current_exception();
      forget_windows();
      useless.insert(place);
    }
  }
  if (first_failure) std::rethrow_exception(first_failure);
  if (!copies.empty()) {
    throw CorruptionError("blob " + id.brief() + ": no copy of it is whole");
  }
  throw NotFound("blob " + id.brief() + ": is missing");
}

PlainBlob BlobReader::State::read_copy(const BlobCopy& copy, VerifyId verify) {
  const auto base = base_of(copy.row, verify);
  const auto [key, bytes] = get_stored(copy);
  return decode(copy.row, key, bytes, base, verify);
}

OpenPack& BlobReader::State::open_pack(std::uint32_t number) {
  if (const auto found = packs.find(number); found != packs.end()) {
    return found->second;
  }
  const PackInfo info = index.pack(number);
  if (packs.size() >= kMostOpenPacks) packs.clear();
  OpenPack& pack = packs[number];
  pack.name = pack_name(info.id);
  pack.size = info.size;
  for (const auto& key : info.keys) pack.keys.push_back({key});
  return pack;
}

std::span<const std::byte> BlobReader::State::get_bytes(OpenPack& pack,
                                                        const BlobCopy& copy) {
  const std::size_t size = copy.row.stored_size;
  if (size <= kMostWindowedBytes && move_window(pack, copy.offset, size)) {
    return std::span<const std::byte>(pack.window)
        .subspan(copy.offset - pack.window_at, size);
  }
  stored.resize(size);
  storage.get(pack.name, copy.offset, stored);
  return stored;
}

bool BlobReader::State::move_window(OpenPack& pack, std::uint64_t offset,
                                    std::size_t size) {
  if (offset >= pack.window_at &&
      offset + size <= pack.window_at + pack.window.size()) {
    return true;
  }
  if (offset + size > pack.size) return false;
  pack.window.resize(std::min<std::uint64_t>(kWindowBytes, pack.size - offset));
  pack.window_at = offset;
  try {
    storage.get(pack.name, offset, pack.window);
  } catch (const Error&) {
    pack.window.resize(0);
    return false;
  }
  return true;
}

void BlobReader::State::forget_windows() {
  for (auto& [number, pack] : packs) pack.window.resize(0);
}

Stored BlobReader::State::get_stored(const BlobCopy& copy) {
  OpenPack& pack = open_pack(copy.pack);
  if (copy.row.key >= pack.keys.size()) {
    throw CorruptionError("blob " + copy.row.id.brief() +
                          ": names a key that its pack does not have");
  }
  const auto bytes = get_bytes(pack, copy);
  auto& [wrapped, secret] = pack.keys[copy.row.key];
  if (secret == nullptr) secret = &secret_of(wrapped, copy.row);
  return {{wrapped.generation, *secret}, bytes};
}

const crypto::Secret& BlobReader::State::secret_of(const WrappedKey& key,
                                                   const BlobRow& row) {
  if (const auto* const secret = keys.find(key)) return *secret;
  throw WrongKey("this key, of the " + std::string(name_of(keyring.role())) +
                 " role, may not read " +
                 (row.kind == BlobKind::content ? "contents" : "names") +
                 "; an owner's key may");
}

void BlobReader::State::read_chain(std::span<const BlobCopy> chain,
                                   RawBytes& plain) {
  base_of_chain.resize(0);
  for (std::size_t i = chain.size(); i-- > 0;) {
    const BlobRow& row = chain[i].row;
    const auto [key, bytes] = get_stored(chain[i]);
    plain.resize(row.plain_size);
    decode_into(plain, row, key, bytes, base_of_chain);
    if (i > 0) std::swap(plain, base_of_chain);
  }
}

void BlobReader::State::decode_into(std::span<std::byte> plain,
                                    const BlobRow& row, const SealKey& key,
                                    std::span<const std::byte> bytes,
                                    std::span<const std::byte> base) {
  decoder.decode(keyring.family(), key.generation, key.secret, row, bytes, base,
                 plain);
}

PlainBlob BlobReader::State::decode(const BlobRow& row, const SealKey& key,
                                    std::span<const std::byte> bytes,
                                    std::span<const std::byte> base,
                                    VerifyId verify) {
  auto plain = std::make_shared<RawBytes>(row.plain_size);
  decode_into(*plain, row, key, bytes, base);
  if (verify != VerifyId::no && keyring.id_of(row.kind, *plain) != row.id) {
    throw CorruptionError("blob " + row.id.brief() +
                          ": its bytes are not what its id names");
  }
  return plain;
}

template <typename Read>
PlainBlob BlobReader::State::read_verified(bool has_base, const Read& read) {
  useless.clear();
  try {
    return read();
  } catch (const StorageUnreachable&) {
    throw;
  } catch (const WrongKey&) {
    throw;
  } catch (const Error&) {
    if (!has_base) throw;
  }
  // Perhaps a base is not what its id names, written so by somebody with a
  // write key, and another copy of it is.
  verify_bases = VerifyId::yes;
  last_base_id.reset();
  useless.clear();
  const struct Restore {
    State& state;
    ~Restore() { state.verify_bases = VerifyId::no; }
  } restore{*this};
  return read();
}

BlobReader::BlobReader(const Storage& storage, const Keyring& keyring,
                       const BlobIndex& index, SessionKeyCache& keys,
                       SearchFurther search_further,
                       std::shared_ptr<OftenReadPacks> often_read)
    : state_(new State{storage, keyring, index, keys, std::move(search_further),
                       std::move(often_read)}) {
  if (!state_->often_read) {
    state_->often_read = std::make_shared<OftenReadPacks>();
  }
}

BlobReader::~BlobReader() = default;
BlobReader::BlobReader(BlobReader&&) noexcept = default;

PlainBlob BlobReader::read(BlobKind kind, const BlobId& id) {
  const auto copies = state_->copies_of(kind, id, kMaxDepth);
  const bool has_base = std::ranges::any_of(
      copies, [](const BlobCopy& copy) { return copy.row.base.has_value(); });
  return state_->read_verified(
      has_base, [&] { return state_->read_first(id, copies, VerifyId::yes); });
}

std::vector<PlainBlob> BlobReader::try_read(BlobKind kind,
                                            std::span<const BlobId> ids) {
  std::vector<PlainBlob> blobs(ids.size());
  std::vector<std::size_t> numbers;  // of those that could be decoded
  std::vector<std::span<const std::byte>> plains;
  state_->useless.clear();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    try {
      const auto copy = state_->any_copy(kind, ids[i]);
      if (!copy) continue;
      blobs[i] = state_->read_copy(*copy, VerifyId::no);
    } catch (const Error&) {
      state_->forget_windows();
      continue;
    }
    numbers.push_back(i);
    plains.emplace_back(*blobs[i]);
  }
  const auto found = state_->keyring.ids_of(kind, plains);
  for (std::size_t k = 0; k < found.size(); ++k) {
    const std::size_t i = numbers[k];
    if (found[k] != ids[i]) blobs[i] = nullptr;
  }
  return blobs;
}

PlainBlob BlobReader::read_copy(const BlobCopy& copy, VerifyId verify) {
  const auto read = [&] { return state_->read_copy(copy, verify); };
  if (verify == VerifyId::no) {
    state_->useless.clear();
    return read();
  }
  return state_->read_verified(copy.row.base.has_value(), read);
}

void BlobReader::read_chain(std::span<const BlobCopy> chain, RawBytes& plain) {
  assert(!chain.empty() && !chain.back().row.base);
  state_->read_chain(chain, plain);
}

PlainBlob BlobReader::decode(const BlobRow& row, const WrappedKey& key,
                             std::span<const std::byte> stored,
                             VerifyId verify) {
  const auto read = [&] {
    const auto base = state_->base_of(row, verify);
    const SealKey seal_key{key.generation, state_->secret_of(key, row)};
    return state_->decode(row, seal_key, stored, base, verify);
  };
  if (verify == VerifyId::no) {
    state_->useless.clear();
    return read();
  }
  return state_->read_verified(row.base.has_value(), read);
}

}  // namespace cairn::repo
