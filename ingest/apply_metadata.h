// Gives a restored file, folder or link what the system said of the original.
#pragma once

#include <sys/stat.h>

#include <string>

#include "ingest/shortfalls.h"
#include "repo/entry.h"

namespace cairn::ingest {

// Owner, xattrs, mode, times of what `fd` refers to, which may be of O_PATH;
// `now` is its state. What is as it should be is not touched. Nothing here is a
// reason to give up the content: what the system refuses is a shortfall.
//
// The owner comes before xattrs and mode, since changing it takes file
// capabilities and setuid away. Without the right owner there is no setuid or
// setgid: the bits would lend the rights of somebody else.
void apply_metadata(int fd, const struct stat& now, const repo::Entry& entry,
                    const std::string& path, Shortfalls& shortfalls);

// Whether nothing of all that, nor size and holes, would have to be changed on
// a regular file. Who may not give files away need not own it.
[[nodiscard]] bool has_metadata(int fd, const struct stat& now,
                                const repo::Entry& entry);

}  // namespace cairn::ingest
