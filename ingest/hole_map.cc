#include "ingest/hole_map.h"

namespace cairn::ingest {

HoleMap::HoleMap(const repo::Entry& entry) {
  behind_holes_.reserve(entry.holes.size());
  std::uint64_t shift = 0;
  for (const repo::Extent& hole : entry.holes) {
    const std::uint64_t content_offset = hole.offset - shift;
    shift += hole.size;
    behind_holes_.push_back({content_offset, shift});
  }
}

std::uint64_t content_size(const repo::Entry& entry) noexcept {
  std::uint64_t size = entry.size;
  for (const repo::Extent& hole : entry.holes) size -= hole.size;
  return size;
}

std::uint64_t content_size(std::span<const repo::Link> rows) noexcept {
  std::uint64_t size = 0;
  for (const repo::Link& row : rows) {
    if (row.kind != repo::BlobKind::names) size += row.length;
  }
  return size;
}

}  // namespace cairn::ingest
