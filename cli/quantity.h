// Sizes, lengths of time and shares as flags take them, and sizes as people
// read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::cli {

// "1.4 GiB"; below 1 KiB "512 B". Three digits that count.
[[nodiscard]] std::string size_text(std::uint64_t bytes);

// "12,345"
[[nodiscard]] std::string count_text(std::uint64_t count);

// "1 file", "12,345 files"
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);

// "12 %", of 0.12.
[[nodiscard]] std::string percent_text(double share);

// How much less was stored than there was: "12.3x"; "-" when that says nothing.
[[nodiscard]] std::string ratio_text(std::uint64_t logical,
                                     std::uint64_t stored);

// These throw UsageError, naming what would do.

// "10GiB", "512MiB", "64K" (all binary), "100MB" (decimal), "4096".
[[nodiscard]] std::uint64_t parse_size(std::string_view text);

// "10m", "24h", "7d", "90s", "0".
[[nodiscard]] std::chrono::seconds parse_duration(std::string_view text);

// "5%", "0.5%": 0 to 100, answered as 0 to 1.
[[nodiscard]] double parse_percent(std::string_view text);

// Digits only, at most `most`.
[[nodiscard]] std::uint64_t parse_count(std::string_view text,
                                        std::uint64_t most);

}  // namespace cairn::cli
