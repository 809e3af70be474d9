#include "ingest/lsn.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

namespace cairn::ingest {
namespace {

constexpr std::uint64_t kWordBytes = std::uint64_t{1} << 32;
constexpr std::size_t kWordDigits = 8;

}  // namespace

std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::string to_string(Lsn lsn) {
  return fmt::format("{:X}/{:X}", lsn.value / kWordBytes,
                     lsn.value % kWordBytes);
}

std::optional<Lsn> parse_lsn(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos || slash > kWordDigits ||
      text.size() - slash - 1 > kWordDigits) {
    return std::nullopt;
  }
  const auto high = parse_number(text.substr(0, slash), 16);
  const auto low = parse_number(text.substr(slash + 1), 16);
  if (!high || !low) return std::nullopt;
  return Lsn{*high * kWordBytes + *low};
}

}  // namespace cairn::ingest
