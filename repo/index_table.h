// Whether RocksDB may open a table of the index cache. It parses the properties
// of a table before it looks at their checksum, and Debian's build ends the
// program with an assertion where they are damaged (facebook/rocksdb#7670,
// #14993); the footer, with the places of what is read next, has no checksum
// at all. So both are looked at first. The blocks with the data RocksDB itself
// checks before it parses them.
//
// The layout is that of block-based tables of format version 5:
// https://github.com/facebook/rocksdb/wiki/Rocksdb-BlockBasedTable-Format
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace cairn::repo {

// The bytes of a table at `offset`, `size` of them; nothing where they cannot
// be read.
using ReadTable = std::function<std::optional<std::string>(std::uint64_t offset,
                                                           std::size_t size)>;

// `size`: of the table's file, in bytes. Throws nothing of its own.
bool is_sound_table(std::uint64_t size, const ReadTable& read);

}  // namespace cairn::repo
