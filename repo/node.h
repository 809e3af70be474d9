// The nodes of the one graph: links, which collection follows, and beside them
// names, which people read (FORMAT.md, 6.12 and 6.13).
//
//   entry node:  links [ names | rows of entry 0 | rows of entry 1 | ... ]
//   list node:   links [ row | row | row ... ]      stands for its rows' rows
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "repo/blob.h"
#include "repo/entry.h"

namespace cairn::repo {

struct Link {
  BlobKind kind = BlobKind::content;
  BlobId id;
  // Bytes: a leaf's plain size, or the content below a links node.
  std::uint64_t length = 0;

  bool operator==(const Link&) const = default;
};

// An entry and how many rows of its node are its own.
struct NodeEntry {
  Entry entry;
  std::uint64_t rows = 0;

  bool operator==(const NodeEntry&) const = default;
};

inline constexpr std::size_t kMaxNodeRows = 200'000;
inline constexpr std::size_t kMaxNodeEntries = 100'000;
inline constexpr unsigned kMaxListLevels = 8;

[[nodiscard]] std::vector<std::byte> encode_links(std::span<const Link> links);
[[nodiscard]] std::vector<Link> decode_links(std::span<const std::byte> plain,
                                             std::string_view name);

// Of the content below these rows of a node, each as often as it occurs.
[[nodiscard]] std::uint64_t content_size(std::span<const Link> rows) noexcept;

// Whether the rows of a file or stream hold its size less its holes; of a
// weave, all its parts. A writer stores no others, a reader refuses them.
// Requires: holes inside the size.
[[nodiscard]] bool adds_up(const Entry& entry,
                           std::span<const Link> rows) noexcept;

// What a reader would refuse the entry for, and with it all others of its node;
// nothing if it would not. A writer stores no such entry.
[[nodiscard]] std::optional<std::string_view> fault_in(
    const NodeEntry& entry) noexcept;

// Requires: names ascend and are valid. Of other faults it makes what
// decode_names() refuses.
[[nodiscard]] std::vector<std::byte> encode_names(
    std::span<const NodeEntry> entries);

// Refuses every entry that a hostile writer could hurt a restore with: names
// that lead elsewhere, holes outside the file, rows that are not there.
[[nodiscard]] std::vector<NodeEntry> decode_names(
    std::span<const std::byte> plain, std::string_view name);

// One component of a path: not empty, not "." or "..", no slash, no NUL, at
// most 255 bytes.
[[nodiscard]] bool is_valid_name(std::string_view name) noexcept;

}  // namespace cairn::repo
