// SHA-256, which names whole objects, and HMAC-SHA-256, which names content.
// Both go through OpenSSL, which uses the SHA instructions where there are any;
// only many messages at once have a way of their own.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.h"

namespace cairn::crypto {

inline constexpr std::size_t kDigestBytes = 32;
using Digest = std::array<std::byte, kDigestBytes>;

[[nodiscard]] Digest sha256(std::span<const std::byte> bytes);

// SHA-256 of bytes that come in pieces: add() as often as wanted, finish()
// once. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void add(std::span<const std::byte> bytes);
  [[nodiscard]] Digest finish() &&;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// HMAC-SHA-256 under one key, ready to be computed many times: the two key
// blocks are hashed once, here.
//
// Threads        const members from many threads.
class Hmac {
 public:
  explicit Hmac(const Secret& key);
  ~Hmac();
  Hmac(Hmac&&) noexcept;
  Hmac& operator=(Hmac&&) noexcept;

  // Of `prefix` followed by `bytes`; either may be empty.
  [[nodiscard]] Digest of(std::span<const std::byte> prefix,
                          std::span<const std::byte> bytes) const;

  // Of `prefix` followed by each of the messages: the same as one by one, and
  // where there are SHA instructions much faster. Each is given to `take` with
  // its message's number as soon as it is known, which is in any order.
  // Requires: prefix.size() < 64.
  using Take = std::function<void(std::size_t number, const Digest& digest)>;
  void of_each(std::span<const std::byte> prefix,
               std::span<const std::span<const std::byte>> messages,
               const Take& take) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Compares in time that does not depend on where the two differ.
[[nodiscard]] bool equal_in_constant_time(
    std::span<const std::byte> a, std::span<const std::byte> b) noexcept;

// Lower-case hexadecimal, and back. from_hex answers false, and leaves `out` in
// an unspecified state, unless `text` is exactly 2 * out.size() digits 0-9a-f.
[[nodiscard]] std::string to_hex(std::span<const std::byte> bytes);
[[nodiscard]] bool from_hex(std::string_view text, std::span<std::byte> out);

}  // namespace cairn::crypto
