#include "crypto/wrap.h"

#include <sodium.h>

#include <stdexcept>

#include "crypto/sodium_door.h"

namespace cairn::crypto {

static_assert(kSecretBytes == crypto_box_SECRETKEYBYTES);
static_assert(kPublicKeyBytes == crypto_box_PUBLICKEYBYTES);
static_assert(kWrappedBytes == kSecretBytes + crypto_box_SEALBYTES);

PublicKey public_key_of(const Secret& secret_key) {
  make_sodium_ready();
  PublicKey public_key;
  crypto_scalarmult_base(raw(public_key.data()),
                         raw(secret_key.bytes().data()));
  return public_key;
}

Wrapped wrap(const Secret& secret, const PublicKey& reader) {
  make_sodium_ready();
  Wrapped wrapped;
  if (crypto_box_seal(raw(wrapped.data()), raw(secret.bytes().data()),
                      kSecretBytes, raw(reader.data())) != 0) {
    throw std::invalid_argument("public key: no secret can be shared with it");
  }
  return wrapped;
}

std::optional<Secret> unwrap(const Wrapped& wrapped,
                             const Secret& reader_secret_key) {
  const PublicKey reader = public_key_of(reader_secret_key);
  std::array<std::byte, kSecretBytes> plain;
  if (crypto_box_seal_open(raw(plain.data()), raw(wrapped.data()),
                           wrapped.size(), raw(reader.data()),
                           raw(reader_secret_key.bytes().data())) != 0) {
    return std::nullopt;
  }
  std::optional<Secret> secret = Secret::from_bytes(plain);
  wipe(plain);
  return secret;
}

}  // namespace cairn::crypto
