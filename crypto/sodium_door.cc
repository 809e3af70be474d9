#include "crypto/sodium_door.h"

#include <sodium.h>

#include <stdexcept>

namespace cairn::crypto {

void make_sodium_ready() {
  // A static local is initialised once even when threads race for it, and is
  // tried again after a throw.
  static const bool ready = [] {
    if (sodium_init() < 0) {
      throw std::runtime_error("libsodium: cannot initialise");
    }
    return true;
  }();
  static_cast<void>(ready);
}

}  // namespace cairn::crypto
