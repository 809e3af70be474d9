#include "crypto/random.h"

#include <sodium.h>

#include "crypto/sodium_door.h"

namespace cairn::crypto {

void fill_random(std::span<std::byte> out) {
  make_sodium_ready();
  randombytes_buf(out.data(), out.size());
}

}  // namespace cairn::crypto
