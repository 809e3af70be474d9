// The steps that tests of prune and forget are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <string_view>

#include "repo/forget.h"
#include "repo/index_object.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "tests/support/bytes.h"
#include "tests/support/test_repository.h"

namespace cairn::testing_support {

inline repo::PruneOutcome prune_all(repo::Repository& repository,
                                    repo::PruneOptions options = {}) {
  return repo::prune(repository, options, at_hour(1000), {}, {}, nullptr);
}

inline repo::PruneOptions nothing_wasted() {
  return {.max_unused = 0, .budget = {}};
}

inline repo::PrunePlan plan_of(repo::Repository& repository,
                               repo::PruneOptions options = {}) {
  return repo::plan_prune(repository, options, at_hour(1000), {}, nullptr);
}

inline void forget(repo::Repository& repository, const repo::SessionId& id) {
  (void)repo::forget_snapshot(repository, id, "test", at_hour(500));
}

inline std::size_t count_in(const repo::Storage& storage,
                            std::string_view folder) {
  std::size_t count = 0;
  storage.list(folder, [&](const repo::ListedObject&) { ++count; });
  return count;
}

inline Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

// The same bytes with a few changed, so that a difference is small.
inline Bytes changed(Bytes bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] ^= std::byte{1};
  return bytes;
}

// Packs that exist, and packs that index objects name.
inline std::set<repo::PackId> stored_packs(const repo::Storage& storage) {
  std::set<repo::PackId> packs;
  for (const auto& pack : repo::list_packs(storage)) packs.insert(pack.id);
  return packs;
}
inline std::multiset<repo::PackId> indexed_packs(const repo::Storage& storage,
                                                 const repo::Keyring& keyring) {
  std::multiset<repo::PackId> packs;
  for (const auto& id : repo::list_indexes(storage)) {
    for (const auto& pack : repo::read_index(storage, keyring, id).packs) {
      packs.insert(pack.id);
    }
  }
  return packs;
}

}  // namespace cairn::testing_support
