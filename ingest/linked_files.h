// The files with several names that a restore has made, so that further names
// can be linked to them.
//
// Folders are remembered as a tree of names, each once, since a tree of a
// million hard links must not cost a million whole paths.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "crypto/digest.h"
#include "repo/entry.h"
#include "repo/node.h"

namespace cairn::ingest {

// The folders that hold such files.
//
// Threads        one thread at a time.
class FolderPaths {
 public:
  using Id = std::uint32_t;
  static constexpr Id kRoot = 0;

  [[nodiscard]] Id add(Id parent, std::string name);

  // From below the root downwards.
  [[nodiscard]] std::vector<std::string> names(Id folder) const;

 private:
  struct Folder {
    Id parent = kRoot;
    std::string name;
  };
  std::vector<Folder> folders_{1};
};

// Which file a name is of: its hard link's number and what its content and kind
// are known by. The number alone does not tell: while a snapshot is made, the
// system gives that of a removed file to a new one (FORMAT.md, 6.13).
//
// Requires: entry.hard_link.
using LinkedFileId = crypto::Digest;
[[nodiscard]] LinkedFileId linked_file_id(const repo::Entry& entry,
                                          std::span<const repo::Link> rows);

struct LinkedPlace {
  FolderPaths::Id folder = FolderPaths::kRoot;
  std::string name;
  std::uint64_t device = 0;  // of the file as it was made
  std::uint64_t inode = 0;
};

// Threads        all members from many threads.
class LinkedFiles {
 public:
  // False if that file is being made, or was.
  [[nodiscard]] bool begin(const LinkedFileId& file);
  void finish(const LinkedFileId& file, LinkedPlace place);
  void abandon(const LinkedFileId& file);

  struct Answer {
    bool is_known = false;
    std::optional<LinkedPlace> place;  // nothing while it is unfinished
  };
  [[nodiscard]] Answer find(const LinkedFileId& file) const;

 private:
  struct Hash {
    std::size_t operator()(const LinkedFileId& file) const noexcept;
  };

  mutable std::mutex mutex_;  // guards places_
  std::unordered_map<LinkedFileId, std::optional<LinkedPlace>, Hash> places_;
};

}  // namespace cairn::ingest
