// Which file one of several names is of.
#pragma once

#include <span>

#include "crypto/digest.h"
#include "repo/entry.h"
#include "repo/node.h"

namespace cairn::repo {

// The hard link's number and what the file's content and kind are known by. The
// number alone does not tell: while a snapshot is made, the system gives that
// of a removed file to a new one (FORMAT.md, 6.13).
using LinkedFileId = crypto::Digest;

// Requires: entry.hard_link.
[[nodiscard]] LinkedFileId linked_file_id(const Entry& entry,
                                          std::span<const Link> rows);

}  // namespace cairn::repo
