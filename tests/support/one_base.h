// For encoders that are to try one base.
#pragma once

#include <optional>
#include <utility>

#include "repo/blob_codec.h"

namespace cairn::testing_support {

// Gives that base and no other; none when there is none. Borrows it.
inline repo::NextBase one_base(const std::optional<repo::Base>& base) {
  return [next = base ? &*base : nullptr]() mutable {
    return std::exchange(next, nullptr);
  };
}

}  // namespace cairn::testing_support
