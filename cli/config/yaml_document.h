// The part of YAML that a configuration needs, as a tree that knows where
// everything stands.
//
// Left out on purpose: anchors and aliases (so that ten lines cannot mean a
// billion), tags, merge keys, several documents. Scalars stay text: what they
// mean is the reader's business, so that `no` is a country wherever one is due.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/config/mistakes.h"

namespace cairn::cli::config {

struct YamlEntry;

struct YamlNode {
  enum class Kind { nothing, scalar, sequence, mapping };

  Kind kind = Kind::nothing;
  Place place;
  std::string text;                // of a scalar
  bool is_quoted = false;          // that scalar: text, whatever it says
  std::vector<YamlNode> items;     // of a sequence
  std::vector<YamlEntry> entries;  // of a mapping; each key once
};

struct YamlEntry {
  std::string key;
  Place place;  // of the key
  YamlNode value;
};

// A file is a screen or ten; what is larger is no configuration.
inline constexpr std::size_t kMaxYamlBytes = std::size_t{256} << 10;
inline constexpr std::size_t kMaxYamlNodes = 20'000;
inline constexpr std::size_t kMaxYamlDepth = 16;

// Nothing: it is no YAML, which is the last of the mistakes then. Duplicate
// keys, tags and the like are mistakes of a tree all the same; of a key that
// is there twice the first counts.
[[nodiscard]] std::optional<YamlNode> parse_yaml(std::string_view text,
                                                 Mistakes& mistakes);

}  // namespace cairn::cli::config
