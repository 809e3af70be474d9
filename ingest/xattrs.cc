#include "ingest/xattrs.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace cairn::ingest {
namespace {

// Linux 6.13; the same numbers on every architecture. Debian 12 does not name
// them yet.
constexpr long kSetxattrat = 463;
constexpr long kGetxattrat = 464;
constexpr long kListxattrat = 465;
constexpr long kRemovexattrat = 466;

struct XattrArgs {
  alignas(8) std::uint64_t value;
  std::uint32_t size;
  std::uint32_t flags;
};

// The kernel's own limits for a list of names and for one value.
constexpr std::size_t kMaxBytes = 65536;
constexpr std::size_t kUsualBytes = 1024;

std::atomic<bool> has_xattrat = true;

unsigned at_flags(const char* name) {
  return *name == '\0' ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW;
}

std::string proc_path(int folder, const char* name) {
  if (folder == AT_FDCWD) return name;
  std::string path = "/proc/self/fd/" + std::to_string(folder);
  if (*name != '\0') path.append("/").append(name);
  return path;
}

// Tries the call of Linux 6.13, then the older way, which is also the only one
// for a descriptor of O_PATH. `by_entry` is for a path whose last part is the
// entry; `by_descriptor` for /proc/self/fd/N, a link that must be followed to
// reach what is open.
template <typename At, typename ByEntry, typename ByDescriptor>
ssize_t try_both(int folder, const char* name, At at, ByEntry by_entry,
                 ByDescriptor by_descriptor) {
  if (has_xattrat.load(std::memory_order_relaxed)) {
    const ssize_t result = at();
    // Some sandboxes answer EPERM to calls they do not know; an EPERM that is
    // meant comes again below.
    const bool is_final =
        result >= 0 || (errno != ENOSYS && errno != EBADF && errno != EPERM);
    if (is_final) return result;
    if (errno == ENOSYS) has_xattrat.store(false, std::memory_order_relaxed);
  }
  const std::string path = proc_path(folder, name);
  return *name == '\0' ? by_descriptor(path.c_str()) : by_entry(path.c_str());
}

ssize_t list(int folder, const char* name, std::vector<char>& out) {
  return try_both(
      folder, name,
      [&] {
        return syscall(kListxattrat, folder, name, at_flags(name), out.data(),
                       out.size());
      },
      [&](const char* path) {
        return llistxattr(path, out.data(), out.size());
      },
      [&](const char* path) {
        return listxattr(path, out.data(), out.size());
      });
}

ssize_t get(int folder, const char* name, const char* xattr,
            std::vector<char>& out) {
  return try_both(
      folder, name,
      [&] {
        XattrArgs args{.value = reinterpret_cast<std::uintptr_t>(out.data()),
                       .size = static_cast<std::uint32_t>(out.size()),
                       .flags = 0};
        return syscall(kGetxattrat, folder, name, at_flags(name), xattr, &args,
                       sizeof args);
      },
      [&](const char* path) {
        return lgetxattr(path, xattr, out.data(), out.size());
      },
      [&](const char* path) {
        return getxattr(path, xattr, out.data(), out.size());
      });
}

// Calls again with the most that can be when the usual size was too small.
template <typename Call>
ssize_t with_room(std::vector<char>& out, Call call) {
  const ssize_t size = call();
  if (size >= 0 || errno != ERANGE || out.size() >= kMaxBytes) return size;
  out.resize(kMaxBytes);
  return call();
}

}  // namespace

bool is_kept_xattr(std::string_view name) noexcept {
  return name.starts_with("user.") || name.starts_with("security.") ||
         name.starts_with("trusted.") || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

XattrReader::XattrReader() : names_(kUsualBytes), value_(kUsualBytes) {}

int XattrReader::read(int folder, const char* name,
                      std::vector<repo::Xattr>& out) {
  out.clear();
  const ssize_t size =
      with_room(names_, [&] { return list(folder, name, names_); });
  if (size < 0) return errno == EOPNOTSUPP ? 0 : errno;

  const int error =
      read_listed(folder, name, static_cast<std::size_t>(size), out);
  std::ranges::sort(out);
  // Each once, whatever a file system of somebody's own lists.
  const auto again = std::ranges::unique(out, {}, &repo::Xattr::name);
  out.erase(again.begin(), again.end());
  return error;
}

int XattrReader::read_listed(int folder, const char* name,
                             std::size_t list_size,
                             std::vector<repo::Xattr>& out) {
  std::size_t bytes = 0;
  const char* const end = names_.data() + list_size;
  for (const char* xattr = names_.data(); xattr < end;
       xattr += std::strlen(xattr) + 1) {
    if (!is_kept_xattr(xattr)) continue;
    const ssize_t value_size =
        with_room(value_, [&] { return get(folder, name, xattr, value_); });
    if (value_size < 0) {
      if (errno == ENODATA) continue;  // removed since it was listed
      return errno;
    }
    const auto got = static_cast<std::size_t>(value_size);
    bytes += std::strlen(xattr) + got;
    if (bytes > kMaxXattrBytes) return E2BIG;
    out.push_back({xattr, {value_.data(), got}});
  }
  return 0;
}

int set_xattr(int folder, const char* name, const repo::Xattr& xattr) {
  const char* const key = xattr.name.c_str();
  const std::string& value = xattr.value;
  if (value.size() > kMaxBytes) return E2BIG;
  const ssize_t result = try_both(
      folder, name,
      [&] {
        XattrArgs args{.value = reinterpret_cast<std::uintptr_t>(value.data()),
                       .size = static_cast<std::uint32_t>(value.size()),
                       .flags = 0};
        return syscall(kSetxattrat, folder, name, at_flags(name), key, &args,
                       sizeof args);
      },
      [&](const char* path) {
        return lsetxattr(path, key, value.data(), value.size(), 0);
      },
      [&](const char* path) {
        return setxattr(path, key, value.data(), value.size(), 0);
      });
  return result == 0 ? 0 : errno;
}

int remove_xattr(int folder, const char* name, const std::string& xattr) {
  const ssize_t result = try_both(
      folder, name,
      [&] {
        return syscall(kRemovexattrat, folder, name, at_flags(name),
                       xattr.c_str());
      },
      [&](const char* path) { return lremovexattr(path, xattr.c_str()); },
      [&](const char* path) { return removexattr(path, xattr.c_str()); });
  return result == 0 ? 0 : errno;
}

}  // namespace cairn::ingest
