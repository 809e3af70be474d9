// The repository's cutter key as the chunker takes it.
#pragma once

#include <algorithm>

#include "chunker/chunker.h"
#include "repo/keyring.h"

namespace cairn::ingest {

[[nodiscard]] inline chunker::CutterKey cutter_key(
    const repo::Keyring& keyring) {
  chunker::CutterKey key;
  std::ranges::copy(keyring.cutter_key().bytes(), key.begin());
  return key;
}

}  // namespace cairn::ingest
