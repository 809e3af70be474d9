#include "ingest/page_files.h"

#include <algorithm>
#include <string_view>

namespace cairn::ingest {
namespace {

constexpr std::string_view kSqliteMagic{"SQLite format 3\0", 16};
constexpr std::uint64_t kPostgresPageBytes = 8192;

std::uint32_t u16_at(std::span<const std::byte> bytes, std::size_t offset) {
  return std::to_integer<std::uint32_t>(bytes[offset]) |
         std::to_integer<std::uint32_t>(bytes[offset + 1]) << 8;
}

// PageHeaderData of PostgreSQL 8.3 and later: pd_lower at 12, pd_upper at 14,
// pd_special at 16, pd_pagesize_version at 18.
bool begins_as_postgres_page(std::span<const std::byte> bytes) {
  constexpr std::size_t kHeaderBytes = 24;
  constexpr std::uint32_t kSizeAndVersion = kPostgresPageBytes | 4;
  if (bytes.size() < kHeaderBytes) return false;
  const std::uint32_t lower = u16_at(bytes, 12);
  const std::uint32_t upper = u16_at(bytes, 14);
  const std::uint32_t special = u16_at(bytes, 16);
  return u16_at(bytes, 18) == kSizeAndVersion && lower >= kHeaderBytes &&
         lower <= upper && upper <= special && special <= kPostgresPageBytes;
}

}  // namespace

repo::Profile profile_of(std::uint64_t file_size,
                         std::span<const std::byte> beginning) {
  const auto magic = std::as_bytes(std::span(kSqliteMagic));
  const bool is_sqlite =
      beginning.size() >= magic.size() &&
      std::ranges::equal(beginning.first(magic.size()), magic);
  const bool is_postgres = file_size > 0 &&
                           file_size % kPostgresPageBytes == 0 &&
                           begins_as_postgres_page(beginning);
  return is_sqlite || is_postgres ? repo::Profile::page : repo::Profile::cdc;
}

}  // namespace cairn::ingest
