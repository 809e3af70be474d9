// Key bytes: kept out of swap and core dumps, wiped at the end, never copied by
// accident.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace cairn::crypto {

inline constexpr std::size_t kSecretBytes = 32;

// 32 bytes that must not leak.
//
// Ownership      owns its bytes; moving leaves an empty secret behind that may
//                only be destroyed or assigned to. clone() is the one way to
//                have the same bytes twice, so that copies are seen in review.
// Threads        const members from many threads.
class Secret {
 public:
  // Fresh random bytes.
  static Secret random();

  // Takes a copy of `bytes`, which must be kSecretBytes long.
  static Secret from_bytes(std::span<const std::byte> bytes);

  Secret(Secret&&) noexcept;
  Secret& operator=(Secret&&) noexcept;
  ~Secret();

  [[nodiscard]] Secret clone() const;
  [[nodiscard]] std::span<const std::byte, kSecretBytes> bytes() const noexcept;

 private:
  Secret();
  struct Locked;
  std::unique_ptr<Locked> locked_;
};

// Derives a key for one purpose: HMAC-SHA-256(key, label || context).
// `label` says what the result is for and ends in no digit; two purposes never
// share a label (FORMAT.md, section 8 lists them all).
[[nodiscard]] Secret derive(const Secret& key, std::string_view label,
                            std::span<const std::byte> context = {});

// Overwrites `bytes` so that the compiler cannot leave it out.
void wipe(std::span<std::byte> bytes) noexcept;

// Text that is wiped at its end. Room for what is to be added is reserved
// first: growing leaves copies behind.
struct WipedText {
  explicit WipedText(std::string t) noexcept : text(std::move(t)) {}
  WipedText(const WipedText&) = delete;
  WipedText& operator=(const WipedText&) = delete;
  ~WipedText();

  std::string text;
};

// Forbids core dumps and ptrace by other users for this process. Call it once,
// before any secret is made.
void protect_process() noexcept;

}  // namespace cairn::crypto
