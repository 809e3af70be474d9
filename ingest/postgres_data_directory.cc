#include "ingest/postgres_data_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "ingest/unique_fd.h"
#include "repo/error.h"

namespace cairn::ingest {
namespace {

namespace fs = std::filesystem;

// A server of a later version makes tablespaces that are folders a fault unless
// it is told otherwise; an earlier one knows neither the check nor the setting.
bool knows_in_place_tablespaces(std::string_view version) {
  struct First {
    unsigned major;
    unsigned minor;
  };
  constexpr std::array kFirst{First{13, 8}, First{14, 5}};
  unsigned major = 0;
  unsigned minor = 0;
  const auto* const end = version.data() + version.size();
  const auto after = std::from_chars(version.data(), end, major).ptr;
  if (after != end && *after == '.') {
    std::from_chars(after + 1, end, minor);
  }
  for (const auto& first : kFirst) {
    if (major == first.major) return minor >= first.minor;
  }
  return major > kFirst.back().major;
}

std::uint64_t count_tablespaces(const fs::path& folder) {
  std::uint64_t count = 0;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(folder / "pg_tblspc", error)) {
    if (entry.is_directory(error) && !entry.is_symlink(error)) ++count;
  }
  return count;
}

void append(int folder, const char* name, std::string_view line,
            const struct stat& like) {
  const UniqueFd file(
      ::openat(folder, name,
               O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) repo::throw_system_error(name, errno);
  if (::write(file.get(), line.data(), line.size()) !=
          static_cast<ssize_t>(line.size()) ||
      ::fsync(file.get()) != 0) {
    repo::throw_system_error(name, errno);
  }
  if (::geteuid() == 0) (void)::fchown(file.get(), like.st_uid, like.st_gid);
}

}  // namespace

std::vector<std::string> finish_data_directory(const fs::path& folder,
                                               std::string_view version) {
  std::vector<std::string> notes;
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat like {};
  if (fd.get() < 0 ||
      ::fstatat(fd.get(), "PG_VERSION", &like, AT_SYMLINK_NOFOLLOW) != 0) {
    repo::throw_system_error(folder.string(), errno);
  }
  constexpr mode_t kGroupRead = 0040;
  constexpr mode_t kPrivate = 0700;
  constexpr mode_t kGroupAccess = 0750;
  const bool has_group = (like.st_mode & kGroupRead) != 0;
  if (::fchmod(fd.get(), has_group ? kGroupAccess : kPrivate) != 0 ||
      (::geteuid() == 0 && ::fchown(fd.get(), like.st_uid, like.st_gid) != 0)) {
    repo::throw_system_error(folder.string(), errno);
  }
  const auto tablespaces = count_tablespaces(folder);
  if (tablespaces > 0 && knows_in_place_tablespaces(version)) {
    append(fd.get(), "postgresql.auto.conf",
           "allow_in_place_tablespaces = on  # restored into pg_tblspc\n",
           like);
    notes.push_back("tablespaces lie in " + (folder / "pg_tblspc").string() +
                    ", not where the live server has them; "
                    "postgresql.auto.conf allows it");
  }
  std::error_code error;
  if (fs::exists(folder / "standby.signal", error)) {
    notes.emplace_back(
        "this is the data directory of a standby, and a server that starts "
        "from it follows the same primary; without its standby.signal it "
        "becomes one of its own");
  }
  if (!fs::exists(folder / "postgresql.conf", error) &&
      fs::exists(folder / "cairn_config", error)) {
    notes.push_back(
        "the configuration lay outside the data directory; it is in " +
        (folder / "cairn_config").string() +
        ", and a server is started with -c config_file=");
  }
  return notes;
}

}  // namespace cairn::ingest
