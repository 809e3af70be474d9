#include "repo/session_keys.h"

#include <algorithm>

#include "repo/error.h"
#include "repo/generation_object.h"

namespace cairn::repo {

SessionKeys::Key SessionKeys::make(const Keyring& keyring, KeyClass key_class) {
  const Generation& generation = keyring.newest();
  auto secret = crypto::Secret::random();
  const auto wrapped = crypto::wrap(
      secret, generation.public_keys[static_cast<std::size_t>(key_class)]);
  return {std::move(secret), {key_class, generation.number, wrapped}};
}

SessionKeys::SessionKeys(const Keyring& keyring)
    : keys_{make(keyring, KeyClass::content), make(keyring, KeyClass::links),
            make(keyring, KeyClass::names)} {
  require_unwrap(keyring);
}

void SessionKeys::require_unwrap(const Keyring& keyring) const {
  for (const Key& key : keys_) {
    const WrappedKey& wrapped = key.wrapped;
    const auto& reader = keyring.newest().secret_of(wrapped.key_class);
    if (!reader) continue;
    const auto secret = crypto::unwrap(wrapped.wrapped, *reader);
    if (secret && std::ranges::equal(secret->bytes(), key.secret.bytes())) {
      continue;
    }
    throw CorruptionError(
        "a session key does not unwrap; the memory of this machine is failing");
  }
}

SessionKeyCache::SessionKeyCache(const Keyring& keyring) : keyring_(keyring) {}

const crypto::Secret* SessionKeyCache::find(const WrappedKey& wrapped) {
  std::lock_guard lock(mutex_);
  if (const auto found = known_.find(wrapped); found != known_.end()) {
    return found->second.get();
  }
  const Generation* generation = keyring_.find(wrapped.generation);
  if (generation == nullptr) {
    throw MissingKeys("a session key: wrapped with " +
                      missing_keys(wrapped.generation));
  }
  const auto& secret_key = generation->secret_of(wrapped.key_class);
  if (!secret_key) return nullptr;
  auto secret = crypto::unwrap(wrapped.wrapped, *secret_key);
  if (!secret) throw CorruptionError("a session key does not unwrap");
  auto& kept = known_[wrapped];
  kept = std::make_unique<crypto::Secret>(std::move(*secret));
  return kept.get();
}

}  // namespace cairn::repo
