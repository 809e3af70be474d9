// Recognises bytes that were seen before, seven times as fast as naming them:
// ChaCha20-Poly1305 over associated data alone (RFC 8439), that is Poly1305
// under a key of its own for every nonce.
//
// It never names content and never leaves this machine: ids are HMACs. What it
// answers is whether some bytes are the ones that had a certain id. Whoever
// does not have the key can make two different bytes agree only by chance, with
// 2^-91 for a chunk of 64 KiB.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "crypto/secret.h"

namespace cairn::crypto {

inline constexpr std::size_t kRecognitionMacBytes = 16;
using RecognitionMac = std::array<std::byte, kRecognitionMacBytes>;

// Threads        one thread at a time.
class Recogniser {
 public:
  explicit Recogniser(const Secret& key);
  ~Recogniser();
  Recogniser(Recogniser&&) noexcept;
  Recogniser& operator=(Recogniser&&) noexcept;

  // `name` is the id of `bytes`, or what it is supposed to be. The MAC binds
  // all of it; the nonce comes from it, so that different bytes never share
  // one.
  //
  // Requires: at least 12 bytes of `name`.
  [[nodiscard]] RecognitionMac mac_of(std::span<const std::byte> name,
                                      std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::crypto
