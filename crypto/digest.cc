#include "crypto/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cassert>
#include <new>
#include <stdexcept>
#include <utility>

namespace cairn::crypto {
namespace {

// The one door through which OpenSSL's failures enter ours. With valid
// arguments only lack of memory makes these calls fail.
void must(int answer) {
  if (answer != 1) throw std::runtime_error("openssl: SHA-256 failed");
}

// Looked up once: a lookup by name takes a lock and longer than hashing a small
// blob. Never freed, so that threads may hash while the process ends.
const EVP_MD* sha256_method() {
  static const EVP_MD* const method = [] {
    const EVP_MD* found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    if (found == nullptr) throw std::runtime_error("openssl: no SHA-256");
    return found;
  }();
  return method;
}

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const noexcept {
    EVP_MD_CTX_free(context);  // wipes what it held
  }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

Context new_context() {
  Context context(EVP_MD_CTX_new());
  if (context == nullptr) throw std::bad_alloc();
  return context;
}

// One for each thread, because making one costs as much as a small hash.
EVP_MD_CTX* scratch_context() {
  thread_local const Context context = new_context();
  return context.get();
}

void start(EVP_MD_CTX* context) {
  must(EVP_DigestInit_ex2(context, sha256_method(), nullptr));
}

void add_to(EVP_MD_CTX* context, std::span<const std::byte> bytes) {
  must(EVP_DigestUpdate(context, bytes.data(), bytes.size()));
}

Digest finish(EVP_MD_CTX* context) {
  Digest digest;
  must(EVP_DigestFinal_ex(
      context, reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  return digest;
}

}  // namespace

Digest sha256(std::span<const std::byte> bytes) {
  EVP_MD_CTX* const context = scratch_context();
  start(context);
  add_to(context, bytes);
  return finish(context);
}

struct Sha256::State {
  Context context = new_context();
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  start(state_->context.get());
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::add(std::span<const std::byte> bytes) {
  assert(state_ != nullptr);
  add_to(state_->context.get(), bytes);
}

Digest Sha256::finish() && {
  assert(state_ != nullptr);
  const auto state = std::move(state_);
  return crypto::finish(state->context.get());
}

// SHA-256 after its first block, which is the key mixed with a constant
// (RFC 2104): what follows continues from a copy.
struct Hmac::State {
  Context inner = new_context();
  Context outer = new_context();
};

Hmac::Hmac(const Secret& key) : state_(std::make_unique<State>()) {
  constexpr std::size_t kBlockBytes = 64;
  static_assert(kSecretBytes <= kBlockBytes);  // a longer key would be hashed

  const auto start_with_key = [&key](EVP_MD_CTX* context, std::byte constant) {
    std::array<std::byte, kBlockBytes> block;
    block.fill(constant);
    for (std::size_t i = 0; i < kSecretBytes; ++i) block[i] ^= key.bytes()[i];
    start(context);
    add_to(context, block);
    wipe(block);
  };
  start_with_key(state_->inner.get(), std::byte{0x36});
  start_with_key(state_->outer.get(), std::byte{0x5c});
}
Hmac::~Hmac() = default;
Hmac::Hmac(Hmac&&) noexcept = default;
Hmac& Hmac::operator=(Hmac&&) noexcept = default;

Digest Hmac::of(std::span<const std::byte> prefix,
                std::span<const std::byte> bytes) const {
  assert(state_ != nullptr);
  EVP_MD_CTX* const context = scratch_context();

  must(EVP_MD_CTX_copy_ex(context, state_->inner.get()));
  add_to(context, prefix);
  add_to(context, bytes);
  const Digest inner = finish(context);

  must(EVP_MD_CTX_copy_ex(context, state_->outer.get()));
  add_to(context, inner);
  return finish(context);
}

bool equal_in_constant_time(std::span<const std::byte> a,
                            std::span<const std::byte> b) noexcept {
  return a.size() == b.size() &&
         CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

namespace {

// The value of a digit, or 16 when it is none.
unsigned hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'a' && digit <= 'f') {
    return static_cast<unsigned>(digit - 'a') + 10;
  }
  return 16;
}

}  // namespace

bool from_hex(std::string_view text, std::span<std::byte> out) {
  if (text.size() != 2 * out.size()) return false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const unsigned high = hex_value(text[2 * i]);
    const unsigned low = hex_value(text[2 * i + 1]);
    if (high > 15 || low > 15) return false;
    out[i] = static_cast<std::byte>(16 * high + low);
  }
  return true;
}

}  // namespace cairn::crypto
