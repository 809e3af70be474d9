#include "ingest/folder_names.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "ingest/file_error.h"

namespace cairn::ingest {

int FolderNames::read(int folder) {
  // The kernel's layout of one entry, see getdents64(2).
  constexpr std::size_t kSizeAt = offsetof(dirent64, d_reclen);
  constexpr std::size_t kTypeAt = offsetof(dirent64, d_type);
  constexpr std::size_t kNameAt = offsetof(dirent64, d_name);

  if (lseek(folder, 0, SEEK_SET) < 0) return errno;
  std::array<char, 32768> room;
  for (;;) {
    const ssize_t filled = uninterrupted(
        [&] { return getdents64(folder, room.data(), room.size()); });
    if (filled < 0) return errno;
    if (filled == 0) return 0;
    const char* const end = room.data() + filled;
    for (const char* entry = room.data(); entry < end;) {
      std::uint16_t size;
      std::memcpy(&size, entry + kSizeAt, sizeof size);
      const std::string_view name = entry + kNameAt;
      if (name != "." && name != "..") {
        add(name, static_cast<unsigned char>(entry[kTypeAt]));
      }
      entry += size;
    }
  }
}

void FolderNames::add(std::string_view name, unsigned char type) {
  begins_.push_back(bytes_.size());
  bytes_.push_back(static_cast<char>(type));
  bytes_.append(name);
  bytes_.push_back('\0');
}

void FolderNames::sort() {
  const auto compare = [this](std::size_t a, std::size_t b) {
    return std::strcmp(&bytes_[a + 1], &bytes_[b + 1]);
  };
  std::ranges::sort(
      begins_, [&](std::size_t a, std::size_t b) { return compare(a, b) < 0; });
  const auto again = std::ranges::unique(
      begins_,
      [&](std::size_t a, std::size_t b) { return compare(a, b) == 0; });
  begins_.erase(again.begin(), again.end());
}

const char* FolderNames::name(std::size_t index) const noexcept {
  return &bytes_[begins_[index] + 1];
}

unsigned char FolderNames::type(std::size_t index) const noexcept {
  return static_cast<unsigned char>(bytes_[begins_[index]]);
}

bool FolderNames::has(std::string_view name) const {
  const auto at =
      std::ranges::lower_bound(begins_, name, {}, [this](std::size_t begin) {
        return std::string_view(&bytes_[begin + 1]);
      });
  return at != begins_.end() && std::string_view(&bytes_[*at + 1]) == name;
}

}  // namespace cairn::ingest
