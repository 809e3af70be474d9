#include "crypto/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <concepts>
#include <cstdint>
#include <functional>
#include <new>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "crypto/sha256_lanes.h"

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

Sha256Words after_blocks(const Sha256Words& state,
                         std::span<const std::byte> blocks) {
  Sha256Lane lane{state, blocks};
  add_blocks(std::span(&lane, 1), blocks.size() / kSha256BlockBytes);
  return lane.state;
}

std::byte* put_big_endian(std::byte* out, std::unsigned_integral auto value) {
  for (std::size_t shift = 8 * sizeof(value); shift > 0; shift -= 8) {
    *out++ = static_cast<std::byte>(value >> (shift - 8));
  }
  return out;
}

// The digest of a text of `text_bytes` of which `state` has all but the `rest`,
// less than a block (FIPS 180-4, 5.1.1).
Digest padded(const Sha256Words& state, std::span<const std::byte> rest,
              std::uint64_t text_bytes) {
  assert(rest.size() < kSha256BlockBytes);
  std::array<std::byte, 2 * kSha256BlockBytes> buffer{};
  *std::ranges::copy(rest, buffer.begin()).out = std::byte{0x80};
  const std::size_t size =
      rest.size() + 1 + sizeof text_bytes <= kSha256BlockBytes
          ? kSha256BlockBytes
          : 2 * kSha256BlockBytes;
  put_big_endian(buffer.data() + size - sizeof text_bytes, 8 * text_bytes);

  const auto words = after_blocks(state, std::span(buffer).first(size)).words;
  Digest digest;
  std::byte* out = digest.data();
  for (const std::uint32_t word : words) out = put_big_endian(out, word);
  return digest;
}

std::vector<std::size_t> longest_first(
    std::span<const std::span<const std::byte>> messages) {
  std::vector<std::size_t> order(messages.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, std::greater{}, [messages](std::size_t number) {
    return messages[number].size();
  });
  return order;
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
  // The same for the lanes, where there are any.
  Sha256Words inner_words;
  Sha256Words outer_words;

  ~State() {
    wipe(std::as_writable_bytes(std::span(inner_words.words)));
    wipe(std::as_writable_bytes(std::span(outer_words.words)));
  }
};

Hmac::Hmac(const Secret& key) : state_(std::make_unique<State>()) {
  static_assert(kSecretBytes <= kSha256BlockBytes);  // longer: would be hashed

  const auto start_with_key = [&key](EVP_MD_CTX* context, Sha256Words& words,
                                     std::byte constant) {
    std::array<std::byte, kSha256BlockBytes> block;
    block.fill(constant);
    for (std::size_t i = 0; i < kSecretBytes; ++i) block[i] ^= key.bytes()[i];
    start(context);
    add_to(context, block);
    if (sha256_lanes() > 0) words = after_blocks(words, block);
    wipe(block);
  };
  start_with_key(state_->inner.get(), state_->inner_words, std::byte{0x36});
  start_with_key(state_->outer.get(), state_->outer_words, std::byte{0x5c});
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

void Hmac::of_each(std::span<const std::byte> prefix,
                   std::span<const std::span<const std::byte>> messages,
                   const Take& take) const {
  assert(state_ != nullptr && prefix.size() < kSha256BlockBytes);
  std::array<Sha256Lane, kMaxSha256Lanes> lanes;
  std::array<std::size_t, kMaxSha256Lanes> message_of;  // that is in the lane
  std::size_t used = 0;

  const auto run_to_end_of_shortest = [&] {
    const auto active = std::span(lanes).first(used);
    const auto shortest = std::ranges::min_element(
        active, {}, [](const Sha256Lane& lane) { return lane.blocks.size(); });
    add_blocks(active, shortest->blocks.size() / kSha256BlockBytes);

    auto& number =
        message_of[static_cast<std::size_t>(shortest - active.begin())];
    const std::span<const std::byte> message = messages[number];
    const std::size_t text = prefix.size() + message.size();
    const Digest inner =
        padded(shortest->state, message.last(text % kSha256BlockBytes),
               kSha256BlockBytes + text);
    take(number,
         padded(state_->outer_words, inner, kSha256BlockBytes + inner.size()));
    --used;
    *shortest = lanes[used];
    number = message_of[used];
  };

  // The longest first, so that the lanes come to their end together. The first
  // block begins with the prefix, the last ones end with the padding; those
  // between are read where they are.
  for (const std::size_t i : longest_first(messages)) {
    const auto& message = messages[i];
    const std::size_t room = kSha256BlockBytes - prefix.size();
    if (sha256_lanes() == 0 || message.size() < room) {
      take(i, of(prefix, message));
      continue;
    }
    std::array<std::byte, kSha256BlockBytes> first;
    std::ranges::copy(message.first(room),
                      std::ranges::copy(prefix, first.begin()).out);
    const auto blocks = message.subspan(room);
    lanes[used] = {
        after_blocks(state_->inner_words, first),
        blocks.first(blocks.size() / kSha256BlockBytes * kSha256BlockBytes)};
    message_of[used] = i;
    if (++used == sha256_lanes()) run_to_end_of_shortest();
  }
  while (used > 0) run_to_end_of_shortest();
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
