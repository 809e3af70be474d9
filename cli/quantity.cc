#include "cli/quantity.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "cli/usage_error.h"

namespace cairn::cli {
namespace {

constexpr std::array<std::string_view, 6> kBinaryUnits = {"B",   "KiB", "MiB",
                                                          "GiB", "TiB", "PiB"};

struct Unit {
  std::string_view name;
  double factor;
};
constexpr std::array kSizeUnits = {
    Unit{"", 1},         Unit{"B", 1},        Unit{"K", 0x1p10},
    Unit{"KiB", 0x1p10}, Unit{"M", 0x1p20},   Unit{"MiB", 0x1p20},
    Unit{"G", 0x1p30},   Unit{"GiB", 0x1p30}, Unit{"T", 0x1p40},
    Unit{"TiB", 0x1p40}, Unit{"KB", 1e3},     Unit{"MB", 1e6},
    Unit{"GB", 1e9},     Unit{"TB", 1e12},
};
constexpr std::array kTimeUnits = {
    Unit{"s", 1},      Unit{"m", 60},      Unit{"h", 3600},
    Unit{"d", 86'400}, Unit{"w", 604'800},
};

// A number and what follows it.
struct Measured {
  double value;
  std::string_view unit;
};

std::optional<Measured> parse_measured(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(
      text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(value) || std::signbit(value)) {
    return std::nullopt;
  }
  std::string_view unit =
      text.substr(static_cast<std::size_t>(end - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  return Measured{value, unit};
}

template <std::size_t kCount>
std::optional<double> in_units(std::string_view text,
                               const std::array<Unit, kCount>& units) {
  const auto measured = parse_measured(text);
  if (!measured) return std::nullopt;
  for (const auto& unit : units) {
    if (unit.name == measured->unit) return measured->value * unit.factor;
  }
  return std::nullopt;
}

[[noreturn]] void refuse(std::string_view text, std::string_view wanted) {
  throw UsageError(fmt::format("'{}' is not {}", text, wanted));
}

}  // namespace

std::string size_text(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.95 KiB would be shown as 1024.
  while (value >= 1023.5 && unit + 1 < kBinaryUnits.size()) {
    value /= 1024;
    ++unit;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kBinaryUnits[unit]);
}

std::string count_text(std::uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return count_text(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

std::string percent_text(double share) {
  constexpr double kWhole = 100;
  return std::to_string(static_cast<int>(share * kWhole + 0.5)) + " %";
}

std::string ratio_text(std::uint64_t logical, std::uint64_t stored) {
  if (logical == 0 || stored == 0) return "-";
  const double ratio =
      static_cast<double>(logical) / static_cast<double>(stored);
  return fmt::format("{:.{}f}x", ratio, ratio < 99.95 ? 1 : 0);
}

std::uint64_t parse_size(std::string_view text) {
  const auto bytes = in_units(text, kSizeUnits);
  if (!bytes || *bytes >= 0x1p63) refuse(text, "a size such as 10GiB");
  return static_cast<std::uint64_t>(std::llround(*bytes));
}

std::chrono::seconds parse_duration(std::string_view text) {
  if (text == "0") return std::chrono::seconds(0);
  const auto seconds = in_units(text, kTimeUnits);
  if (!seconds || *seconds > 1e10) {
    refuse(text, "a length of time such as 90s, 10m, 24h or 7d");
  }
  return std::chrono::seconds(std::llround(*seconds));
}

double parse_percent(std::string_view text) {
  const auto measured = parse_measured(text);
  if (!measured || measured->unit != "%" || measured->value > 100) {
    refuse(text, "a share such as 5%");
  }
  return measured->value / 100;
}

std::uint64_t parse_count(std::string_view text, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() ||
      value > most) {
    refuse(text, fmt::format("a whole number up to {}", most));
  }
  return value;
}

}  // namespace cairn::cli
