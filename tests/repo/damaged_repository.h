// Repositories that come to harm, and what is looked for afterwards.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "repo/check.h"
#include "repo/pack_format.h"
#include "repo/pack_reader.h"
#include "repo/prune.h"
#include "tests/support/test_repository.h"

namespace cairn::testing_support {

inline Bytes noise(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  return random_bytes(random, size);
}

inline bool holds_content(const repo::Directory& directory) {
  return directory.rows.front().kind == repo::BlobKind::content;
}

// The packs of contents.
inline std::vector<repo::StoredPack> content_packs(TestRepository& test) {
  auto packs = repo::list_packs(test.disk());
  std::erase_if(packs, [&](const repo::StoredPack& pack) {
    return !holds_content(
        repo::read_pack_directory(test.disk(), test.keyring(), pack.id)
            .pack.directory);
  });
  return packs;
}

// A bit of the first blob in it.
inline void hurt_first_blob(TestRepository& test,
                            const repo::StoredPack& pack) {
  test.disk().flip_bit(repo::pack_name(pack.id), repo::kPackHeadBytes + 7, 2);
}

inline void hurt_directory(TestRepository& test, const repo::StoredPack& pack) {
  test.disk().flip_bit(repo::pack_name(pack.id),
                       pack.size - repo::kTrailerBytes - 9, 0);
}

inline std::vector<repo::Finding> damage_in(repo::Repository& repository) {
  auto report = repo::check(
      repository, {.level = repo::CheckLevel::data, .now = at_hour(9)}, {},
      nullptr);
  std::erase_if(report.findings, [](const repo::Finding& finding) {
    return finding.severity != repo::Severity::damage;
  });
  return std::move(report.findings);
}

inline void expect_sound(TestRepository& test) {
  auto repository = test.open();
  for (const auto& finding : damage_in(repository)) {
    ADD_FAILURE() << finding.code << " " << finding.object << ": "
                  << finding.message;
  }
}

inline void prune_whole(repo::Repository& repository) {
  repo::PruneOptions options;
  options.max_unused = 0;
  (void)repo::prune(repository, options, at_hour(10), {}, {}, nullptr);
}

inline std::set<repo::PackId> ids_of(
    const std::vector<repo::StoredPack>& packs) {
  std::set<repo::PackId> ids;
  for (const auto& pack : packs) ids.insert(pack.id);
  return ids;
}

// States of one file, each a difference to the one before.
struct Chained {
  explicit Chained(TestRepository& made) : test(made) {
    auto repository = test.open();
    ChunksByPath bases;
    FilesOptions chained;
    chained.bases = &bases;
    Files files{{"db", noise(1, 12'000)}};
    for (int state = 0; state < 4; ++state) {
      const auto before = ids_of(content_packs(test));
      states[write_snapshot(repository, files, at_hour(state), chained)] =
          files;
      for (const auto& pack : content_packs(test)) {
        if (!before.contains(pack.id)) packs.push_back(pack);
      }
      for (std::size_t i = 0; i < 12'000; i += 4096) {
        files["db"][i + static_cast<std::size_t>(state)] ^= std::byte{1};
      }
    }
  }

  TestRepository& test;
  std::vector<repo::StoredPack> packs;  // one for each state
  std::map<repo::SessionId, Files> states;
};

}  // namespace cairn::testing_support
