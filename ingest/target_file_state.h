// What a TargetTree hands to the files it makes. Seen by target_tree.cc and
// target_file.cc only.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "ingest/linked_files.h"
#include "ingest/placement.h"
#include "ingest/shortfalls.h"
#include "ingest/target_tree.h"
#include "ingest/unique_fd.h"

namespace cairn::ingest {

// What outlives the tree if a file does.
struct TargetShared {
  Shortfalls shortfalls;
  LinkedFiles linked;
};

// A folder whose metadata waits until it was left and all its files are
// finished: each of them, being renamed into it, changes its times.
//
// Threads        all members from many threads.
class TargetFolder {
 public:
  // Nothing: a folder that keeps the metadata it has.
  explicit TargetFolder(std::optional<repo::Entry> metadata)
      : metadata_(std::move(metadata)) {}

  void file_begins();
  void file_ends(int folder, Shortfalls& shortfalls);
  void leave(int folder, std::string path, Shortfalls& shortfalls);

 private:
  void apply(int folder, Shortfalls& shortfalls);

  std::optional<repo::Entry> metadata_;

  std::mutex mutex_;  // guards everything below
  std::size_t unfinished_ = 0;
  bool is_left_ = false;
  std::string path_;  // once it was left
};

struct TargetFile::State {
  using Place = PlacedFile::Place;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  void begin(PlacedFile file);
  // Of the new file, which is made if need be.
  int new_fd();
  [[nodiscard]] bool has_new() const;
  // Of what finish() leaves under the name.
  [[nodiscard]] int fd() const;
  void finish();

  // Shared with the tree and the other files, see TargetShared.
  std::shared_ptr<TargetShared> shared;
  // Shared with the tree, while it is current, and the folder's other files.
  std::shared_ptr<TargetFolder> folder;
  std::shared_ptr<const UniqueFd> folder_fd;

  UniqueFd old_fd;  // of a file that is compared
  repo::Entry entry;
  std::string path;  // for messages

  // Set if this is the first name of a file with several.
  struct FirstName {
    repo::LinkedFileId id;
    FolderPaths::Id folder;
  };
  std::optional<FirstName> linked;

 private:
  [[nodiscard]] bool differs_in_shape() const;
  [[nodiscard]] struct stat status() const;
  void set_size();
  void close_written();

  mutable std::mutex mutex_;  // guards placed_ until finish()
  PlacedFile placed_;
  bool has_begun_ = false;
  bool is_finished_ = false;
};

}  // namespace cairn::ingest
