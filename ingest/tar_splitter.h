// Tells the headers of a tar archive from what they describe, while it streams
// by (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar, "Basic Tar
// Format").
//
// Nothing rests on its being right: where its idea of an archive is wrong, the
// stream is dealt out less cleverly, and put together the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace cairn::ingest {

inline constexpr std::size_t kTarBlockBytes = 512;

// True if the bytes begin with the header of a member.
[[nodiscard]] bool begins_like_tar(std::span<const std::byte> bytes);

// Threads        one thread at a time.
class TarSplitter {
 public:
  enum class Kind {
    header,   // also padding, long names, pax records: what changes together
    content,  // of members, and what cannot be understood
  };
  struct Piece {
    Kind kind = Kind::header;
    std::span<const std::byte> bytes;  // of what split() was given; not empty
    // Of the member whose content begins with this piece; else 0.
    std::uint64_t member_size = 0;
  };
  using Take = std::function<void(const Piece&)>;

  // Gives all of `bytes` to `take`, piece after piece.
  void split(std::span<const std::byte> bytes, const Take& take);

 private:
  // What the next bytes are.
  enum class State {
    header,
    sparse_map,  // more of a sparse member's (GNU tar)
    extension,
    content,
    padding,
    unknown,
  };

  void enter(State state, std::uint64_t size);
  void pass_on(Piece& piece);
  void read_header();
  void begin_content();

  State state_ = State::header;
  std::uint64_t left_ = kTarBlockBytes;  // bytes of it
  std::uint64_t member_size_ = 0;        // while nothing of it has passed
  std::uint64_t padding_ = 0;            // that follows it
  std::array<std::byte, kTarBlockBytes> header_{};
  std::string extension_;                      // what has passed of it
  std::optional<std::uint64_t> size_of_next_;  // that it gave the next member
};

}  // namespace cairn::ingest
