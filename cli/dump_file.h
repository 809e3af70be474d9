// A dump that becomes a file, which has its name once it is whole.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ingest/unique_fd.h"

namespace cairn::cli {

// Abandonment    destroyed before publish(), it leaves no file.
class DumpFile {
 public:
  // Only its owner may read it. Throws repo::RefusedForSafety when there is a
  // file of that name already, repo::IoError.
  explicit DumpFile(std::string path);
  DumpFile(const DumpFile&) = delete;
  DumpFile& operator=(const DumpFile&) = delete;
  ~DumpFile();

  // Throws as making one there would, if there is a file already.
  static void require_absent(const std::string& path);

  // Throw repo::OutOfSpace, repo::IoError.
  void write(std::span<const std::byte> bytes);
  // Durably.
  void publish();

 private:
  std::string path_;
  std::string aside_;  // empty: it has its name
  ingest::UniqueFd file_;
};

}  // namespace cairn::cli
