// SHA-256 of an object that is too large to hold, a window at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "crypto/digest.h"
#include "repo/storage.h"

namespace cairn::repo {

// Calls `window` for every stretch of the object in order, if given. Requires:
// `size` is the object's.
[[nodiscard]] crypto::Digest digest_of_object(
    const Storage& storage, std::string_view name, std::uint64_t size,
    const std::function<void(std::span<const std::byte>)>& window = {});

}  // namespace cairn::repo
