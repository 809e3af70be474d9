#include "repo/sealed_record.h"

#include <string>
#include <utility>

#include "crypto/random.h"
#include "crypto/seal.h"
#include "repo/cbor.h"
#include "repo/error.h"
#include "repo/generation_object.h"

namespace cairn::repo {
namespace {

constexpr std::size_t kSaltBytes = 32;

}  // namespace

std::vector<std::byte> seal_record(const SealedRecordKind& kind,
                                   const Keyring& keyring, const Signer& signer,
                                   std::span<const std::byte> id,
                                   std::span<const std::byte> plain) {
  const Generation& generation = keyring.newest();
  const auto salt = crypto::random_array<kSaltBytes>();
  std::vector<std::byte> sealed(plain.size() + crypto::kTagBytes);
  crypto::seal(crypto::derive(generation.index_key, kind.label, salt),
               Statement{kind.label, keyring.repository(), {id}}.bytes(), plain,
               sealed);
  CborWriter fields;
  fields.uint(generation.number).bytes(salt).bytes(sealed);
  CborWriter statement;
  statement.array(3).raw(fields.view());
  CborWriter body;
  body.array(5).raw(fields.view());
  write(body, signer.chain());
  body.bytes(
      signer.sign({kind.label, keyring.repository(), {id, statement.view()}}));
  auto object = enclose(kind.type, body.view());
  if (object.size() > kind.max_bytes) {
    throw Error(std::string(kind.label) + ": it would be too large");
  }
  return object;
}

OpenedRecord open_signed_record(const SealedRecordKind& kind,
                                const Keyring& keyring,
                                std::span<const std::byte> id,
                                std::span<const std::byte> object,
                                std::string_view name) {
  const auto body = disclose(object, kind.type, name);
  CborReader in(body, name);
  in.array_of(5);
  const std::size_t begin = body.size() - in.left();
  const auto number = static_cast<std::uint32_t>(in.uint(~std::uint32_t{0}));
  const auto salt = in.fixed<kSaltBytes>();
  const auto sealed = in.bytes(body.size());
  const std::size_t end = body.size() - in.left();
  SignerChain signer = read_signer_chain(in);
  const auto signature = in.fixed<crypto::kSignatureBytes>();
  in.end();

  CborWriter statement;
  statement.array(3).raw(body.subspan(begin, end - begin));
  const auto fault =
      find_fault(signer, keyring.root_key(),
                 {kind.label, keyring.repository(), {id, statement.view()}},
                 signature, kind.authority);
  if (fault) {
    throw CorruptionError(std::string(name) + ": " + std::string(*fault));
  }
  const Generation* generation = keyring.find(number);
  if (generation == nullptr) {
    throw MissingKeys(std::string(name) + ": sealed with " +
                      missing_keys(number));
  }
  if (sealed.size() < crypto::kTagBytes) in.fail("nothing sealed");
  std::vector<std::byte> plain(sealed.size() - crypto::kTagBytes);
  if (!crypto::open(crypto::derive(generation->index_key, kind.label, salt),
                    Statement{kind.label, keyring.repository(), {id}}.bytes(),
                    sealed, plain)) {
    throw CorruptionError(std::string(name) + ": tag does not verify");
  }
  return {std::move(plain), std::move(signer)};
}

std::vector<std::byte> open_record(const SealedRecordKind& kind,
                                   const Keyring& keyring,
                                   std::span<const std::byte> id,
                                   std::span<const std::byte> object,
                                   std::string_view name) {
  return open_signed_record(kind, keyring, id, object, name).plain;
}

}  // namespace cairn::repo
