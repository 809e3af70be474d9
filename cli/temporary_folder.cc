#include "cli/temporary_folder.h"

#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "repo/error.h"

namespace cairn::cli {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::error_code none;
  const fs::path above = fs::temp_directory_path(none);  // heeds TMPDIR
  std::string name = (none ? fs::path("/tmp") : above) / "cairn-XXXXXX";
  if (!::mkdtemp(name.data())) {
    repo::throw_system_error(name + ": cannot create", errno);
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

bool can_be_written(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return false;
  std::string name = folder / ".probe-XXXXXX";
  const int fd = ::mkstemp(name.data());
  if (fd < 0) return false;
  constexpr std::array<char, 65'536> kBytes{};  // a full disk has no room
  const bool is_written = ::write(fd, kBytes.data(), kBytes.size()) ==
                          static_cast<ssize_t>(kBytes.size());
  const bool is_closed = ::close(fd) == 0;
  ::unlink(name.c_str());
  return is_written && is_closed;
}

}  // namespace cairn::cli
