// The text in which a key of 32 bytes is kept in a file, or printed
// (FORMAT.md, 6.5).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crypto/secret.h"

namespace cairn::repo {

[[nodiscard]] std::string key_file_text(const crypto::Secret& key);

// Nothing: it is no such text, or was not copied right.
[[nodiscard]] std::optional<crypto::Secret> parse_key_file(
    std::string_view text);

}  // namespace cairn::repo
