#include "ingest/second_look.h"

#include <utility>

namespace cairn::ingest {

SecondLook::SecondLook(repo::Repository& repository)
    : repository_(repository) {}

std::uint64_t SecondLook::version() {
  const std::lock_guard lock(mutex_);
  return version_;
}

// Holds the mutex while it refreshes, so that other threads that miss something
// wait and then look into the new index.
bool SecondLook::has_changed_since(std::uint64_t searched) {
  const std::lock_guard lock(mutex_);
  if (version_ != searched) return true;
  // Before the refresh: what comes in between is found by the next look.
  auto objects = repo::list_indexes(repository_.storage());
  if (objects == objects_) return false;
  repository_.index().refresh(repository_.storage(), repository_.keyring());
  objects_ = std::move(objects);
  ++version_;
  return true;
}

}  // namespace cairn::ingest
