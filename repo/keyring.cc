#include "repo/keyring.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/record.h"
#include "repo/signer.h"

namespace cairn::repo {
namespace {

// More than a bundle takes as CBOR, without its generations.
constexpr std::size_t kBundleBytes = 512;
constexpr std::string_view kRoleKeyLabel = "cairn role key";

}  // namespace

struct Keyring::State {
  RepositoryId repository;
  FamilyId family;
  crypto::VerifyKey root_key{};
  Role role = Role::owner;
  crypto::Secret id_key;
  crypto::Secret cutter_key;
  Generations generations;
  crypto::Secret signing_seed;
  std::optional<crypto::Signature> role_certificate;
  crypto::Hmac ids{id_key};
  CutSizes cut_sizes = cut_sizes_of(Config{});
  std::optional<KeySlotId> opened_slot = std::nullopt;
  std::optional<crypto::Secret> slot_secret = std::nullopt;
  std::optional<std::string> later_keys_lost = std::nullopt;
};

Keyring::Keyring(std::unique_ptr<State> state) : state_(std::move(state)) {}
Keyring::Keyring(Keyring&&) noexcept = default;
Keyring& Keyring::operator=(Keyring&&) noexcept = default;
Keyring::~Keyring() = default;

Keyring Keyring::create() {
  auto seed = crypto::Secret::random();
  const auto root_key = crypto::verify_key_of(seed);
  Generations generations;
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
  auto state = std::unique_ptr<State>(new State{
      owner.repository, owner.family, owner.root_key, role,
      owner.id_key.clone(), owner.cutter_key.clone(),
      restrict_to(owner.generations, role), std::move(seed), certificate});
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
  std::vector<BlobId> ids(plains.size());
  ids_of(kind, plains,
         [&](std::size_t number, const BlobId& id) { ids[number] = id; });
  return ids;
}

void Keyring::ids_of(BlobKind kind,
                     std::span<const std::span<const std::byte>> plains,
                     const TakeId& take) const {
  const std::array<std::byte, 1> prefix = {static_cast<std::byte>(kind)};
  state_->ids.of_each(prefix, plains,
                      [&](std::size_t number, const crypto::Digest& digest) {
                        take(number, {digest});
                      });
}

const crypto::Secret& Keyring::cutter_key() const noexcept {
  return state_->cutter_key;
}
const Generations& Keyring::generations() const noexcept {
  return state_->generations;
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

const crypto::Secret& Keyring::slot_secret() const noexcept {
  assert(state_->slot_secret);
  return *state_->slot_secret;
}

void Keyring::set_generations(Generations generations) {
  assert(!generations.empty());
  state_->generations = std::move(generations);
}

const std::optional<std::string>& Keyring::later_keys_lost() const noexcept {
  return state_->later_keys_lost;
}

void Keyring::set_later_keys_lost(std::string why) {
  state_->later_keys_lost = std::move(why);
}

void Keyring::set_opened_slot(const KeySlotId& slot) {
  state_->opened_slot = slot;
}

std::vector<std::byte> Keyring::bundle(
    const crypto::Secret& slot_secret) const {
  const State& state = *state_;
  CborWriter out;
  // At once, or growing would leave copies of keys behind.
  out.reserve(kBundleBytes + max_encoded_bytes(state.generations));
  out.map(state.role_certificate ? 11 : 10);
  out.key(1).bytes(state.repository.bytes);
  out.key(2).bytes(state.family.bytes);
  out.key(3).bytes(state.root_key);
  out.key(4).uint(static_cast<std::uint64_t>(state.role));
  out.key(5).bytes(state.id_key.bytes());
  out.key(6).bytes(state.cutter_key.bytes());
  write(out.key(7), state.generations);
  out.key(8).bytes(state.signing_seed.bytes());
  if (state.role_certificate) out.key(9).bytes(*state.role_certificate);
  out.key(10).array(state.cut_sizes.size());
  for (const auto size : state.cut_sizes) out.uint(size);
  out.key(11).bytes(slot_secret.bytes());
  return std::move(out).take();
}

Keyring Keyring::from_bundle(std::span<const std::byte> bundle,
                             std::string_view name) {
  CborReader in(bundle, name);
  RequiredFields seen;
  RepositoryId repository;
  FamilyId family;
  crypto::VerifyKey root_key{};
  std::uint64_t role = 0;
  std::optional<crypto::Secret> id_key;
  std::optional<crypto::Secret> cutter_key;
  Generations generations;
  std::optional<crypto::Secret> seed;
  std::optional<crypto::Secret> slot_secret;
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
        id_key = read_secret(in);
        break;
      case 6:
        cutter_key = read_secret(in);
        break;
      case 7:
        generations = read_generations(in);
        break;
      case 8:
        seed = read_secret(in);
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
      case 11:
        slot_secret = read_secret(in);
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2, 3, 4, 5, 6, 7, 8, 10, 11}, in);
  if (certificate.has_value() ==
      (role == static_cast<std::uint64_t>(Role::owner))) {
    in.fail("a role certificate that does not fit the role");
  }
  auto state = std::unique_ptr<State>(
      new State{repository, family, root_key, static_cast<Role>(role),
                std::move(*id_key), std::move(*cutter_key),
                std::move(generations), std::move(*seed), certificate});
  state->cut_sizes = cut_sizes;
  state->slot_secret = std::move(slot_secret);
  return Keyring(std::move(state));
}

}  // namespace cairn::repo
