// Every pack with its directory, as the packs themselves have them. Whoever
// decides over deletion or looks for damage trusts this and nothing derived:
// the index tells where a blob may lie, the survey whether it does.
//
// Rows get numbers, from 0 on, pack after pack:
//
//   pack 0: rows 0 .. 99 | pack 1: rows 100 .. 180 | ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "crypto/digest.h"
#include "repo/blob.h"
#include "repo/blob_index.h"
#include "repo/mark_set.h"
#include "repo/scratch_array.h"

namespace cairn::repo {

using RowNumber = std::uint64_t;

struct SurveyedPack {
  PackId id;
  std::uint64_t size = 0;      // bytes of the pack
  crypto::Digest directory{};  // SHA-256 of its encoding
  RowNumber first_row = 0;
  std::uint32_t row_count = 0;
  std::uint64_t blob_bytes = 0;  // stored sizes of all rows
  bool holds_content = false;    // or links and names
  bool has_differences = false;
  // Everyone may rely on its blobs being what their ids name. Of others nobody
  // who does not read them can tell.
  bool is_verified = false;
  bool is_doomed = false;  // prune removes it
};

// Threads        const members from many threads.
class PackSurvey {
 public:
  // `folder` is for scratch files.
  explicit PackSurvey(const std::filesystem::path& folder);

  // Requires: the ids ascend from call to call.
  void add(const IndexedPack& pack);

  // The one at that place.
  void set_verified(std::size_t pack) { packs_[pack].is_verified = true; }
  void set_doomed(std::size_t pack) { packs_[pack].is_doomed = true; }

  [[nodiscard]] std::span<const SurveyedPack> packs() const noexcept {
    return packs_;
  }
  [[nodiscard]] std::uint64_t row_count() const noexcept { return next_row_; }

  // Place of that pack in packs().
  [[nodiscard]] std::optional<std::size_t> find(const PackId& id) const;

  // The number of the row; nothing when that pack has no such row there.
  [[nodiscard]] std::optional<RowNumber> find_row(std::size_t pack,
                                                  std::uint64_t offset,
                                                  const BlobRow& row) const;

  [[nodiscard]] std::size_t pack_of(RowNumber row) const;
  [[nodiscard]] std::uint64_t stored_size(RowNumber row) const;

 private:
  // Rows tell themselves apart by where they begin. The fingerprint guards
  // against a local index that is out of date, not against an attacker: what
  // one can sign is compared whole, by digest.
  struct Row {
    std::uint32_t offset;
    std::uint32_t fingerprint;
  };
  static std::uint32_t fingerprint(const BlobRow& row);

  std::vector<SurveyedPack> packs_;
  RowNumber next_row_ = 0;
  ScratchArray<Row> rows_;
};

// A copy that the index knows and its pack confirms.
struct ConfirmedCopy {
  BlobCopy copy;
  std::size_t pack = 0;  // place in PackSurvey::packs()
  RowNumber row = 0;
};

// The copies of a blob that can be relied on.
//
// A copy is *sound* if it is no difference, or if a copy of its base with
// strictly smaller depth is sound. So none of them leans on itself, however the
// directories were forged.
//
// Threads        one thread at a time.
class ConfirmedCopies {
 public:
  enum class Of { all_packs, packs_that_stay };

  // Borrows index and survey, neither of which may grow any more. Of packs that
  // stay, those that are not doomed: then a copy in another is none.
  ConfirmedCopies(const BlobIndex& index, const PackSurvey& survey,
                  const std::filesystem::path& folder, Of of = Of::all_packs);

  // Smaller depth first, then in the order of the packs.
  [[nodiscard]] std::vector<ConfirmedCopy> find(BlobKind kind,
                                                const BlobId& id);

  // Of those the sound ones.
  [[nodiscard]] std::vector<ConfirmedCopy> find_sound(BlobKind kind,
                                                      const BlobId& id);

  // Of those the ones of the smallest depth there is: whatever leans on the
  // blob can lean on any of them.
  [[nodiscard]] std::vector<ConfirmedCopy> find_shallowest(BlobKind kind,
                                                           const BlobId& id);

  [[nodiscard]] bool is_sound(const BlobRow& row, RowNumber number);

 private:
  [[nodiscard]] std::optional<std::size_t> pack_of(std::uint32_t number);

  const BlobIndex& index_;
  const PackSurvey& survey_;
  const Of of_;
  MarkSet judged_;
  MarkSet unsound_;
  std::unordered_map<std::uint32_t, std::optional<std::size_t>> packs_;
};

}  // namespace cairn::repo
