#include "repo/key_slot.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/record.h"
#include "repo/signer.h"

namespace cairn::repo {
namespace {

constexpr std::uint64_t kSlotLimitBytes = 64U << 10;
constexpr std::size_t kMaxSlots = 1000;
constexpr std::string_view kKeysFolder = "keys";
constexpr std::string_view kSlotLabel = "cairn key slot";
constexpr std::string_view kSlotKeyLabel = "cairn slot key";

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

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
  crypto::PublicKey public_key{};
  crypto::Signature certificate{};
};

// What an owner says of a slot's key.
std::vector<std::byte> certified_statement(const RepositoryId& repository,
                                           Role role,
                                           const crypto::PublicKey& key) {
  const std::array role_byte = {static_cast<std::byte>(role)};
  return Statement{kSlotKeyLabel, repository, {role_byte, key}}.bytes();
}

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
  out.map(11);
  out.key(1).uint(static_cast<std::uint64_t>(slot.header.role));
  out.key(2).uint(static_cast<std::uint64_t>(slot.header.method));
  out.key(3).bytes(slot.header.salt);
  out.key(4).uint(slot.header.cost.passes);
  out.key(5).uint(slot.header.cost.memory_bytes);
  out.key(6).bytes(slot.commitment);
  out.key(7).bytes(slot.sealed_bundle);
  out.key(8).text(slot.label);
  write_time(out.key(9), slot.created);
  out.key(10).bytes(slot.public_key);
  out.key(11).bytes(slot.certificate);
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
      case 10:
        slot.public_key = in.fixed<crypto::kPublicKeyBytes>();
        break;
      case 11:
        slot.certificate = in.fixed<crypto::kSignatureBytes>();
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, in);
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
  keyring = Keyring::from_bundle(plain, name);
  crypto::wipe(plain);
  if (keyring->repository() != config.repository ||
      keyring->family() != config.family ||
      keyring->root_key() != config.root_key ||
      keyring->role() != slot.header.role) {
    throw CorruptionError(std::string(name) +
                          ": belongs to another repository than config says");
  }
  if (crypto::public_key_of(keyring->slot_secret()) != slot.public_key) {
    throw CorruptionError(std::string(name) +
                          ": its public key is not that of what it seals");
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
        keyring->set_opened_slot(id);
        take_granted_generations(storage, *keyring);
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

KeySlotId add_slot(Storage& storage, const Keyring& owner, SlotHeader header,
                   const crypto::StretchedPassphrase& stretched,
                   std::string_view label, const Timestamp& now) {
  const Keyring keyring = owner.for_role(header.role);
  const auto secret = crypto::Secret::random();
  auto bundle = keyring.bundle(secret);
  Slot slot{header, stretched.commitment,          {}, std::string(label),
            now,    crypto::public_key_of(secret), {}};
  slot.certificate = crypto::sign(
      owner.signing_seed(),
      certified_statement(owner.repository(), header.role, slot.public_key));
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
  // Who renewed the keys meanwhile may not have seen this slot.
  const auto numbers = list_generations(storage);
  if (!numbers.empty() && numbers.back() > keyring.newest().number) {
    storage.remove(name);
    throw LockedError("the keys were renewed meanwhile; add the key again");
  }
  return id;
}

}  // namespace

std::string_view name_of(KeyMethod method) noexcept {
  return method == KeyMethod::passphrase ? "passphrase" : "key file";
}

std::string key_slot_name(const KeySlotId& id) {
  return std::string(kKeysFolder) + "/" + id.hex();
}

KeySlotList list_key_slots(const Storage& storage) {
  KeySlotList list;
  for (const auto& [id, name] : slot_names(storage)) {
    try {
      Slot slot = decode_slot(get_whole(storage, name, kSlotLimitBytes), name);
      list.slots.push_back({id, slot.header.role, slot.header.method,
                            std::move(slot.label), slot.created,
                            slot.public_key, slot.certificate});
    } catch (const NotFound&) {
      continue;  // removed since it was listed
    } catch (const UnsupportedFormat&) {
      ++list.newer;
    } catch (const CorruptionError& e) {
      list.damaged.push_back({id, e.what()});
    }
  }
  return list;
}

bool is_certified(const KeySlot& slot, const RepositoryId& repository,
                  const crypto::VerifyKey& root_key) {
  return crypto::verify(
      root_key, certified_statement(repository, slot.role, slot.public_key),
      slot.certificate);
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

KeySlotId add_passphrase_slot(Storage& storage, const Keyring& owner, Role role,
                              std::string_view passphrase,
                              const crypto::PassphraseCost& cost,
                              std::string_view label, const Timestamp& now) {
  const SlotHeader header{role, KeyMethod::passphrase,
                          crypto::random_array<crypto::kSaltBytes>(), cost};
  return add_slot(storage, owner, header,
                  crypto::stretch(passphrase, header.salt, cost), label, now);
}

KeySlotId add_key_file_slot(Storage& storage, const Keyring& owner, Role role,
                            const crypto::Secret& key, std::string_view label,
                            const Timestamp& now) {
  const SlotHeader header{role,
                          KeyMethod::key_file,
                          crypto::random_array<crypto::kSaltBytes>(),
                          {0, 0}};
  return add_slot(storage, owner, header, stretch_key_file(key, header.salt),
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
