#include "crypto/recognition_mac.h"

#include <openssl/evp.h>

#include <cassert>
#include <limits>
#include <new>
#include <stdexcept>

namespace cairn::crypto {
namespace {

constexpr std::size_t kNonceBytes = 12;

// With valid arguments only lack of memory makes these calls fail.
void must(int answer) {
  if (answer != 1) throw std::runtime_error("openssl: Poly1305 failed");
}

const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

}  // namespace

struct Recogniser::State {
  struct Free {
    void operator()(EVP_CIPHER_CTX* one) const noexcept {
      EVP_CIPHER_CTX_free(one);  // wipes what it held
    }
  };
  std::unique_ptr<EVP_CIPHER_CTX, Free> context{EVP_CIPHER_CTX_new()};
};

Recogniser::Recogniser(const Secret& key) : state_(std::make_unique<State>()) {
  if (!state_->context) throw std::bad_alloc();
  must(EVP_EncryptInit_ex(state_->context.get(), EVP_chacha20_poly1305(),
                          nullptr, raw(key.bytes().data()), nullptr));
}

Recogniser::~Recogniser() = default;
Recogniser::Recogniser(Recogniser&&) noexcept = default;
Recogniser& Recogniser::operator=(Recogniser&&) noexcept = default;

RecognitionMac Recogniser::mac_of(std::span<const std::byte> name,
                                  std::span<const std::byte> bytes) {
  assert(name.size() >= kNonceBytes);
  assert(bytes.size() <=
         static_cast<std::size_t>(std::numeric_limits<int>::max()));
  EVP_CIPHER_CTX* const context = state_->context.get();
  int size = 0;
  must(
      EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, raw(name.data())));
  // What of the name is not in the nonce counts as the last of the bytes. In
  // front it would move all others off the grid of 16, and halve the speed.
  for (const auto part : {bytes, name.subspan(kNonceBytes)}) {
    must(EVP_EncryptUpdate(context, nullptr, &size, raw(part.data()),
                           static_cast<int>(part.size())));
  }
  must(EVP_EncryptFinal_ex(context, nullptr, &size));
  RecognitionMac mac;
  must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG,
                           static_cast<int>(mac.size()), mac.data()));
  return mac;
}

}  // namespace cairn::crypto
