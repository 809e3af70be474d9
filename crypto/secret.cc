#include "crypto/secret.h"

#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <mutex>
#include <new>

#include "crypto/digest.h"
#include "crypto/random.h"
#include "crypto/sodium_door.h"

namespace cairn::crypto {
namespace {

// Places that secrets had, wiped. To lock another one costs ten system calls,
// and a key for each of a hundred records is needed for a moment.
class FreePlaces {
 public:
  // Null: there is none.
  void* take() noexcept {
    const std::lock_guard lock(mutex_);
    return count_ == 0 ? nullptr : places_[--count_];
  }

  // False: there are enough.
  bool keep(void* place) noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == places_.size()) return false;
    places_[count_++] = place;
    return true;
  }

  // For the whole life of the process: secrets may outlive what is static.
  static FreePlaces& all() {
    static auto* const places = new FreePlaces;
    return *places;
  }

 private:
  std::mutex mutex_;  // guards what follows
  std::array<void*, 64> places_{};
  std::size_t count_ = 0;
};

}  // namespace

// Lies between guard pages, locked into memory as far as the system's limit
// (RLIMIT_MEMLOCK) allows, and is wiped at its end.
struct Secret::Locked {
  std::array<std::byte, kSecretBytes> bytes;

  static void* operator new(std::size_t size) {
    make_sodium_ready();
    void* place = FreePlaces::all().take();
    if (place == nullptr) place = sodium_malloc(size);
    if (place == nullptr) throw std::bad_alloc();
    return place;
  }
  static void operator delete(void* place) noexcept {
    sodium_memzero(place, sizeof(Locked));
    if (!FreePlaces::all().keep(place)) sodium_free(place);
  }
};

Secret::Secret() : locked_(std::make_unique<Locked>()) {}
Secret::Secret(Secret&&) noexcept = default;
Secret& Secret::operator=(Secret&&) noexcept = default;
Secret::~Secret() = default;

Secret Secret::random() {
  Secret secret;
  fill_random(secret.locked_->bytes);
  return secret;
}

Secret Secret::from_bytes(std::span<const std::byte> bytes) {
  assert(bytes.size() == kSecretBytes);
  Secret secret;
  std::ranges::copy(bytes, secret.locked_->bytes.begin());
  return secret;
}

Secret Secret::clone() const { return from_bytes(bytes()); }

std::span<const std::byte, kSecretBytes> Secret::bytes() const noexcept {
  assert(locked_ != nullptr);
  return locked_->bytes;
}

Secret derive(const Secret& key, std::string_view label,
              std::span<const std::byte> context) {
  Digest digest = Hmac(key).of(std::as_bytes(std::span(label)), context);
  Secret derived = Secret::from_bytes(digest);
  wipe(digest);
  return derived;
}

void wipe(std::span<std::byte> bytes) noexcept {
  sodium_memzero(bytes.data(), bytes.size());
}

WipedText::~WipedText() { wipe(std::as_writable_bytes(std::span(text))); }

void protect_process() noexcept {
  // Neither fails with these arguments, and backing up without this protection
  // beats not backing up.
  static_cast<void>(prctl(PR_SET_DUMPABLE, 0));
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  static_cast<void>(setrlimit(RLIMIT_CORE, &none));
}

}  // namespace cairn::crypto
