#include "repo/keyring.h"

#include <algorithm>
#include <cassert>
#include <cctype>
#include <functional>
#include <new>

#include "crypto/random.h"
#include "crypto/seal.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/signer.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kSlotLimitBytes = 64U << 10;
constexpr std::size_t kMaxSlots = 1000;
constexpr std::size_t kMaxGenerations = 1000;
// More than a bundle and each of its generations take, as CBOR.
constexpr std::size_t kBundleBytes = 512;
constexpr std::size_t kGenerationBytes = 512;
constexpr std::string_view kKeysFolder = "keys";
constexpr std::string_view kRoleKeyLabel = "cairn role key";
constexpr std::string_view kSlotLabel = "cairn key slot";

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

bool holds_secret(Role role, KeyClass key_class) {
  switch (role) {
    case Role::owner:
    case Role::restore:
      return true;
    case Role::list:
      return key_class != KeyClass::content;
    case Role::maintain:
    case Role::write:
      return key_class == KeyClass::links;
  }
  return false;
}

Generation new_generation(std::uint32_t number) {
  Generation generation{number, crypto::Secret::random(), {}, {}};
  for (std::size_t i = 0; i < Generation::kClasses; ++i) {
    generation.secret_keys[i] = crypto::Secret::random();
    generation.public_keys[i] =
        crypto::public_key_of(*generation.secret_keys[i]);
  }
  return generation;
}

Generation restrict_to(const Generation& whole, Role role) {
  Generation part{whole.number, whole.index_key.clone(), whole.public_keys, {}};
  for (std::size_t i = 0; i < Generation::kClasses; ++i) {
    if (holds_secret(role, static_cast<KeyClass>(i)) && whole.secret_keys[i]) {
      part.secret_keys[i] = whole.secret_keys[i]->clone();
    }
  }
  return part;
}

}  // namespace

std::string_view name_of(Role role) noexcept {
  switch (role) {
    case Role::owner:
      return "owner";
    case Role::restore:
      return "restore";
    case Role::list:
      return "list";
    case Role::maintain:
      return "maintain";
    case Role::write:
      return "write";
  }
  return "unknown";
}

std::string_view name_of(KeyMethod method) noexcept {
  return method == KeyMethod::passphrase ? "passphrase" : "key file";
}

struct Keyring::State {
  RepositoryId repository;
  FamilyId family;
  crypto::VerifyKey root_key{};
  Role role = Role::owner;
  crypto::Secret id_key;
  crypto::Secret cutter_key;
  std::vector<Generation> generations;  // ascending, not empty
  crypto::Secret signing_seed;
  std::optional<crypto::Signature> role_certificate;
  crypto::Hmac ids{id_key};
  CutSizes cut_sizes = cut_sizes_of(Config{});
  std::optional<KeySlotId> opened_slot = std::nullopt;
};

Keyring::Keyring(std::unique_ptr<State> state) : state_(std::move(state)) {}
Keyring::Keyring(Keyring&&) noexcept = default;
Keyring& Keyring::operator=(Keyring&&) noexcept = default;
Keyring::~Keyring() = default;

Keyring Keyring::create() {
  auto seed = crypto::Secret::random();
  const auto root_key = crypto::verify_key_of(seed);
  std::vector<Generation> generations;
  generations.push_back(new_generation(1));
  return Keyring(std::unique_ptr<State>(
      new State{{crypto::random_array<RepositoryId::kBytes>()},
                {crypto::random_array<FamilyId::kBytes>()},
                root_key,
                Role::owner,
                crypto::Secret::random(),
                crypto::Secret::random(),
                std::move(generations),
                std::move(seed),
                std::nullopt}));
}

Keyring Keyring::create_like(const Keyring& sister) {
  Keyring keyring = create();
  State& state = *keyring.state_;
  state.family = sister.state_->family;
  state.id_key = sister.state_->id_key.clone();
  state.cutter_key = sister.state_->cutter_key.clone();
  state.cut_sizes = sister.state_->cut_sizes;
  state.ids = crypto::Hmac(state.id_key);
  return keyring;
}

Keyring Keyring::for_role(Role role) const {
  assert(state_->role == Role::owner);
  const State& owner = *state_;
  std::vector<Generation> generations;
  for (const auto& generation : owner.generations) {
    generations.push_back(restrict_to(generation, role));
  }
  const bool is_owner = role == Role::owner;
  auto seed = is_owner ? owner.signing_seed.clone() : crypto::Secret::random();
  std::optional<crypto::Signature> certificate;
  if (!is_owner) {
    const std::array role_byte = {static_cast<std::byte>(role)};
    const auto role_key = crypto::verify_key_of(seed);
    const Statement certifies{
        kRoleKeyLabel, owner.repository, {role_byte, role_key}};
    certificate = crypto::sign(owner.signing_seed, certifies.bytes());
  }
  auto state = std::unique_ptr<State>(
      new State{owner.repository, owner.family, owner.root_key, role,
                owner.id_key.clone(), owner.cutter_key.clone(),
                std::move(generations), std::move(seed), certificate});
  state->cut_sizes = owner.cut_sizes;
  return Keyring(std::move(state));
}

Role Keyring::role() const noexcept { return state_->role; }
const RepositoryId& Keyring::repository() const noexcept {
  return state_->repository;
}
const FamilyId& Keyring::family() const noexcept { return state_->family; }
const crypto::VerifyKey& Keyring::root_key() const noexcept {
  return state_->root_key;
}

BlobId Keyring::id_of(BlobKind kind, std::span<const std::byte> plain) const {
  const std::array<std::byte, 1> prefix = {static_cast<std::byte>(kind)};
  return {state_->ids.of(prefix, plain)};
}

std::vector<BlobId> Keyring::ids_of(
    BlobKind kind, std::span<const std::span<const std::byte>> plains) const {
  const std::array<std::byte, 1> prefix = {static_cast<std::byte>(kind)};
  std::vector<BlobId> ids;
  ids.reserve(plains.size());
  for (const auto& digest : state_->ids.of_each(prefix, plains)) {
    ids.push_back({digest});
  }
  return ids;
}

const crypto::Secret& Keyring::cutter_key() const noexcept {
  return state_->cutter_key;
}
const Generation& Keyring::newest() const noexcept {
  return state_->generations.back();
}
const Generation& Keyring::oldest() const noexcept {
  return state_->generations.front();
}

const Generation* Keyring::find(std::uint32_t generation) const noexcept {
  const auto found =
      std::ranges::find(state_->generations, generation, &Generation::number);
  return found == state_->generations.end() ? nullptr : &*found;
}

const crypto::Secret& Keyring::signing_seed() const noexcept {
  return state_->signing_seed;
}
crypto::VerifyKey Keyring::role_key() const {
  return crypto::verify_key_of(state_->signing_seed);
}
const std::optional<crypto::Signature>& Keyring::role_certificate()
    const noexcept {
  return state_->role_certificate;
}

const CutSizes& Keyring::cut_sizes() const noexcept {
  return state_->cut_sizes;
}
const std::optional<KeySlotId>& Keyring::opened_slot() const noexcept {
  return state_->opened_slot;
}

bool Keyring::can_read(KeyClass key_class) const noexcept {
  return newest().secret_of(key_class).has_value();
}

// The bundle, as the plain bytes of a slot. A friend because the keys have no
// other way out of a Keyring.
struct KeyringCodec {
  static void note_slot(Keyring& keyring, const KeySlotId& id) {
    keyring.state_->opened_slot = id;
  }

  static std::vector<std::byte> encode(const Keyring& keyring) {
    const auto& state = *keyring.state_;
    CborWriter out;
    // At once, or growing would leave copies of keys behind.
    out.reserve(kBundleBytes + kGenerationBytes * state.generations.size());
    out.map(state.role_certificate ? 10 : 9);
    out.key(1).bytes(state.repository.bytes);
    out.key(2).bytes(state.family.bytes);
    out.key(3).bytes(state.root_key);
    out.key(4).uint(static_cast<std::uint64_t>(state.role));
    out.key(5).bytes(state.id_key.bytes());
    out.key(6).bytes(state.cutter_key.bytes());
    out.key(7).array(state.generations.size());
    for (const auto& generation : state.generations) write(out, generation);
    out.key(8).bytes(state.signing_seed.bytes());
    if (state.role_certificate) out.key(9).bytes(*state.role_certificate);
    out.key(10).array(state.cut_sizes.size());
    for (const auto size : state.cut_sizes) out.uint(size);
    return std::move(out).take();
  }

  static Keyring decode(std::span<const std::byte> bytes,
                        std::string_view name) {
    CborReader in(bytes, name);
    RequiredFields seen;
    RepositoryId repository;
    FamilyId family;
    crypto::VerifyKey root_key{};
    std::uint64_t role = 0;
    std::optional<crypto::Secret> id_key;
    std::optional<crypto::Secret> cutter_key;
    std::vector<Generation> generations;
    std::optional<crypto::Secret> seed;
    std::optional<crypto::Signature> certificate;
    CutSizes cut_sizes{};
    auto map = in.map();
    while (const auto key = map.next()) {
      seen.note(*key);
      switch (*key) {
        case 1:
          repository.bytes = in.fixed<RepositoryId::kBytes>();
          break;
        case 2:
          family.bytes = in.fixed<FamilyId::kBytes>();
          break;
        case 3:
          root_key = in.fixed<crypto::kVerifyKeyBytes>();
          break;
        case 4:
          role = in.uint(static_cast<std::uint64_t>(Role::write));
          break;
        case 5:
          id_key = secret(in);
          break;
        case 6:
          cutter_key = secret(in);
          break;
        case 7:
          for (auto n = in.array(kMaxGenerations); n > 0; --n) {
            generations.push_back(read_generation(in));
            const auto count = generations.size();
            if (count > 1 && generations[count - 2].number >=
                                 generations[count - 1].number) {
              in.fail("generations that do not ascend");
            }
          }
          break;
        case 8:
          seed = secret(in);
          break;
        case 9:
          certificate = in.fixed<crypto::kSignatureBytes>();
          break;
        case 10:
          in.array_of(cut_sizes.size());
          for (auto& size : cut_sizes) {
            size = static_cast<std::uint32_t>(in.uint(kMaxBlobBytes));
          }
          break;
        default:
          in.unknown_key(*key);
      }
    }
    in.end();
    seen.require({1, 2, 3, 4, 5, 6, 7, 8, 10}, in);
    if (generations.empty()) in.fail("no generation");
    if (certificate.has_value() ==
        (role == static_cast<std::uint64_t>(Role::owner))) {
      in.fail("a role certificate that does not fit the role");
    }
    auto state = std::unique_ptr<Keyring::State>(new Keyring::State{
        repository, family, root_key, static_cast<Role>(role),
        std::move(*id_key), std::move(*cutter_key), std::move(generations),
        std::move(*seed), certificate});
    state->cut_sizes = cut_sizes;
    return Keyring(std::move(state));
  }

 private:
  static void write(CborWriter& out, const Generation& generation) {
    const auto secrets = static_cast<std::size_t>(std::ranges::count_if(
        generation.secret_keys, [](const auto& s) { return s.has_value(); }));
    out.map(2 + Generation::kClasses + secrets);
    out.key(1).uint(generation.number);
    out.key(2).bytes(generation.index_key.bytes());
    // The map's fields are in the order content, names, links.
    for (std::size_t i = 0; i < kOrder.size(); ++i) {
      out.key(3 + i).bytes(generation.public_keys[kOrder[i]]);
    }
    for (std::size_t i = 0; i < kOrder.size(); ++i) {
      const auto& key = generation.secret_keys[kOrder[i]];
      if (key) out.key(6 + i).bytes(key->bytes());
    }
  }

  static Generation read_generation(CborReader& in) {
    RequiredFields seen;
    std::uint64_t number = 0;
    std::optional<crypto::Secret> index_key;
    std::array<crypto::PublicKey, Generation::kClasses> public_keys{};
    std::array<std::optional<crypto::Secret>, Generation::kClasses> secrets;
    auto map = in.map();
    while (const auto key = map.next()) {
      seen.note(*key);
      switch (*key) {
        case 1:
          number = in.uint(~std::uint32_t{0});
          break;
        case 2:
          index_key = secret(in);
          break;
        case 3:
        case 4:
        case 5:
          public_keys[kOrder[*key - 3]] = in.fixed<crypto::kPublicKeyBytes>();
          break;
        case 6:
        case 7:
        case 8:
          secrets[kOrder[*key - 6]] = secret(in);
          break;
        default:
          in.unknown_key(*key, 3);
      }
    }
    seen.require({1, 2, 3, 4, 5}, in);
    return {static_cast<std::uint32_t>(number), std::move(*index_key),
            public_keys, std::move(secrets)};
  }

  static crypto::Secret secret(CborReader& in) {
    const auto bytes = in.bytes(crypto::kSecretBytes);
    if (bytes.size() != crypto::kSecretBytes)
      in.fail("a key of another length");
    return crypto::Secret::from_bytes(bytes);
  }

  static constexpr std::array<std::size_t, Generation::kClasses> kOrder = {
      static_cast<std::size_t>(KeyClass::content),
      static_cast<std::size_t>(KeyClass::names),
      static_cast<std::size_t>(KeyClass::links)};
};

// Key files ------------------------------------------------------------------

namespace {

constexpr std::string_view kKeyFileWord = "CAIRN-KEY-1";
constexpr std::size_t kGroupDigits = 8;
constexpr std::size_t kKeyFileTextBytes = 128;

}  // namespace

std::string key_file_text(const crypto::Secret& key) {
  crypto::WipedText digits{crypto::to_hex(key.bytes())};
  std::string text;
  text.reserve(kKeyFileTextBytes);  // or growing would leave copies behind
  text += kKeyFileWord;
  text += ' ';
  for (std::size_t i = 0; i < digits.text.size(); i += kGroupDigits) {
    text.append(digits.text, i, kGroupDigits);
    text += '-';
  }
  text += crypto::to_hex(crypto::sha256(key.bytes())).substr(0, kGroupDigits);
  text += '\n';
  return text;
}

std::optional<crypto::Secret> parse_key_file(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  const auto end = text.find_last_not_of(" \t\r\n");
  if (begin == std::string::npos) return std::nullopt;
  crypto::WipedText compact{std::string(text.substr(begin, end - begin + 1))};
  for (char& c : compact.text) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }

  std::string word(kKeyFileWord);
  std::ranges::transform(word, word.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  if (!compact.text.starts_with(word + " ")) return std::nullopt;
  crypto::WipedText wiped{compact.text.substr(word.size() + 1)};
  std::string& digits = wiped.text;
  constexpr std::size_t kGroups = 2 * crypto::kSecretBytes / kGroupDigits + 1;
  if (digits.size() != kGroups * (kGroupDigits + 1) - 1) return std::nullopt;
  for (std::size_t group = 1; group < kGroups; ++group) {
    if (digits[group * (kGroupDigits + 1) - 1] != '-') return std::nullopt;
  }
  std::erase(digits, '-');
  if (digits.size() != kGroups * kGroupDigits) return std::nullopt;

  std::array<std::byte, crypto::kSecretBytes> bytes;
  std::array<std::byte, kGroupDigits / 2> check;
  constexpr std::size_t kDigits = 2 * crypto::kSecretBytes;
  if (!crypto::from_hex(std::string_view(digits).substr(0, kDigits), bytes) ||
      !crypto::from_hex(std::string_view(digits).substr(kDigits), check)) {
    return std::nullopt;
  }
  const auto digest = crypto::sha256(bytes);
  auto key = crypto::Secret::from_bytes(bytes);
  crypto::wipe(bytes);
  if (!std::equal(check.begin(), check.end(), digest.begin())) {
    return std::nullopt;
  }
  return key;
}

// Slots ----------------------------------------------------------------------

namespace {

struct SlotHeader {
  Role role = Role::owner;
  KeyMethod method = KeyMethod::passphrase;
  crypto::Salt salt{};
  crypto::PassphraseCost cost{0, 0};  // zeros for a key file
};

struct Slot {
  SlotHeader header;
  crypto::Digest commitment{};
  std::vector<std::byte> sealed_bundle;
  std::string label;
  Timestamp created;
};

std::vector<std::byte> associated_data(const RepositoryId& repository,
                                       const SlotHeader& header) {
  CborWriter cbor;
  cbor.array(6).bytes(repository.bytes);
  cbor.uint(static_cast<std::uint64_t>(header.role));
  cbor.uint(static_cast<std::uint64_t>(header.method));
  cbor.bytes(header.salt);
  cbor.uint(header.cost.passes).uint(header.cost.memory_bytes);
  const auto label = as_bytes(kSlotLabel);
  std::vector<std::byte> out(label.size() + cbor.size());
  const auto rest = std::ranges::copy(label, out.begin()).out;
  std::ranges::copy(cbor.view(), rest);
  return out;
}

crypto::StretchedPassphrase stretch_key_file(const crypto::Secret& key,
                                             const crypto::Salt& salt) {
  auto commitment = crypto::derive(key, "cairn key file commitment", salt);
  crypto::Digest digest;
  std::ranges::copy(commitment.bytes(), digest.begin());
  return {crypto::derive(key, "cairn key file seal", salt), digest};
}

std::vector<std::byte> encode(const Slot& slot) {
  CborWriter out;
  out.map(9);
  out.key(1).uint(static_cast<std::uint64_t>(slot.header.role));
  out.key(2).uint(static_cast<std::uint64_t>(slot.header.method));
  out.key(3).bytes(slot.header.salt);
  out.key(4).uint(slot.header.cost.passes);
  out.key(5).uint(slot.header.cost.memory_bytes);
  out.key(6).bytes(slot.commitment);
  out.key(7).bytes(slot.sealed_bundle);
  out.key(8).text(slot.label);
  write_time(out.key(9), slot.created);
  return enclose(ObjectType::key_slot, out.view());
}

Slot decode_slot(std::span<const std::byte> object, std::string_view name) {
  // Or a damaged slot would be passed over like a newer one.
  require_own_digest(object, name);
  CborReader in(disclose(object, ObjectType::key_slot, name), name);
  Slot slot;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1: {
        const auto role = in.uint();
        if (role > static_cast<std::uint64_t>(Role::write)) {
          throw UnsupportedFormat(std::string(name) + ": unknown role");
        }
        slot.header.role = static_cast<Role>(role);
        break;
      }
      case 2: {
        const auto method = in.uint();
        if (method > static_cast<std::uint64_t>(KeyMethod::key_file)) {
          throw UnsupportedFormat(std::string(name) + ": unknown method");
        }
        slot.header.method = static_cast<KeyMethod>(method);
        break;
      }
      case 3:
        slot.header.salt = in.fixed<crypto::kSaltBytes>();
        break;
      case 4:
        slot.header.cost.passes =
            static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
        break;
      case 5:
        slot.header.cost.memory_bytes = in.uint();
        break;
      case 6:
        slot.commitment = in.fixed<crypto::kDigestBytes>();
        break;
      case 7: {
        const auto sealed = in.bytes(kSlotLimitBytes);
        slot.sealed_bundle.assign(sealed.begin(), sealed.end());
        break;
      }
      case 8:
        slot.label = in.text(kSlotLimitBytes);
        break;
      case 9:
        slot.created = read_time(in);
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7, 8, 9}, in);
  const bool is_passphrase = slot.header.method == KeyMethod::passphrase;
  const bool cost_is_right =
      is_passphrase ? slot.header.cost.is_within_bounds()
                    : slot.header.cost == crypto::PassphraseCost{0, 0};
  if (!cost_is_right) in.fail("a cost outside the bounds");
  if (slot.sealed_bundle.size() < crypto::kTagBytes) in.fail("no bundle");
  return slot;
}

std::vector<std::pair<KeySlotId, std::string>> slot_names(
    const Storage& storage) {
  std::vector<std::pair<KeySlotId, std::string>> slots;
  const std::string prefix = std::string(kKeysFolder) + "/";
  storage.list(kKeysFolder, [&](const ListedObject& object) {
    const auto id = KeySlotId::from_hex(
        std::string_view(object.name).substr(prefix.size()));
    if (id) slots.emplace_back(*id, object.name);
  });
  std::ranges::sort(slots);
  if (slots.size() > kMaxSlots) {
    throw CorruptionError("keys: more than a thousand slots");
  }
  return slots;
}

struct NamedSlot {
  KeySlotId id;
  std::string name;
  Slot slot;
};

// What opening one slot came to.
enum class Fit { fits, other_key };

Fit open_slot(const Slot& slot, const Config& config, std::string_view name,
              const crypto::StretchedPassphrase& stretched,
              std::optional<Keyring>& keyring) {
  if (!crypto::equal_in_constant_time(stretched.commitment, slot.commitment)) {
    return Fit::other_key;
  }
  std::vector<std::byte> plain(slot.sealed_bundle.size() - crypto::kTagBytes);
  const auto ad = associated_data(config.repository, slot.header);
  if (!crypto::open(stretched.key, ad, slot.sealed_bundle, plain)) {
    throw CorruptionError(std::string(name) +
                          ": the key fits, but what it seals is damaged");
  }
  keyring = KeyringCodec::decode(plain, name);
  crypto::wipe(plain);
  if (keyring->repository() != config.repository ||
      keyring->family() != config.family ||
      keyring->root_key() != config.root_key ||
      keyring->role() != slot.header.role) {
    throw CorruptionError(std::string(name) +
                          ": belongs to another repository than config says");
  }
  if (keyring->cut_sizes() != cut_sizes_of(config)) {
    throw CorruptionError("config: its sizes are not those in " +
                          std::string(name));
  }
  return Fit::fits;
}

using Stretch = std::function<crypto::StretchedPassphrase(const SlotHeader&)>;

Keyring open_any_slot(const Storage& storage, const Config& config,
                      KeyMethod method, const Stretch& stretch) {
  std::exception_ptr damage;
  const auto names = slot_names(storage);
  if (names.empty()) {
    throw CorruptionError(storage.description() +
                          ": there are no key slots at all; bring the folder "
                          "keys back from a copy of the repository");
  }
  std::vector<NamedSlot> slots;
  for (const auto& [id, name] : names) {
    try {
      Slot slot = decode_slot(get_whole(storage, name, kSlotLimitBytes), name);
      if (slot.header.method != method) continue;
      slots.push_back({id, name, std::move(slot)});
    } catch (const NotFound&) {
      continue;  // removed since it was listed
    } catch (const UnsupportedFormat&) {
      continue;  // a role or method of a newer program; another slot may fit
    } catch (const CorruptionError&) {
      if (!damage) damage = std::current_exception();
    }
  }
  // The cheapest first: one that was planted to exhaust the machine is not even
  // tried where a true one fits.
  std::ranges::stable_sort(slots, {}, [](const NamedSlot& named) {
    const crypto::PassphraseCost& cost = named.slot.header.cost;
    return std::pair(cost.memory_bytes, cost.passes);
  });
  for (const auto& [id, name, slot] : slots) {
    try {
      std::optional<Keyring> keyring;
      if (open_slot(slot, config, name, stretch(slot.header), keyring) ==
          Fit::fits) {
        KeyringCodec::note_slot(*keyring, id);
        return std::move(*keyring);
      }
    } catch (const std::bad_alloc&) {
      if (!damage) {
        damage = std::make_exception_ptr(
            IoError(name + ": needs " +
                    std::to_string(slot.header.cost.memory_bytes >> 20) +
                    " MiB of memory to be opened, which are not to be had"));
      }
    } catch (const CorruptionError&) {
      if (!damage) damage = std::current_exception();
    }
  }
  if (damage) std::rethrow_exception(damage);
  throw WrongKey(storage.description() + ": " +
                 (method == KeyMethod::passphrase
                      ? "no key slot opens with this passphrase"
                      : "no key slot opens with this key file"));
}

KeySlotId add_slot(Storage& storage, const Keyring& keyring, SlotHeader header,
                   const crypto::StretchedPassphrase& stretched,
                   std::string_view label, const Timestamp& now) {
  auto bundle = KeyringCodec::encode(keyring);
  Slot slot{header, stretched.commitment, {}, std::string(label), now};
  slot.sealed_bundle.resize(bundle.size() + crypto::kTagBytes);
  const auto ad = associated_data(keyring.repository(), header);
  crypto::seal(stretched.key, ad, bundle, slot.sealed_bundle);
  crypto::wipe(bundle);

  const auto object = encode(slot);
  if (object.size() > kSlotLimitBytes) {
    throw Error("the label of a key slot is too long");
  }
  const KeySlotId id{crypto::random_array<KeySlotId::kBytes>()};
  const std::string name = key_slot_name(id);
  if (storage.create(name, object) == Created::exists) {
    throw IoError(name + ": exists already");  // 2^-128
  }
  // Opened again before anything relies on it: a slot that does not open is a
  // repository lost.
  Config config;
  config.repository = keyring.repository();
  config.family = keyring.family();
  config.root_key = keyring.root_key();
  set_cut_sizes(config, keyring.cut_sizes());
  std::optional<Keyring> again;
  const Slot stored =
      decode_slot(get_whole(storage, name, kSlotLimitBytes), name);
  if (open_slot(stored, config, name, stretched, again) != Fit::fits) {
    throw CorruptionError(name + ": does not open after it was written");
  }
  return id;
}

}  // namespace

std::string key_slot_name(const KeySlotId& id) {
  return std::string(kKeysFolder) + "/" + id.hex();
}

KeySlotList list_key_slots(const Storage& storage) {
  KeySlotList list;
  for (const auto& [id, name] : slot_names(storage)) {
    try {
      Slot slot = decode_slot(get_whole(storage, name, kSlotLimitBytes), name);
      list.slots.push_back({id, slot.header.role, slot.header.method,
                            std::move(slot.label), slot.created});
    } catch (const NotFound&) {
      continue;  // removed since it was listed
    } catch (const UnsupportedFormat&) {
      continue;  // a role of a newer program
    } catch (const CorruptionError& e) {
      list.damaged.push_back({id, e.what()});
    }
  }
  return list;
}

namespace {

void must_not_have_opened(const KeySlotId& slot, const Keyring& keyring) {
  if (!keyring.opened_slot() || *keyring.opened_slot() == slot) {
    throw RefusedForSafety(
        "key " + slot.brief() +
        " is the one that opened the repository just now. Open it with "
        "another owner's key to remove this one; `cairn key add` makes one");
  }
}

}  // namespace

void must_be_removable(const KeySlot& slot, const Keyring& keyring) {
  if (slot.role == Role::owner) must_not_have_opened(slot.id, keyring);
}

void must_be_removable(const DamagedKeySlot& slot, const Keyring& keyring) {
  if (keyring.role() != Role::owner) {
    throw RefusedForSafety("key " + slot.id.brief() +
                           " is damaged and may have been an owner's: only an "
                           "owner's key removes it");
  }
  must_not_have_opened(slot.id, keyring);
}

void remove_key_slot(Storage& storage, const Keyring& keyring,
                     const KeySlot& slot) {
  must_be_removable(slot, keyring);
  const std::string name = key_slot_name(slot.id);
  if (slot.role != Role::owner) {
    storage.remove(name);
    return;
  }
  // A copy stays until it is seen that our own slot was not removed at the same
  // time: a slot opens under any name.
  const std::string own = key_slot_name(*keyring.opened_slot());
  const std::string copy =
      key_slot_name({crypto::random_array<KeySlotId::kBytes>()});
  if (storage.create(copy, get_whole(storage, name, kSlotLimitBytes)) ==
      Created::exists) {
    throw IoError(copy + ": exists already");  // 2^-128
  }
  storage.remove(name);
  if (!storage.size(own)) {
    throw RefusedForSafety(
        own + ": was removed meanwhile; the other key stays, as " + copy);
  }
  storage.remove(copy);
}

void remove_key_slot(Storage& storage, const Keyring& keyring,
                     const DamagedKeySlot& slot) {
  must_be_removable(slot, keyring);
  storage.remove(key_slot_name(slot.id));
}

KeySlotId add_passphrase_slot(Storage& storage, const Keyring& keyring,
                              std::string_view passphrase,
                              const crypto::PassphraseCost& cost,
                              std::string_view label, const Timestamp& now) {
  const SlotHeader header{keyring.role(), KeyMethod::passphrase,
                          crypto::random_array<crypto::kSaltBytes>(), cost};
  return add_slot(storage, keyring, header,
                  crypto::stretch(passphrase, header.salt, cost), label, now);
}

KeySlotId add_key_file_slot(Storage& storage, const Keyring& keyring,
                            const crypto::Secret& key, std::string_view label,
                            const Timestamp& now) {
  const SlotHeader header{keyring.role(),
                          KeyMethod::key_file,
                          crypto::random_array<crypto::kSaltBytes>(),
                          {0, 0}};
  return add_slot(storage, keyring, header, stretch_key_file(key, header.salt),
                  label, now);
}

Keyring open_with_passphrase(const Storage& storage, const Config& config,
                             std::string_view passphrase) {
  return open_any_slot(
      storage, config, KeyMethod::passphrase, [&](const SlotHeader& header) {
        return crypto::stretch(passphrase, header.salt, header.cost);
      });
}

Keyring open_with_key_file(const Storage& storage, const Config& config,
                           const crypto::Secret& key) {
  return open_any_slot(storage, config, KeyMethod::key_file,
                       [&](const SlotHeader& header) {
                         return stretch_key_file(key, header.salt);
                       });
}

}  // namespace cairn::repo
