// Makes again what can be made again.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

// For people, where a pack is damaged.
inline constexpr std::string_view kDamagedPackAdvice =
    "a damaged pack: put a good copy of the file back if there is one. Else "
    "`cairn repair packs` takes out what is good in it, and with --from lost "
    "pieces out of a sister repository; the next backup stores anew what the "
    "sources still have, and `cairn check` names the snapshots that miss the "
    "rest";

struct IndexRepair {
  std::uint64_t packs = 0;  // that the new index objects name
  std::uint64_t rows = 0;
  std::size_t indexes_written = 0;
  std::size_t indexes_removed = 0;
  std::uint64_t packs_unverified = 0;  // not verified for everyone
  // Packs whose directory cannot be read, each with what is wrong. If an old
  // index object knew what lies in one, the new ones know it too.
  std::vector<std::string> damage;
  std::uint64_t packs_from_old_index = 0;
  // Of packs that can be read: differences whose bases are missing. They are
  // named like the others, so that the index says what the packs say.
  std::uint64_t rows_without_base = 0;
};

// Writes index objects from the directories of all packs, removes the old ones
// once the new are durable, and forgets the local index, whatever state all of
// them are in. Writes a damaged config copy or reserve anew too. Needs nothing
// but the packs. Any number of others may be at
// work: what they publish meanwhile, they index themselves.
//
// A pack keeps each assurance that an old index object gives it which can be
// read and says of it what its directory says; without one it has none, and
// counts as unverified until `check` at level data has read it.
//
// Throws WrongKey for roles whose word does not count for others.
IndexRepair repair_index(Repository& repository, std::stop_token stop,
                         Progress* progress);

}  // namespace cairn::repo
