// A file that is under its name whole or not at all, whenever the process ends.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "ingest/unique_fd.h"

namespace cairn::ingest {

// Threads        one thread at a time.
// Failure        IoError, OutOfSpace; it can only be destroyed then.
// Abandonment    destroyed before it was named, or killed, it leaves nothing
//                behind; on file systems without unnamed files one that was
//                killed leaves NAME.cairn-PID, which has no other meaning.
class WholeFile {
 public:
  enum class Durability {
    of_the_caller,  // whoever asked for the file syncs it
    synced,         // once it has its name it survives a power cut
  };

  // In the folder of `path`, which exists.
  WholeFile(std::filesystem::path path, Durability durability);
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  ~WholeFile();

  void append(std::span<const std::byte> bytes);
  // Zeros up to that size. Requires: it is no larger.
  void extend(std::uint64_t size);
  // Who may read it; without this nobody but us, whatever the umask says.
  void set_mode(mode_t mode);

  // False: the name is taken, by a file that is left as it is.
  [[nodiscard]] bool name_unless_taken() &&;
  // In the place of whatever has the name.
  void name_or_replace() &&;

 private:
  void sync_file();
  void sync_its_folder() const;
  [[nodiscard]] bool link_as(const std::filesystem::path& name);
  [[noreturn]] void fail(const char* what) const;

  const std::filesystem::path path_;
  const std::filesystem::path aside_;
  const Durability durability_;
  UniqueFd file_;
  bool has_name_aside_ = false;
  std::uint64_t size_ = 0;
};

}  // namespace cairn::ingest
