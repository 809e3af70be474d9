// The files with several names that a restore has made, so that further names
// can be linked to them.
//
// Folders are remembered as a tree of names, each once, since a tree of a
// million hard links must not cost a million whole paths.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "repo/linked_file_id.h"

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
  [[nodiscard]] bool begin(const repo::LinkedFileId& file);
  void finish(const repo::LinkedFileId& file, LinkedPlace place);
  void abandon(const repo::LinkedFileId& file);

  // A file that was there, and stays as one of these: it cannot be another one
  // as well.
  void keep(std::uint64_t device, std::uint64_t inode);
  [[nodiscard]] bool is_kept(std::uint64_t device, std::uint64_t inode) const;

  struct Answer {
    bool is_known = false;
    std::optional<LinkedPlace> place;  // nothing while it is unfinished
  };
  [[nodiscard]] Answer find(const repo::LinkedFileId& file) const;

 private:
  struct Hash {
    std::size_t operator()(const repo::LinkedFileId& file) const noexcept;
  };

  mutable std::mutex mutex_;  // guards the members below
  std::unordered_map<repo::LinkedFileId, std::optional<LinkedPlace>, Hash>
      places_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> kept_;  // device, inode
};

}  // namespace cairn::ingest
