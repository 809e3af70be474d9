// A place in WAL, as PostgreSQL counts and writes it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::ingest {

// A byte of the WAL of one timeline, counted from the cluster's beginning.
struct Lsn {
  std::uint64_t value = 0;

  auto operator<=>(const Lsn&) const = default;
};

// As the server writes it: "16/B374D848".
[[nodiscard]] std::string to_string(Lsn lsn);
[[nodiscard]] std::optional<Lsn> parse_lsn(std::string_view text);

// Of a whole text: digits of that base, without a sign.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text,
                                                        int base);

}  // namespace cairn::ingest
