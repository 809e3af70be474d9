// The append-only files of a Redis server (7.0 and later), taken while it
// writes them:
//
//   appendonly.aof.manifest       which files, in which order
//   appendonly.aof.1.base.rdb     how it began
//   appendonly.aof.1.incr.aof     what was written since; grows
//
// The manifest is read, every file that it names is opened, and the manifest is
// read again: if it is still the same, then these files, as long as they are
// now, are the data of one moment. They are held open, so that a rewrite which
// removes them a moment later takes nothing from us, and the server is asked
// for nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/byte_stream.h"
#include "ingest/unique_fd.h"
#include "repo/entry.h"

namespace cairn::ingest {

// One line of a manifest.
struct AofEntry {
  std::string name;
  std::uint64_t number = 0;
  char kind = ' ';  // 'b' base, 'i' increment, 'h' history: to be removed
};

// Throws ProducerFailed for what no server wrote, and for names that lead
// elsewhere.
[[nodiscard]] std::vector<AofEntry> read_aof_manifest(std::string_view text);
[[nodiscard]] std::string aof_manifest_text(
    const std::vector<AofEntry>& entries);

// What a manifest's name says of the files: it ends with ".manifest". Nothing:
// it is no manifest.
[[nodiscard]] std::optional<std::string> aof_prefix_of(
    std::string_view manifest_name);

struct AofFile {
  std::string name;
  std::uint64_t bytes = 0;  // that count; it may grow
  repo::Timestamp modified;
  UniqueFd fd;
};

struct AofFolder {
  std::string manifest_name;
  std::string manifest;  // without history
  std::vector<AofFile> files;
};

// Throws ProducerFailed.
[[nodiscard]] AofFolder open_aof_folder(const std::filesystem::path& folder);

// The first `bytes` of one.
[[nodiscard]] std::unique_ptr<ByteStream> read_aof_file(AofFile file);

}  // namespace cairn::ingest
