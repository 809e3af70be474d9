// Calls to the system on files. Where one fails, it is one of our errors, and
// says of which object.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::repo {

// A file descriptor with one owner.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// The one door through which the system's failures enter ours.
[[noreturn]] void fail(std::string_view object, std::string_view doing,
                       int error);

template <typename Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Beneath a folder, and never through a symbolic link. Not open: errno says
// why.
[[nodiscard]] UniqueFd open_at(int folder, const std::string& name, int flags);
[[nodiscard]] UniqueFd open_folder_at(int folder, const std::string& name);

// Follows links: where a user keeps the repository is the user's business.
// Not open: errno says why.
[[nodiscard]] UniqueFd open_root(const std::filesystem::path& path);

void write_fully(int fd, std::span<const std::byte> bytes,
                 std::string_view object);
void read_fully(int fd, std::uint64_t offset, std::span<std::byte> out,
                std::string_view object);

// Makes the names in a folder survive a power cut. Some file systems (CIFS)
// cannot sync a folder and say so; nothing better can be done on them.
void sync_folder(int folder, std::string_view object);

[[nodiscard]] struct stat look_at(int fd, std::string_view object);

[[nodiscard]] std::vector<std::string> names_in(UniqueFd folder,
                                                std::string_view object);

}  // namespace cairn::repo
