#include <algorithm>
#include <cassert>

#include "chunker/chunker.h"

namespace cairn::chunker {

PageCutter::PageCutter(std::uint32_t chunk_bytes) : chunk_bytes_(chunk_bytes) {
  assert(chunk_bytes > 0 && chunk_bytes % kGridBytes == 0);
}

std::size_t PageCutter::first_cut(std::span<const std::byte> bytes) const {
  assert(!bytes.empty());
  return std::min<std::size_t>(bytes.size(), chunk_bytes_);
}

}  // namespace cairn::chunker
