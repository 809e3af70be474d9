// Reads packs and sorts the rows of those that are not sound: what of them is
// good, what is hurt, and what leans on something that cannot be read. Where a
// disk has failed these may be all, so rows lie in scratch files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
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
#include "repo/scratch_array.h"

namespace cairn::repo {

enum class RowState {
  good,
  hurt,   // its own bytes are not what they were
  leans,  // they are, and a base that they lean on cannot be read
  stuck,  // nor can it be had from elsewhere
};

struct ExaminedRow {
  BlobRow row;
  std::uint64_t offset = 0;
  std::uint32_t pack = 0;  // place in PackExamination::not_sound
  std::uint32_t key = 0;   // place in PackExamination::keys
  RowState state = RowState::hurt;
  bool is_moved = false;
  std::array<std::byte, 8> unused{};  // to a power of two, for the array
};

struct ExaminedPack {
  PackId id;
  std::uint64_t size = 0;
  std::string trouble = {};     // empty: its bytes are what its name says
  std::uint64_t first_row = 0;  // in PackExamination::rows
  std::uint64_t row_count = 0;
};

struct PackExamination {
  // `folder` is for scratch files.
  explicit PackExamination(const std::filesystem::path& folder)
      : rows(folder) {}

  // Nothing: it is sound, or was not looked at.
  [[nodiscard]] const ExaminedPack* find(const PackId& id) const;

  std::uint64_t packs_read = 0;
  std::set<PackId> existing;
  std::vector<SoundPack> unnamed;       // sound ones, by no index object
  std::vector<ExaminedPack> not_sound;  // not every row is good; ids ascend
  std::vector<WrappedKey> keys;
  ScratchArray<ExaminedRow> rows;
};

// The rows of a blob among those that were examined.
//
// Threads        one thread at a time.
class RowsById {
 public:
  // Borrows `rows`, which do not grow any more. `folder` is for a scratch file.
  RowsById(ScratchArray<ExaminedRow>& rows,
           const std::filesystem::path& folder);

  // True if `holds` answers so of one of them: it is asked of no more then.
  template <typename Holds>
  bool any_of(const BlobId& id, const Holds& holds) const {
    for (auto slot = first_slot(id); slots_[slot] != 0;
         slot = (slot + 1) & (slots_.size() - 1)) {
      ExaminedRow& row = rows_[slots_[slot] - 1];
      if (row.row.id == id && holds(row)) return true;
    }
    return false;
  }

 private:
  [[nodiscard]] std::uint64_t first_slot(const BlobId& id) const {
    return IdHash()(id) & (slots_.size() - 1);
  }

  ScratchArray<ExaminedRow>& rows_;
  // Open addressing: the place of a row plus one; 0: free. Half of it is.
  ScratchArray<std::uint64_t> slots_;
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
[[nodiscard]] bool opens(Repository& repository, const BlobRow& row,
                         const WrappedKey& key,
                         std::span<const std::byte> stored);

}  // namespace cairn::repo
