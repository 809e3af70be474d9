#include "repo/pack_subset.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace cairn::repo {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};

constexpr double kKibi = 1024;
constexpr double kKilo = 1000;
constexpr Unit kUnits[] = {
    {"KiB", kKibi},
    {"MiB", kKibi* kKibi},
    {"GiB", kKibi* kKibi* kKibi},
    {"TiB", kKibi* kKibi* kKibi* kKibi},
    {"KB", kKilo},
    {"MB", kKilo* kKilo},
    {"GB", kKilo* kKilo* kKilo},
    {"TB", kKilo* kKilo* kKilo* kKilo},
    {"B", 1},
};

[[noreturn]] void refuse(std::string_view text, const char* why) {
  throw std::invalid_argument("subset \"" + std::string(text) + "\": " + why);
}

// Nothing: not a number, or something behind it.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() ||
      text.empty()) {
    return std::nullopt;
  }
  return number;
}

PackSubset parse_share(std::string_view text, std::string_view number) {
  const auto percent = parse_number<double>(number);
  constexpr double kWhole = 100;
  if (!percent || !std::isfinite(*percent) || *percent <= 0 ||
      *percent > kWhole) {
    refuse(text, "a share lies above 0% and is at most 100%");
  }
  return {PackSubset::Share{*percent}};
}

PackSubset parse_part(std::string_view text, std::size_t slash) {
  const auto number = parse_number<std::uint64_t>(text.substr(0, slash));
  const auto count = parse_number<std::uint64_t>(text.substr(slash + 1));
  if (!number || !count || *number == 0 || *number > *count) {
    refuse(text, "a part is given as N/M with N from 1 to M");
  }
  return {PackSubset::Part{*number, *count}};
}

// The packs from `beginning` on, round the end, until they hold that much.
std::vector<StoredPack> take_bytes(const std::vector<StoredPack>& packs,
                                   std::uint64_t bytes,
                                   std::uint64_t beginning) {
  if (packs.empty()) return {};
  const auto first = static_cast<std::size_t>(beginning % packs.size());
  std::size_t count = 0;
  for (std::uint64_t sum = 0; count < packs.size() && sum < bytes; ++count) {
    sum += packs[(first + count) % packs.size()].size;
  }
  std::vector<StoredPack> taken;
  for (std::size_t i = 0; i < packs.size(); ++i) {
    const std::size_t place = (i + packs.size() - first) % packs.size();
    if (place < count) taken.push_back(packs[i]);
  }
  return taken;
}

}  // namespace

PackSubset parse_pack_subset(std::string_view text) {
  if (text.ends_with('%')) {
    return parse_share(text, text.substr(0, text.size() - 1));
  }
  if (const auto slash = text.find('/'); slash != std::string_view::npos) {
    return parse_part(text, slash);
  }
  for (const auto& [name, factor] : kUnits) {
    if (!text.ends_with(name)) continue;
    const auto number =
        parse_number<double>(text.substr(0, text.size() - name.size()));
    constexpr double kMost = 1e18;
    if (!number || !std::isfinite(*number) || *number <= 0 ||
        *number * factor > kMost || *number * factor < 1) {
      refuse(text, "an amount is a number above zero and a unit");
    }
    return {PackSubset::Bytes{static_cast<std::uint64_t>(*number * factor)}};
  }
  refuse(text, "give a share as 5%, a part as 3/30 or an amount as 2GiB");
}

std::vector<StoredPack> select(std::vector<StoredPack> packs,
                               const PackSubset& subset,
                               std::uint64_t beginning) {
  if (const auto* const share = std::get_if<PackSubset::Share>(&subset.which)) {
    std::uint64_t total = 0;
    for (const auto& pack : packs) total += pack.size;
    constexpr double kWhole = 100;
    const double bytes =
        std::ceil(static_cast<double>(total) * share->percent / kWhole);
    return take_bytes(packs, static_cast<std::uint64_t>(bytes), beginning);
  }
  if (const auto* const amount =
          std::get_if<PackSubset::Bytes>(&subset.which)) {
    return take_bytes(packs, amount->bytes, beginning);
  }
  if (const auto* const named = std::get_if<PackSubset::Named>(&subset.which)) {
    std::erase_if(packs, [&](const StoredPack& pack) {
      return !named->packs.contains(pack.id);
    });
  }
  if (const auto* const part = std::get_if<PackSubset::Part>(&subset.which)) {
    std::erase_if(packs, [&](const StoredPack& pack) {
      // Names are hashes, so their first bytes fall evenly. As a number that is
      // the same on every machine.
      std::uint64_t prefix = 0;
      constexpr std::size_t kPrefixBytes = 8;
      for (std::size_t i = 0; i < kPrefixBytes; ++i) {
        prefix = prefix << 8 | std::to_integer<std::uint64_t>(pack.id.bytes[i]);
      }
      return prefix % part->count != part->number - 1;
    });
  }
  return packs;
}

}  // namespace cairn::repo
