// A copy of a configuration file as it was when it was right: what runs read
// while somebody is about to mend the file.
//
//   STATE/daemon/last-right-XXXXXX.yaml    held by a lock of whoever wrote it
//
// The lock ends with its process, however that ends, so that whoever comes next
// knows which copies nobody reads any more.
#pragma once

#include <filesystem>
#include <string>

#include "ingest/unique_fd.h"

namespace cairn::cli {

// Threads        one thread at a time.
// Failure        repo::IoError, repo::OutOfSpace.
// Abandonment    at its end there is no copy.
class LastRightFile {
 public:
  // Removes the copies of those that came to no end. `state`: where this
  // program keeps its state.
  explicit LastRightFile(const std::filesystem::path& state);
  LastRightFile(const LastRightFile&) = delete;
  LastRightFile& operator=(const LastRightFile&) = delete;
  ~LastRightFile();

  // Where a copy that holds `text` is; made at the first call after drop().
  [[nodiscard]] const std::filesystem::path& of(const std::string& text);
  void drop() noexcept;

 private:
  void try_to_make(const std::string& text);

  std::filesystem::path folder_;
  std::filesystem::path file_;
  ingest::UniqueFd fd_;  // none: there is no copy
};

}  // namespace cairn::cli
