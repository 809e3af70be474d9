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

// A blob that others may lean on, decoded.
struct Level {
  BlobId id;
  std::uint32_t depth = 0;
  bool is_true = false;  // it was compared with its id
  RawBytes own;          // reused when the level is made anew
  PlainBlob given = {};  // in place of `own`, else null

  [[nodiscard]] std::span<const std::byte> plain() const noexcept {
    return given ? std::span<const std::byte>(*given) : own;
  }
};

// The chain that was decoded last: each level is the base of the next.
class LastChain {
 public:
  // The level that is this blob and less deep than `below`; what stands on it
  // is dropped. Null: there is none, and all stays.
  Level* find(const BlobId& id, std::uint32_t below) noexcept {
    for (std::size_t i = count_; i-- > 0;) {
      if (levels_[i].depth >= below || levels_[i].id != id) continue;
      count_ = i + 1;
      return &levels_[i];
    }
    return nullptr;
  }

  // Null: it is empty.
  Level* last() noexcept {
    return count_ == 0 ? nullptr : &levels_[count_ - 1];
  }

  // One more, whose bytes the caller provides.
  Level& add(const BlobRow& row) {
    if (count_ == levels_.size()) levels_.emplace_back();
    Level& level = levels_[count_++];
    level.id = row.id;
    level.depth = row.depth;
    level.is_true = false;
    level.given.reset();
    return level;
  }

  void clear() noexcept { count_ = 0; }

 private:
  std::vector<Level> levels_;
  std::size_t count_ = 0;  // of them that hold one
};

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
  RawBytes next_level = {};
  LastChain last_chain = {};
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
  // That the row leans on. Nothing: the index names none.
  std::optional<BlobCopy> noted_base(const BlobRow& row);
  // What has to be decoded to have the row's base, that one first, so that it
  // stands on the last level that is left. Nothing: the index knows no way.
  std::optional<std::vector<BlobCopy>> missing_levels(const BlobRow& row);
  std::optional<BlobCopy> any_copy(BlobKind kind, const BlobId& id);
  // The one that the index names first.
  std::optional<BlobCopy> noted_copy(BlobKind kind, const BlobId& id,
                                     std::uint32_t max_depth);
  std::span<const std::byte> base_of(const BlobRow& row, VerifyId verify);
  // Null: its copies have to be tried one after another.
  Level* decode_base(const BlobRow& row);
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
  // What was decoded by base_of() stands below it.
  void keep(const BlobRow& row, const PlainBlob& plain, VerifyId verify);
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
  if (Level* const base =
          verify_bases == VerifyId::no ? decode_base(row) : nullptr) {
    if (verify != VerifyId::with_base || base->is_true) return base->plain();
    base->is_true = keyring.id_of(row.kind, base->plain()) == *row.base;
    if (base->is_true) return base->plain();
    throw CorruptionError("blob " + row.base->brief() +
                          ": its bytes are not what its id names");
  }
  searched_base = search_base(row);
  return *searched_base;
}

std::optional<BlobCopy> BlobReader::State::noted_base(const BlobRow& row) {
  if (auto base = often_read->base_of(row)) return base;
  return noted_copy(row.kind, *row.base, row.depth - 1);
}

std::optional<std::vector<BlobCopy>> BlobReader::State::missing_levels(
    const BlobRow& row) {
  std::vector<BlobCopy> missing;
  const auto lowest = [&]() -> const BlobRow& {
    return missing.empty() ? row : missing.back().row;
  };
  while (lowest().base) {
    if (last_chain.find(*lowest().base, lowest().depth)) return missing;
    auto next = noted_base(lowest());
    if (!next) {
      missing = chain_below(index, row);  // there may be another way
      if (missing.empty()) return std::nullopt;
      break;
    }
    missing.push_back(std::move(*next));
  }
  last_chain.clear();
  return missing;
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

Level* BlobReader::State::decode_base(const BlobRow& row) {
  try {
    const auto missing = missing_levels(row);
    if (!missing) return nullptr;
    for (std::size_t i = missing->size(); i-- > 0;) {
      const BlobCopy& copy = (*missing)[i];
      const auto [key, bytes] = get_stored(copy);
      const Level* const below = last_chain.last();
      const auto base = below ? below->plain() : std::span<const std::byte>();
      next_level.resize(copy.row.plain_size);
      decode_into(next_level, copy.row, key, bytes, base);
      std::swap(last_chain.add(copy.row).own, next_level);
    }
  } catch (const Error&) {
    last_chain.clear();
    forget_windows();
    return nullptr;
  }
  return last_chain.last();
}

void BlobReader::State::keep(const BlobRow& row, const PlainBlob& plain,
                             VerifyId verify) {
  if (!row.base) {
    last_chain.clear();
  } else if (!last_chain.find(*row.base, row.depth)) {
    return;
  }
  Level& level = last_chain.add(row);
  level.given = plain;
  level.is_true = verify != VerifyId::no;
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
  last_chain.clear();
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
    auto plain = state_->decode(row, seal_key, stored, base, verify);
    state_->keep(row, plain, verify);
    return plain;
  };
  if (verify == VerifyId::no) {
    state_->useless.clear();
    return read();
  }
  return state_->read_verified(row.base.has_value(), read);
}

std::optional<BlobRow> BlobReader::base_of(const BlobRow& row) {
  assert(row.base);
  const auto copy = state_->noted_base(row);
  if (!copy) return std::nullopt;
  return copy->row;
}

}  // namespace cairn::repo
