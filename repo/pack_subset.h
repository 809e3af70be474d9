// A share of the packs, for checks that read only so much at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "repo/pack_reader.h"

namespace cairn::repo {

// A Part depends on the names of the packs alone, so that it is the same
// whenever it is asked for, and all of them in turn are everything. A Share and
// an amount of Bytes are packs beside each other, from one on that the caller
// chooses: chosen by chance, every pack comes to be read, and none surely.
struct PackSubset {
  struct All {};
  // Of the bytes of all packs, at least so much.
  struct Share {
    double percent;
  };
  // The packs fall into `count` parts by their names; this is one, from 1 on.
  // A pack stays in its part whatever others come and go.
  struct Part {
    std::uint64_t number;
    std::uint64_t count;
  };
  // So many bytes at least, if there are.
  struct Bytes {
    std::uint64_t bytes;
  };

  // Those alone, as far as they are there.
  struct Named {
    std::set<PackId> packs;
  };

  std::variant<All, Share, Part, Bytes, Named> which = All{};
};

// "5%", "0.5%", "3/30", "2GiB" (also KiB, MiB, TiB, KB, MB, GB, TB, B). Throws
// std::invalid_argument with what is wrong.
[[nodiscard]] PackSubset parse_pack_subset(std::string_view text);

// Those of `packs` that belong to it, in their order. At least one if there are
// any, but for a Part and for those that were named. A Share and Bytes begin at
// the one with that number, from 0 on, counting round and round, and go on from
// the last to the first.
[[nodiscard]] std::vector<StoredPack> select(std::vector<StoredPack> packs,
                                             const PackSubset& subset,
                                             std::uint64_t beginning);

}  // namespace cairn::repo
