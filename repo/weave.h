// A stream that is stored as several: its bytes are dealt out to parts, each of
// which is cut by itself, and a recipe says how to put them together again
// (FORMAT.md, section 6.14). So the headers of an archive lie apart from what
// they describe, and a new time stamp in each does not make every chunk new.
//
//   stream   | h | content | h | content of another | h |
//
//   part 0   the recipe: 1,512  2,4711  1,1040  2,300 ..
//   part 1   | h | h | h |
//   part 2   | content | content of another |
//
// The entry's rows hold the parts one after another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "repo/blob_reader.h"
#include "repo/entry.h"
#include "repo/raw_bytes.h"
#include "repo/tree_reader.h"

namespace cairn::repo {

// So many bytes, from where that part stands.
struct WeaveStep {
  unsigned part = 0;
  std::uint64_t length = 0;

  bool operator==(const WeaveStep&) const = default;
};

inline constexpr std::uint64_t kMaxWeaveStep =
    (std::uint64_t{1} << 56) - 1;  // bytes

// One step of a recipe, as it is stored.
//
// Requires: 0 < part < kMaxWeaveParts; 0 < length <= kMaxWeaveStep.
[[nodiscard]] std::array<std::byte, kWeaveStepBytes> encode_step(
    const WeaveStep& step);

// XXH3 of 128 bits over a whole stream. It finds mistakes of this program;
// against people there are the seals.
//
// Threads        one thread at a time.
class WeaveDigester {
 public:
  WeaveDigester();
  ~WeaveDigester();
  WeaveDigester(WeaveDigester&&) noexcept;
  WeaveDigester& operator=(WeaveDigester&&) noexcept;

  void add(std::span<const std::byte> bytes);
  [[nodiscard]] WeaveDigest finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A stretch of a stream's content that lies in one chunk.
struct StreamPiece {
  unsigned part = 0;          // of a weave; else 0
  StreamCursor::Place chunk;  // its offset counts what lies before it in rows
  std::uint64_t from = 0;     // in the chunk
  std::uint64_t size = 0;
};

// The pieces of a stream in the order of its bytes: whole chunks, or what the
// recipe of a weave says. Holds a list per level of each part, and a chunk of
// the recipe.
//
// Threads        one thread at a time.
// Failure        CorruptionError for a recipe that does not fit its parts, and
//                what a BlobReader throws. After any, next() may be tried again
//                and goes on where it was.
class PieceCursor {
 public:
  // Borrows `blobs`. Requires: the rows of an entry, which add up to it.
  PieceCursor(BlobReader& blobs, const std::optional<Weave>& weave,
              std::vector<Link> rows);
  ~PieceCursor();
  PieceCursor(PieceCursor&&) noexcept;
  PieceCursor& operator=(PieceCursor&&) noexcept;

  // Nothing: the stream ends here, and was whole.
  [[nodiscard]] std::optional<StreamPiece> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repo
