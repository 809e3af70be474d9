#include "repo/index_object.h"

#include <algorithm>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/error.h"
#include "repo/generation_object.h"
#include "repo/pack_format.h"
#include "repo/record.h"

namespace cairn::repo {
namespace {

constexpr std::string_view kFolder = "index/";
constexpr std::string_view kLabel = "cairn index";
constexpr std::size_t kSaltBytes = 32;
constexpr std::size_t kHeadBytes = kPrologueBytes + kSaltBytes;
constexpr std::size_t kMaxPacks = 1'000'000;

crypto::Secret key_of(const Generation& generation,
                      std::span<const std::byte> head) {
  return crypto::derive(generation.index_key, kLabel,
                        head.subspan(kPrologueBytes));
}

void write(CborWriter& out, const Assurance& assurance) {
  if (assurance.reach == Assurance::Reach::everyone) {
    out.null();
  } else {
    out.bytes(assurance.role_key);
  }
}

Assurance read_assurance(CborReader& in) {
  if (in.skip_null()) return Assurance::for_everyone();
  return Assurance::for_key(in.fixed<crypto::kVerifyKeyBytes>());
}

// Of what this signer says, what counts.
Assurance granted(const Assurance& said, const SignerChain& signer) {
  const bool counts = may_vouch_for_all(signer.role) ||
                      said == Assurance::for_key(signer.role_key);
  return counts ? said : Assurance{};
}

}  // namespace

Assurance Assurance::for_everyone() { return {Reach::everyone, {}}; }

Assurance Assurance::for_key(const crypto::VerifyKey& role_key) {
  return {Reach::one_key, role_key};
}

Assurance Assurance::by(const Keyring& keyring) {
  return may_vouch_for_all(keyring.role()) ? for_everyone()
                                           : for_key(keyring.role_key());
}

bool Assurance::covers(const crypto::VerifyKey& reader) const noexcept {
  return reach == Reach::everyone ||
         (reach == Reach::one_key && role_key == reader);
}

bool may_vouch_for_all(Role role) noexcept {
  return role == Role::owner || role == Role::maintain;
}

std::string index_name(const IndexId& id) {
  return std::string(kFolder) + id.hex();
}

std::vector<std::byte> encode(const IndexObject& object) {
  CborWriter out;
  const bool is_assured = object.assurance.reach != Assurance::Reach::nobody;
  out.map(is_assured ? 3 : 2).key(1).bytes(object.session.bytes);
  out.key(2).array(object.packs.size());
  for (const auto& pack : object.packs) {
    // The directory's two fields stand in the pack's own record.
    out.array(3).bytes(pack.id.bytes).uint(pack.size);
    write(out, pack.directory);
  }
  if (is_assured) write(out.key(3), object.assurance);
  return std::move(out).take();
}

IndexObject decode_index(std::span<const std::byte> body,
                         std::string_view name) {
  CborReader in(body, name);
  IndexObject object;
  RequiredFields seen;
  auto map = in.map();
  while (const auto key = map.next()) {
    seen.note(*key);
    switch (*key) {
      case 1:
        object.session.bytes = in.fixed<SessionId::kBytes>();
        break;
      case 2:
        for (auto n = in.array(kMaxPacks); n > 0; --n) {
          in.array_of(3);
          IndexedPack pack;
          pack.id.bytes = in.fixed<PackId::kBytes>();
          pack.size = in.uint(kMaxPackBytes);
          pack.directory = read_directory(in, pack.size);
          object.packs.push_back(std::move(pack));
        }
        break;
      case 3:
        object.assurance = read_assurance(in);
        break;
      default:
        in.unknown_key(*key);
    }
  }
  in.end();
  seen.require({1, 2}, in);
  return object;
}

IndexId publish_index(Storage& storage, const Keyring& keyring,
                      const Signer& signer, const IndexObject& object) {
  const std::vector<std::byte> body = encode(object);
  CborWriter signed_body;
  signed_body.array(3).bytes(body);
  write(signed_body, signer.chain());
  signed_body.bytes(signer.sign({kLabel, keyring.repository(), {body}}));

  const Generation& generation = keyring.newest();
  std::vector<std::byte> bytes(kHeadBytes + signed_body.size() +
                               crypto::kTagBytes);
  std::ranges::copy(encode(Prologue{ObjectType::index, generation.number}),
                    bytes.begin());
  const std::span head = std::span(bytes).first(kHeadBytes);
  crypto::fill_random(head.subspan(kPrologueBytes));
  crypto::seal(key_of(generation, head), head, signed_body.view(),
               std::span(bytes).subspan(kHeadBytes));

  const IndexId id{crypto::sha256(bytes)};
  if (storage.create(index_name(id), bytes) == Created::exists) {
    throw IoError(index_name(id) + ": exists already");  // salt is random
  }
  return id;
}

IndexObject read_index(const Storage& storage, const Keyring& keyring,
                       const IndexId& id) {
  const std::string name = index_name(id);
  const auto bytes = get_whole(storage, name, kMaxIndexBytes);
  if (crypto::sha256(bytes) != id.bytes) {
    throw CorruptionError(name + ": its SHA-256 is not its name");
  }
  const Prologue prologue = decode_prologue(bytes, ObjectType::index, name);
  const Generation* generation = keyring.find(prologue.number);
  if (generation == nullptr) {
    throw MissingKeys(name + ": sealed with " + missing_keys(prologue.number));
  }
  if (bytes.size() < kHeadBytes + crypto::kTagBytes) {
    throw CorruptionError(name + ": too short");
  }
  const auto head = std::span(bytes).first(kHeadBytes);
  const auto sealed = std::span(bytes).subspan(kHeadBytes);
  std::vector<std::byte> plain(sealed.size() - crypto::kTagBytes);
  if (!crypto::open(key_of(*generation, head), head, sealed, plain)) {
    throw CorruptionError(name + ": tag does not verify");
  }
  CborReader in(plain, name);
  in.array_of(3);
  const auto body = in.bytes(plain.size());
  const SignerChain chain = read_signer_chain(in);
  const auto signature = in.fixed<crypto::kSignatureBytes>();
  in.end();
  if (const auto fault = find_fault(chain, keyring.root_key(),
                                    {kLabel, keyring.repository(), {body}},
                                    signature, Authority::indexer)) {
    throw CorruptionError(name + ": " + std::string(*fault));
  }
  IndexObject object = decode_index(body, name);
  object.assurance = granted(object.assurance, chain);
  return object;
}

std::vector<IndexId> list_indexes(const Storage& storage) {
  std::vector<IndexId> ids;
  storage.list("index", [&](const ListedObject& object) {
    const auto id =
        IndexId::from_hex(std::string_view(object.name).substr(kFolder.size()));
    if (id) ids.push_back(*id);
  });
  std::ranges::sort(ids);
  return ids;
}

bool are_there(const Storage& storage, std::span<const IndexId> ids) {
  return std::ranges::all_of(ids, [&](const IndexId& id) {
    return storage.size(index_name(id)).has_value();
  });
}

std::uint32_t generation_of(const Storage& storage, const IndexId& id) {
  const std::string name = index_name(id);
  std::array<std::byte, kPrologueBytes> prologue;
  storage.get(name, 0, prologue);
  return decode_prologue(prologue, ObjectType::index, name).number;
}

}  // namespace cairn::repo
