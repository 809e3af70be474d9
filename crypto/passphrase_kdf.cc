#include "crypto/passphrase_kdf.h"

#include <sodium.h>

#include <algorithm>
#include <cassert>
#include <new>

#include "crypto/sodium_door.h"

namespace cairn::crypto {

static_assert(kSaltBytes == crypto_pwhash_argon2id_SALTBYTES);
static_assert(PassphraseCost::kMinPasses >=
              crypto_pwhash_argon2id_OPSLIMIT_MIN);
static_assert(PassphraseCost::kMinMemoryBytes >=
              crypto_pwhash_argon2id_MEMLIMIT_MIN);

bool PassphraseCost::is_within_bounds() const noexcept {
  return passes >= kMinPasses && passes <= kMaxPasses &&
         memory_bytes >= kMinMemoryBytes && memory_bytes <= kMaxMemoryBytes;
}

StretchedPassphrase stretch(std::string_view passphrase, const Salt& salt,
                            const PassphraseCost& cost) {
  assert(cost.is_within_bounds());
  make_sodium_ready();

  std::array<std::byte, kSecretBytes + kDigestBytes> output;
  if (crypto_pwhash(raw(output.data()), output.size(), passphrase.data(),
                    passphrase.size(), raw(salt.data()), cost.passes,
                    cost.memory_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0) {
    throw std::bad_alloc();  // with arguments in bounds nothing else fails
  }

  StretchedPassphrase stretched{
      .key = Secret::from_bytes(std::span(output).first<kSecretBytes>()),
      .commitment = {}};
  std::ranges::copy(std::span(output).last<kDigestBytes>(),
                    stretched.commitment.begin());
  wipe(output);
  return stretched;
}

}  // namespace cairn::crypto
