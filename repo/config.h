// What is fixed for a repository's whole life (FORMAT.md, 6.3).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "crypto/signature.h"
#include "repo/entry.h"
#include "repo/ids.h"
#include "repo/storage.h"

namespace cairn::repo {

// Chunk sizes in bytes, as plain numbers: repo does not know the chunker.
struct Config {
  RepositoryId repository;
  FamilyId family;
  crypto::VerifyKey root_key{};
  Timestamp created;
  std::uint32_t cdc_min = 16U << 10;
  std::uint32_t cdc_normal = 64U << 10;
  std::uint32_t cdc_max = 256U << 10;
  std::uint32_t page_chunk = 64U << 10;

  bool operator==(const Config&) const = default;
};

// Of the config, what key slots repeat and seal: [min, normal, max] of the cdc
// profile and the page size.
using CutSizes = std::array<std::uint32_t, 4>;
[[nodiscard]] CutSizes cut_sizes_of(const Config& config);
void set_cut_sizes(Config& config, const CutSizes& sizes);

inline constexpr std::string_view kConfigName = "config";
inline constexpr std::string_view kSecondConfigName = "config.2";

[[nodiscard]] std::vector<std::byte> encode(const Config& config);

// Throws CorruptionError, also for sizes that no chunker cuts by.
[[nodiscard]] Config decode_config(std::span<const std::byte> object,
                                   std::string_view name);

// The first of the two copies that is sound. When neither exists, throws
// CorruptionError beside packs or snapshots, else NoRepository; what was wrong
// with the first when neither is sound.
[[nodiscard]] Config read_config(const Storage& storage);

// Writes a copy anew that is missing or damaged. Requires: `config` was read
// from the other one, and keys were found to fit it.
void mend_config(Storage& storage, const Config& config);

}  // namespace cairn::repo
