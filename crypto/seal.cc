#include "crypto/seal.h"

#include <sodium.h>

#include <cassert>

#include "crypto/digest.h"
#include "crypto/sodium_door.h"

namespace cairn::crypto {
namespace {

constexpr std::size_t kNonceBytes = 24;

static_assert(kSecretBytes == crypto_aead_xchacha20poly1305_ietf_KEYBYTES);
static_assert(kTagBytes == crypto_aead_xchacha20poly1305_ietf_ABYTES);
static_assert(kNonceBytes == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
static_assert(kNonceBytes <= kDigestBytes);

}  // namespace

void seal(const Secret& key, std::span<const std::byte> associated_data,
          std::span<const std::byte> plain, std::span<std::byte> sealed) {
  assert(sealed.size() == plain.size() + kTagBytes);
  make_sodium_ready();
  const Digest nonce = sha256(associated_data);  // its first kNonceBytes

  crypto_aead_xchacha20poly1305_ietf_encrypt(
      raw(sealed.data()), nullptr, raw(plain.data()), plain.size(),
      raw(associated_data.data()), associated_data.size(), nullptr,
      raw(nonce.data()), raw(key.bytes().data()));
}

bool open(const Secret& key, std::span<const std::byte> associated_data,
          std::span<const std::byte> sealed, std::span<std::byte> plain) {
  if (sealed.size() < kTagBytes) return false;
  assert(plain.size() == sealed.size() - kTagBytes);
  make_sodium_ready();
  const Digest nonce = sha256(associated_data);

  return crypto_aead_xchacha20poly1305_ietf_decrypt(
             raw(plain.data()), nullptr, nullptr, raw(sealed.data()),
             sealed.size(), raw(associated_data.data()), associated_data.size(),
             raw(nonce.data()), raw(key.bytes().data())) == 0;
}

}  // namespace cairn::crypto
