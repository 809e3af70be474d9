#include "repo/pack_survey.h"

#include <algorithm>
#include <cassert>

#include "repo/error.h"
#include "repo/pack_format.h"

namespace cairn::repo {

PackSurvey::PackSurvey(const std::filesystem::path& folder) : rows_(folder) {}

void PackSurvey::add(const IndexedPack& pack) {
  assert(packs_.empty() || packs_.back().id < pack.id);
  SurveyedPack surveyed;
  surveyed.id = pack.id;
  surveyed.size = pack.size;
  surveyed.directory = digest_of(pack.directory);
  surveyed.first_row = next_row_;
  surveyed.row_count = static_cast<std::uint32_t>(pack.directory.rows.size());
  std::uint64_t offset = kPackHeadBytes;
  for (const auto& row : pack.directory.rows) {
    rows_.push_back({static_cast<std::uint32_t>(offset), fingerprint(row)});
    offset += row.stored_size;
    if (row.kind == BlobKind::content) surveyed.holds_content = true;
    if (row.base) surveyed.has_differences = true;
  }
  // One more, so that every row has an end.
  rows_.push_back({static_cast<std::uint32_t>(offset), 0});
  surveyed.blob_bytes = offset - kPackHeadBytes;
  next_row_ += surveyed.row_count + 1;
  packs_.push_back(surveyed);
}

std::optional<std::size_t> PackSurvey::find(const PackId& id) const {
  const auto found =
      std::ranges::lower_bound(packs_, id, {}, &SurveyedPack::id);
  if (found == packs_.end() || found->id != id) return std::nullopt;
  return static_cast<std::size_t>(found - packs_.begin());
}

std::optional<RowNumber> PackSurvey::find_row(std::size_t pack,
                                              std::uint64_t offset,
                                              const BlobRow& row) const {
  const SurveyedPack& surveyed = packs_[pack];
  RowNumber low = surveyed.first_row;
  RowNumber high = low + surveyed.row_count;
  while (low < high) {
    const RowNumber middle = low + (high - low) / 2;
    if (rows_[middle].offset < offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == surveyed.first_row + surveyed.row_count ||
      rows_[low].offset != offset ||
      rows_[low].fingerprint != fingerprint(row) ||
      stored_size(low) != row.stored_size) {
    return std::nullopt;
  }
  return low;
}

std::size_t PackSurvey::pack_of(RowNumber row) const {
  const auto after =
      std::ranges::upper_bound(packs_, row, {}, &SurveyedPack::first_row);
  return static_cast<std::size_t>(after - packs_.begin()) - 1;
}

std::uint64_t PackSurvey::stored_size(RowNumber row) const {
  return rows_[row + 1].offset - rows_[row].offset;
}

std::uint32_t PackSurvey::fingerprint(const BlobRow& row) {
  // Ids are random, so a few of their bits serve; the factors only keep the
  // parts apart.
  constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15;
  std::uint64_t mixed = row.id.prefix();
  mixed = mixed * kFactor + (row.base ? row.base->prefix() : 0);
  mixed = mixed * kFactor + (row.depth << 2 | static_cast<unsigned>(row.kind));
  mixed *= kFactor;
  constexpr unsigned kHalf = 32;
  return static_cast<std::uint32_t>(mixed >> kHalf);
}

ConfirmedCopies::ConfirmedCopies(const BlobIndex& index,
                                 const PackSurvey& survey,
                                 const std::filesystem::path& folder, Of of)
    : index_(index),
      survey_(survey),
      of_(of),
      judged_(folder, survey.row_count()),
      unsound_(folder, survey.row_count()) {}

std::vector<ConfirmedCopy> ConfirmedCopies::find(BlobKind kind,
                                                 const BlobId& id) {
  std::vector<ConfirmedCopy> confirmed;
  for (auto& copy : index_.find(id)) {
    if (copy.row.kind != kind) continue;
    const auto pack = pack_of(copy.pack);
    if (!pack) continue;
    const auto row = survey_.find_row(*pack, copy.offset, copy.row);
    if (row) confirmed.push_back({std::move(copy), *pack, *row});
  }
  std::ranges::sort(confirmed, {}, [](const ConfirmedCopy& copy) {
    return std::pair(copy.copy.row.depth, copy.row);
  });
  // A pack that this process published may be known twice.
  const auto repeated =
      std::unique(confirmed.begin(), confirmed.end(),
                  [](const auto& a, const auto& b) { return a.row == b.row; });
  confirmed.erase(repeated, confirmed.end());
  return confirmed;
}

std::vector<ConfirmedCopy> ConfirmedCopies::find_sound(BlobKind kind,
                                                       const BlobId& id) {
  auto copies = find(kind, id);
  std::erase_if(copies, [&](const ConfirmedCopy& copy) {
    return !is_sound(copy.copy.row, copy.row);
  });
  return copies;
}

std::vector<ConfirmedCopy> ConfirmedCopies::find_shallowest(BlobKind kind,
                                                            const BlobId& id) {
  auto copies = find_sound(kind, id);
  if (!copies.empty()) {
    const auto depth = copies.front().copy.row.depth;
    std::erase_if(copies, [&](const ConfirmedCopy& copy) {
      return copy.copy.row.depth > depth;
    });
  }
  return copies;
}

// Recursion is bounded: each step goes to a strictly smaller depth, and no row
// is deeper than kMaxDepth.
bool ConfirmedCopies::is_sound(const BlobRow& row, RowNumber number) {
  if (!row.base) return true;
  if (judged_.is_marked(number)) return !unsound_.is_marked(number);
  const auto bases = find(row.kind, *row.base);
  const bool sound = std::ranges::any_of(bases, [&](const auto& base) {
    return base.copy.row.depth < row.depth && is_sound(base.copy.row, base.row);
  });
  judged_.mark(number);
  if (!sound) unsound_.mark(number);
  return sound;
}

std::optional<std::size_t> ConfirmedCopies::pack_of(std::uint32_t number) {
  const auto [found, is_new] = packs_.try_emplace(number);
  if (is_new) {
    auto& place = found->second;
    place = survey_.find(index_.pack(number).id);
    if (place && of_ == Of::packs_that_stay &&
        survey_.packs()[*place].is_doomed) {
      place.reset();
    }
  }
  return found->second;
}

}  // namespace cairn::repo
