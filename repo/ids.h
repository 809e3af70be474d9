// Names of things, each a type of its own so that a PackId cannot go where a
// BlobId belongs.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/digest.h"

namespace cairn::repo {

template <typename Tag, std::size_t kSize>
struct Id {
  static constexpr std::size_t kBytes = kSize;

  std::array<std::byte, kSize> bytes{};

  auto operator<=>(const Id&) const = default;
  // The default compares byte by byte under g++ 12.
  friend bool operator==(const Id& a, const Id& b) noexcept {
    return std::memcmp(a.bytes.data(), b.bytes.data(), kSize) == 0;
  }

  [[nodiscard]] std::string hex() const { return crypto::to_hex(bytes); }

  // For messages: enough to recognise it.
  [[nodiscard]] std::string brief() const { return hex().substr(0, 8); }

  // Nothing: not kSize bytes in lower-case hex.
  [[nodiscard]] static std::optional<Id> from_hex(std::string_view text) {
    Id id;
    if (!crypto::from_hex(text, id.bytes)) return std::nullopt;
    return id;
  }

  // The first eight bytes as a number; ids are random, so this is a hash.
  [[nodiscard]] std::uint64_t prefix() const noexcept {
    std::uint64_t value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
};

using BlobId = Id<struct BlobTag, 32>;        // keyed hash of content
using PackId = Id<struct PackTag, 32>;        // SHA-256 of the pack's bytes
using IndexId = Id<struct IndexTag, 32>;      // SHA-256 of the object's bytes
using SessionId = Id<struct SessionTag, 16>;  // names a snapshot's slot too
using MarkId = Id<struct MarkTag, 16>;
using KeySlotId = Id<struct KeySlotTag, 16>;
using RepositoryId = Id<struct RepositoryTag, 16>;
using FamilyId = Id<struct FamilyTag, 16>;

// For unordered containers.
struct IdHash {
  template <typename Tag, std::size_t kSize>
  std::size_t operator()(const Id<Tag, kSize>& id) const noexcept {
    return id.prefix();
  }
};

}  // namespace cairn::repo
