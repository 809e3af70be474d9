// The keys of one session: made when it begins, wrapped for those who may read,
// and gone when it ends (FORMAT.md, 8.1).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "crypto/secret.h"
#include "repo/blob.h"
#include "repo/keyring.h"

namespace cairn::repo {

// Threads        const members and next_counter() from many threads.
class SessionKeys {
 public:
  // Fresh keys under the newest generation.
  explicit SessionKeys(const Keyring& keyring);

  [[nodiscard]] const crypto::Secret& key(KeyClass key_class) const {
    return keys_[static_cast<std::size_t>(key_class)].secret;
  }
  [[nodiscard]] const WrappedKey& wrapped(KeyClass key_class) const {
    return keys_[static_cast<std::size_t>(key_class)].wrapped;
  }

  // Throws CorruptionError when, as far as `keyring` can tell, those who may
  // read could not: when memory fails, that of a key costs all that it sealed.
  void require_unwrap(const Keyring& keyring) const;

  // No two blobs of a session carry the same number.
  [[nodiscard]] std::uint64_t next_counter() noexcept { return counter_++; }

 private:
  struct Key {
    crypto::Secret secret;
    WrappedKey wrapped;
  };
  static Key make(const Keyring& keyring, KeyClass key_class);

  std::array<Key, Generation::kClasses> keys_;
  std::atomic<std::uint64_t> counter_ = 0;
};

// Session keys of packs already written, unwrapped once and kept: an X25519
// operation per blob would cost more than the blob.
//
// Threads        all members from many threads.
class SessionKeyCache {
 public:
  // Borrows `keyring`.
  explicit SessionKeyCache(const Keyring& keyring);

  // Null: this role may not read that class. Throws CorruptionError when the
  // key does not unwrap, UnsupportedFormat for a generation it does not hold.
  // The pointer stays valid as long as the cache.
  [[nodiscard]] const crypto::Secret* find(const WrappedKey& wrapped);

 private:
  const Keyring& keyring_;
  std::mutex mutex_;  // guards known_
  std::map<WrappedKey, std::unique_ptr<crypto::Secret>> known_;
};

}  // namespace cairn::repo
