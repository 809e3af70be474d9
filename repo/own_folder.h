// A folder inside the cache folder that belongs to one process. Locked while
// the process lives, so that those of processes that are gone can be told from
// others. Where there are no locks, none can.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace cairn::repo {

// Of an index that a check makes for itself.
inline constexpr std::string_view kCheckPrefix = "check-";

// Failure        IoError.
// Abandonment    removed with all that is in it.
class OwnFolder {
 public:
  // Makes one named by `prefix` and digits of its own.
  OwnFolder(const std::filesystem::path& parent, std::string_view prefix);
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  ~OwnFolder();

  [[nodiscard]] const std::filesystem::path& path() const noexcept {
    return path_;
  }

  // Removes those of processes that are gone; answers how many are left.
  [[nodiscard]] static std::size_t sweep(const std::filesystem::path& parent,
                                         std::string_view prefix);

 private:
  [[nodiscard]] bool make_in(const std::filesystem::path& parent,
                             std::string_view prefix);

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace cairn::repo
