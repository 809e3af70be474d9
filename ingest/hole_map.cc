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

}  // namespace cairn::ingest
