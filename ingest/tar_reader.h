// Takes a tar archive apart whose members have to be right (POSIX.1-2017, pax,
// "ustar Interchange Format"), as PostgreSQL writes them: files, folders and
// symlinks with names of one header. Unlike the TarSplitter it refuses what it
// does not understand.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "repo/entry.h"

namespace cairn::ingest {

struct TarMember {
  std::string path;  // checked: neither absolute nor with "." or ".."
  repo::Entry entry;
};

// Threads        one thread at a time.
// Failure        ProducerFailed, naming the archive and the member.
class TarReader {
 public:
  // Gives the next bytes of the archive; none at its end. They stay until the
  // next call.
  using More = std::function<std::span<const std::byte>()>;

  // `name` is for messages.
  TarReader(std::string name, More more);

  // The next member; what was not read of the one before is passed over.
  // Nothing: the archive has ended, after a whole member. The two empty blocks
  // at its end may be missing.
  [[nodiscard]] std::optional<TarMember> next();

  // At least one byte of a file's content; 0 at its end.
  [[nodiscard]] std::size_t read(std::span<std::byte> out);

 private:
  [[nodiscard]] bool refill();
  void skip(std::uint64_t bytes);
  [[nodiscard]] bool read_block();
  [[nodiscard]] TarMember member() const;
  void require_empty_rest();
  [[noreturn]] void fail(const std::string& why) const;

  std::string name_;
  More more_;
  std::span<const std::byte> ready_;
  std::array<std::byte, 512> block_{};
  std::string member_;  // for messages
  std::uint64_t content_left_ = 0;
  std::uint64_t padding_ = 0;  // that follows it
};

}  // namespace cairn::ingest
