#include "crypto/signature.h"

#include <sodium.h>

#include "crypto/sodium_door.h"

namespace cairn::crypto {
namespace {

static_assert(kSecretBytes == crypto_sign_SEEDBYTES);
static_assert(kVerifyKeyBytes == crypto_sign_PUBLICKEYBYTES);
static_assert(kSignatureBytes == crypto_sign_BYTES);

// libsodium's form of a signing key: the seed and the verify key.
struct KeyPair {
  explicit KeyPair(const Secret& seed) {
    make_sodium_ready();
    crypto_sign_seed_keypair(raw(verify_key.data()),
                             raw(seed_and_verify_key.data()),
                             raw(seed.bytes().data()));
  }
  ~KeyPair() { wipe(seed_and_verify_key); }
  KeyPair(const KeyPair&) = delete;
  KeyPair& operator=(const KeyPair&) = delete;

  VerifyKey verify_key;
  std::array<std::byte, crypto_sign_SECRETKEYBYTES> seed_and_verify_key;
};

}  // namespace

VerifyKey verify_key_of(const Secret& seed) { return KeyPair(seed).verify_key; }

Signature sign(const Secret& seed, std::span<const std::byte> message) {
  const KeyPair keys(seed);
  Signature signature;
  crypto_sign_detached(raw(signature.data()), nullptr, raw(message.data()),
                       message.size(), raw(keys.seed_and_verify_key.data()));
  return signature;
}

bool verify(const VerifyKey& key, std::span<const std::byte> message,
            const Signature& signature) noexcept {
  make_sodium_ready();
  return crypto_sign_verify_detached(raw(signature.data()), raw(message.data()),
                                     message.size(), raw(key.data())) == 0;
}

}  // namespace cairn::crypto
