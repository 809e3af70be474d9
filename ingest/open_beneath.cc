#include "ingest/open_beneath.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "ingest/file_error.h"

namespace cairn::ingest {

UniqueFd open_beneath(int folder, const char* name, int flags, mode_t mode) {
  static std::atomic<bool> has_openat2 = true;
  flags |= O_NOFOLLOW | O_CLOEXEC;
  if (has_openat2.load(std::memory_order_relaxed)) {
    open_how how{.flags = static_cast<std::uint64_t>(flags),
                 .mode = mode,
                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                            RESOLVE_NO_MAGICLINKS};
    const long fd = uninterrupted(
        [&] { return syscall(SYS_openat2, folder, name, &how, sizeof how); });
    // Some sandboxes answer EPERM to calls they do not know.
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) {
      return UniqueFd(static_cast<int>(fd));
    }
    if (errno == ENOSYS) has_openat2.store(false, std::memory_order_relaxed);
  }
  return UniqueFd(
      uninterrupted([&] { return openat(folder, name, flags, mode); }));
}

}  // namespace cairn::ingest
