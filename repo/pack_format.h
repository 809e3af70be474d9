// The layout of a pack (FORMAT.md, 6.6), as small encode and decode pairs.
//
//   +----------+------+--------+--------+-- ..
//   --+---------+-----------+---------+ | prologue | salt | blob 0 | blob 1 |
//   | padding | directory | trailer |
//   +----------+------+--------+--------+-- ..
//   --+---------+-----------+---------+
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/digest.h"
#include "crypto/secret.h"
#include "repo/blob.h"
#include "repo/cbor.h"
#include "repo/envelope.h"
#include "repo/ids.h"
#include "repo/keyring.h"

namespace cairn::repo {

inline constexpr std::size_t kPackSaltBytes = 32;
inline constexpr std::size_t kPackHeadBytes = kPrologueBytes + kPackSaltBytes;
inline constexpr std::size_t kTrailerBytes = 8;
inline constexpr std::size_t kDirectoryStep = std::size_t{16} << 10;
inline constexpr std::uint64_t kMaxPackBytes = std::uint64_t{1} << 30;
inline constexpr std::size_t kMaxDirectoryBytes = std::size_t{64} << 20;
// So few that an index object of kRowsPerIndexObject rows and one pack more
// stays below kMaxIndexBytes.
inline constexpr std::size_t kMaxRows = 250'000;

using PackHead = std::array<std::byte, kPackHeadBytes>;
using Trailer = std::array<std::byte, kTrailerBytes>;

[[nodiscard]] std::string pack_name(const PackId& id);

// Nothing: not the name of a pack.
[[nodiscard]] std::optional<PackId> parse_pack_name(std::string_view name);

// The length that hides all but about 12 % of what `size` says: Padme.
[[nodiscard]] std::uint64_t padme(std::uint64_t size) noexcept;

// Fresh salt under the given generation.
[[nodiscard]] PackHead new_pack_head(std::uint32_t generation);

void write(CborWriter& out, const Directory& directory);
[[nodiscard]] Directory read_directory(CborReader& in);

// The same, of a pack whose directory is known from elsewhere. Throws
// CorruptionError also when its rows do not fit into a pack of that size.
[[nodiscard]] Directory read_directory(CborReader& in, std::uint64_t pack_size);

// What the index and a pack's directory are compared by.
[[nodiscard]] crypto::Digest digest_of(const Directory& directory);

// The directory sealed, padded to whole steps.
[[nodiscard]] std::vector<std::byte> seal_directory(
    const crypto::Secret& index_key, const PackHead& head,
    std::uint64_t directory_offset, const Directory& directory);

// Throws CorruptionError. Checks also that the rows fit before the directory.
[[nodiscard]] Directory open_directory(const crypto::Secret& index_key,
                                       const PackHead& head,
                                       std::uint64_t directory_offset,
                                       std::span<const std::byte> sealed,
                                       std::string_view name);

[[nodiscard]] Trailer encode_trailer(std::uint32_t directory_size);

// Size of the directory. Throws CorruptionError when it cannot be one of a pack
// of `pack_size` bytes.
[[nodiscard]] std::uint32_t decode_trailer(std::span<const std::byte> trailer,
                                           std::uint64_t pack_size,
                                           std::string_view name);

// What the seal of a blob binds, so that one cannot stand in for another.
[[nodiscard]] std::vector<std::byte> associated_data(const FamilyId& family,
                                                     std::uint32_t generation,
                                                     const BlobRow& row);

}  // namespace cairn::repo
