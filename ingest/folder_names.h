// The names in one folder, sorted by their bytes: 9 bytes per name beside the
// name itself, since a folder may hold millions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::ingest {

class FolderNames {
 public:
  // Reads an open folder from its start; 0 or an errno, with the names so far.
  [[nodiscard]] int read(int folder);

  // `type` is one of dirent's DT_*.
  void add(std::string_view name, unsigned char type);
  // Keeps each name once: a folder may list one twice that was removed and made
  // again meanwhile.
  void sort();

  [[nodiscard]] std::size_t count() const noexcept { return begins_.size(); }
  // Ends with a NUL, and lives as long as nothing is added.
  [[nodiscard]] const char* name(std::size_t index) const noexcept;
  [[nodiscard]] unsigned char type(std::size_t index) const noexcept;

  // Requires: sorted.
  [[nodiscard]] bool has(std::string_view name) const;

 private:
  std::string bytes_;  // type, name, NUL; type, name, NUL; ...
  std::vector<std::size_t> begins_;
};

}  // namespace cairn::ingest
