// The door to libsodium, for the files of this folder that call into it.
#pragma once

#include <cstddef>

namespace cairn::crypto {

// Prepares libsodium, once, whichever thread comes first. Whoever calls into
// libsodium asks for this before. Throws std::runtime_error when the system has
// no randomness to give.
void make_sodium_ready();

// Bytes as libsodium spells them.
inline const unsigned char* raw(const std::byte* bytes) noexcept {
  return reinterpret_cast<const unsigned char*>(bytes);
}
inline unsigned char* raw(std::byte* bytes) noexcept {
  return reinterpret_cast<unsigned char*>(bytes);
}

}  // namespace cairn::crypto
