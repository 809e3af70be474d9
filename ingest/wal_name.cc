#include "ingest/wal_name.h"

#include <fmt/format.h>

#include <bit>

namespace cairn::ingest {
namespace {

constexpr std::string_view kFolder = "wal/";
constexpr std::uint64_t kWordBytes = std::uint64_t{1} << 32;
constexpr std::size_t kWordDigits = 8;

}  // namespace

std::string path_of(const WalStreamId& stream) {
  return fmt::format("{}{}/{:08X}/{:016X}", kFolder, stream.system,
                     stream.timeline, stream.start.value);
}

std::optional<WalStreamId> parse_wal_path(std::string_view path) {
  if (!path.starts_with(kFolder)) return std::nullopt;
  std::string_view rest = path.substr(kFolder.size());
  const auto first = rest.find('/');
  if (first == std::string_view::npos) return std::nullopt;
  const auto system = parse_number(rest.substr(0, first), 10);
  rest.remove_prefix(first + 1);
  const auto second = rest.find('/');
  if (second != kWordDigits) return std::nullopt;
  const auto timeline = parse_number(rest.substr(0, second), 16);
  const auto start = parse_number(rest.substr(second + 1), 16);
  if (!system || !timeline || !start) return std::nullopt;
  const WalStreamId stream{
      *system, static_cast<std::uint32_t>(*timeline), {*start}};
  // One spelling for each.
  if (path_of(stream) != path) return std::nullopt;
  return stream;
}

std::string history_name(std::uint32_t timeline) {
  return fmt::format("{:08X}.history", timeline);
}

std::string segment_name(std::uint32_t timeline, Lsn lsn,
                         std::uint64_t segment_bytes) {
  const std::uint64_t number = lsn.value / segment_bytes;
  const std::uint64_t per_word = kWordBytes / segment_bytes;
  return fmt::format("{:08X}{:08X}{:08X}", timeline, number / per_word,
                     number % per_word);
}

std::optional<Lsn> parse_segment_name(std::string_view name,
                                      std::uint32_t timeline,
                                      std::uint64_t segment_bytes) {
  if (name.size() != 3 * kWordDigits) return std::nullopt;
  const auto high = parse_number(name.substr(kWordDigits, kWordDigits), 16);
  const auto low = parse_number(name.substr(2 * kWordDigits), 16);
  if (!high || !low) return std::nullopt;
  const std::uint64_t per_word = kWordBytes / segment_bytes;
  if (*low >= per_word) return std::nullopt;
  const Lsn lsn{(*high * per_word + *low) * segment_bytes};
  if (segment_name(timeline, lsn, segment_bytes) != name) return std::nullopt;
  return lsn;
}

bool is_segment_size(std::uint64_t bytes) noexcept {
  constexpr std::uint64_t kLeast = std::uint64_t{1} << 20;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 30;
  return std::has_single_bit(bytes) && bytes >= kLeast && bytes <= kMost;
}

}  // namespace cairn::ingest
