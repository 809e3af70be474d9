// Reads packs and sorts the rows of those that are not sound: what of them is
// good, what is hurt, and what leans on something that cannot be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "repo/blob.h"
#include "repo/blob_index.h"
#include "repo/blob_reader.h"
#include "repo/check_packs.h"
#include "repo/ids.h"
#include "repo/progress.h"
#include "repo/repository.h"

namespace cairn::repo {

enum class RowState {
  good,
  hurt,   // its own bytes are not what they were
  leans,  // they are, and a base that they lean on cannot be read
  stuck,  // nor can it be had from elsewhere
};

struct ExaminedRow {
  PackId pack;
  BlobRow row;
  std::uint64_t offset = 0;
  WrappedKey key;
  RowState state = RowState::hurt;
  bool is_moved = false;
};

struct ExaminedPack {
  std::uint64_t size = 0;
  std::string trouble;  // empty: its bytes are what its name says
  std::vector<ExaminedRow> rows;
};

struct PackExamination {
  std::uint64_t packs_read = 0;
  std::set<PackId> existing;
  std::vector<SoundPack> unnamed;            // sound ones, by no index object
  std::map<PackId, ExaminedPack> not_sound;  // of which not every row is good
};

struct ExaminationOptions {
  // These, and those that no index object names; none: all that are there.
  std::vector<PackId> packs;
  unsigned threads = 2;
};

// `all` knows every pack, also those that no index object names, and `blobs`
// reads by it.
//
// Throws std::invalid_argument when one of the packs is not there;
// UnsupportedFormat when a newer program wrote a pack or an index object, or
// LockedError, when that is since the keys were renewed; Cancelled.
[[nodiscard]] PackExamination examine_packs(Repository& repository,
                                            const BlobIndex& all,
                                            BlobReader& blobs,
                                            const ExaminationOptions& options,
                                            std::stop_token stop,
                                            Progress* progress);

// True if `stored` are the sealed bytes of that row, whether or not they can be
// decoded.
[[nodiscard]] bool opens(Repository& repository, const ExaminedRow& row,
                         std::span<const std::byte> stored);

}  // namespace cairn::repo
