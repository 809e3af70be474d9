#include "repo/generation_object.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <utility>

#include "crypto/seal.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/signer.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kLabel = "cairn generation";
constexpr std::string_view kGrantLabel = "cairn grant";
constexpr std::string_view kCopyEnding = ".copy";
constexpr std::size_t kDigits = 8;
constexpr std::size_t kMaxGrants = 1000;

Statement statement_of(const RepositoryId& repository,
                       std::span<const std::byte> fields) {
  return {kLabel, repository, {fields}};
}

std::vector<std::byte> associated_data(const RepositoryId& repository,
                                       const Grant& grant) {
  const std::array role = {static_cast<std::byte>(grant.role)};
  return Statement{kGrantLabel, repository, {role, grant.slot}}.bytes();
}

Grant read_grant(CborReader& in) {
  Grant grant;
  in.array_of(4);
  grant.slot = in.fixed<crypto::kPublicKeyBytes>();
  grant.role =
      static_cast<Role>(in.uint(static_cast<std::uint64_t>(Role::write)));
  grant.key = in.fixed<crypto::kWrappedBytes>();
  const auto sealed = in.bytes(kMaxGenerationBytes);
  grant.sealed.assign(sealed.begin(), sealed.end());
  return grant;
}

bool is_sound(const Storage& storage, const std::string& name,
              std::uint32_t number, const Keyring& keyring) {
  try {
    (void)open_generation(get_whole(storage, name, kMaxGenerationBytes), number,
                          keyring.repository(), keyring.root_key(), name);
    return true;
  } catch (const NotFound&) {
    return false;
  } catch (const CorruptionError&) {
    return false;
  }
}

}  // namespace

std::array<std::string, 2> generation_names(std::uint32_t number) {
  std::string digits(kDigits, '0');
  for (std::size_t i = kDigits; number > 0; number /= 16) {
    digits[--i] = "0123456789abcdef"[number % 16];
  }
  std::string name(kGenerationsFolder);
  name += '/';
  name += digits;
  return {name, name + std::string(kCopyEnding)};
}

std::uint32_t generation_number(std::string_view name) {
  const std::size_t prefix = kGenerationsFolder.size() + 1;
  if (name.size() < prefix + kDigits) return 0;
  const std::string_view digits = name.substr(prefix, kDigits);
  std::uint32_t number = 0;
  const auto [end, fault] =
      std::from_chars(digits.data(), digits.data() + kDigits, number, 16);
  const auto names = generation_names(number);
  const bool is_one =
      fault == std::errc() && (name == names[0] || name == names[1]);
  return is_one ? number : 0;
}

std::vector<std::uint32_t> list_generations(const Storage& storage) {
  std::vector<std::uint32_t> numbers;
  storage.list(kGenerationsFolder, [&](const ListedObject& object) {
    const auto number = generation_number(object.name);
    if (number != 0) numbers.push_back(number);
  });
  std::ranges::sort(numbers);
  const auto again = std::ranges::unique(numbers);
  numbers.erase(again.begin(), again.end());
  return numbers;
}

Grant make_grant(const Generations& generations, Role role,
                 const crypto::PublicKey& slot,
                 const RepositoryId& repository) {
  CborWriter plain;
  // At once, or growing would leave copies of keys behind.
  plain.reserve(max_encoded_bytes(generations));
  write(plain, restrict_to(generations, role));
  const auto key = crypto::Secret::random();
  Grant grant{slot, role, crypto::wrap(key, slot), {}};
  grant.sealed.resize(plain.size() + crypto::kTagBytes);
  crypto::seal(key, associated_data(repository, grant), plain.view(),
               grant.sealed);
  auto keys = std::move(plain).take();
  crypto::wipe(keys);
  return grant;
}

std::optional<Generations> open_grant(const GenerationObject& object,
                                      const crypto::Secret& slot_secret,
                                      const RepositoryId& repository) {
  const auto slot = crypto::public_key_of(slot_secret);
  const auto grant = std::ranges::find(object.grants, slot, &Grant::slot);
  if (grant == object.grants.end()) return std::nullopt;
  const std::string name = generation_names(object.number)[0];
  const auto key = crypto::unwrap(grant->key, slot_secret);
  if (!key || grant->sealed.size() < crypto::kTagBytes) {
    throw CorruptionError(name + ": what it grants does not open");
  }
  std::vector<std::byte> plain(grant->sealed.size() - crypto::kTagBytes);
  if (!crypto::open(*key, associated_data(repository, *grant), grant->sealed,
                    plain)) {
    throw CorruptionError(name + ": what it grants does not open");
  }
  CborReader in(plain, name);
  auto generations = read_generations(in);
  in.end();
  crypto::wipe(plain);
  if (generations.back().number != object.number) {
    throw CorruptionError(name + ": grants another generation");
  }
  return generations;
}

std::vector<std::byte> encode(const GenerationObject& object) {
  CborWriter out;
  out.array(3).uint(object.number);
  write_time(out, object.created);
  out.array(object.grants.size());
  for (const auto& grant : object.grants) {
    out.array(4)
        .bytes(grant.slot)
        .uint(static_cast<std::uint64_t>(grant.role))
        .bytes(grant.key)
        .bytes(grant.sealed);
  }
  return std::move(out).take();
}

namespace {

GenerationObject read_generation(CborReader& in) {
  GenerationObject object;
  in.array_of(3);
  object.number = static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
  object.created = read_time(in);
  for (auto n = in.array(kMaxGrants); n > 0; --n) {
    object.grants.push_back(read_grant(in));
  }
  return object;
}

}  // namespace

GenerationObject decode_generation(std::span<const std::byte> bytes,
                                   std::string_view name) {
  CborReader in(bytes, name);
  auto object = read_generation(in);
  in.end();
  return object;
}

std::vector<std::byte> sign_generation(const GenerationObject& object,
                                       const Keyring& owner) {
  const auto plain = encode(object);
  const auto signature = crypto::sign(
      owner.signing_seed(), statement_of(owner.repository(), plain).bytes());
  CborWriter body;
  body.array(2).raw(plain).bytes(signature);
  return enclose(ObjectType::generation, body.view());
}

GenerationObject open_generation(std::span<const std::byte> bytes,
                                 std::uint32_t number,
                                 const RepositoryId& repository,
                                 const crypto::VerifyKey& root_key,
                                 std::string_view name) {
  // A flipped bit of the prologue would look like a newer program's.
  require_own_digest(bytes, name);
  const auto body = disclose(bytes, ObjectType::generation, name);
  CborReader in(body, name);
  in.array_of(2);
  const std::size_t begin = body.size() - in.left();
  auto object = read_generation(in);
  const auto plain = body.subspan(begin, body.size() - in.left() - begin);
  const auto signature = in.fixed<crypto::kSignatureBytes>();
  in.end();
  if (object.number != number) in.fail("another number than its name");
  if (!crypto::verify(root_key, statement_of(repository, plain).bytes(),
                      signature)) {
    in.fail("no owner signed it");
  }
  return object;
}

GenerationObject read_generation_object(const Storage& storage,
                                        std::uint32_t number,
                                        const RepositoryId& repository,
                                        const crypto::VerifyKey& root_key) {
  std::exception_ptr damage;
  for (const auto& name : generation_names(number)) {
    try {
      return open_generation(get_whole(storage, name, kMaxGenerationBytes),
                             number, repository, root_key, name);
    } catch (const NotFound&) {
      continue;
    } catch (const CorruptionError&) {
      if (!damage) damage = std::current_exception();
    }
  }
  if (damage) std::rethrow_exception(damage);
  throw NotFound(generation_names(number)[0] + ": no such object");
}

std::string missing_keys(std::uint32_t generation) {
  return "keys of generation " + std::to_string(generation) +
         ", which this run does not have: if the keys were renewed just now, "
         "run it again; else the folder " +
         std::string(kGenerationsFolder) +
         " lost them, and a copy of the repository may have it";
}

void require_not_renewed(const Storage& storage, const Keyring& keyring) {
  if (keyring.later_keys_lost()) return;
  const auto numbers = list_generations(storage);
  if (numbers.empty() || numbers.back() <= keyring.newest().number) return;
  throw LockedError(
      "the keys were renewed (`cairn key rotate`) while this was at work, and "
      "what others wrote since needs the new ones. Nothing came to harm: run "
      "the command again, which has them then");
}

void mend_generation_objects(Storage& storage, const Keyring& keyring) {
  const auto numbers = list_generations(storage);
  for (const auto number : numbers) {
    const auto names = generation_names(number);
    const std::array sound = {is_sound(storage, names[0], number, keyring),
                              is_sound(storage, names[1], number, keyring)};
    if (sound[0] == sound[1])
      continue;  // nothing to do, or nothing to do it by
    const auto& lost = names[sound[0] ? 1 : 0];
    const auto object =
        get_whole(storage, names[sound[0] ? 0 : 1], kMaxGenerationBytes);
    storage.remove(lost);
    (void)storage.create(lost, object);  // another may have been first
  }
  const std::uint32_t newest = keyring.newest().number;
  const auto names = generation_names(newest);
  if (!is_sound(storage, names[0], newest, keyring) ||
      !is_sound(storage, names[1], newest, keyring)) {
    return;
  }
  for (const auto number : numbers) {
    if (number >= newest) continue;
    for (const auto& name : generation_names(number)) storage.remove(name);
  }
}

void take_granted_generations(const Storage& storage, Keyring& keyring) {
  auto numbers = list_generations(storage);
  for (; !numbers.empty() && numbers.back() > keyring.newest().number;
       numbers.pop_back()) {
    try {
      const auto object = read_generation_object(
          storage, numbers.back(), keyring.repository(), keyring.root_key());
      auto generations =
          open_grant(object, keyring.slot_secret(), keyring.repository());
      if (!generations) {
        throw WrongKey(
            storage.description() +
            ": the keys were renewed (`cairn key rotate`) without this key, "
            "which had been removed then or is not one that an owner made; ask "
            "an owner for another one (`cairn key add`)");
      }
      keyring.set_generations(std::move(*generations));
      return;
    } catch (const NotFound&) {
      continue;  // a newer one replaced it
    } catch (const CorruptionError& e) {
      if (keyring.later_keys_lost()) continue;
      keyring.set_later_keys_lost(
          std::string(e.what()) +
          ": the newest keys are damaged, in both copies. What was sealed with "
          "the ones before can be read, and nothing be written; bring the "
          "folder " +
          std::string(kGenerationsFolder) +
          " back from a copy. If nobody has renewed the keys, somebody else "
          "put it there: an owner's `cairn repair keys` removes it, if nothing "
          "was sealed with such keys");
    }
  }
}

}  // namespace cairn::repo
