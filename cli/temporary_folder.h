// A folder of this process's own, below TMPDIR or /tmp.
#pragma once

#include <filesystem>

namespace cairn::cli {

// Abandonment    at its end it is removed with all that lies in it.
class TemporaryFolder {
 public:
  // Throws repo::IoError when none can be made.
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  [[nodiscard]] const std::filesystem::path& path() const noexcept {
    return path_;
  }

 private:
  std::filesystem::path path_;
};

// Whether files can be made and filled in the folder, which is made if need be.
[[nodiscard]] bool can_be_written(const std::filesystem::path& folder);

}  // namespace cairn::cli
