// In what order differences are decoded so that what many of them lean on is
// decoded once.
//
//   whole --+-- difference --+-- difference
//           |                +-- difference
//           +-- difference
//
// Each comes after its base, and all that leans on one comes before anything
// beside it: whoever keeps the last chain (BlobReader) has the base at hand.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "repo/blob.h"

namespace cairn::repo {

// The row of a difference's base, if that is known.
using FindBase = std::function<std::optional<BlobRow>(const BlobRow& row)>;

// Numbers of the rows, each once, whatever the rows say. `find_base` is asked
// once for each blob that is a base and none of the rows.
[[nodiscard]] std::vector<std::size_t> order_by_bases(
    std::span<const BlobRow> rows, const FindBase& find_base);

}  // namespace cairn::repo
