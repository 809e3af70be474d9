// What a stream was cut into when it last went by: so that what has not changed
// is neither scanned for cuts nor named again.
//
// A cut depends on nothing but the bytes of its chunk (chunker/chunker.h), or
// on a border that the stream has there (weaver.h). So if the next bytes are
// those of a chunk that was cut there before, the cutter would cut there again,
// if there is such a border again where it took one, and the chunk has the id
// that it had. Whether they are those bytes a MAC tells, at a tenth of what
// cutting and naming cost (crypto/recognition_mac.h). Nothing is guessed: what
// is not recognised is cut and named as ever.
//
// Kept in a file of the cache folder, 56 bytes for each chunk. Losing or
// damaging it costs time only: a changed record is not recognised. It says
// nothing about what is stored; that is looked up in the index like any other
// chunk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "crypto/recognition_mac.h"
#include "crypto/secret.h"
#include "ingest/unique_fd.h"
#include "repo/ids.h"
#include "repo/repository.h"

namespace cairn::ingest {

// What ended a chunk.
enum class CutBy { content, border };

struct KnownChunk {
  std::uint32_t length = 0;  // bytes
  CutBy cut_by = CutBy::content;
  std::uint32_t head = 0;  // a checksum of the first of them
  crypto::RecognitionMac mac{};
  repo::BlobId id;

  bool operator==(const KnownChunk&) const = default;
};

// Where the chunks of the stream `name` of that series are kept.
[[nodiscard]] std::filesystem::path known_stream_file(
    const repo::Repository& repository, std::string_view series,
    std::string_view name);

// Of all MACs; follows from the repository's keys.
[[nodiscard]] crypto::Secret known_stream_key(const repo::Keyring& keyring);

// The chunks of the last time, for who cuts the stream now.
//
// Memory: some thousand records, however long the stream.
//
// Threads        one thread at a time.
// Failure        none: what cannot be read is not recognised.
class KnownStream {
 public:
  KnownStream(const std::filesystem::path& file, const crypto::Secret& key);

  // The chunk that begins at bytes[0], if it is one that was near this place of
  // the stream. The chunks are to be asked for in their order.
  //
  // Requires: as ContentDefinedCutter::first_cut(); of `end`: whether the bytes
  // reach to a border.
  enum class End { open, border };
  [[nodiscard]] std::optional<KnownChunk> recognise(
      std::span<const std::byte> bytes, End end = End::open);

 private:
  void read_ahead();
  [[nodiscard]] bool is_at(const KnownChunk& known,
                           std::span<const std::byte> bytes);

  crypto::Recogniser recogniser_;
  UniqueFd fd_;
  std::vector<KnownChunk> records_;  // around the expected one
  std::size_t next_ = 0;             // of records_, what is expected
  bool is_at_end_ = false;           // of the file
  unsigned misses_ = 0;              // chunks in a row that are not known
};

// Writes the file anew while the stream goes by.
//
// Threads        one thread at a time.
// Failure        none: then the old file stays, or none.
// Abandonment    a writer destroyed before finish() leaves the old file.
class KnownStreamWriter {
 public:
  explicit KnownStreamWriter(std::filesystem::path file);
  ~KnownStreamWriter();
  KnownStreamWriter(KnownStreamWriter&&) noexcept;
  KnownStreamWriter& operator=(KnownStreamWriter&&) = delete;

  // In their order. The last one, which ended because the stream did, and not
  // because of what it holds, is left out.
  void add(const KnownChunk& chunk);
  void finish() &&;

 private:
  void write_pending();

  std::filesystem::path file_;
  std::filesystem::path unfinished_;
  UniqueFd fd_;
  std::vector<std::byte> pending_;
  std::optional<KnownChunk> last_;
};

// The checksum that KnownChunk::head holds, of a chunk's bytes.
[[nodiscard]] std::uint32_t head_of(std::span<const std::byte> chunk) noexcept;

}  // namespace cairn::ingest
