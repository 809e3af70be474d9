// Extended attributes by folder descriptor and name, never through a symlink.
//
// Linux has calls that take both only since 6.13. Before, the way to an entry
// that must not be opened (a device, a file without read permission) leads
// through /proc/self/fd/N/name, which is as safe and about a third slower.
//
// Every function returns 0 or an errno. An empty name means the descriptor
// itself, which may be of O_PATH.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "repo/entry.h"

namespace cairn::ingest {

// Those of the user, security and trusted namespaces and the two ACLs; others
// (system.nfs4_acl and the like) are a view on what the file system keeps
// elsewhere.
[[nodiscard]] bool is_kept_xattr(std::string_view name) noexcept;

// Names and values of one entry's xattrs together. Who owns a file may give it
// hundreds of megabytes of them; a names node holds 8 MiB, of which the most
// holes that are kept take 5.
inline constexpr std::size_t kMaxXattrBytes = std::size_t{2} << 20;

// Reads all kept xattrs of an entry, sorted by name. A file system that has
// none gives none. One call of the system where there are none. After an error
// (E2BIG beyond kMaxXattrBytes) `out` has those that were read before it.
//
// Threads        one thread at a time.
class XattrReader {
 public:
  XattrReader();
  [[nodiscard]] int read(int folder, const char* name,
                         std::vector<repo::Xattr>& out);

 private:
  int read_listed(int folder, const char* name, std::size_t list_size,
                  std::vector<repo::Xattr>& out);

  std::vector<char> names_;
  std::vector<char> value_;
};

[[nodiscard]] int set_xattr(int folder, const char* name,
                            const repo::Xattr& xattr);
[[nodiscard]] int remove_xattr(int folder, const char* name,
                               const std::string& xattr);

}  // namespace cairn::ingest
